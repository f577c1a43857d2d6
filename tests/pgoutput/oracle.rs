//! Random messages, written by pg_walstream, read by us; what we read, written by pg_walstream
//! again.

use pg_walstream::{ColumnData, ColumnInfo, LogicalReplicationMessage as Theirs, TupleData};
use proptest::collection::vec;
use proptest::prelude::*;
use readside::pgoutput::decode;

use crate::property::{check, encode, translate};

fn name() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|name| name.replace('\0', ""))
}

fn cell() -> impl Strategy<Value = ColumnData> {
    prop_oneof![
        Just(ColumnData::null()),
        Just(ColumnData::unchanged()),
        any::<String>().prop_map(|text| ColumnData::text(text.into_bytes())),
        // Long enough for lengths whose last byte is no ASCII.
        (".{1,4}", 1..200usize).prop_map(|(s, n)| ColumnData::text(s.repeat(n).into_bytes())),
        vec(any::<u8>(), 0..40).prop_map(ColumnData::binary),
    ]
}

fn tuple() -> impl Strategy<Value = TupleData> {
    vec(cell(), 0..12).prop_map(TupleData::new)
}

fn column() -> impl Strategy<Value = ColumnInfo> {
    (0..=1u8, name(), any::<u32>(), any::<i32>())
        .prop_map(|(flags, name, oid, typmod)| ColumnInfo::new(flags, name, oid, typmod))
}

fn message() -> impl Strategy<Value = Theirs> {
    let before = || prop_oneof![Just('K'), Just('O')];
    prop_oneof![
        any::<(u64, i64, u32)>().prop_map(|(final_lsn, timestamp, xid)| Theirs::Begin {
            final_lsn,
            timestamp,
            xid
        }),
        any::<(u64, u64, i64)>().prop_map(|(commit_lsn, end_lsn, timestamp)| Theirs::Commit {
            flags: 0,
            commit_lsn,
            end_lsn,
            timestamp
        }),
        (any::<u64>(), name())
            .prop_map(|(origin_lsn, origin_name)| Theirs::Origin { origin_lsn, origin_name }),
        (
            any::<u32>(),
            name(),
            name(),
            proptest::sample::select(b"dnfi".to_vec()),
            vec(column(), 0..9)
        )
            .prop_map(|(relation_id, namespace, name, replica_identity, columns)| {
                Theirs::Relation {
                    relation_id,
                    namespace: namespace.into(),
                    relation_name: name.into(),
                    replica_identity,
                    columns,
                }
            }),
        (any::<u32>(), name(), name()).prop_map(|(type_id, namespace, type_name)| Theirs::Type {
            type_id,
            namespace,
            type_name
        }),
        (any::<u32>(), tuple())
            .prop_map(|(relation_id, tuple)| Theirs::Insert { relation_id, tuple }),
        (any::<u32>(), proptest::option::of((before(), tuple())), tuple()).prop_map(
            |(relation_id, old, new_tuple)| {
                let (key_type, old_tuple) = old.unzip();
                Theirs::Update { relation_id, old_tuple, new_tuple, key_type }
            }
        ),
        (any::<u32>(), before(), tuple()).prop_map(|(relation_id, key_type, old_tuple)| {
            Theirs::Delete { relation_id, old_tuple, key_type }
        }),
        (vec(any::<u32>(), 0..9), 0..=3u8)
            .prop_map(|(relation_ids, flags)| Theirs::Truncate { relation_ids, flags }),
        (0..=1u8, any::<u64>(), name(), vec(any::<u8>(), 0..40)).prop_map(
            |(flags, lsn, prefix, content)| Theirs::Message {
                flags,
                lsn,
                prefix,
                content: content.into()
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn we_read_what_they_write_and_they_write_what_we_read(message in message()) {
        let bytes = encode(&message);
        let ours = decode(&bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let translated = translate(&ours);
        prop_assert_eq!(&translated, &message);
        prop_assert_eq!(encode(&translated), bytes);
    }

    #[test]
    fn no_beginning_of_a_message_is_a_message(message in message()) {
        let bytes = encode(&message);
        for cut in 0..bytes.len() {
            prop_assert!(decode(&bytes[..cut]).is_err(), "cut at {}", cut);
        }
    }

    #[test]
    fn any_bytes_are_answered(mut bytes in vec(any::<u8>(), 0..80), tag in 0..10usize) {
        check(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = b"BCORYIUDTM"[tag];
            check(&bytes);
        }
    }
}
