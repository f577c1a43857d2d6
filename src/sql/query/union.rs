//! UNION ALL and UNION, INTERSECT and EXCEPT.

use std::ops::Range;

use sqlparser::ast::{self, SetExpr, SetOperator, SetQuantifier};
use sqlparser::tokenizer::Span;

use super::Fault;
use super::column::{ColumnId, Scalar, bare, binary, cast, coalesce, name_of, nested};
use super::group::sort;
use super::planner::{Commons, Planner, Result};
use super::relation::{Aggregate, Relation, Sort};
use super::resolve::Clause;
use super::scope::Scope;
use super::subquery::Sub;
use super::types;
use super::whole::Tail;
use crate::sql::expr::{Ty, fold_case};
use crate::sql::plan::Function;

impl Planner<'_> {
    pub(super) fn union(
        &self,
        body: &SetExpr,
        tail: &Tail,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
    ) -> Result<Sub> {
        let place = self.text.place(body);
        let set = set_of(body);
        let mut inputs = Vec::new();
        match (body, set) {
            (SetExpr::SetOperation { left, right, .. }, Some(SetOperator::Union)) => {
                self.branches(left, outer, commons, &mut inputs)?;
                self.branches(right, outer, commons, &mut inputs)?;
            }
            (SetExpr::SetOperation { left, right, .. }, Some(_)) => {
                for side in [left, right] {
                    inputs.push(self.query(&as_query(side), outer, commons)?);
                }
            }
            (body, _) => self.branches(body, outer, commons, &mut inputs)?,
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
            let cells: Vec<Cell> = inputs.iter().map(|input| Cell::of(input, at)).collect();
            let ty = self.common_type(&cells, &place)?;
            for (input, cell) in cells.iter().enumerate() {
                let converted = self.converted(cell, &ty, &place)?;
                columns[input].push(converted.as_ref().map_or(cell.id, |(id, _)| *id));
                computed[input].extend(converted);
            }
            output.push((name.clone(), self.new_column(name.as_str(), ty)));
        }
        let relations = inputs.into_iter().map(|input| input.relation);
        let inputs = relations.zip(computed).zip(columns);
        let mut inputs: Vec<_> =
            inputs.map(|((relation, computed), ids)| (relation.map(computed), ids)).collect();
        let mut columns: Vec<ColumnId> = output.iter().map(|(_, id)| *id).collect();
        let side = match set {
            Some(SetOperator::Union) | None => None,
            Some(_) => Some(self.sides(&mut inputs, &mut columns, &place)?),
        };
        let mut relation = Relation::Union { inputs, columns, key: None };
        if set.is_some() {
            relation = self.distinct(relation, &output, &[], &place)?;
        }
        if let (Some(side), Some(op)) = (side, set) {
            relation = self.of_sides(relation, side, op, &place)?;
        }
        let order = self.sorted_by(&output, tail, outer, commons)?;
        if tail.is_limited() {
            relation = self.first(relation, Vec::new(), order.clone(), tail);
        }
        let (correlated, after_join, deferred) = Default::default();
        let (lifted, may_be_none) = (false, false);
        Ok(Sub { relation, output, correlated, lifted, may_be_none, after_join, deferred, order })
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
            body if set_of(body).is_some() => {
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
            (SetOperator::Intersect, _) => (
                "INTERSECT ALL",
                "write INTERSECT, or EXISTS (SELECT … WHERE …): rows that are there several times have no key",
            ),
            (SetOperator::Except | SetOperator::Minus, _) => (
                "EXCEPT ALL",
                "write EXCEPT, or NOT EXISTS (SELECT … WHERE …): rows that are there several times have no key",
            ),
        };
        let at = self.text.words(word, self.text.place(left).end);
        Err(Fault::new(format!("{word} is not supported")).hint(hint).at(at))
    }

    /// A column that tells the first input's rows from those of the second.
    fn sides(
        &self,
        inputs: &mut [(Relation, Vec<ColumnId>)],
        columns: &mut Vec<ColumnId>,
        place: &Range<usize>,
    ) -> Result<ColumnId> {
        for (at, (relation, ids)) in inputs.iter_mut().enumerate() {
            let first = ast::Expr::value(ast::Value::Boolean(at == 0));
            let side = self.new_column("side", types::boolean());
            let rows = std::mem::replace(relation, Relation::one_row());
            *relation = rows.map(vec![(side, self.scalar(first, place.clone())?)]);
            ids.push(side);
        }
        let side = self.new_column("side", types::boolean());
        columns.push(side);
        Ok(side)
    }

    /// The groups of equal rows that are on the first side alone, or on both.
    fn of_sides(
        &self,
        relation: Relation,
        side: ColumnId,
        op: SetOperator,
        place: &Range<usize>,
    ) -> Result<Relation> {
        let Relation::Aggregate { input, group, .. } = relation else { return Ok(relation) };
        let aggregate = |function, name: &str| Aggregate {
            column: self.new_column(name, types::boolean()),
            function,
            arguments: vec![side],
            distinct: false,
            order: Vec::new(),
            filter: None,
        };
        let first_alone = aggregate(Function::BoolAnd, "first alone");
        let first = aggregate(Function::BoolOr, "first");
        let name = |aggregate: &Aggregate| name_of(aggregate.column, Span::empty());
        let wanted = match op {
            SetOperator::Intersect => {
                let expr = Box::new(name(&first_alone));
                let second = ast::Expr::UnaryOp { op: ast::UnaryOperator::Not, expr };
                binary(nested(second), ast::BinaryOperator::And, name(&first))
            }
            _ => name(&first_alone),
        };
        let wanted = self.scalar(wanted, place.clone())?;
        let aggregates = vec![first_alone, first];
        let groups = Relation::Aggregate { input, group, aggregates, scalar: false };
        Ok(groups.filter(wanted))
    }

    /// The one type of a column of all branches.
    fn common_type(&self, cells: &[Cell], place: &Range<usize>) -> Result<Ty> {
        let tys: Vec<Ty> = cells.iter().map(|cell| self.info(cell.id).ty).collect();
        let not_null = tys.iter().all(|ty| ty.not_null);
        let typed = || cells.iter().zip(&tys).filter(|(cell, _)| cell.untyped.is_none());
        if let Some((_, first)) = typed().next()
            && typed().all(|(_, ty)| ty.oid == first.oid)
        {
            let same = typed().all(|(_, ty)| ty.typmod == first.typmod);
            let typmod = if same { first.typmod } else { -1 };
            return Ok(Ty { typmod, not_null, ..first.clone() });
        }
        let all = cells
            .iter()
            .map(|cell| cell.untyped.clone().unwrap_or_else(|| name_of(cell.id, Span::empty())));
        let together = self
            .scalar(coalesce(all.collect()), place.clone())
            .map_err(|fault| Fault { what: fault.what.replace("COALESCE", "UNION"), ..fault });
        Ok(Ty { not_null, ..together?.ty })
    }

    /// The column in that type, where it is of another.
    fn converted(
        &self,
        cell: &Cell,
        ty: &Ty,
        place: &Range<usize>,
    ) -> Result<Option<(ColumnId, Scalar)>> {
        let info = self.info(cell.id);
        if info.ty.stored == ty.stored {
            return Ok(None);
        }
        let is_null = |ast: &ast::Expr| matches!(ast, ast::Expr::Value(value) if value.value == ast::Value::Null);
        if cell.untyped.as_ref().is_some_and(is_null) {
            let id = self.new_column(info.name, Ty { not_null: false, ..ty.clone() });
            return Ok(Some((id, self.null_like(id))));
        }
        let Some(data_type) = types::data_type(&ty.stored) else {
            let what = format!("UNION ALL of {} and {ty} is not supported", info.ty);
            return Err(Fault::new(what).hint("cast both to one type").at(place.clone()));
        };
        let value = cell.untyped.clone().unwrap_or_else(|| name_of(cell.id, Span::empty()));
        let scalar = self.scalar(cast(value, data_type), place.clone())?;
        Ok(Some((self.new_column(info.name, scalar.ty.clone()), scalar)))
    }

    /// ORDER BY and LIMIT behind UNION ALL, over the columns of the result.
    fn sorted_by(
        &self,
        output: &[(String, ColumnId)],
        tail: &Tail,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
    ) -> Result<Vec<Sort>> {
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
        Ok(order)
    }
}

/// A column of a branch.
struct Cell {
    id: ColumnId,
    /// A literal in quotes or NULL, which is of whatever type the others are of.
    untyped: Option<ast::Expr>,
}

impl Cell {
    fn of(input: &Sub, at: usize) -> Self {
        let id = input.output[at].1;
        let computed = |relation: &Relation| match relation {
            Relation::Map { columns, .. } => {
                columns.iter().find(|(of, _)| *of == id).map(|(_, scalar)| scalar.ast.clone())
            }
            _ => None,
        };
        let literal = computed(&input.relation).filter(|ast| match bare(ast) {
            ast::Expr::Value(value) => {
                matches!(value.value, ast::Value::Null | ast::Value::SingleQuotedString(_))
            }
            _ => false,
        });
        Self { id, untyped: literal.map(|ast| bare(&ast).clone()) }
    }
}

/// Of those that leave one of equal rows: which.
fn set_of(body: &SetExpr) -> Option<SetOperator> {
    match body {
        SetExpr::SetOperation {
            op,
            set_quantifier: SetQuantifier::None | SetQuantifier::Distinct,
            ..
        } => Some(*op),
        _ => None,
    }
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
