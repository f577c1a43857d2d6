//! What the operators of a projection keep, for people who ask what a query costs.

use super::Notice;
use super::graph::{Arranged, Engine, Operator, OutputId, State};
use super::operator::JoinState;
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

    /// What is kept for a projection, inputs first.
    pub fn sizes(&self, output: OutputId) -> Vec<OperatorSize> {
        let Some(node) = self.output_node(output) else { return Vec::new() };
        let parts = self.up_to(node);
        parts.into_iter().filter_map(|at| self.size(at)).collect()
    }

    fn size(&self, at: usize) -> Option<OperatorSize> {
        let (operator, rows, bytes) =
            match (&self.nodes[at].operator, &*self.nodes[at].state.borrow()) {
                (Operator::Scan(table), _) => {
                    let rows = &self.arrangements[self.tables[*table].arrangement];
                    ("table", rows.len(), rows.bytes())
                }
                (_, State::Arranged(Arranged::Shared { index, .. })) => {
                    ("index", index.len(), index.bytes())
                }
                (_, State::Arranged(Arranged::Own { index, .. })) => {
                    ("rows", index.len(), index.bytes())
                }
                (_, State::Join(JoinState { matches: Some(matches), .. })) => {
                    ("join", matches.rows(), matches.bytes())
                }
                (_, State::Aggregate(groups)) => ("groups", groups.rows(), groups.bytes()),
                (_, State::TopN(top_n)) => ("top-n", top_n.rows(), top_n.bytes()),
                (_, State::Output { operator, arrangement, .. }) => {
                    let rows = &self.arrangements[*arrangement];
                    ("output", rows.len() + operator.withheld_len(), rows.bytes())
                }
                _ => return None,
            };
        let uses = |node: &usize| self.up_to(*node).contains(&at);
        let outputs = (0..self.nodes.len())
            .filter(|&node| matches!(self.nodes[node].operator, Operator::Output(_)));
        let projections = outputs.filter(uses).count();
        Some(OperatorSize { operator, rows, bytes, projections })
    }
}
