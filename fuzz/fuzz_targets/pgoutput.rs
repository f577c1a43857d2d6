//! `cargo +nightly fuzz run pgoutput` from the repository's root: the decoder of the replication
//! stream, for as long as one likes. What it finds goes into fuzz/corpus/pgoutput.
#![no_main]

#[path = "../property.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::check(input));
