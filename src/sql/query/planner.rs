//! What all passes over one query share: its columns, its queries of WITH, and the types of expressions.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

use sqlparser::ast::{self, Ident, Visit, VisitMut, Visitor, VisitorMut};

use super::column::{ColumnId, ColumnInfo, Scalar, bare, id_of, row_of};
use super::key::Facts;
use super::parse::Text;
use super::relation::{Condition, Relation, Sort};
use super::sound::sound;
use super::{Fault, Schema, types};
use crate::sql::expr::{Database, Expr, Field, Names, Ty, UserType};

pub(super) type Result<T> = std::result::Result<T, Fault>;

pub(super) struct Planner<'a> {
    pub(super) text: &'a Text<'a>,
    pub(super) schema: &'a Schema,
    columns: RefCell<Vec<ColumnInfo>>,
    rows: RefCell<Vec<WholeRow>>,
    pub(super) common: RefCell<Vec<Common>>,
    /// Those that the query reads, in the order in which they stand there.
    pub(super) tables: RefCell<Vec<usize>>,
    /// Of FULL JOINs that pair rows by a key of each side alone: both columns. What they are merged to by `coalesce`
    /// tells the rows apart.
    pub(super) full_pairs: RefCell<Vec<(ColumnId, ColumnId)>>,
    /// The tables in all FROMs.
    pub(super) instances: RefCell<Vec<Instance>>,
    pub(super) notes: RefCell<Vec<String>>,
    /// A surrounding query's column, and one of the subquery's own that is equal to it in each row that
    /// its WHERE lets through.
    same: RefCell<Vec<(ColumnId, ColumnId)>>,
    /// Columns that cannot be computed, and why.
    refused: RefCell<Vec<(ColumnId, Fault)>>,
}

/// A relation's whole row.
#[derive(Clone, Debug)]
struct WholeRow {
    columns: Vec<(String, ColumnId)>,
    /// Where an outer join may leave the row out: a column that is NULL exactly then.
    guard: Option<ColumnId>,
}

/// A table in a FROM, with a primary key.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) table: usize,
    pub(super) columns: Vec<ColumnId>,
    pub(super) key: Vec<ColumnId>,
}

/// A query of WITH.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) relation: Relation,
    pub(super) output: Vec<(String, ColumnId)>,
    pub(super) order: Vec<Sort>,
    pub(super) facts: Facts,
    /// How often it is used.
    pub(super) uses: usize,
}

/// The queries of WITH that a place can see, the innermost last.
#[derive(Clone, Debug, Default)]
pub(super) struct Commons(Vec<(String, usize)>);

impl Commons {
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, number)| *number)
    }

    #[must_use]
    pub(super) fn with(&self, name: String, number: usize) -> Self {
        let mut more = self.clone();
        more.0.push((name, number));
        more
    }
}

