//! Networks that swallow everything, or all answers, without a word: each is noticed within the patience
//! that there is with this server, is told, and costs nothing once it is over.

use std::time::Duration;

use crate::harness::{Daemon, Proxy, wait};
use crate::world::World;

const ITEMS: &str = "
    CREATE TABLE items (id int PRIMARY KEY, v text);
    INSERT INTO items SELECT i, 'v' || i FROM generate_series(1, 500) AS i;";

/// The longest patience is that with the source and with a search server, a minute; twice that.
const BOUND: Duration = Duration::from_secs(150);

#[derive(Clone, Copy)]
enum Of {
    Source,
    Sink(&'static str),
}

async fn is_noticed(of: Of, network: impl Fn(&World) -> &Proxy) {
    let world = World::new(ITEMS).await;
    let mut daemon = Daemon::start(&world.config(&world.projection("items", "items", &["id"])));
    daemon.wait_ready().await;
    for (round, fall_silent) in [Proxy::blackhole, Proxy::mute].into_iter().enumerate() {
        world.same(&mut daemon, "items", "items", &["id"]).await;
        fall_silent(network(&world));
        world.execute(&format!("UPDATE items SET v = 'round {round}' WHERE id % 3 = 0")).await;
        let (name, labels) = match of {
            Of::Source => ("readside_source_up", vec![]),
            Of::Sink(sink) => ("readside_sink_up", vec![("sink", sink)]),
        };
        wait::until_within(&format!("{name} {labels:?} to be 0"), BOUND, async || {
            let up = daemon.metrics().await.get(name, &labels);
            if up == Some(0.0) { Ok(()) } else { Err(daemon.log_of_this_start()) }
        })
        .await;
        network(&world).heal();
    }
    world.same(&mut daemon, "items", "items", &["id"]).await;
}

#[tokio::test]
async fn a_silent_source_is_noticed() {
    is_noticed(Of::Source, |world| &world.source_net).await;
}

#[tokio::test]
async fn a_silent_postgres_is_noticed() {
    is_noticed(Of::Sink("reporting"), |world| &world.reporting_net).await;
}

#[tokio::test]
async fn a_silent_redis_is_noticed() {
    is_noticed(Of::Sink("cache"), |world| &world.cache_net).await;
}

#[tokio::test]
async fn a_silent_search_server_is_noticed() {
    is_noticed(Of::Sink("search"), |world| &world.search_net).await;
}
