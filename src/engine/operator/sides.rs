//! The two sides of a join, and what arrives on them.

use super::super::delta::{Deltas, Refuse, Sorted};
use super::super::row::{Key, RowLayout};
use super::super::view::{Side, View};
use crate::value::ValueError;

/// A side's rows and the columns by which they find partners.
pub(super) struct Input {
    pub(super) layout: RowLayout,
    pub(super) key: Key,
}

/// Deltas of one side as they come: to be worked off; and others that are in the side's rows but are not
/// for this join yet.
pub(in crate::engine) struct Arriving<'a> {
    pub(in crate::engine) delta: &'a Deltas,
    pub(in crate::engine) withheld: &'a Deltas,
}

/// Deltas of one side that are being worked off.
pub(super) struct Pending {
    pub(super) delta: Sorted,
    withheld: Sorted,
    /// Both of them, where there are both.
    both: Option<Sorted>,
}

impl Input {
    pub(super) fn new(layout: RowLayout, columns: &[usize]) -> Self {
        Self { key: Key::new(&layout, columns), layout }
    }
}

impl Pending {
    pub(super) fn new(
        Arriving { delta, withheld }: &Arriving<'_>,
        Input { layout, key }: &Input,
        refuse: &mut Refuse<'_>,
    ) -> Result<Self, ValueError> {
        let mut ignore = |_: &[u8], _: i64| ();
        Ok(Self {
            delta: Sorted::new(delta.iter(), layout, key, refuse)?,
            withheld: Sorted::new(withheld.iter(), layout, key, &mut ignore)?,
            both: match withheld.is_empty() {
                true => None,
                false => {
                    let both = delta.iter().chain(withheld.iter());
                    Some(Sorted::new(both, layout, key, &mut ignore)?)
                }
            },
        })
    }

    /// The side before its deltas.
    pub(super) fn old<'a>(&'a self, view: View<'a>) -> Side<'a> {
        Side { view, unseen: self.both.as_ref().unwrap_or(&self.delta) }
    }

    /// The side with its deltas.
    pub(super) fn now<'a>(&'a self, view: View<'a>) -> Side<'a> {
        Side { view, unseen: &self.withheld }
    }
}
