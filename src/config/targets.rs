//! Targets: where a projection or an event goes in one sink.

use std::collections::BTreeMap;
use std::fmt;

use super::diagnostic::Diagnostic;
use super::faults::Faults;
use super::node::Node;
use super::place::Place;
use super::projections::table_name;
use super::section::{Section, place_of_key, table};
use super::template::Template;
use super::{
    ElasticsearchTarget, PostgresTarget, RedisStructure, RedisTarget, SinkKind, Target, sql_name,
};

const POSTGRES_KEYS: &[&str] = &["table", "indexes", "history"];
const REDIS_KEYS: &[&str] = &[
    "hash",
    "json",
    "sorted_set",
    "set",
    "member",
    "score",
    "stream",
    "list",
    "ttl",
    "columns",
    "maxlen",
];
const ELASTICSEARCH_KEYS: &[&str] = &["index", "id", "mappings", "settings"];

/// Names that begin with this are Readside's own, in every store.
const RESERVED: &str = "readside";

/// Whose target it is.
#[derive(Clone, Copy)]
pub(super) enum Owner<'a> {
    Projection(&'a str),
    Event(&'a str),
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Projection(name) => write!(f, "projection `{name}`"),
            Owner::Event(name) => write!(f, "event `{name}`"),
        }
    }
}

/// The targets met so far, by sink and by what they write to.
#[derive(Default)]
pub(super) struct Used(BTreeMap<(String, String), Vec<(String, Sharing)>>);

/// Whether several may write to one target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    None,
    /// Streams of several events are one sequence.
    Streams,
    Lists,
}

impl Used {
    fn add(
        &mut self,
        sink: &str,
        what: String,
        owner: Owner<'_>,
        sharing: Sharing,
        place: &Place,
        faults: &mut Faults,
    ) {
        let owner = owner.to_string();
        let users = self.0.entry((sink.to_owned(), what)).or_default();
        let conflict = users.iter().find(|(other, theirs)| {
            *other == owner || sharing == Sharing::None || *theirs != sharing
        });
        if let Some((other, _)) = conflict {
            let what = match *other == owner {
                true => format!("{owner} writes to the same target twice"),
                false => format!("{owner} writes to the same target as {other}"),
            };
            let hint = format!("give it a name of its own in sink `{sink}`");
            faults.push(Diagnostic::new(what).at(place).hint(hint));
            return;
        }
        users.push((owner, sharing));
    }
}

pub(super) fn read(
    node: &Node,
    sink: &str,
    kind: SinkKind,
    owner: Owner<'_>,
    used: &mut Used,
    faults: &mut Faults,
) -> Option<Target> {
    let name = format!("a target in sink `{sink}`");
    if let Some(misplaced) = wrong_kind(node, sink, kind) {
        table(node, &name, faults);
        faults.push(misplaced);
        return None;
    }
    let section = Section::open(node, name, keys_of(kind), faults)?;
    let reader = Reader { section, sink, owner };
    match kind {
        SinkKind::Postgres => reader.postgres(used, faults).map(Target::Postgres),
        SinkKind::Redis => reader.redis(used, faults).map(Target::Redis),
        SinkKind::Elasticsearch => reader.elasticsearch(used, faults).map(Target::Elasticsearch),
    }
}

fn keys_of(kind: SinkKind) -> &'static [&'static str] {
    match kind {
        SinkKind::Postgres => POSTGRES_KEYS,
        SinkKind::Redis => REDIS_KEYS,
        SinkKind::Elasticsearch => ELASTICSEARCH_KEYS,
    }
}

/// A target with a key of another kind of sink, and none of this one.
fn wrong_kind(node: &Node, sink: &str, kind: SinkKind) -> Option<Diagnostic> {
    let own = keys_of(kind);
    if node.keys().iter().any(|key| own.contains(key)) {
        return None;
    }
    let kinds = [SinkKind::Postgres, SinkKind::Redis, SinkKind::Elasticsearch];
    let (key, entry, other) = node.entries().iter().find_map(|(key, entry)| {
        let other = kinds.into_iter().find(|other| keys_of(*other).contains(&key.as_str()))?;
        Some((key, entry, other))
    })?;
    let what = format!("`{key}` is for {other}, but sink `{sink}` is {kind}");
    let own: Vec<_> = own.iter().map(|key| format!("`{key}`")).collect();
    let hint = format!("a target in {kind} takes {}", own.join(", "));
    Some(Diagnostic::new(what).at(&place_of_key(entry)).hint(hint))
}

/// A template under a key.
pub(super) fn template(section: &Section<'_>, key: &str, faults: &mut Faults) -> Option<Template> {
    let node = section.get(key)?;
    match Template::parse(section.text(key, faults)?) {
        Ok(template) => Some(template),
        Err(error) => {
            let place = node.place.within(error.offset..error.offset + 1);
            let what = format!("`{key}` is no template: {error}");
            let hint = "write columns in braces, as in \"order:{order_id}\"; {{ and }} are braces";
            faults.push(Diagnostic::new(what).at(&place).hint(hint));
            None
        }
    }
}

