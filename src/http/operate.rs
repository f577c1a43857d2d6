//! The operator's paths: dead letters and rebuilds. What changes something is a POST or a DELETE, takes
//! its arguments from the path and the query, and is refused to web pages of other origins.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::answer;
use super::operator::{Asked, LettersAsked, Operator, Refusal, Why};
use super::query::Parameters;
use super::routes::Endpoints;

const LETTERS_DEFAULT: usize = 100;
const LETTERS_MAX: usize = 1_000;

pub(super) async fn letters(State(end): State<Endpoints>, RawQuery(query): RawQuery) -> Response {
    let asked = Parameters::parse(query.as_deref(), &["sink", "projection", "after", "limit"])
        .and_then(|mut given| {
            let limit = match given.take("limit") {
                None => LETTERS_DEFAULT,
                Some(text) => match text.parse() {
                    Ok(limit @ 1..=LETTERS_MAX) => limit,
                    _ => return Err(format!("limit: not a number from 1 to {LETTERS_MAX}")),
                },
            };
            Ok(LettersAsked {
                sink: given.take("sink"),
                projection: given.take("projection"),
                after: given.take("after"),
                limit,
            })
        });
    match asked {
        Ok(asked) => answered(&end, |operator| operator.letters(asked)).await,
        Err(fault) => answer::error(StatusCode::BAD_REQUEST, fault),
    }
}

pub(super) async fn letter(State(end): State<Endpoints>, Path(id): Path<String>) -> Response {
    answered(&end, |operator| operator.letter(id)).await
}

pub(super) async fn retry(
    State(end): State<Endpoints>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = of_another_origin(&headers) {
        return refusal;
    }
    answered(&end, |operator| operator.retry(id)).await
}

pub(super) async fn drop_letter(
    State(end): State<Endpoints>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    #[derive(Serialize)]
    struct Dropped {
        dropped: bool,
    }
    if let Some(refusal) = of_another_origin(&headers) {
        return refusal;
    }
    let dropped = |operator: &dyn Operator| {
        let dropping = operator.drop_letter(id);
        let asked: Asked<Dropped> =
            Box::pin(async move { dropping.await.map(|()| Dropped { dropped: true }) });
        asked
    };
    answered(&end, dropped).await
}

pub(super) async fn rebuild(
    State(end): State<Endpoints>,
    Path(projection): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = of_another_origin(&headers) {
        return refusal;
    }
    match Parameters::parse(query.as_deref(), &["sink"]) {
        Ok(mut given) => {
            let sink = given.take("sink");
            answered(&end, |operator| operator.rebuild(projection, sink)).await
        }
        Err(fault) => answer::error(StatusCode::BAD_REQUEST, fault),
    }
}

/// Asks, and gives the answer as JSON.
async fn answered<T: Serialize>(
    end: &Endpoints,
    ask: impl FnOnce(&dyn Operator) -> Asked<T>,
) -> Response {
    let Some(operator) = end.shared.operator.as_ref().map(Arc::clone) else {
        return answer::error(StatusCode::SERVICE_UNAVAILABLE, "there is no pipeline to ask");
    };
    let asked = end.cancel.run_until_cancelled(ask(&*operator)).await;
    match asked {
        Some(Ok(found)) => Json(found).into_response(),
        Some(Err(refusal)) => refused(refusal),
        None => answer::error(StatusCode::SERVICE_UNAVAILABLE, "Readside is stopping"),
    }
}

pub(super) fn refused(refusal: Refusal) -> Response {
    let status = match refusal.why {
        Why::Unknown => StatusCode::NOT_FOUND,
        Why::Bad => StatusCode::BAD_REQUEST,
        Why::Conflict => StatusCode::CONFLICT,
        Why::Gone => StatusCode::GONE,
        Why::Away => StatusCode::SERVICE_UNAVAILABLE,
    };
    answer::error(status, refusal.error)
}

/// A browser says by `Origin` where the page comes from that sends a request. Without a token any page
/// that somebody on this machine looks at could otherwise give orders.
pub(super) fn of_another_origin(headers: &HeaderMap) -> Option<Response> {
    let origin = headers.get(ORIGIN)?;
    let host = headers.get(HOST).map(|host| host.as_bytes()).unwrap_or_default();
    let own = [&b"http://"[..], b"https://"].map(|scheme| [scheme, host].concat());
    if own.iter().any(|own| own.eq_ignore_ascii_case(origin.as_bytes())) {
        return None;
    }
    let error = "a page of another origin may not give orders";
    Some(answer::error(StatusCode::FORBIDDEN, error))
}
