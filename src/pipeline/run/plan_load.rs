//! A load that goes on after a restart, or begins: which tables, in which chunks, from where.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{self, LoadFact, TableFact};
use super::start::{Kept, StartError, Used};
use crate::engine::Batch;
use crate::lsn::Lsn;
use crate::pg::Session;
use crate::pipeline::LoadInit;
use crate::source::load::{LoadLeaf, LoadPlan, LoadTable, Window};
use crate::source::slot;
use crate::state::Store;

/// A load that begins or goes on.
pub(super) struct StartedLoad {
    pub plan: LoadPlan,
    pub done: BTreeSet<u32>,
    pub window: Window,
    pub from: Lsn,
    /// The machine's tables that it loads, in the order of the plan's numbers.
    pub tables: Vec<LoadedTable>,
}

pub(super) struct LoadedTable {
    /// Position in `MachineInit::tables`.
    pub machine: usize,
    pub of_source: LoadTable,
}

/// The load that a restart interrupted, if it still loads what has to be loaded.
pub(super) fn unfinished(
    kept: &Kept,
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
    let mut done = BTreeSet::new();
    let mut bound = Lsn::ZERO;
    for (id, bytes) in store.facts("chunk/")? {
        done.extend(id.parse::<u32>().ok());
        bound = bound.max(Lsn(facts::number(Some(&bytes))));
    }
    let tables = loaded_tables(used, &to_load);
    let mut chunks_left = chunks_of(&fact.plan, &tables);
    chunks_left.retain(|chunk, _| !done.contains(chunk));
    tracing::info!(chunks_done = done.len(), chunks_left = chunks_left.len(), "the load goes on");
    let from = Lsn(fact.from);
    let init = LoadInit { from, bound, chunks_left, backlog_end: store.backlog_end()? };
    Ok(Some((StartedLoad { plan: fact.plan, done, window, from, tables }, init)))
}

fn loaded_tables(used: &[Used<'_>], to_load: &[usize]) -> Vec<LoadedTable> {
    let table = |&at: &usize| LoadedTable {
        machine: at,
        of_source: LoadTable {
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
fn chunks_of(plan: &LoadPlan, tables: &[LoadedTable]) -> BTreeMap<u32, usize> {
    let of = |at: usize| tables.get(at).map(|table| table.machine);
    plan.chunks.iter().filter_map(|chunk| Some((chunk.id, of(chunk.table)?))).collect()
}

/// Plans a load of every table that the state does not have, from a starting point of its own.
pub(super) async fn begin(
    session: &Session,
    store: &Store,
    kept: &mut Kept,
    used: &[Used<'_>],
    opened: slot::Created,
) -> Result<(StartedLoad, LoadInit), StartError> {
    let to_load = kept.to_load(used);
    let (from, window) = (opened.consistent_point, opened.window.clone());
    drop(opened);
    let loaded = loaded_tables(used, &to_load);
    let of_source: Vec<LoadTable> = loaded.iter().map(|table| table.of_source.clone()).collect();
    let plan = LoadPlan::make(session, &of_source).await?;
    let mut batch = Batch { backlog_dropped: true, ..Batch::default() };
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
    let tables: Vec<String> = to_load.iter().map(|&at| used[at].name.clone()).collect();
    tracing::info!(tables = tables.join(", "), chunks = plan.chunks.len(), from = %from, "a load begins");
    let fact = LoadFact { from: from.0, window: window.to_string(), tables, plan: plan.clone() };
    facts::set(&mut batch, facts::LOAD, &fact);
    facts::set(&mut batch, facts::ROWS_OF, &kept.next_rows_of);
    store.write(&batch)?;
    let chunks_left = chunks_of(&plan, &loaded);
    let init = LoadInit { from, bound: from, chunks_left, backlog_end: 0 };
    let load = StartedLoad { plan, done: BTreeSet::new(), window, from, tables: loaded };
    Ok((load, init))
}
