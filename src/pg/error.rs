//! The one error of a connection to Postgres: what kind it is, where, in words, with the server's own.

use std::fmt;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorResponseBody;

/// What a caller may branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The parameters, or files they name, cannot be used. Trying again does not help.
    Configuration,
    /// Refused, unknown host, no route, or no answer in time.
    Unreachable,
    /// No TLS where it is demanded, or a certificate that does not verify.
    Tls,
    /// The server does not let this user in, or asks for what we do not have.
    Authentication,
    /// Any other error that the server reports.
    Server,
    /// No server suits `target_session_attrs`.
    Unsuitable,
    /// The connection has ended, or has fallen silent.
    Closed,
    /// The server's bytes make no sense.
    Protocol,
}

/// Its text names the server and holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{}{what}", At(.at))]
pub struct Error {
    kind: Kind,
    /// `host:port` or the socket's path; empty before there is a server to speak of.
    at: String,
    what: String,
    server: Option<Box<ServerError>>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

struct At<'a>(&'a str);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

impl Error {
    pub fn new(kind: Kind, at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { kind, at: at.into(), what: what.into(), server: None, source: None }
    }

    pub(crate) fn configuration(what: impl Into<String>) -> Self {
        Self::new(Kind::Configuration, "", what)
    }

    pub(crate) fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An error message of the server.
    pub(crate) fn server(at: &str, error: ServerError) -> Self {
        // Class 28: invalid authorization specification.
        let kind = if error.code.starts_with("28") { Kind::Authentication } else { Kind::Server };
        let what = error.to_string();
        Self { kind, at: at.into(), what, server: Some(Box::new(error)), source: None }
    }

    /// A read or a write on an established connection failed.
    pub(crate) fn io(at: &str, error: std::io::Error) -> Self {
        let tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof if !tls => {
                Self::new(Kind::Closed, at, "the server closed the connection")
            }
            _ if tls => Self::new(Kind::Tls, at, "TLS failed").caused_by(error),
            _ => Self::new(Kind::Closed, at, "the connection broke").caused_by(error),
        }
    }

    pub(crate) fn protocol(at: &str, what: impl Into<String>) -> Self {
        Self::new(Kind::Protocol, at, what)
    }

    /// This one, with what a further attempt said.
    pub(crate) fn and(mut self, how: &str, other: &Error) -> Self {
        self.what = format!("{}; {how}: {}", self.words(), other.words());
        self.source = None;
        self
    }

    /// The error of several hosts: the last one's kind and code, everyone's words.
    pub(crate) fn of_hosts(mut errors: Vec<Error>) -> Self {
        let Some(mut last) = errors.pop() else {
            return Self::configuration("no host to connect to");
        };
        if !errors.is_empty() {
            let text = |error: &Error| format!("{}{}", At(&error.at), error.words());
            let mut texts: Vec<String> = errors.iter().map(text).collect();
            texts.push(text(&last));
            last.what = texts.join("; ");
            last.at = String::new();
            last.source = None;
        }
        last
    }

    /// What went wrong with its causes, in one line.
    fn words(&self) -> String {
        let mut words = self.what.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            words.push_str(": ");
            words.push_str(&error.to_string());
            cause = error.source();
        }
        words
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The server's SQLSTATE.
    pub fn code(&self) -> Option<&str> {
        self.server.as_deref().map(|error| error.code.as_str())
    }

    pub fn server_error(&self) -> Option<&ServerError> {
        self.server.as_deref()
    }
}

/// The fields of an ErrorResponse or NoticeResponse (manual, 55.8) that say something to people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Characters from the start of the query, from 1.
    pub position: Option<u32>,
}

impl ServerError {
    pub(crate) fn read(body: &ErrorResponseBody) -> std::io::Result<Self> {
        let mut error = Self::default();
        let mut fields = body.fields();
        while let Some(field) = fields.next()? {
            let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                // 'V' is 'S' untranslated.
                b'V' => error.severity = text,
                b'S' if error.severity.is_empty() => error.severity = text,
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                b'P' => error.position = text.parse().ok(),
                _ => {}
            }
        }
        Ok(error)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {})", self.severity, self.message, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}
