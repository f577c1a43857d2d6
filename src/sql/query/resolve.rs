//! An expression's names replaced by numbers of columns, its aggregates and subqueries by columns that
//! something else computes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

use sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned, Visit, VisitMut,
    Visitor, VisitorMut,
};

use super::Fault;
use super::aggregate::{is_aggregate, is_called};
use super::column::{ColumnId, Scalar, bare, case_when, name_of, name_of_row};
use super::condition::Condition;
use super::group::Group;
use super::member::as_in;
use super::planner::{Commons, Planner, Result};
use super::relation::{Factor, Relation};
use super::scope::{Scope, similar};
use crate::sql::expr::fold_case;
use crate::sql::plan::JoinKind;

/// Where expressions stand, and what their names mean there.
pub(super) struct Clause<'c> {
    pub(super) planner: &'c Planner<'c>,
    pub(super) scope: &'c Scope,
    /// The clause in which the query stands as a subquery.
    pub(super) outer: Option<&'c Clause<'c>>,
    pub(super) commons: &'c Commons,
    /// As in "aggregates are not allowed in WHERE".
    pub(super) name: &'static str,
    /// Where rows are groups.
    pub(super) group: Option<&'c Group<'c>>,
    /// What has to be joined to the clause's rows first.
    attached: RefCell<Vec<Attached>>,
}

/// A subquery whose result an expression needs.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) relation: Relation,
    /// Inner for what always has exactly one row.
    pub(super) kind: JoinKind,
    pub(super) conditions: Vec<Condition>,
    /// Computed after the join.
    pub(super) after: Vec<(ColumnId, Scalar)>,
    pub(super) place: Range<usize>,
}

impl Attached {
    /// Columns of the rows beside which it stands.
    pub(super) fn looked_at(&self) -> BTreeSet<ColumnId> {
        let own = self.relation.columns();
        let after = self.after.iter().flat_map(|(_, scalar)| &scalar.columns);
        let all = self.conditions.iter().flat_map(|c| &c.scalar.columns).chain(after);
        let computed = |id: &ColumnId| self.after.iter().any(|(computed, _)| computed == id);
        all.filter(|id| !own.contains(id) && !computed(id)).copied().collect()
    }

    pub(super) fn beside(self, planner: &Planner<'_>, relation: Relation) -> Result<Relation> {
        let Attached { relation: right, kind, conditions, after, place } = self;
        let (own, of_right) = (relation.columns(), right.columns());
        let near = |condition| planner.brought_near(condition, &own, &of_right);
        let conditions = conditions.into_iter().map(near).collect::<Result<_>>()?;
        let relation = match kind {
            JoinKind::Inner => {
                relation.inner(place.clone(), Factor { relation: right, place }, conditions)
            }
            kind => Relation::Join {
                left: Box::new(relation),
                right: Box::new(right),
                kind,
                conditions,
            },
        };
        Ok(relation.map_in_turn(after))
    }

    fn within(self, planner: &Planner<'_>, relation: Relation) -> Result<Relation> {
        let Relation::Inner { mut factors, conditions } = relation else {
            return self.beside(planner, relation);
        };
        let wanted = self.looked_at();
        let one = factors
            .iter()
            .position(|factor| !wanted.is_empty() && wanted.is_subset(&factor.relation.columns()));
        let Some(at) = one else {
            return self.beside(planner, Relation::Inner { factors, conditions });
        };
        let Factor { relation, place } = factors.remove(at);
        let relation = self.beside(planner, relation)?;
        factors.insert(at, Factor { relation, place });
        Ok(Relation::Inner { factors, conditions })
    }
}

impl<'c> Clause<'c> {
    pub(super) fn new(
        planner: &'c Planner<'c>,
        scope: &'c Scope,
        outer: Option<&'c Clause<'c>>,
        commons: &'c Commons,
        name: &'static str,
    ) -> Self {
        Self { planner, scope, outer, commons, name, group: None, attached: RefCell::default() }
    }

