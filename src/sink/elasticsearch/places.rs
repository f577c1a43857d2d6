//! Places: where the document of each row is, for targets whose ids use columns outside the key.
//!
//! Such a row moves to another document while its key stays, and the new row does not tell the old
//! id. So beside the index there is one of places: under the key, the ids that the row's document
//! may have. One invariant holds at every moment: a document that is in the index stands in its
//! key's place. Hence the order: the new id into the place, then the document and the removal of the
//! others, then the others out of the place. A crash leaves at worst an id too many, and the next
//! change removes a document that is not there.
//!
//! A place has the version of its row: what is older than the place is older than the document.

use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::json;

use super::apply::{
    Job, Refused, Writer, bulk_path, no_document, none_refused, too_large, unreadable,
};
use super::bulk::{self, Refusal, Request};
use super::client::{Method, segment};
use super::encode::{self, Action, ID_BYTES_MAX, Id};
use super::error::{self, ServerError};
use crate::sink::SinkError;

/// Rows worked on together.
const CHUNK_ROWS: usize = 1_000;

/// A place as it was read.
#[derive(Debug, Default, Deserialize)]
struct Place {
    #[serde(default)]
    found: bool,
    #[serde(default, rename = "_version")]
    version: u64,
    #[serde(default, rename = "_source")]
    source: Source,
    #[serde(default)]
    error: Option<ServerError>,
}

#[derive(Debug, Default, Deserialize)]
struct Source {
    #[serde(default)]
    ids: Vec<String>,
}

/// What one row needs.
struct Move {
    /// Position in the job's entries.
    row: usize,
    place_id: String,
    version: u64,
    /// The document's id now; `None`: the row has no document.
    id: Option<String>,
    place: Place,
}

impl Move {
    /// The ids that are not the row's any more.
    fn left(&self) -> impl Iterator<Item = &String> {
        self.place.source.ids.iter().filter(|id| Some(*id) != self.id.as_ref())
    }
}

/// Writes a job's entries through its places.
pub(super) async fn write(
    writer: &Writer<'_>,
    job: &Job<'_>,
    index: &str,
    refused: &mut Vec<Refused>,
) -> Result<(), SinkError> {
    for (chunk, entries) in job.entries.chunks(CHUNK_ROWS).enumerate() {
        let first = chunk * CHUNK_ROWS;
        let mut moves = Vec::with_capacity(entries.len());
        for row in first..first + entries.len() {
            moves.push(plan(job, row, refused)?);
        }
        let places = read(writer, index, &moves).await?;
        for (one, place) in moves.iter_mut().zip(places) {
            one.place = place;
        }
        moves.retain(|one| !one.place.found || one.place.version <= one.version);
        announce(writer, index, &moves).await?;
        documents(writer, job, &moves, refused).await?;
        settle(writer, index, &moves).await?;
    }
    Ok(())
}

fn plan(job: &Job<'_>, row: usize, refused: &mut Vec<Refused>) -> Result<Move, SinkError> {
    let entry = &job.entries[row];
    let ids = &job.target.ids;
    let mut key = Vec::new();
    ids.write_key(entry, &mut key).map_err(|error| unreadable(&error))?;
    let mut id = Vec::new();
    let found = ids.write(entry, &mut id).map_err(|error| unreadable(&error))?;
    if let Id::Invalid(error) = &found {
        refused.push(Refused { projection: job.projection, row, error: error.clone() });
    }
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).map_err(|_| SinkError::Fatal {
            what: "a key of the state is not UTF-8".into(),
            hint: "stop Readside, remove state.dir and start it again: everything is loaded anew"
                .into(),
        })
    };
    Ok(Move {
        row,
        place_id: place_id(&text(key)?),
        version: encode::version(entry),
        id: if found == Id::Some { Some(text(id)?) } else { None },
        place: Place::default(),
    })
}

/// A key as the id of its place: the key itself, or its digest where it is too long for an id.
fn place_id(key: &str) -> String {
    if key.len() < ID_BYTES_MAX {
        return format!("={key}");
    }
    let hash = digest(&SHA256, key.as_bytes());
    hash.as_ref().iter().fold(String::from("#"), |mut hex, byte| {
        hex.push_str(&format!("{byte:02x}"));
        hex
    })
}

/// Real-time reads, not searches: a place is found as soon as it was written.
async fn read(writer: &Writer<'_>, index: &str, moves: &[Move]) -> Result<Vec<Place>, SinkError> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        docs: Vec<Place>,
    }
    let doing = "reading places";
    let ids: Vec<&str> = moves.iter().map(|one| one.place_id.as_str()).collect();
    let path = format!(
        "{}/_mget?filter_path=docs.found,docs._version,docs._source.ids,docs.error",
        segment(index)
    );
    let body = json!({ "ids": ids });
    let answer = writer.client.send(Method::Post, &path, (&body).into()).await?;
    if answer.status != 200 {
        return Err(error::refusal(doing, &answer));
    }
    let body: Body = serde_json::from_slice(&answer.body)
        .map_err(|source| error::unexpected(doing, &answer, source))?;
    if body.docs.len() != moves.len() {
        return Err(error::trouble("the search server left out some of the places"));
    }
    match body.docs.iter().find_map(|place| place.error.as_ref()) {
        Some(error) => Err(error::trouble(format!("cannot read places from {index}: {error}"))),
        None => Ok(body.docs),
    }
}

