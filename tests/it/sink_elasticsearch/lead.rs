//! One leader of a group at a time.

use readside::sink::elasticsearch::ElasticsearchSink;
use readside::sink::{Origin, Sink, SinkError};
use reqwest::Method;
use serde_json::json;

use super::{Model, OWNER, config, fatal, fill, finishing, opened, retryable, step};
use crate::harness::Search;

fn leading(model: &Model, search: &Search, term: u64) -> ElasticsearchSink {
    let origin = Origin::from(OWNER);
    origin.term.set(term);
    let projections = vec![model.projection.clone()];
    ElasticsearchSink::new(&config(search.url()), origin, projections).unwrap()
}

fn outranked<T: std::fmt::Debug>(result: Result<T, SinkError>) -> u64 {
    match result {
        Err(SinkError::Outranked { term }) => term,
        other => panic!("not outranked: {other:?}"),
    }
}

#[tokio::test]
async fn what_a_leader_before_sends_has_no_effect() {
    let search = Search::shared().await;
    let model = Model::simple();
    let mut first = leading(&model, &search, 1);
    assert_eq!(first.look().await.unwrap(), [None]);
    first.open().await.unwrap();
    let rows = [model.simple_row(5, "1", "a"), model.simple_row(6, "2", "a")];
    fill(&mut first, 1, 8, &rows).await;
    first.apply(&step(10, vec![model.simple_row(9, "1", "b")])).await.unwrap();
    assert_eq!(model.watermark(&search).await["term"], 1);

    let mut second = leading(&model, &search, 2);
    let seen = second.look().await.unwrap().remove(0).unwrap();
    assert_eq!((seen.lsn.0, seen.term), (10, 1));
    assert_eq!(opened(&mut second).await.unwrap().lsn.0, 10);
    // The server may have forgotten by now what was removed: versions alone would not hold this back.
    second.apply(&step(20, vec![model.gone(19, &["2"])])).await.unwrap();
    let late = first.apply(&step(18, vec![model.simple_row(17, "2", "late")])).await.unwrap_err();
    retryable(&late);
    let newer = first.apply(&step(30, vec![model.simple_row(29, "1", "late")])).await.unwrap_err();
    retryable(&newer);
    assert_eq!(outranked(first.open().await), 2);
    assert_eq!(model.document(&search, "1").await, Some(json!({"id": 1, "name": "b"})));
    assert_eq!(model.document(&search, "2").await, None);
    assert_eq!(model.watermark(&search).await["lsn"], "0/14");

    // Opened again it is still the leader; another one of its term is not.
    assert_eq!(opened(&mut second).await.unwrap().lsn.0, 20);
    second.apply(&step(22, vec![model.simple_row(21, "2", "again")])).await.unwrap();
    assert_eq!(outranked(leading(&model, &search, 2).open().await), 2);
    let alone = fatal(model.sink(&search).open().await);
    assert!(alone.contains("group of instances, in term 2"), "{alone}");
}

/// What readers see is not changed by a generation of one who leads no more.
#[tokio::test]
async fn a_leader_before_swaps_nothing() {
    let search = Search::shared().await;
    let model = Model::simple();
    let mut first = leading(&model, &search, 1);
    first.open().await.unwrap();
    fill(&mut first, 1, 8, &[model.simple_row(5, "1", "a")]).await;
    // A generation after the first takes the alias of the term along.
    fill(&mut first, 2, 10, &[model.simple_row(5, "1", "a")]).await;
    first.apply(&step(12, vec![model.simple_row(11, "1", "b")])).await.unwrap();
    let live = model.behind(&search).await;
    first.begin_fill(0, 3).await.unwrap();
    first.fill(0, &[model.simple_row(11, "1", "of the third")]).await.unwrap();
    first.end_fill(0).await.unwrap();
    // Its successor has taken the alias and is about to write.
    let own = format!("{}.term-1", model.index);
    let taken = json!({ "actions": [
        { "remove": { "index": live[0], "alias": own } },
        { "add": { "index": live[0], "alias": format!("{}.term-2", model.index) } },
    ]});
    let (status, answer) = search.request(Method::POST, "_aliases", Some(taken)).await;
    assert!(status.is_success(), "{answer}");
    let late = first.apply(&finishing(3, 14, Vec::new())).await.unwrap_err();
    assert!(matches!(late, SinkError::Retryable { .. }), "{late}");
    assert_eq!(model.behind(&search).await, live);
    assert_eq!(model.document(&search, "1").await, Some(json!({"id": 1, "name": "b"})));
}
