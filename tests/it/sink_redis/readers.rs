//! What readers see of a step, and what a crash leaves.

use super::*;

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
