//! One leader of a group at a time, and what the others see.
//!
//! The watermarks' documents are written by compare-and-set, so a new term in them fences them. Rows are
//! not: a leader that stood still for longer than the server remembers removed documents could bring one
//! back. So a leader writes rows through an alias of its term, which its successor takes away before it
//! writes anything; what comes through it later is refused.

use serde_json::json;

use super::client::Client;
use super::prepare;
use super::watermark::{self, Document, Place, Record};
use crate::sink::origin::admit;
use crate::sink::{Origin, Owner, SinkError, Watermark};

/// Writes `term` into the documents, or says that somebody has a greater one. `claimed` is what this
/// process has written before.
pub(super) async fn claim(
    client: &Client,
    origin: &Origin,
    projections: &[&str],
    records: &mut [Option<Record>],
    term: u64,
    claimed: u64,
) -> Result<(), SinkError> {
    let mut claims = Vec::new();
    for (projection, record) in projections.iter().zip(records) {
        if record.as_ref().is_some_and(|record| !origin.owner.is(&record.document.owner)) {
            // What is another pipeline's is told when it is looked at.
            continue;
        }
        let found = record.as_ref().map_or(0, |record| record.document.term);
        admit(term, claimed, found)?;
        if found < term {
            let record = record.get_or_insert_with(|| Record::new(Document::blank(origin)));
            record.document.term = term;
            claims.push((*projection, record));
        }
    }
    if claims.is_empty() { Ok(()) } else { watermark::write(client, claims).await }
}

/// From here on rows come in by the aliases of this term alone.
pub(super) async fn take_aliases(
    client: &Client,
    live: impl Iterator<Item = &Place>,
    term: u64,
) -> Result<(), SinkError> {
    if term == 0 {
        return Ok(());
    }
    let mut actions = Vec::new();
    for place in live {
        let (own, all) =
            (prepare::term_alias(&place.alias, term), prepare::term_prefix(&place.alias));
        let found = prepare::find(client, &place.index).await?;
        let aliases = found.iter().flat_map(|index| &index.aliases);
        let mut has_own = false;
        for alias in aliases.filter(|alias| alias.starts_with(&all)) {
            if *alias == own {
                has_own = true;
            } else {
                actions.push(json!({ "remove": { "index": place.index, "alias": alias } }));
            }
        }
        if !has_own {
            actions.push(json!({ "add": { "index": place.index, "alias": own } }));
        }
    }
    prepare::change_aliases(client, "taking over the aliases that a leader writes through", actions)
        .await
}

/// The watermarks as they are.
pub(super) async fn look(
    client: &Client,
    owner: &Owner,
    projections: &[&str],
) -> Result<Vec<Option<Watermark>>, SinkError> {
    let found = watermark::find(client, projections).await?.unwrap_or_default();
    let mut watermarks = Vec::with_capacity(projections.len());
    for at in 0..projections.len() {
        let document = found.get(at).and_then(|record| Some(&record.as_ref()?.document));
        let ours = document.filter(|document| owner.is(&document.owner));
        watermarks.push(ours.map(Document::watermark).transpose()?);
    }
    Ok(watermarks)
}
