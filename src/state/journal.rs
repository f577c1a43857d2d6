//! The end of the store's newest journal after a power loss.
//!
//! Each batch is synced before the next one is written. So of the last one parts may be missing: holes of zeros, also in
//! its midst. The store gives up a batch that breaks off, but refuses one that has another number of items than it says,
//! or another checksum. It was not durable: it is cut off, and comes from the slot again. What is damaged before is not
//! touched: the store refuses it.
//!
//! ```text
//! batch = 1 items:u32 seqno:u64  item...  3 checksum:u64 "FJL\3"
//! item  = 2 kind:u8 compression:u8 keyspace:u64 key:u16 value:u32 stored:u32  key's bytes  stored bytes
//!       | 4 keyspace:u64
//! ```
//!
//! Numbers are little-endian; the checksum is XXH3 of the items' bytes (fjall 3.1, `journal/entry.rs`).

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";

/// Cuts off a batch at the end of the newest journal that is not whole; says how many bytes that were. Nothing happens
/// while another process has the store open.
pub(super) fn cut_torn_end(dir: &Path) -> io::Result<Option<u64>> {
    // A new state.
    if !dir.join("lock").try_exists()? {
        return Ok(None);
    }
    let Some(path) = newest(dir)? else { return Ok(None) };
    let lock = File::options().read(true).write(true).open(dir.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let whole = whole_until(&file, length)?;
    let Some(bytes) = last_batch(&file, whole)? else { return Ok(None) };
    file.set_len(whole)?;
    file.sync_all()?;
    Ok(Some(bytes))
}

fn newest(dir: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (true, Some(number)) = (is_journal, number) {
            newest = newest.max(Some((number, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where the whole batches end.
fn whole_until(file: &File, length: u64) -> io::Result<u64> {
    let mut reader = Journal { bytes: BufReader::new(file), at: 0, length };
    let mut whole = 0;
    loop {
        match reader.batch() {
            Ok(true) => whole = reader.at,
            Ok(false) => return Ok(whole),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(whole),
            Err(error) => return Err(error),
        }
    }
}

/// The bytes of what is behind, if there is anything and it can be one batch: no other has ended there.
fn last_batch(mut file: &File, from: u64) -> io::Result<Option<u64>> {
    // The file's room is taken beforehand: most of it are zeros.
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    file.seek(SeekFrom::Start(from))?;
    let (mut part, mut before, mut end) = (vec![0; ZEROS.len()], 0, 0);
    let (mut last, mut ended) = ([0; 4], false);
    loop {
        let length = file.read(&mut part)?;
        let part = &part[..length];
        // Without a batch's first byte there is none: the store stops there, too.
        if length == 0 || (before == 0 && part[0] == 0) {
            return Ok((end > 0).then_some(end));
        }
        if *part != ZEROS[..length] {
            for (at, &byte) in part.iter().enumerate().filter(|(_, byte)| **byte != 0) {
                // What follows an ending is another batch.
                if ended {
                    return Ok(None);
                }
                let previous =
                    |back: usize| if at >= back { part[at - back] } else { last[at + 4 - back] };
                ended = [previous(3), previous(2), previous(1), byte] == TRAILER;
                end = before + at as u64 + 1;
            }
        }
        for &byte in &part[length.saturating_sub(4)..] {
            last = [last[1], last[2], last[3], byte];
        }
        before += length as u64;
    }
}

struct Journal<'f> {
    bytes: BufReader<&'f File>,
    at: u64,
    length: u64,
}

impl Journal<'_> {
    /// Whether a whole one is here.
    fn batch(&mut self) -> io::Result<bool> {
        if self.take::<1>()? != [START] {
            return Ok(false);
        }
        let mut left = u32::from_le_bytes(self.take()?);
        self.take::<8>()?;
        let mut checksum = Xxh3::new();
        loop {
            let tag = self.take::<1>()?;
            match tag[0] {
                ITEM | CLEAR if left == 0 => return Ok(false),
                ITEM => self.item(&mut checksum)?,
                CLEAR => {
                    checksum.update(&tag);
                    checksum.update(&self.take::<8>()?);
                }
                END => {
                    let written = u64::from_le_bytes(self.take()?);
                    let ends = self.take()? == TRAILER;
                    return Ok(ends && left == 0 && written == checksum.digest());
                }
                _ => return Ok(false),
            }
            left -= 1;
        }
    }

    /// Its tag is taken already.
    fn item(&mut self, checksum: &mut Xxh3) -> io::Result<()> {
        let head = self.take::<20>()?;
        let [.., k0, k1, _, _, _, _, s0, s1, s2, s3] = head;
        checksum.update(&[ITEM]);
        checksum.update(&head);
        let key = u64::from(u16::from_le_bytes([k0, k1]));
        let mut left = key + u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
        if left > self.length.saturating_sub(self.at) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut some = [0; 4096];
        while left > 0 {
            let part = &mut some[..left.min(4096) as usize];
            self.bytes.read_exact(part)?;
            checksum.update(part);
            self.at += part.len() as u64;
            left -= part.len() as u64;
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.bytes.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::engine::Batch as Writes;
    use crate::state::Store;

    fn write(store: &Store, number: u32) {
        let fact = |at: u32| {
            let value = vec![b'v'; (number + at) as usize % 700];
            (format!("fact/{number}/{at}"), Some(value))
        };
        let facts = (0..number % 5 + 1).map(fact).collect();
        store.write(&Writes { facts, ..Writes::default() }).expect("there is room");
    }

    fn written(dir: &Path) -> (File, u64) {
        let path = newest(dir).expect("a directory").expect("a journal");
        let file = File::options().read(true).write(true).open(path).expect("it is there");
        let end = whole_until(&file, file.metadata().expect("it is there").len()).expect("it");
        (file, end)
    }

    /// Holes from anywhere to anywhere in the last batch, as the pages of a file reach the disk or do not.
    #[test]
    fn what_was_synced_is_there_whatever_became_of_the_rest() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut kept = 0;
        for round in 0..40 {
            let dir = tempfile::tempdir().expect("a directory");
            let store = Store::open(dir.path(), 8 << 20).expect("a new one");
            (0..4).for_each(|number| write(&store, number));
            let (file, synced) = written(dir.path());
            write(&store, rng.u32(4..2_000));
            let (_, end) = written(dir.path());
            assert!(end > synced);
            drop(store);
            for _ in 0..rng.usize(1..4) {
                let from = rng.u64(synced..end);
                let hole = vec![0; rng.u64(1..=(end - from).min(400)) as usize];
                file.write_all_at(&hole, from).expect("there is room");
            }
            kept += u32::from(written(dir.path()).1 == end);
            let store = Store::open(dir.path(), 8 << 20);
            let store = store.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
            for number in 0..4 {
                let found = store.fact(&format!("fact/{number}/0")).expect("a fact");
                assert_eq!(found.map(|value| value.len()), Some(number as usize), "round {round}");
            }
            // It goes on from there.
            write(&store, 20);
            drop(store);
            let store = Store::open(dir.path(), 8 << 20).expect("it was mended");
            assert!(store.fact("fact/20/0").expect("it can be read").is_some(), "round {round}");
        }
        assert!(kept < 10, "holes are where there were zeros");
    }

    /// That is no power loss, but damage: nobody may go on from an older state than he was told to be durable.
    #[test]
    fn what_is_followed_by_another_batch_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), 8 << 20).expect("a new one");
        (0..4).for_each(|number| write(&store, number));
        let (file, begin) = written(dir.path());
        (5..7).for_each(|number| write(&store, number));
        assert_eq!(cut_torn_end(dir.path()).expect("it can be read"), None, "it is in use");
        drop(store);
        assert_eq!(cut_torn_end(dir.path()).expect("it can be read"), None, "it is whole");
        file.write_all_at(&[9], begin + 30).expect("there is room");
        assert_eq!(written(dir.path()).1, begin);
        assert_eq!(cut_torn_end(dir.path()).expect("it can be read"), None);
        let none = dir.path().join("none");
        assert_eq!(cut_torn_end(&none).expect("it is to be made"), None);
    }
}
