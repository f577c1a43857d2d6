//! Names to columns, operators to types: Postgres' own resolution, as far as numbers and times go.

use std::cell::Cell;
use std::ops::Range;

use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, DateTimeField, DuplicateTreatment,
    ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectNamePart, Spanned, UnaryOperator, Value, ValueWithSpan,
};

use super::Fault;
use super::eval::Row;
use super::names::{Field, Names};
use super::node::{Arithmetic, Comparison, Node};
use super::parse::Places;
use super::ty::{Collation, Ty, oid_of};
use super::types::Kind;
use crate::value::{self, Decimal, Scalar, Type};

/// pg_type's oids of text and varchar; other types that are kept as text compare in ways of their own.
const TEXT_OIDS: [u32; 2] = [25, 1043];
/// What Postgres allows of a numeric's precision.
const PRECISION_MAX: u64 = 1_000;

pub(super) struct Bound {
    pub(super) node: Node,
    /// `None`: a NULL that nothing has given a type.
    pub(super) ty: Option<Kind>,
}

impl Bound {
    fn new(node: Node, ty: Kind) -> Self {
        Self { node, ty: Some(ty) }
    }

    fn is_null(&self) -> bool {
        self.node == Node::Null
    }

    /// Converted, where it has to be.
    fn into(self, to: Kind) -> Node {
        match (self.node, self.ty) {
            (Node::Null, _) | (_, None) => Node::Null,
            // A constant stays one.
            (node, Some(from)) => {
                folded(match (from.is_int() && to.is_int(), from.is_float() && to.is_float()) {
                    // The same thing here; what is converted without being asked only grows.
                    (true, _) | (_, true) if from <= to => node,
                    _ if from == to => node,
                    _ => Node::Cast { of: Box::new(node), from, to },
                })
            }
        }
    }
}

type Result<T = Bound> = std::result::Result<T, Fault>;

pub(super) fn bind(expr: &Expr, places: &Places<'_>, names: &dyn Names) -> Result<(Node, Ty)> {
    let bound = Binder { places, names, columns: Cell::new(0) }.expr(expr)?;
    // What nothing has given a type is a text.
    let stored = bound.ty.map_or(Type::Text, Kind::stored);
    let ty = Ty {
        oid: oid_of(&stored).unwrap_or(TEXT_OIDS[0]),
        typmod: -1,
        stored,
        collation: Collation::Default,
        not_null: false,
    };
    Ok((bound.node, ty))
}

struct Binder<'a> {
    places: &'a Places<'a>,
    names: &'a dyn Names,
    /// Met so far: what has none is a constant.
    columns: Cell<usize>,
}

