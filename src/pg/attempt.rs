//! From parameters to one open connection, as libpq goes about it: hosts in turn, each of their
//! addresses, sslmode's second attempt, target_session_attrs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::auth::{self, BackendKey, Refusal};
use super::params::TargetSessionAttrs as Attrs;
use super::params::{Host, HostParams, Keepalives, Params, SslMode, SslNegotiation};
use super::wire::Wire;
use super::{Error, Kind, Stream, tls};

/// Where the parameters name none: the system's own take two hours to notice that a host is gone.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVES_COUNT: u32 = 3;

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// Where the parameters name none.
    pub application_name: &'a str,
    /// A walsender, bound to the database.
    pub replication: bool,
}

/// An open connection, ready for its first query.
#[derive(Debug)]
pub struct Opened {
    pub wire: Wire,
    pub key: BackendKey,
}

/// The first server in the parameters' order that lets us in and suits.
pub async fn open(params: &Params, purpose: Purpose<'_>) -> Result<Opened, Error> {
    let mut hosts: Vec<&HostParams> = params.hosts.iter().collect();
    if params.load_balance_hosts {
        fastrand::shuffle(&mut hosts);
    }
    // prefer-standby takes anything in a second round.
    let rounds: &[Attrs] = match params.target_session_attrs {
        Attrs::PreferStandby => &[Attrs::Standby, Attrs::Any],
        ref attrs => std::slice::from_ref(attrs),
    };
    let mut errors = Vec::new();
    for attrs in rounds {
        errors.clear();
        for host in &hosts {
            match open_host(params, host, purpose, *attrs).await {
                Ok(opened) => return Ok(opened),
                Err(error) => {
                    let last = !goes_on(&error);
                    errors.push(error);
                    if last {
                        return Err(Error::of_hosts(errors));
                    }
                }
            }
        }
    }
    Err(Error::of_hosts(errors))
}

/// Whether the next host is tried. One that answers, but refuses the password or shows the wrong
/// certificate, ends the search, as in libpq.
fn goes_on(error: &Error) -> bool {
    match error.kind() {
        Kind::Unreachable | Kind::Closed | Kind::Unsuitable => true,
        // cannot_connect_now: starting up, shutting down, or a standby that takes no queries.
        Kind::Server => error.code() == Some("57P03"),
        Kind::Configuration | Kind::Tls | Kind::Authentication | Kind::Protocol => false,
    }
}

async fn open_host(
    params: &Params,
    host: &HostParams,
    purpose: Purpose<'_>,
    attrs: Attrs,
) -> Result<Opened, Error> {
    let mut errors = Vec::new();
    for address in in_time(params, host, addresses(params, host)).await? {
        let attempt = open_address(params, host, &address, purpose, attrs);
        match in_time(params, host, attempt).await {
            Ok(opened) => return Ok(opened),
            Err(error) if error.kind() == Kind::Unreachable => errors.push(error),
            Err(error) => return Err(error),
        }
    }
    // Addresses of one name fail for one reason; the last one's words are enough.
    Err(errors.pop().unwrap_or_else(|| {
        Error::new(Kind::Unreachable, host.at(), "the host name has no address")
    }))
}

/// Within `connect_timeout`.
async fn in_time<T>(
    params: &Params,
    host: &HostParams,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let work = Box::pin(work);
    let Some(limit) = params.connect_timeout else { return work.await };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let what = format!("no answer within connect_timeout={}", limit.as_secs());
        Err(Error::new(Kind::Unreachable, host.at(), what))
    })
}

enum Address {
    Tcp(SocketAddr),
    Unix,
}

async fn addresses(params: &Params, host: &HostParams) -> Result<Vec<Address>, Error> {
    let name = match &host.host {
        Host::Unix(_) => return Ok(vec![Address::Unix]),
        Host::Tcp { addr: Some(addr), .. } => {
            return Ok(vec![Address::Tcp(SocketAddr::new(*addr, host.port))]);
        }
        Host::Tcp { name, addr: None } => name,
    };
    let found = tokio::net::lookup_host((name.as_str(), host.port)).await.map_err(|error| {
        Error::new(Kind::Unreachable, host.at(), "the host name cannot be resolved")
            .caused_by(error)
    })?;
    let mut found: Vec<Address> = found.map(Address::Tcp).collect();
    if params.load_balance_hosts {
        fastrand::shuffle(&mut found);
    }
    Ok(found)
}

