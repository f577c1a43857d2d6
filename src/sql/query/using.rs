//! USING and NATURAL.

use std::collections::BTreeSet;
use std::ops::Range;

use sqlparser::ast::{Expr, Ident, ObjectName, ObjectNamePart};

use super::Fault;
use super::column::ColumnId;
use super::from::Kind;
use super::group::equality;
use super::planner::{Planner, Result};
use super::relation::Condition;
use super::scope::Scope;
use crate::sql::expr::fold_case;

/// What USING says.
#[derive(Default)]
pub(super) struct Using {
    pub(super) conditions: Vec<Condition>,
    /// The columns that are one.
    pub(super) pairs: Vec<(ColumnId, ColumnId)>,
}

impl Planner<'_> {
    /// The columns of both sides become one: the left one's, or that which is there always.
    pub(super) fn using(
        &self,
        names: &[ObjectName],
        (left, right): (&Scope, &Scope),
        kind: Kind,
        scope: &mut Scope,
        place: &Range<usize>,
    ) -> Result<Using> {
        let mut using = Using::default();
        for name in names {
            let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else {
                return Err(Fault::new("USING names columns").at(place.clone()));
            };
            let at = self.text.places.of(&Expr::Identifier(name.clone()));
            let side = |scope: &Scope| {
                let column = scope.column(std::slice::from_ref(name), &at)?;
                column.ok_or_else(|| {
                    let what = format!("USING: one side has no column `{}`", fold_case(name));
                    Fault::new(what).at(at.clone())
                })
            };
            let (l, r) = (side(left)?, side(right)?);
            if self.info(l).ty.stored != self.info(r).ty.stored {
                let what = format!("USING: `{}` is of two types", fold_case(name));
                return Err(Fault::new(what).hint("write ON with the two columns").at(at));
            }
            using.conditions.push(equality(
                self,
                self.column_scalar(l, &at),
                self.column_scalar(r, &at),
            )?);
            using.pairs.push((l, r));
            let kept = if kind == Kind::Right { r } else { l };
            let name = fold_case(name);
            scope.merged.retain(|(known, _)| *known != name);
            scope.merged.push((name, kept));
            for named in &mut scope.relations {
                let hidden =
                    named.columns.iter().map(|(_, id)| *id).filter(|id| *id == l || *id == r);
                let hidden: Vec<ColumnId> = hidden.collect();
                named.hidden.extend(hidden);
            }
        }
        Ok(using)
    }

    /// The names that NATURAL JOIN joins by.
    pub(super) fn natural(&self, left: &Scope, right: &Scope) -> Vec<ObjectName> {
        let of_right: BTreeSet<String> = right.star().into_iter().map(|(name, _)| name).collect();
        let names = left.star().into_iter().map(|(name, _)| name);
        let name = |name: String| {
            ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('"', name))])
        };
        names.filter(|name| of_right.contains(name)).map(name).collect()
    }
}
