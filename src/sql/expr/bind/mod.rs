//! Names to columns, operators and functions to what computes them, literals to values, every cast
//! spelled out: Postgres' own analysis. Nothing is computed yet but literals, see `fold`.
//!
//! * `types`, `choose`, `coerce`: types, which candidate is meant, conversions.
//! * `operators`, `conditional`, `calls`: the kinds of expressions.
//! * `data_type`: the type that a cast names.

mod calls;
mod choose;
mod coerce;
mod conditional;
mod data_type;
mod operators;
mod types;

use std::ops::Range;

use sqlparser::ast::{
    AccessExpr, CastKind, Expr, Ident, ObjectName, Spanned, Subscript, TypedString, UnaryOperator,
    Value, ValueWithSpan,
};

use crate::value::{Decimal, Scalar, Type};

use super::catalog::{BOOL, CATALOG, INT4, INT8, NUMERIC, Oid, TEXT, UNKNOWN};
use super::names::{Field, Names};
use super::node::Node;
use super::parse::Places;
use super::ty::{Collation, Ty};
use super::{Fault, fold_case};

use types::Known;

/// Deeper ones are refused: the tree is walked by recursion.
const DEPTH_MAX: usize = 150;

/// An expression whose type is known; UNKNOWN for a literal that nothing has given one yet.
#[derive(Clone, Debug)]
struct Bound {
    node: Node,
    ty: Oid,
    typmod: i32,
    mark: Mark,
}

/// A collation, and whether it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    collation: Collation,
    explicit: bool,
}

impl Default for Mark {
    fn default() -> Self {
        Self { collation: Collation::Default, explicit: false }
    }
}

impl Bound {
    fn new(node: Node, ty: Oid) -> Self {
        Self { node, ty, typmod: -1, mark: Mark::default() }
    }

    fn is_unknown(&self) -> bool {
        self.ty == UNKNOWN
    }
}

type Result<T = Bound> = std::result::Result<T, Fault>;

/// The nodes of an expression, and its type.
pub(super) fn bind(expr: &Expr, places: &Places<'_>, names: &dyn Names) -> Result<(Node, Ty)> {
    let binder = Binder { places, known: Known { names }, depth: std::cell::Cell::new(0) };
    let mut bound = binder.expr(expr)?;
    if bound.is_unknown() {
        // What nothing has given a type is a text.
        bound = binder.implicit(bound, TEXT, &binder.place(expr))?;
    }
    let ty = Ty {
        oid: binder.known.base(bound.ty).0,
        typmod: bound.typmod,
        stored: binder.known.stored(bound.ty),
        name: binder.known.display(binder.known.base(bound.ty).0),
        collation: bound.mark.collation,
        not_null: false,
    };
    Ok((bound.node, ty))
}

struct Binder<'a> {
    places: &'a Places<'a>,
    known: Known<'a>,
    depth: std::cell::Cell<usize>,
}

