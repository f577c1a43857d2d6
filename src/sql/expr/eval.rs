//! Evaluation over one row's datums.
//!
//! Errors are Postgres' own, in its words. What it guards, this guards: CASE and COALESCE evaluate no
//! more than they need, AND and OR end at the first value that decides.

use std::borrow::Cow;
use std::ops::Range;

use crate::value::{Array, DecimalError, Scalar, ValueError, array_elements};

use super::function::Types;
use super::node::{Call, Comparison, List, Node};

/// A row's datums, found by `value::split`.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub bytes: &'a [u8],
    pub ranges: &'a [Range<usize>],
}

impl<'a> Row<'a> {
    pub(super) const EMPTY: Row<'static> = Row { bytes: &[], ranges: &[] };

    /// The datum of a column.
    pub fn datum(self, position: usize) -> &'a [u8] {
        let range = self.ranges.get(position).cloned();
        range.and_then(|range| self.bytes.get(range)).unwrap_or_default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// As Postgres says it.
    #[error("{0}")]
    Failed(Cow<'static, str>),
    /// Not the row's fault: bytes that are no value.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl EvalError {
    pub(super) const DIVISION_BY_ZERO: Self = Self::text("division by zero");
    pub(super) const OVERFLOW: Self = Self::text("value out of range: overflow");
    pub(super) const UNDERFLOW: Self = Self::text("value out of range: underflow");

    pub(super) const fn text(text: &'static str) -> Self {
        EvalError::Failed(Cow::Borrowed(text))
    }

    /// Cut where it shows much of a value, which may be large.
    pub(super) fn new(text: impl Into<String>) -> Self {
        const SHOWN_CHARS_MAX: usize = 300;
        let mut text: String = text.into();
        if let Some((end, _)) = text.char_indices().nth(SHOWN_CHARS_MAX) {
            text.truncate(end);
            text.push('…');
        }
        EvalError::Failed(Cow::Owned(text))
    }
}

impl From<DecimalError> for EvalError {
    fn from(error: DecimalError) -> Self {
        EvalError::new(error.to_string())
    }
}

pub(super) type Result<T> = std::result::Result<T, EvalError>;

/// What an expression is evaluated over.
#[derive(Clone, Copy)]
pub(super) struct Context<'v, 'c> {
    pub(super) row: Row<'v>,
    pub(super) operand: Option<&'c Scalar<'v>>,
}

impl Node {
    pub(super) fn eval<'v>(&'v self, context: Context<'v, '_>) -> Result<Scalar<'v>> {
        Ok(match self {
            Node::Const(value) => value.borrowed(),
            Node::Column { position, ty, .. } => Scalar::decode(ty, context.row.datum(*position))?,
            Node::Call(call) => call.eval(context)?,
            Node::And(parts) => decide(parts, context, false)?,
            Node::Or(parts) => decide(parts, context, true)?,
            Node::Not(of) => match of.eval(context)? {
                Scalar::Bool(value) => Scalar::Bool(!value),
                other => other,
            },
            Node::IsNull(of) => Scalar::Bool(of.eval(context)?.is_null()),
            Node::Is { of, value } => {
                Scalar::Bool(matches!(of.eval(context)?, Scalar::Bool(is) if is == *value))
            }
            Node::Coalesce(of) => {
                for node in of {
                    let value = node.eval(context)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Scalar::Null
            }
            Node::NullIf(of) => {
                let (left, right) = (of.left.eval(context)?, of.right.eval(context)?);
                match of.comparison.holds(left.clone(), right)? {
                    Some(true) => Scalar::Null,
                    _ => left,
                }
            }
            Node::Distinct(of) => {
                let (left, right) = (of.left.eval(context)?, of.right.eval(context)?);
                Scalar::Bool(match (left.is_null(), right.is_null()) {
                    (true, true) => false,
                    (false, false) => of.comparison.holds(left, right)? == Some(false),
                    _ => true,
                })
            }
            Node::Extreme { beyond, of } => extreme(beyond, of, context)?,
            Node::Elements { left, comparison, list, all } => {
                elements(left, comparison, list, *all, context)?
            }
            Node::Case { operand, branches, otherwise } => {
                let operand = match operand {
                    Some(operand) => Some(operand.eval(context)?),
                    None => None,
                };
                let within = Context { operand: operand.as_ref(), ..context };
                for (test, result) in branches {
                    if matches!(test.eval(within)?, Scalar::Bool(true)) {
                        return result.eval(context);
                    }
                }
                otherwise.eval(context)?
            }
            Node::CaseOperand => context.operand.cloned().unwrap_or(Scalar::Null),
            Node::Each { of, element, types } => each(of, element, types, context)?,
            Node::Array { elements, types, nested } => array(elements, types, *nested, context)?,
        })
    }
}

