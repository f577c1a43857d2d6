//! A bound expression: every column a position, every function chosen, every cast there.

use std::fmt;

use crate::value::{Scalar, Type};

use super::function::{Run, Types};

#[derive(Clone, Debug)]
pub(super) enum Node {
    Const(Scalar<'static>),
    Column {
        position: usize,
        ty: Type,
        not_null: bool,
    },
    Call(Box<Call>),
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
    /// The first operand, NULL where both are equal.
    NullIf(Box<Compared>),
    /// IS DISTINCT FROM.
    Distinct(Box<Compared>),
    /// GREATEST, LEAST, by the operator that says whether the first argument is further out.
    Extreme {
        beyond: Comparison,
        of: Vec<Node>,
    },
    /// Whether one element, or all, stand so to what is on the left: `x IN (1, 2)`, `x = ANY (…)`.
    Elements {
        left: Box<Node>,
        comparison: Comparison,
        list: List,
        all: bool,
    },
    Case {
        /// What `CaseOperand` is in the tests.
        operand: Option<Box<Node>>,
        branches: Vec<(Node, Node)>,
        otherwise: Box<Node>,
    },
    CaseOperand,
    /// An array of another type, made of each element; that is the `CaseOperand` of what makes it.
    Each {
        of: Box<Node>,
        element: Box<Node>,
        types: Types,
    },
    Array {
        elements: Vec<Node>,
        types: Types,
        /// The elements are arrays themselves.
        nested: bool,
    },
}

/// A function with its arguments.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) run: Run,
    pub(super) strict: bool,
    /// Postgres' planner computes it where its arguments are constants.
    pub(super) immutable: bool,
    pub(super) arguments: Vec<Node>,
    pub(super) types: Types,
}

/// By name and types, which mean the same in each run.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}{:?}", self.name, self.types, self.arguments)
    }
}

/// A boolean operator of two values, without its operands.
#[derive(Clone)]
pub(super) struct Comparison {
    pub(super) name: &'static str,
    pub(super) run: Run,
    pub(super) types: Types,
}

impl fmt::Debug for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.name, self.types)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Compared {
    pub(super) comparison: Comparison,
    pub(super) left: Node,
    pub(super) right: Node,
}

#[derive(Clone, Debug)]
pub(super) enum List {
    Nodes(Vec<Node>),
    /// A value of this array type's elements.
    Array(Box<Node>, Type),
}

impl Node {
    pub(super) const NULL: Self = Node::Const(Scalar::Null);

    pub(super) fn constant(&self) -> Option<&Scalar<'static>> {
        match self {
            Node::Const(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Node::Const(Scalar::Null))
    }

    /// The nodes right below, those of a CASE's tests included.
    pub(super) fn parts(&self) -> Vec<&Node> {
        match self {
            Node::Const(_) | Node::Column { .. } | Node::CaseOperand => Vec::new(),
            Node::Call(call) => call.arguments.iter().collect(),
            Node::And(of) | Node::Or(of) | Node::Coalesce(of) | Node::Extreme { of, .. } => {
                of.iter().collect()
            }
            Node::Array { elements, .. } => elements.iter().collect(),
            Node::Not(of) | Node::IsNull(of) | Node::Is { of, .. } | Node::Each { of, .. } => {
                vec![of]
            }
            Node::NullIf(of) | Node::Distinct(of) => vec![&of.left, &of.right],
            Node::Elements { left, list, .. } => {
                let mut parts: Vec<&Node> = vec![left];
                match list {
                    List::Nodes(nodes) => parts.extend(nodes),
                    List::Array(array, _) => parts.push(array),
                }
                parts
            }
            Node::Case { operand, branches, otherwise } => {
                let mut parts: Vec<&Node> = operand.iter().map(AsRef::as_ref).collect();
                parts.extend(branches.iter().flat_map(|(test, result)| [test, result]));
                parts.push(otherwise);
                parts
            }
        }
    }

    /// Its value is known never to be NULL.
    pub(super) fn is_not_null(&self) -> bool {
        match self {
            Node::Const(value) => !value.is_null(),
            Node::Column { not_null, .. } => *not_null,
            Node::IsNull(_) | Node::Is { .. } | Node::Distinct(_) | Node::Array { .. } => true,
            Node::Not(of) | Node::Each { of, .. } => of.is_not_null(),
            Node::And(of) | Node::Or(of) => of.iter().all(Node::is_not_null),
            Node::Coalesce(of) | Node::Extreme { of, .. } => of.iter().any(Node::is_not_null),
            Node::Case { branches, otherwise, .. } => {
                otherwise.is_not_null() && branches.iter().all(|(_, result)| result.is_not_null())
            }
            Node::Call(_) | Node::NullIf(_) | Node::Elements { .. } | Node::CaseOperand => false,
        }
    }

    pub(super) fn has_column(&self) -> bool {
        matches!(self, Node::Column { .. }) || self.parts().into_iter().any(Node::has_column)
    }
}
