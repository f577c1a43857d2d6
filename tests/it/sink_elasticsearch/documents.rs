//! Documents are the rows: types, ids, versions, refused rows.

use std::sync::Arc;

use readside::config::{ElasticsearchTarget, Target, Template};
use readside::engine::Entry;
use readside::lsn::Lsn;
use readside::sink::elasticsearch::ElasticsearchSink;
use readside::sink::{Sink, StepProjection, Watermark};
use readside::value::Type;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{Model, OWNER, config, fill, finishing, opened, retryable, step};
use crate::harness::{Search, unique};

#[tokio::test]
async fn a_fill_becomes_visible_with_its_watermark_and_steps_follow() {
    let search = Search::shared().await;
    let model = Model::simple();
    let mut sink = model.sink(&search);
    assert_eq!(opened(&mut sink).await, None);
    sink.begin_fill(0, 1).await.unwrap();
    let rows = [model.simple_row(10, "1", "one"), model.simple_row(10, "2", "two")];
    let outcome = sink.fill(0, &rows).await.unwrap();
    assert_eq!((outcome.upserts, outcome.deletes, outcome.poison.len()), (2, 0, 0));
    sink.end_fill(0).await.unwrap();
    let changes = [model.simple_row(20, "1", "uno"), model.gone(21, &["2"])];
    let outcome = sink.amend(0, &changes).await.unwrap();
    assert_eq!((outcome.upserts, outcome.deletes), (1, 1));
    assert_eq!(model.behind(&search).await, Vec::<String>::new(), "readers see nothing yet");

    sink.apply(&finishing(1, 30, vec![model.simple_row(25, "3", "three")])).await.unwrap();
    assert_eq!(model.behind(&search).await, [format!("{}-000001", model.index)]);
    assert_eq!(model.document(&search, "1").await, Some(json!({"id": 1, "name": "uno"})));
    assert_eq!(model.document(&search, "2").await, None);
    assert_eq!(model.document(&search, "3").await, Some(json!({"id": 3, "name": "three"})));
    let watermark = model.watermark(&search).await;
    assert_eq!(watermark["lsn"], "0/1E");
    assert_eq!(watermark["settled"], true);
    assert_eq!(watermark["generation"], 1);
    assert_eq!(watermark["owner"], OWNER);
    assert_eq!(watermark["committed_at"], "2000-01-01T00:00:00.000000+00:00");
    assert_eq!(watermark["projection"], model.projection.name);

    let entries = vec![model.simple_row(40, "1", "eins"), model.gone(41, &["3"])];
    sink.apply(&step(50, entries)).await.unwrap();
    assert_eq!(model.document(&search, "1").await, Some(json!({"id": 1, "name": "eins"})));
    assert_eq!(model.document(&search, "3").await, None);

    let expected = Watermark {
        history: "0.1".into(),
        lsn: Lsn(50),
        reaching: Lsn(50),
        committed_at: 0,
        settled: true,
        generation: 1,
        fingerprint: "f1".into(),
        term: 0,
    };
    assert_eq!(opened(&mut model.sink(&search)).await, Some(expected));

    let (_, found) = search.get(&format!("{}/_search?q=name:eins", model.index)).await;
    let before = found["hits"]["total"]["value"].clone();
    sink.refresher().refresh(&model.projection.name).await.unwrap();
    let (_, found) = search.get(&format!("{}/_search?q=name:eins", model.index)).await;
    assert_eq!(found["hits"]["total"]["value"], 1, "before the refresh: {before}");
}

