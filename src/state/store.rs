//! The embedded store, by fjall. Its writers may sleep under back-pressure, so it is used from a thread
//! of its own, but for the reads at the start, of the backlog and of logs.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::compaction::Leveled;
use fjall::config::FilterPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{journal, record};
use crate::engine::{Batch, Entry, LoadedChunk, RowsOf};

/// One of its workers keeps to flushing, and spins while all others are merging and more is to be merged:
/// with some to spare it finds that there is nothing to do.
const WORKERS: usize = 4;
/// Above it new tables are merged into the older ones. Writers are held up from 20 on.
const UNMERGED_TABLES_MAX: u8 = 12;
/// A journal goes when every keyspace has written into tables what it holds of it. The ones that are hardly written to
/// would keep all journals: beyond this they are made to.
const JOURNALS_BYTES: u64 = 64 << 20;

/// What is on disk is this format's or is refused.
const FORMAT: &[u8] = b"readside state 3";
const FORMAT_FACT: &str = "format";
/// Beside the format, what each keyspace holds from its first batch on: one that has lost it has lost its
/// files. They are no row's and no piece's keys: rows begin with number 1, pieces have eight bytes.
const ROWS_MARK: &[u8] = &[0, 0, 0, 0];
const BACKLOG_MARK: &[u8] = &[0];
/// Each ingestion makes a file and syncs it: below this it does not pay.
const INGESTED_MIN: usize = 10_000;
/// What one reading of a log brings.
const PAGE_ROWS: usize = 2_000;
const PAGE_BYTES: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the state in {} cannot be used", dir.display())]
    Io {
        dir: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// What is found there is not what was written.
    #[error("the state in {} cannot be read; a deleted directory costs a reload, no more", dir.display())]
    Store {
        dir: PathBuf,
        #[source]
        source: fjall::Error,
    },
    #[error("{} holds the state of another version ({found:?}): it cannot be read; start with an empty directory, or with the version that wrote it", dir.display())]
    Format { dir: PathBuf, found: String },
    #[error("{} is in use by another process", dir.display())]
    Locked { dir: PathBuf },
    #[error("the state in {} is damaged: a row of {rows_of} cannot be read", dir.display())]
    Damaged { dir: PathBuf, rows_of: RowsOf },
    #[error("the state in {} is damaged: a part of it is missing; a deleted directory costs a reload, no more", dir.display())]
    Torn { dir: PathBuf },
}

impl Error {
    /// Whether opening it again is in vain.
    pub fn is_final(&self) -> bool {
        use std::io::ErrorKind::{NotADirectory, PermissionDenied};
        match self {
            Error::Format { .. } | Error::Locked { .. } => true,
            Error::Io { source, .. } => matches!(source.kind(), NotADirectory | PermissionDenied),
            Error::Store { .. } | Error::Damaged { .. } | Error::Torn { .. } => false,
        }
    }

    fn of(dir: &Path, source: fjall::Error) -> Self {
        let dir = dir.to_owned();
        match source {
            fjall::Error::Locked => Error::Locked { dir },
            fjall::Error::Io(source) => Error::Io { dir, source },
            source => Error::Store { dir, source },
        }
    }
}

/// Cheap to clone: all clones are one store.
#[derive(Clone)]
pub struct Store {
    dir: PathBuf,
    database: Database,
    rows: Keyspace,
    backlog: Keyspace,
    facts: Keyspace,
}

