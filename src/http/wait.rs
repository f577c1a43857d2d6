//! `/v1/wait?projection=P&sink=S&lsn=X/Y&timeout=2s`: answers when the sink has the position.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::board::{Reached, Standing, WaitError};
use super::query::Parameters;
use super::routes::Endpoints;
use super::status::text;
use super::{Refresh, answer};
use crate::config::{self, SinkKind};
use crate::lsn::Lsn;

pub(super) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

#[derive(Debug, PartialEq, Eq)]
struct Query {
    projection: String,
    /// `None`: all of the projection's.
    sink: Option<String>,
    lsn: Lsn,
    timeout: Duration,
    /// The position is to be visible to searches too, not only to a GET of a document.
    search: bool,
}

/// Where the sinks stand; the answer of 200 and, beside the error, of 408.
#[derive(Serialize)]
struct Stands {
    projection: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<String>,
    /// The lowest of `sinks`.
    #[serde(serialize_with = "text")]
    lsn: Lsn,
    settled: bool,
    sinks: Vec<SinkStands>,
}

#[derive(Serialize)]
struct SinkStands {
    sink: String,
    #[serde(serialize_with = "text")]
    lsn: Lsn,
    settled: bool,
}

pub(super) async fn wait(State(end): State<Endpoints>, RawQuery(query): RawQuery) -> Response {
    let query = match Query::parse(query.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(fault) => return answer::error(StatusCode::BAD_REQUEST, fault),
    };
    let Ok(_waiter) = end.waiters.try_acquire() else {
        let mut busy = answer::error(StatusCode::SERVICE_UNAVAILABLE, "too many are waiting");
        busy.headers_mut().insert(RETRY_AFTER, 1.into());
        return busy;
    };
    let stopping = || answer::error(StatusCode::SERVICE_UNAVAILABLE, "Readside is stopping");
    end.cancel.run_until_cancelled(answer(&end, &query)).await.unwrap_or_else(stopping)
}

async fn answer(end: &Endpoints, query: &Query) -> Response {
    let deadline = Instant::now() + query.timeout;
    let refreshes = match Refreshes::of(end, query) {
        Ok(refreshes) => refreshes,
        Err(fault) => return answer::error(StatusCode::BAD_REQUEST, fault),
    };
    let board = end.shared.board();
    let wait = board.wait(&query.projection, query.sink.as_deref(), query.lsn, deadline);
    let standings = match wait.await {
        Ok(Reached { standings }) => standings,
        Err(WaitError::Behind { standings }) => {
            return query.late(format!("{} is not reached in time", query.lsn), standings);
        }
        Err(unknown) => return answer::error(StatusCode::NOT_FOUND, unknown.to_string()),
    };
    if standings.is_empty() {
        // It goes to no sink: the state itself has it.
        let lsn = board.state(&query.projection);
        return Json(Stands { lsn, ..query.stands(standings) }).into_response();
    }
    match timeout_at(deadline, refreshes.run(&query.projection)).await {
        Ok(Ok(())) => Json(query.stands(standings)).into_response(),
        Ok(Err(fault)) => answer::error(StatusCode::SERVICE_UNAVAILABLE, fault),
        Err(_) => query.late("the search sink is not refreshed in time".to_owned(), standings),
    }
}

/// The search sinks to be refreshed.
struct Refreshes<'a> {
    refresh: Option<&'a Refresh>,
    sinks: Vec<String>,
}

impl<'a> Refreshes<'a> {
    fn of(end: &'a Endpoints, query: &Query) -> Result<Refreshes<'a>, &'static str> {
        if !query.search {
            return Ok(Refreshes { refresh: None, sinks: Vec::new() });
        }
        let status = Arc::clone(&end.shared.status.borrow());
        let search = |sink: &str| {
            let is = |kind| matches!(kind, SinkKind::Elasticsearch);
            status.sinks.iter().any(|one| one.name == sink && is(one.kind))
        };
        let board = end.shared.board();
        let lanes = board.lanes().iter();
        let asked = |sink: &str| query.sink.as_deref().is_none_or(|asked| asked == sink);
        let waited_for: Vec<_> = lanes
            .filter(|lane| lane.projection == query.projection && asked(&lane.sink))
            .map(|lane| lane.sink.as_str())
            .collect();
        let unknown = waited_for.is_empty();
        let searched = waited_for.into_iter().filter(|sink| search(sink));
        let sinks: Vec<String> = searched.map(str::to_owned).collect();
        let refresh = end.shared.refresh.as_ref();
        // What is unknown is told as such.
        if !unknown && (sinks.is_empty() || refresh.is_none()) {
            return Err("search: none of the sinks that are waited for can be searched");
        }
        Ok(Refreshes { refresh, sinks })
    }

    async fn run(&self, projection: &str) -> Result<(), String> {
        let Some(refresh) = self.refresh else { return Ok(()) };
        for sink in &self.sinks {
            let refreshed = refresh(sink, projection).await;
            refreshed.map_err(|error| format!("sink {sink} cannot be refreshed: {error}"))?;
        }
        Ok(())
    }
}

impl Query {
    /// The error names the parameter.
    fn parse(query: &str) -> Result<Query, String> {
        let known = ["projection", "sink", "lsn", "timeout", "search"];
        let mut given = Parameters::parse(Some(query), &known)?;
        let lsn = given.take("lsn").ok_or("lsn: missing")?;
        Ok(Query {
            projection: given.take("projection").ok_or("projection: missing")?,
            sink: given.take("sink"),
            lsn: lsn.parse().map_err(|error| format!("lsn: {error}"))?,
            timeout: given
                .take("timeout")
                .map_or(Ok(TIMEOUT_DEFAULT), |text| parse_timeout(&text))?,
            search: given.take_flag("search")?,
        })
    }

    fn late(&self, error: String, standings: Vec<Standing>) -> Response {
        answer::error_with(StatusCode::REQUEST_TIMEOUT, error, self.stands(standings))
    }

    fn stands(&self, standings: Vec<Standing>) -> Stands {
        Stands {
            projection: self.projection.clone(),
            sink: self.sink.clone(),
            lsn: standings.iter().map(|standing| standing.lsn).min().unwrap_or_default(),
            settled: standings.iter().all(|standing| standing.settled),
            sinks: standings
                .into_iter()
                .map(|Standing { sink, lsn, settled }| SinkStands { sink, lsn, settled })
                .collect(),
        }
    }
}

pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = config::parse_duration(text)
        .map_err(|error| format!("timeout: {text} {error}: write 500ms, 2s or 1m"))?;
    if timeout > TIMEOUT_MAX {
        return Err(format!("timeout: more than {} s", TIMEOUT_MAX.as_secs()));
    }
    Ok(timeout)
}
