//! Joins. For each key that changes, deltas of the right side meet the left rows as they were, then deltas
//! of the left side the right rows as they are:
//!
//! ```text
//! Δ(L ⋈ R) = L_old ⋈ ΔR  +  ΔL ⋈ R_new
//! ```
//!
//! The sides' rows may be ahead of what the join has processed; what is pending is taken off them. So the
//! order and the cutting of deltas do not matter, and no row is ever there less than zero times.

use std::ops::Range;

use super::super::delta::{Deltas, Refuse, See};
use super::super::row::RowLayout;
use super::super::view::{Go, Scan, View};
use super::matches::{Matches, Shown, Standing};
use super::pairs::Pairs;
use super::sides::{Arriving, Input, Pending};
use crate::sql::plan::{Expr, JoinKind};
use crate::value::{self, ValueError};

/// Rows that are gathered before they are shown.
const EACH_ROWS_MAX: usize = 1024;

pub(in crate::engine) struct Join {
    kind: JoinKind,
    left: Input,
    right: Input,
    pairs: Pairs,
    /// Where a residual decides row by row whether a left row has partners.
    matches: Option<Matches>,
    work: Option<Work>,
}

struct Work {
    left: Pending,
    right: Pending,
    at_left: usize,
    at_right: usize,
    step: Option<Step>,
}

/// One key's part of the work.
struct Step {
    key: Vec<u8>,
    /// NULL equals nothing.
    null: bool,
    left: Range<usize>,
    right: Range<usize>,
    /// Whether the key has right rows, before and now.
    had: bool,
    has: bool,
    stage: Stage,
    scan: Scan,
    /// Of the left side's deltas, so far.
    standings: Vec<Standing>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Left rows as they were meet what changes on the right.
    Right,
    /// What changes on the left meets right rows as they are.
    Left,
}

impl Join {
    pub(in crate::engine) fn new(
        kind: JoinKind,
        (left, left_on): (RowLayout, &[usize]),
        (right, right_on): (RowLayout, &[usize]),
        residual: Option<Expr>,
    ) -> Self {
        debug_assert!(kind != JoinKind::AntiNull, "NOT IN is an operator of its own");
        let matches = (residual.is_some() && kind != JoinKind::Inner).then(Matches::default);
        Self {
            kind,
            pairs: Pairs::new(left.clone(), right.clone(), residual),
            left: Input::new(left, left_on),
            right: Input::new(right, right_on),
            matches,
            work: None,
        }
    }

    pub(in crate::engine) fn rows(&self) -> usize {
        self.matches.as_ref().map_or(0, Matches::rows)
    }

    pub(in crate::engine) fn bytes(&self) -> usize {
        self.matches.as_ref().map_or(0, Matches::bytes)
    }

    /// Takes on deltas of both sides; `refuse` is told of those whose key is an error.
    pub(in crate::engine) fn begin(
        &mut self,
        left: &Arriving<'_>,
        right: &Arriving<'_>,
        refuse: &mut Refuse<'_>,
    ) -> Result<(), ValueError> {
        debug_assert!(self.work.is_none(), "the last ones are worked off");
        self.work = Some(Work {
            left: Pending::new(left, &self.left, refuse)?,
            right: Pending::new(right, &self.right, refuse)?,
            at_left: 0,
            at_right: 0,
            step: None,
        });
        Ok(())
    }

    /// Works on until `out` has `rows_max` rows; whether there is more to do.
    pub(in crate::engine) fn run(
        &mut self,
        left: View<'_>,
        right: View<'_>,
        rows_max: usize,
        out: &mut Deltas,
    ) -> Result<bool, ValueError> {
        let Some(mut work) = self.work.take() else { return Ok(false) };
        loop {
            let mut step = match work.step.take() {
                Some(step) => step,
                None => match self.next_step(&mut work, right)? {
                    Some(step) => step,
                    None => return Ok(false),
                },
            };
            let whole = match step.stage {
                Stage::Right => self.meet_left(&mut step, &work, left, rows_max, out)?,
                Stage::Left => self.meet_right(&mut step, &work, right, rows_max, out)?,
            };
            if !whole {
                work.step = Some(step);
                self.work = Some(work);
                return Ok(true);
            }
            if step.stage == Stage::Right {
                step.stage = Stage::Left;
                step.scan = Scan::default();
                work.step = Some(step);
            }
        }
    }

