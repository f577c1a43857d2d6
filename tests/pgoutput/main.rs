//! The decoder of the replication stream: against an independent implementation, against mutations
//! of a real server's stream, and that stream itself, read out loud.

mod corpus;
mod fuzz;
mod oracle;

#[path = "../../fuzz/property.rs"]
mod property;
