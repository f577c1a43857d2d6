//! A step in a cluster: a script for each slot, and the watermarks last.
//!
//! ```text
//! records are read | records say where rows stand or will stand | watermarks are unsettled, `reaching`
//! | rows | records say where rows stand, watermarks are settled
//! ```
//!
//! So whatever is cut off, a settled watermark never claims what is not there, rows that came before
//! it are below its `reaching` (P3: nothing older is sent), and an entry that stands is
//! known by its row's key or by a record (P2: the next step lets it leave). Between two
//! slots nothing is atomic: a reader who wants one state reads the watermark before and after, settled and
//! with the same `step`.
//!
//! There is no anchor here: a hash that lies in another slot could not be read by the script that moves
//! a row. Records lie in `BUCKETS` hashes, so that no node has them all.
//!
//! What fences a script, and what tells of lost writes: `session.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use redis::{Cmd, Value};

use super::RedisSink;
use super::apply::{Answer, Mark, read_answer};
use super::cluster::Routed;
use super::encode::{Batch, Refused};
use super::error::{interrupted, retryable};
use super::record::read_record;
use super::session::{self, FORGET_SCRIPT, SESSION_SCRIPT, fence_key};
use super::slot::slot_of;
use super::words::{Once, Recorded, Script, Scripts, Sorted, leave_row, record_of};
use crate::failpoint;
use crate::lsn::Lsn;
use crate::sink::{Outcome, SinkError, Watermark};

const SLOT_SCRIPT: &str = concat!(include_str!("slot.lua"), include_str!("step.lua"));
/// What each node is to know.
pub(super) const SCRIPTS: &[&str] = &[SLOT_SCRIPT, SESSION_SCRIPT, FORGET_SCRIPT];

/// A mark whose slot has moved finds its master at the second attempt. One whose slot is on its way tells
/// nothing of that master until it has arrived.
const MARK_ATTEMPTS: usize = 2;

/// The scripts' names.
pub(super) struct Names {
    slot: String,
    pub(super) session: String,
    pub(super) forget: String,
}

pub(super) fn scripts() -> &'static Names {
    static NAMES: LazyLock<Names> = LazyLock::new(|| {
        let name = |script| redis::Script::new(script).get_hash().to_owned();
        Names {
            slot: name(SLOT_SCRIPT),
            session: name(SESSION_SCRIPT),
            forget: name(FORGET_SCRIPT),
        }
    });
    &NAMES
}

/// A record that changes.
struct Moved<'w> {
    recorded: &'w Recorded<'w>,
    old: &'w [u8],
    /// Where the row stands, or will.
    wide: Vec<u8>,
}

impl RedisSink {
    /// As `run`, by a script for each slot.
    pub(super) async fn run_spread(
        &mut self,
        marks: Vec<Mark>,
        batch: Batch<'_>,
    ) -> Result<Outcome, SinkError> {
        let done = self.spread(&marks, &batch).await;
        let refused = done.inspect_err(|_| self.connection = None)?;
        Ok(batch.finish(&refused))
    }

