//! The delta engine: arrangements, operators and the graph between them.

mod entry;

pub use entry::Entry;
