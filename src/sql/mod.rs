//! SQL: from a projection's definition to a plan of delta operators, and expressions over rows.

pub mod expr;
pub mod plan;
pub mod query;
