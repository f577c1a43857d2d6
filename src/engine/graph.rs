//! The graph of all plans: tables' arrangements at the bottom, projections' outputs at the top, equal
//! nodes shared. Changes come in row by row; what depends on them follows at each commit.

use super::delta::Deltas;
use super::operator::{Conflict, Output, project};
use super::{Arrangement, Entry, Leaf, TableLayout};
use crate::lsn::Lsn;
use crate::sql::plan::{self, Plan};
use crate::value::{Column, ValueError};

/// Deltas are worked off early when a transaction gathers more of them than this.
const PENDING_BYTES_MAX: usize = 16 << 20;

/// A source table in the engine's list.
pub type TableId = usize;
/// An arrangement in the engine's list.
pub type ArrangementId = usize;
/// A projection's output in the engine's list.
pub type OutputId = usize;

#[derive(Default)]
pub struct Engine {
    arrangements: Vec<Arrangement>,
    tables: Vec<Table>,
    nodes: Vec<Node>,
    outputs: Vec<ProjectionOutput>,
}

struct Table {
    layout: TableLayout,
    arrangement: ArrangementId,
    scan: Option<usize>,
}

struct Node {
    /// What it computes, its inputs as positions in `Engine::nodes`.
    plan: plan::Node,
    columns: Vec<Column>,
    users: Vec<usize>,
    /// What the input sent since the last commit.
    pending: Deltas,
    kind: Kind,
}

enum Kind {
    Scan,
    Project { input: Vec<Column>, chosen: Vec<usize> },
    Output { operator: Output, arrangement: ArrangementId, output: OutputId },
}

struct ProjectionOutput {
    arrangement: ArrangementId,
    tables: Vec<TableId>,
    columns: Vec<Column>,
    key: Vec<usize>,
}

/// A key of a projection that several rows claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyConflict {
    pub output: OutputId,
    pub conflict: Conflict,
}

impl Engine {
    pub fn add_table(&mut self, layout: TableLayout) -> TableId {
        let arrangement = self.add_arrangement();
        self.tables.push(Table { layout, arrangement, scan: None });
        self.tables.len() - 1
    }

    fn add_arrangement(&mut self) -> ArrangementId {
        self.arrangements.push(Arrangement::default());
        self.arrangements.len() - 1
    }

    /// Adds a projection's plan; nodes that are there already are shared. Its output is empty until
    /// the tables' rows come, or `reconcile` reads those that are there.
    pub fn add_plan(&mut self, plan: &Plan) -> OutputId {
        let mut place: Vec<usize> = Vec::new();
        let mut tables: Vec<TableId> = Vec::new();
        for node in &plan.nodes {
            let id = match node {
                plan::Node::Scan { table } => {
                    if !tables.contains(table) {
                        tables.push(*table);
                    }
                    self.scan(*table)
                }
                plan::Node::Map { input, exprs, .. } => self.project(place[*input], &chosen(exprs)),
                plan::Node::Output { input, key } => {
                    return self.output(place[*input], key, tables);
                }
                node => unreachable!("no plan has {node:?} yet"),
            };
            place.push(id);
        }
        unreachable!("a plan ends with its output")
    }

    /// The rows that the store kept of an arrangement, in key order, as of `position`.
    pub fn restore(
        &mut self,
        arrangement: ArrangementId,
        rows: Vec<Entry>,
        position: Lsn,
        tombstone_floor: Lsn,
    ) {
        self.arrangements[arrangement] =
            Arrangement::restore(rows.into_iter(), position, tombstone_floor);
    }

    fn scan(&mut self, table: TableId) -> usize {
        if let Some(node) = self.tables[table].scan {
            return node;
        }
        let columns = self.tables[table].layout.columns.clone();
        let node = self.add_node(plan::Node::Scan { table }, columns, Kind::Scan);
        self.tables[table].scan = Some(node);
        node
    }

    fn project(&mut self, input: usize, chosen: &[usize]) -> usize {
        let exprs = chosen.iter().map(|&at| plan::Expr::Column(at)).collect();
        let from = self.nodes[input].columns.clone();
        let columns: Vec<Column> = chosen.iter().map(|&at| from[at].clone()).collect();
        let plan = plan::Node::Map { input, exprs, columns: columns.clone() };
        if let Some(node) = self.nodes.iter().position(|node| node.plan == plan) {
            return node;
        }
        let node =
            self.add_node(plan, columns, Kind::Project { input: from, chosen: chosen.to_vec() });
        self.nodes[input].users.push(node);
        node
    }

