//! The standard data: a shop's tables, and queries over them.

use readside::engine::{Engine, Entry, OutputId, TableLayout};
use readside::lsn::Lsn;
use readside::sql::expr::{Collation, Database};
use readside::sql::query::{self, Schema, Table};
use readside::value::{self, Column, Type};

pub(crate) const ORDERS: usize = 0;
pub(crate) const CUSTOMERS: usize = 1;
pub(crate) const ITEMS: usize = 2;
pub(crate) const PRODUCTS: usize = 3;

/// The columns that the summary uses; others are not kept.
const TABLES: [(&str, &[(&str, Type)]); 4] = [
    (
        "orders",
        &[
            ("order_id", Type::Int8),
            ("customer_id", Type::Int8),
            ("status", Type::Text),
            ("total_cents", Type::Int8),
            ("created_at", Type::TimestampTz),
        ],
    ),
    ("customers", &[("customer_id", Type::Int8), ("email", Type::Text), ("full_name", Type::Text)]),
    (
        "order_items",
        &[
            ("item_id", Type::Int8),
            ("order_id", Type::Int8),
            ("product_id", Type::Int8),
            ("quantity", Type::Int4),
        ],
    ),
    ("products", &[("product_id", Type::Int8), ("name", Type::Text)]),
];

pub(crate) const SUMMARY: &str = "
  SELECT o.order_id, o.customer_id, o.status, o.total_cents, o.created_at,
         c.email AS customer_email, c.full_name AS customer_name,
         count(i.item_id) AS item_count,
         (array_agg(p.name ORDER BY i.item_id))[1] AS first_item_name,
         jsonb_agg(jsonb_build_object('product', p.name, 'quantity', i.quantity) ORDER BY i.item_id)
           FILTER (WHERE i.item_id IS NOT NULL) AS items
  FROM orders o
  JOIN customers c ON c.customer_id = o.customer_id
  LEFT JOIN order_items i ON i.order_id = o.order_id
  LEFT JOIN products p ON p.product_id = i.product_id
  GROUP BY o.order_id, c.customer_id";

#[derive(Clone, Copy)]
pub(crate) struct Shop {
    pub(crate) orders: i64,
    pub(crate) customers: i64,
    pub(crate) products: i64,
    pub(crate) items: i64,
}

impl Shop {
    pub(crate) fn new(scale: f64) -> Self {
        let of = |standard: f64| (standard * scale) as i64;
        Self { orders: of(1e6), customers: of(1e5), products: of(1e4), items: of(3e6) }
    }

    /// An engine with the shop's rows, and nothing made of them yet.
    pub(crate) fn engine(self) -> Engine {
        let mut engine = Engine::default();
        for (name, columns) in TABLES {
            let columns = columns.iter().map(|(name, ty)| column(name, ty.clone())).collect();
            let table = engine.add_table(TableLayout { columns, identity: vec![0] });
            let at = engine.table_arrangement(table);
            let rows: Vec<Entry> = match name {
                "orders" => (0..self.orders).map(|id| self.order(1, id, "pending")).collect(),
                "customers" => (0..self.customers).map(|id| customer(1, id, "Customer")).collect(),
                "order_items" => (0..self.items).map(|id| self.item(1, id, id / 3)).collect(),
                _ => (0..self.products).map(|id| product(1, id, "Product")).collect(),
            };
            engine.restore(at, rows, Lsn(1), Lsn::ZERO);
        }
        engine
    }

    pub(crate) fn order(self, lsn: u64, id: i64, status: &str) -> Entry {
        let created = format!("2026-02-{:02} 00:{:02}:00+00", 1 + id % 28, id % 60);
        let customer = id * 7919 % self.customers;
        entry(lsn, ORDERS, &[&id, &customer, &status, &(100 + id % 100_000), &created])
    }

    pub(crate) fn item(self, lsn: u64, id: i64, order: i64) -> Entry {
        entry(lsn, ITEMS, &[&id, &order, &(id * 31 % self.products), &(1 + id % 3)])
    }
}

/// The same item, of another product.
pub(crate) fn with_product(item: &Entry, product: i64) -> Entry {
    let row = item.value().unwrap();
    let columns = TABLES[ITEMS].1.iter().map(|(name, ty)| column(name, ty.clone()));
    let columns: Vec<Column> = columns.collect();
    let mut ranges = Vec::new();
    value::split(&columns, row, &mut ranges).unwrap();
    let row = [&row[..ranges[2].start], &key(&[product]), &row[ranges[2].end..]].concat();
    Entry::row(item.lsn(), item.key(), &row)
}

pub(crate) fn customer(lsn: u64, id: i64, name: &str) -> Entry {
    let (email, name) = (format!("customer{id}@example.com"), format!("{name} {id}"));
    entry(lsn, CUSTOMERS, &[&id, &email, &name])
}

pub(crate) fn product(lsn: u64, id: i64, name: &str) -> Entry {
    entry(lsn, PRODUCTS, &[&id, &format!("{name} {id}")])
}

