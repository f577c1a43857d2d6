//! Operators: arithmetic, comparisons, AND and OR, IN, ANY and ALL.

use std::ops::Range;

use sqlparser::ast::{BinaryOperator, Expr};

use crate::value::Type;

use super::super::catalog::{BOOL, CATALOG, INTERVAL, Oid, TEXT, UNKNOWN};
use super::super::function::{Types, check_regex};
use super::super::node::{Comparison, List, Node};
use super::super::ty::Collation;
use super::choose::{Candidate, Choice, choose, common_type, resolve};
use super::coerce::call;
use super::{Binder, Bound, Result};

const ORDERING: [&str; 4] = ["<", "<=", ">", ">="];
/// What takes a regular expression second.
const PATTERNS: [&str; 10] = [
    "~",
    "!~",
    "~*",
    "!~*",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "regexp_split_to_array",
    "regexp_count",
    "regexp_substr",
];
/// What asks for a collation, in that order or not.
const COLLATED: [&str; 10] = ["=", "<>", "~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*"];

impl Binder<'_> {
    pub(super) fn binary(
        &self,
        expr: &Expr,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
    ) -> Result {
        let name = match op {
            BinaryOperator::And => return Ok(Bound::new(Node::And(self.chain(expr, op)?), BOOL)),
            BinaryOperator::Or => return Ok(Bound::new(Node::Or(self.chain(expr, op)?), BOOL)),
            BinaryOperator::NotEq => "<>".to_owned(),
            BinaryOperator::Xor | BinaryOperator::Spaceship | BinaryOperator::BitwiseXor => {
                return self.unsupported(expr);
            }
            op => op.to_string(),
        };
        if let (Expr::Tuple(left), Expr::Tuple(right)) = (left, right) {
            return self.rows(expr, left, &name, right);
        }
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        self.operator(&self.place(expr), &name, vec![left, right])
    }

    /// The parts of a chain of ANDs or ORs, in their order: it may be long.
    fn chain(&self, expr: &Expr, chained: &BinaryOperator) -> Result<Vec<Node>> {
        let mut parts = Vec::new();
        let mut rest = expr;
        while let Expr::BinaryOp { left, op, right } = rest
            && op == chained
        {
            parts.push(&**right);
            rest = left;
        }
        parts.push(rest);
        parts.into_iter().rev().map(|part| self.condition(part)).collect()
    }

    /// `(a, b) = (c, d)`.
    fn rows(&self, expr: &Expr, left: &[Expr], name: &str, right: &[Expr]) -> Result {
        let at = self.place(expr);
        if left.len() == right.len()
            && let Some(ordered) = by_parts(left, name, right)
        {
            return self.expr(&ordered);
        }
        if !matches!(name, "=" | "<>") || left.len() != right.len() || left.is_empty() {
            return self.refuse(at, format!("rows are not compared by {name} here"), "");
        }
        let parts = left
            .iter()
            .zip(right)
            .map(|(left, right)| {
                let both = vec![self.expr(left)?, self.expr(right)?];
                Ok(self.operator(&at, name, both)?.node)
            })
            .collect::<Result<Vec<_>>>()?;
        let node = if name == "=" { Node::And(parts) } else { Node::Or(parts) };
        Ok(Bound::new(node, BOOL))
    }

    /// `make_op`: the operator that these operands mean.
    pub(super) fn operator(&self, at: &Range<usize>, name: &str, of: Vec<Bound>) -> Result {
        let candidate = self.operator_for(at, name, &of)?;
        if ORDERING.contains(&name) {
            self.ordered(&of, at)?;
        }
        if COLLATED.contains(&name) && self.collation(&of).collation == Collation::Conflict {
            let what = "it is not known which of two collations to compare by";
            return self.refuse(at.clone(), what, "write COLLATE \"C\" behind one of them");
        }
        self.apply(at, candidate, of)
    }

    fn operator_for(&self, at: &Range<usize>, name: &str, of: &[Bound]) -> Result<Candidate> {
        let inputs: Vec<Oid> = of.iter().map(|bound| bound.ty).collect();
        let candidates: Vec<Candidate> = CATALOG
            .operators(name)
            .iter()
            .filter(|signature| signature.arguments.len() == inputs.len())
            .map(|&signature| Candidate { signature, arguments: signature.arguments.clone() })
            .collect();
        let exact = |inputs: &[Oid]| {
            candidates.iter().find(|candidate| candidate.arguments == inputs).cloned()
        };
        // A literal is first taken for what stands on the other side.
        let assumed: Vec<Oid> = match *inputs.as_slice() {
            [UNKNOWN, right] => vec![right, right],
            [left, UNKNOWN] => vec![left, left],
            _ => inputs.clone(),
        };
        if !assumed.contains(&UNKNOWN)
            && let Some(found) = exact(&assumed)
        {
            return Ok(found);
        }
        match choose(self.known, &inputs, &candidates) {
            Choice::One(candidate) => Ok(candidate),
            choice => self.no_operator(at, name, &inputs, matches!(choice, Choice::Several)),
        }
    }

    fn no_operator<T>(
        &self,
        at: &Range<usize>,
        name: &str,
        inputs: &[Oid],
        several: bool,
    ) -> Result<T> {
        let shown: Vec<String> = inputs.iter().map(|&ty| self.show(ty)).collect();
        let what = match shown.as_slice() {
            [left, right] if several => format!("the operator {left} {name} {right} is not unique"),
            [left, right] => format!("there is no operator {left} {name} {right}"),
            [of] => format!("there is no operator {name} {of}"),
            _ => format!("there is no operator {name}"),
        };
        let category = |ty: &Oid| self.known.category(*ty).0;
        let hint = if CATALOG.operators(name).is_empty() {
            ""
        } else if inputs.iter().any(|ty| category(ty) == b'N')
            && inputs.iter().any(|ty| category(ty) == b'S')
        {
            "write numbers without quotes, or cast one side"
        } else if name == "%" {
            "cast its operands to numeric or to integers"
        } else {
            "cast one side to the type of the other"
        };
        self.refuse(at.clone(), what, hint)
    }

    /// A call of what was chosen.
    pub(super) fn apply(&self, at: &Range<usize>, chosen: Candidate, of: Vec<Bound>) -> Result {
        let signature = chosen.signature;
        let inputs: Vec<Oid> = of.iter().map(|bound| bound.ty).collect();
        let resolved = resolve(self.known, &chosen.arguments, signature.result, &inputs);
        let Some((arguments, result)) = resolved else {
            let what = format!("the types of {}'s arguments do not go together", signature.name);
            return self.refuse(at.clone(), what, "cast them");
        };
        let Some(run) = signature.run else {
            let shown: Vec<String> = signature.arguments.iter().map(|&ty| self.show(ty)).collect();
            let what = format!("{}({}) is not supported", signature.name, shown.join(", "));
            return self.refuse(at.clone(), what, "docs/sql.md lists what expressions may hold");
        };
        let of_arguments = self.collation(&of);
        let mark = match self.known.is_text(result) {
            true => of_arguments,
            false => super::Mark::default(),
        };
        let mut nodes = Vec::with_capacity(of.len());
        let mut types = Vec::with_capacity(of.len());
        for (bound, to) in of.into_iter().zip(&arguments) {
            let bound = self.implicit(bound, *to, at)?;
            types.push(bound.ty);
            nodes.push(bound.node);
        }
        // Repeated arguments of a certain type are one array.
        if signature.variadic
            && let Some(&array) = signature.arguments.last()
            && let Some(element) = CATALOG.element(array)
        {
            let fixed = signature.arguments.len() - 1;
            let elements = nodes.split_off(fixed);
            types.truncate(fixed);
            types.push(array);
            let of_array = self.types(&[element], array);
            nodes.push(Node::Array { elements, types: of_array, nested: false });
        }
        let mut types = self.types(&types, result);
        types.ctype = self.ctype(of_arguments.collation);
        self.check_pattern(at, signature.name, &nodes, &types)?;
        let node =
            call(signature.name, run, signature.strict, signature.volatility == b'i', nodes, types);
        Ok(Bound { mark, ..Bound::new(node, result) })
    }

    /// Refuses a constant regular expression that no row could be searched for.
    fn check_pattern(
        &self,
        at: &Range<usize>,
        name: &str,
        of: &[Node],
        types: &Types,
    ) -> Result<()> {
        let of_substring = name == "substring" && types.arguments.get(1) == Some(&Type::Text);
        if !PATTERNS.contains(&name) && !of_substring {
            return Ok(());
        }
        let text = |at: usize| match of.get(at).and_then(Node::constant) {
            Some(crate::value::Scalar::Text(text)) => Some(&**text),
            _ => None,
        };
        let Some(pattern) = text(1) else { return Ok(()) };
        let (replacement, flags) = match name {
            "regexp_replace" => (text(2), text(3)),
            _ => (None, text(2)),
        };
        check_regex(name, pattern, flags, replacement, types.ctype).or_else(|error| {
            let hint = "write a simpler pattern, LIKE, or compare parts of the text";
            self.refuse(at.clone(), error.to_string(), hint)
        })
    }

    /// A boolean operator of two operands, which come converted.
    pub(super) fn comparison(
        &self,
        at: &Range<usize>,
        name: &str,
        left: Bound,
        right: Bound,
    ) -> Result<(Comparison, Node, Node)> {
        let bound = self.operator(at, name, vec![left, right])?;
        match bound.node {
            Node::Call(call) if bound.ty == BOOL => {
                let (name, run, types) = (call.name, call.run, call.types);
                let mut arguments = call.arguments.into_iter();
                if let (Some(left), Some(right)) = (arguments.next(), arguments.next()) {
                    return Ok((Comparison { name, run, types }, left, right));
                }
                self.refuse(at.clone(), format!("{name} does not compare"), "")
            }
            _ => self.refuse(at.clone(), format!("{name} does not compare"), ""),
        }
    }

    /// The type that an operator takes its first operand as.
    pub(super) fn operand_type(&self, at: &Range<usize>, name: &str, of: &[Bound]) -> Result<Oid> {
        let chosen = self.operator_for(at, name, of)?;
        let inputs: Vec<Oid> = of.iter().map(|bound| bound.ty).collect();
        let resolved = resolve(self.known, &chosen.arguments, chosen.signature.result, &inputs);
        Ok(resolved.and_then(|(arguments, _)| arguments.first().copied()).unwrap_or(TEXT))
    }

    pub(super) fn condition(&self, expr: &Expr) -> Result<Node> {
        let bound = self.expr(expr)?;
        let at = self.place(expr);
        if bound.ty != BOOL && !bound.is_unknown() {
            let what = format!("{} stands where a condition is wanted", self.show(bound.ty));
            return self.refuse(at, what, "compare it with something");
        }
        Ok(self.implicit(bound, BOOL, &at)?.node)
    }

    pub(super) fn between(
        &self,
        expr: &Expr,
        of: &Expr,
        low: &Expr,
        high: &Expr,
        negated: bool,
    ) -> Result {
        let at = self.place(expr);
        let of = self.expr(of)?;
        let (low, high) = (self.expr(low)?, self.expr(high)?);
        let (above, below) = if negated { ("<", ">") } else { (">=", "<=") };
        let parts = vec![
            self.operator(&at, above, vec![of.clone(), low])?.node,
            self.operator(&at, below, vec![of, high])?.node,
        ];
        Ok(Bound::new(if negated { Node::Or(parts) } else { Node::And(parts) }, BOOL))
    }

    /// Members without columns meet in one type, with what is looked for among them; any other one is
    /// compared with it alone (transformAExprIn).
    pub(super) fn is_in(&self, expr: &Expr, of: &Expr, list: &[Expr], negated: bool) -> Result {
        let at = self.place(expr);
        let name = if negated { "<>" } else { "=" };
        if let Expr::Tuple(left) = of {
            let parts = list
                .iter()
                .map(|member| match member {
                    Expr::Tuple(right) => Ok(self.rows(expr, left, name, right)?.node),
                    _ => self.refuse(at.clone(), "a row is compared with rows alone", ""),
                })
                .collect::<Result<Vec<_>>>()?;
            let node = if negated { Node::And(parts) } else { Node::Or(parts) };
            return Ok(Bound::new(node, BOOL));
        }
        let left = self.expr(of)?;
        let members = list.iter().map(|member| self.expr(member)).collect::<Result<Vec<_>>>()?;
        let (mut apart, together): (Vec<Bound>, Vec<Bound>) =
            members.into_iter().partition(|member| member.node.has_column());
        let mut parts = Vec::new();
        let types: Vec<Oid> =
            std::iter::once(left.ty).chain(together.iter().map(|member| member.ty)).collect();
        let common = common_type(self.known, &types)
            .filter(|_| together.len() > 1)
            .filter(|&common| types.iter().all(|&ty| self.converts(ty, common)))
            .filter(|&common| self.known.array_of(common).is_some());
        match common {
            Some(common) => {
                let members = together
                    .into_iter()
                    .map(|member| self.implicit(member, common, &at))
                    .collect::<Result<Vec<_>>>()?;
                parts.push(self.among(&at, left.clone(), name, members, negated)?);
            }
            None => apart = together.into_iter().chain(apart).collect(),
        }
        for member in apart {
            parts.push(self.operator(&at, name, vec![left.clone(), member])?.node);
        }
        let one = parts.len() == 1;
        let node = match parts.pop() {
            Some(only) if one => only,
            Some(last) => {
                parts.push(last);
                if negated { Node::And(parts) } else { Node::Or(parts) }
            }
            None => Node::Const(crate::value::Scalar::Bool(negated)),
        };
        Ok(Bound::new(node, BOOL))
    }

    /// Against each of members that are of one type.
    fn among(
        &self,
        at: &Range<usize>,
        left: Bound,
        name: &str,
        members: Vec<Bound>,
        all: bool,
    ) -> Result<Node> {
        let mut nodes = Vec::with_capacity(members.len());
        let mut compared = None;
        for member in members {
            let (comparison, left, right) = self.comparison(at, name, left.clone(), member)?;
            nodes.push(right);
            compared = Some((comparison, left));
        }
        let Some((comparison, left)) = compared else {
            return self.refuse(at.clone(), "nothing stands in the list", "");
        };
        Ok(Node::Elements { left: Box::new(left), comparison, list: List::Nodes(nodes), all })
    }

    /// `x = ANY (array)`, `x < ALL (array)`.
    pub(super) fn any(
        &self,
        expr: &Expr,
        left: &Expr,
        name: &str,
        right: &Expr,
        all: bool,
    ) -> Result {
        let at = self.place(expr);
        let left = self.expr(left)?;
        let mut array = self.expr(right)?;
        if array.is_unknown() {
            let ty = if left.is_unknown() { TEXT } else { left.ty };
            let Some(ty) = self.known.array_of(ty) else { return self.unsupported(expr) };
            array = self.implicit(array, ty, &at)?;
        }
        let Some(element) = self.known.element(array.ty) else {
            let what = format!("op ANY/ALL (array) needs an array, not {}", self.show(array.ty));
            return self.refuse(at, what, "");
        };
        // Stands for an element, to find the operator.
        let stand_in =
            Bound { node: Node::CaseOperand, mark: array.mark, ..Bound::new(Node::NULL, element) };
        let (comparison, left, of_element) = self.comparison(&at, name, left, stand_in)?;
        let (array, ty) = match of_element {
            Node::CaseOperand => (array.node, self.known.stored(element)),
            // The elements are converted first.
            of_element => {
                let to = comparison.types.arguments[1].clone();
                let types = Types {
                    arguments: vec![self.known.stored(array.ty)],
                    result: Type::Array(Box::new(to.clone()), b','),
                    ctype: comparison.types.ctype,
                    null_casts: comparison.types.null_casts,
                };
                let of = Box::new(array.node);
                (Node::Each { of, element: Box::new(of_element), types }, to)
            }
        };
        let list = List::Array(Box::new(array), ty);
        let node = Node::Elements { left: Box::new(left), comparison, list, all };
        Ok(Bound::new(node, BOOL))
    }

    pub(super) fn interval(&self, expr: &Expr, of: &sqlparser::ast::Interval) -> Result {
        let at = self.place(expr);
        if of.leading_precision.is_some() || of.fractional_seconds_precision.is_some() {
            return self.unsupported(expr);
        }
        let mut value = self.expr(&of.value)?;
        if !value.is_unknown() {
            return self.unsupported(expr);
        }
        if let Some(unit) = &of.leading_field {
            let Node::Const(crate::value::Scalar::Text(text)) = &value.node else {
                return self.unsupported(expr);
            };
            let plain = text.trim().trim_start_matches('-').bytes().all(|b| b.is_ascii_digit());
            let known = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"];
            let unit = unit.to_string();
            if of.last_field.is_some() || !plain || !known.contains(&unit.as_str()) {
                return self.unsupported(expr);
            }
            let text = format!("{} {unit}", text.trim());
            value.node = Node::Const(crate::value::Scalar::Text(text.into()));
            // The mask of the field, and any number of digits (INTERVAL_TYPMOD).
            let mask = [2, 1, 3, 10, 11, 12];
            let field = known.iter().zip(mask).find(|(known, _)| **known == unit);
            let typmod = field.map_or(-1, |(_, bit)| (1 << bit) << 16 | 0xFFFF);
            return Ok(Bound { typmod, ..self.implicit(value, INTERVAL, &at)? });
        }
        self.implicit(value, INTERVAL, &at)
    }
}

