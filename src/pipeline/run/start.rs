//! From the catalog and the store to a machine: which tables go on from the state, which are loaded.
//!
//! Whatever happened before (the first start, a restart, a changed configuration, a table rewritten
//! by DDL, a lost slot) comes down to this one question for each table.

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

use super::apart::{self, Apart, Usable};
use super::bind::{self, Bound};
use super::events::{self, Since};
use super::facts::{self, OutputFact, SourceFact, Stored, TableFact, TableShape};
use super::history::{self, Identity};
use super::look::{self, Details};
use super::plan_load::{self, StartedLoad};
use super::standing::{self, Standing};
use super::uses::{Seen, Uses};
use super::{check, histories, queries};
use crate::config::{Config, Diagnostic, OnError, ProjectionConfig, SinkConfig, SinkKind};
use crate::engine::{Batch, Entry, RowsOf, TableLayout};
use crate::lsn::Lsn;
use crate::memory::{self, Spilling};
use crate::pg::{self, Params, Session};
use crate::pgoutput::Position;
use crate::pipeline::{
    Letter, MachineInit, ProjectionInit, SinkInit, Stage, TableFacts, TableInit, letter_key,
    rebuild_fact, told_fact,
};
use crate::sink::{Origin, SinkProjection, Term};
use crate::source::catalog::{Catalog, Leaf, Scope, Table, TableColumn};
use crate::source::replication::ReplicationConnection;
use crate::source::{APPLICATION_NAME, check as source_check, publication, slot};
use crate::sql::event::Of;
use crate::sql::plan::Plan;
use crate::state::{self, Store};
use crate::value::Column;

/// An eighth of the memory is for changes that slow sinks have yet to read, and so much of a small one. What they
/// cannot read there they look for in all rows.
const RECENT_BYTES_MIN: usize = 64 << 20;

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
    #[error(
        "the state is damaged: it stands at {position} and holds a row of {table} from {row}; stop Readside and remove state.dir: a deleted directory costs a reload, no more"
    )]
    TwoMoments { table: String, row: Lsn, position: Lsn },
    #[error("table {0} does not exist or cannot be followed")]
    Table(String),
}

