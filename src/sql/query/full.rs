//! FULL JOIN: the rows of a left join, and those of the right side that have no partner beside NULLs.

use std::collections::BTreeMap;

use sqlparser::ast;

use super::column::{ColumnId, Scalar, decisive};
use super::from::outer_join;
use super::key;
use super::planner::Planner;
use super::push::{Sieve, push};
use super::relation::{Condition, Relation};
use super::scope::Scope;
use crate::sql::expr::Ty;
use crate::sql::plan::JoinKind;

impl Planner<'_> {
    /// Both sides' rows; the scope's columns are those of the union from here on. `merged`: the pairs that USING
    /// has made one column of, under the left one's number.
    pub(super) fn full_join(
        &self,
        left: Relation,
        right: Relation,
        conditions: Vec<Condition>,
        merged: &[(ColumnId, ColumnId)],
        scope: &mut Scope,
    ) -> Relation {
        let key = self.full_key(&left, &right, merged);
        let pair = self.full_pair(&left, &right, &conditions);
        let (of_left, of_right) = (left.columns(), right.columns());
        let nulls: Vec<(ColumnId, ColumnId)> = of_left
            .iter()
            .map(|id| {
                let info = self.info(*id);
                let ty = Ty { not_null: false, ..info.ty.clone() };
                (*id, self.new_like(super::column::ColumnInfo { ty, ..info }))
            })
            .collect();
        let alone = {
            let columns = nulls.iter().map(|(_, id)| (*id, self.null_like(*id))).collect();
            without_partner(right.clone(), left.clone(), conditions.clone()).map(columns)
        };
        self.make_nullable(of_right.iter().copied());
        let joined = outer_join(left, right, conditions);
        let mut here = BTreeMap::new();
        let (mut with, mut without, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        let both = nulls.iter().map(|(id, null)| (*id, *null));
        for (id, missing) in both.chain(of_right.iter().map(|id| (*id, *id))) {
            let info = self.info(id);
            let ty = Ty { not_null: false, ..info.ty.clone() };
            let new = self.new_like(super::column::ColumnInfo { ty, ..info });
            here.insert(id, new);
            with.push(id);
            without.push(missing);
            columns.push(new);
        }
        let mut of_merged = BTreeMap::new();
        for (left, right) in merged {
            let new = self.new_like(self.info(here[left]));
            of_merged.insert(*left, new);
            with.push(*left);
            without.push(*right);
            columns.push(new);
        }
        let renumbered = |id: ColumnId| here.get(&id).copied().unwrap_or(id);
        self.full_pairs.borrow_mut().extend(pair.map(|(l, r)| (renumbered(l), renumbered(r))));
        for named in &mut scope.relations {
            named.nullable = true;
            named.columns.iter_mut().for_each(|(_, id)| *id = renumbered(*id));
            named.hidden = named.hidden.iter().map(|id| renumbered(*id)).collect();
            if let Some((_, key)) = &mut named.table {
                key.iter_mut().for_each(|id| *id = renumbered(*id));
            }
        }
        for (_, id) in &mut scope.merged {
            *id = of_merged.get(id).copied().unwrap_or_else(|| renumbered(*id));
        }
        let key = key.map(|(key, is_merged)| {
            let new = |id: &ColumnId| match is_merged {
                true => of_merged[id],
                false => here[id],
            };
            key.iter().map(new).collect()
        });
        Relation::Union { inputs: vec![(joined, with), (alone, without)], columns, key }
    }

    /// What tells the rows apart: what USING has merged, where that is a key of both sides, else both keys
    /// where one of them cannot be NULL in a row that is there.
    fn full_key(
        &self,
        left: &Relation,
        right: &Relation,
        merged: &[(ColumnId, ColumnId)],
    ) -> Option<(Vec<ColumnId>, bool)> {
        let (of_left, of_right) = (key::facts(self, left), key::facts(self, right));
        let not_null = |id: &ColumnId| self.info(*id).ty.not_null;
        let is_merged = !merged.is_empty()
            && merged.iter().all(|(l, r)| not_null(l) && not_null(r))
            && of_left.is_key(merged.iter().map(|(l, _)| *l))
            && of_right.is_key(merged.iter().map(|(_, r)| *r));
        if is_merged {
            return Some((merged.iter().map(|(l, _)| *l).collect(), true));
        }
        let (left, right) = (of_left.key?, of_right.key?);
        let are_told_apart = left.iter().any(not_null) && right.iter().any(not_null);
        are_told_apart.then(|| (left.into_iter().chain(right).collect(), false))
    }

    /// The two columns, where nothing but their equality joins and each is the key of its side.
    fn full_pair(
        &self,
        left: &Relation,
        right: &Relation,
        conditions: &[Condition],
    ) -> Option<(ColumnId, ColumnId)> {
        let [Condition { equality: Some((a, b)), .. }] = conditions else { return None };
        let (a, b) = (decisive(a)?, decisive(b)?);
        let (l, r) = if left.columns().contains(&a) { (a, b) } else { (b, a) };
        let is_key = |side: &Relation, id: ColumnId| {
            side.columns().contains(&id)
                && self.info(id).ty.not_null
                && key::facts(self, side).is_key([id])
        };
        (is_key(left, l) && is_key(right, r)).then_some((l, r))
    }

    /// NULL, of the column's type.
    pub(super) fn null_like(&self, id: ColumnId) -> Scalar {
        let ty = Ty { not_null: false, ..self.info(id).ty };
        Scalar {
            ast: ast::Expr::value(ast::Value::Null),
            columns: Default::default(),
            ty,
            place: 0..0,
            widened: false,
        }
    }
}

fn without_partner(rows: Relation, mut other: Relation, conditions: Vec<Condition>) -> Relation {
    let of_other = other.columns();
    let mut kept = Vec::new();
    for condition in conditions {
        let columns = &condition.scalar.columns;
        if !columns.is_empty() && columns.is_subset(&of_other) {
            other = push(other, Sieve::Condition(Box::new(condition)));
        } else {
            kept.push(condition);
        }
    }
    Relation::Join {
        left: Box::new(rows),
        right: Box::new(other),
        kind: JoinKind::Anti,
        conditions: kept,
    }
}
