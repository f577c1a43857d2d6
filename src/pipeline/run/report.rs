//! The engine's thread's end of what people and machines see: positions for the board, counts for the
//! metrics, and now and then the whole status document.

mod applied;
mod status;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::applied::Applied;
use super::apart::Apart;
use super::laid::{Laid, Lane};
use super::shared::{Shared, lock};
use super::start;
use crate::http::{KeptStatus, StateStatus, Time};
use crate::lsn::Lsn;
use crate::memory;
use crate::metrics::TableMetrics;
use crate::output::Work;
use crate::pipeline::{Counts, Machine, MachineInit, Stage, Table};
use crate::sink::Outcome;
use crate::state::{self, Store};

/// The engine's thread's end of it.
pub(super) struct Report {
    shared: Arc<Shared>,
    laid: Arc<Laid>,
    store: Store,
    table_metrics: Vec<TableMetrics>,
    counted: Vec<Counts>,
    unmatched: Vec<Counts>,
    transactions: u64,
    begun: Instant,
    /// The machine's tables that it does not follow any more.
    fallen: watch::Sender<Vec<usize>>,
    apart: Apart,
    /// By sink and projection of those: the letters that the store has.
    letters_apart: HashMap<(String, String), u64>,
    /// The machine's projections, and behind them its events.
    projections: Vec<String>,
    /// Where these begin.
    events_from: usize,
    /// By projection: the last change that its followers were told of, and the position then.
    told: Vec<(Lsn, Lsn)>,
    /// By sink and the machine's lane: its place among those that are shown.
    lanes: Vec<Vec<usize>>,
    applied: Applied,
    disk_bytes: u64,
    disk_seen: Instant,
}

const DISK_PAUSE: Duration = Duration::from_secs(10);

impl Report {
    pub(super) fn new(
        shared: &Arc<Shared>,
        table_names: &[String],
        init: &MachineInit,
        apart: Apart,
        fallen: watch::Sender<Vec<usize>>,
        store: &Store,
    ) -> Result<Self, state::Error> {
        let loaded = start::loaded_rows(store)?;
        let tables: Vec<TableMetrics> = table_names
            .iter()
            .map(|name| {
                let table = shared.metrics.table(name);
                // Kept over restarts: a process begins with what was loaded before it.
                let before = loaded.get(name).copied().unwrap_or(0);
                table.load_rows.inc_by(before.saturating_sub(table.load_rows.get()));
                table
            })
            .collect();
        let with_event = |at: usize| init.events.iter().any(|event| event.table == Some(at));
        let (of_events, used) = (table_names.iter().enumerate(), table_names.iter());
        let of_events = of_events.filter(|(at, _)| with_event(*at)).map(|(_, name)| name.as_str());
        let used = used.chain(apart.tables.keys()).map(String::as_str);
        shared.metrics.forget_other_tables(&used.collect(), &of_events.collect());
        if init.load.is_none() {
            *lock(&shared.load) = None;
        }
        let now = Instant::now();
        let names = init.projections.iter().map(|projection| &projection.name);
        let names = names.chain(init.events.iter().map(|event| &event.name));
        let projections: Vec<String> = names.cloned().collect();
        let laid = shared.laid();
        let lanes = init.sinks.iter().zip(&laid.sinks).map(|(sink, shown)| {
            let place = |&at: &usize| {
                let found = shown.lanes.iter().position(|lane| lane.projection == projections[at]);
                found.expect("both are of the projections with a target in this sink")
            };
            sink.projections.iter().map(place).collect()
        });
        let lanes: Vec<Vec<usize>> = lanes.collect();
        let letters_apart = letters_apart(&laid, &projections, store)?;
        Ok(Self {
            letters_apart,
            counted: vec![Counts::default(); tables.len()],
            unmatched: vec![Counts::default(); tables.len()],
            table_metrics: tables,
            transactions: 0,
            applied: Applied::new(init.position.lsn, now),
            lanes,
            told: vec![(Lsn::ZERO, Lsn::ZERO); projections.len()],
            projections,
            events_from: init.projections.len(),
            apart,
            fallen,
            begun: now,
            disk_bytes: store.disk_bytes()?,
            disk_seen: now,
            shared: Arc::clone(shared),
            laid,
            store: store.clone(),
        })
    }

    /// Positions, after every turn of the engine: waiters depend on them.
    pub(super) fn positions(&mut self, machine: &Machine) {
        self.applied.moved(machine.applied(), Instant::now());
        let board = &self.laid.board;
        board.set_source_end(machine.applied());
        for (at, sink) in self.laid.sinks.iter().enumerate() {
            for (lane, &shown) in self.lanes[at].iter().enumerate() {
                let delivered = machine.delivered(at, lane);
                let shown = &sink.lanes[shown];
                board.set_delivered(shown.board, delivered.lsn, delivered.settled);
            }
        }
        let applied = machine.applied();
        for (at, (projection, told)) in self.projections.iter().zip(&mut self.told).enumerate() {
            if machine.is_followed(at) {
                board.set_state(projection, applied);
            }
            let last = machine.last_change(at);
            if last != told.0 && applied != told.1 {
                // What is not committed yet counts as soon as it is.
                *told = (if last < applied { last } else { told.0 }, applied);
                if at >= self.events_from {
                    self.shared.occurred().send_replace(());
                } else if let Some(followers) = self.laid.followers(projection) {
                    followers.send_replace(());
                }
            }
        }
        if let Some(wanted) = machine.wanted_position() {
            board.ask_push(wanted);
        }
    }

