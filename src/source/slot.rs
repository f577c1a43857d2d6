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

/// A walsender that is told to end may take some time to do so.
const DROPS_MAX: u32 = 100;
const DROP_PAUSE: Duration = Duration::from_millis(100);

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

/// Told for which transaction a creation waits, again and again while it does, and `None` when it no
/// longer does.
pub type Waits<'a> = &'a (dyn Fn(Option<&Blocker>) + Sync);

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
    waits: Waits<'_>,
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
    let watch = watch_creation(params, application_name, name, process_id, waits, cancel);
    let created = tokio::select! {
        created = creation => match created {
            // The cancelled statement may be heard of before our own request has returned.
            Err(_) if cancel.is_cancelled() => Err(Error::Cancelled(name.to_owned())),
            created => created,
        },
        error = watch => Err(error),
    };
    waits(None);
    let (consistent_point, window) = created?;
    Ok(Created { connection, consistent_point, window })
}

/// A starting point for a load beside a slot that exists: a slot that lives as long as the connection.
pub async fn open_window(
    params: &Params,
    application_name: &str,
    slot: &str,
    waits: Waits<'_>,
    cancel: &CancellationToken,
) -> Result<Created, Error> {
    // A slot's name has at most 63 bytes, all ASCII; an earlier one of ours may still be going away.
    let stem = slot.get(..NAME_STEM_MAX).unwrap_or(slot);
    let name = format!("{stem}_load_{:08x}", fastrand::u32(..));
    create(params, application_name, &name, Lifetime::Temporary, waits, cancel).await
}

/// Drops the slot, whoever reads it: our own walsender may not have noticed yet that we are gone.
pub async fn drop_by_force(session: &Session, name: &str) -> Result<(), pg::Error> {
    const OBJECT_IN_USE: &str = "55006";
    const UNDEFINED_OBJECT: &str = "42704";
    let name = quote::literal(name);
    let end = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
         WHERE slot_name = {name} AND active_pid IS NOT NULL"
    );
    let mut attempt = 0;
    loop {
        session.rows(&end).await?;
        match session.rows(&format!("SELECT pg_drop_replication_slot({name})")).await {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == Some(UNDEFINED_OBJECT) => return Ok(()),
            Err(error) if error.code() == Some(OBJECT_IN_USE) && attempt < DROPS_MAX => {
                attempt += 1;
                tokio::time::sleep(DROP_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Tells for whom the creation waits, for as long as it does; resolves when it is to be given up.
async fn watch_creation(
    params: &Params,
    application_name: &str,
    slot: &str,
    process_id: i32,
    waits: Waits<'_>,
    cancel: &CancellationToken,
) -> Error {
    let mut session = None;
    while cancel.run_until_cancelled(tokio::time::sleep(WAITING_INTERVAL)).await.is_some() {
        match ask(&mut session, params, application_name, process_id).await {
            Ok(Some(blocker)) => {
                tracing::info!(slot, "creating the slot waits for {blocker}");
                waits(Some(&blocker));
            }
            Ok(None) => {
                tracing::info!(slot, "creating the slot");
                waits(None);
            }
            // The creation itself is not touched by it.
            Err(error) => {
                tracing::debug!(slot, %error, "cannot ask for whom the slot's creation waits");
                session = None;
            }
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

async fn ask(
    session: &mut Option<Session>,
    params: &Params,
    application_name: &str,
    process_id: i32,
) -> Result<Option<Blocker>, pg::Error> {
    let session = match session {
        Some(session) => session,
        None => session.insert(pg::connect(params, application_name).await?),
    };
    blocker(session, process_id).await
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
    let waits = format!(
        "(SELECT transactionid FROM pg_locks
          WHERE locktype = 'transactionid' AND NOT granted AND pid = {process_id}
          LIMIT 1)"
    );
    holder(session, &waits).await
}

/// The transaction that has been open for longest, in whatever database: the slot still has to decode
/// all WAL from its first record on, and the server keeps it.
pub async fn oldest_transaction(session: &Session) -> Result<Option<Blocker>, pg::Error> {
    const OLDEST: &str = "(SELECT transactionid FROM pg_locks
                           WHERE locktype = 'transactionid' AND granted AND mode = 'ExclusiveLock'
                           ORDER BY age(transactionid) DESC
                           LIMIT 1)";
    holder(session, OLDEST).await
}

/// Who runs the one transaction of `w`, a query of `transactionid`.
async fn holder(session: &Session, w: &str) -> Result<Option<Blocker>, pg::Error> {
    let sql = format!(
        "SELECT w.transactionid, a.pid, a.usename, a.application_name,
                concat_ws(', ', a.state, a.wait_event_type || ' ' || a.wait_event),
                p.gid, p.owner,
                date_trunc('second', now() - coalesce(a.xact_start, p.prepared))
         FROM {w} AS w
         LEFT JOIN pg_locks h ON h.locktype = 'transactionid' AND h.granted
                             AND h.transactionid = w.transactionid
         LEFT JOIN pg_stat_activity a ON a.pid = h.pid
         LEFT JOIN pg_prepared_xacts p ON p.transaction = w.transactionid
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
