//! `/v1/status`: the whole document as plain data. Whoever fills it keeps secrets out: errors are texts
//! that may be shown to people, URLs do not appear at all.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::config::SinkKind;
use crate::lsn::Lsn;
use crate::output;

#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub started_at: Time,
    pub source: SourceStatus,
    /// Where several instances are one pipeline.
    pub ha: Option<HaStatus>,
    /// While tables are being loaded.
    pub load: Option<LoadStatus>,
    pub projections: Vec<ProjectionStatus>,
    /// All that are configured, from the start.
    pub sinks: Vec<SinkStatus>,
    pub state: StateStatus,
    pub tables: Vec<TableStatus>,
    /// The last attempt to apply another configuration without a restart.
    pub reload: Option<ReloadStatus>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ReloadStatus {
    pub at: Time,
    /// `applied`, `unchanged`, `refused`, or `waiting` (for the source).
    pub result: &'static str,
    /// Such as `added projection orders`.
    pub changes: Vec<String>,
    /// As `check` prints them.
    pub faults: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct SourceStatus {
    /// The stream is flowing.
    pub connected: bool,
    /// Why it is not.
    pub error: Option<String>,
    pub system_id: Option<String>,
    pub timeline: Option<u32>,
    pub slot: String,
    pub publication: String,
    #[serde(serialize_with = "text")]
    pub received_lsn: Lsn,
    #[serde(serialize_with = "text")]
    pub applied_lsn: Lsn,
    #[serde(serialize_with = "text")]
    pub durable_lsn: Lsn,
    /// Of the last transaction applied.
    pub committed_at: Option<Time>,
    pub lag_bytes: u64,
    /// WAL that the server keeps for the slot.
    pub retained_bytes: u64,
    pub wal_budget_bytes: u64,
    /// Our part of it is near the budget or above.
    pub wal_alarm: Option<String>,
    /// The transaction that makes the server keep it, where it is not we.
    pub wal_held_by: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct HaStatus {
    pub group: String,
    pub role: RoleStatus,
    /// The group's, as far as it is known here.
    pub term: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleStatus {
    Leader,
    Standby,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct LoadStatus {
    pub tables: Vec<TableLoad>,
    /// Whom the start of the load waits for.
    pub waiting_for: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct TableLoad {
    pub table: String,
    pub rows: u64,
    /// As the source estimates.
    pub expected: u64,
    pub chunks_done: u64,
    pub chunks: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct ProjectionStatus {
    pub name: String,
    pub state: ProjectionState,
    /// Why it is quarantined.
    pub reason: Option<String>,
    pub rows: u64,
    pub sinks: Vec<LaneStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectionState {
    Loading,
    Live,
    Quarantined,
}

/// The projection in one of its sinks.
#[derive(Debug, Clone, Serialize)]
pub struct LaneStatus {
    pub sink: String,
    pub state: LaneState,
    /// What stands in its way in this sink.
    pub error: Option<String>,
    #[serde(serialize_with = "text")]
    pub lsn: Lsn,
    pub settled: bool,
    pub generation: u64,
    /// While a generation is filled: rows that it was given so far.
    pub filled_rows: Option<u64>,
    pub lag_bytes: u64,
    pub lag_seconds: f64,
    pub dead_letters: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    Unknown,
    Loading,
    Held,
    Filling,
    Live,
    Halted,
}

impl From<output::LaneState> for LaneState {
    fn from(state: output::LaneState) -> Self {
        match state {
            output::LaneState::Unknown => LaneState::Unknown,
            output::LaneState::Loading => LaneState::Loading,
            output::LaneState::Held => LaneState::Held,
            output::LaneState::Filling => LaneState::Filling,
            output::LaneState::Live => LaneState::Live,
            output::LaneState::Halted => LaneState::Halted,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct SinkStatus {
    pub name: String,
    #[serde(serialize_with = "kind")]
    pub kind: SinkKind,
    pub up: bool,
    /// Why it is not up.
    pub error: Option<String>,
    pub retries: u64,
    /// When it came up or went down; the daemon's start until it has done either.
    pub since: Time,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct StateStatus {
    pub dir: String,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    /// In memory, beside the logs of recent changes.
    pub kept: Vec<KeptStatus>,
}

/// Rows that are kept for projections.
#[derive(Debug, Clone, Serialize)]
pub struct KeptStatus {
    pub what: String,
    pub rows: u64,
    pub bytes: u64,
    /// Those that need it.
    pub projections: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct TableStatus {
    /// Schema-qualified.
    pub name: String,
    pub state: ProjectionState,
    /// Why it is quarantined.
    pub reason: Option<String>,
    pub rows: u64,
}

impl Status {
    /// Of a daemon that has just started and has reached nobody yet.
    pub fn new(started_at: Time) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION"),
            started_at,
            source: SourceStatus::default(),
            ha: None,
            load: None,
            projections: Vec::new(),
            sinks: Vec::new(),
            state: StateStatus::default(),
            tables: Vec::new(),
            reload: None,
        }
    }
}

/// A moment: microseconds since 2000-01-01 UTC, as Postgres counts. Shown as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

/// From 1970 to 2000.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

impl Time {
    pub fn now() -> Time {
        let since_1970 = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros)
            }
        };
        Time(since_1970.saturating_sub(EPOCH_MICROS))
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, micros) = (self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Year, month and day of a number of days since 2000-01-01. Years are counted from March, so that
/// the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    // 2000-03-01 begins a cycle of 400 years.
    let days = days - 60;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months of 31, 30, 31, 30, 31 days, twice and a bit.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (2000 + 400 * cycle + year + carry, month, day)
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(super) fn text<S: Serializer>(lsn: &Lsn, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(lsn)
}

fn kind<S: Serializer>(kind: &SinkKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match kind {
        SinkKind::Postgres => "postgres",
        SinkKind::Redis => "redis",
        SinkKind::Elasticsearch => "elasticsearch",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339() {
        for (micros, text) in [
            (0, "2000-01-01T00:00:00.000000Z"),
            (-1, "1999-12-31T23:59:59.999999Z"),
            (-EPOCH_MICROS, "1970-01-01T00:00:00.000000Z"),
            (1, "2000-01-01T00:00:00.000001Z"),
            (59 * 86_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (60 * 86_400_000_000, "2000-03-01T00:00:00.000000Z"),
            // date -d 2026-11-30T12:34:56Z +%s gives 1796042096.
            (1_796_042_096_000_000 - EPOCH_MICROS, "2026-11-30T12:34:56.000000Z"),
            // 1709164800 is 2024-02-29, 4107542400 is 2100-03-01.
            (1_709_164_800_000_000 - EPOCH_MICROS, "2024-02-29T00:00:00.000000Z"),
            (4_107_542_400_000_000 - EPOCH_MICROS, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Time(micros).to_string(), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = civil(-200_000);
        for days in -199_999..=200_000 {
            let next = civil(days);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, d) if d == length => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
            assert_eq!(next, (year, month, day));
        }
    }
}
