//! Random queries of the subset that is maintained, over one schema. The same seed gives the same query.

mod shapes;

use fastrand::Rng;

/// With keys of int4.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, region text NOT NULL, name text, credit numeric(10,2));
    CREATE TABLE orders (
        id int PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, total bigint NOT NULL,
        weight float8, placed timestamptz NOT NULL, parent_id int);
    CREATE TABLE items (
        id int PRIMARY KEY, order_id int NOT NULL, product_id int, quantity int NOT NULL,
        price numeric);
    CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL, price numeric, active bool NOT NULL);
    CREATE TABLE tags (order_id int, tag text, PRIMARY KEY (order_id, tag));
    CREATE TABLE things (
        id numeric PRIMARY KEY, a int, b smallint, n numeric, f float8, t text, d date, ts timestamp,
        tz timestamptz, iv interval, j jsonb, arr int[], words text[], bl bool, bp char(4), by bytea);";

/// The type of all keys of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyType {
    pub(crate) name: &'static str,
    is_number: bool,
    /// There is a max of it.
    is_aggregated: bool,
}

const fn key_type(name: &'static str, is_number: bool, is_aggregated: bool) -> KeyType {
    KeyType { name, is_number, is_aggregated }
}

pub(crate) const INT: KeyType = key_type("int", true, true);

pub(crate) const KEY_TYPES: [KeyType; 13] = [
    INT,
    key_type("text", false, true),
    key_type("uuid", false, false),
    key_type("numeric", true, true),
    key_type("bytea", false, false),
    key_type("timestamptz", false, true),
    key_type("char(6)", false, true),
    key_type("bigint", true, true),
    key_type("date", false, true),
    key_type("float8", true, true),
    key_type("varchar(20)", false, true),
    key_type("smallint", true, true),
    key_type("time", false, true),
];

impl KeyType {
    pub(crate) fn schema(&self) -> String {
        let keys = ["id", "customer_id", "order_id", "product_id", "parent_id"];
        keys.iter().fold(SCHEMA.to_owned(), |schema, key| {
            schema.replace(&format!("{key} int"), &format!("{key} {}", self.name))
        })
    }

    /// The n-th key; numbers may be written in more than one way.
    pub(crate) fn literal(&self, rng: &mut Rng, n: u8) -> String {
        match self.name {
            "text" | "varchar(20)" => format!("'k {n}'"),
            "char(6)" => format!("'k{n}'"),
            "uuid" => format!("'00000000-0000-4000-8000-0000000000{n:02x}'"),
            "numeric" if rng.bool() => format!("{n}.0"),
            "bytea" => format!("'\\x00{n:02x}'"),
            "timestamptz" => format!("'2024-01-{:02} 10:00:00.5Z'", 1 + n),
            "date" => format!("'2024-02-{:02}'", 1 + n),
            "time" => format!("'10:{n:02}:00'"),
            "float8" if n == 1 => (if rng.bool() { "'-0'" } else { "0" }).to_owned(),
            _ => n.to_string(),
        }
    }
}

/// A query, and the key that it does not show by itself.
#[derive(Debug)]
pub(crate) struct Generated {
    pub(crate) sql: String,
    pub(crate) key: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Key,
    Int,
    Numeric,
    Float,
    Text,
    Bool,
    Time,
}

struct Table {
    name: &'static str,
    key: &'static [&'static str],
    columns: &'static [(&'static str, Kind)],
}

const TABLES: [Table; 5] = [
    Table {
        name: "customers",
        key: &["id"],
        columns: &[
            ("id", Kind::Key),
            ("region", Kind::Text),
            ("name", Kind::Text),
            ("credit", Kind::Numeric),
        ],
    },
    Table {
        name: "orders",
        key: &["id"],
        columns: &[
            ("id", Kind::Key),
            ("customer_id", Kind::Key),
            ("status", Kind::Text),
            ("total", Kind::Int),
            ("weight", Kind::Float),
            ("placed", Kind::Time),
            ("parent_id", Kind::Key),
        ],
    },
    Table {
        name: "items",
        key: &["id"],
        columns: &[
            ("id", Kind::Key),
            ("order_id", Kind::Key),
            ("product_id", Kind::Key),
            ("quantity", Kind::Int),
            ("price", Kind::Numeric),
        ],
    },
    Table {
        name: "products",
        key: &["id"],
        columns: &[
            ("id", Kind::Key),
            ("name", Kind::Text),
            ("price", Kind::Numeric),
            ("active", Kind::Bool),
        ],
    },
    Table {
        name: "tags",
        key: &["order_id", "tag"],
        columns: &[("order_id", Kind::Key), ("tag", Kind::Text)],
    },
];