    /// A table's own arrangement is the output where the projection is the table under its identity.
    fn output(&mut self, input: usize, key: &[usize], tables: Vec<TableId>) -> OutputId {
        let columns = self.nodes[input].columns.clone();
        let output = self.outputs.len();
        let own_table = match self.nodes[input].plan {
            plan::Node::Scan { table } if self.tables[table].layout.identity == key => Some(table),
            _ => None,
        };
        let arrangement = match own_table {
            Some(table) => self.tables[table].arrangement,
            None => {
                let arrangement = self.add_arrangement();
                let operator = Output::new(columns.clone(), key.to_vec());
                let plan = plan::Node::Output { input, key: key.to_vec() };
                let kind = Kind::Output { operator, arrangement, output };
                let node = self.add_node(plan, columns.clone(), kind);
                self.nodes[input].users.push(node);
                arrangement
            }
        };
        self.outputs.push(ProjectionOutput { arrangement, tables, columns, key: key.to_vec() });
        output
    }

    fn add_node(&mut self, plan: plan::Node, columns: Vec<Column>, kind: Kind) -> usize {
        self.nodes.push(Node {
            plan,
            columns,
            users: Vec::new(),
            pending: Deltas::default(),
            kind,
        });
        self.nodes.len() - 1
    }

    pub fn layout(&self, table: TableId) -> &TableLayout {
        &self.tables[table].layout
    }

    pub fn table_arrangement(&self, table: TableId) -> ArrangementId {
        self.tables[table].arrangement
    }

    pub fn output_arrangement(&self, output: OutputId) -> ArrangementId {
        self.outputs[output].arrangement
    }

    pub fn output_columns(&self, output: OutputId) -> &[Column] {
        &self.outputs[output].columns
    }

    pub fn output_key(&self, output: OutputId) -> &[usize] {
        &self.outputs[output].key
    }

    pub fn output_tables(&self, output: OutputId) -> &[TableId] {
        &self.outputs[output].tables
    }

    pub fn arrangements(&self) -> &[Arrangement] {
        &self.arrangements
    }

    pub fn arrangement_mut(&mut self, id: ArrangementId) -> &mut Arrangement {
        &mut self.arrangements[id]
    }

    /// The current row of a table under its identity's key.
    pub fn get(&self, table: TableId, key: &[u8]) -> Option<&Entry> {
        self.arrangements[self.tables[table].arrangement].get(key)
    }

    /// Inserts a row or replaces the one under the same identity.
    pub fn put(&mut self, table: TableId, entry: Entry) -> Result<(), ValueError> {
        let arrangement = self.tables[table].arrangement;
        let Some(scan) = self.used_scan(table) else {
            self.arrangements[arrangement].put(entry);
            return Ok(());
        };
        let lsn = entry.lsn();
        let new = entry.clone();
        let old = self.arrangements[arrangement].put(entry);
        self.changed(scan, lsn, old.as_ref(), Some(&new))
    }

    /// Deletes the row under a key of the table's identity; without one nothing happens.
    pub fn delete(&mut self, table: TableId, lsn: Lsn, key: &[u8]) -> Result<bool, ValueError> {
        let arrangement = self.tables[table].arrangement;
        let old = self.arrangements[arrangement].delete(lsn, key);
        if let (Some(scan), Some(old)) = (self.used_scan(table), &old) {
            self.changed(scan, lsn, Some(old), None)?;
        }
        Ok(old.is_some())
    }

    /// Deletes all rows of a table, or of one leaf of it.
    pub fn truncate(
        &mut self,
        table: TableId,
        lsn: Lsn,
        leaf: Option<Leaf>,
    ) -> Result<(), ValueError> {
        let arrangement = &self.arrangements[self.tables[table].arrangement];
        let gone: Vec<Entry> = arrangement
            .scan_after(None)
            .filter(|entry| !entry.is_tombstone() && leaf.is_none_or(|leaf| entry.leaf() == leaf))
            .cloned()
            .collect();
        for entry in gone {
            self.delete(table, lsn, entry.key())?;
        }
        Ok(())
    }

    /// Puts a row that a load read: nobody is told of it by the log of changes, who needs it scans.
    pub fn load(&mut self, table: TableId, entry: Entry) -> Result<(), ValueError> {
        let arrangement = self.tables[table].arrangement;
        let Some(scan) = self.used_scan(table) else {
            self.arrangements[arrangement].load(entry);
            return Ok(());
        };
        let old = self.arrangements[arrangement].get(entry.key()).cloned();
        self.arrangements[arrangement].load(entry.clone());
        self.changed(scan, entry.lsn(), old.as_ref(), Some(&entry))
    }

