//! The replication connection: a walsender bound to the source's database (manual, 55.4). It answers
//! replication commands and plain SQL, until [`ReplicationConnection::start`] turns it into a stream.

mod gulp;
mod low_water;
mod stream;

pub use gulp::Gulp;
pub use stream::{ReplicationStream, Status};

use std::time::Duration;

use crate::lsn::Lsn;
use crate::pg::wire::{Row, Wire};
use crate::pg::{self, Error, Kind, Params, Purpose};

/// The first version whose CREATE_REPLICATION_SLOT takes its options in parentheses.
const PARENTHESES: u32 = 150_000;
/// The first version whose slots can be carried over to a standby.
const FAILOVER: u32 = 170_000;
/// The first version whose pgoutput sends logical messages.
const MESSAGES: u32 = 140_000;

/// For commands that have nothing to wait for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A future of its methods that is dropped half-way leaves an answer unread: then drop the connection.
#[derive(Debug)]
pub struct ReplicationConnection {
    wire: Wire,
    process_id: i32,
}

/// What IDENTIFY_SYSTEM says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    pub system_id: String,
    pub timeline: u32,
    /// What has been flushed.
    pub xlogpos: Lsn,
    pub dbname: String,
}

/// Where an ancestor of a timeline was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineSwitch {
    pub timeline: u32,
    /// Its WAL counts up to here.
    pub end: Lsn,
}

/// What becomes of the snapshot at a new slot's consistent point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// The transaction that creates the slot sees it: REPEATABLE READ, READ ONLY, nothing before.
    Use,
    /// Other sessions may import it while this connection runs nothing else.
    Export,
    Nothing,
}

/// How long a slot lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is dropped; on 17 and later a standby may take it over.
    Permanent,
    /// As long as the connection.
    Temporary,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSlot {
    /// The stream gives every transaction that commits after it.
    pub consistent_point: Lsn,
    /// With [`Snapshot::Export`]: for SET TRANSACTION SNAPSHOT.
    pub snapshot_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotNow {
    /// A stream goes on from here at the earliest, wherever it is asked to.
    pub confirmed: Option<Lsn>,
    /// The process that has it.
    pub reader: Option<String>,
}

impl ReplicationConnection {
    pub async fn connect(params: &Params, application_name: &str) -> Result<Self, Error> {
        let opened = pg::open(params, Purpose { application_name, replication: true }).await?;
        Ok(Self { wire: opened.wire, process_id: opened.key.process_id })
    }

    /// Of the walsender.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    /// As `server_version_num`.
    pub fn version(&self) -> u32 {
        self.wire.version()
    }

    /// `host:port`, for errors.
    pub fn at(&self) -> &str {
        self.wire.at()
    }

    /// SQL without parameters, or a replication command; the text of all rows.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        self.wire.query(sql).await
    }

    /// As [`Self::query`], of what has nothing to wait for.
    async fn query_at_once(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        in_time(self.wire.at().to_owned(), self.wire.query(sql)).await
    }

    pub async fn identify_system(&mut self) -> Result<System, Error> {
        let rows = self.query_at_once("IDENTIFY_SYSTEM").await?;
        let read = || {
            let [system_id, timeline, xlogpos, dbname] = &only(&rows)?[..] else { return None };
            Some(System {
                system_id: system_id.clone()?,
                timeline: timeline.as_ref()?.parse().ok()?,
                xlogpos: xlogpos.as_ref()?.parse().ok()?,
                dbname: dbname.clone()?,
            })
        };
        read().ok_or_else(|| self.wire.unexpected("IDENTIFY_SYSTEM"))
    }

    /// The ancestors of a timeline, oldest first. The first timeline has none.
    pub async fn timeline_history(&mut self, timeline: u32) -> Result<Vec<TimelineSwitch>, Error> {
        if timeline <= 1 {
            return Ok(Vec::new());
        }
        let rows = self.query_at_once(&format!("TIMELINE_HISTORY {timeline}")).await?;
        let content = only(&rows).and_then(|row| row.get(1)?.as_deref());
        content.and_then(read_history).ok_or_else(|| self.wire.unexpected("TIMELINE_HISTORY"))
    }

    /// Creates a logical slot for pgoutput. It waits for every transaction that runs on the server,
    /// prepared ones included, for as long as they take.
    pub async fn create_slot(
        &mut self,
        name: &str,
        lifetime: Lifetime,
        snapshot: Snapshot,
    ) -> Result<NewSlot, Error> {
        let command = create_slot_command(self.version(), name, lifetime, snapshot);
        let rows = self.query(&command).await?;
        let read = || {
            let [_, consistent_point, snapshot_name, _] = &only(&rows)?[..] else { return None };
            Some(NewSlot {
                consistent_point: consistent_point.as_ref()?.parse().ok()?,
                snapshot_name: snapshot_name.clone(),
            })
        };
        read().ok_or_else(|| self.wire.unexpected("CREATE_REPLICATION_SLOT"))
    }

    /// Waits for a walsender that still uses it to end.
    pub async fn drop_slot(&mut self, name: &str) -> Result<(), Error> {
        self.query(&format!("DROP_REPLICATION_SLOT {} WAIT", identifier(name))).await?;
        Ok(())
    }

    /// Where a slot stands; nothing where there is none.
    pub async fn slot(&mut self, name: &str) -> Result<SlotNow, Error> {
        let sql = format!(
            "SELECT confirmed_flush_lsn, active_pid FROM pg_catalog.pg_replication_slots \
             WHERE slot_name = {}",
            literal(name)
        );
        let rows = self.query_at_once(&sql).await?;
        let Some(row) = only(&rows) else { return Ok(SlotNow::default()) };
        let read = || {
            let [confirmed, reader] = &row[..] else { return None };
            Some(SlotNow {
                confirmed: confirmed.as_deref().map(str::parse).transpose().ok()?,
                reader: reader.clone(),
            })
        };
        read().ok_or_else(|| self.wire.unexpected("pg_replication_slots"))
    }

    /// Begins to stream. The server goes on from `from` or from what the slot has confirmed, whichever
    /// is later, so `Lsn::ZERO` is a fine start.
    pub async fn start(
        mut self,
        slot: &str,
        publication: &str,
        from: Lsn,
    ) -> Result<ReplicationStream, Error> {
        let walsender_timeout = self.walsender_timeout().await?;
        let command = start_command(self.version(), slot, publication, from);
        in_time(self.wire.at().to_owned(), self.wire.copy_both(&command)).await?;
        Ok(ReplicationStream::new(self.wire, walsender_timeout))
    }

    /// After how long the server ends a walsender that hears nothing from us; `None`: never.
    async fn walsender_timeout(&mut self) -> Result<Option<Duration>, Error> {
        let sql = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'";
        let rows = self.query_at_once(sql).await?;
        let millis = only(&rows).and_then(|row| row.first()?.as_ref()?.parse().ok());
        let millis: u64 = millis.ok_or_else(|| self.wire.unexpected("wal_sender_timeout"))?;
        Ok((millis > 0).then(|| Duration::from_millis(millis)))
    }
}

