//! A TCP proxy in front of a server: the network that fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{beside, wait};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    /// Each read is passed on this much later.
    Passes(Duration),
    /// Connections are taken and stay open; no byte moves.
    Swallows,
    /// Open connections are closed, new ones closed at once.
    Cut,
}

/// Lives on the runtime of the test that starts it.
pub(crate) struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    target: watch::Sender<SocketAddr>,
}

impl Proxy {
    /// In front of a server on 127.0.0.1.
    pub(crate) async fn start(target: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (network, state) = watch::channel(Network::Passes(Duration::ZERO));
        let (target, leads_to) = watch::channel(SocketAddr::from((Ipv4Addr::LOCALHOST, target)));
        beside(accept(listener, leads_to, state));
        Proxy { port, network, target }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// To another server from now on, as a name whose address has changed; closes what is open.
    pub(crate) fn lead_to(&self, target: u16) {
        self.target.send_replace(SocketAddr::from((Ipv4Addr::LOCALHOST, target)));
    }

    /// Closes what is open and refuses what comes, until [`Proxy::heal`].
    pub(crate) fn cut(&self) {
        self.network.send_replace(Network::Cut);
    }

    /// Nothing comes through and nothing says so, until [`Proxy::heal`].
    pub(crate) fn blackhole(&self) {
        self.network.send_replace(Network::Swallows);
    }

    /// Everything takes this much longer, each way.
    pub(crate) fn delay(&self, time: Duration) {
        self.network.send_replace(Network::Passes(time));
    }

    /// All is well again; what was swallowed meanwhile arrives late, as from a network.
    pub(crate) fn heal(&self) {
        self.network.send_replace(Network::Passes(Duration::ZERO));
    }
}

async fn accept(
    listener: TcpListener,
    mut target: watch::Receiver<SocketAddr>,
    state: watch::Receiver<Network>,
) {
    // Ends with the test's runtime.
    while let Ok((client, _)) = listener.accept().await {
        if *state.borrow() == Network::Cut {
            continue;
        }
        // A server that is down: the client sees its connection close.
        let address = *target.borrow_and_update();
        let Ok(server) = TcpStream::connect(address).await else { continue };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("an open socket takes it");
        }
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        beside(pass(client_read, server_write, state.clone(), target.clone()));
        beside(pass(server_read, client_write, state.clone(), target.clone()));
    }
}

/// One direction of one connection, until either end or the network closes it, or the target is
/// another one.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Network>,
    mut target: watch::Receiver<SocketAddr>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = state.wait_for(|network| *network == Network::Cut) => return,
            _ = target.changed() => return,
        };
        let Ok(count @ 1..) = read else { return };
        let network = match state.wait_for(|network| *network != Network::Swallows).await {
            Ok(network) => *network,
            Err(_) => return,
        };
        let Network::Passes(time) = network else { return };
        if !time.is_zero() {
            wait::delay(time).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
