//! Asks the running daemon: one request over one connection, bounded in time and in size.
//!
//! HTTP/1.0 on purpose: the answer then ends with the connection and comes in one piece, so that no
//! client library is needed for it.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::HttpConfig;

/// Longer than the daemon itself waits for its sinks or for its next pipeline.
const TIMEOUT: Duration = Duration::from_secs(40);
/// A long answer's next line.
const SILENCE_MAX: Duration = Duration::from_secs(300);
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What the daemon answers instead of what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Refusal {
    pub status: u16,
    text: String,
}

/// The verbs of the daemon's paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Delete,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Delete => "DELETE",
        }
    }
}

/// A part of a path or of a query as it stands there.
pub(super) fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

/// What the daemon says, as what it is known to be.
pub(super) fn ask<T: serde::de::DeserializeOwned>(
    http: &HttpConfig,
    verb: Verb,
    path: &str,
) -> anyhow::Result<T> {
    let answer = request(http, verb, path)?;
    serde_json::from_slice(&answer).context("the daemon's answer is not the one of this version")
}

/// The body of a successful answer.
pub(super) fn get(http: &HttpConfig, path: &str) -> anyhow::Result<Vec<u8>> {
    request(http, Verb::Get, path)
}

fn request(http: &HttpConfig, verb: Verb, path: &str) -> anyhow::Result<Vec<u8>> {
    let address = address(&http.listen);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(TIMEOUT, exchange(&address, http, verb, path)).await.with_context(
            || format!("the daemon at {address} did not answer in {} s", TIMEOUT.as_secs()),
        )?
    })?;
    body(answer).with_context(|| format!("the daemon at {address}"))
}

/// Sees each line of an answer as it comes, for as long as the daemon has something to say, or until it
/// has seen enough.
pub(super) fn follow(
    http: &HttpConfig,
    verb: Verb,
    path: &str,
    mut see: impl FnMut(&str) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    let address = address(&http.listen);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stream = send(&address, http, verb, path).await?;
        let mut answer = Vec::new();
        let mut is_body = false;
        loop {
            let read = tokio::time::timeout(SILENCE_MAX, stream.read_buf(&mut answer)).await;
            let silent = || format!("the daemon at {address} has said nothing for {SILENCE_MAX:?}");
            let read = read.with_context(silent)??;
            if !is_body && let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
                is_body =
                    answer.starts_with(b"HTTP/1.0 200 ") || answer.starts_with(b"HTTP/1.1 200 ");
                if is_body {
                    answer.drain(..end + 4);
                }
            }
            while is_body && let Some(end) = memchr::memchr(b'\n', &answer) {
                let line: Vec<u8> = answer.drain(..=end).collect();
                if see(std::str::from_utf8(&line)?.trim_end())?.is_break() {
                    return Ok(());
                }
            }
            if answer.len() as u64 > ANSWER_BYTES_MAX {
                bail!("a line of the daemon's answer is longer than 64 MiB");
            }
            match read {
                0 if is_body => return Ok(()),
                0 => {
                    return body(answer)
                        .map(drop)
                        .with_context(|| format!("the daemon at {address}"));
                }
                _ => {}
            }
        }
    })
}

async fn send(
    address: &str,
    http: &HttpConfig,
    verb: Verb,
    path: &str,
) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("no daemon answers at {address}; is `readside run` running?"))?;
    let mut request = format!("{} {path} HTTP/1.0\r\nHost: {address}\r\n", verb.word());
    if let Some(token) = &http.token {
        request.push_str("Authorization: Bearer ");
        request.push_str(token.expose());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

async fn exchange(
    address: &str,
    http: &HttpConfig,
    verb: Verb,
    path: &str,
) -> anyhow::Result<Vec<u8>> {
    let stream = send(address, http, verb, path).await?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer).await?;
    if read as u64 > ANSWER_BYTES_MAX {
        bail!("the daemon's answer is longer than 64 MiB");
    }
    Ok(answer)
}

/// Splits the head off, and takes only a 200.
fn body(mut answer: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").context("the answer is not HTTP")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer);
    let line = head.lines().next().unwrap_or_default();
    let status = line.split(' ').nth(1).filter(|_| line.starts_with("HTTP/1."));
    let text = match status {
        Some("200") => return Ok(body),
        Some("401") => "it wants the token of http.token_file (401)".to_owned(),
        _ => {
            #[derive(serde::Deserialize)]
            struct Words {
                error: String,
            }
            match serde_json::from_slice(&body) {
                Ok(Words { error }) => error,
                Err(_) => {
                    let shown: String = String::from_utf8_lossy(&body).chars().take(500).collect();
                    format!("{line}: {shown}")
                }
            }
        }
    };
    let status = status.and_then(|status| status.parse().ok()).unwrap_or(0);
    Err(Refusal { status, text }.into())
}

/// Where to reach a server that listens on this address: one that listens everywhere, here.
fn address(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0" | "*", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::config::Secret;

    /// Answers one connection with these bytes, and gives the request.
    fn serve(answer: &'static [u8]) -> (HttpConfig, std::thread::JoinHandle<String>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = listener.local_addr().expect("an address").to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).expect("a request");
                request.push(byte[0]);
            }
            stream.write_all(answer).expect("an answer");
            String::from_utf8(request).expect("text")
        });
        (HttpConfig { listen, token_file: None, token: Some(Secret::new("tok")) }, server)
    }

    #[test]
    fn the_token_goes_along_and_the_body_comes_back() {
        let (http, server) = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(get(&http, "/v1/status").expect("an answer"), b"{}");
        let request = server.join().expect("the server");
        assert!(request.starts_with("GET /v1/status HTTP/1.0\r\n"), "{request}");
        assert!(request.contains("\r\nAuthorization: Bearer tok\r\n"), "{request}");
    }

    #[test]
    fn refusals_say_why() {
        for (answer, why) in [
            (&b"HTTP/1.1 401 Unauthorized\r\n\r\n"[..], "http.token_file"),
            (b"HTTP/1.1 503 Service Unavailable\r\n\r\nloading", "loading"),
            (b"SSH-2.0\r\n", "not HTTP"),
            (b"", "not HTTP"),
        ] {
            let (http, server) = serve(answer);
            let error = get(&http, "/v1/status").expect_err("a refusal");
            assert!(format!("{error:#}").contains(why), "{error:#}");
            server.join().expect("the server");
        }
    }

    #[test]
    fn nobody_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = listener.local_addr().expect("an address").to_string();
        drop(listener);
        let http = HttpConfig { listen, token_file: None, token: None };
        let error = get(&http, "/v1/status").expect_err("nobody");
        assert!(format!("{error:#}").contains("is `readside run` running?"), "{error:#}");
    }

    #[test]
    fn everywhere_is_also_here() {
        assert_eq!(address("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(address("[::]:80"), "[::1]:80");
        assert_eq!(address("localhost:80"), "localhost:80");
    }
}
