//! A cluster of three masters: a step is a script for each slot, and the watermark the last of them.

use std::cell::Cell;

use super::backlog::{changes, projections, refused};
use super::*;
use crate::harness::RedisCluster;

const ROWS: u32 = 40;

async fn start() -> RedisCluster {
    RedisCluster::start(&RedisOptions { appendonly: true, ..RedisOptions::default() }).await
}

/// What the nodes hold but for the sink's own keys, and whatever replicas hold.
pub(super) async fn written(cluster: &RedisCluster) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for mut client in masters(cluster).await {
        let mut keys: Vec<String> = client.keys("*").await.unwrap();
        keys.retain(|key| !key.starts_with("readside:"));
        found.extend(read(&mut client, keys).await);
    }
    found
}

async fn masters(cluster: &RedisCluster) -> Vec<Connection> {
    let mut masters = Vec::new();
    for node in &cluster.nodes {
        let Ok(mut client) = node.connect().await else { continue };
        let role: Vec<::redis::Value> =
            ::redis::cmd("ROLE").query_async(&mut client).await.unwrap();
        if role[0] == ::redis::Value::BulkString(b"master".into()) {
            masters.push(client);
        }
    }
    masters
}

/// The node that holds the key, of those that have its slot from the beginning.
pub(super) async fn client_of(cluster: &RedisCluster, key: &str) -> Connection {
    let mut any = cluster.nodes[0].client().await;
    cluster.nodes[RedisCluster::at_first(slot(&mut any, key).await)].client().await
}

async fn slot(any: &mut Connection, key: &str) -> u16 {
    ::redis::cmd("CLUSTER").arg("KEYSLOT").arg(key).query_async(any).await.unwrap()
}

async fn mark_of(cluster: &RedisCluster) -> BTreeMap<String, String> {
    watermark(&mut client_of(cluster, "readside:watermark:orders").await, "orders").await
}

/// Where each row stands, in one Redis.
async fn in_one_redis(orders: &SinkProjection, rows: &[Entry]) -> BTreeMap<String, String> {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut sink = started(&redis, orders, &[]).await;
    sink.apply(&step(1_000, rows.to_vec())).await.unwrap();
    contents(&mut redis.client().await).await
}

/// Each row at this round: at another customer each time, half of them.
fn rows_of(orders: &SinkProjection, round: u64) -> Vec<Entry> {
    (1..=ROWS)
        .map(|id| {
            // Half of them stay, so that no set is ever empty.
            let moves = if id % 2 == 0 { 1 } else { round + 1 };
            let customer = ((u64::from(id) * moves) % 7).to_string();
            let total = round.to_string();
            let values = [Some(&*id.to_string()), Some(&*customer), Some("new"), Some(&*total)]
                .map(|v| v.map(str::to_owned));
            let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
            row(orders, 100 + round, &values)
        })
        .collect()
}