/// The first value is the key.
fn entry(lsn: u64, table: usize, values: &[&dyn std::fmt::Display]) -> Entry {
    let (mut row, mut key_end) = (Vec::new(), 0);
    for (value, (_, ty)) in values.iter().zip(TABLES[table].1) {
        value::encode(ty, value.to_string().as_bytes(), &mut row).unwrap();
        if key_end == 0 {
            key_end = row.len();
        }
    }
    Entry::row(Lsn(lsn), &row[..key_end], &row)
}

/// Adds a query, and computes what it keeps and shows.
pub(crate) fn add(engine: &mut Engine, text: &str) -> OutputId {
    let table = |(name, columns): &(&str, &[(&str, Type)])| Table {
        schema: "public".into(),
        name: (*name).into(),
        columns: columns.iter().map(|(name, ty)| column(name, ty.clone())).collect(),
        collations: vec![Collation::Default; columns.len()],
        primary_key: Some(vec![0]),
        generated: Vec::new(),
        kept: None,
    };
    let database = Database { ordered_by_bytes: true, ..Database::default() };
    let tables = TABLES.iter().map(table).collect();
    let schema = Schema { tables, database, ..Schema::default() };
    let planned = query::plan(text, &schema).unwrap();
    let output = engine.add_plan(&planned.plan);
    engine.reconcile(output, Lsn(1)).unwrap();
    output
}

pub(crate) fn column(name: &str, ty: Type) -> Column {
    let sql_type = ty.to_string();
    let type_oid = match ty {
        Type::Int4 => 23,
        Type::Int8 => 20,
        Type::Text => 25,
        Type::TimestampTz => 1184,
        _ => 0,
    };
    Column { name: name.into(), ty, sql_type, type_oid, typmod: -1, not_null: false }
}

pub(crate) fn int(name: &str) -> Column {
    column(name, Type::Int4)
}

pub(crate) fn key(values: &[i64]) -> Vec<u8> {
    let mut key = Vec::new();
    values.iter().for_each(|&value| value::encode_int(value, &mut key));
    key
}

/// As if all sinks were current.
pub(crate) fn forget(engine: &mut Engine) {
    for id in 0..engine.arrangements().len() {
        let rows = engine.arrangement_mut(id);
        rows.trim(rows.next_seq());
        rows.drop_tombstones(Lsn::MAX, Lsn::MAX, 0);
    }
}

/// The standard WAL's changes: of twenty transactions sixteen are new orders with three items, two change
/// the status of five orders, one changes five customers or products, and one deletes five items.
pub(crate) struct Wal {
    shop: Shop,
    next: i64,
    pub(crate) lsn: u64,
}

impl Wal {
    pub(crate) fn new(shop: Shop) -> Self {
        Self { shop, next: 0, lsn: 2 }
    }

    /// One transaction's changes, not committed yet; how many there are.
    pub(crate) fn transaction(&mut self, engine: &mut Engine) -> u32 {
        let (n, lsn, shop) = (self.next, self.lsn, self.shop);
        self.next += 1;
        let five = |seed: i64, of: i64| (1..=5).map(move |k| (n * seed + k * 15_485_863) % of);
        match n % 20 {
            0..16 => {
                let order = shop.orders + n;
                engine.put(ORDERS, shop.order(lsn, order, "pending")).unwrap();
                for k in 0..3 {
                    engine.put(ITEMS, shop.item(lsn, order * 3 + k, order)).unwrap();
                }
                return 4;
            }
            16 | 17 => five(104_729, shop.orders)
                .for_each(|id| engine.put(ORDERS, shop.order(lsn, id, "confirmed")).unwrap()),
            18 if n % 40 == 18 => five(7_907, shop.customers)
                .for_each(|id| engine.put(CUSTOMERS, customer(lsn, id, "Renamed")).unwrap()),
            // Their price is no column in use.
            18 => five(613, shop.products)
                .for_each(|id| engine.put(PRODUCTS, product(lsn, id, "Product")).unwrap()),
            _ => {
                for k in 1..=5 {
                    let id = (n / 20 * 5 + k) * 29 % shop.items;
                    engine.delete(ITEMS, Lsn(lsn), &key(&[id])).unwrap();
                }
            }
        }
        5
    }

    pub(crate) fn commit(&mut self, engine: &mut Engine) {
        engine.commit(Lsn(self.lsn)).unwrap();
        forget(engine);
        self.lsn += 1;
    }

    /// Transactions, committed in batches; the CPU seconds and the changes.
    pub(crate) fn run(&mut self, engine: &mut Engine, transactions: u32, batch: u32) -> (f64, u32) {
        let (started, mut changes) = (crate::cpu_seconds(), 0);
        for at in 1..=transactions {
            changes += self.transaction(engine);
            if at % batch == 0 {
                self.commit(engine);
            }
        }
        self.commit(engine);
        (crate::cpu_seconds() - started, changes)
    }
}
