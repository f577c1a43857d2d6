//! The engine's answers to planned queries, held against PostgreSQL's own, while rows come and go.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fastrand::Rng;
use readside::engine::{Cell, Engine, Entry, OutputId, RowBuffer, TableLayout};
use readside::lsn::Lsn;
use readside::sql::expr::{Collation, Database};
use readside::sql::query::{self, Schema, Table};
use readside::value::{self, Column, PgType, Type};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::generate::{self, Generated, KeyType};
use crate::harness::postgres::{Postgres, PostgresOptions};

const TABLES: [&str; 6] = ["customers", "items", "orders", "products", "tags", "things"];

pub(super) const SESSION: &str = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; \
                       SET extra_float_digits = 1";

pub(super) type Row = Vec<Option<String>>;

/// Rows of a query, as text.
pub(super) async fn rows(client: &Client, sql: &str) -> Result<Vec<Row>, String> {
    let answer = client.simple_query(sql).await.map_err(|error| match error.code() {
        Some(code) => format!("{}: {error:?}", code.code()),
        None => format!("{error:?}"),
    })?;
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
        }
        _ => None,
    };
    Ok(answer.into_iter().filter_map(row).collect())
}

/// The tables as the source describes them.
pub(super) async fn schema(client: &Client) -> Schema {
    let of_array = |element: &str, oid: u32, elem: u32| PgType {
        oid,
        schema: "pg_catalog".into(),
        name: format!("_{element}"),
        typtype: b'b',
        category: b'A',
        elem,
        base: 0,
        delim: b',',
        attributes: Vec::new(),
    };
    let types: HashMap<u32, PgType> =
        [(1007, of_array("int4", 1007, 23)), (1009, of_array("text", 1009, 25))].into();
    let mut tables = Vec::new();
    for name in TABLES {
        let described = format!(
            "SELECT attname, atttypid, atttypmod, format_type(atttypid, atttypmod), attnotnull,
                    attnum = ANY (SELECT unnest(indkey) FROM pg_index
                                  WHERE indrelid = attrelid AND indisprimary)
             FROM pg_attribute WHERE attrelid = '{name}'::regclass AND attnum > 0 ORDER BY attnum"
        );
        let columns = rows(client, &described).await.unwrap();
        let text = |row: &Row, at: usize| row[at].clone().unwrap();
        let column = |row: &Row| {
            let type_oid = text(row, 1).parse().unwrap();
            Column {
                name: text(row, 0),
                ty: value::resolve(type_oid, &types),
                sql_type: text(row, 3),
                type_oid,
                typmod: text(row, 2).parse().unwrap(),
                not_null: text(row, 4) == "t",
            }
        };
        let key = (0..columns.len()).filter(|at| text(&columns[*at], 5) == "t").collect();
        tables.push(Table {
            schema: "public".into(),
            name: name.into(),
            columns: columns.iter().map(column).collect(),
            collations: vec![Collation::Default; columns.len()],
            primary_key: Some(key),
            generated: Vec::new(),
            kept: None,
        });
    }
    let database = Database { ordered_by_bytes: true, ..Database::default() };
    Schema { tables, database, ..Schema::default() }
}

/// The engine beside the source: what changes there is told here, row by row.
pub(super) struct Twin {
    client: Client,
    engine: Engine,
    outputs: Vec<(String, OutputId)>,
    rows: Vec<BTreeSet<Row>>,
    lsn: u64,
}

impl Twin {
    pub(super) async fn start(postgres: &Postgres, key: KeyType, queries: &[Generated]) -> Twin {
        let database = postgres.new_database().await;
        let client = postgres.client(&database).await;
        client.batch_execute(SESSION).await.unwrap();
        client.batch_execute(&key.schema()).await.unwrap();
        let schema = schema(&client).await;
        let mut engine = Engine::default();
        for table in &schema.tables {
            let identity = table.primary_key.clone().unwrap();
            engine.add_table(TableLayout { columns: table.columns.clone(), identity });
        }
        let mut outputs = Vec::new();
        for query in queries {
            let mut planned = query::plan(&query.sql, &schema)
                .unwrap_or_else(|fault| panic!("{}: {fault:?}", query.sql));
            if let Some(key) = &query.key {
                let position =
                    |name: &String| planned.columns.iter().position(|c| c.name == *name).unwrap();
                let key = key.iter().map(position).collect();
                planned = planned.keyed(key);
            }
            assert!(planned.key.is_some(), "{}", query.sql);
            let output = engine.add_plan(&planned.plan);
            engine.reconcile(output, Lsn(1)).unwrap();
            outputs.push((query.sql.clone(), output));
        }
        let rows = vec![BTreeSet::new(); TABLES.len()];
        Twin { client, engine, outputs, rows, lsn: 1 }
    }

