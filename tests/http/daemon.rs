//! Where the daemon would be: the server alone, and what a test lets the pipeline tell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use readside::config::{Secret, SinkKind};
use readside::http::{
    Board, LaneName, LaneState, LaneStatus, Look, ProjectionState, ProjectionStatus, Refresh,
    Shared, SinkStatus, SourceStatus, StateStatus, Status, TableStatus, Time,
};
use readside::lsn::Lsn;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) struct Daemon {
    pub(crate) address: SocketAddr,
    pub(crate) board: Arc<Board>,
    pub(crate) registry: Registry,
    pub(crate) status: Option<watch::Sender<Arc<Status>>>,
    pub(crate) cancel: CancellationToken,
    pub(crate) tasks: JoinSet<()>,
    pub(crate) http: reqwest::Client,
}

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) token: Option<&'static str>,
    pub(crate) refresh: Option<Refresh>,
    pub(crate) look: Option<Look>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Daemon {
    /// `orders` goes to cache and search, `products` to cache alone.
    pub(crate) async fn start(options: Options) -> Daemon {
        let lane = |sink: &str, projection: &str| LaneName {
            sink: sink.to_owned(),
            projection: projection.to_owned(),
            required: true,
            max_lag: Duration::from_secs(30),
        };
        let relaxed = LaneName { required: false, ..lane("archive", "products") };
        let lanes = vec![
            lane("cache", "orders"),
            lane("search", "orders"),
            lane("cache", "products"),
            relaxed,
        ];
        let board = Board::new(lanes);
        let (sender, status) = watch::channel(Arc::new(live()));
        let registry = Registry::new();
        let shared = Shared {
            registry: registry.clone(),
            board: watch::channel(Arc::clone(&board)).1,
            status,
            token: watch::channel(options.token.map(Secret::new)).1,
            listen: "127.0.0.1:0".to_owned(),
            refresh: options.refresh,
            tell: None,
            operator: None,
            look: options.look,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cancel, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(readside::http::serve(listener, shared, cancel.clone()));
        // Refused only when there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Daemon { address, board, registry, status: Some(sender), cancel, tasks, http }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.unwrap() }
    }

    pub(crate) async fn wait(&self, query: &str) -> Answer {
        self.get(&format!("/v1/wait?{query}")).await
    }

    pub(crate) fn tell(&self, change: impl FnOnce(&mut Status)) {
        let sender = self.status.as_ref().unwrap();
        sender.send_modify(|status| change(Arc::make_mut(status)));
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_str(&self.text).unwrap()
    }

    #[track_caller]
    pub(crate) fn is_error(&self, status: StatusCode, error: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.json()["error"], error);
    }

    pub(crate) fn reasons(&self) -> Vec<String> {
        assert_eq!(self.status, StatusCode::SERVICE_UNAVAILABLE, "{}", self.text);
        serde_json::from_value(self.json()["reasons"].clone()).unwrap()
    }
}

/// Everything is as it should be.
pub(crate) fn live() -> Status {
    let lane = |sink: &str| LaneStatus {
        sink: sink.to_owned(),
        error: None,
        state: LaneState::Live,
        lsn: Lsn(0x16_0000_0A00),
        settled: true,
        generation: 2,
        filled_rows: None,
        lag_bytes: 0,
        lag_seconds: 0.0,
        dead_letters: 0,
    };
    let projection = |name: &str, sinks: &[&str]| ProjectionStatus {
        name: name.to_owned(),
        state: ProjectionState::Live,
        reason: None,
        rows: 1000,
        sinks: sinks.iter().map(|sink| lane(sink)).collect(),
    };
    let sink = |name: &str, kind| SinkStatus {
        name: name.to_owned(),
        kind,
        up: true,
        error: None,
        retries: 0,
        since: Time(1_000_000),
    };
    Status {
        source: SourceStatus {
            connected: true,
            error: None,
            system_id: Some("7431".to_owned()),
            timeline: Some(1),
            slot: "readside".to_owned(),
            publication: "readside".to_owned(),
            received_lsn: Lsn(0x16_0000_0B00),
            applied_lsn: Lsn(0x16_0000_0A00),
            durable_lsn: Lsn(0x16_0000_0900),
            committed_at: Some(Time(0)),
            lag_bytes: 256,
            retained_bytes: 4096,
            wal_budget_bytes: 1 << 20,
            wal_alarm: None,
            wal_held_by: None,
        },
        projections: vec![
            projection("orders", &["cache", "search"]),
            projection("products", &["cache", "archive"]),
        ],
        sinks: vec![
            sink("cache", SinkKind::Redis),
            sink("search", SinkKind::Elasticsearch),
            sink("archive", SinkKind::Postgres),
        ],
        state: StateStatus {
            dir: "/state".to_owned(),
            memory_bytes: 1,
            disk_bytes: 2,
            kept: Vec::new(),
        },
        tables: vec![TableStatus {
            name: "public.orders".to_owned(),
            state: ProjectionState::Live,
            reason: None,
            rows: 1000,
        }],
        ..Status::new(Time(0))
    }
}
