//! Sums that can be taken back: what is added and subtracted again leaves nothing behind, in whatever
//! order, so that floats do not drift.

use num_bigint::{BigInt, Sign};

use crate::value::{Decimal, DecimalError, Interval, IntervalFields};

/// NaNs and infinities, which no sum can hold.
#[derive(Default)]
struct Special {
    nan: i64,
    infinity: i64,
    negative_infinity: i64,
}

impl Special {
    fn add(&mut self, value: f64, weight: i64) -> bool {
        match value {
            _ if value.is_nan() => self.nan += weight,
            f64::INFINITY => self.infinity += weight,
            f64::NEG_INFINITY => self.negative_infinity += weight,
            _ => return false,
        }
        true
    }

    fn sum(&self) -> Option<f64> {
        match (self.nan > 0, self.infinity > 0, self.negative_infinity > 0) {
            (false, false, false) => None,
            (false, true, false) => Some(f64::INFINITY),
            (false, false, true) => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }
}

/// Of numeric. The sum shows as many digits as the summand with the most of them that is still in it.
#[derive(Default)]
pub(super) struct NumericSum {
    special: Special,
    /// By scale: how many summands, and their sum.
    by_scale: Vec<(usize, i64, BigInt)>,
}

impl NumericSum {
    pub(super) fn add(&mut self, value: &Decimal, weight: i64) {
        if !value.is_finite() {
            self.special.add(value.to_f64(), weight);
            return;
        }
        let text = value.to_string();
        let (integer, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let scale = fraction.len();
        let digits = [integer, fraction].concat();
        let product = match digits.parse::<i64>() {
            Ok(small) => BigInt::from(i128::from(small) * i128::from(weight)),
            Err(_) => digits.parse::<BigInt>().unwrap_or_default() * weight,
        };
        let at = match self.by_scale.binary_search_by_key(&scale, |of| of.0) {
            Ok(at) => at,
            Err(at) => {
                self.by_scale.insert(at, (scale, 0, BigInt::default()));
                at
            }
        };
        let (_, count, sum) = &mut self.by_scale[at];
        *count += weight;
        *sum += product;
        if *count == 0 {
            self.by_scale.remove(at);
        }
    }

    pub(super) fn sum(&self) -> Result<Decimal, DecimalError> {
        if let Some(special) = self.special.sum() {
            return Ok(Decimal::of_f64(special));
        }
        let scale = self.by_scale.last().map_or(0, |last| last.0);
        let mut sum = BigInt::default();
        for (of, _, part) in &self.by_scale {
            let up = u32::try_from(scale - of).unwrap_or(u32::MAX);
            sum += part * BigInt::from(10).pow(up);
        }
        let digits = format!("{:0>width$}", sum.magnitude(), width = scale + 1);
        let (integer, fraction) = digits.split_at(digits.len() - scale);
        let point = if scale > 0 { "." } else { "" };
        let value = Decimal::parse(&format!("{integer}{point}{fraction}"));
        let value = value.ok_or(DecimalError::Overflow)?;
        Ok(if sum.sign() == Sign::Minus { value.negated() } else { value })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.by_scale.len() * 64
    }
}

/// Of floats: exact, as an integer times a power of two.
#[derive(Default)]
pub(super) struct FloatSum {
    special: Special,
    units: BigInt,
    /// Of a unit; the smallest that a summand needed.
    exponent: i32,
}

impl FloatSum {
    const MANTISSA_BITS: i32 = 52;
    const EXPONENT_MIN: i32 = -1074;

    pub(super) fn add(&mut self, value: f64, weight: i64) {
        if self.special.add(value, weight) || value == 0.0 {
            return;
        }
        let bits = value.to_bits();
        let biased = i32::try_from(bits >> Self::MANTISSA_BITS & 0x7FF).unwrap_or(0);
        let fraction = bits & ((1 << Self::MANTISSA_BITS) - 1);
        let (mantissa, exponent) = match biased {
            0 => (fraction, Self::EXPONENT_MIN),
            _ => (fraction | 1 << Self::MANTISSA_BITS, biased - 1 + Self::EXPONENT_MIN),
        };
        // Without its zero bits, that it asks for no smaller unit than it needs.
        let zeros = mantissa.trailing_zeros();
        let (mantissa, exponent) = (mantissa >> zeros, exponent + zeros.cast_signed());
        let signed = i128::from(mantissa) * if value < 0.0 { -1 } else { 1 };
        if self.units.sign() == Sign::NoSign {
            self.exponent = exponent;
        } else if exponent < self.exponent {
            self.units <<= self.exponent.abs_diff(exponent);
            self.exponent = exponent;
        }
        let units = BigInt::from(signed * i128::from(weight));
        self.units += units << exponent.abs_diff(self.exponent);
    }

