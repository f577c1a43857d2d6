//! NOT IN (a query), with what SQL says of NULLs: where a right row is NULL nothing is shown, and a left
//! row that is NULL is shown only where there are no right rows at all.

use super::super::delta::{Deltas, Refuse, See, Sorted};
use super::super::row::RowLayout;
use super::super::view::{Scan, Side, View};
use super::join::rest;
use super::sides::{Arriving, Input, Pending};
use crate::value::{NULL, ValueError};

pub(in crate::engine) struct NotIn {
    left: Input,
    right: Input,
    /// The sides as wholes.
    all_left: Input,
    all_right: Input,
    work: Option<Work>,
}

struct Work {
    left: Pending,
    all_left: Pending,
    right: Pending,
    before: Mode,
    now: Mode,
    stage: Stage,
    scan: Scan,
}

/// What the right rows as a whole say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Empty,
    HasNull,
    Values,
}

enum Stage {
    /// Left rows as they were, all of them, since the mode turns.
    Turn,
    /// Left rows as they were, under the keys that change on the right, from this item on.
    Right(usize),
    /// What changes on the left.
    Left,
}

impl NotIn {
    pub(in crate::engine) fn new(
        (left, left_on): (RowLayout, &[usize]),
        (right, right_on): (RowLayout, &[usize]),
    ) -> Self {
        debug_assert!(left_on.len() == 1 && right_on.len() == 1, "NOT IN compares one column");
        Self {
            all_left: Input::new(left.clone(), &[]),
            all_right: Input::new(right.clone(), &[]),
            left: Input::new(left, left_on),
            right: Input::new(right, right_on),
            work: None,
        }
    }

    /// Takes on deltas of both sides; `refuse` is told of those whose key is an error.
    pub(in crate::engine) fn begin(
        &mut self,
        left: &Arriving<'_>,
        right: &Arriving<'_>,
        of_right: View<'_>,
        refuse: &mut Refuse<'_>,
    ) -> Result<(), ValueError> {
        let all_right = Pending::new(right, &self.all_right, refuse)?;
        let right = Pending::new(right, &self.right, refuse)?;
        let before = mode(all_right.old(of_right), right.old(of_right));
        let now = mode(all_right.now(of_right), right.now(of_right));
        let stage = if before == now { Stage::Right(0) } else { Stage::Turn };
        self.work = Some(Work {
            left: Pending::new(left, &self.left, refuse)?,
            all_left: Pending::new(left, &self.all_left, refuse)?,
            right,
            before,
            now,
            stage,
            scan: Scan::default(),
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
            let mut scan = std::mem::take(&mut work.scan);
            let Work { left: of_left, right: of_right, before, now, .. } = &work;
            let is_shown_before = |row: &[u8]| self.is_shown(row, *before, of_right.old(right));
            let is_shown_now = |row: &[u8]| self.is_shown(row, *now, of_right.now(right));
            let next = match work.stage {
                Stage::Turn => Stage::Left,
                Stage::Right(at) if *now == Mode::Values && at < of_right.delta.len() => {
                    Stage::Right(of_right.delta.end_of_key(at))
                }
                Stage::Right(_) => Stage::Left,
                Stage::Left => {
                    for (row, weight) in of_left.delta.rows(0..of_left.delta.len()) {
                        if is_shown_now(row)? {
                            out.push(row, weight);
                        }
                    }
                    return Ok(false);
                }
            };
            let mut failed = None;
            let mut turn = |row: &[u8], weight: i64| {
                let mut change = 0;
                match (is_shown_before(row), is_shown_now(row)) {
                    (Ok(before), Ok(now)) => change = i64::from(now) - i64::from(before),
                    (Err(error), _) | (_, Err(error)) => failed = Some(error),
                }
                if change != 0 {
                    out.push(row, change * weight);
                }
                rest(failed.is_some() || out.len() >= rows_max)
            };
            let whole = match (&work.stage, &next) {
                (Stage::Turn, _) => work.all_left.old(left).scan(&[], &mut scan, &mut turn),
                (Stage::Right(at), Stage::Right(_)) => {
                    of_left.old(left).scan(of_right.delta.key(*at), &mut scan, &mut turn)
                }
                _ => true,
            };
            if let Some(error) = failed {
                return Err(error);
            }
            if !whole {
                work.scan = scan;
                self.work = Some(work);
                return Ok(true);
            }
            work.stage = next;
        }
    }

    /// All rows.
    pub(in crate::engine) fn each(
        &self,
        left: View<'_>,
        right: View<'_>,
        see: &mut See<'_>,
    ) -> Result<(), ValueError> {
        let nothing = Sorted::default();
        let right = Side { view: right, unseen: &nothing };
        let mode = mode(right, right);
        let mut failed = Ok(());
        left.each(&[], &mut |row, weight| {
            if failed.is_ok() {
                failed = self.is_shown(row, mode, right).and_then(|is_shown| match is_shown {
                    true => see(row, weight),
                    false => Ok(()),
                });
            }
        });
        failed
    }

    fn is_shown(&self, row: &[u8], mode: Mode, right: Side<'_>) -> Result<bool, ValueError> {
        let mut ranges = Vec::new();
        self.left.layout.split(row, &mut ranges)?;
        let key = &self.left.key;
        if key.error(row, &ranges).is_some() {
            return Ok(false);
        }
        Ok(match mode {
            Mode::Empty => true,
            Mode::HasNull => false,
            Mode::Values if key.has_null(row, &ranges) => false,
            Mode::Values => {
                let mut bytes = Vec::new();
                key.write(row, &ranges, &mut bytes)?;
                !right.has(&bytes)
            }
        })
    }
}

fn mode(all: Side<'_>, by_key: Side<'_>) -> Mode {
    match all.has(&[]) {
        false => Mode::Empty,
        true if by_key.has(&[NULL]) => Mode::HasNull,
        true => Mode::Values,
    }
}
