//! Entries become the arguments of `step.lua`, whose header is their grammar.
//!
//! Each row is rendered straight into one buffer of arguments; nothing is allocated per row.

use std::ops::Range;

use crate::engine::Entry;
use crate::sink::{Outcome, Poison};
use crate::sql::expr::EvalError;
use crate::value::{self, ValueError};

use super::pattern::{Pattern, Piece, Rendered};
use super::record::write_record;
use super::refused;
use super::row::{Args, Row};
use super::swap::Keep;
use super::target::{Anchor, Plan, Recall, Score, Structure, Target};

/// More than this and a batch is cut: other users of the server wait while a script runs.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Redis 6.2 takes 1 048 576 arguments.
const BATCH_ARGUMENTS_MAX: usize = 500_000;
/// What Redis takes as one value, here of a whole row.
const ROW_BYTES_MAX: usize = 512 << 20;

/// In the place of a value that is NULL: no text of Postgres contains this byte.
pub(super) const NULL_TEXT: &[u8] = &[0xFF];

/// What can stand where a row is about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// The row's older version, perhaps.
    Older,
    /// Another generation's entry: replaced, with its expiry and with fields that ours has not. Where
    /// the row stood, the sweep finds.
    OtherGeneration,
    /// Either of them.
    Either,
    /// Nothing at all.
    Nothing,
}

impl Before {
    fn may_have_moved(self) -> bool {
        matches!(self, Self::Older | Self::Either)
    }

    fn is_replaced(self) -> bool {
        matches!(self, Self::OtherGeneration | Self::Either)
    }
}

/// A row refused before it is sent, or bytes that are no row.
pub(super) enum Refusal {
    Value(ValueError),
    Words(String),
}

impl From<ValueError> for Refusal {
    fn from(error: ValueError) -> Self {
        Self::Value(error)
    }
}

/// Entries for one script.
#[derive(Default)]
pub(super) struct Batch<'e> {
    pub(super) moves: Args,
    pub(super) rows: Args,
    /// Of each entry that has any words, in their order: the script names refused rows by number.
    passages: Vec<Passage<'e>>,
    outcome: Outcome,
    /// The projections that the script was told of; of an anchor it knows the last one's.
    announced: Vec<usize>,
    scratch: Scratch,
}

/// One entry's words, by their numbers.
#[derive(Clone)]
pub(super) struct Passage<'e> {
    pub(super) projection: usize,
    pub(super) entry: &'e Entry,
    pub(super) moves: Range<usize>,
    pub(super) rows: Range<usize>,
}

#[derive(Default)]
struct Scratch {
    key_ranges: Vec<Range<usize>>,
    row_ranges: Vec<Range<usize>>,
    key: Vec<u8>,
    member: Vec<u8>,
    text: Vec<u8>,
    record: Vec<u8>,
}

/// What became of one target of a row.
#[derive(PartialEq, Eq)]
enum Stands {
    Written,
    /// Its location is known, but it holds no entry there: a NULL score, a hash without a field.
    Absent,
    /// A NULL in a template.
    Nowhere,
}

