//! Why bytes could not be read.

/// Bytes that are not the message they begin as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at byte {offset}: {fault}")]
pub struct DecodeError {
    /// The kind of message, as the manual calls it.
    pub message: &'static str,
    /// Where, counted from the first byte of what was to be read: of the body for
    /// [`decode`](super::decode), of the gulp for [`frames`](super::frames).
    pub offset: usize,
    pub fault: Fault,
}

/// What is wrong at that byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("cut short: {needed} bytes wanted, {left} left")]
    Truncated { needed: usize, left: usize },
    #[error("bytes after its end: {0}")]
    TrailingBytes(usize),
    #[error("a string does not end")]
    Unterminated,
    #[error("text is not UTF-8")]
    NotUtf8,
    #[error("a negative count or length, {0}")]
    Negative(i32),
    #[error("a message of {0} bytes, more than any server sends")]
    Oversized(u32),
    #[error("a message of {0} bytes, less than its own header")]
    Undersized(u32),
    #[error("no known kind of {what}: {}", .byte.escape_ascii())]
    Unknown { what: &'static str, byte: u8 },
    #[error("sent only from protocol {protocol} on, and 1 was asked for")]
    LaterProtocol { protocol: u8 },
}
