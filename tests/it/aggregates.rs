//! Aggregates of changing groups: each is what Postgres answers for the rows that are there, in its
//! digits, or an error where it has one.

use std::collections::BTreeMap;

use readside::engine::{Engine, Entry, Notice, TableLayout};
use readside::lsn::Lsn;
use readside::sql::plan::{Aggregate, Function, Node, Order, Plan};
use readside::value::{self, Column, Type};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::harness::{Postgres, PostgresOptions};

const GROUPS: i64 = 5;
const ROUNDS: usize = 8;
const CHANGES: usize = 25;

/// A column of the table: its type there and here, and values.
struct Pool {
    name: &'static str,
    sql_type: &'static str,
    ty: Type,
    values: &'static [&'static str],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Number,
    /// Equal values that look different: which one is shown is left open.
    Ambiguous,
    Ordered,
    Text,
    Bool,
    Unordered,
}

fn pools() -> Vec<Pool> {
    let pool = |name, sql_type, ty, kind, values| Pool { name, sql_type, ty, values, kind };
    let array = |of: Type| Type::Array(Box::new(of), b',');
    vec![
        pool("i2", "int2", Type::Int2, Kind::Number, &["0", "7", "-1", "32767", "-32768"]),
        pool(
            "i4",
            "int4",
            Type::Int4,
            Kind::Number,
            &["0", "3", "-1", "2147483647", "-2147483648"],
        ),
        pool(
            "i8",
            "int8",
            Type::Int8,
            Kind::Number,
            &["0", "5", "-9", "9223372036854775807", "-9223372036854775808"],
        ),
        pool(
            "n",
            "numeric",
            Type::Numeric,
            Kind::Number,
            &[
                "0",
                "-1.5",
                "33.333",
                "123456789012345678901234567890.25",
                "1e-30",
                "NaN",
                "Infinity",
                "-Infinity",
                "10000",
            ],
        ),
        pool(
            "n2",
            "numeric",
            Type::Numeric,
            Kind::Ambiguous,
            &["1", "1.0", "1.00000", "-1.00", "0.000", "2.50"],
        ),
        pool(
            "f4",
            "float4",
            Type::Float4,
            Kind::Number,
            &["0", "1.5", "-0.1", "3.4e38", "1e-45", "Infinity"],
        ),
        pool(
            "f8",
            "float8",
            Type::Float8,
            Kind::Number,
            &["0", "0.1", "-2.5", "1e300", "1.7e308", "5e-324", "NaN", "-Infinity"],
        ),
        pool(
            "v",
            "interval",
            Type::Interval,
            Kind::Number,
            &[
                "1 mon",
                "-3 days",
                "04:05:06.789",
                "1 year 5 mons 7 days -00:00:01",
                "00:00:00.000001",
                "2147483647 mons",
            ],
        ),
        pool(
            "t",
            "text",
            Type::Text,
            Kind::Text,
            &["", "a", "NULL", "a b", "q\"\\", "{,}", "é\n\t", "Z"],
        ),
        pool("c", "char(3)", Type::Bpchar, Kind::Ordered, &["a", "ab", "", "z\"z"]),
        pool(
            "d",
            "date",
            Type::Date,
            Kind::Ordered,
            &["2024-02-29", "infinity", "4713-01-01 BC", "1999-12-31"],
        ),
        pool(
            "ts",
            "timestamp",
            Type::Timestamp,
            Kind::Ordered,
            &["2024-02-29 12:00:00.5", "-infinity", "0044-03-15 00:00:00 BC"],
        ),
        pool(
            "tz",
            "timestamptz",
            Type::TimestampTz,
            Kind::Ordered,
            &["2024-02-29 12:00:00+02", "infinity", "1970-01-01 00:00:00Z"],
        ),
        pool("tm", "time", Type::Time, Kind::Ordered, &["00:00:00", "23:59:59.999999", "12:30:00"]),
        pool("b", "bool", Type::Bool, Kind::Bool, &["t", "f"]),
        pool(
            "u",
            "uuid",
            Type::Uuid,
            Kind::Unordered,
            &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "ffeebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
        ),
        pool("y", "bytea", Type::Bytea, Kind::Unordered, &["\\x", "\\x00ff", "\\xfe01"]),
        pool(
            "j",
            "json",
            Type::Json,
            Kind::Unordered,
            &["{\"b\": 1, \"a\":2,\"b\": 3}", "[1,  2]", "\"x\"", "null"],
        ),
        pool(
            "jb",
            "jsonb",
            Type::Jsonb,
            Kind::Unordered,
            &["{\"bb\": 1, \"a\": [2, null]}", "1.50", "\"x\""],
        ),
        pool(
            "a",
            "int4[]",
            array(Type::Int4),
            Kind::Unordered,
            &["{1,2}", "{3,NULL}", "{}", "{{1,2},{3,4}}"],
        ),
    ]
}

