//! A search index, document by document. Documents are read by id, which sees what was written last;
//! a scan searches, after a refresh. Each write is bound to the document's sequence number, so it
//! touches none that has changed since it was read.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::{Client, Content, Method, segment};
use super::encode::Id;
use super::error;
use super::projection::Projection;
use super::target::CompiledTarget;
use crate::config::SinkConfig;
use crate::config::Target;
use crate::config::template::Part as TemplatePart;
use crate::engine::Entry;
use crate::sink::audit::{
    Audit, Difference, Found, Kind, Part, Piece, Place, Subject, key_of, shown,
};
use crate::sink::{SinkError, SinkProjection};
use crate::value::{self, ValueError};

/// Documents of one page of a scan.
const PAGE: usize = 1_000;
/// How long the server keeps a scan that does not go on.
const PATIENCE: &str = "5m";

pub struct ElasticsearchAudit {
    client: Client,
    projection: SinkProjection,
    targets: Vec<CompiledTarget>,
    scan: Scan,
}

enum Scan {
    Before(usize),
    Within(usize, String),
}

/// See `Audit::Fix`.
#[derive(Clone)]
pub struct Fix {
    method: FixMethod,
    path: String,
    document: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FixMethod {
    Put,
    Delete,
    /// No server takes the document.
    None,
}

/// What should be there for a row.
enum Expected {
    Nothing,
    Document(String, Vec<u8>),
    /// A document that cannot be, and why.
    Impossible(String),
}

/// A document as it was read.
#[derive(Deserialize)]
struct Document {
    #[serde(default, rename = "_id")]
    id: String,
    #[serde(default)]
    found: bool,
    #[serde(default, rename = "_seq_no")]
    seq_no: u64,
    #[serde(default, rename = "_primary_term")]
    primary_term: u64,
    #[serde(default, rename = "_source")]
    source: Option<Box<RawValue>>,
}

impl ElasticsearchAudit {
    pub fn open(config: &SinkConfig, projection: &SinkProjection) -> Result<Self, SinkError> {
        let targets = Projection::new(projection)?.targets;
        let projection = projection.clone();
        Ok(Self { client: Client::new(config), projection, targets, scan: Scan::Before(0) })
    }

