//! Joins of two: which conditions are keys, and what is left of them.

use std::collections::BTreeSet;

use super::Fault;
use super::column::{ColumnId, Scalar, decisive};
use super::key;
use super::lower::{Lower, Lowered};
use super::order::joins;
use super::planner::Result;
use super::relation::{Condition, Relation};
use crate::sql::plan::{JoinKind, Node};

impl Lower<'_> {
    pub(super) fn join(
        &mut self,
        left: &Relation,
        right: &Relation,
        kind: JoinKind,
        conditions: &[Condition],
        need: &BTreeSet<ColumnId>,
    ) -> Result<Lowered> {
        let (left_columns, right_columns) = (left.columns(), right.columns());
        let mut pairs = Vec::new();
        let mut residual: Vec<&Scalar> = Vec::new();
        for condition in conditions {
            match &condition.equality {
                Some((a, b)) if joins(condition, &left_columns, &right_columns) => {
                    let turned = !a.columns.is_subset(&left_columns);
                    pairs.push(if turned { (b, a) } else { (a, b) });
                }
                _ => residual.push(&condition.scalar),
            }
        }
        let fan_out = self.fan_out(left, right, &pairs);
        let (left, left_keys) = self.keyed(left, pairs.iter().map(|(a, _)| *a));
        let (right, right_keys) = self.keyed(right, pairs.iter().map(|(_, b)| *b));
        let right = match pairs.is_empty() {
            true => self.without_equality(right, kind, conditions)?,
            false => right,
        };
        let mut wanted = need.clone();
        wanted.extend(left_keys.iter().chain(&right_keys).copied());
        wanted.extend(residual.iter().flat_map(|scalar| scalar.columns.iter().copied()));
        let side = |relation: &Relation| -> BTreeSet<ColumnId> {
            wanted.intersection(&relation.columns()).copied().collect()
        };
        let (left_need, right_need) = (side(&left), side(&right));
        let left = self.relation(&left, &left_need)?;
        let left = self.pruned(left, &left_need);
        let right = self.relation(&right, &right_need)?;
        let right = self.pruned(right, &right_need);
        let mut both = left.columns.clone();
        both.extend(&right.columns);
        let pair = Lowered { node: left.node, columns: both.clone() };
        let residual = self.all(&residual, &pair)?;
        let on: Vec<(usize, usize)> = left_keys
            .iter()
            .zip(&right_keys)
            .map(|(a, b)| (left.position(*a), right.position(*b)))
            .collect();
        let label = self.join_label(kind, conditions);
        let (l, r) = (left.node, right.node);
        let node = self.add(Node::Join { left: l, right: r, kind, on, residual }, label);
        let shows_partners = matches!(kind, JoinKind::Inner | JoinKind::Left);
        self.fan_outs[node] = Some(fan_out).filter(|_| shows_partners);
        let columns = match kind {
            JoinKind::Inner | JoinKind::Left => both,
            JoinKind::Semi | JoinKind::Anti | JoinKind::AntiNull => left.columns,
        };
        Ok(Lowered { node, columns })
    }

    fn fan_out(
        &self,
        left: &Relation,
        right: &Relation,
        pairs: &[(&Scalar, &Scalar)],
    ) -> &'static str {
        let is_key = |relation: &Relation, sides: &mut dyn Iterator<Item = &Scalar>| {
            key::facts(self.planner, relation).is_key(sides.filter_map(decisive))
        };
        let one_left = is_key(left, &mut pairs.iter().map(|(a, _)| *a));
        let one_right = is_key(right, &mut pairs.iter().map(|(_, b)| *b));
        match (one_left, one_right) {
            (true, true) => "a change of either side changes one row",
            (false, true) => {
                "a change of the second changes each row of the first that refers to it"
            }
            (true, false) => {
                "a change of the first changes each row of the second that refers to it"
            }
            (false, false) => "a change of either side changes all its partners",
        }
    }

    /// The relation with a column for each side of an equality.
    fn keyed<'s>(
        &self,
        relation: &Relation,
        sides: impl Iterator<Item = &'s Scalar>,
    ) -> (Relation, Vec<ColumnId>) {
        let (mut keys, mut computed) = (Vec::new(), Vec::new());
        for side in sides {
            let id = side.as_column().unwrap_or_else(|| {
                let id = self.planner.new_column("key", side.ty.clone());
                computed.push((id, side.clone()));
                id
            });
            keys.push(id);
        }
        (relation.clone().map(computed), keys)
    }

    /// Without an equality the right side has to be small.
    fn without_equality(
        &self,
        right: Relation,
        kind: JoinKind,
        conditions: &[Condition],
    ) -> Result<Relation> {
        let is_one = key::facts(self.planner, &right).key == Some(Vec::new());
        let exists = matches!(kind, JoinKind::Semi | JoinKind::Anti) && conditions.is_empty();
        match (kind, exists) {
            (_, true) if !is_one => Ok(Relation::Aggregate {
                input: Box::new(right),
                group: Vec::new(),
                aggregates: Vec::new(),
                scalar: false,
            }),
            // `order` has seen to it.
            (JoinKind::Inner, _) => Ok(right),
            // NOT IN asks for an equality, whatever stands on its left.
            _ if is_one && kind != JoinKind::AntiNull => Ok(right),
            _ => {
                let place = conditions.first().map(|c| c.scalar.place.clone());
                let place = place.unwrap_or(0..self.planner.text.text.len());
                Err(Fault::new(
                    "no equality joins the two sides: all rows would be compared with all",
                )
                .hint("add a condition such as a.id = b.a_id")
                .at(place))
            }
        }
    }

    fn join_label(&self, kind: JoinKind, conditions: &[Condition]) -> String {
        let what = match kind {
            JoinKind::Inner => "join",
            JoinKind::Left => "left join",
            JoinKind::Semi => "those that have",
            JoinKind::Anti | JoinKind::AntiNull => "those that have no",
        };
        let words = |condition: &Condition| match condition.written {
            true => self.planner.text.shown(&condition.scalar.place),
            false => {
                self.planner.readable(&condition.scalar.ast.to_string()).replace(['(', ')'], "")
            }
        };
        let shown: Vec<String> = conditions.iter().map(words).collect();
        match shown.is_empty() {
            true => format!("{what} of one row"),
            false => format!("{what} on {}", shown.join(" and ")),
        }
    }
}
