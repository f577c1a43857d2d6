//! `(SELECT c.email FROM customers c WHERE c.customer_id = new.customer_id)`: a value of another table's
//! row, found by its key.

use std::ops::{ControlFlow, Range};

use sqlparser::ast::{
    BinaryOperator, Expr as Ast, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr,
    TableFactor, Visit, Visitor,
};

use super::{Compiler, Result, column};
use crate::sql::expr::{Expr, Fault, Field, Places, Ty, fold_case};
use crate::sql::query::{Table, bare, conjuncts, object_name};
use crate::value::{Column, Type};

/// How a value is looked up. Its expressions run over the event's row with the look-ups before it,
/// `condition` and `value` with the row behind it that was found.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Position in the schema.
    pub table: usize,
    /// Of each column of the table's identity.
    pub key: Vec<Expr>,
    /// All of them hold, or nothing is found.
    pub conditions: Vec<Expr>,
    pub value: Expr,
    /// The event's condition needs it.
    pub in_condition: bool,
}

pub(super) struct Compiled {
    pub(super) query: Query,
    pub(super) lookup: Lookup,
    pub(super) ty: Ty,
    pub(super) column: Column,
}

/// The row that a look-up has found, as names see it.
pub(super) struct Inner {
    alias: String,
    first: usize,
    columns: Vec<(String, Ty)>,
}

impl Inner {
    pub(super) fn column(&self, path: &[Ident]) -> Option<Field> {
        let name = match path {
            [name] => name,
            [alias, name] if fold_case(alias) == self.alias => name,
            _ => return None,
        };
        let name = fold_case(name);
        let at = self.columns.iter().position(|(known, _)| *known == name)?;
        Some(Field { position: self.first + at, ty: self.columns[at].1.clone() })
    }
}

/// The table of a subquery, and the name that it goes by.
struct Read {
    schema: String,
    name: String,
    alias: String,
    span: Range<usize>,
}

const SHAPE: &str = "write (SELECT VALUE FROM TABLE WHERE KEY = new.COLUMN)";

pub(super) fn compile(
    compiler: &Compiler<'_>,
    query: &Query,
    places: Places<'_>,
    around: Option<&Inner>,
) -> Result<Compiled> {
    let place = places.of(query);
    let refused = |what: &str| Fault::new(what).hint(SHAPE).at(place.clone());
    if around.is_some() {
        let what = "a look-up within another look-up's row is not supported";
        return Err(Fault::new(what)
            .hint("look up by columns of old and new, and by other look-ups' values")
            .at(place));
    }
    let select = plain(query).ok_or_else(|| {
        refused("a subquery in an event looks up one row by its key, and nothing else")
    })?;
    let read = table(select, places).ok_or_else(|| refused("a look-up reads one table"))?;
    let schema = compiler.names.schema;
    let known = |table: &Table| table.schema == read.schema && table.name == read.name;
    let Some(at) = schema.tables.iter().position(known) else {
        let what = format!("table {}.{} does not exist", read.schema, read.name);
        return Err(Fault::new(what).at(read.span));
    };
    let found = &schema.tables[at];
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
        select.projection.as_slice()
    else {
        return Err(refused("a look-up has one value"));
    };
    let identity = compiler.identities.get(at).map_or(&[][..], Vec::as_slice);
    // What is within the condition is looked up first, so that its place is known.
    let parts = select.selection.as_ref().map(conjuncts).unwrap_or_default();
    let mut key: Vec<Option<Expr>> = vec![None; identity.len()];
    let mut rest = Vec::new();
    for part in parts {
        match key_part(compiler, &read, found, &part, places)? {
            Some((column, expr)) if identity.contains(&column) => {
                let slot = identity.iter().position(|&of_key| of_key == column);
                let slot = slot.expect("it is of the identity");
                match &key[slot] {
                    None => key[slot] = Some(expr),
                    Some(_) => rest.push(part),
                }
            }
            _ => rest.push(part),
        }
    }
    let missing = identity.iter().zip(&key).filter(|(_, part)| part.is_none());
    let missing: Vec<&str> = missing.map(|(&at, _)| found.columns[at].name.as_str()).collect();
    if !missing.is_empty() || identity.is_empty() {
        let name = |&at: &usize| format!("{}.{} = …", read.alias, found.columns[at].name);
        let names: Vec<String> = identity.iter().map(name).collect();
        let what = format!(
            "a look-up in {} names its whole key by =: {}",
            read.name,
            match missing.is_empty() {
                true => "the table has none".into(),
                false => format!("{} is missing", missing.join(", ")),
            }
        );
        let hint = match names.is_empty() {
            true => String::new(),
            false => format!("write {}", names.join(" AND ")),
        };
        return Err(Fault::new(what).hint(hint).at(place));
    }
    let inner = Inner {
        alias: read.alias,
        first: compiler.names.row.len() + compiler.lookups.borrow().len(),
        columns: std::iter::zip(&found.columns, &found.collations)
            .map(|(column, collation)| (column.name.clone(), Ty::of_column(column, *collation)))
            .collect(),
    };
    let conditions = rest.into_iter().map(|part| compiler.expr(part, places, Some(&inner)));
    let conditions = conditions.collect::<Result<Vec<_>>>()?;
    let value = compiler.expr(value.clone(), places, Some(&inner))?;
    // Without a row there is no value.
    let ty = Ty { not_null: false, ..value.ty().clone() };
    let column = column("", &value);
    let key = key.into_iter().flatten().collect();
    let in_condition = compiler.in_condition.get();
    let lookup = Lookup { table: at, key, conditions, value, in_condition };
    Ok(Compiled { query: query.clone(), lookup, ty, column })
}

