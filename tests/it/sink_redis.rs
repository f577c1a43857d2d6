//! The Redis sink against a real server: every structure, moves, fences, poison, fills, crashes.

mod backlog;
mod lead;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ::redis::AsyncCommands;
use readside::config::template::{Part, Template};
use readside::config::{Place, RedisStructure, RedisTarget, Secret, SinkConfig, SinkKind, Target};
use readside::engine::Entry;
use readside::lsn::Lsn;
use readside::sink::redis::{RedisSink, check};
use readside::sink::{
    Outcome, Role, Sink, SinkError, SinkProjection, Step, StepProjection, Watermark,
};
use readside::value::{self, Column, Type};

use crate::harness::{Certificates, Redis, RedisOptions, install_crypto, wait};

type Connection = ::redis::aio::MultiplexedConnection;
type Row<'a> = &'a [Option<&'a str>];

const OWNER: &str = "7345678901234567890/readside";

// ---- what is delivered ----

fn template(text: &str) -> Template {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let (column, after) = after.split_once('}').unwrap();
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        parts.push(Part::Column(column.into()));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.into()));
    }
    Template { parts }
}

fn target(structure: RedisStructure) -> RedisTarget {
    RedisTarget { structure, ttl: None, columns: None, place: Place::default() }
}

fn hash(key: &str) -> RedisTarget {
    target(RedisStructure::Hash { key: template(key) })
}

fn json(key: &str) -> RedisTarget {
    target(RedisStructure::Json { key: template(key) })
}

fn sorted_set(key: &str, member: &str, score: &str) -> RedisTarget {
    target(RedisStructure::SortedSet {
        key: template(key),
        member: template(member),
        score: score.into(),
    })
}

fn set(key: &str, member: &str) -> RedisTarget {
    target(RedisStructure::Set { key: template(key), member: template(member) })
}

fn projection(name: &str, columns: &[(&str, Type)], targets: Vec<RedisTarget>) -> SinkProjection {
    let column = |(name, ty): &(&str, Type)| Column {
        name: (*name).into(),
        ty: ty.clone(),
        sql_type: ty.to_string(),
        type_oid: 0,
        typmod: -1,
        not_null: false,
    };
    SinkProjection {
        shapes: Vec::new(),
        role: Role::Rows,
        name: name.into(),
        columns: columns.iter().map(column).collect(),
        key: vec![0],
        targets: targets.into_iter().map(Target::Redis).collect(),
        fingerprint: format!("{name}-1"),
    }
}

/// Orders with a hash and a sorted set that follows the customer.
fn orders(targets: Vec<RedisTarget>) -> SinkProjection {
    let columns = [
        ("order_id", Type::Int4),
        ("customer_id", Type::Int4),
        ("status", Type::Text),
        ("total", Type::Numeric),
    ];
    projection("orders", &columns, targets)
}

fn anchored() -> SinkProjection {
    orders(vec![
        hash("order:{order_id}"),
        sorted_set("customer:{customer_id}:orders", "{order_id}", "total"),
    ])
}

fn recorded() -> SinkProjection {
    orders(vec![
        json("order:{order_id}"),
        sorted_set("customer:{customer_id}:orders", "{order_id}", "total"),
    ])
}

fn datums(projection: &SinkProjection, row: Row<'_>, only: Option<&[usize]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let all: Vec<usize> = (0..row.len()).collect();
    for &at in only.unwrap_or(&all) {
        match row[at] {
            None => value::encode_null(&mut bytes),
            Some(text) => {
                value::encode(&projection.columns[at].ty, text.as_bytes(), &mut bytes).unwrap();
            }
        }
    }
    bytes
}

fn row(projection: &SinkProjection, lsn: u64, row: Row<'_>) -> Entry {
    let key = datums(projection, row, Some(&projection.key));
    Entry::row(Lsn(lsn), &key, &datums(projection, row, None))
}

fn gone(projection: &SinkProjection, lsn: u64, row: Row<'_>) -> Entry {
    Entry::tombstone(Lsn(lsn), &datums(projection, row, Some(&projection.key)))
}

fn step(position: u64, entries: Vec<Entry>) -> Step {
    steps(position, vec![entries])
}

/// A settled step of several projections.
fn steps(position: u64, parts: Vec<Vec<Entry>>) -> Step {
    let part = |(projection, entries)| StepProjection {
        times: Vec::new(),
        projection,
        entries,
        generation: 1,
        finish_fill: false,
    };
    Step {
        projections: parts.into_iter().enumerate().map(part).collect(),
        position: Lsn(position),
        reaching: Lsn(position),
        committed_at: 5_097_600_500_000,
        settled: true,
    }
}

// ---- where it is delivered to ----

fn config(redis: &Redis) -> SinkConfig {
    install_crypto();
    SinkConfig {
        name: "cache".into(),
        kind: SinkKind::Redis,
        url: Secret::new(redis.url()),
        ca_file: None,
        username: None,
        password: None,
        api_key: None,
        step_rows: 3,
        max_lag: Duration::from_secs(30),
        required: true,
        place: Place::default(),
    }
}

fn sink(redis: &Redis, projections: &[&SinkProjection]) -> RedisSink {
    let projections = projections.iter().map(|p| (*p).clone()).collect();
    RedisSink::new(&config(redis), OWNER.into(), projections).unwrap()
}

async fn filled(sink: &mut RedisSink, rows: &[Entry], position: u64) -> Outcome {
    assert_eq!(sink.open().await.unwrap(), [None]);
    refill(sink, rows, position, 1).await
}

async fn refill(sink: &mut RedisSink, rows: &[Entry], position: u64, generation: u64) -> Outcome {
    sink.begin_fill(0, generation).await.unwrap();
    let outcome = sink.fill(0, rows).await.unwrap();
    sink.end_fill(0).await.unwrap();
    sink.apply(&finishing(position, Vec::new(), generation)).await.unwrap();
    outcome
}

fn finishing(position: u64, entries: Vec<Entry>, generation: u64) -> Step {
    let mut step = step(position, entries);
    step.projections[0].generation = generation;
    step.projections[0].finish_fill = true;
    step
}

/// A projection filled with these rows, settled at 100.
async fn started(redis: &Redis, projection: &SinkProjection, rows: &[Row<'_>]) -> RedisSink {
    let mut sink = sink(redis, &[projection]);
    let rows: Vec<_> = rows.iter().map(|values| row(projection, 50, values)).collect();
    let outcome = filled(&mut sink, &rows, 100).await;
    assert!(outcome.poison.is_empty(), "{outcome:?}");
    sink
}

/// Everything in the database but the sink's own keys, as text.
async fn contents(redis: &mut Connection) -> BTreeMap<String, String> {
    let mut found = everything(redis).await;
    found.retain(|key, _| !key.starts_with("readside:"));
    found
}

async fn everything(redis: &mut Connection) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let keys: Vec<String> = redis.keys("*").await.unwrap();
    for key in keys {
        let kind: String = ::redis::cmd("TYPE").arg(&key).query_async(redis).await.unwrap();
        let text = match kind.as_str() {
            "hash" => {
                format!("{:?}", redis.hgetall::<_, BTreeMap<String, String>>(&key).await.unwrap())
            }
            "string" => redis.get(&key).await.unwrap(),
            "zset" => format!(
                "{:?}",
                redis.zrange_withscores::<_, Vec<(String, f64)>>(&key, 0, -1).await.unwrap()
            ),
            "set" => {
                let mut members: Vec<String> = redis.smembers(&key).await.unwrap();
                members.sort();
                format!("{members:?}")
            }
            other => panic!("{key} is a {other}"),
        };
        found.insert(key, text);
    }
    found
}

