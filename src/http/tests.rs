use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::serve::{LIMITS, Limits, serve_within};
use super::*;
use crate::lsn::Lsn;

/// Far beyond what anything here takes on a slow machine.
const BOUND: Duration = Duration::from_secs(60);

fn board(lanes: &[(&str, &str)]) -> Arc<Board> {
    let lane = |&(sink, projection): &(&str, &str)| LaneName {
        sink: sink.to_owned(),
        projection: projection.to_owned(),
        required: true,
        max_lag: Duration::from_secs(30),
    };
    Board::new(lanes.iter().map(lane).collect())
}

/// No page header ends here.
fn position(number: u64) -> Lsn {
    Lsn(number * 8 + 1)
}

fn standing(sink: &str, lsn: u64, settled: bool) -> Standing {
    Standing { sink: sink.to_owned(), lsn: Lsn(lsn), settled }
}

// --- Waiting --------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thousands_wait_and_none_is_forgotten() {
    const LANES: usize = 3;
    const END: u64 = 100_000;
    let board = board(&[("a", "p"), ("b", "p"), ("c", "p")]);
    let (mut staying, mut leaving) = (JoinSet::new(), JoinSet::new());
    for _ in 0..5_000 {
        let wanted = position(fastrand::u64(1..=END));
        let sink = ["a", "b", "c"].get(fastrand::usize(0..=LANES)).copied();
        let waiter = Arc::clone(&board);
        staying.spawn(async move {
            let deadline = Instant::now() + BOUND;
            waiter.wait("p", sink, wanted, deadline).await.map(|reached| (wanted, reached))
        });
        let waiter = Arc::clone(&board);
        leaving.spawn(async move {
            let deadline = Instant::now() + Duration::from_micros(fastrand::u64(0..20_000));
            waiter.wait("p", sink, position(fastrand::u64(1..=2 * END)), deadline).await
        });
    }
    let engine = {
        let board = Arc::clone(&board);
        tokio::task::spawn_blocking(move || {
            let mut lsn = [0; LANES];
            while lsn.iter().any(|&lsn| lsn < END) {
                let lane = fastrand::usize(0..LANES);
                lsn[lane] = END.min(lsn[lane] + fastrand::u64(0..20));
                board.set_delivered(lane, position(lsn[lane]), fastrand::bool());
            }
        })
    };
    while let Some(answer) = staying.join_next().await {
        let (wanted, Reached { standings }) = answer.unwrap().unwrap();
        assert!(standings.iter().all(|standing| standing.lsn >= wanted), "{wanted} {standings:?}");
    }
    engine.await.unwrap();
    while let Some(answer) = leaving.join_next().await {
        assert!(matches!(answer.unwrap(), Ok(_) | Err(WaitError::Behind { .. })));
    }
    assert_eq!(board.waiting(), 0, "who has gone has left the list");
}

/// The narrow place: a waiter comes while the engine writes just the position it waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost() {
    const ROUNDS: u64 = 50_000;
    let board = board(&[("a", "p")]);
    let round_begun = Arc::new(AtomicU64::new(0));
    let engine = {
        let (board, round_begun) = (Arc::clone(&board), Arc::clone(&round_begun));
        tokio::task::spawn_blocking(move || {
            for round in 1..=ROUNDS {
                // Spinning, since waking up takes far longer than the moment that is to be hit.
                for spins in 1_u64.. {
                    match round_begun.load(Ordering::Acquire) {
                        begun if begun >= round => break,
                        // There may be one processor only.
                        _ if spins % 10_000 == 0 => std::thread::yield_now(),
                        _ => std::hint::spin_loop(),
                    }
                }
                for _ in 0..fastrand::u32(0..200) {
                    std::hint::spin_loop();
                }
                board.set_delivered(0, position(round), true);
            }
        })
    };
    for round in 1..=ROUNDS {
        round_begun.store(round, Ordering::Release);
        let reached = board.wait("p", None, position(round), Instant::now() + BOUND).await;
        if reached.is_err() {
            round_begun.store(ROUNDS, Ordering::Release);
        }
        reached.unwrap();
    }
    engine.await.unwrap();
}

