//! The redis sink.
