//! The watermark documents: one for each projection in the index `readside-watermark`, written by
//! compare-and-set on the document's sequence number, so that of two writers one learns of the other.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::bulk;
use super::client::{Client, Content, Method};
use super::error::{self, ServerError};
use super::prepare;
use crate::lsn::Lsn;
use crate::sink::{Origin, SinkError, Watermark};

const INDEX: &str = "readside-watermark";
const ATTEMPTS_MAX: u32 = 6;

/// The document. `projection` beside it, and its first five fields are contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) lsn: String,
    /// ISO 8601, UTC, microseconds; null before the first settled step.
    pub(super) committed_at: Option<String>,
    pub(super) settled: bool,
    pub(super) generation: u64,
    pub(super) owner: String,
    /// No document is as new as this. Recorded before anything is removed: the server forgets the
    /// versions of removed documents, so it could not refuse an older one.
    pub(super) reaching: String,
    pub(super) fingerprint: String,
    #[serde(default)]
    pub(super) history: String,
    pub(super) targets: Vec<Place>,
    /// Of the leader that wrote it, where a group has leaders.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) term: u64,
}

/// As it lies there: who reads many of them need not look at their ids.
#[derive(Serialize)]
struct Written<'a> {
    projection: &'a str,
    #[serde(flatten)]
    document: &'a Document,
}

fn is_none(term: &u64) -> bool {
    *term == 0
}

/// The index that the watermark speaks of; another one under the alias is not it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) alias: String,
    pub(super) index: String,
    pub(super) uuid: String,
    /// The uuid of the index of places, where the target has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) places_uuid: Option<String>,
}

/// A document as it was last read or written.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) document: Document,
    /// Sequence number and primary term; `None` before it exists.
    version: Option<(u64, u64)>,
}

impl Document {
    /// Says nothing but whose it is.
    pub(super) fn blank(origin: &Origin) -> Self {
        Self {
            lsn: Lsn::ZERO.to_string(),
            committed_at: None,
            settled: false,
            generation: 0,
            owner: origin.owner.name().into(),
            reaching: Lsn::ZERO.to_string(),
            fingerprint: String::new(),
            history: origin.history.tag(),
            targets: Vec::new(),
            term: 0,
        }
    }

    /// What is left of it in the pipeline of `origin`: whose it is now, and in which history.
    pub(super) fn judged(self, origin: &Origin) -> Result<Self, SinkError> {
        let judged = origin.history.judge(self.watermark()?);
        Ok(Self {
            lsn: judged.lsn.to_string(),
            reaching: judged.reaching.to_string(),
            settled: judged.settled,
            fingerprint: judged.fingerprint,
            history: judged.history,
            owner: origin.owner.name().into(),
            ..self
        })
    }

    pub(super) fn reaching(&self) -> Lsn {
        // Checked when the document was read.
        self.reaching.parse().unwrap_or(Lsn::MAX)
    }

    /// What delivery is told.
    pub(super) fn watermark(&self) -> Result<Watermark, SinkError> {
        let lsn = |text: &str| {
            text.parse::<Lsn>().map_err(|_| SinkError::Fatal {
                what: format!("a document of {INDEX} holds {text:?} where an LSN should be"),
                hint: format!("remove that document from {INDEX}; the projection is filled anew"),
            })
        };
        Ok(Watermark {
            lsn: lsn(&self.lsn)?,
            reaching: lsn(&self.reaching)?,
            committed_at: self.committed_at.as_deref().and_then(time::parse).unwrap_or(0),
            settled: self.settled,
            generation: self.generation,
            fingerprint: self.fingerprint.clone(),
            history: self.history.clone(),
            term: self.term,
        })
    }
}

impl Record {
    pub(super) fn new(document: Document) -> Self {
        Self { document, version: None }
    }

    /// The next one in its place.
    pub(super) fn with(&self, document: Document) -> Self {
        Self { document, version: self.version }
    }

