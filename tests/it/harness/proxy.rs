//! A TCP proxy in front of a server: the network that fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fastrand::Rng;
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
    /// The server hears everything, and nothing of what it says comes through.
    Mutes,
    /// Open connections are closed, new ones closed at once.
    Cut,
    /// Each connection that comes has a fate of its own, drawn from this seed.
    Fickle(u64),
}

/// What becomes of one direction of one connection, at a byte of its own.
#[derive(Clone, Copy, Debug)]
enum Fate {
    None,
    /// Closed after so many bytes.
    Cut(usize),
    /// Silent after so many bytes, until [`Proxy::heal`].
    Silent(usize),
    /// Each read is passed on so much later.
    Late(Duration),
    /// So many bytes in ten milliseconds at most.
    Throttled(usize),
}

impl Fate {
    fn draw(rng: &mut Rng) -> Fate {
        // Far enough for most to get through a handshake, not for all.
        let bits = rng.u32(6..18);
        let bytes = rng.usize(..1 << bits);
        match rng.u32(0..12) {
            0..4 => Fate::Cut(bytes),
            4 => Fate::Silent(bytes),
            5..7 => Fate::Late(Duration::from_millis(rng.u64(1..60))),
            7..9 => Fate::Throttled(rng.usize(200..20_000)),
            _ => Fate::None,
        }
    }
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

    /// What the server says is lost, until [`Proxy::heal`]; it hears everything.
    pub(crate) fn mute(&self) {
        self.network.send_replace(Network::Mutes);
    }

    /// Everything takes this much longer, each way.
    pub(crate) fn delay(&self, time: Duration) {
        self.network.send_replace(Network::Passes(time));
    }

    /// Connections are cut, fall silent, are slow or throttled, each at a byte of its own; until
    /// [`Proxy::heal`].
    pub(crate) fn fickle(&self, seed: u64) {
        self.network.send_replace(Network::Fickle(seed));
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
    let mut connections = 0;
    // Ends with the test's runtime.
    while let Ok((client, _)) = listener.accept().await {
        let network = *state.borrow();
        if network == Network::Cut {
            continue;
        }
        connections += 1;
        let fates = match network {
            Network::Fickle(seed) => {
                let mut rng = Rng::with_seed(seed.wrapping_add(connections));
                [Fate::draw(&mut rng), Fate::draw(&mut rng)]
            }
            _ => [Fate::None; 2],
        };
        // A server that is down: the client sees its connection close.
        let address = *target.borrow_and_update();
        let Ok(server) = TcpStream::connect(address).await else { continue };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("an open socket takes it");
        }
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        beside(pass(client_read, server_write, fates[0], false, state.clone(), target.clone()));
        beside(pass(server_read, client_write, fates[1], true, state.clone(), target.clone()));
    }
}

/// One direction of one connection, until either end or the network closes it, or the target is
/// another one.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fate: Fate,
    is_answer: bool,
    mut state: watch::Receiver<Network>,
    mut target: watch::Receiver<SocketAddr>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut passed = 0;
    loop {
        let most = match fate {
            Fate::Cut(after) | Fate::Silent(after) if passed < after => after - passed,
            Fate::Throttled(bytes) => bytes,
            _ => buffer.len(),
        };
        let most = most.min(buffer.len());
        let read = tokio::select! {
            read = from.read(&mut buffer[..most]) => read,
            _ = state.wait_for(|network| *network == Network::Cut) => return,
            _ = target.changed() => return,
        };
        let Ok(count @ 1..) = read else { return };
        let is_fickle = |network: &Network| matches!(network, Network::Fickle(_));
        let late = match fate {
            Fate::Cut(after) if passed >= after && is_fickle(&state.borrow()) => return,
            // Healed, it arrives late.
            Fate::Silent(after) if passed >= after => {
                if state.wait_for(|network| !is_fickle(network)).await.is_err() {
                    return;
                }
                Duration::ZERO
            }
            Fate::Late(time) if is_fickle(&state.borrow()) => time,
            Fate::Throttled(_) if is_fickle(&state.borrow()) => Duration::from_millis(10),
            _ => Duration::ZERO,
        };
        let passes = |network: &Network| match network {
            Network::Swallows => false,
            Network::Mutes => !is_answer,
            _ => true,
        };
        let network = match state.wait_for(passes).await {
            Ok(network) => *network,
            Err(_) => return,
        };
        let time = match network {
            Network::Passes(time) => time.max(late),
            Network::Fickle(_) | Network::Mutes => late,
            Network::Swallows | Network::Cut => return,
        };
        if !time.is_zero() {
            wait::delay(time).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        passed += count;
    }
}