#[tokio::test]
async fn every_type_is_accepted_and_kept_as_it_is() {
    let search = Search::shared().await;
    let address: Arc<[(String, Type)]> =
        [("city".to_string(), Type::Text), ("zip".to_string(), Type::Int4)].into();
    let columns = [
        ("id", Type::Int8),
        ("flag", Type::Bool),
        ("small", Type::Int2),
        ("plain", Type::Int4),
        ("oid", Type::Oid),
        ("f4", Type::Float4),
        ("f8", Type::Float8),
        ("amount", Type::Numeric),
        ("body", Type::Text),
        ("padded", Type::Bpchar),
        ("bytes", Type::Bytea),
        ("day", Type::Date),
        ("clock", Type::Time),
        ("clocktz", Type::TimeTz),
        ("at", Type::Timestamp),
        ("attz", Type::TimestampTz),
        ("span", Type::Interval),
        ("uuid", Type::Uuid),
        ("j", Type::Json),
        ("jb", Type::Jsonb),
        ("tags", Type::Array(Box::new(Type::Text), b',')),
        ("grid", Type::Array(Box::new(Type::Int4), b',')),
        ("address", Type::Composite(address)),
    ];
    let model = Model::new(&columns, &[0]);
    let long = "x".repeat(40_000);
    let plain = [
        "1",
        "t",
        "-3",
        "4",
        "26",
        "1.5",
        "2.25",
        "12.340",
        "it's \"quoted\"\n",
        "ab  ",
        "\\x00ff",
        "2026-01-02",
        "03:04:05.123456",
        "03:04:05+02",
        "2026-01-02 03:04:05.123456",
        "2026-01-02 03:04:05.123456+00",
        "1 day 02:00:00",
        "123e4567-e89b-12d3-a456-426614174000",
        "{\"a\": 1}",
        "{\"b\": [1, 2]}",
        "{a,\"b c\",NULL}",
        "{{1,2},{3,4}}",
        "(Oslo,150)",
    ];
    let odd = [
        "2",
        "f",
        "-32768",
        "-2147483648",
        "4294967295",
        "NaN",
        "-Infinity",
        "NaN",
        &long,
        "",
        "\\x",
        "infinity",
        "24:00:00",
        "00:00:00-15:59",
        "0044-03-15 12:00:00 BC",
        "infinity",
        "-1 years",
        "00000000-0000-0000-0000-000000000000",
        "[1]",
        "\"scalar\"",
        "{}",
        "{}",
        "(,)",
    ];
    let far = [
        "3",
        "t",
        "0",
        "0",
        "0",
        "3.4028235e+38",
        "1.7976931348623157e+308",
        "99999999999999999999999999999999999999.5",
        "",
        "x",
        "\\x",
        "10000-01-01",
        "00:00:00",
        "00:00:00+00",
        "294276-12-31 23:59:59.999999",
        "10000-01-01 00:00:00+00",
        "00:00:00",
        "123e4567-e89b-12d3-a456-426614174000",
        "null",
        "7",
        "{NULL}",
        "{5}",
        "(\"a b\",)",
    ];
    let mut rows: Vec<Entry> = [plain, odd, far]
        .iter()
        .map(|values| model.row(5, &values.iter().map(|text| Some(*text)).collect::<Vec<_>>()))
        .collect();
    let mut nulls = vec![None; columns.len()];
    nulls[0] = Some("4");
    rows.push(model.row(5, &nulls));
    let mut sink = model.sink(&search);
    sink.open().await.unwrap();
    let outcome = fill(&mut sink, 1, 10, &rows).await;
    assert_eq!(outcome.poison.iter().map(|poison| &poison.error).collect::<Vec<_>>(), [""; 0]);

    let first = model.document(&search, "1").await.unwrap();
    assert_eq!(first["at"], "2026-01-02T03:04:05.123456");
    assert_eq!(first["attz"], "2026-01-02T03:04:05.123456+00:00");
    assert_eq!(first["grid"], json!([[1, 2], [3, 4]]));
    assert_eq!(first["address"], json!({"city": "Oslo", "zip": 150}));
    assert_eq!(first["body"], "it's \"quoted\"\n");
    let second = model.document(&search, "2").await.unwrap();
    assert_eq!(
        [&second["f4"], &second["f8"], &second["amount"], &second["jb"], &second["day"]],
        [&json!("NaN"), &json!("-Infinity"), &json!("NaN"), &json!("scalar"), &json!("infinity")]
    );
    assert!(model.document(&search, "4").await.unwrap()["at"].is_null());

    // What the server can index, it did.
    for query in [
        "plain:4",
        "small:[-3 TO -3]",
        "amount:12.34",
        "day:[2026-01-01 TO 2026-01-03]",
        "attz:\"2026-01-02T03:04:05.123Z\"",
        "flag:true AND body:quoted",
        "tags.keyword:\"b c\"",
        "address.zip:150",
        "grid:3",
        "uuid:\"123e4567-e89b-12d3-a456-426614174000\" AND id:1",
    ] {
        let body = json!({ "query": { "query_string": { "query": query } } });
        let path = format!("{}/_search", model.index);
        let (_, found) = search.request(Method::POST, &path, Some(body)).await;
        assert_eq!(found["hits"]["hits"][0]["_id"], "1", "{query}: {found}");
    }
}

