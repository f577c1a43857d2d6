//! In a cluster no script spans two slots, so the watermark's token fences the watermark alone. What
//! takes its place for the other slots, and what tells that a node has lost what it had answered:
//!
//! * Every slot has a *fence*, the hash `readside:fence:{tag}:<owner>`, and every `open` begins a
//!   *session*: a number greater than any in the fences, behind the leader's term. It is written into
//!   all fences before anything else is, and each script runs only where its own session stands. So
//!   what an earlier session has sent, a paused leader's or our own, has no effect wherever and
//!   whenever it arrives (P2, P3).
//! * Each master executes what it is sent in one order, and a restart or a replica that is
//!   promoted has a beginning of it. So behind all else that a message brings to a master a *mark* is written,
//!   a growing number, in the fence of the master's first slot. The watermark, and the marks that
//!   are written later, hold the numbers of all masters. A master whose mark is older than another
//!   one's word of it has lost writes: rows, or records of where rows stand. Then no watermark says
//!   anything, and all is filled anew. A restart that lost nothing, or a failover
//!   to a replica that has all, fills nothing.
//!
//! What no mark can tell: a loss together with the loss of every later word of it, such as of all
//! masters at once. A watermark that has gone back together with all rows is a state that once was,
//! and is gone on from, as in a single Redis.

use std::collections::BTreeMap;

use redis::{Cmd, Value};

use super::RedisSink;
use super::cluster::{Cluster, Routed};
use super::connect::{Link, read};
use super::error::interrupted;
use super::slot::{SLOTS, tag_of};
use super::spread::scripts;
use super::watermark;
use crate::lsn::Lsn;
use crate::sink::origin::admit;
use crate::sink::{History, Role, SinkError};

pub(super) const SESSION_SCRIPT: &str = include_str!("session.lua");
pub(super) const FORGET_SCRIPT: &str = include_str!("forget.lua");

/// Others may begin at the same moment; so often a greater number is tried.
const ATTEMPTS: usize = 5;

/// What this process is to the fences.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Its term and number, 16 hexadecimal digits each: greater ones are greater texts. Empty: none.
    pub(super) name: String,
    /// Of the last message.
    pub(super) number: u64,
    /// By the slot of the fence that holds it.
    pub(super) marks: Marks,
    /// What was found when it began: no row is as new, of those that were sent before.
    pub(super) reaching: Lsn,
}

pub(super) type Marks = BTreeMap<u16, u64>;

/// What a slot's fence holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Fence {
    session: String,
    mark: Option<Mark>,
}

/// A master's mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) number: u64,
    /// No row that was sent with it, or before, is as new.
    pub(super) reaching: Lsn,
    /// In which that means something.
    pub(super) history: String,
    /// What was known of the marks when it was sent.
    pub(super) known: Marks,
}

/// What a watermark or a mark says of the masters.
#[derive(Debug)]
struct Word<'a> {
    session: &'a str,
    marks: &'a Marks,
}

pub(super) fn fence_key(slot: u16, owner: &str) -> String {
    format!("readside:fence:{{{}}}:{owner}", tag_of(slot))
}

/// `slot:number` with blanks between.
pub(super) fn marks_text(marks: &Marks) -> String {
    let words: Vec<String> =
        marks.iter().map(|(slot, number)| format!("{slot}:{number:x}")).collect();
    words.join(" ")
}

fn read_marks<'t>(words: impl Iterator<Item = &'t str>) -> Option<Marks> {
    words
        .map(|word| {
            let (slot, number) = word.split_once(':')?;
            let slot = slot.parse().ok().filter(|&slot: &u16| usize::from(slot) < SLOTS)?;
            Some((slot, u64::from_str_radix(number, 16).ok()?))
        })
        .collect()
}

impl Mark {
    pub(super) fn text(&self) -> String {
        let Self { number, reaching, history, known } = self;
        format!("{number:x} {reaching} {history} {}", marks_text(known))
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        Some(Self {
            number: u64::from_str_radix(words.next()?, 16).ok()?,
            reaching: words.next()?.parse().ok()?,
            history: words.next()?.to_owned(),
            known: read_marks(words)?,
        })
    }
}

/// Whether a master has lost what this says was there. A fence of a later session was judged when
/// that one began.
fn is_lost(fences: &[Fence], word: &Word<'_>) -> bool {
    fences.iter().any(|fence| fence.session.as_str() < word.session)
        || word.marks.iter().any(|(slot, number)| {
            let fence = &fences[usize::from(*slot)];
            fence.session == word.session
                && fence.mark.as_ref().is_none_or(|mark| mark.number < *number)
        })
}

