//! How an operator's rows are found under a key: as a rule not by keeping them, but through the operator
//! from what its inputs find, down to the tables' own rows.
//!
//! What is found through tables alone can be asked for as it was before the changes that are being
//! followed, and as it is; what operators keep, only as far as they have got.

use super::TableLayout;
use super::graph::{Arranged, Engine, Operator, Spec, State, TableId};
use super::row::{Key, RowLayout};
use crate::sql::plan::{self, Expr, JoinKind};
use crate::value::Type;

pub(super) enum Access {
    /// Rows that are kept under the key: of an `Arrange` node.
    Rows(usize),
    /// Groups, by the first of their columns.
    Groups(usize),
    /// What is shown of a partition.
    Window(usize),
    /// What becomes of the input's rows in a filter or a map.
    Pass {
        node: usize,
        input: Box<Access>,
    },
    Union(Vec<Access>),
    /// Rows of one side of a join, and the partners that they find on the other.
    Pairs {
        join: usize,
        from: Port,
        first: Box<Access>,
    },
    /// The groups of which there are rows, perhaps with others.
    GroupsOf {
        aggregate: usize,
        rows: Box<Access>,
        layout: RowLayout,
        group: Key,
    },
    /// What is found under a part of the key, where the whole of it agrees.
    Checked {
        rows: Box<Access>,
        layout: RowLayout,
        key: Key,
        types: Vec<Type>,
        part: Vec<usize>,
    },
}

/// A side of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Left,
    Right,
}

/// Whether keys that are looked up may have a NULL in them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    Never,
    Perhaps,
}

impl Port {
    pub(super) const BOTH: [Self; 2] = [Port::Left, Port::Right];

    pub(super) fn other(self) -> Self {
        match self {
            Port::Left => Port::Right,
            Port::Right => Port::Left,
        }
    }
}

impl Engine {
    /// `None` where the rows have to be kept under these columns to be found.
    pub(super) fn access(&mut self, at: usize, columns: &[usize], nulls: Nulls) -> Option<Access> {
        let Spec::Plan(node) = self.nodes[at].spec.clone() else { return None };
        match node {
            plan::Node::Scan { table } => Some(self.of_table(at, table, columns)),
            plan::Node::Filter { input, .. } => {
                // Rows that the filter holds back are not even met.
                if let Some((table, _)) = self.table_of(at)
                    && !self.is_found_by_identity(table, columns)
                {
                    return Some(self.kept_under(at, columns));
                }
                let input = Box::new(self.access(input, columns, nulls)?);
                Some(Access::Pass { node: at, input })
            }
            plan::Node::Map { input, exprs, .. } => {
                let columns = through(&exprs, columns)?;
                let input = Box::new(self.access(input, &columns, nulls)?);
                Some(Access::Pass { node: at, input })
            }
            plan::Node::Expand { input, .. } => {
                // What is in a value is found by the row that has it.
                let width = self.nodes[input].layout.columns.len();
                let part: Vec<usize> =
                    (0..columns.len()).filter(|&at| columns[at] < width).collect();
                let of_input: Vec<usize> = part.iter().map(|&at| columns[at]).collect();
                let whole = part.len() == columns.len();
                if of_input.is_empty() && !whole {
                    return None;
                }
                let checked = if whole { None } else { Some(self.checked(at, columns, part)?) };
                let input = Box::new(self.access(input, &of_input, nulls)?);
                let rows = Access::Pass { node: at, input };
                Some(match checked {
                    Some(checked) => checked(rows),
                    None => rows,
                })
            }
            plan::Node::Union { inputs } => {
                let inputs = inputs.into_iter().map(|input| self.access(input, columns, nulls));
                Some(Access::Union(inputs.collect::<Option<_>>()?))
            }
            plan::Node::Join { left, right, kind, on, .. } => {
                self.of_join(at, (left, right), kind, &on, columns, nulls)
            }
            plan::Node::Aggregate { input, group, .. } => {
                self.of_groups(at, input, &group, columns, nulls)
            }
            plan::Node::TopN { partition, .. } if partition == columns => Some(Access::Window(at)),
            plan::Node::TopN { .. } | plan::Node::Output { .. } => None,
        }
    }

    /// Rows that are kept under these columns; a table's own, as a filter lets them pass.
    pub(super) fn kept_under(&mut self, at: usize, columns: &[usize]) -> Access {
        let rows = Access::Rows(self.arrange(at, columns));
        match self.table_of(at) {
            Some((_, Some(node))) => Access::Pass { node, input: Box::new(rows) },
            _ => rows,
        }
    }

    /// Whether at most one row is found under these columns.
    fn is_found_by_identity(&self, table: TableId, columns: &[usize]) -> bool {
        let TableLayout { columns: all, identity } = &self.tables[table].layout;
        identity.iter().all(|at| columns.contains(at))
            && columns.iter().all(|&at| is_whole(&all[at].ty))
            && !columns.is_empty()
    }