impl<'e> Batch<'e> {
    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= BATCH_BYTES_MAX
            || self.moves.ends.len() + self.rows.ends.len() >= BATCH_ARGUMENTS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.rows.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.moves.bytes.len() + self.rows.bytes.len()
    }

    pub(super) fn passages(&self) -> &[Passage<'e>] {
        &self.passages
    }

    /// The entries that write something, as the script numbers them.
    pub(super) fn rows_sent(&self) -> impl Iterator<Item = &Passage<'e>> {
        self.passages.iter().filter(|passage| !passage.rows.is_empty())
    }

    /// The outcome of what is not sent as a script.
    pub(super) fn into_outcome(self) -> Outcome {
        self.outcome
    }

    /// Adds an entry. A row that cannot be sent is refused, and its older version leaves.
    pub(super) fn push(
        &mut self,
        projection: usize,
        plan: &Plan,
        entry: &'e Entry,
        before: Before,
        keep: Option<&mut Keep>,
    ) {
        self.announce(projection, plan);
        let marks = (self.moves.mark(), self.rows.mark());
        if plan.remembered.is_written(entry.key()) {
            refused::forget(plan, entry.key(), &mut self.moves);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let added = self.add(plan, entry, before, keep, &mut scratch);
        let added = added.and_then(|()| {
            let bytes = self.rows.bytes.len() - marks.1.0;
            let too_large = || {
                Refusal::Words(format!(
                    "the row takes {bytes} bytes in Redis, which takes at most {ROW_BYTES_MAX}"
                ))
            };
            if bytes > ROW_BYTES_MAX { Err(too_large()) } else { Ok(()) }
        });
        match added {
            Ok(()) if entry.is_tombstone() => self.outcome.deletes += 1,
            Ok(()) => {
                self.outcome.upserts += 1;
                if self.rows.mark() != marks.1 {
                    refused::end_row(plan, entry, &mut self.rows);
                }
            }
            Err(refusal) => {
                self.moves.truncate(marks.0);
                self.rows.truncate(marks.1);
                let removed = self.remove(plan, entry, &mut scratch);
                let error = match (refusal, removed) {
                    (Refusal::Words(words), Ok(())) => words,
                    (Refusal::Value(error), _) | (_, Err(error)) => error.to_string(),
                };
                refused::remember(plan, entry, &error, &mut self.moves);
                self.outcome.poison.push(Poison { projection, entry: entry.clone(), error });
            }
        }
        self.scratch = scratch;
        let (moves, rows) = (marks.0.1..self.moves.len(), marks.1.1..self.rows.len());
        if !(moves.is_empty() && rows.is_empty()) {
            self.passages.push(Passage { projection, entry, moves, rows });
        }
    }

    /// Adds an entry of another batch, in its words; what becomes of it is counted here.
    pub(super) fn take_over(&mut self, from: &mut Batch<'e>, number: usize, plan: &Plan) {
        let passage = &from.passages[number];
        self.announce(passage.projection, plan);
        let (moves, rows) = (self.moves.len(), self.rows.len());
        self.moves.extend_from(&from.moves, passage.moves.clone());
        self.rows.extend_from(&from.rows, passage.rows.clone());
        if !passage.rows.is_empty() {
            from.outcome.upserts -= 1;
            self.outcome.upserts += 1;
        }
        let (moves, rows) = (moves..self.moves.len(), rows..self.rows.len());
        self.passages.push(Passage { moves, rows, ..passage.clone() });
    }

    fn add(
        &mut self,
        plan: &Plan,
        entry: &'e Entry,
        before: Before,
        mut keep: Option<&mut Keep>,
        scratch: &mut Scratch,
    ) -> Result<(), Refusal> {
        let Some(bytes) = entry.value() else {
            return Ok(self.remove(plan, entry, scratch)?);
        };
        let Scratch { key_ranges, row_ranges, key, member, text, record } = scratch;
        let row = Row::find(&plan.columns, bytes, row_ranges)?;
        if let Some(log) = &plan.log {
            return log.write(entry, &row, key, &mut self.rows);
        }
        let row_key = Row::find(&plan.key_columns, entry.key(), key_ranges)?;
        // Before anything leaves: the old values are read from a hash that may leave itself.
        if before.may_have_moved()
            && let Some(anchor) = &plan.anchor
        {
            self.moves.push("V");
            anchor.key.render(&row_key, &mut self.moves.bytes)?;
            self.moves.end();
            for &column in &anchor.watched {
                if row.is_null(column) {
                    self.moves.bytes.extend_from_slice(NULL_TEXT);
                } else {
                    row.write_text(column, &mut self.moves.bytes)?;
                }
                self.moves.end();
            }
        }
        record.clear();
        for target in &plan.targets {
            match self.write(target, &row, before, key, member, text)? {
                Stands::Nowhere => {}
                Stands::Absent => leave(&mut self.moves, target.structure, key, member),
                Stands::Written => {
                    if let Some(keep) = keep.as_deref_mut() {
                        keep.insert(target.structure, key, member);
                    }
                    if target.recall == Recall::Record {
                        write_record(target.structure, key, member, record);
                    }
                }
            }
        }
        if plan.recorded && !(before == Before::Nothing && record.is_empty()) {
            self.moves.push(if before == Before::Nothing { "W" } else { "R" });
            plan.reverse.write_place(&row_key, text, &mut self.moves)?;
            self.moves.push(&record);
        }
        Ok(())
    }

    /// The row of this entry's key leaves every target.
    fn remove(
        &mut self,
        plan: &Plan,
        entry: &Entry,
        scratch: &mut Scratch,
    ) -> Result<(), ValueError> {
        let Scratch { key_ranges, key, member, text, .. } = scratch;
        let row_key = Row::find(&plan.key_columns, entry.key(), key_ranges)?;
        if let Some(anchor) = &plan.anchor {
            self.moves.push("v");
            anchor.key.render(&row_key, &mut self.moves.bytes)?;
            self.moves.end();
        }
        if plan.recorded {
            self.moves.push("R");
            plan.reverse.write_place(&row_key, text, &mut self.moves)?;
            self.moves.push("");
        }
        for target in &plan.targets {
            let Some(location) = &target.fixed else { continue };
            if render(&location.key, location.member.as_ref(), &row_key, key, member)?
                == Rendered::Text
            {
                leave(&mut self.moves, target.structure, key, member);
            }
        }
        Ok(())
    }

    /// Leaves the location in `key` and `member`.
    fn write(
        &mut self,
        target: &Target,
        row: &Row<'_>,
        before: Before,
        key: &mut Vec<u8>,
        member: &mut Vec<u8>,
        text: &mut Vec<u8>,
    ) -> Result<Stands, Refusal> {
        let location = &target.location;
        if render(&location.key, location.member.as_ref(), row, key, member)? == Rendered::Null {
            return Ok(Stands::Nowhere);
        }
        let rows = &mut self.rows;
        match target.structure {
            Structure::Hash => {
                let present = target.fields.iter().filter(|&&at| !row.is_null(at)).count();
                if present == 0 {
                    return Ok(Stands::Absent);
                }
                let whole = present == target.fields.len();
                if whole && !before.is_replaced() {
                    rows.push(&target.whole_row);
                    rows.push(&key);
                    for &at in &target.fields {
                        row.write_text(at, &mut rows.bytes)?;
                        rows.end();
                    }
                } else {
                    rows.push(if before.is_replaced() { "F" } else { "H" });
                    rows.push(&key);
                    rows.push_number(2 * present);
                    for &at in target.fields.iter().filter(|&&at| !row.is_null(at)) {
                        rows.push(&row.columns[at].name);
                        row.write_text(at, &mut rows.bytes)?;
                        rows.end();
                    }
                }
                if before == Before::Older && !whole {
                    rows.push("N");
                    rows.push(&key);
                    rows.push_number(target.fields.len() - present);
                    for &at in target.fields.iter().filter(|&&at| row.is_null(at)) {
                        rows.push(&row.columns[at].name);
                    }
                }
            }
            Structure::Json => {
                rows.push("J");
                rows.push(&key);
                if let Some(document) = &target.document {
                    document.write(row.bytes, &mut rows.bytes)?;
                }
                rows.end();
            }
            Structure::SortedSet => {
                let Some(score) = target.score.as_ref() else { return Ok(Stands::Absent) };
                text.clear();
                if !write_score(score, row, text)? {
                    return Ok(Stands::Absent);
                }
                rows.push("Z");
                rows.push(&key);
                rows.push(text);
                rows.push(&member);
            }
            Structure::Set => {
                rows.push("S");
                rows.push(&key);
                rows.push(&member);
            }
        }
        match &target.ttl_seconds {
            Some(seconds) => {
                rows.push("X");
                rows.push(&key);
                rows.push(seconds);
            }
            None if before.is_replaced() && target.structure.has_members() => {
                rows.push("K");
                rows.push(&key);
            }
            None => {}
        }
        Ok(Stands::Written)
    }

    /// What the script must know of the projection before its entries.
    fn announce(&mut self, projection: usize, plan: &Plan) {
        if self.announced.last() == Some(&projection) {
            return;
        }
        let known = self.announced.contains(&projection);
        self.announced.push(projection);
        if let Some(anchor) = &plan.anchor {
            announce_anchor(plan, anchor, &mut self.moves);
        }
        for target in &plan.targets {
            if target.structure == Structure::Hash && !known {
                self.moves.push("T");
                self.moves.push(&target.whole_row);
                self.moves.push_number(target.fields.len());
                target.fields.iter().for_each(|&at| self.moves.push(&plan.columns[at].name));
            }
        }
    }

    /// The arguments, after those of the script itself and the marks.
    pub(super) fn append_to(&self, command: &mut redis::Cmd) {
        self.moves.append_to(command);
        if !self.rows.is_empty() {
            command.arg("=");
            self.rows.append_to(command);
        }
    }

    /// The outcome, after the script named the rows that it refused.
    pub(super) fn finish(mut self, refused: &[Refused]) -> Outcome {
        let sent: Vec<&Passage<'_>> = match refused {
            [] => Vec::new(),
            _ => self.passages.iter().filter(|passage| !passage.rows.is_empty()).collect(),
        };
        for Refused { row, key, found } in refused {
            if let Some(Passage { projection, entry, .. }) = sent.get(*row) {
                let error = refused::words(key, found);
                let entry = (*entry).clone();
                self.outcome.poison.push(Poison { projection: *projection, entry, error });
                self.outcome.upserts -= 1;
            }
        }
        self.outcome
    }
}

