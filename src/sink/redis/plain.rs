//! A batch's words as plain commands: what must be read for an entry first, and then what writes it.
//!
//! In a script a command costs Redis about three times as much. So what needs no more knowledge of
//! the server than can be asked for beforehand is written plainly. The rest is left to `step.lua`: a
//! row that moves, a key that leaves, a row that meets a key of another type.

use redis::{Cmd, Pipeline, ServerError, Value};

use super::encode::{Batch, Passage};
use super::target::Plan;

/// For each word "V" (an anchored row) and "R" (a recorded one) of the batch, in their order, asks what
/// the server holds in the place of the word's values.
pub(super) fn reads(batch: &Batch<'_>, plans: &[Plan]) -> Vec<Cmd> {
    let mut commands = Vec::new();
    for passage in batch.passages() {
        let plan = &plans[passage.projection];
        for (op, at) in moves_of(batch, passage, plan) {
            if op == b"R" {
                let mut command = redis::cmd("HGET");
                command.arg(batch.moves.word(at + 1)).arg(batch.moves.word(at + 2));
                commands.push(command);
            } else if op == b"V" {
                let mut command = redis::cmd("HMGET");
                command.arg(batch.moves.word(at + 1));
                for &column in plan.anchor.iter().flat_map(|anchor| &anchor.watched) {
                    command.arg(&plan.columns[column].name);
                }
                commands.push(command);
            }
        }
    }
    commands
}

/// A batch as plain commands.
#[derive(Default)]
pub(super) struct Writes {
    commands: Vec<Cmd>,
    /// For each command the passage that it belongs to; none for a member that leaves, which is not where
    /// a key of another type is.
    passages: Vec<Option<usize>>,
    /// The passages that are left to a script, in their order.
    left: Vec<usize>,
}

