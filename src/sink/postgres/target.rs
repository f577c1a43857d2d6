//! A target table: its columns as the sink's database knows them, and every statement about it.
//!
//! All names are quoted, all tables schema-qualified. The same shape stands twice while a target is
//! filled: under its own name, and under the fill's name in the same schema.

use std::fmt::Write as _;

use super::binary::Binary;
use super::history::History;
use crate::config::PostgresTarget;
use crate::sink::{Role, SinkProjection};
use crate::value::{Column, Type};

/// One target of one projection.
pub(super) struct Table {
    /// Position in the list given to the sink.
    pub(super) projection: usize,
    pub(super) schema: String,
    pub(super) name: String,
    /// Both, for people.
    pub(super) shown: String,
    pub(super) columns: Vec<TableColumn>,
    /// The key columns' positions; empty: one row.
    pub(super) key: Vec<usize>,
    pub(super) indexes: Vec<String>,
    pub(super) live: Relation,
    pub(super) fill: Relation,
    /// Into the fill, the rows' columns in their order.
    pub(super) copy: String,
    /// How COPY takes each column where it takes rows in its binary format.
    pub(super) binary: Option<Vec<Binary>>,
    pub(super) history: Option<Box<History>>,
    /// Percent of a page that inserts fill, where it is not all of it.
    pub(super) fillfactor: Option<u8>,
}

#[derive(Clone)]
pub(super) struct TableColumn {
    pub(super) name: String,
    /// How to read the datum.
    pub(super) ty: Type,
    pub(super) stored: Stored,
    /// It is of the key and may be NULL, and two NULLs are to be one.
    pub(super) null_in_key: bool,
}

/// The type of a column in the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) oid: u32,
    pub(super) typmod: i32,
    /// For CREATE TABLE, e.g. `numeric(10,2)`.
    pub(super) declared: String,
    /// Without its modifier, e.g. `numeric`: for casts, which must not round or cut.
    pub(super) base: String,
}

/// The table under one of its two names, with the statements that write to it.
pub(super) struct Relation {
    /// As the catalog has it, not quoted.
    pub(super) name: String,
    /// Quoted and qualified.
    pub(super) path: String,
    pub(super) upsert: String,
    pub(super) insert: String,
    pub(super) delete: String,
}

/// Whether the server can build keys in which two NULLs are one: since PostgreSQL 15. Before, a row with
/// NULL in its key is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    InKeys,
    Refused,
}

impl Table {
    pub(super) fn new(
        position: usize,
        projection: &SinkProjection,
        target: &PostgresTarget,
        stored: Vec<Stored>,
        nulls: Nulls,
    ) -> Self {
        let columns: Vec<TableColumn> = std::iter::zip(projection.columns.iter(), stored)
            .enumerate()
            .map(|(at, (Column { name, ty, not_null, .. }, stored))| TableColumn {
                name: name.clone(),
                ty: ty.clone(),
                stored,
                null_in_key: nulls == Nulls::InKeys && !not_null && projection.key.contains(&at),
            })
            .collect();
        let named = (target.schema.as_str(), target.table.as_str());
        let key = projection.key.clone();
        let history = target.history.as_ref().map(|(schema, name)| {
            let name = (schema.as_str(), name.as_str());
            Box::new(History::new(position, name, &columns, &key, projection.role))
        });
        Self {
            indexes: target.indexes.clone(),
            history,
            ..Self::of(position, named, columns, key, projection.role)
        }
    }

    pub(super) fn of(
        position: usize,
        (schema, name): (&str, &str),
        columns: Vec<TableColumn>,
        key: Vec<usize>,
        role: Role,
    ) -> Self {
        let binary: Option<Vec<Binary>> =
            columns.iter().map(|column| Binary::of(&column.ty, column.stored.oid)).collect();
        let fill = fill_name(name);
        let relation = |name: &str| {
            let path = format!("{}.{}", quote(schema), quote(name));
            let insert = insert(&path, &columns);
            Relation {
                name: name.to_string(),
                upsert: match role {
                    Role::Rows => format!("{insert} {}", on_conflict(&columns, &key)),
                    // Sent again, an event is the same.
                    Role::Events => format!("{insert} ON CONFLICT DO NOTHING"),
                },
                insert,
                delete: delete(&path, &columns, &key),
                path,
            }
        };
        Self {
            projection: position,
            schema: schema.to_owned(),
            name: name.to_owned(),
            shown: format!("{}.{}", show(schema), show(name)),
            copy: copy(&relation(&fill).path, &columns, binary.is_some()),
            binary,
            live: relation(name),
            fill: relation(&fill),
            key,
            indexes: Vec::new(),
            history: None,
            fillfactor: None,
            columns,
        }
    }

