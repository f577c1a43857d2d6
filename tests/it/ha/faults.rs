//! Both instances and all that lies between, at random.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join;

use super::pair::{Pair, Readers, count};
use crate::harness::wait;
use crate::world::SINKS;

const ROUNDS: usize = 12;

#[tokio::test]
async fn whoever_is_stopped_killed_or_stands_still() {
    let mut pair = Pair::start().await;
    let seed = std::env::var("READSIDE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    pair.rng = fastrand::Rng::with_seed(seed);
    let (_, standby) = pair.roles().await;
    pair.until_shares_history(standby).await;
    pair.same(standby).await;
    let readers = Readers::new(&pair.world).await;
    let rounds = async {
        for round in 0..ROUNDS {
            let at = pair.rng.usize(0..2);
            let (fault, waits) = (pair.rng.u8(0..6), pair.rng.bool());
            eprintln!("round {round}: fault {fault} of daemon {at}, waits: {waits}");
            pair.work(10).await;
            match fault {
                0 => pair.daemons[at].kill9(),
                1 => assert!(pair.daemons[at].terminate().await.success()),
                2 => pair.daemons[at].pause(),
                3 => pair.nets[at].cut(),
                4 => pair.nets[at].blackhole(),
                _ => sink_net(&pair, round).cut(),
            }
            pair.work(10).await;
            if waits && fault < 5 {
                pair.until_replaced(at).await;
            }
            pair.work(10).await;
            match fault {
                0 | 1 => pair.daemons[at].restart(),
                2 => pair.daemons[at].resume(),
                3 | 4 => pair.nets[at].heal(),
                _ => sink_net(&pair, round).heal(),
            }
        }
        for at in 0..2 {
            pair.same(at).await;
            pair.daemons[at].wait_ready().await;
        }
    };
    readers.during(rounds).await;
    let (leader, standby) = pair.roles().await;
    wait::until("one leader", async || {
        let roles = [pair.role(leader).await?, pair.role(standby).await?];
        let both = (roles[0].0.as_str(), roles[1].0.as_str());
        if both == ("leader", "standby") { Ok(()) } else { Err(format!("{roles:?}")) }
    })
    .await;
}

/// The crash matrix of a group: under load the leader dies at each place on its way into a sink, or at any
/// moment. `READSIDE_TEST_KILLS=500`: so many more at any moment.
#[tokio::test]
async fn whoever_leads_is_killed_under_load() {
    let mut pair = Pair::start().await;
    let (mut leader, standby) = pair.roles().await;
    pair.until_shares_history(standby).await;
    pair.same(leader).await;
    let generations = pair.generations().await;
    let mut rng = fastrand::Rng::with_seed(13);
    let kills = std::env::var("READSIDE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok());
    let mut cases: Vec<Option<String>> = Vec::new();
    for sink in SINKS {
        cases.push(Some(format!("delivered@{sink}")));
        cases.push(Some(format!("watermark@{sink}")));
    }
    cases.extend(vec![None; kills.unwrap_or(4)]);
    rng.shuffle(&mut cases);
    let writer = pair.world.postgres.client(&pair.world.source).await;
    let readers = Readers::new(&pair.world).await;
    let rounds = async {
        for (round, case) in cases.iter().enumerate() {
            let standby = 1 - leader;
            eprintln!("round {round}: {case:?}, then daemon {standby} leads");
            let ended = Cell::new(false);
            let dies = async {
                match case {
                    // It takes the place over that it dies at; nothing but its own steps brings it there.
                    Some(point) => {
                        let point = format!("{point}:{}", rng.u8(1..4));
                        pair.daemons[standby].restart_with(&[("READSIDE_FAILPOINT", &point)]);
                        pair.daemons[standby].wait_ready().await;
                        pair.daemons[leader].kill9();
                        // In Postgres a step alone is one message, without such a place.
                        if point.starts_with("delivered@reporting") {
                            pair.until_replaced(leader).await;
                        } else {
                            pair.daemons[standby].ended().await;
                        }
                        pair.daemons[standby].restart();
                        pair.daemons[leader].restart();
                    }
                    None => {
                        wait::delay(Duration::from_millis(rng.u64(0..600))).await;
                        pair.daemons[leader].kill9();
                        pair.until_replaced(leader).await;
                        pair.daemons[leader].restart();
                    }
                }
                ended.set(true);
            };
            join(dies, count(&writer, &ended)).await;
            for at in 0..2 {
                pair.same(at).await;
            }
            leader = pair.roles().await.0;
        }
        assert_eq!(pair.generations().await, generations, "something was filled anew");
    };
    readers.during(rounds).await;
}

fn sink_net(pair: &Pair, round: usize) -> &crate::harness::Proxy {
    let world = &pair.world;
    [&world.reporting_net, &world.cache_net, &world.search_net][round % 3]
}

/// The leader cannot reach the source, which the other one can.
#[tokio::test]
async fn a_leader_that_is_cut_off_from_the_source_is_replaced() {
    let mut pair = Pair::start().await;
    let (leader, standby) = pair.roles().await;
    pair.until_shares_history(standby).await;
    let readers = Readers::new(&pair.world).await;
    let rounds = async {
        pair.nets[leader].blackhole();
        pair.work(20).await;
        pair.until_leads(standby, 2).await;
        pair.same(standby).await;
        pair.nets[leader].heal();
        pair.until_stands_by(leader, 2).await;
        pair.work(20).await;
        pair.same(leader).await;
    };
    readers.during(rounds).await;
    assert_eq!(pair.terms().await, [2, 2, 2]);
}

/// With its end all leases end; one of the two gets it again.
#[tokio::test]
async fn a_source_that_restarts_is_led_by_one() {
    let mut pair = Pair::start().await;
    let (_, standby) = pair.roles().await;
    pair.until_shares_history(standby).await;
    for _ in 0..3 {
        pair.work(10).await;
        pair.world.postgres.restart().await;
        pair.world.reconnect().await;
        pair.work(10).await;
        for at in 0..2 {
            pair.same(at).await;
        }
        wait::until("one leader", async || {
            let mut roles = [pair.role(0).await?.0, pair.role(1).await?.0];
            roles.sort();
            if roles == ["leader", "standby"] { Ok(()) } else { Err(format!("{roles:?}")) }
        })
        .await;
    }
}
