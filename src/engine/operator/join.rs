//! Joins. What changes on one side, the first, meets the rows of the other as they were; then what changes
//! there, the first side's rows as they are:
//!
//! ```text
//! Δ(L ⋈ R) = ΔL ⋈ R_old  +  L_new ⋈ ΔR
//! ```
//!
//! So the second side must be one that can be seen as it was: tables' rows. Nothing is kept for either. Where
//! both sides change by operators that only have their rows as they are, these are kept, and what is
//! pending is taken off them.
//!
//! In that order no row is ever there less than zero times, however the deltas are cut.

use std::ops::Range;

use hashbrown::HashSet;

use super::super::access::{Access, Port};
use super::super::delta::Sorted;
use super::super::follow::Emit;
use super::super::graph::Engine;
use super::super::look::{Go, Look, Pairing, Seen, When};
use super::super::row::{Key, RowLayout, Verdict, judge};
use super::matches::{Matches, Shown, Standing};
use crate::sql::plan::{Expr, JoinKind};
use crate::value::{self, ValueError};

pub(in crate::engine) struct Join {
    pub(in crate::engine) kind: JoinKind,
    pub(in crate::engine) left: Input,
    pub(in crate::engine) right: Input,
    residual: Option<Expr>,
    sides: [Access; 2],
    /// The right rows can be seen as they were.
    sees_old_right: bool,
    pub(in crate::engine) mode: Mode,
    nulls: Vec<u8>,
}

/// A side's rows and the columns by which they find partners.
pub(in crate::engine) struct Input {
    pub(in crate::engine) layout: RowLayout,
    pub(in crate::engine) key: Key,
}

/// How the sides' changes meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Mode {
    /// All of one side's before any of the other's.
    First(Port),
    /// As they come.
    Both,
}

/// What a join keeps.
#[derive(Default)]
pub(in crate::engine) struct JoinState {
    /// Where a residual decides row by row whether a left row has partners.
    pub(in crate::engine) matches: Option<Matches>,
    /// Keys that got their first right row, or lost their last, in what is being followed.
    turned: HashSet<Vec<u8>, foldhash::fast::RandomState>,
    epoch: u64,
}

/// Whether two rows belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Partners {
    Yes,
    No,
    /// The residual fails.
    Unknown,
}

/// A pair, and what was needed to judge it.
#[derive(Default)]
pub(in crate::engine) struct PairBuffer {
    pub(in crate::engine) pair: Vec<u8>,
    ranges: Vec<Range<usize>>,
    right_ranges: Vec<Range<usize>>,
    verdict: Vec<u8>,
}

impl Input {
    pub(in crate::engine) fn new(layout: RowLayout, columns: &[usize]) -> Self {
        Self { key: Key::new(&layout, columns), layout }
    }
}

impl Join {
    pub(in crate::engine) fn new(
        kind: JoinKind,
        left: Input,
        right: Input,
        residual: Option<Expr>,
        (sides, mode): ([Access; 2], Mode),
        engine: &Engine,
    ) -> Self {
        let nulls = vec![value::NULL; right.layout.columns.len()];
        let sees_old_right = mode != Mode::Both && engine.is_of_tables(&sides[1]);
        Self { kind, left, right, residual, sides, sees_old_right, mode, nulls }
    }

    /// Whether its left rows' partners have to be counted one by one.
    pub(in crate::engine) fn counts(kind: JoinKind, residual: Option<&Expr>) -> bool {
        residual.is_some() && kind != JoinKind::Inner
    }

    pub(in crate::engine) fn state(&self) -> JoinState {
        let counts = Self::counts(self.kind, self.residual.as_ref());
        JoinState { matches: counts.then(Matches::default), ..JoinState::default() }
    }

    pub(in crate::engine) fn side(&self, port: Port) -> &Access {
        &self.sides[port as usize]
    }

    pub(in crate::engine) fn has_pairs(&self) -> bool {
        matches!(self.kind, JoinKind::Inner | JoinKind::Left)
    }

    /// Counts the partners of the left rows that there are.
    pub(in crate::engine) fn count(
        &self,
        engine: &Engine,
        left: usize,
        matches: &mut Matches,
    ) -> Result<(), ValueError> {
        let (mut ranges, mut key, mut pair) = (Vec::new(), Vec::new(), PairBuffer::default());
        engine.each(left, &mut |row, weight| {
            self.left.layout.split(row, &mut ranges)?;
            let by = &self.left.key;
            if by.error(row, &ranges).is_some() || by.has_null(row, &ranges) {
                return Ok(());
            }
            key.clear();
            by.write(row, &ranges, &mut key)?;
            let mut standing = Standing::default();
            engine.look(self.side(Port::Right), &key, When::New, &mut |partner, times| {
                standing.add(self.judge(row, partner, &mut pair)?, times);
                Ok(Go::On)
            })?;
            matches.set(row, weight, standing);
            Ok(())
        })
    }

