//! What must hold for any bytes at all. Used by the seeded mutation test on stable Rust
//! (tests/pgoutput) and by the cargo-fuzz target.

use std::num::Wrapping;
use std::sync::Arc;

use pg_walstream::{
    ColumnData, ColumnInfo, LogicalReplicationMessage as Theirs, LogicalReplicationParser,
    TupleData, encode_message_to_bytes,
};
use readside::lsn::Lsn;
use readside::pgoutput::{
    Before, Cell, Change, DecodeError, Event, Fault, Frame, Inside, MESSAGE_BYTES_MAX, Message,
    Position, ReplicaIdentity, Transactions, Tuple, complete_prefix, decode, frames,
};

/// Panics unless our decoder answers any bytes with a value or an error, agrees with an independent
/// implementation, and its layers agree with each other.
pub(crate) fn check(input: &[u8]) {
    body(input);
    gulp(input);
    stream(input);
}

/// As one pgoutput message, held against pg_walstream.
fn body(input: &[u8]) {
    let theirs = parse(input);
    match decode(input) {
        Ok(ours) => {
            let theirs = theirs.expect("they read what we read");
            assert_eq!(encode(&theirs), input, "both have read all of it");
            assert_eq!(translate(&ours), without_unknown_flags(theirs));
        }
        Err(error) => {
            assert!(error.offset <= input.len() && !error.to_string().is_empty(), "{error:?}");
            // They are more lenient: a surplus is dropped, counts are unsigned, text, flags and
            // kinds are not looked at.
            if let Ok(theirs) = theirs
                && encode(&theirs) == input
            {
                let stricter = matches!(
                    error.fault,
                    Fault::NotUtf8
                        | Fault::Negative(_)
                        | Fault::LaterProtocol { .. }
                        | Fault::Unknown { what: "flags" | "replica identity" | "tuple", .. }
                );
                assert!(stricter, "we refuse what they read: {error}: {theirs:?}");
            }
        }
    }
}

/// As a gulp: cutting it anywhere changes nothing.
fn gulp(input: &[u8]) {
    let whole = match complete_prefix(input) {
        Ok(whole) => whole,
        Err(error) => {
            assert!(
                matches!(error.fault, Fault::Oversized(n) if n > MESSAGE_BYTES_MAX)
                    || matches!(error.fault, Fault::Undersized(0..4)),
                "{error}"
            );
            // Up to the refused header all is in order.
            error.offset - 1
        }
    };
    let read = |bytes| -> Vec<Result<Frame<'_>, DecodeError>> { frames(bytes).collect() };
    let all = read(&input[..whole]);
    let errors = all.iter().filter(|frame| frame.is_err()).count();
    assert!(errors == 0 || errors == 1 && all.last().is_some_and(Result::is_err), "{all:?}");
    let first = complete_prefix(&input[..whole / 2]).expect("shorter than what was in order");
    assert!(first <= whole / 2);
    let mut parts = read(&input[..first]);
    if parts.last().is_none_or(Result::is_ok) {
        parts.extend(read(&input[first..whole]).into_iter().map(|frame| {
            frame.map_err(|error| DecodeError { offset: first + error.offset, ..error })
        }));
    }
    assert_eq!(all, parts);
    // What is left over is not a whole frame.
    assert!(whole == input.len() || read(&input[whole..])[0].is_err() || errors == 1);
}

/// As the messages of a stream: one that is resumed goes on with what was left.
fn stream(input: &[u8]) {
    let all = changes(input, Position::default());
    let picked = input.iter().map(|byte| Wrapping(usize::from(*byte))).sum::<Wrapping<usize>>().0;
    if let Some(done) = picked.checked_rem(all.len()) {
        let (commit_lsn, ordinal) = all[done];
        let inside = Some(Inside { commit_lsn, changes: ordinal });
        assert_eq!(changes(input, Position { lsn: Lsn::ZERO, inside }), all[done + 1..]);
        let after = Position { lsn: Lsn(commit_lsn.0.saturating_add(1)), inside: None };
        let left = all.iter().filter(|(lsn, _)| *lsn >= after.lsn).copied().collect::<Vec<_>>();
        assert_eq!(changes(input, after), left);
    }
}

