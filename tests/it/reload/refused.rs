//! What cannot be applied is told, and the configuration in use goes on, whole.

use super::{SHOP, strings};
use crate::harness::Daemon;
use crate::world::{World, until_metric};

#[tokio::test]
async fn what_is_wrong_changes_nothing() {
    let world = World::new(SHOP).await;
    let orders = world.projection("orders", "orders", &["id"]);
    let customers = world.projection("customers", "customers", &["id"]);
    let good = world.config(&orders);
    let mut daemon = Daemon::start(&good);
    daemon.wait_ready().await;
    let with = |more: &str| world.config(&format!("{orders}{customers}{more}"));
    let of_query = |query: &str| with(&world.query("q", query, &["id"]));
    let wrong = [
        (with("[projection.x\n"), "readside.toml:"),
        (with("[projection.x]\ntabel = 'orders'\n"), "unknown key `tabel`"),
        (with("[projection.x]\ntable = 'nothing'\n"), "nothing"),
        (of_query("SELECT id, now() AS at FROM orders"), "now()"),
        (of_query("SELECT id, missing FROM orders"), "missing"),
        (with("").replace("[sink.cache", "[sink.cash"), "there is no sink `cache`"),
        (
            world.config_with("slot = 'other'", &orders),
            "source.slot cannot change while Readside runs",
        ),
        (
            world.config_with("publication = 'other'", &format!("{orders}{customers}")),
            "source.publication cannot change",
        ),
        (with("").replace("127.0.0.1", "localhost"), "source.url cannot change"),
    ];
    for (config, words) in wrong {
        let reload = daemon.reload(&config).await;
        assert_eq!(reload["result"], "refused", "{words}: {reload}");
        let faults = strings(&reload["faults"]);
        assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: {faults:?}");
        if !words.contains("cannot change") {
            // As `check` prints them.
            let checked = daemon.command(&["check"]).await;
            let told = String::from_utf8_lossy(&checked.stderr);
            assert!(told.contains(&faults[0]), "{faults:?} {told}");
        }
        assert!(daemon.log().contains(&faults[0]), "{}", daemon.log());
        // Nothing of it is in use.
        let status = daemon.status().await;
        assert_eq!(status["projections"].as_array().map(Vec::len), Some(1));
        world.execute("UPDATE orders SET total = total + 1 WHERE id % 100 = 1").await;
        world.same(&mut daemon, "orders", "orders", &["id"]).await;
    }
    until_metric(&daemon, "readside_reload_refused", &[], |refused| refused == 1.0).await;
    let log = daemon.log();
    assert!(!log.contains("pipeline is built anew") && !log.contains("is in use"), "{log}");

    let reload = daemon.reload(&good).await;
    assert_eq!(reload["result"], "unchanged", "{reload}");
    until_metric(&daemon, "readside_reload_refused", &[], |refused| refused == 0.0).await;
    // Other words for the same.
    let reload = daemon.reload(&format!("# a comment\n{}", good.replace(" = ", "  =  "))).await;
    assert_eq!(reload["result"], "unchanged", "{reload}");
    let reload = daemon.reload(&with("")).await;
    assert_eq!(reload["result"], "applied", "{reload}");
    world.soon_same("customers", "customers", &["id"]).await;
}
