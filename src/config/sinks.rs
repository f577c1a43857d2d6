//! `[sink.NAME.KIND]`.

use std::collections::BTreeMap;

use super::credentials;
use super::diagnostic::Diagnostic;
use super::faults::Faults;
use super::node::Node;
use super::section::{Section, place_of_key, table};
use super::suggest;
use super::{PostgresUrlCheck, SinkConfig, SinkKind};

const KINDS: &[(&str, SinkKind)] = &[
    ("postgres", SinkKind::Postgres),
    ("redis", SinkKind::Redis),
    ("elasticsearch", SinkKind::Elasticsearch),
];

/// Stores that are spoken to as another kind.
const ALIASES: &[(&str, &str)] = &[
    ("opensearch", "elasticsearch"),
    ("elastic", "elasticsearch"),
    ("valkey", "redis"),
    ("postgresql", "postgres"),
    ("pg", "postgres"),
];

const COMMON_KEYS: &[&str] =
    &["url", "password", "password_file", "step_rows", "max_lag", "required"];

/// Rows in one step at most, so that a step stays a bounded piece of memory.
const STEP_ROWS_MAX: u64 = 1_000_000;

/// The sinks that are valid, and the kinds of all that have one: a target in a sink with a fault is
/// checked all the same.
#[derive(Default)]
pub(super) struct Sinks {
    pub(super) valid: Vec<SinkConfig>,
    /// `None`: the sink's kind is a fault of its own.
    pub(super) kinds: BTreeMap<String, Option<SinkKind>>,
}

pub(super) fn read(root: &Node, check: PostgresUrlCheck<'_>, faults: &mut Faults) -> Sinks {
    let mut sinks = Sinks::default();
    let Some(node) = root.get("sink") else { return sinks };
    for (name, node) in table(node, "[sink]", faults).unwrap_or_default() {
        check_name(name, "sink", node, faults);
        let kind = kind(name, node, faults);
        sinks.kinds.insert(name.clone(), kind.map(|(_, kind)| kind));
        if let Some((key, kind)) = kind
            && let Some(node) = node.get(key)
        {
            sinks.valid.extend(sink(name, key, kind, node, check, faults));
        }
    }
    let mut stores: BTreeMap<(u8, String), String> = BTreeMap::new();
    for sink in &sinks.valid {
        let store = (sink.kind as u8, credentials::store_of(sink.kind, &sink.url));
        if let Some(other) = stores.insert(store, sink.name.clone()) {
            let what = format!("sinks `{other}` and `{}` are the same store", sink.name);
            let hint = format!("give the targets of `{}` to `{other}` and remove it", sink.name);
            faults.push(Diagnostic::new(what).at(&sink.place.entry("url")).hint(hint));
        }
    }
    sinks
}

/// Names stand in watermarks, metrics, file names and environment variables.
pub(super) fn check_name(name: &str, kind: &str, node: &Node, faults: &mut Faults) {
    let sensible = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !(1..=63).contains(&name.len()) || !name.bytes().all(sensible) {
        let what = format!(
            "the {kind}'s name `{name}` is not made of 1 to 63 letters, digits, `_` and `-`"
        );
        faults.push(Diagnostic::new(what).at(&place_of_key(node)));
    }
}

/// The one kind that a sink's table names.
fn kind(name: &str, node: &Node, faults: &mut Faults) -> Option<(&'static str, SinkKind)> {
    let entries = table(node, &format!("[sink.{name}]"), faults)?;
    let known = || KINDS.iter().map(|(key, _)| *key);
    let mut found = None;
    let mut unknown = false;
    for (key, entry) in entries {
        let Some(&kind) = KINDS.iter().find(|(known, _)| known == key) else {
            let alias = ALIASES.iter().find(|(alias, _)| alias == key);
            let is_setting =
                COMMON_KEYS.contains(&key.as_str()) || key == "api_key" || key == "ca_file";
            let (what, hint) = match alias {
                Some((_, kind)) => (
                    format!("unknown kind of sink `{key}`"),
                    format!("write [sink.{name}.{kind}], which speaks to it"),
                ),
                None if is_setting => (
                    format!("`{key}` stands outside of the sink's kind"),
                    format!(
                        "write it under [sink.{name}.KIND], KIND being postgres, redis or elasticsearch"
                    ),
                ),
                None => (
                    format!("unknown kind of sink `{key}`"),
                    suggest::hint(key, "kind of sink", known()),
                ),
            };
            faults.push(Diagnostic::new(what).at(&place_of_key(entry)).hint(hint));
            unknown = true;
            continue;
        };
        if let Some((other, _)) = found {
            let what = format!("sink `{name}` is both {other} and {key}");
            let hint = "give each store a sink with a name of its own";
            faults.push(Diagnostic::new(what).at(&place_of_key(entry)).hint(hint));
        } else {
            found = Some(kind);
        }
    }
    if found.is_none() && !unknown {
        let what = format!("sink `{name}` has no kind");
        let hint = format!(
            "write [sink.{name}.postgres], [sink.{name}.redis] or [sink.{name}.elasticsearch]"
        );
        faults.push_absent(Diagnostic::new(what).at(&place_of_key(node)).hint(hint));
    }
    found
}

