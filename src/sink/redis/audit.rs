//! Redis' keys and members, one by one, each read and put right by a script.

use std::collections::BTreeMap;
use std::ops::Range;

use redis::{Cmd, FromRedisValue, Value, from_redis_value};

use super::connect::{Link, Server, read};
use super::encode::{render, score_of};
use super::error::{fatal, interrupted};
use super::pattern::{self, Rendered};
use super::record::Layout;
use super::row::Row;
use super::slot::slot_of;
use super::swap::{Shape, ShapeTarget};
use super::sweep::Cursor;
use super::target::{Plan, Structure, Target};
use crate::config::SinkConfig;
use crate::engine::Entry;
use crate::sink::audit::{
    Audit, Difference, Found, Kind, Part, Piece, Place, Subject, key_of, shown,
};
use crate::sink::{SinkError, SinkProjection};
use crate::value::ValueError;

const AUDIT_SCRIPT: &str = include_str!("audit.lua");
const MEND_SCRIPT: &str = include_str!("mend.lua");
/// Keys or members that one SCAN looks at.
const SCAN_COUNT: usize = 1_000;

pub struct RedisAudit {
    server: Server,
    link: Link,
    /// Of all projections of the sink: a key that another's template may have given is left alone.
    plans: Vec<Plan>,
    /// The one that is looked at.
    at: usize,
    key: Vec<usize>,
    shape: Shape,
    scan: Scan,
}

struct Scan {
    target: usize,
    /// `None`: the target's keys were all seen.
    cursor: Option<Cursor>,
    /// Sets whose members are still to be looked at.
    sets: Vec<(Vec<u8>, u64)>,
}

impl Scan {
    fn begin() -> Self {
        Self { target: 0, cursor: Some(Cursor::default()), sets: Vec::new() }
    }
}

/// What stands at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Nothing,
    /// A hash's fields and values, a string, a score, a member.
    Is(Vec<Vec<u8>>),
    /// A key of another type.
    Other(Vec<u8>),
}

/// See `Audit::Fix`.
#[derive(Clone)]
pub struct Fix {
    letter: u8,
    place: Place,
    ttl_seconds: String,
    was: Option<Vec<Vec<u8>>>,
    shall: Option<Vec<Vec<u8>>>,
}

impl RedisAudit {
    pub async fn open(
        config: &SinkConfig,
        projections: &[SinkProjection],
        at: usize,
    ) -> Result<Self, SinkError> {
        let server = Server::new(config)?;
        let link = server.link(&[]).await?;
        let plans = projections.iter().enumerate().map(|(number, projection)| {
            Plan::bind(number, projection, link.layout()).map_err(|faults| {
                let what = faults.first().map_or_else(String::new, |fault| fault.what.clone());
                fatal(what, "")
            })
        });
        let plans: Vec<Plan> = plans.collect::<Result<_, _>>()?;
        let shape = Shape::of(&plans[at]);
        let scan = Scan::begin();
        let key = projections[at].key.clone();
        Ok(Self { server, link, plans, at, key, shape, scan })
    }

    async fn ask<T: FromRedisValue>(&mut self, key: &[u8], command: Cmd) -> Result<T, SinkError> {
        let answers = self.link.ask(&self.server, vec![(key, command)]).await?;
        read(&self.server, answers.into_iter().next().unwrap_or_default())
    }