impl<'a> Planner<'a> {
    pub(super) fn new(text: &'a Text<'a>, schema: &'a Schema) -> Self {
        Self {
            text,
            schema,
            columns: RefCell::default(),
            rows: RefCell::default(),
            common: RefCell::default(),
            tables: RefCell::default(),
            full_pairs: RefCell::default(),
            instances: RefCell::default(),
            notes: RefCell::default(),
            same: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    pub(super) fn new_column(&self, name: impl Into<String>, ty: Ty) -> ColumnId {
        let mut columns = self.columns.borrow_mut();
        columns.push(ColumnInfo { name: name.into(), ty, table: None });
        columns.len() - 1
    }

    /// Another column that is described in the same way.
    pub(super) fn new_like(&self, info: ColumnInfo) -> ColumnId {
        let mut columns = self.columns.borrow_mut();
        columns.push(info);
        columns.len() - 1
    }

    /// A column of a table under an alias.
    pub(super) fn table_column(&self, table: &str, name: &str, ty: Ty) -> ColumnId {
        let id = self.new_column(name, ty);
        self.columns.borrow_mut()[id].table = Some(table.to_owned());
        id
    }

    pub(super) fn info(&self, id: ColumnId) -> ColumnInfo {
        self.columns.borrow()[id].clone()
    }

    /// They stand on the side of an outer join that may be missing.
    pub(super) fn make_nullable(&self, ids: impl IntoIterator<Item = ColumnId>) {
        let mut columns = self.columns.borrow_mut();
        for id in ids {
            columns[id].ty.not_null = false;
        }
    }

    pub(super) fn refuse(&self, id: ColumnId, fault: Fault) {
        self.refused.borrow_mut().push((id, fault));
    }

    /// Why the column cannot be had.
    pub(super) fn refused(&self, id: ColumnId) -> Option<Fault> {
        let refused = self.refused.borrow();
        refused.iter().find(|(known, _)| *known == id).map(|(_, fault)| fault.clone())
    }

    /// A number for the row of these columns.
    pub(super) fn new_row(
        &self,
        columns: Vec<(String, ColumnId)>,
        guard: Option<ColumnId>,
    ) -> usize {
        let mut rows = self.rows.borrow_mut();
        rows.push(WholeRow { columns, guard });
        rows.len() - 1
    }

    /// The column that is NULL where the whole row is.
    pub(super) fn guard(&self, row: usize) -> Option<ColumnId> {
        self.rows.borrow().get(row)?.guard
    }

    /// The conditions of a subquery's WHERE say that columns around it are equal to its own.
    pub(super) fn learn<'c>(
        &self,
        own: &BTreeSet<ColumnId>,
        conditions: impl Iterator<Item = &'c Condition>,
    ) {
        for condition in conditions {
            let Some((left, right)) = &condition.equality else { continue };
            let (Some(a), Some(b)) = (left.as_column(), right.as_column()) else { continue };
            if !types::is_exact(&left.ty) || !types::is_exact(&right.ty) {
                continue;
            }
            match (own.contains(&a), own.contains(&b)) {
                (true, false) => self.same.borrow_mut().push((b, a)),
                (false, true) => self.same.borrow_mut().push((a, b)),
                _ => {}
            }
        }
    }

    /// The condition with own columns in the place of those that are equal to them, where it looks at
    /// neither `own` nor `right`.
    pub(super) fn brought_near(
        &self,
        condition: Condition,
        own: &BTreeSet<ColumnId>,
        right: &BTreeSet<ColumnId>,
    ) -> Result<Condition> {
        let far = |id: &ColumnId| !own.contains(id) && !right.contains(id);
        if !condition.scalar.columns.iter().any(far) {
            return Ok(condition);
        }
        let same = self.same.borrow().clone();
        let near = |id: ColumnId| {
            let known = same.iter().find(|(outer, inner)| *outer == id && own.contains(inner));
            known.filter(|_| far(&id)).map(|(_, inner)| *inner)
        };
        let scalar = self.replaced(condition.scalar, &near)?;
        let written = condition.written;
        Ok(Condition { written, ..super::condition::condition(self, scalar)? })
    }

    /// The scalar over other columns.
    pub(super) fn replaced(
        &self,
        scalar: Scalar,
        other: &dyn Fn(ColumnId) -> Option<ColumnId>,
    ) -> Result<Scalar> {
        struct Replace<'r>(&'r dyn Fn(ColumnId) -> Option<ColumnId>);
        impl VisitorMut for Replace<'_> {
            type Break = ();
            fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
                if let ast::Expr::Identifier(name) = expr
                    && let Some(id) = id_of(name).and_then(self.0)
                {
                    *expr = super::column::name_of(id, name.span);
                }
                ControlFlow::Continue(())
            }
        }
        let mut ast = scalar.ast;
        // The visitor never breaks off.
        let _ = VisitMut::visit(&mut ast, &mut Replace(other));
        self.scalar(ast, scalar.place)
    }

    /// See `sound`.
    pub(super) fn sound(&self, relation: &Relation) -> Result<()> {
        for common in self.common.borrow().iter() {
            sound(self, &common.relation)?;
        }
        sound(self, relation)
    }

    pub(super) fn note(&self, note: impl Into<String>) {
        let note = note.into();
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    pub(super) fn column_scalar(&self, id: ColumnId, place: &Range<usize>) -> Scalar {
        Scalar {
            ast: super::column::name_of(id, sqlparser::tokenizer::Span::empty()),
            columns: BTreeSet::from([id]),
            ty: self.info(id).ty,
            place: place.clone(),
            widened: false,
        }
    }

    /// An expression whose names are numbers, with its type.
    pub(super) fn scalar(&self, ast: ast::Expr, place: Range<usize>) -> Result<Scalar> {
        let compiled = self.compile(&ast, &place, &ById(self, &|id| id))?;
        let (columns, ty) = (self.columns_of(&ast), compiled.ty().clone());
        Ok(Scalar { ast, columns, ty, place, widened: false })
    }

    /// The expression over rows in which `position` tells where a column is.
    pub(super) fn positioned(
        &self,
        scalar: &Scalar,
        position: &dyn Fn(ColumnId) -> usize,
    ) -> Result<Expr> {
        self.compile(&scalar.ast, &scalar.place, &ById(self, position))
    }

    fn compile(&self, ast: &ast::Expr, place: &Range<usize>, names: &ById<'_>) -> Result<Expr> {
        // A column as it is may be of any type, also one that expressions do not know.
        if let ast::Expr::Identifier(name) = bare(ast)
            && id_of(name).is_some()
        {
            return names.column(std::slice::from_ref(name)).map(Expr::column);
        }
        Expr::compile(ast, &self.text.places, names).map_err(|fault| {
            // What has been put together here stands nowhere in the text.
            let nowhere = fault.span.is_empty() || fault.span == (0..self.text.text.len());
            let span = if nowhere { place.clone() } else { fault.span };
            Fault { what: self.readable(&fault.what), span, ..fault }
        })
    }

    fn columns_of(&self, ast: &ast::Expr) -> BTreeSet<ColumnId> {
        struct Columns<'p>(&'p Planner<'p>, BTreeSet<ColumnId>);
        impl Visitor for Columns<'_> {
            type Break = ();
            fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
                if let ast::Expr::Identifier(name) = expr {
                    self.1.extend(id_of(name));
                    if let Some(row) = row_of(name) {
                        let rows = self.0.rows.borrow();
                        self.1.extend(rows[row].columns.iter().map(|(_, id)| *id));
                    }
                }
                ControlFlow::Continue(())
            }
        }
        let mut columns = Columns(self, BTreeSet::new());
        // The visitor never breaks off.
        let _ = ast.visit(&mut columns);
        columns.1
    }

    /// With the columns' names in place of their numbers.
    pub(super) fn readable(&self, what: &str) -> String {
        let mut pieces = what.split('$');
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let digits = piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (id, rest) = piece.split_at(digits);
            match id.parse::<usize>().ok().and_then(|id| self.columns.borrow().get(id).cloned()) {
                Some(info) => text.push_str(&info.written()),
                None => {
                    text.push('$');
                    text.push_str(id);
                }
            }
            text.push_str(rest);
        }
        text
    }
}