#[tokio::test]
async fn all_sinks_are_waited_for_and_told() {
    let board = board(&[("a", "p"), ("b", "p"), ("a", "q")]);
    board.set_delivered(0, Lsn(10), true);
    board.set_delivered(1, Lsn(9), false);
    board.set_delivered(2, Lsn(1), false);
    let deadline = || Instant::now() + Duration::from_millis(5);

    let only_a = board.wait("p", Some("a"), Lsn(10), deadline()).await;
    assert_eq!(only_a, Ok(Reached { standings: vec![standing("a", 10, true)] }));
    let both = vec![standing("a", 10, true), standing("b", 9, false)];
    let late = board.wait("p", None, Lsn(10), deadline()).await;
    assert_eq!(late, Err(WaitError::Behind { standings: both.clone() }));
    assert_eq!(board.wait("p", None, Lsn(9), deadline()).await, Ok(Reached { standings: both }));
}

#[tokio::test]
async fn a_sink_that_falls_back_is_waited_for_again() {
    let board = board(&[("a", "p"), ("b", "p")]);
    board.set_delivered(0, Lsn(10), true);
    let mut waiting = JoinSet::new();
    let waiter = Arc::clone(&board);
    let deadline = Instant::now() + BOUND;
    waiting.spawn(async move { waiter.wait("p", None, Lsn(10), deadline).await });
    until("it waits for b", || board.waiting_in(1) == 1).await;
    board.set_delivered(0, Lsn(3), true);
    board.set_delivered(1, Lsn(12), true);
    until("it waits for a", || board.waiting_in(0) == 1).await;
    board.set_delivered(0, Lsn(11), true);
    let both = vec![standing("a", 11, true), standing("b", 12, true)];
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), Ok(Reached { standings: both }));
}

#[tokio::test]
async fn who_has_nothing_is_nowhere() {
    let board = board(&[("a", "p")]);
    let deadline = Instant::now() + Duration::from_millis(1);
    let late = board.wait("p", None, Lsn::ZERO, deadline).await;
    assert_eq!(late, Err(WaitError::Behind { standings: vec![standing("a", 0, false)] }));
}

#[tokio::test]
async fn behind_a_page_header_is_the_page() {
    let board = board(&[("a", "p")]);
    board.set_delivered(0, Lsn(0x100_2000), true);
    let wait = |lsn| board.wait("p", None, Lsn(lsn), Instant::now());
    wait(0x100_2000 + 24).await.unwrap();
    wait(0x100_2000 + 25).await.unwrap_err();
    wait(0x100_2000 + 40).await.unwrap_err();
    board.set_segment_bytes(1024 * 1024);
    board.set_delivered(0, Lsn(0x110_0000), true);
    wait(0x110_0000 + 40).await.unwrap();
    wait(0x110_0000 + 24).await.unwrap_err();
}

#[tokio::test]
async fn unknown_names_are_told() {
    let board = board(&[("a", "p"), ("b", "p"), ("c", "q")]);
    let error = async |projection, sink| {
        board.wait(projection, sink, Lsn(1), Instant::now()).await.unwrap_err().to_string()
    };
    assert_eq!(error("x", None).await, "there is no projection x");
    assert_eq!(error("x", Some("a")).await, "there is no projection x");
    let not_there = "projection p does not go to a sink c, but to: a, b";
    assert_eq!(error("p", Some("c")).await, not_there);
}

// --- Pushing --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_push_is_asked_for_beyond_the_sources_end_alone() {
    let board = board(&[("a", "p")]);
    board.set_source_end(Lsn(100));
    board.set_delivered(0, Lsn(50), true);
    let wait = |lsn| board.wait("p", None, Lsn(lsn), Instant::now());
    let asked = || tokio::time::timeout(Duration::from_millis(1), board.take_push_requests());
    // There already, and on its way.
    wait(50).await.unwrap();
    wait(100).await.unwrap_err();
    assert!(asked().await.is_err());
    wait(101).await.unwrap_err();
    wait(300).await.unwrap_err();
    wait(200).await.unwrap_err();
    assert_eq!(asked().await, Ok(Lsn(300)));
    assert!(asked().await.is_err());
}

/// Fails the first times; then does as the source does, on which everything up to there is flushed,
/// sent and delivered at once.
struct FakeSource {
    board: Arc<Board>,
    failures: usize,
    pushes: tokio::sync::mpsc::Sender<(Instant, u64)>,
}

impl Push for FakeSource {
    type Error = std::io::Error;

    async fn push(&mut self, wanted: Lsn) -> Result<(), std::io::Error> {
        self.pushes.send((Instant::now(), wanted.0)).await.unwrap();
        if self.failures > 0 {
            self.failures -= 1;
            return Err(std::io::Error::other("away"));
        }
        self.board.set_source_end(wanted);
        self.board.set_delivered(0, wanted, true);
        Ok(())
    }
}