/// `column = expression`, the expression being over the event's row.
fn key_part(
    compiler: &Compiler<'_>,
    read: &Read,
    found: &Table,
    part: &Ast,
    places: Places<'_>,
) -> Result<Option<(usize, Expr)>> {
    let Ast::BinaryOp { left, op: BinaryOperator::Eq, right } = bare(part) else { return Ok(None) };
    let own = |side: &Ast| own_column(read, found, side);
    let (at, other) = match (own(left), own(right)) {
        (Some(at), None) => (at, right),
        (None, Some(at)) => (at, left),
        _ => return Ok(None),
    };
    if mentions(read, found, other) {
        return Ok(None);
    }
    let expr = compiler.expr((**other).clone(), places, None)?;
    let (column, place) = (&found.columns[at], places.of(part));
    if !is_whole(&column.ty) {
        let what = format!("{} is {}, whose equal values differ", column.name, column.sql_type);
        let hint = "look up by a key of integers, texts, uuids, dates or timestamps";
        return Err(Fault::new(what).hint(hint).at(place));
    }
    let integer = |ty: &Type| matches!(ty, Type::Int2 | Type::Int4 | Type::Int8);
    let (theirs, ours) = (&expr.ty().stored, &column.ty);
    if theirs != ours && !(integer(theirs) && integer(ours)) {
        let what =
            format!("{} is {}, and is compared with {}", column.name, column.sql_type, expr.ty());
        let hint = format!("cast the other side: ({other})::{}", column.sql_type);
        return Err(Fault::new(what).hint(hint).at(place));
    }
    Ok(Some((at, expr)))
}

/// Of these, equal values have equal bytes.
fn is_whole(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Bool
            | Type::Int2
            | Type::Int4
            | Type::Int8
            | Type::Oid
            | Type::Text
            | Type::Uuid
            | Type::Bytea
            | Type::Date
            | Type::Time
            | Type::Timestamp
            | Type::TimestampTz
            | Type::PgLsn
    )
}

fn own_column(read: &Read, found: &Table, expr: &Ast) -> Option<usize> {
    let name = match bare(expr) {
        Ast::Identifier(name) => name,
        Ast::CompoundIdentifier(path) => match path.as_slice() {
            [alias, name] if fold_case(alias) == read.alias => name,
            _ => return None,
        },
        _ => return None,
    };
    let name = fold_case(name);
    found.columns.iter().position(|column| column.name == name)
}

fn mentions(read: &Read, found: &Table, expr: &Ast) -> bool {
    struct Search<'s>(&'s Read, &'s Table);
    impl Visitor for Search<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Ast) -> ControlFlow<()> {
            match own_column(self.0, self.1, expr) {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Search(read, found)).is_break()
}

/// SELECT, FROM and WHERE alone.
fn plain(query: &Query) -> Option<&Select> {
    let SetExpr::Select(select) = &*query.body else { return None };
    let around = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty();
    let grouped =
        !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let within = select.distinct.is_none()
        && select.having.is_none()
        && select.named_window.is_empty()
        && select.into.is_none()
        && !grouped;
    (around && within).then_some(&**select)
}

fn table(select: &Select, places: Places<'_>) -> Option<Read> {
    let [from] = select.from.as_slice() else { return None };
    let TableFactor::Table { name, alias, args: None, sample: None, .. } = &from.relation else {
        return None;
    };
    if !from.joins.is_empty() {
        return None;
    }
    let (schema, table) = match object_name(name).as_slice() {
        [table] => ("public".to_owned(), table.clone()),
        [schema, table] => (schema.clone(), table.clone()),
        _ => return None,
    };
    let alias = alias.as_ref().map_or_else(|| table.clone(), |alias| fold_case(&alias.name));
    Some(Read { schema, name: table, alias, span: places.of(name) })
}

/// The tables that subqueries read.
pub(super) fn tables(exprs: &[Ast], places: Places<'_>) -> Vec<(String, String, Range<usize>)> {
    struct Search<'t>(Places<'t>, Vec<Read>);
    impl Visitor for Search<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.1.extend(plain(query).and_then(|select| table(select, self.0)));
            ControlFlow::Continue(())
        }
    }
    let mut search = Search(places, Vec::new());
    for expr in exprs {
        // The visitor never breaks off.
        let _ = expr.visit(&mut search);
    }
    search.1.into_iter().map(|read| (read.schema, read.name, read.span)).collect()
}
