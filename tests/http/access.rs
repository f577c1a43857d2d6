//! Paths, methods, tokens, and the end.

use reqwest::{Method, StatusCode};

use crate::daemon::{Daemon, Options};

const ENDPOINTS: [&str; 7] =
    ["/", "/v1/projections/orders", "/metrics", "/healthz", "/readyz", "/v1/status", "/v1/wait"];

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let daemon = Daemon::start(Options::default()).await;
    for path in
        ["/v1", "/v1/projections", "/v1/read/orders", "/v1/changes/orders", "/metrics/", "/Metrics"]
    {
        let error = format!("there is nothing at {path}");
        daemon.get(path).await.is_error(StatusCode::NOT_FOUND, &error);
    }
    for path in ENDPOINTS {
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let answer = daemon.send(daemon.request(method.clone(), path)).await;
            let error = format!("{path} takes no {method}");
            answer.is_error(StatusCode::METHOD_NOT_ALLOWED, &error);
            assert_eq!(answer.header("allow"), "GET,HEAD");
        }
    }
    let answer = daemon.send(daemon.request(Method::HEAD, "/v1/status")).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn all_but_the_probes_want_the_token() {
    let daemon = Daemon::start(Options { token: Some("s3cret"), ..Options::default() }).await;
    let ask = async |path: &str, authorization: Option<&str>| {
        let request = daemon.request(Method::GET, path);
        let request = match authorization {
            Some(value) => request.header("Authorization", value),
            None => request,
        };
        daemon.send(request).await
    };
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(ask(probe, None).await.status, StatusCode::OK);
        assert_eq!(ask(probe, Some("Bearer other")).await.status, StatusCode::OK);
    }
    for path in ["/metrics", "/v1/status", "/v1/wait", "/", "/v1/read/orders", "/healthz/"] {
        let answer = ask(path, None).await;
        let error = "a token is needed: Authorization: Bearer TOKEN";
        answer.is_error(StatusCode::UNAUTHORIZED, error);
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"readside\"");
        for other in ["Bearer s3cre", "Bearer s3cret2", "Bearer S3CRET", "bearer x"] {
            let answer = ask(path, Some(other)).await;
            answer.is_error(StatusCode::UNAUTHORIZED, "the token is another one");
            let challenge = "Bearer realm=\"readside\", error=\"invalid_token\"";
            assert_eq!(answer.header("www-authenticate"), challenge);
        }
        for other in ["s3cret", "Basic czNjcmV0", "Bearer", "Bearers3cret", ""] {
            let error = "the Authorization header is no Bearer token";
            ask(path, Some(other)).await.is_error(StatusCode::UNAUTHORIZED, error);
        }
        assert_ne!(ask(path, Some("Bearer s3cret")).await.status, StatusCode::UNAUTHORIZED);
        assert_ne!(ask(path, Some("bearer  s3cret")).await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn it_stops_when_told() {
    let mut daemon = Daemon::start(Options::default()).await;
    assert_eq!(daemon.get("/healthz").await.status, StatusCode::OK);
    daemon.cancel.cancel();
    daemon.tasks.join_next().await.unwrap().unwrap();
    assert!(daemon.request(Method::GET, "/healthz").send().await.unwrap_err().is_connect());
}
