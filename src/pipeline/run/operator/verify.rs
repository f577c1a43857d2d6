//! `verify`: what each sink holds of a projection, compared with the query's answer on the source at a
//! stated position.
//!
//! The sinks move on meanwhile, and a commit is in the WAL before it is visible on the source. So what
//! differs at first sight is only suspected, and looked at again until it is certain: the row has not
//! changed here since before a snapshot that sees all that had been applied then, and the sink has come to
//! where that snapshot was taken.
//!
//! Memory is bounded by portions; what is remembered of all rows are their keys, as hashes of 8 bytes.

mod judge;
mod source;

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use serde_json::json;
use tokio::sync::mpsc;

use self::judge::Suspect;
use self::source::{Answer, Source};
use super::{ByHand, Running};
use crate::config::SinkKind;
use crate::engine::Entry;
use crate::http::{LaneState, Refusal, Verification, VerifyAsked, Why};
use crate::lsn::Lsn;
use crate::pipeline::run::questions::Question;
use crate::pipeline::{NotFollowed, Rows};
use crate::sink::audit::{Audit, Difference, Kind, Subject};
use crate::sink::delivery::chain;
use crate::sink::elasticsearch::ElasticsearchAudit;
use crate::sink::postgres::PostgresAudit;
use crate::sink::redis::RedisAudit;
use crate::sink::{SinkError, SinkProjection};

/// Less than half of the silence after which the command gives up.
const BUSY_INTERVAL: Duration = Duration::from_secs(60);
/// Rows that are compared in one go.
const ROWS: usize = 500;
/// Suspects that are looked at again in one go.
const SUSPECTS: usize = 200;
/// With more than that a sink is not repaired row by row: it is rebuilt.
const DIFFERENCES_MAX: usize = 10_000;
/// Keys that are remembered at a time; with more, the source is asked once for each part of them.
const KEYS_MAX: usize = 16_000_000;
const PROGRESS_PAUSE: Duration = Duration::from_secs(2);
/// How long a sink may take to come to a position.
const SINK_PATIENCE: Duration = Duration::from_secs(60);
/// Lines that wait for a slow client.
const LINES: usize = 64;

