//! What names mean where an expression stands: the surrounding query tells.

use sqlparser::ast::{self, Ident};

use crate::value::Column;

use super::ty::{Collation, Ty};
use super::{Fault, fold_case};

/// A column of the rows that an expression runs over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub position: usize,
    pub ty: Ty,
}

/// What names mean where an expression stands. A fault needs no span: the compiler knows where the
/// name is.
pub trait Names {
    /// A column by its written path: `a`, `t.a`, `s.t.a`.
    fn column(&self, path: &[Ident]) -> Result<Field, Fault>;

    /// What the query around has computed already, such as a GROUP BY expression, an aggregate, or a
    /// scalar subquery: a column of the row. It is asked first, for each expression.
    fn computed(&self, _expr: &ast::Expr) -> Option<Field> {
        None
    }

    /// The columns of a table's whole row, as in `to_jsonb(o)`, with their names.
    fn whole_row(&self, _table: &Ident) -> Option<Vec<(String, Field)>> {
        None
    }

    /// A type that is not built in, by pg_type's oid.
    fn user_type(&self, _oid: u32) -> Option<UserType> {
        None
    }

    /// The oid of such a type, by its written path: `mood`, `shop.mood`.
    fn user_type_oid(&self, _path: &[Ident]) -> Option<u32> {
        None
    }

    fn database(&self) -> Database {
        Database::default()
    }
}

/// A type that is not built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserType {
    /// As `format_type` prints it.
    pub name: String,
    pub kind: UserKind,
    /// The oid of the arrays of this type; 0 where there is none.
    pub array: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserKind {
    /// Labels in their order.
    Enum {
        labels: Vec<String>,
    },
    /// The oid and typmod below it.
    Domain {
        base: u32,
        typmod: i32,
    },
    /// The oid of the elements' type.
    Array {
        element: u32,
    },
    Composite {
        attributes: Vec<(String, u32)>,
    },
    /// Known by its text alone.
    Other,
}

/// What the database's own settings decide, and its server's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Its collation orders by bytes: C, POSIX, C.UTF-8.
    pub ordered_by_bytes: bool,
    pub ctype: Ctype,
    /// As `server_version_num`.
    pub version: u32,
}

impl Database {
    /// Since 18 (its release notes, "Allow jsonb null values to be cast to scalar types as NULL").
    pub fn casts_json_null(self) -> bool {
        self.version >= 180_000
    }
}

/// What upper and lower case are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ctype {
    /// C, POSIX: ASCII's letters alone.
    C,
    /// A locale of the C library in UTF-8.
    Libc,
    /// ICU, Turkish, and what is not known: letters beyond ASCII are refused.
    #[default]
    Unknown,
}

/// The columns of one row, under their names.
pub struct Scope<'a> {
    pub columns: &'a [Column],
    /// Whether equality of this column's texts is equality of their bytes: its collation is
    /// deterministic.
    pub byte_equality: &'a dyn Fn(usize) -> bool,
}

impl Names for Scope<'_> {
    fn column(&self, path: &[Ident]) -> Result<Field, Fault> {
        let [name] = path else {
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            return Err(Fault::new(format!("{} is no column's name", path.join(".")))
                .hint("write the column alone; the row is all there is"));
        };
        let folded = fold_case(name);
        let Some(position) = self.columns.iter().position(|column| column.name == folded) else {
            let fault = Fault::new(format!("there is no column `{folded}`"));
            return Err(Fault { unknown_column: Some(folded), ..fault });
        };
        let collation = Collation::Other { deterministic: (self.byte_equality)(position) };
        Ok(Field { position, ty: Ty::of_column(&self.columns[position], collation) })
    }
}