    /// The nearest float; `None` where it is too large for one.
    pub(super) fn sum(&self) -> Option<f64> {
        if let Some(special) = self.special.sum() {
            return Some(special);
        }
        let magnitude = self.units.magnitude();
        let length = i32::try_from(magnitude.bits()).ok()?;
        if length == 0 {
            return Some(0.0);
        }
        let top = length - 1 + self.exponent;
        let mut unit = (top - Self::MANTISSA_BITS).max(Self::EXPONENT_MIN);
        let mut mantissa = match u32::try_from(unit - self.exponent) {
            Err(_) => u64::try_from(magnitude << self.exponent.abs_diff(unit)).ok()?,
            Ok(0) => u64::try_from(magnitude).ok()?,
            Ok(cut) => {
                let kept = u64::try_from(magnitude >> cut).ok()?;
                let half = magnitude.bit(u64::from(cut) - 1);
                let beyond = magnitude.trailing_zeros().is_some_and(|z| z < u64::from(cut) - 1);
                kept + u64::from(half && (beyond || kept & 1 == 1))
            }
        };
        if mantissa >> (Self::MANTISSA_BITS + 1) > 0 {
            mantissa >>= 1;
            unit += 1;
        }
        let normal = mantissa >> Self::MANTISSA_BITS > 0;
        let biased = if normal { unit - Self::EXPONENT_MIN + 1 } else { 0 };
        let fraction = mantissa & ((1 << Self::MANTISSA_BITS) - 1);
        let bits = u64::try_from(biased).ok()? << Self::MANTISSA_BITS | fraction;
        let value = f64::from_bits(bits);
        let value = if self.units.sign() == Sign::Minus { -value } else { value };
        (biased < 0x7FF).then_some(value)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.units.bits() as usize / 8
    }
}

/// Of interval, field by field as Postgres adds them.
#[derive(Default)]
pub(super) struct IntervalSum {
    special: Special,
    months: i64,
    days: i64,
    micros: i128,
}

impl IntervalSum {
    pub(super) fn add(&mut self, value: Interval, weight: i64) {
        match value {
            Interval::Infinity => drop(self.special.add(f64::INFINITY, weight)),
            Interval::NegativeInfinity => drop(self.special.add(f64::NEG_INFINITY, weight)),
            Interval::Finite(fields) => {
                self.months += i64::from(fields.months) * weight;
                self.days += i64::from(fields.days) * weight;
                self.micros += i128::from(fields.micros) * i128::from(weight);
            }
        }
    }

    /// `None` is out of range.
    pub(super) fn sum(&self) -> Option<Interval> {
        match self.special.sum() {
            None => Some(Interval::Finite(IntervalFields {
                months: self.months.try_into().ok()?,
                days: self.days.try_into().ok()?,
                micros: self.micros.try_into().ok()?,
            })),
            Some(f64::INFINITY) => Some(Interval::Infinity),
            Some(f64::NEG_INFINITY) => Some(Interval::NegativeInfinity),
            Some(_) => None,
        }
    }

    /// As `interval_div` does it: what is left of months becomes days, and of days time.
    pub(super) fn avg(&self, count: i64) -> Option<Interval> {
        const DAYS_OF_MONTH: f64 = 30.0;
        const SECONDS_OF_DAY: f64 = 86_400.0;
        const MICROS: f64 = 1_000_000.0;
        let rounded = |value: f64| (value * MICROS).round_ties_even() / MICROS;
        let Interval::Finite(IntervalFields { months, days, micros }) = self.sum()? else {
            return self.sum();
        };
        let factor = count as f64;
        let of_month = f64::from(months) / factor;
        let of_day = f64::from(days) / factor;
        let mut day = of_day.trunc();
        let more_days = rounded((of_month - of_month.trunc()) * DAYS_OF_MONTH);
        let part = of_day - day + more_days - more_days.trunc();
        let mut seconds = rounded(part * SECONDS_OF_DAY);
        if seconds.abs() >= SECONDS_OF_DAY {
            let whole = (seconds / SECONDS_OF_DAY).trunc();
            day += whole;
            seconds -= whole * SECONDS_OF_DAY;
        }
        day += more_days.trunc();
        let micros = (micros as f64 / factor + seconds * MICROS).round_ties_even();
        Some(Interval::Finite(IntervalFields {
            months: of_month.trunc() as i32,
            days: day as i32,
            micros: micros as i64,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn floats_leave_nothing_behind() {
        let mut sum = FloatSum::default();
        for value in [1e300, 1.0, f64::NAN, 5e-324, 1e16] {
            sum.add(value, 1);
        }
        assert!(sum.sum().is_some_and(f64::is_nan));
        for value in [f64::NAN, 1e300, 1e16] {
            sum.add(value, -1);
        }
        assert_eq!(sum.sum(), Some(1.0));
        sum.add(1.0, -1);
        assert_eq!(sum.sum(), Some(5e-324));
        for _ in 0..2 {
            sum.add(f64::MAX, 1);
        }
        assert_eq!(sum.sum(), None);
        sum.add(f64::MAX, -2);
        sum.add(5e-324, -1);
        assert_eq!(sum.sum(), Some(0.0));
    }

    #[test]
    fn the_scale_is_that_of_what_is_still_there() {
        let decimal = |text: &str| match text.strip_prefix('-') {
            Some(text) => Decimal::parse(text).expect("a number").negated(),
            None => Decimal::parse(text).expect("a number"),
        };
        let mut sum = NumericSum::default();
        sum.add(&decimal("1.5"), 2);
        sum.add(&decimal("-10.000"), 1);
        sum.add(&decimal("123456789012345678901234567890"), 1);
        assert_eq!(
            sum.sum().map(|d| d.to_string()),
            Ok("123456789012345678901234567883.000".into())
        );
        sum.add(&decimal("-10.000"), -1);
        sum.add(&decimal("123456789012345678901234567890"), -1);
        assert_eq!(sum.sum().map(|d| d.to_string()), Ok("3.0".into()));
    }

    proptest! {
        /// Two floats are added exactly as the processor does it.
        #[test]
        fn rounds_to_the_nearest(a in any::<f64>(), b in any::<f64>(), c in any::<f64>()) {
            let mut sum = FloatSum::default();
            for (value, weight) in [(a, 1), (c, 1), (b, 1), (c, -1)] {
                sum.add(value, weight);
            }
            match a + b {
                expected if expected.is_finite() => prop_assert_eq!(sum.sum(), Some(expected)),
                expected => {
                    let sum = sum.sum();
                    prop_assert!(sum.is_none() || sum.map(f64::to_bits) == Some(expected.to_bits())
                        || sum.is_some_and(f64::is_nan) && expected.is_nan());
                }
            }
        }
    }
}
