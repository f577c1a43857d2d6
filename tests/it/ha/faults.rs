//! Both instances and all that lies between, at random.

use super::pair::{Pair, Readers};
use crate::harness::wait;

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
