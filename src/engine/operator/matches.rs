//! How many partners each left row has, for joins that show rows with or without any and whose residual
//! decides that row by row.

use hashbrown::HashMap;

use super::join::Partners;
use crate::sql::plan::JoinKind;

#[derive(Default)]
pub(in crate::engine) struct Matches {
    rows: HashMap<Box<[u8]>, Matched>,
    bytes: usize,
}

#[derive(Default)]
struct Matched {
    /// How often the left row itself is there.
    weight: i64,
    standing: Standing,
}

/// A left row's partners.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(in crate::engine) struct Standing {
    pub(in crate::engine) partners: i64,
    /// Right rows for which the residual fails.
    pub(in crate::engine) unknown: i64,
}

/// How a left row is shown beside, or instead of, its pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Shown {
    No,
    Yes,
    /// It cannot be told whether it is to be shown.
    Refused,
}

impl Standing {
    pub(in crate::engine) fn add(&mut self, partners: Partners, weight: i64) {
        match partners {
            Partners::Yes => self.partners += weight,
            Partners::Unknown => self.unknown += weight,
            Partners::No => {}
        }
    }

    pub(in crate::engine) fn shown(self, kind: JoinKind) -> Shown {
        let found = self.partners > 0;
        match kind {
            JoinKind::Inner => Shown::No,
            // What is unknown stands in a pair of its own.
            JoinKind::Left if found || self.unknown > 0 => Shown::No,
            JoinKind::Left => Shown::Yes,
            JoinKind::Semi if found => Shown::Yes,
            JoinKind::Anti | JoinKind::AntiNull if found => Shown::No,
            _ if self.unknown > 0 => Shown::Refused,
            JoinKind::Semi => Shown::No,
            JoinKind::Anti | JoinKind::AntiNull => Shown::Yes,
        }
    }
}

impl Matches {
    pub(in crate::engine) fn standing(&self, row: &[u8]) -> Standing {
        self.rows.get(row).map_or(Standing::default(), |matched| matched.standing)
    }

    /// The row came or went, so and so often; its partners are these.
    pub(in crate::engine) fn set(&mut self, row: &[u8], weight: i64, standing: Standing) {
        let cost = size_of::<(Box<[u8]>, Matched)>() + row.len();
        let matched = match self.rows.get_mut(row) {
            Some(matched) => matched,
            None => {
                self.bytes += cost;
                self.rows.entry(row.into()).or_default()
            }
        };
        matched.weight += weight;
        matched.standing = standing;
        if matched.weight == 0 {
            self.rows.remove(row);
            self.bytes -= cost;
        }
    }

    pub(in crate::engine) fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }
}