    /// What stands at each of these places.
    async fn contents(&mut self, places: &[Place]) -> Result<Vec<Content>, SinkError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        // One script; in a cluster one for each slot.
        let mut parts: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (number, place) in places.iter().enumerate() {
            let slot = match self.link.layout() {
                Layout::Single => 0,
                Layout::Cluster => slot_of(&place.at),
            };
            parts.entry(slot).or_default().push(number);
        }
        let scripts = parts.values().map(|numbers| {
            let part = numbers.iter().map(|&number| &places[number]);
            let mut command = redis::cmd("EVAL");
            command.arg(AUDIT_SCRIPT).arg(numbers.len());
            part.clone().for_each(|place| {
                command.arg(&place.at);
            });
            for place in part {
                let structure = self.plans[self.at].targets[place.target].structure;
                command.arg(&[structure.letter()][..]).arg(&place.at).arg(&place.member);
            }
            (places[numbers[0]].at.as_slice(), command)
        });
        let answers = self.link.ask(&self.server, scripts.collect()).await?;
        let mut contents = vec![Content::Nothing; places.len()];
        for (numbers, answer) in parts.values().zip(answers) {
            let answers: Vec<Value> = read(&self.server, answer)?;
            let found: Option<Vec<Content>> = answers.into_iter().map(content).collect();
            let found = found.filter(|found| found.len() == numbers.len());
            let found = found
                .ok_or_else(|| interrupted("Redis gave an answer that the script never gives"))?;
            numbers.iter().zip(found).for_each(|(&number, found)| contents[number] = found);
        }
        Ok(contents)
    }

    /// Whether another projection of this sink may have written it.
    fn is_of_another(&self, place: &Place) -> bool {
        self.plans.iter().enumerate().filter(|(at, _)| *at != self.at).any(|(_, plan)| {
            plan.targets.iter().map(|target| &target.location).any(|location| {
                location.key.has_fixed_part()
                    && location.key.matches(&place.at)
                    && location.member.as_ref().is_none_or(|m| m.matches(&place.member))
            })
        })
    }

    fn found(&self, target: usize, at: &[u8], member: &[u8]) -> Option<Found> {
        let place = Place { target, at: at.to_vec(), member: member.to_vec() };
        if at.starts_with(b"readside:")
            || !self.shape.targets[target].fits(at, member)
            || self.is_of_another(&place)
        {
            return None;
        }
        let plan = &self.plans[self.at];
        let location = &plan.targets[target].location;
        let mut pieces = pieces(&location.key);
        let mut text = at.to_vec();
        if let Some(member_pattern) = &location.member {
            // No text of Postgres contains this byte.
            pieces.push(Piece::Literal(b"\0"));
            pieces.extend(self::pieces(member_pattern));
            text.push(0);
            text.extend_from_slice(member);
        }
        // A key that no row could have is somebody else's.
        let key = key_of(&pieces, &text, &plan.columns, &self.key)?;
        Some(Found { key: Some(key), place })
    }
}

impl Audit for RedisAudit {
    type Fix = Fix;

    async fn compare(&mut self, subjects: &[Subject]) -> Result<Vec<Difference<Fix>>, SinkError> {
        // By subject and place: what is expected there.
        let mut wanted: Vec<(usize, Place, Texts)> = Vec::new();
        for (at, subject) in subjects.iter().enumerate() {
            let expected = match &subject.row {
                Some(row) => expected(&self.plans[self.at], row).map_err(unreadable)?,
                None => Vec::new(),
            };
            for found in &subject.found {
                if !expected.iter().any(|(place, _)| place == found) {
                    wanted.push((at, found.clone(), None));
                }
            }
            wanted.extend(expected.into_iter().map(|(place, content)| (at, place, content)));
        }
        let places: Vec<Place> = wanted.iter().map(|(_, place, _)| place.clone()).collect();
        let contents = self.contents(&places).await?;
        let plan = &self.plans[self.at];
        let mut differences = Vec::new();
        for ((subject, place, expected), content) in wanted.into_iter().zip(contents) {
            let target = &plan.targets[place.target];
            let (kind, parts) = match (&expected, &content) {
                (None, Content::Nothing | Content::Other(_)) => continue,
                // It may have expired.
                (Some(_), Content::Nothing) if target.ttl_seconds.is_some() => continue,
                (None, Content::Is(found)) if is_ours(plan, target, found) => {
                    (Kind::Extra, Vec::new())
                }
                (None, Content::Is(_)) => continue,
                (Some(_), Content::Nothing) => (Kind::Missing, Vec::new()),
                (Some(_), Content::Other(found)) => (
                    Kind::Different,
                    vec![Part {
                        name: "type".to_owned(),
                        expected: Some(target.structure.redis_type().to_owned()),
                        found: Some(shown(found)),
                    }],
                ),
                (Some(expected), Content::Is(found)) => {
                    let parts = parts(target.structure, expected, found);
                    if parts.is_empty() {
                        continue;
                    }
                    (Kind::Different, parts)
                }
            };
            differences.push(Difference {
                subject,
                kind,
                place: words(target.structure, &place),
                parts,
                fix: Fix {
                    letter: target.structure.letter(),
                    ttl_seconds: target.ttl_seconds.clone().unwrap_or_default(),
                    was: match content {
                        Content::Is(texts) => Some(texts),
                        Content::Nothing | Content::Other(_) => None,
                    },
                    shall: expected,
                    place,
                },
            });
        }
        Ok(differences)
    }

