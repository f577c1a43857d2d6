//! The delta operators: each turns deltas of its input into deltas of its output.

mod aggregate;
mod join;
mod matches;
mod not_in;
mod output;
mod top_n;

pub(super) use aggregate::Aggregate;
pub(super) use join::{Input, Join, JoinState, Mode, PairBuffer, Partners};
pub(super) use matches::{Shown, Standing};
pub(super) use not_in::NotIn;
pub use output::Notice;
pub(super) use output::Output;
pub(super) use top_n::TopN;
