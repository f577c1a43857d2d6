//! What `check` and `run` ask of the servers before anything is created there: every fault at once, in
//! the order of the file.

use futures_util::future::join_all;

use super::{bind, queries};
use crate::config::{self, Config, Diagnostic, Secret, SinkConfig, SinkKind, Target};
use crate::pg::Params;
use crate::sink::{self, Owner, SinkProjection};
use crate::source;
use crate::source::catalog::{Catalog, Table, TableName};

/// What the source and the SQL over its tables came to.
struct SourceChecked<'a> {
    faults: Vec<Diagnostic>,
    catalog: Option<Catalog>,
    bound: Vec<bind::Bound<'a>>,
    away: bool,
}

/// The tests that `run` makes.
pub(crate) struct BeforeRun {
    pub(crate) faults: Vec<Diagnostic>,
    /// The faults are only that the source cannot be reached at the moment.
    pub(crate) source_away: bool,
}

/// The url of a Postgres, read as whoever connects will.
pub(crate) fn postgres_url(url: &Secret, password: Option<&Secret>) -> Result<(), String> {
    let parsed = Params::parse(url.expose(), password);
    parsed.map(drop).map_err(|error| error.to_string())
}

/// Source, SQL and sinks. Creates nothing.
pub(crate) async fn everything(config: &Config) -> Vec<Diagnostic> {
    let source = check_source(config).await;
    let sinks = bind::of_sinks(config, &source.bound);
    let owner = source.catalog.as_ref().map(|catalog| owner(config, catalog));
    // What the system before has left is taken over: whoever holds it may be us.
    let named = owner.as_ref().filter(|owner| !owner.is_heir()).map(Owner::name);
    let asked = config.sinks.iter().zip(&sinks);
    let asked = asked.map(|(sink, projections)| check_sink(sink, named, projections));
    let (stores, sink_faults) = tokio::join!(stores(&config.sinks), join_all(asked));
    let mut faults = source.faults;
    let shared = shared_stores(config, source.catalog.as_ref(), &stores);
    faults.extend(sink_faults.into_iter().flatten().filter(|fault| {
        // Whose table it is, is no question where it is one of the source's.
        !shared.iter().any(|shared| shared.place.is_some() && shared.place == fault.place)
    }));
    faults.extend(shared);
    config::in_file_order(&mut faults);
    faults
}

/// Source and SQL. Of the sinks only whether one of them is the source, where they answer.
pub(crate) async fn before_run(config: &Config) -> BeforeRun {
    let source = check_source(config).await;
    let mut faults = source.faults;
    if source.catalog.is_some() {
        let stores = stores(&config.sinks).await;
        faults.extend(shared_stores(config, source.catalog.as_ref(), &stores));
    }
    config::in_file_order(&mut faults);
    BeforeRun { faults, source_away: source.away }
}

/// The faults of a file, and those that the source finds in what of it is valid.
pub(crate) async fn beside(mut faults: Vec<Diagnostic>, valid: &Config) -> Vec<Diagnostic> {
    faults.extend(before_run(valid).await.faults);
    config::in_file_order(&mut faults);
    faults
}

async fn check_source(config: &Config) -> SourceChecked<'_> {
    let params = match params(config) {
        Ok(params) => params,
        Err(fault) => {
            let faults = vec![fault];
            return SourceChecked { faults, catalog: None, bound: Vec::new(), away: false };
        }
    };
    let checked = source::check::check(config, &params).await;
    let mut faults = checked.faults;
    let (mut bound, found) = match &checked.catalog {
        Some(catalog) => {
            let binding = bind::bind(config, catalog);
            (binding.bound, binding.unbound)
        }
        None => (Vec::new(), Vec::new()),
    };
    let mut found: Vec<Diagnostic> = found.into_iter().map(|unbound| unbound.fault).collect();
    if let Some(catalog) = &checked.catalog {
        match queries::checked(&params, catalog, &mut bound).await {
            Ok(faults) => found.extend(faults),
            Err(error) => {
                let fault = queries::unanswered(config, &error);
                if source::transient::is_transient(&error) {
                    let faults = vec![fault];
                    return SourceChecked { faults, catalog: None, bound: Vec::new(), away: true };
                }
                found.push(fault);
            }
        }
    }
    for fault in found {
        // A view has no key either: what it is has been told.
        let told = |known: &Diagnostic| known.place.is_some() && known.place == fault.place;
        if !faults.iter().any(told) {
            faults.push(fault);
        }
    }
    SourceChecked { faults, catalog: checked.catalog, bound, away: checked.away }
}

