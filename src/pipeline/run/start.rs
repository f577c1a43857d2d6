//! From the catalog and the store to a machine: which tables go on from the state, which are loaded.
//!
//! Whatever happened before (the first start, a restart, a changed configuration, a table rewritten
//! by DDL, a lost slot) comes down to this one question for each table.

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

use super::apart::{self, Apart, Usable};
use super::bind::{self, Bound};
use super::events::{self, Since};
use super::facts::{self, LoadFact, OutputFact, SourceFact, Stored, TableFact, TableShape};
use super::look::{self, Details};
use super::uses::{Seen, Uses};
use super::{check, histories, queries};
use crate::config::{
    Config, Diagnostic, OnError, OnSlotLoss, ProjectionConfig, SinkConfig, SinkKind,
};
use crate::engine::{Batch, Entry, RowsOf, TableLayout};
use crate::lsn::Lsn;
use crate::memory::Spilling;
use crate::pg::{self, Params, Session};
use crate::pgoutput::Position;
use crate::pipeline::{
    Letter, LoadInit, MachineInit, ProjectionInit, SinkInit, Stage, TableFacts, TableInit,
    letter_key, told_fact,
};
use crate::sink::SinkProjection;
use crate::source::catalog::{Catalog, Scope, Table, TableColumn};
use crate::source::load::{LoadLeaf, LoadPlan, LoadTable, Window};
use crate::source::replication::{Lifetime, ReplicationConnection};
use crate::source::{APPLICATION_NAME, check as source_check, publication, slot};
use crate::sql::plan::Plan;
use crate::state::{self, Store};
use crate::value::Column;

#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Pg(#[from] pg::Error),
    #[error(transparent)]
    State(#[from] state::Error),
    #[error(transparent)]
    Slot(#[from] slot::Error),
    #[error(transparent)]
    Publication(#[from] publication::Error),
    #[error(
        "the state in the store belongs to system {stored}, slot {slot}; the source is system {found}: use another state.dir, or set source.accept_system = \"{found}\" after a pg_upgrade or a switch-over"
    )]
    OtherSystem { stored: String, slot: String, found: String },
    #[error(
        "slot {slot} {why}, and source.on_slot_loss is \"stop\": drop it, if it is there, and start again with \"reload\" to load everything anew"
    )]
    SlotLost { slot: String, why: String },
    #[error("slot {slot} {why}: choose another name for source.slot")]
    SlotForeign { slot: String, why: String },
    /// What `check` tells; they have come up since the start, or the source was away then.
    #[error("{}", .0.iter().map(|fault| fault.what.as_str()).collect::<Vec<_>>().join("; "))]
    Faults(Vec<Diagnostic>),
    #[error("table {0} does not exist or cannot be followed")]
    Table(String),
}

impl StartError {
    /// Whether trying again later is in vain: somebody has to act first.
    pub(super) fn is_final(&self) -> bool {
        match self {
            StartError::OtherSystem { .. }
            | StartError::SlotLost { .. }
            | StartError::SlotForeign { .. } => true,
            StartError::State(error) => error.is_final(),
            _ => false,
        }
    }
}

/// A machine to be, and what goes on around it.
pub(super) struct Started {
    pub init: MachineInit,
    pub load: Option<StartedLoad>,
    pub catalog: Catalog,
    pub scope: Scope,
    /// By sink of the configuration.
    pub sinks: Vec<Vec<SinkProjection>>,
    pub owner: String,
    pub table_names: Vec<String>,
    /// By the catalog alone.
    pub divided: Apart,
    pub uses: Uses,
    pub apart: Apart,
    pub details: Details,
}

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

/// A table in use, from the catalog.
struct Used<'a> {
    name: String,
    table: &'a Table,
    layout: TableLayout,
    shape: TableShape,
}

