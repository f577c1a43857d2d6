//! Types: the catalog's and those of the database.

use std::sync::Arc;

use crate::value::Type;

use super::super::catalog::{
    ANYARRAY, ANYCOMPATIBLEARRAY, BPCHAR, CATALOG, NAME, Oid, RECORD, TEXT, VARCHAR,
};
use super::super::names::{Names, UserKind, UserType};
use super::super::ty::oid_of;

/// What is known of types where an expression stands.
#[derive(Clone, Copy)]
pub(in super::super) struct Known<'a> {
    pub(in super::super) names: &'a dyn Names,
}

impl Known<'_> {
    fn user(self, oid: Oid) -> Option<UserType> {
        if CATALOG.ty(oid).is_some() || CATALOG.element(oid).is_some() {
            return None;
        }
        self.names.user_type(oid)
    }

    /// The type below a domain, else the type itself; and the domain's typmod.
    pub(in super::super) fn base(self, oid: Oid) -> (Oid, i32) {
        let (mut oid, mut typmod) = (oid, -1);
        while let Some(UserType { kind: UserKind::Domain { base, typmod: below }, .. }) =
            self.user(oid)
        {
            oid = base;
            typmod = if typmod == -1 { below } else { typmod };
        }
        (oid, typmod)
    }

    /// typcategory, and whether the type is the preferred one in it.
    pub(super) fn category(self, oid: Oid) -> (u8, bool) {
        if let Some(ty) = CATALOG.ty(oid) {
            return (ty.category, ty.preferred);
        }
        match self.user(oid).map(|user| user.kind) {
            Some(UserKind::Enum { .. }) => (b'E', false),
            Some(UserKind::Composite { .. }) => (b'C', false),
            _ if self.element(oid).is_some() => (b'A', false),
            _ => (b'U', false),
        }
    }

    pub(in super::super) fn element(self, oid: Oid) -> Option<Oid> {
        CATALOG.element(oid).or_else(|| match self.user(oid)?.kind {
            UserKind::Array { element } => Some(element),
            _ => None,
        })
    }

    pub(super) fn array_of(self, element: Oid) -> Option<Oid> {
        let array = match CATALOG.ty(element) {
            Some(ty) => ty.array,
            None => self.user(element)?.array,
        };
        (array != 0).then_some(array)
    }

    pub(super) fn is_enum(self, oid: Oid) -> bool {
        self.category(oid).0 == b'E'
    }

    /// The labels of an enum.
    pub(super) fn labels(self, oid: Oid) -> Option<Vec<String>> {
        match self.user(oid)?.kind {
            UserKind::Enum { labels } => Some(labels),
            _ => None,
        }
    }

    /// How values of a type are encoded.
    pub(in super::super) fn stored(self, oid: Oid) -> Type {
        let oid = self.base(oid).0;
        let builtin = [
            Type::Bool,
            Type::Bytea,
            Type::Int8,
            Type::Int2,
            Type::Int4,
            Type::Oid,
            Type::Json,
            Type::Float4,
            Type::Float8,
            Type::Bpchar,
            Type::Date,
            Type::Time,
            Type::Timestamp,
            Type::TimestampTz,
            Type::Interval,
            Type::TimeTz,
            Type::Numeric,
            Type::Uuid,
            Type::PgLsn,
            Type::Jsonb,
        ];
        if let Some(ty) = builtin.into_iter().find(|ty| oid_of(ty) == Some(oid)) {
            return ty;
        }
        if let Some(element) = self.element(oid) {
            // Boxes alone are separated by something else, and known by their text.
            return Type::Array(Box::new(self.stored(element)), b',');
        }
        match self.user(oid) {
            Some(UserType { kind: UserKind::Composite { attributes }, .. }) => {
                let attributes: Arc<[(String, Type)]> =
                    attributes.into_iter().map(|(name, oid)| (name, self.stored(oid))).collect();
                Type::Composite(attributes)
            }
            Some(UserType { kind: UserKind::Other, name, .. }) if name == "hstore" => Type::Hstore,
            _ => Type::Text,
        }
    }

    pub(in super::super) fn display(self, oid: Oid) -> String {
        if let Some(ty) = CATALOG.ty(oid) {
            return ty.display.clone();
        }
        if let Some(element) = CATALOG.element(oid) {
            return format!("{}[]", self.display(element));
        }
        self.user(oid).map_or_else(|| format!("type {oid}"), |user| user.name)
    }

    /// A type whose texts a collation orders.
    pub(super) fn is_text(self, oid: Oid) -> bool {
        let oid = self.element(oid).unwrap_or(oid);
        matches!(oid, TEXT | VARCHAR | BPCHAR | NAME)
    }

    pub(super) fn is_array(self, oid: Oid) -> bool {
        matches!(oid, ANYARRAY | ANYCOMPATIBLEARRAY) || self.element(oid).is_some()
    }

    pub(super) fn is_row(self, oid: Oid) -> bool {
        oid == RECORD || self.category(oid).0 == b'C'
    }
}
