//! The second stage, when the source's catalog is known: do the columns exist that keys, templates,
//! `columns` and `score` name, and do a target's templates tell rows apart? Pure: the catalog is given.
//!
//! Two rows must never share an entry, so from the strings that a target's templates make the whole
//! key must be readable back. A column's text ends where its type's text cannot go on: `order:7:` ends
//! the `7`, for no integer holds a colon. So the columns of a template are read from its left end and
//! from its right end, each up to the first that cannot be told from what follows (a free text, or no
//! separator). A single column that is left between the two ends is told as well; of two or more none
//! is. The key must be among what is told.

use super::diagnostic::Diagnostic;
use super::place::Place;
use super::suggest;
use super::template::{Part, Template};
use super::{Definition, ProjectionConfig, RedisStructure, Target};
use crate::value::{Column, Type};

/// What the source says of a projection.
#[derive(Clone, Copy, Debug)]
pub struct Relation<'a> {
    pub columns: &'a [Column],
    /// Positions in `columns` of the primary key, or of the key that a query itself shows. `Some` and
    /// empty: one row. `None`: the relation has no key of its own.
    pub key: Option<&'a [usize]>,
}

/// A projection whose columns are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Positions of the key's columns.
    pub key: Vec<usize>,
    /// The scores that are not a plain column, with the target's position: to be compiled, or refused,
    /// by who evaluates SQL.
    pub score_expressions: Vec<ScoreExpression>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreExpression {
    /// Position in the projection's `targets`.
    pub target: usize,
    pub sql: String,
    pub place: Place,
}

/// Checks one projection; the faults are all there are.
pub fn resolve(
    projection: &ProjectionConfig,
    relation: Relation<'_>,
) -> Result<Resolved, Vec<Diagnostic>> {
    let mut resolver =
        Resolver { projection, relation, faults: Vec::new(), score_expressions: Vec::new() };
    let key = resolver.key();
    if let Some(kind) = projection.event().and_then(|event| event.kind.as_ref()) {
        resolver.template_columns("type", kind, &projection.place.entry("type"));
    }
    for (at, (_, target)) in projection.targets.iter().enumerate() {
        resolver.target(at, target, key.as_deref());
    }
    match (key, resolver.faults.is_empty()) {
        (Some(key), true) => Ok(Resolved { key, score_expressions: resolver.score_expressions }),
        _ => {
            let position = |fault: &Diagnostic| fault.place.as_ref().map_or(0, |p| p.span.start);
            resolver.faults.sort_by_key(position);
            Err(resolver.faults)
        }
    }
}

/// What a version has beside its row.
pub const HISTORY_COLUMNS: [&str; 3] = ["valid_from", "valid_to", "lsn"];

struct Resolver<'a> {
    projection: &'a ProjectionConfig,
    relation: Relation<'a>,
    faults: Vec<Diagnostic>,
    score_expressions: Vec<ScoreExpression>,
}

