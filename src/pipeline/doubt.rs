//! Large values that a replay cannot know.
//!
//! The stream leaves out TOASTed values that a change does not touch. A row that a chunk has brought
//! may be newer than the change that is replayed on it: it is the same row, unless the changes after
//! this one take that row away from its key and another one comes there. So
//! * a value taken from a chunk's row is *borrowed*: right as long as its row stays under its key;
//! * where a borrowed value would move with its row to another key, and where no chunk has shown the
//!   row at all, it is *unknown*: NULL stands for it in the state until the source has been asked.
//!
//! The source's answer is as of its own, later position. It holds when the stream has reached that
//! position and the row has not left its key on the way; otherwise it is asked again.

use hashbrown::{HashMap, HashSet};

use crate::engine::Entry;

/// A row: its table's position in the machine, and its key there.
pub(super) type RowKey = (usize, Vec<u8>);

#[derive(Debug, Default)]
pub(super) struct Doubts {
    borrowed: HashSet<RowKey>,
    unknown: HashMap<RowKey, Unknown>,
}

#[derive(Debug)]
pub(super) struct Unknown {
    /// Positions in the layout.
    pub(super) columns: Vec<usize>,
    /// The transaction that left them out.
    pub(super) xid: u32,
    pub(super) answer: Option<Answer>,
}

/// What the source said; `None`: there is no such row any more.
#[derive(Debug)]
pub(super) struct Answer(pub(super) Option<Entry>);

/// How well the old values are known that a change left as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Old {
    Known,
    Borrowed,
    Missing,
}

impl Doubts {
    pub(super) fn is_borrowed(&self, row: &RowKey) -> bool {
        self.borrowed.contains(row)
    }

    /// Some of its values are.
    pub(super) fn is_unknown(&self, row: &RowKey) -> bool {
        self.unknown.contains_key(row)
    }

    /// A new version takes the place of the one under `from`, leaving `untouched` columns as they were.
    pub(super) fn updated(
        &mut self,
        from: &RowKey,
        to: RowKey,
        old: Old,
        untouched: &[usize],
        xid: u32,
    ) {
        let moved = *from != to;
        self.borrowed.remove(from);
        let before = self.unknown.remove(from);
        self.forget(&to);
        let was_unknown = |column: &usize| match (old, moved, &before) {
            (Old::Missing, ..) | (Old::Borrowed, true, _) => true,
            (_, _, Some(before)) => before.columns.contains(column),
            _ => false,
        };
        let columns: Vec<usize> = untouched.iter().copied().filter(was_unknown).collect();
        if !columns.is_empty() {
            let answer = before.filter(|_| !moved).and_then(|before| before.answer);
            self.unknown.insert(to.clone(), Unknown { columns, xid, answer });
        }
        if old == Old::Borrowed && !moved && !untouched.is_empty() {
            self.borrowed.insert(to);
        }
    }

    /// The row under this key is known in full, or gone.
    pub(super) fn forget(&mut self, row: &RowKey) {
        self.borrowed.remove(row);
        self.unknown.remove(row);
    }

    /// Rows of a truncated table are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(&RowKey) -> bool) {
        self.borrowed.retain(&is_there);
        self.unknown.retain(|row, _| is_there(row));
    }

    pub(super) fn is_any_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// Some row that the source is to be asked for.
    pub(super) fn unasked(&self) -> Option<(&RowKey, u32)> {
        let mut unasked = self.unknown.iter().filter(|(_, unknown)| unknown.answer.is_none());
        unasked.next().map(|(row, unknown)| (row, unknown.xid))
    }

    pub(super) fn answered(&mut self, row: &RowKey, answer: Answer) {
        if let Some(unknown) = self.unknown.get_mut(row) {
            unknown.answer = Some(answer);
        }
    }

    /// The rows with answers that hold now. Where there was no row, it is to be asked again.
    pub(super) fn take_answered(&mut self) -> Vec<(RowKey, Vec<usize>, Entry)> {
        let mut taken = Vec::new();
        let holds = |unknown: &Unknown| matches!(unknown.answer, Some(Answer(Some(_))));
        for (row, unknown) in self.unknown.extract_if(|_, unknown| holds(unknown)) {
            if let Some(Answer(Some(entry))) = unknown.answer {
                taken.push((row, unknown.columns, entry));
            }
        }
        self.unknown.values_mut().for_each(|unknown| unknown.answer = None);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    fn row(key: &str) -> RowKey {
        (0, key.as_bytes().to_vec())
    }

    fn unknown(doubts: &Doubts, key: &str) -> Option<Vec<usize>> {
        doubts.unknown.get(&row(key)).map(|unknown| unknown.columns.clone())
    }

    #[test]
    fn a_borrowed_value_is_unknown_once_it_moves() {
        let mut doubts = Doubts::default();
        doubts.updated(&row("a"), row("a"), Old::Borrowed, &[1, 2], 7);
        assert!(doubts.is_borrowed(&row("a")) && !doubts.is_any_unknown());
        doubts.updated(&row("a"), row("b"), Old::Borrowed, &[2], 8);
        assert_eq!(unknown(&doubts, "b"), Some(vec![2]));
        assert!(!doubts.is_borrowed(&row("a")) && doubts.is_unknown(&row("b")));
        // What a later change brings is known, the rest moves on.
        doubts.updated(&row("b"), row("c"), Old::Known, &[1, 2], 9);
        assert_eq!((unknown(&doubts, "b"), unknown(&doubts, "c")), (None, Some(vec![2])));
        doubts.updated(&row("c"), row("c"), Old::Known, &[1], 9);
        assert!(!doubts.is_any_unknown());
    }

    #[test]
    fn an_answer_holds_as_long_as_its_row_stays() {
        let mut doubts = Doubts::default();
        let entry = Entry::row(Lsn(1), b"k", b"");
        doubts.updated(&row("a"), row("a"), Old::Missing, &[1], 7);
        assert_eq!(doubts.unasked(), Some((&row("a"), 7)));
        doubts.answered(&row("a"), Answer(Some(entry.clone())));
        doubts.updated(&row("a"), row("a"), Old::Known, &[0, 1], 8);
        assert_eq!(doubts.take_answered().len(), 1);

        doubts.updated(&row("a"), row("a"), Old::Missing, &[1], 7);
        doubts.answered(&row("a"), Answer(Some(entry)));
        doubts.updated(&row("a"), row("b"), Old::Known, &[1], 8);
        assert!(doubts.take_answered().is_empty());
        assert_eq!(doubts.unasked(), Some((&row("b"), 8)));
        doubts.answered(&row("b"), Answer(None));
        assert!(doubts.take_answered().is_empty(), "the source has no such row");
        assert!(doubts.unasked().is_some());
        doubts.forget(&row("b"));
        assert!(!doubts.is_any_unknown());
    }
}
