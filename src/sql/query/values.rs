//! VALUES, and the one row of a query without FROM.

use std::collections::BTreeSet;

use sqlparser::ast::{self, Expr};

use super::Fault;
use super::column::{ColumnId, Scalar, bare, cast, coalesce};
use super::planner::{Commons, Planner, Result};
use super::relation::Relation;
use super::resolve::Clause;
use super::scope::Scope;
use super::subquery::Sub;
use super::types;

impl Planner<'_> {
    /// Rows that are written out.
    pub(super) fn values(&self, values: &ast::Values, commons: &Commons) -> Result<Sub> {
        let rows: Vec<&[Expr]> = values.rows.iter().map(|row| row.content.as_slice()).collect();
        let width = rows.first().map_or(0, |row| row.len());
        let place = rows.first().and_then(|row| row.first()).map(|cell| self.text.place(cell));
        let place = place.unwrap_or(0..self.text.text.len());
        if rows.iter().any(|row| row.len() != width) || width == 0 {
            return Err(Fault::new("the rows of VALUES are not of one length").at(place));
        }
        let scope = Scope::default();
        let clause = Clause::new(self, &scope, None, commons, "VALUES");
        let (mut output, mut key) = (Vec::new(), None);
        let mut inputs: Vec<Vec<(ColumnId, Scalar)>> = vec![Vec::new(); rows.len()];
        for at in 0..width {
            let name = format!("column{}", at + 1);
            let cells: Vec<&Expr> = rows.iter().map(|row| &row[at]).collect();
            let resolved = cells.iter().map(|cell| clause.resolved(cell));
            let resolved: Vec<Expr> = resolved.collect::<Result<_>>()?;
            let ty = self.scalar(coalesce(resolved.clone()), place.clone())?.ty;
            let Some(data_type) = types::data_type(&ty.stored) else {
                return Err(Fault::new(format!("VALUES of {ty} are not supported")).at(place));
            };
            for ((input, ast), cell) in inputs.iter_mut().zip(resolved).zip(&cells) {
                let cell = self.scalar(cast(ast, data_type.clone()), self.text.place(*cell))?;
                let id = self.new_column(name.as_str(), cell.ty.clone());
                input.push((id, cell));
            }
            let not_null = inputs.iter().all(|cells| cells[at].1.ty.not_null);
            let id = self.new_column(name.as_str(), crate::sql::expr::Ty { not_null, ..ty });
            output.push((name, id));
            if key.is_none() && are_distinct(&cells) {
                key = Some(vec![id]);
            }
        }
        let inputs = inputs.into_iter().map(|cells| {
            let ids = cells.iter().map(|(id, _)| *id).collect();
            (Relation::one_row().map(cells), ids)
        });
        let columns = output.iter().map(|(_, id)| *id).collect();
        let relation = Relation::Union { inputs: inputs.collect(), columns, key };
        let (correlated, after_join, deferred, order) = Default::default();
        let (lifted, may_be_none) = (false, false);
        Ok(Sub { relation, output, correlated, lifted, may_be_none, after_join, deferred, order })
    }
}

/// All of them are written as values of one kind, and no two are equal.
fn are_distinct(cells: &[&Expr]) -> bool {
    let written: Option<BTreeSet<(bool, String)>> =
        cells.iter().map(|cell| written(cell)).collect();
    written.is_some_and(|written| {
        let kinds: BTreeSet<bool> = written.iter().map(|(is_text, _)| *is_text).collect();
        written.len() == cells.len() && kinds.len() == 1
    })
}

/// A text or a whole number, as it is compared.
fn written(cell: &Expr) -> Option<(bool, String)> {
    let Expr::Value(value) = bare(cell) else { return None };
    match &value.value {
        ast::Value::SingleQuotedString(text) => Some((true, text.clone())),
        ast::Value::Number(digits, _) => Some((false, digits.parse::<i64>().ok()?.to_string())),
        _ => None,
    }
}