#[tokio::test]
async fn a_cluster_comes_to_what_one_server_comes_to() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for (number, orders) in projections().into_iter().enumerate() {
        let (redis, cluster) = (Redis::start(&RedisOptions::default()).await, start().await);
        let mut client = redis.client().await;
        let mut by_one = started(&redis, &orders, &[]).await;
        let mut by_slots = started(&cluster.nodes[0], &orders, &[]).await;
        for position in 1..=8 {
            let told = format!("projection {number}, seed {seed}, position {position}");
            let lsn = 100 + 10 * position;
            let changes = changes(&orders, &mut random, lsn);
            let mut step = step(lsn + 1, changes);
            let expected = by_one.apply(&step).await.unwrap();
            if random.bool() {
                // Worked off before it is settled, by any node, perhaps.
                step.settled = false;
                step.position = Lsn(lsn - 9);
                by_slots.apply(&step).await.unwrap();
                let node = &cluster.nodes[random.usize(..3)];
                by_slots = sink(node, &[&orders]);
                let found = by_slots.open().await.unwrap().remove(0).unwrap();
                assert_eq!((found.settled, found.reaching), (false, Lsn(lsn + 1)), "{told}");
                step.settled = true;
                step.position = Lsn(lsn + 1);
            }
            let outcome = by_slots.apply(&step).await.unwrap();
            let keys = |outcome: &Outcome| {
                refused(outcome).into_iter().map(|(key, _)| key).collect::<Vec<_>>()
            };
            assert_eq!(
                (outcome.upserts, outcome.deletes, keys(&outcome)),
                (expected.upserts, expected.deletes, keys(&expected)),
                "{told}"
            );
            let found = contents(&mut client).await;
            assert_eq!(written(&cluster).await, found, "{told}");
            let mark = mark_of(&cluster).await;
            assert_eq!(mark["settled"], "true", "{told}");
            assert_eq!(mark["lsn"], Lsn(lsn + 1).to_string(), "{told}");
            // Keys of the application where rows would go, and are not.
            const THEIRS: &str = "the application's";
            for (key, every) in [("order:7", 6), ("customer:1", 6), ("status:paid:9", 3), ("9", 4)]
            {
                let there = found.get(key).map(String::as_str);
                for mut client in [client.clone(), client_of(&cluster, key).await] {
                    if position % every == 2 && there.is_none() {
                        client.set::<_, _, ()>(key, THEIRS).await.unwrap();
                    }
                    if position % every == 0 && there == Some(THEIRS) {
                        client.del::<_, ()>(key).await.unwrap();
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_new_generation_removes_what_it_lacks_from_every_node() {
    let cluster = start().await;
    for (generation, orders) in (2..).zip(projections()) {
        let mut orders = orders;
        orders.fingerprint = format!("orders-{generation}");
        let mut sink = sink(&cluster.nodes[1], &[&orders]);
        sink.open().await.unwrap();
        let rows = rows_of(&orders, generation);
        // Begun twice, as after a crash, the second time with fewer rows.
        sink.begin_fill(0, generation).await.unwrap();
        sink.fill(0, &rows).await.unwrap();
        let (kept, dropped) = rows.split_at(30);
        refill(&mut sink, kept, 200, generation).await;
        assert_eq!(written(&cluster).await, in_one_redis(&orders, kept).await, "{generation}");
        // And what came again.
        sink.apply(&step(300, dropped.to_vec())).await.unwrap();
        assert_eq!(written(&cluster).await, in_one_redis(&orders, &rows).await, "{generation}");
    }
    let mut shapes = client_of(&cluster, "readside:shapes:orders").await;
    assert_eq!(shapes.hlen::<_, usize>("readside:shapes:orders").await.unwrap(), 1);
}

#[tokio::test]
async fn what_a_leader_before_sends_has_no_effect_in_any_slot() {
    let cluster = start().await;
    let orders = recorded();
    let leading = |term: u64| {
        let origin = readside::sink::Origin::from(OWNER);
        origin.term.set(term);
        RedisSink::new(&config(&cluster.nodes[0]), origin, vec![orders.clone()]).unwrap()
    };
    let mut first = leading(1);
    filled(&mut first, &rows_of(&orders, 0), 101).await;
    let mut second = leading(2);
    assert_eq!(second.look().await.unwrap().remove(0).unwrap().term, 1);
    second.open().await.unwrap();
    let before = (written(&cluster).await, mark_of(&cluster).await);
    for settled in [true, false] {
        let late = Step { settled, ..step(120, rows_of(&orders, 5)) };
        assert!(why(first.apply(&late).await.unwrap_err()).starts_with("retryable: "));
        assert_eq!(why(first.open().await.unwrap_err()), "outranked: 2");
        assert_eq!((written(&cluster).await, mark_of(&cluster).await), before);
    }
    second.apply(&step(102, rows_of(&orders, 1))).await.unwrap();
    assert_eq!(written(&cluster).await, in_one_redis(&orders, &rows_of(&orders, 1)).await);
}

/// A node stands still, with scripts on their way to it, and the process dies. The scripts run when the
/// next one has begun.
#[tokio::test]
async fn a_step_that_was_cut_between_two_slots_is_made_good() {
    for orders in [recorded(), anchored()] {
        let mut cluster = start().await;
        let mut sink = sink(&cluster.nodes[0], &[&orders]);
        sink.open().await.unwrap();
        refill(&mut sink, &rows_of(&orders, 0), 101, 1).await;
        let mut round = 0;
        for cut in 0..12 {
            let reached = Cell::new(0);
            let write = async {
                loop {
                    round += 1;
                    sink.apply(&step(101 + round, rows_of(&orders, round))).await.unwrap();
                    reached.set(reached.get() + 1);
                }
            };
            let (node, steps) = (cut % 3, fastrand::u32(1..4));
            let stop = async {
                wait::until("some steps", async || {
                    if reached.get() >= steps { Ok(()) } else { Err(reached.get()) }
                })
                .await;
                for _ in 0..fastrand::u32(..40) {
                    tokio::task::yield_now().await;
                }
                cluster.nodes[node].stand_still();
            };
            tokio::select! { () = write => {}, () = stop => {} }
            drop(sink);
            cluster.nodes[node].go_on();
            sink = super::sink(&cluster.nodes[0], &[&orders]);
            let found = sink.open().await.unwrap().remove(0).unwrap();
            assert!(found.reaching >= Lsn(100 + round), "{found:?} in round {round}");
            let rows = rows_of(&orders, round);
            sink.apply(&step(101 + round, rows.clone())).await.unwrap();
            let told = format!("cut {cut}, round {round}");
            assert_eq!(written(&cluster).await, in_one_redis(&orders, &rows).await, "{told}");
        }
    }
}

/// A reader of watermark, rows and watermark again never finds less than the watermark says.
#[tokio::test]
async fn a_settled_watermark_is_never_ahead_of_its_rows() {
    let cluster = start().await;
    let orders = anchored();
    let mut sink = started(&cluster.nodes[0], &orders, &[]).await;
    let met = Cell::new(0);
    let write = async {
        for round in 0..200 {
            sink.apply(&step(101 + round, rows_of(&orders, round))).await.unwrap();
            if round % 20 == 0 {
                let before = met.get();
                wait::until("a reader to meet that", async || {
                    if met.get() > before { Ok(()) } else { Err(before) }
                })
                .await;
            }
        }
    };
    let mut any = cluster.nodes[0].client().await;
    let mut pipes = vec![::redis::pipe(); 3];
    for id in 1..=ROWS {
        let key = format!("order:{id}");
        let node = RedisCluster::at_first(slot(&mut any, &key).await);
        pipes[node].hget(key, "total");
    }
    let mut clients = cluster.clients().await;
    let mut at = client_of(&cluster, "readside:watermark:orders").await;
    let read = async {
        loop {
            let before = watermark(&mut at, "orders").await;
            let mut totals: Vec<Option<u64>> = Vec::new();
            for (client, pipe) in clients.iter_mut().zip(&pipes) {
                totals.extend(pipe.query_async::<Vec<Option<u64>>>(client).await.unwrap());
            }
            let after = watermark(&mut at, "orders").await;
            let lsn: Lsn = before["lsn"].parse().unwrap();
            let Some(round) = lsn.0.checked_sub(101) else { continue };
            // An unsettled one says nothing of what is newer, but all before it is there.
            assert!(totals.iter().all(|total| total.is_some_and(|at| at >= round)), "{lsn}");
            if before["settled"] == "true" && before["step"] == after["step"] {
                assert!(totals.iter().all(|total| *total == Some(round)), "{lsn}: {totals:?}");
                met.set(met.get() + 1);
            }
        }
    };
    tokio::select! { () = write => {}, () = read => {} }
    assert_eq!(written(&cluster).await, in_one_redis(&orders, &rows_of(&orders, 199)).await);
}

#[tokio::test]
async fn a_node_that_lost_nothing_is_gone_on_with_and_one_that_did_is_filled_anew() {
    let mut cluster = start().await;
    let orders = recorded();
    let mut sink = started(&cluster.nodes[0], &orders, &[]).await;
    sink.apply(&step(101, rows_of(&orders, 0))).await.unwrap();
    for node in 0..3 {
        // Killed: all that it answered is there.
        cluster.nodes[node].restart().await;
        cluster.whole().await;
        let error = why(sink.apply(&step(102, Vec::new())).await.err().unwrap_or_else(|| {
            SinkError::Retryable { what: "the watermark was elsewhere".into(), source: None }
        }));
        assert!(error.starts_with("retryable"), "{error}");
        let found = sink.open().await.unwrap().remove(0).unwrap();
        assert!(found.settled, "{found:?}");

        // An older one of its files is put back.
        cluster.nodes[node].copy();
        let round = 1 + node as u64;
        sink.apply(&step(110 + round, rows_of(&orders, round))).await.unwrap();
        sink.apply(&step(120 + round, Vec::new())).await.unwrap();
        cluster.nodes[node].restore().await;
        cluster.whole().await;
        // Whether by the process that was there or by another one.
        if node == 1 {
            sink = super::sink(&cluster.nodes[0], &[&orders]);
        }
        let found = sink.open().await.unwrap().remove(0).unwrap();
        assert_eq!((found.settled, &*found.fingerprint), (false, ""), "{node}: {found:?}");
        assert!(found.reaching >= Lsn(110 + round), "{found:?}");
        refill(&mut sink, &rows_of(&orders, round), 130 + round, 2 + round).await;
        let expected = in_one_redis(&orders, &rows_of(&orders, round)).await;
        assert_eq!(written(&cluster).await, expected);
    }
    // Emptied.
    let mut client = cluster.nodes[2].client().await;
    client.flushall::<()>().await.unwrap();
    let error = why(sink.apply(&step(150, rows_of(&orders, 9))).await.unwrap_err());
    assert!(error.starts_with("retryable"), "{error}");
    let found = sink.open().await.unwrap().remove(0);
    assert!(found.is_none_or(|found| found.fingerprint.is_empty()));
    refill(&mut sink, &rows_of(&orders, 9), 160, 9).await;
    assert_eq!(written(&cluster).await, in_one_redis(&orders, &rows_of(&orders, 9)).await);
}

#[tokio::test]
async fn a_replica_that_takes_over_is_gone_on_with() {
    let mut cluster = start().await;
    let options = RedisOptions { appendonly: true, ..RedisOptions::default() };
    cluster.add_replica(1, &options).await;
    let orders = anchored();
    let mut sink = started(&cluster.nodes[0], &orders, &[]).await;
    sink.apply(&step(101, rows_of(&orders, 0))).await.unwrap();
    let mut master = cluster.nodes[1].client().await;
    let copied: i64 = ::redis::cmd("WAIT").arg(1).arg(0).query_async(&mut master).await.unwrap();
    assert_eq!(copied, 1);
    cluster.nodes[1].kill9();
    let mut round = 0;
    wait::until("the replica to take over", async || {
        round += 1;
        let rows = rows_of(&orders, round);
        match sink.apply(&step(101 + round, rows)).await {
            Ok(_) => return Ok(()),
            Err(SinkError::Retryable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        let found = sink.open().await.map_err(why)?;
        let found = found.into_iter().next().flatten().unwrap();
        assert_eq!(found.fingerprint, "orders-1", "it had everything");
        Err("not yet".to_owned())
    })
    .await;
    assert_eq!(written(&cluster).await, in_one_redis(&orders, &rows_of(&orders, round)).await);
}

/// One slot from node to node; calls `meanwhile` with its keys in the one, in both, in the other.
async fn move_slot(
    cluster: &RedisCluster,
    slot: u16,
    (from, to): (usize, usize),
    mut meanwhile: impl AsyncFnMut(),
) {
    let mut clients = cluster.clients().await;
    let (from_id, to_id) = (cluster.id(from).await, cluster.id(to).await);
    let set = |state: &'static str, id: String| {
        let mut command = ::redis::cmd("CLUSTER");
        command.arg("SETSLOT").arg(slot).arg(state).arg(id);
        command
    };
    set("IMPORTING", from_id).exec_async(&mut clients[to]).await.unwrap();
    set("MIGRATING", to_id.clone()).exec_async(&mut clients[from]).await.unwrap();
    meanwhile().await;
    loop {
        let keys: Vec<Vec<u8>> = ::redis::cmd("CLUSTER")
            .arg("GETKEYSINSLOT")
            .arg(slot)
            .arg(1)
            .query_async(&mut clients[from])
            .await
            .unwrap();
        let Some(key) = keys.first() else { break };
        let mut migrate = ::redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(cluster.nodes[to].port()).arg(key).arg(0).arg(5_000);
        migrate.exec_async(&mut clients[from]).await.unwrap();
    }
    meanwhile().await;
    for node in [to, from] {
        set("NODE", to_id.clone()).exec_async(&mut clients[node]).await.unwrap();
    }
    meanwhile().await;
}

#[tokio::test]
async fn slots_move_while_rows_are_written() {
    let cluster = start().await;
    let orders = recorded();
    let mut sink = started(&cluster.nodes[0], &orders, &[]).await;
    sink.apply(&step(101, rows_of(&orders, 0))).await.unwrap();
    let mut any = cluster.nodes[0].client().await;
    let mut round = 0;
    // Of rows, of a set that rows move to and from, of the watermark itself, of a master's mark.
    let mut slots = vec![0];
    for key in ["order:1", "order:2", "customer:3:orders", "readside:watermark:orders"] {
        slots.push(slot(&mut any, key).await);
    }
    for slot in slots {
        let from = RedisCluster::at_first(slot);
        move_slot(&cluster, slot, (from, (from + 1) % 3), async || {
            round += 1;
            // Existing rows alone: a slot on its way takes no new key.
            sink.apply(&step(101 + round, rows_of(&orders, round))).await.unwrap();
        })
        .await;
    }
    let rows = rows_of(&orders, round);
    assert_eq!(written(&cluster).await, in_one_redis(&orders, &rows).await);
    // Who comes now finds all where it is, and nothing lost.
    let mut next = super::sink(&cluster.nodes[2], &[&orders]);
    assert!(next.open().await.unwrap().remove(0).unwrap().settled);
}

#[tokio::test]
async fn a_new_key_waits_for_its_slot() {
    let cluster = start().await;
    let orders = anchored();
    let mut sink = started(&cluster.nodes[0], &orders, &[]).await;
    let mut any = cluster.nodes[0].client().await;
    let slot = slot(&mut any, "order:1").await;
    let from = RedisCluster::at_first(slot);
    let waiting = Cell::new(false);
    let rows = rows_of(&orders, 0);
    let write = async {
        wait::until("the slot to be on its way", async || {
            if waiting.get() { Ok(()) } else { Err("it is not") }
        })
        .await;
        // The fence is here and the row's key is nowhere, until the slot has arrived.
        while let Err(error) = sink.apply(&step(102, rows.clone())).await {
            let error = why(error);
            assert!(error.contains("slots of the Redis cluster are being moved"), "{error}");
            sink.open().await.unwrap();
        }
    };
    let moving = move_slot(&cluster, slot, (from, (from + 2) % 3), async || waiting.set(true));
    tokio::join!(write, moving);
    assert_eq!(written(&cluster).await, in_one_redis(&orders, &rows).await);
}

#[tokio::test]
async fn tls_users_and_several_hosts() {
    let certificates = Certificates::make();
    let options =
        RedisOptions { password: Some("s3cret"), tls: Some(&certificates), ..Default::default() };
    let cluster = RedisCluster::start(&options).await;
    for node in &cluster.nodes {
        let rules = [
            "on",
            ">pw",
            "~readside:*",
            "~order:*",
            "~customer:*",
            "+@read",
            "+@write",
            "+@scripting",
            "+@transaction",
            "+@connection",
            "+info",
            "+cluster|slots",
        ];
        set_user(node, "app", &rules).await;
    }
    let orders = anchored();
    let mut config = config(&cluster.nodes[0]);
    let ports: Vec<_> = cluster.nodes.iter().map(Redis::port).collect();
    // The first of them is nobody.
    let url = format!("rediss://127.0.0.1:1,127.0.0.1:{},127.0.0.1:{}", ports[1], ports[2]);
    config.url = Secret::new(url);
    config.username = Some("app".into());
    config.password = Some(Secret::new("pw"));
    config.ca_file = Some(certificates.authority.clone());
    assert!(check(&config, Some(OWNER), std::slice::from_ref(&orders)).await.is_empty());
    let mut sink = RedisSink::new(&config, OWNER.into(), vec![orders.clone()]).unwrap();
    filled(&mut sink, &rows_of(&orders, 0), 101).await;
    sink.apply(&step(102, rows_of(&orders, 1))).await.unwrap();
    assert_eq!(written(&cluster).await, in_one_redis(&orders, &rows_of(&orders, 1)).await);

    set_user(&cluster.nodes[2], "app", &["-cluster"]).await;
    set_user(&cluster.nodes[1], "app", &["-cluster"]).await;
    let refused = why(sink_of(&config, &orders).open().await.unwrap_err());
    assert!(refused.ends_with("CLUSTER SLOTS: the Redis user lacks a permission"), "{refused}");
}

fn sink_of(config: &SinkConfig, projection: &SinkProjection) -> RedisSink {
    RedisSink::new(config, OWNER.into(), vec![projection.clone()]).unwrap()
}

#[tokio::test]
async fn check_looks_at_every_master_and_creates_nothing() {
    let mut cluster = start().await;
    let orders = anchored();
    let mut config = config(&cluster.nodes[0]);
    let said = async |config: &SinkConfig| {
        let found = check(config, Some(OWNER), std::slice::from_ref(&orders)).await;
        found
            .into_iter()
            .map(|d| format!("{}\n{}", d.what, d.hint.unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    assert!(said(&config).await.is_empty());
    let mut second = cluster.nodes[1].client().await;
    for words in [["maxmemory", "100mb"], ["maxmemory-policy", "allkeys-lru"]] {
        ::redis::cmd("CONFIG").arg("SET").arg(&words).exec_async(&mut second).await.unwrap();
    }
    let port = cluster.nodes[1].port();
    let found = said(&config).await;
    let expected =
        format!("sink.cache: 127.0.0.1:{port}: maxmemory-policy is allkeys-lru: Redis may evict");
    assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}");
    ::redis::cmd("CONFIG").arg(&["SET", "maxmemory", "0"]).exec_async(&mut second).await.unwrap();

    let rules = ["on", ">pw", "~readside:*", "~order:*", "+@all", "-hlen", "-cluster|info"];
    for node in &cluster.nodes {
        set_user(node, "app", &rules).await;
    }
    config.username = Some("app".into());
    config.password = Some(Secret::new("pw"));
    let found = said(&config).await;
    let [denied] = found.as_slice() else { panic!("{found:?}") };
    for part in [
        "sink.cache: the Redis user lacks permissions for: ",
        "HLEN order:0",
        "ZADD customer:0:orders",
        "+info +cluster|slots +cluster|info",
    ] {
        assert!(denied.contains(part), "{denied}");
    }
    config.username = None;
    config.password = None;

    config.url = Secret::new(cluster.url().replace("/0", "/3"));
    let found = said(&config).await;
    assert!(found.len() == 1 && found[0].contains("a cluster has no database 3"), "{found:?}");
    let one = Redis::start(&RedisOptions::default()).await;
    config.url = Secret::new(format!("redis://127.0.0.1:{},127.0.0.1:{port}", one.port()));
    let found = said(&config).await;
    assert!(
        found.len() == 1 && found[0].contains("several hosts are those of a cluster"),
        "{found:?}"
    );
    config.url = Secret::new(cluster.url());
    for mut client in masters(&cluster).await {
        assert!(everything(&mut client).await.is_empty(), "check has written");
    }

    cluster.nodes[2].kill9();
    let found = said(&config).await;
    assert!(found.len() == 1 && found[0].contains("the connection is refused"), "{found:?}");
}
