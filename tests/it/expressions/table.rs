//! A table of all types, its rows as Postgres has them and as they are encoded.

use readside::sql::expr::{
    Collation, Ctype, Database, Expr, Fault, Field, Names, Row, Ty, UserKind, UserType, fold_case,
};
use readside::value::{self, Column, Type};
use sqlparser::ast::Ident;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::pools::{MOOD, pools};

const ROWS: usize = 40;

pub(super) struct Table {
    client: Client,
    columns: Vec<Column>,
    /// As they are encoded, in the order of `id`.
    rows: Vec<Vec<u8>>,
    mood: u32,
    moods: u32,
    version: u32,
}

impl Table {
    pub(super) async fn fill(client: Client, rng: &mut fastrand::Rng) -> Self {
        let declared: Vec<String> =
            pools().iter().map(|pool| format!("{} {}", pool.name, pool.declared)).collect();
        client
            .batch_execute(&format!(
                "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
                 SET extra_float_digits = 1; SET bytea_output = 'hex';
                 DROP TABLE IF EXISTS t; DROP TYPE IF EXISTS mood;
                 CREATE TYPE mood AS ENUM ('{}');
                 CREATE TABLE t ({})",
                MOOD.join("', '"),
                declared.join(", ")
            ))
            .await
            .unwrap();
        for id in 0..ROWS {
            let values: Vec<String> = pools()
                .iter()
                .map(|pool| match rng.u8(..12) {
                    _ if pool.values.is_empty() => id.to_string(),
                    0 => "NULL".into(),
                    _ => literal(pool.values[rng.usize(..pool.values.len())]),
                })
                .collect();
            let insert = format!("INSERT INTO t VALUES ({})", values.join(", "));
            client.batch_execute(&insert).await.unwrap_or_else(|e| panic!("{insert}: {e:?}"));
        }
        let mood = "SELECT 'mood'::regtype::oid, 'mood[]'::regtype::oid,
                           current_setting('server_version_num')::int4";
        let oids = client.query_one(mood, &[]).await.unwrap();
        let mut table = Table {
            client,
            columns: Vec::new(),
            rows: Vec::new(),
            mood: oids.get(0),
            moods: oids.get(1),
            version: u32::try_from(oids.get::<_, i32>(2)).unwrap(),
        };
        table.columns = table.described().await;
        table.rows = table.encoded().await;
        table
    }

    async fn described(&self) -> Vec<Column> {
        let typmods = "SELECT atttypmod FROM pg_attribute
                       WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum";
        let typmods = self.client.query(typmods, &[]).await.unwrap();
        let of_pools = pools().into_iter().zip(typmods).map(|(pool, typmod)| Column {
            name: pool.name.into(),
            sql_type: pool.declared.into(),
            type_oid: if pool.oid == 0 { self.mood } else { pool.oid },
            ty: pool.ty,
            typmod: typmod.get(0),
            not_null: false,
        });
        of_pools.collect()
    }

    async fn encoded(&self) -> Vec<Vec<u8>> {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let select = format!("SELECT {} FROM t ORDER BY id", names.join(", "));
        let encode = |row: &Vec<Option<String>>| {
            let mut bytes = Vec::new();
            for (column, text) in self.columns.iter().zip(row) {
                match text {
                    Some(text) => value::encode(&column.ty, text.as_bytes(), &mut bytes)
                        .unwrap_or_else(|error| panic!("{}: {error}", column.name)),
                    None => value::encode_null(&mut bytes),
                }
            }
            bytes
        };
        self.query(&select).await.unwrap().iter().map(encode).collect()
    }

    /// pg_type's oid of what an expression is.
    pub(super) async fn type_of(&self, expression: &str) -> Result<u32, String> {
        let sql = format!("SELECT {expression} FROM t");
        let statement = self.client.prepare(&sql).await.map_err(|error| message(&error))?;
        Ok(statement.columns()[0].type_().oid())
    }

    /// The typmod of what an expression is, where Postgres accepts it.
    pub(super) async fn typmod_of(&self, expression: &str) -> Option<i32> {
        let view = format!(
            "DROP VIEW IF EXISTS w; CREATE TEMP VIEW w AS SELECT {expression} AS x FROM t;
             SELECT atttypmod FROM pg_attribute WHERE attrelid = 'w'::regclass"
        );
        let rows = self.query(&view).await.ok()?;
        rows[0][0].as_deref()?.parse().ok()
    }

