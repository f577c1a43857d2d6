//! `/v1/wait`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use readside::http::Refresh;
use readside::lsn::Lsn;
use reqwest::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use crate::daemon::{Daemon, Options};

#[tokio::test]
async fn who_is_there_is_told_at_once() {
    let daemon = Daemon::start(Options::default()).await;
    daemon.board.set_delivered(0, Lsn(0x16_0000_0A00), true);
    daemon.board.set_delivered(1, Lsn(0x16_0000_0900), false);
    let answer = daemon.wait("projection=orders&sink=cache&lsn=16/A00").await;
    assert_eq!(answer.status, StatusCode::OK);
    let cache = json!({ "sink": "cache", "lsn": "16/A00", "settled": true });
    assert_eq!(
        answer.json(),
        json!({ "projection": "orders", "sink": "cache", "lsn": "16/A00", "settled": true,
                "sinks": [cache.clone()] })
    );
    let answer = daemon.wait("lsn=16%2f900&projection=%6frders").await;
    assert_eq!(answer.status, StatusCode::OK);
    let search = json!({ "sink": "search", "lsn": "16/900", "settled": false });
    assert_eq!(
        answer.json(),
        json!({ "projection": "orders", "lsn": "16/900", "settled": false,
                "sinks": [cache, search] })
    );
}

#[tokio::test]
async fn hundreds_of_clients_wait_and_each_is_told_in_its_turn() {
    let daemon = Arc::new(Daemon::start(Options::default()).await);
    let mut clients = JoinSet::new();
    for number in 1..=300_u64 {
        let daemon = Arc::clone(&daemon);
        clients.spawn(async move {
            let sink = if number % 2 == 0 { "&sink=cache" } else { "" };
            let lsn = Lsn(number * 1000);
            daemon.wait(&format!("projection=orders{sink}&lsn={lsn}&timeout=1m")).await.status
        });
    }
    let engine = Arc::clone(&daemon);
    let engine = tokio::task::spawn_blocking(move || {
        for lsn in 0..=300_000 {
            engine.board.set_delivered(0, Lsn(lsn), true);
            engine.board.set_delivered(1, Lsn(lsn), true);
        }
    });
    for status in clients.join_all().await {
        assert_eq!(status, StatusCode::OK);
    }
    engine.await.unwrap();
}

