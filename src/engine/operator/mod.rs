//! The delta operators: each turns deltas of its input into deltas of its output.

mod aggregate;
mod join;
mod matches;
mod not_in;
mod output;
mod pairs;
mod sides;
mod top_n;

pub(super) use aggregate::Aggregate;
pub(super) use join::Join;
pub(super) use not_in::NotIn;
pub use output::Notice;
pub(super) use output::Output;
pub(super) use sides::Arriving;
pub(super) use top_n::TopN;
