//! Random tables, plans and changes.

use fastrand::Rng;

use super::expressions::Sample;
use crate::engine::TableLayout;
use crate::engine::testing::{column, int_columns, ints};
use crate::sql::expr::{Series, SeriesOf};
use crate::sql::plan::{Aggregate, Expr, Function, JoinKind, Node, Order, Plan};
use crate::value::{Column, Type};

pub(super) struct Script {
    pub(super) layouts: Vec<TableLayout>,
    pub(super) plans: Vec<Plan>,
    pub(super) changes: Vec<Change>,
    pub(super) chunk_rows: usize,
}

#[derive(Debug)]
pub(super) enum Change {
    Put {
        table: usize,
        key: Vec<u8>,
        row: Vec<u8>,
    },
    Delete {
        table: usize,
        key: Vec<u8>,
    },
    Truncate {
        table: usize,
    },
    Load {
        table: usize,
        key: Vec<u8>,
        row: Vec<u8>,
    },
    /// What these tables have changed is followed; the others are in the middle of a transaction.
    Commit {
        tables: Vec<usize>,
    },
    Restart,
    /// A restart after which the table is loaded again.
    Sleep {
        table: usize,
    },
    Wake,
}

const TABLES: usize = 3;
const COLUMNS: usize = 3;

impl Script {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let identities = [vec![0], vec![0, 1], vec![2]];
        let layouts: Vec<_> = identities
            .map(|identity| TableLayout { columns: int_columns(COLUMNS), identity })
            .into();
        let plans = (0..rng.usize(1..3)).map(|_| random_plan(rng)).collect();
        let mut changes = Vec::new();
        let mut asleep = false;
        for _ in 0..rng.usize(4..20) {
            changes.extend((0..rng.usize(0..8)).map(|_| random_change(rng, &layouts)));
            if rng.u8(..8) == 0 {
                changes.push(Change::Restart);
            }
            let all = rng.u8(..4) > 0;
            let tables = (0..TABLES).filter(|_| all || rng.bool()).collect();
            changes.push(Change::Commit { tables });
            match rng.u8(..6) {
                0 if !asleep => changes.push(Change::Sleep { table: rng.usize(..TABLES) }),
                0..3 if asleep => {
                    changes.push(Change::Commit { tables: (0..TABLES).collect() });
                    changes.push(Change::Wake);
                }
                _ => continue,
            }
            asleep = !asleep;
        }
        let chunk_rows = if rng.bool() { rng.usize(1..8) } else { 4096 };
        Self { layouts, plans, changes, chunk_rows }
    }
}

/// Few values, so that they meet; the first is the commonest.
fn random_value(rng: &mut Rng) -> i64 {
    rng.i64(0..5).min(rng.i64(0..5))
}

fn random_change(rng: &mut Rng, layouts: &[TableLayout]) -> Change {
    let table = rng.usize(..TABLES);
    let identity = &layouts[table].identity;
    let values: Vec<Option<i64>> = (0..COLUMNS)
        .map(|at| match identity.contains(&at) {
            true => Some(rng.i64(0..6)),
            false => (rng.u8(..4) > 0).then(|| random_value(rng)),
        })
        .collect();
    let key = ints(&identity.iter().map(|&at| values[at]).collect::<Vec<_>>());
    let row = ints(&values);
    match rng.u8(..20) {
        0..11 => Change::Put { table, key, row },
        11..18 => Change::Delete { table, key },
        18 => Change::Load { table, key, row },
        _ => Change::Truncate { table },
    }
}

struct Builder<'r> {
    rng: &'r mut Rng,
    nodes: Vec<Node>,
    columns: Vec<Vec<Column>>,
}

fn random_plan(rng: &mut Rng) -> Plan {
    let mut builder = Builder { rng, nodes: Vec::new(), columns: Vec::new() };
    for table in 0..TABLES {
        builder.add(Node::Scan { table });
    }
    for _ in 0..builder.rng.usize(1..6) {
        builder.operator();
    }
    let input = builder.nodes.len() - 1;
    let width = builder.columns[input].len();
    let whole = builder.rng.bool();
    let key = (0..width).filter(|_| whole || builder.rng.bool()).collect();
    builder.nodes.push(Node::Output { input, key });
    Plan { nodes: builder.nodes }
}

