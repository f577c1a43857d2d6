//! Generated columns: the stream does not bring them. They are computed from the expression that the
//! catalog has, over the table's other columns.

use std::ops::{ControlFlow, Range};

use sqlparser::ast::{Expr, Value, VisitMut, VisitorMut};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Span, Tokenizer};

use super::column::{ColumnId, Scalar, name_of};
use super::planner::{Planner, Result};
use super::relation::Relation;
use super::{Fault, Generated, Table};
use crate::sql::expr::{Ty, fold_case};

impl Planner<'_> {
    /// The rows of a table. `ids` are all of its columns, the generated ones in their places.
    pub(super) fn rows_of(&self, table: usize, ids: &[ColumnId], place: &Range<usize>) -> Relation {
        let of = &self.schema.tables[table];
        let is_generated = |at: usize| of.generated.iter().find(|generated| generated.at == at);
        let (mut stored, mut generated) = (Vec::new(), Vec::new());
        for (at, id) in ids.iter().enumerate() {
            match is_generated(at) {
                Some(column) => generated.push((*id, column)),
                None => stored.push(*id),
            }
        }
        let computed = generated.into_iter().map(|(id, column)| {
            let scalar = self.generated(of, column, &stored, place).unwrap_or_else(|fault| {
                // It matters only where somebody wants the column.
                self.refuse(id, fault.at(place.clone()));
                Scalar {
                    ast: Expr::value(Value::Null),
                    columns: stored.iter().copied().collect(),
                    ..self.column_scalar(id, place)
                }
            });
            (id, scalar)
        });
        let computed = computed.collect();
        Relation::Table { table, columns: stored }.map(computed)
    }

    fn generated(
        &self,
        table: &Table,
        column: &Generated,
        stored: &[ColumnId],
        place: &Range<usize>,
    ) -> Result<Scalar> {
        let name = &column.column.name;
        let what = |why: &str| {
            format!(
                "the generated column `{name}` of {}.{} is not replicated, and {why}",
                table.schema, table.name
            )
        };
        const HINT: &str = "leave the column out of the query";
        let Some(expression) = &column.expression else {
            let why = "its partitions compute it in different ways";
            return Err(Fault::new(what(why)).hint(HINT));
        };
        // With the column's type, into which PostgreSQL brings the value without a word.
        let text = format!("CAST(({expression}) AS {})", column.column.sql_type);
        let scalar = without_places(&text).and_then(|mut ast| {
            let names: Vec<(&str, ColumnId)> =
                table.columns.iter().map(|c| c.name.as_str()).zip(stored.iter().copied()).collect();
            // The visitor never breaks off.
            let _ = VisitMut::visit(&mut ast, &mut Numbered { names: &names });
            self.scalar(ast, place.clone())
        });
        let refused = |fault: Fault| {
            let why =
                format!("its expression {expression} cannot be computed here: {}", fault.what);
            Fault::new(what(&why)).hint(HINT)
        };
        let scalar = scalar.map_err(refused)?;
        if scalar.ty.stored != column.column.ty {
            let fault = format!("it gives {}, not {}", scalar.ty, column.column.sql_type);
            return Err(refused(Fault::new(fault)));
        }
        Ok(Scalar { ty: column_ty(column), ..scalar })
    }
}

pub(super) fn column_ty(column: &Generated) -> Ty {
    Ty::of_column(&column.column, column.collation)
}

/// Without places: it does not stand in the query.
pub(super) fn without_places(text: &str) -> Result<Expr> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize();
    let tokens = tokens.map_err(|error| Fault::new(error.to_string()))?;
    let parsed = Parser::new(&dialect).with_tokens(tokens).parse_expr();
    parsed.map_err(|error| Fault::new(error.to_string()))
}

struct Numbered<'n> {
    names: &'n [(&'n str, ColumnId)],
}

impl VisitorMut for Numbered<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr {
            let known = self.names.iter().find(|(known, _)| *known == fold_case(name));
            if let Some((_, id)) = known {
                *expr = name_of(*id, Span::empty());
            }
        }
        ControlFlow::Continue(())
    }
}
