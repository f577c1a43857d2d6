//! Groups of few rows, where rows can be looked up: nothing is kept of them, and their row is computed of
//! what is found, before a change and after it. Of most queries most groups are such ones (an order's items).
//! A group that comes to have more is kept from then on, until it has less again.
//!
//! Who looks into such a group while changes are followed sees it as it was before them, or after them all once
//! they have reached it: its new row has been told then.

use std::ops::Range;

use super::group::{Group, GroupKey};
use super::{Aggregate, Found, Gathered, Source, Versions, Work, datum};
use crate::engine::Engine;
use crate::engine::delta::Deltas;
use crate::engine::look::{Go, When};
use crate::value::ValueError;

/// So many rows has a group at most of which nothing is kept: to look them all up takes no longer than a few
/// steps down a tree.
pub(super) const FEW_MAX: i64 = if cfg!(test) { 2 } else { 8 };
/// A kept group that has come to have so many is kept no longer.
const FEW_AGAIN: i64 = FEW_MAX / 2;

#[derive(Default)]
pub(in crate::engine) struct Few {
    /// The groups that the changes of the epoch have reached, where somebody asks.
    reached: hashbrown::HashSet<GroupKey, foldhash::fast::RandomState>,
    epoch: u64,
    /// Joins look into the groups.
    is_looked_into: bool,
    /// Small groups are not there.
    is_pruned: bool,
}

impl Few {
    /// Whether the group has not been reached in this epoch.
    fn reach(&mut self, key: &[u8], epoch: u64) -> bool {
        if self.epoch != epoch {
            self.epoch = epoch;
            // Its memory as well: it may be large, once.
            self.reached = hashbrown::HashSet::default();
        }
        self.reached.insert(GroupKey::new(key))
    }
}

impl Aggregate {
    /// A join will look into the groups. Whether they can be gone through in the order of their keys.
    pub(in crate::engine) fn look_into(&mut self) -> bool {
        if let Some(few) = &mut self.few {
            few.is_looked_into = true;
        }
        self.few.is_none()
    }

    /// What is kept are all groups again, or will be: nothing is there.
    pub(in crate::engine) fn clear(&mut self) {
        let Some(few) = &mut self.few else { return };
        few.is_pruned = false;
        self.groups = Default::default();
        self.kept.iter_mut().for_each(|kept| kept.index = Default::default());
    }

    pub(in crate::engine) fn is_pruned(&self) -> bool {
        self.few.as_ref().is_some_and(|few| few.is_pruned)
    }

    /// Everybody has seen all groups.
    pub(in crate::engine) fn prune(&mut self) {
        let Some(few) = &mut self.few else { return };
        few.is_pruned = true;
        let (kept, mut key_of) = (&mut self.kept, Vec::new());
        self.groups.retain(|key, group| {
            let stays = group.rows > FEW_MAX;
            if !stays {
                key_of.clear();
                key.write(&mut key_of);
                kept.iter_mut().for_each(|kept| kept.index.remove_under(&key_of));
            }
            stays
        });
    }

    pub(super) fn is_unkept(&self, key: &[u8]) -> bool {
        self.few.is_some() && self.groups.get(key).is_none()
    }

