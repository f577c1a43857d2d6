//! The harness itself: each server starts, answers, dies by kill -9 and comes back.

use std::time::Duration;

use redis::AsyncCommands;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{
    Certificates, Postgres, PostgresOptions, Proxy, Redis, RedisOptions, Search, unique, wait,
};

#[tokio::test]
async fn postgres_survives_a_kill() {
    let mut postgres = Postgres::start(&PostgresOptions::default()).await;
    let database = postgres.new_database().await;
    let client = postgres.client(&database).await;
    client.batch_execute("CREATE TABLE t AS SELECT 7 AS x").await.unwrap();
    let level: String = client.query_one("SHOW wal_level", &[]).await.unwrap().get(0);
    assert_eq!(level, "logical");

    let first = postgres.pid();
    postgres.kill9();
    postgres.restart().await;
    assert_ne!(postgres.pid(), first);
    let client = postgres.client(&database).await;
    let x: i32 = client.query_one("SELECT x FROM t", &[]).await.unwrap().get(0);
    assert_eq!(x, 7);

    assert!(postgres.stop_fast().await.success());
    postgres.configure(&[("work_mem", "5MB")]);
    postgres.restart().await;
    let (client, connection) =
        tokio_postgres::connect(&postgres.socket_url("postgres"), tokio_postgres::NoTls)
            .await
            .unwrap();
    crate::harness::beside(async { connection.await.unwrap() });
    let memory: String = client.query_one("SHOW work_mem", &[]).await.unwrap().get(0);
    assert_eq!(memory, "5MB");
}

#[tokio::test]
async fn postgres_takes_options() {
    let certificates = Certificates::make();
    let mut postgres = Postgres::start(&PostgresOptions {
        own_system: true,
        settings: &[("search_path", "'it''s', public")],
        hba: Some("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"),
        tls: Some(&certificates),
        fsync: true,
    })
    .await;
    let refused = tokio_postgres::connect(&postgres.url("postgres"), tokio_postgres::NoTls).await;
    assert!(refused.is_err(), "no password was given");
    postgres.stop_immediate().await;
    assert!(!postgres.log().contains("could not load"), "{}", postgres.log());
}

#[tokio::test]
async fn redis_survives_a_kill() {
    let mut redis =
        Redis::start(&RedisOptions { appendonly: true, ..RedisOptions::default() }).await;
    let () = redis.client().await.set("key", "value").await.unwrap();
    redis.kill9();
    redis.restart().await;
    let value: String = redis.client().await.get("key").await.unwrap();
    assert_eq!(value, "value");
    assert!(redis.stop().await.success());
}

#[tokio::test]
async fn redis_takes_options() {
    let certificates = Certificates::make();
    let redis = Redis::start(&RedisOptions {
        password: Some("secret"),
        tls: Some(&certificates),
        settings: &[("maxmemory", "10mb")],
        ..RedisOptions::default()
    })
    .await;
    let memory: Vec<String> = redis::cmd("CONFIG")
        .arg(&["GET", "maxmemory"])
        .query_async(&mut redis.client().await)
        .await
        .unwrap();
    assert_eq!(memory, ["maxmemory", "10485760"]);
}

#[tokio::test]
async fn search_is_shared() {
    let (one, other) = tokio::join!(Search::shared(), Search::shared());
    assert_eq!(one.url(), other.url());
    let index = one.index("shared");
    for id in ["a/1", "b"] {
        let path = format!("{index}/_doc/{}", id.replace('/', "%2F"));
        let (status, answer) = one.request(Method::PUT, &path, Some(json!({"x": 1}))).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }
    assert_eq!(other.document(&index, "a/1").await.unwrap()["_source"], json!({"x": 1}));
    assert_eq!(other.document(&index, "c").await, None);
    let all = other.documents(&index).await;
    assert_eq!(all, [("a/1".into(), json!({"x": 1})), ("b".into(), json!({"x": 1}))]);
}

#[tokio::test]
async fn search_survives_a_kill() {
    let mut private = Search::private().await;
    let index = unique("kill");
    let path = format!("{index}/_doc/1");
    let (status, answer) = private.search.request(Method::PUT, &path, Some(json!({"x": 1}))).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    private.kill9();
    private.restart().await;
    wait::until("the document", async || {
        let (status, answer) = private.search.get(&path).await;
        if status == StatusCode::OK { Ok(()) } else { Err(format!("{status} {answer}")) }
    })
    .await;
}

#[tokio::test]
async fn proxy_fails_on_demand() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let proxy = Proxy::start(redis.port()).await;
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", proxy.port())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let () = connection.set("key", 1).await.unwrap();

    proxy.delay(Duration::from_millis(20));
    let () = connection.set("key", 2).await.unwrap();

    proxy.blackhole();
    let swallowed: redis::RedisResult<()> = connection.set("key", 3).await;
    assert!(swallowed.unwrap_err().is_timeout());

    proxy.heal();
    let mut beside = redis.client().await;
    wait::until("the late write", async || match beside.get("key").await {
        Ok(3) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;

    proxy.cut();
    wait::until("the connection to break", async || match connection.get::<_, i32>("key").await {
        Ok(value) => Err(format!("still answers {value}")),
        Err(_) => Ok(()),
    })
    .await;
    assert!(client.get_multiplexed_async_connection().await.is_err());
    proxy.heal();
    assert!(client.get_multiplexed_async_connection().await.is_ok());
}
