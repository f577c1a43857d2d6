//! What a change costs each operator, by the size of its group; then the order summary: changes a second,
//! what a small transaction alone takes, and memory. Time is the processor's, so that neighbours matter less.
//!
//! cargo bench --bench engine [-- orders]

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and may panic")]

use std::sync::Arc;

use readside::engine::{Engine, Entry, OutputId, TableLayout};
use readside::lsn::Lsn;
use readside::sql::expr::{EvalError, Row};
use readside::sql::plan::{
    Aggregate, Evaluate, Expr, Function, JoinKind, Node, NodeId, Order, Plan,
};
use readside::value::{self, Column, Type};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: readside::memory::Allocator = readside::memory::Allocator;

fn main() {
    let orders = std::env::args().filter_map(|arg| arg.parse::<i64>().ok()).next();
    operators();
    order_summary(orders.unwrap_or(1_000_000));
}

fn column(name: &str, ty: Type) -> Column {
    let sql_type = ty.to_string();
    Column { name: name.into(), ty, sql_type, type_oid: 0, typmod: -1, not_null: false }
}

fn int(name: &str) -> Column {
    column(name, Type::Int4)
}

/// `value` is text where it is not a number.
fn row(values: &[&dyn std::fmt::Display], types: &[Type]) -> Vec<u8> {
    let mut row = Vec::new();
    for (value, ty) in values.iter().zip(types) {
        value::encode(ty, value.to_string().as_bytes(), &mut row).unwrap();
    }
    row
}

fn key(values: &[i64]) -> Vec<u8> {
    let mut key = Vec::new();
    values.iter().for_each(|&value| value::encode_int(value, &mut key));
    key
}

// --- One operator ---------------------------------------------------------------------------------

const CHANGES: i64 = 2_000;
const COLUMNS: [&str; 3] = ["id", "parent", "number"];

fn operators() {
    let order = |column| Order { column, descending: false, nulls_first: false };
    let call = |function, arguments, ty| {
        let (distinct, order, filter) = (false, Vec::new(), None);
        Aggregate { function, arguments, distinct, order, filter, column: column("x", ty) }
    };
    let aggregate =
        |aggregates| Node::Aggregate { input: 1, group: vec![1], aggregates, scalar: false };
    let join = |kind| Node::Join { left: 1, right: 0, kind, on: vec![(1, 0)], residual: None };
    let count_distinct = Aggregate { distinct: true, ..call(Function::Count, vec![2], Type::Int8) };
    let top = Node::TopN {
        input: 1,
        partition: vec![1],
        order: vec![order(2)],
        limit: Some(10),
        offset: 0,
    };
    let cases: Vec<(&str, Node, Vec<usize>)> = vec![
        ("join", join(JoinKind::Inner), vec![0]),
        ("left join", join(JoinKind::Left), vec![0]),
        ("semi-join", join(JoinKind::Semi), vec![0]),
        ("sum", aggregate(vec![call(Function::Sum, vec![2], Type::Int8)]), vec![0]),
        (
            "min and max",
            aggregate(vec![
                call(Function::Min, vec![2], Type::Int4),
                call(Function::Max, vec![2], Type::Int4),
            ]),
            vec![0],
        ),
        ("count distinct", aggregate(vec![count_distinct]), vec![0]),
        ("top 10", top, vec![0]),
    ];
    println!(
        "{:<16} {:>10} {:>10} {:>10} {:>10}  us a change, by rows of its group",
        "", 10, 1_000, 100_000, 1_000_000
    );
    for (name, node, key_columns) in cases {
        print!("{name:<16}");
        for rows in [10, 1_000, 100_000, 1_000_000] {
            print!(" {:>10.2}", change_us(node.clone(), &key_columns, rows));
        }
        println!();
    }
}

/// A change of one row among so many of one parent, committed alone.
fn change_us(node: Node, key_columns: &[usize], rows: i64) -> f64 {
    let mut engine = Engine::default();
    let columns = || COLUMNS.map(int).to_vec();
    for _ in 0..2 {
        engine.add_table(TableLayout { columns: columns(), identity: vec![0] });
    }
    let child = |id: i64, number: i64| Entry::row(Lsn(1), &key(&[id]), &key(&[id, 7, number]));
    let parent = Entry::row(Lsn(1), &key(&[7]), &key(&[7, 0, 0]));
    engine.restore(engine.table_arrangement(0), vec![parent], Lsn(1), Lsn::ZERO);
    let children = (0..rows).map(|id| child(id, id * 7 % 1_000_003)).collect();
    engine.restore(engine.table_arrangement(1), children, Lsn(1), Lsn::ZERO);
    let nodes = vec![
        Node::Scan { table: 0 },
        Node::Scan { table: 1 },
        node,
        Node::Output { input: 2, key: key_columns.to_vec() },
    ];
    let output = engine.add_plan(&Plan { nodes });
    engine.reconcile(output, Lsn(1)).unwrap();
    let started = cpu_seconds();
    for change in 0..CHANGES {
        let lsn = Lsn(2 + change as u64);
        let id = change * 7_919 % rows;
        engine.put(1, Entry::row(lsn, &key(&[id]), &key(&[id, 7, change * 31 % 500_000]))).unwrap();
        engine.commit(lsn).unwrap();
    }
    (cpu_seconds() - started) * 1e6 / CHANGES as f64
}

