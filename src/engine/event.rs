//! Occurrences: what an event makes of a changed row or a message, as a row of its log.
//!
//! ```text
//! key = lsn, ordinal
//! row = lsn, ordinal, type, committed_at, and the data
//! ```

use std::ops::Range;

use super::graph::{Engine, TableId};
use super::row::first_error;
use super::{Entry, Leaf};
use crate::lsn::Lsn;
use crate::sql::event::{Event, Lookup, Of};
use crate::sql::expr::{EvalError, Row};
use crate::value::{self, Column, Type, ValueError};

/// The columns of an event's row before its data.
pub const EVENT_COLUMNS: [&str; 4] = ["lsn", "ordinal", "type", "committed_at"];

/// Of an event's row, its key's columns.
pub const EVENT_KEY: [usize; 2] = [0, 1];

/// The type of the row that stands in a log where occurrences may be missing.
pub const GAP: &str = "readside.gap";

/// Marks what is in the store of a log and is not an occurrence yet.
pub const RAW: Leaf = 1;

/// Which change it was, of which transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The commit record.
    pub lsn: Lsn,
    pub committed_at: i64,
    /// The change's place in its transaction, from 1.
    pub change: u64,
}

impl Moment {
    /// Grows with the stream.
    pub fn place(&self) -> (Lsn, u64) {
        (self.lsn, self.change)
    }
}

/// A part of an event's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KindPart {
    Text(String),
    /// A column of the data.
    Column(usize),
}

/// Makes rows of a log.
#[derive(Debug)]
pub struct EventMaker {
    event: Event,
    kind: Vec<KindPart>,
    columns: Vec<Column>,
    /// Tells the events of one change apart.
    number: EventNumber,
}

/// Bits of an ordinal that say which event it is.
const NUMBER_BITS: u32 = 24;

/// What tells an event's occurrences from those that other events make of the same change. Whoever makes an
/// occurrence again has to know its event by the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventNumber(u32);

impl EventNumber {
    /// Of a number, its lowest bits.
    pub fn new(number: u32) -> Self {
        Self(number % (1 << NUMBER_BITS))
    }

    /// The one behind it; the first one behind the last.
    pub fn next(self) -> Self {
        Self::new(self.0 + 1)
    }
}

/// A row before or after a change.
#[derive(Debug, Clone)]
pub enum Version {
    /// There is none.
    None,
    Row(Entry),
    /// There is one, of which nothing is known.
    Unknown,
}

impl Version {
    /// Of a row that is there.
    pub fn known(entry: Option<Entry>) -> Self {
        entry.map_or(Version::Unknown, Version::Row)
    }
}

/// What became of a change.
#[derive(Debug)]
pub enum Made {
    Entry(Entry),
    /// The condition is not true of it.
    Nothing,
    /// Its expressions fail on this change, which is JSON.
    Failed {
        error: String,
        change: String,
    },
}

/// A key of a log that is not after any entry of this commit or of a later one.
pub fn log_from(lsn: Lsn) -> Vec<u8> {
    let mut key = Vec::new();
    value::encode_pg_lsn(lsn.0, &mut key);
    key
}

/// An occurrence's place among all: they grow in commit order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPlace {
    pub lsn: Lsn,
    pub ordinal: i64,
}

impl EventPlace {
    /// Behind all that was committed before this position, and before all else.
    pub fn at(lsn: Lsn) -> Self {
        Self { lsn, ordinal: 0 }
    }

    /// Of an entry of a log.
    pub fn of(entry: &Entry) -> Result<Self, ValueError> {
        let key = entry.key();
        let ordinal = &key[value::datum_len(&Type::PgLsn, key)?.min(key.len())..];
        Ok(Self { lsn: entry.lsn(), ordinal: value::int_of(&Type::Int8, ordinal)? })
    }

    pub fn key(self) -> Vec<u8> {
        let mut key = Vec::new();
        stamp(self.lsn, self.ordinal, &mut key);
        key
    }
}

impl std::fmt::Display for EventPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.lsn, self.ordinal)
    }
}

impl std::str::FromStr for EventPlace {
    type Err = String;

