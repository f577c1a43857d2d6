//! Dead letters: listed from the store, after what is known of them has become durable; the row of one
//! from the engine; and what is done with them.
//!
//! A letter's id is a digest of sink, projection and key: the same as long as the row is refused there,
//! whatever is restarted or filled anew.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;

use super::{Running, between};
use crate::http::{Letter, LetterShown, Letters, LettersAsked, Refusal, Retried, Why};
use crate::lsn::Lsn;
use crate::pipeline::run::facts;
use crate::pipeline::run::questions::{Question, Tried};
use crate::pipeline::{Payload, Withheld, key_hex, letter_key};
use crate::sink::event::EventWriter;
use crate::value::{self, Column};

/// How long a retry waits for the sink's answer.
const RETRY_PATIENCE: Duration = Duration::from_secs(10);
/// Meanwhile it is looked so often whether the sink is there.
const AWAY_PAUSE: Duration = Duration::from_millis(100);
/// Facts that are looked at in one go.
const PAGE: usize = 1_000;

/// By projection, what the engine says of it: asked once for a page of letters, and not for each.
type Shapes = BTreeMap<String, Option<(Vec<Column>, Vec<usize>)>>;

/// A letter as the store or the engine has it.
struct Found {
    /// The next one begins behind it.
    place: From,
    /// `None`: the row itself cannot be computed.
    sink: Option<usize>,
    projection: String,
    key: Vec<u8>,
    lsn: Lsn,
    error: String,
}

/// Where a page of letters begins: those of the store come first, by their facts' names, then those that
/// the engine withholds, by projection and key.
#[derive(Clone)]
enum From {
    Fact(String),
    Withheld(usize, Option<Vec<u8>>),
}

impl From {
    fn parse(text: &str) -> Option<From> {
        if let Some(fact) = text.strip_prefix("s/") {
            return Some(From::Fact(fact.to_owned()));
        }
        let (at, key) = text.strip_prefix("w/")?.split_once('/')?;
        let key = if key.is_empty() { None } else { Some(letter_key(key)?) };
        Some(From::Withheld(at.parse().ok()?, key))
    }
}

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            From::Fact(name) => write!(f, "s/{name}"),
            From::Withheld(at, key) => {
                write!(f, "w/{at}/{}", key.as_deref().map(key_hex).unwrap_or_default())
            }
        }
    }
}

impl Running {
    pub(super) async fn letters(&self, asked: LettersAsked) -> Result<Letters, Refusal> {
        if let Some(sink) = &asked.sink {
            self.sink(sink)?;
        }
        if let Some(projection) = &asked.projection {
            self.knows(projection)?;
        }
        let mut from = match &asked.after {
            None => From::Fact(String::new()),
            Some(after) => From::parse(after)
                .ok_or_else(|| Refusal::new(Why::Bad, "after: not the next of a page"))?,
        };
        self.ask(|reply| Question::Durable { reply }).await?;
        let (mut letters, mut shapes) = (Vec::new(), Shapes::default());
        loop {
            let (found, next) = self.page(&from).await?;
            for found in found {
                let is_asked = asked.sink.as_ref().is_none_or(|sink| self.lacks(sink, &found))
                    && asked.projection.as_ref().is_none_or(|asked| *asked == found.projection);
                if !is_asked {
                    continue;
                }
                letters.push(self.described(&found, &mut shapes).await?);
                if letters.len() >= asked.limit {
                    return Ok(Letters { letters, next: Some(found.place.to_string()) });
                }
            }
            match next {
                None => return Ok(Letters { letters, next: None }),
                Some(next) => from = next,
            }
        }
    }

    /// What is found in one look, and where the next one begins.
    async fn page(&self, from: &From) -> Result<(Vec<Found>, Option<From>), Refusal> {
        let limit = PAGE;
        match from {
            From::Fact(after) => {
                let after = after.clone();
                let facts = self.ask(|reply| Question::Letters { after, limit, reply }).await?;
                let next = match facts.last() {
                    Some((name, _)) if facts.len() >= limit => From::Fact(name.clone()),
                    _ => From::Withheld(0, None),
                };
                let found = facts.iter().filter_map(|(name, fact)| self.of_fact(name, fact));
                Ok((found.collect(), Some(next)))
            }
            From::Withheld(at, after) => {
                let Some(projection) = self.config.projections.get(*at) else {
                    return Ok((Vec::new(), None));
                };
                let (projection, after) = (projection.name.clone(), after.clone());
                let named = projection.clone();
                let withheld = self
                    .ask(|reply| Question::Withheld { projection: named, after, limit, reply })
                    .await?;
                let next = match withheld.last() {
                    Some(last) if withheld.len() >= limit => {
                        From::Withheld(*at, Some(last.key.clone()))
                    }
                    _ => From::Withheld(at + 1, None),
                };
                let found = withheld.into_iter().map(|Withheld { key, lsn, error }| Found {
                    place: From::Withheld(*at, Some(key.clone())),
                    sink: None,
                    projection: projection.clone(),
                    key,
                    lsn,
                    error,
                });
                Ok((found.collect(), Some(next)))
            }
        }
    }

