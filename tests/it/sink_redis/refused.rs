//! Rows and steps that the server refuses.

use super::*;

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