    async fn spread(
        &mut self,
        marks: &[Mark],
        batch: &Batch<'_>,
    ) -> Result<Vec<Refused>, SinkError> {
        if batch.is_empty() {
            self.close(marks, &Scripts::default()).await?;
            return Ok(Vec::new());
        }
        let once = self.once(batch);
        let Sorted { records, before, rows, after, writes } = Sorted::of(batch, &once);
        let reaching = marks.iter().map(|mark| mark.watermark.reaching).max();
        let reaching = reaching.unwrap_or(Lsn::ZERO);
        let old = self.read_records(&records).await?;
        let moved = moved(&records, &old);
        let (mut before, mut rows, mut after) = (before, rows, after);
        for moved in &moved {
            moved.sort(&mut before, &mut rows, &mut after)?;
        }
        if !before.is_empty() {
            self.send(&before, reaching).await?;
            failpoint::reached_in("recorded", &self.name);
        }
        self.open_marks(marks, batch).await?;
        failpoint::reached_in("begun", &self.name);
        let refused = self.send(&rows, reaching).await?;
        failpoint::reached_in("spread", &self.name);
        if !refused.is_empty() {
            let mut leaving = Scripts::default();
            let numbers: BTreeSet<usize> = refused.iter().map(|refused| refused.row).collect();
            for &number in &numbers {
                leave_row(batch, &writes[number], &mut leaving);
                if let Some(passage) = batch.rows_sent().nth(number)
                    && let Some((key, field)) = record_of(batch, passage)
                {
                    after.forget(key, field);
                }
            }
            self.send(&leaving, reaching).await?;
        }
        let settled: Vec<Mark> =
            marks.iter().filter(|mark| mark.watermark.settled).cloned().collect();
        self.close(&settled, &after).await?;
        // A row may be refused in several slots; it is refused once.
        let mut refused = refused;
        refused.sort_by_key(|refused| refused.row);
        refused.dedup_by_key(|refused| refused.row);
        Ok(refused)
    }

    /// In front of events that were perhaps added before; one that is sent again by hand is added again.
    fn once(&self, batch: &Batch<'_>) -> BTreeMap<usize, Once> {
        let history = self.origin.history.tag();
        let mut once = BTreeMap::new();
        for (number, passage) in batch.rows_sent().enumerate() {
            let plan = &self.plans[passage.projection];
            let standing = &self.standings[passage.projection].watermark;
            if plan.log.is_none() || passage.entry.lsn() < standing.lsn {
                continue;
            }
            let position: String =
                passage.entry.key().iter().map(|byte| format!("{byte:02x}")).collect();
            let words = ["E", &format!("event:{}", plan.name), &history, &position];
            once.insert(number, words.map(|word| word.as_bytes().to_vec()));
        }
        once
    }

    async fn read_records(
        &mut self,
        records: &[Recorded<'_>],
    ) -> Result<Vec<Option<Vec<u8>>>, SinkError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let reads = records.iter().map(|record| {
            let mut command = redis::cmd("HGET");
            command.arg(record.key).arg(record.field);
            (record.key, command)
        });
        let answers = self.ask_all(reads.collect()).await?;
        answers.into_iter().map(|answer| self.read(answer)).collect()
    }

    /// Sends scripts and, behind them, the marks of the masters that they go to.
    async fn send(
        &mut self,
        scripts: &Scripts<'_>,
        reaching: Lsn,
    ) -> Result<Vec<Refused>, SinkError> {
        if scripts.is_empty() {
            return Ok(Vec::new());
        }
        let token = self.next_token();
        let mut commands: Vec<Routed> =
            scripts.0.iter().map(|(slot, script)| self.script(*slot, script, &token)).collect();
        let slots = self.marked_by(scripts.0.keys().copied())?;
        commands.extend(self.mark_commands(&slots, reaching, &token));
        let exchanged = self.cluster()?.exchange(&commands).await?;
        let mut refused = Vec::new();
        let mut sent = scripts.0.values();
        for answer in exchanged.answers {
            let rows = sent.next().map_or(&[][..], |script| &script.row_numbers);
            for found in self.done(answer)? {
                let row = rows.get(found.row).copied();
                let row = row.ok_or_else(|| interrupted("a script names a row that it has not"))?;
                refused.push(Refused { row, ..found });
            }
        }
        self.marked(slots, exchanged.redirected, reaching).await?;
        Ok(refused)
    }

    /// Where the masters of these slots have their marks.
    fn marked_by(&mut self, slots: impl Iterator<Item = u16>) -> Result<Vec<u16>, SinkError> {
        let cluster = self.cluster()?;
        let masters: BTreeSet<usize> = slots.map(|slot| cluster.master_of(slot)).collect();
        Ok(masters.into_iter().map(|master| cluster.masters()[master].first_slot).collect())
    }

