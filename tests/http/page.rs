//! The status page and what it asks of a projection.

use std::sync::Arc;

use readside::http::{ColumnDetail, Look, ProjectionDetail, TargetDetail};
use reqwest::{Method, StatusCode};
use serde_json::json;
use serde_json::value::RawValue;

use crate::daemon::{Daemon, Options};

#[tokio::test]
async fn the_page_lets_nothing_else_run() {
    let daemon = Daemon::start(Options::default()).await;
    let answer = daemon.get("/").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(answer.text.starts_with("<!doctype html>"));
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    for word in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"] {
        assert!(policy.contains(word), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn who_has_no_token_is_refused_with_a_page_that_asks_for_it() {
    let daemon = Daemon::start(Options { token: Some("s3cret"), ..Options::default() }).await;
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    let ask = |path: &str| daemon.request(Method::GET, path).header("Accept", browser);
    let answer = daemon.send(ask("/")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"readside\"");
    assert!(answer.text.starts_with("<!doctype html>"));
    for path in ["/v1/status", "/metrics", "/v1/projections/orders"] {
        let error = "a token is needed: Authorization: Bearer TOKEN";
        daemon.send(ask(path)).await.is_error(StatusCode::UNAUTHORIZED, error);
    }
    let answer = daemon.send(ask("/").header("Authorization", "Bearer s3cret")).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_projection_is_told_whole() {
    let look: Look = Arc::new(|name: &str| {
        let row = r#"{"id": 1.50, "größe": null}"#;
        let detail = (name == "größe / 1").then(|| ProjectionDetail {
            name: name.to_owned(),
            query: Some("SELECT 1".to_owned()),
            columns: vec![ColumnDetail {
                name: "id".to_owned(),
                sql_type: "numeric".to_owned(),
                key: true,
            }],
            targets: vec![TargetDetail {
                sink: "cache".to_owned(),
                target: "hash o:{id}".to_owned(),
            }],
            rows: Some(vec![RawValue::from_string(row.to_owned()).unwrap()]),
            ..ProjectionDetail::default()
        });
        Box::pin(async { detail })
    });
    let daemon = Daemon::start(Options { look: Some(look), ..Options::default() }).await;
    let answer = daemon.get("/v1/projections/gr%C3%B6%C3%9Fe%20%2F%201").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.text.contains("1.50"), "digits are as they are: {}", answer.text);
    assert_eq!(
        answer.json(),
        json!({
            "name": "größe / 1", "table": null, "query": "SELECT 1", "plan": null,
            "columns": [{ "name": "id", "type": "numeric", "key": true }],
            "targets": [{ "sink": "cache", "target": "hash o:{id}" }],
            "rows": [{ "id": 1.5, "größe": null }],
        })
    );
    for (path, error) in [
        ("/v1/projections/other", "there is no projection other"),
        ("/v1/projections/%ff", "the name is not UTF-8"),
    ] {
        daemon.get(path).await.is_error(StatusCode::NOT_FOUND, error);
    }
}