/// A server that is there answers; a network that swallows everything does not say so.
async fn in_time<T>(at: String, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(|_| {
        let seconds = ANSWER_TIMEOUT.as_secs();
        Err(Error::new(Kind::Closed, at, format!("the server has not answered for {seconds} s")))
    })
}

fn only(rows: &[Row]) -> Option<&Row> {
    match rows {
        [row] => Some(row),
        _ => None,
    }
}

/// Lines of timeline, switch point and reason, separated by white space; `#` begins a comment.
fn read_history(text: &str) -> Option<Vec<TimelineSwitch>> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|line| {
            let mut fields = line.split_whitespace();
            let timeline = fields.next()?.parse().ok()?;
            Some(TimelineSwitch { timeline, end: fields.next()?.parse().ok()? })
        })
        .collect()
}

fn create_slot_command(version: u32, name: &str, lifetime: Lifetime, snapshot: Snapshot) -> String {
    let name = identifier(name);
    let temporary = if lifetime == Lifetime::Temporary { " TEMPORARY" } else { "" };
    let options = if version < PARENTHESES {
        match snapshot {
            Snapshot::Use => "USE_SNAPSHOT",
            Snapshot::Export => "EXPORT_SNAPSHOT",
            Snapshot::Nothing => "NOEXPORT_SNAPSHOT",
        }
        .to_string()
    } else {
        let snapshot = match snapshot {
            Snapshot::Use => "use",
            Snapshot::Export => "export",
            Snapshot::Nothing => "nothing",
        };
        let failover = version >= FAILOVER && lifetime == Lifetime::Permanent;
        format!("(SNAPSHOT '{snapshot}'{})", if failover { ", FAILOVER true" } else { "" })
    };
    format!("CREATE_REPLICATION_SLOT {name}{temporary} LOGICAL pgoutput {options}")
}

fn start_command(version: u32, slot: &str, publication: &str, from: Lsn) -> String {
    let messages = if version >= MESSAGES { ", messages 'true'" } else { "" };
    format!(
        "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names {}{messages})",
        identifier(slot),
        literal(&identifier(publication)),
    )
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_written_as_each_version_reads_them() {
        let create = |version, lifetime, snapshot| {
            create_slot_command(version, "s", lifetime, snapshot)
                .strip_prefix("CREATE_REPLICATION_SLOT \"s\"")
                .map(String::from)
        };
        let is = |text: &str| Some(text.to_string());
        assert_eq!(
            create(140_009, Lifetime::Temporary, Snapshot::Use),
            is(" TEMPORARY LOGICAL pgoutput USE_SNAPSHOT")
        );
        assert_eq!(
            create(150_000, Lifetime::Permanent, Snapshot::Export),
            is(" LOGICAL pgoutput (SNAPSHOT 'export')")
        );
        assert_eq!(
            create(170_001, Lifetime::Permanent, Snapshot::Nothing),
            is(" LOGICAL pgoutput (SNAPSHOT 'nothing', FAILOVER true)")
        );
        assert_eq!(
            create(180_000, Lifetime::Temporary, Snapshot::Use),
            is(" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'use')")
        );
        assert_eq!(
            start_command(150_000, "s", "it's \"one\", or two", Lsn(0x1_0000_00AB)),
            "START_REPLICATION SLOT \"s\" LOGICAL 1/AB (proto_version '1', \
             publication_names '\"it''s \"\"one\"\", or two\"', messages 'true')"
        );
        assert!(!start_command(130_000, "s", "p", Lsn::ZERO).contains("messages"));
    }

    #[test]
    fn a_history_names_each_switch() {
        let text = "1\t0/3000158\tno recovery target specified\n\n# comment\n2  0/5000000 why\n";
        let switch = |timeline, end| TimelineSwitch { timeline, end: Lsn(end) };
        assert_eq!(read_history(text), Some(vec![switch(1, 0x300_0158), switch(2, 0x500_0000)]));
        assert_eq!(read_history(""), Some(vec![]));
        assert_eq!(read_history("1"), None);
        assert_eq!(read_history("x 0/1"), None);
    }
}