    /// The last message's marks are there.
    async fn marked(
        &mut self,
        slots: Vec<u16>,
        redirected: bool,
        reaching: Lsn,
    ) -> Result<(), SinkError> {
        if redirected {
            return self.mark_all(reaching).await;
        }
        let number = self.session.number;
        self.session.marks.extend(slots.into_iter().map(|slot| (slot, number)));
        Ok(())
    }

    /// Marks every master: those that are new, and those that a command has come to behind its mark.
    pub(super) async fn mark_all(&mut self, reaching: Lsn) -> Result<(), SinkError> {
        for attempt in 1..=MARK_ATTEMPTS {
            let token = self.next_token();
            let masters = self.cluster()?.masters();
            let slots: Vec<u16> = masters.iter().map(|master| master.first_slot).collect();
            let commands = self.mark_commands(&slots, reaching, &token);
            let exchanged = self.cluster()?.exchange(&commands).await?;
            for answer in exchanged.answers {
                self.done(answer)?;
            }
            if !exchanged.redirected || attempt == MARK_ATTEMPTS {
                let number = self.session.number;
                self.session.marks.extend(slots.into_iter().map(|slot| (slot, number)));
                break;
            }
        }
        Ok(())
    }

    fn mark_commands(&mut self, slots: &[u16], reaching: Lsn, token: &str) -> Vec<Routed> {
        self.session.number += 1;
        let (number, known) = (self.session.number, self.session.marks.clone());
        let reaching = self.session.reaching.max(reaching);
        let history = self.origin.history.tag();
        let text = session::Mark { number, reaching, history, known }.text();
        let command = |&slot: &u16| {
            let key = fence_key(slot, self.origin.owner.name());
            let mut scripts = Scripts::default();
            scripts.write(key.as_bytes(), b"mark", text.as_bytes());
            self.script(slot, &scripts.0[&slot], token)
        };
        slots.iter().map(command).collect()
    }

    fn script(&self, slot: u16, script: &Script<'_>, token: &str) -> Routed {
        let mut command = self.slot_command(slot, script.keys.iter().copied(), token);
        command.arg(0);
        script.moves.iter().for_each(|word| {
            command.arg(word);
        });
        if !script.rows.is_empty() {
            command.arg("=");
            script.rows.iter().for_each(|word| {
                command.arg(word);
            });
        }
        Routed { slot, command }
    }