fn session_name(term: u64, number: u64) -> String {
    format!("{term:016x}.{number:016x}")
}

/// Term and number; zeros where there is none.
fn parts_of(session: &str) -> (u64, u64) {
    let part = |text| u64::from_str_radix(text, 16).unwrap_or(0);
    session.split_once('.').map_or((0, 0), |(term, number)| (part(term), part(number)))
}

impl RedisSink {
    /// Begins a session in every slot. The watermarks are claimed already.
    pub(super) async fn begin_session(&mut self, term: u64) -> Result<(), SinkError> {
        let fences = self.read_fences().await?;
        let reaching = self.forget_what_is_lost(&fences).await?;
        let greatest = fences.iter().map(|fence| fence.session.as_str()).max().unwrap_or_default();
        let (found_term, mut number) = parts_of(greatest);
        if found_term > term {
            admit(term, term, found_term)?;
        }
        for _ in 0..ATTEMPTS {
            number += 1;
            let name = session_name(term, number);
            let Some(found) = self.take_fences(&name).await? else {
                self.session = Session { name, reaching, ..Session::default() };
                return self.mark_all(reaching).await;
            };
            let (found_term, found) = parts_of(&found);
            if found_term > term {
                admit(term, term, found_term)?;
            }
            number = number.max(found);
        }
        Err(interrupted(format!("{}: others take the cluster over", self.server.address)))
    }

    async fn read_fences(&mut self) -> Result<Vec<Fence>, SinkError> {
        let owner = self.origin.owner.name().to_owned();
        let reads = each_slot(|slot| {
            let mut command = redis::cmd("HMGET");
            command.arg(fence_key(slot, &owner)).arg("session").arg("mark");
            command
        });
        let answers = self.cluster()?.exchange(&reads).await?.answers;
        let mut fences = Vec::with_capacity(SLOTS);
        for answer in answers {
            let (session, mark): (Option<String>, Option<String>) = self.read(answer)?;
            let mark = mark.as_deref().and_then(Mark::read);
            fences.push(Fence { session: session.unwrap_or_default(), mark });
        }
        Ok(fences)
    }

    /// A session that is not older than this one, where there is one.
    async fn take_fences(&mut self, name: &str) -> Result<Option<String>, SinkError> {
        let owner = self.origin.owner.name().to_owned();
        let takes = each_slot(|slot| {
            let mut command = redis::cmd("EVALSHA");
            command.arg(scripts().session.as_str()).arg(1).arg(fence_key(slot, &owner)).arg(name);
            command
        });
        let answers = self.cluster()?.exchange(&takes).await?.answers;
        let mut greatest = None;
        for answer in answers {
            let found: String = self.read(answer)?;
            if !found.is_empty() {
                greatest = greatest.max(Some(found));
            }
        }
        Ok(greatest)
    }

    /// Before the evidence goes: watermarks that say more than there is say nothing any more.
    /// Answers how new rows may be.
    async fn forget_what_is_lost(&mut self, fences: &[Fence]) -> Result<Lsn, SinkError> {
        let own = Word { session: &self.session.name, marks: &self.session.marks };
        let mut lost = is_lost(fences, &own);
        let mut reaching = Lsn::ZERO;
        for fence in fences {
            if let Some(mark) = &fence.mark {
                lost |= is_lost(fences, &Word { session: &fence.session, marks: &mark.known });
                if History::epoch_of(&mark.history) == Some(self.origin.history.epoch) {
                    reaching = reaching.max(mark.reaching);
                }
            }
        }
        let mut stored = Vec::new();
        for plan in &self.plans {
            let mut command = redis::cmd("HGETALL");
            command.arg(&plan.watermark_key);
            stored.push(command);
        }
        let keys: Vec<String> = self.plans.iter().map(|plan| plan.watermark_key.clone()).collect();
        let asked = keys.iter().map(|key| key.as_bytes()).zip(stored).collect();
        let answers = self.ask_all(asked).await?;
        let mut ours = Vec::new();
        for (projection, answer) in answers.into_iter().enumerate() {
            let fields: std::collections::HashMap<String, String> = self.read(answer)?;
            // Another owner's, and an heir's from the system before, has other fences.
            if fields.get("owner").is_none_or(|owner| owner != self.origin.owner.name()) {
                continue;
            }
            if let Some(stored) = watermark::read(&fields) {
                let watermark = self.origin.history.judge(stored);
                reaching = reaching.max(watermark.reaching).max(watermark.lsn);
            }
            let marks = fields.get("marks").and_then(|text| read_marks(text.split(' ')));
            if let (Some(session), Some(marks)) = (fields.get("session"), marks) {
                lost |= is_lost(fences, &Word { session, marks: &marks });
            }
            let step = fields.get("step").cloned().unwrap_or_default();
            ours.push((projection, step));
        }
        if !lost {
            return Ok(reaching);
        }
        tracing::warn!(
            sink = self.name,
            "a node of the Redis cluster has lost what it had written: all is filled anew"
        );
        for (projection, step) in ours {
            let is_log = self.projections[projection].role == Role::Events;
            let token = self.next_token();
            let key = &keys[projection];
            let mut command = redis::cmd("EVALSHA");
            command.arg(scripts().forget.as_str()).arg(1).arg(key).arg(step).arg(token);
            command.arg(reaching.to_string()).arg(if is_log { "log" } else { "rows" });
            command.arg(self.origin.history.tag());
            let answers = self.ask_all(vec![(key.as_bytes(), command)]).await?;
            for answer in answers {
                if !self.read::<bool>(answer)? {
                    let what = format!("{key} has changed while it was looked at");
                    return Err(interrupted(what));
                }
            }
            self.standings[projection].fill = None;
        }
        Ok(reaching)
    }