// --- The order summary ----------------------------------------------------------------------------

/// `jsonb_build_object('product', name, 'quantity', quantity)`.
#[derive(Debug)]
struct Item {
    name: usize,
    quantity: usize,
}

impl Evaluate for Item {
    fn eval(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), EvalError> {
        out.extend_from_slice(b"{\"product\": ");
        value::write_json(&Type::Text, row.datum(self.name), out)?;
        out.extend_from_slice(b", \"quantity\": ");
        value::write_json(&Type::Int4, row.datum(self.quantity), out)?;
        out.extend_from_slice(b"}\0");
        Ok(())
    }
}

#[derive(Debug)]
struct IsNotNull(usize);

impl Evaluate for IsNotNull {
    fn eval(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), EvalError> {
        out.push(u8::from(!value::is_null(row.datum(self.0))));
        Ok(())
    }
}

const ORDERS: usize = 0;
const CUSTOMERS: usize = 1;
const ITEMS: usize = 2;
const PRODUCTS: usize = 3;

fn order_types() -> [Type; 5] {
    [Type::Int4, Type::Int4, Type::Text, Type::Int8, Type::Text]
}

fn summary() -> Plan {
    let join = |left, right, kind, on| Node::Join { left, right, kind, on, residual: None };
    let columns = |at: &[usize]| at.iter().map(|&at| Expr::Column(at)).collect::<Vec<_>>();
    let by_item = vec![Order { column: 7, descending: false, nulls_first: false }];
    let call = |function, arguments, order: &[Order], filter, ty| Aggregate {
        function,
        arguments,
        distinct: false,
        order: order.to_vec(),
        filter,
        column: column("x", ty),
    };
    let names = Type::Array(Box::new(Type::Text), b',');
    let mut item = columns(&[0, 1, 5]);
    item.push(Expr::Computed(Arc::new(Item { name: 5, quantity: 3 })));
    let item_columns = vec![
        int("item_id"),
        int("order_id"),
        column("name", Type::Text),
        column("item", Type::Jsonb),
    ];
    let mut whole = columns(&[0, 1, 2, 3, 4, 6, 7, 8, 10, 11]);
    whole.push(Expr::Computed(Arc::new(IsNotNull(8))));
    let types = order_types();
    let mut whole_columns: Vec<Column> = types.map(|ty| column("o", ty)).into();
    whole_columns.extend([column("email", Type::Text), column("full_name", Type::Text)]);
    whole_columns.extend([int("item_id"), column("name", Type::Text)]);
    whole_columns.extend([column("item", Type::Jsonb), column("has", Type::Bool)]);
    let nodes: Vec<Node> = vec![
        Node::Scan { table: ORDERS },
        Node::Scan { table: CUSTOMERS },
        Node::Scan { table: ITEMS },
        Node::Scan { table: PRODUCTS },
        join(0, 1, JoinKind::Inner, vec![(1, 0)]),
        join(2, 3, JoinKind::Left, vec![(2, 0)]),
        Node::Map { input: 5, exprs: item, columns: item_columns },
        join(4, 6, JoinKind::Left, vec![(0, 1)]),
        Node::Map { input: 7, exprs: whole, columns: whole_columns },
        Node::Aggregate {
            input: 8,
            group: vec![0, 1, 2, 3, 4, 5, 6],
            aggregates: vec![
                call(Function::Count, vec![7], &[], None, Type::Int8),
                call(Function::ArrayAgg, vec![8], &by_item, None, names),
                call(Function::JsonbAgg, vec![9], &by_item, Some(10), Type::Jsonb),
            ],
            scalar: false,
        },
        Node::Output { input: 9 as NodeId, key: vec![0] },
    ];
    Plan { nodes }
}

