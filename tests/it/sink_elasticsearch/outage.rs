//! The server is blocked or dies while steps are written.

use readside::engine::Entry;
use readside::lsn::Lsn;
use readside::sink::Sink;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Model, opened, retryable, step};
use crate::harness::{Search, wait};

#[tokio::test]
async fn a_blocked_index_is_the_sinks_trouble_and_loses_nothing() {
    let search = Search::shared().await;
    let model = Model::simple();
    let mut sink = model.filled(&search, 10, &[]).await;
    let block = |value: Value| {
        let body = json!({ "index": { "blocks": { "read_only_allow_delete": value } } });
        let path = format!("{}/_settings", model.index);
        let search = &search;
        async move { search.request(Method::PUT, &path, Some(body)).await }
    };
    block(json!(true)).await;
    let rows = vec![model.simple_row(15, "1", "x"), model.simple_row(16, "2", "y")];
    let error = sink.apply(&step(20, rows.clone())).await.unwrap_err();
    assert!(retryable(&error).contains("read-only"), "{error}");
    assert_eq!(opened(&mut sink).await.unwrap().lsn, Lsn(10));
    block(Value::Null).await;
    let outcome = sink.apply(&step(20, rows)).await.unwrap();
    assert_eq!(outcome.upserts, 2);
    assert_eq!(search.documents(&model.index).await.len(), 2);
}

#[tokio::test]
async fn a_killed_server_loses_nothing_that_was_told() {
    let mut private = Search::private().await;
    let model = Model::simple();
    let mut sink = model.filled(&private.search, 10, &[]).await;
    let ids: Vec<String> = (0..50).map(|id| id.to_string()).collect();
    let rows = |lsn: u64| -> Vec<Entry> {
        ids.iter().map(|id| model.simple_row(lsn, id, &format!("at {lsn}"))).collect()
    };
    sink.apply(&step(21, rows(20))).await.unwrap();
    let mut position = 30;
    for _ in 0..2 {
        let (applied, ()) = tokio::join!(
            async {
                let mut told = Vec::new();
                loop {
                    position += 10;
                    match sink.apply(&step(position + 1, rows(position))).await {
                        Ok(_) => told.push(position),
                        Err(error) => {
                            retryable(&error);
                            break told;
                        }
                    }
                }
            },
            async {
                wait::until("some steps", async || match model.watermark(&private.search).await {
                    seen if seen["lsn"] != "0/15" => Ok(()),
                    seen => Err(seen.to_string()),
                })
                .await;
                private.kill9();
            }
        );
        private.restart().await;
        let watermark = wait::until("the sink to open", async || match sink.open().await {
            Ok(mut all) => Ok(all.remove(0).expect("the watermark is still there")),
            Err(error) => Err(retryable(&error).to_string()),
        })
        .await;
        if let Some(last) = applied.last() {
            assert!(watermark.lsn > Lsn(*last), "{watermark:?} after {applied:?}");
        }
        for (id, document) in private.search.documents(&model.index).await {
            let name = document["name"].as_str().unwrap().strip_prefix("at ").unwrap();
            let lsn: u64 = name.parse().unwrap();
            assert!(lsn + 1 >= watermark.lsn.0, "{id} is older than the watermark: {lsn}");
        }
        sink.apply(&step(position + 1, rows(position))).await.unwrap();
    }
    assert_eq!(private.search.documents(&model.index).await.len(), 50);
}
