//! The replication connection and its stream: what is acknowledged, and what happens when the server,
//! the network or the receiver stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use readside::lsn::{Durable, Lsn};
use readside::pg::{Error, Kind, Params};
use readside::source::replication::{
    Gulp, Lifetime, ReplicationConnection, ReplicationStream, Snapshot,
};
use readside::source::stream::{GulpSender, HeldGulp, StreamConfig, gulp_queue, run_stream};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::harness::{Certificates, Postgres, PostgresOptions, Proxy, beside, wait};

struct Source {
    postgres: Postgres,
    client: Client,
}

impl Source {
    /// A table in a publication and one outside, and a slot.
    async fn start(options: &PostgresOptions<'_>) -> Source {
        let postgres = Postgres::start(options).await;
        let client = postgres.client("postgres").await;
        client
            .batch_execute(
                "CREATE TABLE t (id int8 PRIMARY KEY, body text);
                 CREATE TABLE elsewhere (id int8);
                 CREATE PUBLICATION p FOR TABLE t;",
            )
            .await
            .unwrap();
        let mut replication = replication(&postgres.url("postgres")).await;
        replication.create_slot("s", Lifetime::Permanent, Snapshot::Nothing).await.unwrap();
        Source { postgres, client }
    }

    async fn plain() -> Source {
        Source::start(&PostgresOptions::default()).await
    }

    /// The walsender's process and its stream.
    async fn stream(&self) -> (Pid, ReplicationStream) {
        self.stream_over(&self.postgres.url("postgres")).await
    }

    async fn stream_over(&self, url: &str) -> (Pid, ReplicationStream) {
        let replication = replication(url).await;
        let pid = Pid::from_raw(replication.process_id()).unwrap();
        (pid, replication.start("s", "p", Lsn::ZERO).await.unwrap())
    }

    async fn lsn(&self, sql: &str) -> Lsn {
        let row = self.client.query_one(&format!("SELECT ({sql})::text"), &[]).await.unwrap();
        row.get::<_, String>(0).parse().unwrap()
    }

    async fn confirmed(&self) -> Lsn {
        self.lsn("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 's'").await
    }

    async fn insert(&self, from: i64, to: i64, body: &str) {
        let sql = "INSERT INTO t SELECT id, $3 FROM generate_series($1::int8, $2::int8) id";
        self.client.execute(sql, &[&from, &to, &body]).await.unwrap();
    }
}

async fn replication(url: &str) -> ReplicationConnection {
    let params = Params::parse(url, None).unwrap();
    ReplicationConnection::connect(&params, "readside test").await.unwrap()
}

