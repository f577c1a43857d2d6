//! The load's task: brings what the source's chunks hold to the engine, and the single rows that a
//! replay misses.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::engine_thread::{Command, Commands, Wanted};
use super::facts::{self, LoadFact};
use super::report::Shared;
use super::start::StartedLoad;
use crate::lsn::Lsn;
use crate::pg::{self, Params};
use crate::source::APPLICATION_NAME;
use crate::source::load::{self, Error, LoadEvent, LoadJob, LoadPlan, LoadTable};

const EVENTS: usize = 4;
const WORKERS: usize = 2;

#[expect(clippy::too_many_arguments, reason = "the ends of every line that meets in this task")]
pub(super) async fn run(
    params: Params,
    load: StartedLoad,
    table_names: Vec<String>,
    rows_per_second: Option<u64>,
    commands: Commands,
    mut wanted: mpsc::Receiver<Wanted>,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) -> Result<(), Error> {
    let StartedLoad { mut plan, done, window, from, tables } = load;
    shared.load_begins(&plan, &done, tables.iter().map(|table| table_names[table.machine].as_str()));
    let job = LoadJob {
        params: params.clone(),
        tables: tables
            .iter()
            .map(|table| LoadTable {
                name: table.name.clone(),
                layout: table.layout.clone(),
                leaves: table.leaves.clone(),
            })
            .collect(),
        plan: plan.clone(),
        done,
        window: window.clone(),
        lsn: from,
        rows_per_second,
        workers: WORKERS,
    };
    let (sender, mut events) = mpsc::channel(EVENTS);
    let worker = load::run(job, sender, cancel.clone());
    tokio::pin!(worker);
    let mut working = true;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            ended = &mut worker, if working => {
                ended?;
                working = false;
            }
            event = events.recv() => {
                let Some(event) = event else { break };
                let command = command(event, &mut plan, &tables, &window.to_string(), from, &table_names);
                if commands.send(command).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    tracing::info!("the load's rows are read; the changes since follow");
    // Rows that the replay of the backlog misses.
    while let Some(row) = wanted.recv().await {
        let table = tables.iter().find(|table| table.machine == row.table);
        let Some(table) = table else { continue };
        let session = pg::connect(&params, APPLICATION_NAME).await?;
        let of = LoadTable {
            name: table.name.clone(),
            layout: table.layout.clone(),
            leaves: table.leaves.clone(),
        };
        let (entry, bound) = load::fetch_row(&session, &of, &row.key, row.xid, from).await?;
        let fetched = Command::Fetched { table: row.table, entry, bound };
        if commands.send(fetched).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn command(
    event: LoadEvent,
    plan: &mut LoadPlan,
    tables: &[super::start::LoadedTable],
    window: &str,
    from: Lsn,
    names: &[String],
) -> Command {
    match event {
        LoadEvent::Rows { table, entries } => {
            Command::Loaded { table: tables[table].machine, entries, bound: None, facts: Vec::new() }
        }
        LoadEvent::Done { id, table, entries, bound } => Command::Loaded {
            table: tables[table].machine,
            entries,
            bound: Some(bound),
            facts: vec![(facts::chunk(id), Some(bound.0.to_be_bytes().to_vec()))],
        },
        LoadEvent::Replanned { dropped, chunks, .. } => {
            let (gone, planned) = (dropped.len(), chunks.len());
            plan.chunks.retain(|chunk| !dropped.contains(&chunk.id));
            plan.chunks.extend(chunks);
            let fact = LoadFact {
                from: from.0,
                window: window.to_owned(),
                tables: tables.iter().map(|table| names[table.machine].clone()).collect(),
                chunks: plan.chunks.clone(),
            };
            Command::Replanned {
                dropped: gone,
                planned,
                facts: vec![(facts::LOAD.to_owned(), Some(facts::write(&fact)))],
            }
        }
    }
}