fn announce_anchor(plan: &Plan, anchor: &Anchor, moves: &mut Args) {
    moves.push("P");
    for columns in [&anchor.watched, &anchor.columns] {
        moves.push_number(columns.len());
        columns.iter().for_each(|&at| moves.push(&plan.columns[at].name));
    }
    let anchored = || plan.targets.iter().filter(|t| t.recall == Recall::Anchor);
    moves.push_number(anchored().count());
    for target in anchored() {
        moves.push([target.structure.letter()]);
        let member = target.location.member.as_ref();
        for pieces in [&*target.location.key.pieces, member.map_or(&[], |m| &m.pieces)] {
            moves.push_number(pieces.len());
            for piece in pieces {
                match piece {
                    Piece::Literal(text) => moves.push(format!("={text}")),
                    Piece::Column(at, _) => {
                        let number = anchor.columns.binary_search(at);
                        let number = number.expect("an anchor has the columns of its targets") + 1;
                        moves.push(format!("#{number}"));
                    }
                }
            }
        }
    }
}

/// A row that met a key of another type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) row: usize,
    pub(super) key: Vec<u8>,
    /// The type found, in Redis' word.
    pub(super) found: Vec<u8>,
}

/// Into `key` and `member`, cleared first.
pub(super) fn render(
    key_pattern: &Pattern,
    member_pattern: Option<&Pattern>,
    row: &Row<'_>,
    key: &mut Vec<u8>,
    member: &mut Vec<u8>,
) -> Result<Rendered, ValueError> {
    key.clear();
    member.clear();
    let rendered = key_pattern.render(row, key)?;
    match member_pattern {
        Some(pattern) if rendered == Rendered::Text => pattern.render(row, member),
        _ => Ok(rendered),
    }
}