    /// An occurrence's id, or a position.
    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is neither an event's id nor a position in the log");
        let (lsn, ordinal) = match text.match_indices('/').nth(1) {
            None => (text, Ok(0)),
            Some((at, _)) => (&text[..at], text[at + 1..].parse()),
        };
        let lsn = lsn.parse().map_err(|_| fault())?;
        let ordinal: i64 = ordinal.map_err(|_| fault())?;
        if ordinal < 0 { Err(fault()) } else { Ok(Self { lsn, ordinal }) }
    }
}

/// The columns of an event's row.
pub fn event_columns(data: &[Column]) -> Vec<Column> {
    let column = |name: &str, ty: Type, type_oid| Column {
        name: name.to_owned(),
        sql_type: ty.to_string(),
        ty,
        type_oid,
        typmod: -1,
        not_null: true,
    };
    let [lsn, ordinal, kind, committed_at] = EVENT_COLUMNS;
    let mut columns = vec![
        column(lsn, Type::PgLsn, 3220),
        column(ordinal, Type::Int8, 20),
        column(kind, Type::Text, 25),
        column(committed_at, Type::TimestampTz, 1184),
    ];
    columns.extend(data.iter().cloned());
    columns
}

/// The entry that tells of a gap: its ordinal is 0, and its data are NULL.
pub fn gap_entry(data: usize, lsn: Lsn, committed_at: i64) -> Entry {
    let mut row = Vec::new();
    let key = stamp(lsn, 0, &mut row);
    value::encode(&Type::Text, GAP.as_bytes(), &mut row).expect("a text");
    value::encode_int(committed_at, &mut row);
    row.resize(row.len() + data, value::NULL);
    Entry::row(lsn, &row[..key], &row)
}

/// Writes the key, which is how a row begins; returns its length.
fn stamp(lsn: Lsn, ordinal: i64, row: &mut Vec<u8>) -> usize {
    value::encode_pg_lsn(lsn.0, row);
    value::encode_int(ordinal, row);
    row.len()
}

impl EventMaker {
    pub fn new(event: Event, kind: Vec<KindPart>, number: EventNumber) -> Self {
        let columns = event_columns(&event.columns);
        Self { event, kind, columns, number }
    }

    pub fn of(&self) -> Of {
        self.event.of
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub fn lookups(&self) -> impl Iterator<Item = TableId> + '_ {
        self.event.lookups.iter().map(|lookup| lookup.table)
    }

    pub fn looks_at_old(&self) -> bool {
        self.event.looks_at_old
    }

    /// What the expressions run over, of a change of a row.
    pub fn of_change(&self, old: &Version, new: &Version) -> Vec<u8> {
        let columns = (self.event.row.len() - self.event.lookups.len()) / 2 - 1;
        let row = |version: &Version| match version {
            Version::Row(entry) => entry.value().map_or(0, <[u8]>::len),
            Version::None | Version::Unknown => columns,
        };
        let mut base = Vec::with_capacity(row(old) + row(new) + 2);
        for version in [old, new] {
            base.push(match version {
                Version::None => value::NULL,
                Version::Row(_) | Version::Unknown => 1,
            });
            match version {
                Version::Row(entry) => {
                    base.extend_from_slice(entry.value().unwrap_or_default());
                }
                Version::None | Version::Unknown => base.resize(base.len() + columns, value::NULL),
            }
        }
        base
    }

    /// The same of a message.
    pub fn of_message(&self, prefix: &str, content: &[u8]) -> Result<Vec<u8>, ValueError> {
        let mut base = Vec::new();
        value::encode(&Type::Text, prefix.as_bytes(), &mut base)?;
        value::encode(&Type::Text, content, &mut base)?;
        Ok(base)
    }

    /// The key of what this change makes.
    pub fn key(&self, moment: Moment) -> Vec<u8> {
        let mut key = Vec::new();
        stamp(moment.lsn, self.ordinal(moment), &mut key);
        key
    }

    /// Grows with the change; no two events have the same. It is made of nothing that other events have a part
    /// in: they come and go, while a sink has what was told before.
    fn ordinal(&self, moment: Moment) -> i64 {
        let change = i64::try_from(moment.change - 1).expect("a transaction has fewer changes");
        let change = change.checked_mul(1 << NUMBER_BITS).expect("a transaction has fewer changes");
        change + i64::from(self.number.0) + 1
    }

