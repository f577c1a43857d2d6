//! What changed, for whom: one feed per sink decides from the arrangements' logs what the sink is
//! told next.
//!
//! Sans-I/O: positions in, work out.

mod feed;
mod lane;

pub use feed::{Delivered, Feed, LaneInit, Progress, Step, StepLane, Work};
pub use lane::{LaneState, PageFrom, Standing, WantedPage};

#[cfg(test)]
mod tests;
