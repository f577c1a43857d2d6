//! Groups: one row for each that has rows, with its aggregates.
//!
//! A group's row is a function of what is kept of the group, and of its rows where they can be looked up:
//! the row that it had is computed again before a change, instead of being kept. Totals change with each
//! row in constant time; what is ordered or distinct in the logarithm of what is kept; writing out a list
//! costs the list.

mod call;
mod kept;
mod list;
mod running;
mod sums;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use self::call::{Call, Source};
use self::kept::{Gathered, Kept};
use self::list::List;
use self::running::Running;
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
    groups: BTreeMap<Box<[u8]>, Group>,
    bytes: usize,
    /// There is a row also over nothing.
    scalar: bool,
    /// Reused: where a row's columns are, and a group's rows.
    ranges: Vec<Range<usize>>,
    gathered: RefCell<Vec<Gathered>>,
}

/// Deltas by group, and how far they are worked off.
pub(in crate::engine) struct Work {
    deltas: Sorted,
    at: usize,
}

struct Group {
    rows: i64,
    /// Its rows, where they are looked up, are those after the changes of this epoch; in all others those
    /// before the changes that are being followed.
    epoch: u64,
    /// How many rows show the group's columns in another way than the key does (numeric 1.0 and 1.00).
    shown: Option<Box<Shown>>,
    totals: Box<[Running]>,
    errors: Option<Box<Errors>>,
}

/// The group's columns as rows show them, and how many rows do.
type Shown = BTreeMap<Box<[u8]>, i64>;

