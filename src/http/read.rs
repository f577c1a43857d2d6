//! `/v1/read/P?key=["7"]`: one row from the state; `/v1/changes/P?since=X/Y`: rows as they change, and
//! `/v1/events?event=E&since=ID`: what happens, as server-sent events. A first read model needs no store.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::answer;
use super::operate::refused;
use super::operator::{ChangesFeed, Fed, Refusal, Why};
use super::query::Parameters;
use super::routes::Endpoints;
use super::wait::{TIMEOUT_DEFAULT, parse_timeout};
use crate::lsn::{Lsn, Place};

const STOPPING: &str = "Readside is stopping";
/// The state's position that a row was read at.
const POSITION_HEADER: &str = "readside-lsn";
/// A client that takes nothing of what it was given for so long is cut off.
const SLOW: Duration = Duration::from_secs(10);
/// A browser comes again after so long.
const RETRY_MS: u32 = 2_000;
/// While nothing happens: proxies and clients are to know that the connection lives.
const ALIVE_PAUSE: Duration = Duration::from_secs(15);

pub(super) async fn read(
    State(end): State<Endpoints>,
    Path(projection): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let asked =
        Parameters::parse(query.as_deref(), &["key", "lsn", "timeout"]).and_then(|mut given| {
            let lsn: Option<Lsn> = given
                .take("lsn")
                .map(|text| text.parse().map_err(|error| format!("lsn: {error}")))
                .transpose()?;
            let timeout = given.take("timeout");
            let timeout = timeout.map_or(Ok(TIMEOUT_DEFAULT), |text| parse_timeout(&text))?;
            Ok((given.take("key"), lsn, timeout))
        });
    let (key, lsn, timeout) = match asked {
        Ok(asked) => asked,
        Err(fault) => return answer::error(StatusCode::BAD_REQUEST, fault),
    };
    let Some(operator) = end.shared.operator.clone() else { return away() };
    if let Some(lsn) = lsn {
        let Ok(_waiter) = end.waiters.try_acquire() else { return too_many("waiting") };
        // What cannot be read at any position is not waited for.
        let reads =
            || end.cancel.run_until_cancelled(operator.reads(projection.clone(), key.clone()));
        match reads().await {
            Some(Err(refusal)) if refusal.why != Why::Away => return refused(refusal),
            // It may be followed until then.
            Some(_) => {}
            None => return stopping(),
        }
        let board = end.shared.board();
        let there = board.wait_state(&projection, lsn, Instant::now() + timeout);
        match end.cancel.run_until_cancelled(there).await {
            Some(true) => {}
            Some(false) => {
                if let Some(Err(refusal)) = reads().await {
                    return refused(refusal);
                }
                let error = format!("{lsn} is not reached in time");
                return answer::error(StatusCode::REQUEST_TIMEOUT, error);
            }
            None => return stopping(),
        }
    }
    let asked = end.cancel.run_until_cancelled(operator.read(projection, key)).await;
    match asked {
        Some(Ok(row)) => {
            let headers = [
                (CONTENT_TYPE.as_str(), "application/json".to_owned()),
                (CACHE_CONTROL.as_str(), "no-store".to_owned()),
                (POSITION_HEADER, row.lsn.to_string()),
            ];
            (headers, row.document).into_response()
        }
        Some(Err(refusal)) => refused(refusal),
        None => stopping(),
    }
}

pub(super) async fn changes(
    State(end): State<Endpoints>,
    Path(projection): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let last = last_id(&headers);
    let since = Parameters::parse(query.as_deref(), &["since"]).and_then(|mut given| {
        let (name, text) = match last {
            Some(id) => ("Last-Event-ID", Some(id)),
            None => ("since", given.take("since")),
        };
        text.map(|text| text.parse::<Place>().map_err(|error| format!("{name}: {error}")))
            .transpose()
    });
    let since = match since {
        Ok(since) => since,
        Err(fault) => return answer::error(StatusCode::BAD_REQUEST, fault),
    };
    let Some(operator) = end.shared.operator.clone() else { return away() };
    let Ok(place) = Arc::clone(&end.followers).try_acquire_owned() else {
        return too_many("following");
    };
    let asked = end.cancel.run_until_cancelled(operator.changes(projection, since)).await;
    fed(asked, since.map(|since| since.to_string()), place, &end)
}