    /// A row that cannot be computed is missing in every sink of its projection, as the metrics count it.
    fn lacks(&self, sink: &str, found: &Found) -> bool {
        let Some(refused_by) = found.sink else {
            let of = self.config.projections.iter().find(|known| known.name == found.projection);
            return of.is_some_and(|of| of.targets.iter().any(|(to, _)| to == sink));
        };
        self.config.sinks[refused_by].name == sink
    }

    /// Of sinks and projections that are no longer configured nothing is said.
    fn of_fact(&self, name: &str, fact: &[u8]) -> Option<Found> {
        let mut parts = name.splitn(3, '/');
        let (sink, projection, key) = (parts.next()?, parts.next()?, parts.next()?);
        let configured = self.config.projections.iter().find(|known| known.name == projection)?;
        configured.targets.iter().find(|(to, _)| to == sink)?;
        Some(Found {
            place: From::Fact(name.to_owned()),
            sink: Some(self.sink(sink).ok()?),
            projection: projection.to_owned(),
            key: letter_key(key)?,
            lsn: Lsn(facts::number(Some(fact))),
            error: String::from_utf8_lossy(fact.get(8..)?).into_owned(),
        })
    }

    async fn described(&self, found: &Found, shapes: &mut Shapes) -> Result<Letter, Refusal> {
        let projection = found.projection.clone();
        if !shapes.contains_key(&projection) {
            let named = projection.clone();
            let shape = self.ask(|reply| Question::Shape { projection: named, reply }).await?;
            shapes.insert(projection.clone(), shape);
        }
        let is_event = self.is_event(&found.projection);
        let key = match &shapes[&projection] {
            // As its id is written everywhere.
            Some((columns, key)) if is_event => {
                value::key_text(key.iter().map(|&at| &columns[at].ty), &found.key).replace('|', "/")
            }
            Some((columns, key)) => {
                value::key_text(key.iter().map(|&at| &columns[at].ty), &found.key)
            }
            // Its projection is not followed at the moment.
            None => format!("\\x{}", key_hex(&found.key)),
        };
        let sink = found.sink.map(|at| self.config.sinks[at].name.clone());
        Ok(Letter {
            id: id(sink.as_deref(), &found.projection, &found.key),
            sink,
            projection: found.projection.clone(),
            key,
            lsn: found.lsn,
            error: found.error.clone(),
        })
    }

    /// The letter with this id, wherever it is.
    async fn find(&self, wanted: &str) -> Result<Found, Refusal> {
        self.ask(|reply| Question::Durable { reply }).await?;
        let mut from = Some(From::Fact(String::new()));
        while let Some(at) = from {
            let (found, next) = self.page(&at).await?;
            for found in found {
                let sink = found.sink.map(|at| self.config.sinks[at].name.as_str());
                if id(sink, &found.projection, &found.key) == wanted {
                    return Ok(found);
                }
            }
            from = next;
        }
        let error = format!("there is no dead letter {wanted}: it may have gone with its row");
        Err(Refusal::new(Why::Unknown, error))
    }

    pub(super) async fn letter(&self, wanted: &str) -> Result<LetterShown, Refusal> {
        let found = self.find(wanted).await?;
        let letter = self.described(&found, &mut Shapes::default()).await?;
        if let Some(sink) = found.sink.filter(|_| self.is_event(&found.projection)) {
            let payload = self.occurrence(sink, &found).await?;
            let payload_lsn = payload.as_ref().map(|_| found.lsn);
            return Ok(LetterShown { letter, payload, payload_lsn });
        }
        let (projection, keys) = (found.projection.clone(), vec![found.key]);
        let rows = self.ask(|reply| Question::Rows { projection, keys, reply }).await?;
        // What is not followed has no row that could be shown.
        let row = rows.ok().and_then(|rows| {
            let row = rows.rows.into_iter().flatten().next()?;
            Some((payload(&rows.columns, row.value()?)?, row.lsn()))
        });
        let (payload, payload_lsn) = row.unzip();
        Ok(LetterShown { letter, payload, payload_lsn })
    }

    fn is_event(&self, projection: &str) -> bool {
        let of = self.config.projections.iter().find(|known| known.name == projection);
        of.is_some_and(|of| of.event().is_some())
    }

