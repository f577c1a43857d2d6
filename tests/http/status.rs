//! `/healthz`, `/readyz`, `/v1/status`.

use readside::http::{LaneState, LoadStatus, ProjectionState, Status, TableLoad, Time};
use readside::lsn::Lsn;
use reqwest::StatusCode;
use serde_json::json;

use crate::daemon::{Daemon, Options, live};

#[tokio::test]
async fn health_is_the_pipelines_life() {
    let mut daemon = Daemon::start(Options::default()).await;
    // Not ready is not unhealthy.
    daemon.tell(|status| status.source.connected = false);
    let answer = daemon.get("/healthz").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "ok"));
    daemon.status = None;
    let answer = daemon.get("/healthz").await;
    answer.is_error(StatusCode::SERVICE_UNAVAILABLE, "the pipeline has ended");
}

#[tokio::test]
async fn ready_when_all_is_as_it_should_be() {
    let daemon = Daemon::start(Options::default()).await;
    let answer = daemon.get("/readyz").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "ready"));
    // Nobody requires it.
    daemon.tell(|status| {
        status.sinks[2].up = false;
        status.projections[1].sinks[1].lag_seconds = 1e6;
    });
    // Just within, and an old generation that can be read while the new one is filled.
    daemon.tell(|status| {
        status.projections[0].sinks[0].lag_seconds = 30.0;
        status.projections[0].sinks[1].state = LaneState::Filling;
    });
    assert_eq!(daemon.get("/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_keeps_it_from_being_ready_is_told() {
    type Change = fn(&mut Status);
    let cases: &[(Change, &str)] = &[
        (|status| status.source.connected = false, "source: not streaming: not connected yet"),
        (
            |status| {
                status.source.connected = false;
                status.source.error = Some("db:5432: connection refused".to_owned());
            },
            "source: not streaming: db:5432: connection refused",
        ),
        (
            |status| status.projections[0].state = ProjectionState::Loading,
            "projection orders: loading",
        ),
        (
            |status| {
                status.projections[0].state = ProjectionState::Loading;
                let table = |rows, expected| TableLoad {
                    table: "public.orders".to_owned(),
                    rows,
                    expected,
                    chunks_done: 1,
                    chunks: 4,
                };
                let tables = vec![table(10, 200), table(5, 100)];
                status.load = Some(LoadStatus { tables, waiting_for: None });
            },
            "projection orders: loading, 15 of about 300 rows are read",
        ),
        (
            |status| {
                let waiting_for = Some("transaction 7 of pid 9, for 3 s".to_owned());
                status.load = Some(LoadStatus { tables: Vec::new(), waiting_for });
            },
            "load: waiting for transaction 7 of pid 9, for 3 s",
        ),
        (
            |status| {
                status.projections[1].state = ProjectionState::Quarantined;
                status.projections[1].reason = Some("column price is gone".to_owned());
                // Its lanes stand, and no row is to blame.
                status.projections[1].sinks[0].state = LaneState::Halted;
            },
            "projection products: quarantined: column price is gone",
        ),
        (
            |status| {
                status.sinks[0].up = false;
                status.sinks[0].error = Some("connection refused".to_owned());
            },
            "sink cache: down since 2000-01-01T00:00:01.000000Z: connection refused",
        ),
        (
            |status| status.sinks[1].up = false,
            "sink search: down since 2000-01-01T00:00:01.000000Z: it has not answered yet",
        ),
        (
            |status| status.projections[0].sinks[1].lag_seconds = 31.25,
            "sink search: projection orders lags 31.2 s, more than 30 s",
        ),
        (
            |status| status.projections[0].sinks[0].state = LaneState::Halted,
            "sink cache: projection orders is halted by a refused row",
        ),
        (
            |status| {
                status.projections[0].sinks[0].state = LaneState::Filling;
                status.projections[0].sinks[0].lsn = Lsn::ZERO;
            },
            "sink cache: projection orders is being filled",
        ),
        (|status| status.projections.clear(), "the pipeline has not told of its projections yet"),
    ];
    let daemon = Daemon::start(Options::default()).await;
    for (change, reason) in cases {
        daemon.tell(|status| {
            *status = live();
            change(status);
        });
        assert_eq!(daemon.get("/readyz").await.reasons(), [*reason]);
    }
    // All at once.
    daemon.tell(|status| {
        status.source.connected = false;
        status.projections = live().projections;
        status.sinks[0].up = false;
        status.sinks[1].up = false;
    });
    assert_eq!(daemon.get("/readyz").await.reasons().len(), 3);
}

#[tokio::test]
async fn a_daemon_that_has_just_started_is_not_ready() {
    let daemon = Daemon::start(Options::default()).await;
    daemon.tell(|status| *status = Status::new(Time::now()));
    let reasons = daemon.get("/readyz").await.reasons();
    assert_eq!(reasons, ["source: not streaming: not connected yet"]);
}

#[tokio::test]
async fn status_is_the_whole_document() {
    let daemon = Daemon::start(Options::default()).await;
    daemon.tell(|status| {
        let table = TableLoad {
            table: "public.orders".to_owned(),
            rows: 15,
            expected: 300,
            chunks_done: 1,
            chunks: 4,
        };
        status.load = Some(LoadStatus { tables: vec![table], waiting_for: None });
        status.projections.truncate(1);
        status.projections[0].sinks.truncate(1);
        status.sinks.truncate(2);
    });
    let answer = daemon.get("/v1/status").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started_at": "2000-01-01T00:00:00.000000Z",
            "source": {
                "connected": true,
                "error": null,
                "system_id": "7431",
                "timeline": 1,
                "slot": "readside",
                "publication": "readside",
                "received_lsn": "16/B00",
                "applied_lsn": "16/A00",
                "durable_lsn": "16/900",
                "committed_at": "2000-01-01T00:00:00.000000Z",
                "lag_bytes": 256,
                "retained_bytes": 4096,
                "wal_budget_bytes": 1048576,
                "wal_alarm": null,
                "wal_held_by": null,
            },
            "ha": null,
            "load": {
                "tables": [{
                    "table": "public.orders",
                    "rows": 15,
                    "expected": 300,
                    "chunks_done": 1,
                    "chunks": 4,
                }],
                "waiting_for": null,
            },
            "projections": [{
                "name": "orders",
                "state": "live",
                "reason": null,
                "rows": 1000,
                "sinks": [{
                    "sink": "cache",
                    "state": "live",
                    "error": null,
                    "lsn": "16/A00",
                    "settled": true,
                    "generation": 2,
                    "filled_rows": null,
                    "lag_bytes": 0,
                    "lag_seconds": 0.0,
                    "dead_letters": 0,
                }],
            }],
            "sinks": [
                {
                    "name": "cache",
                    "kind": "redis",
                    "up": true,
                    "error": null,
                    "retries": 0,
                    "since": "2000-01-01T00:00:01.000000Z",
                },
                {
                    "name": "search",
                    "kind": "elasticsearch",
                    "up": true,
                    "error": null,
                    "retries": 0,
                    "since": "2000-01-01T00:00:01.000000Z",
                },
            ],
            "state": { "dir": "/state", "memory_bytes": 1, "disk_bytes": 2, "kept": [] },
            "tables": [
                { "name": "public.orders", "state": "live", "reason": null, "rows": 1000 },
            ],
            "reload": null,
        })
    );
}
