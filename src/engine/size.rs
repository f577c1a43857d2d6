//! What is kept for projections, for people who ask what a query costs.

use super::Notice;
use super::graph::{Arranged, Engine, OutputId, Spec, State, TableId};
use super::operator::JoinState;
use super::row::RowLayout;
use crate::lsn::Lsn;
use crate::sql::plan;
use crate::value::ValueError;

/// Rows that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub what: KeptOf,
    pub rows: usize,
    /// Beside what it shares with tables.
    pub bytes: usize,
    /// The projections that need it.
    pub outputs: Vec<OutputId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptOf {
    Table(TableId),
    /// A table's rows under other columns; those that a condition lets pass, perhaps.
    Index {
        table: TableId,
        columns: Vec<String>,
        filtered: bool,
    },
    /// Computed rows, to be found by these columns.
    Rows(Vec<String>),
    /// How many partners rows have whose join has a further condition.
    Partners,
    /// Groups by these columns.
    Groups(Vec<String>),
    /// Partitions by these columns, in order.
    Partitions(Vec<String>),
    Output(OutputId),
}

/// Of one of them.
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Engine {
    /// The keys of a projection of which nothing can be shown, why, and since which commit.
    pub fn withheld(&self, output: OutputId) -> Vec<Result<(Notice, Lsn), ValueError>> {
        match self.output_node(output).map(|node| self.nodes[node].state.borrow()).as_deref() {
            Some(State::Output { operator, .. }) => operator.withheld().collect(),
            _ => Vec::new(),
        }
    }

    /// How many keys those are.
    pub fn withheld_len(&self, output: OutputId) -> usize {
        match self.output_node(output).map(|node| self.nodes[node].state.borrow()).as_deref() {
            Some(State::Output { operator, .. }) => operator.withheld_len(),
            _ => 0,
        }
    }

    /// Everything that is kept: tables first, and what is made of others behind them.
    pub fn kept(&self) -> Vec<Kept> {
        let of_table = |table: TableId| {
            let rows = &self.arrangements[self.tables[table].arrangement];
            Size { rows: rows.len(), bytes: rows.bytes() }
        };
        self.kept_as(of_table, |at| self.size(at))
    }

    /// The same, of sizes that are known otherwise.
    pub(super) fn kept_as(
        &self,
        size_of_table: impl Fn(TableId) -> Size,
        size: impl Fn(usize) -> Size,
    ) -> Vec<Kept> {
        let outputs: Vec<(OutputId, Vec<usize>)> = (0..self.outputs())
            .map(|output| {
                (output, self.output_node(output).map_or(vec![], |node| self.up_to(node)))
            })
            .collect();
        let tables = (0..self.tables.len()).map(|table| {
            let Size { rows, bytes } = size_of_table(table);
            let uses = |output: &OutputId| self.output_tables(*output).contains(&table);
            let outputs = (0..self.outputs()).filter(uses).collect();
            Kept { what: KeptOf::Table(table), rows, bytes, outputs }
        });
        let nodes = (0..self.nodes.len()).filter_map(|at| {
            let (what, Size { rows, bytes }) = (self.kept_by(at)?, size(at));
            let uses = outputs.iter().filter(|(_, parts)| parts.contains(&at));
            let outputs: Vec<OutputId> = uses.map(|(output, _)| *output).collect();
            (!outputs.is_empty()).then_some(Kept { what, rows, bytes, outputs })
        });
        tables.chain(nodes).collect()
    }

    /// Bytes of what is kept beside the rows of tables and outputs.
    pub fn operators_bytes(&self) -> usize {
        let nodes = (0..self.nodes.len())
            .filter(|&at| !matches!(*self.nodes[at].state.borrow(), State::Output { .. }));
        nodes.map(|at| self.size(at).bytes).sum()
    }

    /// What a node keeps, if anything.
    fn kept_by(&self, at: usize) -> Option<KeptOf> {
        let node = &self.nodes[at];
        let input = |at: usize| &self.nodes[node.inputs[at]].layout;
        Some(match (&node.spec, &*node.state.borrow()) {
            (
                Spec::Arrange { key, .. },
                State::Arranged(Arranged::Shared { table, filter, .. }),
            ) => {
                let columns = names(&node.layout, key);
                KeptOf::Index { table: *table, columns, filtered: filter.is_some() }
            }
            (Spec::Arrange { key, .. }, State::Arranged(Arranged::Own { .. })) => {
                KeptOf::Rows(names(&node.layout, key))
            }
            (_, State::Join(JoinState { matches: Some(_), .. })) => KeptOf::Partners,
            (Spec::Plan(plan::Node::Aggregate { group, .. }), State::Aggregate(_)) => {
                KeptOf::Groups(names(input(0), group))
            }
            (Spec::Plan(plan::Node::TopN { partition, .. }), State::TopN(_)) => {
                KeptOf::Partitions(names(input(0), partition))
            }
            (_, State::Output { .. }) => {
                KeptOf::Output((0..self.outputs()).find(|&o| self.output_node(o) == Some(at))?)
            }
            _ => return None,
        })
    }

    /// How much a node keeps now.
    fn size(&self, at: usize) -> Size {
        let of = |rows, bytes| Size { rows, bytes };
        match &*self.nodes[at].state.borrow() {
            State::Arranged(Arranged::Shared { index, .. }) => of(index.len(), index.bytes()),
            State::Arranged(Arranged::Own { index, .. }) => of(index.len(), index.bytes()),
            State::Join(JoinState { matches: Some(matches), .. }) => {
                of(matches.rows(), matches.bytes())
            }
            State::Aggregate(groups) => of(groups.rows(), groups.bytes()),
            State::TopN(top_n) => of(top_n.rows(), top_n.bytes()),
            State::Output { operator, arrangement, .. } => {
                let rows = &self.arrangements[*arrangement];
                of(rows.len() + operator.withheld_len(), rows.bytes())
            }
            State::Nothing | State::Arranged(Arranged::Table { .. }) | State::Join(_) => of(0, 0),
        }
    }
}

fn names(layout: &RowLayout, columns: &[usize]) -> Vec<String> {
    columns.iter().map(|&at| layout.columns[at].name.clone()).collect()
}
