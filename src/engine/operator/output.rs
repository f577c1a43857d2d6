//! A projection's rows under its key. Where the key turns out not to be unique, none of its rows is
//! shown (missing is honest, a random one of them is not) and the conflict is reported. A row that holds
//! an error is refused likewise, and reported.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::super::delta::Deltas;
use super::super::row::RowLayout;
use super::super::{Arrangement, Entry};
use crate::lsn::Lsn;
use crate::value::{self, ValueError};

pub(crate) struct Output {
    layout: RowLayout,
    key: Vec<usize>,
    /// Keys that cannot be shown: several rows claim them, or the one that does is refused.
    withheld: BTreeMap<Vec<u8>, Withheld>,
    /// Those among them that came to be so since the last `settle`.
    unsettled: BTreeSet<Vec<u8>>,
    /// Keys of which something was told, and that are no longer refused.
    accepted: BTreeSet<Vec<u8>>,
    /// While the rows that there are are gathered: the keys whose row is shown already.
    confirmed: BTreeSet<Vec<u8>>,
    /// Nothing was shown before, so that nothing has to be kept apart from it.
    is_new: bool,
    by_key: ByKey,
}

/// Deltas by key, then in the order in which they came; reused.
#[derive(Default)]
struct ByKey {
    keys: Vec<u8>,
    ranges: Vec<Range<usize>>,
    order: Vec<(Range<usize>, usize)>,
}

#[derive(Default)]
struct Withheld {
    rows: Rows,
    /// The last change under the key; of rows that were gathered, as of when.
    lsn: Lsn,
    told: bool,
}

/// The rows under one key, with their multiplicities.
type Rows = BTreeMap<Vec<u8>, i64>;

/// What became of a key that cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// So many rows claim it.
    Conflict { key: Vec<u8>, rows: usize },
    /// Its row holds this error.
    Refused { key: Vec<u8>, error: String },
    /// It is shown, or gone.
    Accepted { key: Vec<u8> },
}

impl Output {
    pub(crate) fn new(layout: RowLayout, key: Vec<usize>) -> Self {
        let (withheld, unsettled, accepted, confirmed) = Default::default();
        let by_key = ByKey::default();
        Self { layout, key, withheld, unsettled, accepted, confirmed, is_new: false, by_key }
    }

    /// Applies deltas, a part of a transaction's perhaps.
    pub(crate) fn apply(
        &mut self,
        input: &Deltas,
        lsn: Lsn,
        into: &mut Arrangement,
    ) -> Result<(), ValueError> {
        let ByKey { mut keys, mut ranges, mut order } = std::mem::take(&mut self.by_key);
        keys.clear();
        order.clear();
        for (row, _) in input.iter() {
            let start = keys.len();
            self.write_key(row, &mut ranges, &mut keys)?;
            order.push((start..keys.len(), order.len()));
        }
        // One key's deltas together, in the order in which they came.
        order.sort_by(|(a, i), (b, j)| keys[a.clone()].cmp(&keys[b.clone()]).then(i.cmp(j)));
        let mut deltas = Vec::new();
        for same in order.chunk_by(|(a, _), (b, _)| keys[a.clone()] == keys[b.clone()]) {
            let key = &keys[same[0].0.clone()];
            deltas.clear();
            deltas.extend(same.iter().map(|(_, at)| input.row(*at)));
            if !self.replace(key, &deltas, lsn, into)? {
                self.apply_key(key, deltas.iter().copied(), lsn, into)?;
            }
        }
        self.by_key = ByKey { keys, ranges, order };
        Ok(())
    }

    /// The plain case: the row that is shown goes, or another comes, or both. Whether it was that.
    fn replace(
        &mut self,
        key: &[u8],
        deltas: &[(&[u8], i64)],
        lsn: Lsn,
        into: &mut Arrangement,
    ) -> Result<bool, ValueError> {
        if !self.withheld.is_empty() && self.withheld.contains_key(key) {
            return Ok(false);
        }
        let shown = into.get(key).and_then(Entry::value);
        let new = match deltas {
            [(row, 1)] if shown.is_none() => Some(*row),
            [(row, -1)] if shown == Some(row) => None,
            [(old, -1), (new, 1)] | [(new, 1), (old, -1)] if shown == Some(old) => Some(*new),
            _ => return Ok(false),
        };
        match new {
            Some(row) if self.error_of(row)?.is_some() => return Ok(false),
            Some(row) => drop(into.put(Entry::row(lsn, key, row))),
            None => drop(into.delete(lsn, key)),
        }
        Ok(true)
    }