    pub(super) fn cluster(&mut self) -> Result<&mut Cluster, SinkError> {
        match &mut self.connection {
            Some(Link::Cluster(cluster)) => Ok(cluster),
            _ => Err(interrupted("not connected")),
        }
    }

    pub(super) fn read<T: redis::FromRedisValue>(&self, answer: Value) -> Result<T, SinkError> {
        match answer {
            Value::ServerError(error) => {
                Err(super::error::retryable(&self.server.address, error.into()))
            }
            answer => read(&self.server, answer),
        }
    }
}

fn each_slot(command: impl Fn(u16) -> Cmd) -> Vec<Routed> {
    (0..SLOTS as u16).map(|slot| Routed { slot, command: command(slot) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = Mark {
            number: 26,
            reaching: Lsn(0x1_0000_0010),
            history: "1a.1".into(),
            known: Marks::from([(0, 25), (16_383, 300)]),
        };
        assert_eq!(Mark::read(&mark.text()), Some(mark));
        let history = "0.1".into();
        let first = Mark { number: 1, reaching: Lsn(7), history, known: Marks::new() };
        assert_eq!(Mark::read(&first.text()), Some(first));
        for bad in ["", "1", "x 0/1 a", "1 0/1", "1 0/1 a 5", "1 0/1 a 16384:1", "1 0/1 a 5:x"] {
            assert_eq!(Mark::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn sessions_are_ordered_as_texts() {
        let mut names = vec![session_name(0, 1), session_name(0, 16), session_name(2, 3)];
        let sorted = names.clone();
        names.sort();
        assert_eq!(names, sorted);
        assert!(String::new() < names[0]);
        assert_eq!(parts_of(&names[2]), (2, 3));
        assert_eq!(parts_of(""), (0, 0));
        assert_eq!(names[0].len(), 33, "slot.lua takes so much of a token");
    }

    #[test]
    fn a_master_that_lacks_what_others_know_of_it_has_lost_it() {
        let (old, now) = (session_name(0, 1), session_name(0, 2));
        let mut fences = vec![Fence { session: now.clone(), mark: None }; SLOTS];
        let (history, known) = (String::new(), Marks::new());
        fences[5].mark = Some(Mark { number: 7, reaching: Lsn(1), history, known });
        let lost = |fences: &[Fence], session: &str, marks: &[(u16, u64)]| {
            let marks = marks.iter().copied().collect();
            is_lost(fences, &Word { session, marks: &marks })
        };
        assert!(!lost(&fences, &now, &[]));
        assert!(!lost(&fences, &now, &[(5, 7)]) && !lost(&fences, &now, &[(5, 6)]));
        assert!(lost(&fences, &now, &[(5, 8)]), "an older mark");
        assert!(lost(&fences, &now, &[(6, 1)]), "no mark");
        assert!(!lost(&fences, &old, &[(5, 9), (6, 1)]), "judged when the session now began");
        fences[9].session = old.clone();
        assert!(lost(&fences, &now, &[]), "an older fence");
        assert!(!lost(&fences, &old, &[]));
        fences[9] = Fence::default();
        assert!(lost(&fences, &old, &[]), "no fence");
        assert!(!lost(&fences, "", &[]), "nothing was ever there");
    }
}
