//! NOT IN (a query), with what SQL says of NULLs: where a right row is NULL nothing is shown, and a left
//! row that is NULL is shown only where there are no right rows at all.

use super::super::access::Access;
use super::super::delta::{Deltas, Refuse, Sorted};
use super::super::follow::Emit;
use super::super::graph::Engine;
use super::super::look::{Go, Look, Seen, When};
use super::super::row::{Key, RowLayout};
use super::join::Input;
use crate::value::{NULL, ValueError};

pub(in crate::engine) struct NotIn {
    left: Input,
    right: Input,
    sides: [Access; 2],
    /// Of all rows.
    nothing: [Key; 2],
}

/// What the right rows as a whole say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Empty,
    HasNull,
    Values,
}

/// Changes of the right side; without them its rows are seen as they are.
#[derive(Clone, Copy)]
struct Unseen<'a> {
    by_key: &'a Sorted,
    all: &'a Sorted,
}

impl NotIn {
    pub(in crate::engine) fn new(
        (left, left_on): (RowLayout, &[usize]),
        (right, right_on): (RowLayout, &[usize]),
        sides: [Access; 2],
    ) -> Self {
        debug_assert!(left_on.len() == 1 && right_on.len() == 1, "NOT IN compares one column");
        let nothing = [Key::new(&left, &[]), Key::new(&right, &[])];
        Self { left: Input::new(left, left_on), right: Input::new(right, right_on), sides, nothing }
    }

    /// Works off deltas of both sides; `refuse` is told of those whose key is an error.
    pub(in crate::engine) fn run(
        &self,
        left: &Deltas,
        right: &Deltas,
        refuse: &mut Refuse<'_>,
        emit: &mut Emit<'_>,
    ) -> Result<(), ValueError> {
        let engine = emit.engine;
        let sorted = |deltas: &Deltas, layout: &RowLayout, key: &Key, refuse: &mut Refuse<'_>| {
            Sorted::new(deltas.iter(), layout, key, refuse)
        };
        let ignore = &mut |_: &[u8], _: i64| ();
        let all_left = sorted(left, &self.left.layout, &self.nothing[0], ignore)?;
        let all_right = sorted(right, &self.right.layout, &self.nothing[1], ignore)?;
        let left = sorted(left, &self.left.layout, &self.left.key, refuse)?;
        let right = sorted(right, &self.right.layout, &self.right.key, refuse)?;
        let unseen = Some(Unseen { by_key: &right, all: &all_right });
        let (before, now) = (self.mode(engine, unseen)?, self.mode(engine, None)?);
        let mut turn = |row: &[u8], weight: i64| {
            let was_shown = self.is_shown(engine, row, before, unseen)?;
            let is_shown = self.is_shown(engine, row, now, None)?;
            let change = i64::from(is_shown) - i64::from(was_shown);
            if change != 0 {
                emit.out.push(row, change * weight);
                emit.flush_when_full()?;
            }
            Ok(Go::On)
        };
        // Left rows as they were: all of them where what the right side says as a whole turns.
        if before != now {
            engine.look_before(&self.sides[0], &[], &all_left, &mut turn)?;
        } else if now == Mode::Values {
            let mut at = 0;
            while at < right.len() {
                engine.look_before(&self.sides[0], right.key(at), &left, &mut turn)?;
                at = right.end_of_key(at);
            }
        }
        for (row, weight) in left.rows(0..left.len()) {
            if self.is_shown(engine, row, now, None)? {
                emit.out.push(row, weight);
                emit.flush_when_full()?;
            }
        }
        Ok(())
    }

    /// What becomes of one of the left rows there are.
    pub(in crate::engine) fn look_from_left(
        &self,
        engine: &Engine,
    ) -> Result<impl Fn(&[u8]) -> Result<bool, ValueError>, ValueError> {
        let mode = self.mode(engine, None)?;
        Ok(move |row: &[u8]| self.is_shown(engine, row, mode, None))
    }

    fn mode(&self, engine: &Engine, unseen: Option<Unseen<'_>>) -> Result<Mode, ValueError> {
        let (all, by_key) = (unseen.map(|unseen| unseen.all), unseen.map(|unseen| unseen.by_key));
        Ok(match self.has_right(engine, &[], all)? {
            false => Mode::Empty,
            true if self.has_right(engine, &[NULL], by_key)? => Mode::HasNull,
            true => Mode::Values,
        })
    }

    fn has_right(
        &self,
        engine: &Engine,
        key: &[u8],
        unseen: Option<&Sorted>,
    ) -> Result<bool, ValueError> {
        let first: &mut Look<'_> = &mut |_, _| -> Seen { Ok(Go::Rest) };
        let found = match unseen {
            Some(unseen) => engine.look_before(&self.sides[1], key, unseen, first)?,
            None => engine.look(&self.sides[1], key, When::New, first)?,
        };
        Ok(found == Go::Rest)
    }

    fn is_shown(
        &self,
        engine: &Engine,
        row: &[u8],
        mode: Mode,
        unseen: Option<Unseen<'_>>,
    ) -> Result<bool, ValueError> {
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
                !self.has_right(engine, &bytes, unseen.map(|unseen| unseen.by_key))?
            }
        })
    }
}