    pub(super) fn judged(self, origin: &Origin) -> Result<Self, SinkError> {
        Ok(Self { document: self.document.judged(origin)?, ..self })
    }
}

/// Reads the documents of `projections`, making the index when there is none.
pub(super) async fn read(
    client: &Client,
    projections: &[&str],
) -> Result<Vec<Option<Record>>, SinkError> {
    if let Some(found) = find(client, projections).await? {
        return Ok(found);
    }
    create(client).await?;
    Ok(vec![None; projections.len()])
}

/// The documents of `projections`; `None` where there is no index of them.
pub(super) async fn find(
    client: &Client,
    projections: &[&str],
) -> Result<Option<Vec<Option<Record>>>, SinkError> {
    #[derive(Deserialize)]
    struct Body {
        docs: Vec<Found>,
    }
    #[derive(Deserialize)]
    struct Found {
        #[serde(default)]
        found: bool,
        #[serde(default, rename = "_seq_no")]
        seq_no: u64,
        #[serde(default, rename = "_primary_term")]
        primary_term: u64,
        #[serde(default, rename = "_source")]
        source: Option<Document>,
        #[serde(default)]
        error: Option<ServerError>,
    }
    let doing = "reading the watermarks";
    if projections.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let path = format!(
        "{INDEX}/_mget?filter_path=docs.found,docs._seq_no,docs._primary_term,docs._source,\
         docs.error"
    );
    let body = json!({ "ids": projections });
    let answer = client.send(Method::Post, &path, (&body).into()).await?;
    if answer.status == 404 {
        return Ok(None);
    }
    if answer.status != 200 {
        return Err(error::refusal(doing, &answer));
    }
    let body: Body = serde_json::from_slice(&answer.body)
        .map_err(|source| error::unexpected(doing, &answer, source))?;
    if body.docs.iter().any(|doc| {
        doc.error.as_ref().is_some_and(|error| error.kind == "index_not_found_exception")
    }) {
        return Ok(None);
    }
    if body.docs.len() != projections.len() {
        return Err(error::trouble("the search server left out some of the watermarks"));
    }
    let records = body.docs.into_iter().map(|doc| match doc.error {
        Some(error) => Err(error::trouble(format!("cannot read the watermarks: {error}"))),
        None if doc.found => Ok(doc
            .source
            .map(|document| Record { document, version: Some((doc.seq_no, doc.primary_term)) })),
        None => Ok(None),
    });
    records.collect::<Result<_, _>>().map(Some)
}

async fn create(client: &Client) -> Result<(), SinkError> {
    let body = json!({
        "settings": { "index.number_of_shards": 1, "index.auto_expand_replicas": "0-1" },
        "mappings": { "dynamic": false, "properties": {
            "projection": { "type": "keyword" },
            "lsn": { "type": "keyword" },
            "committed_at": { "type": "date", "ignore_malformed": true },
            "settled": { "type": "boolean" },
            "generation": { "type": "long" },
            "owner": { "type": "keyword" },
            "reaching": { "type": "keyword" },
        }},
    });
    // When another pipeline was faster, the index is there as well.
    prepare::put_index(client, INDEX, &body).await.map(|_| ())
}

