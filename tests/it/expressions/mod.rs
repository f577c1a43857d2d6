//! Random expressions over random and extreme rows: a value, its type and an error are what Postgres
//! itself has. What one of the two refuses, the other refuses.

mod cases;
mod catalog;
mod generator;
mod pools;
mod table;

use std::time::{Duration, Instant};

use readside::sql::expr::{Computed, Expr, Fault, Kind, computed};

use crate::harness::{Postgres, PostgresOptions};

use generator::Generator;
use table::Table;

/// Of the random ones; `READSIDE_SEED` has another, or a `fresh` one.
const SEED: u64 = 30;
/// How long the random ones run; `READSIDE_EXPRESSION_SECONDS` has it otherwise.
const SECONDS: u64 = 40;

/// What we refuse and Postgres does not, by the beginning of our words.
const REFUSED: &[&str] = &[
    // Deliberately, each told in docs/sql.md.
    "texts are not ordered here",
    "mood is not ordered here",
    "now reads the clock",
    "regular expression: ",
    "regexp_",
    "random gives another value",
    "the aggregate ",
    "window functions are not supported",
    "a subquery may not stand here",
    "pg_typeof(\"any\") is not supported",
    // The server finds out when it runs.
    "there is no operator json < json",
    "there is no operator json > json",
    "to_char(double precision, text) is not supported",
    "power of numeric is not supported",
];

/// Where a row fails with us alone, by the beginning of our words.
const FAILING: &[&str] = &[
    "the age of infinity",
    "to_date() and to_timestamp() with",
    "to_char() ",
    "timestamps too far apart",
    "date_bin: timestamp out of range",
    "which characters make words differs",
    "the case of a letter differs",
    "make_interval: interval out of range",
    "infinite intervals are not computed with here",
    "format() with",
    "json of a row type is not supported",
    "regular expression: ",
    "rows are not read from text here",
];

#[tokio::test]
async fn named_cases() {
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let client = postgres.client("postgres").await;
    let table = Table::fill(client, &mut fastrand::Rng::with_seed(1)).await;
    let mut faults = Vec::new();
    for case in cases::CASES {
        faults.extend(check(&table, case).await.err());
        if let (Ok(expr), Some(expected)) = (Expr::parse(case, &table), table.typmod_of(case).await)
            && expr.ty().typmod != expected
        {
            faults.push(format!("{case}\n   has typmod {}, not {expected}", expr.ty().typmod));
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        cases::CASES.len(),
        faults.join("\n")
    );
}

#[tokio::test]
async fn each_signature_with_random_arguments() {
    let seed = match std::env::var("READSIDE_SEED") {
        Ok(seed) if seed == "fresh" => fastrand::u64(..),
        Ok(seed) => seed.parse().expect("READSIDE_SEED is a number, or `fresh`"),
        Err(_) => SEED,
    };
    let seconds = match std::env::var("READSIDE_EXPRESSION_SECONDS") {
        Ok(seconds) => seconds.parse().expect("READSIDE_EXPRESSION_SECONDS is a number"),
        Err(_) => SECONDS,
    };
    eprintln!("READSIDE_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let client = postgres.client("postgres").await;
    let table = Table::fill(client, &mut rng).await;
    let all: Vec<Computed> = computed();
    let only = std::env::var("READSIDE_EXPRESSION_ONLY").ok();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut generator = Generator::new(rng, &all);
    let (mut faults, mut values, mut errors, mut expressions) = (Vec::new(), 0, 0, 0);
    while Instant::now() < end && faults.len() < 40 {
        // One of twenty is what no function stands for.
        if only.is_none() && generator.below(20) == 0 {
            let condition = generator.condition(2);
            match check(&table, &condition).await {
                Ok(_) => expressions += 1,
                Err(fault) => faults.push(fault),
            }
            continue;
        }
        let signature = &all[generator.below(all.len())];
        if only.as_ref().is_some_and(|only| !format!("{signature:?}").contains(only)) {
            continue;
        }
        let known = format!("{}\n   ", signature.name);
        if faults.iter().filter(|fault: &&String| fault.starts_with(&known)).count() > 3 {
            continue;
        }
        let expression = generator.call(signature);
        match check(&table, &expression).await {
            Ok((found, failed)) => {
                values += found;
                errors += failed;
                expressions += 1;
            }
            Err(fault) => faults.push(format!("{known}{fault}")),
        }
    }
    eprintln!("{expressions} expressions, {values} values, {errors} errors");
    assert!(faults.is_empty(), "{}:\n{}", faults.len(), faults.join("\n"));
    assert!(only.is_some() || values > errors);
}

/// How many rows have a value and how many an error; or how the two differ.
async fn check(table: &Table, expression: &str) -> Result<(usize, usize), String> {
    let compiled = Expr::parse(expression, table);
    let prepared = table.type_of(expression).await;
    let expr = match (compiled, &prepared) {
        (Ok(expr), Ok(oid)) => {
            if expr.ty().oid != *oid {
                return Err(format!(
                    "{expression}\n   is {}, but Postgres has type {oid}",
                    expr.ty()
                ));
            }
            expr
        }
        (Err(_), Err(_)) => return Ok((0, 0)),
        (Err(fault), Ok(_)) => return refused(table, expression, &fault).await,
        (Ok(_), Err(error)) => {
            return Err(format!("{expression}\n   is refused by Postgres alone: {error}"));
        }
    };
    let (mut values, mut errors) = (0, 0);
    for (id, expected) in table.answers(expression).await.into_iter().enumerate() {
        let got = table.text_of(&expr, id);
        match (got, expected) {
            (Ok(got), Ok(expected)) if got == expected => values += 1,
            (Err(_), Err(_)) => errors += 1,
            (Err(error), Ok(_)) if FAILING.iter().any(|known| error.starts_with(known)) => {}
            (got, expected) => {
                let row = table.row(id).await;
                return Err(format!(
                    "{expression}\n   in row {id} is {got:?}\n   but in Postgres {expected:?}\n   {row}"
                ));
            }
        }
    }
    Ok((values, errors))
}

async fn refused(table: &Table, expression: &str, fault: &Fault) -> Result<(usize, usize), String> {
    let known = REFUSED.iter().chain(FAILING).any(|known| fault.what.starts_with(known));
    // A constant that fails does so before any row.
    if known || table.answers(expression).await.iter().all(Result::is_err) {
        return Ok((0, 0));
    }
    Err(format!("{expression}\n   is refused: {} ({:?})", fault.what, fault.hint))
}

#[test]
fn the_page_lists_what_is_computed() {
    let page = include_str!("../../../docs/sql.md");
    let mut missing = Vec::new();
    for of in computed() {
        let line = match of.kind {
            Kind::Operator if of.arguments.len() == 1 => {
                format!("`{} {}`", of.name, of.arguments[0])
            }
            Kind::Operator => format!("`{} {} {}`", of.arguments[0], of.name, of.arguments[1]),
            Kind::Function => format!("`{}({})`", of.name, of.arguments.join(", ")),
            Kind::Cast => format!("`{}::{}`", of.arguments[0], of.name),
        };
        if !page.contains(&line) {
            missing.push(line);
        }
    }
    assert!(missing.is_empty(), "docs/sql.md lacks:\n{}", missing.join("\n"));
}

/// Each character that there is.
#[tokio::test]
async fn the_case_of_all_letters() {
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let client = postgres.client("postgres").await;
    let table = Table::fill(client, &mut fastrand::Rng::with_seed(1)).await;
    let faults = table.letters_that_differ().await;
    assert!(faults.is_empty(), "{}:\n{}", faults.len(), faults.join("\n"));
}
