//! What is kept for projections, for people who ask what a query costs.

use super::Notice;
use super::graph::{Arranged, Engine, OutputId, Spec, State, TableId};
use super::operator::JoinState;
use super::row::RowLayout;
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

impl Engine {
    /// The keys of a projection of which nothing can be shown, and why.
    pub fn withheld(&self, output: OutputId) -> Vec<Result<Notice, ValueError>> {
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
        let outputs: Vec<(OutputId, Vec<usize>)> = (0..self.outputs())
            .map(|output| {
                (output, self.output_node(output).map_or(vec![], |node| self.up_to(node)))
            })
            .collect();
        let tables = (0..self.tables.len()).map(|table| {
            let rows = &self.arrangements[self.tables[table].arrangement];
            let uses = |output: &OutputId| self.output_tables(*output).contains(&table);
            Kept {
                what: KeptOf::Table(table),
                rows: rows.len(),
                bytes: rows.bytes(),
                outputs: (0..self.outputs()).filter(uses).collect(),
            }
        });
        let nodes = (0..self.nodes.len()).filter_map(|at| {
            let (what, rows, bytes) = self.kept_by(at)?;
            let uses = outputs.iter().filter(|(_, parts)| parts.contains(&at));
            let outputs: Vec<OutputId> = uses.map(|(output, _)| *output).collect();
            (!outputs.is_empty()).then_some(Kept { what, rows, bytes, outputs })
        });
        tables.chain(nodes).collect()
    }

    /// Bytes of what is kept beside the rows of tables and outputs.
    pub fn operators_bytes(&self) -> usize {
        let nodes = (0..self.nodes.len()).filter_map(|at| self.kept_by(at));
        nodes.filter(|(what, ..)| !matches!(what, KeptOf::Output(_))).map(|(.., bytes)| bytes).sum()
    }

    fn kept_by(&self, at: usize) -> Option<(KeptOf, usize, usize)> {
        let node = &self.nodes[at];
        let input = |at: usize| &self.nodes[node.inputs[at]].layout;
        Some(match (&node.spec, &*node.state.borrow()) {
            (
                Spec::Arrange { key, .. },
                State::Arranged(Arranged::Shared { table, filter, index, .. }),
            ) => {
                let columns = names(&node.layout, key);
                let what = KeptOf::Index { table: *table, columns, filtered: filter.is_some() };
                (what, index.len(), index.bytes())
            }
            (Spec::Arrange { key, .. }, State::Arranged(Arranged::Own { index, .. })) => {
                (KeptOf::Rows(names(&node.layout, key)), index.len(), index.bytes())
            }
            (_, State::Join(JoinState { matches: Some(matches), .. })) => {
                (KeptOf::Partners, matches.rows(), matches.bytes())
            }
            (Spec::Plan(plan::Node::Aggregate { group, .. }), State::Aggregate(groups)) => {
                (KeptOf::Groups(names(input(0), group)), groups.rows(), groups.bytes())
            }
            (Spec::Plan(plan::Node::TopN { partition, .. }), State::TopN(top_n)) => {
                (KeptOf::Partitions(names(input(0), partition)), top_n.rows(), top_n.bytes())
            }
            (_, State::Output { operator, arrangement, .. }) => {
                let rows = &self.arrangements[*arrangement];
                let output = (0..self.outputs()).find(|&o| self.output_node(o) == Some(at))?;
                let count = rows.len() + operator.withheld_len();
                (KeptOf::Output(output), count, rows.bytes())
            }
            _ => return None,
        })
    }
}

fn names(layout: &RowLayout, columns: &[usize]) -> Vec<String> {
    columns.iter().map(|&at| layout.columns[at].name.clone()).collect()
}