    /// Brings an output to what its tables' restored rows say, by changes as of `lsn`. The store keeps
    /// the rows of both, but not what a transaction that was under way had yet to tell the output, nor
    /// which rows share a key; and a table that is loaded again has none.
    pub fn reconcile(&mut self, output: OutputId, lsn: Lsn) -> Result<(), ValueError> {
        let its = |node: &Node| matches!(node.kind, Kind::Output { output: o, .. } if o == output);
        let Some(at) = self.nodes.iter().position(its) else { return Ok(()) };
        let Some(&input) = self.nodes[at].plan.inputs().first() else { return Ok(()) };
        let mut rows = Deltas::default();
        self.rows_of(input, &mut rows)?;
        let Kind::Output { operator, arrangement, .. } = &mut self.nodes[at].kind else {
            unreachable!("found by its kind");
        };
        operator.restore(&rows, lsn, &mut self.arrangements[*arrangement])
    }

    /// All rows of a node, computed from the tables'.
    fn rows_of(&self, node: usize, out: &mut Deltas) -> Result<(), ValueError> {
        match (&self.nodes[node].kind, &self.nodes[node].plan) {
            (Kind::Scan, plan::Node::Scan { table }) => {
                let arrangement = &self.arrangements[self.tables[*table].arrangement];
                let rows = arrangement.scan_after(None).filter_map(Entry::value);
                rows.for_each(|row| out.push(row, 1));
                Ok(())
            }
            (Kind::Project { input: columns, chosen }, plan::Node::Map { input, .. }) => {
                let mut rows = Deltas::default();
                self.rows_of(*input, &mut rows)?;
                project(&rows, columns, chosen, out)
            }
            _ => unreachable!("an output is no node's input"),
        }
    }

    /// The table's scan, where somebody wants its deltas.
    fn used_scan(&self, table: TableId) -> Option<usize> {
        self.tables[table].scan.filter(|&scan| !self.nodes[scan].users.is_empty())
    }

    fn changed(
        &mut self,
        scan: usize,
        lsn: Lsn,
        old: Option<&Entry>,
        new: Option<&Entry>,
    ) -> Result<(), ValueError> {
        let pending = &mut self.nodes[scan].pending;
        if let Some(row) = old.and_then(Entry::value) {
            pending.push(row, -1);
        }
        if let Some(row) = new.and_then(Entry::value) {
            pending.push(row, 1);
        }
        if pending.bytes() > PENDING_BYTES_MAX {
            self.follow(vec![scan], lsn).map(drop)?;
        }
        Ok(())
    }

    /// The transaction whose commit record is at `lsn` is whole: everything that depends on what it
    /// changed follows. Returns the keys that came to be claimed by several rows.
    pub fn commit(&mut self, lsn: Lsn) -> Result<Vec<KeyConflict>, ValueError> {
        let scans = self.tables.iter().filter_map(|table| table.scan).collect();
        self.follow(scans, lsn)
    }

    /// As `commit`, for what depends on these tables: another transaction may be under way in others.
    pub fn commit_of(
        &mut self,
        tables: &[TableId],
        lsn: Lsn,
    ) -> Result<Vec<KeyConflict>, ValueError> {
        let scans = tables.iter().filter_map(|&table| self.tables[table].scan).collect();
        self.follow(scans, lsn)
    }

    fn follow(&mut self, scans: Vec<usize>, lsn: Lsn) -> Result<Vec<KeyConflict>, ValueError> {
        let mut conflicts = Vec::new();
        if self.nodes.iter().all(|node| node.pending.is_empty()) {
            return Ok(conflicts);
        }
        let mut reached = vec![false; self.nodes.len()];
        scans.into_iter().for_each(|scan| reached[scan] = true);
        // Inputs stand before their users, so one pass suffices.
        for at in 0..self.nodes.len() {
            if !reached[at] || self.nodes[at].pending.is_empty() {
                continue;
            }
            let mut pending = std::mem::take(&mut self.nodes[at].pending);
            let mut out = Deltas::default();
            let sent = match &mut self.nodes[at].kind {
                Kind::Scan => &pending,
                Kind::Project { input, chosen } => {
                    project(&pending, input, chosen, &mut out)?;
                    &out
                }
                Kind::Output { operator, arrangement, output } => {
                    let found =
                        operator.apply(&pending, lsn, &mut self.arrangements[*arrangement])?;
                    let output = *output;
                    conflicts
                        .extend(found.into_iter().map(|conflict| KeyConflict { output, conflict }));
                    &out
                }
            };
            for user in self.nodes[at].users.clone() {
                reached[user] = true;
                let input = &mut self.nodes[user].pending;
                sent.iter().for_each(|(row, weight)| input.push(row, weight));
            }
            pending.clear();
            self.nodes[at].pending = pending;
        }
        Ok(conflicts)
    }
}

fn chosen(exprs: &[plan::Expr]) -> Vec<usize> {
    let column = |expr: &plan::Expr| match expr {
        plan::Expr::Column(at) => *at,
        plan::Expr::Computed(_) => unreachable!("no plan computes yet"),
    };
    exprs.iter().map(column).collect()
}