fn expect<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, text)| (key.into(), text.into())).collect()
}

async fn watermark(redis: &mut Connection, name: &str) -> BTreeMap<String, String> {
    redis.hgetall(format!("readside:watermark:{name}")).await.unwrap()
}

async fn set_user(redis: &Redis, name: &str, rules: &[&str]) {
    let mut command = ::redis::cmd("ACL");
    command.arg("SETUSER").arg(name).arg(rules);
    command.exec_async(&mut redis.client().await).await.unwrap();
}

fn why(error: SinkError) -> String {
    match error {
        SinkError::Retryable { what, .. } => format!("retryable: {what}"),
        SinkError::Outranked { term } => format!("outranked: {term}"),
        SinkError::Fatal { what, hint } | SinkError::Blocked { what, hint, .. } => {
            format!("fatal: {what} / {hint}")
        }
    }
}

// ---- structures ----

#[tokio::test]
async fn each_structure_holds_its_rows() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let all = orders(vec![
        hash("order:{order_id}"),
        json("order:{order_id}:json"),
        sorted_set("by-total", "{order_id}", "total"),
        set("status:{status}", "{order_id}"),
    ]);
    let mut sink =
        started(&redis, &all, &[&[Some("1"), Some("7"), Some("new"), Some("10.50")]]).await;
    let changes = vec![
        row(&all, 110, &[Some("1"), Some("7"), Some("paid"), Some("10.50")]),
        row(&all, 110, &[Some("2"), None, None, None]),
        row(
            &all,
            110,
            &[Some("3"), Some("9"), Some("é {}"), Some("1e30")].map(|v| {
                v.map(|t| if t == "1e30" { "1000000000000000000000000000000" } else { t })
            }),
        ),
    ];
    let outcome = sink.apply(&step(120, changes)).await.unwrap();
    assert_eq!((outcome.upserts, outcome.deletes, outcome.poison.len()), (3, 0, 0));
    assert_eq!(
        contents(&mut client).await,
        expect([
            ("by-total", r#"[("1", 10.5), ("3", 1e30)]"#),
            (
                "order:1",
                r#"{"customer_id": "7", "order_id": "1", "status": "paid", "total": "10.50"}"#
            ),
            (
                "order:1:json",
                r#"{"total": 10.50, "status": "paid", "order_id": 1, "customer_id": 7}"#
            ),
            ("order:2", r#"{"order_id": "2"}"#),
            (
                "order:2:json",
                r#"{"total": null, "status": null, "order_id": 2, "customer_id": null}"#
            ),
            (
                "order:3",
                r#"{"customer_id": "9", "order_id": "3", "status": "é {}", "total": "1000000000000000000000000000000"}"#
            ),
            (
                "order:3:json",
                r#"{"total": 1000000000000000000000000000000, "status": "é {}", "order_id": 3, "customer_id": 9}"#
            ),
            ("status:paid", r#"["1"]"#),
            ("status:é {}", r#"["3"]"#),
        ])
    );

    // Values that become NULL leave their fields, sets and sorted sets; deleted rows leave all.
    let changes = vec![
        row(&all, 130, &[Some("1"), None, None, None]),
        gone(&all, 130, &[Some("2")]),
        gone(&all, 130, &[Some("3")]),
        gone(&all, 130, &[Some("4")]),
    ];
    let outcome = sink.apply(&step(140, changes)).await.unwrap();
    assert_eq!((outcome.upserts, outcome.deletes), (1, 3));
    assert_eq!(
        contents(&mut client).await,
        expect([
            ("order:1", r#"{"order_id": "1"}"#),
            (
                "order:1:json",
                r#"{"total": null, "status": null, "order_id": 1, "customer_id": null}"#
            ),
        ])
    );
}

#[tokio::test]
async fn columns_restrict_and_a_hash_without_a_field_is_no_key() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let columns = |mut target: RedisTarget| {
        target.columns = Some(vec!["status".into(), "total".into()]);
        target
    };
    let orders = orders(vec![columns(hash("order:{order_id}")), columns(json("json:{order_id}"))]);
    let mut sink = started(
        &redis,
        &orders,
        &[&[Some("1"), Some("7"), Some("new"), None], &[Some("2"), Some("7"), None, None]],
    )
    .await;
    let hash_and_json = [
        ("json:1", r#"{"total": null, "status": "new"}"#),
        ("json:2", r#"{"total": null, "status": null}"#),
        ("order:1", r#"{"status": "new"}"#),
    ];
    assert_eq!(contents(&mut client).await, expect(hash_and_json));
    let emptied = row(&orders, 110, &[Some("1"), Some("7"), None, None]);
    sink.apply(&step(120, vec![emptied])).await.unwrap();
    assert!(!contents(&mut client).await.contains_key("order:1"));
}

#[tokio::test]
async fn a_ttl_is_renewed_by_each_write() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let ttl = |mut target: RedisTarget| {
        target.ttl = Some(1_000);
        target
    };
    let orders = orders(vec![
        ttl(hash("order:{order_id}")),
        ttl(json("json:{order_id}")),
        ttl(sorted_set("customer:{customer_id}", "{order_id}", "total")),
        set("all", "{order_id}"),
    ]);
    let values: Row<'_> = &[Some("1"), Some("7"), Some("new"), Some("1")];
    let mut sink = started(&redis, &orders, &[values]).await;
    for round in 0..2 {
        for key in ["order:1", "json:1", "customer:7"] {
            let left: i64 = client.ttl(key).await.unwrap();
            assert!((990..=1_000).contains(&left), "round {round}: {key} lives {left} s");
            client.expire::<_, ()>(key, 100).await.unwrap();
        }
        assert_eq!(client.ttl::<_, i64>("all").await.unwrap(), -1);
        sink.apply(&step(120 + round, vec![row(&orders, 110, values)])).await.unwrap();
    }
}

#[tokio::test]
async fn a_score_is_the_number_itself_and_times_are_seconds() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let columns = [("id", Type::Int4), ("at", Type::TimestampTz), ("number", Type::Float8)];
    let scored = projection(
        "scored",
        &columns,
        vec![sorted_set("at", "{id}", "at"), sorted_set("number", "{id}", "number")],
    );
    let mut sink = started(&redis, &scored, &[]).await;
    let numbers = ["0.1", "-1.7976931348623157e+308", "5e-324", "Infinity", "123456789.12345679"];
    let rows = numbers.iter().enumerate().map(|(id, number)| {
        let id = id.to_string();
        row(&scored, 110, &[Some(&id), Some("2026-01-02 03:04:05.678901+00"), Some(number)])
    });
    let mut rows: Vec<_> = rows.collect();
    rows.push(row(&scored, 110, &[Some("9"), Some("infinity"), Some("NaN")]));
    let outcome = sink.apply(&step(120, rows)).await.unwrap();
    for (id, number) in numbers.iter().enumerate() {
        let score: f64 = client.zscore("number", id).await.unwrap();
        let exact: f64 = number.parse().unwrap();
        assert_eq!(score.to_bits(), exact.to_bits(), "{number}");
        assert_eq!(client.zscore::<_, _, f64>("at", id).await.unwrap(), 1_767_323_045.678_901);
    }
    assert_eq!(outcome.upserts, 5);
    let [poison] = outcome.poison.as_slice() else { panic!("{outcome:?}") };
    assert_eq!(poison.error, r#"the score "number" is not a number, which Redis does not take"#);
    assert_eq!(client.zscore::<_, _, Option<f64>>("at", 9).await.unwrap(), None);
}

/// The texts are what Postgres prints; `value` proves that for every type.
#[tokio::test]
async fn fields_and_templates_hold_the_text_that_postgres_prints() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let texts = [
        ("id", Type::Numeric, "1.00"),
        ("bool", Type::Bool, "t"),
        ("int2", Type::Int2, "-32768"),
        ("float8", Type::Float8, "1e+16"),
        ("char", Type::Bpchar, "a  "),
        ("bytea", Type::Bytea, r"\x00ff"),
        ("date", Type::Date, "0044-03-15 BC"),
        ("time", Type::Time, "23:59:59.999999"),
        ("timetz", Type::TimeTz, "12:00:00+05:30"),
        ("timestamp", Type::Timestamp, "infinity"),
        ("timestamptz", Type::TimestampTz, "2026-11-21 10:20:30.1234+00"),
        ("interval", Type::Interval, "1 year 2 mons -3 days +04:05:06"),
        ("uuid", Type::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("json", Type::Json, r#"{"b" : 1, "a":[]}"#),
        ("jsonb", Type::Jsonb, r#"{"a": 1.50}"#),
        ("array", Type::Array(Box::new(Type::Text), b','), r#"{a,NULL,"b c"}"#),
        ("text", Type::Text, "a:{}*[é]\\\r\n"),
        ("empty", Type::Text, ""),
    ];
    let columns: Vec<_> = texts.iter().map(|(name, ty, _)| (*name, ty.clone())).collect();
    let values: Vec<_> = texts.iter().map(|(_, _, text)| Some(*text)).collect();
    let names: Vec<_> = texts.iter().map(|(name, _, _)| format!("{{{name}}}")).collect();
    let every = names.join("|");
    let typed =
        projection("typed", &columns, vec![hash("h:{id}"), set(&format!("s:{every}"), &every)]);
    let mut sink = started(&redis, &typed, &[&values]).await;
    let found: BTreeMap<String, String> = client.hgetall("h:1.00").await.unwrap();
    let expected = texts.iter().map(|(name, _, text)| ((*name).into(), (*text).into())).collect();
    assert_eq!(found, expected);
    let every = texts.map(|(_, _, text)| text).join("|");
    let members: Vec<String> = client.smembers(format!("s:{every}")).await.unwrap();
    assert_eq!(members, [every]);
    sink.apply(&step(120, vec![gone(&typed, 110, &values)])).await.unwrap();
    assert_eq!(contents(&mut client).await, expect([]));
}

#[tokio::test]
async fn several_key_columns_and_none() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let columns = [("a", Type::Text), ("b", Type::Int4), ("c", Type::Text)];
    let mut pairs = projection("pairs", &columns, vec![set("by:{c}", "{b}/{a}")]);
    pairs.key = vec![1, 0];
    let mut total = projection("total", &[("n", Type::Int8)], vec![hash("total")]);
    total.key = Vec::new();
    let mut sink = sink(&redis, &[&pairs, &total]);
    assert_eq!(sink.open().await.unwrap(), [None, None]);
    sink.begin_fill(0, 1).await.unwrap();
    sink.begin_fill(1, 1).await.unwrap();
    let mut first = steps(
        100,
        vec![
            vec![
                row(&pairs, 90, &[Some("x|y"), Some("1"), Some("red")]),
                row(&pairs, 90, &[Some("x"), Some("1"), Some("red")]),
            ],
            vec![row(&total, 90, &[Some("2")])],
        ],
    );
    first.projections.iter_mut().for_each(|part| part.finish_fill = true);
    sink.apply(&first).await.unwrap();
    let moved = vec![row(&pairs, 110, &[Some("x|y"), Some("1"), Some("blue")])];
    sink.apply(&steps(120, vec![moved, vec![row(&total, 110, &[Some("3")])]])).await.unwrap();
    let moved =
        expect([("by:blue", r#"["1/x|y"]"#), ("by:red", r#"["1/x"]"#), ("total", r#"{"n": "3"}"#)]);
    assert_eq!(contents(&mut client).await, moved);
    let all_gone = vec![
        gone(&pairs, 130, &[Some("x|y"), Some("1"), None]),
        gone(&pairs, 130, &[Some("x"), Some("1"), None]),
    ];
    sink.apply(&steps(140, vec![all_gone, vec![gone(&total, 130, &[])]])).await.unwrap();
    assert_eq!(contents(&mut client).await, expect([]));
    assert!(!client.exists::<_, bool>("readside:reverse:pairs:pairs-1").await.unwrap());
}

// ---- moves ----

#[tokio::test]
async fn a_moved_row_leaves_its_old_keys() {
    for (orders, reverse) in [(anchored(), false), (recorded(), true)] {
        let redis = Redis::start(&RedisOptions::default()).await;
        let mut client = redis.client().await;
        let zsets = async |client: &mut Connection| {
            let mut found = contents(client).await;
            found.retain(|key, _| key.starts_with("customer:"));
            found
        };
        let mut sink = started(
            &redis,
            &orders,
            &[
                &[Some("1"), Some("7"), Some("new"), Some("1")],
                &[Some("2"), Some("8"), Some("new"), Some("2")],
                &[Some("3"), None, Some("new"), Some("3")],
            ],
        )
        .await;
        let swapped = vec![
            row(&orders, 110, &[Some("1"), Some("8"), Some("new"), Some("1")]),
            row(&orders, 110, &[Some("2"), Some("7"), Some("new"), Some("2")]),
            row(&orders, 110, &[Some("3"), Some("7"), Some("new"), Some("3")]),
        ];
        // Once more, as after a lost answer: nothing changes.
        for position in [120, 121] {
            sink.apply(&step(position, swapped.clone())).await.unwrap();
            assert_eq!(
                zsets(&mut client).await,
                expect([
                    ("customer:7:orders", r#"[("2", 2.0), ("3", 3.0)]"#),
                    ("customer:8:orders", r#"[("1", 1.0)]"#),
                ])
            );
        }
        let changes = vec![
            row(&orders, 130, &[Some("1"), None, Some("new"), Some("1")]),
            gone(&orders, 130, &[Some("2")]),
            row(&orders, 130, &[Some("3"), Some("7"), Some("new"), None]),
        ];
        sink.apply(&step(140, changes)).await.unwrap();
        assert_eq!(zsets(&mut client).await, expect([]));
        let found: bool = client.exists("readside:reverse:orders:orders-1").await.unwrap();
        assert!(!found, "no row has an entry that could move");
        let back = vec![row(&orders, 150, &[Some("3"), Some("7"), Some("new"), Some("3")])];
        sink.apply(&step(160, back)).await.unwrap();
        assert_eq!(zsets(&mut client).await, expect([("customer:7:orders", r#"[("3", 3.0)]"#)]));
        let found: bool = client.exists("readside:reverse:orders:orders-1").await.unwrap();
        assert_eq!(found, reverse, "the hash anchors its sorted set, the string does not");
    }
}

#[tokio::test]
async fn an_anchored_member_follows_each_of_its_columns() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let orders = orders(vec![
        set("c:{customer_id}", "{status}/{order_id}"),
        set("s:{status}", "{order_id}"),
        hash("order:{order_id}"),
    ]);
    let mut sink = started(&redis, &orders, &[&[Some("1"), Some("7"), Some("new"), None]]).await;
    for (position, customer, status, left) in [
        (120, Some("7"), Some("paid"), vec![("c:7", r#"["paid/1"]"#), ("s:paid", r#"["1"]"#)]),
        (130, Some("8"), Some("paid"), vec![("c:8", r#"["paid/1"]"#), ("s:paid", r#"["1"]"#)]),
        (140, None, Some("paid"), vec![("s:paid", r#"["1"]"#)]),
        (150, Some("8"), None, vec![]),
        (160, Some("8"), Some(""), vec![("c:8", r#"["/1"]"#), ("s:", r#"["1"]"#)]),
    ] {
        let moved = row(&orders, position - 1, &[Some("1"), customer, status, None]);
        sink.apply(&step(position, vec![moved])).await.unwrap();
        let mut found = contents(&mut client).await;
        found.remove("order:1");
        let left = left.into_iter().map(|(key, text)| (key.into(), text.into())).collect();
        assert_eq!(found, left, "at {position}");
    }
    sink.apply(&step(170, vec![gone(&orders, 165, &[Some("1")])])).await.unwrap();
    assert_eq!(contents(&mut client).await, expect([]));
}

// ---- watermarks ----

#[tokio::test]
async fn the_watermark_says_what_the_step_said() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let orders = anchored();
    let mut sink = started(&redis, &orders, &[]).await;
    let mut unsettled =
        step(100, vec![row(&orders, 110, &[Some("1"), Some("7"), Some("new"), None])]);
    unsettled.settled = false;
    unsettled.reaching = Lsn(111);
    sink.apply(&unsettled).await.unwrap();
    let found = watermark(&mut client, "orders").await;
    let field = |name: &str| found[name].as_str();
    assert_eq!(
        [
            "lsn",
            "committed_at",
            "settled",
            "generation",
            "owner",
            "reaching",
            "fingerprint",
            "history"
        ]
        .map(field),
        ["0/64", "2000-02-29 00:00:00.5+00", "false", "1", OWNER, "0/6F", "orders-1", "0.1"]
    );
    let expected = Watermark {
        history: "0.1".into(),
        lsn: Lsn(100),
        reaching: Lsn(111),
        committed_at: 5_097_600_500_000,
        settled: false,
        generation: 1,
        fingerprint: "orders-1".into(),
        term: 0,
    };
    let mut again = self::sink(&redis, &[&orders]);
    assert_eq!(again.open().await.unwrap(), [Some(expected.clone())]);

    again.apply(&step(120, Vec::new())).await.unwrap();
    assert_eq!(watermark(&mut client, "orders").await["settled"], "true");
    let settled = Watermark { lsn: Lsn(120), reaching: Lsn(120), settled: true, ..expected };
    assert_eq!(again.open().await.unwrap(), [Some(settled)]);

    // The first process is no longer the one that the watermark knows.
    let late = sink.apply(&step(130, Vec::new())).await.unwrap_err();
    let late = why(late);
    assert!(late.ends_with("the watermark of orders is not the one last seen"), "{late}");
    assert_eq!(watermark(&mut client, "orders").await["lsn"], "0/78");

    // Another shape is filled anew.
    let mut reshaped = anchored();
    reshaped.fingerprint = "orders-2".into();
    let mut reshaped = self::sink(&redis, &[&reshaped]);
    let old = reshaped.open().await.unwrap().remove(0).unwrap();
    assert_eq!(old.fingerprint, "orders-1");

    // While it is filled, nothing but its generation and how new its rows may be.
    reshaped.begin_fill(0, 5).await.unwrap();
    reshaped.fill(0, &[row(&orders, 150, &[Some("1"), None, None, None])]).await.unwrap();
    let filling = Watermark {
        history: "0.1".into(),
        lsn: Lsn::ZERO,
        reaching: Lsn(151),
        committed_at: old.committed_at,
        settled: false,
        generation: 5,
        fingerprint: String::new(),
        term: 0,
    };
    assert_eq!(reshaped.open().await.unwrap(), [Some(filling)]);
}

#[tokio::test]
async fn an_emptied_redis_is_filled_anew() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let orders = anchored();
    let values: Row<'_> = &[Some("1"), Some("7"), Some("new"), None];
    let mut sink = started(&redis, &orders, &[values]).await;
    client.flushall::<()>().await.unwrap();
    let error = sink.apply(&step(120, vec![row(&orders, 110, values)])).await.unwrap_err();
    assert!(why(error).starts_with("retryable"));
    assert_eq!(contents(&mut client).await, expect([]));
    assert_eq!(sink.open().await.unwrap(), [None]);

    // Emptied in the middle of a fill: what is lost is not taken for written.
    sink.begin_fill(0, 1).await.unwrap();
    sink.fill(0, &[row(&orders, 110, values)]).await.unwrap();
    client.flushall::<()>().await.unwrap();
    let error = sink.fill(0, &[row(&orders, 110, values)]).await.unwrap_err();
    assert!(why(error).starts_with("retryable"));
    assert_eq!(sink.open().await.unwrap(), [None]);
    let error = sink.fill(0, &[row(&orders, 110, values)]).await.unwrap_err();
    assert_eq!(why(error), "retryable: no fill of orders stands in Redis: it begins again");
    refill(&mut sink, &[row(&orders, 110, values)], 120, 1).await;
    assert!(contents(&mut client).await.contains_key("order:1"));
}

#[tokio::test]
async fn a_fill_goes_on_after_a_lost_connection() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let orders = anchored();
    let rows: Vec<_> = (1..=8)
        .map(|id: u32| row(&orders, 50, &[Some(&id.to_string()), Some("7"), Some("new"), None]))
        .collect();
    let mut sink = sink(&redis, &[&orders]);
    assert_eq!(sink.open().await.unwrap(), [None]);
    sink.begin_fill(0, 1).await.unwrap();
    sink.fill(0, &rows[..4]).await.unwrap();
    let clients = ::redis::cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .arg("SKIPME")
        .arg("yes")
        .clone();
    clients.exec_async(&mut client).await.unwrap();
    assert!(why(sink.fill(0, &rows[4..]).await.unwrap_err()).starts_with("retryable"));
    assert_eq!(sink.open().await.unwrap()[0].as_ref().unwrap().fingerprint, "");
    sink.fill(0, &rows[4..]).await.unwrap();
    sink.apply(&finishing(100, Vec::new(), 1)).await.unwrap();
    assert_eq!(contents(&mut client).await.len(), 8);
    assert_eq!(watermark(&mut client, "orders").await["settled"], "true");
}

#[tokio::test]
async fn another_owner_is_refused() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let orders = anchored();
    let mut first = started(&redis, &orders, &[]).await;
    let mut other =
        RedisSink::new(&config(&redis), "9/other".into(), vec![orders.clone()]).unwrap();
    let refused = why(other.open().await.unwrap_err());
    assert_eq!(
        refused,
        format!(
            "fatal: orders in this Redis belongs to another pipeline ({OWNER}) / give each \
             pipeline its own keys or database; if that pipeline is gone for good: DEL \
             readside:watermark:orders"
        )
    );
    let mut client = redis.client().await;
    client.hset::<_, _, _, ()>("readside:watermark:orders", "owner", "9/other").await.unwrap();
    let taken = why(first.apply(&step(120, Vec::new())).await.unwrap_err());
    assert!(taken.starts_with("fatal: orders in this Redis belongs to another pipeline (9/other)"));
}

#[tokio::test]
async fn a_script_that_the_server_forgot_is_sent_again() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let orders = anchored();
    let mut sink = started(&redis, &orders, &[]).await;
    ::redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut client).await.unwrap();
    let row = row(&orders, 110, &[Some("1"), Some("7"), Some("new"), None]);
    sink.apply(&step(120, vec![row])).await.unwrap();
    assert!(contents(&mut client).await.contains_key("order:1"));
}

// ---- poison ----

#[tokio::test]
async fn a_key_of_another_type_refuses_just_its_rows() {
    for orders in [anchored(), recorded()] {
        let redis = Redis::start(&RedisOptions::default()).await;
        let mut client = redis.client().await;
        let old: Row<'_> = &[Some("1"), Some("7"), Some("old"), Some("1")];
        let mut sink = started(&redis, &orders, &[old]).await;
        client.sadd::<_, _, ()>("order:2", "the application's").await.unwrap();
        client.set::<_, _, ()>("customer:8:orders", "the application's").await.unwrap();
        let changes = vec![
            row(&orders, 110, &[Some("1"), Some("8"), Some("new"), Some("1")]),
            row(&orders, 110, &[Some("2"), Some("9"), Some("new"), Some("2")]),
            row(&orders, 110, &[Some("3"), Some("9"), Some("new"), Some("3")]),
            gone(&orders, 110, &[Some("4")]),
        ];
        let outcome = sink.apply(&step(120, changes)).await.unwrap();
        assert_eq!((outcome.upserts, outcome.deletes), (1, 1));
        let errors: Vec<_> = outcome.poison.iter().map(|p| p.error.as_str()).collect();
        assert_eq!(
            errors,
            [
                r#"the Redis key "customer:8:orders" holds a string, which is not what this row is written to"#,
                r#"the Redis key "order:2" holds a set, which is not what this row is written to"#,
            ]
        );
        let mut found = contents(&mut client).await;
        assert!(found.remove("order:3").is_some());
        assert_eq!(
            found,
            expect([
                ("customer:8:orders", "the application's"),
                ("customer:9:orders", r#"[("3", 3.0)]"#),
                ("order:2", r#"["the application's"]"#),
            ])
        );
        assert_eq!(watermark(&mut client, "orders").await["settled"], "true");
        // A deleted row does not take the other's key with it.
        let dead = vec![gone(&orders, 130, &[Some("1")]), gone(&orders, 130, &[Some("2")])];
        sink.apply(&step(140, dead)).await.unwrap();
        assert_eq!(contents(&mut client).await.len(), 4);
    }
}

#[tokio::test]
async fn what_the_server_refuses_leaves_the_watermark_unsettled() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let orders = anchored();
    let mut sink = started(&redis, &orders, &[]).await;
    set_user(&redis, "default", &["resetkeys", "~readside:*", "~order:*"]).await;
    let change =
        step(120, vec![row(&orders, 110, &[Some("1"), Some("7"), Some("new"), Some("1")])]);
    let refused = why(sink.apply(&change).await.unwrap_err());
    assert!(refused.ends_with("a step failed: the Redis user lacks a permission"), "{refused}");
    let found = watermark(&mut client, "orders").await;
    assert_eq!(
        ["lsn", "settled", "reaching"].map(|n| found[n].as_str()),
        ["0/64", "false", "0/78"]
    );

    set_user(&redis, "default", &["allkeys"]).await;
    let standing = sink.open().await.unwrap().remove(0).unwrap();
    assert_eq!((standing.lsn, standing.settled), (Lsn(100), false));
    sink.apply(&change).await.unwrap();
    assert_eq!(watermark(&mut client, "orders").await["settled"], "true");
    assert_eq!(contents(&mut client).await.len(), 2);
}

#[tokio::test]
async fn a_full_memory_and_a_replica_are_waited_for() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let orders = anchored();
    let mut sink = started(&redis, &orders, &[]).await;
    let change =
        step(120, vec![row(&orders, 110, &[Some("1"), Some("7"), Some("new"), Some("1")])]);
    for (break_it, mend_it, expected) in [
        (
            ["CONFIG", "SET", "maxmemory", "1"],
            ["CONFIG", "SET", "maxmemory", "0"],
            "Redis has reached its maxmemory and refuses writes",
        ),
        (
            ["REPLICAOF", "127.0.0.1", "1", ""],
            ["REPLICAOF", "NO", "ONE", ""],
            "this Redis is a replica",
        ),
    ] {
        let command = |words: [&str; 4]| {
            let mut command = ::redis::Cmd::new();
            words.iter().filter(|w| !w.is_empty()).for_each(|w| {
                command.arg(w);
            });
            command
        };
        command(break_it).exec_async(&mut client).await.unwrap();
        let before = everything(&mut client).await;
        for settled in [true, false] {
            let change = Step { settled, ..change.clone() };
            let refused = why(sink.apply(&change).await.unwrap_err());
            assert!(refused.starts_with("retryable") && refused.contains(expected), "{refused}");
            assert_eq!(everything(&mut client).await, before, "nothing was written");
            sink.open().await.unwrap();
        }
        command(mend_it).exec_async(&mut client).await.unwrap();
    }
    sink.apply(&change).await.unwrap();
}

// ---- fills ----

#[tokio::test]
async fn a_new_generation_removes_what_it_lacks_and_nothing_else() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let first = anchored();
    let rows: Vec<[String; 2]> =
        (1..=10).map(|id: u32| [id.to_string(), (id % 3).to_string()]).collect();
    let rows: Vec<[Option<&str>; 4]> = rows
        .iter()
        .map(|[id, customer]| [Some(&**id), Some(&**customer), Some("new"), Some(&**id)])
        .collect();
    let rows: Vec<Row<'_>> = rows.iter().map(|row| &row[..]).collect();
    drop(started(&redis, &first, &rows).await);

    // The application's own, alike in many ways.
    client.hset::<_, _, _, ()>("order:stats", "status", "x").await.unwrap();
    client.hset::<_, _, _, ()>("order:77", "theirs", "x").await.unwrap();
    client.set::<_, _, ()>("order:78", "x").await.unwrap();
    client.zadd::<_, _, _, ()>("customer:1:orders", "pinned", 1).await.unwrap();
    client.zadd::<_, _, _, ()>("customer:top:orders", "5", 1).await.unwrap();
    client.sadd::<_, _, ()>("customer:5:orders", "5").await.unwrap();

    // Other columns in the hash, another key for the sorted set, rows changed, moved and gone.
    let columns = [("order_id", Type::Int4), ("customer_id", Type::Int4), ("total", Type::Int4)];
    let mut second = projection(
        "orders",
        &columns,
        vec![hash("order:{order_id}"), sorted_set("c:{customer_id}", "{order_id}", "total")],
    );
    second.fingerprint = "orders-2".into();
    let mut sink = sink(&redis, &[&second]);
    assert_eq!(sink.open().await.unwrap()[0].as_ref().unwrap().fingerprint, "orders-1");
    sink.begin_fill(0, 2).await.unwrap();
    assert_eq!(watermark(&mut client, "orders").await["settled"], "false");
    let rows: Vec<_> = ["1", "2", "3", "4"]
        .iter()
        .map(|id| row(&second, 200, &[Some(id), Some("1"), None]))
        .collect();
    sink.fill(0, &rows).await.unwrap();
    sink.end_fill(0).await.unwrap();
    sink.amend(
        0,
        &[gone(&second, 210, &[Some("4")]), row(&second, 210, &[Some("3"), Some("2"), Some("30")])],
    )
    .await
    .unwrap();
    let last = vec![
        row(&second, 220, &[Some("5"), Some("2"), Some("50")]),
        gone(&second, 220, &[Some("2")]),
    ];
    sink.apply(&finishing(230, last, 2)).await.unwrap();
    assert_eq!(
        contents(&mut client).await,
        expect([
            ("c:2", r#"[("3", 30.0), ("5", 50.0)]"#),
            ("customer:1:orders", r#"[("pinned", 1.0)]"#),
            ("customer:5:orders", r#"["5"]"#),
            ("customer:top:orders", r#"[("5", 1.0)]"#),
            ("order:1", r#"{"customer_id": "1", "order_id": "1"}"#),
            ("order:3", r#"{"customer_id": "2", "order_id": "3", "total": "30"}"#),
            ("order:5", r#"{"customer_id": "2", "order_id": "5", "total": "50"}"#),
            ("order:77", r#"{"theirs": "x"}"#),
            ("order:78", "x"),
            ("order:stats", r#"{"status": "x"}"#),
        ])
    );
    let found = watermark(&mut client, "orders").await;
    assert_eq!(
        ["settled", "generation", "fingerprint"].map(|n| found[n].as_str()),
        ["true", "2", "orders-2"]
    );
    let shapes: Vec<String> = client.hkeys("readside:shapes:orders").await.unwrap();
    assert_eq!(shapes, ["orders-2"]);
}

#[tokio::test]
async fn strings_that_are_not_ours_stay() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let first = orders(vec![json("doc:{order_id}"), set("ids", "{order_id}")]);
    let values = ["1", "2"].map(|id| [Some(id), Some("7"), None, Some("1.5")]);
    drop(started(&redis, &first, &[&values[0], &values[1]]).await);
    let theirs = [
        ("doc:3", "x"),
        ("doc:4", r#"{"order_id": 4}"#),
        ("doc:5", r#"{"order_id": 5, "customer_id": 1, "status": 1, "total": 1, "more": 1}"#),
        ("doc:x", "x"),
    ];
    for (key, text) in theirs {
        client.set::<_, _, ()>(key, text).await.unwrap();
    }
    client.sadd::<_, _, ()>("ids", "theirs").await.unwrap();
    let mut sink = sink(&redis, &[&first]);
    sink.open().await.unwrap();
    refill(&mut sink, &[row(&first, 200, &values[1])], 210, 2).await;
    let mut left = expect(theirs);
    left.extend(expect([
        ("doc:2", r#"{"total": 1.5, "status": null, "order_id": 2, "customer_id": 7}"#),
        ("ids", r#"["2", "theirs"]"#),
    ]));
    assert_eq!(contents(&mut client).await, left);
}

#[tokio::test]
async fn a_structure_that_changes_under_its_keys_replaces_them() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let rows = [[Some("1"), Some("7"), None, None], [Some("2"), Some("7"), None, None]];
    drop(started(&redis, &orders(vec![hash("o:{order_id}")]), &[&rows[0], &rows[1]]).await);
    client.hset::<_, _, _, ()>("o:2", "theirs", "1").await.unwrap();
    let mut shapes = vec![
        (vec![json("o:{order_id}")], "string", 1),
        (vec![hash("o:{order_id}")], "hash", 0),
        (vec![set("o:all", "{order_id}")], "set", 0),
        (vec![sorted_set("o:all", "{order_id}", "customer_id")], "zset", 0),
        // Known by their records alone.
        (vec![hash("{order_id}")], "hash", 0),
        (vec![json("{order_id}")], "string", 0),
    ];
    for (at, (targets, kind, refused)) in shapes.drain(..).enumerate() {
        let mut next = orders(targets);
        next.fingerprint = format!("orders-{}", at + 2);
        let mut sink = sink(&redis, &[&next]);
        sink.open().await.unwrap();
        let rows = [row(&next, 200, &rows[0]), row(&next, 200, &rows[1])];
        let outcome = refill(&mut sink, &rows, 210, at as u64 + 2).await;
        // A hash with more fields is not ours to take away.
        assert_eq!(outcome.poison.len(), refused, "{kind}: {outcome:?}");
        for key in contents(&mut client).await.keys().filter(|key| refused == 0 || *key != "o:2") {
            let found: String =
                ::redis::cmd("TYPE").arg(key).query_async(&mut client).await.unwrap();
            assert_eq!(found, kind, "{key}");
        }
        client.hdel::<_, _, ()>("o:2", "theirs").await.ok();
    }
    assert_eq!(contents(&mut client).await.len(), 2);
}

#[tokio::test]
async fn records_find_what_no_scan_could() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let bare = |fingerprint: &str| {
        let mut bare = orders(vec![hash("{order_id}"), set("{status}", "{order_id}")]);
        bare.fingerprint = fingerprint.into();
        bare
    };
    let first = bare("orders-1");
    drop(
        started(
            &redis,
            &first,
            &[
                &[Some("1"), None, Some("new"), None],
                &[Some("2"), None, Some("new"), None],
                &[Some("3"), None, Some("new"), None],
            ],
        )
        .await,
    );
    client.hset::<_, _, _, ()>("4", "status", "the application's").await.unwrap();
    for (generation, fingerprint) in [(2, "orders-1"), (3, "orders-3")] {
        let next = bare(fingerprint);
        let mut sink = sink(&redis, &[&next]);
        sink.open().await.unwrap();
        let rows = [
            row(&next, 200, &[Some("1"), None, Some("paid"), None]),
            row(&next, 200, &[Some("2"), None, Some("new"), None]),
        ];
        // Begun twice, as after a crash.
        sink.begin_fill(0, generation).await.unwrap();
        sink.fill(0, &rows[..1]).await.unwrap();
        refill(&mut sink, &rows, 210, generation).await;
        assert_eq!(
            contents(&mut client).await,
            expect([
                ("1", r#"{"order_id": "1", "status": "paid"}"#),
                ("2", r#"{"order_id": "2", "status": "new"}"#),
                ("4", r#"{"status": "the application's"}"#),
                ("new", r#"["2"]"#),
                ("paid", r#"["1"]"#),
            ])
        );
        let reverse: Vec<String> = client.keys("readside:reverse:*").await.unwrap();
        assert_eq!(reverse, [format!("readside:reverse:orders:{fingerprint}")]);
        assert_eq!(client.hlen::<_, usize>(&reverse[0]).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn rows_are_never_absent_while_a_generation_is_filled() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let orders = anchored();
    let rows: Vec<_> = (1..=30)
        .map(|id: u32| {
            row(&orders, 50, &[Some(&id.to_string()), Some("7"), Some("new"), Some("1")])
        })
        .collect();
    let mut sink = sink(&redis, &[&orders]);
    filled(&mut sink, &rows, 100).await;
    let mut client = redis.client().await;
    let fill = async {
        for generation in 2..8 {
            refill(&mut sink, &rows, 100, generation).await;
        }
    };
    let read = async {
        loop {
            let mut both = ::redis::pipe();
            both.atomic().exists("order:17").zcard("customer:7:orders");
            let seen: (bool, usize) = both.query_async(&mut client).await.unwrap();
            assert_eq!(seen, (true, 30));
        }
    };
    tokio::select! { () = fill => {}, () = read => {} }
}

// ---- what readers see, and crashes ----

#[tokio::test]
async fn a_reader_sees_all_of_a_step_or_nothing() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let orders = anchored();
    let columns = [("id", Type::Int4), ("round", Type::Int4)];
    let rounds = projection("rounds", &columns, vec![hash("round:{id}")]);
    let mut sink = sink(&redis, &[&orders, &rounds]);
    sink.open().await.unwrap();
    sink.begin_fill(0, 1).await.unwrap();
    sink.begin_fill(1, 1).await.unwrap();
    let write = async {
        for round in 0..300_u64 {
            let text = (round % 10).to_string();
            let rows = (1..=20).map(|id: u32| {
                row(&orders, 100 + round, &[Some(&id.to_string()), Some(&text), None, Some("1")])
            });
            let rows =
                vec![rows.collect(), vec![row(&rounds, 100 + round, &[Some("1"), Some(&text)])]];
            let mut step = steps(101 + round, rows);
            step.projections.iter_mut().for_each(|part| part.finish_fill = round == 0);
            sink.apply(&step).await.unwrap();
        }
    };
    let mut client = redis.client().await;
    let read = async {
        loop {
            let mut all = ::redis::pipe();
            all.atomic().hget("round:1", "round");
            all.hget("order:20", "customer_id");
            (0..10).for_each(|customer| {
                all.zcard(format!("customer:{customer}:orders"));
            });
            all.hget("readside:watermark:orders", "lsn").hget("readside:watermark:rounds", "lsn");
            let seen: Vec<Option<String>> = all.query_async(&mut client).await.unwrap();
            let Some(round) = &seen[0] else { continue };
            assert_eq!(seen[1].as_ref(), Some(round));
            for (customer, count) in seen[2..12].iter().enumerate() {
                let expected = if customer.to_string() == *round { "20" } else { "0" };
                assert_eq!(count.as_deref(), Some(expected), "{seen:?}");
            }
            assert_eq!(seen[12], seen[13]);
            let lsn: Lsn = seen[12].as_ref().unwrap().parse().unwrap();
            assert_eq!(((lsn.0 - 101) % 10).to_string(), *round);
        }
    };
    tokio::select! { () = write => {}, () = read => {} }
}

#[tokio::test]
async fn a_killed_server_goes_on_from_its_own_watermark() {
    let mut redis = Redis::start(&RedisOptions { appendonly: true, ..Default::default() }).await;
    let orders = recorded();
    let mut sink = started(&redis, &orders, &[]).await;
    let change = |round: u64| {
        let rows = (1..=50).map(|id: u64| {
            let customer = ((id + round) % 7).to_string();
            row(&orders, 100 + round, &[Some(&id.to_string()), Some(&customer), None, Some("1")])
        });
        step(101 + round, rows.collect())
    };
    let mut round = 0;
    for kill in 1..=4_u64 {
        // Killed by another task at some moment of the writing.
        let reached = std::cell::Cell::new(0);
        let write = async {
            loop {
                if sink.apply(&change(round)).await.is_err() {
                    return;
                }
                round += 1;
                reached.set(reached.get() + 1);
            }
        };
        let killer = async {
            wait::until("some steps", async || {
                if reached.get() >= 10 * kill { Ok(()) } else { Err(reached.get()) }
            })
            .await;
            redis.kill9();
        };
        tokio::join!(write, killer);
        redis.restart().await;
        let standing = sink.open().await.unwrap().remove(0).unwrap();
        assert!(standing.settled);
        // Everything answered is there; the step without an answer, perhaps.
        assert!((100 + round..=101 + round).contains(&standing.lsn.0), "{standing:?} {round}");
    }
    sink.apply(&change(round)).await.unwrap();
    let found = contents(&mut redis.client().await).await;
    assert_eq!(found.len(), 50 + 7);
    let mut members = 0;
    for customer in 0..7_u64 {
        let key = format!("customer:{customer}:orders");
        let ids: Vec<u64> = redis.client().await.zrange(&key, 0, -1).await.unwrap();
        assert!(ids.iter().all(|id| (id + round) % 7 == customer), "{key}: {ids:?}");
        members += ids.len();
    }
    assert_eq!(members, 50);
}

// ---- connections and check ----

#[tokio::test]
async fn passwords_users_databases_and_tls() {
    let certificates = Certificates::make();
    let options =
        RedisOptions { password: Some("s3cret"), tls: Some(&certificates), ..Default::default() };
    let redis = Redis::start(&options).await;
    set_user(&redis, "app", &["on", ">pw", "~*", "+@all"]).await;
    let orders = anchored();
    let reach = async |url: &str,
                       username: Option<&str>,
                       password: Option<&str>,
                       ca_file: Option<PathBuf>| {
        let mut config = config(&redis);
        config.url = Secret::new(url);
        config.username = username.map(Into::into);
        config.password = password.map(Secret::new);
        config.ca_file = ca_file;
        let mut sink = RedisSink::new(&config, OWNER.into(), vec![orders.clone()]).unwrap();
        let opened = sink.open().await;
        if opened.is_ok() {
            sink.begin_fill(0, 1).await.unwrap();
        }
        let found = check(&config, Some(OWNER), std::slice::from_ref(&orders)).await;
        assert_eq!(found.is_empty(), opened.is_ok(), "{found:?}");
        opened.map(drop).map_err(why)
    };
    let ca = || Some(certificates.authority.clone());
    let port = redis.port();
    let plain = format!("rediss://127.0.0.1:{port}/3");
    assert_eq!(reach(&plain, None, Some("s3cret"), ca()).await, Ok(()));
    assert_eq!(reach(&plain, Some("app"), Some("pw"), ca()).await, Ok(()));
    assert_eq!(reach(&format!("rediss://app:pw@127.0.0.1:{port}"), None, None, ca()).await, Ok(()));
    assert_eq!(
        reach(&plain, Some("app"), Some("wrong"), ca()).await,
        Err(format!(
            "retryable: cannot connect to 127.0.0.1:{port}: Redis refuses the user name or the password"
        ))
    );
    assert_eq!(
        reach(&plain, None, None, ca()).await,
        Err(format!("retryable: cannot connect to 127.0.0.1:{port}: Redis asks for a password"))
    );
    assert_eq!(
        reach(&plain, None, Some("s3cret"), None).await,
        Err(format!("retryable: cannot connect to 127.0.0.1:{port}: TLS failed"))
    );
    let mut database: Connection = redis.client().await;
    ::redis::cmd("SELECT").arg(3).exec_async(&mut database).await.unwrap();
    assert!(database.exists::<_, bool>("readside:watermark:orders").await.unwrap());
}

#[tokio::test]
async fn check_finds_what_would_fail_and_creates_nothing() {
    let settings = [("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")];
    let redis = Redis::start(&RedisOptions { settings: &settings, ..Default::default() }).await;
    set_user(&redis, "app", &["on", ">pw", "~readside:*", "~order:*", "+@all", "-hlen"]).await;
    let mut client = redis.client().await;
    let orders = anchored();
    let mut config = config(&redis);
    let said = async |config: &SinkConfig, owner: &str, projection: &SinkProjection| {
        let found = check(config, Some(owner), std::slice::from_ref(projection)).await;
        found
            .into_iter()
            .map(|d| format!("{}\n{}", d.what, d.hint.unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        said(&config, OWNER, &orders).await,
        [
            "sink.cache: maxmemory-policy is allkeys-lru: Redis may evict what Readside has written\n\
          set it in redis.conf, or type: CONFIG SET maxmemory-policy noeviction"
        ]
    );
    ::redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory-policy", "volatile-ttl"])
        .exec_async(&mut client)
        .await
        .unwrap();
    assert!(said(&config, OWNER, &orders).await.is_empty());
    let mut expiring = orders.clone();
    let Target::Redis(target) = &mut expiring.targets[0] else { unreachable!() };
    target.ttl = Some(60);
    assert_eq!(said(&config, OWNER, &expiring).await.len(), 1);

    config.username = Some("app".into());
    config.password = Some(Secret::new("pw"));
    assert_eq!(
        said(&config, OWNER, &orders).await,
        [
            "sink.cache: the Redis user lacks permissions for: HLEN order:0, TYPE customer:0:orders, \
          ZADD customer:0:orders, ZREM customer:0:orders, ZSCAN customer:0:orders, \
          PERSIST customer:0:orders\n\
          grant the keys of your templates and readside:*, and the commands, such as\n\
          ACL SETUSER app ~readside:* ~order:* +@read +@write +@scripting +@transaction +@connection +info"
        ]
    );
    // Without MULTI nothing can be queued; what only reads tells enough.
    set_user(&redis, "app", &["resetkeys", "-@all", "~order:*", "+get"]).await;
    let found = said(&config, OWNER, &orders).await;
    assert!(
        found.len() == 1
            && found[0].starts_with("sink.cache: the Redis user lacks permissions for: HMGET")
            && found[0].contains("EVALSHA"),
        "{found:?}"
    );
    config.username = None;
    config.password = None;
    assert!(everything(&mut client).await.is_empty(), "check has written");

    ::redis::cmd("REPLICAOF").arg(&["127.0.0.1", "1"]).exec_async(&mut client).await.unwrap();
    assert_eq!(
        said(&config, OWNER, &orders).await,
        ["sink.cache: this Redis is a replica and takes no writes\nname its master in the url"]
    );
    ::redis::cmd("REPLICAOF").arg(&["NO", "ONE"]).exec_async(&mut client).await.unwrap();

    drop(started(&redis, &orders, &[]).await);
    let found = said(&config, "9/other", &orders).await;
    assert!(
        found[0].starts_with("sink.cache: orders in this Redis belongs to another pipeline"),
        "{found:?}"
    );

    let faulty = self::orders(vec![
        hash("order:{id}"),
        sorted_set("x", "{order_id}", "price"),
        sorted_set("x", "{order_id}", "status"),
    ]);
    let found = said(&config, OWNER, &faulty).await;
    assert_eq!(
        found,
        [
            "projection.orders: the template names \"id\", which is no column\n\
             name a column of the projection, or write {{ and }} for braces",
            "projection.orders: the score \"price\": there is no column `price`\n\
             a score is a column or a numeric expression over the row",
            "projection.orders: the score \"status\" is of type text\n\
             a score is a column of numbers or of times",
        ]
    );

    config.url = Secret::new("redis://127.0.0.1:1");
    let found = said(&config, OWNER, &orders).await;
    assert!(
        found[0]
            .starts_with("sink.cache: cannot connect to 127.0.0.1:1: the connection is refused"),
        "{found:?}"
    );
    config.url = Secret::new("http://secret@x");
    let found = said(&config, OWNER, &orders).await;
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("sink.cache: the url is none of Redis")
            && !found[0].contains("secret"),
        "{found:?}"
    );
}
