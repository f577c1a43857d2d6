//! The application: transactions drawn from a seed, on a few keys that are chosen again and again.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::SinkExt as _;
use readside::lsn::Lsn;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::harness::{self, wait};

/// What the writers share.
pub(super) struct Shared {
    pub(super) stop: Cell<bool>,
    /// How often a sink was put back to what it had been: readers meet older states then.
    pub(super) restored: Cell<u32>,
    /// Numbers of commits, each with a position that the source had reached after its answer.
    pub(super) answered: RefCell<Vec<(i64, Lsn)>>,
    pub(super) counts: RefCell<Counts>,
}

#[derive(Default, Debug)]
pub(super) struct Counts {
    pub(super) committed: u64,
    pub(super) rolled_back: u64,
    pub(super) failed: u64,
}

impl Shared {
    pub(super) fn new() -> Shared {
        Shared {
            stop: Cell::new(false),
            restored: Cell::new(0),
            answered: RefCell::default(),
            counts: RefCell::default(),
        }
    }
}

/// One connection of the application, until told to stop; a new one whenever the server was away.
pub(super) async fn write(url: &str, mut rng: Rng, shared: &Shared) {
    let mut client: Option<Client> = None;
    // What a lost connection may have left behind keeps its locks.
    let mut prepared: Option<String> = None;
    while !shared.stop.get() || prepared.is_some() {
        let Some(connected) = client.take().filter(|client| !client.is_closed()) else {
            client = connect(url).await;
            if client.is_none() {
                wait::delay(Duration::from_millis(20)).await;
            }
            continue;
        };
        if let Some(name) = prepared.take() {
            let _ = connected.batch_execute(&format!("ROLLBACK PREPARED '{name}'")).await;
            prepared = connected.is_closed().then_some(name);
        } else {
            let draft = Draft::new(&mut rng);
            transaction(&connected, &draft, shared).await;
            if let End::Prepare { name, .. } = draft.end {
                prepared = connected.is_closed().then_some(name);
            }
        }
        client = Some(connected);
    }
}

async fn connect(url: &str) -> Option<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.ok()?;
    harness::beside(async move {
        // A lost connection shows in the calls on the client.
        let _ = connection.await;
    });
    Some(client)
}

async fn transaction(client: &Client, draft: &Draft, shared: &Shared) {
    match draft.execute(client).await {
        Ok(Some(n)) => {
            shared.counts.borrow_mut().committed += 1;
            let sql = "SELECT pg_current_wal_insert_lsn()::text";
            // Without an answer the commit may lie anywhere.
            if let Ok(row) = client.query_one(sql, &[]).await {
                let at: &str = row.get(0);
                shared.answered.borrow_mut().push((n, at.parse().unwrap()));
            }
        }
        Ok(None) => shared.counts.borrow_mut().rolled_back += 1,
        Err(error) => {
            shared.counts.borrow_mut().failed += 1;
            // Constraints, deadlocks, locks, a server that is away: an application's life. Anything
            // else is the test's fault.
            let code = error.code().map_or("", |code| code.code());
            let usual = ["23", "40", "55", "57"].iter().any(|class| code.starts_with(class));
            assert!(usual || code.is_empty(), "{error:?} in {draft:?}");
            let _ = client.batch_execute("ROLLBACK").await;
        }
    }
}

#[derive(Debug)]
struct Draft {
    statements: String,
    /// Rows for `kinds` or `visits`, by COPY, before the statements.
    copy: Option<(&'static str, String)>,
    end: End,
}

#[derive(Debug)]
enum End {
    Commit,
    Rollback,
    /// In two phases, under this name.
    Prepare {
        name: String,
        commit: bool,
    },
}

impl Draft {
    fn new(rng: &mut Rng) -> Draft {
        let many = rng.u32(0..100);
        let operations = match many {
            0..60 => rng.usize(1..4),
            60..95 => rng.usize(3..10),
            _ => rng.usize(20..120),
        };
        let mut statements = String::new();
        for _ in 0..operations {
            let operation = operation(rng);
            match rng.u32(0..20) {
                0 => {
                    statements += &format!("SAVEPOINT s; {operation}; ROLLBACK TO s;\n");
                }
                1 | 2 => {
                    let more = self::operation(rng);
                    statements += &format!("SAVEPOINT s; {operation}; {more}; RELEASE s;\n");
                }
                _ => statements += &format!("{operation};\n"),
            }
            if rng.u32(0..15) == 0 {
                statements += &format!("SELECT pg_sleep(0.0{:02});\n", rng.u32(0..30));
            }
        }
        if rng.u32(0..150) == 0 {
            statements += truncate(rng);
        }
        let copy = (rng.u32(0..15) == 0).then(|| copy(rng));
        let end = match rng.u32(0..40) {
            0..3 => End::Rollback,
            3 => End::Prepare { name: format!("p{}", rng.u64(..)), commit: rng.u32(0..4) > 0 },
            _ => End::Commit,
        };
        Draft { statements, copy, end }
    }

