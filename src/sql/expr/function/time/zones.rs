//! Time zones: by their names, their abbreviations, and as intervals from UTC.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::value::{DAY, SECOND, Scalar};

use super::super::super::eval::{EvalError, Result};
use super::super::{Table, Typed};
use super::{ends, finite, timestamp};

/// The calendar and its weekdays repeat after so many days.
const CYCLE_DAYS: i64 = 146_097;
/// Years that jiff does not know are looked up as the ones some cycles before.
const CYCLE_MICROS: i64 = CYCLE_DAYS * DAY;
/// The first moment of the year 9000, up to which all are known.
const KNOWN_END: i64 = 7_000 * 365 * DAY;
/// Seconds from 1970 to 2000.
const EPOCH_SECONDS: i64 = 946_684_800;

/// What Postgres takes for an abbreviation before it looks for a zone of that name; in minutes east of
/// UTC. The ones whose meaning changes with time are not here, and are not known.
const ABBREVIATIONS: &[(&str, i64)] = &[
    ("acdt", 630),
    ("acst", 570),
    ("adt", -180),
    ("aedt", 660),
    ("aest", 600),
    ("akdt", -480),
    ("akst", -540),
    ("ast", -240),
    ("awst", 480),
    ("bst", 60),
    ("cdt", -300),
    ("cest", 120),
    ("cet", 60),
    ("cst", -360),
    ("eat", 180),
    ("edt", -240),
    ("eest", 180),
    ("eet", 120),
    ("est", -300),
    ("gmt", 0),
    ("hst", -600),
    ("ict", 420),
    ("idt", 180),
    ("jst", 540),
    ("kst", 540),
    ("mdt", -360),
    ("mest", 120),
    ("met", 60),
    ("mst", -420),
    ("ndt", -150),
    ("nst", -210),
    ("nzdt", 780),
    ("nzst", 720),
    ("pdt", -420),
    ("pst", -480),
    ("uct", 0),
    ("ut", 0),
    ("utc", 0),
    ("wet", 0),
    ("z", 0),
    ("zulu", 0),
];

pub(super) fn register(table: &mut Table) {
    table.add("timezone(text,timestamptz)", |_, a| {
        let micros = a[1].int();
        if ends(micros) {
            return Ok(Scalar::Int(micros));
        }
        let east = Zone::of(a[0].str())?.east_of_moment(micros)?;
        timestamp(micros.checked_add(east * SECOND))
    });
    table.add("timezone(text,timestamp)", |_, a| {
        let micros = a[1].int();
        if ends(micros) {
            return Ok(Scalar::Int(micros));
        }
        let east = Zone::of(a[0].str())?.east_of_local(micros)?;
        timestamp(micros.checked_sub(east * SECOND))
    });
    table.add("timezone(interval,timestamptz)", |_, a| {
        let micros = a[1].int();
        if ends(micros) {
            return Ok(Scalar::Int(micros));
        }
        timestamp(micros.checked_add(span(&a[0])?))
    });
    table.add("timezone(interval,timestamp)", |_, a| {
        let micros = a[1].int();
        if ends(micros) {
            return Ok(Scalar::Int(micros));
        }
        timestamp(micros.checked_sub(span(&a[0])?))
    });
    table.add("date_trunc(text,timestamptz,text)", |t, a| {
        let micros = a[1].int();
        if ends(micros) {
            return Ok(Scalar::Int(micros));
        }
        let zone = Zone::of(a[2].str())?;
        let local = micros + zone.east_of_moment(micros)? * SECOND;
        let cut = super::fields::cut(a[0].str(), local, &t.arguments[1])?.int();
        let longer_than_hours = cut.rem_euclid(DAY) == 0 && super::fields::is_of_days(a[0].str());
        // Within a day the offset stays what it was.
        let east = match longer_than_hours {
            true => zone.east_of_local(cut)?,
            false => zone.east_of_moment(micros)?,
        };
        timestamp(cut.checked_sub(east * SECOND))
    });
}

/// An interval from UTC, to the second.
fn span(of: &Scalar<'_>) -> Result<i64> {
    let fields = finite(of.interval())?;
    if fields.months != 0 || fields.days != 0 {
        return Err(EvalError::text("interval time zone must not include months or days"));
    }
    Ok(fields.micros / SECOND * SECOND)
}

enum Zone {
    /// Seconds east of UTC.
    Fixed(i64),
    Named(TimeZone),
}

impl Zone {
    fn of(name: &str) -> Result<Self> {
        if let Some(east) = offset_of(name) {
            return Ok(Zone::Fixed(east));
        }
        let unknown = || EvalError::new(format!("time zone \"{name}\" not recognized"));
        // Signs of POSIX' own, which count westwards, are left alone.
        if !name.bytes().all(|byte| {
            byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'_' | b'-' | b'+' | b'0'..=b'9')
        }) || name.starts_with(['+', '-'])
        {
            return Err(unknown());
        }
        TimeZoneDatabase::bundled().get(name).map(Zone::Named).map_err(|_| unknown())
    }

    /// Seconds east of UTC at a moment.
    fn east_of_moment(&self, micros: i64) -> Result<i64> {
        let zone = match self {
            Zone::Fixed(east) => return Ok(*east),
            Zone::Named(zone) => zone,
        };
        let seconds = within(micros).div_euclid(SECOND) + EPOCH_SECONDS;
        let moment = Timestamp::from_second(seconds)
            .map_err(|_| EvalError::text("timestamp out of range"))?;
        Ok(zone.to_offset(moment).seconds().into())
    }

    /// The same of a local time. One that is left out counts as before the change, one that is there
    /// twice as after it.
    fn east_of_local(&self, micros: i64) -> Result<i64> {
        let zone = match self {
            Zone::Fixed(east) => return Ok(*east),
            Zone::Named(zone) => zone,
        };
        let seconds = within(micros).div_euclid(SECOND) + EPOCH_SECONDS;
        let local = Timestamp::from_second(seconds)
            .map(|moment| TimeZone::UTC.to_datetime(moment))
            .map_err(|_| EvalError::text("timestamp out of range"))?;
        let offset = match offset_at(zone, local) {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { before, .. } => before,
            AmbiguousOffset::Fold { after, .. } => after,
        };
        Ok(offset.seconds().into())
    }
}

fn offset_at(zone: &TimeZone, local: DateTime) -> AmbiguousOffset {
    zone.to_ambiguous_timestamp(local).offset()
}

/// The same time of a year that is known.
fn within(micros: i64) -> i64 {
    if micros < KNOWN_END {
        return micros;
    }
    let cycles = (micros - KNOWN_END) / CYCLE_MICROS + 1;
    micros - cycles * CYCLE_MICROS
}

/// Seconds east of UTC, of the names that have one offset alone.
pub(in super::super) fn offset_of(name: &str) -> Option<i64> {
    let name = name.to_ascii_lowercase();
    let known = ABBREVIATIONS.iter().find(|(known, _)| *known == name);
    known.map(|(_, minutes)| minutes * 60)
}