impl Binder<'_> {
    fn place(&self, at: &impl Spanned) -> Range<usize> {
        self.places.of(at)
    }

    fn refuse<T>(&self, at: &impl Spanned, what: String, hint: &str) -> Result<T> {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Err(Fault { what, hint, span: self.place(at), unknown_column: None })
    }

    fn unsupported<T>(&self, expr: &Expr) -> Result<T> {
        const SHOWN_CHARS_MAX: usize = 60;
        let text = expr.to_string();
        let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        let hint = "expressions have + - * / %, comparisons, AND, OR, NOT, IS, IN, BETWEEN, CASE, casts \
                    to numbers, abs, coalesce, nullif, greatest, least and extract(epoch from …)";
        self.refuse(expr, format!("{shown} is not supported"), hint)
    }

    fn expr(&self, expr: &Expr) -> Result {
        let bound = self.one(expr)?;
        Ok(Bound { node: folded(bound.node), ty: bound.ty })
    }

    fn one(&self, expr: &Expr) -> Result {
        if let Some(Field { position, ty }) = self.names.computed(expr)
            && let Some(kind) = Kind::of(&ty.stored)
        {
            self.columns.set(self.columns.get() + 1);
            return Ok(Bound::new(Node::Column { position, ty: ty.stored }, kind));
        }
        match expr {
            Expr::Nested(inner) => self.expr(inner),
            Expr::Identifier(name) => self.column(expr, std::slice::from_ref(name)),
            Expr::CompoundIdentifier(path) => self.column(expr, path),
            Expr::Value(value) => self.literal(value, false),
            Expr::UnaryOp { op: UnaryOperator::Plus, expr: of } => {
                let of = self.expr(of)?;
                match of.ty {
                    Some(ty) if ty.is_number() => Ok(of),
                    ty => self.no_operator(expr, "+", None, ty),
                }
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: of } => self.negate(expr, of),
            Expr::UnaryOp { op: UnaryOperator::Not, expr: of } => {
                Ok(Bound::new(Node::Not(Box::new(self.condition(of)?)), Kind::Bool))
            }
            Expr::BinaryOp { left, op, right } => self.binary(expr, left, op, right),
            Expr::IsNull(of) => {
                Ok(Bound::new(Node::IsNull(Box::new(self.expr(of)?.node)), Kind::Bool))
            }
            Expr::IsNotNull(of) => {
                let is_null = Node::IsNull(Box::new(self.expr(of)?.node));
                Ok(Bound::new(Node::Not(Box::new(is_null)), Kind::Bool))
            }
            Expr::IsTrue(of) => self.is(of, Some(true), false),
            Expr::IsNotTrue(of) => self.is(of, Some(true), true),
            Expr::IsFalse(of) => self.is(of, Some(false), false),
            Expr::IsNotFalse(of) => self.is(of, Some(false), true),
            Expr::IsUnknown(of) => self.is(of, None, false),
            Expr::IsNotUnknown(of) => self.is(of, None, true),
            Expr::Between { expr: of, negated, low, high } => {
                let above = self.compare(expr, of, Comparison::GreaterOrEqual, low)?;
                let below = self.compare(expr, of, Comparison::LessOrEqual, high)?;
                Ok(not_if(*negated, connected(vec![above, below], false)))
            }
            Expr::InList { expr: of, list, negated } => self.is_in(expr, of, list, *negated),
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(expr, operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                expr: of,
                data_type,
                format: None,
            } => self.cast(expr, of, data_type),
            Expr::Extract { field, expr: of, .. } => self.extract(expr, field, of),
            Expr::Function(function) => self.function(expr, function),
            _ => self.unsupported(expr),
        }
    }

    fn column(&self, expr: &Expr, path: &[Ident]) -> Result {
        let found = self.names.column(path);
        let Field { position, ty } = found.map_err(|fault| fault.at(self.place(expr)))?;
        self.columns.set(self.columns.get() + 1);
        let of_text = ty.stored != Type::Text || TEXT_OIDS.contains(&ty.oid);
        let Some(kind) = Kind::of(&ty.stored).filter(|_| of_text) else {
            let what = format!("column `{expr}` is {ty}, which expressions do not know");
            return self.refuse(expr, what, "use columns of numbers, times, booleans and text");
        };
        if kind == Kind::Text && ty.collation == (Collation::Other { deterministic: false }) {
            let what = format!("column `{expr}` has a nondeterministic collation");
            return self.refuse(expr, what, "use columns whose texts are equal byte for byte");
        }
        Ok(Bound::new(Node::Column { position, ty: ty.stored }, kind))
    }

    /// A number without a point and an exponent is of the first integer type that holds it.
    fn literal(&self, literal: &ValueWithSpan, negative: bool) -> Result {
        match &literal.value {
            Value::Null => Ok(Bound { node: Node::Null, ty: None }),
            Value::Boolean(value) => Ok(Bound::new(Node::Bool(*value), Kind::Bool)),
            Value::SingleQuotedString(text) => {
                let mut datum = Vec::new();
                match value::encode(&Type::Text, text.as_bytes(), &mut datum) {
                    Ok(()) => Ok(Bound::new(Node::Text(datum), Kind::Text)),
                    Err(error) => self.refuse(literal, error.to_string(), ""),
                }
            }
            Value::Number(digits, false) => {
                let integer = digits.bytes().all(|byte| byte.is_ascii_digit());
                let signed = if negative { format!("-{digits}") } else { digits.clone() };
                if integer && let Ok(value) = signed.parse::<i64>() {
                    let ty = if i32::try_from(value).is_ok() { Kind::Int4 } else { Kind::Int8 };
                    return Ok(Bound::new(Node::Int(value), ty));
                }
                match Decimal::parse(digits) {
                    Some(value) if negative => {
                        Ok(Bound::new(Node::Decimal(value.negated()), Kind::Numeric))
                    }
                    Some(value) => Ok(Bound::new(Node::Decimal(value), Kind::Numeric)),
                    None => {
                        let what = format!("{digits} is no number");
                        self.refuse(literal, what, "write digits, a point and an exponent")
                    }
                }
            }
            other => {
                let hint = "write numbers, 'texts', TRUE, FALSE and NULL";
                self.refuse(literal, format!("the literal {other} is not supported"), hint)
            }
        }
    }

    fn negate(&self, expr: &Expr, of: &Expr) -> Result {
        // A literal has its signs before its type: -2147483648 is an integer.
        if let Some((literal, negative)) = signed_literal(of) {
            return self.literal(literal, !negative);
        }
        let of = self.expr(of)?;
        match of.ty {
            Some(ty) if ty.is_number() => {
                let node = match of.is_null() {
                    true => Node::Null,
                    false => Node::Negate { of: Box::new(of.node), ty },
                };
                Ok(Bound::new(node, ty))
            }
            ty => self.no_operator(expr, "-", None, ty),
        }
    }

    fn binary(&self, expr: &Expr, left: &Expr, op: &BinaryOperator, right: &Expr) -> Result {
        let arithmetic = match op {
            BinaryOperator::Plus => Arithmetic::Add,
            BinaryOperator::Minus => Arithmetic::Subtract,
            BinaryOperator::Multiply => Arithmetic::Multiply,
            BinaryOperator::Divide => Arithmetic::Divide,
            BinaryOperator::Modulo => Arithmetic::Remainder,
            BinaryOperator::And => {
                let parts = vec![self.condition(left)?, self.condition(right)?];
                return Ok(Bound::new(connected(parts, false), Kind::Bool));
            }
            BinaryOperator::Or => {
                let parts = vec![self.condition(left)?, self.condition(right)?];
                return Ok(Bound::new(connected(parts, true), Kind::Bool));
            }
            _ => {
                let comparison = match op {
                    BinaryOperator::Eq => Comparison::Equal,
                    BinaryOperator::NotEq => Comparison::NotEqual,
                    BinaryOperator::Lt => Comparison::Less,
                    BinaryOperator::LtEq => Comparison::LessOrEqual,
                    BinaryOperator::Gt => Comparison::Greater,
                    BinaryOperator::GtEq => Comparison::GreaterOrEqual,
                    _ => return self.unsupported(expr),
                };
                return Ok(Bound::new(self.compare(expr, left, comparison, right)?, Kind::Bool));
            }
        };
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        let ty = match (left.ty, right.ty) {
            (Some(left), Some(right)) => left.operator(right),
            (Some(ty), None) | (None, Some(ty)) => Some(ty).filter(|ty| ty.is_number()),
            (None, None) => None,
        };
        let Some(ty) = ty.filter(|ty| arithmetic != Arithmetic::Remainder || !ty.is_float()) else {
            return self.no_operator(expr, &op.to_string(), Some(left.ty), right.ty);
        };
        let (left, right) = (left.into(ty), right.into(ty));
        Ok(Bound::new(
            strict([left, right], |[left, right]| Node::Arithmetic {
                operator: arithmetic,
                ty,
                left: Box::new(left),
                right: Box::new(right),
            }),
            ty,
        ))
    }

    fn no_operator<T>(
        &self,
        expr: &Expr,
        op: &str,
        left: Option<Option<Kind>>,
        right: Option<Kind>,
    ) -> Result<T> {
        let name = |ty: Option<Kind>| ty.map_or("NULL".to_owned(), |ty| ty.to_string());
        let what = match left {
            Some(left) => format!("there is no operator {} {op} {}", name(left), name(right)),
            None => format!("there is no operator {op} {}", name(right)),
        };
        let is_time = |ty: Option<Kind>| ty.is_some_and(Kind::is_time);
        let is_text = |ty: Option<Kind>| ty == Some(Kind::Text);
        let hint = if is_time(left.flatten()) || is_time(right) {
            "write extract(epoch from …), which is a time in seconds"
        } else if is_text(left.flatten()) || is_text(right) {
            "write numbers without quotes"
        } else if op == "%" {
            "cast its operands to numeric or to integers"
        } else {
            ""
        };
        self.refuse(expr, what, hint)
    }

    fn compare(
        &self,
        expr: &Expr,
        left: &Expr,
        operator: Comparison,
        right: &Expr,
    ) -> Result<Node> {
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        self.compare_bound(expr, left, operator, right)
    }

    fn compare_bound(
        &self,
        expr: &Expr,
        left: Bound,
        operator: Comparison,
        right: Bound,
    ) -> Result<Node> {
        let (Some(a), Some(b)) = (left.ty, right.ty) else { return Ok(Node::Null) };
        let ordered = !matches!(operator, Comparison::Equal | Comparison::NotEqual);
        if a == Kind::Text && b == Kind::Text && ordered {
            let hint = "the order of texts is their collation's; compare them with = and <>";
            return self.refuse(expr, "texts are not ordered here".into(), hint);
        }
        let Some(ty) = meet(a, b) else {
            let hint = match (a == Kind::Text || b == Kind::Text, a.is_time() && b.is_time()) {
                (true, _) => "write numbers without quotes, and no literals of times",
                (_, true) => "compare times of one type, or their extract(epoch from …)",
                _ => "",
            };
            return self.refuse(expr, format!("{a} and {b} are not compared"), hint);
        };
        Ok(strict([left.into(ty), right.into(ty)], |[left, right]| Node::Compare {
            operator,
            left: Box::new(left),
            right: Box::new(right),
        }))
    }

    fn condition(&self, expr: &Expr) -> Result<Node> {
        let bound = self.expr(expr)?;
        match bound.ty {
            Some(Kind::Bool) | None => Ok(bound.node),
            Some(ty) => {
                let what = format!("{ty} stands where a condition is wanted");
                self.refuse(expr, what, "compare it with something")
            }
        }
    }

    fn is(&self, of: &Expr, value: Option<bool>, negated: bool) -> Result {
        let of = Box::new(self.condition(of)?);
        Ok(not_if(
            negated,
            match value {
                Some(value) => Node::Is { of, value },
                None => Node::IsNull(of),
            },
        ))
    }

    /// Constants meet in one type, with what is looked for among them; anything else is compared with
    /// it alone.
    fn is_in(&self, expr: &Expr, of: &Expr, list: &[Expr], negated: bool) -> Result {
        let before = self.columns.get();
        let mut members =
            list.iter().map(|member| self.expr(member)).collect::<Result<Vec<_>>>()?;
        let constant = self.columns.get() == before;
        let mut parts = Vec::new();
        if constant && members.len() > 1 {
            let looked_for = self.expr(of)?;
            members.push(looked_for);
            let ty = self.common(expr, &members)?;
            let looked_for = members.pop().map_or(Node::Null, |bound| bound.into(ty));
            for member in members {
                let (left, right) = (looked_for.clone(), member.into(ty));
                let (left, right) = (Bound::new(left, ty), Bound::new(right, ty));
                parts.push(self.compare_bound(expr, left, Comparison::Equal, right)?);
            }
        } else {
            for member in members {
                let looked_for = self.expr(of)?;
                parts.push(self.compare_bound(expr, looked_for, Comparison::Equal, member)?);
            }
        }
        Ok(not_if(negated, connected(parts, true)))
    }

    fn case(
        &self,
        expr: &Expr,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Result {
        let mut tests = Vec::new();
        let mut results = Vec::new();
        for CaseWhen { condition, result } in conditions {
            tests.push(match operand {
                Some(operand) => self.compare(expr, operand, Comparison::Equal, condition)?,
                None => self.condition(condition)?,
            });
            results.push(self.expr(result)?);
        }
        results.push(match otherwise {
            Some(otherwise) => self.expr(otherwise)?,
            None => Bound { node: Node::Null, ty: None },
        });
        let ty = self.common(expr, &results)?;
        let mut results = results.into_iter().map(|bound| bound.into(ty));
        let branches = tests.into_iter().zip(results.by_ref()).collect();
        let otherwise = results.next().unwrap_or(Node::Null);
        Ok(Bound::new(chosen(branches, otherwise), ty))
    }

    /// The type in which they all meet.
    fn common(&self, expr: &Expr, bound: &[Bound]) -> Result<Kind> {
        let mut found: Option<Kind> = None;
        for ty in bound.iter().filter_map(|bound| bound.ty) {
            found = match found {
                None => Some(ty),
                Some(before) => match before.common(ty) {
                    Some(ty) => Some(ty),
                    None => {
                        let what = format!("{before} and {ty} have no type in common here");
                        return self.refuse(expr, what, "cast them to one type");
                    }
                },
            };
        }
        match found {
            Some(ty) => Ok(ty),
            None => self.refuse(expr, "every value here is NULL".into(), "give one of them a type"),
        }
    }

    fn cast(&self, expr: &Expr, of: &Expr, to: &DataType) -> Result {
        let of = self.expr(of)?;
        let Some((to, field)) = cast_target(to) else { return self.unsupported(expr) };
        let node = match of.ty {
            None => Node::Null,
            Some(from) => {
                let numbers = from.is_number() && to.is_number();
                let flags =
                    matches!((from, to), (Kind::Bool, Kind::Int4) | (Kind::Int4, Kind::Bool));
                if from == to {
                    of.node
                } else if numbers || flags {
                    let cast = |[of]: [Node; 1]| Node::Cast { of: Box::new(of), from, to };
                    strict([of.node], cast)
                } else {
                    let hint = match from {
                        from if from.is_time() => "write extract(epoch from …)",
                        _ => "cast numbers to numbers",
                    };
                    return self.refuse(expr, format!("{from} is not cast to {to} here"), hint);
                }
            }
        };
        let node = match field {
            Some((precision, scale)) => {
                strict([node], |[of]| Node::Fit { of: Box::new(of), precision, scale })
            }
            None => node,
        };
        Ok(Bound::new(node, to))
    }

    fn extract(&self, expr: &Expr, field: &DateTimeField, of: &Expr) -> Result {
        let epoch = match field {
            DateTimeField::Epoch => true,
            DateTimeField::Custom(name) => name.value.eq_ignore_ascii_case("epoch"),
            _ => false,
        };
        if !epoch {
            return self.unsupported(expr);
        }
        let of = self.expr(of)?;
        match of.ty {
            Some(ty) if ty.is_time() => {
                let node = strict([of.node], |[of]| Node::Epoch { of: Box::new(of), ty });
                Ok(Bound::new(node, Kind::Numeric))
            }
            ty => {
                let ty = ty.map_or("NULL".to_owned(), |ty| ty.to_string());
                let what = format!("{ty} has no epoch");
                self.refuse(expr, what, "extract it from a date, a time or an interval")
            }
        }
    }

    fn function(&self, expr: &Expr, function: &Function) -> Result {
        let Some((name, arguments)) = plain_call(function) else { return self.unsupported(expr) };
        let bind = || arguments.iter().map(|of| self.expr(of)).collect::<Result<Vec<_>>>();
        match (name.as_str(), arguments.as_slice()) {
            ("abs", [of]) => {
                let of = self.expr(of)?;
                match of.ty {
                    Some(ty) if ty.is_number() => {
                        let node = strict([of.node], |[of]| Node::Abs { of: Box::new(of), ty });
                        Ok(Bound::new(node, ty))
                    }
                    ty => {
                        let ty = ty.map_or("NULL".to_owned(), |ty| ty.to_string());
                        self.refuse(expr, format!("there is no function abs({ty})"), "")
                    }
                }
            }
            ("nullif", [left, right]) => {
                let (left, right) = (self.expr(left)?, self.expr(right)?);
                self.null_if(expr, left, right)
            }
            ("coalesce" | "greatest" | "least", [_, ..]) => {
                let bound = bind()?;
                let ty = self.common(expr, &bound)?;
                if ty == Kind::Text && name != "coalesce" {
                    let hint = "the order of texts is their collation's";
                    return self.refuse(expr, "texts are not ordered here".into(), hint);
                }
                let nodes = bound.into_iter().map(|bound| bound.into(ty)).collect();
                let node = match name.as_str() {
                    "coalesce" => first_present(nodes),
                    "greatest" => Node::Greatest(nodes),
                    _ => Node::Least(nodes),
                };
                Ok(Bound::new(node, ty))
            }
            ("abs" | "nullif" | "coalesce" | "greatest" | "least", _) => {
                let what = format!("{name} does not take {} arguments", arguments.len());
                self.refuse(expr, what, "")
            }
            _ => self.unsupported(expr),
        }
    }

    /// Its type is that of its first argument, where the comparison takes it as it is.
    fn null_if(&self, expr: &Expr, left: Bound, right: Bound) -> Result {
        let Some(a) = left.ty else {
            return self.refuse(expr, "every value here is NULL".into(), "give one of them a type");
        };
        let Some(b) = right.ty else { return Ok(left) };
        let Some(ty) = meet(a, b) else {
            return self.refuse(expr, format!("{a} and {b} are not compared"), "");
        };
        // As the planner has it: a NULL is equal to nothing, and the other one is not looked at.
        if left.is_null() || right.is_null() {
            return Ok(Bound::new(left.into(ty), ty));
        }
        let kept = (a.is_int() && b.is_int()) || a.is_float();
        let node = Node::NullIf { left: Box::new(left.into(ty)), right: Box::new(right.into(ty)) };
        Ok(Bound::new(node, if kept { a } else { ty }))
    }
}

