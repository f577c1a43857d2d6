//! Which transactions a snapshot shows as ended, and whether a chunk's snapshot has caught up with
//! the point where the stream begins.
//!
//! A commit is in the WAL, and may be in the stream, before other sessions can see it (for as long as
//! a synchronous standby is awaited). So that a snapshot was taken after the slot does not say that it
//! shows all that the stream leaves out. What says it is this comparison of two `pg_current_snapshot()`
//! (manual, 9.27.8): `xmin:xmax:running`, where an xid has ended when it is below `xmax` and not in
//! the list. Their xids have 64 bits.

use std::fmt;
use std::str::FromStr;

/// A snapshot by its transactions: those below `xmax` have ended, but for the running ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first xid that had not been given out.
    xmax: u64,
    /// Ascending, each below `xmax`.
    running: Vec<u64>,
}

/// The text was not that of a pg_snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a snapshot: expected xmin:xmax:xids, such as 10:20:10,14")]
pub struct ParseWindowError;

impl FromStr for Window {
    type Err = ParseWindowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| ParseWindowError);
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().ok_or(ParseWindowError);
        let (xmin, xmax, list) = (number(part()?)?, number(part()?)?, part()?);
        let mut running = Vec::new();
        for xid in list.split(',').filter(|_| !list.is_empty()) {
            let xid = number(xid)?;
            if xid < xmin || xid >= xmax || running.last().is_some_and(|last| *last >= xid) {
                return Err(ParseWindowError);
            }
            running.push(xid);
        }
        // A new slot's snapshot has seen commits up to xmax alone: what was rolled back since lies below xmin,
        // and all that does has ended.
        Ok(Self { xmax: xmax.max(xmin), running })
    }
}

/// The form that `from_str` reads and Postgres prints.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let xmin = self.running.first().unwrap_or(&self.xmax);
        write!(f, "{xmin}:{}:", self.xmax)?;
        for (at, xid) in self.running.iter().enumerate() {
            write!(f, "{}{xid}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Window {
    /// As `pg_current_snapshot()` prints it.
    pub fn parse(text: &str) -> Result<Self, ParseWindowError> {
        text.parse()
    }

    pub fn has_ended(&self, xid: u64) -> bool {
        xid < self.xmax && self.running.binary_search(&xid).is_err()
    }

    /// As `has_ended`, for an xid as the stream has it: its low 32 bits.
    pub fn has_ended_short(&self, xid: u32) -> bool {
        // Xids in use lie within 2^31 of each other, so the nearest one to xmax is meant.
        let ahead = xid.wrapping_sub(self.xmax as u32).cast_signed();
        let full = self.xmax.checked_add_signed(i64::from(ahead));
        // Before the first of all xids there is none: such a one would have ended.
        full.is_none_or(|full| self.has_ended(full))
    }

    /// The transactions that have not ended, of those that had begun.
    pub fn running(&self) -> impl Iterator<Item = u64> {
        self.running.iter().copied()
    }

    /// The first xid that had not been given out.
    pub fn xmax(&self) -> u64 {
        self.xmax
    }

    /// Whether every transaction that has ended here has ended for `chunk` too.
    pub fn covers(&self, chunk: &Window) -> bool {
        self.awaited(chunk).next().is_none()
    }

    /// The transactions that have ended here and not for `chunk`.
    pub fn awaited(&self, chunk: &Window) -> impl Iterator<Item = u64> {
        let running = chunk.running.iter().copied().take_while(|xid| *xid < self.xmax);
        // `chunk` is older where its xmax is the smaller one; then all between the two are unknown to it.
        (running.chain(chunk.xmax..self.xmax)).filter(|xid| self.has_ended(*xid))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(text: &str) -> Window {
        Window::parse(text).unwrap()
    }

    #[test]
    fn reads_what_postgres_prints() {
        for text in ["734:734:", "10:20:10,14", "19:20:19", "4294967296:8589934592:4294967296"] {
            assert_eq!(window(text).to_string(), text);
        }
        // Postgres may print an xmin that is no more in the list of another's.
        assert_eq!(window("5:20:").to_string(), "20:20:");
        assert_eq!(window("20:18:").to_string(), "20:20:");
        for bad in
            ["", "1", "1:2", ":1:", "a:1:", "2:1:1", "1:5:7", "3:5:1", "1:5:3,2", "1:5:3,", "1:5:,"]
        {
            assert_eq!(Window::parse(bad), Err(ParseWindowError), "{bad:?}");
        }
    }

    #[test]
    fn a_stuck_commit_is_awaited() {
        // 15 has committed for the slot, but no session sees it yet.
        let start = window("16:16:");
        let stuck = window("15:18:15,17");
        assert!(!start.covers(&stuck));
        assert_eq!(start.awaited(&stuck).collect::<Vec<_>>(), [15]);
        assert!(start.covers(&window("17:18:17")));
        assert!(start.covers(&start));
    }

    #[test]
    fn short_xids_are_read_around_xmax() {
        let window = window("4294967290:4294967300:4294967290,4294967298");
        assert!(!window.has_ended_short(4_294_967_290));
        assert!(window.has_ended_short(4_294_967_291));
        assert!(!window.has_ended_short(2), "4294967298 is running");
        assert!(window.has_ended_short(3));
        assert!(!window.has_ended_short(4), "4294967300 has not begun");
        assert!(Window::parse("5:5:").unwrap().has_ended_short(u32::MAX), "before all");
    }

    fn windows() -> impl Strategy<Value = Window> {
        (3_u64..40, prop::collection::btree_set(0_u64..40, 0..10)).prop_map(|(xmax, running)| {
            let running = running.into_iter().filter(|xid| *xid < xmax).collect();
            Window { xmax, running }
        })
    }

    proptest! {
        #[test]
        fn covers_is_inclusion_of_the_ended(start in windows(), chunk in windows()) {
            let included = (0..50).all(|xid| !start.has_ended(xid) || chunk.has_ended(xid));
            prop_assert_eq!(start.covers(&chunk), included);
            let awaited: Vec<u64> = start.awaited(&chunk).collect();
            let expected: Vec<u64> =
                (0..50).filter(|xid| start.has_ended(*xid) && !chunk.has_ended(*xid)).collect();
            prop_assert_eq!(awaited, expected);
        }

        #[test]
        fn text_is_read_back(window in windows()) {
            prop_assert_eq!(Window::parse(&window.to_string()), Ok(window));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = Window::parse(&text);
        }
    }
}
