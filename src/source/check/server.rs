//! The server's settings, our role, and the slot.

use crate::config::{Config, Diagnostic, OnSlotLoss};
use crate::source::catalog::Catalog;
use crate::source::{quote, slot, standby_names};

pub(super) fn faults(
    catalog: &Catalog,
    config: &Config,
    application_name: &str,
) -> Vec<Diagnostic> {
    let (server, role) = (&catalog.server, &catalog.role);
    let url = config.source.place.entry("url");
    let mut faults = Vec::new();
    let mut fault = |what: String, hint: String| {
        faults.push(Diagnostic::new(what).at(&url).hint(hint));
    };
    if server.in_recovery {
        fault(
            "the source is a standby: no publication can be made there, and positions are another's"
                .into(),
            "name the primary in the url; target_session_attrs=read-write finds it among several hosts"
                .into(),
        );
    }
    if server.wal_level != "logical" {
        fault(
            format!("wal_level is {}, and must be logical", server.wal_level),
            "run on the source, and restart it:\nALTER SYSTEM SET wal_level = logical;".into(),
        );
    }
    if server.encoding == "SQL_ASCII" {
        fault(
            format!(
                "database {} has the encoding SQL_ASCII: its texts may be in any encoding",
                quote::readable(&server.database)
            ),
            "dump it, and restore it into a database with ENCODING 'UTF8'".into(),
        );
    }
    if standby_names::would_match(&server.synchronous_standby_names, application_name) {
        fault(
            format!(
                "synchronous_standby_names = {} makes application_name {application_name} a \
                 synchronous standby: each commit would wait for readside",
                quote::literal(&server.synchronous_standby_names)
            ),
            "list the standbys by their own names there, without *; or set another application_name \
             in the url"
                .into(),
        );
    }
    if !role.replication {
        let role = quote::readable(&role.name);
        fault(
            format!("role {role} may not replicate"),
            format!("run on the source, as a superuser:\nALTER ROLE {role} REPLICATION;"),
        );
    }
    let ours = is_ours(catalog, application_name);
    if server.wal_senders_used >= server.wal_senders_max && !ours {
        fault(
            format!("all walsenders are in use (max_wal_senders = {})", server.wal_senders_max),
            format!(
                "run on the source, and restart it:\nALTER SYSTEM SET max_wal_senders = {};",
                server.wal_senders_max + 4
            ),
        );
    }
    let slots_free = server.replication_slots_max.saturating_sub(server.replication_slots_used);
    if catalog.slot.is_none() && slots_free < 2 {
        let max = server.replication_slots_max;
        fault(
            match slots_free {
                0 => format!("all replication slots are in use (max_replication_slots = {max})"),
                _ => format!(
                    "one replication slot is free, and while a load begins it takes a second one \
                     (max_replication_slots = {max})"
                ),
            },
            format!(
                "drop one that nobody needs, or run on the source, and restart it:\n\
                 ALTER SYSTEM SET max_replication_slots = {};",
                server.replication_slots_max + 4
            ),
        );
    }
    faults.extend(slot_fault(catalog, config, ours));
    faults
}

fn slot_fault(catalog: &Catalog, config: &Config, ours: bool) -> Option<Diagnostic> {
    let name = &config.source.slot;
    let fault = |what: String, hint: String| {
        Some(Diagnostic::new(what).at(&config.source.place.entry("slot")).hint(hint))
    };
    let drop = format!("SELECT pg_drop_replication_slot({});", quote::literal(name));
    match slot::state(catalog) {
        slot::State::Foreign(foreign) => {
            let hint = format!(
                "name another one by source.slot; or, if nobody needs it, run on the source:\n{drop}"
            );
            return fault(format!("replication slot {name} {foreign}"), hint);
        }
        slot::State::Lost(reason) if config.source.on_slot_loss == OnSlotLoss::Stop => {
            let hint = format!(
                "run on the source, and all will be loaded again:\n{drop}\n\
                 or set source.on_slot_loss = \"reload\""
            );
            return fault(format!("replication slot {name} is lost: {reason}"), hint);
        }
        slot::State::Lost(_) | slot::State::Missing | slot::State::Usable(_) => {}
    }
    let active = catalog.slot.as_ref()?.active.as_ref()?;
    if ours {
        return None;
    }
    let application = active.application_name.as_deref().unwrap_or_default();
    fault(
        format!(
            "replication slot {name} is in use by pid {} (role {}, application {})",
            active.pid,
            quote::readable(active.role.as_deref().unwrap_or("unknown")),
            quote::literal(application),
        ),
        "stop that program, or name another slot by source.slot".into(),
    )
}

/// The slot is in use by a daemon of ours: this one's, beside which a check may run, or one that was
/// killed and whose walsender has not noticed yet.
fn is_ours(catalog: &Catalog, application_name: &str) -> bool {
    let active = catalog.slot.as_ref().and_then(|slot| slot.active.as_ref());
    active.is_some_and(|active| {
        active.role.as_deref() == Some(&catalog.role.name)
            && active.application_name.as_deref() == Some(application_name)
    })
}