impl Store {
    /// Opens or creates the state in `dir`. `cache_bytes` bounds what it keeps in memory, its buffers
    /// for writing apart from the cache for reading.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, Error> {
        let error = |source| Error::of(dir, source);
        let cut = journal::cut_torn_end(dir);
        let cut = cut.map_err(|source| Error::Io { dir: dir.to_owned(), source })?;
        if let Some(bytes) = cut {
            tracing::warn!(
                dir = %dir.display(),
                bytes,
                "the last batch of the state was not whole, as after a power loss: it is cut off"
            );
        }
        let database = Database::builder(dir)
            .cache_size(cache_bytes / 2)
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNALS_BYTES)
            .open()
            .map_err(error)?;
        let memtable = (cache_bytes / 8).clamp(1 << 20, 64 << 20);
        let keyspace = |name| {
            // Rows are read in ranges, which filters do not help.
            let options = KeyspaceCreateOptions::default().filter_policy(FilterPolicy::disabled());
            let merging = Leveled::default().with_l0_threshold(UNMERGED_TABLES_MAX);
            let options = options.compaction_strategy(Arc::new(merging));
            database.keyspace(name, || options.max_memtable_size(memtable))
        };
        let this = Self {
            dir: dir.to_owned(),
            rows: keyspace("rows").map_err(error)?,
            backlog: keyspace("backlog").map_err(error)?,
            facts: keyspace("facts").map_err(error)?,
            database,
        };
        match this.fact(FORMAT_FACT)? {
            Some(found) if found != FORMAT => Err(Error::Format {
                dir: dir.to_owned(),
                found: String::from_utf8_lossy(&found).into_owned(),
            }),
            found => {
                let marked = this.marks().map_err(error)?;
                match (found, marked) {
                    (Some(_), [true, true]) => Ok(this),
                    (None, [false, false]) => this.begin().map_err(error).map(|()| this),
                    _ => Err(Error::Torn { dir: dir.to_owned() }),
                }
            }
        }
    }

    /// Whether rows and backlog hold what they have held from the beginning.
    fn marks(&self) -> Result<[bool; 2], fjall::Error> {
        Ok([self.rows.contains_key(ROWS_MARK)?, self.backlog.contains_key(BACKLOG_MARK)?])
    }

    fn begin(&self) -> Result<(), fjall::Error> {
        let mut writes = self.database.batch().durability(Some(PersistMode::SyncAll));
        writes.insert(&self.rows, ROWS_MARK, []);
        writes.insert(&self.backlog, BACKLOG_MARK, []);
        writes.insert(&self.facts, FORMAT_FACT, FORMAT);
        writes.commit()
    }

    fn error(&self, source: fjall::Error) -> Error {
        Error::of(&self.dir, source)
    }

    /// Writes the batch; it is durable when this returns, and absent or whole after a crash, but for
    /// `Batch::chunks`.
    pub fn write(&self, batch: &Batch) -> Result<(), Error> {
        self.try_write(batch).map_err(|source| self.error(source))
    }

    fn try_write(&self, batch: &Batch) -> Result<(), fjall::Error> {
        let mut writes = self.database.batch().durability(Some(PersistMode::SyncAll));
        for LoadedChunk { rows_of, rows } in &batch.chunks {
            if rows.iter().map(Vec::len).sum::<usize>() >= INGESTED_MIN {
                self.ingest(*rows_of, rows)?;
                continue;
            }
            for entry in rows.iter().flatten() {
                writes.insert(&self.rows, record::key(*rows_of, entry.key()), record::value(entry));
            }
        }
        for rows_of in &batch.dropped {
            for pair in self.rows.prefix(rows_of.to_be_bytes()) {
                writes.remove(&self.rows, pair.key()?);
            }
        }
        for (rows_of, entry) in &batch.forgotten {
            writes.remove(&self.rows, record::key(*rows_of, entry.key()));
        }
        for (rows_of, keys) in &batch.passed {
            let keys = record::key(*rows_of, &keys.start)..record::key(*rows_of, &keys.end);
            for pair in self.rows.range(keys) {
                writes.remove(&self.rows, pair.key()?);
            }
        }
        for (rows_of, entry) in &batch.entries {
            writes.insert(&self.rows, record::key(*rows_of, entry.key()), record::value(entry));
        }
        if batch.backlog_dropped {
            for pair in self.backlog.range(0u64.to_be_bytes()..) {
                writes.remove(&self.backlog, pair.key()?);
            }
        }
        if let Some((at, bytes)) = &batch.backlog {
            writes.insert(&self.backlog, at.to_be_bytes(), bytes.as_slice());
        }
        for (name, value) in &batch.facts {
            match value {
                Some(value) => writes.insert(&self.facts, name.as_str(), value.as_slice()),
                None => writes.remove(&self.facts, name.as_str()),
            }
        }
        writes.commit()
    }

    /// Many rows straight into a sorted table: the journal, the table in memory and most of the merging
    /// are spared.
    fn ingest(&self, rows_of: RowsOf, rows: &[Vec<Entry>]) -> Result<(), fjall::Error> {
        let mut rows: Vec<&Entry> = rows.iter().flatten().collect();
        rows.sort_by(|a, b| a.key().cmp(b.key()));
        let mut ingestion = self.rows.start_ingestion()?;
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for (at, row) in rows.iter().enumerate() {
            if rows.get(at + 1).is_none_or(|next| next.key() != row.key()) {
                key.clear();
                value.clear();
                record::write_key(rows_of, row.key(), &mut key);
                record::write_value(row, &mut value);
                ingestion.write(key.as_slice(), value.as_slice())?;
            }
        }
        ingestion.finish()
    }

    pub fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let value = self.facts.get(name).map_err(|source| self.error(source))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// All facts whose names begin with `prefix`, without it.
    pub fn facts(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let pairs = self.facts.prefix(prefix).map(|pair| {
            let (name, value) = pair.into_inner().map_err(|source| self.error(source))?;
            let name = String::from_utf8_lossy(&name[prefix.len()..]).into_owned();
            Ok((name, value.to_vec()))
        });
        pairs.collect()
    }

    /// At most so many facts whose names begin with `prefix`, in the order of their names, behind the one
    /// named `after` the prefix; without the prefix.
    pub fn facts_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let from = Bound::Excluded(format!("{prefix}{after}").into_bytes());
        let mut found = Vec::new();
        for pair in self.facts.range((from, Bound::Unbounded)).take(limit) {
            let (name, value) = pair.into_inner().map_err(|source| self.error(source))?;
            let Some(rest) = name.strip_prefix(prefix.as_bytes()) else { break };
            found.push((String::from_utf8_lossy(rest).into_owned(), value.to_vec()));
        }
        Ok(found)
    }

    /// All rows of one arrangement, in key order.
    pub fn rows(&self, rows_of: RowsOf) -> impl Iterator<Item = Result<Entry, Error>> {
        self.rows.prefix(rows_of.to_be_bytes()).map(move |pair| {
            let (key, value) = pair.into_inner().map_err(|source| self.error(source))?;
            record::read(&key, &value).ok_or_else(|| self.damaged(rows_of))
        })
    }

    /// Some rows of one arrangement, in key order: those from or behind a key, up to another, as many as
    /// a page takes; and whether these were the last.
    pub fn page(
        &self,
        rows_of: RowsOf,
        from: Bound<&[u8]>,
        to: &[u8],
    ) -> Result<(Vec<Entry>, bool), Error> {
        let key = |key: &[u8]| record::key(rows_of, key);
        let bounds = (from.map(key), Bound::Included(key(to)));
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for pair in self.rows.range(bounds) {
            let (key, value) = pair.into_inner().map_err(|source| self.error(source))?;
            if rows.len() == PAGE_ROWS || bytes >= PAGE_BYTES {
                return Ok((rows, false));
            }
            bytes += key.len() + value.len();
            rows.push(record::read(&key, &value).ok_or_else(|| self.damaged(rows_of))?);
        }
        Ok((rows, true))
    }

    /// The rows of one arrangement from a key on.
    pub fn rows_from(&self, rows_of: RowsOf, from: &[u8]) -> Result<Vec<Entry>, Error> {
        let range = record::key(rows_of, from)..record::key(rows_of + 1, &[]);
        let rows = self.rows.range(range).map(|pair| {
            let (key, value) = pair.into_inner().map_err(|source| self.error(source))?;
            record::read(&key, &value).ok_or_else(|| self.damaged(rows_of))
        });
        rows.collect()
    }

    /// The last row of an arrangement, of those before a key.
    pub fn last_row(&self, rows_of: RowsOf, before: Option<&[u8]>) -> Result<Option<Entry>, Error> {
        let end = match before {
            Some(key) => record::key(rows_of, key),
            None => record::key(rows_of + 1, &[]),
        };
        let Some(pair) = self.rows.range(record::key(rows_of, &[])..end).next_back() else {
            return Ok(None);
        };
        let (key, value) = pair.into_inner().map_err(|source| self.error(source))?;
        record::read(&key, &value).map(Some).ok_or_else(|| self.damaged(rows_of))
    }

    fn damaged(&self, rows_of: RowsOf) -> Error {
        Error::Damaged { dir: self.dir.clone(), rows_of }
    }

    /// The first piece of the backlog at or after this place, with its own place.
    pub fn backlog_from(&self, at: u64) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let Some(pair) = self.backlog.range(at.to_be_bytes()..).next() else { return Ok(None) };
        let (key, bytes) = pair.into_inner().map_err(|source| self.error(source))?;
        let at = key.first_chunk::<8>().map(|key| u64::from_be_bytes(*key));
        Ok(at.map(|at| (at, bytes.to_vec())))
    }

    /// The place behind the backlog's last piece.
    pub fn backlog_end(&self) -> Result<u64, Error> {
        let Some(pair) = self.backlog.last_key_value() else { return Ok(0) };
        let key = pair.key().map_err(|source| self.error(source))?;
        Ok(key.first_chunk::<8>().map_or(0, |key| u64::from_be_bytes(*key) + 1))
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> Result<u64, Error> {
        self.database.disk_space().map_err(|source| self.error(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    fn rows(store: &Store, of: RowsOf) -> Vec<Vec<u8>> {
        store.rows(of).map(|entry| entry.expect("readable").key().to_vec()).collect()
    }

    #[test]
    fn a_place_that_is_no_directory_is_given_up_and_a_damaged_state_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = Store::open(&file.path().join("state"), 8 << 20).err().expect("no directory");
        assert!(error.is_final(), "{error}");

        let dir = tempfile::tempdir().expect("a temporary directory");
        drop(Store::open(dir.path(), 8 << 20).expect("opens"));
        std::fs::write(dir.path().join("version"), b"nothing").expect("the directory is ours");
        let error = Store::open(dir.path(), 8 << 20).err().expect("no version");
        assert!(error.to_string().contains("a deleted directory costs a reload"), "{error}");
    }

    #[test]
    fn a_keyspace_that_is_gone_is_noticed() {
        for lost in 0..3 {
            let dir = tempfile::tempdir().expect("a temporary directory");
            drop(Store::open(dir.path(), 8 << 20).expect("opens"));
            {
                // As when its files are gone: there, and empty.
                let store = Store::open(dir.path(), 8 << 20).expect("opens again");
                let keyspace = [&store.rows, &store.backlog, &store.facts][lost];
                for pair in keyspace.iter() {
                    keyspace.remove(pair.key().expect("readable")).expect("writes");
                }
            }
            let error = Store::open(dir.path(), 8 << 20).err().expect("torn");
            assert!(error.to_string().contains("a part of it is missing"), "{error}");
        }
    }

    /// One keyspace is written to all the time, the others once.
    #[test]
    fn journals_do_not_add_up() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path(), 8 << 20).expect("opens");
        let mut rng = fastrand::Rng::with_seed(1);
        let row: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(4 << 20).collect();
        let mut most = 0;
        for number in 0..75 {
            let mut batch = Batch::default();
            batch.entries.push((1, Entry::row(Lsn(number), b"key", &row)));
            store.write(&batch).expect("writes");
            most = most.max(store.disk_bytes().expect("counts"));
        }
        assert!(most < 250 << 20, "{most} bytes of 300 MiB written");
    }

    #[test]
    fn a_batch_is_there_after_opening_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let entry = |key: &str| Entry::row(Lsn(1), key.as_bytes(), b"row");
        {
            let store = Store::open(dir.path(), 8 << 20).expect("opens");
            let mut batch = Batch {
                entries: vec![(1, entry("b")), (1, entry("a")), (2, entry("c"))],
                backlog: Some((0, b"first".to_vec())),
                ..Batch::default()
            };
            batch.fact("x/1", b"one".to_vec());
            store.write(&batch).expect("writes");
            let second = Batch { backlog: Some((1, b"second".to_vec())), ..Batch::default() };
            store.write(&second).expect("writes");
        }
        let store = Store::open(dir.path(), 8 << 20).expect("opens again");
        assert_eq!(rows(&store, 1), [b"a", b"b"]);
        assert_eq!(rows(&store, 2), [b"c"]);
        assert_eq!(store.facts("x/").expect("reads"), [("1".into(), b"one".to_vec())]);
        assert_eq!(store.backlog_end().expect("reads"), 2);
        assert_eq!(store.backlog_from(1).expect("reads"), Some((1, b"second".to_vec())));

        let mut batch = Batch { dropped: vec![1], backlog_dropped: true, ..Batch::default() };
        batch.entries = vec![(1, entry("new"))];
        batch.forgotten = vec![(2, entry("c"))];
        batch.remove_fact("x/1");
        store.write(&batch).expect("writes");
        assert_eq!(rows(&store, 1), [b"new"]);
        assert!(rows(&store, 2).is_empty());
        assert_eq!(store.backlog_from(0).expect("reads"), None);
        assert_eq!(store.fact("x/1").expect("reads"), None);
    }

    #[test]
    fn rows_of_a_load_are_there_few_or_many() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let row = |key: usize, value: &[u8]| Entry::row(Lsn(1), &key.to_be_bytes(), value);
        let chunk =
            |rows| Batch { chunks: vec![LoadedChunk { rows_of: 1, rows }], ..Batch::default() };
        {
            let store = Store::open(dir.path(), 8 << 20).expect("opens");
            let many = (0..INGESTED_MIN).rev().map(|key| row(key, b"many"));
            let again = vec![row(7, b"again")];
            store.write(&chunk(vec![many.collect(), again])).expect("writes");
            let entries = vec![(1, row(8, b"changed"))];
            store.write(&Batch { entries, ..Batch::default() }).expect("writes");
            store.write(&chunk(vec![vec![row(9, b"few")]])).expect("writes");
        }
        let store = Store::open(dir.path(), 8 << 20).expect("opens again");
        let rows: Vec<Entry> = store.rows(1).map(|entry| entry.expect("readable")).collect();
        assert_eq!(rows.len(), INGESTED_MIN);
        let values: Vec<_> = rows[6..11].iter().map(|row| row.value().expect("a row")).collect();
        assert_eq!(values, [&b"many"[..], b"again", b"changed", b"few", b"many"]);
    }

    #[test]
    fn of_what_a_batch_says_twice_the_last_counts() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        {
            let store = Store::open(dir.path(), 8 << 20).expect("opens");
            let mut batch = Batch {
                // A deletion that may be forgotten, and its key again in the same moment.
                forgotten: vec![(1, Entry::tombstone(Lsn(1), b"a"))],
                entries: vec![(1, Entry::row(Lsn(2), b"a", b"row"))],
                ..Batch::default()
            };
            batch.fact("x", b"one".to_vec());
            batch.remove_fact("x");
            batch.remove_fact("y");
            batch.fact("y", b"two".to_vec());
            store.write(&batch).expect("writes");
            assert_eq!(rows(&store, 1), [b"a"]);
        }
        let store = Store::open(dir.path(), 8 << 20).expect("opens again");
        assert_eq!(rows(&store, 1), [b"a"]);
        assert_eq!(store.fact("x").expect("reads"), None);
        assert_eq!(store.fact("y").expect("reads"), Some(b"two".to_vec()));
    }

    #[test]
    fn a_second_process_and_another_format_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path(), 8 << 20).expect("opens");
        assert!(matches!(Store::open(dir.path(), 8 << 20), Err(Error::Locked { .. })));
        let mut batch = Batch::default();
        batch.fact(FORMAT_FACT, b"readside state 0".to_vec());
        store.write(&batch).expect("writes");
        drop(store);
        assert!(matches!(Store::open(dir.path(), 8 << 20), Err(Error::Format { .. })));
    }
}
