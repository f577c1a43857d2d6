//! Files that change under a running daemon, however they are changed.

use std::fs;
use std::os::unix::fs::symlink;

use reqwest::StatusCode;

use super::SHOP;
use crate::harness::{Daemon, http, wait};
use crate::world::World;

#[tokio::test]
async fn a_changed_file_is_applied_without_being_asked_for() {
    let world = World::new(SHOP).await;
    let orders = world.projection("orders", "orders", &["id"]);
    let customers = world.projection("customers", "customers", &["id"]);
    let (one, two) = (world.config(&orders), world.config(&format!("{orders}{customers}")));
    let mut daemon = Daemon::start(&one);
    daemon.wait_ready().await;
    let file = daemon.config_file();
    let dir = file.parent().expect("a directory").to_owned();
    let projections = async |daemon: &Daemon, count: usize| {
        wait::until("the other configuration to be in use", async || {
            let status = daemon.status().await;
            let is_it = status["projections"].as_array().map(Vec::len) == Some(count)
                && status["reload"]["result"] == "applied";
            if is_it { Ok(()) } else { Err(status["reload"].clone()) }
        })
        .await;
    };
    // In two pieces.
    fs::write(&file, &two[..two.len() / 2]).unwrap();
    fs::write(&file, &two).unwrap();
    projections(&daemon, 2).await;
    // As editors do it.
    fs::write(dir.join("new"), &one).unwrap();
    fs::rename(dir.join("new"), &file).unwrap();
    projections(&daemon, 1).await;
    // As Kubernetes does it: a link to a link to a directory, of which the second is swapped.
    for (at, text) in [&one, &two].into_iter().enumerate() {
        fs::create_dir(dir.join(format!("..{at}"))).unwrap();
        fs::write(dir.join(format!("..{at}/readside.toml")), text).unwrap();
    }
    symlink("..0", dir.join("..data")).unwrap();
    symlink("..data/readside.toml", dir.join("link")).unwrap();
    fs::rename(dir.join("link"), &file).unwrap();
    symlink("..1", dir.join("..swap")).unwrap();
    fs::rename(dir.join("..swap"), dir.join("..data")).unwrap();
    projections(&daemon, 2).await;
    world.same(&mut daemon, "customers", "customers", &["id"]).await;
}

#[tokio::test]
async fn files_that_the_configuration_names_are_read_anew() {
    let world = World::new(SHOP).await;
    let orders = world.projection("orders", "orders", &["id"]);
    let mut redis = world.redis.client().await;
    let mut acl = redis::cmd("ACL");
    acl.arg(&["SETUSER", "readside", "on", ">first", "~*", "&*", "+@all"]);
    acl.exec_async(&mut redis).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (token, password) = (dir.path().join("token"), dir.path().join("password"));
    fs::write(&token, "old\n").unwrap();
    fs::write(&password, "first\n").unwrap();
    let cache = "[sink.cache.redis]\n";
    let config = world.config(&orders).replace(
        cache,
        &format!("{cache}username = 'readside'\npassword_file = '{}'\n", password.display()),
    );
    let config = format!("{config}[http]\ntoken_file = '{}'\n", token.display());
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let asked = async |token: &str| {
        let request = http().get(format!("{}/v1/status", daemon.url())).bearer_auth(token);
        request.send().await.unwrap()
    };
    assert_eq!(asked("old").await.status(), StatusCode::OK);
    assert_eq!(asked("new").await.status(), StatusCode::UNAUTHORIZED);

    let mut acl = redis::cmd("ACL");
    acl.arg(&["SETUSER", "readside", "resetpass", ">second"]);
    acl.exec_async(&mut redis).await.unwrap();
    fs::write(&password, "second\n").unwrap();
    fs::write(&token, "new\n").unwrap();
    wait::until("the new token to count", async || {
        let status = asked("new").await.status();
        if status == StatusCode::OK { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(asked("old").await.status(), StatusCode::UNAUTHORIZED);
    // The old password opens nothing any more.
    redis::cmd("CLIENT").arg(&["KILL", "USER", "readside"]).exec_async(&mut redis).await.unwrap();
    world.execute("UPDATE orders SET total = total + 1").await;
    world.soon_same("orders", "orders", &["id"]).await;
    daemon.wait_ready().await;
}
