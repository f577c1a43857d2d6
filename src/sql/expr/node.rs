//! A bound expression: every column a position, every operator of one type, every cast there.

use crate::value::{Decimal, Type};

use super::types::Kind;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal(Decimal),
    /// A text's datum.
    Text(Vec<u8>),
    Column {
        position: usize,
        ty: Type,
    },
    Cast {
        of: Box<Node>,
        from: Kind,
        to: Kind,
    },
    /// To `numeric(precision, scale)`, of a numeric.
    Fit {
        of: Box<Node>,
        precision: u32,
        scale: u32,
    },
    Negate {
        of: Box<Node>,
        ty: Kind,
    },
    Abs {
        of: Box<Node>,
        ty: Kind,
    },
    Arithmetic {
        operator: Arithmetic,
        ty: Kind,
        left: Box<Node>,
        right: Box<Node>,
    },
    Compare {
        operator: Comparison,
        left: Box<Node>,
        right: Box<Node>,
    },
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    IsNull(Box<Node>),
    /// IS TRUE, IS FALSE.
    Is {
        of: Box<Node>,
        value: bool,
    },
    Coalesce(Vec<Node>),
    NullIf {
        left: Box<Node>,
        right: Box<Node>,
    },
    Greatest(Vec<Node>),
    Least(Vec<Node>),
    Case {
        branches: Vec<(Node, Node)>,
        otherwise: Box<Node>,
    },
    Epoch {
        of: Box<Node>,
        ty: Kind,
    },
}

impl Node {
    /// Its value is the same for each row.
    pub(super) fn is_constant(&self) -> bool {
        let all = |of: &[Node]| of.iter().all(Node::is_constant);
        match self {
            Node::Null
            | Node::Bool(_)
            | Node::Int(_)
            | Node::Float(_)
            | Node::Decimal(_)
            | Node::Text(_) => true,
            Node::Column { .. } => false,
            Node::Cast { of, .. }
            | Node::Fit { of, .. }
            | Node::Negate { of, .. }
            | Node::Abs { of, .. }
            | Node::Not(of)
            | Node::IsNull(of)
            | Node::Is { of, .. }
            | Node::Epoch { of, .. } => of.is_constant(),
            Node::Arithmetic { left, right, .. }
            | Node::Compare { left, right, .. }
            | Node::NullIf { left, right } => left.is_constant() && right.is_constant(),
            Node::And(of)
            | Node::Or(of)
            | Node::Coalesce(of)
            | Node::Greatest(of)
            | Node::Least(of) => all(of),
            Node::Case { branches, otherwise } => {
                otherwise.is_constant()
                    && branches
                        .iter()
                        .all(|(test, result)| test.is_constant() && result.is_constant())
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}
