//! Queries written by hand to break the planner, each answered as by the source while rows come and go,
//! or refused in so many words. `corpus.sql` holds them, one in a paragraph:
//!
//! ```text
//! -- key: COLUMN, …       where the query shows none
//! -- refused: WORDS       part of what the refusal says
//! SELECT …
//! ```
//!
//! READSIDE_CORPUS names another file in its place.

use fastrand::Rng;
use readside::sql::query;

use super::answers::{self, Twin};
use super::generate::{self, Generated};
use crate::harness::postgres::{Postgres, PostgresOptions};

struct Entry {
    query: Generated,
    refused: Option<String>,
}

fn entries(text: &str) -> Vec<Entry> {
    let entry = |paragraph: &str| {
        let (mut sql, mut key, mut refused) = (String::new(), None, None);
        for line in paragraph.lines() {
            if let Some(names) = line.strip_prefix("-- key:") {
                key = Some(names.split(',').map(|name| name.trim().to_owned()).collect());
            } else if let Some(words) = line.strip_prefix("-- refused:") {
                refused = Some(words.trim().to_owned());
            } else if !line.starts_with("--") {
                sql.push_str(line);
                sql.push('\n');
            }
        }
        Entry { query: Generated { sql: sql.trim().to_owned(), key }, refused }
    };
    let all = text.split("\n\n").map(entry);
    all.filter(|entry| !entry.query.sql.is_empty()).collect()
}

#[tokio::test]
async fn hostile_queries_are_answered_as_by_the_source() {
    let text = match std::env::var("READSIDE_CORPUS") {
        Ok(file) => std::fs::read_to_string(file).unwrap(),
        Err(_) => include_str!("corpus.sql").to_owned(),
    };
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let database = postgres.new_database().await;
    let client = postgres.client(&database).await;
    client.batch_execute(generate::SCHEMA).await.unwrap();
    let schema = answers::schema(&client).await;
    let (mut found, mut taken) = (Vec::new(), Vec::new());
    for Entry { query, refused } in entries(&text) {
        let sql = &query.sql;
        match (query::plan(sql, &schema), refused) {
            (Err(fault), Some(words)) if fault.what.contains(&words) => {}
            (Err(fault), _) => {
                let at = sql.get(fault.span).unwrap_or_default();
                found.push(format!("{sql}\n  refused: {} [{at}]", fault.what));
            }
            (Ok(_), Some(_)) => found.push(format!("{sql}\n  is taken")),
            (Ok(planned), None) if planned.key.is_none() && query.key.is_none() => {
                found.push(format!("{sql}\n  shows no key: {:?}", planned.missing));
            }
            (Ok(planned), None) => {
                match client.prepare(sql).await {
                    Ok(prepared) => {
                        let theirs = prepared.columns().iter().map(|c| (c.name(), c.type_().oid()));
                        let ours = planned.columns.iter().map(|c| (c.name.as_str(), c.type_oid));
                        if !theirs.clone().eq(ours.clone()) {
                            let (theirs, ours): (Vec<_>, Vec<_>) =
                                (theirs.collect(), ours.collect());
                            found.push(format!("{sql}\n  is {ours:?}, and there {theirs:?}"));
                        }
                    }
                    Err(error) => found.push(format!("{sql}\n  there: {error:?}")),
                }
                taken.push(query);
            }
        }
    }
    let mut rng = Rng::with_seed(7);
    for queries in taken.chunks(60) {
        let mut twin = Twin::start(&postgres, generate::INT, queries).await;
        for _ in 0..answers::rounds(12) {
            let sql: String = (0..rng.usize(1..10)).map(|_| answers::change(&mut rng)).collect();
            twin.change(&mut rng, &sql).await;
            twin.compare(&mut found).await;
        }
    }
    // Each is told once.
    let mut told = std::collections::HashSet::new();
    found.retain(|text| told.insert(text.split("\n  ").next().unwrap_or_default().to_owned()));
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
}
