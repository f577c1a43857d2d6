//! `[source]`, `[state]`, `[http]` and `[ha]`.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::credentials;
use super::diagnostic::Diagnostic;
use super::faults::Faults;
use super::node::{Node, Origin, Text, Value};
use super::place::Place;
use super::section::{Section, wrong_type};
use super::sinks::check_name;
use super::{
    HaConfig, HttpConfig, OnSlotLoss, OnWalBudget, PostgresUrlCheck, SinkKind, SourceConfig,
    StateConfig,
};

const SOURCE_KEYS: &[&str] = &[
    "url",
    "password",
    "password_file",
    "slot",
    "publication",
    "on_slot_loss",
    "wal_budget",
    "on_wal_budget",
    "load_rows_per_second",
    "accept_system",
];

const POSTGRES_NAME_BYTES_MAX: usize = 63;

pub(super) fn source(
    root: &Node,
    check: PostgresUrlCheck<'_>,
    faults: &mut Faults,
) -> Option<SourceConfig> {
    let section = Section::open(root.get("source")?, "[source]".to_owned(), SOURCE_KEYS, faults)?;
    let password = credentials::password(&section, faults);
    let known = password.as_ref().and_then(Option::as_ref);
    let url = credentials::url(&section, SinkKind::Postgres, known, check, faults);
    let slot = slot(&section, faults);
    let publication = match section.has("publication") {
        true => publication(&section, faults),
        false => slot.clone(),
    };
    let on_slot_loss = section.choice(
        "on_slot_loss",
        &[("reload", OnSlotLoss::Reload), ("stop", OnSlotLoss::Stop)],
        faults,
    );
    let wal_budget = section.size("wal_budget", faults);
    let on_wal_budget = section.choice(
        "on_wal_budget",
        &[("hold", OnWalBudget::Hold), ("drop-slot", OnWalBudget::DropSlot)],
        faults,
    );
    let load_rows_per_second = section.count("load_rows_per_second", 1..=u64::MAX, faults);
    let accept_system = system_identifier(&section, faults);
    Some(SourceConfig {
        url: url?,
        password: password?,
        slot: slot?,
        publication: publication?,
        // No server is asked about what follows.
        on_slot_loss: on_slot_loss.unwrap_or(OnSlotLoss::Stop),
        wal_budget: wal_budget.unwrap_or_default(),
        on_wal_budget: on_wal_budget.unwrap_or(OnWalBudget::Hold),
        load_rows_per_second,
        accept_system,
        place: section.node.place.clone(),
    })
}