/// A number behind any signs, and whether they come to a minus.
fn signed_literal(expr: &Expr) -> Option<(&ValueWithSpan, bool)> {
    match expr {
        Expr::Nested(inner) => signed_literal(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            signed_literal(expr).map(|(literal, negative)| (literal, !negative))
        }
        Expr::Value(literal) if matches!(literal.value, Value::Number(..)) => {
            Some((literal, false))
        }
        _ => None,
    }
}

/// Where two values are compared.
fn meet(a: Kind, b: Kind) -> Option<Kind> {
    a.operator(b).or_else(|| (a == b).then_some(a))
}

fn not_if(negated: bool, node: Node) -> Bound {
    Bound::new(if negated { Node::Not(Box::new(node)) } else { node }, Kind::Bool)
}

/// OR of the parts where `decisive`, else AND. A constant that decides is all, wherever it stands: so
/// Postgres' planner has it, and nothing fails beside it.
fn connected(parts: Vec<Node>, decisive: bool) -> Node {
    if parts.contains(&Node::Bool(decisive)) {
        return Node::Bool(decisive);
    }
    if decisive { Node::Or(parts) } else { Node::And(parts) }
}

/// What is NULL when an operand is: so it is also where the other operand would fail, as Postgres'
/// planner has it.
fn strict<const N: usize>(of: [Node; N], node: impl FnOnce([Node; N]) -> Node) -> Node {
    if of.contains(&Node::Null) { Node::Null } else { node(of) }
}