/// "Leaves": an entry that is there goes.
pub(super) fn leave(moves: &mut Args, structure: Structure, key: &[u8], member: &[u8]) {
    moves.push([structure.letter()]);
    moves.push(key);
    if structure.has_members() {
        moves.push(member);
    }
}

/// The score of a row that has one, and is not refused for it.
pub(super) fn score_of(score: &Score, row: &Row<'_>) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    matches!(write_score(score, row, &mut text), Ok(true)).then_some(text)
}

/// Whether there is a score; none for a NULL.
fn write_score(score: &Score, row: &Row<'_>, out: &mut Vec<u8>) -> Result<bool, Refusal> {
    let number = match score {
        Score::Column(at) if row.is_null(*at) => return Ok(false),
        Score::Column(at) => value::score(&row.columns[*at].ty, row.datum(*at)),
        Score::Expression { sql, expr } => match expr.eval_number(row.datums()) {
            Ok(None) => return Ok(false),
            Ok(number) => number.filter(|number| !number.is_nan()),
            Err(EvalError::Value(error)) => return Err(Refusal::Value(error)),
            Err(error) => return Err(Refusal::Words(format!("the score {sql:?}: {error}"))),
        },
    };
    let number = number.ok_or_else(|| {
        let name = match score {
            Score::Column(at) => &row.columns[*at].name,
            Score::Expression { sql, .. } => sql,
        };
        Refusal::Words(format!("the score {name:?} is not a number, which Redis does not take"))
    })?;
    // The shortest text that reads back as the same number.
    if number.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.extend_from_slice(if number > 0.0 { b"+inf" } else { b"-inf" });
    }
    Ok(true)
}