/// A stream under way, with what the test's receiver is to say.
struct Run {
    durable: watch::Sender<Durable>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Run {
    #[expect(clippy::disallowed_methods, reason = "the test ends it")]
    fn start(stream: ReplicationStream, out: GulpSender, config: StreamConfig) -> Run {
        let (durable, watched) = watch::channel(Durable::default());
        let cancel = CancellationToken::new();
        let task = tokio::spawn(run_stream(stream, out, watched, config, cancel.clone()));
        Run { durable, cancel, task }
    }

    async fn ended(self) -> Result<(), Error> {
        tokio::time::timeout(wait::BOUND, self.task).await.expect("it ends").unwrap()
    }
}

/// Takes gulps on a thread, as the engine does; `each` may say what is durable.
fn receive(
    receiver: crossbeam_channel::Receiver<HeldGulp>,
    mut each: impl FnMut(&Gulp) + Send + 'static,
) {
    std::thread::spawn(move || receiver.iter().for_each(|gulp| each(&gulp)));
}

/// Counts the messages of a gulp that begin with `tag`; panics when it is not whole.
fn count(gulp: &Gulp, tag: u8) -> usize {
    let (mut rest, mut found) = (&gulp.bytes[..], 0);
    while !rest.is_empty() {
        assert_eq!(rest[0], b'd');
        let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
        let (message, next) = rest.split_at(length + 1);
        found += usize::from(message[5] == b'w' && message[30] == tag);
        rest = next;
    }
    found
}

#[tokio::test]
async fn the_connection_answers_commands_and_sql() {
    let source = Source::plain().await;
    let mut connection = replication(&source.postgres.url("postgres")).await;
    let system = connection.identify_system().await.unwrap();
    let sql = "SELECT system_identifier::text FROM pg_control_system()";
    let expected: String = source.client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!((system.system_id, system.timeline, &*system.dbname), (expected, 1, "postgres"));
    assert!(system.xlogpos > Lsn::ZERO);
    assert_eq!(connection.timeline_history(1).await.unwrap(), []);
    // Of a timeline that never was.
    assert_eq!(connection.timeline_history(7).await.unwrap_err().kind(), Kind::Server);

    // A transaction that runs meanwhile is in the view of the slot's starting point.
    let other = source.postgres.client("postgres").await;
    connection.query("BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let slot = connection.create_slot("view", Lifetime::Temporary, Snapshot::Use).await.unwrap();
    assert!(slot.consistent_point > Lsn::ZERO && slot.snapshot_name.is_none());
    other.batch_execute("INSERT INTO t VALUES (1, 'later')").await.unwrap();
    let rows = connection.query("SELECT pg_current_snapshot(), (SELECT count(*) FROM public.t)");
    let rows = rows.await.unwrap();
    let snapshot = rows[0][0].as_deref().unwrap();
    assert_eq!((snapshot.split(':').count(), rows[0][1].as_deref()), (3, Some("0")));
    connection.query("COMMIT").await.unwrap();

    let exported =
        connection.create_slot("exported", Lifetime::Permanent, Snapshot::Export).await.unwrap();
    let name = exported.snapshot_name.unwrap();
    let import =
        format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{name}'; COMMIT");
    other.batch_execute(&import).await.unwrap();
    connection.drop_slot("exported").await.unwrap();

    let error = connection.create_slot("s", Lifetime::Permanent, Snapshot::Nothing).await;
    assert_eq!(error.unwrap_err().code(), Some("42710"));
    let error = connection.query("SELECT 1/0").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Server, Some("22012")));
    // The connection is fit for more after an error.
    assert_eq!(connection.query("SELECT NULL, ''").await.unwrap(), [vec![None, Some("".into())]]);
    let error = connection.start("missing", "p", Lsn::ZERO).await.unwrap_err();
    assert_eq!(error.code(), Some("42704"));
}

