//! What the machine shows of itself: positions, counts and sizes, for metrics and for people.

use super::machine::{Counts, Machine};
use super::table::{Stage, Table};
use crate::engine::{KeptOf, TableId};
use crate::lsn::Lsn;
use crate::value::{DocumentWriter, ValueError};

/// Entries that are looked at for the first rows.
const SCANNED_MAX: usize = 10_000;

impl Machine {
    /// Everything before it is applied.
    pub fn applied(&self) -> Lsn {
        self.progress.applied
    }

    /// Commit time of the last transaction applied, microseconds since 2000-01-01 UTC.
    pub fn committed_at(&self) -> i64 {
        self.progress.committed_at
    }

    /// Since the machine was built.
    pub fn transactions_total(&self) -> u64 {
        self.transactions_total
    }

    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// By table, since the machine was built.
    pub fn counts(&self) -> &[Counts] {
        &self.counts
    }

    /// By table, since the machine was built: changes that no event takes; `None` where there are no events.
    pub fn unmatched(&self, table: usize) -> Option<Counts> {
        self.has_events(table).then(|| self.unmatched[table])
    }

    pub fn table_rows(&self, table: usize) -> usize {
        let id = self.engine.table_arrangement(self.tables[table].id);
        self.engine.arrangements()[id].len()
    }

    pub fn projection_rows(&self, projection: usize) -> usize {
        self.engine.arrangements()[self.projections[projection].arrangement].len()
    }

    /// The first rows of a projection by their keys, as documents, of so many bytes in all. `None`:
    /// there is no such projection, or it is still being loaded. Of an event those that are in memory.
    pub fn first_rows(
        &self,
        projection: &str,
        rows_max: usize,
        bytes_max: usize,
    ) -> Option<Result<Vec<Vec<u8>>, ValueError>> {
        let at = self.projections.iter().position(|known| known.name == projection)?;
        self.is_ready(at).then(|| {
            let of = &self.projections[at];
            let arrangement = &self.engine.arrangements()[of.arrangement];
            let columns = match of.output {
                Some(output) => self.engine.output_columns(output),
                None => self.event_columns(at),
            };
            let writer = DocumentWriter::new(columns, None);
            let recent = arrangement.changes_from(arrangement.first_seq()).into_iter().flatten();
            let recent = recent.filter(|_| arrangement.is_log());
            // Tombstones are passed over, but not without end.
            let entries = arrangement.scan_after(None).take(SCANNED_MAX).chain(recent);
            documents(entries.filter_map(|entry| entry.value()), &writer, rows_max, bytes_max)
        })
    }

    /// Why the projection's tables are no longer followed, if they are not.
    pub fn quarantine_of(&self, projection: usize) -> Option<String> {
        let tables = self.projections[projection].tables.iter().map(|&at| &self.tables[at]);
        let reasons = tables.filter_map(|table| match &table.stage {
            Stage::Quarantined(why) => Some(format!("{}: {why}", table.name)),
            Stage::Live | Stage::Loading => None,
        });
        let reasons: Vec<String> = reasons.collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Bytes of all rows, of the logs of recent changes, and of what operators keep.
    pub fn memory_bytes(&self) -> usize {
        let rows = self.engine.arrangements().iter().map(|a| a.bytes() + a.recent_bytes());
        rows.sum::<usize>() + self.engine.operators_bytes()
    }

    /// Everything that is kept for projections, and for which.
    pub fn kept(&self) -> Vec<KeptRows> {
        let table = |id| self.tables.iter().find(|table| table.id == id).map(|t| t.name.clone());
        let projection = |output| {
            let projections = self.projections.iter().filter(move |p| p.output == Some(output));
            projections.map(|projection| projection.name.clone())
        };
        let kept = self.engine.kept().into_iter();
        kept.map(|kept| KeptRows {
            what: in_words(&kept.what, |id| table(id).unwrap_or_default()),
            rows: kept.rows,
            bytes: kept.bytes,
            projections: kept.outputs.into_iter().flat_map(projection).collect(),
        })
        .collect()
    }

    pub fn lanes(&self, sink: usize) -> &[usize] {
        &self.sinks[sink].projections
    }
}

/// One of the things that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRows {
    pub what: String,
    pub rows: usize,
    pub bytes: usize,
    pub projections: Vec<String>,
}

