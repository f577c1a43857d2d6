//! The postgres sink.