impl Binder<'_> {
    fn place(&self, at: &impl Spanned) -> Range<usize> {
        self.places.of(at)
    }

    fn refuse<T>(&self, at: Range<usize>, what: impl Into<String>, hint: &str) -> Result<T> {
        Err(Fault::new(what).hint(hint).at(at))
    }

    fn show(&self, ty: Oid) -> String {
        self.known.display(ty)
    }

    fn unsupported<T>(&self, expr: &Expr) -> Result<T> {
        const SHOWN_CHARS_MAX: usize = 60;
        if matches!(expr, Expr::Tuple(_)) {
            let hint = "write jsonb_build_object, or name the columns";
            return self.refuse(self.place(expr), "rows as values are not supported", hint);
        }
        let text = expr.to_string();
        let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        let hint = "docs/sql.md lists what expressions may hold";
        self.refuse(self.place(expr), format!("{shown} is not supported"), hint)
    }

    fn expr(&self, expr: &Expr) -> Result {
        let depth = self.depth.get() + 1;
        if depth > DEPTH_MAX {
            return self.refuse(self.place(expr), "the expression is nested too deep", "");
        }
        self.depth.set(depth);
        let bound = self.one(expr);
        self.depth.set(depth - 1);
        bound
    }

    fn one(&self, expr: &Expr) -> Result {
        if let Some(field) = self.known.names.computed(expr) {
            return self.field(expr, field);
        }
        match expr {
            Expr::Nested(inner) => self.expr(inner),
            Expr::Identifier(name) => self.column(expr, std::slice::from_ref(name)),
            Expr::CompoundIdentifier(path) => self.column(expr, path),
            Expr::Value(value) => self.literal(value, false),
            Expr::TypedString(TypedString { data_type, value, .. }) => {
                let (ty, typmod) = self.data_type(data_type, &self.place(expr))?;
                let value = self.literal(value, false)?;
                self.cast_to(value, ty, typmod, &self.place(expr))
            }
            Expr::Interval(interval) => self.interval(expr, interval),
            Expr::UnaryOp { op, expr: of } => self.unary(expr, *op, of),
            Expr::BinaryOp { left, op, right } => self.binary(expr, left, op, right),
            Expr::IsNull(of) => self.null_test(of, false),
            Expr::IsNotNull(of) => self.null_test(of, true),
            Expr::IsTrue(of) => self.is(of, Some(true), false),
            Expr::IsNotTrue(of) => self.is(of, Some(true), true),
            Expr::IsFalse(of) => self.is(of, Some(false), false),
            Expr::IsNotFalse(of) => self.is(of, Some(false), true),
            Expr::IsUnknown(of) => self.is(of, None, false),
            Expr::IsNotUnknown(of) => self.is(of, None, true),
            Expr::IsDistinctFrom(left, right) => self.distinct(expr, left, right, false),
            Expr::IsNotDistinctFrom(left, right) => self.distinct(expr, left, right, true),
            Expr::Between { expr: of, negated, low, high } => {
                self.between(expr, of, low, high, *negated)
            }
            Expr::InList { expr: of, list, negated } => self.is_in(expr, of, list, *negated),
            Expr::AnyOp { left, compare_op, right, .. } => {
                self.any(expr, left, &operators::name(compare_op), right, false)
            }
            Expr::AllOp { left, compare_op, right } => {
                self.any(expr, left, &operators::name(compare_op), right, true)
            }
            Expr::Like { negated, any: false, expr: of, pattern, escape_char } => {
                let operator = if *negated { "!~~" } else { "~~" };
                self.like(expr, of, operator, pattern, escape_char.as_deref())
            }
            Expr::ILike { negated, any: false, expr: of, pattern, escape_char } => {
                let operator = if *negated { "!~~*" } else { "~~*" };
                self.like(expr, of, operator, pattern, escape_char.as_deref())
            }
            Expr::Like { negated, any: true, expr: of, pattern, escape_char: None } => {
                let operator = if *negated { "!~~" } else { "~~" };
                self.any(expr, of, operator, pattern, false)
            }
            Expr::ILike { negated, any: true, expr: of, pattern, escape_char: None } => {
                let operator = if *negated { "!~~*" } else { "~~*" };
                self.any(expr, of, operator, pattern, false)
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(expr, operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                expr: of,
                data_type,
                format: None,
            } => {
                let (ty, typmod) = self.data_type(data_type, &self.place(expr))?;
                let of = self.expr(of)?;
                self.cast_to(of, ty, typmod, &self.place(expr))
            }
            Expr::Collate { expr: of, collation } => self.collate(expr, of, collation),
            Expr::Array(array) => self.array(expr, &array.elem),
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.access(expr, root, access_chain)
            }
            _ => self.syntax(expr),
        }
    }

    // --- Columns and literals --------------------------------------------------------------------

    fn column(&self, expr: &Expr, path: &[Ident]) -> Result {
        match self.known.names.column(path) {
            Ok(field) => self.field(expr, field),
            // Functions that are called without parentheses.
            Err(fault) => match path {
                [Ident { value, quote_style: None, .. }] if calls::is_clock(value) => {
                    self.clock(expr, value)
                }
                _ => Err(fault.at(self.place(expr))),
            },
        }
    }

    fn field(&self, expr: &Expr, field: Field) -> Result {
        let Field { position, ty } = field;
        if ty.collation == (Collation::Other { deterministic: false }) {
            let what = format!("column `{expr}` has a nondeterministic collation");
            let hint = "use columns whose texts are equal byte for byte";
            return self.refuse(self.place(expr), what, hint);
        }
        let (oid, domain_typmod) = self.known.base(ty.oid);
        let typmod = if ty.typmod == -1 { domain_typmod } else { ty.typmod };
        let mark = Mark { collation: ty.collation, explicit: false };
        Ok(Bound {
            node: Node::Column { position, ty: ty.stored, not_null: ty.not_null },
            ty: oid,
            typmod,
            mark,
        })
    }

    /// A number without a point and an exponent is of the first integer type that holds it.
    fn literal(&self, literal: &ValueWithSpan, negative: bool) -> Result {
        let text = match &literal.value {
            Value::Null => return Ok(Bound::new(Node::NULL, UNKNOWN)),
            Value::Boolean(value) => {
                return Ok(Bound::new(Node::Const(Scalar::Bool(*value)), BOOL));
            }
            Value::Number(digits, false) => return self.number(literal, digits, negative),
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => text.clone(),
            Value::DollarQuotedString(text) => text.value.clone(),
            other => {
                let hint = "write numbers, 'texts', TRUE, FALSE and NULL";
                let what = format!("the literal {other} is not supported");
                return self.refuse(self.place(literal), what, hint);
            }
        };
        if text.contains('\0') {
            let what = "invalid byte sequence for encoding \"UTF8\": 0x00";
            return self.refuse(self.place(literal), what, "");
        }
        Ok(Bound::new(Node::Const(Scalar::Text(text.into())), UNKNOWN))
    }

    fn number(&self, literal: &ValueWithSpan, digits: &str, negative: bool) -> Result {
        let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
        if digits.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(value) = signed.parse::<i64>()
        {
            let ty = if i32::try_from(value).is_ok() { INT4 } else { INT8 };
            return Ok(Bound::new(Node::Const(Scalar::Int(value)), ty));
        }
        match Decimal::parse(digits) {
            Some(value) => {
                let value = if negative { value.negated() } else { value };
                Ok(Bound::new(Node::Const(Scalar::Decimal(value)), NUMERIC))
            }
            None => {
                let hint = "write digits, a point and an exponent";
                self.refuse(self.place(literal), format!("{digits} is no number"), hint)
            }
        }
    }

    fn unary(&self, expr: &Expr, operator: UnaryOperator, of: &Expr) -> Result {
        match operator {
            UnaryOperator::Not => {
                let of = self.condition(of)?;
                Ok(Bound::new(Node::Not(Box::new(of)), BOOL))
            }
            // A literal has its signs before its type: -2147483648 is an integer.
            UnaryOperator::Minus if let Some((literal, negative)) = signed_literal(of) => {
                self.literal(literal, !negative)
            }
            UnaryOperator::Plus
            | UnaryOperator::Minus
            | UnaryOperator::BitwiseNot
            | UnaryOperator::PGAbs
            | UnaryOperator::PGSquareRoot => {
                let of = self.expr(of)?;
                self.operator(&self.place(expr), &operator.to_string(), vec![of])
            }
            _ => self.unsupported(expr),
        }
    }

    // --- Collations ------------------------------------------------------------------------------

    fn collate(&self, expr: &Expr, of: &Expr, collation: &ObjectName) -> Result {
        let mut of = self.expr(of)?;
        if of.is_unknown() {
            of = self.implicit(of, TEXT, &self.place(expr))?;
        }
        if !self.known.is_text(of.ty) {
            let what = format!("collations are not supported by type {}", self.show(of.ty));
            return self.refuse(self.place(expr), what, "");
        }
        let name = collation.0.last().and_then(|part| part.as_ident()).map(fold_case);
        let collation = match name.as_deref() {
            Some("C" | "POSIX") => Collation::C,
            Some("ucs_basic") => Collation::C,
            Some("C.UTF-8" | "C.utf8") => Collation::Utf8,
            Some("default") => Collation::Default,
            _ => {
                let what = format!("collation {collation} is not supported");
                return self.refuse(self.place(expr), what, "write COLLATE \"C\"");
            }
        };
        Ok(Bound { mark: Mark { collation, explicit: true }, ..of })
    }

    /// The collation of what is made of several texts.
    fn collation(&self, of: &[Bound]) -> Mark {
        let mut found: Option<Mark> = None;
        for bound in of.iter().filter(|bound| self.known.is_text(bound.ty)) {
            // A literal has none.
            if bound.node.constant().is_some() && !bound.mark.explicit {
                continue;
            }
            found = Some(match found {
                None => bound.mark,
                Some(before) if before.explicit && !bound.mark.explicit => before,
                Some(before) if bound.mark.explicit && !before.explicit => bound.mark,
                Some(before) if before.collation == bound.mark.collation => before,
                Some(before) if before.collation == Collation::Default => bound.mark,
                Some(before) if bound.mark.collation == Collation::Default => before,
                Some(before) => Mark { collation: Collation::Conflict, ..before },
            });
        }
        found.unwrap_or_default()
    }

    /// Refuses to order texts but by their bytes.
    fn ordered(&self, of: &[Bound], at: &Range<usize>) -> Result<()> {
        if let Some(bound) = of.iter().find(|bound| self.known.is_enum(bound.ty)) {
            let what = format!("{} is not ordered here", self.show(bound.ty));
            let hint = "compare labels with = and <>, or order by a CASE over them";
            return self.refuse(at.clone(), what, hint);
        }
        // The strings within jsonb are under the database's collation.
        let is_json = of.iter().any(|bound| bound.ty == super::catalog::JSONB);
        if !is_json && !of.iter().any(|bound| self.known.is_text(bound.ty)) {
            return Ok(());
        }
        let by_bytes = match self.collation(of).collation {
            Collation::C | Collation::Utf8 => true,
            Collation::Default => self.known.names.database().ordered_by_bytes,
            Collation::Other { .. } | Collation::Conflict => false,
        };
        if by_bytes {
            return Ok(());
        }
        let hint =
            "the order of texts is their collation's; write COLLATE \"C\" behind one of them";
        self.refuse(at.clone(), "texts are not ordered here", hint)
    }

    // --- Arrays ----------------------------------------------------------------------------------

    fn array(&self, expr: &Expr, elements: &[Expr]) -> Result {
        let at = self.place(expr);
        let bound = elements.iter().map(|of| self.expr(of)).collect::<Result<Vec<_>>>()?;
        if bound.is_empty() {
            let hint = "write ARRAY[]::int[], for example";
            return self.refuse(at, "cannot determine type of empty array", hint);
        }
        let types: Vec<Oid> = bound.iter().map(|bound| bound.ty).collect();
        let Some(common) = choose::common_type(self.known, &types) else {
            return self.refuse(at, "the elements have no type in common", "cast them to one type");
        };
        let nested = self.known.element(common).is_some();
        let array = if nested { Some(common) } else { self.known.array_of(common) };
        let Some(array) = array else {
            let what = format!("there are no arrays of {}", self.show(common));
            return self.refuse(at, what, "");
        };
        let mark = self.collation(&bound);
        let typmod = bound[0].typmod;
        let same = bound.iter().all(|bound| bound.ty == common && bound.typmod == typmod);
        let typmod = if same { typmod } else { -1 };
        let elements = bound
            .into_iter()
            .map(|bound| Ok(self.implicit(bound, common, &at)?.node))
            .collect::<Result<Vec<_>>>()?;
        let types = self.types(&[common], array);
        Ok(Bound { node: Node::Array { elements, types, nested }, ty: array, typmod, mark })
    }

    /// `a[1]`, `j['key'][0]`.
    fn access(&self, expr: &Expr, root: &Expr, chain: &[AccessExpr]) -> Result {
        let at = self.place(expr);
        let mut of = self.expr(root)?;
        if let [
            AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride: None }),
        ] = chain
        {
            return self.slice(&at, of, lower_bound.as_ref(), upper_bound.as_ref());
        }
        let mut indices = Vec::new();
        for access in chain {
            let AccessExpr::Subscript(Subscript::Index { index }) = access else {
                return self.unsupported(expr);
            };
            indices.push(self.expr(index)?);
        }
        if of.ty == super::catalog::JSONB {
            for index in indices {
                let index = match self.converts(index.ty, INT4) && !index.is_unknown() {
                    true => self.implicit(index, INT4, &at)?,
                    false => self.implicit(index, TEXT, &at)?,
                };
                of = self.operator(&at, "->", vec![of, index])?;
            }
            return Ok(of);
        }
        let Some(element) = self.known.element(of.ty) else {
            let what = format!("cannot subscript type {}", self.show(of.ty));
            return self.refuse(at, what, "");
        };
        let mark = of.mark;
        let mut arguments = vec![of.ty];
        let mut nodes = vec![of.node];
        for index in indices {
            nodes.push(self.implicit(index, INT4, &at)?.node);
            arguments.push(INT4);
        }
        let types = self.types(&arguments, element);
        let node = coerce::call("subscript", super::function::subscript, true, true, nodes, types);
        Ok(Bound { mark, ..Bound::new(node, element) })
    }

    /// `a[1:2]`, `a[2:]`.
    fn slice(
        &self,
        at: &Range<usize>,
        of: Bound,
        lower: Option<&Expr>,
        upper: Option<&Expr>,
    ) -> Result {
        if self.known.element(of.ty).is_none() {
            let what = format!("cannot take a slice of type {}", self.show(of.ty));
            return self.refuse(at.clone(), what, "");
        }
        let bound = |written: Option<&Expr>, end: i32| match written {
            Some(bound) => Ok(self.implicit(self.expr(bound)?, INT4, at)?.node),
            None => Ok(Node::Const(Scalar::Int(end.into()))),
        };
        let nodes = vec![of.node, bound(lower, i32::MIN)?, bound(upper, i32::MAX)?];
        let types = self.types(&[of.ty, INT4, INT4], of.ty);
        let node = coerce::call("slice", super::function::slice, true, true, nodes, types);
        Ok(Bound { mark: of.mark, typmod: of.typmod, ..Bound::new(node, of.ty) })
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

/// A type as the catalog's files name it, for hints.
fn is_builtin(ty: Oid) -> bool {
    CATALOG.ty(ty).is_some()
}

/// What a NULL test of this type is: rows have rules of their own.
fn is_plain(ty: &Type) -> bool {
    !matches!(ty, Type::Composite(_))
}