    fn write_key(
        &self,
        row: &[u8],
        ranges: &mut Vec<Range<usize>>,
        key: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        self.layout.split(row, ranges)?;
        self.key.iter().for_each(|&at| key.extend_from_slice(&row[ranges[at].clone()]));
        Ok(())
    }

    fn apply_key<'d>(
        &mut self,
        key: &[u8],
        deltas: impl Iterator<Item = (&'d [u8], i64)>,
        lsn: Lsn,
        into: &mut Arrangement,
    ) -> Result<(), ValueError> {
        let shown = into.get(key).and_then(Entry::value);
        let mut withheld = self.withheld.remove(key).unwrap_or_else(|| Withheld {
            rows: shown.iter().map(|row| (row.to_vec(), 1)).collect(),
            lsn,
            told: false,
        });
        withheld.lsn = lsn;
        for (row, weight) in deltas {
            match withheld.rows.get_mut(row) {
                Some(count) => *count += weight,
                None => drop(withheld.rows.insert(row.to_vec(), weight)),
            }
        }
        withheld.rows.retain(|_, weight| *weight != 0);
        debug_assert!(
            withheld.rows.values().all(|&weight| weight > 0),
            "a row went that was not there"
        );
        let mut rows = withheld.rows.iter();
        let accepted = match (rows.next(), rows.next()) {
            (None, _) => {
                into.delete(lsn, key);
                true
            }
            (Some((row, 1)), None) if self.error_of(row)?.is_none() => {
                if shown != Some(row) {
                    into.put(Entry::row(lsn, key, row));
                }
                true
            }
            _ => false,
        };
        match accepted {
            true if withheld.told => drop(self.accepted.insert(key.to_vec())),
            true => {}
            false => {
                self.unsettled.insert(key.to_vec());
                self.withheld.insert(key.to_vec(), withheld);
            }
        }
        Ok(())
    }

    fn error_of(&self, row: &[u8]) -> Result<Option<String>, ValueError> {
        let error = self.layout.error(row)?;
        Ok(error.map(|error| value::error_text(error).unwrap_or_default().to_owned()))
    }

    /// All deltas of what was committed are there: what cannot be shown now is taken away, and told.
    pub(crate) fn settle(
        &mut self,
        lsn: Lsn,
        into: &mut Arrangement,
        tell: &mut dyn FnMut(Notice),
    ) -> Result<(), ValueError> {
        for key in std::mem::take(&mut self.accepted) {
            if !self.withheld.contains_key(&key) {
                tell(Notice::Accepted { key });
            }
        }
        for key in std::mem::take(&mut self.unsettled) {
            let Some(withheld) = self.withheld.get(&key) else { continue };
            into.delete(lsn, &key);
            if withheld.told {
                continue;
            }
            tell(self.notice(&key, withheld)?);
            if let Some(withheld) = self.withheld.get_mut(&key) {
                withheld.told = true;
            }
        }
        Ok(())
    }

    /// Keys that cannot be shown.
    pub(crate) fn withheld_len(&self) -> usize {
        self.withheld.len()
    }

    /// The rows that there are will be gathered.
    pub(crate) fn begin(&mut self, shown: &Arrangement) {
        self.is_new = shown.scan_after(None).next().is_none();
    }

    /// One of the rows that there are; `finish` brings what is shown to them.
    pub(crate) fn gather(
        &mut self,
        row: &[u8],
        weight: i64,
        lsn: Lsn,
        into: &mut Arrangement,
    ) -> Result<(), ValueError> {
        let (mut ranges, mut key) = (Vec::new(), Vec::new());
        self.write_key(row, &mut ranges, &mut key)?;
        if weight == 1 && !self.confirmed.contains(&key) && !self.withheld.contains_key(&key) {
            match into.get(&key).and_then(Entry::value) {
                Some(shown) if shown == row => {
                    self.confirmed.insert(key);
                    return Ok(());
                }
                None if self.is_new && self.error_of(row)?.is_none() => {
                    into.put(Entry::row(lsn, &key, row));
                    self.confirmed.insert(key);
                    return Ok(());
                }
                _ => {}
            }
        }
        *self.withheld.entry(key).or_default().rows.entry(row.to_vec()).or_default() += weight;
        Ok(())
    }

    /// What was gathered are all rows there are: what is shown is brought to them by changes as of `lsn`.
    pub(crate) fn finish(&mut self, lsn: Lsn, into: &mut Arrangement) -> Result<(), ValueError> {
        let confirmed = std::mem::take(&mut self.confirmed);
        let shown = into.scan_after(None).filter(|entry| !entry.is_tombstone());
        let gone: Vec<Vec<u8>> =
            shown.map(|e| e.key().to_vec()).filter(|key| !confirmed.contains(key)).collect();
        gone.iter().for_each(|key| drop(into.delete(lsn, key)));
        for (key, Withheld { rows, .. }) in std::mem::take(&mut self.withheld) {
            self.apply_key(
                &key,
                rows.iter().map(|(row, weight)| (row.as_slice(), *weight)),
                lsn,
                into,
            )?;
        }
        Ok(())
    }

