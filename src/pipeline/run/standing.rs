//! Whether state, slot and source still belong together. Where they do not, nothing of the state is
//! used: all is loaded anew, as a new generation beside the one that readers see.

use tokio_util::sync::CancellationToken;

use super::facts::{self, SourceFact, Stored};
use super::history::{self, Identity, Known};
use super::start::StartError;
use crate::config::{Config, OnSlotLoss};
use crate::lsn::Lsn;
use crate::pg::Params;
use crate::source::catalog::Catalog;
use crate::source::replication::{Lifetime, ReplicationConnection};
use crate::source::{APPLICATION_NAME, slot};
use crate::state::Store;

/// Where state and slot stand.
pub(super) struct Standing {
    /// `None`: all is to be loaded.
    pub stored: Option<Stored>,
    pub slot: Lsn,
    /// Another one when positions of before mean nothing any more.
    pub epoch: u64,
    /// It is another one than the state's.
    pub other_history: bool,
    /// The slot was there, or had been.
    pub is_slot_known: bool,
}

/// What of the state is true of the source.
pub(super) struct Believed {
    stored: Option<Stored>,
    /// In which positions are compared.
    epoch: u64,
    other_history: bool,
}

/// Before anything is touched: what the state is worth, and whether to stop because the slot is lost.
pub(super) fn believe(
    config: &Config,
    store: &Store,
    catalog: &Catalog,
    identity: &Identity,
) -> Result<Believed, StartError> {
    let name = &config.source.slot;
    let (mut stored, epoch) = believed(config, store, identity)?;
    let source: Option<SourceFact> = facts::read(store, facts::SOURCE)?;
    let other_history = source.as_ref().is_some_and(|source| source.epoch != epoch);
    let is_ours =
        |source: &SourceFact| source.slot == *name && source.database == catalog.server.database;
    match (&source, stored) {
        (Some(source), _) if !is_ours(source) => {
            stored = forget(stored, "the state belongs to another slot or database");
        }
        (Some(source), Some(known)) if config.source.on_slot_loss == OnSlotLoss::Stop => {
            if let Some(why) = lost(config, source, known.position().lsn, catalog) {
                return Err(StartError::SlotLost { slot: name.clone(), why });
            }
        }
        _ => {}
    }
    Ok(Believed { stored, epoch, other_history })
}

/// Why the slot will not bring what comes after `ours`, as far as the source shows; to follow the slot's
/// name. Under the same name there may be another slot by now, or another publication.
fn lost(config: &Config, source: &SourceFact, ours: Lsn, catalog: &Catalog) -> Option<String> {
    match slot::state(catalog) {
        slot::State::Missing => return Some("is gone".to_owned()),
        slot::State::Lost(why) => return Some(format!("is lost: {why}")),
        slot::State::Usable(confirmed) if confirmed > ours => {
            return Some(format!(
                "is lost: it has been acknowledged up to {confirmed}, beyond {ours}: it was made \
                 again, or somebody else has read it"
            ));
        }
        slot::State::Usable(_) | slot::State::Foreign(_) => {}
    }
    let publication = &config.source.publication;
    // Another name is another one on purpose.
    if source.publication != *publication {
        return None;
    }
    match &catalog.publication {
        None => Some(format!("is lost: publication {publication} is gone")),
        Some(now) if ![0, now.oid].contains(&source.publication_oid) => {
            Some(format!("is lost: publication {publication} was made again"))
        }
        Some(_) => None,
    }
}

/// Makes sure that slot and state belong together. Afterwards the slot exists.
pub(super) async fn keep_or_forget(
    config: &Config,
    params: &Params,
    believed: Believed,
    catalog: &Catalog,
    waits: slot::Waits<'_>,
    cancel: &CancellationToken,
) -> Result<Standing, StartError> {
    let name = &config.source.slot;
    let Believed { mut stored, epoch, other_history } = believed;
    let lost = match slot::state(catalog) {
        slot::State::Usable(confirmed) => {
            let ours = stored.map(|stored| stored.position().lsn);
            if ours.is_some_and(|ours| ours < confirmed) {
                stored = forget(stored, "the slot has been acknowledged beyond the state");
            }
            return Ok(Standing {
                stored,
                slot: confirmed,
                epoch,
                other_history,
                is_slot_known: true,
            });
        }
        slot::State::Foreign(why) => {
            return Err(StartError::SlotForeign { slot: name.clone(), why: why.to_string() });
        }
        slot::State::Missing => stored.is_some().then(|| "is gone".to_owned()),
        slot::State::Lost(why) => Some(why),
    };
    let is_slot_known = lost.is_some();
    if let Some(why) = lost {
        if config.source.on_slot_loss == OnSlotLoss::Stop {
            return Err(StartError::SlotLost { slot: name.clone(), why });
        }
        tracing::warn!(slot = name, why, "the slot is lost: everything is loaded anew");
        if catalog.slot.is_some() {
            let mut connection = ReplicationConnection::connect(params, APPLICATION_NAME).await?;
            connection.drop_slot(name).await?;
        }
    }
    let lifetime = Lifetime::Permanent;
    let created = slot::create(params, APPLICATION_NAME, name, lifetime, waits, cancel).await?;
    tracing::info!(slot = name, at = %created.consistent_point, "slot created");
    Ok(Standing {
        stored: None,
        slot: created.consistent_point,
        epoch,
        other_history,
        is_slot_known,
    })
}

/// What of the state is true of this source, and the epoch in which positions are compared.
fn believed(
    config: &Config,
    store: &Store,
    identity: &Identity,
) -> Result<(Option<Stored>, u64), StartError> {
    let stored: Option<Stored> = facts::read(store, facts::POSITION)?;
    let source: Option<SourceFact> = facts::read(store, facts::SOURCE)?;
    let Some(source) = source else { return Ok((None, history::new_epoch(0))) };
    let found = &identity.system.system_id;
    if source.system_id != *found {
        if config.source.accept_system.as_ref() != Some(found) {
            return Err(StartError::OtherSystem {
                stored: source.system_id,
                slot: source.slot,
                found: found.clone(),
            });
        }
        forget(stored, "the source is another system, which source.accept_system accepts");
        return Ok((None, history::new_epoch(source.epoch)));
    }
    let Some(known) = stored.map(|stored| Known::stored(&source, &stored)) else {
        return Ok((None, history::new_epoch(source.epoch)));
    };
    if let Some(why) = identity.refutes(known) {
        forget(stored, &format!("the source has another past: {why}"));
        return Ok((None, history::new_epoch(source.epoch)));
    }
    if source.timeline != identity.system.timeline {
        let timeline = identity.system.timeline;
        tracing::warn!(
            timeline,
            "the source has failed over, and nothing that was applied is lost"
        );
    }
    Ok((stored, source.epoch))
}

fn forget(stored: Option<Stored>, why: &str) -> Option<Stored> {
    if stored.is_some() {
        tracing::warn!(why, "the state is not used: everything is loaded anew");
    }
    None
}