pub(super) async fn prepare(
    config: &Config,
    params: &Params,
    store: &Store,
    seen: &mut Seen,
    cancel: &CancellationToken,
) -> Result<Started, StartError> {
    let session = pg::connect(params, APPLICATION_NAME).await?;
    let scope = source_check::scope(config);
    let mut whole = Catalog::read(&session, &scope).await?;
    // Publishing a table that has no identity would make the application's own changes fail.
    let mut usable = apart::divide(config, params, &whole, seen).map_err(StartError::Faults)?;
    distrust_unpublished(&usable.catalog, store)?;
    let ensured = publication::ensure(&session, &usable.catalog, &scope).await?;
    if ensured.created || !ensured.added.is_empty() {
        let added: Vec<String> = ensured.added.iter().map(ToString::to_string).collect();
        tracing::info!(publication = scope.publication, tables = added.join(", "), "published");
        whole = Catalog::read(&session, &scope).await?;
        usable = apart::divide(config, params, &whole, seen).map_err(StartError::Faults)?;
    }
    let Usable { catalog, mut bound, uses, apart: divided } = usable;
    let refused = queries::ask(&session, &catalog, &mut bound).await?;
    let apart = divided.clone().and(refused);
    for (projection, why) in &apart.projections {
        tracing::error!(projection, why, "the projection stays as it is");
    }
    distrust_apart(&apart, store)?;
    let Standing { stored, slot: slot_at, is_slot_known } =
        keep_or_forget(config, params, store, &catalog, cancel).await?;
    let used = used_tables(config, &catalog, &uses)?;
    forget_unused(config, &bound, store)?;
    let mut kept = Kept::read(store, &used, stored.is_some())?;
    let mut loaded = Vec::new();
    let load = match kept.unfinished_load(store, &used)? {
        Some(load) => Some(load),
        None if kept.to_load(&used).is_empty() => None,
        None => {
            let slot = &scope.slot;
            loaded.extend(kept.to_load(&used).iter().map(|&at| used[at].name.clone()));
            Some(begin_load(params, &session, store, &mut kept, &used, slot, cancel).await?)
        }
    };
    let position = match (&load, stored) {
        // Before the load's consistent point there is nothing to follow, unless other tables do.
        (Some((load, _)), Some(stored)) if !kept.any_live() => {
            let from = Position { lsn: load.from, inside: None };
            Some(stored.position()).filter(|at| at.lsn >= load.from).unwrap_or(from)
        }
        (_, Some(stored)) => stored.position(),
        (Some((load, _)), None) => Position { lsn: load.from, inside: None },
        // No table can be followed.
        (None, None) => Position { lsn: slot_at, inside: None },
    };
    let source = SourceFact {
        system_id: catalog.server.system_id.clone(),
        slot: scope.slot.clone(),
        publication: scope.publication.clone(),
        database: catalog.server.database.clone(),
    };
    let owner = check::owner(config, &catalog);
    let mut batch = Batch::default();
    facts::set(&mut batch, facts::SOURCE, &source);
    let committed_at = match stored {
        Some(stored) => stored.committed_at,
        None => now(&session).await?,
    };
    batch.fact(facts::POSITION, Stored::at(position, committed_at).to_bytes());
    let (projections, sink_projections) =
        projections(config, &bound, &used, position, &mut kept, store, &mut batch)?;
    let table_names: Vec<String> = used.iter().map(|used| used.name.clone()).collect();
    let since = Since {
        loaded: &loaded,
        is_state_new: stored.is_none(),
        is_slot_known,
        position: load.as_ref().map_or(position.lsn, |(load, _)| load.from.max(position.lsn)),
        committed_at,
    };
    let histories = histories::inits(&bound, since.position, &mut kept, store, &mut batch)?;
    let events = events::inits(&bound, &table_names, &since, &mut kept, store, &mut batch)?;
    facts::set(&mut batch, facts::ROWS_OF, &kept.next_rows_of);
    for (used, fact) in used.iter().zip(kept.facts.iter().flatten()) {
        facts::set(&mut batch, facts::table(&used.name), fact);
    }
    store.write(&batch)?;
    seen.follow(bound.iter().map(|bound| bound.projection.name.as_str()), &uses, &catalog);
    let tables = tables(&used, &kept, store)?;
    let (load, load_init) = load.map_or((None, None), |(load, init)| (Some(load), Some(init)));
    Ok(Started {
        table_names,
        init: MachineInit {
            tables,
            projections,
            events,
            histories,
            sinks: sinks(config, &bound, store)?,
            position,
            committed_at,
            load: load_init,
            tombstone_bytes_max: usize::try_from(config.state.tombstones).unwrap_or(usize::MAX),
        },
        load,
        catalog: whole,
        scope,
        sinks: sink_projections,
        owner,
        divided,
        uses,
        apart,
        details: look::details(config, Some(&catalog), &bound),
    })
}

