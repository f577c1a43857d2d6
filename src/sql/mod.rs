//! SQL: from a projection's definition to a plan of delta operators.

pub mod plan;