impl Resolver<'_> {
    fn fault(&mut self, fault: Diagnostic) {
        self.faults.push(fault);
    }

    fn key(&mut self) -> Option<Vec<usize>> {
        if let Some(names) = &self.projection.key {
            let place = self.projection.place.entry("key");
            let found: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(at, name)| self.column(name, "key", &place.item(at)))
                .collect();
            return found.into_iter().collect();
        }
        if let Some(key) = self.relation.key {
            return Some(key.to_vec());
        }
        let (what, place) = match &self.projection.definition {
            Definition::Table { schema, name, place } => {
                (format!("table {schema}.{name} has no primary key"), place)
            }
            Definition::Query { place, .. } => {
                ("the query shows no key of its own".to_owned(), place)
            }
            Definition::Event(_) => return Some(Vec::new()),
        };
        let hint = "add key = [\"COLUMN\", …] with the columns that tell its rows apart";
        self.fault(Diagnostic::new(what).at(place).hint(hint));
        None
    }

    /// The position of a column that `what` names.
    fn column(&mut self, name: &str, what: &str, place: &Place) -> Option<usize> {
        let found = self.relation.columns.iter().position(|column| column.name == name);
        if found.is_none() {
            let what = format!(
                "`{what}` names a column `{name}`, which {} does not have",
                match self.projection.event() {
                    Some(_) => format!("the data of {}", self.projection.title()),
                    None => self.projection.title(),
                }
            );
            let known = self.relation.columns.iter().map(|column| column.name.as_str());
            let hint = suggest::hint(name, "column", known);
            self.fault(Diagnostic::new(what).at(place).hint(hint));
        }
        found
    }

    fn target(&mut self, at: usize, target: &Target, key: Option<&[usize]>) {
        match target {
            // Its rows have the key as their primary key.
            Target::Postgres(target) => {
                if target.history.is_some() {
                    self.history(&target.place.entry("history"));
                }
            }
            Target::Elasticsearch(target) => {
                if let Some(id) = &target.id {
                    self.templates(&[("id", id)], &target.place, key);
                }
            }
            Target::Redis(target) => {
                let place = &target.place;
                for (at, name) in target.columns.iter().flatten().enumerate() {
                    self.column(name, "columns", &place.entry("columns").item(at));
                }
                match &target.structure {
                    RedisStructure::Hash { key: hash } => {
                        self.templates(&[("hash", hash)], place, key);
                    }
                    RedisStructure::Json { key: json } => {
                        self.templates(&[("json", json)], place, key);
                    }
                    RedisStructure::Set { key: set, member } => {
                        self.templates(&[("set", set), ("member", member)], place, key);
                    }
                    RedisStructure::Stream { key: stream, .. } => {
                        self.template_columns("stream", stream, &place.entry("stream"));
                    }
                    RedisStructure::List { key: list } => {
                        self.template_columns("list", list, &place.entry("list"));
                    }
                    RedisStructure::SortedSet { key: set, member, score } => {
                        self.templates(&[("sorted_set", set), ("member", member)], place, key);
                        self.score(at, score, &place.entry("score"));
                    }
                }
            }
        }
    }

    /// Versions have columns of their own beside the projection's.
    fn history(&mut self, place: &Place) {
        let taken = |column: &&Column| HISTORY_COLUMNS.contains(&column.name.as_str());
        if let Some(column) = self.relation.columns.iter().find(taken) {
            let what = format!(
                "{} has a column `{}`, which its history has of its own",
                self.projection.title(),
                column.name
            );
            let hint = "give the column another name by AS in a query";
            self.fault(Diagnostic::new(what).at(place).hint(hint));
        }
    }

    /// The templates that together name a target's entries.
    fn templates(&mut self, templates: &[(&str, &Template)], place: &Place, key: Option<&[usize]>) {
        let mut named = Vec::new();
        let mut told = Vec::new();
        let mut known = true;
        for (name, template) in templates {
            let place = place.entry(name);
            let columns = self.template_columns(name, template, &place);
            let Some(columns) = columns else {
                known = false;
                continue;
            };
            let types = |at: usize| columns[at].map(|column| &self.relation.columns[column].ty);
            told.extend(told_apart(template, types).into_iter().filter_map(|at| columns[at]));
            named.extend(columns.into_iter().flatten());
        }
        let (Some(key), true) = (key, known) else { return };
        let (name, template) = templates[0];
        let place = place.entry(name);
        let names: Vec<_> = templates.iter().map(|(name, _)| format!("`{name}`")).collect();
        let names = names.join(" and ");
        let quoted = |missing: &[usize]| {
            let name = |at: &usize| format!("`{}`", self.relation.columns[*at].name);
            missing.iter().map(name).collect::<Vec<_>>().join(", ")
        };
        let missing = without(key, &named);
        if !missing.is_empty() {
            let what = format!(
                "{names} of projection `{}` {} not hold the whole key: {} missing, so two rows \
                 could share an entry",
                self.projection.name,
                if templates.len() == 1 { "does" } else { "do" },
                match missing.len() {
                    1 => format!("{} is", quoted(&missing)),
                    _ => format!("{} are", quoted(&missing)),
                },
            );
            let column = &self.relation.columns[missing[0]].name;
            let hint = format!(
                "add {{{column}}} to the template; where only distinct entries are wanted, SELECT \
                 DISTINCT them in a query, or build the key in the query"
            );
            return self.fault(Diagnostic::new(what).at(&place).hint(hint));
        }
        let merged = without(key, &told);
        if !merged.is_empty() {
            let what = format!(
                "{names} of projection `{}` could be equal for two rows: where {} begins or ends \
                 cannot be told in it",
                self.projection.name,
                quoted(&merged),
            );
            let hint = if has_neighbours(template) {
                "put a separator between the columns, or build the key in the query"
            } else {
                "keep one column of free text in a template, with separators that the other columns \
                 never hold, or build the key in the query"
            };
            self.fault(Diagnostic::new(what).at(&place).hint(hint));
        }
    }

    /// For each part the position of its column, `None` for literals; `None` where one is unknown.
    fn template_columns(
        &mut self,
        name: &str,
        template: &Template,
        place: &Place,
    ) -> Option<Vec<Option<usize>>> {
        let mut columns = Vec::new();
        let mut unknown = false;
        for (part, span) in template.parts.iter().zip(template.spans()) {
            columns.push(match part {
                Part::Literal(_) => None,
                Part::Column(column) => {
                    let found = self.column(column, name, &place.within(span));
                    unknown |= found.is_none();
                    found
                }
            });
        }
        (!unknown).then_some(columns)
    }

    fn score(&mut self, target: usize, score: &str, place: &Place) {
        if let Some(column) = self.relation.columns.iter().find(|column| column.name == score) {
            if !is_score(&column.ty) {
                let what = format!(
                    "`score` takes a number or a time, but column `{score}` is {}",
                    column.sql_type
                );
                let hint = "name a column of a number or a time; times count in seconds";
                self.fault(Diagnostic::new(what).at(place).hint(hint));
            }
            return;
        }
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let is_name = score.chars().all(word) && !score.starts_with(|c: char| c.is_ascii_digit());
        if is_name {
            self.column(score, "score", place);
        } else {
            let expression =
                ScoreExpression { target, sql: score.to_owned(), place: place.clone() };
            self.score_expressions.push(expression);
        }
    }
}

