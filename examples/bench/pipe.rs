//! Bare readers of a replication stream: the bytes are received, cut into messages and dropped.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use readside::lsn::Lsn;
use readside::pg::Params;
use readside::source::replication::ReplicationConnection;

use crate::harness::Postgres;

/// Takes whatever has come as soon as it has come. Blocking; until the server has sent `end`.
pub(crate) fn eager(port: u16, database: &str, slot: &str, end: Lsn) -> Result<Duration> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    let mut startup = Vec::new();
    startup.extend_from_slice(&196_608_u32.to_be_bytes());
    for (name, value) in [("user", "postgres"), ("database", database), ("replication", "database")]
    {
        startup.extend_from_slice(&[name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    startup.push(0);
    send(&mut socket, &[], &startup)?;
    let mut reader = Reader { socket, buffer: Vec::new(), from: 0 };
    while reader.message()?.0 != b'Z' {}
    let command = format!(
        "START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names 'bench')\0"
    );
    let begun = Instant::now();
    send(&mut reader.socket, b"Q", command.as_bytes())?;
    loop {
        let (tag, body) = reader.message()?;
        match (tag, body.first()) {
            (b'd', Some(b'w' | b'k')) => {
                let position = body.get(1..9).and_then(|bytes| bytes.first_chunk());
                let position = position.map(|bytes| u64::from_be_bytes(*bytes));
                if Lsn(position.context("a message too short")?) >= end {
                    return Ok(begun.elapsed());
                }
            }
            (b'E', _) => bail!("the server: {}", String::from_utf8_lossy(body)),
            _ => {}
        }
    }
}

fn send(socket: &mut TcpStream, tag: &[u8], body: &[u8]) -> Result<()> {
    let length = u32::try_from(body.len() + 4)?.to_be_bytes();
    Ok(socket.write_all(&[tag, &length, body].concat())?)
}

struct Reader {
    socket: TcpStream,
    buffer: Vec<u8>,
    from: usize,
}

impl Reader {
    fn message(&mut self) -> Result<(u8, &[u8])> {
        loop {
            let rest = &self.buffer[self.from..];
            if let Some(&[tag, a, b, c, d]) = rest.first_chunk::<5>() {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if rest.len() > length {
                    let body = self.from + 5..self.from + 1 + length;
                    self.from = body.end;
                    return Ok((tag, &self.buffer[body]));
                }
            }
            self.buffer.drain(..self.from);
            self.from = 0;
            let mut chunk = [0; 64 * 1024];
            let read = self.socket.read(&mut chunk)?;
            ensure!(read > 0, "the server closed the stream");
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }
}

/// As Readside reads: while behind, bytes gather (SO_RCVLOWAT).
pub(crate) async fn gathering(
    source: &Postgres,
    database: &str,
    slot: &str,
    end: Lsn,
) -> Result<Duration> {
    let params = Params::parse(&source.url(database), None)?;
    let connection = ReplicationConnection::connect(&params, "bench").await?;
    let begun = Instant::now();
    let mut stream = connection.start(slot, "bench", Lsn::ZERO).await?;
    while stream.next_gulp().await?.wal_end < end {}
    Ok(begun.elapsed())
}
