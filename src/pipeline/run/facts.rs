//! What the store remembers besides rows: small facts by name, as JSON.
//!
//! ```text
//! position              where the state stands
//! source                whose state it is
//! rows-of               the next number for an arrangement's rows
//! table/NAME            how a table was kept
//! output/PROJECTION     where a projection's own rows lie
//! event/EVENT           where an event's log lies
//! history/PROJECTION    where the log of a projection's versions lies
//! pending/EVENT         from which key on its occurrences wait for the end of their transaction
//! gone/EVENT            up to which key its occurrences may have gone
//! load                  a load that is not over
//! chunk/ID              a chunk of it that is durable: the position its snapshot had seen
//! loaded/NAME           rows that loads have brought, ever
//! floor/ROWS-OF         below it deletions may be forgotten
//! generation/SINK/PROJECTION, told/SINK/PROJECTION, rebuild/SINK/PROJECTION,
//! dead/SINK/PROJECTION/KEY, payload/SINK/PROJECTION/KEY, waived/SINK/PROJECTION/KEY
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::{Batch, RowsOf};
use crate::lsn::Lsn;
use crate::pgoutput::{Inside, Position};
use crate::pipeline::Checkpoint;
use crate::source::catalog::{Leaf, Membership, Table, TableName};
use crate::source::load::LoadPlan;
use crate::state::Store;

pub(super) const POSITION: &str = "position";
pub(super) const SOURCE: &str = "source";
pub(super) const ROWS_OF: &str = "rows-of";
pub(super) const LOAD: &str = crate::pipeline::LOAD_FACT;

/// Where the state stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    lsn: u64,
    /// A transaction of which the first changes are applied: its commit record, and how many.
    inside: Option<(u64, u64)>,
    pub committed_at: i64,
    /// The greatest transaction that the stream has brought; 0: none.
    #[serde(default)]
    pub xid: u32,
}

impl Stored {
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        Self::at(checkpoint.position, checkpoint.committed_at, checkpoint.xid)
    }

    pub(super) fn at(position: Position, committed_at: i64, xid: u32) -> Self {
        let inside = position.inside.map(|inside| (inside.commit_lsn.0, inside.changes));
        Self { lsn: position.lsn.0, inside, committed_at, xid }
    }

    pub(super) fn position(&self) -> Position {
        let inside = self.inside.map(|(lsn, changes)| Inside { commit_lsn: Lsn(lsn), changes });
        Position { lsn: Lsn(self.lsn), inside }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        write(&self)
    }
}

/// Whose state it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceFact {
    pub system_id: String,
    pub slot: String,
    pub publication: String,
    pub database: String,
    pub timeline: u32,
    /// Another one after positions have lost their meaning; see `sink::History`.
    pub epoch: u64,
    /// 0: an older version has not told.
    #[serde(default)]
    pub publication_oid: u32,
}

/// How a table was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableFact {
    pub rows_of: RowsOf,
    /// False while its load is not over.
    pub live: bool,
    pub shape: TableShape,
}

/// What must be as it was, or the table is loaded again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableShape {
    pub oid: u32,
    /// The layout in words: names, types and identity.
    pub layout: String,
    pub leaves: Vec<LeafShape>,
    /// The labels of its columns' enums. `ALTER TYPE … RENAME VALUE` changes rows and leaves no trace in
    /// them.
    #[serde(default)]
    pub labels: Vec<(u32, String)>,
    /// Oid of the publication and which transaction has altered it last: what it hid for a time was not
    /// sent.
    #[serde(default)]
    pub publication: (u32, u32),
}

/// A relation that holds rows of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeafShape {
    pub oid: u32,
    /// Among the leaves of its table.
    pub number: u16,
    /// The file of its rows.
    pub file: u32,
    /// Of each column, which transaction has altered it last.
    pub touched: Vec<(i16, u32)>,
    /// The numbers of the columns that are kept: under its name another one may stand, of the same type.
    /// States of older versions have none.
    #[serde(default)]
    pub kept: Vec<i16>,
    /// Its membership in the publication: changes between two of them were not sent.
    #[serde(default)]
    pub membership: Membership,
}

