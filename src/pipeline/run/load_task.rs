//! The load's task: brings what the source's chunks hold to the engine, and the single rows that a
//! replay misses.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::engine_thread::{Command, Commands, Wanted};
use super::facts::{self, LoadFact};
use super::plan_load::{self, BegunLoad, LoadedTable, StartedLoad};
use super::shared::Shared;
use crate::engine::Leaf;
use crate::lsn::Lsn;
use crate::pg::{self, Params};
use crate::pipeline::{Seen, rows_lsn};
use crate::sink::Backoff;
use crate::sink::delivery::chain;
use crate::source::APPLICATION_NAME;
use crate::source::load::{
    self, Error, FetchError, Fetched, LoadEvent, LoadJob, LoadPlan, LoadTable, Window,
};
use crate::source::slot;

const EVENTS: usize = 4;
const WORKERS: usize = 2;

#[expect(clippy::too_many_arguments, reason = "the ends of every line that meets in this task")]
pub(super) async fn run(
    params: Params,
    slot: String,
    load: StartedLoad,
    table_names: Vec<String>,
    rows_per_second: Option<u64>,
    commands: Commands,
    mut wanted: mpsc::Receiver<Wanted>,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) -> Result<(), Error> {
    let StartedLoad { tables, begun } = load;
    let begun = match begun {
        Some(begun) => begun,
        None => {
            match begin(&params, &slot, &tables, &table_names, &commands, &shared, &cancel).await {
                Some(begun) => begun,
                None => return Ok(()),
            }
        }
    };
    let BegunLoad { mut plan, done, rows, window, from } = begun;
    shared.load_begins(
        &plan,
        &done,
        &rows,
        tables.iter().map(|table| table_names[table.machine].as_str()),
    );
    let job = LoadJob {
        params: params.clone(),
        application_name: APPLICATION_NAME.to_owned(),
        tables: tables.iter().map(|table| table.of_source.clone()).collect(),
        plan: plan.clone(),
        done: done.into_iter().collect(),
        window: window.clone(),
        lsn: rows_lsn(from),
        rows_per_second,
        workers: WORKERS,
    };
    let (sender, mut events) = mpsc::channel(EVENTS);
    let worker = load::run(job, sender, cancel.clone());
    tokio::pin!(worker);
    let mut working = true;
    let mut under_way = VecDeque::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            ended = &mut worker, if working => {
                ended?;
                working = false;
            }
            event = events.recv() => {
                let Some(event) = event else { break };
                let (room, has_room) = oneshot::channel();
                let command = commands_of(event, &mut plan, &tables, &window.to_string(), from, &table_names, room);
                if commands.send(command).await.is_err() {
                    return Ok(());
                }
                // Some are on their way, so that nobody waits for a mere answer.
                under_way.push_back(has_room);
                if under_way.len() >= EVENTS
                    && let Some(has_room) = under_way.pop_front()
                    && has_room.await.is_err()
                    && cancel.is_cancelled()
                {
                    return Ok(());
                }
            }
        }
    }
    tracing::info!("the load's rows are read; the changes since follow");
    // Rows that the replay of the backlog misses.
    while let Some(row) = wanted.recv().await {
        let Some(table) = tables.iter().find(|table| table.machine == row.table) else { continue };
        let fetched = fetch(&params, &table.of_source, &row, rows_lsn(from), &cancel).await;
        let table = row.table;
        let command = match fetched {
            None => return Ok(()),
            Some(Ok(Fetched { entry, bound })) => Command::Fetched { table, entry, bound },
            Some(Err(error)) => Command::Quarantine { table, why: chain(&error) },
        };
        if commands.send(command).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Opens a starting point while the other tables are followed, for as long as that takes; `None` when cancelled.
async fn begin(
    params: &Params,
    slot: &str,
    tables: &[LoadedTable],
    names: &[String],
    commands: &Commands,
    shared: &Shared,
    cancel: &CancellationToken,
) -> Option<BegunLoad> {
    let waits = |blocker: Option<&slot::Blocker>| {
        if blocker.is_some() {
            shared.load_waits(blocker);
        }
    };
    let mut backoff = Backoff::default();
    loop {
        let attempt = async {
            let opened = slot::open_window(params, APPLICATION_NAME, slot, &waits, cancel).await?;
            let session = pg::connect(params, APPLICATION_NAME).await?;
            Ok::<_, slot::Error>(plan_load::begin(&session, tables, names, opened).await?)
        };
        let error = match attempt.await {
            Ok((begun, fact)) => {
                let facts = vec![(facts::LOAD.to_owned(), Some(facts::write(&fact)))];
                let chunks = plan_load::chunks_of(&begun.plan, tables);
                let command = Command::LoadBegins { from: begun.from, chunks, facts };
                return commands.send(command).await.is_ok().then_some(begun);
            }
            Err(_) if cancel.is_cancelled() => return None,
            Err(error) => error,
        };
        let pause = backoff.pause();
        tracing::warn!(
            retry_in_ms = pause.as_millis(),
            error = %chain(&error),
            "a load cannot begin; what is loaded is followed meanwhile"
        );
        tokio::select! {
            () = cancel.cancelled() => return None,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Reads one row, as often as the connection breaks; `None` when cancelled.
async fn fetch(
    params: &Params,
    table: &LoadTable,
    row: &Wanted,
    from: Lsn,
    cancel: &CancellationToken,
) -> Option<Result<Fetched, FetchError>> {
    let mut backoff = Backoff::default();
    loop {
        let attempt = async {
            let session = pg::connect(params, APPLICATION_NAME).await?;
            let key: Vec<&str> = row.key.iter().map(String::as_str).collect();
            load::fetch_row(&session, table, &key, from, row.xid).await
        };
        let error = tokio::select! {
            () = cancel.cancelled() => return None,
            fetched = attempt => match fetched {
                Err(error) if error.is_transient() => error,
                fetched => return Some(fetched),
            },
        };
        let pause = backoff.pause();
        tracing::warn!(
            table = %table.name,
            retry_in_ms = pause.as_millis(),
            error = %chain(&error),
            "a row with unchanged large values cannot be read"
        );
        tokio::select! {
            () = cancel.cancelled() => return None,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What the snapshot of a leaf's only chunk has seen.
fn seen(id: u32, plan: &LoadPlan, table: &LoadTable, snapshot: Window) -> Option<(Leaf, Seen)> {
    let chunk = plan.chunks.iter().find(|chunk| chunk.id == id).filter(|_| table.keyless)?;
    let leaf = table.leaves.iter().find(|leaf| leaf.oid == chunk.leaf_oid)?;
    Some((leaf.number, Seen::by(move |xid| snapshot.has_ended_short(xid))))
}

fn commands_of(
    event: LoadEvent,
    plan: &mut LoadPlan,
    tables: &[LoadedTable],
    window: &str,
    from: Lsn,
    names: &[String],
    room: oneshot::Sender<()>,
) -> Command {
    match event {
        LoadEvent::Rows { chunk, table, entries } => Command::Loaded {
            table: tables[table].machine,
            chunk,
            entries,
            ended: None,
            seen: None,
            facts: Vec::new(),
            room,
        },
        LoadEvent::Loaded { chunk, table, bound, snapshot, .. } => Command::Loaded {
            table: tables[table].machine,
            chunk,
            entries: Vec::new(),
            ended: Some(bound),
            seen: seen(chunk, plan, &tables[table].of_source, snapshot),
            facts: vec![(facts::chunk(chunk), Some(bound.0.to_be_bytes().to_vec()))],
            room,
        },
        LoadEvent::Replanned { table, dropped, chunks, .. } => {
            plan.replace(&dropped, &chunks);
            let fact = LoadFact {
                from: from.0,
                window: window.to_owned(),
                tables: tables.iter().map(|table| names[table.machine].clone()).collect(),
                plan: plan.clone(),
            };
            Command::Replanned {
                table: tables[table].machine,
                dropped,
                planned: chunks.iter().map(|chunk| chunk.id).collect(),
                facts: vec![(facts::LOAD.to_owned(), Some(facts::write(&fact)))],
                room,
            }
        }
        LoadEvent::Failed { table, error } => {
            // Nothing comes after it that would need room.
            drop(room);
            Command::Quarantine { table: tables[table].machine, why: chain(&error) }
        }
    }
}
