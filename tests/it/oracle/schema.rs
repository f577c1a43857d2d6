//! The oracle's tables: every way in which Postgres names a row, moves it, cascades it or leaves a
//! part of it out of the stream.
//!
//! Each table is *tracked*: triggers write every row's going and coming, as text, to `oracle.log`,
//! and each transaction ends with `oracle.seal()`, which numbers it. The number's row is locked from
//! then to the commit, so the numbers are in the order of the commits, while all that a transaction
//! did before runs beside the others. So the sum of the log up to a number is the state at that
//! commit, exactly. What is a query is asked by `oracle.seal()`, which logs how its answer differs from
//! the last one: it holds the number's row, so it sees what this commit leaves. What occurs is asked there, too
//! (`occurrence.rs`).

use super::occurrence::{self, EVENTS};

/// One projection: a table, and what each sink is to make of it.
pub(super) struct Table {
    /// The projection's name, and its table's in the Postgres sink.
    pub(super) name: &'static str,
    /// As SQL and the configuration write it.
    pub(super) sql: &'static str,
    pub(super) key: &'static [&'static str],
    /// Whether the configuration has to name the key.
    pub(super) key_named: bool,
    pub(super) redis: &'static [Target],
    /// Of the sorted set: the column, and SQL for the score over the row `$1`.
    pub(super) score: Option<(&'static str, &'static str)>,
    /// The relations that hold its rows, when the table itself does not.
    pub(super) leaves: &'static [&'static str],
    /// `sql` is a query in parentheses.
    pub(super) is_query: bool,
    /// In Postgres.
    pub(super) has_history: bool,
}

/// A template each; names of columns in braces.
pub(super) enum Target {
    Hash(&'static str),
    Json(&'static str),
    Set(&'static str, &'static str),
    SortedSet(&'static str, &'static str),
}

impl Table {
    const fn new(
        name: &'static str,
        key: &'static [&'static str],
        redis: &'static [Target],
    ) -> Table {
        Table {
            name,
            sql: name,
            key,
            key_named: false,
            redis,
            score: None,
            leaves: &[],
            is_query: false,
            has_history: false,
        }
    }
}

impl Table {
    const fn query(
        name: &'static str,
        sql: &'static str,
        key: &'static [&'static str],
        redis: &'static [Target],
    ) -> Table {
        let table = Table::new(name, key, redis);
        Table { sql, key_named: true, is_query: true, ..table }
    }

    /// SQL for the score over the row `t`.
    pub(super) fn score_of_t(&self) -> String {
        match self.score {
            Some((_, sql)) => format!("({})::float8::text", sql.replace("$1", "t")),
            None => "NULL::text".into(),
        }
    }
}

/// The table of the numbers that `oracle.seal()` gives.
pub(super) const SEQUENCE: &str = "sequence";

