//! Events and histories in the simulation: what they are made of, what a sink has of them, and what it has to
//! have.

use std::sync::LazyLock;

use super::model::{POISON, Source};
use super::*;
use crate::engine::{EventMaker, EventNumber, EventPlace, GAP, KindPart, event_columns};
use crate::sql::event::{Event, Of, Texts, compile};
use crate::sql::expr::Collation;
use crate::sql::query::{Schema, Table};

/// Behind the lanes of the projections.
pub(super) const EVENTS: [&str; 2] = ["changed", "made"];
pub(super) const EVENT_ROWS_OF: [RowsOf; 2] = [40, 41];
const EVENT_NUMBERS: [u32; 2] = [7, 3];
pub(super) const HISTORY_ROWS_OF: RowsOf = 50;

/// Both are of changes of A; the second one looks into B.
static COMPILED: LazyLock<[Event; 2]> = LazyLock::new(|| {
    let table = |oid: u32| Table {
        schema: "public".to_owned(),
        name: format!("t{oid}"),
        columns: columns(),
        collations: vec![Collation::Default; 3],
        primary_key: Some(vec![0]),
        generated: Vec::new(),
        kept: None,
    };
    let schema = Schema { tables: vec![table(A), table(B)], ..Schema::default() };
    let compiled = |when, data| {
        let texts = Texts { when, data };
        compile(Of::Table(0), texts, &schema, &[vec![0], vec![0]]).expect("sound")
    };
    [
        compiled(None, "old.id AS old, old.body AS was, new.id AS new, new.body AS body"),
        compiled(
            Some("old IS NULL"),
            "new.id, new.body, (SELECT b.body FROM t200 b WHERE b.id = new.id) AS of_b",
        ),
    ]
});

pub(super) fn maker(event: usize) -> EventMaker {
    let kind = vec![KindPart::Text(EVENTS[event].to_owned())];
    EventMaker::new(COMPILED[event].clone(), kind, EventNumber::new(EVENT_NUMBERS[event]))
}

/// The data's columns.
pub(super) fn data_len(event: usize) -> usize {
    COMPILED[event].columns.len()
}

/// A row before and after a change: its key and its body.
pub(super) struct Changed {
    pub(super) commit_lsn: u64,
    /// Its place among the transaction's changes, from 1.
    pub(super) ordinal: u64,
    pub(super) old: Option<(u8, String)>,
    pub(super) new: Option<(u8, String)>,
}

/// What a change makes of an event: its place, and its data. A value that is looked up comes last.
pub(super) fn occurrence(
    event: usize,
    changed: &Changed,
    looked_up: Option<&str>,
) -> Option<(EventPlace, String)> {
    let side = |of: &Option<(u8, String)>| match of {
        Some((id, body)) => format!("{id} {body}"),
        None => " ".to_owned(),
    };
    let data = match (event, &changed.old, &changed.new) {
        (0, old, new) => format!("{} {}", side(old), side(new)),
        (_, None, new) => format!("{} {}", side(new), looked_up.unwrap_or_default()),
        _ => return None,
    };
    let ordinal = ((changed.ordinal - 1) << 24) + u64::from(EVENT_NUMBERS[event]) + 1;
    Some((EventPlace { lsn: Lsn(changed.commit_lsn), ordinal: ordinal as i64 }, data))
}

/// From where on occurrences are all there is to know.
#[derive(Clone, Copy)]
pub(super) struct Since {
    /// The load of their table has ended there.
    pub(super) whole: Lsn,
    /// The load of the table that they look into.
    pub(super) looked_up: Lsn,
}

/// A sink's part of an event.
#[derive(Clone, Default)]
pub(super) struct Occurred {
    rows: BTreeMap<EventPlace, String>,
    refused: BTreeMap<EventPlace, Entry>,
    gaps: BTreeSet<Lsn>,
    /// From here on it has them.
    from: Option<Lsn>,
    /// It is settled here.
    until: Lsn,
    /// Up to here the sink itself has lost some, which it had for longer than they are kept.
    lost_to: Lsn,
    /// A backlog is being worked off: what it has of it may come again.
    in_backlog: bool,
}

impl Occurred {
    pub(super) fn put(
        &mut self,
        event: usize,
        entries: &[Entry],
        once: bool,
        source: &Source,
        since: Option<Since>,
    ) -> Vec<Entry> {
        let columns = event_columns(&COMPILED[event].columns);
        let mut refused = Vec::new();
        let mut last = None;
        for entry in entries {
            let place = EventPlace::of(entry).expect("a key");
            let row = entry.value().expect("nothing deletes an occurrence");
            let cells = value::columns(&columns, row).zip(&columns).map(|(datum, column)| {
                let (datum, mut text) = (datum.expect("a datum"), Vec::new());
                if !value::is_null(datum) {
                    value::write_text(&column.ty, datum, &mut text).expect("a text");
                }
                String::from_utf8(text).expect("UTF-8")
            });
            let cells: Vec<String> = cells.collect();
            if place.ordinal == 0 {
                assert_eq!(cells[2], GAP);
                self.gaps.insert(place.lsn);
                continue;
            }
            assert!(last.replace(place) < Some(place), "{place} is out of order");
            let data = cells[4..].join(" ");
            let expected = source.occurrence(event, place);
            assert_eq!(cells[2], EVENTS[event]);
            // What is looked up during a load is of some later position.
            let own =
                |data: &str| match event == 1 && since.is_none_or(|of| place.lsn < of.looked_up) {
                    true => data.rsplit_once(' ').map(|(own, _)| own.to_owned()),
                    false => Some(data.to_owned()),
                };
            assert_eq!(own(&data), own(&expected), "{} at {place}", EVENTS[event]);
            if data.contains(POISON) {
                self.refused.insert(place, entry.clone());
                refused.push(entry.clone());
                continue;
            }
            self.refused.remove(&place);
            let known = self.rows.insert(place, data.clone());
            assert!(!once || known.is_none() || self.in_backlog, "{place} is there twice");
        }
        refused
    }

