//! Values as Postgres itself has them: every text comes back byte for byte, JSON is what `to_jsonb`
//! prints, datums are ordered as ORDER BY does, scores are what `extract(epoch …)` says. For edge
//! values and random ones of every type, alone, in arrays, in composites and in whole rows.

mod pool;

use std::collections::HashMap;

use readside::value::{
    Column, DocumentWriter, PgType, Type, datum_len, encode, encode_null, is_null, resolve, score,
    split, write_document, write_json, write_text,
};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::harness::{Postgres, PostgresOptions};
use pool::{Case, Order};

/// Prints the seed of the random values; READSIDE_SEED replays one.
fn seed() -> u64 {
    let seed = match std::env::var("READSIDE_SEED") {
        Ok(seed) => seed.parse().expect("READSIDE_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    eprintln!("READSIDE_SEED={seed}");
    seed
}

#[tokio::test]
async fn every_type() {
    let seed = seed();
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let client = session(&postgres).await;
    for case in pool::cases(&mut fastrand::Rng::with_seed(seed), version(&client).await) {
        fill(&client, &case).await;
        let types = types(&client).await;
        check_values(&client, &types, &case).await;
        check_nested(&client, &types, &case).await;
    }
}

#[tokio::test]
async fn whole_rows() {
    let seed = seed();
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let client = session(&postgres).await;
    let mut rng = fastrand::Rng::with_seed(seed);
    let cases = pool::cases(&mut rng, version(&client).await);
    // Names of many lengths, some that JSON must escape.
    let name = |position: usize| match position % 4 {
        0 => format!("c{position}"),
        1 => format!("a \"{position}\\"),
        2 => format!("Ünïcode {position}"),
        _ => format!("{position:0>40}"),
    };
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let columns: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(position, case)| format!("{} {}", quoted(&name(position)), case.sql_type))
        .collect();
    client.batch_execute(&format!("CREATE TABLE wide ({})", columns.join(", "))).await.unwrap();
    for _ in 0..200 {
        let values: Vec<_> = cases
            .iter()
            .map(|case| match rng.u8(..8) {
                0 => "NULL".to_owned(),
                _ => format!(
                    "{}::{}",
                    literal(&case.values[rng.usize(..case.values.len())]),
                    case.sql_type
                ),
            })
            .collect();
        client
            .batch_execute(&format!("INSERT INTO wide VALUES ({})", values.join(", ")))
            .await
            .unwrap();
    }

    let columns = columns_of(&client, "wide").await;
    let only: Vec<usize> = (0..columns.len()).filter(|_| rng.bool()).collect();
    let some =
        only.iter().map(|&column| quoted(&columns[column].name)).collect::<Vec<_>>().join(", ");
    let rows = query(&client, "SELECT * FROM wide ORDER BY ctid").await;
    let documents = query(&client, &format!(
        "SELECT to_jsonb(w)::text, (SELECT to_jsonb(s)::text FROM (SELECT {some}) s) FROM wide w ORDER BY ctid"
    )).await;
    assert_eq!(rows.len(), 200);
    let writer = DocumentWriter::new(&columns, Some(&only));
    for (row, expected) in rows.iter().zip(&documents) {
        let mut bytes = Vec::new();
        for (column, text) in columns.iter().zip(row) {
            match text {
                Some(text) => encode(&column.ty, text.as_bytes(), &mut bytes).unwrap(),
                None => encode_null(&mut bytes),
            }
        }
        let mut ranges = Vec::new();
        split(&columns, &bytes, &mut ranges).unwrap();
        for ((column, text), range) in columns.iter().zip(row).zip(ranges) {
            let datum = &bytes[range];
            match text {
                Some(text) => assert_eq!(&printed(&column.ty, datum), text),
                None => assert!(is_null(datum)),
            }
        }
        let (mut all, mut part) = (Vec::new(), Vec::new());
        write_document(&columns, &bytes, None, &mut all).unwrap();
        writer.write(&bytes, &mut part).unwrap();
        assert_eq!(Some(String::from_utf8(all).unwrap()), expected[0]);
        assert_eq!(Some(String::from_utf8(part).unwrap()), expected[1]);
    }
}

/// json holds some texts that jsonb cannot; there `to_jsonb` fails, and so does ours.
#[tokio::test]
async fn json_without_a_jsonb_form() {
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let client = session(&postgres).await;
    for text in [
        r#""\u0000""#,
        r#"{"\u0000":1}"#,
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\ud83dx""#,
        r#""\ud83d\u0041""#,
        "1e131072",
        "1e-16384",
        "0e-16384",
        "0e1073741824",
        "[1e99999999999999999999]",
    ] {
        let json = format!("{}::json", literal(text));
        client.simple_query(&format!("SELECT {json}")).await.unwrap();
        client.simple_query(&format!("SELECT to_jsonb({json})")).await.unwrap_err();
        let mut datum = Vec::new();
        encode(&Type::Json, text.as_bytes(), &mut datum).unwrap();
        write_json(&Type::Json, &datum, &mut Vec::new()).unwrap_err();
    }
}

/// With the settings that values are printed under, and the types of the pool.
async fn session(postgres: &Postgres) -> Client {
    let client = postgres.client("postgres").await;
    client
        .batch_execute(
            "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
             SET extra_float_digits = 1; SET bytea_output = 'hex'; SET client_min_messages = 'error'",
        )
        .await
        .unwrap();
    client.batch_execute(pool::SCHEMA).await.unwrap();
    client
}

async fn version(client: &Client) -> u32 {
    let rows = query(client, "SHOW server_version_num").await;
    rows[0][0].as_ref().unwrap().parse().unwrap()
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

async fn query(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages =
        client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        })
        .collect()
}

