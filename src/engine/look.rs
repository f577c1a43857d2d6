//! Rows under a key, as an `Access` finds them.

use std::ops::Range;

use super::access::{Access, Port};
use super::delta::Sorted;
use super::graph::{Arranged, Engine, Operator, State, TableId};
use super::index::Held as _;
use super::operator::{Join, PairBuffer, Partners, Shown, Standing};
use crate::sql::plan::JoinKind;
use crate::value::{self, Type, ValueError};

/// As of when tables' rows are seen. What waits for its transaction's end is never seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Before the changes that are being followed.
    Old,
    New,
}

/// Whether there is more to be seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Rest,
}

pub(super) type Seen = Result<Go, ValueError>;

/// Shown a row and its weight.
pub(super) type Look<'l> = dyn FnMut(&[u8], i64) -> Seen + 'l;

impl Engine {
    pub(super) fn look(&self, access: &Access, key: &[u8], when: When, see: &mut Look<'_>) -> Seen {
        match access {
            Access::Rows(at) => self.look_at_rows(*at, key, when, see),
            Access::Groups(at) => match &*self.nodes[*at].state.borrow() {
                State::Aggregate(aggregate) => aggregate.look(self, key, see),
                _ => unreachable!("groups are an aggregate's"),
            },
            Access::Window(at) => match &*self.nodes[*at].state.borrow() {
                State::TopN(top_n) => top_n.look(key, see),
                _ => unreachable!("partitions are a top-n's"),
            },
            Access::Pass { node, input } => {
                let node = &self.nodes[*node];
                let layout = &self.nodes[node.inputs[0]].layout;
                let mut passing = self.passings.take();
                let seen = self.look(input, key, when, &mut |row, weight| {
                    passing.each(&node.operator, layout, row, &mut |row| see(row, weight))
                });
                self.passings.give(passing);
                seen
            }
            Access::Union(inputs) => {
                for input in inputs {
                    if self.look(input, key, when, see)? == Go::Rest {
                        return Ok(Go::Rest);
                    }
                }
                Ok(Go::On)
            }
            Access::Pairs { join, from, first } => {
                let Operator::Join(join) = &self.nodes[*join].operator else {
                    unreachable!("pairs are a join's");
                };
                let mut buffer = self.pairings.take();
                let seen = self.look(first, key, when, &mut |row, weight| match from {
                    Port::Left => self.look_from_left(join, row, weight, when, &mut buffer, see),
                    Port::Right => self.look_from_right(join, row, weight, when, &mut buffer, see),
                });
                self.pairings.give(buffer);
                seen
            }
            Access::GroupsOf { aggregate, rows, layout, group } => {
                let state = self.nodes[*aggregate].state.borrow();
                let State::Aggregate(aggregate) = &*state else {
                    unreachable!("groups are an aggregate's");
                };
                let mut seen =
                    hashbrown::HashSet::<Vec<u8>, foldhash::fast::RandomState>::default();
                let (mut ranges, mut key_of) = (Vec::new(), Vec::new());
                self.look(rows, key, when, &mut |row, _| {
                    layout.split(row, &mut ranges)?;
                    key_of.clear();
                    group.write(row, &ranges, &mut key_of)?;
                    if group.error(row, &ranges).is_some() || !seen.insert(key_of.clone()) {
                        return Ok(Go::On);
                    }
                    aggregate.look_at_group(self, &key_of, see)
                })
            }
            Access::Checked { rows, layout, key: by, types, part } => {
                let Pairing { mut ranges, key: mut key_of, pair: mut buffer } =
                    self.pairings.take();
                part_of(key, types, part, &mut ranges, &mut buffer.pair)?;
                let seen = self.look(rows, &buffer.pair, when, &mut |row, weight| {
                    layout.split(row, &mut ranges)?;
                    key_of.clear();
                    by.write(row, &ranges, &mut key_of)?;
                    if key_of == key { see(row, weight) } else { Ok(Go::On) }
                });
                self.pairings.give(Pairing { ranges, key: key_of, pair: buffer });
                seen
            }
        }
    }

    /// Whether there is any row under the key.
    pub(super) fn has(&self, access: &Access, key: &[u8], when: When) -> Result<bool, ValueError> {
        Ok(self.look(access, key, when, &mut |_, _| Ok(Go::Rest))? == Go::Rest)
    }

    /// The rows without deltas that are in them already, which are sorted by the key that is looked up.
    pub(super) fn look_before(
        &self,
        access: &Access,
        key: &[u8],
        unseen: &Sorted,
        see: &mut Look<'_>,
    ) -> Seen {
        let pending = unseen.under(key);
        if pending.is_empty() {
            return self.look(access, key, When::New, see);
        }
        // One row may be met several times: where a map or a union makes it of several.
        let mut met = vec![0; pending.len()];
        let go = self.look(access, key, When::New, &mut |row, weight| {
            match unseen.find(&pending, row) {
                Some(at) => met[at - pending.start] += weight,
                None => return see(row, weight),
            }
            Ok(Go::On)
        })?;
        if go == Go::Rest {
            return Ok(go);
        }
        for (at, met) in pending.zip(met) {
            let (row, weight) = unseen.row(at);
            if met != weight && see(row, met - weight)? == Go::Rest {
                return Ok(Go::Rest);
            }
        }
        Ok(Go::On)
    }

