//! UNION ALL and UNION, and what PostgreSQL has beside it.

use std::ops::Range;

use sqlparser::ast::{self, SetExpr, SetOperator, SetQuantifier};

use super::Fault;
use super::column::{ColumnId, Scalar, cast, coalesce, name_of};
use super::group::sort;
use super::planner::{Commons, Planner, Result};
use super::relation::Relation;
use super::resolve::Clause;
use super::scope::Scope;
use super::subquery::Sub;
use super::types;
use super::whole::Tail;
use crate::sql::expr::{Ty, fold_case};

impl Planner<'_> {
    pub(super) fn union(
        &self,
        body: &SetExpr,
        tail: &Tail,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
    ) -> Result<Sub> {
        let place = self.text.place(body);
        let is_distinct = is_distinct(body);
        let mut inputs = Vec::new();
        match body {
            SetExpr::SetOperation { left, right, .. } if is_distinct => {
                self.branches(left, outer, commons, &mut inputs)?;
                self.branches(right, outer, commons, &mut inputs)?;
            }
            body => self.branches(body, outer, commons, &mut inputs)?,
        }
        let Some(first) = inputs.first() else {
            return Err(Fault::new("the query is empty").at(place));
        };
        let names: Vec<String> = first.output.iter().map(|(name, _)| name.clone()).collect();
        for input in &inputs {
            if input.output.len() != names.len() {
                return Err(
                    Fault::new("the queries of UNION have different numbers of columns").at(place)
                );
            }
            input.no_outer_columns(&place)?;
            if !input.correlated.is_empty() || input.lifted {
                return Err(Fault::new(
                    "UNION inside a subquery that looks at the surrounding query is not supported",
                )
                .hint("write one subquery for each of the queries")
                .at(place));
            }
        }
        let mut output = Vec::new();
        let mut columns: Vec<Vec<ColumnId>> = vec![Vec::new(); inputs.len()];
        let mut computed: Vec<Vec<(ColumnId, Scalar)>> = vec![Vec::new(); inputs.len()];
        for (at, name) in names.iter().enumerate() {
            let ids: Vec<ColumnId> = inputs.iter().map(|input| input.output[at].1).collect();
            let ty = self.common_type(&ids, &place)?;
            for (input, id) in ids.iter().enumerate() {
                let converted = self.converted(*id, &ty, &place)?;
                columns[input].push(converted.as_ref().map_or(*id, |(id, _)| *id));
                computed[input].extend(converted);
            }
            output.push((name.clone(), self.new_column(name.as_str(), ty)));
        }
        let relations = inputs.into_iter().map(|input| input.relation);
        let inputs = relations.zip(computed).zip(columns);
        let inputs = inputs.map(|((relation, computed), ids)| (relation.map(computed), ids));
        let columns = output.iter().map(|(_, id)| *id).collect();
        let mut relation = Relation::Union { inputs: inputs.collect(), columns, key: None };
        if is_distinct {
            relation = self.distinct(relation, &output, &[], &place)?;
        }
        let relation = self.limited(relation, &output, tail, outer, commons, &place)?;
        let (correlated, after_join, deferred) = Default::default();
        Ok(Sub { relation, output, correlated, lifted: false, after_join, deferred })
    }

    fn branches(
        &self,
        body: &SetExpr,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
        into: &mut Vec<Sub>,
    ) -> Result<()> {
        match body {
            // Its own rows are distinct, whatever else there is.
            body if is_distinct(body) => {
                into.push(self.union(body, &Tail::default(), outer, commons)?);
                Ok(())
            }
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                self.all_alone(*op, *set_quantifier, left)?;
                self.branches(left, outer, commons, into)?;
                self.branches(right, outer, commons, into)
            }
            body => {
                let query = as_query(body);
                into.push(self.query(&query, outer, commons)?);
                Ok(())
            }
        }
    }

    fn all_alone(&self, op: SetOperator, quantifier: SetQuantifier, left: &SetExpr) -> Result<()> {
        let (word, hint) = match (op, quantifier) {
            (SetOperator::Union, SetQuantifier::All) => return Ok(()),
            (SetOperator::Union, _) => ("UNION", "write UNION or UNION ALL"),
            (SetOperator::Intersect, _) => ("INTERSECT", "write EXISTS (SELECT … WHERE …)"),
            (SetOperator::Except | SetOperator::Minus, _) => {
                ("EXCEPT", "write NOT EXISTS (SELECT … WHERE …)")
            }
        };
        let at = self.text.words(word, self.text.place(left).end);
        Err(Fault::new(format!("{word} is not supported")).hint(hint).at(at))
    }

    /// The one type of a column of all branches.
    fn common_type(&self, ids: &[ColumnId], place: &Range<usize>) -> Result<Ty> {
        let tys: Vec<Ty> = ids.iter().map(|id| self.info(*id).ty).collect();
        let not_null = tys.iter().all(|ty| ty.not_null);
        if tys.windows(2).all(|pair| pair[0].oid == pair[1].oid) {
            let same = tys.windows(2).all(|pair| pair[0].typmod == pair[1].typmod);
            let typmod = if same { tys[0].typmod } else { -1 };
            return Ok(Ty { typmod, not_null, ..tys[0].clone() });
        }
        let none = sqlparser::tokenizer::Span::empty();
        let all = ids.iter().map(|id| name_of(*id, none)).collect();
        let ty = self.scalar(coalesce(all), place.clone())?.ty;
        Ok(Ty { not_null, ..ty })
    }

    /// The column in that type, where it is of another.
    fn converted(
        &self,
        id: ColumnId,
        ty: &Ty,
        place: &Range<usize>,
    ) -> Result<Option<(ColumnId, Scalar)>> {
        let info = self.info(id);
        if info.ty.stored == ty.stored {
            return Ok(None);
        }
        let Some(data_type) = types::data_type(&ty.stored) else {
            let what = format!("UNION ALL of {} and {ty} is not supported", info.ty);
            return Err(Fault::new(what).hint("cast both to one type").at(place.clone()));
        };
        let name = name_of(id, sqlparser::tokenizer::Span::empty());
        let scalar = self.scalar(cast(name, data_type), place.clone())?;
        Ok(Some((self.new_column(info.name, scalar.ty.clone()), scalar)))
    }

    /// ORDER BY and LIMIT behind UNION ALL, over the columns of the result.
    fn limited(
        &self,
        relation: Relation,
        output: &[(String, ColumnId)],
        tail: &Tail,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
        place: &Range<usize>,
    ) -> Result<Relation> {
        if tail.limit.is_none() && tail.offset == 0 {
            if tail.order.is_empty() {
                return Ok(relation);
            }
            let at = self.text.words("ORDER BY", place.end);
            return Err(Fault::new("ORDER BY in a subquery without LIMIT orders nothing for sure")
                .hint("write ORDER BY inside the aggregate, or leave it out")
                .at(at));
        }
        let scope = Scope::default();
        let clause = Clause::new(self, &scope, outer, commons, "ORDER BY");
        let mut order = Vec::new();
        for by in &tail.order {
            let ast::Expr::Identifier(name) = &by.expr else {
                return Err(Fault::new("ORDER BY behind UNION ALL takes columns of the result")
                    .at(self.text.place(by)));
            };
            let name = fold_case(name);
            let Some((_, id)) = output.iter().find(|(output, _)| *output == name) else {
                return Err(
                    Fault::new(format!("there is no column `{name}`")).at(self.text.place(by))
                );
            };
            order.push(sort(&clause, by, &self.info(*id).ty, *id)?);
        }
        Ok(self.first(relation, Vec::new(), order, tail))
    }
}

/// UNION, which leaves one of equal rows.
fn is_distinct(body: &SetExpr) -> bool {
    matches!(
        body,
        SetExpr::SetOperation {
            op: SetOperator::Union,
            set_quantifier: SetQuantifier::None | SetQuantifier::Distinct,
            ..
        }
    )
}

/// A branch as a query of its own.
fn as_query(body: &SetExpr) -> ast::Query {
    match body {
        SetExpr::Query(query) => (**query).clone(),
        body => ast::Query {
            with: None,
            body: Box::new(body.clone()),
            order_by: None,
            limit_clause: None,
            fetch: None,
            locks: Vec::new(),
            for_clause: None,
            settings: None,
            format_clause: None,
            pipe_operators: Vec::new(),
        },
    }
}
