//! What happens to the source and to those that follow it. Each fault has orders of its own, those of some
//! customers, so that what it leaves wrong does not count for the next one.

use std::time::Duration;

use anyhow::Result;
use tokio_postgres::Client;

use crate::harness::{Postgres, wait};
use crate::shop::{self, Scale};
use crate::steady::{Load, Mix};

use super::field::Field;

pub(super) const DATA: Scale = Scale(0.005);
/// Nobody is slower than that for long.
const RATE: u32 = 10;
/// The customer whose orders are written last.
pub(super) const MARKED: (i64, i64) = (105, 105);

/// On orders of the customers that the table `fault` names.
const MIX: Mix = &[
    (
        4,
        "WITH placed AS (INSERT INTO orders (customer_id, total_cents)
           SELECT customer + $1::bigint % 20, $1::bigint FROM fault RETURNING order_id)
         INSERT INTO order_items (order_id, product_id, quantity, price_cents)
         SELECT order_id, 1 + $1::bigint % 40 + k, k, 100 FROM placed, generate_series(1, 3) k",
    ),
    (
        3,
        "UPDATE orders SET status = 'status ' || $1::bigint WHERE order_id =
           (SELECT order_id FROM orders
            WHERE customer_id = (SELECT customer + $1::bigint % 20 FROM fault)
            ORDER BY order_id OFFSET $1::bigint % 10 LIMIT 1)",
    ),
    (
        1,
        "DELETE FROM order_items WHERE item_id =
           (SELECT min(item_id) FROM order_items JOIN orders USING (order_id)
            WHERE customer_id = (SELECT customer + $1::bigint % 20 FROM fault))",
    ),
];

#[derive(Clone, Copy)]
pub(super) enum Fault {
    WritesDuringTheLoad,
    ChildDeleted,
    ChildMoved,
    KeyChanged,
    UnchangedToast,
    Killed,
    SinkAway,
    VisibleLate,
    Truncated,
}

pub(super) const ALL: [Fault; 9] = [
    Fault::WritesDuringTheLoad,
    Fault::ChildDeleted,
    Fault::ChildMoved,
    Fault::KeyChanged,
    Fault::UnchangedToast,
    Fault::VisibleLate,
    Fault::Killed,
    Fault::SinkAway,
    Fault::Truncated,
];

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::WritesDuringTheLoad => "writes during the load",
            Fault::ChildDeleted => "child deleted",
            Fault::ChildMoved => "child moved to another parent",
            Fault::KeyChanged => "primary keys changed, of a parent and of a child",
            Fault::UnchangedToast => "a row changed, its large value not",
            Fault::Killed => "kill -9 under load, three times",
            Fault::SinkAway => "all sinks away for a minute, under load",
            Fault::VisibleLate => "commits that become visible seconds late, under load",
            Fault::Truncated => "TRUNCATE of the children",
        }
    }

    /// First and last of its customers.
    pub(super) fn customers(self) -> (i64, i64) {
        match self {
            Fault::WritesDuringTheLoad => (200, 219),
            Fault::ChildDeleted => (101, 101),
            Fault::ChildMoved => (102, 102),
            Fault::KeyChanged => (103, 103),
            Fault::UnchangedToast => (104, 104),
            Fault::Killed => (220, 239),
            Fault::SinkAway => (240, 259),
            Fault::VisibleLate => (260, 279),
            Fault::Truncated => (106, 199),
        }
    }

    /// Those that are written to while something happens.
    pub(super) async fn load(self, server: &Postgres, source: &Client) -> Result<Load> {
        let (first, _) = self.customers();
        source.execute("UPDATE fault SET customer = $1", &[&first]).await?;
        Ok(Load::start(server, "shop", RATE, MIX).await)
    }

    pub(super) async fn happen(self, field: &mut Field, source: &Client) -> Result<()> {
        let items = "order_items WHERE item_id IN (SELECT min(item_id) FROM order_items
                     JOIN orders USING (order_id) WHERE customer_id";
        let sql = match self {
            // It is over when all have loaded.
            Fault::WritesDuringTheLoad => return Ok(()),
            Fault::ChildDeleted => format!("DELETE FROM {items} = 101 GROUP BY order_id)"),
            Fault::ChildMoved => "UPDATE order_items SET order_id =
                   (SELECT max(order_id) FROM orders WHERE customer_id = 102)
                 WHERE order_id = (SELECT min(order_id) FROM orders WHERE customer_id = 102)"
                .to_owned(),
            Fault::KeyChanged => "UPDATE order_items SET item_id = item_id + 1000000
                 WHERE order_id = (SELECT min(order_id) FROM orders WHERE customer_id = 103);
                 UPDATE orders SET order_id = order_id + 1000000 WHERE order_id =
                   (SELECT max(order_id) FROM orders WHERE customer_id = 103)"
                .to_owned(),
            Fault::UnchangedToast => {
                "UPDATE orders SET status = 'changed' WHERE customer_id = 104".to_owned()
            }
            Fault::Truncated => "TRUNCATE order_items".to_owned(),
            Fault::Killed | Fault::SinkAway | Fault::VisibleLate => {
                return self.under_load(field, source).await;
            }
        };
        Ok(source.batch_execute(&sql).await?)
    }

    async fn under_load(self, field: &mut Field, source: &Client) -> Result<()> {
        let mut load = self.load(&field.source, source).await?;
        wait::delay(Duration::from_secs(3)).await;
        match self {
            Fault::Killed => {
                for _ in 0..3 {
                    field.kill_all().await?;
                    wait::delay(Duration::from_secs(5)).await;
                }
            }
            Fault::SinkAway => {
                field.sinks_go().await;
                wait::delay(Duration::from_secs(60)).await;
                field.sinks_come_back().await;
                wait::delay(Duration::from_secs(3)).await;
            }
            _ => {
                let set = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";
                source.batch_execute(set).await?;
                source.batch_execute("SELECT pg_reload_conf()").await?;
                // Each writer's next commit is in the log now, and nobody sees it.
                wait::delay(Duration::from_secs(5)).await;
                source.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await?;
                source.batch_execute("SELECT pg_reload_conf()").await?;
                wait::delay(Duration::from_secs(2)).await;
            }
        }
        load.stop().await?;
        Ok(())
    }
}

/// The last write, by which one sees who has come so far.
pub(super) async fn mark(source: &Client, fault: Fault) -> Result<()> {
    let sql = "UPDATE orders SET status = $1 WHERE customer_id = $2";
    source.execute(sql, &[&format!("after {}", fault.name()), &MARKED.0]).await?;
    Ok(())
}

/// Tables and rows; some orders have a note that lies outside of the row.
pub(super) async fn fill(source: &Client) -> Result<()> {
    shop::fill(source, DATA).await?;
    source
        .batch_execute(
            "CREATE INDEX ON orders (customer_id);
             ALTER TABLE orders ADD note text;
             ALTER TABLE orders ALTER note SET STORAGE EXTERNAL;
             UPDATE orders SET note = repeat('note of ' || order_id || '. ', 400)
               WHERE customer_id IN (103, 104);
             INSERT INTO orders (customer_id, note) VALUES (103, repeat('moves ', 800));
             CREATE TABLE fault (customer bigint NOT NULL);
             INSERT INTO fault VALUES (0)",
        )
        .await?;
    Ok(())
}