    /// Changes of the source, then those of its rows in the engine, in any order and in any number of
    /// transactions.
    pub(super) async fn change(&mut self, rng: &mut Rng, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let mut changes = Vec::new();
        for (at, name) in TABLES.iter().enumerate() {
            let now: BTreeSet<Row> = rows(&self.client, &format!("SELECT * FROM {name}"))
                .await
                .unwrap()
                .into_iter()
                .collect();
            let gone = self.rows[at].difference(&now).map(|row| (at, row.clone(), false));
            changes.extend(gone);
            changes.extend(now.difference(&self.rows[at]).map(|row| (at, row.clone(), true)));
            self.rows[at] = now;
        }
        rng.shuffle(&mut changes);
        // An old version must not take a new one's place away: it goes first.
        let new: BTreeSet<(usize, Vec<u8>)> =
            changes.iter().filter(|c| c.2).map(|c| (c.0, self.encoded(c.0, &c.1).0)).collect();
        for (at, row, is_new) in changes {
            self.lsn += 1;
            let (key, bytes) = self.encoded(at, &row);
            match is_new {
                true => self.engine.put(at, Entry::row(Lsn(self.lsn), &key, &bytes)).unwrap(),
                false if new.contains(&(at, key.clone())) => continue,
                false => {
                    self.engine.delete(at, Lsn(self.lsn), &key).unwrap();
                }
            }
            if rng.u8(0..8) == 0 {
                self.engine.commit(Lsn(self.lsn)).unwrap();
            }
        }
        self.lsn += 1;
        self.engine.commit(Lsn(self.lsn)).unwrap();
    }

    fn encoded(&self, table: usize, row: &Row) -> (Vec<u8>, Vec<u8>) {
        let mut buffer = RowBuffer::default();
        let cells = row.iter().map(|cell| match cell {
            None => Cell::Null,
            Some(text) => Cell::Text(text.as_bytes()),
        });
        self.engine.layout(table).encode(cells, None, &mut buffer).unwrap();
        (buffer.key, buffer.row)
    }

    fn answer(&self, output: OutputId) -> Vec<Row> {
        let columns = self.engine.output_columns(output);
        let arrangement = &self.engine.arrangements()[self.engine.output_arrangement(output)];
        let shown = |entry: &Entry| {
            let mut ranges = Vec::new();
            let row = entry.value()?;
            value::split(columns, row, &mut ranges).unwrap();
            let cell = |(column, range): (&Column, &std::ops::Range<usize>)| {
                let datum = &row[range.clone()];
                let mut text = Vec::new();
                match value::is_null(datum) {
                    true => None,
                    false => {
                        value::write_text(&column.ty, datum, &mut text).unwrap();
                        Some(String::from_utf8(text).unwrap())
                    }
                }
            };
            Some(columns.iter().zip(&ranges).map(cell).collect())
        };
        arrangement.scan_after(None).filter_map(shown).collect()
    }

    pub(super) async fn compare(&mut self, found: &mut Vec<String>) {
        let told: Vec<_> = self.engine.take_told();
        for (sql, output) in &self.outputs {
            let types: Vec<Type> =
                self.engine.output_columns(*output).iter().map(|c| c.ty.clone()).collect();
            let expected = match rows(&self.client, sql).await {
                Ok(rows) => counted(rows, &types),
                // Of a row: here it is that row's alone.
                Err(error) if error.starts_with("22") || error.starts_with("21000") => continue,
                Err(error) => {
                    found.push(format!("{sql}\n  {error}"));
                    continue;
                }
            };
            let answer = counted(self.answer(*output), &types);
            if answer != expected {
                let only = |a: &BTreeMap<Row, usize>, b: &BTreeMap<Row, usize>| {
                    let differing = a.iter().filter(|(row, times)| b.get(*row) != Some(times));
                    differing
                        .take(3)
                        .map(|(row, times)| format!("{times} x {row:?}"))
                        .collect::<Vec<_>>()
                };
                let told: Vec<_> = told.iter().filter(|t| t.output == *output).take(2).collect();
                found.push(format!(
                    "{sql}\n  {} rows, {} expected\n  here:   {:?}\n  source: {:?}\n  told: {told:?}",
                    answer.len(),
                    expected.len(),
                    only(&answer, &expected),
                    only(&expected, &answer),
                ));
            }
        }
    }
}