    /// Counts the partners of the left rows that there are.
    pub(in crate::engine) fn fill(
        &mut self,
        left: View<'_>,
        right: View<'_>,
    ) -> Result<(), ValueError> {
        let Some(mut matches) = self.matches.take() else { return Ok(()) };
        let mut count = |row: &[u8], weight: i64, standing: Standing| {
            matches.set(row, weight, standing);
        };
        self.each_left(left, right, &mut count, &mut |_, _| Ok(()))?;
        self.matches = Some(matches);
        Ok(())
    }

    /// All rows.
    pub(in crate::engine) fn each(
        &self,
        left: View<'_>,
        right: View<'_>,
        see: &mut See<'_>,
    ) -> Result<(), ValueError> {
        self.each_left(left, right, &mut |_, _, _| (), see)
    }

    /// Shows each left row with how often it is there and its partners, and all rows of the join.
    fn each_left(
        &self,
        left: View<'_>,
        right: View<'_>,
        count: &mut dyn FnMut(&[u8], i64, Standing),
        see: &mut See<'_>,
    ) -> Result<(), ValueError> {
        let has_pairs = matches!(self.kind, JoinKind::Inner | JoinKind::Left);
        let (mut pairs, mut out) = (self.pairs.fresh(), Deltas::default());
        let (mut ranges, mut key) = (Vec::new(), Vec::new());
        let mut show = |row: &[u8], weight: i64| {
            self.left.layout.split(row, &mut ranges)?;
            if self.left.key.error(row, &ranges).is_some() {
                return Ok(());
            }
            let mut standing = Standing::default();
            let mut failed = Ok(());
            let mut flush = |out: &mut Deltas| {
                let done = out.iter().try_for_each(|(row, weight)| see(row, weight));
                out.clear();
                done
            };
            let null = self.left.key.has_null(row, &ranges);
            if !null {
                key.clear();
                self.left.key.write(row, &ranges, &mut key)?;
                right.each(&key, &mut |partner, times| {
                    if failed.is_err() {
                        return;
                    }
                    let partners = match has_pairs {
                        true => pairs.push(row, partner, weight * times, &mut out),
                        false => pairs.judge(row, partner),
                    };
                    failed = partners.and_then(|partners| {
                        standing.add(partners, times);
                        if out.len() >= EACH_ROWS_MAX { flush(&mut out) } else { Ok(()) }
                    });
                });
                failed?;
                count(row, weight, standing);
            }
            self.show(row, standing.shown(self.kind), weight, &mut out)?;
            flush(&mut out)
        };
        let mut failed = Ok(());
        left.each(&[], &mut |row, weight| {
            if failed.is_ok() {
                failed = show(row, weight);
            }
        });
        failed
    }

    fn next_step(&self, work: &mut Work, right: View<'_>) -> Result<Option<Step>, ValueError> {
        let Work { left, right: of_right, at_left, at_right, .. } = work;
        let key_at =
            |of: &Pending, at: usize| (at < of.delta.len()).then(|| of.delta.key(at).to_vec());
        let (key, input, row) = match (key_at(left, *at_left), key_at(of_right, *at_right)) {
            (None, None) => return Ok(None),
            (Some(key), None) => (key, &self.left, left.delta.row(*at_left).0),
            (Some(key), Some(other)) if key <= other => {
                (key, &self.left, left.delta.row(*at_left).0)
            }
            (_, Some(key)) => (key, &self.right, of_right.delta.row(*at_right).0),
        };
        let mut ranges = Vec::new();
        input.layout.split(row, &mut ranges)?;
        let null = input.key.has_null(row, &ranges);
        let range = |of: &Pending, at: &mut usize| {
            let start = *at;
            if start < of.delta.len() && of.delta.key(start) == key {
                *at = of.delta.end_of_key(start);
            }
            start..*at
        };
        let (left, changes) = (range(left, at_left), range(of_right, at_right));
        let asks = self.kind != JoinKind::Inner && self.matches.is_none() && !null;
        let has = asks && of_right.now(right).has(&key);
        // Without a change there it is as it was.
        let had = if changes.is_empty() { has } else { asks && of_right.old(right).has(&key) };
        let standings = vec![Standing::default(); left.len()];
        let (stage, scan) = (Stage::Right, Scan::default());
        Ok(Some(Step { key, null, left, right: changes, had, has, stage, scan, standings }))
    }