/// The source's clock, in microseconds since 2000-01-01 UTC: all that a first load begins with was
/// committed before.
async fn now(session: &Session) -> Result<i64, StartError> {
    const NOW: &str =
        "SELECT ((extract(epoch FROM clock_timestamp()) - 946684800) * 1000000)::bigint";
    let rows = session.rows(NOW).await?;
    let now = rows.first().and_then(|row| row.first()?.as_ref()?.parse().ok());
    now.ok_or_else(|| {
        let what = "no time where one was asked for";
        pg::Error::new(pg::Kind::Protocol, session.at(), what).into()
    })
}

/// What the publication lacks the slot has not sent: such tables are read again. That is stored before
/// they are published, so that an end in between changes nothing.
fn distrust_unpublished(catalog: &Catalog, store: &Store) -> Result<(), StartError> {
    // One that is made anew makes the slot a lost one.
    let Some(publication) = &catalog.publication else { return Ok(()) };
    let mut batch = Batch::default();
    for table in &catalog.tables {
        if table.leaves.iter().all(|leaf| publication.members.contains(&leaf.oid)) {
            continue;
        }
        let name = facts::table(&facts::table_name(&table.name));
        let fact: Option<TableFact> = facts::read(store, &name)?;
        if let Some(fact) = fact.filter(|fact| fact.live) {
            tracing::warn!(table = %table.name, "the table was not published: it is loaded anew");
            facts::set(&mut batch, name, &TableFact { live: false, ..fact });
        }
    }
    if batch.is_empty() { Ok(()) } else { Ok(store.write(&batch)?) }
}

/// What changes meanwhile in tables that stand apart is not followed: they are read again.
fn distrust_apart(apart: &Apart, store: &Store) -> Result<(), StartError> {
    let mut batch = Batch::default();
    for table in apart.tables.keys() {
        let name = facts::table(table);
        let fact: Option<TableFact> = facts::read(store, &name)?;
        if let Some(fact) = fact.filter(|fact| fact.live) {
            facts::set(&mut batch, name, &TableFact { live: false, ..fact });
        }
    }
    if batch.is_empty() { Ok(()) } else { Ok(store.write(&batch)?) }
}

/// Where state and slot stand.
struct Standing {
    /// `None`: all is to be loaded.
    stored: Option<Stored>,
    slot: Lsn,
    /// It was there, or had been.
    is_slot_known: bool,
}

/// Makes sure that slot and state belong together. Afterwards the slot exists.
async fn keep_or_forget(
    config: &Config,
    params: &Params,
    store: &Store,
    catalog: &Catalog,
    cancel: &CancellationToken,
) -> Result<Standing, StartError> {
    let name = &config.source.slot;
    let mut stored: Option<Stored> = facts::read(store, facts::POSITION)?;
    let source: Option<SourceFact> = facts::read(store, facts::SOURCE)?;
    if let Some(source) = &source
        && source.system_id != catalog.server.system_id
    {
        let found = &catalog.server.system_id;
        if config.source.accept_system.as_ref() != Some(found) {
            return Err(StartError::OtherSystem {
                stored: source.system_id.clone(),
                slot: source.slot.clone(),
                found: found.clone(),
            });
        }
        stored = forget(stored, "the source is another system, which source.accept_system accepts");
    }
    if source
        .is_some_and(|source| source.slot != *name || source.database != catalog.server.database)
    {
        stored = forget(stored, "the state belongs to another slot or database");
    }
    let lost = match slot::state(catalog) {
        slot::State::Usable(confirmed) => {
            let ours = stored.map(|stored| stored.position().lsn);
            if ours.is_some_and(|ours| ours < confirmed) {
                stored = forget(stored, "the slot has been acknowledged beyond the state");
            }
            return Ok(Standing { stored, slot: confirmed, is_slot_known: true });
        }
        slot::State::Foreign(why) => {
            return Err(StartError::SlotForeign { slot: name.clone(), why: why.to_string() });
        }
        slot::State::Missing => stored.is_some().then(|| "is gone".to_owned()),
        slot::State::Lost(why) => Some(why),
    };
    let is_slot_known = lost.is_some();
    if let Some(why) = lost {
        if config.source.on_slot_loss == OnSlotLoss::Stop {
            return Err(StartError::SlotLost { slot: name.clone(), why });
        }
        tracing::warn!(slot = name, why, "the slot is lost: everything is loaded anew");
        if catalog.slot.is_some() {
            let mut connection = ReplicationConnection::connect(params, APPLICATION_NAME).await?;
            connection.drop_slot(name).await?;
        }
    }
    let created = slot::create(params, APPLICATION_NAME, name, Lifetime::Permanent, cancel).await?;
    tracing::info!(slot = name, at = %created.consistent_point, "slot created");
    Ok(Standing { stored: None, slot: created.consistent_point, is_slot_known })
}