/// Writes the documents; each must still be as it was last read or written.
pub(super) async fn write(
    client: &Client,
    documents: Vec<(&str, &mut Record)>,
) -> Result<(), SinkError> {
    let doing = "writing the watermarks";
    let path = format!(
        "{INDEX}/_bulk?timeout=10s&filter_path=items.*.status,items.*._seq_no,\
         items.*._primary_term,items.*.error"
    );
    let mut left = documents;
    let mut attempt = 0;
    while !left.is_empty() {
        if attempt > 0 {
            tokio::time::sleep(bulk::retry_delay(attempt)).await;
        }
        attempt += 1;
        let mut body = String::new();
        for (projection, record) in &left {
            let action = match record.version {
                Some((seq_no, term)) => json!({ "index": {
                    "_id": projection, "if_seq_no": seq_no, "if_primary_term": term,
                }}),
                None => json!({ "create": { "_id": projection } }),
            };
            let document = json!(Written { projection, document: &record.document });
            body.push_str(&format!("{action}\n{document}\n"));
        }
        let answer = client.send(Method::Post, &path, Content::Ndjson(body.into())).await?;
        if error::is_busy(&answer) && attempt < ATTEMPTS_MAX {
            continue;
        }
        if answer.status != 200 {
            return Err(error::refusal(doing, &answer));
        }
        let items = bulk::read_items(doing, &answer)?;
        if items.len() != left.len() {
            return Err(error::trouble("the search server left out some of the watermarks"));
        }
        let mut busy = Vec::new();
        for ((projection, record), item) in left.into_iter().zip(items) {
            match (item.status, item.seq_no, item.primary_term) {
                (200 | 201, Some(seq_no), Some(term)) => record.version = Some((seq_no, term)),
                // Its reader, `open`, tells whether the writer was ourselves (an answer that never
                // came) or another pipeline.
                (409, ..) => {
                    return Err(error::trouble(format!(
                        "the watermark of {projection} was written by somebody else meanwhile"
                    )));
                }
                (408 | 429 | 500.., ..) if attempt < ATTEMPTS_MAX => {
                    busy.push((projection, record));
                }
                (status, ..) => {
                    return Err(error::trouble(format!(
                        "the search server refused the watermark of {projection} (status \
                         {status}): {}",
                        item.error.unwrap_or_default()
                    )));
                }
            }
        }
        left = busy;
    }
    Ok(())
}

/// Times of commits as text.
pub(super) mod time {
    /// From 1970-01-01 to 2000-01-01.
    const EPOCH_DAYS: i64 = 10_957;
    const DAY_US: i64 = 86_400_000_000;

    /// Microseconds since 2000-01-01 UTC, as `2000-01-01T00:00:00.000000+00:00`.
    pub(in super::super) fn format(us: i64) -> String {
        let (day, in_day) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
        let (year, month, date) = civil(day + EPOCH_DAYS);
        let (seconds, micros) = (in_day / 1_000_000, in_day % 1_000_000);
        format!(
            "{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{micros:06}+00:00",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
        )
    }

    /// The reverse of [`format`], and of nothing else.
    pub(super) fn parse(text: &str) -> Option<i64> {
        let rest = text.strip_suffix("+00:00")?;
        let (date, time) = rest.split_once('T')?;
        let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let (clock, micros) = time.split_once('.')?;
        let mut clock = clock.split(':').map(|part| part.parse::<i64>().ok());
        let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
        let micros: i64 = (micros.len() == 6).then(|| micros.parse().ok())??;
        let seconds = hour * 3600 + minute * 60 + second;
        (days(year, month, day) - EPOCH_DAYS)
            .checked_mul(DAY_US)?
            .checked_add(seconds * 1_000_000 + micros)
    }

    /// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Years are
    /// counted from March, so that the leap day is a year's last.
    fn civil(day: i64) -> (i64, i64, i64) {
        let shifted = day + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let date = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (era * 400 + year_of_era + i64::from(month <= 2), month, date)
    }

    fn days(year: i64, month: i64, date: i64) -> i64 {
        let year = if month <= 2 { year - 1 } else { year };
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + date - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
            - 719_468
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn times_come_back() {
            for (us, text) in [
                (0, "2000-01-01T00:00:00.000000+00:00"),
                (-1, "1999-12-31T23:59:59.999999+00:00"),
                (820_540_799_123_456, "2025-12-31T23:59:59.123456+00:00"),
                (5_097_600_000_000, "2000-02-29T00:00:00.000000+00:00"),
            ] {
                assert_eq!(format(us), text);
                assert_eq!(parse(text), Some(us));
            }
            assert_eq!(parse("yesterday"), None);
            assert_eq!(parse("2000-01-01T00:00:00.000000"), None);
        }
    }
}
