//! The plan in words.

use std::fmt::Write as _;

use super::{Planned, Schema};
use crate::sql::plan::{Node, NodeId};

/// The plan as a tree, what is kept for it, and what it is kept by.
pub fn explain(planned: &Planned, schema: &Schema) -> String {
    let explainer = Explainer { planned, schema, users: users(&planned.plan.nodes) };
    let mut text = String::new();
    let last = planned.plan.nodes.len().saturating_sub(1);
    explainer.node(last, 0, &mut Vec::new(), &mut text);
    for note in &planned.notes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// How many nodes use each node.
fn users(nodes: &[Node]) -> Vec<usize> {
    let mut users = vec![0; nodes.len()];
    for node in nodes {
        for input in node.inputs() {
            users[input] += 1;
        }
    }
    users
}

struct Explainer<'e> {
    planned: &'e Planned,
    schema: &'e Schema,
    users: Vec<usize>,
}

impl Explainer<'_> {
    fn node(&self, at: NodeId, depth: usize, told: &mut Vec<NodeId>, text: &mut String) {
        let node = &self.planned.plan.nodes[at];
        let indent = "  ".repeat(depth);
        let label = &self.planned.labels[at];
        let shared = self.users[at] > 1 && !matches!(node, Node::Scan { .. });
        if shared && told.contains(&at) {
            let _ = writeln!(text, "{indent}[{at}] as above: {label}");
            return;
        }
        told.push(at);
        let number = if shared { format!("[{at}] ") } else { String::new() };
        let _ = writeln!(text, "{indent}{number}{label}{}", self.key(node));
        if let Some(kept) = self.kept(node) {
            let _ = writeln!(text, "{indent}  keeps {kept}");
        }
        if let Some(fan_out) = self.planned.fan_outs[at] {
            let _ = writeln!(text, "{indent}  {fan_out}");
        }
        for input in node.inputs() {
            self.node(input, depth + 1, told, text);
        }
    }

    fn key(&self, node: &Node) -> String {
        let Node::Output { key, .. } = node else { return String::new() };
        let names: Vec<&str> =
            key.iter().map(|at| self.planned.columns[*at].name.as_str()).collect();
        match (names.is_empty(), &self.planned.key) {
            (_, None) => ", which show no key of their own".into(),
            (true, _) => ": one row".into(),
            (false, _) => format!(" by {}", names.join(", ")),
        }
    }

    /// What the engine has to keep for an operator.
    fn kept(&self, node: &Node) -> Option<String> {
        match node {
            Node::Join { left, right, on, .. } => {
                let (l, r): (Vec<usize>, Vec<usize>) = on.iter().copied().unzip();
                Some(format!("{}; {}", self.arranged(*left, &l), self.arranged(*right, &r)))
            }
            Node::Aggregate { aggregates, .. } if aggregates.is_empty() => {
                Some("how often each occurs".into())
            }
            Node::Aggregate { aggregates, .. } => {
                Some(match aggregates.iter().any(|aggregate| !aggregate.order.is_empty()) {
                    true => "each group's rows in order, and its answer".into(),
                    false => "each group's answer".into(),
                })
            }
            Node::TopN { .. } => Some("each partition's rows in order".into()),
            Node::Scan { .. }
            | Node::Filter { .. }
            | Node::Map { .. }
            | Node::Union { .. }
            | Node::Output { .. } => None,
        }
    }

    /// One side of a join: a table under its own primary key needs nothing more.
    fn arranged(&self, at: NodeId, key: &[usize]) -> String {
        let names: Vec<&str> =
            key.iter().map(|column| self.planned.names[at][*column].as_str()).collect();
        let by = match names.is_empty() {
            true => "as a whole".to_owned(),
            false => format!("by {}", names.join(", ")),
        };
        let Node::Scan { table } = &self.planned.plan.nodes[at] else {
            return format!("({}) {by}", self.planned.labels[at]);
        };
        let table = &self.schema.tables[*table];
        let primary = table.primary_key.iter().flatten().map(|at| table.columns[*at].name.as_str());
        let own = table.primary_key.is_some() && primary.eq(names.iter().copied());
        match own {
            true => {
                format!("{}.{} by its primary key, as it is kept anyway", table.schema, table.name)
            }
            false => {
                format!("{}.{} {by}, its rows shared", table.schema, table.name)
            }
        }
    }
}
