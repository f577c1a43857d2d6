//! The plan in words; what is kept for it is the engine's to say.

use std::fmt::Write as _;

use super::Planned;
use crate::sql::plan::{Node, NodeId};

/// The plan as a tree, and how far changes reach.
pub fn explain(planned: &Planned) -> String {
    let explainer = Explainer { planned, users: users(&planned.plan.nodes) };
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
}