    #[must_use]
    pub(super) fn grouped(self, group: &'c Group<'c>) -> Self {
        Self { group: Some(group), ..self }
    }

    pub(super) fn attach(&self, attached: Attached) {
        self.attached.borrow_mut().push(attached);
    }

    /// The clause's rows with what its expressions so far need beside them.
    pub(super) fn attached_to(&self, mut relation: Relation) -> Result<Relation> {
        for attached in self.attached.take() {
            relation = attached.beside(self.planner, relation)?;
        }
        Ok(relation)
    }

    /// The same for conditions that may be about how the rows' parts are joined: it goes to the part
    /// that it is about.
    pub(super) fn attached_within(&self, mut relation: Relation) -> Result<Relation> {
        for attached in self.attached.take() {
            relation = attached.within(self.planner, relation)?;
        }
        Ok(relation)
    }

    /// What has to be joined to the sides of an outer join first.
    pub(super) fn attached(&self) -> Vec<Attached> {
        self.attached.take()
    }

    pub(super) fn scalar(&self, expr: &Expr) -> Result<Scalar> {
        let place = self.planner.text.place(expr);
        let resolved = self.resolved(expr)?;
        self.planner.scalar(resolved, place)
    }

    pub(super) fn resolved(&self, expr: &Expr) -> Result<Expr> {
        let mut resolved = expr.clone();
        match VisitMut::visit(&mut resolved, &mut Resolver { clause: self }) {
            ControlFlow::Continue(()) => Ok(resolved),
            ControlFlow::Break(fault) => Err(*fault),
        }
    }

    /// A column of this clause's rows or of a surrounding query's.
    pub(super) fn column(&self, path: &[Ident], place: &Range<usize>) -> Result<ColumnId> {
        if let Some(id) = self.find(path, place)? {
            return Ok(id);
        }
        let written: Vec<String> = path.iter().map(fold_case).collect();
        let written = written.join(".");
        if let [.., table, _] = path
            && self.relation(&fold_case(table)).is_none()
        {
            let table = fold_case(table);
            let what = format!("there is no `{table}` in FROM");
            let known: Vec<String> = self.tables();
            return Err(Fault::new(what)
                .hint(similar(&table, known.iter().map(String::as_str)))
                .at(place.clone()));
        }
        let known = self.scope.names();
        let hint = similar(&written, known.iter().map(String::as_str));
        Err(Fault::new(format!("there is no column `{written}`")).hint(hint).at(place.clone()))
    }

    fn find(&self, path: &[Ident], place: &Range<usize>) -> Result<Option<ColumnId>> {
        match (self.scope.column(path, place)?, self.group, self.outer) {
            (Some(id), None, _) => Ok(Some(id)),
            (Some(id), Some(group), _) => group.column(id, self.scope, place).map(Some),
            (None, _, Some(outer)) => outer.find(path, place),
            (None, _, None) => Ok(None),
        }
    }

    fn relation(&self, name: &str) -> Option<&super::scope::Named> {
        let outer = || self.outer.and_then(|outer| outer.relation(name));
        self.scope.relation(None, name).or_else(outer)
    }

    fn tables(&self) -> Vec<String> {
        self.scope.relations.iter().map(|named| named.name.clone()).collect()
    }

    /// The row of a relation, as in `to_jsonb(o)`.
    fn row(&self, name: &Ident, place: &Range<usize>) -> Result<Option<usize>> {
        let Some(named) = self.scope.relation(None, &fold_case(name)) else { return Ok(None) };
        let here = |id: ColumnId| match self.group {
            Some(group) => group.column(id, self.scope, place),
            None => Ok(id),
        };
        // A missing row is NULL, and not a row of NULLs: its primary key tells.
        let key = named.table.as_ref().and_then(|(_, key)| key.first().copied());
        let guard = match (named.nullable, key) {
            (false, _) => None,
            (true, Some(key)) => Some(here(key)?),
            (true, None) => {
                let what =
                    format!("the whole row of `{}`, which an outer join may leave out", named.name);
                return Err(Fault::new(format!("{what}, is not supported"))
                    .hint("name its columns: CASE WHEN t.id IS NOT NULL THEN jsonb_build_object(…) END")
                    .at(place.clone()));
            }
        };
        let mut columns = Vec::new();
        for (column, id) in &named.columns {
            columns.push((column.clone(), here(*id)?));
        }
        Ok(Some(self.planner.new_row(columns, guard)))
    }
}

