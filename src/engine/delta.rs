//! Deltas: rows that come (+1) and go (-1), gathered until the transaction is whole.

/// Weighted rows in one buffer.
#[derive(Default)]
pub(in crate::engine) struct Deltas {
    bytes: Vec<u8>,
    /// End of each row in `bytes`, and its weight.
    rows: Vec<(usize, i64)>,
}

impl Deltas {
    pub(in crate::engine) fn push(&mut self, row: &[u8], weight: i64) {
        self.bytes.extend_from_slice(row);
        self.rows.push((self.bytes.len(), weight));
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes held, for the caller that bounds them.
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<(usize, i64)>()
    }

    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = (&[u8], i64)> {
        let mut start = 0;
        self.rows.iter().map(move |&(end, weight)| {
            let row = &self.bytes[start..end];
            start = end;
            (row, weight)
        })
    }

    pub(in crate::engine) fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }
}