    fn begin_scan(&mut self) {
        self.scan = Scan::begin();
    }

    /// Keys of templates without a fixed part are never looked for: they could be anybody's.
    async fn scan(&mut self) -> Result<Option<Vec<Found>>, SinkError> {
        if let Some((key, cursor)) = self.scan.sets.pop() {
            return self.members(key, cursor).await.map(Some);
        }
        loop {
            let Some(target) = self.shape.targets.get(self.scan.target) else { return Ok(None) };
            let cursor = self.scan.cursor.filter(|_| target.key.has_fixed_part());
            let Some(cursor) = cursor else {
                self.scan.target += 1;
                self.scan.cursor = Some(Cursor::default());
                continue;
            };
            let target = target.clone();
            return self.keys(&target, cursor).await.map(Some);
        }
    }

    async fn mend(&mut self, fix: &Fix) -> Result<bool, SinkError> {
        let mut command = redis::cmd("EVAL");
        command.arg(MEND_SCRIPT).arg(1).arg(&fix.place.at);
        command.arg(&[fix.letter][..]).arg(&fix.place.at).arg(&fix.place.member);
        command.arg(&fix.ttl_seconds);
        for texts in [&fix.was, &fix.shall] {
            command.arg(u8::from(texts.is_some())).arg(texts.as_ref().map_or(0, Vec::len));
            for text in texts.iter().flatten() {
                command.arg(text);
            }
        }
        self.ask(&fix.place.at, command).await
    }
}

impl RedisAudit {
    async fn keys(
        &mut self,
        target: &ShapeTarget,
        cursor: Cursor,
    ) -> Result<Vec<Found>, SinkError> {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor.at).arg("MATCH").arg(target.key.glob());
        command.arg("COUNT").arg(SCAN_COUNT).arg("TYPE").arg(target.structure.redis_type());
        let answer = self.link.ask_master(&self.server, cursor.master, &command).await?;
        let (next, keys): (u64, Vec<Vec<u8>>) = read(&self.server, answer)?;
        self.scan.cursor = cursor.next(next, self.link.masters());
        if target.structure.has_members() {
            let ours = keys.into_iter().filter(|key| target.key.matches(key));
            self.scan.sets.extend(ours.map(|key| (key, 0)));
            return Ok(Vec::new());
        }
        let at = self.scan.target;
        Ok(keys.iter().filter_map(|key| self.found(at, key, b"")).collect())
    }

    async fn members(&mut self, key: Vec<u8>, cursor: u64) -> Result<Vec<Found>, SinkError> {
        let at = self.scan.target;
        let (scan, stride) = match self.shape.targets[at].structure {
            Structure::SortedSet => ("ZSCAN", 2),
            _ => ("SSCAN", 1),
        };
        let mut command = redis::cmd(scan);
        command.arg(&key).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
        let (next, members): (u64, Vec<Vec<u8>>) = self.ask(&key, command).await?;
        let found = members.iter().step_by(stride);
        let found = found.filter_map(|member| self.found(at, &key, member)).collect();
        if next != 0 {
            self.scan.sets.push((key, next));
        }
        Ok(found)
    }
}

fn pieces(pattern: &pattern::Pattern) -> Vec<Piece<'_>> {
    let piece = |piece| match piece {
        &pattern::Piece::Column(at, _) => Piece::Column(at),
        pattern::Piece::Literal(text) => Piece::Literal(text.as_bytes()),
    };
    pattern.pieces.iter().map(piece).collect()
}

fn content(answer: Value) -> Option<Content> {
    let texts: Vec<Vec<u8>> = from_redis_value(answer).ok()?;
    let mut texts = texts.into_iter();
    match texts.next().as_deref() {
        None => Some(Content::Nothing),
        Some(b"is") => Some(Content::Is(texts.collect())),
        Some(b"type") => Some(Content::Other(texts.next()?)),
        Some(_) => None,
    }
}

/// Where the row's entries are and what they hold; of a place that is known to hold nothing, `None`.
type Expected = Vec<(Place, Texts)>;
/// What an entry holds, in order; `None` where there is none.
type Texts = Option<Vec<Vec<u8>>>;