fn forget(stored: Option<Stored>, why: &str) -> Option<Stored> {
    if stored.is_some() {
        tracing::warn!(why, "the state is not used: everything is loaded anew");
    }
    None
}

fn used_tables<'a>(
    config: &Config,
    catalog: &'a Catalog,
    uses: &Uses,
) -> Result<Vec<Used<'a>>, StartError> {
    let mut used = Vec::new();
    for name in source_check::scope(config).tables {
        // Others stand apart.
        let Some(table) = catalog.table(&name) else { continue };
        let missing = || StartError::Table(name.to_string());
        let kept: Vec<&TableColumn> =
            table.stored().filter(|column| uses.keep(table, &column.column.name)).collect();
        let columns: Vec<Column> = kept.iter().map(|c| c.column.clone()).collect();
        let key = table.row_key().ok_or_else(missing)?;
        let place = |key: &String| columns.iter().position(|column| column.name == *key);
        let identity: Option<Vec<usize>> = key.iter().map(place).collect();
        let layout = TableLayout { identity: identity.ok_or_else(missing)?, columns };
        let leaves = table.leaves.iter().zip(0..);
        let leaves = leaves.map(|(leaf, number)| facts::leaf_shape(leaf, number));
        let enums: BTreeSet<u32> =
            kept.iter().flat_map(|column| column.enums.iter().copied()).collect();
        let labels = enums.iter().filter_map(|oid| catalog.enums.get(oid));
        let shape = TableShape {
            oid: table.oid,
            layout: describe(&layout),
            leaves: leaves.collect(),
            labels: labels.flat_map(|found| found.labels.iter().cloned()).collect(),
        };
        used.push(Used { name: facts::table_name(&name), table, layout, shape });
    }
    Ok(used)
}

