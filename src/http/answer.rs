//! The forms of an answer.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// `{ "error": … }`, and for a machine what else is to be said.
pub(super) fn error(status: StatusCode, error: impl Into<String>) -> Response {
    error_with(status, error, ())
}

/// `more`'s fields stand beside `error`.
pub(super) fn error_with(
    status: StatusCode,
    error: impl Into<String>,
    more: impl Serialize,
) -> Response {
    #[derive(Serialize)]
    struct Body<M> {
        error: String,
        #[serde(flatten)]
        more: M,
    }
    (status, Json(Body { error: error.into(), more })).into_response()
}
