//! Ordinary connections: opened by our own startup, then handed to tokio-postgres.
//!
//! tokio-postgres can only begin with a startup of its own, which knows neither our pinned settings nor
//! libpq's fallbacks. So it is given a stream that takes its startup packet, lets it go nowhere, and
//! answers what the server has already answered to ours.

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::silence::{self, Hearing};
use super::wire::Row;
use super::{Error, Kind, Opened, Params, Purpose, ServerError, Stream, attempt};

/// An ordinary connection. Dropping it closes the socket at once, whatever was running.
#[derive(Debug)]
pub struct Session {
    client: Client,
    end: Arc<End>,
    task: AbortOnDropHandle<()>,
    at: String,
    version: u32,
}

/// How the connection ended, once it has.
#[derive(Debug, Default)]
struct End {
    token: CancellationToken,
    /// Why.
    error: OnceLock<String>,
}

/// Opens an ordinary connection under the pinned settings.
pub async fn connect(params: &Params, application_name: &str) -> Result<Session, Error> {
    let purpose = Purpose { application_name, replication: false };
    let opened = attempt::open(params, purpose).await?;
    let (at, version) = (opened.wire.at().to_string(), opened.wire.version());
    let mut config = tokio_postgres::Config::new();
    config.user(&params.user).ssl_mode(SslMode::Disable);
    let hearing = Arc::new(Hearing::new());
    let (client, connection) = config
        .connect_raw(HandedOver::new(opened, Arc::clone(&hearing)), NoTls)
        .await
        .map_err(|error| Error::protocol(&at, "the handover failed").caused_by(error))?;
    let end = Arc::new(End::default());
    let ended = Arc::clone(&end);
    let (params, application_name) = (params.clone(), application_name.to_owned());
    #[expect(clippy::disallowed_methods, reason = "the session owns the task and ends it")]
    let task = tokio::spawn(async move {
        let error = tokio::select! {
            // Ends when the client is dropped, too.
            over = connection => over.err().map(|error| chain(&error)),
            why = silence::given_up(&hearing, &params, &application_name) => Some(why),
        };
        if let Some(error) = error {
            // This task alone sets it.
            let _ = ended.error.set(error);
        }
        ended.token.cancel();
    });
    Ok(Session { client, end, task: AbortOnDropHandle::new(task), at, version })
}

impl Session {
    /// Resolves when the connection has ended, however it did.
    pub async fn closed(&self) -> Error {
        self.end.token.cancelled().await;
        match self.end.error.get() {
            Some(error) => {
                Error::new(Kind::Closed, &self.at, "the connection ended").caused_by(error.clone())
            }
            None => Error::new(Kind::Closed, &self.at, "the connection was closed"),
        }
    }

    /// The text of all rows of one or several statements without parameters. Where several stand in one
    /// text, the server runs them in one transaction unless they say otherwise.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Row>, Error> {
        let answer = self.client.simple_query(sql).await.map_err(|error| self.error(error))?;
        let rows = answer.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// tokio-postgres' error in our form.
    pub fn error(&self, error: tokio_postgres::Error) -> Error {
        if let Some(server) = error.as_db_error() {
            let position = match server.position() {
                Some(ErrorPosition::Original(position)) => Some(*position),
                _ => None,
            };
            let server = ServerError {
                severity: server.severity().to_owned(),
                code: server.code().code().to_owned(),
                message: server.message().to_owned(),
                detail: server.detail().map(str::to_owned),
                hint: server.hint().map(str::to_owned),
                position,
            };
            return Error::server(&self.at, server);
        }
        // Whatever else goes wrong, this connection is of no use any more.
        let closed = Error::new(Kind::Closed, &self.at, "the connection ended");
        match self.end.error.get() {
            Some(why) => closed.caused_by(why.clone()),
            None => closed.caused_by(error),
        }
    }

