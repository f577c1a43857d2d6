//! Two instances are one pipeline: one delivers, the other stands ready, and whatever becomes of either, no
//! reader sees anything go backwards and both come to the same end.

mod faults;
mod letters;
mod pair;

use self::pair::{Pair, Readers};
use crate::world::{one, until_metric};

/// A clean end and a sudden one: the other one leads within a moment, and nothing is filled anew.
#[tokio::test]
async fn a_standby_takes_over_without_a_fill() {
    let mut pair = Pair::start().await;
    let (leader, standby) = pair.roles().await;
    let status = pair.daemons[standby].status().await;
    assert_eq!(status["ha"]["role"], "standby", "{status}");
    assert_eq!(status["ha"]["group"], "shop");
    pair.until_stands_by(standby, 1).await;
    let ready = pair.daemons[standby].get("/readyz").await;
    assert_eq!((ready.0.as_u16(), ready.1.as_str()), (200, "ready: standby in term 1"));
    until_metric(&pair.daemons[leader], "readside_leader", &[], |leads| leads == 1.0).await;
    until_metric(&pair.daemons[standby], "readside_leader", &[], |leads| leads == 0.0).await;
    until_metric(&pair.daemons[standby], "readside_term", &[], |term| term == 1.0).await;

    // What the leader has delivered can be waited for, and rows read, at the standby too.
    pair.until_shares_history(standby).await;
    pair.world.execute("UPDATE items SET v = 'by the first' WHERE id % 2 = 1").await;
    pair.same(standby).await;
    let path = format!("/v1/read/{}?key=[\"3\"]", pair.world.name("items"));
    let (code, row) = pair.daemons[standby].get(&path).await;
    assert!(code.is_success() && row.contains("by the first"), "{code} {row}");
    // Orders are for the leader.
    let rebuilt = pair.daemons[standby].command(&["rebuild", &pair.world.name("items")]).await;
    let told = String::from_utf8_lossy(&rebuilt.stderr).into_owned();
    assert!(!rebuilt.status.success() && told.contains("another instance"), "{told}");

    let generations = pair.generations().await;
    assert!(pair.daemons[leader].terminate().await.success());
    pair.work(20).await;
    pair.until_leads(standby, 2).await;
    pair.same(standby).await;
    assert_eq!(pair.terms().await, [2, 2, 2]);

    // It comes back and stands ready in its turn.
    pair.daemons[leader].restart();
    pair.daemons[leader].wait_ready().await;
    pair.until_stands_by(leader, 2).await;
    pair.work(20).await;
    pair.daemons[standby].kill9();
    pair.work(20).await;
    pair.until_leads(leader, 3).await;
    pair.same(leader).await;
    assert_eq!(pair.generations().await, generations, "something was filled anew");
}

/// One that stands still leads no more once its lease is over, and finds that out when it goes on.
#[tokio::test]
async fn a_leader_that_stands_still_is_replaced_and_writes_nothing_more() {
    let mut pair = Pair::start().await;
    let (mut leader, mut standby) = pair.roles().await;
    pair.until_shares_history(standby).await;
    pair.same(leader).await;
    let generations = pair.generations().await;
    let readers = Readers::new(&pair.world).await;
    let rounds = async {
        for term in 2..5 {
            // Something is on its way when it stops.
            pair.work(20).await;
            pair.daemons[leader].pause();
            pair.work(20).await;
            pair.until_leads(standby, term).await;
            pair.same(standby).await;
            pair.daemons[leader].resume();
            pair.until_stands_by(leader, term).await;
            let written = pair.written(leader).await;
            pair.work(20).await;
            pair.same(standby).await;
            pair.same(leader).await;
            assert_eq!(pair.written(leader).await, written, "what was fenced has written");
            assert_eq!(pair.terms().await, [term, term, term]);
            (leader, standby) = (standby, leader);
        }
        assert_eq!(pair.generations().await, generations, "something was filled anew");
    };
    readers.during(rounds).await;
}

/// Each is told for itself; whoever leads fills what is new, and the other one takes it over as it is.
#[tokio::test]
async fn another_configuration_is_taken_up_by_both() {
    let mut pair = Pair::start().await;
    let (leader, standby) = pair.roles().await;
    pair.until_shares_history(standby).await;
    let again = pair.world.projection("again", "items", &["id"]);
    let generation = async |pair: &Pair| {
        let name = pair.world.name("again");
        let sql =
            format!("SELECT generation::text FROM readside.watermark WHERE projection = '{name}'");
        one(&pair.world.reporting, &sql).await
    };
    for at in [leader, standby] {
        let config = pair.config(at, &again);
        let reload = pair.daemons[at].reload(&config).await;
        assert_eq!(reload["result"], "applied", "{reload}");
        pair.daemons[at].wait_ready().await;
        pair.work(20).await;
        pair.world.same(&mut pair.daemons[at], "again", "items", &["id"]).await;
    }
    // A pipeline that begins anew takes a term of its own.
    assert_eq!(pair.role(leader).await.unwrap().0, "leader", "a reload hands nothing over");
    let (generations, filled) = (pair.generations().await, generation(&pair).await);
    pair.daemons[leader].kill9();
    pair.work(20).await;
    pair.until_replaced(leader).await;
    pair.same(standby).await;
    pair.world.same(&mut pair.daemons[standby], "again", "items", &["id"]).await;
    assert_eq!((pair.generations().await, generation(&pair).await), (generations, filled));

    // And back, the standby first.
    pair.daemons[leader].restart();
    pair.daemons[leader].wait_ready().await;
    for at in [leader, standby] {
        let config = pair.config(at, "");
        let reload = pair.daemons[at].reload(&config).await;
        assert_eq!(reload["result"], "applied", "{reload}");
        pair.daemons[at].wait_ready().await;
        pair.work(20).await;
        pair.same(at).await;
    }
    assert_eq!(pair.role(standby).await.unwrap().0, "leader");
}
