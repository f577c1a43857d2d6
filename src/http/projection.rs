//! `/v1/projections/P`: what a projection is, how it is kept, where it goes, and its first rows.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;

use super::answer;
use super::routes::Endpoints;

#[derive(Debug, Clone, Default, Serialize)]
pub struct ProjectionDetail {
    pub name: String,
    /// Schema-qualified. Either this or `query` is there.
    pub table: Option<String>,
    pub query: Option<String>,
    /// How it is kept, in the words of `readside explain`; not while it stands apart.
    pub plan: Option<String>,
    /// In the order of the query or the table; none while it stands apart.
    pub columns: Vec<ColumnDetail>,
    pub targets: Vec<TargetDetail>,
    /// The first by their keys, as documents, and only as many as are soon sent. `None` while they
    /// are being loaded.
    pub rows: Option<Vec<Box<RawValue>>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ColumnDetail {
    pub name: String,
    #[serde(rename = "type")]
    pub sql_type: String,
    /// Part of the projection's key.
    pub key: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct TargetDetail {
    pub sink: String,
    /// Such as `hash order:{order_id}`.
    pub target: String,
}

pub(super) async fn projection(
    State(end): State<Endpoints>,
    name: Result<Path<String>, PathRejection>,
) -> Response {
    let Ok(Path(name)) = name else {
        return answer::error(StatusCode::NOT_FOUND, "the name is not UTF-8");
    };
    let found = match &end.shared.look {
        Some(look) => look(&name).await,
        None => None,
    };
    match found {
        Some(detail) => Json(detail).into_response(),
        None => answer::error(StatusCode::NOT_FOUND, format!("there is no projection {name}")),
    }
}