    async fn documents(
        &self,
        target: &CompiledTarget,
        ids: &[String],
    ) -> Result<Vec<Document>, SinkError> {
        #[derive(Deserialize)]
        struct Body {
            docs: Vec<Document>,
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let doing = "reading documents";
        let path = format!("{}/_mget", segment(&target.alias));
        let asked = serde_json::json!({ "ids": ids });
        let answer = self.client.send(Method::Post, &path, (&asked).into()).await?;
        if answer.status != 200 {
            return Err(error::refusal(doing, &answer));
        }
        let body: Body = serde_json::from_slice(&answer.body)
            .map_err(|source| error::unexpected(doing, &answer, source))?;
        match body.docs.len() == ids.len() {
            true => Ok(body.docs),
            false => Err(error::trouble("the search server left out some of the documents")),
        }
    }

    fn difference(
        &self,
        target: &CompiledTarget,
        subject: usize,
        expected: Option<&[u8]>,
        found: &Document,
    ) -> Option<Difference<Fix>> {
        let there = found.source.as_ref().filter(|_| found.found);
        let (kind, parts) = match (expected, there) {
            (None, None) => return None,
            (Some(_), None) => (Kind::Missing, Vec::new()),
            (None, Some(_)) => (Kind::Extra, Vec::new()),
            (Some(expected), Some(source)) => {
                let parts = parts(expected, source.get().as_bytes());
                if parts.is_empty() {
                    return None;
                }
                (Kind::Different, parts)
            }
        };
        let Document { id, seq_no, primary_term, .. } = found;
        let mut path = format!("{}/_doc/{}", segment(&target.alias), segment(id));
        path.push_str(&match there {
            Some(_) => format!("?if_seq_no={seq_no}&if_primary_term={primary_term}"),
            None => "?op_type=create&require_alias=true".to_owned(),
        });
        Some(Difference {
            subject,
            kind,
            place: format!("document {} of {}", shown(id.as_bytes()), target.alias),
            parts,
            fix: Fix {
                method: if expected.is_some() { FixMethod::Put } else { FixMethod::Delete },
                path,
                document: expected.unwrap_or_default().to_vec(),
            },
        })
    }

    /// The key of a document's id.
    fn key_of(&self, target: usize, id: &str) -> Option<Vec<u8>> {
        let SinkProjection { columns, key, .. } = &self.projection;
        let template = self.projection.targets.get(target).and_then(|target| match target {
            Target::Elasticsearch(target) => target.id.as_ref(),
            Target::Postgres(_) | Target::Redis(_) => None,
        });
        let Some(template) = template else { return self.default_key(id) };
        let pieces = template.parts.iter().map(|part| match part {
            TemplatePart::Literal(text) => Some(Piece::Literal(text.as_bytes())),
            TemplatePart::Column(name) => {
                columns.iter().position(|column| column.name == *name).map(Piece::Column)
            }
        });
        key_of(&pieces.collect::<Option<Vec<_>>>()?, id.as_bytes(), columns, key)
    }

    /// The key's values joined by `|`, with `\` and `|` escaped by `\`; NULL is `\N`.
    fn default_key(&self, id: &str) -> Option<Vec<u8>> {
        let key = &self.projection.key;
        if key.is_empty() {
            return (id == "_").then(Vec::new);
        }
        let mut texts = vec![Some(String::new())];
        let mut chars = id.chars();
        while let Some(c) = chars.next() {
            match (c, texts.last_mut()?) {
                ('|', _) => texts.push(Some(String::new())),
                ('\\', last) => match chars.next()? {
                    'N' => *last = None,
                    escaped => last.as_mut()?.push(escaped),
                },
                (plain, last) => last.as_mut()?.push(plain),
            }
        }
        if texts.len() != key.len() {
            return None;
        }
        let mut bytes = Vec::new();
        for (text, &at) in texts.iter().zip(key) {
            match text {
                None => value::encode_null(&mut bytes),
                Some(text) => {
                    let ty = &self.projection.columns[at].ty;
                    value::encode(ty, text.as_bytes(), &mut bytes).ok()?;
                }
            }
        }
        Some(bytes)
    }

    async fn page(&self, path: &str, body: &Value) -> Result<Page, SinkError> {
        let doing = "looking through an index";
        let answer = self.client.send(Method::Post, path, body.into()).await?;
        if answer.status != 200 {
            return Err(error::refusal(doing, &answer));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|source| error::unexpected(doing, &answer, source))
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "_scroll_id")]
    scroll: String,
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_id")]
    id: String,
}

impl Audit for ElasticsearchAudit {
    type Fix = Fix;

    async fn compare(&mut self, subjects: &[Subject]) -> Result<Vec<Difference<Fix>>, SinkError> {
        let mut differences = Vec::new();
        for (number, target) in self.targets.iter().enumerate() {
            // By subject: an id, and the document that should be there.
            let mut wanted: Vec<(usize, String, Option<Vec<u8>>)> = Vec::new();
            for (at, subject) in subjects.iter().enumerate() {
                let expected = match &subject.row {
                    Some(row) => expected(target, row).map_err(unreadable)?,
                    None => Expected::Nothing,
                };
                let expected = match expected {
                    Expected::Document(id, document) => Some((id, document)),
                    Expected::Nothing => None,
                    Expected::Impossible(why) => {
                        differences.push(impossible(target, at, &why));
                        None
                    }
                };
                for found in subject.found.iter().filter(|found| found.target == number) {
                    let id = String::from_utf8_lossy(&found.at).into_owned();
                    if expected.as_ref().is_none_or(|(expected, _)| *expected != id) {
                        wanted.push((at, id, None));
                    }
                }
                wanted.extend(expected.map(|(id, document)| (at, id, Some(document))));
            }
            let ids: Vec<String> = wanted.iter().map(|(_, id, _)| id.clone()).collect();
            let documents = self.documents(target, &ids).await?;
            for ((subject, _, expected), found) in wanted.iter().zip(&documents) {
                let difference = self.difference(target, *subject, expected.as_deref(), found);
                differences.extend(difference);
            }
        }
        Ok(differences)
    }

    fn begin_scan(&mut self) {
        self.scan = Scan::Before(0);
    }