/// Members of `all` that are not in `some`.
fn without(all: &[usize], some: &[usize]) -> Vec<usize> {
    all.iter().copied().filter(|at| !some.contains(at)).collect()
}

fn has_neighbours(template: &Template) -> bool {
    template.parts.windows(2).any(|pair| matches!(pair, [Part::Column(_), Part::Column(_)]))
}

/// The parts whose columns can be read back from the template's text.
fn told_apart<'t>(template: &Template, ty: impl Fn(usize) -> Option<&'t Type>) -> Vec<usize> {
    let parts = &template.parts;
    let is_column = |at: &usize| matches!(parts[*at], Part::Column(_));
    // A column is read towards the right until the literal after it, whose beginning its text must not
    // go on with; towards the left likewise.
    let ends = |at: usize, neighbour: Option<&Part>, is_end: &dyn Fn(&Type, &str) -> bool| {
        let Some(ty) = ty(at) else { return false };
        match neighbour {
            None => true,
            Some(_) if is_of_one_length(ty) => true,
            Some(Part::Column(_)) => false,
            Some(Part::Literal(text)) => is_end(ty, text),
        }
    };
    let to_right = |ty: &Type, text: &str| text.chars().next().is_some_and(|c| !may_go_on(ty, c));
    let to_left =
        |ty: &Type, text: &str| text.chars().next_back().is_some_and(|c| !may_precede(ty, c));
    let stops_right = |at: &usize| !ends(*at, parts.get(at + 1), &to_right);
    let before = |at: usize| at.checked_sub(1).and_then(|before| parts.get(before));
    let stops_left = |at: &usize| !ends(*at, before(*at), &to_left);
    let columns: Vec<_> = (0..parts.len()).filter(is_column).collect();
    let left = columns.iter().find(|at| stops_right(at));
    let right = columns.iter().rev().find(|at| stops_left(at));
    match (left, right) {
        (Some(left), Some(right)) if left < right => {
            columns.iter().copied().filter(|at| at < left || at > right).collect()
        }
        _ => columns,
    }
}

/// All values of the type have texts of one length, which tells where they end.
fn is_of_one_length(ty: &Type) -> bool {
    matches!(ty, Type::Bool | Type::Uuid)
}

/// Whether the text of a value, followed by the character, may be the beginning of another value's
/// text. A minus sign stands before a number or within a time, a colon within a time, and neither is
/// whole without what follows: so `{order_id}-{item_id}` and `{created_at}:{status}` are told.
fn may_go_on(ty: &Type, c: char) -> bool {
    match c {
        '-' => is_free(ty),
        // An offset's minutes.
        ':' => is_free(ty) || *ty == Type::TimeTz,
        _ => may_hold(ty, c),
    }
}

/// Whether the character, followed by the text of a value, may be the end of another value's text.
fn may_precede(ty: &Type, c: char) -> bool {
    if c == ':' { is_free(ty) } else { may_hold(ty, c) }
}

/// Texts of any characters.
fn is_free(ty: &Type) -> bool {
    use Type::{Array, Bpchar, Composite, Hstore, Json, Jsonb, Text};
    matches!(ty, Text | Bpchar | Json | Jsonb | Hstore | Array(..) | Composite(_))
}

/// Whether the text of a value of this type may hold the character.
fn may_hold(ty: &Type, c: char) -> bool {
    let digits = c.is_ascii_digit() || c == '-';
    // Infinities, NaN, BC, and the units of intervals.
    let words = c.is_ascii_alphabetic();
    match ty {
        Type::Bool => matches!(c, 't' | 'f'),
        Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid => digits,
        Type::Numeric => digits || words || c == '.',
        Type::Float4 | Type::Float8 => digits || words || matches!(c, '.' | '+'),
        Type::Uuid => digits || matches!(c, 'a'..='f'),
        Type::PgLsn => c.is_ascii_digit() || matches!(c, 'A'..='F' | '/'),
        Type::Bytea => c.is_ascii_digit() || matches!(c, '\\' | 'x' | 'a'..='f'),
        Type::Date => digits || words || c == ' ',
        Type::Time | Type::TimeTz => digits || matches!(c, ':' | '.' | '+'),
        Type::Timestamp | Type::TimestampTz | Type::Interval => {
            digits || words || matches!(c, ':' | '.' | '+' | ' ')
        }
        Type::Text | Type::Bpchar | Type::Json | Type::Jsonb | Type::Hstore => true,
        Type::Array(..) | Type::Composite(_) => true,
    }
}

fn is_score(ty: &Type) -> bool {
    match ty {
        Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid => true,
        Type::Float4 | Type::Float8 | Type::Numeric => true,
        Type::Date | Type::Time | Type::TimeTz => true,
        Type::Timestamp | Type::TimestampTz | Type::Interval => true,
        Type::Bool | Type::Text | Type::Bpchar | Type::Bytea | Type::Uuid => false,
        Type::PgLsn => false,
        Type::Json | Type::Jsonb | Type::Hstore | Type::Array(..) | Type::Composite(_) => false,
    }
}
