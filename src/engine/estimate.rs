//! What will be kept for projections, guessed before there are rows: from how many rows the tables have.
//!
//! Whether a column tells its rows apart is known of identities alone, so groups are counted by the column
//! with the most values: of other columns there are as many values as rows, in the worst case.

use super::graph::{Engine, Spec, State, TableId};
use super::row::RowLayout;
use super::size::Size;
use crate::sql::plan::{self, JoinKind};
use crate::value::Type;

/// What an entry, a place in a map and an operator's row cost beside their bytes.
const ROW_BYTES: f64 = 64.0;

/// So many elements has a list, as a guess.
const EXPANDED_TO: f64 = 3.0;

/// A relation's rows, and of each column how many values it has at most.
#[derive(Clone)]
struct Guess {
    rows: f64,
    values: Vec<f64>,
}

impl Guess {
    fn of(rows: f64, values: impl Iterator<Item = f64>) -> Self {
        Self { rows, values: values.map(|of| of.min(rows)).collect() }
    }

    fn groups(&self, by: &[usize]) -> f64 {
        by.iter().map(|&at| self.values[at]).fold(1.0, f64::max).min(self.rows.max(1.0))
    }
}

impl Engine {
    /// Everything that will be kept, if tables have so many rows.
    pub fn expected(&self, rows: &[u64]) -> Vec<super::Kept> {
        let mut guesses: Vec<Guess> = Vec::new();
        for at in 0..self.nodes.len() {
            guesses.push(self.guess(at, rows, &guesses));
        }
        let size = |rows: f64, width: f64| Size {
            rows: rows as usize,
            bytes: (rows * (ROW_BYTES + width)) as usize,
        };
        let of_table = |table: TableId| {
            let layout = &self.tables[table].layout;
            size(rows[table] as f64, width(&RowLayout::new(layout.columns.clone())))
        };
        let of_node = |at: usize| {
            let node = &self.nodes[at];
            let Guess { rows, .. } = guesses[at];
            let input = node.inputs.first().map(|&input| (&self.nodes[input], &guesses[input]));
            match (&*node.state.borrow(), input) {
                // An index of a table holds its rows by reference.
                (State::Arranged(_), None) => size(rows, 0.0),
                (State::Aggregate(aggregate), Some((_, from)))
                    if aggregate.forgets(from.rows / rows.max(1.0)) =>
                {
                    size(0.0, 0.0)
                }
                (State::Aggregate(aggregate), Some((input, from))) => {
                    let kept = aggregate.keeps_rows() as f64;
                    let (groups, each) = (size(rows, width(&node.layout)), width(&input.layout));
                    Size {
                        bytes: groups.bytes + (kept * size(from.rows, each).bytes as f64) as usize,
                        ..groups
                    }
                }
                (State::TopN(_), Some((input, from))) => size(from.rows, width(&input.layout)),
                _ => size(rows, width(&node.layout)),
            }
        };
        self.kept_as(of_table, of_node)
    }

