//! What is done with computed rows: DISTINCT, DISTINCT ON, ORDER BY and LIMIT.

use std::ops::Range;

use sqlparser::ast::{Distinct, Select};

use super::Fault;
use super::column::ColumnId;
use super::key;
use super::planner::{Planner, Result};
use super::relation::{Relation, Sort};
use super::select::Draft;
use super::subquery::{Sub, computed_alone};
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
        let Draft { relation, output, computed, mut correlated, place } = draft;
        let own = relation.columns();
        let outside = computed.iter().find(|(_, scalar)| !scalar.columns.is_subset(&own));
        let free = output.iter().any(|(_, id)| {
            !own.contains(id) && computed.iter().all(|(computed, _)| computed != id)
        });
        if (outside.is_some() || free) && !computed_alone(&relation) {
            let at = outside.map_or(place, |(_, scalar)| scalar.place.clone());
            return Err(Fault::new(
                "columns of the surrounding query in a subquery's SELECT list are not supported",
            )
            .hint("give out the subquery's own columns, and compute with them outside")
            .at(at));
        }
        let mut relation = relation.map(computed);
        let distinct = matches!(select.distinct, Some(Distinct::Distinct));
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
            relation = self.first(relation, keys, order, tail);
        }
        Ok(Sub { relation, output, correlated, lifted: false, after_join: Vec::new() })
    }

    fn distinct(
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