fn slot(section: &Section<'_>, faults: &mut Faults) -> Option<String> {
    let name = section.text("slot", faults)?;
    let sensible = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if (1..=POSTGRES_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(sensible) {
        return Some(name.to_owned());
    }
    let what = "`slot` takes 1 to 63 lower case letters, digits and underscores";
    faults.push(Diagnostic::new(what).at(&section.node.place.entry("slot")));
    None
}

fn publication(section: &Section<'_>, faults: &mut Faults) -> Option<String> {
    let name = section.text("publication", faults)?;
    if (1..=POSTGRES_NAME_BYTES_MAX).contains(&name.len()) && !name.contains('\0') {
        return Some(name.to_owned());
    }
    let what = "`publication` takes a name of 1 to 63 bytes";
    faults.push(Diagnostic::new(what).at(&section.node.place.entry("publication")));
    None
}

/// Written as a number or as a string, since it may be larger than a TOML number.
fn system_identifier(section: &Section<'_>, faults: &mut Faults) -> Option<String> {
    let node = section.get("accept_system")?;
    let text = match &node.value {
        Value::Integer(number) => number.to_string(),
        Value::Text(Text { value, .. }) => value.clone(),
        _ => return wrong_type(node, "accept_system", "a system identifier", faults),
    };
    if text.parse::<u64>().is_ok() {
        return Some(text);
    }
    let what = "`accept_system` takes the new system's identifier, a number";
    let hint = "ask the source: SELECT system_identifier FROM pg_control_system()";
    faults.push(Diagnostic::new(what).at(&node.place).hint(hint));
    None
}

pub(super) fn state(root: &Node, faults: &mut Faults) -> Option<StateConfig> {
    let known = ["dir", "memory", "tombstones"];
    let section = Section::open(root.get("state")?, "[state]".to_owned(), &known, faults)?;
    let dir = section.text("dir", faults).filter(|dir| {
        let what = match dir.is_empty() {
            true => "`dir` names no directory",
            false if is_taken(dir.as_ref()) => {
                "`dir` is, or lies below, something else than a directory"
            }
            false => return true,
        };
        let hint = "write the path of a directory that Readside may make its own";
        let place = section.node.place.entry("dir");
        faults.push(Diagnostic::new(what).at(&place).hint(hint));
        false
    });
    let memory = section.size("memory", faults);
    let tombstones = section.size("tombstones", faults);
    Some(StateConfig { dir: dir?.into(), memory: memory?, tombstones: tombstones? })
}

/// Whether no directory can be made there. One that cannot be looked at may be one.
fn is_taken(dir: &Path) -> bool {
    match std::fs::metadata(dir) {
        Ok(found) => !found.is_dir(),
        Err(error) => error.kind() == ErrorKind::NotADirectory,
    }
}

pub(super) fn http(root: &Node, faults: &mut Faults) -> Option<HttpConfig> {
    let known = ["listen", "token_file"];
    let section = Section::open(root.get("http")?, "[http]".to_owned(), &known, faults)?;
    let listen = listen(&section, faults);
    let token = credentials::secret_file(&section, "token_file", faults);
    let (token_file, token) = token.unzip();
    Some(HttpConfig { listen: listen?, token_file, token })
}

/// Shorter, and a busy moment of the source's would be taken for the leader's end.
const LEASE_MIN: Duration = Duration::from_secs(1);
/// The leader's end would go unnoticed for as long.
const LEASE_MAX: Duration = Duration::from_secs(300);

/// `None` also where there is no group.
pub(super) fn ha(root: &Node, faults: &mut Faults) -> Option<HaConfig> {
    let section = Section::open(root.get("ha")?, "[ha]".to_owned(), &["group", "lease"], faults)?;
    let lease = section.duration("lease", faults).filter(|lease| {
        let is_sensible = (LEASE_MIN..=LEASE_MAX).contains(lease);
        if !is_sensible {
            let what = "`lease` takes a duration from 1s to 5m";
            faults.push(Diagnostic::new(what).at(&section.node.place.entry("lease")));
        }
        is_sensible
    });
    let Some(node) = section.get("group") else {
        // A lease at its default is of no place.
        if let Some(lease) = section.get("lease").filter(|lease| lease.place != Place::default()) {
            let what = "[ha] has no `group`";
            let hint = "name the instances that take over from each other: group = \"shop\"";
            faults.push(Diagnostic::new(what).at(&lease.key_place).hint(hint));
        }
        return None;
    };
    let group = section.text("group", faults)?;
    check_name(group, "group", node, faults);
    Some(HaConfig { group: group.to_owned(), lease: lease? })
}

fn listen(section: &Section<'_>, faults: &mut Faults) -> Option<String> {
    let node = section.get("listen")?;
    let address = section.text("listen", faults)?;
    let has_port = |(host, port): (&str, &str)| {
        let ipv6 = host.starts_with('[') && host.ends_with(']');
        !host.is_empty() && (ipv6 || !host.contains(':')) && port.parse::<u16>().is_ok()
    };
    if address.rsplit_once(':').is_some_and(has_port) {
        return Some(address.to_owned());
    }
    // A variable's or a substituted value is not quoted anywhere.
    let got = match &node.value {
        Value::Text(Text { value, origin: Origin::Literal }) => format!(", not `{value}`"),
        _ => String::new(),
    };
    let what = format!("`listen` takes an address and a port{got}");
    let hint = "write listen = \"127.0.0.1:7433\", or \"0.0.0.0:7433\" for every interface";
    faults.push(Diagnostic::new(what).at(&node.place).hint(hint));
    None
}