    pub(super) fn in_backlog(&mut self) {
        self.in_backlog = true;
    }

    /// All that was committed before the position is in it, but for what it has been told of.
    pub(super) fn settled(&mut self, event: usize, since: Since, until: Lsn, source: &Source) {
        self.in_backlog = false;
        self.from.get_or_insert(since.whole);
        let from = std::mem::replace(&mut self.until, until);
        self.check(event, since, from, source);
    }

    pub(super) fn check(&self, event: usize, since: Since, from: Lsn, source: &Source) {
        let from = self.from.map_or(Lsn::MAX, |first| first.max(from));
        for place in source.places(event, from, self.until) {
            let is_there = self.rows.contains_key(&place) || self.refused.contains_key(&place);
            let is_told = || {
                let gap = self.gaps.range(Lsn(place.lsn.0 + 1)..).next();
                place.lsn < self.lost_to.max(since.whole) && gap.is_some()
            };
            assert!(is_there || is_told(), "{} lacks {place} of {}", EVENTS[event], self.until);
        }
    }

    /// The sink was another one, and has itself lost what it has not, up to there.
    pub(super) fn lost(&mut self, was: &Self, to: Lsn) {
        self.lost_to = was.lost_to.max(to);
    }

    pub(super) fn has_refused(&self, place: EventPlace) -> bool {
        self.refused.contains_key(&place)
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = &Entry> {
        self.refused.values()
    }
}

/// A sink's history.
#[derive(Clone, Default)]
pub(super) struct Versions {
    /// By key and LSN: the row, and the LSN of what came after it.
    rows: BTreeMap<(Vec<u8>, Lsn), (String, Option<Lsn>)>,
    /// Positions from and to which all is there.
    whole: Vec<(Lsn, Lsn)>,
}

impl Versions {
    /// `row`: `None` where it is refused, or gone.
    pub(super) fn put(&mut self, entry: &Entry, row: Option<String>) {
        let (key, lsn) = (entry.key().to_vec(), entry.lsn());
        if self.rows.contains_key(&(key.clone(), lsn)) {
            return;
        }
        let before = self.rows.range_mut((key.clone(), Lsn::ZERO)..(key.clone(), lsn)).next_back();
        if let Some((_, (_, to @ None))) = before {
            *to = Some(lsn);
        }
        if let Some(row) = row {
            self.rows.insert((key, lsn), (row, None));
        }
    }

    /// A fill has ended.
    pub(super) fn settle<'r>(
        &mut self,
        rows: impl Iterator<Item = (&'r Vec<u8>, &'r String)>,
        position: Lsn,
    ) {
        let lsn = Lsn(position.0 - 1);
        let mut new: BTreeMap<&Vec<u8>, &String> = rows.collect();
        for ((key, _), (row, to)) in self.rows.iter_mut().filter(|(_, (_, to))| to.is_none()) {
            match new.get(key) {
                Some(now) if *now == row => drop(new.remove(key)),
                _ => *to = Some(lsn),
            }
        }
        let new = new.into_iter().map(|(key, row)| ((key.clone(), lsn), (row.clone(), None)));
        self.rows.extend(new.collect::<Vec<_>>());
        self.whole.push((position, position));
    }

    /// It goes on to this position.
    pub(super) fn reached(&mut self, position: Lsn) {
        self.whole.last_mut().expect("it begins with a fill").1 = position;
    }

    fn as_of(&self, position: Lsn) -> BTreeSet<String> {
        let is_there =
            |lsn: Lsn, to: Option<Lsn>| lsn < position && to.is_none_or(|to| position <= to);
        let rows = self.rows.iter().filter(|((_, lsn), (_, to))| is_there(*lsn, *to));
        rows.map(|(_, (row, _))| row.clone()).collect()
    }

    /// At each commit behind this position up to where it stands.
    pub(super) fn check(&self, lane: usize, from: Lsn, source: &Source) {
        for &(begin, end) in &self.whole {
            for position in source.positions(begin.max(from), end) {
                assert_eq!(
                    self.as_of(position),
                    source.shows(lane, position),
                    "the history of {} as of {position}",
                    PROJECTIONS[lane]
                );
            }
        }
        let open = |(_, to): &&(String, Option<Lsn>)| to.is_none();
        let open = self.rows.values().filter(open).count();
        let keys = self.rows.iter().filter(|(_, (_, to))| to.is_none());
        let keys: BTreeSet<&Vec<u8>> = keys.map(|((key, _), _)| key).collect();
        assert_eq!(keys.len(), open, "a key has two open versions");
    }
}