/// Numbers as names.
struct ById<'p>(&'p Planner<'p>, &'p dyn Fn(ColumnId) -> usize);

impl Names for ById<'_> {
    fn column(&self, path: &[Ident]) -> std::result::Result<Field, Fault> {
        match path {
            [name] if let Some(id) = id_of(name) => {
                Ok(Field { position: (self.1)(id), ty: self.0.info(id).ty })
            }
            path => {
                let path: Vec<String> = path.iter().map(ToString::to_string).collect();
                Err(Fault::new(format!("{} is no column's name", path.join("."))))
            }
        }
    }

    fn whole_row(&self, table: &Ident) -> Option<Vec<(String, Field)>> {
        let rows = self.0.rows.borrow();
        let row = rows.get(row_of(table)?)?;
        let field = |id: ColumnId| Field { position: (self.1)(id), ty: self.0.info(id).ty };
        Some(row.columns.iter().map(|(name, id)| (name.clone(), field(*id))).collect())
    }

    fn user_type(&self, oid: u32) -> Option<UserType> {
        self.0.schema.types.get(&oid).cloned()
    }

    fn user_type_oid(&self, path: &[Ident]) -> Option<u32> {
        self.0.schema.type_oid(path)
    }

    fn database(&self) -> Database {
        self.0.schema.database
    }
}