impl Call {
    fn eval<'v>(&'v self, context: Context<'v, '_>) -> Result<Scalar<'v>> {
        // Most functions have few arguments, for which no memory is asked for.
        match self.arguments.as_slice() {
            [one] => self.apply(&mut [one.eval(context)?]),
            [one, two] => self.apply(&mut [one.eval(context)?, two.eval(context)?]),
            [one, two, three] => {
                self.apply(&mut [one.eval(context)?, two.eval(context)?, three.eval(context)?])
            }
            arguments => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(argument.eval(context)?);
                }
                self.apply(&mut values)
            }
        }
    }

    /// Of values of its arguments' types.
    fn apply<'v>(&'v self, values: &mut [Scalar<'v>]) -> Result<Scalar<'v>> {
        // All are evaluated before: an error on one side counts also where the other is NULL.
        if self.strict && values.iter().any(Scalar::is_null) {
            return Ok(Scalar::Null);
        }
        (self.run)(&self.types, values)
    }
}

impl Comparison {
    /// `None` where one of the two is NULL.
    pub(super) fn holds<'v>(&'v self, left: Scalar<'v>, right: Scalar<'v>) -> Result<Option<bool>> {
        if left.is_null() || right.is_null() {
            return Ok(None);
        }
        match (self.run)(&self.types, &mut [left, right])? {
            Scalar::Bool(value) => Ok(Some(value)),
            _ => Ok(None),
        }
    }
}

/// The first part that has this value decides, else NULL where one is NULL.
fn decide<'v>(parts: &'v [Node], context: Context<'v, '_>, decisive: bool) -> Result<Scalar<'v>> {
    let mut unknown = false;
    for part in parts {
        match part.eval(context)? {
            Scalar::Bool(value) if value == decisive => return Ok(Scalar::Bool(value)),
            Scalar::Null => unknown = true,
            _ => {}
        }
    }
    Ok(if unknown { Scalar::Null } else { Scalar::Bool(!decisive) })
}

/// NULLs do not count.
fn extreme<'v>(
    beyond: &'v Comparison,
    of: &'v [Node],
    context: Context<'v, '_>,
) -> Result<Scalar<'v>> {
    let mut found = Scalar::Null;
    for node in of {
        let value = node.eval(context)?;
        if value.is_null() {
            continue;
        }
        if found.is_null() || beyond.holds(value.clone(), found.clone())? == Some(true) {
            found = value;
        }
    }
    Ok(found)
}

fn elements<'v>(
    left: &'v Node,
    comparison: &'v Comparison,
    list: &'v List,
    all: bool,
    context: Context<'v, '_>,
) -> Result<Scalar<'v>> {
    let left = left.eval(context)?;
    let mut found = Found { all, unknown: false };
    match list {
        // Nothing of them can fail.
        List::Nodes(nodes) if nodes.iter().all(|node| node.constant().is_some()) => {
            for node in nodes {
                if found.decides(comparison, &left, node.eval(context)?)? {
                    return Ok(Scalar::Bool(!all));
                }
            }
        }
        List::Nodes(nodes) => {
            let mut values = Vec::with_capacity(nodes.len());
            for node in nodes {
                values.push(node.eval(context)?);
            }
            for value in values {
                if found.decides(comparison, &left, value)? {
                    return Ok(Scalar::Bool(!all));
                }
            }
        }
        List::Array(array, element) => {
            let array = array.eval(context)?;
            let Scalar::Text(text) = &array else { return Ok(Scalar::Null) };
            for value in array_elements(element, text)? {
                if found.decides(comparison, &left, value)? {
                    return Ok(Scalar::Bool(!all));
                }
            }
        }
    }
    Ok(if found.unknown { Scalar::Null } else { Scalar::Bool(all) })
}

/// What is known of a list's elements so far.
struct Found {
    all: bool,
    unknown: bool,
}

impl Found {
    /// Whether this element decides, whatever follows.
    fn decides<'v>(
        &mut self,
        comparison: &'v Comparison,
        left: &Scalar<'v>,
        value: Scalar<'v>,
    ) -> Result<bool> {
        Ok(match comparison.holds(left.clone(), value)? {
            Some(holds) => holds != self.all,
            None => {
                self.unknown = true;
                false
            }
        })
    }
}

fn each<'v>(
    of: &'v Node,
    element: &'v Node,
    types: &'v Types,
    context: Context<'v, '_>,
) -> Result<Scalar<'v>> {
    let of = of.eval(context)?;
    let Scalar::Text(text) = &of else { return Ok(Scalar::Null) };
    let mut array = Array::parse(&types.arguments[0], text)?;
    for value in &mut array.elements {
        // A cast of NULL is NULL.
        if !value.is_null() {
            let operand: Scalar<'v> = std::mem::replace(value, Scalar::Null);
            *value = element.eval(Context { operand: Some(&operand), ..context })?.into_owned();
        }
    }
    super::function::write_array(&types.result, &array)
}

fn array<'v>(
    elements: &'v [Node],
    types: &'v Types,
    nested: bool,
    context: Context<'v, '_>,
) -> Result<Scalar<'v>> {
    let mut values = Vec::with_capacity(elements.len());
    for element in elements {
        values.push(element.eval(context)?);
    }
    super::function::build_array(types, &values, nested)
}
