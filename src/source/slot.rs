//! The replication slot: whether the one that exists can be used, how a new one is made, and for whom
//! its creation waits.
//!
//! A slot is created after its publication has committed: otherwise each read of it fails for ever.
//! The transaction that creates it also tells, by its snapshot, which transactions had ended for the
//! slot's starting point: the [`Window`] that every chunk of a load is held against.

use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::catalog::Catalog;
use super::load::{ParseWindowError, Window};
use super::quote;
use super::replication::{Lifetime, ReplicationConnection, Snapshot};
use crate::lsn::Lsn;
use crate::pg::{self, Params, Session};

/// How often a creation that waits says for whom.
const WAITING_INTERVAL: Duration = Duration::from_secs(3);

/// Leaves room for what `open_window` appends.
const NAME_STEM_MAX: usize = 63 - "_load_00000000".len();

/// What the catalog says of the slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Missing,
    /// It goes on from here.
    Usable(Lsn),
    /// It will never bring what we need: the reason. It must be dropped and all be loaded again.
    Lost(String),
    /// It is not ours to use.
    Foreign(Foreign),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    Physical,
    Plugin(String),
    Database(String),
    Temporary,
}

/// Reads as what follows the slot's name.
impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreign::Physical => f.write_str("is a physical slot"),
            Foreign::Plugin(plugin) => write!(f, "uses the output plugin {plugin}, not pgoutput"),
            Foreign::Database(database) => {
                write!(f, "belongs to database {}", quote::readable(database))
            }
            Foreign::Temporary => f.write_str("is a temporary slot of another session"),
        }
    }
}

