//! Connections that cannot be had, and why.

use crate::config::{Diagnostic, Place};
use crate::pg::{Error, Kind, Params};
use crate::source::quote;

/// No ordinary connection.
pub(super) fn fault(error: &Error, params: &Params, url: &Place) -> Diagnostic {
    let what = match error.kind() {
        Kind::Unreachable | Kind::Closed | Kind::Unsuitable => "the source cannot be reached",
        Kind::Tls => "the source cannot be reached by TLS",
        Kind::Authentication | Kind::Server => "the source does not let us in",
        Kind::Configuration => "the source's url cannot be used",
        Kind::Protocol => "the source does not answer as a Postgres server does",
    };
    Diagnostic::new(format!("{what}: {}", words(error))).at(url).hint(hint(error, params))
}

fn hint(error: &Error, params: &Params) -> String {
    let (role, database) = (quote::readable(params.user()), quote::readable(params.dbname()));
    let message = error.server_error().map(|error| error.message.as_str()).unwrap_or_default();
    match (error.kind(), error.code()) {
        (Kind::Unreachable | Kind::Closed, _) => {
            "start the server, or correct host and port in the url".into()
        }
        (Kind::Unsuitable, _) => "correct the hosts or target_session_attrs in the url".into(),
        (Kind::Tls, _) => {
            "correct sslmode or sslrootcert in the url, or the server's certificate".into()
        }
        (Kind::Configuration, _) => "correct the url".into(),
        (Kind::Protocol, _) => "correct host and port in the url".into(),
        // invalid_password
        (_, Some("28P01")) => format!(
            "correct source.password or source.password_file; a role's password is set by:\n\
             ALTER ROLE {role} PASSWORD '…';"
        ),
        // invalid_authorization_specification is also what a missing role gives where no password is asked.
        (_, Some("28000")) if message.contains("pg_hba.conf") => format!(
            "add a line to the server's pg_hba.conf, and run SELECT pg_reload_conf():\n\
             host {database} {role} ADDRESS/32 scram-sha-256"
        ),
        (_, Some("28000")) => {
            format!("run on the source:\nCREATE ROLE {role} LOGIN REPLICATION PASSWORD '…';")
        }
        (Kind::Authentication, _) => "set source.password or source.password_file".into(),
        // invalid_catalog_name
        (_, Some("3D000")) => "correct the database in the url".into(),
        // insufficient_privilege
        (_, Some("42501")) => {
            format!("run on the source:\nGRANT CONNECT ON DATABASE {database} TO {role};")
        }
        // too_many_connections
        (_, Some("53300")) => {
            "raise max_connections there, or the CONNECTION LIMIT of the role or the database"
                .into()
        }
        _ => "look into the server's log".into(),
    }
}

/// A connection, and no catalog.
pub(super) fn unreadable(error: &Error, url: &Place) -> Diagnostic {
    Diagnostic::new(format!("the source's catalog cannot be read: {}", words(error)))
        .at(url)
        .hint("look into the server's log")
}

/// An ordinary connection, and none for replication.
pub(super) fn replication_fault(error: &Error, url: &Place) -> Diagnostic {
    let hint = match error.code() {
        // too_many_connections
        Some("53300") => "raise max_wal_senders there, and restart the server",
        Some(code) if code.starts_with("28") => {
            "let the role in by a line of pg_hba.conf that names the database; \"all\" will do"
        }
        _ => "connect to the server itself: a pooler has no replication connections",
    };
    Diagnostic::new(format!("the source gives no replication connection: {}", words(error)))
        .at(url)
        .hint(hint)
}

/// The error with its causes.
fn words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::ServerError;

    /// What a server of our own cannot easily be made to say.
    #[test]
    fn replication_connections_that_cannot_be_had() {
        let server = |code: &str, message: &str| {
            let (severity, code) = ("FATAL".into(), code.into());
            let error = ServerError { severity, code, message: message.into(), ..<_>::default() };
            replication_fault(&Error::server("db:5432", error), &Place::default()).to_string()
        };
        let exceeded = "number of requested standby connections exceeds max_wal_senders";
        insta::assert_snapshot!(server("53300", exceeded), @r#"
    error: the source gives no replication connection: db:5432: FATAL: number of requested standby connections exceeds max_wal_senders (SQLSTATE 53300)
     |
    hint: raise max_wal_senders there, and restart the server
    "#);
        insta::assert_snapshot!(server("28000", "no pg_hba.conf entry for replication"), @r#"
    error: the source gives no replication connection: db:5432: FATAL: no pg_hba.conf entry for replication (SQLSTATE 28000)
     |
    hint: let the role in by a line of pg_hba.conf that names the database; "all" will do
    "#);
        insta::assert_snapshot!(server("08P01", "unsupported startup parameter: replication"), @r#"
    error: the source gives no replication connection: db:5432: FATAL: unsupported startup parameter: replication (SQLSTATE 08P01)
     |
    hint: connect to the server itself: a pooler has no replication connections
    "#);
    }
}
