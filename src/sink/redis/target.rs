//! What a projection's targets are, bound to its columns, and how the place of a row's older version
//! is known.
//!
//! A row stands at one *location* per target: a Redis key, and in a sorted set or a set a member of
//! it. A target's templates contain the projection's whole key, so a location belongs to one row.
//! Where they use other columns too, a row can move; then its old location comes from one of
//!
//! * the *anchor*: a hash of the same projection whose key never moves and whose fields hold every
//!   column that the moving templates use: the old values are read from it, nothing else is stored;
//! * the *record*: a field of the hash `readside:reverse:<projection>:<fingerprint>` (in a cluster, of one
//!   of several hashes), named by the row's key and holding the locations themselves.
//!
//! A target whose key has no fixed part is recorded as well, even when it cannot move: a scan could
//! never tell its keys from others.

use std::sync::Arc;

use crate::config::{self, RedisStructure, RedisTarget};
use crate::sink::refused::Remembered;
use crate::sink::{Role, SinkProjection};
use crate::sql::expr::{Expr, Scope};
use crate::value::{Column, DocumentWriter, Type};

use super::log::LogPlan;
use super::pattern::Pattern;
use super::record::{Layout, Reverse};
use super::watermark;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Structure {
    Hash,
    Json,
    SortedSet,
    Set,
}

impl Structure {
    /// Its letter in scripts and reverse entries.
    pub(super) fn letter(self) -> u8 {
        match self {
            Self::Hash => b'h',
            Self::Json => b'j',
            Self::SortedSet => b'z',
            Self::Set => b's',
        }
    }

    pub(super) fn of_letter(letter: u8) -> Option<Self> {
        [Self::Hash, Self::Json, Self::SortedSet, Self::Set]
            .into_iter()
            .find(|structure| structure.letter() == letter)
    }

    pub(super) fn has_members(self) -> bool {
        matches!(self, Self::SortedSet | Self::Set)
    }

    /// What TYPE answers for it.
    pub(super) fn redis_type(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Json => "string",
            Self::SortedSet => "zset",
            Self::Set => "set",
        }
    }
}

/// The templates of one target, over the row's columns or over the key's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) key: Pattern,
    pub(super) member: Option<Pattern>,
}

impl Location {
    pub(super) fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.key.columns().chain(self.member.iter().flat_map(Pattern::columns))
    }

    fn rebind(&self, position: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        let member = match &self.member {
            Some(member) => Some(member.rebind(&position)?),
            None => None,
        };
        Some(Self { key: self.key.rebind(&position)?, member })
    }
}

/// Where a sorted set's score comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Score {
    Column(usize),
    Expression { sql: String, expr: Arc<Expr> },
}

/// How the location of a row's older version is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recall {
    /// It never moves: rendered from the key.
    Key,
    Anchor,
    Record,
}

#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) structure: Structure,
    pub(super) location: Location,
    /// `location` over the key's columns alone, where it uses no others.
    pub(super) fixed: Option<Location>,
    pub(super) recall: Recall,
    pub(super) score: Option<Score>,
    pub(super) ttl_seconds: Option<String>,
    /// The columns that a hash or a JSON string holds.
    pub(super) fields: Vec<usize>,
    /// The script's word for a row of this hash that has no NULL; of no other target of the sink.
    pub(super) whole_row: String,
    /// Of a JSON string.
    pub(super) document: Option<DocumentWriter>,
}

/// The hash that moving templates' old values are read from.
#[derive(Clone, Debug)]
pub(super) struct Anchor {
    /// The hash's key, over the key's columns.
    pub(super) key: Pattern,
    /// The columns outside the key that anchored templates use: when one changes, the row moves.
    pub(super) watched: Vec<usize>,
    /// All columns that anchored templates use, in the order that the script numbers them.
    pub(super) columns: Vec<usize>,
}

/// One projection's targets.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) columns: Arc<[Column]>,
    pub(super) key_columns: Vec<Column>,
    pub(super) targets: Vec<Target>,
    /// Of an event, which has no other targets.
    pub(super) log: Option<LogPlan>,
    pub(super) anchor: Option<Anchor>,
    pub(super) recorded: bool,
    pub(super) fingerprint: String,
    pub(super) watermark_key: String,
    pub(super) reverse: Reverse,
    pub(super) refused_key: String,
    /// What is refused is written into Redis, too.
    pub(super) remembers: bool,
    pub(super) remembered: Remembered,
}

/// Why a target cannot be bound: for `check` with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BindFault {
    pub(super) what: String,
    pub(super) hint: String,
    pub(super) place: config::Place,
}

