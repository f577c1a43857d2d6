//! The types of expressions, and which one two of them meet in.

use std::fmt;

use crate::value::Type;

/// Numbers in the order in which Postgres converts them by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ty {
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Bool,
    Text,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
}

impl Ty {
    /// The type of a column's values; `None` for those that expressions do not know.
    pub(super) fn of(ty: &Type) -> Option<Self> {
        Some(match ty {
            Type::Int2 => Ty::Int2,
            Type::Int4 => Ty::Int4,
            Type::Int8 => Ty::Int8,
            Type::Numeric => Ty::Numeric,
            Type::Float4 => Ty::Float4,
            Type::Float8 => Ty::Float8,
            Type::Bool => Ty::Bool,
            Type::Text => Ty::Text,
            Type::Date => Ty::Date,
            Type::Time => Ty::Time,
            Type::TimeTz => Ty::TimeTz,
            Type::Timestamp => Ty::Timestamp,
            Type::TimestampTz => Ty::TimestampTz,
            Type::Interval => Ty::Interval,
            _ => return None,
        })
    }

    pub(super) fn stored(self) -> Type {
        match self {
            Ty::Int2 => Type::Int2,
            Ty::Int4 => Type::Int4,
            Ty::Int8 => Type::Int8,
            Ty::Numeric => Type::Numeric,
            Ty::Float4 => Type::Float4,
            Ty::Float8 => Type::Float8,
            Ty::Bool => Type::Bool,
            Ty::Text => Type::Text,
            Ty::Date => Type::Date,
            Ty::Time => Type::Time,
            Ty::TimeTz => Type::TimeTz,
            Ty::Timestamp => Type::Timestamp,
            Ty::TimestampTz => Type::TimestampTz,
            Ty::Interval => Type::Interval,
        }
    }

    pub(super) fn is_number(self) -> bool {
        self <= Ty::Float8
    }

    pub(super) fn is_int(self) -> bool {
        self <= Ty::Int8
    }

    pub(super) fn is_float(self) -> bool {
        matches!(self, Ty::Float4 | Ty::Float8)
    }

    pub(super) fn is_time(self) -> bool {
        self >= Ty::Date
    }

    /// Where an operator of two numbers computes.
    pub(super) fn operator(self, other: Self) -> Option<Self> {
        (self.is_number() && other.is_number()).then(|| {
            if self.is_float() || other.is_float() {
                // real is joined by nothing but itself: double precision is preferred.
                if self == other { self } else { Ty::Float8 }
            } else {
                self.max(other)
            }
        })
    }

    /// What the branches of CASE, COALESCE and the like have in common.
    pub(super) fn common(self, other: Self) -> Option<Self> {
        if self.is_number() && other.is_number() {
            return Some(self.max(other));
        }
        (self == other).then_some(self)
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stored().fmt(f)
    }
}