/// A line of what is kept for a projection, and for which others as well.
pub(crate) fn kept_line(
    what: &str,
    rows: usize,
    bytes: usize,
    projections: &[&str],
    asked: &str,
) -> String {
    let others: Vec<&str> = projections.iter().copied().filter(|name| *name != asked).collect();
    let shared = match others.is_empty() {
        true => String::new(),
        false => format!("; also for {}", others.join(", ")),
    };
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("  {what}: {rows} rows, {mib:.1} MiB{shared}\n")
}

/// What is kept, as people are told of it.
pub(super) fn in_words(what: &KeptOf, table: impl Fn(TableId) -> String) -> String {
    match what {
        KeptOf::Table(id) => format!("rows of {}", table(*id)),
        KeptOf::Index { table: id, columns, filtered } => {
            let some = if *filtered { ", where its condition holds" } else { "" };
            format!("index of {} by {}{some}", table(*id), columns.join(", "))
        }
        KeptOf::Rows(columns) if columns.is_empty() => "computed rows".into(),
        KeptOf::Rows(columns) => format!("computed rows by {}", columns.join(", ")),
        KeptOf::Partners => "how many partners each row has".into(),
        KeptOf::Groups(columns) if columns.is_empty() => "one group of all rows".into(),
        KeptOf::Groups(columns) => format!("groups by {}", columns.join(", ")),
        KeptOf::Partitions(columns) if columns.is_empty() => "all rows in order".into(),
        KeptOf::Partitions(columns) => format!("rows in order, by {}", columns.join(", ")),
        KeptOf::Output(_) => "the projection's rows".into(),
    }
}

/// As many of the first rows as fit; one that is too long itself ends them before it is written.
fn documents<'r>(
    rows: impl Iterator<Item = &'r [u8]>,
    writer: &DocumentWriter,
    rows_max: usize,
    bytes_max: usize,
) -> Result<Vec<Vec<u8>>, ValueError> {
    let (mut documents, mut room) = (Vec::new(), bytes_max);
    for row in rows.take(rows_max) {
        if row.len() > room {
            break;
        }
        let mut document = Vec::new();
        writer.write(row, &mut document)?;
        let Some(left) = room.checked_sub(document.len()) else { break };
        room = left;
        documents.push(document);
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Column, Type, encode};

    #[test]
    fn rows_that_are_shown_are_few_and_short() {
        let column = Column {
            name: "a".to_owned(),
            ty: Type::Text,
            sql_type: "text".to_owned(),
            type_oid: 25,
            typmod: -1,
            not_null: false,
        };
        let row = |text: &str| {
            let mut row = Vec::new();
            encode(&Type::Text, text.as_bytes(), &mut row).expect("a text");
            row
        };
        let writer = DocumentWriter::new(&[column], None);
        let shown = |texts: &[&str], rows_max, bytes_max| {
            let rows: Vec<Vec<u8>> = texts.iter().map(|text| row(text)).collect();
            let rows = rows.iter().map(Vec::as_slice);
            documents(rows, &writer, rows_max, bytes_max).expect("rows that can be read").len()
        };
        let (long, quoted) = ("x".repeat(100), "\u{1}".repeat(10));
        assert_eq!(shown(&["1", "2", "3"], 2, 100), 2);
        assert_eq!(shown(&["1", "2", "3"], 5, 20), 2, "ten bytes each");
        assert_eq!(shown(&["1", &long, "3"], 5, 100), 1);
        assert_eq!(shown(&[&quoted], 5, 30), 0, "as JSON it is longer");
    }
}
