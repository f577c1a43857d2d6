//! Which page ranges of which leaves a load reads.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::LoadTable;
use crate::pg::{self, Session, wire::Row};

/// About what one chunk reads, TOAST included: seconds of work, so that a crash costs little and no
/// transaction is long, yet enough rows for a transaction's own cost not to show.
const CHUNK_BYTES: u64 = 16 * 1024 * 1024;
/// The end of the last chunk of each leaf: rows beyond the pages that were there are read too.
const OPEN_END: u32 = u32::MAX;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPlan {
    pub chunks: Vec<Chunk>,
    /// About how many rows each table has, by position in the job's tables.
    pub rows_expected: Vec<u64>,
    /// Never given out before.
    pub next_id: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    pub id: u32,
    /// Position in the job's tables.
    pub table: usize,
    pub leaf_oid: u32,
    /// The file that the pages are of.
    pub filenode: u32,
    pub pages: Range<u32>,
}

impl Chunk {
    /// The condition on ctid that takes this range and no other; a TID range scan since 14.
    pub(super) fn condition(&self) -> String {
        let Range { start, end } = self.pages;
        let upper =
            if end == OPEN_END { String::new() } else { format!(" AND ctid < '({end},0)'::tid") };
        format!("ctid >= '({start},0)'::tid{upper}")
    }
}

/// A leaf's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeafSize {
    pub(super) filenode: u32,
    pub(super) pages: u32,
    /// With TOAST.
    pub(super) bytes: u64,
    /// By the statistics, where there are any.
    rows: Option<u64>,
}

impl LeafSize {
    /// One row of this for a leaf; an oid that is no more there gives NULLs.
    pub(super) const COLUMNS: &str = "\
        pg_relation_filenode(l.oid), \
        pg_relation_size(l.oid) / current_setting('block_size')::int, \
        pg_table_size(l.oid), \
        (SELECT round(c.reltuples / c.relpages * pg_relation_size(l.oid) \
                      / current_setting('block_size')::int)::int8 \
         FROM pg_class c WHERE c.oid = l.oid AND c.reltuples >= 0 AND c.relpages > 0)";

    pub(super) fn read(fields: &[Option<String>]) -> Option<Self> {
        let [filenode, pages, bytes, rows] = fields else { return None };
        Some(Self {
            filenode: filenode.as_ref()?.parse().ok()?,
            pages: pages.as_ref()?.parse().ok()?,
            bytes: bytes.as_ref()?.parse().ok()?,
            rows: rows.as_ref().and_then(|rows| rows.parse().ok()),
        })
    }

    /// Pages that hold about `CHUNK_BYTES`.
    fn pages_per_chunk(&self) -> u32 {
        let per_page = (self.bytes / u64::from(self.pages.max(1))).max(1);
        u32::try_from(CHUNK_BYTES / per_page).unwrap_or(u32::MAX).max(1)
    }
}

/// The chunks of one leaf, ascending and without gaps.
pub(super) fn chunks(
    table: usize,
    leaf_oid: u32,
    size: &LeafSize,
    cut: Cut,
    next_id: &mut u32,
) -> Vec<Chunk> {
    let step = match cut {
        Cut::Chunks => size.pages_per_chunk(),
        Cut::Whole => OPEN_END,
    };
    let mut chunks = Vec::new();
    let mut start = 0_u32;
    loop {
        let end = match start.checked_add(step) {
            Some(end) if end < size.pages => end,
            _ => OPEN_END,
        };
        let (id, filenode) = (*next_id, size.filenode);
        *next_id = next_id.wrapping_add(1);
        chunks.push(Chunk { id, table, leaf_oid, filenode, pages: start..end });
        if end == OPEN_END {
            return chunks;
        }
        start = end;
    }
}

/// Whether a leaf may be read in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Chunks,
    Whole,
}

impl Cut {
    pub(super) fn of(table: &LoadTable) -> Self {
        if table.keyless { Cut::Whole } else { Cut::Chunks }
    }
}

impl LoadPlan {
    /// Plans the tables' leaves as they are. A leaf that is gone has no chunks: the catalog's watcher
    /// tells of it.
    pub async fn make(session: &Session, tables: &[LoadTable]) -> Result<Self, pg::Error> {
        let mut plan = LoadPlan { chunks: Vec::new(), rows_expected: Vec::new(), next_id: 0 };
        for (at, table) in tables.iter().enumerate() {
            let sizes = sizes(session, table).await?;
            let mut rows = 0_u64;
            for (leaf, size) in table.leaves.iter().zip(sizes) {
                let Some(size) = size else { continue };
                plan.chunks.extend(chunks(at, leaf.oid, &size, Cut::of(table), &mut plan.next_id));
                rows = rows.saturating_add(match size.rows {
                    Some(rows) => rows,
                    None if size.pages == 0 => 0,
                    None => planner_rows(session, &leaf.name.quoted(), size.pages).await?,
                });
            }
            plan.rows_expected.push(rows);
        }
        Ok(plan)
    }