/// An aggregate as Postgres is asked for it, and as the plan has it.
struct Case {
    sql: String,
    of: Aggregate,
    /// Of floats: the last digit is left open.
    rough: bool,
}

fn cases(pools: &[Pool]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, pool) in pools.iter().enumerate() {
        // Before the pools' columns: id, group, flag.
        let column = at + 3;
        let name = pool.name;
        let array = || Type::Array(Box::new(pool.ty.clone()), b',');
        let listed = |ty: &Type| match ty {
            Type::Array(..) => ty.clone(),
            _ => array(),
        };
        let is_float = matches!(pool.ty, Type::Float4 | Type::Float8);
        let mut add = |sql: String, function, arguments: Vec<usize>, distinct, ty: Type| {
            for filter in [None, Some(2)] {
                let clause = if filter.is_some() { " FILTER (WHERE flag)" } else { "" };
                let by_id = Order { column: 0, descending: false, nulls_first: false };
                let order = if distinct { Vec::new() } else { vec![by_id] };
                let rough = is_float && matches!(function, Function::Sum | Function::Avg);
                let (arguments, result) = (arguments.clone(), result(&ty));
                let of = Aggregate { function, arguments, distinct, order, filter, column: result };
                cases.push(Case { sql: format!("{sql}{clause}"), of, rough });
            }
        };
        let one = || vec![column];
        add(format!("count({name})"), Function::Count, one(), false, Type::Int8);
        add(
            format!("array_agg({name} ORDER BY id)"),
            Function::ArrayAgg,
            one(),
            false,
            listed(&pool.ty),
        );
        add(
            format!("jsonb_agg({name} ORDER BY id)"),
            Function::JsonbAgg,
            one(),
            false,
            Type::Jsonb,
        );
        let keyed = || vec![0, column];
        add(
            format!("jsonb_object_agg(id, {name} ORDER BY id)"),
            Function::JsonbObjectAgg,
            keyed(),
            false,
            Type::Jsonb,
        );
        let named = || vec![column, 0];
        add(
            format!("jsonb_object_agg({name}, id ORDER BY id)"),
            Function::JsonbObjectAgg,
            named(),
            false,
            Type::Jsonb,
        );
        add(
            format!("json_object_agg({name}, id ORDER BY id)"),
            Function::JsonObjectAgg,
            named(),
            false,
            Type::Json,
        );
        if !matches!(pool.ty, Type::Array(..)) {
            add(
                format!("json_agg({name} ORDER BY id)"),
                Function::JsonAgg,
                one(),
                false,
                Type::Json,
            );
            add(
                format!("json_object_agg(id, {name} ORDER BY id)"),
                Function::JsonObjectAgg,
                keyed(),
                false,
                Type::Json,
            );
        }
        let (sum, avg) = match pool.ty {
            Type::Int2 | Type::Int4 => (Type::Int8, Type::Numeric),
            Type::Float4 => (Type::Float4, Type::Float8),
            Type::Int8 => (Type::Numeric, Type::Numeric),
            ref ty => (ty.clone(), ty.clone()),
        };
        if matches!(pool.kind, Kind::Number | Kind::Ambiguous) {
            add(format!("sum({name})"), Function::Sum, one(), false, sum.clone());
            add(format!("avg({name})"), Function::Avg, one(), false, avg);
        }
        if matches!(pool.ty, Type::Int2 | Type::Int4 | Type::Int8 | Type::Numeric) {
            for (call, function) in [
                ("var_samp", Function::VarSamp),
                ("var_pop", Function::VarPop),
                ("stddev", Function::StddevSamp),
                ("stddev_pop", Function::StddevPop),
            ] {
                add(format!("{call}({name})"), function, one(), false, Type::Numeric);
            }
        }
        if matches!(pool.kind, Kind::Number | Kind::Ordered) {
            add(format!("min({name})"), Function::Min, one(), false, pool.ty.clone());
            add(format!("max({name})"), Function::Max, one(), false, pool.ty.clone());
        }
        if pool.kind == Kind::Number {
            add(format!("sum(DISTINCT {name})"), Function::Sum, one(), true, sum);
        }
        if !matches!(pool.ty, Type::Json) {
            add(format!("count(DISTINCT {name})"), Function::Count, one(), true, Type::Int8);
        }
        if matches!(pool.kind, Kind::Number | Kind::Ordered | Kind::Bool) {
            add(
                format!("array_agg(DISTINCT {name})"),
                Function::ArrayAgg,
                one(),
                true,
                listed(&pool.ty),
            );
        }
        match pool.kind {
            Kind::Text => {
                add(format!("min({name} COLLATE \"C\")"), Function::Min, one(), false, Type::Text);
                add(
                    format!("string_agg({name}, {name} ORDER BY id)"),
                    Function::StringAgg,
                    vec![column, column],
                    false,
                    Type::Text,
                );
                add(
                    format!("array_agg(DISTINCT {name} COLLATE \"C\")"),
                    Function::ArrayAgg,
                    one(),
                    true,
                    listed(&pool.ty),
                );
            }
            Kind::Bool => {
                add(format!("bool_and({name})"), Function::BoolAnd, one(), false, Type::Bool);
                add(format!("every({name})"), Function::BoolAnd, one(), false, Type::Bool);
                add(format!("bool_or({name})"), Function::BoolOr, one(), false, Type::Bool);
            }
            _ => {}
        }
        if pool.ty == Type::Bytea {
            add(
                format!("string_agg({name}, {name} ORDER BY id)"),
                Function::StringAgg,
                vec![column, column],
                false,
                Type::Bytea,
            );
        }
    }
    cases
}

