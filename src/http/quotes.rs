//! Requests as people write them: `curl -g '…/v1/read/P?key=["7"]'` sends the quotes as they are, which no URI
//! may hold and hyper refuses. They are escaped on their way to it, and so are `<` and `>`.
//!
//! Only in request lines: a body is never looked into, nor anything behind a request that announces one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose request lines are escaped.
pub(super) struct Escaped<S> {
    stream: S,
    lines: Lines,
    /// What was read and is escaped; behind `taken` hyper has not had it yet.
    escaped: Vec<u8>,
    taken: usize,
}

/// Of one read; three times as much comes of it at most.
const READ_BYTES: usize = 2048;

impl<S> Escaped<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, lines: Lines::default(), escaped: Vec::new(), taken: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Escaped<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken == this.escaped.len() {
            if this.lines.at == At::Body {
                return Pin::new(&mut this.stream).poll_read(cx, buf);
            }
            let mut read = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut read);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            this.escaped.clear();
            this.taken = 0;
            for &byte in read.filled() {
                this.lines.escape(byte, &mut this.escaped);
            }
        }
        let rest = this.escaped.get(this.taken..).unwrap_or_default();
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..taken).unwrap_or_default());
        this.taken += taken;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Escaped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Where in a connection's requests its next byte lies.
#[derive(Default)]
struct Lines {
    at: At,
    /// Of a header's line, lower case, as much as tells a body's announcement.
    line: Vec<u8>,
    has_body: bool,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum At {
    /// Before a request line, where empty lines may stand.
    #[default]
    Start,
    RequestLine,
    Headers,
    /// Whatever may come behind a body included.
    Body,
}

const ANNOUNCEMENTS: [&[u8]; 3] = [b"content-length:", b"transfer-encoding:", b"upgrade:"];
const LINE_BYTES: usize = 18;

impl Lines {
    fn escape(&mut self, byte: u8, to: &mut Vec<u8>) {
        match (self.at, byte) {
            (At::RequestLine, b'"') => return to.extend(b"%22"),
            (At::RequestLine, b'<') => return to.extend(b"%3C"),
            (At::RequestLine, b'>') => return to.extend(b"%3E"),
            (At::RequestLine, b'\n') => {
                self.at = At::Headers;
                self.line.clear();
            }
            (At::Start, b'\r' | b'\n') | (At::RequestLine | At::Body, _) => {}
            (At::Start, _) => self.at = At::RequestLine,
            (At::Headers, b'\n') => self.end_line(),
            (At::Headers, _) if self.line.len() < LINE_BYTES => {
                self.line.push(byte.to_ascii_lowercase());
            }
            (At::Headers, _) => {}
        }
        to.push(byte);
    }

    fn end_line(&mut self) {
        if matches!(self.line.as_slice(), b"" | b"\r") {
            self.at = if self.has_body { At::Body } else { At::Start };
        }
        self.has_body |= ANNOUNCEMENTS.iter().any(|name| self.line.starts_with(name));
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn read(sent: &[u8]) -> String {
        let mut read = Vec::new();
        Escaped::new(sent).read_to_end(&mut read).await.unwrap();
        String::from_utf8(read).unwrap()
    }

    #[tokio::test]
    async fn quotes_are_escaped_in_request_lines_alone() {
        let sent = "\r\nGET /a?key=[\"7\"] HTTP/1.1\r\nHost: \"h\"\r\n\r\n\
                    GET /b?key=[\"<>\"] HTTP/1.1\nX: \"\n\n\
                    POST /c?\"\" HTTP/1.1\r\nContent-Length: 2\r\n\r\n\"\"GET /d?\" HTTP/1.1\r\n\r\n";
        let expected = "\r\nGET /a?key=[%227%22] HTTP/1.1\r\nHost: \"h\"\r\n\r\n\
                        GET /b?key=[%22%3C%3E%22] HTTP/1.1\nX: \"\n\n\
                        POST /c?%22%22 HTTP/1.1\r\nContent-Length: 2\r\n\r\n\"\"GET /d?\" HTTP/1.1\r\n\r\n";
        assert_eq!(read(sent.as_bytes()).await, expected);
    }

    #[tokio::test]
    async fn what_is_longer_than_a_read_arrives_whole() {
        let quotes = "\"".repeat(3 * READ_BYTES);
        let sent = format!("GET /?{quotes} HTTP/1.1\r\nX: {quotes}\r\n\r\n");
        let expected = sent.replacen(&quotes, &"%22".repeat(quotes.len()), 1);
        assert_eq!(read(sent.as_bytes()).await, expected);
    }
}
