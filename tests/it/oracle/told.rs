//! What each store was told of the events, and the histories in Postgres: read and judged with the
//! writers at rest.

use std::collections::{BTreeMap, BTreeSet};

use readside::lsn::Lsn;
use redis::aio::MultiplexedConnection;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_postgres::Client;

use super::faults::Losses;
use super::history::History;
use super::occurrence::{EVENTS, Entries, Event, From, Occurred, Told, judge};
use super::picture::Sink;
use super::reader::{Hit, search_all};
use super::schema::{SEQUENCE, Search, TABLES};
use super::versions::{self, Gap};

/// What was compared before, so that each occurrence is looked at once.
#[derive(Default)]
pub(super) struct Logs {
    occurred: Occurred,
    read_to: BTreeMap<(&'static str, Sink), Place>,
    /// Gaps that were told already.
    gaps: BTreeSet<(&'static str, Lsn)>,
    gaps_of_histories: BTreeSet<(&'static str, Gap)>,
    /// The newest commit at the last comparison.
    compared_to: i64,
}

/// Up to which commit a store was right, and how much of it that was.
#[derive(Clone, Default)]
struct Place {
    n: i64,
    count: usize,
    committed_at: Option<String>,
}

/// The stores, while nobody kills them.
pub(super) struct Stores<'a> {
    pub(super) reporting: &'a Client,
    /// Each node.
    pub(super) cache: Vec<MultiplexedConnection>,
    pub(super) search: Option<&'a Search>,
}

impl Logs {
    /// A backlog in Redis may be told again from its beginning, and so may what a sink lacks after a restart: a second
    /// kill may come between the steps.
    pub(super) async fn compare(
        &mut self,
        source: &Client,
        stores: &mut Stores<'_>,
        history: &History,
        losses: &Losses,
    ) -> Result<String, String> {
        self.occurred.read(source).await;
        let (fills, looked_at) = self.compare_histories(stores.reporting, history, losses).await?;
        let mut counts = 0;
        for event in EVENTS {
            counts += self.compare_event(event, stores, history, losses, &fills).await?;
        }
        self.compared_to = history.commits.last();
        losses.forget();
        Ok(format!("{counts} occurrences and {looked_at} states of histories are right"))
    }

    async fn compare_event(
        &mut self,
        event: &'static Event,
        stores: &mut Stores<'_>,
        history: &History,
        losses: &Losses,
        fills: &Fills,
    ) -> Result<usize, String> {
        let mut data_of: BTreeMap<(Lsn, i64), String> = BTreeMap::new();
        let mut counts = 0;
        for sink in sinks(event, stores.search.is_some()) {
            let wrong = |what: String| format!("{} in {}: {what}", event.name, sink.name());
            let is_put_back = losses.is_put_back(sink);
            let place = self.read_to.entry((event.name, sink)).or_default();
            if is_put_back {
                *place = Place::default();
            }
            let (mut told, count) = stores.read(event, sink, place).await;
            let may_repeat = sink == Sink::Cache;
            once(&mut told, may_repeat).map_err(wrong)?;
            // Around the place a store is read more than once.
            let known = told.partition_point(|said| history.commits.before(said.at.0) <= place.n);
            let told = &told[known..];
            if count != place.count + told.len() && !may_repeat {
                return Err(wrong(format!(
                    "{count} are there, {} of them new, and {} were there before",
                    told.len(),
                    place.count
                )));
            }
            for said in told {
                let before = data_of.insert(said.at, said.data.clone());
                if before.is_some_and(|before| before != said.data) {
                    return Err(wrong(format!("{:?} is another one elsewhere", said.at)));
                }
            }
            let from = if place.n == 0 { From::Somewhere } else { From::Whole };
            let truth = self.occurred.after(event.name, place.n);
            let loaded_by = |begun: Lsn| {
                let filled = event.tables().map(|table| {
                    let first = fills[table].iter().filter(|until| **until > begun).min();
                    first.map_or(i64::MAX, |until| history.commits.before(*until))
                });
                filled.max().unwrap_or_default()
            };
            judge(truth, told, &history.commits, from, loaded_by, event.looks_up())
                .map_err(wrong)?;
            // What is kept for an hour for Redis is not lost by an older backup either.
            // A start that was broken off before anything was durable cannot say that there was nothing before.
            let is_first = self.compared_to == 0;
            let may_be_lost = is_first || losses.state() || (is_put_back && event.redis.is_none());
            for said in told.iter().filter(|said| said.is_gap) {
                if self.gaps.insert((event.name, said.at.0)) && !may_be_lost {
                    return Err(wrong(format!("there is a gap at {}, and no reason", said.at.0)));
                }
            }
            counts += told.len();
            place.n = history.commits.last();
            place.count = count;
            place.committed_at =
                told.last().map(|said| said.committed_at.clone()).or(place.committed_at.take());
        }
        Ok(counts)
    }

    async fn compare_histories(
        &mut self,
        reporting: &Client,
        history: &History,
        losses: &Losses,
    ) -> Result<(Fills, usize), String> {
        let last = history.commits.last();
        let numbers = TABLES.iter().find(|table| table.name == SEQUENCE).expect("it is there");
        let numbers = versions::read(reporting, numbers).await;
        let times = versions::times(&numbers, &history.commits, last)?;
        let is_put_back = losses.is_put_back(Sink::Reporting);
        let mut looked_at = 0;
        let mut fills = Fills::new();
        for table in TABLES.iter().filter(|table| table.has_history) {
            let wrong = |what: String| format!("the history of {}: {what}", table.name);
            let kept = versions::read(reporting, table).await;
            looked_at +=
                versions::judge(&kept, history.states(table), &history.commits, &times, last)
                    .map_err(wrong)?;
            fills.insert(table.name, kept.filled_at());
            for gap in kept.gaps {
                let is_new = self.gaps_of_histories.insert((table.name, gap));
                // What was there at the last comparison is lost with the sink alone.
                let is_later = history.commits.before(gap.after) >= self.compared_to;
                if is_new && !(is_put_back || (losses.state() && is_later)) {
                    return Err(wrong(format!("there is a gap and no reason: {gap:?}")));
                }
            }
        }
        Ok((fills, looked_at))
    }
}

/// By table, the positions at which a fill ended: its load was over by then.
type Fills = BTreeMap<&'static str, Vec<Lsn>>;

/// The stores that an event goes to.
pub(super) fn sinks(event: &Event, has_search: bool) -> Vec<Sink> {
    let mut sinks = vec![Sink::Reporting];
    sinks.extend(event.redis.map(|_| Sink::Cache));
    sinks.extend((has_search && event.in_search).then_some(Sink::Search));
    sinks
}

/// In the order of the ids, as they have to come; again only where they may.
fn once(told: &mut Vec<Told>, may_repeat: bool) -> Result<(), String> {
    let mut known: BTreeMap<(Lsn, i64), String> = BTreeMap::new();
    let mut newest = (Lsn::ZERO, 0);
    let mut first_ones = Vec::new();
    for said in told.drain(..) {
        match known.insert(said.at, said.data.clone()) {
            None if said.at < newest => return Err(format!("{:?} is out of order", said.at)),
            None => {
                newest = said.at;
                first_ones.push(said);
            }
            Some(before) if before != said.data => {
                return Err(format!("{:?} is two: {before} and {}", said.at, said.data));
            }
            Some(_) if may_repeat => {}
            Some(_) => return Err(format!("{:?} is there twice", said.at)),
        }
    }
    *told = first_ones;
    Ok(())
}

/// In Redis and in the search server.
#[derive(Deserialize)]
struct Entry {
    id: String,
    r#type: String,
    committed_at: String,
    data: Box<RawValue>,
}

impl Entry {
    fn told(self, event: &Event) -> Told {
        let (lsn, ordinal) = self.id.rsplit_once('/').expect("an id is lsn/ordinal");
        Told {
            at: (lsn.parse().unwrap(), ordinal.parse().unwrap()),
            is_gap: is_gap(event, &self.r#type),
            committed_at: self.committed_at,
            data: self.data.get().into(),
        }
    }
}

fn is_gap(event: &Event, kind: &str) -> bool {
    assert!(kind == event.name || kind == "readside.gap", "{}: {kind}", event.name);
    kind != event.name
}

impl Stores<'_> {
    /// What was told after a place, in the order of the store, and how much there is in all.
    async fn read(&mut self, event: &Event, sink: Sink, after: &Place) -> (Vec<Told>, usize) {
        match sink {
            Sink::Reporting => self.rows(event, after).await,
            Sink::Cache => self.entries(event, after).await,
            Sink::Search => self.documents(event, after).await,
        }
    }

    async fn rows(&self, event: &Event, after: &Place) -> (Vec<Told>, usize) {
        let name = event.name;
        let sql = format!(
            "SELECT lsn::text, ordinal::bigint, type, to_jsonb(committed_at) #>> '{{}}',
                    (to_jsonb(e) - ARRAY['lsn', 'ordinal', 'type', 'committed_at'])::text
             FROM {name} e ORDER BY e.lsn, e.ordinal OFFSET {}",
            after.count
        );
        let rows = self.reporting.query(&sql, &[]).await.unwrap();
        let told = |row: &tokio_postgres::Row| Told {
            at: (row.get::<_, &str>(0).parse().unwrap(), row.get(1)),
            is_gap: is_gap(event, row.get(2)),
            committed_at: row.get(3),
            data: row.get(4),
        };
        let told: Vec<Told> = rows.iter().map(told).collect();
        let count = after.count + told.len();
        (told, count)
    }

    /// The one that has this key.
    async fn node(&mut self, key: &str) -> &mut MultiplexedConnection {
        let mut at = 0;
        while redis::cmd("EXISTS").arg(key).exec_async(&mut self.cache[at]).await.is_err() {
            at += 1;
        }
        &mut self.cache[at]
    }

    async fn entries(&mut self, event: &Event, after: &Place) -> (Vec<Told>, usize) {
        let told: Vec<Told> = match event.redis.expect("it goes to Redis") {
            Entries::Stream(key) => {
                let node = self.node(key).await;
                let count: usize = redis::cmd("XLEN").arg(key).query_async(node).await.unwrap();
                let new = count.saturating_sub(after.count);
                let mut newest: Vec<(String, BTreeMap<String, String>)> = redis::cmd("XREVRANGE")
                    .arg(&[key, "+", "-", "COUNT", &new.max(1).to_string()])
                    .query_async(node)
                    .await
                    .unwrap();
                newest.truncate(new);
                let entry = |mut fields: BTreeMap<String, String>| Entry {
                    id: fields.remove("id").unwrap(),
                    r#type: fields.remove("type").unwrap(),
                    committed_at: fields.remove("committed_at").unwrap(),
                    data: RawValue::from_string(fields.remove("data").unwrap()).unwrap(),
                };
                newest.into_iter().rev().map(|(_, fields)| entry(fields).told(event)).collect()
            }
            Entries::List(key) => {
                let mut newest = redis::cmd("LRANGE");
                newest.arg(key).arg(after.count).arg(-1);
                let items: Vec<String> = newest.query_async(self.node(key).await).await.unwrap();
                let entry = |item: &String| serde_json::from_str::<Entry>(item).unwrap();
                items.iter().map(|item| entry(item).told(event)).collect()
            }
        };
        let count = after.count + told.len();
        (told, count)
    }

    async fn documents(&self, event: &Event, after: &Place) -> (Vec<Told>, usize) {
        let search = self.search.expect("it is told here");
        let index = search.index(event.name);
        let hits = search_all(search, &index, after.committed_at.as_deref()).await.unwrap();
        let told = |hit: Hit| {
            let entry: Entry = serde_json::from_str(hit.source.get()).unwrap();
            assert_eq!(entry.id, hit.id);
            entry.told(event)
        };
        let mut told: Vec<Told> = hits.documents.into_iter().map(told).collect();
        told.sort_by_key(|said| said.at);
        (told, hits.count)
    }
}
