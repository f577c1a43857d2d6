//! Constants are computed before any row, as Postgres' planner does (`eval_const_expressions`): it
//! decides which errors can happen. A constant expression that fails is a fault of the query's, for
//! there Postgres refuses it; what a deciding constant hides is not looked at.

use crate::value::Scalar;

use super::eval::{Context, EvalError, Row};
use super::node::{Call, Compared, List, Node};

type Result = std::result::Result<Node, EvalError>;

const EMPTY: Context<'static, 'static> = Context { row: Row::EMPTY, operand: None };

/// The same expression, with what is constant computed.
pub(super) fn fold(node: Node) -> Result {
    Ok(match node {
        Node::Const(_) | Node::Column { .. } | Node::CaseOperand => node,
        Node::Call(call) => fold_call(*call)?,
        Node::And(parts) => connected(parts, false)?,
        Node::Or(parts) => connected(parts, true)?,
        Node::Not(of) => match fold(*of)? {
            Node::Const(Scalar::Bool(value)) => Node::Const(Scalar::Bool(!value)),
            of if of.is_null() => of,
            // Twice is not at all.
            Node::Not(of) => *of,
            of => Node::Not(Box::new(of)),
        },
        Node::IsNull(of) => match fold(*of)? {
            Node::Const(value) => Node::Const(Scalar::Bool(value.is_null())),
            of => Node::IsNull(Box::new(of)),
        },
        Node::Is { of, value } => match fold(*of)? {
            Node::Const(is) => {
                Node::Const(Scalar::Bool(matches!(is, Scalar::Bool(is) if is == value)))
            }
            of => Node::Is { of: Box::new(of), value },
        },
        Node::Coalesce(of) => coalesce(of)?,
        Node::NullIf(of) => {
            let of = compared(*of)?;
            if of.left.is_null() || of.right.is_null() {
                return Ok(of.left);
            }
            let constant = both(&of);
            computed(Node::NullIf(Box::new(of)), constant)?
        }
        Node::Distinct(of) => {
            let of = compared(*of)?;
            let constant = both(&of);
            computed(Node::Distinct(Box::new(of)), constant)?
        }
        Node::Extreme { beyond, of } => {
            let of = all(of)?;
            let constant = of.iter().all(|node| node.constant().is_some());
            computed(Node::Extreme { beyond, of }, constant)?
        }
        Node::Elements { left, comparison, list, all: every } => {
            let left = fold(*left)?;
            let list = match list {
                List::Nodes(nodes) => List::Nodes(all(nodes)?),
                List::Array(array, ty) => List::Array(Box::new(fold(*array)?), ty),
            };
            let constant = left.constant().is_some()
                && match &list {
                    List::Nodes(nodes) => nodes.iter().all(|node| node.constant().is_some()),
                    List::Array(array, _) => array.constant().is_some(),
                };
            let node = Node::Elements { left: Box::new(left), comparison, list, all: every };
            computed(node, constant)?
        }
        Node::Case { operand, branches, otherwise } => case(operand, branches, *otherwise)?,
        Node::Each { of, element, types } => {
            let of = fold(*of)?;
            let constant = of.constant().is_some();
            computed(Node::Each { of: Box::new(of), element, types }, constant)?
        }
        Node::Array { elements, types, nested } => {
            let elements = all(elements)?;
            let constant = elements.iter().all(|node| node.constant().is_some());
            computed(Node::Array { elements, types, nested }, constant)?
        }
    })
}

fn all(nodes: Vec<Node>) -> std::result::Result<Vec<Node>, EvalError> {
    nodes.into_iter().map(fold).collect()
}

fn both(of: &Compared) -> bool {
    of.left.constant().is_some() && of.right.constant().is_some()
}

fn compared(of: Compared) -> std::result::Result<Compared, EvalError> {
    Ok(Compared { left: fold(of.left)?, right: fold(of.right)?, ..of })
}

/// Its value, where it is constant.
fn computed(node: Node, constant: bool) -> Result {
    if !constant {
        return Ok(node);
    }
    let value = node.eval(EMPTY)?.into_owned();
    Ok(Node::Const(value))
}

