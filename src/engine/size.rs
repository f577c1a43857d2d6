//! What the operators of a projection keep, for people who ask what a query costs.

use super::Notice;
use super::graph::{Arranged, Engine, Operator, OutputId};
use crate::value::ValueError;

/// One operator of a projection's plan that keeps something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorSize {
    /// What it is, e.g. `join`.
    pub operator: &'static str,
    pub rows: usize,
    /// Beside what it shares with tables.
    pub bytes: usize,
    /// How many projections use it.
    pub projections: usize,
}

impl Engine {
    /// The keys of a projection of which nothing can be shown, and why.
    pub fn withheld(&self, output: OutputId) -> impl Iterator<Item = Result<Notice, ValueError>> {
        let node = self.output_node(output).map(|node| &self.nodes[node].operator);
        let operator = node.and_then(|node| match node {
            Operator::Output { operator, .. } => Some(operator),
            _ => None,
        });
        operator.into_iter().flat_map(|operator| operator.withheld())
    }

    /// How many keys those are.
    pub fn withheld_len(&self, output: OutputId) -> usize {
        match self.output_node(output).map(|node| &self.nodes[node].operator) {
            Some(Operator::Output { operator, .. }) => operator.withheld_len(),
            _ => 0,
        }
    }

    /// What is kept for a projection, inputs first.
    pub fn sizes(&self, output: OutputId) -> Vec<OperatorSize> {
        let Some(node) = self.output_node(output) else { return Vec::new() };
        let parts = self.up_to(node);
        parts.into_iter().filter_map(|at| self.size(at)).collect()
    }

    fn size(&self, at: usize) -> Option<OperatorSize> {
        let (operator, rows, bytes) = match &self.nodes[at].operator {
            Operator::Scan { table, .. } => {
                let rows = &self.arrangements[self.tables[*table].arrangement];
                ("table", rows.len(), rows.bytes())
            }
            Operator::Arrange(Arranged::Shared { index, .. }) => {
                ("index", index.len(), index.bytes())
            }
            Operator::Arrange(Arranged::Own { index, .. }) => ("rows", index.len(), index.bytes()),
            Operator::Join(join) if join.bytes() > 0 => ("join", join.rows(), join.bytes()),
            Operator::Aggregate(aggregate) => ("groups", aggregate.rows(), aggregate.bytes()),
            Operator::TopN(top_n) => ("top-n", top_n.rows(), top_n.bytes()),
            Operator::Output { arrangement, operator, .. } => {
                let rows = &self.arrangements[*arrangement];
                ("output", rows.len() + operator.withheld().count(), rows.bytes())
            }
            _ => return None,
        };
        let uses = |node: &usize| self.up_to(*node).contains(&at);
        let outputs = (0..self.nodes.len())
            .filter(|&node| matches!(self.nodes[node].operator, Operator::Output { .. }));
        let projections = outputs.filter(uses).count();
        Some(OperatorSize { operator, rows, bytes, projections })
    }
}
