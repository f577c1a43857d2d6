//! What went wrong in the sink's database, and what delivery is to do about it: the SQLSTATE decides.
//!
//! Three answers: a *row* is refused for good (found by bisecting, then a dead letter), the sink
//! cannot *now* (tried again after `open`, which also finds a target that is no longer what it was),
//! or only a human can help.

use tokio_postgres::error::DbError;

use super::SCHEMA;
use crate::pg;
use crate::sink::SinkError;

pub(super) type Error = tokio_postgres::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Row,
    Retryable,
    Fatal,
}

pub(super) fn class(error: &Error) -> Class {
    match error.as_db_error() {
        // No answer of the server: the connection is gone.
        None => Class::Retryable,
        Some(error) if of_watermark(error).is_some() => match of_watermark(error) {
            Some("owner") => Class::Fatal,
            _ => Class::Retryable,
        },
        Some(error) => class_of_state(error.code().code()),
    }
}

fn class_of_state(state: &str) -> Class {
    match state {
        // A statement that would touch a row twice: single rows do not.
        "21000"
        // A row too large for an index, a value nested too deep.
        | "54000" | "54001" => Class::Row,
        // The target was dropped, or changed by hand: `open` looks at it again.
        "42P01" | "42703" | "42P10" | "42804" | "428C9" | "3F000"
        // Privileges and read-only servers: somebody is at work on them.
        | "42501" | "25006" | "25P03" | "0A000" | "55000" | "55006" | "55P03" => Class::Retryable,
        _ => match state.get(..2) {
            // Data exceptions, constraints that the target's owner added, exceptions of their triggers.
            Some("22" | "23" | "44" | "P0") => Class::Row,
            // Connection, authorization, database, transaction rollback, resources, operator
            // intervention, system and internal errors.
            Some("08" | "28" | "3D" | "40" | "53" | "57" | "58" | "XX" | "25") => Class::Retryable,
            _ => Class::Fatal,
        },
    }
}

/// The watermark's statement breaks a NOT NULL on purpose where it must not go on: `owner`, `lsn`,
/// `target` or `term` says why.
fn of_watermark(error: &DbError) -> Option<&str> {
    let ours = error.schema() == Some(SCHEMA) && error.table() == Some("watermark");
    error.column().filter(|_| ours && error.code().code() == "23502")
}

/// The error of a statement for delivery: `doing` says what was tried, e.g. "write a step".
pub(super) fn sink_error(doing: &str, error: Error) -> SinkError {
    let class = class(&error);
    if let Some(column) = error.as_db_error().and_then(of_watermark) {
        return match column {
            "owner" => other_owner(doing),
            // `open` finds out which.
            "term" => retryable(format!("cannot {doing}: another instance has taken over")),
            "target" => retryable(format!(
                "cannot {doing}: a target table was replaced or truncated meanwhile"
            )),
            _ => retryable(format!("cannot {doing}: the watermark is already further")),
        };
    }
    match class {
        Class::Fatal => SinkError::Fatal {
            what: format!("cannot {doing}: {}", words(&error)),
            hint: "this is not an error of the data or of the connection; see the sink's log"
                .into(),
        },
        Class::Row | Class::Retryable => {
            let remedy = error.code().and_then(|code| remedy(code.code()));
            let remedy = remedy.map(|remedy| format!(" ({remedy})")).unwrap_or_default();
            let what = format!("cannot {doing}: {}{remedy}", words(&error));
            // Of the server's errors the words are all there is.
            let source = error.as_db_error().is_none().then(|| Box::new(error) as _);
            SinkError::Retryable { what, source }
        }
    }
}

fn other_owner(doing: &str) -> SinkError {
    SinkError::Fatal {
        what: format!("cannot {doing}: another pipeline has taken over the watermark"),
        hint: "let one of the two write to other tables or to another database".into(),
    }
}

pub(super) fn retryable(what: impl Into<String>) -> SinkError {
    SinkError::Retryable { what: what.into(), source: None }
}

/// An error on the way to a session.
pub(super) fn connect_error(error: pg::Error) -> SinkError {
    match error.kind() {
        pg::Kind::Configuration => SinkError::Fatal {
            what: format!("the sink's url cannot be used: {error}"),
            hint: "correct the url; its parameters are libpq's".into(),
        },
        _ => SinkError::Retryable {
            what: format!("cannot connect: {error}"),
            source: Some(Box::new(error)),
        },
    }
}

/// What the server said, in one line, with its SQLSTATE; other errors with their causes.
pub(super) fn words(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        let mut text = error.message().to_string();
        if let Some(detail) = error.detail() {
            text.push_str(": ");
            text.push_str(detail);
        }
        return format!("{text} (SQLSTATE {})", error.code().code());
    }
    chain(error)
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn remedy(state: &str) -> Option<&'static str> {
    Some(match state {
        "42501" => "the sink's role needs the right to write there",
        "25006" => "the server is a standby or read-only",
        "53100" => "the sink's disk is full",
        "53300" => "the sink has no free connection",
        "55P03" => "somebody else holds a lock on the table",
        "42P01" => "the table is gone; it will be filled anew",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_decides() {
        for (class, states) in [
            (Class::Row, &["22003", "22P02", "22021", "23514", "23505", "54000", "P0001"][..]),
            (Class::Retryable, &["08006", "57P01", "53100", "40001", "40P01", "55P03", "42501"]),
            (Class::Retryable, &["28P01", "42P01", "25006", "25P02", "XX000", "58030"]),
            (Class::Fatal, &["42601", "42883", "54023"]),
        ] {
            for state in states {
                assert_eq!(class_of_state(state), class, "{state}");
            }
        }
    }
}