/// One address, with TLS or without, and once more the other way where sslmode allows it.
async fn open_address(
    params: &Params,
    host: &HostParams,
    address: &Address,
    purpose: Purpose<'_>,
    attrs: Attrs,
) -> Result<Opened, Error> {
    let (first, second) = match (address, params.sslmode) {
        // A Unix socket needs no TLS: sslmode is ignored, as in libpq.
        (Address::Unix, _) | (_, SslMode::Disable) => (Tls::Off, None),
        (_, SslMode::Allow) => (Tls::Off, Some(Tls::On)),
        (_, SslMode::Prefer) => (Tls::IfOffered, Some(Tls::Off)),
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => (Tls::On, None),
    };
    let refused = match try_once(params, host, address, purpose, first).await {
        Ok(opened) => return suits(opened, attrs).await,
        Err(refusal) => refusal,
    };
    let Some(second) = second.filter(|_| refused.at_once) else { return Err(refused.error) };
    match try_once(params, host, address, purpose, second).await {
        Ok(opened) => suits(opened, attrs).await,
        Err(other) => {
            let how = if second == Tls::On { "with TLS" } else { "without TLS" };
            Err(refused.error.and(how, &other.error))
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Off,
    IfOffered,
    On,
}

async fn try_once(
    params: &Params,
    host: &HostParams,
    address: &Address,
    purpose: Purpose<'_>,
    mode: Tls,
) -> Result<Opened, Refusal> {
    let at = host.at();
    let stream = match address {
        Address::Unix => UnixStream::connect(host.socket_path()).await.map(Stream::Unix),
        Address::Tcp(address) => connect_tcp(*address, params.keepalives).await.map(Stream::Tcp),
    };
    let stream = stream.map_err(|error| Refusal {
        error: Error::new(Kind::Unreachable, &at, "cannot connect").caused_by(error),
        at_once: false,
    })?;
    let stream = match stream {
        Stream::Tcp(tcp) if mode != Tls::Off => upgrade(tcp, params, host, mode)
            .await
            // A failed handshake may be tried again without TLS (sslmode=prefer), a fault of ours not.
            .map_err(|error| Refusal { at_once: error.kind() != Kind::Configuration, error })?,
        stream => stream,
    };
    let mut wire = Wire::new(stream, at);
    match auth::start(&mut wire, params, host, &purpose).await {
        Ok(key) => Ok(Opened { wire, key }),
        // Where TLS was not offered, a second attempt without it would be the same.
        Err(Refusal { error, at_once }) => {
            let same = mode == Tls::IfOffered && !wire.stream().is_tls();
            Err(Refusal { error, at_once: at_once && !same })
        }
    }
}

async fn connect_tcp(address: SocketAddr, keepalives: Keepalives) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(&stream);
    if keepalives.enabled {
        let wanted = socket2::TcpKeepalive::new()
            .with_time(keepalives.idle.unwrap_or(KEEPALIVES_IDLE))
            .with_interval(keepalives.interval.unwrap_or(KEEPALIVES_INTERVAL))
            .with_retries(keepalives.count.unwrap_or(KEEPALIVES_COUNT));
        socket.set_keepalive(true)?;
        socket.set_tcp_keepalive(&wanted)?;
    }
    if let Some(timeout) = keepalives.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(stream)
}

/// SSLRequest (manual, 55.2.11) and the handshake.
async fn upgrade(
    mut tcp: TcpStream,
    params: &Params,
    host: &HostParams,
    mode: Tls,
) -> Result<Stream, Error> {
    let at = host.at();
    if params.sslnegotiation == SslNegotiation::Postgres {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        let answer = async {
            tcp.write_all(&request).await?;
            // One byte and no more: what follows must be the handshake.
            tcp.read_u8().await
        };
        match answer.await.map_err(|error| Error::io(&at, error))? {
            b'S' => {}
            b'N' if mode == Tls::IfOffered => return Ok(Stream::Tcp(tcp)),
            b'N' => {
                let what = "the server does not speak TLS, but sslmode demands it";
                return Err(Error::new(Kind::Tls, at, what));
            }
            // An ErrorResponse: the text is not authenticated, so it is not shown (CVE-2024-10977).
            b'E' => {
                return Err(Error::new(Kind::Closed, at, "the server refused to talk about TLS"));
            }
            _ => return Err(Error::protocol(&at, "the answer is not that of a Postgres server")),
        }
    }
    tls::handshake(tcp, params, host).await
}

/// Checks `target_session_attrs`, by what the server reported (14 and later) or by asking.
async fn suits(mut opened: Opened, attrs: Attrs) -> Result<Opened, Error> {
    let (suits, is) = match attrs {
        Attrs::Any | Attrs::PreferStandby => return Ok(opened),
        Attrs::ReadWrite => (!read_only(&mut opened.wire).await?, "read-only"),
        Attrs::ReadOnly => (read_only(&mut opened.wire).await?, "not read-only"),
        Attrs::Primary => (!in_recovery(&mut opened.wire).await?, "in hot standby mode"),
        Attrs::Standby => (in_recovery(&mut opened.wire).await?, "not in hot standby mode"),
    };
    if suits {
        return Ok(opened);
    }
    let what = format!("target_session_attrs does not suit: the server is {is}");
    Err(Error::new(Kind::Unsuitable, opened.wire.at(), what))
}

async fn read_only(wire: &mut Wire) -> Result<bool, Error> {
    match (wire.parameter("default_transaction_read_only"), wire.parameter("in_hot_standby")) {
        (Some(default), Some(standby)) => Ok(default == "on" || standby == "on"),
        _ => ask(wire, "SHOW transaction_read_only", "on").await,
    }
}

async fn in_recovery(wire: &mut Wire) -> Result<bool, Error> {
    match wire.parameter("in_hot_standby") {
        Some(standby) => Ok(standby == "on"),
        None => ask(wire, "SELECT pg_catalog.pg_is_in_recovery()", "t").await,
    }
}

async fn ask(wire: &mut Wire, sql: &str, yes: &str) -> Result<bool, Error> {
    let rows = wire.query(sql).await?;
    Ok(rows.first().and_then(|row| row.first()) == Some(&Some(yes.into())))
}
