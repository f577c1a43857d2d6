//! Generations: what a fill writes and removes.

use super::*;

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
