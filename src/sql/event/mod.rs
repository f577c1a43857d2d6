//! Events: a condition and expressions over a changed row, its version before and its version after.
//!
//! They run over one row that is put together of both: for `old` and for `new` a column that is NULL when
//! there is no such version, then the version's columns, all NULL when there is none. Behind them stand the
//! values of look-ups, in their order: a scalar subquery by the key of another table, whose row the engine
//! finds. Over a message the row is `prefix` and `content`.
//!
//! * `names`: what names mean there; `lookup`: the subqueries; `rows`: `old` and `new` as a whole.

mod lookup;
mod names;
mod rows;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::ops::{ControlFlow, Range};

use sqlparser::ast::{Expr as Ast, Ident, Query, SelectItem, Visit, Visitor};

pub use lookup::Lookup;

use super::expr::{self, Expr, Fault, Field, Places, fold_case};
use super::query::{Schema, shown_name};
use crate::value::{Column, Type};
use lookup::Compiled;
use names::{Names, Side};

/// What an event is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Changes of this table of the schema.
    Table(usize),
    Message,
}

/// Which of an event's texts a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    When,
    Data,
}

/// The texts.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'t> {
    pub when: Option<&'t str>,
    pub data: &'t str,
}

/// An event, ready to run.
#[derive(Debug, Clone)]
pub struct Event {
    pub of: Of,
    /// The row that expressions run over, look-ups included.
    pub row: Vec<Column>,
    pub lookups: Vec<Lookup>,
    pub when: Option<Expr>,
    pub data: Vec<Expr>,
    /// Of the data, under the names that Postgres gives.
    pub columns: Vec<Column>,
    /// It looks at values of the version before, not only whether there was one.
    pub looks_at_old: bool,
}

/// `identities`: by table of the schema, the columns by which the engine finds its rows. The faults are of
/// both texts.
pub fn compile(
    of: Of,
    texts: Texts<'_>,
    schema: &Schema,
    identities: &[Vec<usize>],
) -> std::result::Result<Event, Vec<(Part, Fault)>> {
    let compiler = Compiler {
        names: Names::new(of, schema),
        identities,
        lookups: RefCell::default(),
        looks_at_old: Cell::new(false),
        in_condition: Cell::new(true),
    };
    let when = texts.when.map(|text| compiler.condition(text)).transpose();
    compiler.in_condition.set(false);
    let data = compiler.list(texts.data);
    let (when, data) = match (when, data) {
        (Ok(when), Ok(data)) => (when, data),
        (when, data) => {
            let when = when.err().map(|fault| (Part::When, fault));
            return Err(when.into_iter().chain(data.err().map(|f| (Part::Data, f))).collect());
        }
    };
    let (data, columns) = data.into_iter().unzip();
    let compiled = compiler.lookups.into_inner();
    let mut row = compiler.names.row;
    row.extend(compiled.iter().map(|compiled| compiled.column.clone()));
    let lookups = compiled.into_iter().map(|compiled| compiled.lookup).collect();
    let looks_at_old = compiler.looks_at_old.get();
    Ok(Event { of, row, lookups, when, data, columns, looks_at_old })
}

/// The tables that the look-ups of a text read, with their places in it. Texts that cannot be read have
/// none: that is told when they are compiled.
pub fn tables(part: Part, text: &str) -> Vec<(String, String, Range<usize>)> {
    match part {
        Part::When => expr::parse(text)
            .map(|parsed| lookup::tables(&[parsed.expr], parsed.places))
            .unwrap_or_default(),
        Part::Data => expr::parse_list(text)
            .map(|(items, places)| {
                let exprs = items.into_iter().filter_map(|item| match item {
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                        Some(expr)
                    }
                    _ => None,
                });
                lookup::tables(&exprs.collect::<Vec<_>>(), places)
            })
            .unwrap_or_default(),
    }
}

pub(super) type Result<T> = std::result::Result<T, Fault>;

struct Compiler<'a> {
    names: Names<'a>,
    identities: &'a [Vec<usize>],
    lookups: RefCell<Vec<Compiled>>,
    looks_at_old: Cell<bool>,
    in_condition: Cell<bool>,
}

