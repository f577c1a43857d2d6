//! What a PostgreSQL 15 sent for fuzz/capture.sql, read out loud.

use std::fmt::Write as _;
use std::path::PathBuf;

use readside::lsn::Lsn;
use readside::pgoutput::{
    Before, Cell, Change, Event, Frame, Inside, Message, Position, Transactions, Tuple,
    complete_prefix, decode, frames,
};

/// Names and contents, in the order of names.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/pgoutput");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the corpus is committed")
        .map(|entry| {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("readable"))
        })
        .collect();
    files.sort();
    files
}

fn stream(columns: &str) -> Vec<u8> {
    let name = format!("stream-{columns}.bin");
    files().into_iter().find(|(file, _)| *file == name).expect("committed").1
}

#[test]
fn every_body_is_a_message_of_its_name() {
    let mut kinds = std::collections::BTreeSet::new();
    for (name, bytes) in files() {
        let kind = name.split('-').next().expect("a name").to_owned();
        let said = match decode(&bytes) {
            _ if kind == "stream" => continue,
            Ok(Message::Begin { .. }) => "begin",
            Ok(Message::Commit { .. }) => "commit",
            Ok(Message::Origin { .. }) => "origin",
            Ok(Message::Relation(_)) => "relation",
            Ok(Message::Type { .. }) => "type",
            Ok(Message::Change(Change::Insert { .. })) => "insert",
            Ok(Message::Change(Change::Update { .. })) => "update",
            Ok(Message::Change(Change::Delete { .. })) => "delete",
            Ok(Message::Change(Change::Truncate { .. })) => "truncate",
            Ok(Message::LogicalMessage { .. }) => "message",
            Err(error) => panic!("{name}: {error}"),
        };
        assert_eq!(said, kind, "{name}");
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 10, "each kind of message is there: {kinds:?}");
}

#[test]
fn a_real_stream_reads_as_what_was_done() {
    insta::assert_snapshot!(read_out(&stream("text")));
}

#[test]
fn binary_columns_make_the_same_stream() {
    let positions = |columns| positions(&stream(columns), Position::default());
    assert_eq!(positions("text"), positions("binary"));
    assert!(read_out(&stream("binary")).contains("INSERT shop.types (<4 bytes>, <1 bytes>"));
}

#[test]
fn a_real_stream_goes_on_from_each_of_its_changes() {
    let bytes = stream("text");
    let all = positions(&bytes, Position::default());
    assert!(all.len() > 50, "{}", all.len());
    for (done, position) in all.iter().enumerate() {
        assert_eq!(positions(&bytes, *position), all[done + 1..], "{position:?}");
    }
}

/// The position after each change and each commit.
fn positions(bytes: &[u8], from: Position) -> Vec<Position> {
    let mut done = from.lsn;
    let mut positions = Vec::new();
    for_each(bytes, from, |event| match event {
        Event::Change { commit_lsn, ordinal, .. } => positions
            .push(Position { lsn: done, inside: Some(Inside { commit_lsn, changes: ordinal }) }),
        Event::Commit { end_lsn, .. } => {
            done = end_lsn;
            positions.push(Position { lsn: done, inside: None });
        }
        _ => {}
    });
    positions
}

fn for_each(bytes: &[u8], from: Position, mut act: impl FnMut(Event<'_>)) {
    assert_eq!(complete_prefix(bytes), Ok(bytes.len()));
    let mut transactions = Transactions::new(from);
    for frame in frames(bytes) {
        if let Frame::Data { body, .. } = frame.expect("a frame") {
            let message = decode(body).expect("a message");
            if let Some(event) = transactions.step(message).expect("in order") {
                act(event);
            }
        }
    }
}

/// One line for each event; LSNs and times are left out, since a new capture has others.
fn read_out(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut names = std::collections::HashMap::new();
    for_each(bytes, Position { lsn: Lsn::ZERO, inside: None }, |event| {
        let line = match event {
            Event::Begin { .. } => "BEGIN".to_owned(),
            Event::Commit { .. } => "COMMIT".to_owned(),
            Event::Relation(relation) => {
                names.insert(relation.oid, format!("{}.{}", relation.schema, relation.name));
                let columns = relation.columns.iter().map(|column| {
                    let key = if column.key { "*" } else { "" };
                    format!("{}{key}", column.name)
                });
                format!(
                    "  RELATION {}.{} {:?} ({})",
                    relation.schema,
                    relation.name,
                    relation.identity,
                    columns.collect::<Vec<_>>().join(", ")
                )
            }
            Event::Message { in_transaction, prefix, content, .. } => {
                let place = if in_transaction.is_some() { "  " } else { "" };
                format!("{place}MESSAGE {prefix:?} {}", content.escape_ascii())
            }
            Event::Change { ordinal, change, .. } => {
                format!("  {ordinal}/ {}", change_line(change, |oid| names[&oid].clone()))
            }
        };
        writeln!(out, "{line}").expect("a string takes all");
    });
    out
}

fn change_line(change: Change<'_>, name: impl Fn(u32) -> String) -> String {
    let before = |before| match before {
        Before::Key(key) => format!("key {}", row(key)),
        Before::Row(whole) => format!("row {}", row(whole)),
    };
    match change {
        Change::Insert { relation, new } => format!("INSERT {} {}", name(relation), row(new)),
        Change::Update { relation, before: None, new } => {
            format!("UPDATE {} -> {}", name(relation), row(new))
        }
        Change::Update { relation, before: Some(old), new } => {
            format!("UPDATE {} {} -> {}", name(relation), before(old), row(new))
        }
        Change::Delete { relation, before: old } => {
            format!("DELETE {} {}", name(relation), before(old))
        }
        Change::Truncate { relations, cascade, restart_identity } => {
            let names: Vec<_> = relations.iter().map(name).collect();
            let cascade = if cascade { " CASCADE" } else { "" };
            let restart = if restart_identity { " RESTART IDENTITY" } else { "" };
            format!("TRUNCATE {}{restart}{cascade}", names.join(", "))
        }
    }
}

fn row(tuple: Tuple<'_>) -> String {
    let cells: Vec<_> = tuple
        .cells()
        .map(|cell| match cell {
            Cell::Null => "NULL".to_owned(),
            Cell::UnchangedToast => "UNCHANGED".to_owned(),
            Cell::Text(text) if text.len() > 1000 => format!("[{} bytes]", text.len()),
            Cell::Text(text) => format!("{:?}", std::str::from_utf8(text).expect("checked")),
            Cell::Binary(bytes) => format!("<{} bytes>", bytes.len()),
        })
        .collect();
    format!("({})", cells.join(", "))
}
