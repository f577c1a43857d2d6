//! CASE, COALESCE, NULLIF, GREATEST, LEAST, IS.

use std::ops::Range;

use sqlparser::ast::{CaseWhen, Expr};

use super::super::catalog::{BOOL, Oid, TEXT};
use super::super::node::{Compared, Node};
use super::choose::common_type;
use super::{Binder, Bound, Result, is_plain};

impl Binder<'_> {
    pub(super) fn is(&self, of: &Expr, value: Option<bool>, negated: bool) -> Result {
        let of = Box::new(self.condition(of)?);
        let node = match value {
            Some(value) => Node::Is { of, value },
            None => Node::IsNull(of),
        };
        Ok(not_if(negated, node))
    }

    pub(super) fn null_test(&self, of: &Expr, negated: bool) -> Result {
        let bound = self.expr(of)?;
        if !is_plain(&self.known.stored(bound.ty)) {
            let what = format!("IS NULL of {} is not supported", self.show(bound.ty));
            return self.refuse(self.place(of), what, "test one of its columns");
        }
        Ok(not_if(negated, Node::IsNull(Box::new(bound.node))))
    }

    pub(super) fn distinct(&self, expr: &Expr, left: &Expr, right: &Expr, negated: bool) -> Result {
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        // Against a literal NULL it is a test for NULL.
        for (one, other) in [(&left, &right), (&right, &left)] {
            if one.is_unknown() && one.node.is_null() {
                return Ok(not_if(!negated, Node::IsNull(Box::new(other.node.clone()))));
            }
        }
        let (comparison, left, right) = self.comparison(&self.place(expr), "=", left, right)?;
        Ok(not_if(negated, Node::Distinct(Box::new(Compared { comparison, left, right }))))
    }

    pub(super) fn case(
        &self,
        expr: &Expr,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Result {
        let at = self.place(expr);
        let operand = match operand {
            Some(operand) => {
                let bound = self.expr(operand)?;
                Some(match bound.is_unknown() {
                    true => self.implicit(bound, TEXT, &at)?,
                    false => bound,
                })
            }
            None => None,
        };
        let mut tests = Vec::new();
        // The last result is the first to decide on the type.
        let mut results = vec![match otherwise {
            Some(otherwise) => self.expr(otherwise)?,
            None => Bound::new(Node::NULL, super::UNKNOWN),
        }];
        for CaseWhen { condition, result } in conditions {
            tests.push(match &operand {
                Some(operand) => {
                    let stand_in = Bound { node: Node::CaseOperand, ..operand.clone() };
                    let value = self.expr(condition)?;
                    let test = self.operator(&self.place(condition), "=", vec![stand_in, value])?;
                    self.implicit(test, BOOL, &at)?.node
                }
                None => self.condition(condition)?,
            });
            results.push(self.expr(result)?);
        }
        let (results, bound) = self.in_common("CASE", &at, results)?;
        let mut results = results.into_iter();
        let otherwise = Box::new(results.next().unwrap_or(Node::NULL));
        let branches = tests.into_iter().zip(results).collect();
        let operand = operand.map(|operand| Box::new(operand.node));
        Ok(Bound { node: Node::Case { operand, branches, otherwise }, ..bound })
    }

    /// All converted to the type that they have in common; and a bound expression of that type,
    /// without its node.
    fn in_common(
        &self,
        name: &str,
        at: &Range<usize>,
        of: Vec<Bound>,
    ) -> Result<(Vec<Node>, Bound)> {
        let types: Vec<Oid> = of.iter().map(|bound| bound.ty).collect();
        let Some(common) = common_type(self.known, &types) else {
            let mut shown: Vec<String> = types.iter().map(|&ty| self.show(ty)).collect();
            shown.dedup();
            let what = format!("{name} types {} have no type in common", shown.join(" and "));
            return self.refuse(at.clone(), what, "cast them to one type");
        };
        let same = of.iter().all(|bound| bound.ty == common && bound.typmod == of[0].typmod);
        let typmod = if same { of[0].typmod } else { -1 };
        let mark =
            if self.known.is_text(common) { self.collation(&of) } else { Default::default() };
        let nodes = of
            .into_iter()
            .map(|bound| Ok(self.implicit(bound, common, at)?.node))
            .collect::<Result<Vec<_>>>()?;
        Ok((nodes, Bound { node: Node::NULL, ty: common, typmod, mark }))
    }

    pub(super) fn coalesce(&self, at: &Range<usize>, of: Vec<Bound>) -> Result {
        let (nodes, bound) = self.in_common("COALESCE", at, of)?;
        Ok(Bound { node: Node::Coalesce(nodes), ..bound })
    }

    /// GREATEST and LEAST.
    pub(super) fn extreme(&self, at: &Range<usize>, of: Vec<Bound>, greatest: bool) -> Result {
        let name = if greatest { "GREATEST" } else { "LEAST" };
        let (nodes, bound) = self.in_common(name, at, of)?;
        let operator = if greatest { ">" } else { "<" };
        let stand_in = || Bound { node: Node::CaseOperand, ..bound.clone() };
        let (beyond, ..) = self.comparison(at, operator, stand_in(), stand_in())?;
        Ok(Bound { node: Node::Extreme { beyond, of: nodes }, ..bound })
    }

    /// Its type is that of its first argument, as the comparison takes it.
    pub(super) fn null_if(&self, at: &Range<usize>, left: Bound, right: Bound) -> Result {
        let mark = left.mark;
        let ty = self.operand_type(at, "=", &[left.clone(), right.clone()])?;
        let typmod = if left.ty == ty { left.typmod } else { -1 };
        let (comparison, left, right) = self.comparison(at, "=", left, right)?;
        let node = Node::NullIf(Box::new(Compared { comparison, left, right }));
        Ok(Bound { node, ty, typmod, mark })
    }
}

fn not_if(negated: bool, node: Node) -> Bound {
    Bound::new(if negated { Node::Not(Box::new(node)) } else { node }, BOOL)
}
