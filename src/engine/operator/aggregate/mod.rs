//! Groups: one row for each that has rows, with its aggregates.
//!
//! A group's row is a function of what is kept of the group, and of its rows where they can be looked up:
//! the row that it had is computed again before a change, instead of being kept. Totals change with each
//! row in constant time; what is ordered or distinct in the logarithm of what is kept; writing out a list
//! costs the list. Of a group of few rows that can be looked up nothing is kept at all (`few`).

mod call;
mod few;
mod group;
mod kept;
mod list;
mod running;
mod spread;
mod sums;

use std::cell::RefCell;
use std::ops::Range;

use self::call::{Call, Source};
use self::few::Few;
use self::group::{Group, Groups};
use self::kept::{Gathered, Kept};
use self::list::List;
use super::super::access::Access;
use super::super::delta::{Deltas, Refuse, Sorted};
use super::super::graph::Engine;
use super::super::index::{Held as _, Packed};
use super::super::look::{Go, Look, Seen, When};
use super::super::row::{Key, RowLayout};
use crate::sql::plan::{self, Function};
use crate::value::{self, Type, ValueError};

pub(in crate::engine) struct Aggregate {
    input: RowLayout,
    group: Vec<usize>,
    key: Key,
    calls: Vec<Call>,
    kept: Vec<Kept>,
    /// Where a group's rows are looked up for lists of them, instead of being kept.
    lists: Option<Access>,
    groups: Groups,
    /// Where groups of few rows are not kept.
    few: Option<Few>,
    /// There is a row also over nothing.
    scalar: bool,
    /// Reused: where a row's columns are, and a group's rows.
    ranges: Vec<Range<usize>>,
    gathered: RefCell<Vec<Gathered>>,
    versions: Versions,
}

/// Deltas by group, and how far they are worked off.
pub(in crate::engine) struct Work {
    deltas: Sorted,
    at: usize,
    /// These are all deltas of what is being followed.
    is_whole: bool,
}

/// A group before a change and after it; reused.
#[derive(Default)]
struct Versions {
    rows: [Vec<u8>; 2],
    gathered: [Vec<Gathered>; 2],
}

/// Buffers that are larger are not used again.
const REUSED_MAX: usize = 1 << 20;

impl Versions {
    fn bytes(&self) -> usize {
        let gathered = self.gathered.iter().flatten().map(Gathered::buffer_bytes);
        self.rows.iter().map(Vec::capacity).chain(gathered).sum()
    }
}

impl Work {
    /// The buffer that `begin` was given.
    pub(in crate::engine) fn end(self) -> Sorted {
        self.deltas
    }
}

impl Aggregate {
    pub(in crate::engine) fn new(
        input: RowLayout,
        group: &[usize],
        aggregates: &[plan::Aggregate],
        scalar: bool,
        lists: Option<Access>,
    ) -> Self {
        let (mut kept, mut totals) = (Vec::new(), 0);
        let looks_up = lists.is_some();
        let call = |of| Call::new(of, &input, &mut kept, &mut totals, looks_up);
        let calls = aggregates.iter().map(call);
        let calls = calls.collect();
        let mut this = Self {
            key: Key::new(&input, group),
            group: group.to_vec(),
            calls,
            kept,
            groups: Groups::default(),
            few: (lists.is_some() && !scalar).then(Few::default),
            lists,
            scalar,
            ranges: Vec::new(),
            gathered: RefCell::default(),
            versions: Versions::default(),
            input,
        };
        if scalar {
            this.groups.insert(&[], Group::new(&this.calls));
        }
        this
    }

    /// Whether any of them writes out its group's rows.
    pub(in crate::engine) fn lists(aggregates: &[plan::Aggregate]) -> bool {
        aggregates.iter().any(|aggregate| Call::lists(aggregate.function))
    }

    /// Whether any of them keeps its group's rows, where they are not looked up.
    pub(in crate::engine) fn orders(aggregates: &[plan::Aggregate]) -> bool {
        aggregates.iter().any(|aggregate| {
            aggregate.distinct || matches!(aggregate.function, Function::Min | Function::Max)
        })
    }

    pub(in crate::engine) fn begin(
        &self,
        deltas: &Deltas,
        is_whole: bool,
        mut sorted: Sorted,
        refuse: &mut Refuse<'_>,
    ) -> Result<Work, ValueError> {
        sorted.fill(deltas.iter(), &self.input, &self.key, refuse)?;
        Ok(Work { deltas: sorted, at: 0, is_whole })
    }