/// One projection in one sink.
struct Verify<'a, A: Audit> {
    by_hand: &'a ByHand,
    running: &'a Running,
    projection: &'a str,
    sink: usize,
    source: Source,
    audit: A,
    hasher: RandomState,
    /// Keys whose hashes lie below it are looked at.
    sample_below: u64,
    repair: bool,
    lines: mpsc::Sender<String>,
    told_at: Instant,
    looked: u64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    differences: usize,
    mended: usize,
    undecided: usize,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", .0.error)]
    Refused(Refusal),
    #[error("the source: {}", chain(.0))]
    Source(#[from] source::Error),
    #[error("{}", chain(.0))]
    Sink(#[from] SinkError),
    #[error("{0}")]
    Other(String),
    /// Whoever asked has gone.
    #[error("nobody listens any more")]
    Left,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

impl ByHand {
    pub(super) async fn verification(&self, asked: VerifyAsked) -> Result<Verification, Refusal> {
        let running = match asked.repair {
            true => self.leading().await?,
            false => self.running_soon().await?,
        };
        running.has_rows(&asked.projection)?;
        self.can_be_compared(&running, &asked)?;
        let mut sinks = Vec::new();
        for (at, projections) in running.sinks.iter().enumerate() {
            let name = &running.config.sinks[at].name;
            let is_asked = asked.sink.as_ref().is_none_or(|sink| sink == name);
            let place = projections.iter().position(|of| of.name == asked.projection);
            sinks.extend(place.filter(|_| is_asked).map(|place| (at, place)));
        }
        running.is_followed(&asked.projection).await?;
        let (lines, received) = mpsc::channel(LINES);
        let this = self.clone();
        let work = async move { this.verify_all(&running, &asked, &sinks, lines).await };
        Ok(Verification { lines: received, work: Box::pin(work) })
    }

    /// Whether it goes to a sink that was asked for. A pipeline knows nothing of the lanes of a projection that
    /// was quarantined when it was built.
    fn can_be_compared(&self, running: &Running, asked: &VerifyAsked) -> Result<(), Refusal> {
        let projection = &asked.projection;
        let configured = running.config.projections.iter().find(|known| known.name == *projection);
        let mut targets = configured.into_iter().flat_map(|known| &known.targets);
        let is_asked = |to: &String| asked.sink.as_ref().is_none_or(|sink| sink == to);
        if !targets.any(|(to, _)| is_asked(to)) {
            let error = match &asked.sink {
                Some(sink) => format!("projection {projection} does not go to a sink {sink}"),
                None => format!("projection {projection} goes to no sink"),
            };
            return Err(Refusal::new(Why::Unknown, error));
        }
        if running.sinks.iter().flatten().any(|of| of.name == *projection) {
            return Ok(());
        }
        let status = self.shared.status();
        let shown = status.projections.iter().find(|of| of.name == *projection);
        let why = match shown.and_then(|of| of.reason.clone()) {
            Some(why) => NotFollowed::Quarantined(why),
            None => NotFollowed::Apart,
        };
        Err(super::not_followed(projection, &why))
    }

    /// Why the sink comes to no position that could be waited for.
    fn halted(&self, projection: &str, sink: &str) -> Option<Failure> {
        let status = self.shared.status();
        let of = status.projections.iter().find(|of| of.name == projection)?;
        let lane = of.sinks.iter().find(|lane| lane.sink == sink)?;
        if lane.state != LaneState::Halted {
            return None;
        }
        Some(Failure::Other(match &lane.error {
            Some(error) => format!("the projection stands still there: {error}"),
            None => format!(
                "the projection is halted there by a row that is refused: see `readside dead-letters list --sink {sink}`"
            ),
        }))
    }

    async fn verify_all(
        self,
        running: &Running,
        asked: &VerifyAsked,
        sinks: &[(usize, usize)],
        lines: mpsc::Sender<String>,
    ) {
        for &(sink, place) in sinks {
            let config = &running.config.sinks[sink];
            let projections = &running.sinks[sink];
            let of = &projections[place];
            let done = match (self.halted(&of.name, &config.name), config.kind) {
                (Some(halted), _) => Err(halted),
                (None, SinkKind::Postgres) => match PostgresAudit::open(config, of).await {
                    Ok(audit) => self.verify(running, asked, sink, of, audit, &lines).await,
                    Err(error) => Err(error.into()),
                },
                (None, SinkKind::Redis) => match RedisAudit::open(config, projections, place).await
                {
                    Ok(audit) => self.verify(running, asked, sink, of, audit, &lines).await,
                    Err(error) => Err(error.into()),
                },
                (None, SinkKind::Elasticsearch) => match ElasticsearchAudit::open(config, of) {
                    Ok(audit) => self.verify(running, asked, sink, of, audit, &lines).await,
                    Err(error) => Err(error.into()),
                },
            };
            if let Err(error) = done {
                let line =
                    json!({ "event": "error", "sink": config.name, "error": error.to_string() });
                // Whoever asked may have gone.
                let _ = lines.send(line.to_string()).await;
            }
        }
        let _ = lines.send(json!({ "event": "done" }).to_string()).await;
    }

    async fn verify<A: Audit>(
        &self,
        running: &Running,
        asked: &VerifyAsked,
        sink: usize,
        of: &SinkProjection,
        audit: A,
        lines: &mpsc::Sender<String>,
    ) -> Result<(), Failure> {
        let configured = running.config.projections.iter().find(|known| known.name == of.name);
        let definition = configured.map(|known| &known.definition);
        let definition = definition.ok_or_else(|| Failure::Other("it is gone".to_owned()))?;
        let source = Source::connect(&running.params, definition, of).await?;
        let rows = self.rows_of(&of.name).unwrap_or(0);
        let mut verify = Verify {
            by_hand: self,
            running,
            projection: &of.name,
            sink,
            source,
            audit,
            hasher: RandomState::default(),
            sample_below: match asked.sample {
                Some(sample) if sample < rows => (u64::MAX / rows).saturating_mul(sample),
                _ => u64::MAX,
            },
            repair: asked.repair,
            lines: lines.clone(),
            told_at: Instant::now(),
            looked: 0,
            counts: Counts::default(),
        };
        let parts = rows.div_ceil(KEYS_MAX as u64).max(1);
        for part in 0..parts {
            let busy = json!({ "event": "busy", "sink": verify.name() }).to_string();
            not_silent(lines, busy, verify.part(part, parts)).await?;
        }
        let Counts { differences, mended, undecided } = verify.counts;
        let end = json!({
            "event": "end", "sink": verify.name(), "rows": verify.looked,
            "differences": differences, "mended": mended, "undecided": undecided,
        });
        verify.line(end.to_string()).await
    }

    fn rows_of(&self, projection: &str) -> Option<u64> {
        let status = self.shared.status();
        status.projections.iter().find(|of| of.name == projection).map(|of| of.rows)
    }
}

/// The query may take long before its first row: who listens is told that somebody works.
async fn not_silent<T>(
    lines: &mpsc::Sender<String>,
    busy: String,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(BUSY_INTERVAL) => {
                lines.send(busy.clone()).await.map_err(|_| Failure::Left)?;
            }
        }
    }
}

