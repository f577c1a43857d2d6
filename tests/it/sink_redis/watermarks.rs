//! What watermarks say, and whom they let through.

use super::*;

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
            "projection",
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
        [
            "orders",
            "0/64",
            "2000-02-29 00:00:00.5+00",
            "false",
            "1",
            OWNER,
            "0/6F",
            "orders-1",
            "0.1"
        ]
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
