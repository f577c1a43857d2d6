//! A plan: a DAG of relational operators, in an order in which inputs come before their users.
//! It says what is computed; the engine decides what is kept for it.

/// One projection's plan. The last node is its `Output`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    pub nodes: Vec<Node>,
}

/// Position of a node in its plan.
pub type NodeId = usize;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// All rows of a source table, by the table's position in the engine's list.
    Scan { table: usize },
    /// The columns at these positions of the input's rows, in this order.
    Project { input: NodeId, columns: Vec<usize> },
    /// The projection's rows, each under the columns of its key.
    Output { input: NodeId, key: Vec<usize> },
}

impl Node {
    pub fn input(&self) -> Option<NodeId> {
        match self {
            Node::Scan { .. } => None,
            Node::Project { input, .. } | Node::Output { input, .. } => Some(*input),
        }
    }
}

impl Plan {
    /// A table as it is, under the given key columns.
    pub fn table(table: usize, key: Vec<usize>) -> Self {
        Self { nodes: vec![Node::Scan { table }, Node::Output { input: 0, key }] }
    }
}
