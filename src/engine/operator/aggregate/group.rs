//! What is kept of each group itself, under the group's key.

use std::collections::BTreeMap;
use std::ops::Bound;

use triomphe::ThinArc;

use super::call::{Call, Source};
use super::kept::Kept;
use super::running::Running;
use super::{Columns, datum};
use crate::engine::index::{PREFIX, prefix};
use crate::value::{self, Type, ValueError};

/// The groups by their keys, none of which is the beginning of another.
#[derive(Default)]
pub(super) struct Groups {
    map: BTreeMap<GroupKey, Group>,
    bytes: usize,
}

/// A key whose first bytes, mostly all of them, lie in the tree's node itself: groups are told apart without
/// a look at anything else.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupKey {
    prefix: u64,
    rest: Option<ThinArc<(), u8>>,
    len: u32,
}

impl GroupKey {
    pub(super) fn new(key: &[u8]) -> Self {
        let rest = key.get(PREFIX..).filter(|rest| !rest.is_empty());
        let rest = rest.map(|rest| ThinArc::from_header_and_slice((), rest));
        Self { prefix: prefix(key), rest, len: key.len() as u32 }
    }

    fn rest(&self) -> &[u8] {
        self.rest.as_ref().map_or(&[], |rest| &rest.slice)
    }

    fn is_under(&self, key: &[u8]) -> bool {
        match key.split_at_checked(PREFIX) {
            Some((_, rest)) => self.prefix == prefix(key) && self.rest().starts_with(rest),
            None => self.prefix.to_be_bytes().starts_with(key),
        }
    }

    /// Appends its bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix.to_be_bytes()[..PREFIX.min(self.len as usize)]);
        out.extend_from_slice(self.rest());
    }

    /// A node of a B-tree is three quarters full in the long run.
    fn bytes(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| 2 * size_of::<usize>() + rest.slice.len());
        (size_of::<Group>() + size_of::<Self>()) * 4 / 3 + rest
    }
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Group> {
        self.map.get(&GroupKey::new(key))
    }

    pub(super) fn insert(&mut self, key: &[u8], group: Group) {
        self.get_or_insert(key, || group);
    }

    pub(super) fn get_or_insert(&mut self, key: &[u8], new: impl FnOnce() -> Group) -> &mut Group {
        let key = GroupKey::new(key);
        let bytes = key.bytes();
        let Self { map, bytes: all } = self;
        map.entry(key).or_insert_with(|| {
            let group = new();
            *all += bytes + group.bytes();
            group
        })
    }

    /// A group costs other than it did.
    pub(super) fn resized(&mut self, before: usize, after: usize) {
        self.bytes = self.bytes + after - before;
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some((key, group)) = self.map.remove_entry(&GroupKey::new(key)) {
            self.bytes -= key.bytes() + group.bytes();
        }
    }

    /// Only these stay.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&GroupKey, &Group) -> bool) {
        let Self { map, bytes } = self;
        map.retain(|key, group| {
            let stays = stays(key, group);
            if !stays {
                *bytes -= key.bytes() + group.bytes();
            }
            stays
        });
    }

    /// The keys that begin with `key`.
    pub(super) fn under<'k>(&'k self, key: &'k [u8]) -> impl Iterator<Item = &'k GroupKey> {
        let from = (Bound::Included(GroupKey::new(key)), Bound::Unbounded);
        let groups = self.map.range(from).map(|(group, _)| group);
        groups.take_while(move |group| group.is_under(key))
    }
}

pub(super) struct Group {
    pub(super) rows: i64,
    /// Its rows, where they are looked up, are those after the changes of this epoch; in all others those
    /// before the changes that are being followed.
    pub(super) epoch: u64,
    /// How many rows show the group's columns in another way than the key does (numeric 1.0 and 1.00).
    shown: Option<Box<Shown>>,
    pub(super) totals: Box<[Running]>,
    errors: Option<Box<Errors>>,
}

/// The group's columns as rows show them, and how many rows do.
type Shown = BTreeMap<Box<[u8]>, i64>;

/// How often each error is among a call's rows; a row's own error is every call's.
type Errors = BTreeMap<(Option<usize>, Vec<u8>), i64>;

impl Group {
    pub(super) fn new(calls: &[Call]) -> Self {
        let totals = calls.iter().filter_map(|call| match call.source {
            Source::Total(_) | Source::DistinctTotal { .. } => {
                Call::total_of(call.function, &call.types)
            }
            _ => None,
        });
        Self { rows: 0, epoch: 0, shown: None, totals: totals.collect(), errors: None }
    }

    /// A row comes or goes: what does not depend on any call.
    pub(super) fn count<'d>(
        &mut self,
        key: &[u8],
        datums: impl Iterator<Item = &'d [u8]> + Clone,
        ((row, _), end): (Columns<'_>, usize),
        weight: i64,
    ) {
        self.rows += weight;
        self.count_shown(key, datums, weight);
        if end < row.len() {
            self.count_error(None, &row[end..], weight);
        }
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
    pub(super) fn shown(&self) -> Option<&[u8]> {
        let shown = self.shown.as_ref()?;
        let as_the_key = self.rows - shown.values().sum::<i64>();
        shown.keys().next().filter(|_| as_the_key == 0).map(|shown| &**shown)
    }

    /// Whether the row is one of the call's; counts the error where it cannot be told, or looked at.
    pub(super) fn counts(
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

    pub(super) fn add(
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

    pub(super) fn error(&self, call: Option<usize>) -> Option<&[u8]> {
        let errors = self.errors.as_ref()?;
        let (_, error) = errors.keys().find(|(of, _)| *of == call)?;
        Some(error)
    }

    /// Beside its place in the map.
    pub(super) fn bytes(&self) -> usize {
        let shown = self.shown.iter().flat_map(|shown| shown.keys());
        let shown: usize = shown.map(|shown| shown.len() + size_of::<(Box<[u8]>, i64)>()).sum();
        shown + self.totals.iter().map(Running::bytes).sum::<usize>()
    }
}
