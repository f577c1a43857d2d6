//! The delta operators: each turns deltas of its input into deltas of its output.

mod output;
mod project;

pub use output::Conflict;
pub(super) use output::Output;
pub(super) use project::project;