#[tokio::test]
async fn only_what_is_durable_is_acknowledged() {
    let source = Source::plain().await;
    let (_, stream) = source.stream().await;
    let (out, gulps) = gulp_queue(4);
    let config = StreamConfig { status_interval: Duration::from_millis(20), ..Default::default() };
    let run = Run::start(stream, out, config);
    let before = source.confirmed().await;
    let inserts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&inserts);
    receive(gulps, move |gulp| {
        seen.fetch_add(count(gulp, b'I'), Ordering::Relaxed);
    });

    source.insert(1, 100, "x").await;
    let end = source.lsn("SELECT pg_current_wal_lsn()").await;
    wait::until("the inserts and some status updates", async || {
        let sql = "SELECT count(*) FROM pg_stat_replication WHERE write_lsn >= $1::text::pg_lsn";
        let told: i64 = source.client.query_one(sql, &[&end.to_string()]).await.unwrap().get(0);
        let seen = inserts.load(Ordering::Relaxed);
        if seen == 100 && told == 1 { Ok(()) } else { Err(format!("{seen} inserts, {told} told")) }
    })
    .await;
    // Received, told as received, and not confirmed.
    assert_eq!(source.confirmed().await, before);

    run.durable.send_replace(Durable(end));
    wait::until("the slot to move", async || match source.confirmed().await {
        lsn if lsn == end => Ok(()),
        lsn => Err(lsn),
    })
    .await;

    // The goodbye takes the last position along and leaves the slot free at once.
    source.insert(101, 101, "x").await;
    let end = source.lsn("SELECT pg_current_wal_lsn()").await;
    run.durable.send_replace(Durable(end));
    run.cancel.cancel();
    run.ended().await.unwrap();
    assert_eq!(source.confirmed().await, end);
    let sql = "SELECT active FROM pg_replication_slots WHERE slot_name = 's'";
    assert!(!source.client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn an_idle_slot_moves_on() {
    let source = Source::plain().await;
    let (_, stream) = source.stream().await;
    let (out, gulps) = gulp_queue(4);
    let run = Run::start(stream, out, StreamConfig::default());
    let durable = run.durable.clone();
    // Nothing is published, so everything that a keepalive names is durable.
    receive(gulps, move |gulp| {
        durable.send_modify(|durable| durable.0 = durable.0.max(gulp.wal_end));
    });
    for round in 0..3 {
        source
            .client
            .execute("INSERT INTO elsewhere VALUES ($1)", &[&i64::from(round)])
            .await
            .unwrap();
        let end = source.lsn("SELECT pg_current_wal_lsn()").await;
        wait::until("the idle slot to move", async || match source.confirmed().await {
            lsn if lsn >= end => Ok(()),
            lsn => Err(format!("{lsn} is before {end}")),
        })
        .await;
    }
    run.cancel.cancel();
    run.ended().await.unwrap();
}

#[tokio::test]
async fn a_full_queue_keeps_the_walsender_alive() {
    let options =
        PostgresOptions { settings: &[("wal_sender_timeout", "2s")], ..Default::default() };
    let source = Source::start(&options).await;
    let (pid, stream) = source.stream().await;
    assert_eq!(stream.walsender_timeout(), Some(Duration::from_secs(2)));
    let (out, gulps) = gulp_queue(1);
    // Nobody takes gulps. Enough to fill the sockets, too.
    let run = Run::start(stream, out, StreamConfig::default());
    source.insert(1, 2_000, &"x".repeat(20_000)).await;
    let age = "SELECT extract(epoch FROM clock_timestamp() - backend_start)::float8
               FROM pg_stat_replication WHERE pid = $1";
    wait::until("three timeouts to pass", async || {
        let pid = pid.as_raw_nonzero().get();
        let row = source.client.query_opt(age, &[&pid]).await.unwrap();
        let age: f64 = row.expect("the walsender lives").get(0);
        if age > 6.5 { Ok(()) } else { Err(age) }
    })
    .await;
    // And then all of it comes.
    let inserts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&inserts);
    receive(gulps, move |gulp| {
        seen.fetch_add(count(gulp, b'I'), Ordering::Relaxed);
    });
    wait::until("everything to arrive", async || match inserts.load(Ordering::Relaxed) {
        2_000 => Ok(()),
        seen => Err(seen),
    })
    .await;
    run.cancel.cancel();
    run.ended().await.unwrap();
}

#[tokio::test]
async fn a_silent_walsender_is_noticed() {
    let source = Source::plain().await;
    let (pid, stream) = source.stream().await;
    let (out, gulps) = gulp_queue(4);
    receive(gulps, |_| {});
    let silence_timeout = Duration::from_millis(600);
    let config = StreamConfig { silence_timeout, ..Default::default() };
    let run = Run::start(stream, out, config);
    // While it answers it may have nothing else to say: for more than twice the timeout.
    let age = "SELECT extract(epoch FROM clock_timestamp() - backend_start)::float8
               FROM pg_stat_replication WHERE pid = $1";
    wait::until("two timeouts to pass", async || {
        let pid = pid.as_raw_nonzero().get();
        let age: f64 = source.client.query_one(age, &[&pid]).await.unwrap().get(0);
        if age > 1.5 { Ok(()) } else { Err(age) }
    })
    .await;
    assert!(!run.task.is_finished());
    kill_process(pid, Signal::STOP).unwrap();
    let error = run.ended().await.unwrap_err();
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(error.kind(), Kind::Closed);
    assert!(error.to_string().contains("has said nothing for 0.6 s"), "{error}");
}

#[tokio::test]
async fn a_network_that_swallows_everything_is_noticed() {
    let source = Source::plain().await;
    let proxy = Proxy::start(source.postgres.port()).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
    let (_, stream) = source.stream_over(&url).await;
    let (out, _gulps) = gulp_queue(4);
    let config = StreamConfig { silence_timeout: Duration::from_millis(400), ..Default::default() };
    let run = Run::start(stream, out, config);
    proxy.blackhole();
    assert_eq!(run.ended().await.unwrap_err().kind(), Kind::Closed);
}