impl StartError {
    /// Whether trying again later is in vain: somebody has to act first.
    pub(super) fn is_final(&self) -> bool {
        match self {
            StartError::OtherSystem { .. }
            | StartError::TwoMoments { .. }
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
    pub origin: Origin,
    pub table_names: Vec<String>,
    /// Positions of the tables whose rows have no key.
    pub keyless: Vec<usize>,
    /// By the catalog alone.
    pub divided: Apart,
    pub uses: Uses,
    pub apart: Apart,
    pub details: Details,
}

/// A table in use, from the catalog.
pub(super) struct Used<'a> {
    pub name: String,
    pub table: &'a Table,
    pub layout: TableLayout,
    pub shape: TableShape,
}

pub(super) async fn prepare(
    config: &Config,
    params: &Params,
    store: &Store,
    seen: &mut Seen,
    leaders_epoch: Option<u64>,
    waits: slot::Waits<'_>,
    cancel: &CancellationToken,
) -> Result<Started, StartError> {
    let session = pg::connect(params, APPLICATION_NAME).await?;
    let scope = source_check::scope(config);
    let mut whole = Catalog::read(&session, &scope).await?;
    let identity = identify(params).await?;
    let believed = standing::believe(config, store, &whole, &identity)?;
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
    let Standing { stored, slot: slot_at, epoch, other_history, is_slot_known } =
        standing::keep_or_forget(config, params, believed, &catalog, waits, cancel).await?;
    // Both have followed the source from where this state stands.
    let epoch = match leaders_epoch {
        Some(leaders) if stored.is_some() && !other_history => leaders,
        _ => epoch,
    };
    let used = used_tables(config, &catalog, &uses)?;
    forget_unused(config, &bound, store)?;
    let mut kept = Kept::read(store, &used, stored.is_some())?;
    let goes_on = kept.any_live() || has_messages_since(&bound, &catalog, store)?;
    let table_names: Vec<String> = used.iter().map(|used| used.name.clone()).collect();
    let mut loaded = Vec::new();
    let load = match plan_load::unfinished(&mut kept, store, &used)? {
        Some((load, init)) => Some((load, Some(init))),
        None if kept.to_load(&used).is_empty() => None,
        None => {
            let mut load = plan_load::announce(store, &mut kept, &used)?;
            loaded.extend(load.tables.iter().map(|table| table_names[table.machine].clone()));
            // It waits for every open transaction of the source, and those who follow do not wait with it.
            let init = if stored.is_some() && goes_on {
                None
            } else {
                let slot = &scope.slot;
                let opened = slot::open_window(params, APPLICATION_NAME, slot, waits, cancel);
                let opened = opened.await?;
                let begun = plan_load::begin_now(&session, store, &mut load, &table_names, opened);
                Some(begun.await?)
            };
            Some((load, init))
        }
    };
    let load_from = load.as_ref().and_then(|(_, init)| init.as_ref()).map(|init| init.from);
    let position = match (load_from, stored) {
        // Before the load's consistent point there is nothing to follow, unless others do.
        (Some(from), Some(stored)) if !goes_on => {
            let at_load = Position { lsn: from, inside: None };
            Some(stored.position()).filter(|at| at.lsn >= from).unwrap_or(at_load)
        }
        (_, Some(stored)) => stored.position(),
        (Some(from), None) => Position { lsn: from, inside: None },
        // No table can be followed.
        (None, None) => Position { lsn: slot_at, inside: None },
    };
    let source = SourceFact {
        system_id: catalog.server.system_id.clone(),
        slot: scope.slot.clone(),
        publication: scope.publication.clone(),
        database: catalog.server.database.clone(),
        timeline: identity.system.timeline,
        epoch,
        publication_oid: catalog.publication.as_ref().map_or(0, |publication| publication.oid),
    };
    let owner = check::owner(config, &catalog);
    let origin = Origin { owner, history: identity.history(epoch), term: Term::default() };
    let mut batch = Batch::default();
    facts::set(&mut batch, facts::SOURCE, &source);
    let (committed_at, xid_max) = match stored {
        Some(stored) => (stored.committed_at, stored.xid),
        None => (now(&session).await?, 0),
    };
    batch.fact(facts::POSITION, Stored::at(position, committed_at, xid_max).to_bytes());
    let (projections, sink_projections) =
        projections(config, &bound, &used, position, &mut kept, store, &mut batch)?;
    let since = Since {
        loaded: &loaded,
        is_state_new: stored.is_none(),
        passes_over: stored.is_some_and(|stored| stored.position().lsn < position.lsn),
        is_slot_known,
        other_history,
        load_to_come: load.as_ref().is_some_and(|(_, init)| init.is_none()),
        position: load_from.map_or(position.lsn, |from| from.max(position.lsn)),
        committed_at,
    };
    let histories = histories::inits(&bound, &since, &mut kept, store, &mut batch)?;
    let events = events::inits(config, &bound, &table_names, &since, &mut kept, store, &mut batch)?;
    facts::set(&mut batch, facts::ROWS_OF, &kept.next_rows_of);
    for (used, fact) in used.iter().zip(kept.facts.iter().flatten()) {
        facts::set(&mut batch, facts::table(&used.name), fact);
    }
    store.write(&batch)?;
    seen.follow(bound.iter().map(|bound| bound.projection.name.as_str()), &uses, &catalog);
    let tables = tables(&used, &kept, position, store)?;
    let (load, load_init) = load.map_or((None, None), |(load, init)| (Some(load), init));
    let keyless = (0..used.len()).filter(|&at| used[at].table.is_keyless()).collect();
    Ok(Started {
        table_names,
        keyless,
        init: MachineInit {
            tables,
            projections,
            events,
            histories,
            sinks: sinks(config, &bound, store)?,
            position,
            committed_at,
            xid_max,
            load_to_come: load.as_ref().is_some_and(|load| load.begun.is_none()),
            load: load_init,
            recent_bytes_max: usize::try_from(config.state.memory / 8)
                .unwrap_or(usize::MAX)
                .max(RECENT_BYTES_MIN),
            tombstone_bytes_max: usize::try_from(config.state.tombstones).unwrap_or(usize::MAX),
        },
        load,
        catalog: whole,
        scope,
        sinks: sink_projections,
        origin,
        divided,
        uses,
        apart,
        details: look::details(config, Some(&catalog), &bound),
    })
}

/// Whether messages are followed, which are of no table, and can be read from where the state stands: the
/// stream cannot be decoded by a publication from before it was made.
fn has_messages_since(
    bound: &[Bound<'_>],
    catalog: &Catalog,
    store: &Store,
) -> Result<bool, StartError> {
    let is_message = |bound: &Bound<'_>| matches!(&bound.rows, bind::Rows::Event(event) if event.of == Of::Message);
    let source: Option<SourceFact> = facts::read(store, facts::SOURCE)?;
    let known = source.map_or(0, |source| source.publication_oid);
    let is_same = catalog.publication.as_ref().is_some_and(|now| now.oid == known);
    Ok(is_same && bound.iter().any(is_message))
}

/// Who the source is, and where its WAL comes from.
async fn identify(params: &Params) -> Result<Identity, StartError> {
    let mut connection = ReplicationConnection::connect(params, APPLICATION_NAME).await?;
    Ok(history::identify(&mut connection).await?)
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
        let layout = layout(table, uses).ok_or_else(missing)?;
        let numbers = |leaf: &Leaf| {
            let of_leaf = |column: &Column| leaf.column(&column.name).map(|found| found.number);
            layout.columns.iter().filter_map(of_leaf).collect()
        };
        let leaves = table.leaves.iter().zip(0..);
        let leaves = leaves.map(|(leaf, number)| facts::leaf_shape(leaf, number, numbers(leaf)));
        let enums: BTreeSet<u32> =
            kept(table, uses).flat_map(|column| column.enums.iter().copied()).collect();
        let labels = enums.iter().filter_map(|oid| catalog.enums.get(oid));
        let publication = catalog.publication.as_ref();
        let shape = TableShape {
            oid: table.oid,
            layout: describe(&layout),
            leaves: leaves.collect(),
            labels: labels.flat_map(|found| found.labels.iter().cloned()).collect(),
            publication: publication.map_or((0, 0), |found| (found.oid, found.touched)),
        };
        used.push(Used { name: facts::table_name(&name), table, layout, shape });
    }
    Ok(used)
}

fn kept<'t>(table: &'t Table, uses: &Uses) -> impl Iterator<Item = &'t TableColumn> {
    table.stored().filter(|column| uses.keep(table, &column.column.name))
}