    fn meet_left(
        &mut self,
        step: &mut Step,
        work: &Work,
        left: View<'_>,
        rows_max: usize,
        out: &mut Deltas,
    ) -> Result<bool, ValueError> {
        // Pairs come and go with right rows; a left row alone when the first comes or the last goes.
        let has_pairs = matches!(self.kind, JoinKind::Inner | JoinKind::Left);
        let turns = self.matches.is_none() && step.had != step.has;
        if step.null || step.right.is_empty() || !(has_pairs || turns || self.matches.is_some()) {
            return Ok(true);
        }
        let mut failed = None;
        let right = step.right.clone();
        let (had, has) = (step.had, step.has);
        let whole = work.left.old(left).scan(&step.key, &mut step.scan, &mut |row, weight| {
            let done = match &self.matches {
                Some(_) => self.recount(row, weight, work.right.delta.rows(right.clone()), out),
                None => (|| {
                    if has_pairs {
                        for (partner, change) in work.right.delta.rows(right.clone()) {
                            self.pairs.push(row, partner, weight * change, out)?;
                        }
                    }
                    if turns {
                        self.show(row, self.without_residual(had), -weight, out)?;
                        self.show(row, self.without_residual(has), weight, out)?;
                    }
                    Ok(())
                })(),
            };
            failed = done.err();
            rest(failed.is_some() || out.len() >= rows_max)
        });
        failed.map_or(Ok(whole), Err)
    }

    fn without_residual(&self, has: bool) -> Shown {
        Standing { partners: i64::from(has), unknown: 0 }.shown(self.kind)
    }

    /// A left row's partners come and go.
    fn recount<'d>(
        &mut self,
        row: &[u8],
        weight: i64,
        changes: impl Iterator<Item = (&'d [u8], i64)>,
        out: &mut Deltas,
    ) -> Result<(), ValueError> {
        let Some(matches) = &mut self.matches else { return Ok(()) };
        let before = matches.standing(row);
        let mut after = before;
        for (partner, change) in changes {
            let partners = match self.kind {
                JoinKind::Left => self.pairs.push(row, partner, weight * change, out)?,
                _ => self.pairs.judge(row, partner)?,
            };
            after.add(partners, change);
        }
        matches.set(row, 0, after);
        let (before, after) = (before.shown(self.kind), after.shown(self.kind));
        if before != after {
            self.show(row, before, -weight, out)?;
            self.show(row, after, weight, out)?;
        }
        Ok(())
    }

    fn meet_right(
        &mut self,
        step: &mut Step,
        work: &Work,
        right: View<'_>,
        rows_max: usize,
        out: &mut Deltas,
    ) -> Result<bool, ValueError> {
        if step.left.is_empty() {
            return Ok(true);
        }
        let has_pairs = matches!(self.kind, JoinKind::Inner | JoinKind::Left);
        let rows = &work.left.delta;
        if !step.null && (has_pairs || self.matches.is_some()) {
            let mut failed = None;
            let (standings, range) = (&mut step.standings, step.left.clone());
            let side = work.right.now(right);
            let whole = side.scan(&step.key, &mut step.scan, &mut |partner, weight| {
                for (standing, (row, change)) in standings.iter_mut().zip(rows.rows(range.clone()))
                {
                    let partners = match has_pairs {
                        true => self.pairs.push(row, partner, weight * change, out),
                        false => self.pairs.judge(row, partner),
                    };
                    match partners {
                        Ok(partners) => standing.add(partners, weight),
                        Err(error) => failed = Some(error),
                    }
                }
                rest(failed.is_some() || out.len() >= rows_max)
            });
            if let Some(error) = failed {
                return Err(error);
            }
            if !whole {
                return Ok(false);
            }
        }
        for (standing, (row, change)) in step.standings.iter().zip(rows.rows(step.left.clone())) {
            let shown = match &mut self.matches {
                Some(matches) if !step.null => {
                    matches.set(row, change, *standing);
                    standing.shown(self.kind)
                }
                _ => self.without_residual(step.has),
            };
            self.show(row, shown, change, out)?;
        }
        Ok(true)
    }

    fn show(
        &self,
        row: &[u8],
        shown: Shown,
        weight: i64,
        out: &mut Deltas,
    ) -> Result<(), ValueError> {
        match shown {
            Shown::No => {}
            Shown::Yes if self.kind == JoinKind::Left => self.pairs.push_alone(row, weight, out)?,
            Shown::Yes => out.push(row, weight),
            Shown::Refused => {
                let end = self.left.layout.end(row)?;
                out.push_with(weight, |bytes| {
                    bytes.extend_from_slice(&row[..end]);
                    value::encode_error("the condition cannot be evaluated", bytes);
                });
            }
        }
        Ok(())
    }
}

pub(super) fn rest(rests: bool) -> Go {
    if rests { Go::Rest } else { Go::On }
}
