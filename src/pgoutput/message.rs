//! One pgoutput message of protocol 1 (PostgreSQL manual, 55.9 "Logical Replication Message
//! Formats"). A string ends with a zero byte; numbers are big-endian.
//!
//! ```text
//! BEGIN    = 'B' Int64(final LSN) Int64(commit time) Int32(xid)
//! COMMIT   = 'C' Int8(0) Int64(commit LSN) Int64(end LSN) Int64(commit time)
//! ORIGIN   = 'O' Int64(LSN) String(name)
//! RELATION = 'R' Int32(oid) String(schema) String(name) Int8(identity) Int16(columns) column*
//! column   = Int8(1: key) String(name) Int32(type oid) Int32(typmod)
//! TYPE     = 'Y' Int32(oid) String(schema) String(name)
//! INSERT   = 'I' Int32(relation) 'N' TupleData
//! UPDATE   = 'U' Int32(relation) [('K' | 'O') TupleData] 'N' TupleData
//! DELETE   = 'D' Int32(relation) ('K' | 'O') TupleData
//! TRUNCATE = 'T' Int32(relations) Int8(1: cascade, 2: restart identity) Int32(relation)*
//! MESSAGE  = 'M' Int8(1: transactional) Int64(LSN) String(prefix) Int32(length) content
//! ```

use super::error::{DecodeError, Fault};
use super::read::Reader;
use super::relation::RelationRef;
use super::tuple::Tuple;
use crate::lsn::Lsn;

/// A message in the read buffer. Times are microseconds since 2000-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// `final_lsn` is where the transaction's commit record starts.
    Begin {
        final_lsn: Lsn,
        commit_time: i64,
        xid: u32,
    },
    /// `commit_lsn` is where the commit record starts, `end_lsn` where the next record may.
    Commit {
        commit_lsn: Lsn,
        end_lsn: Lsn,
        commit_time: i64,
    },
    /// The transaction came to the source by replication.
    Origin {
        lsn: Lsn,
        name: &'a str,
    },
    Relation(RelationRef<'a>),
    /// Announces a type that is not built in, before a relation that uses it.
    Type {
        oid: u32,
        schema: &'a str,
        name: &'a str,
    },
    Change(Change<'a>),
    /// What `pg_logical_emit_message` wrote; only sent when the `messages` option was given.
    LogicalMessage {
        transactional: bool,
        lsn: Lsn,
        prefix: &'a str,
        content: &'a [u8],
    },
}

/// What a transaction did to rows. Relations are oids of RELATION messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    Insert {
        relation: u32,
        new: Tuple<'a>,
    },
    /// `before` is missing when the identity's columns did not change (and is not FULL).
    Update {
        relation: u32,
        before: Option<Before<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        relation: u32,
        before: Before<'a>,
    },
    Truncate {
        relations: Relations<'a>,
        cascade: bool,
        restart_identity: bool,
    },
}

/// What is known of a row before its change. Both have all the relation's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before<'a> {
    /// `K`: only the replica identity's columns have values, the others are NULL.
    Key(Tuple<'a>),
    /// `O`: the whole row, under REPLICA IDENTITY FULL.
    Row(Tuple<'a>),
}

impl<'a> Before<'a> {
    pub fn tuple(&self) -> Tuple<'a> {
        match self {
            Before::Key(tuple) | Before::Row(tuple) => *tuple,
        }
    }
}

/// The oids of the relations of a TRUNCATE.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Relations<'a>(&'a [[u8; 4]]);

impl<'a> Relations<'a> {
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.0.iter().map(|oid| u32::from_be_bytes(*oid))
    }
}