fn sink(
    name: &str,
    key: &str,
    kind: SinkKind,
    node: &Node,
    check: PostgresUrlCheck<'_>,
    faults: &mut Faults,
) -> Option<SinkConfig> {
    let mut known = COMMON_KEYS.to_vec();
    match kind {
        SinkKind::Postgres => {}
        SinkKind::Redis => known.extend(["ca_file", "username"]),
        SinkKind::Elasticsearch => known.extend(["ca_file", "username", "api_key"]),
    }
    // These are told with a better hint than any other unknown key.
    let in_url: &[_] = match kind {
        SinkKind::Postgres => &[("ca_file", "sslrootcert=FILE"), ("username", "user@host")],
        _ => &[],
    };
    known.extend(in_url.iter().map(|(key, _)| *key));
    let section = Section::open(node, format!("[sink.{name}.{key}]"), &known, faults)?;
    for (key, instead) in in_url {
        if let Some(node) = section.get(key) {
            let what = format!("a Postgres sink has no `{key}`");
            let hint = format!("write {instead} in its url");
            faults.push(Diagnostic::new(what).at(&node.key_place).hint(hint));
        }
    }
    let password = credentials::password(&section, faults);
    let known = password.as_ref().and_then(Option::as_ref);
    let url = credentials::url(&section, kind, known, check, faults);
    let ca_file = match kind {
        SinkKind::Postgres => None,
        _ => credentials::readable_file(&section, "ca_file", faults),
    };
    let username = section.text("username", faults).map(str::to_owned);
    let api_key = section.text("api_key", faults).map(super::Secret::new);
    let both = section.has("username") || section.has("password") || section.has("password_file");
    if let Some(key) = section.get("api_key").filter(|_| both) {
        let what = format!("{} has both an `api_key` and a user or password", section.name);
        faults.push(Diagnostic::new(what).at(&key.key_place).hint("remove one of them"));
    }
    if let Some(name) = section.get("username").filter(|_| kind == SinkKind::Elasticsearch)
        && !section.has("password")
        && !section.has("password_file")
    {
        let what = format!("{} has a `username` but no password", section.name);
        let hint = "add password_file = \"FILE\" or password = \"${NAME}\"";
        faults.push_absent(Diagnostic::new(what).at(&name.key_place).hint(hint));
    }
    let step_rows = section.count("step_rows", 1..=STEP_ROWS_MAX, faults);
    let max_lag = section.duration("max_lag", faults);
    let required = section.boolean("required", faults);
    // With less than what was meant the store would refuse us, for a reason that is none.
    let given = [
        ("ca_file", ca_file.is_some()),
        ("username", username.is_some()),
        ("api_key", api_key.is_some()),
    ];
    if kind != SinkKind::Postgres && given.iter().any(|(key, read)| section.has(key) && !read) {
        return None;
    }
    Some(SinkConfig {
        name: name.to_owned(),
        kind,
        url: url?,
        ca_file,
        username,
        password: password?,
        api_key,
        // No server is asked about what follows.
        step_rows: usize::try_from(step_rows.unwrap_or(1)).ok()?,
        max_lag: max_lag.unwrap_or_default(),
        required: required.unwrap_or(true),
        place: section.node.place.clone(),
    })
}
