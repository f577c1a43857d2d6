//! One leader of a group at a time.

use readside::sink::Origin;

use super::*;

fn leading(world: &World, projection: &SinkProjection, term: u64) -> PostgresSink {
    let origin = Origin::from(OWNER);
    origin.term.set(term);
    PostgresSink::new(&world.config(), origin, vec![projection.clone()])
}

fn outranked<T: std::fmt::Debug>(result: Result<T, SinkError>) -> u64 {
    match result {
        Err(SinkError::Outranked { term }) => term,
        other => panic!("not outranked: {other:?}"),
    }
}

#[tokio::test]
async fn what_a_leader_before_sends_has_no_effect() {
    let world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id, 'x'::text AS name").await;
    let reader = world.reader().await;
    let mut first = leading(&world, &p, 1);
    assert_eq!(first.look().await.unwrap(), [None]);
    assert_eq!(first.open().await.unwrap(), [None]);
    fill(&mut first, 0, &[row(&p, &["1", "a"], 7)], 8, 1).await.unwrap();
    first.apply(&step(10, vec![(0, vec![row(&p, &["1", "b"], 9)])])).await.unwrap();
    let terms = "SELECT lsn, term FROM readside.watermark";
    assert_eq!(text(&reader, terms).await, "0/A|1");

    // It stands still in a backlog, whose locks its successor would wait for.
    first.apply(&unsettled(step(12, vec![(0, vec![row(&p, &["1", "c"], 11)])]))).await.unwrap();
    let mut second = leading(&world, &p, 2);
    let seen = second.look().await.unwrap().remove(0).unwrap();
    assert_eq!((seen.lsn, seen.term), (Lsn(10), 1));
    assert_eq!(text(&reader, terms).await, "0/A|1", "a look writes nothing");
    assert_eq!(positions(&second.open().await.unwrap()), [Some(10)]);
    second.apply(&step(14, vec![(0, vec![row(&p, &["1", "d"], 13)])])).await.unwrap();
    retryable(first.apply(&step(16, vec![(0, vec![row(&p, &["1", "e"], 15)])])).await);
    assert_eq!(outranked(first.open().await), 2);
    assert_eq!(text(&reader, "SELECT name FROM t").await, "d");
    assert_eq!(text(&reader, terms).await, "0/E|2");

    // Opened again it is still the leader; another one of its term is not.
    assert_eq!(positions(&second.open().await.unwrap()), [Some(14)]);
    assert_eq!(outranked(leading(&world, &p, 2).open().await), 2);
    let alone = fatal(world.sink(std::slice::from_ref(&p)).open().await);
    assert!(alone.contains("group of instances, in term 2"), "{alone}");

    // Without its session's end, its own transaction fails.
    reader.batch_execute("UPDATE readside.watermark SET term = 3").await.unwrap();
    let late = second.apply(&step(18, vec![(0, vec![row(&p, &["1", "f"], 17)])])).await;
    assert!(retryable(late).contains("another instance has taken over"));
    assert_eq!(text(&reader, "SELECT name FROM t").await, "d");
    assert_eq!(outranked(second.open().await), 3);

    // A fill that was under way is not put in its place.
    let mut third = leading(&world, &p, 4);
    third.open().await.unwrap();
    third.begin_fill(0, 2).await.unwrap();
    third.fill(0, &[row(&p, &["1", "of the third"], 19)]).await.unwrap();
    let mut fourth = leading(&world, &p, 5);
    assert_eq!(positions(&fourth.open().await.unwrap()), [Some(14)]);
    retryable(third.end_fill(0).await);
    assert_eq!(outranked(third.open().await), 5);
    assert_eq!(text(&reader, "SELECT name FROM t").await, "d");
}

/// A table of watermarks that an earlier version has made.
#[tokio::test]
async fn watermarks_of_an_earlier_version_gain_a_term() {
    let world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id").await;
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    sink.apply(&step(10, vec![(0, vec![row(&p, &["1"], 9)])])).await.unwrap();
    reader.batch_execute("ALTER TABLE readside.watermark DROP COLUMN term").await.unwrap();
    let mut leader = leading(&world, &p, 1);
    let seen = leader.look().await.unwrap().remove(0).unwrap();
    assert_eq!((seen.lsn, seen.term), (Lsn(10), 0));
    assert_eq!(positions(&leader.open().await.unwrap()), [Some(10)]);
    leader.apply(&step(12, vec![(0, vec![row(&p, &["2"], 11)])])).await.unwrap();
    assert_eq!(text(&reader, "SELECT lsn, term FROM readside.watermark").await, "0/C|1");
}
