//! Random expressions over random and extreme rows: a value, its type and an error are what Postgres
//! itself has. What one of the two refuses, the other refuses.

use std::fmt::Write as _;

use readside::sql::expr::{EvalError, Expr, Row, Scope};
use readside::value::{self, Column, Type};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::harness::{Postgres, PostgresOptions};

const EXPRESSIONS: usize = 15_000;
const ROWS: usize = 60;
const DEPTH_MAX: usize = 4;

/// Name, type, pg_type's oid, and values of which some are at the edge.
type Pool = (&'static str, Type, u32, &'static [&'static str]);

fn pools() -> Vec<Pool> {
    vec![
        ("i2", Type::Int2, 21, &["0", "1", "-1", "7", "32767", "-32768"]),
        ("i4", Type::Int4, 23, &["0", "1", "-1", "3", "1000", "2147483647", "-2147483648"]),
        (
            "i8",
            Type::Int8,
            20,
            &[
                "0",
                "1",
                "-1",
                "12",
                "9007199254740993",
                "9223372036854775807",
                "-9223372036854775808",
            ],
        ),
        (
            "n",
            Type::Numeric,
            1700,
            &[
                "0",
                "0.00",
                "1",
                "-1.0",
                "2.5",
                "-2.5",
                "0.00000000000000000001",
                "1e-30",
                "99999.9999",
                "123456789012345678901234567890.123456789",
                "1e60",
                "-1e40",
                "9223372036854775807.5",
                "NaN",
                "Infinity",
                "-Infinity",
                "1e400",
                "1e-400",
                "10000",
                "9999",
                "0.0001",
            ],
        ),
        ("n2", Type::Numeric, 1700, &["0.0000", "1.2345", "-99999999.9999", "0.5000", "33.3333"]),
        (
            "f4",
            Type::Float4,
            700,
            &["0", "1", "-1.5", "0.1", "16777216", "1e-45", "3.4e38", "-3.4e38", "NaN", "Infinity"],
        ),
        (
            "f8",
            Type::Float8,
            701,
            &[
                "0",
                "1",
                "-1.5",
                "0.1",
                "2.5",
                "3.5",
                "1e15",
                "123456789.123456789",
                "5e-324",
                "1e308",
                "-1e308",
                "NaN",
                "Infinity",
                "-Infinity",
                "1e-7",
            ],
        ),
        ("b", Type::Bool, 16, &["t", "f"]),
        ("s", Type::Text, 25, &["", "a", "b", "A", "a ", "Ä"]),
        ("v", Type::Text, 1043, &["a", "b", "ab"]),
        (
            "d",
            Type::Date,
            1082,
            &[
                "2024-02-29",
                "1970-01-01",
                "0044-03-15 BC",
                "5874897-12-31",
                "infinity",
                "-infinity",
            ],
        ),
        (
            "ts",
            Type::Timestamp,
            1114,
            &[
                "2024-02-29 12:34:56.789012",
                "1969-12-31 23:59:59.999999",
                "294276-12-31 23:59:59.999999",
                "4714-11-24 00:00:00 BC",
                "infinity",
                "-infinity",
            ],
        ),
        (
            "tz",
            Type::TimestampTz,
            1184,
            &["2024-02-29 12:34:56.789012+00", "2000-01-01 00:00:00+00", "infinity"],
        ),
        ("ti", Type::Time, 1083, &["00:00:00", "12:34:56.789", "24:00:00"]),
        ("tt", Type::TimeTz, 1266, &["00:00:00+00", "12:34:56.789-05:30", "12:34:56.789+02"]),
        (
            "iv",
            Type::Interval,
            1186,
            &[
                "00:00:00",
                "1 mon",
                "30 days",
                "-1 years +2 mons 3 days -04:05:06.789",
                "178000000 years",
            ],
        ),
    ]
}

/// The columns of the pools, some of which have names that must be folded or quoted.
fn columns() -> Vec<Column> {
    let of_pools = pools().into_iter().map(|(name, ty, type_oid, _)| Column {
        name: name.into(),
        sql_type: ty.to_string(),
        ty,
        type_oid,
        typmod: -1,
        not_null: false,
    });
    of_pools.collect()
}

struct Generator(fastrand::Rng);

impl Generator {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.0.usize(..from.len())]
    }

    fn number_column(&mut self) -> String {
        self.pick(&["i2", "I4", "i8", "n", "n2", "f4", "\"f8\"", "i4", "n"]).into()
    }

    fn number_literal(&mut self) -> String {
        self.pick(&[
            "0",
            "1",
            "2",
            "-3",
            "7",
            "10",
            "100",
            "32767",
            "2147483647",
            "2147483648",
            "-2147483648",
            "9223372036854775808",
            "0.5",
            "1.10",
            ".25",
            "3.",
            "1e3",
            "2.5E-3",
            "12345678901234567890.5",
        ])
        .into()
    }

    fn time(&mut self) -> String {
        self.pick(&["d", "ts", "tz", "ti", "tt", "iv"]).into()
    }

    fn cast(&mut self) -> &'static str {
        self.pick(&[
            "smallint",
            "int",
            "int4",
            "bigint",
            "numeric",
            "numeric(10,2)",
            "decimal(5)",
            "real",
            "double precision",
            "float",
            "float(20)",
            "float8",
        ])
    }

    fn number(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.0.u8(..4) {
                0 => self.number_literal(),
                _ => self.number_column(),
            };
        }
        let depth = depth - 1;
        match self.0.u8(..20) {
            0..=6 => {
                let operator = self.pick(&["+", "-", "*", "/", "%", "/"]);
                let (left, right) = (self.number(depth), self.number(depth));
                // As in `varying`.
                let right = if has_column(&left) { right } else { self.number_column() };
                match self.0.bool() {
                    true => format!("({left} {operator} {right})"),
                    false => format!("({left}) {operator} ({right})"),
                }
            }
            7 if self.0.bool() => format!("(- {})", self.number_literal()),
            7 => format!("(- {})", self.varying(depth)),
            8 => format!("abs({})", self.varying(depth)),
            9 | 10 => {
                let (of, to) = (self.varying(depth), self.cast());
                match self.0.bool() {
                    true => format!("({of})::{to}"),
                    false => format!("CAST({of} AS {to})"),
                }
            }
            11 => format!("coalesce({}, {})", self.number(depth), self.number(depth)),
            12 => format!("nullif({}, {})", self.number(depth), self.number(depth)),
            13 => {
                let name = self.pick(&["greatest", "LEAST"]);
                format!(
                    "{name}({}, {}, {})",
                    self.number(depth),
                    self.number(depth),
                    self.number(depth)
                )
            }
            14 | 15 => {
                let mut case = "CASE".to_owned();
                for _ in 0..self.0.usize(1..3) {
                    write!(case, " WHEN {} THEN {}", self.condition(depth), self.number(depth))
                        .unwrap();
                }
                if self.0.bool() {
                    write!(case, " ELSE {}", self.number(depth)).unwrap();
                }
                case + " END"
            }
            16 => {
                let (operand, one, two) = (self.number(depth), self.number(0), self.number(0));
                format!(
                    "CASE {operand} WHEN {one} THEN 1 WHEN {two} THEN {} ELSE NULL END",
                    self.number(depth)
                )
            }
            17 => format!("extract(epoch from {})", self.time()),
            18 => format!("b::int + {}", self.number(depth)),
            _ => self.number(0),
        }
    }

    /// No constant: Postgres tells the errors of one before any row.
    fn varying(&mut self, depth: usize) -> String {
        let of = self.number(depth);
        if has_column(&of) { of } else { self.number_column() }
    }

    fn condition(&mut self, depth: usize) -> String {
        let depth = depth.saturating_sub(1);
        match self.0.u8(..14) {
            0..=3 => {
                let operator = self.pick(&["=", "<>", "<", "<=", ">", ">=", "!="]);
                format!("{} {operator} {}", self.number(depth), self.number(depth))
            }
            4 if depth > 0 => format!("({} AND {})", self.condition(depth), self.condition(depth)),
            5 if depth > 0 => format!("({} OR {})", self.condition(depth), self.condition(depth)),
            6 if depth > 0 => format!("NOT {}", self.condition(depth)),
            7 => format!("{} IS {}NULL", self.number(depth), self.pick(&["", "NOT "])),
            8 => {
                let what = self.pick(&["TRUE", "NOT TRUE", "FALSE", "NOT FALSE", "UNKNOWN"]);
                format!("(b IS {what})")
            }
            9 => {
                let other = self.pick(&["v", "s", "'a'", "'Ä'"]);
                format!("s {} {other}", self.pick(&["=", "<>"]))
            }
            10 => {
                let time = self.time();
                let operator = self.pick(&["=", "<", ">="]);
                format!("{time} {operator} greatest({time}, {time})")
            }
            11 => {
                let list = self.pick(&["1", "1, 2.5, 100", "i4, f8", "0.1, 1.5", "NULL, 3"]);
                format!("{} {}IN ({list})", self.number(depth), self.pick(&["", "NOT "]))
            }
            12 => {
                let not = self.pick(&["", "NOT "]);
                format!(
                    "{} {not}BETWEEN {} AND {}",
                    self.number_column(),
                    self.number(0),
                    self.number(0)
                )
            }
            _ => self.pick(&["b", "NOT b", "v IN ('a', 'ab')", "b = (i4 > 0)"]).into(),
        }
    }

    fn any(&mut self) -> String {
        match self.0.u8(..12) {
            0 => {
                let time = self.time();
                let name = self.pick(&["coalesce", "greatest", "least", "nullif"]);
                format!("{name}({time}, {time})")
            }
            _ => {
                let depth = self.0.usize(1..=DEPTH_MAX);
                self.number(depth)
            }
        }
    }
}