    /// The commit's number, `None` when it was rolled back.
    async fn execute(&self, client: &Client) -> Result<Option<i64>, tokio_postgres::Error> {
        client.batch_execute("BEGIN").await?;
        if let Some((table, rows)) = &self.copy {
            // They may be there already.
            client.batch_execute(&format!("DELETE FROM {table} WHERE id > 900")).await?;
            let statement = format!("COPY {table} FROM STDIN (FORMAT csv)");
            let mut sink = std::pin::pin!(client.copy_in::<_, Bytes>(&statement).await?);
            sink.send(Bytes::from(rows.clone())).await?;
            sink.as_mut().finish().await?;
        }
        let sealed = format!("{}SELECT oracle.seal();\n", self.statements);
        let (sealed, end) = match &self.end {
            End::Commit => (sealed + "COMMIT", None),
            End::Rollback => (sealed + "ROLLBACK", None),
            End::Prepare { name, commit } => {
                let verb = if *commit { "COMMIT" } else { "ROLLBACK" };
                let end = format!("{verb} PREPARED '{name}'");
                (format!("{sealed}PREPARE TRANSACTION '{name}'"), Some(end))
            }
        };
        let messages = client.simple_query(&sealed).await?;
        if let Some(end) = end {
            client.batch_execute(&end).await?;
        }
        if self.is_rolled_back() {
            return Ok(None);
        }
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(Some(rows.last().expect("seal() answers").parse().unwrap()))
    }

    fn is_rolled_back(&self) -> bool {
        matches!(self.end, End::Rollback | End::Prepare { commit: false, .. })
    }
}

fn truncate(rng: &mut Rng) -> &'static str {
    match rng.u32(0..9) {
        0 => "TRUNCATE accounts;\n",
        1 => "TRUNCATE pairs, prices;\n",
        2 => "TRUNCATE parents CASCADE;\n",
        3 => "TRUNCATE visits_us;\n",
        4 => "TRUNCATE visits_eu_new, full_bare;\n",
        5 => "TRUNCATE visits;\n",
        6 => "TRUNCATE aliased, \"Group\", \"Other Schema\".\"select\";\n",
        7 => "TRUNCATE full_key;\n",
        _ => "TRUNCATE kinds, visits_eu;\n",
    }
}

fn copy(rng: &mut Rng) -> (&'static str, String) {
    let rows = rng.u32(1..40);
    if rng.bool() {
        let row = |id: u32| format!("{id},{}\n", ",".repeat(20));
        ("kinds", (901..901 + rows).map(row).collect())
    } else {
        let row = |id: u32| {
            let (region, day) = (region(rng), day(rng));
            format!("{region},{day},{id},copied {}\n", rng.u32(..))
        };
        ("visits", (901..901 + rows).map(row).collect())
    }
}

/// One or several statements.
fn operation(rng: &mut Rng) -> String {
    match rng.u32(0..100) {
        0..18 => accounts(rng),
        18..29 => pairs(rng),
        29..38 => prices(rng),
        38..45 => groups(rng),
        45..50 => selects(rng),
        50..60 => aliased(rng),
        60..67 => full_key(rng),
        67..74 => full_bare(rng),
        74..83 => families(rng),
        83..93 => visits(rng),
        _ => kinds(rng),
    }
}