/// `(a, b) < (c, d)` is `a < c OR a = c AND b < d`.
fn by_parts(left: &[Expr], name: &str, right: &[Expr]) -> Option<Expr> {
    let (strict, op) = match name {
        "<" => (BinaryOperator::Lt, BinaryOperator::Lt),
        "<=" => (BinaryOperator::Lt, BinaryOperator::LtEq),
        ">" => (BinaryOperator::Gt, BinaryOperator::Gt),
        ">=" => (BinaryOperator::Gt, BinaryOperator::GtEq),
        _ => return None,
    };
    let both = |left: &Expr, op: &BinaryOperator, right: &Expr| Expr::BinaryOp {
        left: Box::new(left.clone()),
        op: op.clone(),
        right: Box::new(right.clone()),
    };
    let mut pairs = left.iter().zip(right).rev();
    let (l, r) = pairs.next()?;
    Some(pairs.fold(both(l, &op, r), |rest, (l, r)| {
        let equal = both(l, &BinaryOperator::Eq, r);
        let rest = both(&equal, &BinaryOperator::And, &rest);
        let rest = Expr::Nested(Box::new(rest));
        both(&both(l, &strict, r), &BinaryOperator::Or, &rest)
    }))
}

/// As pg_operator names it.
pub(super) fn name(op: &BinaryOperator) -> String {
    match op {
        BinaryOperator::NotEq => "<>".into(),
        op => op.to_string(),
    }
}