/// What no projection follows is not kept up, so it must not be found when one does again.
fn forget_unused(config: &Config, bound: &[Bound<'_>], store: &Store) -> Result<(), StartError> {
    let mut batch = Batch::default();
    let wanted: Vec<String> =
        source_check::scope(config).tables.iter().map(facts::table_name).collect();
    for (name, _) in store.facts(&facts::table(""))? {
        if !wanted.contains(&name) {
            let fact: Option<TableFact> = facts::read(store, &facts::table(&name))?;
            batch.dropped.extend(fact.map(|fact| fact.rows_of));
            batch.remove_fact(facts::table(&name));
        }
    }
    for (name, _) in store.facts(&facts::output(""))? {
        if bound.iter().all(|bound| bound.projection.name != name) {
            let fact: Option<OutputFact> = facts::read(store, &facts::output(&name))?;
            batch.dropped.extend(fact.map(|fact| fact.rows_of));
            batch.remove_fact(facts::output(&name));
        }
    }
    events::forget_unused(config, bound, store, &mut batch)?;
    histories::forget_unused(bound, store, &mut batch)?;
    for rows_of in &batch.dropped {
        batch.facts.push((format!("floor/{rows_of}"), None));
    }
    if batch.is_empty() { Ok(()) } else { Ok(store.write(&batch)?) }
}

/// The layout in words: equal words, equal encoding.
fn describe(layout: &TableLayout) -> String {
    let columns = layout.columns.iter().map(|column| {
        format!("{} {:?} {} {}", column.name, column.ty, column.type_oid, column.typmod)
    });
    format!("{} by {:?}", columns.collect::<Vec<_>>().join(", "), layout.identity)
}

/// What of the state is used.
pub(super) struct Kept {
    /// By position in the used tables.
    facts: Vec<Option<TableFact>>,
    next_rows_of: RowsOf,
}

impl Kept {
    fn read(store: &Store, used: &[Used<'_>], any: bool) -> Result<Self, StartError> {
        let mut table_facts = Vec::new();
        for used in used {
            let fact: Option<TableFact> = facts::read(store, &facts::table(&used.name))?;
            let fact = fact.filter(|fact| any && fact.shape.holds_rows_of(&used.shape));
            table_facts.push(fact.map(|fact| TableFact { shape: used.shape.clone(), ..fact }));
        }
        let next_rows_of = facts::read(store, facts::ROWS_OF)?.unwrap_or(0);
        Ok(Self { facts: table_facts, next_rows_of })
    }

    fn any_live(&self) -> bool {
        self.facts.iter().flatten().any(|fact| fact.live)
    }

    fn to_load(&self, used: &[Used<'_>]) -> Vec<usize> {
        let live = |at: &usize| self.facts[*at].as_ref().is_some_and(|fact| fact.live);
        (0..used.len()).filter(|at| !live(at)).collect()
    }

    pub(super) fn new_rows_of(&mut self) -> RowsOf {
        self.next_rows_of += 1;
        self.next_rows_of
    }

    /// The load that a restart interrupted, if it still loads what has to be loaded.
    fn unfinished_load(
        &self,
        store: &Store,
        used: &[Used<'_>],
    ) -> Result<Option<(StartedLoad, LoadInit)>, StartError> {
        let Some(fact) = facts::read::<LoadFact>(store, facts::LOAD)? else { return Ok(None) };
        let to_load = self.to_load(used);
        let names: Vec<&String> = to_load.iter().map(|&at| &used[at].name).collect();
        let known = to_load.iter().all(|&at| self.facts[at].is_some());
        let (true, Ok(window)) =
            (known && names.iter().copied().eq(&fact.tables), fact.window.parse())
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
        tracing::info!(
            chunks_done = done.len(),
            chunks_left = chunks_left.len(),
            "the load goes on"
        );
        let from = Lsn(fact.from);
        let init = LoadInit { from, bound, chunks_left, backlog_end: store.backlog_end()? };
        Ok(Some((StartedLoad { plan: fact.plan, done, window, from, tables }, init)))
    }
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
async fn begin_load(
    params: &Params,
    session: &Session,
    store: &Store,
    kept: &mut Kept,
    used: &[Used<'_>],
    slot_name: &str,
    cancel: &CancellationToken,
) -> Result<(StartedLoad, LoadInit), StartError> {
    let to_load = kept.to_load(used);
    let opened = slot::open_window(params, APPLICATION_NAME, slot_name, cancel).await?;
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

fn tables(used: &[Used<'_>], kept: &Kept, store: &Store) -> Result<Vec<TableInit>, StartError> {
    let _spilling = Spilling::begin();
    let mut tables = Vec::new();
    for (used, fact) in used.iter().zip(&kept.facts) {
        let fact = fact.as_ref().expect("kept or about to be loaded");
        let floor = store.fact(&format!("floor/{}", fact.rows_of))?;
        tables.push(TableInit {
            name: used.name.clone(),
            layout: used.layout.clone(),
            leaves: used.shape.leaves.iter().map(|leaf| (leaf.oid, leaf.number)).collect(),
            partitioned: used.shape.leaves.iter().any(|leaf| leaf.oid != used.shape.oid),
            rows_of: fact.rows_of,
            stage: if fact.live { Stage::Live } else { Stage::Loading },
            rows: store.rows(fact.rows_of).collect::<Result<Vec<Entry>, _>>()?,
            tombstone_floor: Lsn(facts::number(floor.as_deref())),
            facts: TableFacts {
                name: facts::table(&used.name),
                live: facts::write(&TableFact { live: true, ..fact.clone() }),
                stale: facts::write(&TableFact { live: false, ..fact.clone() }),
            },
        });
    }
    Ok(tables)
}

type Projections = (Vec<ProjectionInit>, Vec<Vec<SinkProjection>>);

fn projections(
    config: &Config,
    bound: &[Bound<'_>],
    used: &[Used<'_>],
    position: Position,
    kept: &mut Kept,
    store: &Store,
    batch: &mut Batch,
) -> Result<Projections, StartError> {
    let mut inits = Vec::new();
    for bound in bound {
        let (plan, own) = match &bound.rows {
            bind::Rows::Table(table) => {
                let at = used.iter().position(|used| used.table.name == *table);
                let at = at.ok_or_else(|| StartError::Table(table.to_string()))?;
                let own = used[at].layout.identity != bound.key;
                (Plan::table(at, bound.key.clone()), own)
            }
            bind::Rows::Query { planned, .. } => (planned.plan.clone(), true),
            // They come behind, as in the configuration.
            bind::Rows::Event(_) => continue,
        };
        inits.push(output_init(bound.projection, plan, own, position, kept, store, batch)?);
    }
    Ok((inits, bind::of_sinks(config, bound)))
}

/// A projection under another key than its table's identity has rows of its own in the store.
fn output_init(
    projection: &ProjectionConfig,
    plan: Plan,
    own: bool,
    position: Position,
    kept: &mut Kept,
    store: &Store,
    batch: &mut Batch,
) -> Result<ProjectionInit, StartError> {
    let name = projection.name.clone();
    if !own {
        return Ok(ProjectionInit {
            name,
            plan,
            rows_of: 0,
            rows: Vec::new(),
            tombstone_floor: Lsn::ZERO,
        });
    };
    let described = format!("{plan:?}");
    let fact: Option<OutputFact> = facts::read(store, &facts::output(&name))?;
    let (rows_of, tombstone_floor) = match fact {
        Some(fact) if fact.plan == described => {
            let floor = store.fact(&format!("floor/{}", fact.rows_of))?;
            (fact.rows_of, Lsn(facts::number(floor.as_deref())))
        }
        old => {
            batch.dropped.extend(old.map(|fact| fact.rows_of));
            let rows_of = kept.new_rows_of();
            facts::set(batch, facts::output(&name), &OutputFact { rows_of, plan: described });
            // Its rows are computed from the table's; nobody knows what was deleted before.
            batch.fact(format!("floor/{rows_of}"), position.lsn.0.to_be_bytes().to_vec());
            (rows_of, position.lsn)
        }
    };
    let _spilling = Spilling::begin();
    let rows = store.rows(rows_of).collect::<Result<Vec<Entry>, _>>()?;
    Ok(ProjectionInit { name, plan, rows_of, rows, tombstone_floor })
}

/// A settled step is one script in Redis, where rows of a backlog are cheaper and need not be one.
fn backlog_rows(sink: &SinkConfig) -> usize {
    match sink.kind {
        SinkKind::Redis => sink.step_rows.saturating_mul(crate::sink::redis::BACKLOG_STEPS),
        SinkKind::Postgres | SinkKind::Elasticsearch => sink.step_rows,
    }
}

fn sinks(config: &Config, bound: &[Bound<'_>], store: &Store) -> Result<Vec<SinkInit>, StartError> {
    let mut sinks = Vec::new();
    for sink in &config.sinks {
        let mut init = SinkInit {
            name: sink.name.clone(),
            step_rows: sink.step_rows,
            // Redis keys are the user's own names: each is overwritten in place.
            hides_fills: sink.kind != SinkKind::Redis,
            backlog_rows: backlog_rows(sink),
            forgetful: sink.kind == SinkKind::Redis,
            projections: Vec::new(),
            halts: Vec::new(),
            histories: Vec::new(),
            generations: Vec::new(),
            told: Vec::new(),
            letters: Vec::new(),
        };
        for (at, of) in bound.iter().enumerate() {
            let projection = of.projection;
            if !projection.targets.iter().any(|(name, _)| *name == sink.name) {
                continue;
            }
            let lane = init.projections.len();
            let lane_name = format!("{}/{}", sink.name, projection.name);
            init.projections.push(at);
            init.histories.push(histories::is_kept(of, &sink.name));
            init.halts.push(projection.on_error == OnError::Halt);
            let generation = store.fact(&format!("generation/{lane_name}"))?;
            init.generations.push(facts::number(generation.as_deref()));
            let told = store.fact(&told_fact(&lane_name))?;
            init.told.push(Lsn(facts::number(told.as_deref())));
            for (hex, letter) in store.facts(&format!("dead/{lane_name}/"))? {
                let lsn = Lsn(facts::number(Some(&letter)));
                init.letters.extend(letter_key(&hex).map(|key| Letter { lane, key, lsn }));
            }
        }
        sinks.push(init);
    }
    Ok(sinks)
}

/// Rows that loads have brought, by table: they are counted over restarts.
pub(super) fn loaded_rows(store: &Store) -> Result<BTreeMap<String, u64>, state::Error> {
    let facts = store.facts("loaded/")?;
    Ok(facts.into_iter().map(|(name, bytes)| (name, facts::number(Some(&bytes)))).collect())
}
