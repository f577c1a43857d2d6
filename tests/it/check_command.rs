//! `readside check` and `run` over a file with faults of every stage: none of them hides another.

use std::process::Output;

use serde_json::Value;

use crate::harness::{Postgres, PostgresOptions, readside};

/// What each line of the file says, and the faults that are found in it.
const FILE: &[(&str, &[&str])] = &[
    ("[source]", &[]),
    ("url = 'SOURCE'", &[]),
    ("wal_budget = '20 apples'", &["3:14 `wal_budget` takes a size"]),
    ("on_slot_loss = 'weep'", &["4:16 `on_slot_loss` takes \"reload\" or \"stop\""]),
    ("[state]", &[]),
    ("dir = 5", &["6:7 `dir` takes a string"]),
    ("memory = 1.5", &["7:10 `memory` takes a size"]),
    ("[http]", &[]),
    ("listen = 'nonsense'", &["9:10 `listen` takes an address and a port"]),
    ("token_file = '/nonexistent/token'", &["10:14 the file of `token_file` cannot be read"]),
    // It cannot be reached, and has a faulty bound besides.
    ("[sink.search.elasticsearch]", &["11:1 sink search: the search server"]),
    ("url = 'http://127.0.0.1:1'", &[]),
    ("max_lag = 'soon'", &["13:11 `max_lag` takes a duration"]),
    // Nobody connects without the password that is meant.
    ("[sink.cache.redis]", &[]),
    ("url = 'redis://127.0.0.1:1'", &[]),
    ("password_file = '/nonexistent/password'", &["16:17 the file of `password_file`"]),
    ("[projection.orders]", &[]),
    ("table = 'ordesr'", &["18:9 table public.ordesr does not exist"]),
    ("on_eror = 'halt'", &["19:1 unknown key `on_eror`"]),
    ("to.cache = { hash = 'order:{id' }", &["20:28 `hash` is no template"]),
    ("[projection.items]", &[]),
    ("table = 'items'", &[]),
    ("on_error = 'weep'", &["23:12 `on_error` takes \"dead-letter\" or \"halt\""]),
    ("key = ['iid']", &["24:8 `key` names a column `iid`"]),
    (
        "to.cache = { hash = 'item:{naem}', ttl = '1ms' }",
        &["25:27 `hash` names a column `naem`", "25:42 `ttl` takes whole seconds"],
    ),
    ("[projection.totals]", &[]),
    ("query = 'SELECT nmae FROM items'", &["27:17 `query` of projection `totals`: there is no"]),
    ("to.nowhere = { table = 'totals' }", &["28:4 there is no sink `nowhere`"]),
    ("[event.Sold]", &[]),
    ("table = 'items'", &[]),
    ("when = 'new.sold AND'", &["31:9 `when` of event `Sold`"]),
    ("data = 'new.id, new.nmae'", &["32:17 `data` of event `Sold`: there is no column"]),
    ("to.cache = { stream = '${READSIDE_TEST_UNSET}' }", &["33:24 the environment variable"]),
];

#[tokio::test]
async fn every_fault_is_found_at_once() {
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let database = postgres.new_database().await;
    let client = postgres.client(&database).await;
    client.batch_execute("CREATE TABLE items (id int PRIMARY KEY, name text)").await.unwrap();
    let source = postgres.url(&database);
    let lines: Vec<String> = FILE.iter().map(|(line, _)| line.replace("SOURCE", &source)).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("readside.toml");
    std::fs::write(&path, lines.join("\n")).unwrap();
    for command in ["check", "run"] {
        let asked = path.clone();
        let done = tokio::task::spawn_blocking(move || readside(&[command], Some(&asked))).await;
        // Stores that are away are no fault of `run`.
        let is_told = |fault: &str| command == "check" || !fault.contains("sink search:");
        compare(&done.unwrap(), is_told);
    }
}

/// A collector of logs takes each line for an object.
#[tokio::test]
async fn faults_are_log_lines_where_these_are_json() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("readside.toml");
    let text = "[source]\nslott = 'readside'\n[http]\nlisten = '127.0.0.1:1'\n";
    std::fs::write(&path, text).unwrap();
    for command in ["check", "run", "status"] {
        let asked = path.clone();
        let run = move || readside(&["--log", "json", command], Some(&asked));
        let done = tokio::task::spawn_blocking(run).await.unwrap();
        let lines = String::from_utf8(done.stderr).unwrap();
        let messages: Vec<String> = lines
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                assert_eq!(line["level"], "ERROR", "{line}");
                line["message"].as_str().unwrap().to_owned()
            })
            .collect();
        let wanted = match command {
            "status" => "no daemon answers",
            _ => "unknown key `slott` in [source]\n --> ",
        };
        assert!(messages.iter().any(|message| message.contains(wanted)), "{messages:?}");
    }
}

fn compare(done: &Output, is_told: impl Fn(&str) -> bool) {
    let told = String::from_utf8_lossy(&done.stderr);
    // `what` of each fault behind its place.
    let faults: Vec<String> = told
        .split("error: ")
        .filter_map(|fault| {
            let (what, rest) = fault.split_once('\n')?;
            let place = rest.lines().next()?.rsplit_once(".toml:")?.1;
            Some(format!("{place} {what}"))
        })
        .collect();
    let expected = FILE.iter().flat_map(|(_, faults)| *faults);
    let expected: Vec<&&str> = expected.filter(|fault| is_told(fault)).collect();
    let missing: Vec<_> =
        expected.iter().filter(|of| !faults.iter().any(|fault| fault.starts_with(**of))).collect();
    assert!(missing.is_empty(), "missing {missing:#?} among {faults:#?}\n{told}");
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    assert_eq!(done.status.code(), Some(2));
    let count = String::from_utf8_lossy(&done.stdout);
    assert!(count.ends_with(&format!(": {} faults\n", expected.len())), "{count}");
}
