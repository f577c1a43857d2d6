//! Configuration that cannot be invalid: read from its layers, checked, every fault told at once.
//! SQL and templates keep their place in the file, for later errors.
//!
//! One way through: `document` (TOML to nodes with places, `literal` for `${NAME}`) and `environment`
//! are merged by `layers`; `section` reads tables with types; `daemon`, `sinks`, `projections` and
//! `targets` know the keys and make the model below. `resolve` is the second stage, when the source's
//! catalog is known. `diagnostic` and `mask` show faults, and no secrets.

mod credentials;
mod daemon;
mod diagnostic;
mod document;
mod environment;
mod faults;
mod layers;
mod literal;
mod mask;
mod node;
mod outline;
mod place;
mod projections;
pub mod resolve;
mod secret;
mod section;
mod sinks;
mod sql_name;
pub(crate) mod suggest;
mod targets;
pub mod template;
#[cfg(test)]
mod tests;
mod units;

pub use credentials::each_host;
pub use diagnostic::{Diagnostic, Style};
pub use environment::Environment;
pub use outline::{Change, Outline};
pub use place::{Place, SourceFile};
pub use secret::Secret;
pub use template::Template;
pub(crate) use units::parse_duration;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use faults::Faults;

/// Longest configuration file that is read.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Reads a Postgres url and its password as the room that connects will; on an error it says why, and
/// nothing secret.
pub type PostgresUrlCheck<'a> = &'a dyn Fn(&Secret, Option<&Secret>) -> Result<(), String>;

/// Reads the file and its layers. The faults are all there are, in the order of the file.
pub fn load(
    path: &Path,
    environment: &Environment,
    check: PostgresUrlCheck<'_>,
) -> Result<Config, Vec<Diagnostic>> {
    whole(load_partly(path, environment, check))
}

/// As `load`, of a text that is already there; `path` is what messages call it.
pub fn parse(
    path: &str,
    text: &str,
    environment: &Environment,
    check: PostgresUrlCheck<'_>,
) -> Result<Config, Vec<Diagnostic>> {
    whole(parse_partly(path, text, environment, check))
}

/// What of the file is valid, beside its faults: `check` asks the servers about that all the same, so a
/// faulty value that no server is asked about is replaced by any. `None` where it is not known how to reach
/// the source, or where the syntax is broken, after which much is a guess.
pub fn load_partly(
    path: &Path,
    environment: &Environment,
    check: PostgresUrlCheck<'_>,
) -> (Option<Config>, Vec<Diagnostic>) {
    match read_file(path) {
        Ok(text) => parse_partly(&path.display().to_string(), &text, environment, check),
        Err(fault) => (None, vec![fault]),
    }
}

fn whole(read: (Option<Config>, Vec<Diagnostic>)) -> Result<Config, Vec<Diagnostic>> {
    match read {
        (Some(config), faults) if faults.is_empty() => Ok(config),
        (_, faults) => {
            assert!(!faults.is_empty(), "what cannot be read has been told as a fault");
            Err(faults)
        }
    }
}

/// Faults from more than one stage, in the order of the file, those without a place in it last.
pub fn in_file_order(faults: &mut Vec<Diagnostic>) {
    faults::sort(faults);
}

fn parse_partly(
    path: &str,
    text: &str,
    environment: &Environment,
    check: PostgresUrlCheck<'_>,
) -> (Option<Config>, Vec<Diagnostic>) {
    let mut faults = Faults::default();
    let root = root(path, text, environment, &mut faults);
    check_sections(&root, &mut faults);
    let source = daemon::source(&root, check, &mut faults);
    let state = daemon::state(&root, &mut faults);
    let http = daemon::http(&root, &mut faults);
    let ha = daemon::ha(&root, &mut faults);
    let sinks = sinks::read(&root, check, &mut faults);
    let projections = projections::read(&root, &sinks, &mut faults);
    let broken = faults.has_syntax();
    let faults = faults.into_sorted();
    let entries = |key| root.get(key).map_or(0, |node| node.entries().len());
    assert!(
        !faults.is_empty()
            || (entries("sink"), entries("projection") + entries("event"))
                == (sinks.valid.len(), projections.len()),
        "what cannot be read has been told as a fault"
    );
    let config = source.filter(|_| !broken).map(|source| Config {
        source,
        state: state.unwrap_or_default(),
        http: http.unwrap_or_default(),
        ha,
        sinks: sinks.valid,
        projections,
        outline: Outline::of(&root),
    });
    (config, faults)
}

/// `[http]` alone, for commands that only talk to the daemon: they need no other secret.
pub fn load_http(path: &Path, environment: &Environment) -> Result<HttpConfig, Vec<Diagnostic>> {
    let text = read_file(path).map_err(|fault| vec![fault])?;
    // Variables and syntax of other sections are not this command's matter, unless this one is not there for them.
    let mut elsewhere = Faults::default();
    let root = root(&path.display().to_string(), &text, environment, &mut elsewhere);
    let mut faults = Faults::default();
    let http = daemon::http(&root, &mut faults);
    let faults = faults.into_sorted();
    match http {
        Some(http) if faults.is_empty() => Ok(http),
        None if faults.is_empty() => Err(elsewhere.into_sorted()),
        _ => Err(faults),
    }
}

