//! One aggregate of a node: from where its answer comes.

use super::kept::{Kept, KeptSpec};
use super::running::Running;
use crate::engine::row::RowLayout;
use crate::sql::plan::{Aggregate, Function, Order};
use crate::value::{Column, Type};

pub(super) struct Call {
    pub(super) function: Function,
    pub(super) arguments: Vec<usize>,
    /// Their types.
    pub(super) types: Vec<Type>,
    pub(super) distinct: bool,
    pub(super) filter: Option<usize>,
    pub(super) result: Column,
    pub(super) source: Source,
}

#[derive(Clone, Copy)]
pub(super) enum Source {
    /// The group's total at this place.
    Total(usize),
    /// The same, of each distinct value once; the values are kept.
    DistinctTotal {
        total: usize,
        kept: usize,
    },
    /// The first of the kept rows, or the last.
    First(usize),
    Last(usize),
    /// All kept rows in order.
    List(usize),
}

impl Call {
    /// Adds what the aggregate needs to `kept` and `totals`, unless it is there.
    pub(super) fn new(
        aggregate: &Aggregate,
        input: &RowLayout,
        kept: &mut Vec<Kept>,
        totals: &mut usize,
        looks_up: bool,
    ) -> Self {
        let Aggregate { function, arguments, distinct, order, filter, column } = aggregate;
        let types: Vec<Type> = arguments.iter().map(|&at| input.ty(at).clone()).collect();
        let ascending = |&column: &usize| Order { column, descending: false, nulls_first: false };
        let mut keep = |spec: KeptSpec| {
            let at = kept.iter().position(|kept| kept.spec == spec);
            at.unwrap_or_else(|| {
                kept.push(Kept::new(spec, input, false));
                kept.len() - 1
            })
        };
        let by_argument = |not_null| KeptSpec {
            order: arguments.iter().map(ascending).collect(),
            columns: arguments.clone(),
            filter: *filter,
            not_null,
        };
        let mut total = || {
            *totals += 1;
            *totals - 1
        };
        let source = match function {
            Function::Min => Source::First(keep(by_argument(true))),
            Function::Max => Source::Last(keep(by_argument(true))),
            function if !Self::lists(*function) => match *distinct && !arguments.is_empty() {
                false => Source::Total(total()),
                true => {
                    let kept = keep(by_argument(true));
                    Source::DistinctTotal { total: total(), kept }
                }
            },
            _ => {
                let mut by = order.clone();
                if *distinct {
                    let more = arguments.iter().filter(|at| !by.iter().any(|o| o.column == **at));
                    by.extend(more.map(ascending).collect::<Vec<_>>());
                }
                // Rows in one order are kept once for all that write them out.
                let columns: Vec<usize> = arguments.iter().chain(filter).copied().collect();
                let shared = kept.iter_mut().position(|kept| kept.lists(&by));
                match shared {
                    Some(at) => {
                        kept[at].also(&columns, input);
                        Source::List(at)
                    }
                    None => {
                        let spec = KeptSpec { order: by, columns, filter: None, not_null: false };
                        kept.push(Kept::new(spec, input, looks_up));
                        Source::List(kept.len() - 1)
                    }
                }
            }
        };
        Self {
            function: *function,
            arguments: arguments.clone(),
            types,
            distinct: *distinct,
            filter: *filter,
            result: column.clone(),
            source,
        }
    }

    /// Whether its answer is written out from the group's rows.
    pub(super) fn lists(function: Function) -> bool {
        !matches!(
            function,
            Function::Count
                | Function::Sum
                | Function::Avg
                | Function::VarSamp
                | Function::VarPop
                | Function::StddevSamp
                | Function::StddevPop
                | Function::Min
                | Function::Max
                | Function::BoolAnd
                | Function::BoolOr
                | Function::BitAnd
                | Function::BitOr
                | Function::BitXor
        )
    }

    pub(super) fn total_of(function: Function, types: &[Type]) -> Option<Running> {
        // count(*) counts rows as if it were a value that is never NULL.
        let none = Type::Bool;
        Running::new(function, Some(types.first().unwrap_or(&none)))
    }
}
