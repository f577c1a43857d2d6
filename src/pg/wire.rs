//! Messages over a [`Stream`] (manual, 55.2): one connection that we speak ourselves, from the startup
//! packet to simple queries. What follows START_REPLICATION is `source`'s.

use std::collections::HashMap;

use bytes::{Buf, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{ErrorResponseBody, Header, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Error, Kind, ServerError, Stream};

/// Every session's settings, so that the same value has the same text everywhere, names resolve in one
/// way, and no role's or database's setting cuts a long COPY short. Sent with the startup packet: they
/// win over `options` and over ALTER ROLE … SET.
pub const PINNED_SETTINGS: [(&str, &str); 13] = [
    ("client_encoding", "UTF8"),
    ("search_path", "pg_catalog"),
    // Rows that row security would hide are an error, not absent.
    ("row_security", "off"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    // To compile a query on the catalog takes longer, and more of the server, than to run it.
    ("jit", "off"),
];

/// Before authentication a server has nothing long to say.
pub(super) const STARTUP_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// One message of a simple query's answer, and all rows of it together.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const READ_BYTES: usize = 8 * 1024;
/// Of a COPY more is on its way, as a rule.
const COPY_READ_BYTES: usize = 128 * 1024;

/// One text row of a simple query.
pub type Row = Vec<Option<String>>;

/// A connection with its read buffer.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    incoming: BytesMut,
    at: String,
    parameters: HashMap<String, String>,
}

impl Wire {
    pub(super) fn new(stream: Stream, at: String) -> Self {
        Self { stream, incoming: BytesMut::new(), at, parameters: HashMap::new() }
    }

    /// `host:port`, for errors.
    pub fn at(&self) -> &str {
        &self.at
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// What the server reported at the start and since (ParameterStatus).
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    pub(super) fn parameters(&self) -> &HashMap<String, String> {
        &self.parameters
    }

    /// As `server_version_num`, of the first two parts of `server_version`: 150004 for "15.4 (Debian)".
    pub fn version(&self) -> u32 {
        let text = self.parameter("server_version").unwrap_or_default();
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        let (major, minor): (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        major.saturating_mul(10_000).saturating_add(minor)
    }

    /// The stream and what was read beyond the last message.
    pub fn into_parts(self) -> (Stream, BytesMut, String) {
        (self.stream, self.incoming, self.at)
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| Error::io(&self.at, error))
    }

    /// Waits until a whole message is here; its tag.
    pub async fn peek_tag(&mut self, bytes_max: usize) -> Result<u8, Error> {
        self.peek_tag_reading(bytes_max, READ_BYTES).await
    }

    async fn peek_tag_reading(&mut self, bytes_max: usize, read: usize) -> Result<u8, Error> {
        loop {
            let header =
                Header::parse(&self.incoming).map_err(|error| self.malformed().caused_by(error))?;
            if let Some(header) = header {
                let len = usize::try_from(header.len()).unwrap_or(usize::MAX);
                if len > bytes_max {
                    return Err(Error::protocol(
                        &self.at,
                        format!(
                            "a message of {len} bytes where at most {bytes_max} make sense; is this a Postgres server?"
                        ),
                    ));
                }
                if self.incoming.len() > len {
                    return Ok(header.tag());
                }
            }
            self.incoming.reserve(read);
            let read = self.stream.read_buf(&mut self.incoming).await;
            if read.map_err(|error| Error::io(&self.at, error))? == 0 {
                return Err(Error::io(&self.at, std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The next message that is not for the log or the parameters.
    pub async fn message(&mut self, bytes_max: usize) -> Result<Message, Error> {
        loop {
            self.peek_tag(bytes_max).await?;
            if let Some(message) = self.take_message()? {
                return Ok(message);
            }
        }
    }

    /// Hands on the data of the COPY's messages that are here, once there are some; a message of another
    /// kind is returned when it comes first. A server sends a message for each row, so they are read in
    /// place.
    pub async fn copy_data<E: From<Error>>(
        &mut self,
        bytes_max: usize,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Option<Message>, E> {
        while self.peek_tag_reading(bytes_max, COPY_READ_BYTES).await? != b'd' {
            if let Some(message) = self.take_message()? {
                return Ok(Some(message));
            }
        }
        let mut rest = &self.incoming[..];
        while let Ok(Some(header)) = Header::parse(rest)
            && header.tag() == b'd'
            && let Some(message) = rest.get(..usize::try_from(header.len()).unwrap_or(0) + 1)
        {
            take(&message[5..])?;
            rest = &rest[message.len()..];
        }
        let read = self.incoming.len() - rest.len();
        self.incoming.advance(read);
        Ok(None)
    }

    /// The message that was peeked at; `None` when it was for the log or the parameters.
    fn take_message(&mut self) -> Result<Option<Message>, Error> {
        let malformed = |this: &Self, error| this.malformed().caused_by(error);
        let message = Message::parse(&mut self.incoming).map_err(|error| malformed(self, error))?;
        match message.ok_or_else(|| self.malformed())? {
            Message::NoticeResponse(body) => {
                let mut fields = body.fields();
                while let Some(field) = fields.next().map_err(|error| malformed(self, error))? {
                    if field.type_() == b'M' {
                        let text = String::from_utf8_lossy(field.value_bytes());
                        tracing::debug!(server = self.at, "notice: {text}");
                    }
                }
                Ok(None)
            }
            Message::ParameterStatus(body) => {
                let read = body.name().and_then(|name| Ok((name, body.value()?)));
                let (name, value) = read.map_err(|error| malformed(self, error))?;
                self.parameters.insert(name.to_string(), value.to_string());
                Ok(None)
            }
            message => Ok(Some(message)),
        }
    }

    /// Sends a command that is answered by CopyBothResponse; what follows is a stream.
    pub async fn copy_both(&mut self, command: &str) -> Result<(), Error> {
        self.send_query(command).await?;
        // postgres-protocol does not know its tag.
        while self.peek_tag(ANSWER_BYTES_MAX).await? != b'W' {
            match self.take_message()? {
                None => {}
                Some(Message::ErrorResponse(body)) => return Err(self.error(&body)),
                Some(_) => return Err(self.unexpected("the start of a stream")),
            }
        }
        self.skip();
        Ok(())
    }

    /// Drops the message whose tag was peeked at.
    fn skip(&mut self) {
        if let Ok(Some(header)) = Header::parse(&self.incoming) {
            let len = usize::try_from(header.len()).unwrap_or(0) + 1;
            self.incoming.advance(len.min(self.incoming.len()));
        }
    }

    /// The server's error in our form.
    pub fn error(&self, body: &ErrorResponseBody) -> Error {
        match ServerError::read(body) {
            Ok(error) => Error::server(&self.at, error),
            Err(error) => self.malformed().caused_by(error),
        }
    }

    pub fn unexpected(&self, during: &str) -> Error {
        Error::protocol(&self.at, format!("an unexpected message during {during}"))
    }

    fn malformed(&self) -> Error {
        Error::protocol(&self.at, "a malformed message")
    }

    async fn send_query(&mut self, sql: &str) -> Result<(), Error> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out).map_err(|error| {
            Error::new(Kind::Configuration, &self.at, "a query holds a zero byte").caused_by(error)
        })?;
        self.send(&out).await
    }

    /// Runs one simple query (SQL or a replication command) to its end; the rows of all its results.
    /// Not cancel-safe: a connection whose query was dropped half-way must be dropped too.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        self.send_query(sql).await?;
        let (mut rows, mut error, mut bytes) = (Vec::new(), None, 0);
        loop {
            match self.message(ANSWER_BYTES_MAX).await? {
                Message::DataRow(body) => {
                    bytes += body.buffer().len();
                    if bytes > ANSWER_BYTES_MAX {
                        return Err(Error::protocol(&self.at, "a query's answer is too long"));
                    }
                    let ranges = body.ranges().map(|range| {
                        let field = |r: std::ops::Range<usize>| body.buffer().get(r);
                        Ok(range.map(|r| field(r).map(|b| String::from_utf8_lossy(b).into_owned())))
                    });
                    let row: Vec<Option<Option<String>>> =
                        ranges.collect().map_err(|error| self.malformed().caused_by(error))?;
                    rows.push(row.into_iter().map(Option::flatten).collect());
                }
                Message::ErrorResponse(body) => error = Some(self.error(&body)),
                Message::ReadyForQuery(_) => return error.map_or(Ok(rows), Err),
                Message::RowDescription(_)
                | Message::CommandComplete(_)
                | Message::EmptyQueryResponse => {}
                _ => return Err(self.unexpected("a query")),
            }
            // A fatal error is the last message.
            if error.as_ref().is_some_and(is_fatal) {
                return error.map_or(Ok(rows), Err);
            }
        }
    }
}

fn is_fatal(error: &Error) -> bool {
    error.server_error().is_none_or(|e| matches!(e.severity.as_str(), "FATAL" | "PANIC"))
}
