//! What the source's catalog says of the tables in use, and of all else that must be right there.
//!
//! `read` asks one query (it also runs every ten seconds) whose answer is one JSON text; `parse` reads
//! that text, so it can be kept and compared after a restart. `diff` finds what the WAL does not tell.

mod diff;
mod identity;
mod membership;
mod parse;
mod query;

pub use diff::{CatalogChange, ExistingRows, diff};
pub use identity::{Identity, IndexFault, Unusable};
pub use membership::Membership;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::quote;
use crate::lsn::Lsn;
use crate::pg::{self, Session};
use crate::value::{Column, PgType};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub publication: String,
    pub slot: String,
    pub tables: Vec<TableName>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl TableName {
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// For statements that we run: all in quotes.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote::identifier(&self.schema), quote::identifier(&self.name))
    }
}

/// As a person types it.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quote::readable(&self.schema), quote::readable(&self.name))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    pub server: Server,
    pub role: Role,
    pub publication: Option<Publication>,
    pub slot: Option<Slot>,
    /// Those of the scope that exist.
    pub tables: Vec<Table>,
    /// Every enum that a column holds, at whatever depth, by oid.
    pub enums: BTreeMap<u32, Enum>,
    /// Every type that a column holds, at whatever depth, by oid.
    pub types: BTreeMap<u32, NamedType>,
    text: String,
}

impl Catalog {
    /// One query; it sees one state of the catalog.
    pub async fn read(session: &Session, scope: &Scope) -> Result<Self, pg::Error> {
        let rows = session.rows(&query::catalog(session.version(), scope)).await?;
        let text = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        let broken = || {
            pg::Error::new(pg::Kind::Protocol, session.at(), "the catalog query's answer is broken")
        };
        Self::parse(text.ok_or_else(broken)?).map_err(|error| broken().caused_by(error))
    }

    /// Reads what `text` gave.
    pub fn parse(text: String) -> Result<Self, serde_json::Error> {
        parse::catalog(text)
    }

    /// What it was read from, to be kept for a later comparison.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// As if the scope had named only these tables.
    pub fn narrowed(mut self, to: impl Fn(&TableName) -> bool) -> Self {
        self.tables.retain(|table| to(&table.name));
        self
    }

    pub fn table(&self, name: &TableName) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == *name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Server {
    /// As `server_version_num`.
    pub version: u32,
    #[serde(deserialize_with = "parse::system_id")]
    pub system_id: String,
    pub in_recovery: bool,
    pub wal_level: String,
    pub synchronous_standby_names: String,
    pub replication_slots_max: u32,
    pub replication_slots_used: u32,
    pub wal_senders_max: u32,
    pub wal_senders_used: u32,
    pub database: String,
    /// As `pg::DATABASE_IDENTITY` has it.
    pub database_identity: String,
    pub encoding: String,
    /// pg_database's: c the C library, i ICU, b built in.
    pub locale_provider: char,
    pub collate: String,
    pub ctype: String,
}

/// Who we are there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Role {
    pub name: String,
    pub superuser: bool,
    pub replication: bool,
    pub bypass_rls: bool,
    /// CREATE on the database.
    pub can_create: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub oid: u32,
    /// The xmin of its row: another one after ALTER PUBLICATION … SET, which may have hidden changes for
    /// a time. (Tables that come and go do not count, see `Leaf::membership`.)
    pub touched: u32,
    pub owner: String,
    /// Its owner is a role that we are a member of.
    pub owned: bool,
    pub all_tables: bool,
    /// What `publish` lacks of insert, update, delete, truncate.
    pub unpublished: Vec<&'static str>,
    pub via_partition_root: bool,
    /// Set by the pipeline that made it.
    pub mark: Option<PublicationMark>,
    /// Oids of those of our tables' relations that it publishes.
    pub members: Vec<u32>,
    pub row_filters: Vec<TableName>,
    pub column_lists: Vec<TableName>,
}

/// Says in a publication's comment who made it, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationMark {
    pub slot: String,
    /// The WAL's end shortly before it was created.
    pub lsn: Lsn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// `None`: a physical slot.
    pub plugin: Option<String>,
    /// `None`: a physical slot.
    pub database: Option<String>,
    pub temporary: bool,
    /// Standbys may keep a copy in step with it; `None` where the version knows no such thing.
    pub failover: Option<bool>,
    pub active: Option<ActiveSlot>,
    /// `None`: still being created.
    pub confirmed_flush: Option<Lsn>,
    pub restart: Option<Lsn>,
    /// Its WAL is gone, or it is invalid for another reason: which one.
    pub lost: Option<String>,
    pub wal: SlotWal,
}

/// What the server keeps for a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotWal {
    /// From the oldest transaction that the slot may still have to decode.
    pub retained_bytes: u64,
    /// From what we have confirmed: our part of it.
    pub unconfirmed_bytes: u64,
    /// Up to here: what the server had written.
    pub end: Lsn,
}

