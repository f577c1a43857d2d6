//! A whole query: WITH, what is selected, ORDER BY and LIMIT.

use std::collections::BTreeSet;
use std::ops::Range;

use sqlparser::ast::{self, Distinct, Expr, LimitClause, OrderByExpr, OrderByKind, Query, SetExpr};

use super::Fault;
use super::column::bare;
use super::key;
use super::planner::{Common, Commons, Planner, Result};
use super::resolve::Clause;
use super::subquery::Sub;
use crate::sql::expr::fold_case;

/// Which of a query's clauses count where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Columns,
    /// Only whether there are rows: EXISTS.
    Rows,
}

/// ORDER BY and LIMIT.
#[derive(Clone, Default)]
pub(super) struct Tail {
    pub(super) order: Vec<OrderByExpr>,
    pub(super) limit: Option<u64>,
    pub(super) offset: u64,
}

impl Tail {
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some() || self.offset > 0
    }
}

impl Planner<'_> {
    /// The projection's own query.
    pub(super) fn top(&self, query: &Query) -> Result<Sub> {
        let tail = self.tail(query)?;
        if tail.is_limited() {
            let word = match (&query.limit_clause, &query.fetch) {
                (Some(LimitClause::LimitOffset { limit: None, .. }), _) => "OFFSET",
                (None, Some(_)) => "FETCH",
                _ => "LIMIT",
            };
            let at = self.text.words(word, self.end_of_body(query));
            return Err(Fault::new(
                "LIMIT at the top is not supported: the reader of the read model chooses",
            )
            .hint(
                "leave it out and let readers write LIMIT; for the first of each group write \
                     DISTINCT ON, or LATERAL (SELECT … ORDER BY … LIMIT n)",
            )
            .at(at));
        }
        let distinct_on = matches!(&*query.body, SetExpr::Select(select)
            if matches!(select.distinct, Some(Distinct::On(_))));
        let mut query = query.clone();
        if !tail.order.is_empty() && !distinct_on {
            self.note(
                "ORDER BY at the top has no effect: a read model has no order, its readers have",
            );
            query.order_by = None;
        }
        let sub = self.query(&query, None, &Commons::default())?;
        let mut names = BTreeSet::new();
        match sub.output.iter().find(|(name, _)| !names.insert(name)) {
            None if sub.output.is_empty() => Err(Fault::new("the result has no columns")
                .hint("name them in the SELECT list")
                .at(self.text.place(&query))),
            None => Ok(sub),
            Some((name, _)) => Err(Fault::new(format!("the result has two columns `{name}`"))
                .hint("give one of them another name by AS")
                .at(self.text.place(&query))),
        }
    }

    pub(super) fn query(
        &self,
        query: &Query,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
    ) -> Result<Sub> {
        self.whole(query, outer, commons, Wanted::Columns)
    }

    /// The query's rows; its SELECT list does not matter.
    pub(super) fn rows_alone(
        &self,
        query: &Query,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
    ) -> Result<Sub> {
        self.whole(query, outer, commons, Wanted::Rows)
    }

    fn whole(
        &self,
        query: &Query,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
        wanted: Wanted,
    ) -> Result<Sub> {
        let commons = self.with(query, commons)?;
        let tail = self.tail(query)?;
        match &*query.body {
            SetExpr::Select(select) => self.select(select, &tail, outer, &commons, wanted),
            SetExpr::Query(inner) if tail.order.is_empty() && !tail.is_limited() => {
                self.whole(inner, outer, &commons, wanted)
            }
            SetExpr::Values(values) if tail.order.is_empty() && !tail.is_limited() => {
                self.values(values, &commons)
            }
            body => self.union(body, &tail, outer, &commons),
        }
    }

    /// WITH: each query is planned once, however often it is used.
    fn with(&self, query: &Query, commons: &Commons) -> Result<Commons> {
        let mut commons = commons.clone();
        for common in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = fold_case(&common.alias.name);
            let sub = self.query(&common.query, None, &commons)?;
            let mut output = sub.output;
            for (column, alias) in output.iter_mut().zip(&common.alias.columns) {
                column.0 = fold_case(&alias.name);
            }
            let relation = sub.relation;
            let facts = key::facts(self, &relation);
            let mut known = self.common.borrow_mut();
            known.push(Common { relation, output, order: sub.order, facts, uses: 0 });
            commons = commons.with(name, known.len() - 1);
        }
        Ok(commons)
    }

    fn tail(&self, query: &Query) -> Result<Tail> {
        let order = match &query.order_by {
            None => Vec::new(),
            Some(by) => match &by.kind {
                OrderByKind::Expressions(by) => by.clone(),
                OrderByKind::All(_) => {
                    let at = self.text.words("ORDER BY ALL", self.end_of_body(query));
                    return Err(Fault::new("there is no ORDER BY ALL in PostgreSQL").at(at));
                }
            },
        };
        let mut tail = Tail { order, ..Tail::default() };
        let at = || self.text.words("LIMIT", self.end_of_body(query));
        match &query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                tail.limit = limit.as_ref().map(|limit| self.count(limit, at())).transpose()?;
                let offset = offset.as_ref().map(|offset| self.count(&offset.value, at()));
                tail.offset = offset.transpose()?.unwrap_or(0);
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(Fault::new("LIMIT a, b is not PostgreSQL's")
                    .hint("write LIMIT b OFFSET a")
                    .at(at()));
            }
        }
        if let Some(fetch) = &query.fetch {
            let one = Expr::value(ast::Value::Number("1".into(), false));
            let at = self.text.words("FETCH", self.end_of_body(query));
            if fetch.with_ties || fetch.percent {
                return Err(Fault::new("FETCH … WITH TIES is not supported")
                    .hint("write LIMIT n")
                    .at(at));
            }
            tail.limit = Some(self.count(fetch.quantity.as_ref().unwrap_or(&one), at)?);
        }
        Ok(tail)
    }

    fn end_of_body(&self, query: &Query) -> usize {
        self.text.place(&*query.body).end
    }

    fn count(&self, expr: &Expr, place: Range<usize>) -> Result<u64> {
        let number = match bare(expr) {
            Expr::Value(value) => match &value.value {
                ast::Value::Number(digits, _) => digits.parse().ok(),
                _ => None,
            },
            _ => None,
        };
        number.ok_or_else(|| {
            Fault::new("LIMIT and OFFSET take a whole number").hint("write the number").at(place)
        })
    }
}