fn accounts(rng: &mut Rng) -> String {
    let (id, other) = (key(rng, 24), key(rng, 24));
    match rng.u32(0..20) {
        0..6 => format!(
            "INSERT INTO accounts VALUES ({id}, {}, {}, {}, {}, {}) ON CONFLICT (id) DO UPDATE
             SET owner = excluded.owner, balance = excluded.balance",
            text(rng),
            number(rng),
            large(rng),
            large_json(rng),
            timestamp(rng)
        ),
        6..11 => format!("UPDATE accounts SET balance = {} WHERE id = {id}", number(rng)),
        11..13 => {
            let touched = timestamp(rng);
            format!("UPDATE accounts SET touched = {touched} WHERE id BETWEEN {id} AND {other}")
        }
        13 => format!("UPDATE accounts SET note = {} WHERE id = {id}", large(rng)),
        14 => format!("UPDATE accounts SET meta = {} WHERE id = {id}", large_json(rng)),
        15 => format!("DELETE FROM accounts WHERE id = {id}"),
        16 => moved("accounts", "id", id, other),
        17 => swapped("accounts", "id", id, other, -1),
        18 => format!(
            "UPDATE accounts SET id = id + 1000, owner = {} WHERE id = {id};
             UPDATE accounts SET id = id - 1000 WHERE id = {id} + 1000",
            text(rng)
        ),
        _ => format!(
            "DELETE FROM accounts WHERE id = {id};
             INSERT INTO accounts VALUES ({id}, 'again')"
        ),
    }
}

fn pairs(rng: &mut Rng) -> String {
    let (a, b, quantity) = (key(rng, 5), word(rng), rng.i32(-50..50));
    match rng.u32(0..12) {
        0..5 => format!(
            "INSERT INTO pairs VALUES ({a}, {b}, {quantity}) ON CONFLICT (a, b)
             DO UPDATE SET quantity = pairs.quantity + 1"
        ),
        5..7 => format!("UPDATE pairs SET quantity = quantity + 1 WHERE a = {a}"),
        7 => format!("UPDATE pairs SET quantity = NULL WHERE a = {a} AND b = {b}"),
        8 => format!("DELETE FROM pairs WHERE a = {a} AND b > {b}"),
        9 => format!(
            "UPDATE pairs SET a = a + 100 WHERE a = {a};
             UPDATE pairs SET a = a - 100, quantity = quantity - 1 WHERE a > 100"
        ),
        10 => {
            let other = key(rng, 5);
            swapped("pairs", "a", a, other, -1)
        }
        _ => {
            let other = word(rng);
            format!(
                "UPDATE pairs SET b = {other} WHERE a = {a} AND b = {b} AND NOT EXISTS
                 (SELECT FROM pairs WHERE a = {a} AND b = {other})"
            )
        }
    }
}

fn prices(rng: &mut Rng) -> String {
    let amount = amount(rng);
    let label = word(rng);
    match rng.u32(0..8) {
        0..5 => format!(
            "INSERT INTO prices VALUES ({amount}, {label}, {}) ON CONFLICT (amount)
             DO UPDATE SET amount = excluded.amount, label = excluded.label",
            rng.i32(-9..9)
        ),
        5 => format!("UPDATE prices SET weight = {} WHERE amount = {amount}", double(rng)),
        6 => format!("UPDATE prices SET amount = {amount} WHERE amount = {amount}"),
        _ => format!("DELETE FROM prices WHERE amount = {amount}"),
    }
}

fn groups(rng: &mut Rng) -> String {
    let id = uuid(rng);
    match rng.u32(0..6) {
        0..3 => format!(
            "INSERT INTO \"Group\" VALUES ({id}, {}, {}, {}, ARRAY[{}, NULL, {}])
             ON CONFLICT (id) DO UPDATE SET \"select\" = excluded.\"select\"",
            rng.u32(0..9),
            text(rng),
            boolean(rng),
            text(rng),
            text(rng)
        ),
        3 => format!("UPDATE \"Group\" SET \"quo\"\"te\" = {} WHERE id = {id}", boolean(rng)),
        4 => format!("UPDATE \"Group\" SET \"select\" = NULL WHERE id = {id}"),
        _ => format!("DELETE FROM \"Group\" WHERE id = {id}"),
    }
}