/// The file, and the files that it names, in a digest: as long as it is the same there is nothing new to load.
/// Also of one that is faulty.
pub fn fingerprint(path: &Path, environment: &Environment) -> [u8; 32] {
    let named = read_file(path).map(|text| {
        let name = path.display().to_string();
        Outline::of(&root(&name, &text, environment, &mut Faults::default())).files().to_vec()
    });
    outline::fingerprint(path, &named.unwrap_or_default())
}

fn root(path: &str, text: &str, environment: &Environment, faults: &mut Faults) -> node::Node {
    let file = Arc::new(SourceFile::new(path, text));
    layers::read(&file, environment, faults)
}

fn check_sections(root: &node::Node, faults: &mut Faults) {
    let known = ["source", "state", "http", "ha", "sink", "projection", "event"];
    section::Section::open(root, "the configuration".to_owned(), &known, faults);
}

fn read_file(path: &Path) -> Result<String, Diagnostic> {
    use std::io::Read;
    let fault = |reason: String| {
        Diagnostic::new(format!("{} cannot be read: {reason}", path.display()))
            .hint("name the configuration by --config FILE or READSIDE_CONFIG")
    };
    let file = std::fs::File::open(path).map_err(|error| fault(error.to_string()))?;
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    let read = read.map_err(|error| fault(error.to_string()))?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(fault("it is longer than 16 MiB".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| fault("it is not UTF-8".to_owned()))
}

#[derive(Debug, Clone)]
pub struct Config {
    pub source: SourceConfig,
    pub state: StateConfig,
    pub http: HttpConfig,
    /// `None`: this instance is alone.
    pub ha: Option<HaConfig>,
    pub sinks: Vec<SinkConfig>,
    pub projections: Vec<ProjectionConfig>,
    pub outline: Outline,
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

#[derive(Debug, Clone, Default)]
pub struct StateConfig {
    pub dir: PathBuf,
    pub memory: u64,
    pub tombstones: u64,
}

#[derive(Debug, Clone, Default)]
pub struct HttpConfig {
    /// Host and port.
    pub listen: String,
    pub token_file: Option<PathBuf>,
    /// What `token_file` holds.
    pub token: Option<Secret>,
}

/// Instances of one group are one pipeline: one of them delivers, the others stand ready.
#[derive(Debug, Clone)]
pub struct HaConfig {
    pub group: String,
    /// A leader that is silent for so long is none any more.
    pub lease: Duration,
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

impl fmt::Display for SinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SinkKind::Postgres => "Postgres",
            SinkKind::Redis => "Redis",
            SinkKind::Elasticsearch => "Elasticsearch",
        })
    }
}

/// A read model, or an event: both have a name, a definition and targets.
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
    Event(Box<EventDefinition>),
}

/// What an event is made of.
#[derive(Debug, Clone)]
pub struct EventDefinition {
    pub of: EventSource,
    /// A condition; `None`: every change or message.
    pub when: Option<Sql>,
    /// Expressions, as after SELECT.
    pub data: Sql,
    /// `None`: the event's name.
    pub kind: Option<Template>,
}

#[derive(Debug, Clone)]
pub enum EventSource {
    Table {
        schema: String,
        name: String,
        place: Place,
    },
    /// What `pg_logical_emit_message(true, prefix, …)` writes.
    Message {
        prefix: String,
    },
}

/// SQL, and where in the file it stands.
#[derive(Debug, Clone)]
pub struct Sql {
    pub text: String,
    pub place: Place,
}

impl ProjectionConfig {
    pub fn event(&self) -> Option<&EventDefinition> {
        match &self.definition {
            Definition::Event(event) => Some(event),
            Definition::Table { .. } | Definition::Query { .. } => None,
        }
    }

    /// What people call it: `projection `orders``.
    pub fn title(&self) -> String {
        let kind = if self.event().is_some() { "event" } else { "projection" };
        format!("{kind} `{}`", self.name)
    }
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
    /// The table of all versions, of a projection alone.
    pub history: Option<(String, String)>,
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
    /// Of events.
    Stream {
        key: Template,
        /// Older entries go.
        maxlen: Option<u64>,
    },
    /// Of events.
    List {
        key: Template,
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

impl Target {
    /// The target in words, its place in the file left out: equal words, equal target.
    pub fn shape(&self) -> String {
        match self {
            Target::Postgres(t) => {
                format!("{}.{} {:?} {:?}", t.schema, t.table, t.indexes, t.history)
            }
            Target::Redis(t) => format!("{:?} {:?} {:?}", t.structure, t.ttl, t.columns),
            Target::Elasticsearch(t) => {
                format!("{} {:?} {:?} {:?}", t.index, t.id, t.mappings, t.settings)
            }
        }
    }
}