#[tokio::test]
async fn pushes_are_few_and_who_waits_gets_there() {
    let board = board(&[("a", "p")]);
    let (pushes, mut pushed) = tokio::sync::mpsc::channel(100);
    let source = FakeSource { board: Arc::clone(&board), failures: 0, pushes };
    let (cancel, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(push_loop(Arc::clone(&board), source, cancel.clone()));
    let deadline = Instant::now() + BOUND;
    for lsn in 1..=20 {
        board.wait("p", None, Lsn(lsn), deadline).await.unwrap();
    }
    cancel.cancel();
    tasks.join_next().await.unwrap().unwrap();
    let mut all = Vec::new();
    pushed.recv_many(&mut all, 100).await;
    assert_eq!(all.len(), 20, "each waiter came after the push before");
    for pair in all.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= Duration::from_millis(10), "{pair:?}");
    }
}

#[tokio::test]
async fn one_push_for_all_who_came_before_it_and_again_until_it_succeeds() {
    let board = board(&[("a", "p")]);
    let (pushes, mut pushed) = tokio::sync::mpsc::channel(1);
    let source = FakeSource { board: Arc::clone(&board), failures: 2, pushes };
    let (cancel, mut tasks) = (CancellationToken::new(), JoinSet::new());
    for lsn in [7, 9, 8] {
        board.ask_push(Lsn(lsn));
    }
    tasks.spawn(push_loop(Arc::clone(&board), source, cancel.clone()));
    let (first, 9) = pushed.recv().await.unwrap() else { panic!("the greatest is wanted") };
    board.ask_push(Lsn(20));
    let (second, 9) = pushed.recv().await.unwrap() else { panic!("the same again") };
    let (third, 9) = pushed.recv().await.unwrap() else { panic!("the same again") };
    let (fourth, 20) = pushed.recv().await.unwrap() else { panic!("who came later is next") };
    assert!(second - first >= Duration::from_millis(100));
    assert!(third - second >= Duration::from_millis(200));
    assert!(fourth - third >= Duration::from_millis(10));
    cancel.cancel();
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(pushed.recv().await, None, "and nobody else has asked");
}

#[tokio::test]
async fn who_waits_on_a_board_is_told_by_the_one_in_its_place() {
    let old = board(&[("a", "p"), ("a", "gone"), ("b", "p")]);
    old.set_delivered(2, Lsn(50), true);
    let waiter = Arc::clone(&old);
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { waiter.wait("p", None, position(9), Instant::now() + BOUND).await });
    until("somebody waits", || old.waiting() == 1).await;
    let names = old.lanes().iter().filter(|name| name.projection == "p").rev().cloned();
    let new = old.replaced(names.collect(), ["p".to_owned()]);
    assert_eq!(new.delivered(0), (Lsn(50), true), "it stands where it stood");
    new.set_delivered(0, Lsn(80), true);
    new.set_delivered(1, Lsn(90), true);
    let reached = waiting.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(reached.standings, [standing("a", 90, true), standing("b", 80, true)]);
    // What is asked of one is answered by the other.
    new.ask_push(Lsn(500));
    assert_eq!(old.take_push_requests().await, Lsn(500));
    assert!(matches!(
        new.wait("gone", None, Lsn(1), Instant::now()).await,
        Err(WaitError::UnknownProjection { .. })
    ));
}

// --- Limits ---------------------------------------------------------------------------------------

struct Server {
    address: std::net::SocketAddr,
    board: Arc<Board>,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
    _status: watch::Sender<Arc<Status>>,
}