    /// Works off deltas of both sides, each by the join's key.
    pub(in crate::engine) fn run(
        &self,
        state: &mut JoinState,
        [left, right]: [&Sorted; 2],
        emit: &mut Emit<'_>,
    ) -> Result<(), ValueError> {
        if state.epoch != emit.engine.epoch {
            state.epoch = emit.engine.epoch;
            state.turned.clear();
        }
        match self.mode {
            Mode::First(Port::Left) => {
                self.left_changes(state, left, When::Old, emit)?;
                self.right_changes(state, right, left, emit)
            }
            Mode::First(Port::Right) | Mode::Both => {
                self.right_changes(state, right, left, emit)?;
                self.left_changes(state, left, When::New, emit)
            }
        }
    }

    /// Left rows as they are to be met by what changes on the right.
    fn look_left(&self, engine: &Engine, key: &[u8], left: &Sorted, see: &mut Look<'_>) -> Seen {
        let side = self.side(Port::Left);
        match self.mode {
            Mode::First(Port::Left) => engine.look(side, key, When::New, see),
            Mode::First(Port::Right) => engine.look(side, key, When::Old, see),
            Mode::Both => engine.look_before(side, key, left, see),
        }
    }

    /// Whether the key had right rows, and whether it has any; differs once for each key that turns.
    fn turn(
        &self,
        state: &mut JoinState,
        engine: &Engine,
        key: &[u8],
        right: &Sorted,
    ) -> Result<Option<(bool, bool)>, ValueError> {
        let side = self.side(Port::Right);
        let has = engine.has(side, key, When::New)?;
        if self.sees_old_right {
            let had = engine.has(side, key, When::Old)?;
            return Ok((had != has && state.turned.insert(key.to_vec())).then_some((had, has)));
        }
        let had = engine.look_before(side, key, right, &mut |_, _| Ok(Go::Rest))? == Go::Rest;
        Ok((had != has).then_some((had, has)))
    }

    fn right_changes(
        &self,
        state: &mut JoinState,
        right: &Sorted,
        left: &Sorted,
        emit: &mut Emit<'_>,
    ) -> Result<(), ValueError> {
        let (mut at, engine) = (0, emit.engine);
        let mut buffers = engine.pairings.take();
        let Pairing { ranges, pair, .. } = &mut buffers;
        while at < right.len() {
            let (key, changes) = (right.key(at), at..right.end_of_key(at));
            at = changes.end;
            let (row, _) = right.row(changes.start);
            self.right.layout.split(row, ranges)?;
            // NULL equals nothing.
            if self.right.key.has_null(row, ranges) {
                continue;
            }
            let turned = match self.kind == JoinKind::Inner || state.matches.is_some() {
                true => None,
                false => self.turn(state, engine, key, right)?,
            };
            // Pairs come and go with right rows; a left row alone when the first comes or the last goes.
            if !self.has_pairs() && turned.is_none() && state.matches.is_none() {
                continue;
            }
            let matches = &mut state.matches;
            self.look_left(engine, key, left, &mut |row, weight| {
                if let Some(matches) = matches {
                    let changes = right.rows(changes.clone());
                    self.recount(matches, row, weight, changes, pair, emit)?;
                } else {
                    if self.has_pairs() {
                        for (partner, change) in right.rows(changes.clone()) {
                            self.pair(row, partner, weight * change, pair, emit)?;
                        }
                    }
                    if let Some((had, has)) = turned {
                        self.show(row, self.without_residual(had), -weight, pair, emit)?;
                        self.show(row, self.without_residual(has), weight, pair, emit)?;
                    }
                }
                emit.flush_when_full()?;
                Ok(Go::On)
            })?;
        }
        engine.pairings.give(buffers);
        Ok(())
    }

    fn without_residual(&self, has: bool) -> Shown {
        Standing { partners: i64::from(has), unknown: 0 }.shown(self.kind)
    }

    /// A left row's partners come and go.
    fn recount<'d>(
        &self,
        matches: &mut Matches,
        row: &[u8],
        weight: i64,
        changes: impl Iterator<Item = (&'d [u8], i64)>,
        pair: &mut PairBuffer,
        emit: &mut Emit<'_>,
    ) -> Result<(), ValueError> {
        let before = matches.standing(row);
        let mut after = before;
        for (partner, change) in changes {
            let partners = match self.kind {
                JoinKind::Left => self.pair(row, partner, weight * change, pair, emit)?,
                _ => self.judge(row, partner, pair)?,
            };
            after.add(partners, change);
        }
        matches.set(row, 0, after);
        let (before, after) = (before.shown(self.kind), after.shown(self.kind));
        if before != after {
            self.show(row, before, -weight, pair, emit)?;
            self.show(row, after, weight, pair, emit)?;
        }
        Ok(())
    }

