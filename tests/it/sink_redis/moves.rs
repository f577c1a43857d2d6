//! Rows that move leave their old keys.

use super::*;

#[tokio::test]
async fn a_moved_row_leaves_its_old_keys() {
    for (orders, reverse) in [(anchored(), false), (recorded(), true)] {
        let redis = Redis::start(&RedisOptions::default()).await;
        let mut client = redis.client().await;
        let zsets = async |client: &mut Connection| {
            let mut found = contents(client).await;
            found.retain(|key, _| key.starts_with("customer:"));
            found
        };
        let mut sink = started(
            &redis,
            &orders,
            &[
                &[Some("1"), Some("7"), Some("new"), Some("1")],
                &[Some("2"), Some("8"), Some("new"), Some("2")],
                &[Some("3"), None, Some("new"), Some("3")],
            ],
        )
        .await;
        let swapped = vec![
            row(&orders, 110, &[Some("1"), Some("8"), Some("new"), Some("1")]),
            row(&orders, 110, &[Some("2"), Some("7"), Some("new"), Some("2")]),
            row(&orders, 110, &[Some("3"), Some("7"), Some("new"), Some("3")]),
        ];
        // Once more, as after a lost answer: nothing changes.
        for position in [120, 121] {
            sink.apply(&step(position, swapped.clone())).await.unwrap();
            assert_eq!(
                zsets(&mut client).await,
                expect([
                    ("customer:7:orders", r#"[("2", 2.0), ("3", 3.0)]"#),
                    ("customer:8:orders", r#"[("1", 1.0)]"#),
                ])
            );
        }
        let changes = vec![
            row(&orders, 130, &[Some("1"), None, Some("new"), Some("1")]),
            gone(&orders, 130, &[Some("2")]),
            row(&orders, 130, &[Some("3"), Some("7"), Some("new"), None]),
        ];
        sink.apply(&step(140, changes)).await.unwrap();
        assert_eq!(zsets(&mut client).await, expect([]));
        let found: bool = client.exists("readside:reverse:orders:orders-1").await.unwrap();
        assert!(!found, "no row has an entry that could move");
        let back = vec![row(&orders, 150, &[Some("3"), Some("7"), Some("new"), Some("3")])];
        sink.apply(&step(160, back)).await.unwrap();
        assert_eq!(zsets(&mut client).await, expect([("customer:7:orders", r#"[("3", 3.0)]"#)]));
        let found: bool = client.exists("readside:reverse:orders:orders-1").await.unwrap();
        assert_eq!(found, reverse, "the hash anchors its sorted set, the string does not");
    }
}

#[tokio::test]
async fn an_anchored_member_follows_each_of_its_columns() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let orders = orders(vec![
        set("c:{customer_id}", "{status}/{order_id}"),
        set("s:{status}", "{order_id}"),
        hash("order:{order_id}"),
    ]);
    let mut sink = started(&redis, &orders, &[&[Some("1"), Some("7"), Some("new"), None]]).await;
    for (position, customer, status, left) in [
        (120, Some("7"), Some("paid"), vec![("c:7", r#"["paid/1"]"#), ("s:paid", r#"["1"]"#)]),
        (130, Some("8"), Some("paid"), vec![("c:8", r#"["paid/1"]"#), ("s:paid", r#"["1"]"#)]),
        (140, None, Some("paid"), vec![("s:paid", r#"["1"]"#)]),
        (150, Some("8"), None, vec![]),
        (160, Some("8"), Some(""), vec![("c:8", r#"["/1"]"#), ("s:", r#"["1"]"#)]),
    ] {
        let moved = row(&orders, position - 1, &[Some("1"), customer, status, None]);
        sink.apply(&step(position, vec![moved])).await.unwrap();
        let mut found = contents(&mut client).await;
        found.remove("order:1");
        let left = left.into_iter().map(|(key, text)| (key.into(), text.into())).collect();
        assert_eq!(found, left, "at {position}");
    }
    sink.apply(&step(170, vec![gone(&orders, 165, &[Some("1")])])).await.unwrap();
    assert_eq!(contents(&mut client).await, expect([]));
}
