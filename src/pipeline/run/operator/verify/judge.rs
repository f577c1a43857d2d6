//! Suspects are looked at again until it is certain whether they differ.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::source::Answer;
use super::{Failure, Verify};
use crate::engine::Entry;
use crate::lsn::Lsn;
use crate::pipeline::run::questions::Question;
use crate::sink::audit::{Audit, Difference, Found, Kind, Place, Subject};

/// So often a row may change while it is looked at before that is told instead.
const ROUNDS: usize = 20;
/// How long a snapshot is waited for that sees all that was applied before.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(20);
/// A commit that nothing holds up is visible long before.
const COMMIT_PATIENCE: Duration = Duration::from_secs(1);
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(20);

/// What may differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suspect {
    /// `None`: an entry that no row could have.
    pub(super) key: Option<Vec<u8>>,
    /// Where entries were found that name it.
    pub(super) found: Vec<Place>,
}

impl Suspect {
    pub(super) fn of(key: &[u8]) -> Self {
        Self { key: Some(key.to_vec()), found: Vec::new() }
    }

    pub(super) fn found(found: Found) -> Self {
        Self { key: found.key, found: vec![found.place] }
    }

    fn subject(&self, row: Option<Entry>) -> Subject {
        Subject { key: self.key.clone().unwrap_or_default(), row, found: self.found.clone() }
    }
}

impl<A: Audit> Verify<'_, A> {
    /// When there are so many at least.
    pub(super) async fn judge(
        &mut self,
        suspects: &mut Vec<Suspect>,
        many: usize,
    ) -> Result<(), Failure> {
        while suspects.len() >= many {
            let rest = suspects.split_off(suspects.len().min(super::SUSPECTS));
            let now = std::mem::replace(suspects, rest);
            let now: BTreeSet<Suspect> = now.into_iter().collect();
            self.settle(now.into_iter().collect()).await?;
        }
        Ok(())
    }

    /// Until nothing is left of them.
    async fn settle(&mut self, mut suspects: Vec<Suspect>) -> Result<(), Failure> {
        for _ in 0..ROUNDS {
            if suspects.is_empty() {
                return Ok(());
            }
            suspects = self.round(suspects).await?;
        }
        self.counts.undecided += suspects.len();
        Ok(())
    }

    /// One look at each; those that changed meanwhile are left.
    async fn round(&mut self, suspects: Vec<Suspect>) -> Result<Vec<Suspect>, Failure> {
        let keys: Vec<Vec<u8>> =
            suspects.iter().map(|suspect| suspect.key.clone().unwrap_or_default()).collect();
        let applied = self.state(&[]).await?.applied;
        let begun = self.snapshot().await?;
        let named: Vec<Vec<u8>> =
            suspects.iter().filter_map(|suspect| suspect.key.clone()).collect();
        let rows = self.source.rows(&named).await?;
        self.reaches(begun).await?;
        let before = self.state(&keys).await?;
        let mut subjects = Vec::new();
        let mut wrong_here = BTreeSet::new();
        for (at, (suspect, known)) in suspects.iter().zip(&before.rows).enumerate() {
            let row = suspect.key.as_ref().and_then(|key| rows.get(key));
            let expected = match (row, known) {
                (Some(row), known) => match self.source.is_answered_by(row, known.as_ref()) {
                    Answer::Same => known.clone(),
                    Answer::Other => {
                        wrong_here.insert(at);
                        Some(row.clone())
                    }
                },
                (None, Some(_)) if suspect.key.is_some() => {
                    wrong_here.insert(at);
                    None
                }
                (None, _) => None,
            };
            subjects.push(suspect.subject(expected));
        }
        let differences = self.audit.compare(&subjects).await?;
        let after = self.state(&keys).await?;
        // Nothing has become of a row between what the snapshot surely sees and this moment.
        let certain: Vec<bool> = (0..suspects.len())
            .map(|at| {
                suspects[at].key.is_none()
                    || (before.changed[at] == after.changed[at] && after.changed[at] < applied)
            })
            .collect();
        for difference in &differences {
            if certain[difference.subject] {
                let is_wrong_here = wrong_here.contains(&difference.subject);
                self.settled(&suspects[difference.subject], difference, is_wrong_here).await?;
            }
        }
        let differs: BTreeSet<usize> = differences.iter().map(|one| one.subject).collect();
        let left = suspects
            .into_iter()
            .enumerate()
            .filter(|(at, _)| !certain[*at] && (differs.contains(at) || wrong_here.contains(at)));
        Ok(left.map(|(_, suspect)| suspect).collect())
    }

    /// A difference that is certain: told, and put right where that is asked for.
    async fn settled(
        &mut self,
        suspect: &Suspect,
        difference: &Difference<A::Fix>,
        is_wrong_here: bool,
    ) -> Result<(), Failure> {
        let mut note = None;
        let mut may_mend = self.repair;
        if is_wrong_here {
            note = Some(
                "the state itself differs from the source: stop Readside, remove state.dir and start it again",
            );
            may_mend = false;
        } else if difference.kind == Kind::Missing && self.is_refused(suspect).await? {
            note = Some("the sink refuses this row: see `readside dead-letters list`");
            may_mend = false;
        }
        let mended = may_mend && self.audit.mend(&difference.fix).await?;
        if may_mend && !mended && note.is_none() {
            note = Some(
                "it was not put right: it has changed in the sink meanwhile, or is of another type",
            );
        }
        self.tell(suspect, difference, note, mended).await
    }

    async fn is_refused(&self, suspect: &Suspect) -> Result<bool, Failure> {
        let Some(key) = suspect.key.clone() else { return Ok(false) };
        let (sink, projection) = (self.sink, self.projection.to_owned());
        let asked = self.running.ask(|reply| Question::IsLetter { sink, projection, key, reply });
        Ok(asked.await?)
    }

    /// A snapshot on the source that sees every commit that had been applied here before it was asked for:
    /// each transaction that ran at a first look has ended for it. One that is merely long is no
    /// obstacle; one whose commit waits for a synchronous standby is, since it has been applied here
    /// already and is not visible there.
    async fn snapshot(&mut self) -> Result<Lsn, Failure> {
        let first = self.source.window().await?;
        let begun = Instant::now();
        loop {
            let at = self.source.begin_rows().await?;
            let all_ended = first.running().all(|xid| at.window.has_ended(xid));
            let is_settled = begun.elapsed() > COMMIT_PATIENCE;
            if all_ended || is_settled && !self.source.has_stuck_commits().await? {
                return Ok(at.lsn);
            }
            if begun.elapsed() > SNAPSHOT_PATIENCE {
                return Err(Failure::Other(
                    "commits on the source wait for a synchronous standby: what they change cannot be compared before"
                        .to_owned(),
                ));
            }
            tokio::time::sleep(SNAPSHOT_PAUSE).await;
        }
    }
}
