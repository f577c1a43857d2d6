//! A backlog is written by other means than a step that settles, and must come to the same.

use super::*;

/// Rows of several transactions.
const MANY: usize = 2_000;

fn unsettled(position: u64, reaching: u64, entries: Vec<Entry>) -> Step {
    let mut step = step(position, entries);
    step.settled = false;
    step.reaching = Lsn(reaching);
    step
}

/// Everything but watermarks.
async fn written(redis: &mut Connection) -> BTreeMap<String, String> {
    let mut found = everything(redis).await;
    found.retain(|key, _| !key.starts_with("readside:watermark:"));
    found
}

fn with_ttl(mut target: RedisTarget) -> RedisTarget {
    target.ttl = Some(1_000);
    target
}

/// Each way in which the place of a row's older version is known, and each structure.
pub(super) fn projections() -> Vec<SinkProjection> {
    vec![
        anchored(),
        recorded(),
        orders(vec![
            set("customer:{customer_id}", "{status}/{order_id}"),
            with_ttl(hash("order:{order_id}")),
            hash("by-status:{status}:{order_id}"),
        ]),
        orders(vec![
            hash("{order_id}"),
            set("orders", "{order_id}"),
            with_ttl(sorted_set("totals", "{order_id}", "total")),
        ]),
        orders(vec![
            hash("order:{order_id}"),
            json("status:{status}:{order_id}"),
            set("customer:{customer_id}", "{order_id}"),
            set("status:{status}", "{order_id}"),
        ]),
    ]
}

/// Each key once; NULLs, deletions, and rows that stay, change and move.
pub(super) fn changes(orders: &SinkProjection, random: &mut fastrand::Rng, lsn: u64) -> Vec<Entry> {
    let mut changes = Vec::new();
    for id in 1..=60 {
        let id = id.to_string();
        let number = |random: &mut fastrand::Rng, below: u32| random.u32(..below).to_string();
        let customer = (random.u32(..5) > 0).then(|| number(random, 4));
        let status = (random.u32(..5) > 0).then(|| ["new", "paid", ""][random.usize(..3)]);
        let total = (random.u32(..4) > 0).then(|| number(random, 3));
        let values = [Some(&*id), customer.as_deref(), status, total.as_deref()];
        match random.u32(..6) {
            0 | 1 => {}
            2 => changes.push(gone(orders, lsn, &values)),
            _ => changes.push(row(orders, lsn, &values)),
        }
    }
    changes
}

pub(super) fn refused(outcome: &Outcome) -> Vec<(Vec<u8>, String)> {
    let mut refused: Vec<_> =
        outcome.poison.iter().map(|p| (p.entry.key().to_vec(), p.error.clone())).collect();
    refused.sort();
    refused
}

#[tokio::test]
async fn a_backlog_comes_to_what_steps_come_to() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for (number, orders) in projections().into_iter().enumerate() {
        let servers = [
            Redis::start(&RedisOptions::default()).await,
            Redis::start(&RedisOptions::default()).await,
        ];
        let mut clients = [servers[0].client().await, servers[1].client().await];
        let mut by_steps = started(&servers[0], &orders, &[]).await;
        let mut by_backlog = started(&servers[1], &orders, &[]).await;
        for position in 1..=12 {
            let lsn = 100 + 10 * position;
            let changes = changes(&orders, &mut random, lsn);
            let expected = by_steps.apply(&step(lsn + 1, changes.clone())).await.unwrap();
            let outcome = by_backlog.apply(&unsettled(100, lsn + 1, changes)).await.unwrap();
            assert_eq!(
                (outcome.upserts, outcome.deletes, refused(&outcome)),
                (expected.upserts, expected.deletes, refused(&expected)),
                "projection {number}, seed {seed}, position {position}"
            );
            let is_string = random.bool();
            let [expected, found] = &mut clients;
            assert_eq!(
                written(found).await,
                written(expected).await,
                "projection {number}, seed {seed}, position {position}"
            );
            // Keys of the application where rows would go.
            for (key, every) in [("order:7", 6), ("customer:1", 6), ("status:paid:9", 3), ("9", 4)]
            {
                for client in clients.iter_mut().filter(|_| position % every == 2) {
                    client.del::<_, ()>(key).await.unwrap();
                    match is_string {
                        true => client.set::<_, _, ()>(key, "the application's").await.unwrap(),
                        false => client.sadd::<_, _, ()>(key, "the application's").await.unwrap(),
                    }
                }
                for client in clients.iter_mut().filter(|_| position % every == 0) {
                    client.del::<_, ()>(key).await.unwrap();
                }
            }
        }
        assert_eq!(watermark(&mut clients[1], "orders").await["settled"], "false");
    }
}

