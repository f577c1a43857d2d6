//! What each operator is for, in a few rows.

use std::collections::BTreeMap;

use super::World;
use super::expressions::Sample;
use super::random::Change;
use crate::engine::testing::{column, int_columns, ints};
use crate::engine::{Engine, Entry, KeptOf, Notice, TableLayout};
use crate::lsn::Lsn;
use crate::sql::plan::{Aggregate, Expr, Function, JoinKind, Node, Order, Plan};
use crate::value::{self, Type};

/// Two tables of (id, a, b), and a plan over scans of them: 0 and 1.
fn world(nodes: Vec<Node>, key: Vec<usize>) -> World {
    let layout = TableLayout { columns: int_columns(3), identity: vec![0] };
    let mut all = vec![Node::Scan { table: 0 }, Node::Scan { table: 1 }];
    all.extend(nodes);
    all.push(Node::Output { input: all.len() - 1, key });
    World::new(vec![layout.clone(), layout], vec![Plan { nodes: all }], 4096)
}

fn put(world: &mut World, table: usize, row: [Option<i64>; 3]) {
    let (key, row) = (ints(&row[..1]), ints(&row));
    world.apply(&Change::Put { table, key, row });
}

fn delete(world: &mut World, table: usize, id: i64) {
    world.apply(&Change::Delete { table, key: ints(&[Some(id)]) });
}

fn commit(world: &mut World) -> Vec<String> {
    world.apply(&Change::Commit { tables: vec![0, 1] });
    shown(world)
}

