//! The engine against its reference: random plans over random tables, random transactions and restarts.

mod expressions;
mod operators;
mod random;
mod reference;

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use self::random::{Change, Script};
use self::reference::{Bag, answer};
use super::{Engine, Entry, Notice, OutputId, TableLayout};
use crate::lsn::Lsn;
use crate::sql::plan::Plan;

/// An engine, and what it is to show.
struct World {
    layouts: Vec<TableLayout>,
    plans: Vec<Plan>,
    engine: Engine,
    outputs: Vec<OutputId>,
    /// By table: the rows that there are under their keys, and those that were followed.
    rows: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
    followed: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// By plan: keys that were told not to be shown.
    withheld: Vec<BTreeSet<Vec<u8>>>,
    chunk_rows: usize,
    lsn: u64,
    asleep: Option<usize>,
}

impl World {
    fn new(layouts: Vec<TableLayout>, plans: Vec<Plan>, chunk_rows: usize) -> Self {
        let rows = vec![BTreeMap::new(); layouts.len()];
        let mut this = Self {
            engine: Engine::default(),
            outputs: Vec::new(),
            followed: rows.clone(),
            rows,
            withheld: vec![BTreeSet::new(); plans.len()],
            layouts,
            plans,
            chunk_rows,
            lsn: 1,
            asleep: None,
        };
        this.restart();
        this
    }

    /// As the pipeline does it: tables and outputs come from the store, the rest is computed.
    fn restart(&mut self) {
        let old = std::mem::take(&mut self.engine);
        let stored = |at: usize| {
            let rows = old.arrangements().get(at).into_iter();
            rows.flat_map(|rows| rows.scan_after(None)).cloned().collect::<Vec<Entry>>()
        };
        self.engine.chunk_rows = self.chunk_rows;
        let position = Lsn(self.lsn + 1);
        for layout in &self.layouts {
            let table = self.engine.add_table(layout.clone());
            let at = self.engine.table_arrangement(table);
            self.engine.restore(at, stored(at), position, Lsn::ZERO);
            if self.asleep == Some(table) {
                self.engine.sleep(table);
            }
        }
        self.outputs.clear();
        for plan in &self.plans {
            let output = self.engine.add_plan(plan);
            let at = self.engine.output_arrangement(output);
            self.engine.restore(at, stored(at), position, Lsn::ZERO);
            self.engine.reconcile(output, Lsn(self.lsn)).expect("rows");
            self.outputs.push(output);
        }
        let clean = self.rows == self.followed && self.lsn > 1;
        let versions = |engine: &Engine| -> Vec<(Vec<u8>, Lsn)> {
            let rows = engine.arrangements().iter().flat_map(|rows| rows.scan_after(None));
            let rows = rows.filter(|entry| !entry.is_tombstone());
            rows.map(|entry| (entry.key().to_vec(), entry.lsn())).collect()
        };
        assert!(!clean || versions(&old) == versions(&self.engine), "what is right is left alone");
        self.followed = self.rows.clone();
        self.withheld.iter_mut().for_each(BTreeSet::clear);
        self.check();
    }

    fn apply(&mut self, change: &Change) {
        let lsn = Lsn(self.lsn);
        match change {
            Change::Put { table, key, row } => {
                self.rows[*table].insert(key.clone(), row.clone());
                self.engine.put(*table, Entry::row(lsn, key, row)).expect("a row");
            }
            Change::Delete { table, key } => {
                self.rows[*table].remove(key);
                self.engine.delete(*table, lsn, key).expect("a row");
            }
            Change::Truncate { table } => {
                self.rows[*table].clear();
                self.engine.truncate(*table, lsn, None).expect("rows");
            }
            Change::Load { table, key, row } => {
                self.rows[*table].insert(key.clone(), row.clone());
                self.engine.load(*table, Entry::row(lsn, key, row)).expect("a row");
            }
            Change::Restart => self.restart(),
            Change::Sleep { table } => {
                self.asleep = Some(*table);
                self.restart();
            }
            Change::Wake => {
                let table = self.asleep.take().expect("it sleeps");
                self.lsn += 1;
                self.engine.wake(&[table], Lsn(self.lsn)).expect("rows");
                self.check();
                self.lsn += 1;
            }
            Change::Commit { tables } => {
                self.engine.commit_of(tables, lsn).expect("rows");
                for &table in tables {
                    self.followed[table] = self.rows[table].clone();
                }
                self.check();
                self.lsn += 1;
            }
        }
    }

    fn check(&mut self) {
        for told in self.engine.take_told() {
            let plan = self.outputs.iter().position(|&output| output == told.output);
            let withheld = &mut self.withheld[plan.expect("one of ours")];
            match told.notice {
                Notice::Conflict { key, .. } | Notice::Refused { key, .. } => {
                    withheld.insert(key);
                }
                Notice::Accepted { key } => assert!(withheld.remove(&key), "it was told before"),
            }
        }
        let tables: Vec<_> = self.layouts.iter().zip(&self.followed).collect();
        let tables: Vec<_> = tables
            .into_iter()
            .map(|(layout, rows)| {
                (layout.columns.clone(), rows.values().map(|row| (row.clone(), 1)).collect::<Bag>())
            })
            .collect();
        for ((plan, &output), told) in self.plans.iter().zip(&self.outputs).zip(&self.withheld) {
            if self.engine.is_asleep(output) {
                continue;
            }
            let expected = answer(plan, &tables);
            let rows = &self.engine.arrangements()[self.engine.output_arrangement(output)];
            let shown: BTreeMap<Vec<u8>, Vec<u8>> = rows
                .scan_after(None)
                .filter_map(|entry| Some((entry.key().to_vec(), entry.value()?.to_vec())))
                .collect();
            assert_eq!(shown, expected.shown, "{plan:#?}");
            // A row that is in no join or group is told without a key.
            let told: Vec<_> = told.iter().filter(|key| !key.is_empty()).collect();
            let withheld: Vec<_> = expected.withheld.iter().filter(|key| !key.is_empty()).collect();
            assert_eq!(told, withheld, "{plan:#?}");
            assert_eq!(self.engine.withheld(output).len(), expected.withheld.len());
        }
    }
}

fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let Script { layouts, plans, changes, chunk_rows } = Script::random(&mut rng);
    let mut world = World::new(layouts, plans, chunk_rows);
    changes.iter().for_each(|change| world.apply(change));
}

/// `READSIDE_ENGINE_SEEDS` runs so many more, `READSIDE_ENGINE_SEED` just one.
#[test]
fn every_output_is_what_its_plan_says_after_each_commit() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("READSIDE_ENGINE_SEED") {
        return run(seed);
    }
    for seed in 0..number("READSIDE_ENGINE_SEEDS").unwrap_or(300) {
        let outcome = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = outcome {
            println!("READSIDE_ENGINE_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
