//! A batch's words, told apart by slot: what each slot's script is sent, and in which message.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::encode::{Batch, Passage};
use super::row::Args;
use super::slot::slot_of;
use super::target::Structure;

/// The words of one slot's script, as `step.lua` reads them.
#[derive(Default)]
pub(super) struct Script<'w> {
    pub(super) keys: BTreeSet<&'w [u8]>,
    pub(super) moves: Vec<&'w [u8]>,
    pub(super) rows: Vec<&'w [u8]>,
    /// Of each row here, its number in the batch.
    pub(super) row_numbers: Vec<usize>,
    /// Letters of whole rows whose names it was told.
    told: Vec<&'w [u8]>,
    knows_allowed: bool,
}

/// One message: a script for each slot.
#[derive(Default)]
pub(super) struct Scripts<'w>(pub(super) BTreeMap<u16, Script<'w>>);

/// A record of where a row stands, as it shall be.
pub(super) struct Recorded<'w> {
    pub(super) key: &'w [u8],
    pub(super) field: &'w [u8],
    /// Empty: nowhere.
    pub(super) new: &'w [u8],
}

/// A batch by the messages that it takes.
pub(super) struct Sorted<'w> {
    /// Records to be read first.
    pub(super) records: Vec<Recorded<'w>>,
    /// Before the rows: records of rows that are new.
    pub(super) before: Scripts<'w>,
    pub(super) rows: Scripts<'w>,
    /// Behind the rows: what then belongs to nothing.
    pub(super) after: Scripts<'w>,
    /// Of each row, by its number: its writes.
    pub(super) writes: Vec<Vec<Range<usize>>>,
}

/// What is put in front of an event in a slot that may have it already.
pub(super) type Once = [Vec<u8>; 4];

impl<'w> Scripts<'w> {
    pub(super) fn at(&mut self, key: &'w [u8]) -> &mut Script<'w> {
        let script = self.0.entry(slot_of(key)).or_default();
        script.keys.insert(key);
        script
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn leave(&mut self, structure: Structure, key: &'w [u8], member: &'w [u8]) {
        let letter: &'static [u8] = match structure {
            Structure::Hash => b"h",
            Structure::Json => b"j",
            Structure::SortedSet => b"z",
            Structure::Set => b"s",
        };
        let moves = &mut self.at(key).moves;
        moves.extend([letter, key]);
        if structure.has_members() {
            moves.push(member);
        }
    }

    pub(super) fn write(&mut self, key: &'w [u8], field: &'w [u8], value: &'w [u8]) {
        self.at(key).moves.extend([&b"W"[..], key, field, value]);
    }

    pub(super) fn forget(&mut self, key: &'w [u8], field: &'w [u8]) {
        self.at(key).moves.extend([&b"D"[..], key, field]);
    }
}

impl<'w> Sorted<'w> {
    /// `once`: of each row that is an event, by its number.
    pub(super) fn of(batch: &'w Batch<'_>, once: &'w BTreeMap<usize, Once>) -> Self {
        let mut sorted = Self {
            records: Vec::new(),
            before: Scripts::default(),
            rows: Scripts::default(),
            after: Scripts::default(),
            writes: Vec::new(),
        };
        let names = sorted.moves(&batch.moves);
        sorted.rows(batch, &names, once);
        sorted
    }