/// How often each row is there; what PostgreSQL leaves open is made one.
pub(super) fn counted(rows: Vec<Row>, types: &[Type]) -> BTreeMap<Row, usize> {
    let mut counted = BTreeMap::new();
    for row in rows {
        let cells = row.into_iter().zip(types).map(|(cell, ty)| cell.map(|text| plain(&text, ty)));
        *counted.entry(cells.collect()).or_default() += 1;
    }
    counted
}

/// Numbers without the zeros that a group may show or not, lists in one order.
fn plain(text: &str, ty: &Type) -> String {
    let number = |text: &str| match text.contains('.') && !text.contains(['e', ':', '-', '\'']) {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match ty {
        // A sum of nothing but negative zeros.
        Type::Float8 if text == "-0" => "0".to_owned(),
        Type::Numeric if text.contains('.') => {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        Type::Array(..) | Type::Jsonb | Type::Json => {
            let inner = text.trim_matches(['{', '}', '[', ']']);
            let mut items: Vec<String> = inner.split(',').map(|item| number(item.trim())).collect();
            items.sort();
            items.join(",")
        }
        _ => text.to_owned(),
    }
}

/// Statements that change some rows, under keys of int4.
pub(super) fn change(rng: &mut Rng) -> String {
    change_under(generate::INT, rng)
}

/// Statements that change some rows, under keys of this type.
pub(super) fn change_under(key: KeyType, rng: &mut Rng) -> String {
    let mut statements = String::new();
    for _ in 0..rng.usize(1..6) {
        let hours = rng.u8(1..12);
        let [id, other] = [(); 2].map(|()| {
            // A few have most of the rows.
            let n = if rng.bool() { rng.u8(1..4) } else { rng.u8(1..12) };
            key.literal(rng, n)
        });
        let small = rng.i8(-2..9);
        let text = ["a", "b", "open", "EU", "c"][rng.usize(0..5)];
        let maybe = |rng: &mut Rng, value: String| match rng.u8(0..4) {
            0 => "NULL".to_owned(),
            _ => value,
        };
        let reference = maybe(rng, other.clone());
        let price = maybe(rng, format!("{small}.50"));
        let name = maybe(rng, format!("'{text}'"));
        let statement = match rng.u8(0..15) {
            12..=14 => thing(rng),
            0 => format!(
                "INSERT INTO customers VALUES ({id}, '{text}', {name}, {price}) ON CONFLICT (id) DO UPDATE \
                 SET region = excluded.region, name = excluded.name, credit = excluded.credit"
            ),
            1..=3 => format!(
                "INSERT INTO orders VALUES ({id}, {other}, '{text}', {small}, {price}, \
                 '2024-01-01'::timestamptz + {hours} * interval '1 hour', {reference}) ON CONFLICT (id) DO UPDATE \
                 SET customer_id = excluded.customer_id, status = excluded.status, total = excluded.total, \
                     weight = excluded.weight, placed = excluded.placed, parent_id = excluded.parent_id"
            ),
            4..=6 => format!(
                "INSERT INTO items VALUES ({id}, {other}, {reference}, {small}, {price}) ON CONFLICT (id) DO \
                 UPDATE SET order_id = excluded.order_id, product_id = excluded.product_id, \
                     quantity = excluded.quantity, price = excluded.price"
            ),
            7 => format!(
                "INSERT INTO products VALUES ({id}, '{text}', {price}, {}) ON CONFLICT (id) DO UPDATE \
                 SET name = excluded.name, price = excluded.price, active = excluded.active",
                rng.bool()
            ),
            8 => format!("INSERT INTO tags VALUES ({id}, '{text}') ON CONFLICT DO NOTHING"),
            9 => format!(
                "DELETE FROM {} WHERE id = {id}",
                ["orders", "items", "customers"][rng.usize(0..3)]
            ),
            10 => format!("DELETE FROM tags WHERE order_id = {id}"),
            _ => format!(
                "UPDATE orders SET total = total + 1, customer_id = {other} WHERE id <= {id}"
            ),
        };
        statements.push_str(&statement);
        statements.push_str(";\n");
    }
    statements
}

/// A row of every type, from few values, so that some are equal.
fn thing(rng: &mut Rng) -> String {
    const VALUES: [(&str, &[&str]); 15] = [
        ("a", &["1", "2", "3", "-5"]),
        ("b", &["1", "2", "3"]),
        ("n", &["1", "1.0", "1.00", "2.5", "-3", "'NaN'", "0"]),
        ("f", &["0", "'-0'", "1.5", "'NaN'", "'Infinity'", "2"]),
        ("t", &["'a'", "'b'", "''", "'ab'", "'A'", "'open'", "'a b'"]),
        ("d", &["'2024-01-31'", "'2024-02-29'", "'infinity'", "'1999-12-31'"]),
        ("ts", &["'2024-01-31 10:00'", "'2024-02-29 23:59:59.999999'", "'-infinity'"]),
        ("tz", &["'2024-01-31 10:00Z'", "'2024-03-31 01:30Z'", "'2024-01-31 00:00Z'"]),
        ("iv", &["'1 day'", "'24 hours'", "'1 mon'", "'30 days'", "'0'"]),
        (
            "j",
            &[
                "'{\"a\": 1}'",
                "'{\"a\": 1.0}'",
                "'[1, 2]'",
                "'null'",
                "'\"x\"'",
                "'{\"a\": {\"b\": [1]}}'",
            ],
        ),
        ("arr", &["'{1,2,3}'", "'{}'", "'{1,NULL}'", "'{3}'"]),
        ("words", &["'{a,b}'", "'{}'", "'{NULL,\"a b\"}'"]),
        ("bl", &["true", "false"]),
        ("bp", &["'a'", "'ab'", "'a '"]),
        ("by", &["'\\x00'", "'\\x0001'", "''"]),
    ];
    let id = ["1", "2.0", "3", "4", "5.50"][rng.usize(0..5)];
    if rng.u8(0..6) == 0 {
        return format!("DELETE FROM things WHERE id = {id}");
    }
    let values = VALUES.iter().map(|(_, pool)| match rng.u8(0..4) {
        0 => "NULL",
        _ => pool[rng.usize(0..pool.len())],
    });
    let values: Vec<&str> = values.collect();
    let set: Vec<String> =
        VALUES.iter().map(|(name, _)| format!("{name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO things VALUES ({id}, {}) ON CONFLICT (id) DO UPDATE SET {}",
        values.join(", "),
        set.join(", ")
    )
}

/// So many, or as READSIDE_ROUNDS says.
pub(super) fn rounds(usual: usize) -> usize {
    std::env::var("READSIDE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Holds the answers to these queries against the source's, after each of many changes.
async fn hold(
    postgres: &Postgres,
    key: KeyType,
    queries: &[Generated],
    rng: &mut Rng,
    rounds: usize,
) {
    let mut found = Vec::new();
    for queries in queries.chunks(50) {
        let mut twin = Twin::start(postgres, key, queries).await;
        for _ in 0..rounds {
            let sql: String = (0..rng.usize(1..8)).map(|_| change_under(key, rng)).collect();
            twin.change(rng, &sql).await;
            let before = found.len();
            twin.compare(&mut found).await;
            if found.len() > before {
                break;
            }
        }
    }
    assert!(
        found.is_empty(),
        "keys of {}: {} differ:\n{}",
        key.name,
        found.len(),
        found.join("\n")
    );
}

#[tokio::test]
async fn what_is_supported_is_answered_as_by_the_source() {
    let mut queries = super::queries(super::SUPPORTED);
    // What they leave open: which rows come first, and what an error is.
    queries.retain(|query| !query.sql.contains("AS only"));
    queries.extend(super::unions());
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    hold(&postgres, generate::INT, &queries, &mut Rng::with_seed(1), 20).await;
}

#[tokio::test]
async fn random_queries_are_answered_as_by_the_source() {
    let queries: Vec<_> =
        (0..super::count()).map(|seed| generate::query(&mut Rng::with_seed(seed))).collect();
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    hold(&postgres, generate::INT, &queries, &mut Rng::with_seed(2), rounds(8)).await;
}

/// The same under keys of every type.
#[tokio::test]
async fn random_queries_over_keys_of_every_type_are_answered_as_by_the_source() {
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let each = super::count() / 6;
    for (at, key) in (0_u64..).zip(generate::KEY_TYPES) {
        let seeds = (20_000 + at * each)..(20_000 + (at + 1) * each);
        let queries: Vec<_> =
            seeds.map(|seed| generate::query_over(key, &mut Rng::with_seed(seed))).collect();
        hold(&postgres, key, &queries, &mut Rng::with_seed(at), rounds(8)).await;
    }
}