    /// Works on until `out` has a chunk of rows; whether there is more to do.
    pub(in crate::engine) fn run(
        &mut self,
        engine: &Engine,
        work: &mut Work,
        out: &mut Deltas,
    ) -> Result<bool, ValueError> {
        let mut versions = std::mem::take(&mut self.versions);
        while work.at < work.deltas.len() && out.len() < engine.chunk_rows {
            let end = work.deltas.end_of_key(work.at);
            match self.is_unkept(work.deltas.key(work.at)) {
                true => self.step_unkept(engine, work, end, &mut versions, out)?,
                false => self.step(engine, work, end, &mut versions, out)?,
            }
            work.at = end;
        }
        // A large group's would be held on to for nothing.
        if versions.bytes() <= REUSED_MAX {
            self.versions = versions;
        }
        Ok(work.at < work.deltas.len())
    }

    /// Brings one group to its deltas, and tells what becomes of its row.
    fn step(
        &mut self,
        engine: &Engine,
        work: &Work,
        end: usize,
        Versions { rows: [before, after], gathered: [was, is] }: &mut Versions,
        out: &mut Deltas,
    ) -> Result<(), ValueError> {
        let key = work.deltas.key(work.at);
        let deltas = || work.deltas.rows(work.at..end);
        before.clear();
        after.clear();
        // What was there is what is there without what came: looking it up a second time costs more.
        let by_deltas = self.lists.is_some() && work.is_whole;
        let had = match self.groups.get(key) {
            None => false,
            Some(group) if by_deltas => {
                self.gather(engine, key, When::New, is)?;
                was.resize_with(is.len(), Gathered::default);
                was.iter_mut().zip(&*is).for_each(|(was, is)| was.copy(is));
                for (row, weight) in deltas() {
                    for (kept, was) in self.kept.iter().zip(was.iter_mut()) {
                        kept.gather(&self.input, row, -weight, was)?;
                    }
                }
                was.iter_mut().for_each(Gathered::consolidate);
                self.write_group(group, key, Found::lists(was), before)?;
                true
            }
            Some(_) => self.write_row(engine, key, before)?,
        };
        for (row, weight) in deltas() {
            self.change(key, row, weight, engine.epoch)?;
        }
        let has = match self.groups.get(key) {
            Some(group) if by_deltas && had => {
                self.write_group(group, key, Found::lists(is), after)?;
                true
            }
            // Its last row has gone; where the changes come in parts, there may be others.
            None if self.few.is_some() => {
                !work.is_whole && self.write_unkept(engine, key, When::New, is, after)?
            }
            _ => self.write_row(engine, key, after)?,
        };
        if work.is_whole {
            self.forget_when_few(key);
        }
        self.leave(engine, key);
        if had != has || before != after {
            if had {
                out.push(before, -1);
            }
            if has {
                out.push(after, 1);
            }
        }
        Ok(())
    }

    /// Takes a row in without telling what becomes of its group.
    pub(in crate::engine) fn absorb(
        &mut self,
        row: &[u8],
        weight: i64,
        refuse: &mut Refuse<'_>,
    ) -> Result<(), ValueError> {
        let (mut ranges, mut key) = (Vec::new(), Vec::new());
        self.input.split(row, &mut ranges)?;
        if let Some(error) = self.key.error(row, &ranges) {
            refuse(error, weight);
            return Ok(());
        }
        self.key.write(row, &ranges, &mut key)?;
        self.change(&key, row, weight, 0)
    }

    /// The rows of the groups whose keys begin with `key`; it is a whole key where small groups are not kept,
    /// but when all are there.
    pub(in crate::engine) fn look(&self, engine: &Engine, key: &[u8], see: &mut Look<'_>) -> Seen {
        if self.is_pruned() {
            return self.look_at_group(engine, key, see);
        }
        let (mut row, mut of) = (Vec::new(), Vec::new());
        for group in self.groups.under(key) {
            row.clear();
            of.clear();
            group.write(&mut of);
            if self.write_row(engine, &of, &mut row)? && see(&row, 1)? == Go::Rest {
                return Ok(Go::Rest);
            }
        }
        Ok(Go::On)
    }

    /// The row of one group.
    pub(in crate::engine) fn look_at_group(
        &self,
        engine: &Engine,
        key: &[u8],
        see: &mut Look<'_>,
    ) -> Seen {
        let mut row = Vec::new();
        if self.write_row(engine, key, &mut row)? { see(&row, 1) } else { Ok(Go::On) }
    }

    pub(in crate::engine) fn rows(&self) -> usize {
        self.groups.len()
    }

    /// How many times it keeps each row, in one order or another.
    pub(in crate::engine) fn keeps_rows(&self) -> usize {
        self.kept.iter().filter(|kept| !kept.is_looked_up()).count()
    }