impl std::fmt::Debug for Relations<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Reads the body of an XLogData message, which is one pgoutput message, to its last byte.
pub fn decode(body: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut reader = Reader::new("pgoutput message", body);
    let tag = reader.u8()?;
    reader.name(match tag {
        b'B' => "BEGIN",
        b'C' => "COMMIT",
        b'O' => "ORIGIN",
        b'R' => "RELATION",
        b'Y' => "TYPE",
        b'I' => "INSERT",
        b'U' => "UPDATE",
        b'D' => "DELETE",
        b'T' => "TRUNCATE",
        b'M' => "MESSAGE",
        other => return Err(refusal(&reader, other)),
    });
    let message = match tag {
        b'I' => Message::Change(insert(&mut reader)?),
        b'U' => Message::Change(update(&mut reader)?),
        b'D' => Message::Change(delete(&mut reader)?),
        b'T' => Message::Change(truncate(&mut reader)?),
        b'B' => Message::Begin {
            final_lsn: Lsn(reader.u64()?),
            commit_time: reader.i64()?,
            xid: reader.u32()?,
        },
        b'C' => commit(&mut reader)?,
        b'O' => Message::Origin { lsn: Lsn(reader.u64()?), name: reader.text()? },
        b'R' => Message::Relation(RelationRef::read(&mut reader)?),
        b'Y' => Message::Type { oid: reader.u32()?, schema: reader.text()?, name: reader.text()? },
        _ => Message::LogicalMessage {
            transactional: reader.u8()? & 1 != 0,
            lsn: Lsn(reader.u64()?),
            prefix: reader.text()?,
            content: reader.counted()?,
        },
    };
    reader.end()?;
    Ok(message)
}

/// The tag is of a later protocol, or of none.
#[cold]
fn refusal(reader: &Reader<'_>, tag: u8) -> DecodeError {
    let (message, protocol) = match tag {
        b'S' => ("STREAM START", 2),
        b'E' => ("STREAM STOP", 2),
        b'c' => ("STREAM COMMIT", 2),
        b'A' => ("STREAM ABORT", 2),
        b'b' => ("BEGIN PREPARE", 3),
        b'P' => ("PREPARE", 3),
        b'K' => ("COMMIT PREPARED", 3),
        b'r' => ("ROLLBACK PREPARED", 3),
        b'p' => ("STREAM PREPARE", 3),
        other => return reader.unknown("message", other),
    };
    DecodeError { message, offset: 0, fault: Fault::LaterProtocol { protocol } }
}

fn commit<'a>(reader: &mut Reader<'a>) -> Result<Message<'a>, DecodeError> {
    // PostgreSQL's own reader refuses flags that it does not know here, and here alone.
    match reader.u8()? {
        0 => {}
        other => return Err(reader.unknown("flags", other)),
    }
    Ok(Message::Commit {
        commit_lsn: Lsn(reader.u64()?),
        end_lsn: Lsn(reader.u64()?),
        commit_time: reader.i64()?,
    })
}

fn insert<'a>(reader: &mut Reader<'a>) -> Result<Change<'a>, DecodeError> {
    let relation = reader.u32()?;
    match reader.u8()? {
        b'N' => Ok(Change::Insert { relation, new: Tuple::read(reader)? }),
        other => Err(reader.unknown("tuple", other)),
    }
}

fn update<'a>(reader: &mut Reader<'a>) -> Result<Change<'a>, DecodeError> {
    let relation = reader.u32()?;
    let before = match reader.u8()? {
        b'N' => {
            return Ok(Change::Update { relation, before: None, new: Tuple::read(reader)? });
        }
        b'K' => Before::Key(Tuple::read(reader)?),
        b'O' => Before::Row(Tuple::read(reader)?),
        other => return Err(reader.unknown("tuple", other)),
    };
    match reader.u8()? {
        b'N' => Ok(Change::Update { relation, before: Some(before), new: Tuple::read(reader)? }),
        other => Err(reader.unknown("tuple", other)),
    }
}

fn delete<'a>(reader: &mut Reader<'a>) -> Result<Change<'a>, DecodeError> {
    let relation = reader.u32()?;
    let before = match reader.u8()? {
        b'K' => Before::Key(Tuple::read(reader)?),
        b'O' => Before::Row(Tuple::read(reader)?),
        other => return Err(reader.unknown("tuple", other)),
    };
    Ok(Change::Delete { relation, before })
}

