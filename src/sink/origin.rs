//! Where a sink's rows come from: whose they are, and in which history of the source their positions
//! mean something.

use std::fmt;

use super::Watermark;
use crate::lsn::Lsn;

/// Handed to each sink.
#[derive(Clone, Debug)]
pub struct Origin {
    pub owner: Owner,
    pub history: History,
}

/// The pipeline that a watermark names: the source's system identifier and slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    name: String,
    /// `source.accept_system` says that this system has taken the place of another one.
    heir: bool,
}

impl Owner {
    pub fn new(system_id: &str, slot: &str, heir: bool) -> Self {
        Self { name: format!("{system_id}/{slot}"), heir }
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
        Self { owner, history: History { epoch: 0, timeline: 1, left: Vec::new() } }
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
    fn an_heir_owns_what_its_slot_had_before() {
        let owner = Owner::new("7", "readside", false);
        assert!(owner.is("7/readside") && !owner.is("6/readside"));
        let heir = Owner::new("7", "readside", true);
        assert!(heir.is("7/readside") && heir.is("6/readside"));
        assert!(!heir.is("6/other") && !heir.is("") && !heir.is("readside"));
    }
}