    /// What is left when the chunks of a leaf are replaced (`LoadEvent::Replanned`).
    pub fn replace(&mut self, dropped: &[u32], chunks: &[Chunk]) {
        self.chunks.retain(|chunk| !dropped.contains(&chunk.id));
        self.chunks.extend_from_slice(chunks);
        let next = chunks.iter().map(|chunk| chunk.id.wrapping_add(1)).max().unwrap_or(0);
        self.next_id = self.next_id.max(next);
    }
}

/// In the order of the table's leaves.
async fn sizes(session: &Session, table: &LoadTable) -> Result<Vec<Option<LeafSize>>, pg::Error> {
    if table.leaves.is_empty() {
        return Ok(Vec::new());
    }
    let oids: Vec<String> = table.leaves.iter().map(|leaf| leaf.oid.to_string()).collect();
    let sql = format!(
        "SELECT {} FROM unnest('{{{}}}'::oid[]) WITH ORDINALITY AS l (oid, place) ORDER BY place",
        LeafSize::COLUMNS,
        oids.join(",")
    );
    let rows: Vec<Row> = session.rows(&sql).await?;
    Ok(rows.iter().map(|row| LeafSize::read(row)).collect())
}

/// The planner takes a table that was never analysed for one of so many pages at least.
const PLANNED_PAGES: u32 = 10;

/// For a table that was never analysed: the planner guesses from its size and its columns' widths.
async fn planner_rows(session: &Session, name: &str, pages: u32) -> Result<u64, pg::Error> {
    let rows = session.rows(&format!("EXPLAIN (FORMAT JSON) SELECT FROM ONLY {name}")).await?;
    let text = rows.first().and_then(|row| row.first()?.as_deref()).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    // Only progress is told from it.
    let rows = json.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_u64).unwrap_or(0);
    Ok(rows.saturating_mul(u64::from(pages.min(PLANNED_PAGES))) / u64::from(PLANNED_PAGES))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where each chunk begins and ends.
    fn plan(pages: u32, bytes: u64) -> Vec<(u32, u32)> {
        cut(pages, bytes, Cut::Chunks)
    }

    fn cut(pages: u32, bytes: u64, cut: Cut) -> Vec<(u32, u32)> {
        let mut next_id = 7;
        let size = LeafSize { filenode: 5, pages, bytes, rows: None };
        let chunks = chunks(0, 1, &size, cut, &mut next_id);
        assert_eq!(next_id as usize, 7 + chunks.len());
        chunks.into_iter().map(|chunk| (chunk.pages.start, chunk.pages.end)).collect()
    }

    #[test]
    fn ranges_cover_all_pages_and_end_open() {
        const PAGE: u64 = 8192;
        assert_eq!(plan(0, 0), [(0, OPEN_END)]);
        assert_eq!(plan(1, PAGE), [(0, OPEN_END)]);
        assert_eq!(plan(2048, 2048 * PAGE), [(0, OPEN_END)]);
        assert_eq!(plan(2049, 2049 * PAGE), [(0, 2048), (2048, OPEN_END)]);
        assert_eq!(cut(u32::MAX - 1, u64::from(u32::MAX) * PAGE, Cut::Whole), [(0, OPEN_END)]);
        // Much TOAST: fewer pages.
        assert_eq!(plan(2, 64 << 20), [(0, 1), (1, OPEN_END)]);
        let huge = plan(u32::MAX - 1, u64::from(u32::MAX) * PAGE);
        assert!(huge.windows(2).all(|w| w[0].1 == w[1].0));
        assert_eq!(huge.last().unwrap().1, OPEN_END);
    }

    #[test]
    fn conditions_do_not_overlap() {
        let chunk = |pages| Chunk { id: 0, table: 0, leaf_oid: 1, filenode: 1, pages };
        assert_eq!(chunk(0..9).condition(), "ctid >= '(0,0)'::tid AND ctid < '(9,0)'::tid");
        assert_eq!(chunk(9..OPEN_END).condition(), "ctid >= '(9,0)'::tid");
    }

    #[test]
    fn a_replaced_leaf_takes_new_numbers() {
        let chunk = |id| Chunk { id, table: 0, leaf_oid: 1, filenode: 1, pages: 0..OPEN_END };
        let mut plan =
            LoadPlan { chunks: vec![chunk(0), chunk(1)], rows_expected: vec![0], next_id: 2 };
        plan.replace(&[1], &[chunk(5)]);
        assert_eq!(plan.chunks, [chunk(0), chunk(5)]);
        assert_eq!(plan.next_id, 6);
    }
}
