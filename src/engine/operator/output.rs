//! A projection's rows under its key. Where the key turns out not to be unique, none of its rows is
//! shown (missing is honest, a random one of them is not) and the conflict is reported.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::delta::Deltas;
use super::super::{Arrangement, Entry};
use crate::lsn::Lsn;
use crate::value::{self, Column, ValueError};

pub(crate) struct Output {
    columns: Vec<Column>,
    key: Vec<usize>,
    /// Keys that more than one row claims, with those rows and how often each is there.
    crowded: BTreeMap<Vec<u8>, Rows>,
}

/// The rows under one key, with their multiplicities.
type Rows = BTreeMap<Vec<u8>, i64>;

/// Deltas by the key that they concern.
type ByKey<'d> = BTreeMap<Vec<u8>, Vec<(&'d [u8], i64)>>;

/// A key that came to be claimed by several rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub key: Vec<u8>,
    pub rows: usize,
}

impl Output {
    pub(crate) fn new(columns: Vec<Column>, key: Vec<usize>) -> Self {
        Self { columns, key, crowded: BTreeMap::new() }
    }

    /// Applies one transaction's deltas: first everything that goes, then what comes, so that two rows
    /// may swap their keys.
    pub(crate) fn apply(
        &mut self,
        input: &Deltas,
        lsn: Lsn,
        into: &mut Arrangement,
    ) -> Result<Vec<Conflict>, ValueError> {
        let mut conflicts = Vec::new();
        for (key, deltas) in self.by_key(input)? {
            conflicts.extend(self.apply_key(key, &deltas, lsn, into));
        }
        Ok(conflicts)
    }

    /// `rows` are all there are: `into` is brought to them by changes as of `lsn`.
    pub(crate) fn restore(
        &mut self,
        rows: &Deltas,
        lsn: Lsn,
        into: &mut Arrangement,
    ) -> Result<(), ValueError> {
        self.crowded.clear();
        let mut keys = self.by_key(rows)?;
        let shown = into.scan_after(None).filter(|entry| !entry.is_tombstone());
        let gone: Vec<Vec<u8>> =
            shown.map(|e| e.key().to_vec()).filter(|key| !keys.contains_key(key)).collect();
        gone.iter().for_each(|key| drop(into.delete(lsn, key)));
        // What is shown already is neither gone nor new.
        keys.retain(|key, rows| {
            let shown = into.get(key).and_then(Entry::value);
            !matches!(rows.as_slice(), [(row, 1)] if shown == Some(row))
        });
        for (key, rows) in keys {
            into.delete(lsn, &key);
            self.apply_key(key, &rows, lsn, into);
        }
        Ok(())
    }

    fn by_key<'d>(&self, input: &'d Deltas) -> Result<ByKey<'d>, ValueError> {
        let mut by_key = ByKey::new();
        let mut split: Vec<Range<usize>> = Vec::new();
        for (row, weight) in input.iter() {
            value::split(&self.columns, row, &mut split)?;
            let mut key = Vec::new();
            for &at in &self.key {
                key.extend_from_slice(&row[split[at].clone()]);
            }
            by_key.entry(key).or_default().push((row, weight));
        }
        Ok(by_key)
    }

    fn apply_key(
        &mut self,
        key: Vec<u8>,
        deltas: &[(&[u8], i64)],
        lsn: Lsn,
        into: &mut Arrangement,
    ) -> Option<Conflict> {
        let was_crowded = self.crowded.remove(&key);
        let crowded_before = was_crowded.is_some();
        let shown = into.get(&key).and_then(Entry::value).map(<[u8]>::to_vec);
        let mut rows =
            was_crowded.unwrap_or_else(|| shown.iter().map(|row| (row.clone(), 1)).collect());
        for &(row, weight) in deltas {
            *rows.entry(row.to_vec()).or_default() += weight;
        }
        rows.retain(|_, weight| *weight > 0);
        let count: i64 = rows.values().sum();
        match rows.first_key_value() {
            None => {
                into.delete(lsn, &key);
                None
            }
            Some((row, _)) if count == 1 => {
                if shown.as_ref() != Some(row) {
                    into.put(Entry::row(lsn, &key, row));
                }
                None
            }
            Some(_) => {
                into.delete(lsn, &key);
                let conflict = Conflict { key: key.clone(), rows: count as usize };
                self.crowded.insert(key, rows);
                (!crowded_before).then_some(conflict)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Type, encode};

    fn column(name: &str) -> Column {
        let (name, sql_type) = (name.into(), "integer".into());
        Column { name, ty: Type::Int4, sql_type, type_oid: 23, typmod: -1, not_null: false }
    }

    fn row(key: &str, value: &str) -> Vec<u8> {
        let mut row = Vec::new();
        for text in [key, value] {
            encode(&Type::Int4, text.as_bytes(), &mut row).expect("an integer");
        }
        row
    }

    fn deltas(rows: &[(&str, &str, i64)]) -> Deltas {
        let mut deltas = Deltas::default();
        rows.iter().for_each(|(key, value, weight)| deltas.push(&row(key, value), *weight));
        deltas
    }

    fn shown(arrangement: &Arrangement) -> Vec<Vec<u8>> {
        arrangement.scan_after(None).filter_map(Entry::value).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn what_a_crash_left_is_brought_to_the_tables_rows() {
        let mut output = Output::new(vec![column("k"), column("v")], vec![0]);
        let mut kept = Arrangement::default();
        let before = deltas(&[("1", "10", 1), ("2", "20", 1), ("3", "30", 1)]);
        output.apply(&before, Lsn(1), &mut kept).expect("rows");

        // The rows 1 and 2 are about to swap their keys, 3 is gone and 4 is new.
        let mut output = Output::new(vec![column("k"), column("v")], vec![0]);
        let rows = deltas(&[("2", "10", 1), ("2", "20", 1), ("4", "40", 1)]);
        output.restore(&rows, Lsn(2), &mut kept).expect("rows");
        assert_eq!(shown(&kept), [row("4", "40")]);
        let rest = deltas(&[("2", "20", -1), ("1", "20", 1)]);
        output.apply(&rest, Lsn(2), &mut kept).expect("rows");
        assert_eq!(shown(&kept), [row("1", "20"), row("2", "10"), row("4", "40")]);

        let changes = kept.next_seq();
        output
            .restore(&deltas(&[("1", "20", 1), ("2", "10", 1), ("4", "40", 1)]), Lsn(3), &mut kept)
            .expect("rows");
        assert_eq!(kept.next_seq(), changes, "what is right is left alone");
    }
}