    /// The expression's text in each row, or the error there.
    pub(super) async fn answers(&self, expression: &str) -> Vec<Result<Option<String>, String>> {
        // By the table's column, though the expression may be called so.
        let all = format!("SELECT {expression} FROM t ORDER BY t.id");
        if let Ok(rows) = self.query(&all).await {
            return rows.into_iter().map(|row| Ok(row[0].clone())).collect();
        }
        let mut answers = Vec::new();
        for id in 0..ROWS {
            let one = format!("SELECT {expression} FROM t WHERE id = {id}");
            answers.push(self.query(&one).await.map(|rows| rows[0][0].clone()));
        }
        answers
    }

    pub(super) async fn row(&self, id: usize) -> String {
        let rows = self.query(&format!("SELECT to_jsonb(t) FROM t WHERE id = {id}")).await.unwrap();
        rows[0][0].clone().unwrap()
    }

    /// What we have; `None` is NULL.
    pub(super) fn text_of(&self, expr: &Expr, id: usize) -> Result<Option<String>, String> {
        let mut ranges = Vec::new();
        value::split(&self.columns, &self.rows[id], &mut ranges).unwrap();
        let mut datum = Vec::new();
        let row = Row { bytes: &self.rows[id], ranges: &ranges };
        expr.eval(row, &mut datum).map_err(|error| error.to_string())?;
        if value::is_null(&datum) {
            return Ok(None);
        }
        let mut text = Vec::new();
        value::write_text(&expr.ty().stored, &datum, &mut text).map_err(|e| e.to_string())?;
        Ok(Some(String::from_utf8(text).unwrap()))
    }

    /// Characters whose case, or being part of a word, is another one with us.
    pub(super) async fn letters_that_differ(&self) -> Vec<String> {
        let mut differing = Vec::new();
        for forms in ["lower(chr(c))", "upper(chr(c))", "initcap(chr(c) || 'a')"] {
            let sql = format!(
                "SELECT c, {forms} FROM generate_series(128, 1114111) c
                 WHERE c NOT BETWEEN 55296 AND 57343"
            );
            let expr = Expr::parse(&forms.replace("chr(c)", "chr(i4)"), self).unwrap();
            for row in self.query(&sql).await.unwrap() {
                let code: i64 = row[0].as_deref().unwrap().parse().unwrap();
                let mut datum = Vec::new();
                value::encode(&Type::Int4, code.to_string().as_bytes(), &mut datum).unwrap();
                let mut ranges = vec![0..0; self.columns.len()];
                let at = self.columns.iter().position(|column| column.name == "i4").unwrap();
                ranges[at] = 0..datum.len();
                let mut out = Vec::new();
                let got = expr.eval(Row { bytes: &datum, ranges: &ranges }, &mut out);
                let got = got
                    .map(|()| String::from_utf8_lossy(&out[..out.len() - 1]).into_owned())
                    .map_err(|error| error.to_string());
                let told = |error: &String| error.contains("differs between");
                let refused = got.as_ref().is_err_and(told);
                if !refused && got.as_ref().ok() != row[1].as_ref() {
                    differing.push(format!("{forms} of {code:x}: {got:?}, {:?}", row[1]));
                }
            }
        }
        differing
    }

    async fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let messages = self.client.simple_query(sql).await.map_err(|error| message(&error))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }
}

impl Names for Table {
    fn column(&self, path: &[Ident]) -> Result<Field, Fault> {
        let name = path.last().map(fold_case).unwrap_or_default();
        let position = self.columns.iter().position(|column| column.name == name);
        let Some(position) = position else {
            return Err(Fault::new(format!("there is no column {name}")));
        };
        let ty = Ty::of_column(&self.columns[position], Collation::Default);
        Ok(Field { position, ty })
    }

    fn whole_row(&self, table: &Ident) -> Option<Vec<(String, Field)>> {
        let field = |(position, column): (usize, &Column)| {
            let ty = Ty::of_column(column, Collation::Default);
            (column.name.clone(), Field { position, ty })
        };
        (fold_case(table) == "t").then(|| self.columns.iter().enumerate().map(field).collect())
    }

    fn user_type(&self, oid: u32) -> Option<UserType> {
        let labels = MOOD.iter().map(|label| (*label).to_owned()).collect();
        match oid {
            oid if oid == self.mood => Some(UserType {
                name: "mood".into(),
                kind: UserKind::Enum { labels },
                array: self.moods,
            }),
            oid if oid == self.moods => Some(UserType {
                name: "mood[]".into(),
                kind: UserKind::Array { element: self.mood },
                array: 0,
            }),
            _ => None,
        }
    }

    fn user_type_oid(&self, path: &[Ident]) -> Option<u32> {
        (path.last().map(fold_case)? == "mood").then_some(self.mood)
    }

    fn database(&self) -> Database {
        Database { ordered_by_bytes: true, ctype: Ctype::Libc, version: self.version }
    }
}

fn message(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => error.message().to_owned(),
        None => panic!("{error:?}"),
    }
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