async fn types(client: &Client) -> HashMap<u32, PgType> {
    let rows = query(client,
        "SELECT oid, typnamespace::regnamespace, typname, typtype, typcategory, typelem, typbasetype, typdelim,
                (SELECT coalesce(jsonb_agg(jsonb_build_array(attname, atttypid::bigint) ORDER BY attnum), '[]')
                 FROM pg_attribute WHERE attrelid = typrelid AND attnum > 0 AND NOT attisdropped)
         FROM pg_type").await;
    let types = rows.into_iter().map(|row| {
        let text = |column: usize| row[column].clone().unwrap();
        let oid = |column: usize| text(column).parse::<u32>().unwrap();
        let byte = |column: usize| text(column).as_bytes()[0];
        let ty = PgType {
            oid: oid(0),
            schema: text(1),
            name: text(2),
            typtype: byte(3),
            category: byte(4),
            elem: oid(5),
            base: oid(6),
            delim: byte(7),
            attributes: serde_json::from_str(&text(8)).unwrap(),
        };
        (ty.oid, ty)
    });
    types.collect()
}

async fn columns_of(client: &Client, table: &str) -> Vec<Column> {
    let types = types(client).await;
    let rows = query(
        client,
        &format!(
        "SELECT attname, atttypid, format_type(atttypid, atttypmod), atttypmod FROM pg_attribute
         WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"),
    )
    .await;
    let columns = rows.into_iter().map(|row| {
        let text = |column: usize| row[column].clone().unwrap();
        let type_oid = text(1).parse().unwrap();
        Column {
            name: text(0),
            ty: resolve(type_oid, &types),
            sql_type: text(2),
            type_oid,
            typmod: text(3).parse().unwrap(),
            not_null: false,
        }
    });
    columns.collect()
}

/// The table `v` with the case's values, numbered from 1.
async fn fill(client: &Client, case: &Case) {
    let Case { sql_type, values, .. } = case;
    client
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS nested, v; DROP TYPE IF EXISTS pair;
             CREATE TABLE v (i int PRIMARY KEY, x {sql_type});
             CREATE TYPE pair AS (\"b \"\"q\" {sql_type}, a {sql_type});
             CREATE TABLE nested (i int, one {sql_type}[], two {sql_type}[], row pair, rows pair[], inside deep)",
        ))
        .await
        .unwrap_or_else(|error| panic!("{sql_type}: {error:?}"));
    let rows: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(i, value)| format!("({}, {}::{sql_type})", i + 1, literal(value)))
        .collect();
    let insert = format!("INSERT INTO v VALUES {}", rows.join(", "));
    client.batch_execute(&insert).await.unwrap_or_else(|error| panic!("{sql_type}: {error:?}"));
}

