//! exp, ln and log of numeric, with as many digits as Postgres shows (numeric.c): those that it estimates to be
//! sixteen significant ones, and no fewer than the argument has.
//!
//! Postgres computes with eight digits more than it shows and rounds. Here there are more of them; both round to
//! the same digit but where those eight are all nines or zeros.

use num_bigint::{BigInt, BigUint, Sign};

use super::decimal::{Decimal, DecimalError};

type Result = std::result::Result<Decimal, DecimalError>;

/// NUMERIC_MIN_SIG_DIGITS, NUMERIC_MAX_DISPLAY_SCALE, NUMERIC_MAX_RESULT_SCALE.
const DIGITS_MIN: i64 = 16;
const SCALE_MAX: i64 = 1_000;
const RESULT_SCALE_MAX: f64 = 2_000.0;
/// Decimal digits beyond those that are shown.
const GUARD_DIGITS: i64 = 25;

/// So many of them are rounded to first: what lies between two digits but for less than that goes up, as there.
const ROUNDED_DIGITS: u32 = 12;

/// log10(e), as numeric.c writes it.
#[expect(clippy::approx_constant, reason = "the same number")]
const LOG10_E: f64 = 0.434294481903252;

impl Decimal {
    pub fn exp(&self) -> Result {
        let Some((negative, magnitude, scale)) = self.parts() else {
            return Ok(match self.is_nan() {
                true => Self::NAN,
                false if self.is_negative() => Self::of_int(0),
                false => self.clone(),
            });
        };
        let value = self.to_f64();
        let weight = whole((value * LOG10_E).clamp(-RESULT_SCALE_MAX, RESULT_SCALE_MAX));
        let shown = clamped(DIGITS_MIN - weight, &[scale]);
        if value.abs() >= RESULT_SCALE_MAX * 3.0 {
            return match negative {
                true => Ok(Self::of_big(false, BigUint::ZERO, shown)),
                false => Err(DecimalError::Overflow),
            };
        }
        let digits = whole(value.abs() * LOG10_E) + i64::from(shown) + GUARD_DIGITS;
        let bits = bits_of(digits);
        let x = fixed(&magnitude, scale, bits);
        let power = exponential(&x, bits);
        let power = match negative {
            true => (BigUint::from(1u8) << (2 * bits)) / power,
            false => power,
        };
        Self::of_fixed(false, &power, bits, shown)
    }

    pub fn ln(&self) -> Result {
        let (magnitude, scale) = match self.positive()? {
            Some(parts) => parts,
            None => return Ok(self.clone()),
        };
        let shown = clamped(DIGITS_MIN - self.logarithm_weight(), &[scale]);
        let bits = bits_of(i64::from(shown) + GUARD_DIGITS);
        let (negative, logarithm) = signed(logarithm(&magnitude, scale, bits));
        Self::of_fixed(negative, &logarithm, bits, shown)
    }

    /// The logarithm to this base.
    pub fn log(base: &Self, of: &Self) -> Result {
        if base.is_nan() || of.is_nan() {
            return Ok(Self::NAN);
        }
        for side in [base, of] {
            if side.is_negative() {
                return Err(DecimalError::LogarithmOfNegative);
            }
        }
        let (base_parts, of_parts) = (base.positive()?, of.positive()?);
        let (base_parts, of_parts) = match (base_parts, of_parts) {
            (Some(base), Some(of)) => (base, of),
            (None, None) => return Ok(Self::NAN),
            (None, Some(_)) => return Ok(Self::of_int(0)),
            (Some(_), None) => return Ok(Self::infinite(false)),
        };
        let weight = of.logarithm_weight() - base.logarithm_weight();
        let shown = clamped(DIGITS_MIN - weight, &[base_parts.1, of_parts.1]);
        let digits = i64::from(shown) + weight.abs() + base.logarithm_weight().abs();
        let bits = bits_of(digits + 2 * GUARD_DIGITS);
        let (of_negative, of) = signed(logarithm(&of_parts.0, of_parts.1, bits));
        let (base_negative, base) = signed(logarithm(&base_parts.0, base_parts.1, bits));
        if base == BigUint::ZERO {
            return Err(DecimalError::DivisionByZero);
        }
        let quotient = (of << bits) / base;
        Self::of_fixed(of_negative != base_negative, &quotient, bits, shown)
    }

    /// `None`: infinite, or NaN.
    fn positive(&self) -> std::result::Result<Option<(BigUint, u32)>, DecimalError> {
        match self.parts() {
            _ if self.is_negative() => Err(DecimalError::LogarithmOfNegative),
            Some((_, magnitude, _)) if magnitude == BigUint::ZERO => {
                Err(DecimalError::LogarithmOfZero)
            }
            parts => Ok(parts.map(|(_, magnitude, scale)| (magnitude, scale))),
        }
    }