    /// Whether the condition is true, where it needs no look-up; `None` where it does.
    pub fn is_taken(&self, base: &[u8]) -> Result<Option<bool>, ValueError> {
        if self.event.lookups.iter().any(|lookup| lookup.in_condition) {
            return Ok(None);
        }
        let Some(condition) = &self.event.when else { return Ok(Some(true)) };
        let columns = self.event.row.len() - self.event.lookups.len();
        let mut ranges = Vec::new();
        value::split(&self.event.row[..columns], base, &mut ranges)?;
        match condition.eval_bool(Row { bytes: base, ranges: &ranges }) {
            Ok(truth) => Ok(Some(truth == Some(true))),
            Err(EvalError::Value(error)) => Err(error),
            // Told when it is made.
            Err(EvalError::Failed(_)) => Ok(Some(true)),
        }
    }

    /// Look-ups see the rows that there are now.
    pub fn make(
        &self,
        engine: &Engine,
        mut base: Vec<u8>,
        moment: Moment,
    ) -> Result<Made, ValueError> {
        let event = &self.event;
        let mut ranges = Vec::new();
        let own = event.row.len() - event.lookups.len();
        value::split(&event.row[..own], &base, &mut ranges)?;
        for lookup in &event.lookups {
            look_up(engine, lookup, &mut base, &mut ranges)?;
        }
        let row = Row { bytes: &base, ranges: &ranges };
        let refused = |error: String| Made::Failed { error, change: self.shown(&base, &ranges) };
        let failed = |error: EvalError| match error {
            EvalError::Value(error) => Err(error),
            // A look-up's own error says more than that there was one.
            EvalError::Failed(text) => Ok(refused(match first_error(&base, &ranges) {
                Some(error) => value::error_text(error).unwrap_or(&text).to_owned(),
                None => text.into_owned(),
            })),
        };
        if let Some(condition) = &event.when {
            match condition.eval_bool(row) {
                Ok(Some(true)) => {}
                Ok(_) => return Ok(Made::Nothing),
                Err(error) => return failed(error),
            }
        }
        let (mut data, mut places) = (Vec::new(), Vec::new());
        for expr in &event.data {
            let start = data.len();
            if let Err(error) = expr.eval(row, &mut data) {
                return failed(error);
            }
            places.push(start..data.len());
            if value::is_error(&data[start..]) {
                let text = value::error_text(&data[start..]).unwrap_or_default().to_owned();
                return Ok(refused(text));
            }
        }
        let Some(kind) = self.kind_of(&data, &places)? else {
            return Ok(refused("the event's type is NULL".into()));
        };
        let mut out = Vec::with_capacity(data.len() + kind.len() + 32);
        let key = stamp(moment.lsn, self.ordinal(moment), &mut out);
        value::encode(&Type::Text, &kind, &mut out)?;
        value::encode_int(moment.committed_at, &mut out);
        out.extend_from_slice(&data);
        Ok(Made::Entry(Entry::row(moment.lsn, &out[..key], &out)))
    }

    /// What changed, as JSON: both versions of the row, or the message.
    fn shown(&self, base: &[u8], ranges: &[Range<usize>]) -> String {
        let document = |columns: Range<usize>| {
            let mut out = Vec::new();
            let bytes = match ranges.get(columns.clone()).and_then(|of| of.first().zip(of.last())) {
                Some((first, last)) => &base[first.start..last.end],
                None => &[][..],
            };
            // What has no JSON, of a row that cannot be used anyway, is not shown.
            let written = value::write_document(&self.event.row[columns], bytes, None, &mut out);
            written.ok().and_then(|()| String::from_utf8(out).ok()).unwrap_or_else(|| "null".into())
        };
        let own = self.event.row.len() - self.event.lookups.len();
        if self.event.of == Of::Message {
            return document(0..own);
        }
        let version = |first: usize| match ranges.get(first) {
            Some(there) if !value::is_null(&base[there.clone()]) => {
                document(first + 1..first + own / 2)
            }
            _ => "null".to_owned(),
        };
        format!("{{\"old\": {}, \"new\": {}}}", version(0), version(own / 2))
    }

