//! Looking on: events as they happen, by the command and by HTTP.

use reqwest::StatusCode;
use serde_json::Value;

use crate::harness::process::Process;
use crate::harness::{Daemon, http, wait};
use crate::world::World;

fn occurrences(tail: &Process) -> Vec<Value> {
    let log = tail.log();
    let lines = log.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).expect("a whole line")).collect()
}

/// Ids, types and data of both tables, in their order.
async fn told(world: &World) -> Vec<(String, String, Value)> {
    let sql = "SELECT lsn::text || '/' || ordinal, type, jsonb_build_object('id', id, 'v', v)::text
                 FROM (SELECT * FROM made UNION ALL SELECT * FROM changed) t ORDER BY lsn, ordinal";
    let rows = world.reporting.query(sql, &[]).await.unwrap();
    let row = |row: &tokio_postgres::Row| {
        (row.get(0), row.get(1), serde_json::from_str(row.get(2)).expect("JSON"))
    };
    rows.iter().map(row).collect()
}

async fn until_shown(tail: &Process, expected: &[(String, String, Value)], event: Option<&str>) {
    wait::until("all events to be shown", async || {
        let shown: Vec<(String, String, Value)> = occurrences(tail)
            .iter()
            .filter(|it| event.is_none_or(|event| it["event"] == event))
            .map(|it| {
                let text = |name: &str| it[name].as_str().expect("a text").to_owned();
                (text("id"), text("type"), it["data"].clone())
            })
            .collect();
        if shown == expected { Ok(()) } else { Err(format!("{shown:?} {}", tail.log())) }
    })
    .await;
}

#[tokio::test]
async fn events_are_shown_as_they_happen() {
    let world = World::new("CREATE TABLE things (id int PRIMARY KEY, v text)").await;
    let (made, changed) = (world.name("made"), world.name("changed"));
    let config = world.config(&format!(
        "[event.{made}]\ntable = 'things'\nwhen = 'old IS NULL'\ntype = 'Made.{{v}}'\n\
         data = 'new.id, new.v'\nto.reporting = {{ table = 'made' }}\n\
         [event.{changed}]\ntable = 'things'\nwhen = 'old IS NOT NULL AND new IS NOT NULL'\n\
         data = 'new.id, new.v'\nto.reporting = {{ table = 'changed' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let since = world.lsn().await;
    let all = daemon.command_that_stays(&["events", "tail", "--json", "--since", &since]);
    let one = daemon.command_that_stays(&["events", "tail", &made, "--json", "--since", &since]);
    let people = daemon.command_that_stays(&["events", "tail", "--since", &since]);
    let in_tables = async |daemon: &mut Daemon| {
        let lsn = world.lsn().await;
        for event in [&made, &changed] {
            daemon.wait_for(event, "reporting", &lsn).await;
        }
        told(&world).await
    };
    world
        .execute(
            "BEGIN; INSERT INTO things VALUES (1, 'a'), (2, 'b'); UPDATE things SET v = 'c'; \
             INSERT INTO things VALUES (3, 'd'); DELETE FROM things WHERE id = 1; COMMIT",
        )
        .await;
    world.execute("INSERT INTO things SELECT i, 'x' FROM generate_series(10, 1500) AS i").await;
    let expected = in_tables(&mut daemon).await;
    assert_eq!(expected.len(), 5 + 1_491);
    until_shown(&all, &expected, None).await;
    let of_one: Vec<_> = expected.iter().filter(|it| it.1.starts_with("Made.")).cloned().collect();
    until_shown(&one, &of_one, None).await;
    wait::until("lines for people", async || {
        let log = people.log();
        let (id, kind, data) = &expected[0];
        let is_it = |line: &&str| {
            line.starts_with(&format!("{id}  {kind}  2"))
                && line.ends_with(r#"  {"v": "a", "id": 1}"#)
        };
        if log.lines().find(is_it).is_some() { Ok(()) } else { Err(format!("{data} {log}")) }
    })
    .await;

    // Another daemon in its place: what happens meanwhile is shown, and nothing twice.
    daemon.kill9();
    world.execute("UPDATE things SET v = 'y' WHERE id < 20").await;
    daemon.restart();
    daemon.wait_ready().await;
    world.execute("INSERT INTO things VALUES (5, 'e')").await;
    let expected = in_tables(&mut daemon).await;
    until_shown(&all, &expected, None).await;
    let of_one: Vec<_> = expected.iter().filter(|it| it.1.starts_with("Made.")).cloned().collect();
    until_shown(&one, &of_one, None).await;

    for (path, status, words) in [
        ("/v1/events?event=other", StatusCode::NOT_FOUND, "no event other"),
        ("/v1/events?since=x", StatusCode::BAD_REQUEST, "since: `x`"),
        ("/v1/events?sink=x", StatusCode::BAD_REQUEST, "no such parameter"),
    ] {
        let (found, text) = daemon.get(path).await;
        assert_eq!(found, status, "{path}: {text}");
        assert!(text.contains(words), "{path}: {text}");
    }
    let refused = daemon.command(&["events", "tail", "other"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no event other"), "{refused:?}");

    // What every sink has had before the restart is no longer kept: a reader of it is told so.
    let url = format!("{}/v1/events?since=0/1", daemon.url());
    let mut answer = http().get(url).send().await.unwrap();
    let first = answer.chunk().await.unwrap().expect("an event");
    let first = String::from_utf8(first.to_vec()).expect("text");
    assert!(first.starts_with("event: gap\ndata: {\"after\":\"0/1/0\""), "{first}");
    let fresh = http().get(format!("{}/v1/events", daemon.url()));
    let newest = &expected.last().expect("events").0;
    let mut answer = fresh.header("Last-Event-ID", newest).send().await.unwrap();
    let first = answer.chunk().await.unwrap().expect("an event");
    assert!(first.starts_with(b"event: position\n"), "{first:?}");
}
