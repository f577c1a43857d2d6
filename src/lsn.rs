//! Log sequence numbers: byte positions in the source's write-ahead log (PostgreSQL manual, 9.20
//! "pg_lsn Type"), typed by the role they play here.
//!
//! Positions are *after* positions: a position `P` says that every transaction whose commit record
//! starts before `P` is included. A row carries the LSN of its commit record, so a row is included
//! in `P` exactly when `row.lsn < P`.

use std::fmt;
use std::str::FromStr;

/// A position in the write-ahead log; `0/0` is before everything.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    pub const ZERO: Lsn = Lsn(0);
    pub const MAX: Lsn = Lsn(u64::MAX);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not two hexadecimal numbers of at most eight digits around a slash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an LSN: expected two hexadecimal numbers around a slash, such as 16/B374D848")]
pub struct ParseLsnError;

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let half = |part: &str| {
            let digits =
                (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            if digits {
                u64::from_str_radix(part, 16).map_err(|_| ParseLsnError)
            } else {
                Err(ParseLsnError)
            }
        };
        let (high, low) = text.split_once('/').ok_or(ParseLsnError)?;
        Ok(Lsn(half(high)? << 32 | half(low)?))
    }
}

/// Where one stands who reads changes: everything before `at` was read, and nothing as new as `seen` or newer. Written as one LSN
/// where they are the same, else `at~seen`: whoever goes on from there is not to be given an older version of what it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub at: Lsn,
    pub seen: Lsn,
}

impl From<Lsn> for Place {
    fn from(at: Lsn) -> Self {
        Place { at, seen: at }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at)?;
        if self.seen > self.at { write!(f, "~{}", self.seen) } else { Ok(()) }
    }
}

impl FromStr for Place {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at, seen) = text.split_once('~').unwrap_or((text, text));
        let at: Lsn = at.parse()?;
        Ok(Place { at, seen: seen.parse::<Lsn>()?.max(at) })
    }
}

/// Everything before it has been applied to the engine's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied(pub Lsn);

/// Everything before it survives a power loss here. Only this one may be acknowledged to the slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Durable(pub Lsn);

/// Everything before it is in a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivered(pub Lsn);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_postgres_own() {
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!("16/B374D848".parse(), Ok(Lsn(0x16_B374_D848)));
        assert_eq!("0/0".parse(), Ok(Lsn::ZERO));
        assert_eq!("ffffffff/FFFFFFFF".parse(), Ok(Lsn::MAX));
    }

    #[test]
    fn refuses_what_postgres_refuses() {
        for bad in [
            "",
            "/",
            "1",
            "1/",
            "/1",
            "G/0",
            "1/2/3",
            "123456789/0",
            "0/123456789",
            "-1/0",
            "+1/0",
            " 1/0",
        ] {
            assert_eq!(bad.parse::<Lsn>(), Err(ParseLsnError), "{bad:?}");
        }
    }
}