    fn guess(&self, at: usize, rows: &[u64], below: &[Guess]) -> Guess {
        let node = match &self.nodes[at].spec {
            Spec::Arrange { input, .. } => return below[*input].clone(),
            Spec::Plan(node) => node,
        };
        match node {
            plan::Node::Scan { table } => {
                let rows = rows[*table] as f64;
                Guess::of(rows, self.nodes[at].layout.columns.iter().map(|_| rows))
            }
            plan::Node::Filter { input, .. } | plan::Node::Output { input, .. } => {
                below[*input].clone()
            }
            plan::Node::Map { input, exprs, .. } => {
                let from = &below[*input];
                let values = exprs.iter().map(|expr| match expr {
                    plan::Expr::Column(at) => from.values[*at],
                    plan::Expr::Computed(_) => from.rows,
                });
                Guess::of(from.rows, values)
            }
            plan::Node::Expand { input, columns, .. } => {
                let from = &below[*input];
                let rows = from.rows * EXPANDED_TO;
                let values = from.values.iter().copied();
                Guess::of(rows, values.chain(columns.iter().map(|_| rows)))
            }
            plan::Node::Union { inputs } => {
                let rows = inputs.iter().map(|&input| below[input].rows).sum();
                let values = self.nodes[at].layout.columns.iter().enumerate();
                let values = values.map(|(column, _)| {
                    inputs.iter().map(|&input| below[input].values[column]).sum()
                });
                Guess::of(rows, values)
            }
            plan::Node::Join { left, right, kind, on, .. } => {
                let (left, right) = (&below[*left], &below[*right]);
                match kind {
                    JoinKind::Semi | JoinKind::Anti | JoinKind::AntiNull => left.clone(),
                    JoinKind::Inner | JoinKind::Left => {
                        // As a rule one side refers to the other.
                        let rows = match on.is_empty() {
                            true => left.rows * right.rows,
                            false => left.rows.max(right.rows),
                        };
                        Guess::of(rows, left.values.iter().chain(&right.values).copied())
                    }
                }
            }
            plan::Node::Aggregate { input, group, aggregates, .. } => {
                let from = &below[*input];
                let rows = from.groups(group);
                let keys = group.iter().map(|&at| from.values[at]);
                Guess::of(rows, keys.chain(aggregates.iter().map(|_| rows)))
            }
            plan::Node::TopN { input, partition, limit, .. } => {
                let from = &below[*input];
                let shown = limit.map_or(from.rows, |limit| {
                    (from.groups(partition) * limit as f64).min(from.rows)
                });
                Guess::of(shown, from.values.iter().copied())
            }
        }
    }
}

fn width(layout: &RowLayout) -> f64 {
    layout.columns.iter().map(|column| width_of(&column.ty)).sum()
}

/// Of a value as it is usual.
fn width_of(ty: &Type) -> f64 {
    match ty {
        Type::Bool => 1.0,
        Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid => 4.0,
        Type::Float4 | Type::Date => 5.0,
        Type::Float8
        | Type::Numeric
        | Type::Time
        | Type::TimeTz
        | Type::Timestamp
        | Type::TimestampTz
        | Type::PgLsn => 9.0,
        Type::Interval | Type::Uuid => 17.0,
        Type::Text | Type::Bpchar | Type::Bytea => 24.0,
        Type::Json | Type::Jsonb | Type::Hstore | Type::Array(..) | Type::Composite(_) => 100.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::int_columns;
    use crate::engine::{KeptOf, TableLayout};
    use crate::sql::plan::{Aggregate, Function, Node, Plan};

    #[test]
    fn groups_by_a_tables_identity_are_as_many_as_its_rows() {
        let mut engine = Engine::default();
        for _ in 0..2 {
            engine.add_table(TableLayout { columns: int_columns(2), identity: vec![0] });
        }
        let count = Aggregate {
            function: Function::Count,
            arguments: vec![2],
            distinct: false,
            order: Vec::new(),
            filter: None,
            column: int_columns(1).remove(0),
        };
        let nodes = vec![
            Node::Scan { table: 0 },
            Node::Scan { table: 1 },
            Node::Join {
                left: 0,
                right: 1,
                kind: JoinKind::Left,
                on: vec![(0, 1)],
                residual: None,
            },
            Node::Aggregate { input: 2, group: vec![0], aggregates: vec![count], scalar: false },
            Node::Output { input: 3, key: vec![0] },
        ];
        engine.add_plan(&Plan { nodes });
        let kept = engine.expected(&[10, 30]);
        let rows: Vec<_> = kept.iter().map(|kept| (&kept.what, kept.rows)).collect();
        let (a, b) = ("c0".to_owned(), "c1".to_owned());
        let index = KeptOf::Index { table: 1, columns: vec![b], filtered: false };
        let groups = KeptOf::Groups(vec![a]);
        let expected = [
            (&KeptOf::Table(0), 10),
            (&KeptOf::Table(1), 30),
            (&index, 30),
            (&groups, 10),
            (&KeptOf::Output(0), 10),
        ];
        assert_eq!(rows, expected);
        assert!(kept.iter().all(|kept| kept.bytes >= kept.rows * 64 && kept.outputs == [0]));
    }
}