pub(super) const TABLES: &[Table] = &[
    Table { has_history: true, ..Table::new(SEQUENCE, &["id"], &[Target::Hash("sequence:{id}")]) },
    Table {
        has_history: true,
        score: Some(("touched", "extract(epoch FROM ($1).touched)")),
        ..Table::new(
            "accounts",
            &["id"],
            &[
                Target::Hash("account:{id}"),
                Target::Json("account-json:{id}"),
                Target::SortedSet("accounts-by-touch", "{id}"),
            ],
        )
    },
    Table {
        has_history: true,
        score: Some(("quantity", "($1).quantity")),
        ..Table::new(
            "pairs",
            &["a", "b"],
            &[
                Target::Hash("pair:{a}:{b}"),
                Target::Set("pairs:{a}", "{b}"),
                Target::SortedSet("pairs-by-quantity:{a}", "{b}"),
            ],
        )
    },
    Table {
        score: Some(("weight", "($1).weight")),
        ..Table::new(
            "prices",
            &["amount"],
            &[
                Target::Hash("price:{amount}"),
                Target::SortedSet("prices-by-weight", "{amount}"),
                Target::Set("prices:{label}", "{amount}"),
            ],
        )
    },
    Table {
        sql: "\"Group\"",
        ..Table::new(
            "groups",
            &["id"],
            &[Target::Hash("group:{id}"), Target::Set("groups:{select}", "{id}")],
        )
    },
    Table {
        sql: "\"Other Schema\".\"select\"",
        ..Table::new("selects", &["Code"], &[Target::Json("select:{Code}")])
    },
    Table {
        has_history: true,
        score: Some(("rank", "($1).rank")),
        ..Table::new(
            "aliased",
            &["id"],
            &[Target::Hash("aliased:{id}"), Target::SortedSet("aliased-by-rank:{code}", "{id}")],
        )
    },
    Table::new("full_key", &["id"], &[Target::Hash("full-key:{id}")]),
    Table {
        key_named: true,
        ..Table::new(
            "full_bare",
            &["k"],
            &[Target::Hash("full-bare:{k}"), Target::Set("full-bare-by:{s}", "{k}")],
        )
    },
    Table::new("parents", &["id"], &[Target::Hash("parent:{id}")]),
    Table {
        score: Some(("position", "($1).position")),
        ..Table::new(
            "children",
            &["id"],
            &[Target::Hash("child:{id}"), Target::SortedSet("children-of:{parent}", "{id}")],
        )
    },
    Table::new("grandchildren", &["id"], &[Target::Set("grandchildren-of:{child}", "{id}")]),
    Table {
        leaves: &["visits_eu_old", "visits_eu_new", "visits_us", "visits_other"],
        ..Table::new(
            "visits",
            &["region", "day", "id"],
            &[
                Target::Hash("visit:{region}:{day}:{id}"),
                Target::Json("visit-json:{id}:{day}:{region}"),
            ],
        )
    },
    Table::new("kinds", &["id"], &[Target::Hash("kind:{id}"), Target::Json("kind-json:{id}")]),
    Table {
        has_history: true,
        score: Some(("children", "($1).children")),
        ..Table::query(
            "families",
            "(SELECT p.id, p.name, count(c.id) AS children, sum(c.position) AS positions,
                     jsonb_agg(jsonb_build_object('id', c.id, 'position', c.position) ORDER BY c.id)
                       FILTER (WHERE c.id IS NOT NULL) AS members
              FROM parents p LEFT JOIN children c ON c.parent = p.id
              GROUP BY p.id)",
            &["id"],
            &[
                Target::Hash("family:{id}"),
                Target::Json("family-json:{id}"),
                Target::SortedSet("families-by-size", "{id}"),
                Target::Set("families-of:{children}", "{id}"),
            ],
        )
    },
    Table::query(
        "regions",
        "(SELECT v.region, count(*) AS visits, min(v.day) AS first, max(v.id) AS last_id
          FROM visits v GROUP BY v.region)",
        &["region"],
        &[Target::Hash("region:{region}"), Target::Set("regions-with:{visits}", "{region}")],
    ),
    Table::query(
        "ranked_accounts",
        "(SELECT a.id, a.owner, a.balance, x.code, x.rank
          FROM accounts a JOIN aliased x ON x.id = a.id
          WHERE a.balance IS NOT NULL OR x.rank > 0)",
        &["id"],
        &[Target::Hash("ranked:{id}"), Target::Set("ranked-by:{code}", "{id}")],
    ),
];

/// The application's tables; `track` puts the triggers on them.
pub(super) fn ddl(database: &str) -> String {
    let mut sql = format!(
        "ALTER DATABASE {database} SET TimeZone = 'UTC';
         ALTER DATABASE {database} SET deadlock_timeout = '100ms';
         ALTER DATABASE {database} SET lock_timeout = '5s';
         SET TimeZone = 'UTC';
         {APPLICATION}
         {TRACKING}
         {}
         {}",
        occurrence::tracking(),
        seal()
    );
    for table in TABLES.iter().filter(|table| !table.is_query) {
        let score = table.score.map_or("NULL".into(), |(_, score)| format!("'{score}'"));
        let (name, of) = (table.name, table.sql);
        sql += &format!(
            "CREATE TRIGGER track AFTER INSERT OR UPDATE OR DELETE ON {of}
             FOR EACH ROW EXECUTE FUNCTION oracle.track('{name}', {score});"
        );
        let itself = [of];
        let leaves = if table.leaves.is_empty() { &itself[..] } else { table.leaves };
        for leaf in leaves {
            sql += &format!(
                "CREATE TRIGGER track_truncate BEFORE TRUNCATE ON {leaf}
                 FOR EACH STATEMENT EXECUTE FUNCTION oracle.track_truncate('{name}', {score});"
            );
        }
    }
    sql
}

const APPLICATION: &str = r#"
CREATE TABLE sequence (id int PRIMARY KEY, n bigint NOT NULL);

-- Large values out of line, never compressed: the stream leaves them out when they are untouched.
CREATE TABLE accounts (
  id int PRIMARY KEY, owner text, balance numeric, note text, meta jsonb, touched timestamptz);