impl Builder<'_> {
    fn add(&mut self, node: Node) {
        let columns = match &node {
            Node::Scan { .. } => int_columns(COLUMNS),
            node => {
                let inputs = node.inputs();
                let inputs: Vec<&[Column]> =
                    inputs.iter().map(|&at| self.columns[at].as_slice()).collect();
                node.columns(&inputs)
            }
        };
        self.columns.push(columns);
        self.nodes.push(node);
    }

    /// Newer nodes are likelier, so that plans are deep; each has columns of integers.
    fn input(&mut self) -> usize {
        let nodes = self.nodes.len();
        self.rng.usize(..nodes).max(self.rng.usize(..nodes))
    }

    fn of_type(&self, input: usize, ty: &Type) -> Vec<usize> {
        let columns = self.columns[input].iter().enumerate();
        columns.filter(|(_, column)| column.ty == *ty).map(|(at, _)| at).collect()
    }

    fn int(&mut self, input: usize) -> usize {
        let ints = self.of_type(input, &Type::Int4);
        ints[self.rng.usize(..ints.len())]
    }

    fn some_ints(&mut self, input: usize) -> Vec<usize> {
        let mut ints = self.of_type(input, &Type::Int4);
        ints.retain(|_| self.rng.u8(..3) == 0);
        ints
    }

    fn order(&mut self, input: usize) -> Vec<Order> {
        let columns = self.some_ints(input);
        let order =
            |column| Order { column, descending: self.rng.bool(), nulls_first: self.rng.bool() };
        columns.into_iter().map(order).collect()
    }

    fn condition(&mut self, input: usize) -> Expr {
        let (a, b) = (self.int(input), self.int(input));
        self.condition_of(a, b)
    }

    fn condition_of(&mut self, a: usize, b: usize) -> Expr {
        match self.rng.u8(..8) {
            0..4 => Sample::Less(a, b).expr(),
            4..7 => Sample::IsOdd(b).expr(),
            _ => Sample::Reciprocal(a).expr(),
        }
    }

    fn operator(&mut self) {
        let input = self.input();
        let node = match self.rng.u8(..11) {
            9 => self.expand(input),
            0 => Node::Filter { input, condition: self.condition(input) },
            1 => self.map(input),
            2 => self.union(input),
            3..7 => self.join(input),
            7..9 => self.aggregate(input),
            _ => Node::TopN {
                input,
                partition: self.some_ints(input),
                order: self.order(input),
                limit: (self.rng.u8(..4) > 0).then(|| self.rng.u64(0..4)),
                offset: self.rng.u64(0..3).saturating_sub(1),
            },
        };
        self.add(node);
    }

    fn map(&mut self, input: usize) -> Node {
        let (mut exprs, mut columns) = (Vec::new(), Vec::new());
        for at in 0..self.rng.usize(2..5) {
            let (a, b) = (self.int(input), self.int(input));
            let (expr, ty) = match self.rng.u8(..6) {
                _ if at == 0 => (Expr::Column(a), Type::Int4),
                0..2 => (Expr::Column(a), Type::Int4),
                2 => (Sample::Sum(a, b).expr(), Type::Int4),
                3 => (Sample::Quotient(a, b).expr(), Type::Int4),
                4 => (Sample::Less(a, b).expr(), Type::Bool),
                _ => (Sample::Reciprocal(a).expr(), Type::Bool),
            };
            exprs.push(expr);
            columns.push(column(&format!("m{at}"), ty));
        }
        Node::Map { input, exprs, columns }
    }

    /// Of arrays, where there are some; of others a map.
    fn expand(&mut self, input: usize) -> Node {
        let argument = Type::Array(Box::new(Type::Int4), b',');
        let arrays = self.of_type(input, &argument);
        let Some(&array) = arrays.get(self.rng.usize(..arrays.len().max(1))) else {
            return self.map(input);
        };
        let ordinality = self.rng.bool();
        let mut columns = int_columns(1);
        columns.extend(ordinality.then(|| column("at", Type::Int8)));
        let series = Series { of: SeriesOf::Unnest, argument, ordinality };
        Node::Expand { input, list: Expr::Column(array), series, outer: self.rng.bool(), columns }
    }

    /// Inputs of equal types are made by maps.
    fn union(&mut self, input: usize) -> Node {
        let other = self.input();
        let inputs = [input, other].map(|input| {
            let exprs = [self.int(input), self.int(input)].map(Expr::Column).into();
            self.add(Node::Map { input, exprs, columns: int_columns(2) });
            self.nodes.len() - 1
        });
        Node::Union { inputs: inputs.into() }
    }

    fn join(&mut self, left: usize) -> Node {
        let right = self.input();
        let kind = match self.rng.u8(..8) {
            0..2 => JoinKind::Inner,
            2..4 => JoinKind::Left,
            4 => JoinKind::Semi,
            5..7 => JoinKind::Anti,
            _ => JoinKind::AntiNull,
        };
        let pairs = match (kind, self.rng.u8(..8)) {
            (JoinKind::AntiNull, _) | (_, 2..) => 1,
            (_, 0) => 0,
            _ => 2,
        };
        let on = (0..pairs).map(|_| (self.int(left), self.int(right))).collect();
        let residual = (kind != JoinKind::AntiNull && self.rng.u8(..3) == 0).then(|| {
            let (a, b) = (self.int(left), self.columns[left].len() + self.int(right));
            self.condition_of(a, b)
        });
        Node::Join { left, right, kind, on, residual }
    }

    fn aggregate(&mut self, input: usize) -> Node {
        // A group column at least, so that there is an integer to go on with.
        let scalar = self.rng.u8(..6) == 0;
        let mut group = self.some_ints(input);
        if group.is_empty() {
            group.push(self.int(input));
        }
        let group = if scalar { Vec::new() } else { group };
        let mut aggregates: Vec<_> = (0..self.rng.usize(0..4)).map(|_| self.call(input)).collect();
        if scalar {
            let ty = column("least", Type::Int4);
            let (function, arguments) = (Function::Min, vec![self.int(input)]);
            let (order, filter) = (Vec::new(), None);
            let distinct = false;
            aggregates.push(Aggregate { function, arguments, distinct, order, filter, column: ty });
        }
        Node::Aggregate { input, group, aggregates, scalar }
    }

    fn call(&mut self, input: usize) -> Aggregate {
        let argument = self.int(input);
        let bools = self.of_type(input, &Type::Bool);
        let (function, ty) = match self.rng.u8(..12) {
            0 => (Function::Count, Type::Int8),
            1 => (Function::Sum, Type::Int8),
            2 => (Function::Avg, Type::Numeric),
            3..5 => (Function::Min, Type::Int4),
            5..7 => (Function::Max, Type::Int4),
            7 if !bools.is_empty() => (Function::BoolAnd, Type::Bool),
            8 if !bools.is_empty() => (Function::BoolOr, Type::Bool),
            9 => (Function::JsonbAgg, Type::Jsonb),
            10 => (Function::Single, Type::Int4),
            _ => (Function::ArrayAgg, Type::Array(Box::new(Type::Int4), b',')),
        };
        let arguments = match function {
            Function::Count if self.rng.bool() => Vec::new(),
            Function::BoolAnd | Function::BoolOr => vec![bools[self.rng.usize(..bools.len())]],
            _ => vec![argument],
        };
        // Rows that the order leaves open are equal for what is listed.
        let mut order = self.order(input);
        if !order.iter().any(|order| order.column == argument) {
            order.push(Order { column: argument, descending: false, nulls_first: false });
        }
        let filter = bools.first().copied().filter(|_| self.rng.u8(..3) == 0);
        let distinct = !arguments.is_empty() && self.rng.u8(..4) == 0;
        // With DISTINCT the order is by the argument first.
        if distinct {
            order.retain(|order| order.column == argument);
        }
        Aggregate { function, arguments, distinct, order, filter, column: column("agg", ty) }
    }
}