struct Resolver<'r> {
    clause: &'r Clause<'r>,
}

impl VisitorMut for Resolver<'_> {
    type Break = Box<Fault>;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Box<Fault>> {
        match self.replaced(expr) {
            Ok(Some(other)) => *expr = other,
            Ok(None) => {}
            Err(fault) => return ControlFlow::Break(Box::new(fault)),
        }
        ControlFlow::Continue(())
    }
}

impl Resolver<'_> {
    /// What stands in an expression's place; `None` where it stays and its parts are looked at.
    fn replaced(&self, expr: &Expr) -> Result<Option<Expr>> {
        let clause = self.clause;
        let place = || clause.planner.text.place(expr);
        if let Some(group) = clause.group
            && let Some(id) = group.key_of(expr)?
        {
            return Ok(Some(name_of(id, expr.span())));
        }
        match expr {
            // What has been put in here before.
            Expr::Identifier(name) if name.value.starts_with('$') => Ok(None),
            Expr::Identifier(name) => self.name(expr, name).map(Some),
            Expr::CompoundIdentifier(path) => {
                let id = clause.column(path, &place())?;
                Ok(Some(name_of(id, expr.span())))
            }
            Expr::CompoundFieldAccess { access_chain, .. }
                if access_chain.iter().any(|a| matches!(a, ast::AccessExpr::Dot(_))) =>
            {
                Err(Fault::new("fields of composite values are not supported")
                    .hint("project the composite value as a whole")
                    .at(place()))
            }
            Expr::Subquery(query) => clause.scalar_subquery(query, place()).map(Some),
            Expr::Exists { subquery, negated } => {
                clause.exists_value(subquery, *negated, place()).map(Some)
            }
            Expr::InSubquery { expr, subquery, negated } => {
                clause.in_value(expr, subquery, *negated, place()).map(Some)
            }
            Expr::AnyOp { left, compare_op, right, .. }
            | Expr::AllOp { left, compare_op, right }
                if let Expr::Subquery(query) = bare(right) =>
            {
                if let Some(same) = as_in(expr) {
                    return self.replaced(&same);
                }
                let all = matches!(expr, Expr::AllOp { .. });
                let compared = clause.any_or_all(left, compare_op, query, all, place())?;
                compared.map(Some).ok_or_else(|| {
                    let what = format!("{compare_op} ANY and ALL over a subquery is not supported");
                    Fault::new(what).hint("write EXISTS (SELECT … WHERE …)").at(place())
                })
            }
            Expr::Function(function) => self.function(expr, function),
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
                Err(Fault::new("GROUPING SETS, CUBE and ROLLUP are not supported")
                    .hint("make a projection of each grouping")
                    .at(place()))
            }
            _ => Ok(None),
        }
    }

    fn name(&self, expr: &Expr, name: &Ident) -> Result<Expr> {
        let place = self.clause.planner.text.place(expr);
        let found = self.clause.find(std::slice::from_ref(name), &place)?;
        if let Some(id) = found {
            return Ok(name_of(id, name.span));
        }
        match self.clause.row(name, &place)? {
            // Those that take a row have looked for it before.
            Some(_) => Err(Fault::new(format!(
                "the whole row of `{}` as a value is not supported",
                name.value
            ))
            .hint(format!("write to_jsonb({name}), or name its columns"))
            .at(place)),
            None => {
                let id = self.clause.column(std::slice::from_ref(name), &place)?;
                Ok(name_of(id, name.span))
            }
        }
    }

    fn function(&self, expr: &Expr, function: &ast::Function) -> Result<Option<Expr>> {
        let place = self.clause.planner.text.place(expr);
        if function.over.is_some() {
            return Err(Fault::new("window functions are not supported")
                .hint(
                    "write an aggregate with GROUP BY, or LATERAL (SELECT … ORDER BY … LIMIT n) for \
                     the first of each group",
                )
                .at(place));
        }
        if let FunctionArguments::Subquery(query) = &function.args {
            return self.clause.array_subquery(query, place).map(Some);
        }
        if is_called(&function.name, "row")
            && let Some(parts) = plain_arguments(function)
        {
            return Ok(Some(Expr::Tuple(parts)));
        }
        if !is_aggregate(&function.name) {
            return self.of_row(function);
        }
        match self.clause.group {
            Some(group) => {
                let id = group.aggregate(function, place)?;
                Ok(Some(name_of(id, expr.span())))
            }
            None => {
                let what = format!("an aggregate is not allowed in {}", self.clause.name);
                let hint = match self.clause.name {
                    "WHERE" => "write conditions on aggregates in HAVING",
                    _ => "",
                };
                Err(Fault::new(what).hint(hint).at(place))
            }
        }
    }
}

