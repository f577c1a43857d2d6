//! SQL: from a projection's definition to a plan of delta operators, expressions over rows, and events
//! over changes.

pub mod event;
pub mod expr;
pub mod plan;
pub mod query;
pub mod shape;
