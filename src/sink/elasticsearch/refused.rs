//! The index `readside-refused`: rows that a group's leader was refused, for the next one. A document each,
//! written before the watermark that moves past its row.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::apply::none_refused;
use super::bulk::{self, Request};
use super::client::{Client, Content, Method};
use super::{ElasticsearchSink, error, prepare};
use crate::engine::Entry;
use crate::sink::refused::Remembered;
use crate::sink::{Outcome, Poison, Refusal, Role, SinkError, Step};

const INDEX: &str = "readside-refused";
/// Of one answer.
const PAGE: usize = 1_000;

#[derive(Serialize, Deserialize)]
struct Document {
    /// The document's id again, which cannot be sorted by itself.
    id: String,
    projection: String,
    /// In hexadecimal, like the occurrence.
    key: String,
    lsn: String,
    error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    occurrence: Option<String>,
}

impl Document {
    fn of(projection: &str, refusal: &Refusal) -> Self {
        Self {
            id: id(projection, &refusal.key),
            projection: projection.to_owned(),
            key: hex(&refusal.key),
            lsn: refusal.lsn.to_string(),
            error: refusal.error.clone(),
            occurrence: refusal.occurrence.as_deref().map(hex),
        }
    }

    /// `None`: it is none of ours.
    fn read(self, projections: &[(&str, Role)]) -> Option<Refusal> {
        let projection = projections.iter().position(|(name, _)| *name == self.projection)?;
        let occurrence = match (projections[projection].1, self.occurrence) {
            (Role::Events, Some(hex)) => Some(unhex(&hex)?),
            (Role::Events, None) | (Role::Rows, _) => None,
        };
        let (key, lsn) = (unhex(&self.key)?, self.lsn.parse().ok()?);
        Some(Refusal { projection, key, lsn, error: self.error, occurrence })
    }
}

/// A key may be longer than an id.
fn id(projection: &str, key: &[u8]) -> String {
    let text = [projection.as_bytes(), b"/", key].concat();
    hex(ring::digest::digest(&ring::digest::SHA256, &text).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(pair).collect())?
}

/// Creates the index where it is missing.
pub(super) async fn ensure(client: &Client) -> Result<(), SinkError> {
    if !prepare::find(client, INDEX).await?.is_empty() {
        return Ok(());
    }
    let body = json!({
        "settings": { "index.number_of_shards": 1, "index.auto_expand_replicas": "0-1" },
        "mappings": { "dynamic": false, "properties": {
            "id": { "type": "keyword" },
            "projection": { "type": "keyword" },
        }},
    });
    // When another instance was faster, the index is there as well.
    prepare::put_index(client, INDEX, &body).await.map(|_| ())
}

async fn read(client: &Client, projections: &[(&str, Role)]) -> Result<Vec<Refusal>, SinkError> {
    #[derive(Deserialize, Default)]
    struct Body {
        #[serde(default)]
        hits: Hits,
    }
    #[derive(Deserialize, Default)]
    struct Hits {
        #[serde(default)]
        hits: Vec<Hit>,
    }
    #[derive(Deserialize)]
    struct Hit {
        #[serde(rename = "_source")]
        source: Document,
    }
    let doing = "reading the refused rows";
    prepare::refresh(client, INDEX).await?;
    let names: Vec<&str> = projections.iter().map(|(name, _)| *name).collect();
    let mut refusals = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut body = json!({
            "size": PAGE, "sort": ["id"], "query": { "terms": { "projection": names } },
        });
        if let Some(after) = after.take() {
            body["search_after"] = json!([after]);
        }
        let path = format!("{INDEX}/_search?filter_path=hits.hits._source");
        let answer = client.send(Method::Post, &path, Content::from(&body)).await?;
        if answer.status != 200 {
            return Err(error::refusal(doing, &answer));
        }
        let body: Body = serde_json::from_slice(&answer.body)
            .map_err(|source| error::unexpected(doing, &answer, source))?;
        let count = body.hits.hits.len();
        for Hit { source } in body.hits.hits {
            after = Some(source.id.clone());
            refusals.extend(source.read(projections));
        }
        if count < PAGE {
            return Ok(refusals);
        }
    }
}

/// What is to be written and removed.
#[derive(Default)]
struct Changes(Request);

impl Changes {
    fn write(&mut self, document: &Document) {
        self.line(&json!({ "index": { "_id": document.id } }));
        self.line(&json!(document));
        self.0.end_item(0);
    }