/// A constant is computed here; one that fails does so for each row that reaches it.
fn folded(node: Node) -> Node {
    if !node.is_constant() {
        return node;
    }
    let value = match node.eval(Row { bytes: &[], ranges: &[] }) {
        Ok(None) => Some(Node::Null),
        Ok(Some(Scalar::Bool(value))) => Some(Node::Bool(value)),
        Ok(Some(Scalar::Int(value))) => Some(Node::Int(value)),
        Ok(Some(Scalar::Float(value))) => Some(Node::Float(value)),
        Ok(Some(Scalar::Decimal(value))) => Some(Node::Decimal(value)),
        Ok(Some(Scalar::Datum { .. })) | Err(_) => None,
    };
    value.unwrap_or(node)
}

/// Without the branches that no row takes: what they hold may be what makes it no constant.
fn chosen(branches: Vec<(Node, Node)>, otherwise: Node) -> Node {
    let mut kept = Vec::new();
    let mut otherwise = otherwise;
    for (test, result) in branches {
        match test {
            Node::Null | Node::Bool(false) => {}
            Node::Bool(true) => {
                otherwise = result;
                break;
            }
            test => kept.push((test, result)),
        }
    }
    match kept.is_empty() {
        true => otherwise,
        false => Node::Case { branches: kept, otherwise: Box::new(otherwise) },
    }
}