/// New ids into their places, before any document has them.
async fn announce(writer: &Writer<'_>, index: &str, moves: &[Move]) -> Result<(), SinkError> {
    let mut request = Request::default();
    for one in moves {
        let Some(id) = &one.id else { continue };
        if one.place.source.ids.contains(id) && one.place.version == one.version {
            continue;
        }
        let ids: Vec<&String> = one.left().chain([id]).collect();
        put(one, &ids, &mut request);
    }
    send(writer, index, "writing places", request).await
}

async fn documents(
    writer: &Writer<'_>,
    job: &Job<'_>,
    moves: &[Move],
    refused: &mut Vec<Refused>,
) -> Result<(), SinkError> {
    let mut request = Request::default();
    let mut refusals = Vec::new();
    for (tag, one) in moves.iter().enumerate() {
        for id in one.left() {
            delete(id, one.version, &mut request.body);
            request.end_item(tag);
        }
        if let (Some(id), Some(row)) = (&one.id, job.entries[one.row].value()) {
            let action = Action { index: None, id: id.as_bytes(), version: one.version };
            let written = encode::write_index(job.target, action, row, &mut request.body);
            let bytes = request.open_item_bytes();
            if let Err(error) = written {
                refusals.push(Refusal { tag, error: no_document(&error) });
                request.abandon_item();
            } else if bytes > writer.limits.body_bytes_max {
                refusals.push(too_large(tag, bytes));
                request.abandon_item();
            } else {
                request.end_item(tag);
            }
        }
        if request.body.len() >= writer.request_bytes_max() {
            let full = std::mem::take(&mut request);
            refusals.extend(send_documents(writer, job, full).await?);
        }
    }
    refusals.extend(send_documents(writer, job, request).await?);
    let mut removal = Request::default();
    for refusal in &refusals {
        let one = &moves[refusal.tag];
        if let Some(id) = &one.id {
            delete(id, one.version, &mut removal.body);
            removal.end_item(refusal.tag);
        }
    }
    none_refused("removing refused rows", &send_documents(writer, job, removal).await?)?;
    refused.extend(refusals.into_iter().map(|refusal| Refused {
        projection: job.projection,
        row: moves[refusal.tag].row,
        error: refusal.error,
    }));
    Ok(())
}

/// Ids that no document has any more out of their places.
async fn settle(writer: &Writer<'_>, index: &str, moves: &[Move]) -> Result<(), SinkError> {
    let mut request = Request::default();
    for one in moves {
        match &one.id {
            Some(id) if one.left().next().is_some() => put(one, &[id], &mut request),
            Some(_) => {}
            None if one.place.found => {
                delete(&one.place_id, one.version, &mut request.body);
                request.end_item(0);
            }
            None => {}
        }
    }
    send(writer, index, "clearing places", request).await
}

fn put(one: &Move, ids: &[&String], request: &mut Request) {
    let id = one.place_id.as_bytes();
    Action { index: None, id, version: one.version }.write("index", &mut request.body);
    request.body.extend_from_slice(json!({ "ids": ids }).to_string().as_bytes());
    request.body.push(b'\n');
    request.end_item(0);
}

fn delete(id: &str, version: u64, out: &mut Vec<u8>) {
    Action { index: None, id: id.as_bytes(), version }.write("delete", out);
}

/// Documents are many to a tag: each of a row's items bears the row's.
async fn send_documents(
    writer: &Writer<'_>,
    job: &Job<'_>,
    request: Request,
) -> Result<Vec<bulk::Refusal>, SinkError> {
    if request.is_empty() {
        return Ok(Vec::new());
    }
    bulk::send(writer.client, &bulk_path(&job.destination), "writing documents", request).await
}

async fn send(
    writer: &Writer<'_>,
    index: &str,
    doing: &str,
    request: Request,
) -> Result<(), SinkError> {
    if request.is_empty() {
        return Ok(());
    }
    let path = format!("{}/_bulk?require_alias=false", segment(index));
    none_refused(doing, &bulk::send(writer.client, &path, doing, request).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_long_keys_are_digests() {
        assert_eq!(place_id("7"), "=7");
        assert_eq!(place_id(""), "=");
        let long = "x".repeat(ID_BYTES_MAX - 1);
        assert_eq!(place_id(&long).len(), ID_BYTES_MAX);
        let longer = place_id(&"x".repeat(ID_BYTES_MAX));
        assert!(longer.starts_with('#') && longer.len() == 65, "{longer}");
        assert_ne!(longer, place_id(&"y".repeat(ID_BYTES_MAX)));
    }
}