    fn remove(&mut self, projection: &str, key: &[u8]) {
        self.line(&json!({ "delete": { "_id": id(projection, key) } }));
        self.0.end_item(0);
    }

    fn line(&mut self, value: &Value) {
        self.0.body.extend_from_slice(value.to_string().as_bytes());
        self.0.body.push(b'\n');
    }

    async fn send(self, client: &Client) -> Result<(), SinkError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let doing = "writing the refused rows";
        let path = format!("{INDEX}/_bulk?refresh=false");
        none_refused(doing, &bulk::send(client, &path, doing, self.0).await?)
    }
}

impl ElasticsearchSink {
    pub(super) async fn read_refusals(&mut self) -> Result<Vec<Refusal>, SinkError> {
        if self.term == 0 || self.projections.is_empty() {
            return Ok(Vec::new());
        }
        let of = self.projections.iter().map(|of| (of.name.as_str(), of.role));
        let refusals = read(&self.client, &of.collect::<Vec<_>>()).await?;
        for (number, projection) in self.projections.iter_mut().enumerate() {
            let own = refusals.iter().filter(|refusal| refusal.projection == number);
            projection.remembered.read(own.map(|refusal| refusal.key.clone()));
        }
        Ok(refusals)
    }

    pub(super) async fn forget_refusals(
        &mut self,
        projection: usize,
        keys: &[Vec<u8>],
    ) -> Result<(), SinkError> {
        let projection = &mut self.projections[projection];
        let mut changes = Changes::default();
        for key in keys.iter().filter(|key| projection.remembered.is_written(key)) {
            changes.remove(&projection.name, key);
        }
        changes.send(&self.client).await?;
        projection.remembered.removed(keys.iter().map(Vec::as_slice));
        Ok(())
    }

    /// Before the watermark. What breaks off in between is sent again.
    pub(super) async fn write_refusals(
        &mut self,
        step: &Step,
        refused: &[Poison],
    ) -> Result<(), SinkError> {
        if self.term == 0 {
            return Ok(());
        }
        let mut changes = Changes::default();
        for part in &step.projections {
            let projection = &self.projections[part.projection];
            let remembered: &Remembered = &projection.remembered;
            let finishes = projection.finishes(part);
            let older = remembered.of_older().filter(|_| finishes);
            for key in remembered.settled_by(&part.entries).chain(older) {
                changes.remove(&projection.name, key);
            }
            for refusal in remembered.of_fill().filter(|_| finishes) {
                changes.write(&Document::of(&projection.name, refusal));
            }
        }
        for poison in refused {
            let projection = &self.projections[poison.projection];
            let refusal = Refusal::of(poison, projection.role);
            changes.write(&Document::of(&projection.name, &refusal));
        }
        changes.send(&self.client).await?;
        for part in &step.projections {
            let projection = &mut self.projections[part.projection];
            if projection.finishes(part) {
                projection.remembered.become_current();
            }
            projection.remembered.removed(part.entries.iter().map(Entry::key));
        }
        for poison in refused {
            let remembered = &mut self.projections[poison.projection].remembered;
            remembered.wrote([poison.entry.key()].into_iter());
        }
        Ok(())
    }

    pub(super) fn remember_fill(
        &mut self,
        projection: usize,
        entries: &[Entry],
        outcome: &Outcome,
    ) {
        if self.term > 0 {
            let role = self.projections[projection].role;
            let refused = outcome.poison.iter().map(|poison| Refusal::of(poison, role));
            self.projections[projection].remembered.filled(entries, refused);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let refusal = |projection, occurrence: Option<&[u8]>| Refusal {
            projection,
            key: b"\x01k\xFF".to_vec(),
            lsn: Lsn(0x1A),
            error: "no".into(),
            occurrence: occurrence.map(<[u8]>::to_vec),
        };
        let of = [("rows", Role::Rows), ("made", Role::Events)];
        for refusal in [refusal(0, None), refusal(1, Some(b"\x00row"))] {
            let document = Document::of(of[refusal.projection].0, &refusal);
            assert_eq!(document.id.len(), 64);
            let text = json!(document).to_string();
            let read: Document = serde_json::from_str(&text).expect("our own");
            assert_eq!(read.read(&of), Some(refusal));
        }
        assert_eq!(Document::of("others", &refusal(0, None)).read(&of), None);
        let damaged = Document { key: "0".into(), ..Document::of("rows", &refusal(0, None)) };
        assert_eq!(damaged.read(&of), None);
    }
}
