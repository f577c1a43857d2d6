//! Which path answers what.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use prometheus::TextEncoder;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::auth::{self, Access, Hosts};
use super::page::page;
use super::projection::projection;
use super::serve::Limits;
use super::status::{HaStatus, RoleStatus};
use super::wait::wait;
use super::{Shared, answer, operate, read, ready, verify};

const VERIFICATIONS_MAX: usize = 2;

#[derive(Clone)]
pub(super) struct Endpoints {
    pub(super) shared: Shared,
    pub(super) waiters: Arc<Semaphore>,
    /// Each holds snapshots on the source and on a sink.
    pub(super) verifications: Arc<Semaphore>,
    /// Clients that follow changes.
    pub(super) followers: Arc<Semaphore>,
    pub(super) cancel: CancellationToken,
}

/// `is_local`: nobody but this machine can reach it.
pub(super) fn router(
    shared: Shared,
    limits: &Limits,
    is_local: bool,
    cancel: CancellationToken,
) -> Router {
    let access =
        Access { token: shared.token.clone(), hosts: Hosts::new(&shared.listen, is_local) };
    let endpoints = Endpoints {
        shared,
        waiters: Arc::new(Semaphore::new(limits.waiters)),
        verifications: Arc::new(Semaphore::new(VERIFICATIONS_MAX)),
        followers: Arc::new(Semaphore::new(limits.followers)),
        cancel,
    };
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/v1/status", get(status))
        .route("/v1/projections/{name}", get(projection))
        .route("/v1/wait", get(wait))
        .route("/v1/dead-letters", get(operate::letters))
        .route("/v1/dead-letters/{id}", get(operate::letter).delete(operate::drop_letter))
        .route("/v1/dead-letters/{id}/retry", post(operate::retry))
        .route("/v1/read/{projection}", get(read::read))
        .route("/v1/changes/{projection}", get(read::changes))
        .route("/v1/events", get(read::occurrences))
        .route("/v1/verify/{projection}", post(verify::verify))
        .route("/v1/rebuild/{projection}", post(operate::rebuild))
        .fallback(async |uri: Uri| {
            answer::error(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let error = format!("{} takes no {method}", uri.path());
            answer::error(StatusCode::METHOD_NOT_ALLOWED, error)
        })
        .with_state(endpoints)
        .layer(middleware::from_fn_with_state(access, auth::require))
}

impl Endpoints {
    /// Who waited for a position and then asks for more is not shown what was before it.
    async fn up_to_date(&self) {
        if let Some(tell) = &self.shared.tell {
            tell().await;
        }
    }
}

async fn metrics(State(end): State<Endpoints>) -> Response {
    end.up_to_date().await;
    match TextEncoder::new().encode_to_string(&end.shared.registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            let error = format!("the metrics cannot be written: {error}");
            answer::error(StatusCode::INTERNAL_SERVER_ERROR, error)
        }
    }
}

async fn health(State(end): State<Endpoints>) -> Response {
    match end.shared.status.has_changed() {
        Ok(_) => "ok".into_response(),
        Err(_) => answer::error(StatusCode::SERVICE_UNAVAILABLE, "the pipeline has ended"),
    }
}

async fn readiness(State(end): State<Endpoints>) -> Response {
    #[derive(Serialize)]
    struct Reasons {
        reasons: Vec<String>,
    }
    end.up_to_date().await;
    let status = Arc::clone(&end.shared.status.borrow());
    let reasons = ready::reasons(&status, end.shared.board().lanes());
    if reasons.is_empty() {
        match &status.ha {
            None => "ready".into_response(),
            Some(HaStatus { role: RoleStatus::Leader, term, .. }) => {
                format!("ready: leader in term {term}").into_response()
            }
            Some(HaStatus { role: RoleStatus::Standby, term, .. }) => {
                format!("ready: standby in term {term}").into_response()
            }
        }
    } else {
        let reasons = Reasons { reasons };
        answer::error_with(StatusCode::SERVICE_UNAVAILABLE, "not ready", reasons)
    }
}

async fn status(State(end): State<Endpoints>) -> Response {
    end.up_to_date().await;
    let status = Arc::clone(&end.shared.status.borrow());
    Json(&*status).into_response()
}