impl TableShape {
    /// Whether the rows that the stream has told are those of `now`. In another file lie the same rows
    /// (after VACUUM FULL, CLUSTER) or those that the stream tells of (after TRUNCATE), unless a column
    /// was altered as well: `ALTER COLUMN … TYPE … USING` leaves no other trace.
    pub(super) fn holds_rows_of(&self, now: &TableShape) -> bool {
        let same = |before: &LeafShape, now: &LeafShape| {
            let place = |leaf: &LeafShape| (leaf.oid, leaf.number);
            place(before) == place(now)
                && now.membership.continues(&before.membership)
                && (before.kept.is_empty() || before.kept == now.kept)
                && (before.file == now.file || before.touched == now.touched)
        };
        self.oid == now.oid
            && self.layout == now.layout
            && self.labels.iter().all(|label| now.labels.contains(label))
            && self.publication == now.publication
            && self.leaves.len() == now.leaves.len()
            && self.leaves.iter().zip(&now.leaves).all(|(before, now)| same(before, now))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutputFact {
    pub rows_of: RowsOf,
    pub plan: String,
}

/// A load that is not over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LoadFact {
    pub from: u64,
    /// As `pg_current_snapshot()` printed it.
    pub window: String,
    pub tables: Vec<String>,
    pub plan: LoadPlan,
}

/// A table's fact as live, and as stale.
type LiveAndStale = (Vec<u8>, Vec<u8>);

/// What is remembered of a table whose rows lie in other files now.
pub(super) fn reshaped(
    store: &Store,
    name: &str,
    now: &Table,
) -> Result<Option<LiveAndStale>, crate::state::Error> {
    let Some(mut fact) = read::<TableFact>(store, &table(name))? else { return Ok(None) };
    for leaf in &mut fact.shape.leaves {
        if let Some(now) = now.leaf(leaf.oid) {
            // What is kept are the columns of before, whatever has become of their names.
            let kept = std::mem::take(&mut leaf.kept);
            *leaf = leaf_shape(now, leaf.number, kept);
        }
    }
    let live = write(&TableFact { live: true, ..fact.clone() });
    Ok(Some((live, write(&TableFact { live: false, ..fact }))))
}

pub(super) fn leaf_shape(leaf: &Leaf, number: u16, kept: Vec<i16>) -> LeafShape {
    LeafShape {
        oid: leaf.oid,
        number,
        file: leaf.filenode,
        touched: leaf.columns.iter().map(|column| (column.number, column.touched)).collect(),
        kept,
        membership: leaf.membership.clone(),
    }
}

/// How facts and people name a table.
pub(super) fn table_name(name: &TableName) -> String {
    format!("{}.{}", name.schema, name.name)
}

pub(super) fn table(name: &str) -> String {
    format!("table/{name}")
}

pub(super) fn output(projection: &str) -> String {
    format!("output/{projection}")
}

pub(super) fn event(event: &str) -> String {
    format!("event/{event}")
}

pub(super) fn history(projection: &str) -> String {
    format!("history/{projection}")
}

pub(super) fn chunk(id: u32) -> String {
    format!("chunk/{id}")
}

pub(super) fn loaded(table: &str) -> String {
    format!("loaded/{table}")
}

pub(super) fn write<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data has a JSON form")
}

/// A fact that cannot be read counts as missing: what depends on it is made anew.
pub(super) fn read<T: DeserializeOwned>(
    store: &Store,
    name: &str,
) -> Result<Option<T>, crate::state::Error> {
    let Some(bytes) = store.fact(name)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            tracing::warn!(fact = name, %error, "a stored fact cannot be read and is made anew");
            Ok(None)
        }
    }
}

pub(super) fn set<T: Serialize>(batch: &mut Batch, name: impl Into<String>, value: &T) {
    batch.fact(name, write(value));
}

/// A number of eight bytes, 0 where there is none.
pub(super) fn number(bytes: Option<&[u8]>) -> u64 {
    bytes.and_then(|bytes| bytes.first_chunk::<8>()).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