async fn server(limits: Limits) -> Server {
    let board = board(&[("a", "p")]);
    let (sender, status) = watch::channel(Arc::new(Status::new(Time::now())));
    let registry = prometheus::Registry::new();
    let shared = Shared {
        registry,
        board: watch::channel(Arc::clone(&board)).1,
        status,
        token: watch::channel(None).1,
        listen: "read.example:7433".to_owned(),
        refresh: None,
        tell: None,
        operator: None,
        look: None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, cancel) = (listener.local_addr().unwrap(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    let stop = cancel.clone();
    tasks.spawn(async move { serve_within(&limits, listener, shared, stop).await });
    Server { address, board, cancel, tasks, _status: sender }
}

impl Server {
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Everything until the server closes.
    async fn ask(&self, text: &str) -> String {
        rest(self.send(text).await).await
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(BOUND, stream.read_to_end(&mut answer)).await;
    // A reset after the answer says no more than an end.
    let _ = read.expect("the server closes in time");
    String::from_utf8(answer).unwrap()
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn wait_request(lsn: u64) -> String {
    format!(
        "GET /v1/wait?projection=p&lsn=0/{lsn:X}&timeout=1m HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let server = server(Limits { head_time: Duration::from_millis(50), ..LIMITS }).await;
    assert_eq!(server.ask("").await, "");
    assert_eq!(server.ask("GET /healthz HTTP/1.1\r\nHo").await, "");
    let kept = server.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(kept.starts_with("HTTP/1.1 200 OK\r\n") && kept.ends_with("\r\n\r\nok"), "{kept}");
}

#[tokio::test]
async fn long_heads_and_nonsense_are_refused() {
    let server = server(LIMITS).await;
    let long = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let answer = server.ask(&long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(server.ask("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    assert!(server.ask(HEALTH).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn quotes_in_a_request_line_are_taken_as_they_are() {
    let server = server(LIMITS).await;
    let close = "Host: localhost\r\nConnection: close\r\n\r\n";
    let first =
        "GET /v1/wait?projection=\"<7>\"&lsn=0/1 HTTP/1.1\r\nHost: localhost\r\nX: \"\r\n\r\n";
    let answer = server.ask(&format!("{first}GET /v1/wait?lsn=\"7\" HTTP/1.1\r\n{close}")).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains(r#"there is no projection \"<7>\""#), "{answer}");
    assert!(answer.contains("HTTP/1.1 400 ") && answer.contains("projection: missing"), "{answer}");
}

#[tokio::test]
async fn bodies_are_not_read() {
    let server = server(LIMITS).await;
    // The body never comes.
    let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n";
    let answer = server.ask(head).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = server.ask(&head.replace("GET", "POST")).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_waits_for_one() {
    let server = server(Limits { connections: 2, ..LIMITS }).await;
    let (first, _second) =
        (server.send(&wait_request(5)).await, server.send(&wait_request(6)).await);
    until("both wait", || server.board.waiting() == 2).await;
    let mut third = server.send(HEALTH).await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(50), third.read(&mut byte)).await;
    assert!(early.is_err(), "it has no place yet");
    drop(first);
    assert!(rest(third).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn waiters_leave_room_for_probes_and_go_with_their_connection() {
    let server = server(Limits { waiters: 2, ..LIMITS }).await;
    let first = server.send(&wait_request(5)).await;
    let mut second = server.send(&wait_request(6)).await;
    until("both wait", || server.board.waiting() == 2).await;
    let third = wait_request(7).replace("Host", "Connection: close\r\nHost");
    let refused = server.ask(&third).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(server.ask(HEALTH).await.starts_with("HTTP/1.1 200 "));
    drop(first);
    until("the first one has gone", || server.board.waiting() == 1).await;
    server.board.set_delivered(0, Lsn(9), true);
    let mut answer = [0; 12];
    second.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn stopping_answers_who_waits_and_closes_all() {
    let mut server = server(LIMITS).await;
    let waiting = server.send(&wait_request(5)).await;
    let idle = server.send("").await;
    until("it waits", || server.board.waiting() == 1).await;
    server.cancel.cancel();
    let answer = rest(waiting).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("stopping"), "{answer}");
    assert_eq!(rest(idle).await, "");
    server.tasks.join_next().await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn who_follows_takes_no_connection_from_probes() {
    let Limits { connections, waiters, followers, .. } = LIMITS;
    assert!(connections > waiters + followers, "{connections}");
}

/// A name that a page on the web has made lead here is not one of ours.
#[tokio::test]
async fn without_a_token_other_names_are_refused() {
    let server = server(LIMITS).await;
    let ask = async |path: &str, host: &str| {
        let head = format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        server.ask(&head).await.split(' ').nth(1).map(str::to_owned)
    };
    let (ok, refused) = (Some("200".to_owned()), Some("403".to_owned()));
    for host in
        ["localhost", "LocalHost:7433", "127.0.0.1:7433", "127.1.2.3", "[::1]:1", "read.example"]
    {
        assert_eq!(ask("/v1/status", &format!("Host: {host}\r\n")).await, ok, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:7433",
        "localhost.evil.example",
        "10.0.0.1",
        "127.0.0.1.nip.io",
    ] {
        let host = format!("Host: {host}\r\n");
        for path in ["/", "/v1/status", "/v1/dead-letters", "/nowhere"] {
            assert_eq!(ask(path, &host).await, refused, "{host}");
        }
        for path in ["/healthz", "/metrics"] {
            assert_eq!(ask(path, &host).await, ok, "{host}");
        }
        assert_ne!(ask("/readyz", &host).await, refused, "{host}");
    }
    // As the oldest clients ask.
    let answer = server.ask("GET /v1/status HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
}
