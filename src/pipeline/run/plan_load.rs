//! A load that goes on after a restart, or begins: which tables, in which chunks, from where.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{self, LoadFact, TableFact};
use super::start::{Kept, StartError, Used};
use crate::engine::Batch;
use crate::lsn::Lsn;
use crate::pg::{self, Session};
use crate::pipeline::LoadInit;
use crate::source::load::{LoadLeaf, LoadPlan, LoadTable, Window};
use crate::source::slot;
use crate::state::Store;

/// A load that is to come, begins or goes on.
pub(super) struct StartedLoad {
    /// The machine's tables that it loads, in the order of the plan's numbers.
    pub tables: Vec<LoadedTable>,
    /// `None`: its consistent point is not known yet, and other tables do not wait for it.
    pub begun: Option<BegunLoad>,
}

pub(super) struct BegunLoad {
    pub plan: LoadPlan,
    pub done: BTreeSet<u32>,
    /// By table of the plan: rows of it that the state has already.
    pub rows: Vec<u64>,
    pub window: Window,
    pub from: Lsn,
}

pub(super) struct LoadedTable {
    /// Position in `MachineInit::tables`.
    pub machine: usize,
    pub of_source: LoadTable,
}

/// The load that a restart interrupted, if it still loads what has to be loaded. Tables without a key are read again:
/// what of their rows and of the changes since is in the store is not known exactly enough.
pub(super) fn unfinished(
    kept: &mut Kept,
    store: &Store,
    used: &[Used<'_>],
) -> Result<Option<(StartedLoad, LoadInit)>, StartError> {
    let Some(fact) = facts::read::<LoadFact>(store, facts::LOAD)? else { return Ok(None) };
    let to_load = kept.to_load(used);
    let names: Vec<&String> = to_load.iter().map(|&at| &used[at].name).collect();
    let known = to_load.iter().all(|&at| kept.facts[at].is_some());
    let (true, Ok(window)) = (known && names.iter().copied().eq(&fact.tables), fact.window.parse())
    else {
        return Ok(None);
    };
    let tables = loaded_tables(used, &to_load);
    if !tables.iter().enumerate().all(|at| is_whole(at, &fact.plan)) {
        return Ok(None);
    }
    forget_keyless(store, kept, &fact.plan, &tables, used)?;
    let mut done = BTreeSet::new();
    let mut bound = Lsn::ZERO;
    for (id, bytes) in store.facts("chunk/")? {
        done.extend(id.parse::<u32>().ok());
        bound = bound.max(Lsn(facts::number(Some(&bytes))));
    }
    let mut chunks_left = chunks_of(&fact.plan, &tables);
    chunks_left.retain(|chunk, _| !done.contains(chunk));
    tracing::info!(chunks_done = done.len(), chunks_left = chunks_left.len(), "the load goes on");
    let from = Lsn(fact.from);
    let init = LoadInit { from, bound, chunks_left, backlog_end: store.backlog_end()? };
    let begun = BegunLoad { plan: fact.plan, done, rows: Vec::new(), window, from };
    Ok(Some((StartedLoad { tables, begun: Some(begun) }, init)))
}

/// Older versions have planned tables without a key in pieces.
fn is_whole((number, table): (usize, &LoadedTable), plan: &LoadPlan) -> bool {
    let chunks = plan.chunks.iter().filter(|chunk| chunk.table == number).count();
    !table.of_source.keyless || chunks <= table.of_source.leaves.len()
}

fn forget_keyless(
    store: &Store,
    kept: &mut Kept,
    plan: &LoadPlan,
    tables: &[LoadedTable],
    used: &[Used<'_>],
) -> Result<(), StartError> {
    let mut batch = Batch::default();
    for (number, table) in tables.iter().enumerate() {
        let at = table.machine;
        if !table.of_source.keyless {
            continue;
        }
        let rows_of = kept.new_rows_of();
        let Some(fact) = &mut kept.facts[at] else { continue };
        batch.dropped.push(std::mem::replace(&mut fact.rows_of, rows_of));
        facts::set(&mut batch, facts::table(&used[at].name), fact);
        let chunks = plan.chunks.iter().filter(|chunk| chunk.table == number);
        chunks.for_each(|chunk| batch.remove_fact(facts::chunk(chunk.id)));
    }
    if batch.is_empty() {
        return Ok(());
    }
    facts::set(&mut batch, facts::ROWS_OF, &kept.next_rows_of);
    Ok(store.write(&batch)?)
}

fn loaded_tables(used: &[Used<'_>], to_load: &[usize]) -> Vec<LoadedTable> {
    let table = |&at: &usize| LoadedTable {
        machine: at,
        of_source: LoadTable {
            keyless: used[at].table.is_keyless(),
            name: used[at].table.name.clone(),
            layout: used[at].layout.clone(),
            leaves: (used[at].table.leaves.iter().zip(0..))
                .map(|(leaf, number)| LoadLeaf { oid: leaf.oid, name: leaf.name.clone(), number })
                .collect(),
        },
    };
    to_load.iter().map(table).collect()
}

/// The plan's chunks, each with the machine's number of its table.
pub(super) fn chunks_of(plan: &LoadPlan, tables: &[LoadedTable]) -> BTreeMap<u32, usize> {
    let of = |at: usize| tables.get(at).map(|table| table.machine);
    plan.chunks.iter().filter_map(|chunk| Some((chunk.id, of(chunk.table)?))).collect()
}

/// Every table that the state does not have is to be loaded: nothing of what it has of them counts.
pub(super) fn announce(
    store: &Store,
    kept: &mut Kept,
    used: &[Used<'_>],
) -> Result<StartedLoad, StartError> {
    let to_load = kept.to_load(used);
    let mut batch = Batch { backlog_dropped: true, ..Batch::default() };
    batch.remove_fact(facts::LOAD);
    for (name, _) in store.facts("chunk/")? {
        batch.remove_fact(format!("chunk/{name}"));
    }
    for &at in &to_load {
        let old: Option<TableFact> = facts::read(store, &facts::table(&used[at].name))?;
        batch.dropped.extend(old.map(|fact| fact.rows_of));
        let fact =
            TableFact { rows_of: kept.new_rows_of(), live: false, shape: used[at].shape.clone() };
        facts::set(&mut batch, facts::table(&used[at].name), &fact);
        kept.facts[at] = Some(fact);
    }
    facts::set(&mut batch, facts::ROWS_OF, &kept.next_rows_of);
    store.write(&batch)?;
    Ok(StartedLoad { tables: loaded_tables(used, &to_load), begun: None })
}

/// Plans a load from a starting point of its own; also the fact of it. `names` are the machine's tables'.
pub(super) async fn begin(
    session: &Session,
    tables: &[LoadedTable],
    names: &[String],
    opened: slot::Created,
) -> Result<(BegunLoad, LoadFact), pg::Error> {
    let (from, window) = (opened.consistent_point, opened.window.clone());
    drop(opened);
    let of_source: Vec<LoadTable> = tables.iter().map(|table| table.of_source.clone()).collect();
    let plan = LoadPlan::make(session, &of_source).await?;
    let tables: Vec<String> = tables.iter().map(|table| names[table.machine].clone()).collect();
    tracing::info!(tables = tables.join(", "), chunks = plan.chunks.len(), from = %from, "a load begins");
    let fact = LoadFact { from: from.0, window: window.to_string(), tables, plan: plan.clone() };
    Ok((BegunLoad { plan, done: BTreeSet::new(), rows: Vec::new(), window, from }, fact))
}

/// The same, at once: made durable here.
pub(super) async fn begin_now(
    session: &Session,
    store: &Store,
    load: &mut StartedLoad,
    names: &[String],
    opened: slot::Created,
) -> Result<LoadInit, StartError> {
    let (begun, fact) = begin(session, &load.tables, names, opened).await?;
    let mut batch = Batch::default();
    facts::set(&mut batch, facts::LOAD, &fact);
    store.write(&batch)?;
    let from = begun.from;
    let chunks_left = chunks_of(&begun.plan, &load.tables);
    load.begun = Some(begun);
    Ok(LoadInit { from, bound: from, chunks_left, backlog_end: 0 })
}