#[tokio::test]
async fn a_read_that_is_dropped_loses_nothing() {
    let certificates = Certificates::make();
    let options = PostgresOptions { tls: Some(&certificates), ..Default::default() };
    let source = Source::start(&options).await;
    for sslmode in ["disable", "require"] {
        let url = format!("{}?sslmode={sslmode}", source.postgres.url("postgres"));
        source.client.batch_execute("TRUNCATE t").await.unwrap();
        let (_, mut stream) = source.stream_over(&url).await;
        let writer = source.postgres.client("postgres").await;
        beside(async move {
            for id in 0..300_i64 {
                let sql = "INSERT INTO t SELECT $1::int8 * 1000 + n, repeat('x', n % 500) \
                           FROM generate_series(0, 99) n";
                writer.execute(sql, &[&id]).await.unwrap();
            }
        });
        let (mut inserts, mut dropped, mut last) = (0, 0, Lsn::ZERO);
        while inserts < 30_000 {
            // Dropped at every point that it can wait at: at once, or somewhere within.
            let patience = Duration::from_micros(dropped % 7 * 50);
            tokio::select! {
                biased;
                gulp = stream.next_gulp() => {
                    let gulp = gulp.unwrap();
                    inserts += count(&gulp, b'I');
                    last = last.max(gulp.wal_end);
                }
                () = wait::delay(patience) => dropped += 1,
            }
        }
        assert_eq!(inserts, 30_000);
        assert!(dropped > 0);
        let (out, _gulps) = gulp_queue(1);
        let run = Run::start(stream, out, StreamConfig::default());
        run.durable.send_replace(Durable(last));
        run.cancel.cancel();
        run.ended().await.unwrap();
    }
}

#[tokio::test]
async fn large_messages_arrive_whole() {
    let source = Source::plain().await;
    let (_, mut stream) = source.stream().await;
    source
        .client
        .batch_execute(
            "INSERT INTO t SELECT n, repeat(md5(n::text), 500000) FROM generate_series(1, 3) n",
        )
        .await
        .unwrap();
    let (mut inserts, mut bytes) = (0, 0);
    while inserts < 3 {
        let gulp = stream.next_gulp().await.unwrap();
        // 16 MB each: never two of them in one gulp.
        assert!(count(&gulp, b'I') <= 1);
        inserts += count(&gulp, b'I');
        bytes += gulp.bytes.len();
    }
    assert!(bytes > 48_000_000);
}

#[tokio::test]
async fn a_server_that_dies_is_an_error() {
    let mut source = Source::plain().await;
    for round in 0..3 {
        let (pid, stream) = source.stream().await;
        let (out, _gulps) = gulp_queue(1);
        let run = Run::start(stream, out, StreamConfig::default());
        match round {
            0 => {
                // While it sends to a queue that is full.
                source.insert(1, 2_000, &"x".repeat(20_000)).await;
                kill_process(pid, Signal::KILL).unwrap();
            }
            1 => source.postgres.kill9(),
            _ => {
                source.postgres.stop_immediate().await;
            }
        }
        let error = run.ended().await.unwrap_err();
        // An immediate stop may still say so.
        assert!(matches!(error.kind(), Kind::Closed | Kind::Server), "{round}: {error}");
        source.postgres.restart().await;
        source.client = source.postgres.client("postgres").await;
    }
}

#[tokio::test]
async fn a_server_that_shuts_down_waits_for_the_last_acknowledgement() {
    let mut source = Source::plain().await;
    let (_, stream) = source.stream().await;
    let (out, gulps) = gulp_queue(4);
    let run = Run::start(stream, out, StreamConfig::default());
    let durable = run.durable.clone();
    receive(gulps, move |gulp| {
        durable.send_modify(|durable| durable.0 = durable.0.max(gulp.wal_end));
    });
    source.insert(1, 10, "x").await;
    // A walsender that has not begun to stream is ended like any other session.
    wait::until("the rows", async || {
        let durable = *run.durable.borrow();
        if durable.0 > Lsn::ZERO { Ok(()) } else { Err("nothing has come") }
    })
    .await;
    assert!(source.postgres.stop_fast().await.success());
    let error = run.ended().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Closed);
    assert!(error.to_string().contains("the server ended the replication stream"), "{error}");
}

