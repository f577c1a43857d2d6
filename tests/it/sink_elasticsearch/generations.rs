//! Generations, watermarks, and whose the indices are.

use std::sync::atomic::{AtomicBool, Ordering};

use readside::lsn::Lsn;
use readside::sink::Sink;
use reqwest::Method;
use serde_json::json;

use super::{Model, OWNER, fatal, fill, finishing, opened, retryable, step};
use crate::harness::{Search, unique};

#[tokio::test]
async fn a_reader_finds_its_document_through_every_swap() {
    let search = Search::shared().await;
    let model = Model::simple();
    let mut sink = model.filled(&search, 10, &[model.simple_row(5, "1", "v1")]).await;
    let done = AtomicBool::new(false);
    let reader = async {
        let mut reads = 0_u32;
        while !done.load(Ordering::Relaxed) || reads == 0 {
            let seen = model.document(&search, "1").await;
            assert!(seen.is_some(), "absent at read {reads}");
            reads += 1;
        }
        reads
    };
    let writer = async {
        for generation in 2..6 {
            fill(&mut sink, generation, 10, &[model.simple_row(5, "1", "v1")]).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(reader, writer);
    assert_eq!(model.indices(&search).await, [format!("{}-000005", model.index)]);
    assert_eq!(opened(&mut sink).await.unwrap().generation, 5);
}

#[tokio::test]
async fn what_an_unfinished_fill_left_is_removed_and_nothing_else() {
    let search = Search::shared().await;
    let model = Model::simple();
    let bystander = format!("{}-000009", model.index);
    search.request(Method::PUT, &bystander, Some(json!({}))).await;
    let mut sink = model.filled(&search, 10, &[model.simple_row(5, "1", "seen")]).await;
    sink.begin_fill(0, 2).await.unwrap();
    sink.fill(0, &[model.simple_row(5, "1", "unseen")]).await.unwrap();
    drop(sink);
    let mut sink = model.sink(&search);
    assert_eq!(opened(&mut sink).await.unwrap().generation, 1);
    // The generation behind the alias is not overwritten by one of the same number.
    sink.begin_fill(0, 1).await.unwrap();
    let name = |suffix: &str| format!("{}-{suffix}", model.index);
    let expected = [name("000001"), name("000001-1"), bystander.clone()];
    assert_eq!(model.indices(&search).await, expected);
    assert_eq!(model.document(&search, "1").await.unwrap()["name"], "seen");
    sink.end_fill(0).await.unwrap();
    sink.apply(&finishing(1, 20, Vec::new())).await.unwrap();
    assert_eq!(model.indices(&search).await, [name("000001-1"), bystander]);
}

#[tokio::test]
async fn a_death_between_swap_and_watermark_is_seen_and_tidied() {
    let search = Search::shared().await;
    let model = Model::simple();
    let mut sink = model.filled(&search, 10, &[model.simple_row(5, "1", "old")]).await;
    sink.begin_fill(0, 2).await.unwrap();
    sink.fill(0, &[model.simple_row(15, "1", "new")]).await.unwrap();
    sink.end_fill(0).await.unwrap();
    drop(sink);
    let (old, new) = (format!("{}-000001", model.index), format!("{}-000002", model.index));
    let swap = json!({ "actions": [
        { "remove": { "index": old, "alias": model.index } },
        { "add": { "index": new, "alias": model.index, "is_write_index": true } },
    ]});
    search.request(Method::POST, "_aliases", Some(swap)).await;
    let mut sink = model.sink(&search);
    assert_eq!(opened(&mut sink).await.unwrap().fingerprint, "", "to be filled anew");
    assert_eq!(model.indices(&search).await, [new]);
    fill(&mut sink, 3, 20, &[model.simple_row(15, "1", "new")]).await;
    assert_eq!(opened(&mut sink).await.unwrap().generation, 3);
    assert_eq!(model.document(&search, "1").await.unwrap()["name"], "new");
}

#[tokio::test]
async fn a_dropped_index_is_noticed_and_does_not_come_back_by_itself() {
    let search = Search::shared().await;
    let model = Model::simple();
    let mut sink = model.filled(&search, 10, &[model.simple_row(5, "1", "x")]).await;
    let index = model.behind(&search).await.remove(0);
    search.request(Method::DELETE, &index, None).await;
    let row = vec![model.simple_row(15, "1", "y")];
    let error = sink.apply(&step(20, row.clone())).await.unwrap_err();
    assert!(retryable(&error).contains(&model.index), "{error}");
    assert_eq!(model.indices(&search).await, Vec::<String>::new());
    assert_eq!(opened(&mut sink).await, None);
    fill(&mut sink, 2, 20, &row).await;
    assert_eq!(model.document(&search, "1").await.unwrap()["name"], "y");

    // Another index of ours under the alias is not the one that the watermark speaks of.
    let index = model.behind(&search).await.remove(0);
    let (_, described) = search.get(&index).await;
    search.request(Method::DELETE, &index, None).await;
    let again = json!({
        "mappings": described[&index]["mappings"], "aliases": described[&index]["aliases"],
    });
    search.request(Method::PUT, &index, Some(again)).await;
    let watermark = opened(&mut sink).await.unwrap();
    assert_eq!((watermark.fingerprint.as_str(), watermark.settled), ("", false));
    assert_eq!(watermark.reaching, Lsn(20), "readers may have seen as much");

    // A fill whose index somebody drops does not write into one with guessed mappings.
    sink.begin_fill(0, 3).await.unwrap();
    let name = format!("{}-000003", model.index);
    search.request(Method::DELETE, &name, None).await;
    retryable(&sink.fill(0, &row).await.unwrap_err());
    assert!(!model.indices(&search).await.contains(&name));
}

#[tokio::test]
async fn what_is_not_ours_is_refused_and_untouched() {
    let search = Search::shared().await;
    let model = Model::simple();
    model.filled(&search, 10, &[model.simple_row(5, "1", "x")]).await;
    let error = fatal(model.sink_of(&search, "9999/other").open().await);
    assert!(error.contains(OWNER), "{error}");

    // Another projection's name, so no watermark tells; the index does.
    let mut renamed = model.clone();
    renamed.projection.name = unique("renamed");
    let error = fatal(renamed.sink_of(&search, "9999/other").open().await);
    assert!(error.contains(OWNER), "{error}");
    // The same pipeline may rename its projection.
    assert_eq!(opened(&mut renamed.sink(&search)).await, None);

    let foreign = Model::simple();
    let path = format!("{}/_doc/1", foreign.index);
    search.request(Method::PUT, &path, Some(json!({"theirs": true}))).await;
    let mut sink = foreign.sink(&search);
    let error = fatal(sink.open().await);
    assert!(error.contains("exists already"), "{error}");
    fatal(sink.begin_fill(0, 1).await);
    assert_eq!(foreign.document(&search, "1").await, Some(json!({"theirs": true})));

    let aliased = Model::simple();
    let body = json!({ "aliases": { aliased.index.clone(): {} } });
    search.request(Method::PUT, &unique("theirs"), Some(body)).await;
    let error = fatal(aliased.sink(&search).open().await);
    assert!(error.contains("did not make"), "{error}");
}

#[tokio::test]
async fn two_writers_of_one_watermark_learn_of_each_other() {
    let search = Search::shared().await;
    let model = Model::simple();
    let mut first = model.filled(&search, 10, &[]).await;
    let mut second = model.sink(&search);
    second.open().await.unwrap();
    second.apply(&step(20, Vec::new())).await.unwrap();
    let error = first.apply(&step(15, Vec::new())).await.unwrap_err();
    assert!(retryable(&error).contains("somebody else"), "{error}");
    assert_eq!(model.watermark(&search).await["lsn"], "0/14");
}

#[tokio::test]
async fn before_a_delete_the_watermark_tells_how_far_it_reaches() {
    let search = Search::shared().await;
    let model = Model::simple();
    let mut sink = model.filled(&search, 100, &[model.simple_row(90, "1", "x")]).await;
    let alias = json!({ "index": { "blocks": { "write": true } } });
    let path = format!("{}/_settings", model.index);
    search.request(Method::PUT, &path, Some(alias)).await;
    let error = sink.apply(&step(200, vec![model.gone(190, &["1"])])).await.unwrap_err();
    assert!(retryable(&error).contains("block"), "{error}");
    let watermark = opened(&mut model.sink(&search)).await.unwrap();
    assert_eq!((watermark.lsn, watermark.reaching), (Lsn(100), Lsn(200)));
}

#[tokio::test]
async fn unsettled_steps_keep_the_position_and_say_so_first() {
    let search = Search::shared().await;
    let model = Model::simple();
    let mut sink = model.filled(&search, 100, &[]).await;
    for (reaching, id) in [(200, "1"), (300, "2")] {
        let mut backlog = step(100, vec![model.simple_row(reaching - 1, id, "x")]);
        backlog.reaching = Lsn(reaching);
        backlog.settled = false;
        sink.apply(&backlog).await.unwrap();
        let watermark = model.watermark(&search).await;
        assert_eq!((&watermark["lsn"], &watermark["settled"]), (&json!("0/64"), &json!(false)));
    }
    sink.apply(&step(300, Vec::new())).await.unwrap();
    let watermark = model.watermark(&search).await;
    assert_eq!((&watermark["lsn"], &watermark["settled"]), (&json!("0/12C"), &json!(true)));
}