fn many(orders: &SinkProjection, lsn: u64, customer: &str) -> Vec<Entry> {
    let ids = (1..=MANY).map(|id| id.to_string());
    ids.map(|id| row(orders, lsn, &[Some(&id), Some(customer), Some("new"), Some("1")])).collect()
}

#[tokio::test]
async fn a_fill_and_a_backlog_of_many_transactions_are_whole() {
    for orders in [anchored(), recorded()] {
        let redis = Redis::start(&RedisOptions::default()).await;
        let mut client = redis.client().await;
        let mut sink = sink(&redis, &[&orders]);
        let outcome = filled(&mut sink, &many(&orders, 50, "7"), 100).await;
        assert_eq!(outcome.upserts, MANY as u64);
        assert_eq!(client.zcard::<_, usize>("customer:7:orders").await.unwrap(), MANY);

        let outcome = sink.apply(&unsettled(100, 120, many(&orders, 110, "8"))).await.unwrap();
        assert_eq!(outcome.upserts, MANY as u64);
        assert_eq!(client.zcard::<_, usize>("customer:7:orders").await.unwrap(), 0);
        assert_eq!(client.zcard::<_, usize>("customer:8:orders").await.unwrap(), MANY);
        sink.apply(&step(120, Vec::new())).await.unwrap();
        assert_eq!(watermark(&mut client, "orders").await["settled"], "true");
    }
}

#[tokio::test]
async fn a_backlog_stops_where_another_process_takes_over() {
    let orders = anchored();
    for rounds in 0..10 {
        let redis = Redis::start(&RedisOptions::default()).await;
        let mut client = redis.client().await;
        let mut late = started(&redis, &orders, &[]).await;
        let mut next = sink(&redis, &[&orders]);
        next.open().await.unwrap();
        let backlog = unsettled(100, 120, many(&orders, 110, "7"));
        let taken_over = async {
            // At another place each time: before the first transaction, between two, behind a WATCH.
            let begun = wait::until("some rows", async || {
                let there: usize =
                    ::redis::cmd("DBSIZE").query_async(&mut client.clone()).await.unwrap();
                (there > rounds * 200).then_some(()).ok_or(there.to_string())
            });
            begun.await;
            next.open().await.unwrap();
            next.apply(&step(130, Vec::new())).await
        };
        let (stopped, taken_over) = tokio::join!(late.apply(&backlog), taken_over);
        if taken_over.is_err() {
            // It came between the two's own looks at the watermark: nobody was let past it.
            continue;
        }
        let there: usize = ::redis::cmd("DBSIZE").query_async(&mut client).await.unwrap();
        let stopped = stopped.map(|outcome| outcome.upserts).map_err(why);
        if let Err(why) = &stopped {
            assert!(why.contains("the watermark of orders is not the one last seen"), "{why}");
        }
        let late = why(late.apply(&backlog).await.unwrap_err());
        assert!(late.starts_with("retryable"), "{late}");
        assert_eq!(::redis::cmd("DBSIZE").query_async::<usize>(&mut client).await.unwrap(), there);
        assert_eq!(watermark(&mut client, "orders").await["lsn"], "0/82");
    }
}

#[tokio::test]
async fn a_user_without_transactions_has_its_backlog_by_scripts() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let orders = anchored();
    set_user(&redis, "default", &["-@transaction"]).await;
    let mut sink = started(&redis, &orders, &[]).await;
    let changed = row(&orders, 110, &[Some("1"), Some("7"), Some("new"), Some("1")]);
    sink.apply(&unsettled(100, 120, vec![changed])).await.unwrap();
    assert_eq!(contents(&mut client).await.len(), 2);
    let found = watermark(&mut client, "orders").await;
    assert_eq!(["settled", "reaching"].map(|name| found[name].as_str()), ["false", "0/78"]);
}