struct Reader<'a> {
    section: Section<'a>,
    sink: &'a str,
    owner: Owner<'a>,
}

impl Reader<'_> {
    fn place(&self) -> Place {
        self.section.node.place.clone()
    }

    fn used(&self, used: &mut Used, key: &str, what: String, faults: &mut Faults) {
        let sharing = match key {
            "stream" => Sharing::Streams,
            "list" => Sharing::Lists,
            _ => Sharing::None,
        };
        used.add(self.sink, what, self.owner, sharing, &self.place().entry(key), faults);
    }

    fn reserved(&self, key: &str, faults: &mut Faults) {
        let what = format!("`{key}` takes a name that is Readside's own");
        let hint = "names in Readside's own schema, index and key space hold its watermarks";
        faults.push(Diagnostic::new(what).at(&self.place().entry(key)).hint(hint));
    }

    fn postgres(&self, used: &mut Used, faults: &mut Faults) -> Option<PostgresTarget> {
        let section = &self.section;
        section.require("table", "add table = \"TABLE\"", faults);
        let table = table_name(section, faults);
        let has_indexes = section.has("indexes");
        let indexes = section.names("indexes", faults);
        self.check_indexes(indexes.as_deref().unwrap_or_default(), faults);
        if let (Owner::Event(_), Some(node)) = (self.owner, section.get("history")) {
            let what = "an event's table is a history already";
            let fault = Diagnostic::new(what).at(&node.key_place);
            faults.push(fault.hint("remove `history`, which is for projections"));
        }
        let history = self.history(used, faults);
        let (schema, table, _) = table?;
        if schema == RESERVED {
            self.reserved("table", faults);
        }
        self.used(used, "table", format!("{schema}\0{table}"), faults);
        let lost_history = section.has("history") && history.is_none();
        if (has_indexes && indexes.is_none()) || lost_history {
            return None;
        }
        let indexes = indexes.unwrap_or_default();
        Some(PostgresTarget { schema, table, indexes, history, place: self.place() })
    }

    /// A table's name, as in SQL.
    fn history(&self, used: &mut Used, faults: &mut Faults) -> Option<(String, String)> {
        let node = self.section.get("history")?;
        match sql_name::parse(self.section.text("history", faults)?) {
            Ok(name) => {
                if name.schema == RESERVED {
                    self.reserved("history", faults);
                }
                let what = format!("{}\0{}", name.schema, name.name);
                self.used(used, "history", what, faults);
                Some((name.schema, name.name))
            }
            Err(error) => {
                let what = format!("`history` is no table's name: {}", error.what);
                let place = node.place.within(error.span);
                let hint = "write it as in SQL: orders_history or shop.orders_history";
                faults.push(Diagnostic::new(what).at(&place).hint(hint));
                None
            }
        }
    }

    /// An index is what follows `CREATE INDEX … ON table`.
    fn check_indexes(&self, indexes: &[String], faults: &mut Faults) {
        for (at, index) in indexes.iter().enumerate() {
            let text = index.trim_start();
            let using = text.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("using "));
            if !text.starts_with('(') && !using {
                let what = "an index begins with its columns in parentheses, or with USING";
                let hint = "write what follows CREATE INDEX … ON table, such as \
                            \"(customer_id, created_at DESC)\"";
                let place = self.place().entry("indexes").item(at);
                faults.push(Diagnostic::new(what).at(&place).hint(hint));
            }
        }
    }

    fn elasticsearch(&self, used: &mut Used, faults: &mut Faults) -> Option<ElasticsearchTarget> {
        let section = &self.section;
        section.require("index", "add index = \"INDEX\"", faults);
        let index = section.text("index", faults);
        let index = index.filter(|index| self.check_index(index, faults));
        let id = template(section, "id", faults);
        if let (Owner::Event(_), Some(node)) = (self.owner, section.get("id")) {
            let what = "an event's document has the id lsn/ordinal";
            let fault = Diagnostic::new(what).at(&place_of_key(node));
            faults.push(fault.hint("remove `id`: sent again, the same event is the same document"));
        }
        let mappings = section.json("mappings", faults);
        let settings = section.json("settings", faults);
        let index = index?.to_owned();
        self.used(used, "index", index.clone(), faults);
        let lost = [
            ("id", id.is_none()),
            ("mappings", mappings.is_none()),
            ("settings", settings.is_none()),
        ];
        if lost.iter().any(|(key, lost)| *lost && section.has(key)) {
            return None;
        }
        Some(ElasticsearchTarget { index, id, mappings, settings, place: self.place() })
    }

    /// What Elasticsearch and OpenSearch accept as an index's name.
    fn check_index(&self, index: &str, faults: &mut Faults) -> bool {
        let forbidden =
            |c: char| "\\/*?\"<>|,#:{} ".contains(c) || c.is_uppercase() || c.is_control();
        let what = match index {
            "" => "`index` is empty",
            "." | ".." => "`index` is not a name",
            _ if index.starts_with(['-', '_', '+']) => "`index` begins with `-`, `_` or `+`",
            _ if index.len() > 200 => "`index` is longer than 200 bytes",
            _ if index.contains(forbidden) => {
                "`index` has upper case letters, spaces or one of \\ / * ? \" < > | , # : { }"
            }
            "readside-watermark" => {
                self.reserved("index", faults);
                return false;
            }
            _ => return true,
        };
        let hint = "write a name in lower case; it becomes an alias in the search server";
        faults.push(Diagnostic::new(what).at(&self.place().entry("index")).hint(hint));
        false
    }

    fn redis(&self, used: &mut Used, faults: &mut Faults) -> Option<RedisTarget> {
        let section = &self.section;
        let ttl = self.ttl(faults);
        let columns = section.names("columns", faults);
        let maxlen = section.count("maxlen", 1..=u64::MAX, faults);
        let structures = ["hash", "json", "sorted_set", "set", "stream", "list"];
        let chosen: Vec<_> = structures.into_iter().filter(|key| section.has(key)).collect();
        let (kind, more) = match chosen.as_slice() {
            [] => {
                let what = format!("{} has no structure", section.name);
                let hint = match self.owner {
                    Owner::Projection(_) => "add one of `hash`, `json`, `sorted_set` and `set`",
                    Owner::Event(_) => "add `stream` or `list`",
                };
                faults.push_absent(Diagnostic::new(what).at(&section.place()).hint(hint));
                return None;
            }
            [kind, more @ ..] => (*kind, more),
        };
        if let Some(other) = more.first() {
            let what = format!("{} is both `{kind}` and `{other}`", section.name);
            let hint = "make two targets of it: to.SINK = [ { … }, { … } ]";
            faults.push(Diagnostic::new(what).at(&self.key_place(other)).hint(hint));
        }
        let key = template(section, kind, faults);
        if key.as_ref().is_some_and(begins_reserved) {
            self.reserved(kind, faults);
        }
        self.check_companions(kind, faults);
        let member = template(section, "member", faults);
        let score = section.text("score", faults);
        let log = matches!(kind, "stream" | "list");
        match self.owner {
            Owner::Projection(_) if log => {
                let what =
                    format!("`{kind}` is for events; a projection has rows, not occurrences");
                let hint = "write one of `hash`, `json`, `sorted_set` and `set`";
                faults.push(Diagnostic::new(what).at(&self.key_place(kind)).hint(hint));
                return None;
            }
            Owner::Event(_) if !log => {
                let what =
                    format!("`{kind}` is for projections; an event goes to a `stream` or a `list`");
                faults.push(Diagnostic::new(what).at(&self.key_place(kind)));
                return None;
            }
            _ => {}
        }
        let key = key?;
        self.used(used, kind, key.pattern(), faults);
        let structure = match kind {
            "hash" => RedisStructure::Hash { key },
            "json" => RedisStructure::Json { key },
            "set" => RedisStructure::Set { key, member: member? },
            "sorted_set" => {
                RedisStructure::SortedSet { key, member: member?, score: score?.to_owned() }
            }
            "stream" => RedisStructure::Stream { key, maxlen },
            _ => RedisStructure::List { key },
        };
        // A fault in one of the others has been told: the templates are looked at all the same.
        Some(RedisTarget { structure, ttl, columns, place: self.place() })
    }

    /// The keys that one structure needs and another does not have.
    fn check_companions(&self, kind: &str, faults: &mut Faults) {
        let section = &self.section;
        let companions: [(&str, &[&str], bool, &str); 4] = [
            ("member", &["sorted_set", "set"], true, "add member = \"{COLUMN}\""),
            ("score", &["sorted_set"], true, "add score = \"COLUMN\""),
            ("columns", &["hash", "json"], false, ""),
            ("maxlen", &["stream"], false, ""),
        ];
        for (key, kinds, required, hint) in companions {
            match (kinds.contains(&kind), section.get(key)) {
                (true, None) if required => {
                    let what = format!("`{kind}` has no `{key}`");
                    faults.push_absent(Diagnostic::new(what).at(&self.key_place(kind)).hint(hint));
                }
                (false, Some(node)) => {
                    let kinds: Vec<_> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
                    let what =
                        format!("`{key}` belongs to {}, not to `{kind}`", kinds.join(" and "));
                    let fault = Diagnostic::new(what).at(&place_of_key(node));
                    faults.push(fault.hint(format!("remove `{key}`")));
                }
                _ => {}
            }
        }
    }

    fn key_place(&self, key: &str) -> Place {
        self.section.get(key).map(place_of_key).unwrap_or_default()
    }

    /// Redis counts whole seconds here.
    fn ttl(&self, faults: &mut Faults) -> Option<u64> {
        let ttl = self.section.duration("ttl", faults)?;
        if ttl.subsec_nanos() == 0 && (1..=TTL_MAX).contains(&ttl.as_secs()) {
            return Some(ttl.as_secs());
        }
        let what = "`ttl` takes whole seconds, at least one, and at most 36500d";
        faults.push(Diagnostic::new(what).at(&self.place().entry("ttl")));
        None
    }
}

/// Redis adds it to the clock, in milliseconds: this much it can for ever.
const TTL_MAX: u64 = 36_500 * 86_400;

fn begins_reserved(key: &Template) -> bool {
    key.to_string().starts_with("readside:")
}