/// How often each error is among a call's rows; a row's own error is every call's.
type Errors = BTreeMap<(Option<usize>, Vec<u8>), i64>;

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
            groups: BTreeMap::new(),
            bytes: 0,
            lists,
            scalar,
            ranges: Vec::new(),
            gathered: RefCell::default(),
            input,
        };
        if scalar {
            let nothing = Group::new(&this.calls);
            this.bytes += cost(&[], &nothing);
            this.groups.insert(Box::default(), nothing);
        }
        this
    }

    /// Whether any of them writes out its group's rows.
    pub(in crate::engine) fn lists(aggregates: &[plan::Aggregate]) -> bool {
        aggregates.iter().any(|aggregate| Call::lists(aggregate.function))
    }

    pub(in crate::engine) fn begin(
        &self,
        deltas: &Deltas,
        refuse: &mut Refuse<'_>,
    ) -> Result<Work, ValueError> {
        let deltas = Sorted::new(deltas.iter(), &self.input, &self.key, refuse)?;
        Ok(Work { deltas, at: 0 })
    }

    /// Works on until `out` has a chunk of rows; whether there is more to do.
    pub(in crate::engine) fn run(
        &mut self,
        engine: &Engine,
        Work { deltas: work, at }: &mut Work,
        out: &mut Deltas,
    ) -> Result<bool, ValueError> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        while *at < work.len() {
            if out.len() >= engine.chunk_rows {
                return Ok(true);
            }
            let (key, end) = (work.key(*at), work.end_of_key(*at));
            before.clear();
            after.clear();
            let had = self.write_row(engine, key, &mut before)?;
            for (row, weight) in work.rows(*at..end) {
                self.change(key, row, weight, engine.epoch)?;
            }
            let has = self.write_row(engine, key, &mut after)?;
            if had != has || before != after {
                if had {
                    out.push(&before, -1);
                }
                if has {
                    out.push(&after, 1);
                }
            }
            *at = end;
        }
        Ok(false)
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

    /// The rows of the groups whose keys begin with `key`.
    pub(in crate::engine) fn look(&self, engine: &Engine, key: &[u8], see: &mut Look<'_>) -> Seen {
        let mut row = Vec::new();
        let from = (Bound::Included(key), Bound::Unbounded);
        let groups = self.groups.range::<[u8], _>(from);
        for (key, _) in groups.take_while(|(group, _)| group.starts_with(key)) {
            row.clear();
            if self.write_row(engine, key, &mut row)? && see(&row, 1)? == Go::Rest {
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

    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes + self.kept.iter().map(|kept| kept.index.bytes()).sum::<usize>()
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
        let group = match self.groups.get_mut(key) {
            Some(group) => {
                self.bytes -= cost(key, group);
                group
            }
            None => self.groups.entry(key.into()).or_insert(Group::new(&self.calls)),
        };
        group.epoch = epoch;
        group.rows += weight;
        group.count_shown(key, self.group.iter().map(|&at| datum(columns, at)), weight);
        debug_assert!(group.rows >= 0, "a group has {} rows", group.rows);
        if end < row.len() {
            group.count_error(None, &row[end..], weight);
        }
        // Distinct values are told apart by what is kept before and after.
        let firsts = distinct_firsts(&self.calls, &mut self.kept, key, columns)?;
        for kept in &mut self.kept {
            let by = &kept.spec.order;
            if !by.iter().any(|order| value::is_error(datum(columns, order.column))) {
                kept.add(key, columns, weight)?;
            }
        }
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
        if group.rows > 0 || self.scalar {
            self.bytes += cost(key, group);
        } else {
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
        let Some(group) = self.groups.get(key) else { return Ok(false) };
        let mut gathered = self.gathered.take();
        self.gather(engine, key, group, &mut gathered)?;
        out.extend_from_slice(group.shown().unwrap_or(key));
        for (at, call) in self.calls.iter().enumerate() {
            if let Some(error) = group.error(Some(at)) {
                out.extend_from_slice(error);
                continue;
            }
            let start = out.len();
            if let Err(failure) = self.write_call(call, group, key, &gathered, out)? {
                out.truncate(start);
                value::encode_error(&failure, out);
            }
        }
        if let Some(error) = group.error(None) {
            out.extend_from_slice(error);
        }
        self.gathered.replace(gathered);
        Ok(true)
    }

    fn write_call(
        &self,
        call: &Call,
        group: &Group,
        key: &[u8],
        gathered: &[Gathered],
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
        match call.source {
            Source::Total(total) | Source::DistinctTotal { total, .. } => {
                let ty = call.types.first().unwrap_or(&Type::Bool);
                return Ok(group.totals[total].write(call.function, ty, out));
            }
            Source::First(kept) => {
                let slot = self.kept[kept].index.under(key, None).next();
                first(slot.map(|slot| slot.row.content()), out)?;
            }
            Source::Last(kept) => {
                let slot = self.kept[kept].index.last_under(key);
                first(slot.map(|slot| slot.row.content()), out)?;
            }
            Source::List(at) => {
                let kept = &self.kept[at];
                let none = Gathered::default();
                let rows = kept.rows(key, gathered.get(at).unwrap_or(&none));
                return self.write_list(call, kept, rows, out);
            }
        }
        Ok(Ok(()))
    }

    /// A group's rows by what is listed of them, as the group has taken them in.
    fn gather(
        &self,
        engine: &Engine,
        key: &[u8],
        group: &Group,
        gathered: &mut Vec<Gathered>,
    ) -> Result<(), ValueError> {
        let Some(lists) = &self.lists else { return Ok(()) };
        gathered.resize_with(self.kept.len(), Gathered::default);
        gathered.iter_mut().for_each(Gathered::clear);
        let when = if group.epoch == engine.epoch { When::New } else { When::Old };
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

impl Group {
    fn new(calls: &[Call]) -> Self {
        let totals = calls.iter().filter_map(|call| match call.source {
            Source::Total(_) | Source::DistinctTotal { .. } => {
                Call::total_of(call.function, &call.types)
            }
            _ => None,
        });
        Self { rows: 0, epoch: 0, shown: None, totals: totals.collect(), errors: None }
    }

    fn count_shown<'d>(
        &mut self,
        key: &[u8],
        datums: impl Iterator<Item = &'d [u8]> + Clone,
        weight: i64,
    ) {
        let mut rest = Some(key);
        for datum in datums.clone() {
            rest = rest.and_then(|rest| rest.strip_prefix(datum));
        }
        if rest.is_some_and(<[u8]>::is_empty) {
            return;
        }
        let shown = self.shown.get_or_insert_default();
        let datums: Vec<&[u8]> = datums.collect();
        let datums: Box<[u8]> = datums.concat().into();
        let rows = shown.entry(datums).or_default();
        *rows += weight;
        if *rows == 0 {
            shown.retain(|_, rows| *rows != 0);
        }
        if shown.is_empty() {
            self.shown = None;
        }
    }

    /// As the first of its rows shows it, by bytes; `None`: as the key does. What no row shows any more is
    /// not shown, and it does not depend on the order of changes.
    fn shown(&self) -> Option<&[u8]> {
        let shown = self.shown.as_ref()?;
        let as_the_key = self.rows - shown.values().sum::<i64>();
        shown.keys().next().filter(|_| as_the_key == 0).map(|shown| &**shown)
    }

    /// Whether the row is one of the call's; counts the error where it cannot be told, or looked at.
    fn counts(
        &mut self,
        at: usize,
        call: &Call,
        kept: &[Kept],
        columns: Columns<'_>,
        weight: i64,
    ) -> bool {
        if let Some(filter) = call.filter {
            let filter = datum(columns, filter);
            if value::is_error(filter) {
                self.count_error(Some(at), filter, weight);
            }
            if filter != [1] {
                return false;
            }
        }
        let order = match call.source {
            Source::List(at) => kept[at].spec.order.as_slice(),
            _ => &[],
        };
        let looked_at = call.arguments.iter().copied().chain(order.iter().map(|o| o.column));
        let mut datums = looked_at.map(|at| datum(columns, at));
        match datums.find(|datum| value::is_error(datum)) {
            Some(error) => {
                self.count_error(Some(at), error, weight);
                false
            }
            None => true,
        }
    }

    fn add(
        &mut self,
        total: usize,
        call: &Call,
        columns: Columns<'_>,
        weight: i64,
    ) -> Result<(), ValueError> {
        let total = &mut self.totals[total];
        match call.arguments.first() {
            None => total.add(&Type::Bool, &[1], weight),
            Some(&column) if value::is_null(datum(columns, column)) => Ok(()),
            Some(&column) => total.add(&call.types[0], datum(columns, column), weight),
        }
    }

    fn count_error(&mut self, call: Option<usize>, error: &[u8], weight: i64) {
        let errors = self.errors.get_or_insert_default();
        let count = errors.entry((call, error.to_vec())).or_default();
        *count += weight;
        if *count == 0 {
            errors.retain(|_, count| *count != 0);
        }
        if errors.is_empty() {
            self.errors = None;
        }
    }

    fn error(&self, call: Option<usize>) -> Option<&[u8]> {
        let errors = self.errors.as_ref()?;
        let (_, error) = errors.keys().find(|(of, _)| *of == call)?;
        Some(error)
    }
}

/// What a group costs in memory, and its place in the map.
fn cost(key: &[u8], group: &Group) -> usize {
    let place = (size_of::<Group>() + size_of::<Box<[u8]>>()) * 4 / 3 + key.len();
    let shown = group.shown.iter().flat_map(|shown| shown.keys());
    let shown: usize = shown.map(|shown| shown.len() + size_of::<(Box<[u8]>, i64)>()).sum();
    place + shown + group.totals.iter().map(Running::bytes).sum::<usize>()
}
