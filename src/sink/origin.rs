//! Where a sink's rows come from: whose they are, and in which history of the source their positions
//! mean something.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{SinkError, Watermark};
use crate::lsn::Lsn;

/// Handed to each sink.
#[derive(Clone, Debug)]
pub struct Origin {
    pub owner: Owner,
    pub history: History,
    pub term: Term,
}

/// The term in which this instance leads its group; each sink writes it into its watermarks when it is
/// opened, and whoever wrote a smaller one before writes no more. 0: there is no group, or not this
/// instance leads it. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub struct Term(Arc<AtomicU64>);

impl Term {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub fn set(&self, term: u64) {
        self.0.store(term, Ordering::Release);
    }
}

/// What a term found in a sink says to who comes with `own`; `claimed` is what it has written there
/// itself. An equal one of somebody else's is no smaller.
pub(super) fn admit(own: u64, claimed: u64, found: u64) -> Result<(), SinkError> {
    if own == 0 && found > 0 {
        return Err(SinkError::Fatal {
            what: format!("the watermarks are those of a group of instances, in term {found}"),
            hint: "name the same [ha] group here: an instance that is alone must not write there"
                .into(),
        });
    }
    if found > own || (found == own && found != claimed) {
        return Err(SinkError::Outranked { term: found });
    }
    Ok(())
}

/// The pipeline that a watermark names: the source's system identifier, and the slot or, where several
/// instances are one pipeline, their group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    name: String,
    /// `source.accept_system` says that this system has taken the place of another one.
    heir: bool,
}

impl Owner {
    /// `name` is the slot's, or the group's.
    pub fn new(system_id: &str, name: &str, heir: bool) -> Self {
        Self { name: format!("{system_id}/{name}"), heir }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_heir(&self) -> bool {
        self.heir
    }

    /// Whether what `found` has made is ours: it is us, or our slot on the system before.
    pub fn is(&self, found: &str) -> bool {
        let slot = |name: &str| name.split_once('/').map(|(_, slot)| slot.to_owned());
        found == self.name
            || (self.heir && slot(found).is_some_and(|s| Some(s) == slot(&self.name)))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// One history of the source, as long as its positions can be compared: a greater one is later. The
/// epoch is another one after the source has lost or taken back what was applied here (restored to the
/// past, failed over without its last commits, another system).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub epoch: u64,
    pub timeline: u32,
    /// Earlier timelines, each with the position where it was left.
    pub left: Vec<(u32, Lsn)>,
}

impl History {
    /// The epoch of a tag.
    pub fn epoch_of(tag: &str) -> Option<u64> {
        u64::from_str_radix(tag.split_once('.')?.0, 16).ok()
    }

    /// As a watermark holds it.
    pub fn tag(&self) -> String {
        format!("{:x}.{}", self.epoch, self.timeline)
    }

    /// What a stored watermark says in this history: nothing, when it is of another one, or of an
    /// earlier timeline and further than that was followed. Such a sink has rows that never were; it
    /// is filled anew, at once.
    pub fn judge(&self, stored: Watermark) -> Watermark {
        if self.holds(&stored.history, stored.lsn.max(stored.reaching)) {
            return stored;
        }
        Watermark {
            lsn: Lsn::ZERO,
            reaching: Lsn::ZERO,
            settled: false,
            fingerprint: String::new(),
            history: self.tag(),
            ..stored
        }
    }

    fn holds(&self, tag: &str, lsn: Lsn) -> bool {
        if tag == self.tag() {
            return true;
        }
        let Some((epoch, timeline)) = tag.split_once('.') else { return false };
        let (epoch, timeline) = (u64::from_str_radix(epoch, 16), timeline.parse::<u32>());
        let left = |timeline| self.left.iter().find(|(left, _)| *left == timeline);
        epoch == Ok(self.epoch) && timeline.ok().and_then(left).is_some_and(|(_, end)| lsn <= *end)
    }
}

/// In a history of its own.
impl From<&str> for Origin {
    fn from(owner: &str) -> Self {
        let owner = Owner { name: owner.to_owned(), heir: false };
        let history = History { epoch: 0, timeline: 1, left: Vec::new() };
        Self { owner, history, term: Term::default() }
    }
}

impl From<&str> for Owner {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), heir: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_saw_a_lost_tail_knows_nothing() {
        let history =
            History { epoch: 0xAB, timeline: 3, left: vec![(1, Lsn(100)), (2, Lsn(200))] };
        let at = |tag: &str, lsn, reaching| {
            let watermark = Watermark {
                lsn: Lsn(lsn),
                reaching: Lsn(reaching),
                committed_at: 0,
                settled: true,
                generation: 7,
                fingerprint: "shape".into(),
                history: tag.into(),
                term: 0,
            };
            let judged = history.judge(watermark.clone());
            assert_eq!(judged.generation, 7);
            if judged == watermark {
                Some(judged.lsn.0)
            } else {
                assert_eq!(judged.reaching, Lsn::ZERO);
                None
            }
        };
        assert_eq!(history.tag(), "ab.3");
        assert_eq!(at("ab.3", 1000, 1000), Some(1000));
        assert_eq!(at("ab.2", 200, 200), Some(200));
        assert_eq!(at("ab.2", 201, 201), None);
        assert_eq!(at("ab.2", 150, 201), None, "an unfinished step may have shown it");
        assert_eq!(at("ab.1", 150, 150), None);
        assert_eq!(at("ac.3", 10, 10), None, "another epoch");
        for other in ["", "ab", "ab.", ".3", "ab.4", "x.3"] {
            assert_eq!(at(other, 10, 10), None, "{other}");
        }
    }

    #[test]
    fn of_two_leaders_the_later_one_writes() {
        let admitted = |own, claimed, found| match admit(own, claimed, found) {
            Ok(()) => true,
            Err(SinkError::Outranked { term }) => {
                assert_eq!(term, found);
                false
            }
            Err(other) => panic!("{other}"),
        };
        assert!(admitted(0, 0, 0), "alone");
        assert!(admitted(3, 0, 2) && admitted(3, 3, 3));
        assert!(!admitted(3, 3, 4), "a later one has come");
        assert!(!admitted(3, 0, 3), "another one of the same term");
        assert!(matches!(admit(0, 0, 1), Err(SinkError::Fatal { .. })), "alone among a group");
    }

    #[test]
    fn an_heir_owns_what_its_slot_had_before() {
        let owner = Owner::new("7", "readside", false);
        assert!(owner.is("7/readside") && !owner.is("6/readside"));
        let heir = Owner::new("7", "readside", true);
        assert!(heir.is("7/readside") && heir.is("6/readside"));
        assert!(!heir.is("6/other") && !heir.is("") && !heir.is("readside"));
    }
}
