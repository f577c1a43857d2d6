//! What changed, for whom: one feed per sink decides from the arrangements' logs what the sink is
//! told next.
//!
//! Sans-I/O: positions in, work out.

mod feed;
mod lane;
mod work;

pub use feed::{Delivered, Feed, LaneInit, Progress, Rows};
pub use lane::{LaneState, PageFrom, Standing, WantedPage};
pub use work::{Step, StepLane, Work};

#[cfg(test)]
mod tests;