    /// Without its key: that is built when the rows are in. `what` is `TABLE` or `TEMP TABLE`.
    pub(super) fn create(&self, what: &str, path: &str) -> String {
        let columns: Vec<String> = std::iter::zip(&self.columns, 0..)
            .map(|(column, position)| {
                let nullable = column.null_in_key || !self.key.contains(&position);
                let not_null = if nullable { "" } else { " NOT NULL" };
                format!("{} {}{not_null}", quote(&column.name), column.stored.declared)
            })
            .collect();
        let fillfactor = self.fillfactor.map(|percent| format!(" WITH (fillfactor = {percent})"));
        format!("CREATE {what} {path} ({}){}", columns.join(", "), fillfactor.unwrap_or_default())
    }

    /// What the upserts' ON CONFLICT finds.
    pub(super) fn create_key(&self, path: &str) -> String {
        if self.key.is_empty() {
            return format!("CREATE UNIQUE INDEX ON {path} ((true))");
        }
        let names = self.names(&self.key, "");
        match self.has_nulls_in_key() {
            true => format!("CREATE UNIQUE INDEX ON {path} ({names}) NULLS NOT DISTINCT"),
            false => format!("ALTER TABLE {path} ADD PRIMARY KEY ({names})"),
        }
    }

    pub(super) fn has_nulls_in_key(&self) -> bool {
        self.columns.iter().any(|column| column.null_in_key)
    }

    pub(super) fn create_indexes(&self, path: &str) -> impl Iterator<Item = String> {
        self.indexes.iter().map(move |text| format!("CREATE INDEX ON {path} {text}"))
    }

    /// Removes what the fill does not have.
    pub(super) fn delete_missing(&self) -> String {
        let (live, fill) = (&self.live.path, &self.fill.path);
        let same_key = self.same_key("t", "f");
        format!(
            "DELETE FROM {live} AS t WHERE NOT EXISTS (SELECT FROM {fill} AS f WHERE {same_key})"
        )
    }

    /// Writes what differs from the fill, of those of its rows (`f`) that fulfil a condition.
    pub(super) fn upsert_different(&self, of_fill: &str) -> String {
        let (live, fill) = (&self.live.path, &self.fill.path);
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let same = |column: &TableColumn| {
            let name = quote(&column.name);
            if column.exact() {
                format!("t.{name} IS NOT DISTINCT FROM f.{name}")
            } else {
                // Equal values may print differently, and some types know no equality at all.
                format!("t.{name}::text IS NOT DISTINCT FROM f.{name}::text")
            }
        };
        let rest =
            std::iter::zip(&self.columns, 0..).filter(|(_, position)| !self.key.contains(position));
        let mut same_row = vec![self.same_key("t", "f")];
        same_row.extend(rest.map(|(column, _)| same(column)));
        format!(
            "INSERT INTO {live} AS t ({}) SELECT {} FROM {fill} AS f \
             WHERE {of_fill} AND NOT EXISTS (SELECT FROM {live} AS t WHERE {}) {}",
            self.names(&all, ""),
            self.names(&all, "f."),
            same_row.join(" AND "),
            on_conflict(&self.columns, &self.key),
        )
    }

    /// Removes the live rows under the keys of those rows of the fill (`f`) that fulfil a condition.
    pub(super) fn delete_matching(&self, of_fill: &str) -> String {
        let (live, fill) = (&self.live.path, &self.fill.path);
        format!(
            "DELETE FROM {live} AS t USING {fill} AS f WHERE {of_fill} AND {}",
            self.same_key("t", "f")
        )
    }

    /// For whole tables: each comparison can be hashed.
    pub(super) fn same_key(&self, left: &str, right: &str) -> String {
        if self.key.is_empty() {
            return "true".into();
        }
        let same = |&position: &usize| {
            let column = &self.columns[position];
            let name = quote(&column.name);
            if column.null_in_key {
                return format!(
                    "({left}.{name} IS NULL) = ({right}.{name} IS NULL) \
                     AND coalesce({left}.{name}::text, '') = coalesce({right}.{name}::text, '')"
                );
            }
            let mut same = format!("{left}.{name} = {right}.{name}");
            if !column.exact() {
                let _ = write!(same, " AND {left}.{name}::text = {right}.{name}::text");
            }
            same
        };
        self.key.iter().map(same).collect::<Vec<_>>().join(" AND ")
    }

    /// Quoted columns at these positions.
    fn names(&self, positions: &[usize], qualifier: &str) -> String {
        let name =
            |&position: &usize| format!("{qualifier}{}", quote(&self.columns[position].name));
        positions.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn key_names(&self) -> Vec<&str> {
        self.key.iter().map(|&position| self.columns[position].name.as_str()).collect()
    }
}

impl TableColumn {
    /// Equal values have one text: comparing them needs no cast.
    pub(super) fn exact(&self) -> bool {
        match self.ty {
            Type::Bool | Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid => true,
            Type::Date | Type::Time | Type::TimeTz | Type::Timestamp | Type::TimestampTz => true,
            Type::Uuid | Type::PgLsn | Type::Bytea => true,
            // Not those of extensions: citext takes A for a.
            Type::Text => matches!(self.stored.base.as_str(), "text" | "character varying"),
            _ => false,
        }
    }