/// Columns that refer to each other: table, column, table, column.
const REFERENCES: [(usize, &str, usize, &str); 6] = [
    (1, "customer_id", 0, "id"),
    (2, "order_id", 1, "id"),
    (2, "product_id", 3, "id"),
    (4, "order_id", 1, "id"),
    (4, "order_id", 2, "order_id"),
    (1, "parent_id", 1, "id"),
];

/// A relation of FROM under its alias.
#[derive(Clone)]
struct Source {
    alias: String,
    table: usize,
}

impl Source {
    fn keys(&self) -> impl Iterator<Item = String> {
        TABLES[self.table].key.iter().map(move |key| format!("{}.{key}", self.alias))
    }
}

pub(crate) fn query(rng: &mut Rng) -> Generated {
    query_over(INT, rng)
}

/// A query over a schema whose keys are of this type.
pub(crate) fn query_over(key: KeyType, rng: &mut Rng) -> Generated {
    let mut generator = Generator { rng, aliases: 0, key };
    let (sql, key) = match generator.rng.u8(0..17) {
        0..=3 => (generator.plain(), None),
        4..=6 => (generator.grouped(), None),
        7 => (generator.distinct(), None),
        8 => (generator.first_of_each(), None),
        9 => (generator.twice(), None),
        10 => (generator.derived(), None),
        11 | 12 => (generator.expanded(), None),
        13 => (generator.set(), None),
        14 => (generator.full(), None),
        15 => (generator.running(), None),
        _ => (generator.union(), Some(vec!["kind".to_owned(), "id".to_owned()])),
    };
    Generated { sql, key }
}

struct Generator<'g> {
    rng: &'g mut Rng,
    aliases: usize,
    key: KeyType,
}