fn expected(plan: &Plan, entry: &Entry) -> Result<Expected, ValueError> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let bytes = entry.value().unwrap_or_default();
    let row = Row::find(&plan.columns, bytes, &mut ranges)?;
    let mut all = Vec::new();
    for (at, target) in plan.targets.iter().enumerate() {
        let (mut key, mut member) = (Vec::new(), Vec::new());
        let location = &target.location;
        let found = render(&location.key, location.member.as_ref(), &row, &mut key, &mut member)?;
        if found == Rendered::Null {
            continue;
        }
        all.push((Place { target: at, at: key, member }, texts(plan, target, &row)?));
    }
    Ok(all)
}

fn texts(plan: &Plan, target: &Target, row: &Row<'_>) -> Result<Texts, ValueError> {
    Ok(match target.structure {
        Structure::Hash => {
            let mut texts = Vec::new();
            for &at in target.fields.iter().filter(|&&at| !row.is_null(at)) {
                texts.push(plan.columns[at].name.as_bytes().to_vec());
                let mut text = Vec::new();
                row.write_text(at, &mut text)?;
                texts.push(text);
            }
            (!texts.is_empty()).then_some(texts)
        }
        Structure::Json => {
            let mut document = Vec::new();
            if let Some(writer) = &target.document {
                writer.write(row.bytes, &mut document)?;
            }
            Some(vec![document])
        }
        Structure::SortedSet => {
            target.score.as_ref().and_then(|score| score_of(score, row)).map(|score| vec![score])
        }
        Structure::Set => Some(Vec::new()),
    })
}

/// A hash of other fields than the target's, and a string that is no object of just its fields, are
/// somebody else's, whatever their names.
fn is_ours(plan: &Plan, target: &Target, found: &[Vec<u8>]) -> bool {
    let name =
        |text: &[u8]| target.fields.iter().any(|&at| plan.columns[at].name.as_bytes() == text);
    match target.structure {
        Structure::Hash => found.iter().step_by(2).all(|field| name(field)),
        Structure::Json => found.first().is_some_and(|text| {
            serde_json::from_slice::<BTreeMap<String, serde::de::IgnoredAny>>(text)
                .is_ok_and(|fields| fields.keys().all(|field| name(field.as_bytes())))
        }),
        Structure::SortedSet | Structure::Set => true,
    }
}

fn parts(structure: Structure, expected: &[Vec<u8>], found: &[Vec<u8>]) -> Vec<Part> {
    let one = |name: &str| {
        let text = |texts: &[Vec<u8>]| texts.first().map(|text| shown(text));
        vec![Part { name: name.to_owned(), expected: text(expected), found: text(found) }]
    };
    match structure {
        Structure::Hash => fields(expected, found),
        Structure::Json if expected == found => Vec::new(),
        Structure::Json => one("value"),
        Structure::SortedSet if number(expected) == number(found) => Vec::new(),
        Structure::SortedSet => one("score"),
        Structure::Set => Vec::new(),
    }
}

fn fields(expected: &[Vec<u8>], found: &[Vec<u8>]) -> Vec<Part> {
    let map = |texts: &'_ [Vec<u8>]| -> BTreeMap<Vec<u8>, Vec<u8>> {
        texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    };
    let (expected, mut found) = (map(expected), map(found));
    let mut parts = Vec::new();
    for (name, value) in &expected {
        let there = found.remove(name);
        if there.as_ref() != Some(value) {
            parts.push(Part {
                name: shown(name),
                expected: Some(shown(value)),
                found: there.map(|value| shown(&value)),
            });
        }
    }
    let more = found.iter();
    parts.extend(more.map(|(name, value)| Part {
        name: shown(name),
        expected: None,
        found: Some(shown(value)),
    }));
    parts
}

fn number(texts: &[Vec<u8>]) -> Option<f64> {
    std::str::from_utf8(texts.first()?).ok()?.parse().ok()
}

fn words(structure: Structure, place: &Place) -> String {
    let key = shown(&place.at);
    match structure {
        Structure::Hash => format!("hash {key}"),
        Structure::Json => format!("json {key}"),
        Structure::SortedSet => format!("sorted set {key}, member {}", shown(&place.member)),
        Structure::Set => format!("set {key}, member {}", shown(&place.member)),
    }
}

fn unreadable(error: ValueError) -> SinkError {
    interrupted(format!("a row cannot be read: {error}"))
}
