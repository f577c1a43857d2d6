//! The types of expressions, and which one two of them meet in.

use std::fmt;

use crate::value::Type;

/// Numbers in the order in which Postgres converts them by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
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

impl Kind {
    /// The type of a column's values; `None` for those that expressions do not know.
    pub(super) fn of(ty: &Type) -> Option<Self> {
        Some(match ty {
            Type::Int2 => Kind::Int2,
            Type::Int4 => Kind::Int4,
            Type::Int8 => Kind::Int8,
            Type::Numeric => Kind::Numeric,
            Type::Float4 => Kind::Float4,
            Type::Float8 => Kind::Float8,
            Type::Bool => Kind::Bool,
            Type::Text => Kind::Text,
            Type::Date => Kind::Date,
            Type::Time => Kind::Time,
            Type::TimeTz => Kind::TimeTz,
            Type::Timestamp => Kind::Timestamp,
            Type::TimestampTz => Kind::TimestampTz,
            Type::Interval => Kind::Interval,
            _ => return None,
        })
    }

    pub(super) fn stored(self) -> Type {
        match self {
            Kind::Int2 => Type::Int2,
            Kind::Int4 => Type::Int4,
            Kind::Int8 => Type::Int8,
            Kind::Numeric => Type::Numeric,
            Kind::Float4 => Type::Float4,
            Kind::Float8 => Type::Float8,
            Kind::Bool => Type::Bool,
            Kind::Text => Type::Text,
            Kind::Date => Type::Date,
            Kind::Time => Type::Time,
            Kind::TimeTz => Type::TimeTz,
            Kind::Timestamp => Type::Timestamp,
            Kind::TimestampTz => Type::TimestampTz,
            Kind::Interval => Type::Interval,
        }
    }

    pub(super) fn is_number(self) -> bool {
        self <= Kind::Float8
    }

    pub(super) fn is_int(self) -> bool {
        self <= Kind::Int8
    }

    pub(super) fn is_float(self) -> bool {
        matches!(self, Kind::Float4 | Kind::Float8)
    }

    pub(super) fn is_time(self) -> bool {
        self >= Kind::Date
    }

    /// Where an operator of two numbers computes.
    pub(super) fn operator(self, other: Self) -> Option<Self> {
        (self.is_number() && other.is_number()).then(|| {
            if self.is_float() || other.is_float() {
                // real is joined by nothing but itself: double precision is preferred.
                if self == other { self } else { Kind::Float8 }
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

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stored().fmt(f)
    }
}