impl<A: Audit> Verify<'_, A> {
    fn name(&self) -> &str {
        &self.running.config.sinks[self.sink].name
    }

    async fn line(&self, line: String) -> Result<(), Failure> {
        self.lines.send(line).await.map_err(|_| Failure::Left)
    }

    /// The rows whose keys are of this part: each looked up in the sink, then each entry of the sink
    /// among them.
    async fn part(&mut self, part: u64, parts: u64) -> Result<(), Failure> {
        let mut keys: HashSet<u64, foldhash::fast::RandomState> = HashSet::default();
        let begun = self.source.begin().await?;
        self.reaches(begun.lsn).await?;
        if part == 0 {
            let begin = json!({
                "event": "begin", "sink": self.name(), "lsn": begun.lsn.to_string(),
            });
            self.line(begin.to_string()).await?;
        }
        let mut suspects = Vec::new();
        while let Some(rows) = self.source.next(ROWS).await? {
            let rows: Vec<Entry> = rows
                .into_iter()
                .filter(|row| {
                    let hash = self.hasher.hash_one(row.key());
                    let is_mine = hash % parts == part && hash <= self.sample_below;
                    if is_mine {
                        keys.insert(hash);
                    }
                    is_mine
                })
                .collect();
            self.looked += rows.len() as u64;
            suspects.extend(self.first_look(&rows).await?);
            self.judge(&mut suspects, SUSPECTS).await?;
            self.progress().await?;
        }
        self.source.end().await?;
        self.audit.begin_scan();
        while let Some(found) = self.audit.scan().await? {
            let unknown = found.into_iter().filter(|found| {
                let hash = found.key.as_ref().map(|key| self.hasher.hash_one(key.as_slice()));
                // One that names no key is in nobody's part: it is told with the first.
                match hash {
                    None => part == 0,
                    Some(hash) => hash % parts == part && hash <= self.sample_below,
                }
            });
            let unknown: Vec<_> = unknown.collect();
            let known: Vec<Vec<u8>> =
                unknown.iter().filter_map(|found| found.key.clone()).collect();
            let rows = self.state(&known).await?;
            let mut rows = rows.rows.into_iter();
            let mut subjects = Vec::new();
            for found in unknown {
                let row = found.key.as_ref().and_then(|_| rows.next().flatten());
                let is_known = found
                    .key
                    .as_ref()
                    .is_some_and(|key| keys.contains(&self.hasher.hash_one(key.as_slice())));
                let subject = Subject {
                    key: found.key.clone().unwrap_or_default(),
                    row: row.clone(),
                    found: vec![found.place.clone()],
                };
                // A row that the source has: whether this is one of its places is the audit's to say.
                match (is_known, row) {
                    (true, Some(_)) => subjects.push(subject),
                    _ => suspects.push(Suspect::found(found)),
                }
            }
            for difference in self.audit.compare(&subjects).await? {
                if difference.kind == Kind::Extra {
                    let Subject { key, found, .. } = subjects[difference.subject].clone();
                    suspects.push(Suspect { key: Some(key), found });
                }
            }
            self.judge(&mut suspects, SUSPECTS).await?;
            self.progress().await?;
        }
        self.judge(&mut suspects, 1).await
    }

    /// What differs at first sight.
    async fn first_look(&mut self, rows: &[Entry]) -> Result<Vec<Suspect>, Failure> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<Vec<u8>> = rows.iter().map(|row| row.key().to_vec()).collect();
        let state = self.state(&keys).await?;
        let mut suspects = Vec::new();
        let mut subjects = Vec::new();
        for (row, known) in rows.iter().zip(&state.rows) {
            match self.source.is_answered_by(row, known.as_ref()) {
                Answer::Same => subjects.push(Subject {
                    key: row.key().to_vec(),
                    row: known.clone(),
                    found: Vec::new(),
                }),
                Answer::Other => suspects.push(Suspect::of(row.key())),
            }
        }
        for Difference { subject, .. } in self.audit.compare(&subjects).await? {
            suspects.push(Suspect::of(&subjects[subject].key));
        }
        Ok(suspects)
    }

    /// The state's rows under these keys.
    async fn state(&self, keys: &[Vec<u8>]) -> Result<Rows, Failure> {
        let (projection, keys) = (self.projection.to_owned(), keys.to_vec());
        let rows = self.running.ask(|reply| Question::Rows { projection, keys, reply }).await?;
        rows.map_err(|why| super::not_followed(self.projection, &why).into())
    }

    /// Waits until the sink has all before this position.
    async fn reaches(&self, lsn: Lsn) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + SINK_PATIENCE;
        let board = self.by_hand.shared.board();
        let there = board.wait(self.projection, Some(self.name()), lsn, deadline).await;
        there.map(drop).map_err(|_| {
            let seconds = SINK_PATIENCE.as_secs();
            Failure::Other(format!("the sink has not come to {lsn} within {seconds} s"))
        })
    }

    async fn progress(&mut self) -> Result<(), Failure> {
        if self.told_at.elapsed() < PROGRESS_PAUSE {
            return Ok(());
        }
        self.told_at = Instant::now();
        let line = json!({ "event": "progress", "sink": self.name(), "rows": self.looked });
        self.line(line.to_string()).await
    }

    async fn tell(
        &mut self,
        suspect: &Suspect,
        difference: &Difference<A::Fix>,
        note: Option<&str>,
        mended: bool,
    ) -> Result<(), Failure> {
        self.counts.differences += 1;
        self.counts.mended += usize::from(mended);
        let kind = match difference.kind {
            Kind::Missing => "missing",
            Kind::Extra => "extra",
            Kind::Different => "different",
        };
        let parts: Vec<_> = difference
            .parts
            .iter()
            .map(|part| json!({ "column": part.name, "expected": part.expected, "found": part.found }))
            .collect();
        let line = json!({
            "event": "difference", "sink": self.name(), "kind": kind,
            "key": suspect.key.as_ref().map(|key| self.source.key_text(key)),
            "place": difference.place, "columns": parts, "mended": mended, "note": note,
        });
        self.line(line.to_string()).await?;
        if self.counts.differences >= DIFFERENCES_MAX {
            return Err(Failure::Other(format!(
                "more than {DIFFERENCES_MAX} differences: `readside rebuild {}` fills the sink anew",
                self.projection
            )));
        }
        Ok(())
    }
}