fn order_summary(orders: i64) {
    let (customers, products, items) = (orders / 10, orders / 100, orders * 3);
    let mut engine = Engine::default();
    let item_columns = ["item_id", "order_id", "product_id", "quantity"].map(int).to_vec();
    let text = |name: &str| column(name, Type::Text);
    for columns in [
        order_types().map(|ty| column("o", ty)).to_vec(),
        vec![int("customer_id"), text("email"), text("full_name")],
        item_columns,
        vec![int("product_id"), text("name")],
    ] {
        engine.add_table(TableLayout { columns, identity: vec![0] });
    }
    let order = |lsn, id: i64, status: &str| {
        let created = "2026-11-28 04:00:00.123456+00";
        let row =
            row(&[&id, &(id % customers), &status, &(id % 100_000), &created], &order_types());
        Entry::row(Lsn(lsn), &key(&[id]), &row)
    };
    let texts = [Type::Int4, Type::Text, Type::Text];
    let customer = |lsn, id: i64, name: &str| {
        let email = format!("customer{id}@example.com");
        Entry::row(Lsn(lsn), &key(&[id]), &row(&[&id, &email, &format!("{name} {id}")], &texts))
    };
    let item = |lsn, id: i64, quantity: i64| {
        let row = key(&[id, id / 3, id * 7 % products, quantity]);
        Entry::row(Lsn(lsn), &key(&[id]), &row)
    };
    let product = |lsn, id: i64, name: &str| {
        Entry::row(Lsn(lsn), &key(&[id]), &row(&[&id, &format!("{name} number {id}")], &texts))
    };
    let mut restore = |table: usize, rows: Vec<Entry>| {
        engine.restore(engine.table_arrangement(table), rows, Lsn(1), Lsn::ZERO);
    };
    restore(ORDERS, (0..orders).map(|id| order(1, id, "pending")).collect());
    restore(CUSTOMERS, (0..customers).map(|id| customer(1, id, "Customer")).collect());
    restore(ITEMS, (0..items).map(|id| item(1, id, 1 + id % 5)).collect());
    restore(PRODUCTS, (0..products).map(|id| product(1, id, "Product")).collect());
    let tables_mb = memory_mb();
    let started = cpu_seconds();
    let output = engine.add_plan(&summary());
    engine.reconcile(output, Lsn(1)).unwrap();
    println!(
        "\norder summary of {orders} orders, {items} items: filled in {:.1} s; {} MB, tables alone {tables_mb} MB",
        (cpu_seconds() - started),
        memory_mb()
    );
    print_sizes(&engine, output);

    let mut lsn = 2;
    let mut random = fastrand::Rng::with_seed(1);
    // Of ten changes six are of items, three of orders, one is of a customer.
    let mut change = |engine: &mut Engine, lsn: u64| match random.u8(..10) {
        0..6 => engine.put(ITEMS, item(lsn, random.i64(0..items), random.i64(1..9))).unwrap(),
        6..9 => engine.put(ORDERS, order(lsn, random.i64(0..orders), "confirmed")).unwrap(),
        _ => engine.put(CUSTOMERS, customer(lsn, random.i64(0..customers), "Renamed")).unwrap(),
    };
    for (what, batch, batches) in [
        ("batches of 1000", 1_000, 100),
        ("transactions of 4", 4, 10_000),
        ("one change alone", 1, 20_000),
    ] {
        let started = cpu_seconds();
        for _ in 0..batches {
            (0..batch).for_each(|_| change(&mut engine, lsn));
            engine.commit(Lsn(lsn)).unwrap();
            forget(&mut engine);
            lsn += 1;
        }
        let seconds = cpu_seconds() - started;
        println!(
            "{what:<20} {:>8.0} changes/s, {:>8.1} us each time",
            f64::from(batch * batches) / seconds,
            seconds * 1e6 / f64::from(batches)
        );
    }
    let started = cpu_seconds();
    engine.put(PRODUCTS, product(lsn, 0, "Renamed")).unwrap();
    engine.commit(Lsn(lsn)).unwrap();
    println!(
        "a product of {} items renamed: {:.1} ms",
        items / products,
        (cpu_seconds() - started) * 1e3
    );
    println!("in the end {} MB", memory_mb());
}

/// As if all sinks were current.
fn forget(engine: &mut Engine) {
    for id in 0..engine.arrangements().len() {
        let rows = engine.arrangement_mut(id);
        rows.trim(rows.next_seq());
        rows.drop_tombstones(Lsn::MAX, 0);
    }
}

fn print_sizes(engine: &Engine, output: OutputId) {
    for size in engine.sizes(output) {
        println!("  {:<8} {:>9} rows {:>6} MB", size.operator, size.rows, size.bytes >> 20);
    }
}

/// Resident memory of this process.
fn memory_mb() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    (resident.unwrap_or_default() * 4096) >> 20
}

/// What this thread has had of a processor.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.unwrap_or_default() / 1e9
}
