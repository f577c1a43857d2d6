//! A plan: a DAG of relational operators, in an order in which inputs come before their users.
//! It says what is computed; the engine decides what is kept for it.
//!
//! Relations are bags of rows; a row is its columns' datums one after the other (`value`). A datum may
//! be an error (`value::ERROR`): an expression that failed on the row. Expressions over it are that error,
//! and so is an aggregate; where it is looked at by nobody it does not matter; the output refuses it.

use std::fmt;
use std::sync::Arc;

use super::expr::{self, EvalError, Row, Series};
use crate::value::{Column, Type};

/// One projection's plan. The last node is its `Output`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Plan {
    pub nodes: Vec<Node>,
}

/// Position of a node in its plan.
pub type NodeId = usize;

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// All rows of a source table, by the table's position in the engine's list.
    Scan { table: usize },
    /// The rows for which the condition is true. Where it fails, the row goes on as a refused one.
    Filter { input: NodeId, condition: Expr },
    /// New rows: one expression for each column.
    Map { input: NodeId, exprs: Vec<Expr>, columns: Vec<Column> },
    /// Each row beside each of the rows that a function makes of one of its values; `outer`: beside NULLs
    /// where it makes none. Where the function fails, beside that error.
    Expand { input: NodeId, list: Expr, series: Series, outer: bool, columns: Vec<Column> },
    /// Pairs of rows that are equal, as values, in the columns `on` (position in the left rows, in the
    /// right rows; both of one type) and for which the residual, over the left row followed by the
    /// right one, is true. NULL equals nothing.
    Join {
        left: NodeId,
        right: NodeId,
        kind: JoinKind,
        on: Vec<(usize, usize)>,
        residual: Option<Expr>,
    },
    /// The rows of all inputs (UNION ALL), whose columns are of the same types.
    Union { inputs: Vec<NodeId> },
    /// One row for each group that has rows: the group's columns, then the aggregates. `scalar`: no
    /// GROUP BY; exactly one row, also over nothing. Without aggregates it is DISTINCT.
    Aggregate { input: NodeId, group: Vec<usize>, aggregates: Vec<Aggregate>, scalar: bool },
    /// Of each partition the rows from `offset` on, `limit` of them at most, in this order.
    TopN {
        input: NodeId,
        partition: Vec<usize>,
        order: Vec<Order>,
        limit: Option<u64>,
        offset: u64,
    },
    /// The projection's rows, each under the columns of its key.
    Output { input: NodeId, key: Vec<usize> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Left columns, then right columns, of each pair.
    Inner,
    /// As `Inner`; a left row without a partner stands beside NULLs.
    Left,
    /// Left rows that have a partner.
    Semi,
    /// Left rows that have none.
    Anti,
    /// NOT IN, on one pair of columns: left rows that have none, but nothing at all where a right row's
    /// column is NULL, and no left row whose column is NULL unless there are no right rows.
    AntiNull,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    pub column: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

/// An aggregate function over a group's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    pub function: Function,
    /// Columns of the input.
    pub arguments: Vec<usize>,
    pub distinct: bool,
    /// In which order the rows go; where the query leaves it open, by the columns that tell the input's
    /// rows apart, so that the answer is one.
    pub order: Vec<Order>,
    /// A boolean column: only rows where it is true count.
    pub filter: Option<usize>,
    /// What comes out.
    pub column: Column,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// Without an argument `count(*)`.
    Count,
    Sum,
    Avg,
    /// Of integers and numeric.
    VarSamp,
    VarPop,
    StddevSamp,
    StddevPop,
    Min,
    Max,
    BoolAnd,
    BoolOr,
    /// Of integers.
    BitAnd,
    BitOr,
    BitXor,
    ArrayAgg,
    /// Value and delimiter, of text or bytea.
    StringAgg,
    JsonAgg,
    /// json_agg of whole rows, given as json: each but the first is on a line of its own.
    JsonAggRows,
    JsonbAgg,
    /// Key and value.
    JsonObjectAgg,
    JsonbObjectAgg,
    /// The only row's value, NULL without rows; an error with several (a scalar subquery).
    Single,
}

impl Function {
    /// A variance or its root.
    pub fn is_spread(self) -> bool {
        use Function::{StddevPop, StddevSamp, VarPop, VarSamp};
        matches!(self, VarSamp | VarPop | StddevSamp | StddevPop)
    }
}