fn fold_call(call: Call) -> Result {
    let call = Call { arguments: all(call.arguments)?, ..call };
    // What is NULL for a NULL is so too where another argument would fail.
    if call.strict && call.arguments.iter().any(Node::is_null) {
        return Ok(Node::NULL);
    }
    let constant = call.arguments.iter().all(|node| node.constant().is_some());
    // What depends on the session as well is computed when it is needed, and may fail then. NULL and truth
    // values would hide before what fails beside them.
    let immutable = call.immutable;
    let node = Node::Call(Box::new(call));
    if constant && !immutable {
        return Ok(match node.eval(EMPTY) {
            Err(_) | Ok(Scalar::Null | Scalar::Bool(_)) => node,
            Ok(value) => Node::Const(value.into_owned()),
        });
    }
    computed(node, constant)
}

/// OR of the parts where `decisive`, else AND. Parts behind a constant that decides are not looked at;
/// the ones before it are gone with all that could fail in them.
fn connected(parts: Vec<Node>, decisive: bool) -> Result {
    let mut kept = Vec::new();
    let mut unknown = false;
    let mut pending: Vec<Node> = parts;
    pending.reverse();
    while let Some(part) = pending.pop() {
        // AND within AND is one AND.
        match (part, decisive) {
            (Node::Or(parts), true) | (Node::And(parts), false) => {
                pending.extend(parts.into_iter().rev());
            }
            (part, _) => match fold(part)? {
                Node::Const(Scalar::Bool(value)) if value == decisive => {
                    return Ok(Node::Const(Scalar::Bool(decisive)));
                }
                Node::Const(Scalar::Null) => unknown = true,
                Node::Const(_) => {}
                Node::Or(parts) if decisive => kept.extend(parts),
                Node::And(parts) if !decisive => kept.extend(parts),
                part => kept.push(part),
            },
        }
    }
    if kept.is_empty() {
        let value = if unknown { Scalar::Null } else { Scalar::Bool(!decisive) };
        return Ok(Node::Const(value));
    }
    if unknown {
        kept.push(Node::NULL);
    }
    Ok(match kept.len() {
        1 => kept.pop().unwrap_or(Node::NULL),
        _ if decisive => Node::Or(kept),
        _ => Node::And(kept),
    })
}

/// Up to the first constant that is none of NULL.
fn coalesce(of: Vec<Node>) -> Result {
    let mut kept = Vec::new();
    for node in of {
        let node = fold(node)?;
        if node.is_null() {
            continue;
        }
        let last = node.constant().is_some();
        kept.push(node);
        if last {
            break;
        }
    }
    Ok(if kept.len() > 1 { Node::Coalesce(kept) } else { kept.pop().unwrap_or(Node::NULL) })
}

/// Without the branches that no row takes, which are not looked at.
fn case(operand: Option<Box<Node>>, branches: Vec<(Node, Node)>, otherwise: Node) -> Result {
    let mut operand = match operand {
        Some(operand) => Some(fold(*operand)?),
        None => None,
    };
    let constant = match &operand {
        Some(Node::Const(value)) => Some(value.clone()),
        _ => None,
    };
    let mut kept = Vec::new();
    let mut last = None;
    for (test, result) in branches {
        let test = match &constant {
            Some(value) => substitute(test, value),
            None => test,
        };
        match fold(test)? {
            Node::Const(Scalar::Bool(true)) => {
                last = Some(result);
                break;
            }
            Node::Const(_) => {}
            test => kept.push((test, fold(result)?)),
        }
    }
    let otherwise = fold(last.unwrap_or(otherwise))?;
    if kept.is_empty() {
        return Ok(otherwise);
    }
    if constant.is_some() {
        operand = None;
    }
    let operand = operand.map(Box::new);
    Ok(Node::Case { operand, branches: kept, otherwise: Box::new(otherwise) })
}

/// The value in place of the operand; a CASE within has an operand of its own.
fn substitute(node: Node, value: &Scalar<'static>) -> Node {
    match node {
        Node::CaseOperand => Node::Const(value.clone()),
        Node::Call(call) => {
            let arguments =
                call.arguments.into_iter().map(|node| substitute(node, value)).collect();
            Node::Call(Box::new(Call { arguments, ..*call }))
        }
        node => node,
    }
}