fn truncate<'a>(reader: &mut Reader<'a>) -> Result<Change<'a>, DecodeError> {
    let count = reader.length()?;
    let flags = reader.u8()?;
    let (oids, _) = reader.bytes(count.saturating_mul(4))?.as_chunks();
    Ok(Change::Truncate {
        relations: Relations(oids),
        cascade: flags & 1 != 0,
        restart_identity: flags & 2 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgoutput::{Cell, ColumnRef, ReplicaIdentity};

    /// Bytes as the manual's tables list them.
    #[derive(Default)]
    struct Wire(Vec<u8>);

    impl Wire {
        fn raw(mut self, bytes: &[u8]) -> Self {
            self.0.extend_from_slice(bytes);
            self
        }
        fn i16(self, number: i16) -> Self {
            self.raw(&number.to_be_bytes())
        }
        fn i32(self, number: i32) -> Self {
            self.raw(&number.to_be_bytes())
        }
        fn i64(self, number: i64) -> Self {
            self.raw(&number.to_be_bytes())
        }
        fn text(self, text: &str) -> Self {
            self.raw(text.as_bytes()).raw(b"\0")
        }
        fn cell(self, tag: &[u8], value: &[u8]) -> Self {
            self.raw(tag).i32(i32::try_from(value.len()).expect("small")).raw(value)
        }
    }

    fn wire(tag: &[u8]) -> Wire {
        Wire::default().raw(tag)
    }

    fn begin() -> Wire {
        wire(b"B").i64(0x16_B374_D848).i64(-5).i32(-2)
    }
    fn commit() -> Wire {
        wire(b"C\0").i64(0x16_B374_D848).i64(0x16_B374_D878).i64(i64::MAX)
    }
    fn origin() -> Wire {
        wire(b"O").i64(0xABCDEF).text("elsewhere")
    }
    fn relation() -> Wire {
        let head = wire(b"R").i32(16384).text("shop").text("größen").raw(b"d").i16(2);
        head.raw(b"\x01").text("id").i32(23).i32(-1).raw(b"\0").text("n").i32(1700).i32(655366)
    }
    fn type_() -> Wire {
        wire(b"Y").i32(16390).text("").text("mood")
    }
    fn insert() -> Wire {
        wire(b"I")
            .i32(16384)
            .raw(b"N")
            .i16(4)
            .cell(b"t", "ü".as_bytes())
            .raw(b"nu")
            .cell(b"b", b"\xff")
    }
    fn update() -> Wire {
        wire(b"U").i32(16384).raw(b"N").i16(1).cell(b"t", b"")
    }
    fn update_key() -> Wire {
        wire(b"U").i32(16384).raw(b"K").i16(2).cell(b"t", b"1").raw(b"nN").i16(1).raw(b"u")
    }
    fn update_full() -> Wire {
        wire(b"U").i32(16384).raw(b"O").i16(1).cell(b"t", b"1").raw(b"N").i16(1).cell(b"t", b"2")
    }
    fn delete_key() -> Wire {
        wire(b"D").i32(16384).raw(b"K").i16(1).cell(b"t", b"1")
    }
    fn delete_full() -> Wire {
        wire(b"D").i32(-1).raw(b"O").i16(0)
    }
    fn truncate() -> Wire {
        wire(b"T").i32(2).raw(b"\x03").i32(16384).i32(-1)
    }
    fn logical_message() -> Wire {
        wire(b"M\x01").i64(0x10).text("prefix").i32(3).raw(b"\0\xffx")
    }

    fn all() -> [Wire; 13] {
        [
            begin(),
            commit(),
            origin(),
            relation(),
            type_(),
            insert(),
            update(),
            update_key(),
            update_full(),
            delete_key(),
            delete_full(),
            truncate(),
            logical_message(),
        ]
    }

    fn cells<'a>(tuple: Tuple<'a>) -> Vec<Cell<'a>> {
        assert_eq!(tuple.cells().len(), tuple.len());
        tuple.into_iter().collect()
    }

    fn change(bytes: &[u8]) -> Change<'_> {
        match decode(bytes) {
            Ok(Message::Change(change)) => change,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn transactions_and_their_origin() {
        assert_eq!(
            decode(&begin().0),
            Ok(Message::Begin {
                final_lsn: Lsn(0x16_B374_D848),
                commit_time: -5,
                xid: 0xFFFF_FFFE
            })
        );
        assert_eq!(
            decode(&commit().0),
            Ok(Message::Commit {
                commit_lsn: Lsn(0x16_B374_D848),
                end_lsn: Lsn(0x16_B374_D878),
                commit_time: i64::MAX
            })
        );
        assert_eq!(
            decode(&origin().0),
            Ok(Message::Origin { lsn: Lsn(0xABCDEF), name: "elsewhere" })
        );
    }

    #[test]
    fn relations_and_types() {
        let bytes = relation().0;
        let Ok(Message::Relation(relation)) = decode(&bytes) else { panic!("not a relation") };
        assert_eq!((relation.oid, relation.schema, relation.name), (16384, "shop", "größen"));
        assert_eq!(relation.identity, ReplicaIdentity::Default);
        assert_eq!(relation.columns.len(), 2);
        assert_eq!(
            relation.columns.collect::<Vec<_>>(),
            [
                ColumnRef { key: true, name: "id", type_oid: 23, typmod: -1 },
                ColumnRef { key: false, name: "n", type_oid: 1700, typmod: 655366 },
            ]
        );
        assert_eq!(decode(&type_().0), Ok(Message::Type { oid: 16390, schema: "", name: "mood" }));
    }

    #[test]
    fn rows() {
        let bytes = insert().0;
        let Change::Insert { relation: 16384, new } = change(&bytes) else { panic!() };
        assert_eq!(
            cells(new),
            [Cell::Text("ü".as_bytes()), Cell::Null, Cell::UnchangedToast, Cell::Binary(b"\xff")]
        );

        let bytes = update().0;
        let Change::Update { before: None, new, .. } = change(&bytes) else { panic!() };
        assert_eq!(cells(new), [Cell::Text(b"")]);

        let bytes = update_key().0;
        let Change::Update { before: Some(Before::Key(key)), new, .. } = change(&bytes) else {
            panic!()
        };
        assert_eq!(cells(key), [Cell::Text(b"1"), Cell::Null]);
        assert_eq!(cells(new), [Cell::UnchangedToast]);

        let bytes = update_full().0;
        let Change::Update { before: Some(Before::Row(row)), new, .. } = change(&bytes) else {
            panic!()
        };
        assert_eq!(cells(row), [Cell::Text(b"1")]);
        assert_eq!(cells(new), [Cell::Text(b"2")]);

        let bytes = delete_key().0;
        let Change::Delete { relation: 16384, before: Before::Key(key) } = change(&bytes) else {
            panic!()
        };
        assert_eq!(cells(key), [Cell::Text(b"1")]);

        let bytes = delete_full().0;
        let Change::Delete { relation: u32::MAX, before: before @ Before::Row(_) } = change(&bytes)
        else {
            panic!()
        };
        assert!(before.tuple().is_empty());
    }

    #[test]
    fn truncates_and_messages() {
        let bytes = truncate().0;
        let Change::Truncate { relations, cascade: true, restart_identity: true } = change(&bytes)
        else {
            panic!()
        };
        assert_eq!(relations.iter().collect::<Vec<_>>(), [16384, u32::MAX]);
        assert_eq!(
            decode(&logical_message().0),
            Ok(Message::LogicalMessage {
                transactional: true,
                lsn: Lsn(0x10),
                prefix: "prefix",
                content: b"\0\xffx"
            })
        );
    }

    #[test]
    fn no_message_can_be_cut_short_or_go_on() {
        for Wire(mut bytes) in all() {
            for cut in 0..bytes.len() {
                let error = decode(bytes.split_at(cut).0).expect_err("cut short");
                assert!(
                    matches!(error.fault, Fault::Truncated { .. } | Fault::Unterminated),
                    "{bytes:?} cut at {cut}: {error}"
                );
                assert!(error.offset <= cut);
            }
            bytes.push(0);
            let error = decode(&bytes).expect_err("a byte too many");
            assert_eq!(
                (error.offset, error.fault),
                (bytes.len() - 1, Fault::TrailingBytes(1)),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn later_protocols_are_refused_by_name() {
        let refused = |tag: &[u8]| decode(&wire(tag).i32(1).0).expect_err("refused").to_string();
        assert_eq!(
            refused(b"S"),
            "STREAM START at byte 0: sent only from protocol 2 on, and 1 was asked for"
        );
        for (tag, name) in [
            (b"E", "STREAM STOP"),
            (b"c", "STREAM COMMIT"),
            (b"A", "STREAM ABORT"),
            (b"b", "BEGIN PREPARE"),
            (b"P", "PREPARE"),
            (b"K", "COMMIT PREPARED"),
            (b"r", "ROLLBACK PREPARED"),
            (b"p", "STREAM PREPARE"),
        ] {
            assert!(refused(tag).starts_with(&format!("{name} at byte 0: sent only")));
        }
        assert_eq!(refused(b"\xfe"), "pgoutput message at byte 0: no known kind of message: \\xfe");
    }

    #[test]
    fn refusals_say_what_and_where() {
        let refused = |wire: Wire| decode(&wire.0).expect_err("refused").to_string();
        let insert = || wire(b"I").i32(1).raw(b"N");
        for (bytes, expected) in [
            (Wire::default(), "pgoutput message at byte 0: cut short: 1 bytes wanted, 0 left"),
            (insert().i16(-1), "INSERT at byte 6: a negative count or length, -1"),
            (insert().i16(1).raw(b"t").i32(-2), "INSERT at byte 9: a negative count or length, -2"),
            (
                insert().i16(1).raw(b"t").i32(i32::MAX),
                "INSERT at byte 13: cut short: 2147483647 bytes wanted, 0 left",
            ),
            (insert().i16(1).raw(b"x"), "INSERT at byte 8: no known kind of column value: x"),
            (
                insert().i16(2).cell(b"t", b"ok").cell(b"t", b"a\xff"),
                "INSERT at byte 20: text is not UTF-8",
            ),
            (wire(b"I").i32(1).raw(b"K"), "INSERT at byte 5: no known kind of tuple: K"),
            (
                wire(b"U").i32(1).raw(b"K").i16(0).raw(b"K"),
                "UPDATE at byte 8: no known kind of tuple: K",
            ),
            (wire(b"U").i32(1).raw(b"X"), "UPDATE at byte 5: no known kind of tuple: X"),
            (wire(b"D").i32(1).raw(b"N"), "DELETE at byte 5: no known kind of tuple: N"),
            (wire(b"C\x01"), "COMMIT at byte 1: no known kind of flags: \\x01"),
            (wire(b"T").i32(-1), "TRUNCATE at byte 1: a negative count or length, -1"),
            (
                wire(b"T").i32(i32::MAX).raw(b"\0"),
                "TRUNCATE at byte 6: cut short: 8589934588 bytes wanted, 0 left",
            ),
            (wire(b"O").i64(1).raw(b"name"), "ORIGIN at byte 9: a string does not end"),
            (wire(b"Y").i32(1).raw(b"\xc3\0x\0"), "TYPE at byte 5: text is not UTF-8"),
            (
                wire(b"R").i32(1).text("s").text("t").raw(b"z"),
                "RELATION at byte 9: no known kind of replica identity: z",
            ),
            (
                wire(b"R").i32(1).text("s").text("t").raw(b"f").i16(i16::MIN),
                "RELATION at byte 10: a negative count or length, -32768",
            ),
        ] {
            assert_eq!(refused(bytes), expected);
        }
    }
}