/// The configuration's own tests have parsed the url with the same words.
pub(super) fn params(config: &Config) -> Result<Params, Diagnostic> {
    let parsed = Params::parse(config.source.url.expose(), config.source.password.as_ref());
    parsed.map_err(|error| {
        Diagnostic::new(format!("the source's url cannot be used: {error}"))
            .at(&config.source.place.entry("url"))
    })
}

/// Whom the watermarks name.
pub(super) fn owner(config: &Config, catalog: &Catalog) -> Owner {
    let system = &catalog.server.system_id;
    let heir = config.source.accept_system.as_ref() == Some(system);
    let name = config.ha.as_ref().map_or(&config.source.slot, |ha| &ha.group);
    Owner::new(system, name, heir)
}

async fn check_sink(
    sink: &SinkConfig,
    owner: Option<&str>,
    projections: &[SinkProjection],
) -> Vec<Diagnostic> {
    match sink.kind {
        SinkKind::Postgres => sink::postgres::check(sink, owner, projections).await,
        SinkKind::Redis => sink::redis::check(sink, owner, projections).await,
        SinkKind::Elasticsearch => sink::elasticsearch::check(sink, owner, projections).await,
    }
}

/// What each sink's store calls itself, where it can be asked.
async fn stores(sinks: &[SinkConfig]) -> Vec<Option<String>> {
    join_all(sinks.iter().map(async |sink| match sink.kind {
        SinkKind::Postgres => sink::postgres::store(sink).await,
        SinkKind::Redis => sink::redis::store(sink).await,
        SinkKind::Elasticsearch => sink::elasticsearch::store(sink).await,
    }))
    .await
}

/// Two sinks that are one store under two urls: their watermarks would be one. And a sink that is the
/// source: what is written there must not come back as a change.
fn shared_stores(
    config: &Config,
    catalog: Option<&Catalog>,
    stores: &[Option<String>],
) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let source = catalog.map(|catalog| &catalog.server.database_identity);
    for (at, (sink, store)) in config.sinks.iter().zip(stores).enumerate() {
        let Some(store) = store else { continue };
        let same = |(other, known): &(&SinkConfig, &Option<String>)| {
            other.kind == sink.kind && known.as_ref() == Some(store)
        };
        if let Some((other, _)) = config.sinks.iter().zip(stores).take(at).find(same) {
            let what = format!("sinks `{}` and `{}` are the same store", other.name, sink.name);
            let hint =
                format!("give the targets of `{}` to `{}` and remove it", sink.name, other.name);
            faults.push(Diagnostic::new(what).at(&sink.place.entry("url")).hint(hint));
        }
        if let Some(catalog) = catalog
            && sink.kind == SinkKind::Postgres
            && source == Some(store)
        {
            faults.extend(in_the_source(config, catalog, sink));
        }
    }
    faults
}

fn in_the_source(config: &Config, catalog: &Catalog, sink: &SinkConfig) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    if let Some(publication) = &catalog.publication
        && publication.all_tables
    {
        let what = format!(
            "sink `{}` is the source's own database, of which publication {} publishes all tables: \
             each write there would come back as a change",
            sink.name, config.source.publication
        );
        let hint = "name a publication of certain tables by source.publication, or remove that line \
                    and Readside makes one; or write to another database";
        faults.push(Diagnostic::new(what).at(&sink.place.entry("url")).hint(hint));
    }
    let holds = |table: &Table, name: &TableName| {
        table.name == *name || table.leaves.iter().any(|leaf| leaf.name == *name)
    };
    for projection in &config.projections {
        for (name, target) in &projection.targets {
            let Target::Postgres(target) = target else { continue };
            let table = TableName::new(&target.schema, &target.table);
            if *name == sink.name && catalog.tables.iter().any(|of| holds(of, &table)) {
                let what = format!(
                    "projection `{}` would be written into {table}, which is a table of the source",
                    projection.name
                );
                let hint = format!(
                    "choose another table; sink `{}` is the source's own database",
                    sink.name
                );
                faults.push(Diagnostic::new(what).at(&target.place).hint(hint));
            }
        }
    }
    faults
}
