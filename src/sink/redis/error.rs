//! Redis' errors in the terms of the contract. All but a row's own are the server's trouble and are
//! tried again: a human may free memory, grant a permission or promote a replica at any moment.

use std::error::Error;
use std::sync::Arc;

use redis::{ErrorKind, RedisError};

use crate::sink::SinkError;

/// `doing` is what was attempted: "cannot connect to cache:6379".
pub(super) fn retryable(doing: &str, error: RedisError) -> SinkError {
    SinkError::Retryable {
        what: match explain(&error) {
            Some(why) => format!("{doing}: {why}"),
            None => doing.into(),
        },
        source: Some(Box::new(error)),
    }
}

/// For trouble that no error of the client stands for.
pub(super) fn interrupted(what: impl Into<String>) -> SinkError {
    SinkError::Retryable { what: what.into(), source: None }
}

pub(super) fn fatal(what: impl Into<String>, hint: impl Into<String>) -> SinkError {
    SinkError::Fatal { what: what.into(), hint: hint.into() }
}

/// Of a cluster, when the url names a database.
pub(super) const NO_DATABASES: &str = "NODATABASES";

/// What Redis' codes mean for this sink; `None` where the error's own words say all.
pub(super) fn explain(error: &RedisError) -> Option<&'static str> {
    let why = match code(error) {
        Some("LOADING") => "Redis is still loading its data",
        Some("BUSY") => "Redis is busy with another client's script",
        Some("OOM") => "Redis has reached its maxmemory and refuses writes",
        Some("READONLY") => "this Redis is a replica and takes no writes",
        Some("MASTERDOWN") => "this Redis is a replica that has lost its master",
        Some("CLUSTERDOWN") => "the Redis cluster is down",
        Some("MOVED" | "ASK" | "TRYAGAIN") => "slots of the Redis cluster are being moved",
        Some("CROSSSLOT") => {
            "this Redis is a node of a cluster, which its user may not ask about (INFO, CLUSTER SLOTS)"
        }
        Some("NOAUTH") => "Redis asks for a password",
        Some("WRONGPASS") => "Redis refuses the user name or the password",
        Some("NOPERM") => "the Redis user lacks a permission",
        Some("MISCONF") => "Redis cannot write to its disk and refuses writes",
        Some("NOREPLICAS") => "Redis has too few replicas and refuses writes",
        Some("DATABASE") => "the url's database number is beyond those of this Redis",
        Some(_) => return None,
        None if error.is_timeout() => "no answer in time",
        None if error.is_connection_refusal() => "the connection is refused",
        None if error.kind() == ErrorKind::AuthenticationFailed => {
            "Redis refuses the user name or the password"
        }
        None if is_tls(error) => "TLS failed",
        None if error.is_io_error() => "the connection failed",
        None => return None,
    };
    Some(why)
}

/// The error's code. A script's error may carry it inside a text that begins with `ERR`.
pub(super) fn code(error: &RedisError) -> Option<&str> {
    const CODES: [&str; 12] = [
        "LOADING",
        "BUSY",
        "OOM",
        "READONLY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "MOVED",
        "NOAUTH",
        "WRONGPASS",
        "NOPERM",
        "MISCONF",
        "NOREPLICAS",
    ];
    const WORDS: [(&str, &str); 6] = [
        // What a script is told when its user lacks a permission, in 7.0 and since 7.2.
        ("The user executing the script can't", "NOPERM"),
        ("ACL failure in script", "NOPERM"),
        // The client's own words for SELECT's error when it connects.
        ("Authentication required", "NOAUTH"),
        ("DB index is out of range", "DATABASE"),
        ("SELECT is not allowed in cluster mode", NO_DATABASES),
        // A key that a script has emptied cannot come back while its slot leaves this node.
        ("attempted to access a non local key", "TRYAGAIN"),
    ];
    match error.code() {
        Some("ERR") => {
            let detail = error.detail().unwrap_or_default();
            if let Some((_, code)) = WORDS.iter().find(|(words, _)| detail.contains(words)) {
                return Some(code);
            }
            let words = detail.split(|c: char| !c.is_ascii_uppercase());
            let known = words.flat_map(|word| CODES.into_iter().find(|code| *code == word)).next();
            known.or(Some("ERR"))
        }
        code => code,
    }
}

/// The client hands its source out behind an `Arc`.
fn is_tls(error: &RedisError) -> bool {
    let shared = error.source().and_then(|e| e.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    let io = shared.and_then(|shared| shared.downcast_ref::<std::io::Error>());
    io.and_then(std::io::Error::get_ref).is_some_and(|e| e.is::<rustls::Error>())
}