/// Up to the first constant that is none of NULL.
fn first_present(of: Vec<Node>) -> Node {
    let mut kept = Vec::new();
    for node in of.into_iter().filter(|node| *node != Node::Null) {
        let last = node.is_constant();
        kept.push(node);
        if last {
            break;
        }
    }
    if kept.len() > 1 { Node::Coalesce(kept) } else { kept.pop().unwrap_or(Node::Null) }
}

/// The type, and precision and scale where they are given.
fn cast_target(to: &DataType) -> Option<(Kind, Option<(u32, u32)>)> {
    let plain = |ty| Some((ty, None));
    match to {
        DataType::SmallInt(None) | DataType::Int2(None) => plain(Kind::Int2),
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => plain(Kind::Int4),
        DataType::BigInt(None) | DataType::Int8(None) => plain(Kind::Int8),
        DataType::Real | DataType::Float4 => plain(Kind::Float4),
        DataType::DoublePrecision | DataType::Float8 | DataType::Float(ExactNumberInfo::None) => {
            plain(Kind::Float8)
        }
        DataType::Float(ExactNumberInfo::Precision(1..=24)) => plain(Kind::Float4),
        DataType::Float(ExactNumberInfo::Precision(25..=53)) => plain(Kind::Float8),
        DataType::Bool | DataType::Boolean => plain(Kind::Bool),
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => {
            let (precision, scale) = match *info {
                ExactNumberInfo::None => return plain(Kind::Numeric),
                ExactNumberInfo::Precision(precision) => (precision, 0),
                ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
            };
            let scale = u64::try_from(scale).ok().filter(|&scale| scale <= precision)?;
            let precision = Some(precision).filter(|p| (1..=PRECISION_MAX).contains(p))?;
            Some((
                Kind::Numeric,
                Some((u32::try_from(precision).ok()?, u32::try_from(scale).ok()?)),
            ))
        }
        _ => None,
    }
}

/// The folded name and the arguments of a call that is nothing but that.
fn plain_call(function: &Function) -> Option<(String, Vec<&Expr>)> {
    let [ObjectNamePart::Identifier(Ident { value, quote_style: None, .. })] =
        function.name.0.as_slice()
    else {
        return None;
    };
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = !function.uses_odbc_syntax
        && matches!(function.parameters, FunctionArguments::None)
        && function.within_group.is_empty()
        && function.filter.is_none()
        && function.null_treatment.is_none()
        && function.over.is_none()
        && list.clauses.is_empty()
        && !matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct));
    let argument = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    let arguments: Option<Vec<&Expr>> = list.args.iter().map(argument).collect();
    Some((value.to_ascii_lowercase(), arguments.filter(|_| plain)?))
}
