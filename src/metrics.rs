//! The metrics' names are contract.
