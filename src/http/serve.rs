//! Connections: how many, how long, how large.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::quotes::Escaped;
use super::{Shared, routes};

/// What clients may hold up.
pub(super) struct Limits {
    /// More clients queue in the listener's backlog.
    pub(super) connections: usize,
    /// With the followers fewer than connections, so that probes and scrapes are answered while all of them wait.
    pub(super) waiters: usize,
    /// Clients that follow changes; each may have a portion of rows on its way.
    pub(super) followers: usize,
    /// For a request's head, from the moment that the connection could take one: an idle connection
    /// is closed by it too.
    pub(super) head_time: Duration,
    /// A longer head is answered 431.
    pub(super) head_bytes: usize,
}

const WAITERS_MAX: usize = 4096;
const FOLLOWERS_MAX: usize = 1024;

pub(super) const LIMITS: Limits = Limits {
    connections: WAITERS_MAX + FOLLOWERS_MAX + 256,
    waiters: WAITERS_MAX,
    followers: FOLLOWERS_MAX,
    head_time: Duration::from_secs(30),
    head_bytes: 16 * 1024,
};

/// A client that takes nothing of an answer for so long is gone.
const STALL_MAX: Duration = Duration::from_secs(30);

/// After a failure that is the process's own (no file descriptors): the next one would be the same.
const ACCEPT_DELAY: Duration = Duration::from_millis(100);

/// What is under way when all stops may take so long.
const STOP_MAX: Duration = Duration::from_secs(2);

/// Until cancelled; then lets answers that are under way end (who waits is told 503), within two
/// seconds. Dropping it closes every connection at once.
pub async fn serve(listener: TcpListener, shared: Shared, cancel: CancellationToken) {
    serve_within(&LIMITS, listener, shared, cancel).await;
}

pub(super) async fn serve_within(
    limits: &Limits,
    listener: TcpListener,
    shared: Shared,
    cancel: CancellationToken,
) {
    // Of an address that cannot be told nothing is known to be safe.
    let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let router = routes::router(shared, limits, is_local, cancel.clone());
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes);
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let permit = Arc::clone(&room).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            let stream = accept(&listener).await;
            let connection = connection(stream, http.clone(), router.clone(), cancel.clone());
            connections.spawn(async move {
                connection.await;
                drop(permit);
            });
            while let Some(ended) = connections.try_join_next() {
                tell_panic(ended);
            }
        }
    };
    cancel.run_until_cancelled(accepting).await;
    drop(listener);
    let all_end = async {
        while let Some(ended) = connections.join_next().await {
            tell_panic(ended);
        }
    };
    if timeout(STOP_MAX, all_end).await.is_err() {
        tracing::debug!("HTTP connections were still open when all stopped");
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client's connection was gone before it was taken.
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(ACCEPT_DELAY).await;
            }
        }
    }
}

fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

async fn connection(
    stream: TcpStream,
    http: http1::Builder,
    router: Router,
    cancel: CancellationToken,
) {
    if let Err(error) = set_options(&stream) {
        tracing::debug!(%error, "an HTTP connection's options cannot be set");
    }
    let stream = TokioIo::new(Escaped::new(stream));
    let serving = http.serve_connection(stream, TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = cancel.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Of no interest but to whom is looking for it: clients hang up, scanners talk nonsense.
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(STALL_MAX))?;
    Ok(())
}

fn tell_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an HTTP connection's task failed");
    }
}
