//! What is done with computed rows: DISTINCT, DISTINCT ON, ORDER BY and LIMIT.

use std::ops::Range;

use sqlparser::ast::{Distinct, Select};

use super::Fault;
use super::column::{ColumnId, Scalar};
use super::key;
use super::planner::{Planner, Result};
use super::relation::{Relation, Sort};
use super::select::Draft;
use super::subquery::{Sub, computed_alone, outer_columns};
use super::types;
use super::whole::Tail;

impl Planner<'_> {
    /// DISTINCT, ORDER BY and LIMIT over the computed rows.
    pub(super) fn finish(
        &self,
        select: &Select,
        tail: &Tail,
        on: Vec<ColumnId>,
        order: Vec<Sort>,
        draft: Draft,
    ) -> Result<Sub> {
        let distinct = matches!(select.distinct, Some(Distinct::Distinct));
        let Draft { relation, mut output, computed, mut correlated, place, order: inherited } =
            draft;
        let order = if order.is_empty() && !distinct && on.is_empty() { inherited } else { order };
        let own = relation.columns();
        let (mut deferred, computed): (Vec<_>, Vec<_>) = computed
            .into_iter()
            .partition(|(_, scalar)| !scalar.columns.is_subset(&own) && !computed_alone(&relation));
        if !computed_alone(&relation) {
            for (_, id) in &mut output {
                let known =
                    |columns: &[(ColumnId, Scalar)]| columns.iter().any(|(own, _)| own == id);
                if !own.contains(id) && !known(&computed) && !known(&deferred) {
                    let there = self.column_scalar(*id, &place);
                    *id = self.new_like(self.info(*id));
                    deferred.push((*id, there));
                }
            }
        }
        let is_deferred = |id: &ColumnId| deferred.iter().any(|(deferred, _)| deferred == id);
        let sorted = order.iter().map(|sort| sort.column).chain(on.iter().copied());
        if let Some((_, scalar)) = deferred.first()
            && (distinct
                || sorted.clone().any(|id| {
                    is_deferred(&id) || !own.contains(&id) && computed.iter().all(|(c, _)| *c != id)
                }))
        {
            return Err(outer_columns(scalar.place.clone()));
        }
        let mut relation = relation.map(computed);
        let mut keys = Vec::new();
        if distinct || !on.is_empty() || tail.is_limited() {
            (keys, correlated) = self.outer_keys(
                &mut relation,
                correlated,
                "a subquery with DISTINCT or LIMIT",
                &place,
            )?;
        }
        if distinct {
            relation = self.distinct(relation, &output, &keys, &place)?;
        }
        if !on.is_empty() {
            let partition = on.into_iter().chain(keys.iter().copied()).collect();
            relation = self.first(
                relation,
                partition,
                order.clone(),
                &Tail { limit: Some(1), ..Tail::default() },
            );
        }
        if tail.is_limited() {
            relation = self.first(relation, keys, order.clone(), tail);
        }
        let after_join = Vec::new();
        let (lifted, may_be_none) = (false, false);
        Ok(Sub { relation, output, correlated, lifted, may_be_none, after_join, deferred, order })
    }

    pub(super) fn distinct(
        &self,
        relation: Relation,
        output: &[(String, ColumnId)],
        keys: &[ColumnId],
        place: &Range<usize>,
    ) -> Result<Relation> {
        let mut group: Vec<ColumnId> = Vec::new();
        for id in output.iter().map(|(_, id)| id).chain(keys) {
            if !group.contains(id) {
                group.push(*id);
            }
        }
        for id in &group {
            let info = self.info(*id);
            if !types::is_groupable(self.schema, &info.ty) {
                let what =
                    format!("DISTINCT of `{}`, which is {}, is not supported", info.name, info.ty);
                return Err(Fault::new(what).hint("cast it to text").at(place.clone()));
            }
        }
        let input = Box::new(relation);
        Ok(Relation::Aggregate { input, group, aggregates: Vec::new(), scalar: false })
    }

    /// The first rows of each partition. What the query leaves open is decided by the rows' key.
    pub(super) fn first(
        &self,
        relation: Relation,
        partition: Vec<ColumnId>,
        mut order: Vec<Sort>,
        tail: &Tail,
    ) -> Relation {
        let facts = key::facts(self, &relation);
        let all = relation.columns().into_iter().collect();
        for id in facts.key.unwrap_or(all) {
            if order.iter().all(|sort| sort.column != id) && !partition.contains(&id) {
                order.push(Sort::ascending(id));
            }
        }
        Relation::TopN {
            input: Box::new(relation),
            partition,
            order,
            limit: tail.limit,
            offset: tail.offset,
        }
    }
}