#[tokio::test]
async fn ids_hold_any_key_and_those_that_cannot_be_are_poison() {
    let search = Search::shared().await;
    let model = Model::new(&[("a", Type::Text), ("b", Type::Text)], &[0, 1]);
    let pair = |a: &str, b: &str| model.row(10, &[Some(a), Some(b)]);
    let long = "é".repeat(256);
    let rows = [
        pair("x|y", "z"),
        pair("x", "y|z"),
        pair("back\\slash", "\"quote\"\n\u{1}"),
        pair("/../%2F?&#", "日本"),
        model.row(10, &[None, Some("N")]),
        pair("\\N", "N"),
        pair(&long, "longer than 512 bytes"),
    ];
    let mut sink = model.sink(&search);
    sink.open().await.unwrap();
    let outcome = fill(&mut sink, 1, 20, &rows).await;
    assert_eq!((outcome.upserts, outcome.poison.len()), (6, 1));
    assert!(outcome.poison[0].error.contains("512"), "{}", outcome.poison[0].error);
    let mut ids: Vec<String> =
        search.documents(&model.index).await.into_iter().map(|(id, _)| id).collect();
    ids.sort();
    let mut expected = [
        "x\\|y|z",
        "x|y\\|z",
        "back\\\\slash|\"quote\"\n\u{1}",
        "/../%2F?&#|日本",
        "\\N|N",
        "\\\\N|N",
    ];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    // Deleting what never could be there is no fault.
    let gone =
        vec![model.gone(30, &[&long, "longer than 512 bytes"]), model.gone(30, &["x", "y|z"])];
    sink.apply(&step(40, gone)).await.unwrap();
    assert_eq!(model.document(&search, "x|y\\|z").await, None);

    let empty = Model::new(&[("k", Type::Text)], &[0]);
    let mut sink = empty.sink(&search);
    sink.open().await.unwrap();
    let outcome = fill(&mut sink, 1, 20, &[empty.row(10, &[Some("")])]).await;
    assert!(outcome.poison[0].error.contains("empty"), "{}", outcome.poison[0].error);

    let single = Model::new(&[("n", Type::Int8)], &[]);
    single.filled(&search, 20, &[single.row(10, &[Some("5")])]).await;
    assert_eq!(single.document(&search, "_").await, Some(json!({"n": 5})));
}

#[tokio::test]
async fn a_row_whose_id_changes_leaves_its_old_document() {
    let search = Search::shared().await;
    let columns = [("id", Type::Int8), ("city", Type::Text)];
    let template = Template::parse("{city}-{id}").unwrap();
    let model = Model::new(&columns, &[0]).target(|target| target.id = Some(template));
    let row = |lsn, id, city| model.row(lsn, &[Some(id), city]);
    let ids = async || -> Vec<String> {
        search.documents(&model.index).await.into_iter().map(|(id, _)| id).collect()
    };
    let rows = [row(5, "1", Some("oslo")), row(5, "2", Some("rome")), row(5, "3", None)];
    let mut sink = model.filled(&search, 10, &rows).await;
    assert_eq!(ids().await, ["oslo-1", "rome-2"]);
    sink.apply(&step(20, vec![row(15, "1", Some("bonn")), row(15, "3", Some("bern"))]))
        .await
        .unwrap();
    assert_eq!(ids().await, ["bern-3", "bonn-1", "rome-2"]);
    // A process that knows nothing of the rows before finds their documents all the same.
    let mut sink = model.sink(&search);
    assert_eq!(opened(&mut sink).await.unwrap().lsn, Lsn(20));
    let entries = vec![row(25, "1", None), model.gone(26, &["2"]), row(27, "3", Some("bern"))];
    sink.apply(&step(30, entries)).await.unwrap();
    assert_eq!(ids().await, ["bern-3"]);
    // An older row is not taken, wherever it would go.
    sink.apply(&step(30, vec![row(26, "3", Some("kiel"))])).await.unwrap();
    assert_eq!(ids().await, ["bern-3"]);
    let long = "x".repeat(600);
    let outcome = sink.apply(&step(40, vec![row(35, "3", Some(&long))])).await.unwrap();
    assert_eq!(outcome.poison.len(), 1);
    assert_eq!(ids().await, Vec::<String>::new());

    fill(&mut sink, 2, 50, &[row(45, "1", Some("oslo"))]).await;
    let (status, _) = search.get(&format!("readside-places-{}-000001", model.index)).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "the places go with their index");
    let places = format!("readside-places-{}-000002", model.index);
    search.request(Method::DELETE, &places, None).await;
    let error = sink.apply(&step(60, vec![row(55, "1", Some("rome"))])).await.unwrap_err();
    retryable(&error);
    assert_eq!(opened(&mut sink).await.unwrap().fingerprint, "", "to be filled anew");
}