impl Resolver<'_> {
    /// A call with a whole row, as `to_jsonb(o)`.
    fn of_row(&self, function: &ast::Function) -> Result<Option<Expr>> {
        let FunctionArguments::List(list) = &function.args else { return Ok(None) };
        let takes_row = TAKE_ROWS.iter().any(|name| is_called(&function.name, name));
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] = list.args.as_slice() else {
            return Ok(None);
        };
        match takes_row {
            true => self.clause.row_call(function, argument),
            false => Ok(None),
        }
    }
}

fn plain_arguments(function: &ast::Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

/// Functions of a whole row.
const TAKE_ROWS: [&str; 3] = ["to_jsonb", "to_json", "row_to_json"];

impl Clause<'_> {
    /// The call with the row of a relation in its argument's place, where it is the name of one.
    pub(super) fn row_call(
        &self,
        function: &ast::Function,
        argument: &Expr,
    ) -> Result<Option<Expr>> {
        let Expr::Identifier(name) = bare(argument) else { return Ok(None) };
        let place = self.planner.text.place(argument);
        if name.value.starts_with('$') || self.find(std::slice::from_ref(name), &place)?.is_some() {
            return Ok(None);
        }
        let Some(row) = self.row(name, &place)? else { return Ok(None) };
        let argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(name_of_row(row, name.span)));
        let list = ast::FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument],
            clauses: Vec::new(),
        };
        let call = ast::Function { args: FunctionArguments::List(list), ..function.clone() };
        let call = Expr::Function(call);
        Ok(Some(match self.planner.guard(row) {
            None => call,
            Some(guard) => case_when(Expr::IsNotNull(Box::new(name_of(guard, name.span))), call),
        }))
    }
}

/// Whether the expression has an aggregate of its own query, or a subquery.
pub(super) fn has_aggregate(expr: &Expr) -> bool {
    contains(expr).0
}

pub(super) fn has_subquery(expr: &Expr) -> bool {
    contains(expr).1
}

fn contains(expr: &Expr) -> (bool, bool) {
    #[derive(Default)]
    struct Search {
        depth: usize,
        aggregate: bool,
        subquery: bool,
    }
    impl Visitor for Search {
        type Break = ();
        fn pre_visit_query(&mut self, _query: &ast::Query) -> ControlFlow<()> {
            self.depth += 1;
            self.subquery = true;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _query: &ast::Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr {
                self.aggregate |=
                    self.depth == 0 && function.over.is_none() && is_aggregate(&function.name);
            }
            ControlFlow::Continue(())
        }
    }
    let mut search = Search::default();
    // The visitor never breaks off.
    let _ = expr.visit(&mut search);
    (search.aggregate, search.subquery)
}
