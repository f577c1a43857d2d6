//! The stream's task: connects, streams from where the engine stands, and connects again; and the
//! task that looks at the catalog for what the WAL does not tell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::PipelineError;
use super::apart::{self, Apart};
use super::engine_thread::{Command, Commands, Stands};
use super::facts;
use super::history::{self, Identity, Known};
use super::shared::Shared;
use super::uses::{Seen, Users, Uses};
use crate::config::Config;
use crate::lsn::Durable;
use crate::pg::{self, Params};
use crate::sink::Backoff;
use crate::sink::delivery::chain;
use crate::source::APPLICATION_NAME;
use crate::source::catalog::{Catalog, CatalogChange, Scope, SlotWal, Table, TableName};
use crate::source::replication::{ReplicationConnection, ReplicationStream};
use crate::source::slot;
use crate::source::stream::{GulpSender, StreamConfig, run_stream};
use crate::source::watch as catalog_watch;
use crate::state::Store;

/// A stream that ends sooner than this may do so again and again, as without a publication: it begins
/// well, and fails at its first change.
const LONG_LIFE: Duration = Duration::from_secs(5);

/// A source that is not where it was ends the pipeline: the next one finds out what that means.
#[derive(Debug, thiserror::Error)]
enum Unconnected {
    #[error(transparent)]
    Away(#[from] pg::Error),
    #[error("{0}")]
    Moved(String),
}

#[expect(clippy::too_many_arguments, reason = "the ends of every line that meets in this task")]
pub(super) async fn run(
    source: Source,
    gulps: GulpSender,
    durable: watch::Receiver<Durable>,
    commands: Commands,
    ended: mpsc::Sender<PipelineError>,
    has_streamed: watch::Sender<bool>,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) {
    let mut backoff = Backoff::default();
    while !cancel.is_cancelled() {
        let stream = connect(&source, &commands, &shared);
        let stream = tokio::select! {
            stream = stream => stream,
            () = cancel.cancelled() => return,
        };
        let over = match stream {
            Ok(stream) => {
                let begun = Instant::now();
                shared.streaming();
                has_streamed.send_replace(true);
                let config = StreamConfig::default();
                let (gulps, durable) = (gulps.clone(), durable.clone());
                let over = run_stream(stream, gulps, durable, config, cancel.clone()).await;
                if begun.elapsed() >= LONG_LIFE {
                    backoff.reset();
                }
                over
            }
            Err(Unconnected::Away(error)) => Err(error),
            Err(Unconnected::Moved(why)) => {
                // Another end may have come first.
                let _ = ended.send(PipelineError::Changed(why)).await;
                return;
            }
        };
        let Err(error) = over else { return };
        let pause = backoff.pause();
        shared.source_error(&chain(&error));
        tracing::warn!(retry_in_ms = pause.as_millis(), error = %chain(&error), "the source is away");
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Which stream of which source.
pub(super) struct Source {
    pub params: Params,
    pub slot: String,
    pub publication: String,
    /// As the pipeline has found it.
    pub system_id: String,
    pub timeline: u32,
    /// As the watermarks name it.
    pub history: String,
}

async fn connect(
    source: &Source,
    commands: &Commands,
    shared: &Shared,
) -> Result<ReplicationStream, Unconnected> {
    let Source { params, slot, publication, .. } = source;
    let mut connection = ReplicationConnection::connect(params, APPLICATION_NAME).await?;
    let identity = history::identify(&mut connection).await?;
    let (reply, answer) = oneshot::channel();
    let gone = |_| pg::Error::new(pg::Kind::Closed, params.place(), "the pipeline is ending");
    commands.send(Command::Connected { reply }).await.map_err(|error| gone(error.to_string()))?;
    let stands = answer.await.map_err(|error| gone(error.to_string()))?;
    if let Some(why) = moved(source, &identity, stands) {
        return Err(Unconnected::Moved(why));
    }
    shared.system(&identity.system);
    let now = connection.slot(slot).await?;
    if let Some(reader) = now.reader {
        let what = format!("slot {slot} is active for PID {reader}: another process reads it");
        return Err(pg::Error::new(pg::Kind::Server, connection.at(), what).into());
    }
    // The server would go on from there without a word.
    if let Some(confirmed) = now.confirmed.filter(|confirmed| *confirmed > stands.lsn) {
        return Err(Unconnected::Moved(format!(
            "slot {slot} has been acknowledged up to {confirmed} by somebody else, beyond {}",
            stands.lsn
        )));
    }
    let stream = connection.start(slot, publication, stands.lsn).await?;
    tracing::info!(from = %stands.lsn, slot, history = source.history, "streaming");
    Ok(stream)
}

fn moved(source: &Source, now: &Identity, stands: Stands) -> Option<String> {
    if source.system_id != now.system.system_id {
        return Some(format!("the source is system {} now", now.system.system_id));
    }
    let Stands { lsn, xid } = stands;
    let refuted = now.refutes(Known { timeline: source.timeline, lsn, xid });
    let switched = || {
        let timeline = now.system.timeline;
        (source.timeline != timeline).then(|| format!("the source is on timeline {timeline} now"))
    };
    refuted.map(|why| format!("the source is not where it was: {why}")).or_else(switched)
}

/// Acts on what the catalog tells and the stream does not.
#[expect(clippy::too_many_arguments, reason = "the ends of every line that meets in this task")]
pub(super) async fn watch_catalog(
    config: Arc<Config>,
    params: Params,
    scope: Scope,
    catalog: Catalog,
    apart: Apart,
    seen: Seen,
    uses: Uses,
    tables: Vec<String>,
    fallen: watch::Receiver<Vec<usize>>,
    store: Store,
    commands: Commands,
    ended: mpsc::Sender<PipelineError>,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) {
    let (sender, mut readings) = mpsc::channel(1);
    let at_start = Arc::new(catalog);
    let name = APPLICATION_NAME.to_owned();
    let interval = catalog_watch::INTERVAL;
    let watch = catalog_watch::run(
        params.clone(),
        name,
        scope,
        Arc::clone(&at_start),
        interval,
        sender,
        cancel.clone(),
    );
    let act = async {
        while let Some(reading) = readings.recv().await {
            let slot = reading.catalog.slot.as_ref();
            shared.retained(slot.map_or_else(SlotWal::default, |slot| slot.wal));
            let mut restart = Vec::new();
            match slot::state(&reading.catalog) {
                slot::State::Usable(_) => {}
                slot::State::Missing => restart.push("the slot is gone".to_owned()),
                slot::State::Lost(why) => restart.push(format!("the slot is lost: {why}")),
                slot::State::Foreign(why) => restart.push(format!("the slot {why}")),
            }
            let now = apart::divide(&config, &params, &reading.catalog, &seen).ok();
            if now.as_ref().is_some_and(|now| apart.is_healed_in(&now.apart)) {
                restart.push("what stood apart can be followed again".to_owned());
            }
            let wanted = Wanted { before: &at_start, uses: &uses, now: now.map(|now| now.uses) };
            for &table in fallen.borrow().iter() {
                let name = |known: &&Table| facts::table_name(&known.name) == tables[table];
                let before = at_start.tables.iter().find(name);
                let now = reading.catalog.tables.iter().find(name);
                if before.zip(now).is_some_and(|(before, now)| before.has_shape_of(now)) {
                    restart.push(format!("{} is again what it was", tables[table]));
                }
            }
            for change in &reading.changes {
                let what = change.to_string();
                let table = table_of(change).and_then(|name| {
                    let name = facts::table_name(name);
                    tables.iter().position(|table| *table == name)
                });
                let command = match (wanted.action(change, &reading.catalog), table) {
                    (Action::Nothing, _) => continue,
                    (Action::Reshape(name), Some(table)) => {
                        let Some(now) = reading.catalog.table(name) else { continue };
                        match facts::reshaped(&store, &tables[table], now) {
                            Ok(Some((live, stale))) => Command::Reshaped { table, live, stale },
                            // At worst the table is loaded once more after a restart.
                            Ok(None) => continue,
                            Err(error) => {
                                tracing::warn!(error = %chain(&error), "a fact cannot be read");
                                continue;
                            }
                        }
                    }
                    (Action::Quarantine(why), Some(table)) => {
                        tracing::error!(
                            change = what,
                            "a table is no longer what its projections need"
                        );
                        Command::Quarantine { table, why }
                    }
                    (Action::Reload, Some(table)) => {
                        restart.push(what);
                        Command::Stale { table }
                    }
                    (
                        Action::Reshape(_)
                        | Action::Restart
                        | Action::Reload
                        | Action::Quarantine(_),
                        _,
                    ) => {
                        restart.push(what);
                        continue;
                    }
                };
                if commands.send(command).await.is_err() {
                    return;
                }
            }
            if !restart.is_empty() {
                // Another end may have come first.
                let _ = ended.send(PipelineError::Changed(restart.join("; "))).await;
                return;
            }
        }
    };
    tokio::join!(watch, act);
}

/// What the projections want of the tables.
struct Wanted<'w> {
    before: &'w Catalog,
    uses: &'w Uses,
    /// By the catalog as it is now, where one can tell.
    now: Option<Uses>,
}

/// What a change of the catalog asks for.
enum Action<'a> {
    /// It is of no concern to any projection.
    Nothing,
    /// The table's rows are the same, in another file.
    Reshape(&'a TableName),
    /// What is needed of the table is gone; its last good state stays.
    Quarantine(String),
    /// The table's rows are to be read again.
    Reload,
    /// A new look at everything finds what has to be done.
    Restart,
}

impl Wanted<'_> {
    fn action<'c>(&self, change: &'c CatalogChange, catalog: &Catalog) -> Action<'c> {
        match change {
            CatalogChange::TableGone { .. } => Action::Quarantine("it is gone".to_owned()),
            CatalogChange::ColumnDropped { table, column } => {
                self.lost(table, column, || format!("column {column} is gone"))
            }
            CatalogChange::ColumnRenamed { table, from, to } => {
                self.lost(table, from, || format!("column {from} is called {to} now"))
            }
            CatalogChange::ColumnRetyped { table, column, from, to } => {
                self.lost(table, column, || format!("column {column} was {from} and is {to}"))
            }
            CatalogChange::ColumnTypeAltered { table, column, .. } => self.altered(table, column),
            CatalogChange::ChildrenChanged { table } => {
                match catalog.table(table).and_then(Table::shared_rows) {
                    Some(why) => Action::Quarantine(why),
                    // Who stood apart because of them is followed again by itself.
                    None => Action::Nothing,
                }
            }
            CatalogChange::ColumnAdded { table, column, .. } => {
                let Some((uses, table)) = self.now.as_ref().zip(catalog.table(table)) else {
                    return Action::Restart;
                };
                match table.column(column).is_some_and(|column| column.generated.is_some()) {
                    true => Action::Restart,
                    false if uses.keep(table, column) => Action::Reload,
                    false => Action::Nothing,
                }
            }
            // TRUNCATE, which the stream tells; VACUUM FULL and CLUSTER, which change no value.
            CatalogChange::LeafRewritten { table, values_may_differ: false, .. } => {
                Action::Reshape(table)
            }
            CatalogChange::LeafRewritten { .. }
            | CatalogChange::LeafUnpublished { .. }
            | CatalogChange::LeafAttached { .. }
            | CatalogChange::LeafGone { .. }
            | CatalogChange::TableReplaced { .. }
            | CatalogChange::IdentityChanged { .. } => Action::Reload,
            CatalogChange::TableAppeared { .. }
            | CatalogChange::ColumnGenerated { .. }
            | CatalogChange::EnumLabelRenamed { .. }
            | CatalogChange::PublicationGone
            | CatalogChange::PublicationAltered
            | CatalogChange::PublicationNarrowed => Action::Restart,
        }
    }

    /// A column has other values.
    fn altered(&self, name: &TableName, column: &str) -> Action<'static> {
        let Some(table) = self.before.table(name) else { return Action::Restart };
        let is_generated = table.column(column).is_some_and(|column| column.generated.is_some());
        match self.uses.keep(table, column) {
            // A generated one is part of the plans of those who look at it, not of the rows.
            _ if is_generated => Action::Restart,
            true => Action::Reload,
            false => Action::Nothing,
        }
    }

    /// A column is no more what it was. Who does not look at it goes on without it.
    fn lost<'c>(&self, name: &TableName, column: &str, why: impl Fn() -> String) -> Action<'c> {
        let Some(table) = self.before.table(name) else { return Action::Restart };
        // A generated one is part of the plans of those who look at it, not of the rows.
        if table.column(column).is_some_and(|column| column.generated.is_some()) {
            return Action::Restart;
        }
        match (self.uses.keep(table, column), self.uses.users(name, column)) {
            (false, _) => Action::Nothing,
            (true, Users::All) => Action::Quarantine(why()),
            (true, Users::Some | Users::None) => Action::Reload,
        }
    }
}

fn table_of(change: &CatalogChange) -> Option<&TableName> {
    match change {
        CatalogChange::TableGone { table }
        | CatalogChange::TableAppeared { table, .. }
        | CatalogChange::TableReplaced { table, .. }
        | CatalogChange::LeafAttached { table, .. }
        | CatalogChange::LeafGone { table, .. }
        | CatalogChange::LeafRewritten { table, .. }
        | CatalogChange::ColumnAdded { table, .. }
        | CatalogChange::ColumnDropped { table, .. }
        | CatalogChange::ColumnRenamed { table, .. }
        | CatalogChange::ColumnRetyped { table, .. }
        | CatalogChange::ColumnTypeAltered { table, .. }
        | CatalogChange::ColumnGenerated { table, .. }
        | CatalogChange::ChildrenChanged { table }
        | CatalogChange::IdentityChanged { table, .. }
        | CatalogChange::LeafUnpublished { table, .. } => Some(table),
        CatalogChange::EnumLabelRenamed { .. }
        | CatalogChange::PublicationGone
        | CatalogChange::PublicationAltered
        | CatalogChange::PublicationNarrowed => None,
    }
}