#[tokio::test]
async fn rows_of_several_projections_and_targets_go_in_one_step() {
    let search = Search::shared().await;
    let (one, other) = (Model::simple(), Model::simple());
    let second = unique("docs");
    let mut both = one.clone();
    if let Target::Elasticsearch(target) = &one.projection.targets[0] {
        let copy = ElasticsearchTarget { index: second.clone(), ..target.clone() };
        both.projection.targets.push(Target::Elasticsearch(copy));
    }
    let projections = vec![both.projection.clone(), other.projection.clone()];
    let mut sink =
        ElasticsearchSink::new(&config(search.url()), OWNER.into(), projections).unwrap();
    sink.open().await.unwrap();
    let part = |projection, entries, finish_fill| StepProjection {
        times: Vec::new(),
        projection,
        entries,
        generation: 1,
        finish_fill,
    };
    for projection in 0..2 {
        sink.begin_fill(projection, 1).await.unwrap();
        sink.end_fill(projection).await.unwrap();
    }
    let mut first = step(10, Vec::new());
    // In any order.
    first.projections =
        vec![part(1, Vec::new(), true), part(0, vec![one.simple_row(5, "0", "z")], true)];
    sink.apply(&first).await.unwrap();
    let mut next = step(20, Vec::new());
    next.projections = vec![
        part(0, vec![one.simple_row(15, "1", "a")], false),
        part(1, vec![other.simple_row(15, "1", "b"), other.simple_row(15, "2", "c")], false),
    ];
    let outcome = sink.apply(&next).await.unwrap();
    assert_eq!(outcome.upserts, 3);
    assert_eq!(search.documents(&one.index).await.len(), 2);
    assert_eq!(search.documents(&second).await.len(), 2);
    assert_eq!(other.document(&search, "2").await.unwrap()["name"], "c");
    let all = sink.open().await.unwrap();
    assert!(all.iter().flatten().all(|watermark| watermark.lsn == Lsn(20)), "{all:?}");
}

#[tokio::test]
async fn an_older_row_never_wins_and_a_replay_changes_nothing() {
    let search = Search::shared().await;
    let model = Model::simple();
    let mut sink = model.filled(&search, 100, &[model.simple_row(90, "1", "new")]).await;
    let outcome = sink.apply(&step(110, vec![model.simple_row(80, "1", "old")])).await.unwrap();
    assert_eq!((outcome.upserts, outcome.poison.len()), (1, 0));
    assert_eq!(model.document(&search, "1").await.unwrap()["name"], "new");
    for _ in 0..2 {
        let again = vec![model.simple_row(95, "1", "newer"), model.gone(96, &["2"])];
        let outcome = sink.apply(&step(120, again)).await.unwrap();
        assert_eq!((outcome.upserts, outcome.deletes, outcome.poison.len()), (1, 1, 0));
    }
    assert_eq!(model.document(&search, "1").await.unwrap()["name"], "newer");
    // An older row after a delete: refused by the version that the delete left.
    sink.apply(&step(130, vec![model.gone(125, &["1"])])).await.unwrap();
    sink.apply(&step(130, vec![model.simple_row(124, "1", "late")])).await.unwrap();
    assert_eq!(model.document(&search, "1").await, None);
}

#[tokio::test]
async fn a_refused_row_is_poison_alone_and_its_older_version_goes() {
    let search = Search::shared().await;
    let strict = json!({ "properties": { "name": { "type": "integer" } } });
    let model = Model::simple().target(|target| target.mappings = Some(strict));
    let rows = [model.simple_row(10, "1", "11"), model.simple_row(10, "2", "22")];
    let mut sink = model.filled(&search, 50, &rows).await;
    let entries = vec![
        model.simple_row(60, "1", "no number"),
        model.simple_row(61, "2", "222"),
        model.simple_row(62, "3", "nor this"),
    ];
    for _ in 0..2 {
        let outcome = sink.apply(&step(70, entries.clone())).await.unwrap();
        assert_eq!((outcome.upserts, outcome.poison.len()), (1, 2));
        assert_eq!(outcome.poison[0].entry.lsn(), Lsn(60));
        assert!(outcome.poison[0].error.contains("no number"), "{}", outcome.poison[0].error);
    }
    assert_eq!(model.document(&search, "1").await, None, "missing is honest, stale is not");
    assert_eq!(model.document(&search, "2").await.unwrap()["name"], "222");
    // Accepted at last, at the version that was refused.
    sink.apply(&step(80, vec![model.simple_row(60, "1", "7")])).await.unwrap();
    assert_eq!(model.document(&search, "1").await.unwrap()["name"], "7");
}