struct Checked {
    text: String,
    datum: Vec<u8>,
}

/// One column of texts and of `to_jsonb`'s answers.
fn check_column(
    ty: &Type,
    label: &str,
    rows: &[Vec<Option<String>>],
    text: usize,
    json: usize,
) -> Vec<Checked> {
    let checked = rows.iter().map(|row| {
        let expected = row[text].clone().unwrap();
        let mut datum = Vec::new();
        encode(ty, expected.as_bytes(), &mut datum)
            .unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(datum_len(ty, &datum), Ok(datum.len()), "{label} {expected}");
        assert!(!is_null(&datum), "{label} {expected}");
        assert_eq!(printed(ty, &datum), expected, "{label}");
        let mut written = Vec::new();
        write_json(ty, &datum, &mut written).unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(Some(String::from_utf8(written).unwrap()), row[json], "{label} {expected}");
        Checked { text: expected, datum }
    });
    checked.collect()
}

fn printed(ty: &Type, datum: &[u8]) -> String {
    let mut text = Vec::new();
    write_text(ty, datum, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

async fn check_values(client: &Client, types: &HashMap<u32, PgType>, case: &Case) {
    let sql_type = &case.sql_type;
    let ty = type_of(client, types, "v", "x").await;
    assert_eq!(ty, case.expected, "{sql_type}");
    let rank = match case.order {
        Order::None => "0",
        Order::Natural => "dense_rank() OVER (ORDER BY x)",
        Order::Bytes => "dense_rank() OVER (ORDER BY x COLLATE \"C\")",
    };
    let score_sql = case.score.unwrap_or("NULL");
    let rows = query(
        client,
        &format!("SELECT x, to_jsonb(x)::text, {rank}, ({score_sql})::float8 FROM v ORDER BY i"),
    )
    .await;
    let checked = check_column(&ty, sql_type, &rows, 0, 1);

    let rank = |row: usize| rows[row][2].clone().unwrap().parse::<u64>().unwrap();
    for (row, Checked { text, datum }) in checked.iter().enumerate() {
        let expected = rows[row][3].as_ref().map(|score| score.parse::<f64>().unwrap());
        let expected = expected.filter(|score| !score.is_nan());
        assert_eq!(score(&ty, datum), expected, "{sql_type} {text}");
        if case.order != Order::None {
            for (other, Checked { text: other_text, datum: other_datum }) in
                checked.iter().enumerate()
            {
                if rank(row) < rank(other) {
                    assert!(datum < other_datum, "{sql_type}: {text} < {other_text}");
                }
            }
        }
    }
}

async fn type_of(client: &Client, types: &HashMap<u32, PgType>, table: &str, column: &str) -> Type {
    let rows = query(client, &format!(
        "SELECT atttypid FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = '{column}'")).await;
    resolve(rows[0][0].as_ref().unwrap().parse().unwrap(), types)
}

async fn check_nested(client: &Client, types: &HashMap<u32, PgType>, case: &Case) {
    let sql_type = &case.sql_type;
    client
        .batch_execute(
            "INSERT INTO nested (i, one[1], one[3], two[0][-3], row, rows[2], rows[4], inside)
             SELECT v.i, v.x, w.x, v.x, row(v.x, w.x)::pair, row(v.x, NULL)::pair, row(w.x, v.x)::pair,
                    row(v.i, row(v.x::text, array[w.x::text, ''])::inner_row, '{}')::deep
             FROM v JOIN v w ON w.i = v.i % (SELECT count(*) FROM v) + 1;
             INSERT INTO nested SELECT 0, '{}', '{}', row(NULL, NULL)::pair, '{}', row(NULL, NULL, NULL)::deep",
        )
        .await
        .unwrap_or_else(|error| panic!("{sql_type}: {error:?}"));
    for column in ["one", "two", "row", "rows", "inside"] {
        let ty = type_of(client, types, "nested", column).await;
        let rows = query(
            client,
            &format!("SELECT \"{column}\", to_jsonb(\"{column}\")::text FROM nested"),
        )
        .await;
        assert!(rows.len() > 1);
        check_column(&ty, &format!("{column} of {sql_type}"), &rows, 0, 1);
    }
}
