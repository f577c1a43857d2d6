//! A subquery that compares with the row around it in other ways than by =: that row's table is read once more,
//! within the subquery, which is then tied to the row around it by its primary key.
//!
//! ```text
//! (SELECT sum(p.total) FROM orders p WHERE p.customer_id = o.customer_id AND p.id <= o.id)
//! (SELECT sum(p.total) FROM orders p JOIN orders x ON p.customer_id = x.customer_id AND p.id <= x.id
//!  WHERE x.id = o.id)
//! ```
//!
//! So it is where a function in FROM is given a value of the row around the subquery:
//!
//! ```text
//! (SELECT sum((l ->> 'qty')::int) FROM jsonb_array_elements(o.lines) l)
//! (SELECT sum((l ->> 'qty')::int) FROM orders x, jsonb_array_elements(x.lines) l WHERE x.id = o.id)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Fault;
use super::column::{ColumnId, Scalar};
use super::condition::condition;
use super::from::From;
use super::group::equality;
use super::planner::{Instance, Planner, Result};
use super::relation::{Condition, Expansion, Factor, Relation};

impl Planner<'_> {
    /// The subquery's rows beside those that they are compared with, and what ties them to the surrounding query.
    /// What cannot be tied like this stays as it is.
    pub(super) fn brought_within(
        &self,
        relation: &mut Relation,
        correlated: Vec<Condition>,
        place: &Range<usize>,
    ) -> Result<Vec<Condition>> {
        let own = relation.columns();
        let outside = |condition: &Condition| -> BTreeSet<ColumnId> {
            condition.scalar.columns.difference(&own).copied().collect()
        };
        let compared = correlated.iter().filter(|condition| is_comparison(condition, &own));
        let wanted: BTreeSet<ColumnId> = compared.flat_map(outside).collect();
        let instances: Vec<Instance> = self.instances.borrow().clone();
        let around: Vec<Instance> = instances
            .into_iter()
            .filter(|instance| instance.columns.iter().any(|id| wanted.contains(id)))
            .collect();
        let mut here: BTreeMap<ColumnId, ColumnId> = BTreeMap::new();
        for instance in &around {
            let known: BTreeSet<ColumnId> = instance.columns.iter().copied().collect();
            // Without an equality all its rows would be paired with all; and a row that an outer join has left out
            // could be compared with.
            let is_tied = correlated.iter().any(|condition| {
                is_equality(condition, &own) && outside(condition).is_subset(&known)
            });
            if !is_tied {
                return Ok(correlated);
            }
            let more = instance.columns.iter().map(|id| (*id, self.new_like(self.info(*id))));
            here.extend(more);
        }
        if around.is_empty() || !wanted.iter().all(|id| here.contains_key(id)) {
            return Ok(correlated);
        }
        let (mut within, mut kept) = (Vec::new(), Vec::new());
        for of in correlated {
            let outside = outside(&of);
            let is_own = outside.len() < of.scalar.columns.len();
            if is_own && outside.iter().all(|id| here.contains_key(id)) {
                let scalar = self.replaced(of.scalar, &|id| here.get(&id).copied())?;
                within.push(Condition { written: of.written, ..condition(self, scalar)? });
            } else {
                kept.push(of);
            }
        }
        let mut rows = std::mem::replace(relation, Relation::one_row());
        for Instance { table, columns, key } in around {
            let ids: Vec<ColumnId> = columns.iter().map(|id| here[id]).collect();
            let factor =
                Factor { relation: self.rows_of(table, &ids, place), place: place.clone() };
            rows = rows.inner(place.clone(), factor, Vec::new());
            for outer in key {
                let inner = self.column_scalar(here[&outer], place);
                kept.push(equality(self, inner, self.column_scalar(outer, place))?);
            }
        }
        if let Relation::Inner { conditions, .. } = &mut rows {
            conditions.extend(within);
        }
        *relation = rows;
        Ok(kept)
    }
}

impl Planner<'_> {
    /// The rows that a function makes of a value of the row around, and what ties them to it. `right` is what
    /// they are known as.
    pub(super) fn expanded_within(
        &self,
        expansion: Expansion,
        computed: Vec<(ColumnId, Scalar)>,
        right: From,
    ) -> Result<From> {
        let place = expansion.list.place.clone();
        let wanted = &expansion.list.columns;
        let instances = self.instances.borrow().clone();
        let instance = instances
            .into_iter()
            .find(|instance| wanted.iter().all(|id| instance.columns.contains(id)));
        let refuse = |what: &str, hint: &str| Err(Fault::new(what).hint(hint).at(place.clone()));
        let Some(Instance { table, columns, key }) = instance else {
            return refuse(
                "a function in FROM of a value of the query around it is supported where that is of one table \
                 with a primary key",
                "join the function where the value's table stands, and group there",
            );
        };
        // Of a row that an outer join has left out there is nothing here: as of a NULL.
        let may_be_missing = key.iter().any(|id| !self.info(*id).ty.not_null);
        if may_be_missing && expansion.list.as_column().is_none() {
            return refuse(
                "a function in FROM of an expression over a table that an outer join may leave out is not \
                 supported",
                "give the function the column alone, or join it where the table stands",
            );
        }
        let here: BTreeMap<ColumnId, ColumnId> =
            columns.iter().map(|id| (*id, self.new_like(self.info(*id)))).collect();
        let ids: Vec<ColumnId> = columns.iter().map(|id| here[id]).collect();
        let list = self.replaced(expansion.list, &|id| here.get(&id).copied())?;
        let input = Box::new(self.rows_of(table, &ids, &place));
        let expansion = Box::new(Expansion { list, ..expansion });
        let mut correlated = right.correlated;
        for outer in key {
            let inner = self.column_scalar(here[&outer], &place);
            correlated.push(equality(self, inner, self.column_scalar(outer, &place))?);
        }
        let relation = Relation::Expand { input, expansion, outer: false }.map(computed);
        Ok(From { relation, correlated, ..right })
    }
}

/// It compares a thing of the subquery's own with one outside.
fn is_equality(condition: &Condition, own: &BTreeSet<ColumnId>) -> bool {
    condition.equality.as_ref().is_some_and(|(left, right)| {
        let apart = |inner: &BTreeSet<ColumnId>, outer: &BTreeSet<ColumnId>| {
            inner.is_subset(own) && outer.is_disjoint(own)
        };
        apart(&left.columns, &right.columns) || apart(&right.columns, &left.columns)
    })
}

/// It looks at both, and is no such equality.
fn is_comparison(condition: &Condition, own: &BTreeSet<ColumnId>) -> bool {
    let columns = &condition.scalar.columns;
    !columns.is_disjoint(own) && !columns.is_subset(own) && !is_equality(condition, own)
}