impl Plan {
    /// All faults at once. `number` is the projection's among the sink's.
    pub(super) fn bind(
        number: usize,
        projection: &SinkProjection,
        layout: Layout,
    ) -> Result<Self, Vec<BindFault>> {
        let mut targets = Vec::new();
        let mut faults = Vec::new();
        let log = match projection.role {
            Role::Events => match LogPlan::bind(projection) {
                Ok(log) => Some(log),
                Err(fault) => return Err(vec![fault]),
            },
            Role::Rows => None,
        };
        for target in projection.targets.iter().filter(|_| log.is_none()) {
            // Configuration gives a Redis sink no other targets; one would have nothing to bind.
            if let config::Target::Redis(target) = target {
                match bind_target(projection, target) {
                    Ok(mut target) => {
                        target.whole_row = format!("#{number}.{}", targets.len());
                        targets.push(target);
                    }
                    Err(fault) => faults.push(fault),
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let anchor = match layout {
            Layout::Single => choose_anchor(projection, &mut targets),
            // It lies in another slot than what moves.
            Layout::Cluster => None,
        };
        Ok(Self {
            name: projection.name.clone(),
            columns: Arc::clone(&projection.columns),
            key_columns: projection.key.iter().map(|&at| projection.columns[at].clone()).collect(),
            anchor,
            recorded: targets.iter().any(|target| target.recall == Recall::Record),
            targets,
            // Sent again, an event would be there twice.
            remembers: log.is_some() && layout == Layout::Single,
            remembered: Remembered::default(),
            log,
            fingerprint: projection.fingerprint.clone(),
            watermark_key: watermark::key(&projection.name),
            reverse: Reverse::of(&projection.name, &projection.fingerprint, layout),
            refused_key: watermark::refused_key(&projection.name),
        })
    }

    pub(super) fn role(&self) -> Role {
        if self.log.is_some() { Role::Events } else { Role::Rows }
    }
}

fn bind_target(projection: &SinkProjection, target: &RedisTarget) -> Result<Target, BindFault> {
    let columns = &projection.columns;
    let fault = |what: String, hint: &str| BindFault {
        what: format!("projection.{}: {what}", projection.name),
        hint: hint.into(),
        place: target.place.clone(),
    };
    let position = |name: &String| {
        columns.iter().position(|column| column.name == *name).ok_or_else(|| {
            fault(format!("there is no column {name:?}"), "name a column of the projection")
        })
    };
    let bind = |template| {
        Pattern::bind(template, columns).map_err(|name| {
            fault(
                format!("the template names {name:?}, which is no column"),
                "name a column of the projection, or write {{ and }} for braces",
            )
        })
    };
    let (structure, key, member, score) = match &target.structure {
        RedisStructure::Stream { .. } | RedisStructure::List { .. } => {
            return Err(fault("streams and lists are of events".into(), ""));
        }
        RedisStructure::Hash { key } => (Structure::Hash, key, None, None),
        RedisStructure::Json { key } => (Structure::Json, key, None, None),
        RedisStructure::SortedSet { key, member, score } => {
            (Structure::SortedSet, key, Some(member), Some(score))
        }
        RedisStructure::Set { key, member } => (Structure::Set, key, Some(member), None),
    };
    let score = match score {
        None => None,
        Some(text) => Some(match columns.iter().position(|column| column.name == *text) {
            Some(at) if can_score(&columns[at].ty) => Score::Column(at),
            Some(at) => {
                return Err(fault(
                    format!("the score {text:?} is of type {}", columns[at].sql_type),
                    "a score is a column of numbers or of times",
                ));
            }
            None => {
                // Collations are the catalog's matter, which has been asked before.
                let scope = Scope { columns, byte_equality: &|_| true };
                let expr = Expr::compile_number(text, &scope).map_err(|refused| {
                    let hint = "a score is a column or a numeric expression over the row";
                    let hint = refused.hint.as_deref().unwrap_or(hint);
                    fault(format!("the score {text:?}: {}", refused.what), hint)
                })?;
                Score::Expression { sql: text.clone(), expr: Arc::new(expr) }
            }
        }),
    };
    let location = Location { key: bind(key)?, member: member.map(bind).transpose()? };
    let fixed = location.rebind(|at| projection.key.iter().position(|&key| key == at));
    let recall = match &fixed {
        Some(_) if location.key.has_fixed_part() => Recall::Key,
        _ => Recall::Record,
    };
    let fields: Vec<usize> = match &target.columns {
        None => (0..columns.len()).collect(),
        Some(names) => names.iter().map(position).collect::<Result<_, _>>()?,
    };
    let document =
        (structure == Structure::Json).then(|| DocumentWriter::new(columns, Some(&fields)));
    Ok(Target {
        structure,
        location,
        fixed,
        recall,
        score,
        ttl_seconds: target.ttl.map(|seconds| seconds.to_string()),
        fields,
        whole_row: String::new(),
        document,
    })
}

/// Numbers as they are, times in seconds.
fn can_score(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Int2
            | Type::Int4
            | Type::Int8
            | Type::Oid
            | Type::Float4
            | Type::Float8
            | Type::Numeric
            | Type::Date
            | Type::Time
            | Type::TimeTz
            | Type::Timestamp
            | Type::TimestampTz
            | Type::Interval
    )
}

/// Takes moving targets off the record where a hash of the projection knows their old columns. A
/// hash with a ttl does not: it may be gone before its row's other entries are.
fn choose_anchor(projection: &SinkProjection, targets: &mut [Target]) -> Option<Anchor> {
    let can_anchor = |hash: &Target, moving: &Target| {
        moving.fixed.is_none()
            && moving.location.key.has_fixed_part()
            && moving.location.columns().all(|column| hash.fields.contains(&column))
    };
    let hash = targets
        .iter()
        .filter(|target| target.structure == Structure::Hash && target.fixed.is_some())
        .find(|hash| hash.ttl_seconds.is_none() && targets.iter().any(|t| can_anchor(hash, t)))?
        .clone();
    let mut columns: Vec<usize> = Vec::new();
    for target in targets.iter_mut().filter(|target| can_anchor(&hash, target)) {
        target.recall = Recall::Anchor;
        columns.extend(target.location.columns());
    }
    columns.sort_unstable();
    columns.dedup();
    let watched = columns.iter().copied().filter(|at| !projection.key.contains(at)).collect();
    Some(Anchor { key: hash.fixed?.key, watched, columns })
}