    /// Whether nothing is kept of groups that have so many rows.
    pub(in crate::engine) fn forgets(&self, rows: f64) -> bool {
        self.few.is_some() && rows <= few::FEW_MAX as f64
    }

    pub(in crate::engine) fn bytes(&self) -> usize {
        self.groups.bytes() + self.kept.iter().map(|kept| kept.index.bytes()).sum::<usize>()
    }

    fn change(
        &mut self,
        key: &[u8],
        row: &[u8],
        weight: i64,
        epoch: u64,
    ) -> Result<(), ValueError> {
        let end = self.input.split(row, &mut self.ranges)?;
        let columns = (row, self.ranges.as_slice());
        let group = self.groups.get_or_insert(key, || Group::new(&self.calls));
        let cost = group.bytes();
        group.epoch = epoch;
        // Distinct values are told apart by what is kept before and after.
        let firsts = distinct_firsts(&self.calls, &mut self.kept, key, columns)?;
        for kept in self.kept.iter_mut().filter(|kept| !kept.has_error(columns)) {
            kept.add(key, columns, weight)?;
        }
        let own_key = self.group.iter().map(|&at| datum(columns, at));
        group.count(key, own_key, (columns, end), weight);
        debug_assert!(group.rows >= 0, "a group has {} rows", group.rows);
        for (at, call) in self.calls.iter().enumerate() {
            if !group.counts(at, call, &self.kept, columns, weight) {
                continue;
            }
            match call.source {
                Source::Total(total) => group.add(total, call, columns, weight)?,
                Source::DistinctTotal { total, kept } => {
                    let first = self.kept[kept].first_equal(key, columns)?;
                    let (before, after) = (firsts[kept].as_ref(), first.as_ref());
                    if before.map(|row| row.content()) != after.map(|row| row.content()) {
                        for (first, weight) in [(before, -1), (after, 1)] {
                            if let Some(first) = first {
                                group.totals[total].add(&call.types[0], first.content(), weight)?;
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        let (is_empty, more) = (group.rows == 0, group.bytes());
        self.groups.resized(cost, more);
        if is_empty && !self.scalar {
            self.groups.remove(key);
        }
        Ok(())
    }

    /// Appends the group's row, when there is one.
    fn write_row(
        &self,
        engine: &Engine,
        key: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, ValueError> {
        let group = self.groups.get(key);
        if group.is_none() && self.few.is_none() {
            return Ok(false);
        }
        let mut gathered = self.gathered.take();
        let is_there = match group {
            Some(group) => {
                let when = if group.epoch == engine.epoch { When::New } else { When::Old };
                self.gather(engine, key, when, &mut gathered)?;
                self.write_group(group, key, Found::lists(&gathered), out)?;
                true
            }
            None => {
                let when = self.seen_as_of(engine, key);
                self.write_unkept(engine, key, when, &mut gathered, out)?
            }
        };
        if gathered.iter().map(Gathered::buffer_bytes).sum::<usize>() <= REUSED_MAX {
            self.gathered.replace(gathered);
        }
        Ok(is_there)
    }

    fn write_group(
        &self,
        group: &Group,
        key: &[u8],
        found: Found<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        out.extend_from_slice(group.shown().unwrap_or(key));
        for (at, call) in self.calls.iter().enumerate() {
            if let Some(error) = group.error(Some(at)) {
                out.extend_from_slice(error);
                continue;
            }
            let start = out.len();
            if let Err(failure) = self.write_call(call, group, key, found, out)? {
                out.truncate(start);
                value::encode_error(&failure, out);
            }
        }
        if let Some(error) = group.error(None) {
            out.extend_from_slice(error);
        }
        Ok(())
    }

    fn write_call(
        &self,
        call: &Call,
        group: &Group,
        key: &[u8],
        found: Found<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Result<(), String>, ValueError> {
        let first = |datums: Option<&[u8]>, out: &mut Vec<u8>| {
            let Some(datums) = datums else {
                value::encode_null(out);
                return Ok(());
            };
            let len = value::datum_len(&call.types[0], datums)?;
            out.extend_from_slice(&datums[..len]);
            Ok::<_, ValueError>(())
        };
        let ty = call.types.first().unwrap_or(&Type::Bool);
        match call.source {
            Source::DistinctTotal { kept, .. } if found.all => {
                return Ok(found.gathered[kept].total(call, ty)?.write(call.function, ty, out));
            }
            Source::Total(total) | Source::DistinctTotal { total, .. } => {
                return Ok(group.totals[total].write(call.function, ty, out));
            }
            Source::First(kept) if found.all => first(found.gathered[kept].first(), out)?,
            Source::Last(kept) if found.all => first(found.gathered[kept].last(), out)?,
            Source::First(kept) => {
                let slot = self.kept[kept].index.under(key, None).next();
                first(slot.map(|slot| slot.row.content()), out)?;
            }
            Source::Last(kept) => {
                let slot = self.kept[kept].index.last_under(key);
                first(slot.map(|slot| slot.row.content()), out)?;
            }
            Source::List(at) => {
                let (kept, none) = (&self.kept[at], Gathered::default());
                let gathered = found.gathered.get(at).unwrap_or(&none);
                let rows = kept.rows(key, gathered, found.all);
                return self.write_list(call, kept, rows, out);
            }
        }
        Ok(Ok(()))
    }

    /// A group's rows by what is listed of them.
    fn gather(
        &self,
        engine: &Engine,
        key: &[u8],
        when: When,
        gathered: &mut Vec<Gathered>,
    ) -> Result<(), ValueError> {
        let Some(lists) = &self.lists else { return Ok(()) };
        gathered.resize_with(self.kept.len(), Gathered::default);
        gathered.iter_mut().for_each(Gathered::clear);
        engine.look(lists, key, when, &mut |row, weight| {
            for (kept, gathered) in self.kept.iter().zip(gathered.iter_mut()) {
                kept.gather(&self.input, row, weight, gathered)?;
            }
            Ok(Go::On)
        })?;
        gathered.iter_mut().for_each(Gathered::sort);
        Ok(())
    }

    fn write_list<'r>(
        &self,
        call: &Call,
        kept: &Kept,
        rows: impl Iterator<Item = (&'r [u8], i64)>,
        out: &mut Vec<u8>,
    ) -> Result<Result<(), String>, ValueError> {
        let filter = call.filter.map(|at| kept.place(at));
        let types: Vec<&Type> = call.types.iter().collect();
        let mut list = List::new(call.function, &types);
        let mut only: Option<Vec<u8>> = None;
        let mut last: Option<Vec<u8>> = None;
        let mut ranges = Vec::new();
        for (row, weight) in rows {
            kept.layout.split(row, &mut ranges)?;
            if filter.is_some_and(|at| row[ranges[at].clone()] != [1]) {
                continue;
            }
            // No function has more arguments.
            let mut datums: [&[u8]; 2] = [&[]; 2];
            for (datum, &column) in datums.iter_mut().zip(&call.arguments) {
                *datum = &row[ranges[kept.place(column)].clone()];
            }
            let datums = &datums[..call.arguments.len()];
            let mut times = weight;
            if call.distinct {
                let mut value = Vec::new();
                for (ty, datum) in types.iter().zip(datums) {
                    value.extend_from_slice(value::order_part(ty, datum)?);
                }
                if last.as_ref() == Some(&value) {
                    continue;
                }
                last = Some(value);
                times = 1;
            }
            for _ in 0..times {
                if call.function != Function::Single {
                    if let Err(failure) = list.push(datums) {
                        return Ok(Err(failure));
                    }
                } else if only.replace(datums[0].to_vec()).is_some() {
                    let failure = "more than one row returned by a subquery used as an expression";
                    return Ok(Err(failure.into()));
                }
            }
        }
        if call.function == Function::Single {
            out.extend_from_slice(only.as_deref().unwrap_or(&[value::NULL]));
            return Ok(Ok(()));
        }
        Ok(list.write(&call.result.ty, out))
    }
}

/// A group's rows as they were looked up.
#[derive(Clone, Copy)]
struct Found<'g> {
    gathered: &'g [Gathered],
    /// Everything was; nothing is kept.
    all: bool,
}

impl<'g> Found<'g> {
    /// What is listed of them.
    fn lists(gathered: &'g [Gathered]) -> Self {
        Self { gathered, all: false }
    }
}

/// A row and where its columns are.
type Columns<'r> = (&'r [u8], &'r [Range<usize>]);

fn datum<'r>((row, ranges): Columns<'r>, at: usize) -> &'r [u8] {
    &row[ranges[at].clone()]
}

/// By kept place: the row that stands for this one's values, before a change.
fn distinct_firsts(
    calls: &[Call],
    kept: &mut [Kept],
    key: &[u8],
    columns: Columns<'_>,
) -> Result<Vec<Option<Packed>>, ValueError> {
    let distinct = calls.iter().filter_map(|call| match call.source {
        Source::DistinctTotal { kept, .. } => Some(kept),
        _ => None,
    });
    let mut firsts = Vec::new();
    for at in distinct {
        firsts.resize(kept.len(), None);
        firsts[at] = kept[at].first_equal(key, columns)?;
    }
    Ok(firsts)
}