    fn kind_of(&self, data: &[u8], places: &[Range<usize>]) -> Result<Option<Vec<u8>>, ValueError> {
        let mut kind = Vec::new();
        for part in &self.kind {
            match part {
                KindPart::Text(text) => kind.extend_from_slice(text.as_bytes()),
                KindPart::Column(at) => {
                    let datum = &data[places[*at].clone()];
                    if value::is_null(datum) {
                        return Ok(None);
                    }
                    value::write_text(&self.event.columns[*at].ty, datum, &mut kind)?;
                }
            }
        }
        Ok(Some(kind))
    }
}

/// Appends the value that is looked up; where an expression fails, its error.
fn look_up(
    engine: &Engine,
    lookup: &Lookup,
    base: &mut Vec<u8>,
    ranges: &mut Vec<Range<usize>>,
) -> Result<(), ValueError> {
    let mut datum = Vec::new();
    match found(engine, lookup, base, ranges, &mut datum) {
        Ok(true) => {}
        Ok(false) => {
            datum.clear();
            value::encode_null(&mut datum);
        }
        Err(EvalError::Value(error)) => return Err(error),
        Err(EvalError::Failed(text)) => {
            datum.clear();
            value::encode_error(&text, &mut datum);
        }
    }
    ranges.push(base.len()..base.len() + datum.len());
    base.extend_from_slice(&datum);
    Ok(())
}

/// Whether there is such a row; then its value is in `out`.
fn found(
    engine: &Engine,
    lookup: &Lookup,
    base: &[u8],
    ranges: &[Range<usize>],
    out: &mut Vec<u8>,
) -> Result<bool, EvalError> {
    let row = Row { bytes: base, ranges };
    let mut key = Vec::new();
    for part in &lookup.key {
        let start = key.len();
        part.eval(row, &mut key)?;
        // NULL equals nothing; of an error nobody can say what it equals.
        if value::is_null(&key[start..]) {
            return Ok(false);
        }
        if value::is_error(&key[start..]) {
            out.extend_from_slice(&key[start..]);
            return Ok(true);
        }
    }
    let Some(row) = engine.get_equal(lookup.table, &key)?.and_then(Entry::value) else {
        return Ok(false);
    };
    let mut of_row = Vec::new();
    value::split(&engine.layout(lookup.table).columns, row, &mut of_row)?;
    let bytes = [base, row].concat();
    let behind = of_row.iter().map(|range| range.start + base.len()..range.end + base.len());
    let ranges: Vec<Range<usize>> = ranges.iter().cloned().chain(behind).collect();
    let row = Row { bytes: &bytes, ranges: &ranges };
    for condition in &lookup.conditions {
        if condition.eval_bool(row)? != Some(true) {
            return Ok(false);
        }
    }
    lookup.value.eval(row, out)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_stands_before_all_occurrences_of_its_commit_and_has_no_data() {
        let gap = gap_entry(2, Lsn(7), 5);
        assert!(log_from(Lsn(7)).as_slice() < gap.key() && gap.key() < log_from(Lsn(8)).as_slice());
        let mut first = Vec::new();
        stamp(Lsn(7), 1, &mut first);
        assert!(gap.key() < first.as_slice());
        let row = gap.value().expect("a row");
        assert!(row.starts_with(gap.key()) && row.ends_with(&[value::NULL; 2]));
    }

    #[test]
    fn places_are_ids_and_keys() {
        for (text, lsn, ordinal) in [("1/FF/3", 0x1_0000_00FF, 3), ("0/7", 7, 0)] {
            let place = EventPlace { lsn: Lsn(lsn), ordinal };
            assert_eq!(text.parse(), Ok(place));
            let entry = Entry::row(place.lsn, &place.key(), &[]);
            assert_eq!(EventPlace::of(&entry).expect("a key"), place);
        }
        assert_eq!(EventPlace { lsn: Lsn(7), ordinal: 12 }.to_string(), "0/7/12");
        for text in ["", "7", "0/7/", "0/7/x", "0/7/-1", "0/7/1/2"] {
            assert!(text.parse::<EventPlace>().is_err(), "{text}");
        }
        assert!(EventPlace::at(Lsn(7)).key() > log_from(Lsn(7)));
    }
}
