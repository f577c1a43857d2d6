//! Passwords and authorities that are changed while everything runs: on the servers and in the files, either
//! first, and with all connections cut.

use std::fs;
use std::path::Path;

use redis::aio::MultiplexedConnection;

use super::SHOP;
use crate::harness::{Certificates, Daemon, PostgresOptions, Redis, RedisOptions, wait};
use crate::world::{SINKS, World};

/// The daemon's role has to give a password, the tests' has not.
const HBA: &str = "local all all trust
    host all readside 127.0.0.1/32 scram-sha-256
    host all all 127.0.0.1/32 trust
    host replication all 127.0.0.1/32 trust";

#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Servers,
    Files,
}

#[tokio::test]
async fn rotated_secrets_need_no_restart() {
    let world = World::with(&PostgresOptions { hba: Some(HBA), ..Default::default() }, SHOP).await;
    world.execute("CREATE ROLE readside SUPERUSER LOGIN PASSWORD 'of round 0'").await;
    let mut authority = Certificates::make();
    let options = RedisOptions { tls: Some(&authority), ..Default::default() };
    let cache = Redis::start(&options).await;
    let mut admin = cache.client().await;
    set_password(&mut admin, "of round 0").await;
    let dir = tempfile::tempdir().unwrap();
    let (secret, ca) = (dir.path().join("secret"), dir.path().join("ca.pem"));
    fs::write(&secret, "of round 0\n").unwrap();
    fs::copy(&authority.authority, &ca).unwrap();
    let mut daemon = Daemon::start(&config(&world, &cache, &secret, &ca));
    daemon.wait_ready().await;

    for (round, first) in [First::Servers, First::Files, First::Servers].into_iter().enumerate() {
        let password = format!("of round {}", round + 1);
        let before = daemon.status().await["reload"]["at"].clone();
        let next = Certificates::make();
        let files = || {
            fs::write(&secret, &password).unwrap();
            // As a secret's volume does it.
            fs::copy(&next.authority, dir.path().join("next")).unwrap();
            fs::rename(dir.path().join("next"), &ca).unwrap();
        };
        if first == First::Files {
            files();
            wait::until("the new secrets to wait for the servers", async || {
                let reload = daemon.status().await["reload"].clone();
                if reload["result"] == "waiting" { Ok(()) } else { Err(reload) }
            })
            .await;
        }
        let sql = format!("ALTER ROLE readside PASSWORD '{password}'");
        world.execute(&sql).await;
        set_password(&mut admin, &password).await;
        set_certificate(&mut admin, &next).await;
        cut(&world, &mut admin).await;
        world.execute("UPDATE orders SET total = total + 1").await;
        if first == First::Servers {
            files();
        }
        let reload = daemon.reloaded_since(&before).await;
        assert_eq!(reload["result"], "applied", "{reload}");
        // What was opened with the old ones in between.
        cut(&world, &mut admin).await;
        world.execute("UPDATE orders SET total = total + 1").await;
        let lsn = world.lsn().await;
        for sink in SINKS {
            daemon.wait_for(&world.name("orders"), sink, &lsn).await;
        }
        daemon.wait_ready().await;
        authority = next;
    }
    drop(authority);
    assert_eq!(daemon.log().matches("a load begins").count(), 1, "{}", daemon.log());
}

fn config(world: &World, cache: &Redis, secret: &Path, ca: &Path) -> String {
    let secret = format!("password_file = '{}'\n", secret.display());
    world
        .config(&world.projection("orders", "orders", &["id"]))
        .replace("postgres://postgres@", "postgres://readside@")
        .replace("[source]\n", &format!("[source]\n{secret}"))
        .replace("[sink.reporting.postgres]\n", &format!("[sink.reporting.postgres]\n{secret}"))
        .replace(
            "[sink.cache.redis]\n",
            &format!(
                "[sink.cache.redis]\nusername = 'readside'\n{secret}ca_file = '{}'\n",
                ca.display()
            ),
        )
        .replace(
            &format!("redis://127.0.0.1:{}/0", world.cache_net.port()),
            &format!("rediss://127.0.0.1:{}/0", cache.port()),
        )
}

async fn set_password(admin: &mut MultiplexedConnection, password: &str) {
    let mut acl = redis::cmd("ACL");
    acl.arg(&["SETUSER", "readside", "on", "resetpass", "~*", "&*", "+@all"]);
    acl.arg(format!(">{password}")).exec_async(admin).await.unwrap();
}

/// For connections from now on.
async fn set_certificate(admin: &mut MultiplexedConnection, of: &Certificates) {
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("tls-cert-file").arg(of.server.to_str());
    set.arg("tls-key-file").arg(of.server_key.to_str());
    set.arg("tls-ca-cert-file").arg(of.authority.to_str());
    set.exec_async(admin).await.unwrap();
}

/// All of the daemon's connections.
async fn cut(world: &World, admin: &mut MultiplexedConnection) {
    world
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'readside'",
        )
        .await;
    redis::cmd("CLIENT").arg(&["KILL", "USER", "readside"]).exec_async(admin).await.unwrap();
}