    /// What cannot be shown, key by key, and since which commit.
    pub(crate) fn withheld(&self) -> impl Iterator<Item = Result<(Notice, Lsn), ValueError>> {
        self.withheld.iter().map(|(key, withheld)| Ok((self.notice(key, withheld)?, withheld.lsn)))
    }

    fn notice(&self, key: &[u8], withheld: &Withheld) -> Result<Notice, ValueError> {
        let (rows, key) = (withheld.rows.values().sum::<i64>(), key.to_vec());
        let error = match withheld.rows.first_key_value() {
            Some((row, _)) if rows == 1 => self.error_of(row)?,
            _ => None,
        };
        Ok(match error {
            Some(error) => Notice::Refused { key, error },
            None => Notice::Conflict { key, rows: rows as usize },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Column, Type, encode};

    fn column(name: &str) -> Column {
        let (name, sql_type) = (name.into(), "integer".into());
        Column { name, ty: Type::Int4, sql_type, type_oid: 23, typmod: -1, not_null: false }
    }

    fn new_output() -> Output {
        Output::new(RowLayout::new(vec![column("k"), column("v")]), vec![0])
    }

    fn restore(output: &mut Output, rows: &Deltas, lsn: Lsn, kept: &mut Arrangement) {
        for (row, weight) in rows.iter() {
            output.gather(row, weight, lsn, kept).expect("rows");
        }
        output.finish(lsn, kept).expect("rows");
        output.settle(lsn, kept, &mut |_| ()).expect("rows");
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
        let mut output = new_output();
        let mut kept = Arrangement::default();
        let before = deltas(&[("1", "10", 1), ("2", "20", 1), ("3", "30", 1)]);
        output.apply(&before, Lsn(1), &mut kept).expect("rows");

        // The rows 1 and 2 are about to swap their keys, 3 is gone and 4 is new.
        let mut output = new_output();
        let rows = deltas(&[("2", "10", 1), ("2", "20", 1), ("4", "40", 1)]);
        restore(&mut output, &rows, Lsn(2), &mut kept);
        assert_eq!(shown(&kept), [row("4", "40")]);
        let rest = deltas(&[("2", "20", -1), ("1", "20", 1)]);
        output.apply(&rest, Lsn(2), &mut kept).expect("rows");
        assert_eq!(shown(&kept), [row("1", "20"), row("2", "10"), row("4", "40")]);

        let changes = kept.next_seq();
        let mut output = new_output();
        let rows = deltas(&[("1", "20", 1), ("2", "10", 1), ("4", "40", 1)]);
        restore(&mut output, &rows, Lsn(3), &mut kept);
        assert_eq!(kept.next_seq(), changes, "what is right is left alone");
    }

    #[test]
    fn a_key_is_told_when_it_cannot_be_shown_and_when_it_can_again() {
        let (mut output, mut kept, mut told) = (new_output(), Arrangement::default(), Vec::new());
        let mut step = |output: &mut Output, rows: &[(&[u8], i64)]| {
            let mut deltas = Deltas::default();
            rows.iter().for_each(|(row, weight)| deltas.push(row, *weight));
            output.apply(&deltas, Lsn(1), &mut kept).expect("rows");
            output.settle(Lsn(1), &mut kept, &mut |notice| told.push(notice)).expect("rows");
            (shown(&kept), std::mem::take(&mut told))
        };
        let (good, other) = (row("1", "10"), row("1", "20"));
        let mut bad = row("1", "1");
        bad.pop();
        value::encode_error("division by zero", &mut bad);
        let key = row("1", "1")[..1].to_vec();

        let refused = Notice::Refused { key: key.clone(), error: "division by zero".into() };
        assert_eq!(step(&mut output, &[(&bad, 1)]), (vec![], vec![refused]));
        let accepted = Notice::Accepted { key: key.clone() };
        let all = (vec![good.clone()], vec![accepted.clone()]);
        assert_eq!(step(&mut output, &[(&bad, -1), (&good, 1)]), all);
        let conflict = Notice::Conflict { key: key.clone(), rows: 2 };
        assert_eq!(step(&mut output, &[(&other, 1)]), (vec![], vec![conflict]));
        let all = (vec![other.clone()], vec![accepted]);
        assert_eq!(step(&mut output, &[(&good, -1)]), all);
        assert_eq!(step(&mut output, &[(&other, -1), (&good, 1)]), (vec![good], vec![]));
    }
}