    /// As `step`, for a group of which nothing is kept.
    pub(super) fn step_unkept(
        &mut self,
        engine: &Engine,
        work: &Work,
        end: usize,
        Versions { rows: [before, after], gathered: [was, is] }: &mut Versions,
        out: &mut Deltas,
    ) -> Result<(), ValueError> {
        let key = work.deltas.key(work.at);
        before.clear();
        after.clear();
        let few = self.few.as_mut().expect("a group of which nothing is kept");
        let is_first = match work.is_whole && !few.is_looked_into {
            true => true,
            false => few.reach(key, engine.epoch),
        };
        let (had, has) = if work.is_whole {
            let mut group = self.find(engine, key, When::New, is)?;
            let has = self.write_found(&group, key, is, after)?;
            let rows = group.rows;
            // What was there is what is there without what came.
            was.resize_with(is.len(), Gathered::default);
            was.iter_mut().zip(&*is).for_each(|(was, is)| was.copy(is));
            let mut ranges = std::mem::take(&mut self.ranges);
            for (row, weight) in work.deltas.rows(work.at..end) {
                self.count(&mut group, key, (row, -weight), &mut ranges, was)?;
            }
            self.ranges = ranges;
            was.iter_mut().for_each(Gathered::consolidate);
            let had = self.write_found(&group, key, was, before)?;
            if rows > FEW_MAX {
                self.keep(engine, key)?;
            }
            (had, has)
        } else {
            if !is_first {
                return Ok(());
            }
            let had = self.write_unkept(engine, key, When::Old, was, before)?;
            (had, self.write_unkept(engine, key, When::New, is, after)?)
        };
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

    /// As of when the rows of a group that is not kept make its row, for those who look into it.
    pub(super) fn seen_as_of(&self, engine: &Engine, key: &[u8]) -> When {
        let few = self.few.as_ref().filter(|few| few.epoch == engine.epoch);
        match few.is_some_and(|few| few.reached.contains(&GroupKey::new(key))) {
            true => When::New,
            false => When::Old,
        }
    }

    /// Appends the row of a group that is not kept.
    pub(super) fn write_unkept(
        &self,
        engine: &Engine,
        key: &[u8],
        when: When,
        gathered: &mut Vec<Gathered>,
        out: &mut Vec<u8>,
    ) -> Result<bool, ValueError> {
        let group = self.find(engine, key, when, gathered)?;
        self.write_found(&group, key, gathered, out)
    }

    /// Of a group that was kept, and may be so no longer: its changes have reached it.
    pub(super) fn leave(&mut self, engine: &Engine, key: &[u8]) {
        if let Some(few) = self.few.as_mut().filter(|_| self.groups.get(key).is_none()) {
            few.reach(key, engine.epoch);
        }
    }

    /// All changes are there: a kept group of few rows is kept no longer.
    pub(super) fn forget_when_few(&mut self, key: &[u8]) {
        if self.is_pruned() && self.groups.get(key).is_some_and(|group| group.rows <= FEW_AGAIN) {
            self.groups.remove(key);
            self.kept.iter_mut().for_each(|kept| kept.index.remove_under(key));
        }
    }

    /// Keeps a group, as it is after all changes.
    fn keep(&mut self, engine: &Engine, key: &[u8]) -> Result<(), ValueError> {
        let lists = self.lists.take().expect("rows that can be looked up");
        let kept = engine.look(&lists, key, When::New, &mut |row, weight| {
            self.change(key, row, weight, engine.epoch)?;
            Ok(Go::On)
        });
        self.lists = Some(lists);
        kept.map(drop)
    }

    /// A group's rows, looked up.
    fn find(
        &self,
        engine: &Engine,
        key: &[u8],
        when: When,
        gathered: &mut Vec<Gathered>,
    ) -> Result<Group, ValueError> {
        gathered.resize_with(self.kept.len(), Gathered::default);
        gathered.iter_mut().for_each(Gathered::clear);
        let (mut group, mut ranges) = (Group::new(&self.calls), Vec::new());
        let lists = self.lists.as_ref().expect("rows that can be looked up");
        engine.look(lists, key, when, &mut |row, weight| {
            self.count(&mut group, key, (row, weight), &mut ranges, gathered)?;
            Ok(Go::On)
        })?;
        gathered.iter_mut().for_each(Gathered::sort);
        Ok(group)
    }

    /// A row of a group that is not kept.
    fn count(
        &self,
        group: &mut Group,
        key: &[u8],
        (row, weight): (&[u8], i64),
        ranges: &mut Vec<Range<usize>>,
        gathered: &mut [Gathered],
    ) -> Result<(), ValueError> {
        let end = self.input.split(row, ranges)?;
        let columns = (row, ranges.as_slice());
        let own_key = self.group.iter().map(|&at| datum(columns, at));
        group.count(key, own_key, (columns, end), weight);
        for (kept, gathered) in self.kept.iter().zip(gathered) {
            if !kept.has_error(columns) {
                kept.gather_any(columns, weight, gathered)?;
            }
        }
        for (at, call) in self.calls.iter().enumerate() {
            if group.counts(at, call, &self.kept, columns, weight)
                && let Source::Total(total) = call.source
            {
                group.add(total, call, columns, weight)?;
            }
        }
        Ok(())
    }

    fn write_found(
        &self,
        group: &Group,
        key: &[u8],
        gathered: &[Gathered],
        out: &mut Vec<u8>,
    ) -> Result<bool, ValueError> {
        if group.rows > 0 {
            self.write_group(group, key, Found { gathered, all: true }, out)?;
        }
        Ok(group.rows > 0)
    }
}