    /// Whether the column's values travel as an array of their own type: in binary where there is such a form of
    /// theirs, else as a literal, since their text needs no quotes in it. All others travel as text[] in binary.
    pub(super) fn is_literal(&self) -> bool {
        matches!(
            self.ty,
            Type::Bool
                | Type::Int2
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
                | Type::Uuid
                | Type::PgLsn
        )
    }

    /// The element `u.cN` as the column's type.
    pub(super) fn element(&self, number: usize) -> String {
        if self.is_literal() || matches!(self.stored.base.as_str(), "text" | "character varying") {
            format!("u.c{number}")
        } else {
            format!("u.c{number}::{}", self.stored.base)
        }
    }
}

/// `unnest($1::…[], …) AS u(c0, …)` over the columns at these positions, and more of these types.
pub(super) fn unnest(columns: &[TableColumn], positions: &[usize], more: &[&str]) -> String {
    let arrays = std::iter::zip(positions, 1..).map(|(&position, number)| {
        let column = &columns[position];
        let base = if column.is_literal() { column.stored.base.as_str() } else { "text" };
        format!("${number}::{base}[]")
    });
    let more = std::iter::zip(more, positions.len() + 1..);
    let arrays = arrays.chain(more.map(|(ty, number)| format!("${number}::{ty}[]")));
    let arrays: Vec<String> = arrays.collect();
    let names: Vec<String> = (0..arrays.len()).map(|number| format!("c{number}")).collect();
    format!("unnest({}) AS u({})", arrays.join(", "), names.join(", "))
}

fn copy(path: &str, columns: &[TableColumn], binary: bool) -> String {
    let names: Vec<String> = columns.iter().map(|column| quote(&column.name)).collect();
    let format = if binary { " (FORMAT binary)" } else { "" };
    format!("COPY {path} ({}) FROM STDIN{format}", names.join(", "))
}

fn insert(path: &str, columns: &[TableColumn]) -> String {
    let all: Vec<usize> = (0..columns.len()).collect();
    let names: Vec<String> = columns.iter().map(|column| quote(&column.name)).collect();
    let elements: Vec<String> =
        std::iter::zip(columns, 0..).map(|(column, number)| column.element(number)).collect();
    format!(
        "INSERT INTO {path} AS t ({}) SELECT {} FROM {}",
        names.join(", "),
        elements.join(", "),
        unnest(columns, &all, &[]),
    )
}

fn on_conflict(columns: &[TableColumn], key: &[usize]) -> String {
    // A key that is equal but not the same (1.0 and 1.00) takes its new text along.
    let set: Vec<String> = std::iter::zip(columns, 0..)
        .filter(|(column, position)| !key.contains(position) || !column.exact())
        .map(|(column, _)| format!("{0} = excluded.{0}", quote(&column.name)))
        .collect();
    let conflict = if key.is_empty() {
        "(true)".to_string()
    } else {
        key.iter().map(|&position| quote(&columns[position].name)).collect::<Vec<_>>().join(", ")
    };
    if set.is_empty() {
        return format!("ON CONFLICT ({conflict}) DO NOTHING");
    }
    format!("ON CONFLICT ({conflict}) DO UPDATE SET {}", set.join(", "))
}

/// By the key's values, and by their text where equal values may differ in it: the tombstone of 1.0
/// must not remove the row that is now under 1.00.
fn delete(path: &str, columns: &[TableColumn], key: &[usize]) -> String {
    if key.is_empty() {
        return format!("DELETE FROM {path}");
    }
    let same: Vec<String> = std::iter::zip(key, 0..)
        .map(|(&position, number)| {
            let column = &columns[position];
            let (name, element) = (quote(&column.name), column.element(number));
            let same = match column.exact() {
                true => format!("t.{name} = {element}"),
                false => format!("t.{name} = {element} AND t.{name}::text = ({element})::text"),
            };
            match column.null_in_key {
                // IS NOT DISTINCT FROM would find no index.
                true => format!("({same} OR t.{name} IS NULL AND u.c{number} IS NULL)"),
                false => same,
            }
        })
        .collect();
    let keys = unnest(columns, key, &[]);
    format!("DELETE FROM {path} AS t USING {keys} WHERE {}", same.join(" AND "))
}

/// Short, so that the names Postgres makes for the fill's indexes begin with all of it.
pub(super) fn fill_name(table: &str) -> String {
    // FNV-1a: the name must be the same in every version of Readside that could meet a leftover.
    let hash = table.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{FILL_PREFIX}{hash:016x}")
}

pub(super) const FILL_PREFIX: &str = "readside_fill_";

/// An identifier as SQL writes it exactly.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An identifier for people: quoted only where it does not fold to itself.
pub(super) fn show(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let begins = name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if begins && name.bytes().all(plain) { name.to_string() } else { quote(name) }
}

/// A string as SQL writes it exactly.
pub(super) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    // The E form alone means the same whatever standard_conforming_strings says.
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}
