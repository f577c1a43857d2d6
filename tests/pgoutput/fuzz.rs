//! Seeded mutation of the corpus, on stable Rust, so that every run of the tests fuzzes a little.
//! READSIDE_FUZZ_SEED=N replays a run; READSIDE_FUZZ_ROUNDS=N makes it longer. For hours of it there
//! is cargo-fuzz: `cargo +nightly fuzz run pgoutput` from the fuzz folder's parent.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;

use fastrand::Rng;

use crate::corpus;
use crate::property::check;

const ROUNDS: u64 = 150_000;

/// Sizes grow by insertion and splicing, within this.
const INPUT_BYTES_MAX: usize = 32 << 10;

#[test]
fn mutations_of_the_corpus_are_answered() {
    let seed = from_env("READSIDE_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = from_env("READSIDE_FUZZ_ROUNDS").unwrap_or(ROUNDS);
    eprintln!("READSIDE_FUZZ_SEED={seed} READSIDE_FUZZ_ROUNDS={rounds}");
    let mut rng = Rng::with_seed(seed);
    let (streams, bodies): (Vec<_>, Vec<_>) =
        corpus::files().into_iter().partition(|(name, _)| name.starts_with("stream"));
    for (_, input) in streams.iter().chain(&bodies) {
        check(input);
    }
    for _ in 0..rounds {
        // A stream costs as much as hundreds of bodies.
        let family = if rng.u8(..) < 4 { &streams } else { &bodies };
        let mut input = pick(&mut rng, family).to_vec();
        for _ in 0..rng.u8(1..=4) {
            let other = pick(&mut rng, family);
            mutate(&mut rng, &mut input, other);
        }
        input.truncate(INPUT_BYTES_MAX);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&input))) {
            eprintln!("input: {}", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}

fn from_env<T: FromStr<Err: Debug>>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|value| value.parse().expect(name))
}

fn pick<'c>(rng: &mut Rng, corpus: &'c [(String, Vec<u8>)]) -> &'c [u8] {
    &corpus[rng.usize(..corpus.len())].1
}

fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let at = rng.usize(..=input.len());
    let rest = input.len() - at;
    match rng.u8(..9) {
        0 if rest > 0 => input[at] ^= 1 << rng.u8(..8),
        1 if rest > 0 => input[at] = rng.u8(..),
        2 if rest > 0 => {
            input[at] = *rng.choice(b"BCORYIUDTMSEcAbPKrpNOtubndwk\0\xff").expect("some")
        }
        3 if rest >= 2 => input[at..at + 2].copy_from_slice(&number(rng).to_be_bytes()[6..]),
        4 if rest >= 4 => input[at..at + 4].copy_from_slice(&number(rng).to_be_bytes()[4..]),
        5 if rest >= 8 => input[at..at + 8].copy_from_slice(&number(rng).to_be_bytes()),
        6 => {
            let count = rng.usize(..=rest.min(16));
            input.drain(at..at + count);
        }
        7 => {
            let from = rng.usize(..=other.len());
            let count = rng.usize(..=(other.len() - from).min(64));
            input.splice(at..at, other[from..from + count].iter().copied());
        }
        _ => input.truncate(at),
    }
}

/// Near an edge more often than not.
fn number(rng: &mut Rng) -> i64 {
    let edge = rng
        .choice([0, 1, 4, 25, 127, 128, 255, 1 << 15, 1 << 16, 1 << 30, 1 << 31, 1 << 32, i64::MAX])
        .expect("some");
    let sum = edge.wrapping_add(rng.i64(-2..=2));
    if rng.bool() { sum } else { sum.wrapping_neg() }
}