/// The changes up to the first thing that is not in order.
fn changes(input: &[u8], from: Position) -> Vec<(Lsn, u64)> {
    let mut transactions = Transactions::new(from);
    let mut changes = Vec::new();
    for frame in frames(input) {
        let Ok(frame) = frame else { break };
        let Frame::Data { body, .. } = frame else { continue };
        let Ok(message) = decode(body) else { break };
        match transactions.step(message) {
            Ok(Some(Event::Change { commit_lsn, ordinal, .. })) => {
                changes.push((commit_lsn, ordinal));
            }
            Ok(_) => {}
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    changes
}

pub(crate) fn encode(message: &Theirs) -> Vec<u8> {
    encode_message_to_bytes(message, 1).to_vec()
}

fn parse(input: &[u8]) -> pg_walstream::Result<Theirs> {
    let mut parser = LogicalReplicationParser::with_protocol_version(1);
    parser.parse_wal_message(input).map(|message| message.message)
}

/// Our message in their words.
pub(crate) fn translate(message: &Message<'_>) -> Theirs {
    match *message {
        Message::Begin { final_lsn, commit_time, xid } => {
            Theirs::Begin { final_lsn: final_lsn.0, timestamp: commit_time, xid }
        }
        Message::Commit { commit_lsn, end_lsn, commit_time } => Theirs::Commit {
            flags: 0,
            commit_lsn: commit_lsn.0,
            end_lsn: end_lsn.0,
            timestamp: commit_time,
        },
        Message::Origin { lsn, name } => {
            Theirs::Origin { origin_lsn: lsn.0, origin_name: name.to_owned() }
        }
        Message::Relation(relation) => Theirs::Relation {
            relation_id: relation.oid,
            namespace: Arc::from(relation.schema),
            relation_name: Arc::from(relation.name),
            replica_identity: match relation.identity {
                ReplicaIdentity::Default => b'd',
                ReplicaIdentity::Nothing => b'n',
                ReplicaIdentity::Full => b'f',
                ReplicaIdentity::Index => b'i',
            },
            columns: relation
                .columns
                .map(|c| ColumnInfo::new(c.key.into(), c.name.to_owned(), c.type_oid, c.typmod))
                .collect(),
        },
        Message::Type { oid, schema, name } => {
            Theirs::Type { type_id: oid, namespace: schema.to_owned(), type_name: name.to_owned() }
        }
        Message::Change(change) => translate_change(change),
        Message::LogicalMessage { transactional, lsn, prefix, content } => Theirs::Message {
            flags: transactional.into(),
            lsn: lsn.0,
            prefix: prefix.to_owned(),
            content: content.to_vec().into(),
        },
    }
}

fn translate_change(change: Change<'_>) -> Theirs {
    let before = |before: Before<'_>| match before {
        Before::Key(tuple) => ('K', translate_tuple(tuple)),
        Before::Row(tuple) => ('O', translate_tuple(tuple)),
    };
    match change {
        Change::Insert { relation, new } => {
            Theirs::Insert { relation_id: relation, tuple: translate_tuple(new) }
        }
        Change::Update { relation, before: old, new } => {
            let (key_type, old_tuple) = old.map(before).unzip();
            let new_tuple = translate_tuple(new);
            Theirs::Update { relation_id: relation, old_tuple, new_tuple, key_type }
        }
        Change::Delete { relation, before: old } => {
            let (key_type, old_tuple) = before(old);
            Theirs::Delete { relation_id: relation, old_tuple, key_type }
        }
        Change::Truncate { relations, cascade, restart_identity } => Theirs::Truncate {
            relation_ids: relations.iter().collect(),
            flags: u8::from(cascade) | u8::from(restart_identity) << 1,
        },
    }
}

fn translate_tuple(tuple: Tuple<'_>) -> TupleData {
    let columns: Vec<_> = tuple
        .cells()
        .map(|cell| match cell {
            Cell::Null => ColumnData::null(),
            Cell::UnchangedToast => ColumnData::unchanged(),
            Cell::Text(text) => {
                assert!(std::str::from_utf8(text).is_ok());
                ColumnData::text(text.to_vec())
            }
            Cell::Binary(bytes) => ColumnData::binary(bytes.to_vec()),
        })
        .collect();
    assert_eq!(columns.len(), tuple.len(), "no cell is missing");
    TupleData::new(columns)
}

/// They keep the bits that have no meaning.
fn without_unknown_flags(mut message: Theirs) -> Theirs {
    match &mut message {
        Theirs::Relation { columns, .. } => columns.iter_mut().for_each(|c| c.flags &= 1),
        Theirs::Truncate { flags, .. } => *flags &= 3,
        Theirs::Message { flags, .. } => *flags &= 1,
        _ => {}
    }
    message
}