/// What is kept of a table's rows, and by what they are known; `None`: nothing tells them apart.
pub(super) fn layout(table: &Table, uses: &Uses) -> Option<TableLayout> {
    let columns: Vec<Column> = kept(table, uses).map(|column| column.column.clone()).collect();
    let key = table.row_key()?;
    let place = |key: &String| columns.iter().position(|column| column.name == *key);
    let identity: Option<Vec<usize>> = key.iter().map(place).collect();
    Some(TableLayout { identity: identity?, columns })
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
    forget_lanes(config, store, &mut batch)?;
    events::forget_unused(config, bound, store, &mut batch)?;
    histories::forget_unused(bound, store, &mut batch)?;
    for rows_of in &batch.dropped {
        batch.facts.push((format!("floor/{rows_of}"), None));
    }
    if batch.is_empty() { Ok(()) } else { Ok(store.write(&batch)?) }
}

/// What is remembered of lanes, each under `KIND/SINK/PROJECTION`, or one for each key behind that.
const OF_LANES: [&str; 6] = ["dead", "generation", "payload", "rebuild", "told", "waived"];
/// Facts that are looked at in one go.
const PAGE: usize = 100;

/// What is no longer configured is new when it is added again: its letters, above all, are of what it was.
/// What stands apart is configured.
fn forget_lanes(config: &Config, store: &Store, batch: &mut Batch) -> Result<(), state::Error> {
    let goes_to = |sink: &str, projection: &str| {
        let mut all = config.projections.iter();
        let of = all.find(|known| known.name == projection);
        of.is_some_and(|of| of.targets.iter().any(|(to, _)| to == sink))
    };
    for kind in OF_LANES {
        let prefix = format!("{kind}/");
        let mut after = String::new();
        'pages: loop {
            let page = store.facts_after(&prefix, &after, PAGE)?;
            for (name, _) in &page {
                let mut parts = name.splitn(3, '/');
                let lane = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                if !goes_to(lane.0, lane.1) {
                    batch.remove_fact(format!("{prefix}{name}"));
                } else if parts.next().is_some() {
                    // Keys are written in hexadecimal: behind all of them the next lane is looked at.
                    after = format!("{}/{}/~", lane.0, lane.1);
                    continue 'pages;
                }
            }
            match page.last() {
                Some((name, _)) => after.clone_from(name),
                None => break,
            }
        }
    }
    Ok(())
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
    pub facts: Vec<Option<TableFact>>,
    /// Rows of outputs, too.
    outputs: bool,
    pub next_rows_of: RowsOf,
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
        Ok(Self { facts: table_facts, outputs: any, next_rows_of })
    }

    fn any_live(&self) -> bool {
        self.facts.iter().flatten().any(|fact| fact.live)
    }

    pub(super) fn to_load(&self, used: &[Used<'_>]) -> Vec<usize> {
        let live = |at: &usize| self.facts[*at].as_ref().is_some_and(|fact| fact.live);
        (0..used.len()).filter(|at| !live(at)).collect()
    }

    pub(super) fn new_rows_of(&mut self) -> RowsOf {
        self.next_rows_of += 1;
        self.next_rows_of
    }
}