    /// The event's document; where it cannot be computed, the change of which it would be.
    async fn occurrence(
        &self,
        sink: usize,
        found: &Found,
    ) -> Result<Option<Box<RawValue>>, Refusal> {
        let (projection, key) = (found.projection.clone(), found.key.clone());
        let kept = self.ask(|reply| Question::Payload { sink, projection, key, reply }).await?;
        let json = match kept {
            Some(Payload::Change(json)) => json.into_bytes(),
            Some(Payload::Row(row)) => {
                let projection = found.projection.clone();
                let shape = self.ask(|reply| Question::Shape { projection, reply }).await?;
                let Some((columns, _)) = shape else { return Ok(None) };
                let mut document = Vec::new();
                match EventWriter::new(&columns).write_document(&row, &mut document) {
                    Ok(()) => document,
                    Err(_) => return Ok(payload(&columns, &row)),
                }
            }
            None => return Ok(None),
        };
        Ok(String::from_utf8(json).ok().and_then(|json| RawValue::from_string(json).ok()))
    }

    /// Of a sink that `is_away` nobody waits for an answer.
    pub(super) async fn retry(
        &self,
        wanted: &str,
        is_away: impl Fn(&str) -> bool,
    ) -> Result<Retried, Refusal> {
        let found = self.find(wanted).await?;
        let Some(sink) = found.sink else { return Err(cannot_be_computed("tried again")) };
        let (projection, key) = (found.projection, found.key);
        let tried = self.asked(|reply| Question::Retry { sink, projection, key, reply }).await?;
        let name = &self.config.sinks[sink].name;
        let away = async {
            while !is_away(name) {
                tokio::time::sleep(AWAY_PAUSE).await;
            }
        };
        tokio::select! {
            biased;
            tried = tried => match tried.map_err(|_| between())? {
                Tried::Accepted => Ok(Retried::Accepted),
                Tried::Refused(error) => Ok(Retried::Refused { error }),
                Tried::NoLetter => Err(gone(wanted)),
            },
            () = away => {
                Ok(Retried::Waiting { why: "the sink is away, and gets it when it is back" })
            }
            () = tokio::time::sleep(RETRY_PATIENCE) => {
                Ok(Retried::Waiting { why: "the sink has not answered yet" })
            }
        }
    }

    pub(super) async fn drop_letter(&self, wanted: &str) -> Result<(), Refusal> {
        let found = self.find(wanted).await?;
        let Some(sink) = found.sink else { return Err(cannot_be_computed("dropped")) };
        let (projection, key) = (found.projection, found.key);
        let found = self.ask(|reply| Question::DropLetter { sink, projection, key, reply }).await?;
        if !found {
            return Err(gone(wanted));
        }
        // Whoever hears that it is gone will not find it again.
        self.ask(|reply| Question::Durable { reply }).await
    }
}

fn gone(wanted: &str) -> Refusal {
    Refusal::new(Why::Unknown, format!("dead letter {wanted} has just gone"))
}

fn cannot_be_computed(what: &str) -> Refusal {
    let error = format!(
        "this row cannot be computed, so no sink was asked and nothing can be {what}: the letter goes by \
         itself when the row's values are changed on the source, or the query"
    );
    Refusal::new(Why::Conflict, error)
}

fn id(sink: Option<&str>, projection: &str, key: &[u8]) -> String {
    let text = [sink.unwrap_or_default().as_bytes(), b"/", projection.as_bytes(), b"/", key];
    let digest = ring::digest::digest(&ring::digest::SHA256, &text.concat());
    key_hex(&digest.as_ref()[..8])
}

/// The row as a document; one that has no such form (which may be why it was refused) as its columns'
/// texts.
fn payload(columns: &[Column], row: &[u8]) -> Option<Box<RawValue>> {
    let mut document = Vec::new();
    if value::write_document(columns, row, None, &mut document).is_err() {
        document.clear();
        document.push(b'{');
        for (at, (column, datum)) in columns.iter().zip(value::columns(columns, row)).enumerate() {
            if at > 0 {
                document.extend_from_slice(b", ");
            }
            value::write_json_string(column.name.as_bytes(), &mut document);
            document.extend_from_slice(b": ");
            let datum = datum.ok()?;
            if value::is_null(datum) {
                document.extend_from_slice(b"null");
                continue;
            }
            let mut text = Vec::new();
            value::write_text(&column.ty, datum, &mut text).ok()?;
            value::write_json_string(&text, &mut document);
        }
        document.push(b'}');
    }
    RawValue::from_string(String::from_utf8(document).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_begin_where_the_one_before_has_ended() {
        for text in ["s/", "s/cache/orders/017f", "w/0/", "w/3/017f"] {
            assert_eq!(From::parse(text).expect("one of ours").to_string(), text);
        }
        for text in ["", "s", "w/", "w/x/", "w/1", "w/1/0", "w/1/zz"] {
            assert!(From::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn ids_tell_sinks_projections_and_keys_apart() {
        let ids = [
            id(Some("a"), "p", b"k"),
            id(Some("b"), "p", b"k"),
            id(None, "p", b"k"),
            id(Some("a"), "q", b"k"),
            id(Some("a"), "p", b"l"),
        ];
        let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(ids[0].len(), 16);
    }
}
