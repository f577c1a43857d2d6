//! The elasticsearch sink.