    /// By the letters of whole rows, where their names stand.
    fn moves(&mut self, moves: &'w Args) -> BTreeMap<&'w [u8], Range<usize>> {
        let mut names = BTreeMap::new();
        let mut allowed = 0..0;
        let mut at = 0;
        while at < moves.len() {
            let word = |behind: usize| moves.word(at + behind);
            at += match word(0) {
                b"h" | b"j" => {
                    self.rows.at(word(1)).moves.extend([word(0), word(1)]);
                    2
                }
                b"z" | b"s" => {
                    self.rows.at(word(1)).moves.extend([word(0), word(1), word(2)]);
                    3
                }
                b"A" => {
                    let length = 2 + number_in(word(1));
                    allowed = at..at + length;
                    length
                }
                b"c" | b"C" => {
                    let script = self.rows.at(word(1));
                    if !std::mem::replace(&mut script.knows_allowed, true) {
                        script.moves.extend(moves.words(allowed.clone()));
                    }
                    script.moves.extend([word(0), word(1)]);
                    2
                }
                b"T" => {
                    let length = 3 + number_in(word(2));
                    names.insert(word(1), at..at + length);
                    length
                }
                b"R" => {
                    self.records.push(Recorded { key: word(1), field: word(2), new: word(3) });
                    4
                }
                b"W" => {
                    self.before.write(word(1), word(2), word(3));
                    4
                }
                b"D" => {
                    self.after.forget(word(1), word(2));
                    3
                }
                b"U" => {
                    self.after.at(word(1)).moves.extend([word(0), word(1)]);
                    2
                }
                other => unreachable!("no word of a cluster's batch: {other:?}"),
            };
        }
        names
    }

    fn rows(
        &mut self,
        batch: &'w Batch<'_>,
        names: &BTreeMap<&'w [u8], Range<usize>>,
        once: &'w BTreeMap<usize, Once>,
    ) {
        let rows = &batch.rows;
        let (mut slots, mut writes) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < rows.len() {
            let number = self.writes.len();
            if rows.word(at) == b")" {
                for slot in slots.drain(..) {
                    let script = self.rows.0.entry(slot).or_default();
                    script.rows.push(rows.word(at));
                    script.row_numbers.push(number);
                }
                self.writes.push(std::mem::take(&mut writes));
                at += 1;
                continue;
            }
            let (letters, key) = (rows.word(at), rows.word(at + 1));
            let end = at + write_length(rows, at, names);
            let script = self.rows.at(key);
            if !slots.contains(&slot_of(key)) {
                slots.push(slot_of(key));
                let once = once.get(&number).into_iter().flatten();
                script.rows.extend(once.map(Vec::as_slice));
            }
            if let Some(names) = names.get(letters)
                && !script.told.contains(&letters)
            {
                script.told.push(letters);
                script.moves.extend(batch.moves.words(names.clone()));
            }
            script.rows.extend(rows.words(at..end));
            writes.push(at..end);
            at = end;
        }
    }
}

/// A row of these writes that was refused somewhere leaves everywhere.
pub(super) fn leave_row<'w>(
    batch: &'w Batch<'_>,
    writes: &[Range<usize>],
    leaving: &mut Scripts<'w>,
) {
    for write in writes {
        let word = |behind: usize| batch.rows.word(write.start + behind);
        match word(0) {
            b"Z" => leaving.leave(Structure::SortedSet, word(1), word(3)),
            b"S" => leaving.leave(Structure::Set, word(1), word(2)),
            b"J" => leaving.leave(Structure::Json, word(1), b""),
            b"N" | b"X" | b"K" | b"A" | b"L" => {}
            _ => leaving.leave(Structure::Hash, word(1), b""),
        }
    }
}

/// Where the row's record is, when it has one.
pub(super) fn record_of<'w>(
    batch: &'w Batch<'_>,
    passage: &Passage<'_>,
) -> Option<(&'w [u8], &'w [u8])> {
    let mut at = passage.moves.start;
    while at < passage.moves.end {
        at += match batch.moves.word(at) {
            b"R" | b"W" => return Some((batch.moves.word(at + 1), batch.moves.word(at + 2))),
            b"z" | b"s" => 3,
            _ => 2,
        };
    }
    None
}

/// The length of the write that begins here.
fn write_length(rows: &Args, at: usize, names: &BTreeMap<&[u8], Range<usize>>) -> usize {
    match rows.word(at) {
        b"H" | b"F" | b"N" => 3 + number_in(rows.word(at + 2)),
        b"K" => 2,
        b"J" | b"S" | b"X" | b"L" => 3,
        b"Z" => 4,
        b"A" => 7,
        letters => {
            let names = names.get(letters).expect("a whole row's names were told");
            2 + names.len() - 3
        }
    }
}

fn number_in(word: &[u8]) -> usize {
    let digits = std::str::from_utf8(word).expect("the encoder writes digits");
    digits.parse().expect("the encoder writes a number")
}
