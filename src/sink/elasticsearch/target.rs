//! A projection's target, ready for use: the id's template resolved to columns.

use std::sync::Arc;

use super::encode::Ids;
use crate::config::ElasticsearchTarget;
use crate::sink::{SinkError, SinkProjection};
use crate::value::{Column, DocumentWriter};

pub(super) struct CompiledTarget {
    /// The configured name: an alias. The index behind it carries the generation.
    pub(super) alias: String,
    pub(super) columns: Arc<[Column]>,
    pub(super) ids: Ids,
    pub(super) documents: DocumentWriter,
    pub(super) mappings: Option<serde_json::Value>,
    pub(super) settings: Option<serde_json::Value>,
}

impl CompiledTarget {
    pub(super) fn new(
        projection: &SinkProjection,
        target: &ElasticsearchTarget,
    ) -> Result<Self, SinkError> {
        Ok(Self {
            alias: target.index.clone(),
            columns: Arc::clone(&projection.columns),
            ids: Ids::new(projection, target.id.as_ref())?,
            documents: DocumentWriter::new(&projection.columns, None),
            mappings: target.mappings.clone(),
            settings: target.settings.clone(),
        })
    }

    /// Whether a row may move from one document to another while its key stays.
    pub(super) fn moves(&self) -> bool {
        self.ids.moves()
    }
}