    fn of_table(&mut self, at: usize, table: usize, columns: &[usize]) -> Access {
        let layout = &self.tables[table].layout;
        let identity = layout.identity.clone();
        let place = |column: &usize| columns.iter().position(|at| at == column);
        let places: Option<Vec<usize>> = identity.iter().map(place).collect();
        if let Some(part) = places
            && columns.len() > identity.len()
            && let Some(checked) = self.checked(at, columns, part)
        {
            let rows = Access::Rows(self.arrange(at, &identity));
            return checked(rows);
        }
        Access::Rows(self.arrange(at, columns))
    }

    /// A check of the whole key over what a part of it finds. Not for types of which equal values may be
    /// written in several ways: the key's bytes cannot be cut between their columns.
    fn checked(
        &self,
        at: usize,
        columns: &[usize],
        part: Vec<usize>,
    ) -> Option<impl FnOnce(Access) -> Access + use<>> {
        let layout = self.nodes[at].layout.clone();
        let types: Vec<Type> = columns.iter().map(|&at| layout.ty(at).clone()).collect();
        let key = Key::new(&layout, columns);
        types.iter().all(is_whole).then_some(move |rows| {
            let rows = Box::new(rows);
            Access::Checked { rows, layout, key, types, part }
        })
    }

    fn of_join(
        &mut self,
        at: usize,
        (left, right): (usize, usize),
        kind: JoinKind,
        on: &[(usize, usize)],
        columns: &[usize],
        nulls: Nulls,
    ) -> Option<Access> {
        let width = self.nodes[left].layout.columns.len();
        // An inner join's rows have its two columns equal.
        let on_left = |column: usize| match column.checked_sub(width) {
            None => Some(column),
            Some(column) if kind == JoinKind::Inner => {
                on.iter().find(|(_, right)| *right == column).map(|(left, _)| *left)
            }
            Some(_) => None,
        };
        let on_right = |column: usize| match column.checked_sub(width) {
            Some(column) => Some(column),
            None if kind == JoinKind::Inner => {
                on.iter().find(|(left, _)| *left == column).map(|(_, right)| *right)
            }
            None => None,
        };
        let pairs = |from, first| Access::Pairs { join: at, from, first: Box::new(first) };
        if kind == JoinKind::AntiNull {
            return None;
        }
        if let Some(columns) = columns.iter().map(|&at| on_left(at)).collect::<Option<Vec<_>>>() {
            return Some(pairs(Port::Left, self.access(left, &columns, nulls)?));
        }
        // A left row alone shows NULLs, and would not be found from there.
        let has_right = kind == JoinKind::Inner || kind == JoinKind::Left && nulls == Nulls::Never;
        let all = columns.iter().map(|&at| on_right(at)).collect::<Option<Vec<_>>>();
        if let Some(columns) = all {
            return match has_right {
                true => Some(pairs(Port::Right, self.access(right, &columns, nulls)?)),
                false => None,
            };
        }
        let part: Vec<usize> =
            (0..columns.len()).filter(|&at| on_left(columns[at]).is_some()).collect();
        let of_left: Vec<usize> = part.iter().filter_map(|&at| on_left(columns[at])).collect();
        let first = self.access(left, &of_left, nulls)?;
        let checked = self.checked(at, columns, part)?;
        Some(checked(pairs(Port::Left, first)))
    }

    fn of_groups(
        &mut self,
        at: usize,
        input: usize,
        group: &[usize],
        columns: &[usize],
        nulls: Nulls,
    ) -> Option<Access> {
        let State::Aggregate(groups) = self.nodes[at].state.get_mut() else {
            unreachable!("made as an aggregate");
        };
        let in_order = groups.look_into();
        let begins = columns.iter().copied().eq(0..columns.len());
        if begins && (columns.len() == group.len() || in_order && columns.len() < group.len()) {
            return Some(Access::Groups(at));
        }
        let by = columns.iter().map(|&column| group.get(column).copied());
        let by = by.collect::<Option<Vec<_>>>()?;
        let (source, by, group) = self.source(input, by, group.to_vec());
        let rows = self.access(source, &by, nulls).filter(|rows| self.is_of_tables(rows))?;
        let layout = self.nodes[source].layout.clone();
        let group = Key::new(&layout, &group);
        Some(Access::GroupsOf { aggregate: at, rows: Box::new(rows), layout, group })
    }

    /// Where these columns come from, as far down as each row there that has any row here has them: it is
    /// asked for more rows than there are, or fewer times, but for none too few.
    fn source(
        &self,
        mut at: usize,
        mut by: Vec<usize>,
        mut group: Vec<usize>,
    ) -> (usize, Vec<usize>, Vec<usize>) {
        while let (Some((input, lower_by)), Some((_, lower_group))) =
            (self.below(at, &by), self.below(at, &group))
        {
            (at, by, group) = (input, lower_by, lower_group);
        }
        (at, by, group)
    }

