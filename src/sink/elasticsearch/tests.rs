//! Faults that a real server makes only when it is ill: a fake one answers bulk requests as told.
//! All that a healthy server does is tested against real ones (tests/it/sink_elasticsearch.rs).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::any;
use tokio_util::task::TaskTracker;

use super::bulk::{Refusal, Request, send};
use super::client::Client;
use crate::config::{Place, Secret, SinkConfig, SinkKind};
use crate::sink::SinkError;

/// What the fake answers to the next request; when there is nothing more to tell, all is well.
#[derive(Default)]
struct Script {
    answers: VecDeque<(u16, &'static str)>,
    body_bytes_max: Option<usize>,
    authorization: Option<&'static str>,
    /// The ids of each request that was read.
    seen: Vec<Vec<String>>,
}

struct Fake {
    script: Arc<Mutex<Script>>,
    client: Client,
    tasks: TaskTracker,
}

impl Fake {
    async fn start(script: Script) -> Self {
        let script = Arc::new(Mutex::new(script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://writer:s%40crt@{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(any(answer)).with_state(Arc::clone(&script));
        let tasks = TaskTracker::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let config = SinkConfig {
            name: "search".into(),
            kind: SinkKind::Elasticsearch,
            url: Secret::new(url),
            ca_file: None,
            username: None,
            password: None,
            api_key: None,
            step_rows: 1,
            max_lag: std::time::Duration::ZERO,
            required: true,
            place: Place::default(),
        };
        Self { script, client: Client::new(&config), tasks }
    }

    async fn send(&self, ids: &[&str]) -> Result<Vec<Refusal>, SinkError> {
        let mut request = Request::default();
        for (tag, id) in ids.iter().enumerate() {
            request
                .body
                .extend_from_slice(format!("{{\"delete\":{{\"_id\":\"{id}\"}}}}\n").as_bytes());
            request.end_item(tag);
        }
        let sent = send(&self.client, "a/_bulk?require_alias=true", "testing", request).await;
        self.tasks.close();
        sent
    }

    fn seen(&self) -> Vec<Vec<String>> {
        self.script.lock().unwrap().seen.clone()
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let mut script = script.lock().unwrap();
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap());
    if script.authorization.is_some() && authorization != script.authorization {
        return (StatusCode::UNAUTHORIZED, "Unauthorized".into());
    }
    if script.body_bytes_max.is_some_and(|max| body.len() > max) {
        return (StatusCode::PAYLOAD_TOO_LARGE, String::new());
    }
    let ids: Vec<String> = body
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let action: serde_json::Value = serde_json::from_slice(line).unwrap();
            action["delete"]["_id"].as_str().unwrap().to_string()
        })
        .collect();
    let items = ids.iter().map(|_| r#"{"delete":{"status":200}}"#).collect::<Vec<_>>().join(",");
    script.seen.push(ids);
    match script.answers.pop_front() {
        Some((status, text)) => (StatusCode::from_u16(status).unwrap(), text.into()),
        None => (StatusCode::OK, format!("{{\"items\":[{items}]}}")),
    }
}

#[tokio::test]
async fn only_what_the_server_was_too_busy_for_is_sent_again() {
    let busy = r#"{"items":[{"delete":{"status":200}},
        {"delete":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"x"}}},
        {"delete":{"status":404}},
        {"delete":{"status":503,"error":{"type":"unavailable_shards_exception","reason":"x"}}}]}"#;
    let answers = VecDeque::from([(503, "{}"), (200, busy)]);
    let fake = Fake::start(Script { answers, ..Script::default() }).await;
    assert!(fake.send(&["a", "b", "c", "d"]).await.unwrap().is_empty());
    assert_eq!(fake.seen()[1..], [vec!["a", "b", "c", "d"], vec!["b", "d"]]);
}

#[tokio::test]
async fn a_server_that_stays_busy_is_given_back_to_delivery() {
    let answers = std::iter::repeat_n((429, r#"{"error":{"type":"t","reason":"full"}}"#), 20);
    let fake = Fake::start(Script { answers: answers.collect(), ..Script::default() }).await;
    let error = fake.send(&["a"]).await.unwrap_err();
    assert!(
        matches!(&error, SinkError::Retryable { what, .. } if what.contains("full")),
        "{error}"
    );
    assert_eq!(fake.seen().len(), 6);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_split_and_one_document_is_refused() {
    let long = "x".repeat(200);
    let script = Script { body_bytes_max: Some(100), ..Script::default() };
    let fake = Fake::start(script).await;
    let refusals = fake.send(&["a", "b", "c", &long, "d"]).await.unwrap();
    assert_eq!(refusals.iter().map(|refusal| refusal.tag).collect::<Vec<_>>(), [3]);
    assert_eq!(fake.seen().concat(), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_request_refused_as_a_whole_is_halved_down_to_the_guilty_item() {
    let bad = (400, r#"{"error":{"type":"illegal_argument_exception","reason":"bad id"}}"#);
    let answers = VecDeque::from([bad, bad]);
    let fake = Fake::start(Script { answers, ..Script::default() }).await;
    let refusals = fake.send(&["b", "a"]).await.unwrap();
    assert_eq!((refusals.len(), refusals[0].tag), (1, 0));
    assert_eq!(refusals[0].error, "illegal_argument_exception: bad id");
    assert_eq!(fake.seen(), [vec!["b", "a"], vec!["b"], vec!["a"]]);
}

#[tokio::test]
async fn credentials_of_the_url_are_sent_and_refused_ones_are_told() {
    // base64 of writer:s@crt
    let script = Script { authorization: Some("Basic d3JpdGVyOnNAY3J0"), ..Script::default() };
    let fake = Fake::start(script).await;
    fake.send(&["a"]).await.unwrap();
    fake.script.lock().unwrap().authorization = Some("Basic other");
    let error = fake.send(&["a"]).await.unwrap_err();
    assert!(error.to_string().contains("refused the credentials"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_no_bulk_answer_is_the_sinks_trouble() {
    for text in ["<html>hello</html>", r#"{"items":[]}"#, ""] {
        let answers = VecDeque::from([(200, text)]);
        let fake = Fake::start(Script { answers, ..Script::default() }).await;
        let error = fake.send(&["a"]).await.unwrap_err();
        assert!(matches!(error, SinkError::Retryable { .. }), "{text}: {error}");
    }
}