fn has_column(expression: &str) -> bool {
    let words = expression.split(|c: char| !c.is_alphanumeric());
    let names = columns();
    words.into_iter().any(|word| names.iter().any(|column| column.name == word.to_lowercase()))
}

#[tokio::test]
async fn random_expressions() {
    let seed = match std::env::var("READSIDE_SEED") {
        Ok(seed) => seed.parse().expect("READSIDE_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    eprintln!("READSIDE_SEED={seed}");
    let mut generator = Generator(fastrand::Rng::with_seed(seed));
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let client = postgres.client("postgres").await;
    let rows = fill(&client, &mut generator.0).await;
    let columns = columns();
    let scope = Scope { columns: &columns, byte_equality: &|_| true };
    let (mut values, mut errors, mut refused) = (0, 0, 0);
    for _ in 0..EXPRESSIONS {
        let expression = generator.any();
        let compiled = Expr::compile_number(&expression, &scope);
        let types = format!("SELECT pg_typeof({expression}) FROM t LIMIT 0");
        let parsed = client.prepare(&types).await;
        let expr = match (compiled, parsed) {
            (Ok(expr), Ok(_)) => expr,
            (Err(_), Err(error)) if error.as_db_error().is_some() => {
                refused += 1;
                continue;
            }
            (Err(fault), Ok(_)) => panic!("{expression}\nis refused: {fault:?}"),
            (_, Err(error)) => panic!("{expression}\nis refused by Postgres alone: {error:?}"),
        };
        let attempts = format!(
            "SELECT attempt(format('SELECT (%s)::text FROM t WHERE id = %s', {quoted}, id)),
                    attempt(format('SELECT pg_typeof(%s) FROM t WHERE id = %s', {quoted}, id))
             FROM t ORDER BY id",
            quoted = literal(&expression)
        );
        for (id, (expected, row)) in query(&client, &attempts).await.iter().zip(&rows).enumerate() {
            let mut ranges = Vec::new();
            value::split(&columns, row, &mut ranges).unwrap();
            let got = text_of(&expr, Row { bytes: row, ranges: &ranges });
            let said = expected[0].as_deref().unwrap();
            let same = match &got {
                Err(_) => said.starts_with('!'),
                Ok(None) => said == "NULL",
                Ok(Some(value)) => {
                    let ty = expected[1].as_deref().unwrap().trim_start_matches('=');
                    let ty = ty.trim_end_matches(" without time zone");
                    said.strip_prefix('=').is_some_and(|text| is(value, text, &expr))
                        && ty == expr.ty().to_string()
                }
            };
            assert!(
                same,
                "{expression}\nin row {id}: {got:?}, {}, but Postgres {expected:?}\n{:?}",
                expr.ty(),
                query(&client, &format!("SELECT * FROM t WHERE id = {id}")).await
            );
            match got {
                Err(_) => errors += 1,
                Ok(_) => values += 1,
            }
        }
    }
    eprintln!("{values} values, {errors} errors, {refused} expressions refused");
    assert!(values > errors && errors > 1_000 && refused < EXPRESSIONS / 2);
}

/// The value as text; `None` is NULL.
fn text_of(expr: &Expr, row: Row<'_>) -> Result<Option<String>, EvalError> {
    let mut datum = Vec::new();
    expr.eval(row, &mut datum)?;
    if value::is_null(&datum) {
        return Ok(None);
    }
    let mut text = Vec::new();
    value::write_text(&expr.ty().stored, &datum, &mut text).unwrap();
    Ok(Some(String::from_utf8(text).unwrap()))
}

fn is(got: &str, expected: &str, expr: &Expr) -> bool {
    // Postgres prints true where a boolean is cast to text, and t where it is shown.
    let expected = match (&expr.ty().stored, expected) {
        (Type::Bool, "true") => "t",
        (Type::Bool, "false") => "f",
        (_, expected) => expected,
    };
    got == expected
}

/// The table, and its rows as they are encoded, in the order of `id`.
async fn fill(client: &Client, rng: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let declared: Vec<String> = pools()
        .iter()
        .map(|(name, ty, oid, _)| match (*name, oid) {
            ("n2", _) => "n2 numeric(12,4)".into(),
            (name, 1043) => format!("{name} varchar"),
            (name, _) => format!("{name} {ty}"),
        })
        .collect();
    client
        .batch_execute(&format!(
            "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
             SET extra_float_digits = 1;
             CREATE TABLE t (id int PRIMARY KEY, {});
             CREATE FUNCTION attempt(sql text) RETURNS text LANGUAGE plpgsql AS $$
             DECLARE found text;
             BEGIN
                 EXECUTE sql INTO found;
                 RETURN coalesce('=' || found, 'NULL');
             EXCEPTION WHEN others THEN
                 RETURN '! ' || sqlerrm;
             END $$",
            declared.join(", ")
        ))
        .await
        .unwrap();
    for id in 0..ROWS {
        let values: Vec<String> = pools()
            .iter()
            .map(|(name, _, oid, values)| match rng.u8(..12) {
                0 => "NULL".into(),
                1 if [20, 21, 23].contains(oid) => rng.i16(..).to_string(),
                1 if *name == "n" => literal(&format!("{}.{:03}", rng.i64(..), rng.u16(..1000))),
                1 if *oid == 701 => literal(&rng.f64().to_string()),
                _ => literal(values[rng.usize(..values.len())]),
            })
            .collect();
        let insert = format!("INSERT INTO t VALUES ({id}, {})", values.join(", "));
        client.batch_execute(&insert).await.unwrap_or_else(|error| panic!("{insert}: {error:?}"));
    }
    let columns = columns();
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let select = format!("SELECT {} FROM t ORDER BY id", names.join(", "));
    let encode = |row: &Vec<Option<String>>| {
        let mut bytes = Vec::new();
        for (column, text) in columns.iter().zip(row) {
            match text {
                Some(text) => value::encode(&column.ty, text.as_bytes(), &mut bytes).unwrap(),
                None => value::encode_null(&mut bytes),
            }
        }
        bytes
    };
    query(client, &select).await.iter().map(encode).collect()
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

async fn query(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
        }
        _ => None,
    });
    rows.collect()
}