/// Judges the slot of the scope that the catalog was read for.
pub fn state(catalog: &Catalog) -> State {
    let Some(slot) = &catalog.slot else { return State::Missing };
    let (Some(plugin), Some(database)) = (&slot.plugin, &slot.database) else {
        return State::Foreign(Foreign::Physical);
    };
    if plugin != "pgoutput" {
        return State::Foreign(Foreign::Plugin(plugin.clone()));
    }
    if *database != catalog.server.database {
        return State::Foreign(Foreign::Database(database.clone()));
    }
    if slot.temporary {
        return State::Foreign(Foreign::Temporary);
    }
    if let Some(reason) = &slot.lost {
        return State::Lost(format!("the server has invalidated it: {reason}"));
    }
    // Still being created by a session that is gone or waits; it vanishes, or becomes usable.
    let Some(confirmed) = slot.confirmed_flush else { return State::Missing };
    let mark = catalog.publication.as_ref().and_then(|publication| publication.mark.as_ref());
    match mark {
        Some(mark) if mark.lsn > confirmed => State::Lost(format!(
            "its publication was made again after {}, beyond the slot's position {confirmed}",
            mark.lsn
        )),
        _ => State::Usable(confirmed),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Pg(#[from] pg::Error),
    #[error("the server's snapshot cannot be read")]
    Window(#[from] ParseWindowError),
    #[error("stopped while slot {0} was being created")]
    Cancelled(String),
}

/// A starting point for a load.
#[derive(Debug)]
pub struct Created {
    /// A temporary slot lives as long as it does.
    pub connection: ReplicationConnection,
    /// The stream gives every transaction that commits after it.
    pub consistent_point: Lsn,
    pub window: Window,
}

/// Creates the slot. That waits for every transaction that runs on the server, prepared ones included;
/// meanwhile a log line says now and then for which.
pub async fn create(
    params: &Params,
    application_name: &str,
    name: &str,
    lifetime: Lifetime,
    cancel: &CancellationToken,
) -> Result<Created, Error> {
    let mut connection = ReplicationConnection::connect(params, application_name).await?;
    let process_id = connection.process_id();
    let creation = async {
        connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let slot = connection.create_slot(name, lifetime, Snapshot::Use).await?;
        let rows = connection.query("SELECT pg_catalog.pg_current_snapshot()").await?;
        let text = rows.first().and_then(|row| row.first()?.as_deref()).unwrap_or_default();
        let window = Window::parse(text)?;
        connection.query("COMMIT").await?;
        Ok::<_, Error>((slot.consistent_point, window))
    };
    let watch = watch_creation(params, application_name, name, process_id, cancel);
    let (consistent_point, window) = tokio::select! {
        created = creation => match created {
            // The cancelled statement may be heard of before our own request has returned.
            Err(_) if cancel.is_cancelled() => return Err(Error::Cancelled(name.to_owned())),
            created => created?,
        },
        error = watch => return Err(error),
    };
    Ok(Created { connection, consistent_point, window })
}

/// A starting point for a load beside a slot that exists: a slot that lives as long as the connection.
pub async fn open_window(
    params: &Params,
    application_name: &str,
    slot: &str,
    cancel: &CancellationToken,
) -> Result<Created, Error> {
    // A slot's name has at most 63 bytes, all ASCII; an earlier one of ours may still be going away.
    let stem = slot.get(..NAME_STEM_MAX).unwrap_or(slot);
    let name = format!("{stem}_load_{:08x}", fastrand::u32(..));
    create(params, application_name, &name, Lifetime::Temporary, cancel).await
}

/// Tells for whom the creation waits, for as long as it does; resolves when it is to be given up.
async fn watch_creation(
    params: &Params,
    application_name: &str,
    slot: &str,
    process_id: i32,
    cancel: &CancellationToken,
) -> Error {
    let mut session = None;
    while cancel.run_until_cancelled(tokio::time::sleep(WAITING_INTERVAL)).await.is_some() {
        if let Err(error) = tell(&mut session, params, application_name, slot, process_id).await {
            // The creation itself is not touched by it.
            tracing::debug!(slot, %error, "cannot ask for whom the slot's creation waits");
            session = None;
        }
    }
    // A walsender that waits for a transaction does not notice that its client has gone: it would
    // make the slot some day, for nobody.
    let cancelled = async {
        let session = match session {
            Some(session) => session,
            None => pg::connect(params, application_name).await?,
        };
        session.rows(&format!("SELECT pg_cancel_backend({process_id})")).await
    };
    if let Err(error) = cancelled.await {
        tracing::warn!(slot, %error, "the slot's creation could not be cancelled on the server");
    }
    Error::Cancelled(slot.to_owned())
}

async fn tell(
    session: &mut Option<Session>,
    params: &Params,
    application_name: &str,
    slot: &str,
    process_id: i32,
) -> Result<(), pg::Error> {
    let session = match session {
        Some(session) => session,
        None => session.insert(pg::connect(params, application_name).await?),
    };
    match blocker(session, process_id).await? {
        Some(blocker) => tracing::info!(slot, "creating the slot waits for {blocker}"),
        None => tracing::info!(slot, "creating the slot"),
    }
    Ok(())
}

/// A transaction that the creation of a slot waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    pub xid: String,
    /// As Postgres prints an interval.
    pub age: Option<String>,
    pub holder: Holder,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Session {
        pid: i32,
        role: String,
        application_name: String,
        doing: String,
    },
    /// PREPARE TRANSACTION left it behind; only COMMIT PREPARED or ROLLBACK PREPARED ends it.
    Prepared {
        gid: String,
        role: String,
    },
    /// It has just ended, or is another database's and not shown.
    Unknown,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {}", self.xid)?;
        if let Some(age) = &self.age {
            write!(f, ", open for {age}")?;
        }
        match &self.holder {
            Holder::Session { pid, role, application_name, doing } => {
                write!(f, ", of pid {pid} (role {role}")?;
                if !application_name.is_empty() {
                    write!(f, ", application {application_name}")?;
                }
                write!(f, ", {doing})")
            }
            Holder::Prepared { gid, role } => {
                write!(f, ", prepared by role {role} as {}", quote::literal(gid))
            }
            Holder::Unknown => Ok(()),
        }
    }
}

/// The transaction that this walsender waits for just now.
pub async fn blocker(session: &Session, process_id: i32) -> Result<Option<Blocker>, pg::Error> {
    let sql = format!(
        "SELECT w.transactionid, a.pid, a.usename, a.application_name,
                concat_ws(', ', a.state, a.wait_event_type || ' ' || a.wait_event),
                p.gid, p.owner,
                date_trunc('second', now() - coalesce(a.xact_start, p.prepared))
         FROM pg_locks w
         LEFT JOIN pg_locks h ON h.locktype = 'transactionid' AND h.granted
                             AND h.transactionid = w.transactionid
         LEFT JOIN pg_stat_activity a ON a.pid = h.pid
         LEFT JOIN pg_prepared_xacts p ON p.transaction = w.transactionid
         WHERE w.locktype = 'transactionid' AND NOT w.granted AND w.pid = {process_id}
         LIMIT 1"
    );
    let rows = session.rows(&sql).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let Ok([xid, pid, role, application_name, doing, gid, owner, age]) =
        <[Option<String>; 8]>::try_from(row)
    else {
        return Ok(None);
    };
    let pid = pid.and_then(|pid| pid.parse().ok());
    let holder = match (pid, gid) {
        (Some(pid), _) => Holder::Session {
            pid,
            role: role.unwrap_or_default(),
            application_name: application_name.unwrap_or_default(),
            doing: doing.filter(|text| !text.is_empty()).unwrap_or_else(|| "not shown".into()),
        },
        (None, Some(gid)) => Holder::Prepared { gid, role: owner.unwrap_or_default() },
        (None, None) => Holder::Unknown,
    };
    Ok(Some(Blocker { xid: xid.unwrap_or_default(), age, holder }))
}