ALTER TABLE accounts ALTER note SET STORAGE EXTERNAL, ALTER meta SET STORAGE EXTERNAL;

CREATE TABLE pairs (a int, b text, quantity int, PRIMARY KEY (a, b));

-- Equal keys with different texts.
CREATE TABLE prices (amount numeric PRIMARY KEY, label text, weight float8);

CREATE TABLE "Group" (
  id uuid PRIMARY KEY, "select" int, "Mixed Case" text, "quo""te" boolean, "from" text[]);

CREATE SCHEMA "Other Schema";
CREATE TABLE "Other Schema"."select" ("Code" text PRIMARY KEY, "Order" int, "a.b" jsonb);

-- The stream names its rows by code alone; the projection is keyed by id.
CREATE TABLE aliased (
  id int NOT NULL, code text NOT NULL, payload text, rank numeric,
  PRIMARY KEY (id) DEFERRABLE);
CREATE UNIQUE INDEX aliased_code ON aliased (code);
ALTER TABLE aliased REPLICA IDENTITY USING INDEX aliased_code;
ALTER TABLE aliased ALTER payload SET STORAGE EXTERNAL;

-- A deferrable key is unique at the end of a statement or transaction only.
CREATE TABLE full_key (
  id int, value text, size float8, PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE full_key REPLICA IDENTITY FULL;

CREATE TABLE full_bare (
  k int NOT NULL, s text, big text, UNIQUE (k) DEFERRABLE);
ALTER TABLE full_bare REPLICA IDENTITY FULL;
ALTER TABLE full_bare ALTER big SET STORAGE EXTERNAL;

CREATE TABLE parents (id int PRIMARY KEY, name text);
CREATE TABLE children (
  id int PRIMARY KEY,
  parent int NOT NULL REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE,
  position int);
CREATE TABLE grandchildren (
  id int PRIMARY KEY,
  child int REFERENCES children ON DELETE SET NULL ON UPDATE CASCADE,
  text text);

CREATE TABLE visits (region text, day date, id int, note text, PRIMARY KEY (region, day, id))
  PARTITION BY LIST (region);
CREATE TABLE visits_eu PARTITION OF visits FOR VALUES IN ('eu') PARTITION BY RANGE (day);
CREATE TABLE visits_eu_old PARTITION OF visits_eu FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
-- Attached with its columns in another order.
CREATE TABLE visits_eu_new (note text, id int NOT NULL, gone int, day date NOT NULL, region text NOT NULL);
ALTER TABLE visits_eu_new DROP COLUMN gone;
ALTER TABLE visits_eu ATTACH PARTITION visits_eu_new FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
CREATE TABLE visits_us PARTITION OF visits FOR VALUES IN ('us');
CREATE TABLE visits_other PARTITION OF visits DEFAULT;
ALTER TABLE visits_us ALTER note SET STORAGE EXTERNAL;

CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE spot AS (x float8, "label text" text);
CREATE TABLE kinds (
  id bigint PRIMARY KEY, flag boolean, small smallint, real real, double double precision,
  exact numeric(12, 3), bytes bytea, day date, clock time, at timestamp, zoned timestamptz,
  span interval, plain json, numbers int[], mood mood, positive positive, address inet,
  range int4range, spot spot, fixed char(5), varied varchar(20), bits bit varying(9));
"#;

const TRACKING: &str = r#"
CREATE EXTENSION hstore;
CREATE SCHEMA oracle;
CREATE TABLE oracle.log (
  at bigserial PRIMARY KEY, xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  name text, weight int, fields json, document text, score text);
CREATE TABLE oracle.commits (n bigint PRIMARY KEY, xid xid8, before pg_lsn);

CREATE FUNCTION oracle.entry(name text, weight int, of record, score text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE value text;
BEGIN
  IF score IS NOT NULL THEN
    EXECUTE 'SELECT (' || score || ')::float8::text' INTO value USING of;
  END IF;
  INSERT INTO oracle.log (name, weight, fields, document, score)
  VALUES (name, weight, hstore_to_json(hstore(of)), to_jsonb(of)::text, value);
END $$;

CREATE FUNCTION oracle.track() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN PERFORM oracle.entry(TG_ARGV[0], -1, OLD, TG_ARGV[1]); END IF;
  IF TG_OP <> 'DELETE' THEN PERFORM oracle.entry(TG_ARGV[0], 1, NEW, TG_ARGV[1]); END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION oracle.track_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('SELECT oracle.entry($1, -1, t, $2) FROM ONLY %s t', TG_RELID::regclass)
    USING TG_ARGV[0], TG_ARGV[1];
  RETURN NULL;
END $$;

CREATE TABLE oracle.answers (name text, fields text, document text, score text);
CREATE FUNCTION oracle.answered(name text, query text, score text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format(
    'WITH now AS MATERIALIZED (
       SELECT hstore_to_json(hstore(t))::text AS fields, to_jsonb(t)::text AS document,
              %1$s AS score FROM %2$s t),
     gone AS (
       DELETE FROM oracle.answers a WHERE a.name = %3$L AND NOT EXISTS
         (SELECT FROM now WHERE now.fields = a.fields AND now.document = a.document) RETURNING *),
     come AS (
       INSERT INTO oracle.answers SELECT %3$L, * FROM now WHERE NOT EXISTS
         (SELECT FROM oracle.answers a WHERE a.name = %3$L AND now.fields = a.fields
            AND now.document = a.document) RETURNING *)
     INSERT INTO oracle.log (name, weight, fields, document, score)
     SELECT name, -1, fields::json, document, score FROM gone UNION ALL
     SELECT name, 1, fields::json, document, score FROM come', score, query, name);
END $$;
"#;

fn seal() -> String {
    let answered = TABLES.iter().filter(|table| table.is_query).map(|table| {
        let (name, sql, score) = (table.name, table.sql, table.score_of_t());
        format!("PERFORM oracle.answered('{name}', $q${sql}$q$, $q${score}$q$);\n")
    });
    format!(
        "CREATE FUNCTION oracle.seal() RETURNS bigint LANGUAGE plpgsql AS $$
         DECLARE number bigint;
         BEGIN
           UPDATE sequence SET n = n + 1 RETURNING n INTO number;
           {}
           INSERT INTO oracle.commits
           VALUES (number, pg_current_xact_id(), pg_current_wal_insert_lsn());
           {}
           RETURN number;
         END $$;",
        answered.collect::<String>(),
        occurrence::sealing()
    )
}

/// `index`: what the names of the search server's indexes begin with; `None`: no such sink.
pub(super) fn config(
    source: &str,
    reporting: &str,
    cache: &str,
    search: Option<&Search>,
    step_rows: Option<u32>,
) -> String {
    let steps = step_rows.map(|rows| format!("step_rows = {rows}\n")).unwrap_or_default();
    let mut toml = format!(
        "[source]\nurl = {source:?}\n\
         [sink.reporting.postgres]\nurl = {reporting:?}\n{steps}\
         [sink.cache.redis]\nurl = {cache:?}\n{steps}"
    );
    if let Some(search) = search {
        toml += &format!("[sink.search.elasticsearch]\nurl = {:?}\n", search.url);
    }
    for table in TABLES {
        let name = table.name;
        toml += &match table.is_query {
            true => {
                let query = table.sql.trim_start_matches('(').strip_suffix(')').unwrap();
                format!("[projection.{name}]\nquery = {query:?}\n")
            }
            false => format!("[projection.{name}]\ntable = {:?}\n", table.sql),
        };
        if table.key_named {
            toml += &format!("key = {:?}\n", table.key);
        }
        toml += &match table.has_history {
            true => {
                format!("to.reporting = {{ table = \"{name}\", history = \"{name}_history\" }}\n")
            }
            false => format!("to.reporting = {{ table = \"{name}\" }}\n"),
        };
        let targets = table.redis.iter().map(|target| match target {
            Target::Hash(key) => format!("{{ hash = {key:?} }}"),
            Target::Json(key) => format!("{{ json = {key:?} }}"),
            Target::Set(key, member) => format!("{{ set = {key:?}, member = {member:?} }}"),
            Target::SortedSet(key, member) => {
                let (score, _) = table.score.expect("a sorted set has a score");
                format!("{{ sorted_set = {key:?}, member = {member:?}, score = {score:?} }}")
            }
        });
        toml += &format!("to.cache = [{}]\n", targets.collect::<Vec<_>>().join(", "));
        if let Some(search) = search {
            toml += &format!("to.search = {{ index = {:?} }}\n", search.index(name));
        }
    }
    for event in EVENTS {
        toml += &event.config(search.map(|search| search.index(event.name)).as_deref());
    }
    toml
}

/// The search server's place in the configuration.
#[derive(Clone)]
pub(super) struct Search {
    pub(super) url: String,
    pub(super) prefix: String,
}

impl Search {
    pub(super) fn index(&self, projection: &str) -> String {
        format!("{}_{projection}", self.prefix)
    }
}