#[tokio::test]
async fn who_is_late_is_told_where_all_stand() {
    let daemon = Daemon::start(Options::default()).await;
    daemon.board.set_delivered(0, Lsn(0x16_0000_0A00), true);
    let began = Instant::now();
    let answer = daemon.wait("projection=orders&lsn=16/A00&timeout=20ms").await;
    assert!(began.elapsed() >= Duration::from_millis(20));
    answer.is_error(StatusCode::REQUEST_TIMEOUT, "16/A00 is not reached in time");
    let body = answer.json();
    assert_eq!((&body["projection"], &body["lsn"]), (&json!("orders"), &json!("0/0")));
    assert_eq!(body["sinks"][0]["lsn"], "16/A00");
    assert_eq!(body["sinks"][1], json!({ "sink": "search", "lsn": "0/0", "settled": false }));
    // No time at all is a question.
    let answer = daemon.wait("projection=orders&sink=search&lsn=0/0&timeout=0s").await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT, "it is still being loaded");
    let answer = daemon.wait("projection=orders&sink=cache&lsn=16/A00&timeout=0s").await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn unknown_names_are_not_found() {
    let daemon = Daemon::start(Options::default()).await;
    for (query, error) in [
        ("projection=nope&lsn=0/1", "there is no projection nope"),
        ("projection=nope&sink=cache&lsn=0/1", "there is no projection nope"),
        ("projection=nope&lsn=0/1&search=true", "there is no projection nope"),
        (
            "projection=products&sink=search&lsn=0/1",
            "projection products does not go to a sink search, but to: cache, archive",
        ),
        (
            "projection=orders&sink=nope&lsn=0/1",
            "projection orders does not go to a sink nope, but to: cache, search",
        ),
    ] {
        daemon.wait(query).await.is_error(StatusCode::NOT_FOUND, error);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let daemon = Daemon::start(Options::default()).await;
    let lsn =
        "lsn: not an LSN: expected two hexadecimal numbers around a slash, such as 16/B374D848";
    for (query, error) in [
        ("", "lsn: missing"),
        ("projection=orders", "lsn: missing"),
        ("lsn=0/1", "projection: missing"),
        ("projection=&lsn=0/1", "projection: empty"),
        ("projection=orders&lsn=", "lsn: empty"),
        ("projection=orders&lsn", "lsn: empty"),
        ("projection=orders&lsn=now", lsn),
        ("projection=orders&lsn=16", lsn),
        ("projection=orders&lsn=0/123456789", lsn),
        ("projection=orders&lsn=0/1&lsn=0/2", "lsn: given twice"),
        ("projection=orders&lsn=0/1&sink=", "sink: empty"),
        ("projection=%ff&lsn=0/1", "projection: not UTF-8"),
        (
            "projection=orders&lsn=0/1&timeout=soon",
            "timeout: soon is not a number with a unit: write 500ms, 2s or 1m",
        ),
        (
            "projection=orders&lsn=0/1&timeout=1.5s",
            "timeout: 1.5s has a fraction: write 500ms, 2s or 1m",
        ),
        (
            "projection=orders&lsn=0/1&timeout=2x",
            "timeout: 2x has no unit that is known here: write 500ms, 2s or 1m",
        ),
        (
            "projection=orders&lsn=0/1&timeout=-1s",
            "timeout: -1s is not a number with a unit: write 500ms, 2s or 1m",
        ),
        ("projection=orders&lsn=0/1&timeout=11m", "timeout: more than 600 s"),
        ("projection=orders&lsn=0/1&timeout=10m1ms", "timeout: more than 600 s"),
        ("projection=orders&lsn=0/1&search=yes", "search: neither true nor false"),
        ("projection=orders&lsn=0/1&tiemout=2s", "tiemout: there is no such parameter"),
    ] {
        daemon.wait(query).await.is_error(StatusCode::BAD_REQUEST, error);
    }
}

#[tokio::test]
async fn a_search_sink_is_refreshed_once_it_is_there() {
    let refreshes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refreshes);
    let refresh: Refresh = Arc::new(move |sink: &str, projection: &str| {
        assert_eq!((sink, projection), ("search", "orders"));
        let attempt = count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match attempt {
                0 => Ok(()),
                1 => Err("index_not_found".to_owned()),
                _ => std::future::pending().await,
            }
        })
    });
    let daemon = Daemon::start(Options { refresh: Some(refresh), ..Options::default() }).await;
    let ask = async |more: &str| daemon.wait(&format!("projection=orders&lsn=0/5&{more}")).await;

    assert_eq!(ask("search=true&timeout=1ms").await.status, StatusCode::REQUEST_TIMEOUT);
    daemon.board.set_delivered(0, Lsn(5), true);
    daemon.board.set_delivered(1, Lsn(5), true);
    assert_eq!(ask("search=false").await.status, StatusCode::OK);
    assert_eq!(refreshes.load(Ordering::Relaxed), 0);

    assert_eq!(ask("search=true").await.status, StatusCode::OK);
    assert_eq!(refreshes.load(Ordering::Relaxed), 1);
    let refused = "sink search cannot be refreshed: index_not_found";
    ask("sink=search&search=true").await.is_error(StatusCode::SERVICE_UNAVAILABLE, refused);
    let late = "the search sink is not refreshed in time";
    ask("search=true&timeout=5ms").await.is_error(StatusCode::REQUEST_TIMEOUT, late);

    let none = "search: none of the sinks that are waited for can be searched";
    ask("sink=cache&search=true").await.is_error(StatusCode::BAD_REQUEST, none);
    let answer = daemon.wait("projection=products&lsn=0/5&search=true").await;
    answer.is_error(StatusCode::BAD_REQUEST, none);
    let without = Daemon::start(Options::default()).await;
    let answer = without.wait("projection=orders&lsn=0/5&search=true").await;
    answer.is_error(StatusCode::BAD_REQUEST, none);
}