    /// An input of which each row here is made of one, and its columns that these are.
    fn below(&self, at: usize, columns: &[usize]) -> Option<(usize, Vec<usize>)> {
        let Spec::Plan(node) = &self.nodes[at].spec else { return None };
        match node {
            plan::Node::Filter { input, .. } => Some((*input, columns.to_vec())),
            plan::Node::Map { input, exprs, .. } => Some((*input, through(exprs, columns)?)),
            plan::Node::Expand { input, .. } => {
                let width = self.nodes[*input].layout.columns.len();
                columns.iter().all(|&at| at < width).then(|| (*input, columns.to_vec()))
            }
            plan::Node::Join { left, kind, on, .. } if *kind != JoinKind::AntiNull => {
                let width = self.nodes[*left].layout.columns.len();
                let of_left = |&column: &usize| match column < width {
                    true => Some(column),
                    false => {
                        let equal = on.iter().find(|(_, right)| *right + width == column);
                        equal.filter(|_| *kind == JoinKind::Inner).map(|(left, _)| *left)
                    }
                };
                Some((*left, columns.iter().map(of_left).collect::<Option<_>>()?))
            }
            _ => None,
        }
    }

    /// Whether it goes through tables' rows alone.
    pub(super) fn is_of_tables(&self, access: &Access) -> bool {
        match access {
            Access::Rows(at) => match &*self.nodes[*at].state.borrow() {
                State::Arranged(arranged) => !matches!(arranged, Arranged::Own { .. }),
                _ => false,
            },
            Access::Pass { input, .. } => self.is_of_tables(input),
            Access::Union(inputs) => inputs.iter().all(|input| self.is_of_tables(input)),
            Access::Checked { rows, .. } => self.is_of_tables(rows),
            Access::Pairs { join, from, first } => match &self.nodes[*join].operator {
                Operator::Join(join) => {
                    self.is_of_tables(first) && self.is_of_tables(join.side(from.other()))
                }
                _ => false,
            },
            Access::Groups(_) | Access::Window(_) | Access::GroupsOf { .. } => false,
        }
    }

    /// Whether a row that is there several times is found once, with its weight.
    pub(super) fn is_of_kept_rows(&self, access: &Access) -> bool {
        match access {
            Access::Rows(_) | Access::Groups(_) | Access::Window(_) => true,
            Access::Checked { rows, .. } => self.is_of_kept_rows(rows),
            Access::Pass { node, input } => {
                matches!(self.nodes[*node].operator, Operator::Filter(_))
                    && self.is_of_kept_rows(input)
            }
            Access::Union(_) | Access::Pairs { .. } | Access::GroupsOf { .. } => false,
        }
    }

    /// Whether what is found is ahead of whom it is sent to by what was sent and not yet worked off, and
    /// by nothing else.
    pub(super) fn is_direct(&self, access: &Access) -> bool {
        match access {
            Access::Rows(_) | Access::Groups(_) | Access::Window(_) => true,
            Access::Pass { input, .. } => self.is_direct(input),
            Access::Union(inputs) => inputs.iter().all(|input| self.is_direct(input)),
            Access::Checked { rows, .. } => self.is_direct(rows),
            Access::Pairs { .. } | Access::GroupsOf { .. } => false,
        }
    }
}

impl Access {
    /// The nodes that it looks into.
    pub(super) fn reads(&self, into: &mut Vec<usize>) {
        match self {
            Access::Rows(at) | Access::Groups(at) | Access::Window(at) => into.push(*at),
            Access::Pass { node, input } => {
                into.push(*node);
                input.reads(into);
            }
            Access::Union(inputs) => inputs.iter().for_each(|input| input.reads(into)),
            Access::Pairs { join, first, .. } => {
                into.push(*join);
                first.reads(into);
            }
            Access::GroupsOf { aggregate, rows, .. } => {
                into.push(*aggregate);
                rows.reads(into);
            }
            Access::Checked { rows, .. } => rows.reads(into),
        }
    }
}

/// The input's columns that these columns of a map are.
fn through(exprs: &[Expr], columns: &[usize]) -> Option<Vec<usize>> {
    let below = |&column: &usize| match exprs.get(column) {
        Some(Expr::Column(at)) => Some(*at),
        _ => None,
    };
    columns.iter().map(below).collect()
}

/// Whether equal values of the type have equal bytes.
pub(super) fn is_whole(ty: &Type) -> bool {
    !matches!(ty, Type::Numeric | Type::Float4 | Type::Float8 | Type::Bpchar | Type::Interval)
}
