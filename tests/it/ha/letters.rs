//! Dead letters outlive the leader that has met them: the sinks remember what they have refused.

use std::collections::BTreeSet;

use redis::AsyncCommands;
use serde_json::json;

use super::pair::Pair;
use crate::events::stream;
use crate::harness::{Daemon, wait};
use crate::world::{SINKS, World, one};

/// Both things and their events have versions that each of the sinks refuses.
fn config(world: &World) -> String {
    format!(
        "[projection.{things}]\ntable = 'things'\n\
         to.reporting = {{ table = 'things', indexes = ['(v)'] }}\n\
         to.cache = {{ hash = 'thing:{{id}}' }}\n\
         to.search = {{ index = '{things}', mappings = {{ properties = {{ v = {{ type = 'keyword' }} }} }} }}\n\
         [event.{made}]\ntable = 'things'\nwhen = 'old IS NULL'\ndata = 'new.id, new.v'\n\
         to.reporting = {{ table = 'made', indexes = ['(v)'] }}\n\
         to.cache = {{ stream = 'made:{{id}}' }}\n\
         to.search = {{ index = '{made}', mappings = {{ properties = {{ data = {{ properties = {{ v = {{ type = 'keyword' }} }} }} }} }} }}\n",
        things = world.name("things"),
        made = world.name("made"),
    )
}

/// One that all sinks refuse, and one that they accept.
async fn refused(pair: &Pair, id: &str) {
    let mut redis = pair.world.redis.client().await;
    for key in [format!("thing:{id}"), format!("made:{id}")] {
        let () = redis.set(key, "of another type").await.unwrap();
    }
    // Too long for an index's entry and for a keyword.
    let long = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1200) AS i)";
    let sql = format!("INSERT INTO things VALUES ('{id}', {long}), ('good {id}', 'good')");
    pair.world.execute(&sql).await;
}

async fn delivered(pair: &mut Pair, leader: usize) {
    let lsn = pair.world.lsn().await;
    for name in ["things", "made"] {
        for sink in SINKS {
            pair.daemons[leader].wait_for(&pair.world.name(name), sink, &lsn).await;
        }
    }
}

async fn letters(daemon: &Daemon) -> BTreeSet<String> {
    let list = daemon.command(&["dead-letters", "list"]).await;
    assert!(list.status.success(), "{list:?}");
    let list = String::from_utf8(list.stdout).unwrap();
    list.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

async fn until_letters(daemon: &Daemon, expected: &BTreeSet<String>) {
    wait::until("the same dead letters", async || {
        let found = letters(daemon).await;
        if found == *expected { Ok(()) } else { Err(format!("{found:?}, not {expected:?}")) }
    })
    .await;
}

#[tokio::test]
async fn the_next_leader_knows_what_was_refused() {
    let tables = "CREATE TABLE things (id text PRIMARY KEY, v text);";
    let mut pair = Pair::start_with(tables, config).await;
    let (first, second) = pair.roles().await;
    pair.until_shares_history(second).await;
    refused(&pair, "a").await;
    refused(&pair, "b").await;
    delivered(&mut pair, first).await;
    let mut all = letters(&pair.daemons[first]).await;
    assert_eq!(all.len(), 2 * 2 * SINKS.len());

    pair.daemons[first].kill9();
    pair.until_leads(second, 2).await;
    until_letters(&pair.daemons[second], &all).await;

    // What goes here is not known to the next one either: a row that is accepted, one that is deleted, an
    // occurrence that is sent again, and what somebody drops.
    let mut redis = pair.world.redis.client().await;
    let () = redis.del(&["thing:a", "made:a"]).await.unwrap();
    pair.world.execute("UPDATE things SET v = 'short' WHERE id = 'a'").await;
    delivered(&mut pair, second).await;
    let list = pair.daemons[second].command(&["dead-letters", "list", "--sink", "cache"]).await;
    let list = String::from_utf8(list.stdout).unwrap();
    let occurrence = list.lines().find(|line| line.contains("\"made:a\"")).unwrap();
    let id = occurrence.split_whitespace().next().unwrap();
    let accepted = pair.daemons[second].command(&["dead-letters", "retry", id]).await;
    assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
    assert_eq!(stream(&pair.world, "made:a").await[0]["data"]["id"], json!("a"));
    let list = pair.daemons[second].command(&["dead-letters", "list", "--sink", "search"]).await;
    let list = String::from_utf8(list.stdout).unwrap();
    let dropped = list.split_whitespace().next().unwrap();
    let done = pair.daemons[second].command(&["dead-letters", "drop", dropped]).await;
    assert!(done.status.success(), "{done:?}");
    all = letters(&pair.daemons[second]).await;
    assert_eq!(all.len(), 2 * 2 * SINKS.len() - SINKS.len() - 2);
    until_remembered(&pair.world, all.len()).await;

    // One that has never heard of any.
    pair.daemons[first].lose_state();
    pair.daemons[first].restart();
    pair.daemons[first].wait_ready().await;
    pair.until_stands_by(first, 2).await;
    pair.until_shares_history(first).await;
    assert!(pair.daemons[second].terminate().await.success());
    pair.until_leads(first, 3).await;
    until_letters(&pair.daemons[first], &all).await;
    delivered(&mut pair, first).await;
    until_letters(&pair.daemons[first], &all).await;
}

/// All sinks together remember so many refusals.
async fn until_remembered(world: &World, count: usize) {
    let redis = world.redis.client().await;
    wait::until("the sinks to remember no others", async || {
        let sql = "SELECT count(*)::text FROM readside.refused";
        let reporting: usize = one(&world.reporting, sql).await.parse().unwrap();
        let mut cache = 0;
        for name in ["things", "made"] {
            let of = world.name(name);
            let key = format!("readside:refused:{{readside:watermark:{of}}}");
            cache += redis.clone().hlen::<_, usize>(key).await.unwrap();
        }
        let ours = |(_, document): &(String, serde_json::Value)| {
            ["things", "made"]
                .iter()
                .any(|name| document["projection"] == world.name(name).as_str())
        };
        let search = world.search.documents("readside-refused").await;
        let search = search.iter().filter(|found| ours(found)).count();
        let found = [reporting, cache, search];
        if found.iter().sum::<usize>() == count { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}