    /// estimate_ln_dweight: of the natural logarithm, the weight of its first digit.
    fn logarithm_weight(&self) -> i64 {
        let near = |tenths| Self::of_scaled(tenths, 1);
        if *self >= near(9) && *self <= near(11) {
            // ln(1 + x) is about x.
            return match self.sub(&Self::of_int(1)) {
                Ok(rest) if !rest.is_zero() => {
                    let (weight, first) = rest.leading_group();
                    weight * 4 + whole((first as f64).log10())
                }
                _ => 0,
            };
        }
        let (weight, digits) = self.leading_groups();
        let logarithm = (digits as f64).ln() + ((weight - 1) * 4) as f64 * std::f64::consts::LN_10;
        whole(logarithm.abs().log10())
    }

    fn of_fixed(negative: bool, value: &BigUint, bits: u64, shown: u32) -> Result {
        let guarded = value * BigUint::from(10u8).pow(shown + ROUNDED_DIGITS);
        let guarded = (guarded + (BigUint::from(1u8) << (bits - 1))) >> bits;
        let unit = BigUint::from(10u8).pow(ROUNDED_DIGITS);
        Self::of_big(negative, (guarded + &unit / 2u8) / unit, shown).checked()
    }
}

/// Towards zero, as a cast in C.
#[expect(clippy::cast_possible_truncation, reason = "it is a number of digits")]
fn whole(value: f64) -> i64 {
    value as i64
}

fn clamped(digits: i64, shown: &[u32]) -> u32 {
    let digits = shown.iter().fold(digits, |digits, of| digits.max((*of).into()));
    u32::try_from(digits.clamp(0, SCALE_MAX)).unwrap_or(0)
}

fn bits_of(digits: i64) -> u64 {
    // log2(10) is less than 3.33.
    u64::try_from(digits.max(1)).unwrap_or(1) * 333 / 100 + 64
}

fn signed(value: BigInt) -> (bool, BigUint) {
    (value.sign() == Sign::Minus, value.into_parts().1)
}

// --- Fixed point: integers that count in 2^-bits -----------------------------------------------------

fn fixed(magnitude: &BigUint, scale: u32, bits: u64) -> BigUint {
    (magnitude << bits) / BigUint::from(10u8).pow(scale)
}

/// e^x of x that is not negative, and below e^6000.
fn exponential(x: &BigUint, bits: u64) -> BigUint {
    const HALVINGS_MORE: u64 = 8;
    // x / 2^halvings is small, and the squares that undo it lose a bit each.
    let halvings = x.bits().saturating_sub(bits) + HALVINGS_MORE;
    let more = 2 * halvings + 32;
    let bits_here = bits + more;
    let small = (x << more) >> halvings;
    let one = BigUint::from(1u8) << bits_here;
    let (mut sum, mut term, mut n) = (one.clone(), one, 0u32);
    while term != BigUint::ZERO {
        n += 1;
        term = ((term * &small) >> bits_here) / n;
        sum += &term;
    }
    for _ in 0..halvings {
        sum = (&sum * &sum) >> bits_here;
    }
    sum >> more
}

/// ln of magnitude / 10^scale.
fn logarithm(magnitude: &BigUint, scale: u32, bits: u64) -> BigInt {
    let bits = bits + 64;
    let divisor = BigUint::from(10u8).pow(scale);
    // The value is m * 2^power, m between 1/2 and 2.
    let power = i64::try_from(magnitude.bits()).unwrap_or(i64::MAX)
        - i64::try_from(divisor.bits()).unwrap_or(i64::MAX);
    let up = |by: i64| u64::try_from(by).unwrap_or(0);
    let m = (magnitude << (bits + up(-power))) / (divisor << up(power));
    let one = BigUint::from(1u8) << bits;
    let (m, one) = (BigInt::from(m), BigInt::from(one));
    // ln m = 2 atanh((m - 1) / (m + 1))
    let z = ((&m - &one) << bits) / (&m + &one);
    let of_m = inverse_tangent(&z, bits) << 1u8;
    let whole = match power {
        0 => BigInt::ZERO,
        // ln 2 = 18 atanh(1/26) - 2 atanh(1/4801) + 8 atanh(1/8749)
        _ => {
            let part = |of: u32| inverse_tangent(&(&one / of), bits);
            (part(26) * 18 - part(4_801) * 2 + part(8_749) * 8) * power
        }
    };
    (of_m + whole) >> 64u8
}

/// The hyperbolic one, of z between -1/3 and 1/3.
fn inverse_tangent(z: &BigInt, bits: u64) -> BigInt {
    let square = (z * z) >> bits;
    let (mut sum, mut power, mut n) = (z.clone(), z.clone(), 1u32);
    // Shifted down a negative number never becomes zero, but -1.
    while power.magnitude().bits() > 1 {
        power = (power * &square) >> bits;
        n += 2;
        sum += &power / n;
    }
    sum
}