#[tokio::test]
async fn a_missing_publication_keeps_its_sqlstate() {
    let source = Source::plain().await;
    let (_, stream) = source.stream().await;
    let (out, _gulps) = gulp_queue(4);
    let run = Run::start(stream, out, StreamConfig::default());
    source.client.batch_execute("DROP PUBLICATION p; INSERT INTO t VALUES (1)").await.unwrap();
    let error = run.ended().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Server, Some("42704")), "{error}");
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_the_stream() {
    let source = Source::plain().await;
    let (_, stream) = source.stream().await;
    let (out, gulps) = gulp_queue(4);
    let run = Run::start(stream, out, StreamConfig::default());
    drop(gulps);
    source.insert(1, 1, "x").await;
    run.ended().await.unwrap();

    let (_, stream) = source.stream().await;
    let (out, _gulps) = gulp_queue(4);
    let run = Run::start(stream, out, StreamConfig::default());
    drop(run.durable);
    tokio::time::timeout(wait::BOUND, run.task).await.unwrap().unwrap().unwrap();
}

/// A server that lets everybody in, answers the stream's questions, sends `stream` and closes.
async fn fake(stream: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    beside(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let startup = socket.read_u32().await.unwrap() as usize;
        socket.read_exact(&mut vec![0; startup - 4]).await.unwrap();
        let ready = b"Z\0\0\0\x05I";
        let mut answer = BytesMut::from(&b"R\0\0\0\x08\0\0\0\0"[..]);
        answer.put_slice(b"S\0\0\0\x18server_version\x0015.1\0");
        answer.put_slice(ready);
        socket.write_all(&answer).await.unwrap();
        // wal_sender_timeout in milliseconds.
        question(&mut socket).await;
        socket.write_all(b"D\0\0\0\x0f\0\x01\0\0\0\x05").await.unwrap();
        socket.write_all(b"60000Z\0\0\0\x05I").await.unwrap();
        question(&mut socket).await;
        socket.write_all(b"N\0\0\0\x05\0W\0\0\0\x07\0\0\0").await.unwrap();
        socket.write_all(&stream).await.unwrap();
    });
    port
}

async fn question(socket: &mut tokio::net::TcpStream) {
    assert_eq!(socket.read_u8().await.unwrap(), b'Q');
    let length = socket.read_u32().await.unwrap() as usize;
    socket.read_exact(&mut vec![0; length - 4]).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_makes_no_sense_is_an_error_after_what_did() {
    let keepalive = [&b"d\0\0\0\x16k\0\0\0\0\0\0\0\x2a"[..], &[0; 8], &[1]].concat();
    for (bytes, kind, what) in [
        (&b""[..], Kind::Closed, "closed the connection"),
        (b"d\0\0", Kind::Closed, "in the middle of a message"),
        (b"d\0\0\0\x40w\0\0\0\0", Kind::Closed, "in the middle of a message"),
        (b"d\x7f\0\0\0", Kind::Protocol, "length 2130706432"),
        (b"d\0\0\0\x05?", Kind::Protocol, "neither XLogData nor a keepalive"),
        (b"d\0\0\0\x03", Kind::Protocol, "length 3"),
        (b"T\0\0\0\x06\0\0", Kind::Protocol, "unexpected message"),
        (b"E\0\0\0\x06XX", Kind::Protocol, "malformed"),
        (b"E\0\0\0\x18SFATAL\0C57P01\0Mbye\0\0", Kind::Server, "127.0.0.1"),
        (b"c\0\0\0\x04", Kind::Closed, "ended the replication stream"),
    ] {
        let port = fake([&keepalive[..], bytes].concat()).await;
        let url = format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable");
        let mut stream = replication(&url).await.start("s", "p", Lsn::ZERO).await.unwrap();
        let gulp = stream.next_gulp().await.unwrap();
        assert_eq!((&gulp.bytes[..], gulp.wal_end), (&keepalive[..], Lsn(0x2a)));
        assert!(gulp.reply_requested);
        let error = stream.next_gulp().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{bytes:?}: {error}");
        assert!(error.to_string().contains(what), "{bytes:?}: {error}");
    }
}