    async fn scan(&mut self) -> Result<Option<Vec<Found>>, SinkError> {
        let (at, page) = match &self.scan {
            Scan::Before(at) => {
                let Some(target) = self.targets.get(*at) else { return Ok(None) };
                let index = segment(&target.alias);
                let doing = "refreshing an index";
                let refresh = format!("{index}/_refresh");
                let answer = self.client.send(Method::Post, &refresh, Content::None).await?;
                if answer.status != 200 {
                    return Err(error::refusal(doing, &answer));
                }
                let path = format!("{index}/_search?scroll={PATIENCE}");
                let body = serde_json::json!({ "size": PAGE, "_source": false, "sort": ["_doc"] });
                (*at, self.page(&path, &body).await?)
            }
            Scan::Within(at, scroll) => {
                let body = serde_json::json!({ "scroll": PATIENCE, "scroll_id": scroll });
                (*at, self.page("_search/scroll", &body).await?)
            }
        };
        if page.hits.hits.is_empty() {
            self.scan = Scan::Before(at + 1);
            let body = serde_json::json!({ "scroll_id": page.scroll });
            // The server forgets it anyway, a little later.
            let _ = self.client.send(Method::Delete, "_search/scroll", (&body).into()).await;
            return Ok(Some(Vec::new()));
        }
        self.scan = Scan::Within(at, page.scroll);
        let found = page.hits.hits.into_iter().map(|Hit { id }| Found {
            key: self.key_of(at, &id),
            place: Place { target: at, at: id.into_bytes(), member: Vec::new() },
        });
        Ok(Some(found.collect()))
    }

    async fn mend(&mut self, fix: &Fix) -> Result<bool, SinkError> {
        let (method, content) = match fix.method {
            FixMethod::Put => (Method::Put, Content::Json(fix.document.clone().into())),
            FixMethod::Delete => (Method::Delete, Content::None),
            FixMethod::None => return Ok(false),
        };
        let answer = self.client.send(method, &fix.path, content).await?;
        match answer.status {
            200 | 201 => Ok(true),
            // It has changed or gone since.
            404 | 409 => Ok(false),
            _ => Err(error::refusal("putting a document right", &answer)),
        }
    }
}

fn expected(target: &CompiledTarget, row: &Entry) -> Result<Expected, ValueError> {
    let mut id = Vec::new();
    match target.ids.write(row, &mut id)? {
        Id::Some => {}
        Id::None => return Ok(Expected::Nothing),
        Id::Invalid(why) => return Ok(Expected::Impossible(why)),
    }
    let mut document = Vec::new();
    if let Err(error) = target.documents.write(row.value().unwrap_or_default(), &mut document) {
        return Ok(Expected::Impossible(error.to_string()));
    }
    Ok(Expected::Document(String::from_utf8_lossy(&id).into_owned(), document))
}

/// The row is missing: it is a dead letter, or one that was dropped.
fn impossible(target: &CompiledTarget, subject: usize, why: &str) -> Difference<Fix> {
    Difference {
        subject,
        kind: Kind::Missing,
        place: format!("document of {}, which cannot be: {why}", target.alias),
        parts: Vec::new(),
        fix: Fix { method: FixMethod::None, path: String::new(), document: Vec::new() },
    }
}

/// The fields that differ.
fn parts(expected: &[u8], found: &[u8]) -> Vec<Part> {
    if expected == found {
        return Vec::new();
    }
    let fields = |text: &[u8]| -> std::collections::BTreeMap<String, Value> {
        serde_json::from_slice(text).unwrap_or_default()
    };
    let (expected, mut found) = (fields(expected), fields(found));
    let text = |value: &Value| shown(value.to_string().as_bytes());
    let mut parts = Vec::new();
    for (name, value) in &expected {
        let there = found.remove(name);
        if there.as_ref() != Some(value) {
            let (expected, found) = (Some(text(value)), there.as_ref().map(text));
            parts.push(Part { name: name.clone(), expected, found });
        }
    }
    let more = found.iter();
    parts.extend(more.map(|(name, value)| Part {
        name: name.clone(),
        expected: None,
        found: Some(text(value)),
    }));
    parts
}

fn unreadable(error: ValueError) -> SinkError {
    error::trouble(format!("a row cannot be read: {error}"))
}