fn result(ty: &Type) -> Column {
    let sql_type = ty.to_string();
    Column { name: "x".into(), ty: ty.clone(), sql_type, type_oid: 0, typmod: -1, not_null: false }
}

/// Answers as text; NULL is none.
async fn ask(client: &Client, sql: &str) -> Result<Vec<Option<String>>, String> {
    let answer = client.simple_query(sql).await.map_err(|error| {
        error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
    })?;
    let rows = answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect::<Vec<_>>())
        }
        _ => None,
    });
    Ok(rows.flatten().collect())
}

fn text_of(ty: &Type, datum: &[u8]) -> Option<String> {
    if value::is_null(datum) {
        return None;
    }
    let mut text = Vec::new();
    value::write_text(ty, datum, &mut text).unwrap();
    Some(String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn aggregates_are_what_postgres_answers_for_the_rows_that_are_there() {
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let client = postgres.client("postgres").await;
    client
        .batch_execute(
            "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; \
             SET extra_float_digits = 1; SET bytea_output = 'hex'",
        )
        .await
        .unwrap();
    let pools = pools();
    let columns: Vec<String> =
        pools.iter().map(|pool| format!("{} {}", pool.name, pool.sql_type)).collect();
    let create =
        format!("CREATE TABLE t (id int PRIMARY KEY, g int, flag bool, {})", columns.join(", "));
    client.batch_execute(&create).await.unwrap();

    let mut types = vec![Type::Int4, Type::Int4, Type::Bool];
    types.extend(pools.iter().map(|pool| pool.ty.clone()));
    let cases = cases(&pools);
    // One output for each, so that an error is its own.
    let mut engine = Engine::default();
    let layout = TableLayout { columns: types.iter().map(result).collect(), identity: vec![0] };
    let table = engine.add_table(layout);
    let outputs: Vec<_> = cases
        .iter()
        .map(|case| {
            let aggregates = vec![case.of.clone()];
            let nodes = vec![
                Node::Scan { table },
                Node::Aggregate { input: 0, group: vec![1], aggregates, scalar: false },
                Node::Output { input: 1, key: vec![0] },
            ];
            let output = engine.add_plan(&Plan { nodes });
            engine.reconcile(output, Lsn(1)).unwrap();
            output
        })
        .collect();

    let seed = std::env::var("READSIDE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("READSIDE_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut refused: BTreeMap<(usize, Vec<u8>), String> = BTreeMap::new();
    let mut different: BTreeMap<String, String> = BTreeMap::new();
    let mut compared = 0;
    for round in 0..ROUNDS {
        let lsn = Lsn(2 + round as u64);
        for _ in 0..CHANGES {
            let id = rng.i64(0..30);
            let mut key = Vec::new();
            value::encode_int(id, &mut key);
            if rng.u8(..3) == 0 {
                client.batch_execute(&format!("DELETE FROM t WHERE id = {id}")).await.unwrap();
                engine.delete(table, lsn, &key).unwrap();
                continue;
            }
            let values: Vec<String> = pools
                .iter()
                .map(|pool| match rng.u8(..4) {
                    0 => "NULL".into(),
                    _ => format!("'{}'", pool.values[rng.usize(..pool.values.len())]),
                })
                .collect();
            let sql = format!(
                "DELETE FROM t WHERE id = {id}; INSERT INTO t VALUES ({id}, {}, {}, {})",
                rng.i64(0..GROUPS),
                rng.bool(),
                values.join(", ")
            );
            client.batch_execute(&sql).await.unwrap();
            let texts = ask(&client, &format!("SELECT * FROM t WHERE id = {id}")).await.unwrap();
            let mut row = Vec::new();
            for (ty, text) in types.iter().zip(&texts) {
                match text {
                    Some(text) => value::encode(ty, text.as_bytes(), &mut row).unwrap(),
                    None => value::encode_null(&mut row),
                }
            }
            engine.put(table, Entry::row(lsn, &key, &row)).unwrap();
        }
        engine.commit(lsn).unwrap();
        for told in engine.take_told() {
            match told.notice {
                Notice::Refused { key, error } => refused.insert((told.output, key), error),
                Notice::Accepted { key } => refused.remove(&(told.output, key)),
                Notice::Conflict { .. } => panic!("each group has one row"),
            };
        }
        for (case, &output) in cases.iter().zip(&outputs) {
            let layout = engine.output_columns(output).to_vec();
            for group in 0..GROUPS {
                let mut key = Vec::new();
                value::encode_int(group, &mut key);
                let sql =
                    format!("SELECT {} FROM t WHERE g = {group} HAVING count(*) > 0", case.sql);
                let expected = ask(&client, &sql).await;
                let shown = engine.arrangements()[engine.output_arrangement(output)].get(&key);
                let shown = shown.map(|entry| {
                    let datums = value::columns(&layout, entry.value().unwrap());
                    text_of(&layout[1].ty, datums.last().unwrap().unwrap())
                });
                let error = refused.get(&(output, key));
                compared += 1;
                let same = match &expected {
                    // There it depends on the order of the rows whether a sum of floats overflows on
                    // its way, and an average does where the squares do.
                    Err(_) if case.rough => true,
                    Err(_) => error.is_some() && shown.is_none(),
                    Ok(rows) => {
                        let expected = rows.first().cloned();
                        let equal = expected == shown || case.rough && is_near(&expected, &shown);
                        error.is_none() && equal
                    }
                };
                if !same {
                    let told = format!("Postgres: {expected:?}; here: {shown:?}, {error:?}");
                    different.entry(case.sql.clone()).or_insert(told);
                }
            }
        }
    }
    assert!(different.is_empty(), "{different:#?}");
    assert!(compared > 10_000);
}

fn is_near(a: &Option<Option<String>>, b: &Option<Option<String>>) -> bool {
    let number = |text: &Option<Option<String>>| text.clone().flatten()?.parse::<f64>().ok();
    let (Some(a), Some(b)) = (number(a), number(b)) else { return false };
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs()) || a.is_nan() && b.is_nan()
}