    pub(super) fn done(&mut self, sink: usize, work: &Work, outcome: &Outcome) {
        let count = |lane: usize, entries: &[crate::engine::Entry]| {
            let deletes = entries.iter().filter(|entry| entry.is_tombstone()).count();
            let refused = outcome.refused(lane).count();
            let metrics = &self.laid.sinks[sink].lanes[self.lanes[sink][lane]].metrics;
            metrics.deletes.inc_by(deletes as u64);
            metrics.upserts.inc_by((entries.len() - deletes).saturating_sub(refused) as u64);
        };
        match work {
            Work::Fill { lane, rows } => count(*lane, rows),
            Work::Amend { lane, changes } => count(*lane, changes),
            Work::Step(step) => step.lanes.iter().for_each(|part| count(part.lane, &part.entries)),
            Work::BeginFill { .. } | Work::EndFill { .. } | Work::Forget { .. } | Work::Reopen => {}
        }
    }

    /// A table's load brought rows, perhaps a chunk's last ones. Returns how many it has brought ever.
    pub(super) fn loaded(
        &mut self,
        machine: &Machine,
        table: usize,
        rows: usize,
        chunk_done: bool,
    ) -> u64 {
        self.table_metrics[table].load_rows.inc_by(rows as u64);
        let name = &machine.tables()[table].name;
        if let Some(load) = lock(&self.shared.load).as_mut() {
            for shown in load.tables.iter_mut().filter(|shown| shown.table == *name) {
                shown.rows += rows as u64;
                shown.chunks_done += u64::from(chunk_done);
                if chunk_done {
                    tracing::info!(
                        table = shown.table,
                        rows = shown.rows,
                        expected = shown.expected,
                        chunk = shown.chunks_done,
                        of = shown.chunks,
                        "loading"
                    );
                }
            }
        }
        self.table_metrics[table].load_rows.get()
    }

    pub(super) fn load_ended(&self) {
        *lock(&self.shared.load) = None;
        tracing::info!("the load is over");
    }

    /// Everything, now and then.
    pub(super) fn full(&mut self, machine: &Machine, durable: Lsn) {
        self.count(machine);
        if self.disk_seen.elapsed() >= DISK_PAUSE {
            self.disk_seen = Instant::now();
            // A size that cannot be read stays the last one known.
            self.disk_bytes = self.store.disk_bytes().unwrap_or(self.disk_bytes);
        }
        let rows = machine.memory_bytes() as u64;
        let metrics = &self.shared.metrics;
        metrics.state_bytes("memory").set(number(rows));
        metrics.state_bytes("spilled").set(number(memory::spilled_bytes()));
        metrics.state_bytes("disk").set(number(self.disk_bytes));
        let lag = self.shared.wal_end().0.saturating_sub(machine.applied().0);
        metrics.source_lag_bytes.set(number(lag));
        metrics.applied_lsn.set(number(machine.applied().0));
        metrics.durable_lsn.set(number(durable.0));
        {
            let mut source = lock(&self.shared.source);
            source.received_lsn = self.laid.board.source_end();
            source.applied_lsn = machine.applied();
            source.durable_lsn = durable;
            source.committed_at =
                (machine.committed_at() != 0).then(|| Time(machine.committed_at()));
            source.lag_bytes = lag;
        }
        let fallen = machine.tables().iter().enumerate();
        let is_fallen = |&(at, table): &(usize, &Table)| {
            matches!(table.stage, Stage::Quarantined(_)) && !machine.has_equal_rows(at)
        };
        let fallen = fallen.filter(is_fallen);
        self.fallen.send_replace(fallen.map(|(at, _)| at).collect());
        let projections = self.projections(machine);
        let tables = self.tables(machine);
        let kept = machine.kept().into_iter().map(|kept| KeptStatus {
            what: kept.what,
            rows: kept.rows as u64,
            bytes: kept.bytes as u64,
            projections: kept.projections,
        });
        let state = StateStatus {
            dir: String::new(),
            memory_bytes: rows,
            disk_bytes: self.disk_bytes,
            kept: kept.collect(),
        };
        let status = self.shared.document(&self.laid.config, projections, tables, state);
        self.shared.publish(status);
    }

    fn count(&mut self, machine: &Machine) {
        let total = machine.transactions_total();
        self.shared.metrics.transactions.inc_by(total - self.transactions);
        self.transactions = total;
        for ((counts, seen), table) in
            machine.counts().iter().zip(&mut self.counted).zip(&self.table_metrics)
        {
            table.insert.inc_by(counts.insert - seen.insert);
            table.update.inc_by(counts.update - seen.update);
            table.delete.inc_by(counts.delete - seen.delete);
            table.truncate.inc_by(counts.truncate - seen.truncate);
            *seen = *counts;
        }
        for (at, seen) in self.unmatched.iter_mut().enumerate() {
            let Some(counts) = machine.unmatched(at) else { continue };
            let name = &machine.tables()[at].name;
            let unmatched = &self.shared.metrics;
            let all = [
                ("insert", counts.insert - seen.insert),
                ("update", counts.update - seen.update),
                ("delete", counts.delete - seen.delete),
            ];
            for (op, more) in all {
                unmatched.unmatched(name, op).inc_by(more);
            }
            *seen = counts;
        }
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What stands apart keeps its letters, which nobody counts as long as it does.
fn letters_apart(
    laid: &Laid,
    followed: &[String],
    store: &Store,
) -> Result<HashMap<(String, String), u64>, state::Error> {
    let mut letters = HashMap::new();
    for sink in &laid.sinks {
        for Lane { projection, .. } in &sink.lanes {
            if !followed.contains(projection) {
                let found = store.facts(&format!("dead/{}/{projection}/", sink.name))?.len();
                letters.insert((sink.name.clone(), projection.clone()), found as u64);
            }
        }
    }
    Ok(letters)
}