    fn slot_command<'k>(
        &self,
        slot: u16,
        keys: impl ExactSizeIterator<Item = &'k [u8]>,
        token: &str,
    ) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&scripts().slot).arg(1 + keys.len());
        command.arg(fence_key(slot, self.origin.owner.name()));
        keys.for_each(|key| {
            command.arg(key);
        });
        command.arg(token);
        command
    }

    /// Before rows: what their watermarks say is true of any part of them.
    async fn open_marks(&mut self, marks: &[Mark], batch: &Batch<'_>) -> Result<(), SinkError> {
        let written: BTreeSet<usize> =
            batch.passages().iter().map(|passage| passage.projection).collect();
        let mut opening = Vec::new();
        for mark in marks {
            if mark.watermark.settled && !written.contains(&mark.projection) {
                continue;
            }
            let standing = &self.standings[mark.projection].watermark;
            let watermark = match mark.watermark.settled {
                false => mark.watermark.clone(),
                true => Watermark {
                    lsn: standing.lsn,
                    committed_at: standing.committed_at,
                    settled: false,
                    fingerprint: standing.fingerprint.clone(),
                    ..mark.watermark.clone()
                },
            };
            if *standing != watermark {
                opening.push(Mark { projection: mark.projection, watermark });
            }
        }
        self.close(&opening, &Scripts::default()).await
    }

    /// Watermarks, and what may be said together with them.
    async fn close(&mut self, marks: &[Mark], after: &Scripts<'_>) -> Result<(), SinkError> {
        let token = self.next_token();
        let mut commands = Vec::new();
        for mark in marks {
            let key = self.plans[mark.projection].watermark_key.as_bytes();
            let slot = slot_of(key);
            let mut command = self.slot_command(slot, [key].into_iter(), &token);
            command.arg(1);
            self.mark_arguments(mark, &mut command);
            commands.push(Routed { slot, command });
        }
        commands.extend(after.0.iter().map(|(slot, script)| self.script(*slot, script, &token)));
        for mark in marks {
            self.standings[mark.projection].possible = Some(token.clone());
        }
        if commands.is_empty() {
            return Ok(());
        }
        // So the rows' marks will tell whether the watermark has gone back behind them.
        let reaching = marks.iter().map(|mark| mark.watermark.reaching).max();
        let reaching = reaching.unwrap_or(Lsn::ZERO);
        let written = marks.iter().map(|mark| &self.plans[mark.projection].watermark_key);
        let written: Vec<u16> = written.map(|key| slot_of(key.as_bytes())).collect();
        let slots = self.marked_by(written.into_iter())?;
        commands.extend(self.mark_commands(&slots, reaching, &token));
        let exchanged = self.cluster()?.exchange(&commands).await?;
        let mut answers = exchanged.answers.into_iter();
        for mark in marks {
            match self.answer(answers.next().unwrap_or_default())? {
                Answer::Done(_) => self.stand(mark, &token),
                Answer::Fenced { owner, .. } => {
                    return Err(self.fenced(Some(mark.projection), &owner));
                }
            }
        }
        for answer in answers {
            self.done(answer)?;
        }
        self.marked(slots, exchanged.redirected, reaching).await
    }

    /// What a script of rows answers.
    fn done(&self, answer: Value) -> Result<Vec<Refused>, SinkError> {
        match self.answer(answer)? {
            Answer::Done(refused) => Ok(refused),
            Answer::Fenced { .. } => Err(interrupted(format!(
                "{}: a slot of the cluster is not as it was last seen: it was emptied, or another \
                 session has begun",
                self.server.address
            ))),
        }
    }

    fn answer(&self, answer: Value) -> Result<Answer, SinkError> {
        if let Value::ServerError(error) = answer {
            let doing = format!("{}: a step failed", self.server.address);
            return Err(retryable(&doing, error.into()));
        }
        read_answer(answer)
            .ok_or_else(|| interrupted("Redis gave an answer that the script never gives"))
    }
}

/// The records that change.
fn moved<'w>(records: &'w [Recorded<'w>], old: &'w [Option<Vec<u8>>]) -> Vec<Moved<'w>> {
    let pairs = records.iter().zip(old);
    pairs
        .map(|(recorded, old)| (recorded, old.as_deref().unwrap_or_default()))
        .filter(|(recorded, old)| recorded.new != *old)
        .map(|(recorded, old)| Moved { recorded, old, wide: [old, recorded.new].concat() })
        .collect()
}

impl<'w> Moved<'w> {
    fn sort(
        &'w self,
        before: &mut Scripts<'w>,
        rows: &mut Scripts<'w>,
        after: &mut Scripts<'w>,
    ) -> Result<(), SinkError> {
        let Recorded { key, field, new, .. } = *self.recorded;
        if !new.is_empty() {
            before.write(key, field, &self.wide);
        }
        let mut stays = BTreeSet::new();
        read_record(new, |structure, key, member| {
            stays.insert((structure.letter(), key, member));
        })
        .expect("the encoder writes records");
        let read = read_record(self.old, |structure, key, member| {
            if !stays.contains(&(structure.letter(), key, member)) {
                rows.leave(structure, key, member);
            }
        });
        read.ok_or_else(|| {
            let key = String::from_utf8_lossy(key);
            interrupted(format!("{key} holds something that is no record"))
        })?;
        if new.is_empty() {
            after.forget(key, field);
        } else if !self.old.is_empty() {
            after.write(key, field, new);
        }
        Ok(())
    }
}