/// A value for each row.
#[derive(Clone, Debug)]
pub enum Expr {
    /// The column at this position, as it is.
    Column(usize),
    Computed(Arc<dyn Evaluate>),
}

/// A compiled expression. What prints alike (`Debug`) is taken for equal.
pub trait Evaluate: fmt::Debug + Send + Sync {
    /// Appends the value's datum, NULL included. The row's datums may be errors: an expression that
    /// looks at one fails, with any error; the caller knows the row's own.
    fn eval(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), EvalError>;

    /// What the JSON is made of that it builds, given the same of the row's columns.
    fn json_shape(&self, _: &[Option<Type>]) -> Option<Type> {
        None
    }
}

impl Evaluate for expr::Expr {
    fn eval(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), EvalError> {
        self.eval(row, out)
    }

    fn json_shape(&self, inputs: &[Option<Type>]) -> Option<Type> {
        self.json_shape(inputs)
    }
}

impl From<expr::Expr> for Expr {
    fn from(expr: expr::Expr) -> Self {
        match expr.as_column() {
            Some(position) => Expr::Column(position),
            None => Expr::Computed(Arc::new(expr)),
        }
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Expr::Column(a), Expr::Column(b)) => a == b,
            (Expr::Computed(a), Expr::Computed(b)) => {
                Arc::ptr_eq(a, b) || format!("{a:?}") == format!("{b:?}")
            }
            _ => false,
        }
    }
}

impl Node {
    pub fn inputs(&self) -> Vec<NodeId> {
        match self {
            Node::Scan { .. } => Vec::new(),
            Node::Filter { input, .. }
            | Node::Map { input, .. }
            | Node::Expand { input, .. }
            | Node::Aggregate { input, .. }
            | Node::TopN { input, .. }
            | Node::Output { input, .. } => vec![*input],
            Node::Join { left, right, .. } => vec![*left, *right],
            Node::Union { inputs } => inputs.clone(),
        }
    }

    /// The same node over other inputs.
    #[must_use]
    pub fn over(mut self, place: impl Fn(NodeId) -> NodeId) -> Self {
        match &mut self {
            Node::Scan { .. } => {}
            Node::Filter { input, .. }
            | Node::Map { input, .. }
            | Node::Expand { input, .. }
            | Node::Aggregate { input, .. }
            | Node::TopN { input, .. }
            | Node::Output { input, .. } => *input = place(*input),
            Node::Join { left, right, .. } => {
                (*left, *right) = (place(*left), place(*right));
            }
            Node::Union { inputs } => inputs.iter_mut().for_each(|input| *input = place(*input)),
        }
        self
    }

    /// The node's columns, given those of its inputs, in order; a scan's are its table's.
    pub fn columns(&self, inputs: &[&[Column]]) -> Vec<Column> {
        let first = || inputs.first().map_or(&[][..], |columns| *columns);
        match self {
            Node::Scan { .. }
            | Node::Filter { .. }
            | Node::Union { .. }
            | Node::TopN { .. }
            | Node::Output { .. } => first().to_vec(),
            Node::Map { columns, .. } => columns.clone(),
            Node::Expand { columns, .. } => [first(), columns].concat(),
            Node::Join { kind: JoinKind::Inner, .. } => inputs.concat(),
            Node::Join { kind: JoinKind::Left, .. } => {
                let left = inputs.iter().take(1).flat_map(|columns| columns.iter().cloned());
                let right = inputs.iter().skip(1).flat_map(|columns| columns.iter().cloned());
                left.chain(right.map(|column| Column { not_null: false, ..column })).collect()
            }
            Node::Join { .. } => first().to_vec(),
            Node::Aggregate { group, aggregates, .. } => {
                let group = group.iter().filter_map(|&at| first().get(at).cloned());
                group.chain(aggregates.iter().map(|a| a.column.clone())).collect()
            }
        }
    }
}

impl Plan {
    /// By node: whether the output depends on it.
    pub fn used(&self) -> Vec<bool> {
        let mut used = vec![false; self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate().rev() {
            used[at] |= matches!(node, Node::Output { .. });
            if used[at] {
                node.inputs().into_iter().for_each(|input| used[input] = true);
            }
        }
        used
    }

    /// A table as it is, under the given key columns.
    pub fn table(table: usize, key: Vec<usize>) -> Self {
        Self { nodes: vec![Node::Scan { table }, Node::Output { input: 0, key }] }
    }
}