fn selects(rng: &mut Rng) -> String {
    let (code, other) = (text(rng), text(rng));
    match rng.u32(0..6) {
        0..4 => format!(
            "INSERT INTO \"Other Schema\".\"select\" VALUES ({code}, {}, '{{\"a\": [1.50, {other:?}]}}')
             ON CONFLICT (\"Code\") DO UPDATE SET \"Order\" = excluded.\"Order\"",
            rng.i32(..)
        )
        // Quotes of SQL inside of JSON are no concern here.
        .replace(&format!("{other:?}"), "\"x\""),
        4 => format!("UPDATE \"Other Schema\".\"select\" SET \"Code\" = {other} WHERE \"Code\" = {code}
             AND NOT EXISTS (SELECT FROM \"Other Schema\".\"select\" WHERE \"Code\" = {other})"),
        _ => format!("DELETE FROM \"Other Schema\".\"select\" WHERE \"Code\" = {code}"),
    }
}

fn aliased(rng: &mut Rng) -> String {
    let (id, other) = (key(rng, 12), key(rng, 12));
    let code = format!("'code {}'", key(rng, 12));
    match rng.u32(0..14) {
        0..5 => format!(
            "INSERT INTO aliased SELECT {id}, {code}, {}, {} WHERE NOT EXISTS
             (SELECT FROM aliased WHERE id = {id} OR code = {code})",
            large(rng),
            number(rng)
        ),
        5..7 => format!("UPDATE aliased SET rank = {} WHERE id = {id}", number(rng)),
        7 => moved("aliased", "id", id, other),
        8..10 => format!(
            "UPDATE aliased SET id = CASE id WHEN {id} THEN {other} ELSE {id} END
             WHERE id IN ({id}, {other})"
        ),
        10 => format!(
            "UPDATE aliased SET code = {code} WHERE id = {id}
             AND NOT EXISTS (SELECT FROM aliased WHERE code = {code})"
        ),
        11 => format!(
            "UPDATE aliased SET id = {other}, code = code || '!' WHERE id = {id}
             AND NOT EXISTS (SELECT FROM aliased WHERE id = {other})"
        ),
        12 => format!(
            "DELETE FROM aliased WHERE id = {id};
             INSERT INTO aliased SELECT {id}, {code}, 'small', 1
             WHERE NOT EXISTS (SELECT FROM aliased WHERE code = {code})"
        ),
        _ => format!("DELETE FROM aliased WHERE code = {code}"),
    }
}

/// Rows that differ in nothing but their key would be equal on their way past each other, and
/// nothing could tell them apart: so the values differ.
fn full_key(rng: &mut Rng) -> String {
    let (id, other) = (key(rng, 12), key(rng, 12));
    match rng.u32(0..8) {
        0..3 => format!(
            "INSERT INTO full_key SELECT {id}, '{:016x}', {} WHERE NOT EXISTS
             (SELECT FROM full_key WHERE id = {id})",
            rng.u64(..),
            double(rng)
        ),
        3..5 => format!("UPDATE full_key SET size = {} WHERE id = {id}", double(rng)),
        5 => format!(
            "UPDATE full_key SET id = CASE id WHEN {id} THEN {other} ELSE {id} END
             WHERE id IN ({id}, {other})"
        ),
        // All move up and then down, each over its neighbour.
        6 => "UPDATE full_key SET id = id + 1; UPDATE full_key SET id = id - 1".into(),
        _ => format!("DELETE FROM full_key WHERE id = {id}"),
    }
}

fn full_bare(rng: &mut Rng) -> String {
    let (k, other) = (key(rng, 12), key(rng, 12));
    match rng.u32(0..8) {
        0..3 => format!(
            "INSERT INTO full_bare SELECT {k}, {}, {} WHERE NOT EXISTS
             (SELECT FROM full_bare WHERE k = {k})",
            word(rng),
            large(rng)
        ),
        3..5 => format!("UPDATE full_bare SET s = {} WHERE k = {k}", word(rng)),
        5 => format!(
            "UPDATE full_bare SET k = CASE k WHEN {k} THEN {other} ELSE {k} END
             WHERE k IN ({k}, {other})"
        ),
        6 => format!("UPDATE full_bare SET s = NULL WHERE k = {k}"),
        _ => format!("DELETE FROM full_bare WHERE k = {k}"),
    }
}

fn families(rng: &mut Rng) -> String {
    let (parent, other, child) = (key(rng, 6), key(rng, 6), key(rng, 20));
    match rng.u32(0..12) {
        0..2 => {
            format!("INSERT INTO parents VALUES ({parent}, {}) ON CONFLICT DO NOTHING", text(rng))
        }
        2..5 => format!(
            "INSERT INTO children SELECT {child}, id, {} FROM parents WHERE id = {parent}
             ON CONFLICT DO NOTHING;
             INSERT INTO grandchildren SELECT {}, id, {} FROM children WHERE id = {child}
             ON CONFLICT DO NOTHING",
            rng.i32(0..5),
            key(rng, 40),
            text(rng)
        ),
        5 => moved("parents", "id", parent, other),
        6..8 => format!(
            "UPDATE children SET parent = {other}, position = position + 1
             WHERE parent = {parent} AND EXISTS (SELECT FROM parents WHERE id = {other})"
        ),
        8 => moved("children", "id", child, key(rng, 20)),
        9 => format!(
            "UPDATE grandchildren SET child = NULL, text = {} WHERE id < {child}",
            text(rng)
        ),
        10 => format!("DELETE FROM children WHERE id = {child}"),
        _ => format!("DELETE FROM parents WHERE id = {parent}"),
    }
}

fn visits(rng: &mut Rng) -> String {
    let (id, from, to) = (key(rng, 10), region(rng), region(rng));
    let (day, other) = (day(rng), day(rng));
    let note = if rng.u32(0..4) == 0 { large(rng) } else { text(rng) };
    let free = |region: &str, day: &str| {
        format!(
            "NOT EXISTS (SELECT FROM visits f
                 WHERE f.region = '{region}' AND f.day = '{day}' AND f.id = v.id)"
        )
    };
    match rng.u32(0..10) {
        0..4 => format!(
            "INSERT INTO visits VALUES ('{from}', '{day}', {id}, {note})
             ON CONFLICT (region, day, id) DO UPDATE SET note = excluded.note"
        ),
        4..7 => format!(
            "UPDATE visits v SET region = '{to}' WHERE region = '{from}' AND day = '{day}' AND {}",
            free(to, day)
        ),
        7 => format!(
            "UPDATE visits v SET day = '{other}' WHERE id = {id} AND day = '{day}'
             AND region = '{from}' AND {}",
            free(from, other)
        ),
        8 => format!("UPDATE visits SET note = NULL WHERE id = {id}"),
        _ => format!("DELETE FROM visits WHERE region = '{from}' AND id <= {id}"),
    }
}

fn kinds(rng: &mut Rng) -> String {
    let id = key(rng, 12);
    let columns = [
        ("flag", boolean(rng).into()),
        ("small", rng.i16(..).to_string()),
        ("real", format!("'{}'::real", rng.f32() * 1e9)),
        ("\"double\"", double(rng)),
        ("exact", format!("{}", rng.i32(-999_999..999_999))),
        ("bytes", format!("'\\x{:08x}'", rng.u32(..))),
        (
            "day",
            format!("'{}'", pick(rng, &["2024-02-29", "infinity", "0044-03-15 BC", "12345-01-01"])),
        ),
        ("clock", "'23:59:59.999999'".into()),
        ("at", format!("'{}'", pick(rng, &["2001-01-01 00:00:00.1", "-infinity", "0001-01-01"]))),
        ("zoned", timestamp(rng)),
        ("span", format!("'{}'", pick(rng, &["1 year -2 days", "-00:00:01.5", "1 mon 25:00"]))),
        ("plain", "'{ \"b\":1.0,\"a\" : [ null ]}'".into()),
        ("numbers", format!("'{{{},NULL,-1}}'", rng.i32(..))),
        ("mood", format!("'{}'", pick(rng, &["sad", "ok", "very happy"]))),
        ("positive", rng.u16(1..).to_string()),
        ("address", format!("'10.0.0.{}/24'", rng.u8(..))),
        ("range", format!("int4range({}, NULL)", rng.i32(..))),
        ("spot", format!("ROW({}, {})", double(rng), text(rng))),
        ("fixed", format!("left({}, 5)", text(rng))),
        ("varied", format!("left({}, 20)", text(rng))),
        ("bits", format!("B'{:b}'", rng.u8(..))),
    ];
    let some: Vec<_> = columns.iter().filter(|_| rng.u32(0..3) == 0).collect();
    let (name, value) = &columns[rng.usize(..columns.len())];
    match rng.u32(0..6) {
        0..3 if !some.is_empty() => {
            let names: Vec<_> = some.iter().map(|(name, _)| *name).collect();
            let values: Vec<_> = some.iter().map(|(_, value)| value.as_str()).collect();
            format!(
                "INSERT INTO kinds (id, {}) VALUES ({id}, {}) ON CONFLICT DO NOTHING",
                names.join(", "),
                values.join(", ")
            )
        }
        3 => format!("DELETE FROM kinds WHERE id = {id}"),
        _ => format!("UPDATE kinds SET {name} = {value} WHERE id = {id}"),
    }
}

fn moved(table: &str, column: &str, from: u32, to: u32) -> String {
    format!(
        "UPDATE {table} SET {column} = {to} WHERE {column} = {from}
         AND NOT EXISTS (SELECT FROM {table} WHERE {column} = {to})"
    )
}

fn swapped(table: &str, column: &str, one: u32, other: u32, aside: i32) -> String {
    format!(
        "UPDATE {table} SET {column} = {aside} WHERE {column} = {one};
         UPDATE {table} SET {column} = {one} WHERE {column} = {other};
         UPDATE {table} SET {column} = {other} WHERE {column} = {aside}"
    )
}

/// The small ones most of the time.
fn key(rng: &mut Rng, below: u32) -> u32 {
    rng.u32(0..below).min(rng.u32(0..below))
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

fn word(rng: &mut Rng) -> String {
    format!("'{}'", pick(rng, &["a", "b", "c", "A", "z:y", "", "ä ö", "{x}", "|"]))
}

fn text(rng: &mut Rng) -> String {
    let texts = [
        "''",
        "'plain'",
        "'O''Brien'",
        "E'tab\\tnew\\nline\\\\'",
        "'{braces}'",
        "'\"quoted\"'",
        "'ünï — 漢字 🦉'",
        "'NULL'",
        "' padded '",
        "'a:b|c'",
    ];
    match rng.u32(0..4) {
        0 => format!("'{:x}'", rng.u32(..)),
        _ => pick(rng, &texts).into(),
    }
}

fn large(rng: &mut Rng) -> String {
    format!("repeat('{:08x}', {})", rng.u32(..), rng.u32(1_100..1_800))
}

fn large_json(rng: &mut Rng) -> String {
    let (first, count) = (rng.u32(..), rng.u32(800..1_200));
    format!(
        "(SELECT jsonb_object_agg('key' || i, {first} + i * 1.50) FROM generate_series(1, {count}) i)"
    )
}

fn number(rng: &mut Rng) -> String {
    match rng.u32(0..6) {
        0 => "NULL".into(),
        1 => format!("{}.{:03}", rng.i64(-1_000_000_000_000..1_000_000_000_000), rng.u32(0..1000)),
        2 => pick(rng, &["0.00", "1e20", "12345678901234567890.123456789012345678901234567890"])
            .into(),
        _ => rng.i32(-1000..1000).to_string(),
    }
}

fn double(rng: &mut Rng) -> String {
    match rng.u32(0..4) {
        0 => format!("'{}'::float8", pick(rng, &["infinity", "-infinity", "-0", "1e-300", "0.1"])),
        _ => format!("'{}'::float8", rng.f64() * 1e6),
    }
}

/// Some of them equal, and printed differently.
fn amount(rng: &mut Rng) -> String {
    let amounts =
        ["1", "1.0", "1.00", "2.5", "2.50", "0", "0.000", "100", "-7.10", "-7.1", "'NaN'"];
    pick(rng, &amounts).into()
}

fn timestamp(rng: &mut Rng) -> String {
    match rng.u32(0..8) {
        0 => "NULL".into(),
        1 => format!("'{}'::timestamptz", pick(rng, &["infinity", "-infinity"])),
        _ => format!("'2024-01-01'::timestamptz + {} * interval '1 microsecond'", rng.u32(..)),
    }
}

fn boolean(rng: &mut Rng) -> &'static str {
    if rng.bool() { "true" } else { "false" }
}

fn uuid(rng: &mut Rng) -> String {
    format!("'00000000-0000-4000-8000-{:012x}'", key(rng, 20))
}

fn region(rng: &mut Rng) -> &'static str {
    pick(rng, &["eu", "us", "eu", "ap", "x:y"])
}

fn day(rng: &mut Rng) -> &'static str {
    pick(rng, &["2019-12-31", "2020-01-01", "2024-02-29"])
}
