//! Configuration that cannot be invalid: what `raw.rs` read, checked and resolved. SQL and templates
//! keep their place in the file, for later errors.

mod diagnostic;
mod raw;
mod secret;
pub mod template;

pub use diagnostic::{Diagnostic, Place};
pub use secret::Secret;
pub use template::Template;

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Config {
    pub source: SourceConfig,
    pub state: StateConfig,
    pub http: HttpConfig,
    pub sinks: Vec<SinkConfig>,
    pub projections: Vec<ProjectionConfig>,
}

#[derive(Debug, Clone)]
pub struct SourceConfig {
    pub url: Secret,
    /// From `password_file` or `password`; wins over the url's.
    pub password: Option<Secret>,
    pub slot: String,
    pub publication: String,
    pub on_slot_loss: OnSlotLoss,
    pub wal_budget: u64,
    pub on_wal_budget: OnWalBudget,
    pub load_rows_per_second: Option<u64>,
    pub accept_system: Option<String>,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSlotLoss {
    Reload,
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnWalBudget {
    Hold,
    DropSlot,
}

#[derive(Debug, Clone)]
pub struct StateConfig {
    pub dir: PathBuf,
    pub memory: u64,
    pub tombstones: u64,
}

#[derive(Debug, Clone)]
pub struct HttpConfig {
    pub listen: String,
    pub token_file: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub struct SinkConfig {
    pub name: String,
    pub kind: SinkKind,
    pub url: Secret,
    pub ca_file: Option<PathBuf>,
    pub username: Option<String>,
    /// From `password_file` or `password`.
    pub password: Option<Secret>,
    /// Elasticsearch alone.
    pub api_key: Option<Secret>,
    /// Rows in one step at most.
    pub step_rows: usize,
    pub max_lag: Duration,
    pub required: bool,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkKind {
    Postgres,
    Redis,
    Elasticsearch,
}

#[derive(Debug, Clone)]
pub struct ProjectionConfig {
    pub name: String,
    pub definition: Definition,
    /// Exact column names; `None`: the table's primary key, or the query's own.
    pub key: Option<Vec<String>>,
    pub on_error: OnError,
    /// By sink name, in the file's order.
    pub targets: Vec<(String, Target)>,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub enum Definition {
    Table { schema: String, name: String, place: Place },
    Query { sql: String, place: Place },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    DeadLetter,
    Halt,
}

/// Where a projection goes in one sink.
#[derive(Debug, Clone)]
pub enum Target {
    Postgres(PostgresTarget),
    Redis(RedisTarget),
    Elasticsearch(ElasticsearchTarget),
}

#[derive(Debug, Clone)]
pub struct PostgresTarget {
    /// Schema and table, folded as SQL does; `public` where the file names none.
    pub schema: String,
    pub table: String,
    /// What follows `CREATE INDEX … ON table`, e.g. `(customer_id, created_at DESC) INCLUDE (status)`.
    pub indexes: Vec<String>,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub struct RedisTarget {
    pub structure: RedisStructure,
    /// Seconds.
    pub ttl: Option<u64>,
    /// Which columns a hash or a JSON string holds; `None`: all.
    pub columns: Option<Vec<String>>,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub enum RedisStructure {
    Hash {
        key: Template,
    },
    Json {
        key: Template,
    },
    /// `score` is a column's name or a numeric SQL expression over the row.
    SortedSet {
        key: Template,
        member: Template,
        score: String,
    },
    Set {
        key: Template,
        member: Template,
    },
}

#[derive(Debug, Clone)]
pub struct ElasticsearchTarget {
    /// An alias; the index behind it carries the generation.
    pub index: String,
    pub id: Option<Template>,
    pub mappings: Option<serde_json::Value>,
    pub settings: Option<serde_json::Value>,
    pub place: Place,
}