    fn left_changes(
        &self,
        state: &mut JoinState,
        left: &Sorted,
        when: When,
        emit: &mut Emit<'_>,
    ) -> Result<(), ValueError> {
        let (mut at, engine, side) = (0, emit.engine, self.side(Port::Right));
        let mut standings: Vec<Standing> = Vec::new();
        let mut buffers = engine.pairings.take();
        let Pairing { ranges, pair, .. } = &mut buffers;
        while at < left.len() {
            let (key, changes) = (left.key(at), at..left.end_of_key(at));
            at = changes.end;
            let (row, _) = left.row(changes.start);
            self.left.layout.split(row, ranges)?;
            let null = self.left.key.has_null(row, ranges);
            standings.clear();
            standings.resize(changes.len(), Standing::default());
            if !null && (self.has_pairs() || state.matches.is_some()) {
                engine.look(side, key, when, &mut |partner, weight| {
                    let rows = left.rows(changes.clone());
                    for (standing, (row, change)) in standings.iter_mut().zip(rows) {
                        let partners = match self.has_pairs() {
                            true => self.pair(row, partner, weight * change, pair, emit)?,
                            false => self.judge(row, partner, pair)?,
                        };
                        standing.add(partners, weight);
                    }
                    emit.flush_when_full()?;
                    Ok(Go::On)
                })?;
            } else if !null && engine.has(side, key, when)? {
                standings.fill(Standing { partners: 1, unknown: 0 });
            }
            for (standing, (row, change)) in standings.iter().zip(left.rows(changes)) {
                if let Some(matches) = state.matches.as_mut().filter(|_| !null) {
                    matches.set(row, change, *standing);
                }
                self.show(row, standing.shown(self.kind), change, pair, emit)?;
            }
            emit.flush_when_full()?;
        }
        engine.pairings.give(buffers);
        Ok(())
    }

    /// Appends the pair where the residual is true or fails; then the pair has that error.
    fn pair(
        &self,
        left: &[u8],
        right: &[u8],
        weight: i64,
        buffer: &mut PairBuffer,
        emit: &mut Emit<'_>,
    ) -> Result<Partners, ValueError> {
        let partners = self.judge(left, right, buffer)?;
        if partners != Partners::No {
            emit.out.push(&buffer.pair, weight);
        }
        Ok(partners)
    }

    fn show(
        &self,
        row: &[u8],
        shown: Shown,
        weight: i64,
        buffer: &mut PairBuffer,
        emit: &mut Emit<'_>,
    ) -> Result<(), ValueError> {
        if shown != Shown::No {
            self.alone(row, shown, buffer)?;
            emit.out.push(&buffer.pair, weight);
        }
        Ok(())
    }

    /// Puts into `buffer` how the left row is shown beside, or instead of, its pairs.
    pub(in crate::engine) fn alone(
        &self,
        row: &[u8],
        shown: Shown,
        buffer: &mut PairBuffer,
    ) -> Result<(), ValueError> {
        let pair = &mut buffer.pair;
        pair.clear();
        if shown == Shown::Yes && self.kind != JoinKind::Left {
            pair.extend_from_slice(row);
            return Ok(());
        }
        let (columns, error) = row.split_at(self.left.layout.end(row)?);
        pair.extend_from_slice(columns);
        match shown {
            Shown::Refused => value::encode_error("the condition cannot be evaluated", pair),
            _ => [&self.nulls, error].iter().for_each(|part| pair.extend_from_slice(part)),
        }
        Ok(())
    }

    /// Puts the pair together in `buffer`, its error included, and says what the residual says of it.
    pub(in crate::engine) fn judge(
        &self,
        left: &[u8],
        right: &[u8],
        buffer: &mut PairBuffer,
    ) -> Result<Partners, ValueError> {
        let PairBuffer { pair, ranges, right_ranges, verdict } = buffer;
        pair.clear();
        let Some(residual) = &self.residual else {
            let (left, left_error) = left.split_at(self.left.layout.end(left)?);
            let (right, right_error) = right.split_at(self.right.layout.end(right)?);
            let error = if left_error.is_empty() { right_error } else { left_error };
            [left, right, error].iter().for_each(|part| pair.extend_from_slice(part));
            return Ok(Partners::Yes);
        };
        let left_end = self.left.layout.split(left, ranges)?;
        let right_end = self.right.layout.split(right, right_ranges)?;
        let moved = |range: &Range<usize>| range.start + left_end..range.end + left_end;
        ranges.extend(right_ranges.iter().map(moved));
        pair.extend_from_slice(&left[..left_end]);
        pair.extend_from_slice(&right[..right_end]);
        let (partners, error) = match judge(residual, pair, ranges, verdict) {
            Verdict::False => return Ok(Partners::No),
            Verdict::True => (Partners::Yes, &[][..]),
            Verdict::Error(error) => (Partners::Unknown, error),
        };
        let errors = [&left[left_end..], &right[right_end..], error];
        let first = errors.into_iter().find(|error| !error.is_empty());
        pair.extend_from_slice(first.unwrap_or_default());
        Ok(partners)
    }
}
