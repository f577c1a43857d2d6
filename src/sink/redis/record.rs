//! The record of where a row stands: a field of the reverse hash, named by the row's key.

use crate::value::ValueError;

use super::row::{Args, Row};
use super::slot::crc16;
use super::target::Structure;
use super::watermark;

/// In a cluster the records of a generation are in so many hashes: one would lie on one node.
const BUCKETS: u16 = 256;

/// Whether all keys are of one server, or of the nodes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Single,
    Cluster,
}

/// Where the records of a generation are.
#[derive(Clone, Debug)]
pub(super) struct Reverse {
    key: String,
    layout: Layout,
}

impl Reverse {
    pub(super) fn of(projection: &str, fingerprint: &str, layout: Layout) -> Self {
        Self { key: watermark::reverse_key(projection, fingerprint), layout }
    }

    /// Every hash that may hold some.
    pub(super) fn keys(&self) -> Vec<String> {
        match self.layout {
            Layout::Single => vec![self.key.clone()],
            Layout::Cluster => {
                (0..BUCKETS).map(|bucket| format!("{}:{bucket}", self.key)).collect()
            }
        }
    }

    /// Two words: the hash and the field of a row's record.
    pub(super) fn write_place(
        &self,
        row_key: &Row<'_>,
        text: &mut Vec<u8>,
        words: &mut Args,
    ) -> Result<(), ValueError> {
        if self.layout == Layout::Cluster {
            let mut field = Vec::new();
            write_key_text(row_key, text, &mut field)?;
            words.bytes.extend_from_slice(self.key.as_bytes());
            words.bytes.push(b':');
            let bucket = crc16(&field) % BUCKETS;
            words.push(itoa::Buffer::new().format(bucket));
            words.push(&field);
            return Ok(());
        }
        words.push(&self.key);
        write_key_text(row_key, text, &mut words.bytes)?;
        words.end();
        Ok(())
    }
}

/// The row's key in the reverse hash: its values' texts joined by `|`, `\` and `|` escaped by `\`.
fn write_key_text(key: &Row<'_>, text: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    for column in 0..key.columns.len() {
        if column > 0 {
            out.push(b'|');
        }
        text.clear();
        key.write_text(column, text)?;
        for &byte in text.iter() {
            if matches!(byte, b'|' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
    }
    Ok(())
}

/// `step.lua`'s record.
pub(super) fn write_record(structure: Structure, key: &[u8], member: &[u8], record: &mut Vec<u8>) {
    record.push(structure.letter());
    let members = structure.has_members().then_some(member);
    for text in [Some(key), members].into_iter().flatten() {
        record.extend_from_slice(itoa::Buffer::new().format(text.len()).as_bytes());
        record.push(b':');
        record.extend_from_slice(text);
    }
}

/// Reads a record back: calls `found` with each location. `None` for bytes that are no record.
pub(super) fn read_record<'r>(
    mut record: &'r [u8],
    mut found: impl FnMut(Structure, &'r [u8], &'r [u8]),
) -> Option<()> {
    fn take_sized<'r>(record: &mut &'r [u8]) -> Option<&'r [u8]> {
        let colon = record.iter().position(|&byte| byte == b':')?;
        let length: usize = std::str::from_utf8(&record[..colon]).ok()?.parse().ok()?;
        let (text, rest) = record[colon + 1..].split_at_checked(length)?;
        *record = rest;
        Some(text)
    }
    while let Some((&letter, rest)) = record.split_first() {
        let structure = Structure::of_letter(letter)?;
        record = rest;
        let key = take_sized(&mut record)?;
        let member = if structure.has_members() { take_sized(&mut record)? } else { &[] };
        found(structure, key, member);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = Vec::new();
        write_record(Structure::Hash, b"order:7", b"", &mut record);
        write_record(Structure::SortedSet, b"a:1:", "\u{e9}|2:".as_bytes(), &mut record);
        let mut found = Vec::new();
        let read = read_record(&record, |structure, key, member| {
            found.push((structure, key.to_vec(), member.to_vec()));
        });
        assert_eq!(read, Some(()));
        assert_eq!(
            found,
            [
                (Structure::Hash, b"order:7".to_vec(), Vec::new()),
                (Structure::SortedSet, b"a:1:".to_vec(), "\u{e9}|2:".as_bytes().to_vec()),
            ]
        );
        for bad in ["x3:abc", "h9:abc", "h", "h:", "hx:abc", "z1:a"] {
            assert_eq!(read_record(bad.as_bytes(), |_, _, _| {}), None, "{bad}");
        }
    }
}