/// Rows as people write them.
fn shown(world: &World) -> Vec<String> {
    let output = world.outputs[0];
    let columns = world.engine.output_columns(output);
    let rows =
        world.engine.arrangements()[world.engine.output_arrangement(output)].scan_after(None);
    rows.filter_map(Entry::value)
        .map(|row| {
            let datums = value::columns(columns, row).zip(columns).map(|(datum, column)| {
                let (datum, mut text) = (datum.expect("a datum"), Vec::new());
                if value::is_null(datum) {
                    return "-".into();
                }
                value::write_text(&column.ty, datum, &mut text).expect("a value");
                String::from_utf8(text).expect("text")
            });
            datums.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn join(kind: JoinKind, residual: Option<Sample>) -> Node {
    let residual = residual.map(Sample::expr);
    Node::Join { left: 0, right: 1, kind, on: vec![(1, 1)], residual }
}

fn call(function: Function, arguments: Vec<usize>, ty: Type) -> Aggregate {
    let (distinct, order, filter) = (false, Vec::new(), None);
    Aggregate { function, arguments, distinct, order, filter, column: column("x", ty) }
}

#[test]
fn a_left_row_stands_alone_until_its_first_partner_comes_and_after_its_last_goes() {
    let mut world = world(vec![join(JoinKind::Left, None)], vec![0, 3]);
    put(&mut world, 0, [Some(1), Some(7), None]);
    put(&mut world, 0, [Some(2), None, None]);
    assert_eq!(commit(&mut world), ["1 7 - - - -", "2 - - - - -"]);
    put(&mut world, 1, [Some(5), Some(7), None]);
    put(&mut world, 1, [Some(6), Some(7), None]);
    put(&mut world, 1, [Some(8), None, None]);
    assert_eq!(commit(&mut world), ["1 7 - 5 7 -", "1 7 - 6 7 -", "2 - - - - -"]);
    delete(&mut world, 1, 5);
    put(&mut world, 1, [Some(6), Some(9), None]);
    assert_eq!(commit(&mut world), ["1 7 - - - -", "2 - - - - -"]);
}

#[test]
fn a_residual_decides_row_by_row_who_has_partners() {
    let less = Some(Sample::Less(2, 5));
    for (kind, before, after) in [
        (JoinKind::Semi, vec!["1 7 1"], vec![]),
        (JoinKind::Anti, vec!["2 7 9"], vec!["1 7 1", "2 7 9"]),
    ] {
        let mut world = world(vec![join(kind, less)], vec![0]);
        put(&mut world, 0, [Some(1), Some(7), Some(1)]);
        put(&mut world, 0, [Some(2), Some(7), Some(9)]);
        put(&mut world, 1, [Some(5), Some(7), Some(4)]);
        assert_eq!(commit(&mut world), before);
        put(&mut world, 1, [Some(5), Some(7), Some(0)]);
        assert_eq!(commit(&mut world), after);
    }
}

#[test]
fn not_in_has_nothing_to_show_beside_a_null_and_everything_beside_nothing() {
    let mut world = world(vec![join(JoinKind::AntiNull, None)], vec![0]);
    put(&mut world, 0, [Some(1), Some(7), None]);
    put(&mut world, 0, [Some(2), Some(8), None]);
    put(&mut world, 0, [Some(3), None, None]);
    assert_eq!(commit(&mut world), ["1 7 -", "2 8 -", "3 - -"]);
    put(&mut world, 1, [Some(5), Some(7), None]);
    assert_eq!(commit(&mut world), ["2 8 -"]);
    put(&mut world, 1, [Some(6), None, None]);
    assert_eq!(commit(&mut world), [""; 0]);
    delete(&mut world, 1, 6);
    delete(&mut world, 1, 5);
    assert_eq!(commit(&mut world), ["1 7 -", "2 8 -", "3 - -"]);
}

#[test]
fn a_table_joined_with_itself_meets_its_own_changes_once() {
    let (left, right, kind) = (0, 0, JoinKind::Inner);
    let node = Node::Join { left, right, kind, on: vec![(1, 0)], residual: None };
    let mut world = world(vec![node], vec![0, 3]);
    put(&mut world, 0, [Some(1), Some(1), None]);
    put(&mut world, 0, [Some(2), Some(1), None]);
    assert_eq!(commit(&mut world), ["1 1 - 1 1 -", "2 1 - 1 1 -"]);
    put(&mut world, 0, [Some(1), Some(2), None]);
    assert_eq!(commit(&mut world), ["1 2 - 2 1 -", "2 1 - 1 2 -"]);
}

#[test]
fn without_groups_there_is_one_row_also_over_nothing() {
    let aggregates = vec![
        call(Function::Count, vec![], Type::Int8),
        call(Function::Sum, vec![1], Type::Int8),
        call(Function::Max, vec![1], Type::Int4),
    ];
    let node = Node::Aggregate { input: 0, group: vec![], aggregates, scalar: true };
    let mut world = world(vec![node], vec![]);
    assert_eq!(shown(&world), ["0 - -"]);
    put(&mut world, 0, [Some(1), Some(4), None]);
    put(&mut world, 0, [Some(2), Some(5), None]);
    put(&mut world, 0, [Some(3), None, None]);
    assert_eq!(commit(&mut world), ["3 9 5"]);
    world.apply(&Change::Truncate { table: 0 });
    assert_eq!(commit(&mut world), ["0 - -"]);
}

#[test]
fn distinct_values_count_once_and_go_with_their_last_row() {
    let count = Aggregate { distinct: true, ..call(Function::Count, vec![2], Type::Int8) };
    let aggregates = vec![count];
    let node = Node::Aggregate { input: 0, group: vec![1], aggregates, scalar: false };
    let mut world = world(vec![node], vec![0]);
    for (id, number) in [(1, 5), (2, 5), (3, 6)] {
        put(&mut world, 0, [Some(id), None, Some(number)]);
    }
    assert_eq!(commit(&mut world), ["- 2"]);
    delete(&mut world, 0, 1);
    assert_eq!(commit(&mut world), ["- 2"]);
    delete(&mut world, 0, 2);
    assert_eq!(commit(&mut world), ["- 1"]);
}

#[test]
fn the_first_rows_of_a_partition_make_room_for_better_ones() {
    let order = vec![Order { column: 2, descending: true, nulls_first: false }];
    let node = Node::TopN { input: 0, partition: vec![1], order, limit: Some(2), offset: 1 };
    let mut world = world(vec![node], vec![0]);
    for (id, number) in [(1, Some(10)), (2, Some(20)), (3, None), (4, Some(5))] {
        put(&mut world, 0, [Some(id), Some(7), number]);
    }
    assert_eq!(commit(&mut world), ["1 7 10", "4 7 5"]);
    put(&mut world, 0, [Some(5), Some(7), Some(30)]);
    assert_eq!(commit(&mut world), ["1 7 10", "2 7 20"]);
    delete(&mut world, 0, 5);
    delete(&mut world, 0, 2);
    assert_eq!(commit(&mut world), ["3 7 -", "4 7 5"]);
}

#[test]
fn a_union_keeps_what_is_there_twice_until_both_are_gone() {
    let map = |input| Node::Map { input, exprs: vec![Expr::Column(1)], columns: int_columns(1) };
    let distinct = Node::Aggregate { input: 4, group: vec![0], aggregates: vec![], scalar: false };
    let nodes = vec![map(0), map(1), Node::Union { inputs: vec![2, 3] }, distinct];
    let mut world = world(nodes, vec![0]);
    put(&mut world, 0, [Some(1), Some(7), None]);
    put(&mut world, 1, [Some(1), Some(7), None]);
    assert_eq!(commit(&mut world), ["7"]);
    delete(&mut world, 0, 1);
    assert_eq!(commit(&mut world), ["7"]);
    delete(&mut world, 1, 1);
    assert_eq!(commit(&mut world), [""; 0]);
}

#[test]
fn what_fails_refuses_its_row_or_group_until_it_does_not() {
    let exprs = vec![Expr::Column(0), Expr::Column(1), Sample::Quotient(2, 1).expr()];
    let map = Node::Map { input: 0, exprs, columns: int_columns(3) };
    let sum = vec![call(Function::Sum, vec![2], Type::Int8)];
    let group = Node::Aggregate { input: 2, group: vec![1], aggregates: sum, scalar: false };
    let mut world = world(vec![map, group], vec![0]);
    put(&mut world, 0, [Some(1), Some(0), Some(5)]);
    put(&mut world, 0, [Some(2), Some(2), Some(8)]);
    assert_eq!(commit(&mut world), ["2 4"]);
    // Group 0 is told to be refused, and again after a restart.
    let zero = ints(&[Some(0)]);
    assert!(world.withheld[0].contains(&zero));
    world.apply(&Change::Restart);
    assert!(world.withheld[0].contains(&zero));
    put(&mut world, 0, [Some(1), Some(1), Some(5)]);
    assert_eq!(commit(&mut world), ["1 5", "2 4"]);
    assert!(world.withheld[0].is_empty());
}

#[test]
fn a_failing_condition_refuses_the_row_that_it_was_to_judge() {
    let condition = Sample::Reciprocal(1).expr();
    let mut world = world(vec![Node::Filter { input: 0, condition }], vec![0]);
    put(&mut world, 0, [Some(1), Some(0), None]);
    put(&mut world, 0, [Some(2), Some(1), None]);
    put(&mut world, 0, [Some(3), Some(5), None]);
    assert_eq!(commit(&mut world), ["2 1 -"]);
    assert!(world.withheld[0].contains(&ints(&[Some(1)])));
}

#[test]
fn a_key_that_fails_is_told_though_its_row_is_in_no_join() {
    let exprs = vec![Expr::Column(0), Sample::Quotient(2, 1).expr()];
    let nodes = vec![
        Node::Map { input: 0, exprs, columns: int_columns(2) },
        Node::Join { left: 2, right: 1, kind: JoinKind::Left, on: vec![(1, 0)], residual: None },
    ];
    let mut world = world(nodes, vec![0]);
    let row = [Some(1), Some(0), Some(5)];
    world.engine.put(0, Entry::row(Lsn(1), &ints(&row[..1]), &ints(&row))).expect("a row");
    world.engine.commit(Lsn(1)).expect("rows");
    let told: Vec<_> = world.engine.take_told().into_iter().map(|told| told.notice).collect();
    let error = "value out of range: overflow".to_owned();
    assert_eq!(told, [Notice::Refused { key: Vec::new(), error }]);
}

/// Keys that are equal as values are one group and find each other, however they are written.
#[test]
fn numbers_meet_whatever_their_scale() {
    let columns = vec![column("id", Type::Int4), column("n", Type::Numeric)];
    let layout = TableLayout { columns, identity: vec![0] };
    let count = call(Function::Count, vec![], Type::Int8);
    let join =
        Node::Join { left: 0, right: 1, kind: JoinKind::Inner, on: vec![(1, 1)], residual: None };
    let group =
        Node::Aggregate { input: 2, group: vec![1], aggregates: vec![count], scalar: false };
    let nodes = vec![
        Node::Scan { table: 0 },
        Node::Scan { table: 1 },
        join,
        group,
        Node::Output { input: 3, key: vec![0] },
    ];
    let mut world = World::new(vec![layout.clone(), layout], vec![Plan { nodes }], 4096);
    let row = |id: i64, text: &str| {
        let mut row = ints(&[Some(id)]);
        value::encode(&Type::Numeric, text.as_bytes(), &mut row).expect("a number");
        row
    };
    for (table, id, text) in [(0, 1, "1.0"), (0, 2, "1.00"), (1, 3, "1"), (1, 4, "1.5")] {
        let lsn = Lsn(world.lsn);
        let entry = Entry::row(lsn, &ints(&[Some(id)]), &row(id, text));
        world.engine.put(table, entry).expect("a row");
    }
    world.engine.commit(Lsn(world.lsn)).expect("rows");
    assert_eq!(shown(&world), ["1.0 2"]);
}

/// A parent with many children is worked off in chunks: nothing gathers more of them.
#[test]
fn chunks_bound_what_is_on_its_way() {
    let layout = TableLayout { columns: int_columns(3), identity: vec![0] };
    let mut engine = Engine::default();
    engine.chunk_rows = 10;
    engine.add_table(layout.clone());
    engine.add_table(layout);
    let nodes = vec![
        Node::Scan { table: 0 },
        Node::Scan { table: 1 },
        Node::Join { left: 1, right: 0, kind: JoinKind::Left, on: vec![(1, 0)], residual: None },
        Node::Output { input: 2, key: vec![0] },
    ];
    let output = engine.add_plan(&Plan { nodes });
    engine.reconcile(output, Lsn(1)).expect("no rows");
    let entry = |lsn, row: [i64; 3]| {
        let row = ints(&row.map(Some));
        Entry::row(Lsn(lsn), &row[..1], &row)
    };
    for id in 0..200 {
        engine.put(1, entry(1, [id, 7, 0])).expect("a row");
        engine.commit(Lsn(1)).expect("rows");
    }
    engine.put(0, entry(1, [7, 1, 1])).expect("a row");
    engine.commit(Lsn(1)).expect("rows");
    engine.put(0, entry(2, [7, 2, 2])).expect("a row");
    engine.commit(Lsn(2)).expect("rows");
    let rows = &engine.arrangements()[engine.output_arrangement(output)];
    let parents: BTreeMap<Vec<u8>, usize> =
        rows.scan_after(None).filter_map(Entry::value).fold(BTreeMap::new(), |mut sum, row| {
            *sum.entry(row[3..].to_vec()).or_default() += 1;
            sum
        });
    assert_eq!(parents, BTreeMap::from([(ints(&[Some(7), Some(2), Some(2)]), 200)]));
    let pending = engine.pending_rows_max.get();
    assert!(pending <= 40, "{pending}");
}

#[test]
fn of_a_group_of_few_rows_nothing_is_kept() {
    let array = Type::Array(Box::new(Type::Int4), b',');
    let aggregates = vec![
        call(Function::ArrayAgg, vec![0], array),
        call(Function::Sum, vec![2], Type::Int8),
        call(Function::Max, vec![2], Type::Int4),
    ];
    let group = Node::Aggregate { input: 0, group: vec![1], aggregates, scalar: false };
    let mut world = world(vec![group], vec![0]);
    let kept = |world: &World| {
        let kept = world.engine.kept();
        let groups = kept.iter().find(|kept| matches!(kept.what, KeptOf::Groups(_)));
        groups.map(|groups| (groups.rows, groups.bytes))
    };
    put(&mut world, 0, [Some(1), Some(7), Some(10)]);
    put(&mut world, 0, [Some(2), Some(7), Some(20)]);
    assert_eq!(commit(&mut world), ["7 {1,2} 30 20"]);
    assert_eq!(kept(&world), Some((0, 0)));
    put(&mut world, 0, [Some(3), Some(7), Some(5)]);
    assert_eq!(commit(&mut world), ["7 {1,2,3} 35 20"]);
    assert!(kept(&world).is_some_and(|(rows, bytes)| rows == 1 && bytes > 0));
    world.restart();
    delete(&mut world, 0, 2);
    assert_eq!(commit(&mut world), ["7 {1,3} 15 10"]);
    delete(&mut world, 0, 1);
    assert_eq!(commit(&mut world), ["7 {3} 5 5"]);
    assert_eq!(kept(&world), Some((0, 0)));
    delete(&mut world, 0, 3);
    assert_eq!(commit(&mut world), [""; 0]);
}
