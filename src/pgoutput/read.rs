//! A cursor over the bytes of one message: every read is checked, every fault knows its place.

use super::error::{DecodeError, Fault};

pub(super) struct Reader<'a> {
    message: &'static str,
    /// Length of all that was given, for offsets.
    len: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { message, len: bytes.len(), rest: bytes }
    }

    /// The tag has told which message this is.
    pub(super) fn name(&mut self, message: &'static str) {
        self.message = message;
    }

    pub(super) fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[cold]
    pub(super) fn fault_at(&self, offset: usize, fault: Fault) -> DecodeError {
        DecodeError { message: self.message, offset, fault }
    }

    /// The byte just read is none of the known ones.
    #[cold]
    pub(super) fn unknown(&self, what: &'static str, byte: u8) -> DecodeError {
        self.fault_at(self.offset() - 1, Fault::Unknown { what, byte })
    }

    #[cold]
    fn truncated(&self, needed: usize) -> DecodeError {
        self.fault_at(self.offset(), Fault::Truncated { needed, left: self.rest.len() })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.truncated(N))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A number of columns, Int16.
    pub(super) fn count(&mut self) -> Result<u16, DecodeError> {
        let at = self.offset();
        let count = i16::from_be_bytes(self.array()?);
        u16::try_from(count).map_err(|_| self.fault_at(at, Fault::Negative(count.into())))
    }

    /// A length or a larger number, Int32.
    pub(super) fn length(&mut self) -> Result<usize, DecodeError> {
        let at = self.offset();
        let length = self.i32()?;
        usize::try_from(length).map_err(|_| self.fault_at(at, Fault::Negative(length)))
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) =
            self.rest.split_at_checked(count).ok_or_else(|| self.truncated(count))?;
        self.rest = rest;
        Ok(head)
    }

    /// A length and that many bytes.
    pub(super) fn counted(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.length()?;
        self.bytes(length)
    }

    /// Text that ends with a zero byte.
    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let at = self.offset();
        let length =
            memchr::memchr(0, self.rest).ok_or_else(|| self.fault_at(at, Fault::Unterminated))?;
        let text = self.bytes(length)?;
        self.u8()?;
        std::str::from_utf8(text).map_err(|e| self.fault_at(at + e.valid_up_to(), Fault::NotUtf8))
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(self.fault_at(self.offset(), Fault::TrailingBytes(left))),
        }
    }
}