impl Compiler<'_> {
    fn condition(&self, text: &str) -> Result<Expr> {
        let parsed = expr::parse(text)?;
        let condition = self.expr(parsed.expr, parsed.places, None)?;
        if condition.ty().stored == Type::Bool || condition.is_null() {
            return Ok(condition);
        }
        let what = format!("the condition is {}, not true or false", condition.ty());
        Err(Fault::new(what).at(0..text.len()))
    }

    fn list(&self, text: &str) -> Result<Vec<(Expr, Column)>> {
        let (items, places) = expr::parse_list(text)?;
        let mut found: Vec<(Expr, Column)> = Vec::new();
        for item in items {
            let place = places.of(&item);
            let (expr, name) = match item {
                SelectItem::UnnamedExpr(expr) => {
                    let name = shown_name(&expr).unwrap_or_else(|| "?column?".into());
                    (expr, name)
                }
                SelectItem::ExprWithAlias { expr, alias } => (expr, fold_case(&alias)),
                star => {
                    let fields = self.names.star(&star).map_err(|fault| fault.at(place.clone()))?;
                    for (side, name, field) in fields {
                        self.looks_at_old.set(self.looks_at_old.get() || side == Side::Old);
                        add(&mut found, name, Expr::column(field), &place)?;
                    }
                    continue;
                }
            };
            let expr = self.expr(expr, places, None)?;
            add(&mut found, name, expr, &place)?;
        }
        Ok(found)
    }

    /// An expression over the row; within a look-up over the row that it finds as well.
    fn expr(
        &self,
        mut ast: Ast,
        places: Places<'_>,
        inner: Option<&lookup::Inner>,
    ) -> Result<Expr> {
        rows::resolve(&mut ast);
        for query in subqueries(&ast) {
            if !self.lookups.borrow().iter().any(|known| known.query == query) {
                let compiled = lookup::compile(self, &query, places, inner)?;
                self.lookups.borrow_mut().push(compiled);
            }
        }
        let scope = Scope { compiler: self, inner };
        Expr::compile(&ast, &places, &scope)
    }
}

fn add(
    found: &mut Vec<(Expr, Column)>,
    name: String,
    expr: Expr,
    place: &Range<usize>,
) -> Result<()> {
    if found.iter().any(|(_, column)| column.name == name) {
        let what = format!("two columns of the data are called `{name}`");
        return Err(Fault::new(what).hint("name one of them by AS").at(place.clone()));
    }
    let column = column(&name, &expr);
    found.push((expr, column));
    Ok(())
}

/// Never known to be there: the other version, or the row looked up, may be missing.
fn column(name: &str, expr: &Expr) -> Column {
    let ty = expr.ty();
    Column {
        name: name.to_owned(),
        ty: ty.stored.clone(),
        sql_type: ty.name.clone(),
        type_oid: ty.oid,
        typmod: ty.typmod,
        not_null: false,
    }
}

/// The scalar subqueries of an expression, those within others left out.
fn subqueries(ast: &Ast) -> Vec<Query> {
    struct Search(usize, Vec<Query>);
    impl Visitor for Search {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Ast) -> ControlFlow<()> {
            if let Ast::Subquery(query) = expr {
                if self.0 == 0 {
                    self.1.push((**query).clone());
                }
                self.0 += 1;
            }
            ControlFlow::Continue(())
        }
        fn post_visit_expr(&mut self, expr: &Ast) -> ControlFlow<()> {
            if matches!(expr, Ast::Subquery(_)) {
                self.0 -= 1;
            }
            ControlFlow::Continue(())
        }
    }
    let mut search = Search(0, Vec::new());
    // The visitor never breaks off.
    let _ = ast.visit(&mut search);
    search.1
}

/// Names, the values of look-ups, and the row that a look-up has found.
struct Scope<'c, 'a> {
    compiler: &'c Compiler<'a>,
    inner: Option<&'c lookup::Inner>,
}

impl expr::Names for Scope<'_, '_> {
    fn column(&self, path: &[Ident]) -> Result<Field> {
        if let Some(field) = self.inner.and_then(|inner| inner.column(path)) {
            return Ok(field);
        }
        let (side, field) = self.compiler.names.column(path)?;
        if side == Side::Old {
            self.compiler.looks_at_old.set(true);
        }
        Ok(field)
    }

    fn computed(&self, expr: &Ast) -> Option<Field> {
        let Ast::Subquery(query) = expr else { return None };
        let lookups = self.compiler.lookups.borrow();
        let at = lookups.iter().position(|known| known.query == **query)?;
        let position = self.compiler.names.row.len() + at;
        Some(Field { position, ty: lookups[at].ty.clone() })
    }

    fn whole_row(&self, table: &Ident) -> Option<Vec<(String, Field)>> {
        let (side, fields) = self.compiler.names.whole_row(table)?;
        if side == Side::Old {
            self.compiler.looks_at_old.set(true);
        }
        Some(fields)
    }

    fn user_type(&self, oid: u32) -> Option<expr::UserType> {
        self.compiler.names.schema.types.get(&oid).cloned()
    }

    fn user_type_oid(&self, path: &[Ident]) -> Option<u32> {
        self.compiler.names.schema.type_oid(path)
    }

    fn database(&self) -> expr::Database {
        self.compiler.names.schema.database
    }
}
