//! One leader of a group at a time.

use readside::sink::Origin;

use super::*;

fn leading(redis: &Redis, projection: &SinkProjection, term: u64) -> RedisSink {
    let origin = Origin::from(OWNER);
    origin.term.set(term);
    RedisSink::new(&config(redis), origin, vec![projection.clone()]).unwrap()
}

#[tokio::test]
async fn what_a_leader_before_sends_has_no_effect() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut client = redis.client().await;
    let orders = anchored();
    let entry = |lsn, status| row(&orders, lsn, &[Some("1"), Some("7"), Some(status), None]);
    let mut first = leading(&redis, &orders, 1);
    assert_eq!(first.look().await.unwrap(), [None]);
    assert!(everything(&mut client).await.is_empty(), "a look writes nothing");
    filled(&mut first, &[entry(5, "new")], 8).await;
    first.apply(&step(10, vec![entry(9, "paid")])).await.unwrap();
    assert_eq!(watermark(&mut client, "orders").await["term"], "1");

    let mut second = leading(&redis, &orders, 2);
    let seen = second.look().await.unwrap().remove(0).unwrap();
    assert_eq!((seen.lsn, seen.term), (Lsn(10), 1));
    assert_eq!(second.open().await.unwrap().remove(0).unwrap().lsn, Lsn(10));
    let before = everything(&mut client).await;
    for settled in [true, false] {
        let mut late = step(20, vec![entry(19, "late")]);
        late.settled = settled;
        let error = why(first.apply(&late).await.unwrap_err());
        assert!(error.starts_with("retryable: "), "{error}");
        assert_eq!(why(first.open().await.unwrap_err()), "outranked: 2");
        assert_eq!(everything(&mut client).await, before);
    }
    second.apply(&step(12, vec![entry(11, "sent")])).await.unwrap();
    let stands = watermark(&mut client, "orders").await;
    assert_eq!((&*stands["lsn"], &*stands["term"]), ("0/C", "2"));

    // Opened again it is still the leader; another one of its term is not.
    second.open().await.unwrap();
    assert_eq!(why(leading(&redis, &orders, 2).open().await.unwrap_err()), "outranked: 2");
    let alone = why(sink(&redis, &[&orders]).open().await.unwrap_err());
    assert!(alone.contains("group of instances, in term 2"), "{alone}");
}

/// One that has not written anything yet is fenced, too.
#[tokio::test]
async fn a_first_fill_is_fenced() {
    let redis = Redis::start(&RedisOptions::default()).await;
    let orders = anchored();
    let entry = row(&orders, 5, &[Some("1"), Some("7"), None, None]);
    let mut first = leading(&redis, &orders, 1);
    assert_eq!(first.open().await.unwrap(), [None]);
    let mut second = leading(&redis, &orders, 2);
    assert_eq!(second.open().await.unwrap(), [None]);
    let late = why(first.begin_fill(0, 1).await.unwrap_err());
    assert!(late.starts_with("retryable: "), "{late}");
    refill(&mut second, &[entry], 8, 1).await;
    assert_eq!(why(first.open().await.unwrap_err()), "outranked: 2");
}
