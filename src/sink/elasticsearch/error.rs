//! What an answer of the server means: done, try again, the row's fault, or the sink's trouble.
//!
//! Only an error about the document itself is the row's. Whatever says that the sink is away, full,
//! blocked, forbidden or not as it was left is the sink's: a row must not be given up for it.

use serde::Deserialize;

use super::client::Answer;
use crate::sink::SinkError;

/// The server's words are kept up to here: an error can repeat the whole document.
const REASON_BYTES_MAX: usize = 1000;

/// The server's error object, or what it sent instead of one.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub(super) struct ServerError {
    pub(super) kind: String,
    pub(super) reason: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Text(String),
    Object {
        #[serde(default, rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        reason: Option<String>,
        #[serde(default)]
        caused_by: Option<Box<Cause>>,
    },
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    caused_by: Option<Box<Cause>>,
}

impl Cause {
    /// The innermost reason, which is the telling one.
    fn root(mut self) -> Option<String> {
        while let Some(inner) = self.caused_by.take() {
            self = *inner;
        }
        self.reason
    }
}

impl From<Raw> for ServerError {
    fn from(raw: Raw) -> Self {
        match raw {
            Raw::Text(reason) => Self { kind: String::new(), reason: shorten(reason) },
            Raw::Object { kind, reason, caused_by } => {
                let mut reason = shorten(reason.unwrap_or_default());
                // The outer reason is often only "failed to parse".
                if let Some(cause) = caused_by.and_then(|cause| cause.root())
                    && !reason.contains(&cause)
                {
                    reason = format!("{reason}: {}", shorten(cause));
                }
                Self { kind: kind.unwrap_or_default(), reason }
            }
        }
    }
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.kind.is_empty() {
            write!(f, "{}: ", self.kind)?;
        }
        f.write_str(&self.reason)
    }
}

impl ServerError {
    /// The error in an answer's body, or the body's beginning.
    pub(super) fn of(answer: &Answer) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: ServerError,
        }
        match serde_json::from_slice::<Body>(&answer.body) {
            Ok(body) => body.error,
            Err(_) => Self {
                kind: String::new(),
                reason: shorten(String::from_utf8_lossy(&answer.body).trim().to_string()),
            },
        }
    }

    /// Kinds that come with a 400 but say nothing about the document.
    pub(super) fn is_the_sinks(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "index_closed_exception"
                | "cluster_block_exception"
                | "validation_exception"
                | "action_request_validation_exception"
                | "invalid_index_name_exception"
        ) || (self.kind == "illegal_argument_exception"
            && ["no write index is defined", "pipeline with id"]
                .iter()
                .any(|start| self.reason.starts_with(start)))
    }
}

fn shorten(mut text: String) -> String {
    if text.len() > REASON_BYTES_MAX {
        let fits = (0..=REASON_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(fits.unwrap_or(0));
        text.push('…');
    }
    text
}

/// What became of one item of a bulk request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The index holds this version or a newer one; or the document is gone.
    Done,
    /// The server was busy with this one.
    Again,
    /// The document will never be accepted as it is.
    Refused,
    /// Nothing is wrong with the document.
    Trouble,
}

pub(super) fn verdict(status: u16, error: Option<&ServerError>) -> Verdict {
    let Some(error) = error else {
        // Also 404: the delete of a document that was not there.
        return if status < 300 || status == 404 { Verdict::Done } else { Verdict::Again };
    };
    match status {
        // external_gte: a newer version is there already.
        409 => Verdict::Done,
        // A full disk answers 429 too, until somebody makes room.
        _ if error.kind == "cluster_block_exception" => Verdict::Trouble,
        408 | 429 | 500.. => Verdict::Again,
        400 | 413 if !error.is_the_sinks() => Verdict::Refused,
        _ => Verdict::Trouble,
    }
}

/// Whether the same request may succeed in a moment.
pub(super) fn is_busy(answer: &Answer) -> bool {
    matches!(answer.status, 408 | 429 | 500..)
}

/// The error for a request that was refused as a whole; `doing` completes "while".
pub(super) fn refusal(doing: &str, answer: &Answer) -> SinkError {
    let error = ServerError::of(answer);
    let status = answer.status;
    let why = match status {
        401 => "the search server refused the credentials",
        403 if error.kind != "cluster_block_exception" => "the search server denied permission",
        400 if !error.is_the_sinks() => {
            return SinkError::Fatal {
                what: format!("the search server refused the request while {doing}: {error}"),
                hint: "correct the target's index, mappings or settings, or what the server has \
                       under that name"
                    .into(),
            };
        }
        _ => "the search server failed",
    };
    SinkError::Retryable {
        what: format!("{why} while {doing} (status {status}): {error}"),
        source: None,
    }
}

pub(super) fn trouble(what: impl Into<String>) -> SinkError {
    SinkError::Retryable { what: what.into(), source: None }
}

/// An answer that is not what the API promises: a proxy's page, another product.
pub(super) fn unexpected(doing: &str, answer: &Answer, error: serde_json::Error) -> SinkError {
    SinkError::Retryable {
        what: format!(
            "the search server's answer while {doing} (status {}) cannot be read",
            answer.status
        ),
        source: Some(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> ServerError {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn versions_and_absent_documents_are_done() {
        let conflict = error(r#"{"type":"version_conflict_engine_exception","reason":"x"}"#);
        assert_eq!(verdict(409, Some(&conflict)), Verdict::Done);
        assert_eq!(verdict(404, None), Verdict::Done);
        assert_eq!(verdict(201, None), Verdict::Done);
    }

    #[test]
    fn only_the_documents_own_errors_are_refusals() {
        for (status, text, expected) in [
            (400, r#"{"type":"mapper_parsing_exception","reason":"x"}"#, Verdict::Refused),
            (400, r#"{"type":"document_parsing_exception","reason":"x"}"#, Verdict::Refused),
            (
                400,
                r#"{"type":"illegal_argument_exception","reason":"Document contains at least one immense term"}"#,
                Verdict::Refused,
            ),
            (
                400,
                r#"{"type":"illegal_argument_exception","reason":"no write index is defined for alias [a]"}"#,
                Verdict::Trouble,
            ),
            (400, r#"{"type":"index_closed_exception","reason":"closed"}"#, Verdict::Trouble),
            (404, r#"{"type":"index_not_found_exception","reason":"x"}"#, Verdict::Trouble),
            (403, r#"{"type":"cluster_block_exception","reason":"x"}"#, Verdict::Trouble),
            (429, r#"{"type":"cluster_block_exception","reason":"flood"}"#, Verdict::Trouble),
            (429, r#"{"type":"es_rejected_execution_exception","reason":"x"}"#, Verdict::Again),
            (503, r#"{"type":"unavailable_shards_exception","reason":"x"}"#, Verdict::Again),
            (403, r#"{"type":"security_exception","reason":"x"}"#, Verdict::Trouble),
        ] {
            assert_eq!(verdict(status, Some(&error(text))), expected, "{status} {text}");
        }
    }

    #[test]
    fn the_cause_is_told_and_long_words_are_cut() {
        let both = error(r#"{"type":"t","reason":"failed to parse","caused_by":{"reason":"bad"}}"#);
        assert_eq!(both.to_string(), "t: failed to parse: bad");
        assert_eq!(error(r#""plain""#).to_string(), "plain");
        let long = format!(r#"{{"type":"t","reason":"{}"}}"#, "é".repeat(5000));
        assert!(error(&long).reason.len() < REASON_BYTES_MAX + 10);
    }
}