pub(super) async fn occurrences(
    State(end): State<Endpoints>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let asked = Parameters::parse(query.as_deref(), &["event", "since"]);
    let (event, since) = match asked {
        Ok(mut given) => (given.take("event"), last_id(&headers).or_else(|| given.take("since"))),
        Err(fault) => return answer::error(StatusCode::BAD_REQUEST, fault),
    };
    let Some(operator) = end.shared.operator.clone() else { return away() };
    let Ok(place) = Arc::clone(&end.followers).try_acquire_owned() else {
        return too_many("following");
    };
    let asked = end.cancel.run_until_cancelled(operator.tail(event, since.clone())).await;
    fed(asked, since, place, &end)
}

/// A client that has lost its connection asks with the address of its first request.
fn last_id(headers: &HeaderMap) -> Option<String> {
    let last = headers.get("last-event-id")?.to_str().unwrap_or_default();
    (!last.is_empty()).then(|| last.to_owned())
}

/// A browser takes every answer but 200 for the end of it: who may come again is told so by an event.
fn fed(
    asked: Option<Result<Box<dyn ChangesFeed>, Refusal>>,
    since: Option<String>,
    place: OwnedSemaphorePermit,
    end: &Endpoints,
) -> Response {
    let why = match asked {
        Some(Ok(feed)) => return events(feed, place, end.cancel.clone()),
        Some(Err(Refusal { why: Why::Away, error })) => error,
        Some(Err(refusal)) => return refused(refusal),
        None => STOPPING.to_owned(),
    };
    let data = serde_json::json!({ "resume": since, "error": why });
    event_stream(Body::from(format!("retry: {RETRY_MS}\nevent: away\ndata: {data}\n\n")))
}

/// What is kept for one client: the chunk that it is taking, and where it stands.
struct Following {
    feed: Option<Box<dyn ChangesFeed>>,
    given: Option<Instant>,
    cancel: CancellationToken,
    _place: OwnedSemaphorePermit,
}

fn events(
    feed: Box<dyn ChangesFeed>,
    place: OwnedSemaphorePermit,
    cancel: CancellationToken,
) -> Response {
    let following = Following { feed: Some(feed), given: None, cancel, _place: place };
    let chunks = stream::unfold(following, async |mut following| {
        let chunk = following.next().await?;
        Some((Ok::<Bytes, Infallible>(chunk), following))
    });
    event_stream(Body::from_stream(Box::pin(chunks)))
}

fn event_stream(body: Body) -> Response {
    let headers = [
        (CONTENT_TYPE.as_str(), "text/event-stream"),
        (CACHE_CONTROL.as_str(), "no-store"),
        // nginx would keep events back until its buffer is full.
        ("x-accel-buffering", "no"),
    ];
    (headers, body).into_response()
}

impl Following {
    async fn next(&mut self) -> Option<Bytes> {
        let mut feed = self.feed.take()?;
        if self.given.is_some_and(|given| given.elapsed() > SLOW) {
            return Some(end("slow", &feed.position(), "go on from here"));
        }
        let fed = tokio::select! {
            fed = timeout(ALIVE_PAUSE, feed.next()) => fed,
            () = self.cancel.cancelled() => return None,
        };
        let chunk = match fed {
            Err(_) => Bytes::from_static(b": alive\n\n"),
            Ok(Fed::Events(chunk)) => chunk,
            Ok(Fed::End { event, why }) => return Some(end(event, &feed.position(), &why)),
        };
        self.feed = Some(feed);
        self.given = Some(Instant::now());
        Some(chunk)
    }
}

/// The last event: what it is, where to go on, and why.
fn end(event: &str, position: &str, why: &str) -> Bytes {
    let data = serde_json::json!({ "resume": position, "error": why });
    Bytes::from(format!("event: {event}\ndata: {data}\n\n"))
}

fn away() -> Response {
    answer::error(StatusCode::SERVICE_UNAVAILABLE, "there is no pipeline to ask")
}

fn stopping() -> Response {
    answer::error(StatusCode::SERVICE_UNAVAILABLE, STOPPING)
}

fn too_many(what: &str) -> Response {
    let mut busy = answer::error(StatusCode::SERVICE_UNAVAILABLE, format!("too many are {what}"));
    busy.headers_mut().insert(RETRY_AFTER, 1.into());
    busy
}
