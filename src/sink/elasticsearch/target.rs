//! A projection's target, ready for use: the id's template resolved to columns.

use std::sync::Arc;

use super::encode::Ids;
use crate::config::{ElasticsearchTarget, Template};
use crate::engine::EVENT_COLUMNS;
use crate::sink::event::EventWriter;
use crate::sink::{Role, SinkError, SinkProjection};
use crate::value::{Column, DocumentWriter, Type, ValueError};

pub(super) struct CompiledTarget {
    /// The configured name: an alias. The index behind it carries the generation.
    pub(super) alias: String,
    pub(super) columns: Arc<[Column]>,
    pub(super) ids: Ids,
    pub(super) documents: Documents,
    pub(super) mappings: Option<serde_json::Value>,
    pub(super) settings: Option<serde_json::Value>,
}

/// How rows become documents.
pub(super) enum Documents {
    Rows(DocumentWriter),
    Events(EventWriter),
}

impl Documents {
    pub(super) fn write(&self, row: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self {
            Documents::Rows(writer) => writer.write(row, out),
            Documents::Events(writer) => writer.write_document(row, out),
        }
    }
}

/// Over an event's columns: the same event is the same document, however often it is sent.
const EVENT_ID: &str = "{lsn}/{ordinal}";

/// What a document has, for the mapping.
pub(super) fn fields(projection: &SinkProjection) -> Arc<[Column]> {
    let shapes = projection.shapes.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    let shaped = |(column, shape): (&Column, Option<&Type>)| match shape {
        Some(ty) => Column { ty: ty.clone(), ..column.clone() },
        None => column.clone(),
    };
    let columns: Vec<Column> = projection.columns.iter().zip(shapes).map(shaped).collect();
    if projection.role == Role::Rows {
        return columns.into();
    }
    let (own, data) = columns.split_at(EVENT_COLUMNS.len().min(columns.len()));
    let members = data.iter().map(|column| (column.name.clone(), column.ty.clone()));
    let field = |name: &str, ty: Type| Column {
        name: name.to_owned(),
        sql_type: ty.to_string(),
        ty,
        type_oid: 0,
        typmod: -1,
        not_null: true,
    };
    // An id is like a position: found as a whole.
    let mut fields = vec![field("id", Type::PgLsn)];
    fields.extend(own.iter().skip(2).cloned());
    fields.push(field("data", Type::Composite(members.collect())));
    fields.into()
}

impl CompiledTarget {
    pub(super) fn new(
        projection: &SinkProjection,
        target: &ElasticsearchTarget,
    ) -> Result<Self, SinkError> {
        let (ids, documents) = match projection.role {
            Role::Rows => (
                Ids::new(projection, target.id.as_ref())?,
                Documents::Rows(DocumentWriter::new(&projection.columns, None)),
            ),
            Role::Events => {
                let id = Template::parse(EVENT_ID).ok();
                (
                    Ids::new(projection, id.as_ref())?,
                    Documents::Events(EventWriter::new(&projection.columns)),
                )
            }
        };
        Ok(Self {
            alias: target.index.clone(),
            columns: fields(projection),
            ids,
            documents,
            mappings: target.mappings.clone(),
            settings: target.settings.clone(),
        })
    }

    /// Whether a row may move from one document to another while its key stays.
    pub(super) fn moves(&self) -> bool {
        self.ids.moves()
    }
}