/// Reads an arrangement's rows: they may be more than fit into memory, and come fast.
fn read_rows(store: &Store, rows_of: RowsOf) -> Result<Vec<Entry>, state::Error> {
    let _spilling = Spilling::begin();
    let breathing = store.rows(rows_of).enumerate().map(|(at, row)| {
        if at % 1024 == 0 {
            memory::breathe();
        }
        row
    });
    breathing.collect()
}

fn tables(
    used: &[Used<'_>],
    kept: &Kept,
    position: Position,
    store: &Store,
) -> Result<Vec<TableInit>, StartError> {
    let mut tables = Vec::new();
    for (used, fact) in used.iter().zip(&kept.facts) {
        let fact = fact.as_ref().expect("kept or about to be loaded");
        let rows = read_rows(store, fact.rows_of)?;
        of_its_position(&rows, position, &used.name)?;
        let floor = store.fact(&format!("floor/{}", fact.rows_of))?;
        tables.push(TableInit {
            name: used.name.clone(),
            layout: used.layout.clone(),
            leaves: used.shape.leaves.iter().map(|leaf| (leaf.oid, leaf.number)).collect(),
            partitioned: used.shape.leaves.iter().any(|leaf| leaf.oid != used.shape.oid),
            rows_of: fact.rows_of,
            stage: if fact.live { Stage::Live } else { Stage::Loading },
            rows,
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

/// Rows and position are written together. A store that was damaged can lose its newest position and keep
/// the rows: the stream would then change what has changed already.
fn of_its_position(rows: &[Entry], position: Position, table: &str) -> Result<(), StartError> {
    let inside = position.inside.map(|inside| inside.commit_lsn);
    let beyond = |row: &Entry| row.lsn() >= position.lsn && Some(row.lsn()) != inside;
    match rows.iter().find(|row| beyond(row)) {
        None => Ok(()),
        Some(row) => Err(StartError::TwoMoments {
            table: table.to_owned(),
            row: row.lsn(),
            position: position.lsn,
        }),
    }
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
        Some(fact) if fact.plan == described && kept.outputs => {
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
    let rows = read_rows(store, rows_of)?;
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
            rebuilds: Vec::new(),
            letters: Vec::new(),
            waived: Vec::new(),
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
            init.rebuilds.push(store.fact(&rebuild_fact(&lane_name))?.is_some());
            let letters = |kind: &str| {
                let found = store.facts(&format!("{kind}/{lane_name}/"))?.into_iter();
                let letter = |(hex, letter): (String, Vec<u8>)| {
                    let lsn = Lsn(facts::number(Some(&letter)));
                    letter_key(&hex).map(|key| Letter { lane, key, lsn })
                };
                Ok::<Vec<Letter>, state::Error>(found.filter_map(letter).collect())
            };
            init.letters.extend(letters("dead")?);
            init.waived.extend(letters("waived")?);
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
