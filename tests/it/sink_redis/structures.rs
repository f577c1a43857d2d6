//! Each structure, and the texts, scores and lives of its entries.

use super::*;

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