    /// Says goodbye to the server and waits until it has been sent.
    pub async fn close(self) {
        drop(self.client);
        // An abort is only possible by dropping the handle, which we hold.
        let _ = self.task.await;
    }

    /// `host:port`, for errors.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// As `server_version_num`.
    pub fn version(&self) -> u32 {
        self.version
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// tokio-postgres wants `&mut Client` for a transaction.
impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// See the module: a stream whose startup has already been.
struct HandedOver {
    stream: Stream,
    /// What the server has said and is to be read (again).
    replay: BytesMut,
    startup: Startup,
    hearing: Arc<Hearing>,
    /// The last bytes that arrived.
    tail: [u8; READY.len() + 1],
}

/// ReadyForQuery ends each answer; the byte behind it tells of the transaction.
const READY: [u8; 5] = *b"Z\0\0\0\x05";

/// An error with its causes.
fn chain(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// How much of the startup packet is still to be swallowed; its length stands in its first 4 bytes.
enum Startup {
    Length { bytes: [u8; 4], have: usize },
    Rest(usize),
}

impl HandedOver {
    fn new(opened: Opened, hearing: Arc<Hearing>) -> Self {
        let mut replay = BytesMut::new();
        // AuthenticationOk
        replay.put_slice(b"R\0\0\0\x08\0\0\0\0");
        for (name, value) in opened.wire.parameters() {
            replay.put_u8(b'S');
            // Both came in one message of at most 64 KiB.
            let len = u32::try_from(4 + name.len() + 1 + value.len() + 1).unwrap_or(u32::MAX);
            replay.put_u32(len);
            for text in [name, value] {
                replay.put_slice(text.as_bytes());
                replay.put_u8(0);
            }
        }
        replay.put_slice(b"K\0\0\0\x0c");
        replay.put_i32(opened.key.process_id);
        replay.put_i32(opened.key.secret);
        // ReadyForQuery, idle
        replay.put_slice(b"Z\0\0\0\x05I");
        let (stream, unread, _) = opened.wire.into_parts();
        replay.put_slice(&unread);
        let startup = Startup::Length { bytes: [0; 4], have: 0 };
        Self { stream, replay, startup, hearing, tail: [0; READY.len() + 1] }
    }

    fn heard(&mut self, bytes: &[u8]) {
        let kept = self.tail.len().saturating_sub(bytes.len());
        let new = self.tail.len() - kept;
        self.tail.copy_within(new.., 0);
        self.tail[kept..].copy_from_slice(&bytes[bytes.len() - new..]);
        self.hearing.heard(self.tail.starts_with(&READY));
    }

    /// How many of these bytes belong to the startup packet.
    fn swallow(&mut self, mut bytes: &[u8]) -> usize {
        let all = bytes.len();
        if let Startup::Length { bytes: length, have } = &mut self.startup {
            let take = bytes.len().min(4 - *have);
            length[*have..*have + take].copy_from_slice(&bytes[..take]);
            *have += take;
            bytes = &bytes[take..];
            if *have == 4 {
                self.startup =
                    Startup::Rest(u32::from_be_bytes(*length).saturating_sub(4) as usize);
            }
        }
        if let Startup::Rest(left) = &mut self.startup {
            let take = bytes.len().min(*left);
            *left -= take;
            bytes = &bytes[take..];
        }
        all - bytes.len()
    }
}

impl AsyncRead for HandedOver {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.replay.is_empty() {
            let before = buf.filled().len();
            let read = Pin::new(&mut self.stream).poll_read(cx, buf);
            if buf.filled().len() > before {
                self.heard(&buf.filled()[before..]);
            }
            return read;
        }
        let len = self.replay.len().min(buf.remaining());
        buf.put_slice(&self.replay[..len]);
        self.replay.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HandedOver {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let swallowed = self.swallow(bytes);
        if swallowed > 0 {
            // What remains, if anything, is offered again.
            return Poll::Ready(Ok(swallowed));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(1..)) = written {
            self.hearing.sent();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