/// Who uses the slot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ActiveSlot {
    pub pid: i32,
    pub role: Option<String>,
    pub application_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub oid: u32,
    pub name: TableName,
    pub kind: Kind,
    /// In the order of attnum, dropped ones left out.
    pub columns: Vec<TableColumn>,
    pub primary_key: Option<Vec<String>>,
    /// Tables that inherit from it without being its partitions.
    pub children: Vec<TableName>,
    /// Where the rows are: of a partitioned table, the partitions below it that are no partitioned
    /// tables themselves; of any other, itself.
    pub leaves: Vec<Leaf>,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.column.name == name)
    }

    /// The columns that the stream brings.
    pub fn stored(&self) -> impl Iterator<Item = &TableColumn> {
        self.columns.iter().filter(|column| column.generated.is_none())
    }

    /// Why its rows cannot be followed, where other tables inherit from it.
    pub fn shared_rows(&self) -> Option<String> {
        let children = quote::list(&self.children, ToString::to_string);
        let what =
            || format!("{} is an inheritance parent: its rows are also in {children}", self.name);
        (!self.children.is_empty()).then(what)
    }

    /// Columns and identity are the same, and whose rows it has.
    pub fn has_shape_of(&self, other: &Table) -> bool {
        let shape = |column: &TableColumn| (column.column.clone(), column.generated.clone());
        self.oid == other.oid
            && self.identity() == other.identity()
            && self.children == other.children
            && self.columns.iter().map(shape).eq(other.columns.iter().map(shape))
    }

    pub fn leaf(&self, oid: u32) -> Option<&Leaf> {
        self.leaves.iter().find(|leaf| leaf.oid == oid)
    }

    /// What its rows had in a column before the column was added with a constant default, as text.
    pub fn added_default(&self, name: &str) -> Option<&str> {
        let mut values = self.leaves.iter().map(|leaf| leaf.column(name)?.missing.as_deref());
        let first = values.next()??;
        values.all(|value| value == Some(first)).then_some(first)
    }
}

/// relkind and relpersistence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Table,
    Partitioned,
    Unlogged,
    Temporary,
    /// Of pg_catalog, information_schema and the like.
    System,
    View,
    MaterializedView,
    Foreign,
    /// An index, a sequence, a composite type.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    pub column: Column,
    /// attnum.
    pub number: i16,
    /// A generated column: it is computed, and the stream does not bring it.
    pub generated: Option<Generated>,
    /// Its collation tells texts apart that differ in any byte.
    pub deterministic: bool,
    /// Its collation's name; `None`: it has the database's, or is no text.
    pub collation: Option<String>,
    /// The enums inside its type.
    pub enums: Vec<u32>,
}

/// How a generated column is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// As the server writes it.
    pub expression: String,
    /// Of a partition it may be another one.
    pub everywhere: bool,
}

/// A relation that holds rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub oid: u32,
    pub name: TableName,
    pub kind: Kind,
    /// Another one after the rows have been written to another file: TRUNCATE, VACUUM FULL, a rewrite.
    pub filenode: u32,
    /// As of the last VACUUM or ANALYZE.
    pub rows_estimate: Option<u64>,
    /// Its own order.
    pub columns: Vec<LeafColumn>,
    pub unique_indexes: Vec<UniqueIndex>,
    pub identity: Identity,
    /// Row security would hide rows from us.
    pub row_security: bool,
    pub can_select: bool,
    /// USAGE on its schema.
    pub can_use_schema: bool,
    /// Its owner is a role that we are a member of.
    pub owned: bool,
    /// By which ways the publication has it.
    pub membership: Membership,
}

impl Leaf {
    pub fn column(&self, name: &str) -> Option<&LeafColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LeafColumn {
    pub name: String,
    pub number: i16,
    /// What rows from before the column was added have in it (attmissingval).
    pub missing: Option<String>,
    /// The xmin of its pg_attribute row: another one after each ALTER of the column.
    pub touched: u32,
    /// The expression of a generated column.
    pub generated: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UniqueIndex {
    pub name: String,
    pub columns: Vec<String>,
    pub primary: bool,
    pub replica_identity: bool,
    pub valid: bool,
    /// Not deferrable.
    pub immediate: bool,
    pub partial: bool,
    pub on_expressions: bool,
    /// Those of its columns that are not NOT NULL.
    pub nullable: Vec<String>,
}

/// A type under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedType {
    pub ty: PgType,
    /// The oid of its arrays; 0 where there are none.
    pub array: u32,
    /// Of a domain: what it adds to the type below it; -1: nothing.
    pub typmod: i32,
    /// As `format_type` prints it.
    pub sql_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enum {
    pub name: TableName,
    /// Oid and text of each label, in the enum's order.
    pub labels: Vec<(u32, String)>,
}

/// The ordinary and partitioned tables that there are, for "did you mean".
pub async fn table_names(session: &Session) -> Result<Vec<TableName>, pg::Error> {
    let rows = session.rows(query::TABLE_NAMES).await?;
    let name = |row: pg::wire::Row| {
        let mut fields = row.into_iter();
        Some(TableName { schema: fields.next()??, name: fields.next()?? })
    };
    Ok(rows.into_iter().filter_map(name).collect())
}
