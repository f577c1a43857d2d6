//! How the place of a row's older version is known, by target. What a server does is tested in
//! `tests/it/sink_redis`.

use crate::config::template::{Part, Template};
use crate::config::{Place, RedisStructure, RedisTarget, Target};
use crate::sink::{Role, SinkProjection};
use crate::value::{Column, Type};

use super::record::Layout;
use super::target::{Plan, Recall};

/// `a`, `b` and `c` in braces are columns; everything else stands for itself.
fn template(text: &str) -> Template {
    let mut parts = Vec::new();
    for part in text.split_inclusive('}') {
        let (literal, column) = part.split_once('{').unwrap_or((part, ""));
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        if !column.is_empty() {
            parts.push(Part::Column(column.trim_end_matches('}').into()));
        }
    }
    Template { parts }
}

fn hash(key: &str) -> RedisTarget {
    let structure = RedisStructure::Hash { key: template(key) };
    RedisTarget { structure, ttl: None, columns: None, place: Place::default() }
}

fn set(key: &str, member: &str) -> RedisTarget {
    let structure = RedisStructure::Set { key: template(key), member: template(member) };
    RedisTarget { structure, ttl: None, columns: None, place: Place::default() }
}

/// Of columns `a` (the key), `b` and `c`.
fn plan(targets: Vec<RedisTarget>) -> Plan {
    let column = |name: &str| Column {
        name: name.into(),
        ty: Type::Int4,
        sql_type: "integer".into(),
        type_oid: 23,
        typmod: -1,
        not_null: false,
    };
    let projection = SinkProjection {
        shapes: Vec::new(),
        name: "p".into(),
        role: Role::Rows,
        columns: ["a", "b", "c"].map(column).into(),
        key: vec![0],
        targets: targets.into_iter().map(Target::Redis).collect(),
        fingerprint: "f".into(),
    };
    Plan::bind(0, &projection, Layout::Single).unwrap()
}

fn recalls(targets: Vec<RedisTarget>) -> Vec<Recall> {
    plan(targets).targets.iter().map(|target| target.recall).collect()
}

#[test]
fn a_place_that_only_the_key_decides_needs_no_record() {
    assert_eq!(recalls(vec![hash("h:{a}"), set("s", "{a}")]), [Recall::Key, Recall::Key]);
}

#[test]
fn a_hash_of_all_columns_is_the_anchor_of_what_moves() {
    let plan = plan(vec![set("s:{b}", "{a}"), hash("h:{a}"), set("t:{c}", "{a}")]);
    let recalls: Vec<_> = plan.targets.iter().map(|target| target.recall).collect();
    assert_eq!(recalls, [Recall::Anchor, Recall::Key, Recall::Anchor]);
    let anchor = plan.anchor.unwrap();
    assert_eq!((anchor.watched, anchor.columns), (vec![1, 2], vec![0, 1, 2]));
    assert!(!plan.recorded);
}

#[test]
fn a_hash_that_expires_or_lacks_a_column_is_no_anchor() {
    let moving = || set("s:{b}", "{a}");
    let expiring = RedisTarget { ttl: Some(60), ..hash("h:{a}") };
    assert_eq!(recalls(vec![expiring, moving()]), [Recall::Key, Recall::Record]);
    let columns = |names: &[&str]| Some(names.iter().map(|&name| name.into()).collect());
    let narrow = RedisTarget { columns: columns(&["a", "c"]), ..hash("h:{a}") };
    assert_eq!(recalls(vec![narrow, moving()]), [Recall::Key, Recall::Record]);
    let wide = RedisTarget { columns: columns(&["a", "b"]), ..hash("h:{a}") };
    assert_eq!(recalls(vec![wide, moving()]), [Recall::Key, Recall::Anchor]);
    // A hash that moves itself is not found by the key.
    assert_eq!(recalls(vec![hash("h:{b}:{a}"), moving()]), [Recall::Record, Recall::Record]);
}

#[test]
fn what_no_scan_can_find_is_recorded() {
    assert_eq!(recalls(vec![hash("{a}"), set("{b}", "{a}")]), [Recall::Record, Recall::Record]);
}