impl Writes {
    /// `read` are the answers to `reads`.
    pub(super) fn of(batch: &Batch<'_>, plans: &[Plan], read: &[Value]) -> Self {
        let mut writes = Self::default();
        let mut read = read.iter();
        for (number, passage) in batch.passages().iter().enumerate() {
            let plan = &plans[passage.projection];
            let first = writes.commands.len();
            let mut is_plain = true;
            for (op, at) in moves_of(batch, passage, plan) {
                // The answer is taken even when an earlier word has decided.
                is_plain &= match op {
                    b"V" => stays(batch, at, plan, read.next()),
                    b"R" => writes.record(batch, at, number, read.next()),
                    b"W" => writes.add("HSET", batch.moves.words(at + 1..at + 4), Some(number)),
                    b"D" => writes.add("HDEL", batch.moves.words(at + 1..at + 3), Some(number)),
                    b"z" => writes.add("ZREM", batch.moves.words(at + 1..at + 3), None),
                    b"s" => writes.add("SREM", batch.moves.words(at + 1..at + 3), None),
                    _ => false,
                };
            }
            if !(is_plain && writes.row(batch, passage, number, plan)) {
                writes.commands.truncate(first);
                writes.passages.truncate(first);
                writes.left.push(number);
            }
        }
        writes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The commands go; whose they were stays known.
    pub(super) fn move_into(&mut self, pipeline: &mut Pipeline) {
        for command in self.commands.drain(..) {
            pipeline.add_command(command);
        }
    }

    /// The passages that a script must see to after these answers; an error that belongs to no row.
    pub(super) fn finish(mut self, answers: &[Value]) -> Result<Vec<usize>, ServerError> {
        for (answer, passage) in answers.iter().zip(&self.passages) {
            let Value::ServerError(error) = answer else { continue };
            if error.code() != "WRONGTYPE" {
                return Err(error.clone());
            }
            self.left.extend(passage);
        }
        self.left.sort_unstable();
        self.left.dedup();
        Ok(self.left)
    }

    /// Whether the record is that of a row that has not moved.
    fn record(
        &mut self,
        batch: &Batch<'_>,
        at: usize,
        passage: usize,
        old: Option<&Value>,
    ) -> bool {
        let new = batch.moves.word(at + 3);
        match old {
            Some(Value::Nil) if new.is_empty() => true,
            Some(Value::Nil) => self.add("HSET", batch.moves.words(at + 1..at + 4), Some(passage)),
            Some(Value::BulkString(old)) => old == new,
            _ => false,
        }
    }

    /// The row of a passage; whether it can be written plainly.
    fn row(
        &mut self,
        batch: &Batch<'_>,
        passage: &Passage<'_>,
        number: usize,
        plan: &Plan,
    ) -> bool {
        let mut at = passage.rows.start;
        while at < passage.rows.end {
            let op = batch.rows.word(at);
            let words = |from: usize, to: usize| batch.rows.words(at + from..at + to);
            let counted = || number_in(batch.rows.word(at + 2));
            let target = plan.targets.iter().find(|target| target.whole_row.as_bytes() == op);
            at += match (target, op) {
                (Some(target), _) => {
                    let mut command = redis::cmd("HSET");
                    command.arg(batch.rows.word(at + 1));
                    for (&field, value) in
                        target.fields.iter().zip(words(2, 2 + target.fields.len()))
                    {
                        command.arg(&plan.columns[field].name).arg(value);
                    }
                    self.push(command, Some(number));
                    2 + target.fields.len()
                }
                (None, b"H" | b"N") => {
                    let name = if op == b"H" { "HSET" } else { "HDEL" };
                    let count = counted();
                    self.add(name, words(1, 2).chain(words(3, 3 + count)), Some(number));
                    3 + count
                }
                // With GET it minds the type of what it replaces.
                (None, b"J") => {
                    self.add("SET", words(1, 3).chain([&b"GET"[..]]), Some(number));
                    3
                }
                (None, b"Z") => {
                    self.add("ZADD", words(1, 4), Some(number));
                    4
                }
                (None, b"S") => {
                    self.add("SADD", words(1, 3), Some(number));
                    3
                }
                (None, b"X") => {
                    self.add("EXPIRE", words(1, 3), Some(number));
                    3
                }
                (None, b")") => 1,
                (None, b"]") => 4,
                _ => return false,
            };
        }
        true
    }

    fn add<'w>(
        &mut self,
        name: &str,
        words: impl Iterator<Item = &'w [u8]>,
        passage: Option<usize>,
    ) -> bool {
        let mut command = redis::cmd(name);
        words.for_each(|word| {
            command.arg(word);
        });
        self.push(command, passage);
        true
    }

    fn push(&mut self, command: Cmd, passage: Option<usize>) {
        self.commands.push(command);
        self.passages.push(passage);
    }
}

/// Each word of a passage that says what leaves or may have moved, with its number.
fn moves_of<'b>(
    batch: &'b Batch<'_>,
    passage: &Passage<'_>,
    plan: &Plan,
) -> impl Iterator<Item = (&'b [u8], usize)> {
    let watched = plan.anchor.as_ref().map_or(0, |anchor| anchor.watched.len());
    let (mut at, end) = (passage.moves.start, passage.moves.end);
    std::iter::from_fn(move || {
        let op = (at < end).then(|| batch.moves.word(at))?;
        let found = (op, at);
        at += match op {
            b"V" => 2 + watched,
            b"R" | b"W" => 4,
            b"z" | b"s" | b"D" => 3,
            _ => 2,
        };
        Some(found)
    })
}

/// Whether an anchored row stands where it stood.
fn stays(batch: &Batch<'_>, at: usize, plan: &Plan, old: Option<&Value>) -> bool {
    let Some(Value::Array(old)) = old else { return false };
    let watched = plan.anchor.as_ref().map_or(0, |anchor| anchor.watched.len());
    if old.len() != watched {
        return false;
    }
    let is_new = old.iter().all(|value| *value == Value::Nil);
    is_new
        || old.iter().zip(batch.moves.words(at + 2..at + 2 + watched)).all(|(old, new)| match old {
            Value::Nil => new == super::encode::NULL_TEXT,
            Value::BulkString(old) => old == new,
            _ => false,
        })
}

fn number_in(word: &[u8]) -> usize {
    let digits = std::str::from_utf8(word).expect("the encoder writes digits");
    digits.parse().expect("the encoder writes a number")
}