    fn look_at_rows(&self, at: usize, key: &[u8], when: When, see: &mut Look<'_>) -> Seen {
        let state = self.nodes[at].state.borrow();
        let State::Arranged(arranged) = &*state else { unreachable!("rows are arranged") };
        match arranged {
            Arranged::Table { table, whole } => self.look_at_table(*table, *whole, key, when, see),
            Arranged::Shared { table, index, gone, .. } => {
                let changes = &self.changes[*table];
                let old = when == When::Old && changes.followed && !changes.rows.is_empty();
                for slot in index.under(key, None) {
                    if old && changes.find(slot.row.key()).is_some() {
                        continue;
                    }
                    if see(slot.row.content(), 1)? == Go::Rest {
                        return Ok(Go::Rest);
                    }
                }
                let gone = gone.under(key).take_while(|_| old).filter_map(|entry| entry.value());
                for row in gone {
                    if see(row, 1)? == Go::Rest {
                        return Ok(Go::Rest);
                    }
                }
                Ok(Go::On)
            }
            Arranged::Own { index, .. } => {
                for slot in index.under(key, None) {
                    if see(slot.row.content(), slot.row.weight())? == Go::Rest {
                        return Ok(Go::Rest);
                    }
                }
                Ok(Go::On)
            }
        }
    }

    fn look_at_table(
        &self,
        table: TableId,
        whole: bool,
        key: &[u8],
        when: When,
        see: &mut Look<'_>,
    ) -> Seen {
        let rows = &self.arrangements[self.tables[table].arrangement];
        let changes = &self.changes[table];
        let old = !changes.rows.is_empty() && (when == When::Old || !changes.followed);
        // The empty key is of all rows.
        if whole && !key.is_empty() {
            let changed = if old { changes.find(key) } else { None };
            let entry = match changed {
                Some(changed) => changed.old.as_ref(),
                None => rows.get(key),
            };
            return entry.and_then(|entry| entry.value()).map_or(Ok(Go::On), |row| see(row, 1));
        }
        let beyond = rows.scan_after(Some(key)).take_while(|entry| entry.key().starts_with(key));
        // A table of one row may have the empty key itself.
        for entry in rows.get(key).into_iter().chain(beyond) {
            let Some(row) = entry.value() else { continue };
            if old && changes.find(entry.key()).is_some() {
                continue;
            }
            if see(row, 1)? == Go::Rest {
                return Ok(Go::Rest);
            }
        }
        let before = changes.under(key).take_while(|_| old).filter_map(|c| c.old.as_ref());
        for row in before.filter_map(|entry| entry.value()) {
            if see(row, 1)? == Go::Rest {
                return Ok(Go::Rest);
            }
        }
        Ok(Go::On)
    }

    /// What a join makes of one of its left rows.
    pub(super) fn look_from_left(
        &self,
        join: &Join,
        row: &[u8],
        weight: i64,
        when: When,
        buffer: &mut Pairing,
        see: &mut Look<'_>,
    ) -> Seen {
        let Pairing { ranges, key, pair } = buffer;
        let mut standing = Standing::default();
        join.left.layout.split(row, ranges)?;
        if join.left.key.error(row, ranges).is_some() {
            return Ok(Go::On);
        }
        if !join.left.key.has_null(row, ranges) {
            key.clear();
            join.left.key.write(row, ranges, key)?;
            let mut rests = false;
            self.look(join.side(Port::Right), key, when, &mut |partner, times| {
                let partners = join.judge(row, partner, pair)?;
                standing.add(partners, times);
                if !join.has_pairs() {
                    let enough = partners == Partners::Yes;
                    return Ok(if enough { Go::Rest } else { Go::On });
                }
                let go = match partners {
                    Partners::No => Go::On,
                    _ => see(&pair.pair, weight * times)?,
                };
                rests = go == Go::Rest;
                Ok(go)
            })?;
            if rests {
                return Ok(Go::Rest);
            }
        }
        match standing.shown(join.kind) {
            Shown::No => Ok(Go::On),
            shown => {
                join.alone(row, shown, pair)?;
                see(&pair.pair, weight)
            }
        }
    }

    fn look_from_right(
        &self,
        join: &Join,
        row: &[u8],
        weight: i64,
        when: When,
        buffer: &mut Pairing,
        see: &mut Look<'_>,
    ) -> Seen {
        debug_assert!(matches!(join.kind, JoinKind::Inner | JoinKind::Left));
        let Pairing { ranges, key, pair } = buffer;
        join.right.layout.split(row, ranges)?;
        let by = &join.right.key;
        if by.error(row, ranges).is_some() || by.has_null(row, ranges) {
            return Ok(Go::On);
        }
        key.clear();
        by.write(row, ranges, key)?;
        self.look(join.side(Port::Left), key, when, &mut |left, times| match join
            .judge(left, row, pair)?
        {
            Partners::No => Ok(Go::On),
            _ => see(&pair.pair, weight * times),
        })
    }
}

/// Reused buffers for the partners of one row.
#[derive(Default)]
pub(super) struct Pairing {
    pub(super) ranges: Vec<Range<usize>>,
    key: Vec<u8>,
    pub(super) pair: PairBuffer,
}

/// Some of a key's columns.
fn part_of(
    key: &[u8],
    types: &[Type],
    part: &[usize],
    ranges: &mut Vec<Range<usize>>,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let mut end = 0;
    ranges.clear();
    for ty in types {
        let start = end;
        end += value::datum_len(ty, &key[start..])?;
        ranges.push(start..end);
    }
    out.clear();
    part.iter().for_each(|&at| out.extend_from_slice(&key[ranges[at].clone()]));
    Ok(())
}