impl Generator<'_> {
    fn pick<T: Clone>(&mut self, among: &[T]) -> T {
        among[self.rng.usize(0..among.len())].clone()
    }

    fn chance(&mut self, of: u8) -> bool {
        self.rng.u8(0..of) == 0
    }

    fn alias(&mut self, table: usize) -> Source {
        self.aliases += 1;
        Source { alias: format!("t{}", self.aliases), table }
    }

    /// Joined tables, each with an equality to one before it.
    fn from(&mut self) -> (String, Vec<Source>) {
        let first = self.rng.usize(0..TABLES.len());
        let first = self.alias(first);
        let mut text = format!("{} {}", TABLES[first.table].name, first.alias);
        let mut sources = vec![first];
        for _ in 0..self.rng.usize(0..4) {
            let before = self.pick(&sources);
            let Some((own, table, other)) = self.reference(before.table) else { continue };
            let joined = self.alias(table);
            let kind = self.pick(&["JOIN", "LEFT JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN"]);
            if own == other && sources.len() == 1 && self.chance(2) {
                text.push_str(&format!(
                    " {kind} {} {} USING ({own})",
                    TABLES[table].name, joined.alias
                ));
                sources.push(joined);
                continue;
            }
            text.push_str(&format!(
                " {kind} {} {} ON {}.{other} = {}.{own}",
                TABLES[table].name, joined.alias, joined.alias, before.alias
            ));
            if self.chance(4) {
                let more = self.condition(std::slice::from_ref(&joined), 1);
                text.push_str(&format!(" AND {more}"));
            }
            sources.push(joined);
        }
        (text, sources)
    }

    /// A column of the table, and what it is equal to elsewhere.
    fn reference(&mut self, table: usize) -> Option<(&'static str, usize, &'static str)> {
        let there = REFERENCES.iter().filter(|r| r.0 == table).map(|r| (r.1, r.2, r.3));
        let back = REFERENCES.iter().filter(|r| r.2 == table).map(|r| (r.3, r.0, r.1));
        let all: Vec<_> = there.chain(back).collect();
        (!all.is_empty()).then(|| self.pick(&all))
    }

    fn filter(&mut self, sources: &[Source]) -> String {
        let mut parts = Vec::new();
        if self.chance(2) {
            parts.push(self.condition(sources, 2));
        }
        if self.chance(4) {
            parts.extend(self.exists(sources, false));
        }
        if self.chance(6) {
            let source = self.pick(sources);
            let not = self.pick(&["", "NOT "]);
            let key = self.pick(&["order_id", "product_id"]);
            let column = TABLES[source.table].key[0];
            let only = self.pick(&["", " WHERE product_id IS NOT NULL", " WHERE quantity > 20"]);
            parts
                .push(format!("{}.{column} {not}IN (SELECT {key} FROM items{only})", source.alias));
        }
        match parts.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", parts.join(" AND ")),
        }
    }

    /// As a value, what it compares with the surrounding row beside the equality is that row's alone.
    fn exists(&mut self, sources: &[Source], as_value: bool) -> Option<String> {
        let outer = self.pick(sources);
        let (own, table, other) = self.reference(outer.table)?;
        let inner = self.alias(table);
        let not = self.pick(&["", "NOT "]);
        let more = match self.chance(3) {
            // Another level.
            true => {
                self.exists(std::slice::from_ref(&inner), false).unwrap_or_else(|| "true".into())
            }
            false if as_value => {
                let one = self.pick(&[inner.clone(), outer.clone()]);
                self.condition(&[one], 1)
            }
            false => self.condition(&[inner.clone(), outer.clone()], 1),
        };
        Some(format!(
            "{not}EXISTS (SELECT 1 FROM {} {} WHERE {}.{other} = {}.{own} AND {more})",
            TABLES[table].name, inner.alias, inner.alias, outer.alias
        ))
    }

    /// A scalar subquery over rows of the source.
    fn subquery(&mut self, sources: &[Source]) -> Option<String> {
        let outer = self.pick(sources);
        let (own, table, other) = self.reference(outer.table)?;
        let inner = self.alias(table);
        let last = TABLES[table].key.last().copied().unwrap_or_default();
        let name = &inner.alias;
        let value = match self.rng.u8(0..5) {
            0 => {
                let (column, _) = self.pick(TABLES[table].columns);
                return Some(format!(
                    "(SELECT {name}.{column} FROM {} {name} WHERE {name}.{other} = {}.{own} \
                     ORDER BY {name}.{other}, {name}.{last} DESC LIMIT 1)",
                    TABLES[table].name, outer.alias
                ));
            }
            1 => return self.exists(sources, true),
            2 => "count(*)".to_owned(),
            3 => format!("coalesce(sum({}), 0)", self.number(std::slice::from_ref(&inner), 1)),
            _ if !self.key.is_aggregated => {
                format!("count(DISTINCT {}.{})", inner.alias, TABLES[table].columns[0].0)
            }
            _ => format!("max({}.{})", inner.alias, TABLES[table].columns[0].0),
        };
        Some(format!(
            "(SELECT {value} FROM {} {} WHERE {}.{other} = {}.{own})",
            TABLES[table].name, inner.alias, inner.alias, outer.alias
        ))
    }

    fn plain(&mut self) -> String {
        let (from, sources) = self.from();
        let keys: Vec<String> = sources.iter().flat_map(Source::keys).collect();
        let mut items: Vec<String> =
            keys.iter().enumerate().map(|(at, key)| format!("{key} AS k{at}")).collect();
        for at in 0..self.rng.usize(0..4) {
            let item = match self.rng.u8(0..7) {
                0 | 4 => self.subquery(&sources).unwrap_or_else(|| "1".into()),
                1 => self.condition(&sources, 1),
                2 => {
                    let (a, b) = (self.value(&sources, 1), self.number(&sources, 1));
                    format!("jsonb_build_object('a', {a}, 'b', {b})")
                }
                _ => self.value(&sources, 2),
            };
            items.push(format!("{item} AS c{at}"));
        }
        let filter = self.filter(&sources);
        format!("SELECT {} FROM {from}{filter}", items.join(", "))
    }

    fn aggregate(&mut self, sources: &[Source]) -> String {
        let number = self.number(sources, 1);
        let filter = match self.chance(4) {
            true => format!(" FILTER (WHERE {})", self.condition(sources, 1)),
            false => String::new(),
        };
        let call = match self.rng.u8(0..9) {
            0 => "count(*)".to_owned(),
            1 => format!("count(DISTINCT {number})"),
            2 => format!("sum({number})"),
            3 => format!("avg({number})"),
            4 => format!("min({number})"),
            5 => format!("max({number})"),
            6 => format!("bool_or({})", self.condition(sources, 1)),
            7 => format!("array_agg({number} ORDER BY {} DESC)", self.number(sources, 1)),
            _ => format!("jsonb_agg({number})"),
        };
        format!("{call}{filter}")
    }

    fn grouped(&mut self) -> String {
        let (from, sources) = self.from();
        let source = self.pick(&sources);
        let by_key = self.chance(2);
        let mut items: Vec<String> = if by_key {
            source.keys().collect()
        } else {
            let (column, _) = self.pick(TABLES[source.table].columns);
            vec![format!("{}.{column}", source.alias)]
        };
        let group = match self.chance(8) {
            true => {
                items.clear();
                String::new()
            }
            false => format!(" GROUP BY {}", items.join(", ")),
        };
        if by_key && !group.is_empty() {
            // Of a table whose primary key is grouped by.
            let (column, _) = self.pick(TABLES[source.table].columns);
            items.push(format!("{}.{column} AS dependent", source.alias));
        }
        for at in 0..self.rng.usize(1..4) {
            items.push(format!("{} AS a{at}", self.aggregate(&sources)));
        }
        let filter = self.filter(&sources);
        let having = match self.chance(4) {
            true => format!(" HAVING count(*) > {}", self.rng.u8(0..3)),
            false => String::new(),
        };
        format!("SELECT {} FROM {from}{filter}{group}{having}", items.join(", "))
    }

    fn distinct(&mut self) -> String {
        let (from, sources) = self.from();
        let mut items = Vec::new();
        for at in 0..self.rng.usize(1..4) {
            items.push(format!("{} AS c{at}", self.value(&sources, 1)));
        }
        let filter = self.filter(&sources);
        format!("SELECT DISTINCT {} FROM {from}{filter}", items.join(", "))
    }

    /// DISTINCT ON, or LATERAL with LIMIT.
    fn first_of_each(&mut self) -> String {
        if self.chance(2) {
            return "SELECT DISTINCT ON (o.customer_id) o.customer_id, o.id AS order_id, o.total \
                    FROM orders o ORDER BY o.customer_id, o.placed DESC, o.id"
                .into();
        }
        let kind = self.pick(&["LEFT JOIN LATERAL", "JOIN LATERAL"]);
        let limit = self.rng.u8(1..4);
        let outer = Source { alias: "c".into(), table: 0 };
        let filter = self.filter(&[outer]);
        format!(
            "SELECT c.id, l.order_id, l.total FROM customers c {kind} (SELECT o.id AS order_id, o.total \
             FROM orders o WHERE o.customer_id = c.id ORDER BY o.placed DESC, o.id LIMIT {limit}) l ON true\
             {filter}"
        )
    }

    /// A query of WITH that is used twice, and a table beside itself.
    fn twice(&mut self) -> String {
        let aggregate = self.pick(&["count(*)", "sum(total)", "max(total)"]);
        let kind = self.pick(&["JOIN", "LEFT JOIN"]);
        format!(
            "WITH w AS (SELECT customer_id, {aggregate} AS n FROM orders GROUP BY customer_id) \
             SELECT o.id, a.n, p.id AS parent, b.n AS of_parent FROM orders o \
             JOIN w a ON a.customer_id = o.customer_id \
             {kind} orders p ON p.id = o.parent_id {kind} w b ON b.customer_id = p.customer_id"
        )
    }

    /// A query in FROM that is grouped itself, beside the table that it is about.
    fn derived(&mut self) -> String {
        let kind = self.pick(&["JOIN", "LEFT JOIN"]);
        let inner = [self.alias(2)];
        let (aggregate, more) = (self.aggregate(&inner), self.filter(&inner));
        let outer = [Source { alias: "o".into(), table: 1 }];
        let (item, filter) = (self.value(&outer, 2), self.filter(&outer));
        let name = &inner[0].alias;
        format!(
            "SELECT o.id, d.a, {item} AS item FROM orders o {kind} \
             (SELECT {name}.order_id AS id, {aggregate} AS a FROM items {name}{more} \
             GROUP BY {name}.order_id) d ON d.id = o.id{filter}"
        )
    }

    fn union(&mut self) -> String {
        let mut parts = Vec::new();
        for (at, table) in [0, 1, 3].into_iter().enumerate() {
            let source = self.alias(table);
            let sources = std::slice::from_ref(&source);
            let (number, filter) = (self.number(sources, 1), self.filter(sources));
            parts.push(format!(
                "SELECT {at} AS kind, {}.id, ({number})::numeric AS n FROM {} {}{filter}",
                source.alias, TABLES[table].name, source.alias
            ));
        }
        parts.join(" UNION ALL ")
    }

    fn column(&mut self, sources: &[Source], kinds: &[Kind]) -> Option<String> {
        let all: Vec<String> = sources
            .iter()
            .flat_map(|source| {
                let columns = TABLES[source.table].columns.iter();
                let fits = |kind: &Kind| {
                    let as_number = *kind == Kind::Key && self.key.is_number;
                    kinds.contains(kind) || as_number && kinds.contains(&Kind::Int)
                };
                let fitting = columns.filter(move |(_, kind)| fits(kind));
                fitting.map(move |(name, _)| format!("{}.{name}", source.alias))
            })
            .collect();
        (!all.is_empty()).then(|| self.pick(&all))
    }

    fn value(&mut self, sources: &[Source], depth: u8) -> String {
        let text = self.column(sources, &[Kind::Text]);
        match (self.rng.u8(0..6), text) {
            (0 | 1, _) => self.column(sources, &[Kind::Text, Kind::Time, Kind::Bool, Kind::Key]),
            (2, Some(text)) => Some(match self.rng.u8(0..3) {
                0 => format!("upper({text})"),
                1 => format!("({text} || '!')"),
                _ => format!("length({text})"),
            }),
            _ => None,
        }
        .unwrap_or_else(|| self.number(sources, depth))
    }

    fn number(&mut self, sources: &[Source], depth: u8) -> String {
        let column = self.column(sources, &[Kind::Int, Kind::Numeric, Kind::Float]);
        let column = column.unwrap_or_else(|| self.rng.u8(0..10).to_string());
        if depth == 0 {
            return column;
        }
        match self.rng.u8(0..7) {
            0 => format!("({column} + {})", self.number(sources, depth - 1)),
            1 => format!("({column} * {})", self.rng.i8(-3..4)),
            2 => format!("coalesce({column}, {})", self.rng.u8(0..5)),
            3 => format!(
                "CASE WHEN {} THEN {column} ELSE {} END",
                self.condition(sources, depth - 1),
                self.rng.u8(0..9)
            ),
            _ => column,
        }
    }

    fn literal(&mut self) -> String {
        let n = self.rng.u8(1..12);
        self.key.literal(self.rng, n)
    }

    /// IN, alone or not: a value as any other.
    fn member(&mut self, key: &str) -> String {
        let not = self.pick(&["", "NOT "]);
        let (column, table) =
            self.pick(&[("order_id", "items"), ("product_id", "items"), ("parent_id", "orders")]);
        let only = self.pick(&["", " WHERE false", " WHERE id IS NOT NULL"]);
        format!("{key} {not}IN (SELECT {column} FROM {table}{only})")
    }

    fn condition(&mut self, sources: &[Source], depth: u8) -> String {
        if depth > 0 && self.chance(3) {
            let (left, right) =
                (self.condition(sources, depth - 1), self.condition(sources, depth - 1));
            let and = self.pick(&["AND", "OR", "AND NOT"]);
            return format!("({left} {and} {right})");
        }
        let text = self.column(sources, &[Kind::Text]);
        let key = self.column(sources, &[Kind::Key]);
        if let (0, Some(key)) = (self.rng.u8(0..5), key) {
            let (one, other) = (self.literal(), self.literal());
            return match self.rng.u8(0..6) {
                0 => format!("{key} IS NULL"),
                1 => format!("{key} IN ({one}, {other})"),
                2 => format!("{key} IS DISTINCT FROM {one}"),
                3 => format!("{key} >= {one}"),
                4 => self.member(&key),
                _ => format!("{key} = {one}"),
            };
        }
        match (self.rng.u8(0..5), text) {
            (0, Some(text)) => format!("{text} = '{}'", self.pick(&["a", "b", "open", "EU"])),
            (1, Some(text)) => format!("{text} IN ('a', 'b', 'open')"),
            (2, Some(text)) => format!("{text} IS NOT NULL"),
            (3, _) => {
                let number = self.number(sources, 0);
                format!("{number} BETWEEN {} AND {}", self.rng.u8(0..5), self.rng.u8(5..20))
            }
            _ => {
                let (number, op) =
                    (self.number(sources, 0), self.pick(&["<", "<=", ">", "<>", "="]));
                format!("{number} {op} {}", self.rng.u8(0..10))
            }
        }
    }
}
