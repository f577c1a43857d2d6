//! What a change costs each operator, by the size of its group.

use readside::engine::{Engine, Entry, TableLayout};
use readside::lsn::Lsn;
use readside::sql::plan::{Aggregate, Function, JoinKind, Node, Order, Plan};
use readside::value::Type;

use crate::cpu_seconds;
use crate::shop::{column, int, key};

const CHANGES: i64 = 2_000;
/// A logarithm grows sixfold from ten rows to a million, and memory is slower than caches.
const GROWTH_MAX: f64 = 10.0;
const COLUMNS: [&str; 3] = ["id", "parent", "number"];

pub(crate) fn run() {
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
        "Microseconds a change, by rows of its group; the last at most {GROWTH_MAX} times the first:\n\
         {:<16} {:>10} {:>10} {:>10} {:>10}",
        "", 10, 1_000, 100_000, 1_000_000
    );
    for (name, node, key_columns) in cases {
        print!("{name:<16}");
        let us =
            [10, 1_000, 100_000, 1_000_000].map(|rows| change_us(node.clone(), &key_columns, rows));
        us.iter().for_each(|us| print!(" {us:>10.2}"));
        println!("{}", if us[3] <= us[0] * GROWTH_MAX { "" } else { "  MISSED" });
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
