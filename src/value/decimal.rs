//! Arithmetic on numeric, digit for digit as Postgres does it: a value is an integer times 10^-scale,
//! and the scale of each result is Postgres' own (numeric.c), for it is what division rounds to.
//!
//! Up to 38 digits are one machine integer and cost no allocation; more of them, which Postgres allows,
//! are a big one.

use std::cmp::Ordering;
use std::fmt;
use std::io::Write as _;

use num_bigint::BigUint;

use super::numeric::{self, INTEGER_DIGITS_MAX, Parts, SCALE_MAX};
use super::time::SECOND;

/// What a quotient shows at least, and at most (NUMERIC_MIN_SIG_DIGITS, NUMERIC_MAX_DISPLAY_SCALE).
const QUOTIENT_DIGITS_MIN: i64 = 16;
const QUOTIENT_SCALE_MAX: i64 = 1_000;
/// Decimal digits in one of Postgres' own digits, by which it estimates a quotient's size.
const GROUP: i64 = 4;
/// The powers of ten that are machine integers.
const SMALL_POWER_MAX: u32 = 38;

/// A numeric value.
#[derive(Clone, Debug)]
pub struct Decimal(Repr);

#[derive(Clone, Debug)]
enum Repr {
    NaN,
    Infinite { negative: bool },
    Finite(Finite),
}

use Repr::{Finite as F, Infinite, NaN};

/// Zero is not negative.
#[derive(Clone, Debug)]
struct Finite {
    negative: bool,
    magnitude: Magnitude,
    scale: usize,
}

/// Big only when it does not fit into the small one.
#[derive(Clone, Debug)]
enum Magnitude {
    Small(u128),
    Big(Box<BigUint>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    #[error("division by zero")]
    DivisionByZero,
    #[error("value overflows numeric format")]
    Overflow,
    #[error("numeric field overflow")]
    FieldOverflow,
    #[error("cannot take square root of a negative number")]
    RootOfNegative,
    #[error("cannot take logarithm of a negative number")]
    LogarithmOfNegative,
    #[error("cannot take logarithm of zero")]
    LogarithmOfZero,
}

type Result = std::result::Result<Decimal, DecimalError>;

impl Decimal {
    pub const NAN: Self = Self(NaN);
    const ZERO: Self =
        Self(F(Finite { negative: false, magnitude: Magnitude::Small(0), scale: 0 }));

    /// The value of a datum that is not NULL.
    pub fn of_datum(datum: &[u8]) -> Option<Self> {
        let finite = match numeric::decode(datum)? {
            Parts::NaN => return Some(Self::NAN),
            Parts::Infinity => return Some(Self::infinite(false)),
            Parts::NegativeInfinity => return Some(Self::infinite(true)),
            Parts::Finite(finite) => finite,
        };
        let scale = finite.scale;
        let pairs = finite.pairs.iter().map(|&byte| numeric::pair_of(byte, finite.negative));
        let magnitude = if finite.pairs.len() <= SMALL_POWER_MAX as usize / 2 {
            Magnitude::Small(pairs.fold(0, |number, pair| number * 100 + u128::from(pair)))
        } else {
            let digits: Vec<u8> = pairs.collect();
            Magnitude::of_big(BigUint::from_radix_be(&digits, 100)?)
        };
        // The pairs count in units of 100^(exponent - pairs), the magnitude in units of 10^-scale.
        let shift = 2 * (i64::from(finite.exponent) - i64::try_from(finite.pairs.len()).ok()?)
            + i64::try_from(scale).ok()?;
        let magnitude = match u32::try_from(shift) {
            Ok(up) => magnitude.times_power(up),
            // The zero that fills the last pair.
            Err(_) => magnitude.divide(&Magnitude::power(u32::try_from(-shift).ok()?)).0,
        };
        Some(Self(F(Finite { negative: finite.negative, magnitude, scale })))
    }

    /// Appends the datum.
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Option<()> {
        if let F(Finite { negative, magnitude: Magnitude::Small(magnitude), scale }) = &self.0 {
            let mut buffer = itoa::Buffer::new();
            let digits = buffer.format(*magnitude).as_bytes();
            if let Some(point) = digits.len().checked_sub(*scale).filter(|point| *point > 0) {
                let (integer, fraction) = digits.split_at_checked(point)?;
                return numeric::put_digits(integer, fraction, *negative, out);
            }
        }
        numeric::encode(self.to_string().as_bytes(), out)
    }

    pub fn of_int(value: i64) -> Self {
        Self::of_scaled(value.into(), 0)
    }

    /// Microseconds as seconds with six digits after the point.
    pub(super) fn of_micros(micros: i128) -> Self {
        debug_assert_eq!(SECOND, 1_000_000);
        Self::of_scaled(micros, 6)
    }

    /// An integer times 10^-scale.
    pub fn of_scaled(value: i128, scale: usize) -> Self {
        let magnitude = Magnitude::Small(value.unsigned_abs());
        Self(F(Finite { negative: value < 0, magnitude, scale }))
    }

    pub fn infinite(negative: bool) -> Self {
        Self(Infinite { negative })
    }

    /// As a cast does: the 15 digits that double precision holds for sure.
    pub fn of_f64(value: f64) -> Self {
        Self::of_float(value, 15)
    }

    /// As a cast does: the 6 digits that real holds for sure.
    pub fn of_f32(value: f32) -> Self {
        Self::of_float(value.into(), 6)
    }

    fn of_float(value: f64, digits: usize) -> Self {
        if value.is_nan() {
            return Self::NAN;
        }
        if value.is_infinite() {
            return Self::infinite(value < 0.0);
        }
        let mut text = std::io::Cursor::new([0u8; 32]);
        let written = write!(text, "{:.*e}", digits - 1, value.abs());
        let len = usize::try_from(text.position()).unwrap_or(0);
        let text = text.get_ref().get(..len).unwrap_or_default();
        let parsed = Self::parse_digits(text, true).filter(|_| written.is_ok());
        let Some(Self(F(finite))) = parsed else { return Self::NAN };
        Self(F(Finite { negative: value < 0.0 && !finite.magnitude.is_zero(), ..finite }))
    }

    /// A literal without a sign: `12`, `1.50`, `.5`, `1e-3`. `None` for what is none or is out of range.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_digits(text.as_bytes(), false)
    }

    /// With `trimmed`, zeros at the end of the fraction are not kept.
    fn parse_digits(text: &[u8], trimmed: bool) -> Option<Self> {
        let exponent_at = text.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let (digits, exponent) = match exponent_at {
            Some(at) => {
                (text.get(..at)?, std::str::from_utf8(text.get(at + 1..)?).ok()?.parse().ok()?)
            }
            None => (text, 0i64),
        };
        let point = digits.iter().position(|&byte| byte == b'.');
        let (integer, fraction) = match point {
            Some(point) => (digits.get(..point)?, digits.get(point + 1..)?),
            None => (digits, &[][..]),
        };
        let kept = match trimmed {
            true => fraction.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1),
            false => fraction.len(),
        };
        let fraction = fraction.get(..kept)?;
        if integer.len() + fraction.len() == 0
            || !integer.iter().chain(fraction).all(u8::is_ascii_digit)
            || integer.len() + fraction.len() > INTEGER_DIGITS_MAX + SCALE_MAX
        {
            return None;
        }
        let values: Vec<u8> = integer.iter().chain(fraction).map(|digit| digit - b'0').collect();
        let magnitude = Magnitude::of_big(BigUint::from_radix_be(&values, 10)?);
        let scale = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        let finite = match usize::try_from(scale) {
            Ok(scale) if scale > SCALE_MAX => return None,
            Ok(scale) => Finite { negative: false, magnitude, scale },
            Err(_) => {
                let up = u32::try_from(-scale).ok()?;
                if up as usize > INTEGER_DIGITS_MAX && !magnitude.is_zero() {
                    return None;
                }
                let magnitude =
                    if magnitude.is_zero() { magnitude } else { magnitude.times_power(up) };
                Finite { negative: false, magnitude, scale: 0 }
            }
        };
        finite.checked().ok()
    }

    pub fn negated(self) -> Self {
        match self.0 {
            NaN => self,
            Infinite { negative } => Self::infinite(!negative),
            F(finite) => {
                let negative = !finite.negative && !finite.magnitude.is_zero();
                Self(F(Finite { negative, ..finite }))
            }
        }
    }

    pub fn abs(self) -> Self {
        if self.is_negative() { self.negated() } else { self }
    }

    pub(super) fn is_negative(&self) -> bool {
        match &self.0 {
            NaN => false,
            Infinite { negative } => *negative,
            F(finite) => finite.negative,
        }
    }

    /// Sign, digits and scale; `None` for NaN and the infinities.
    pub(super) fn parts(&self) -> Option<(bool, BigUint, u32)> {
        let F(finite) = &self.0 else { return None };
        Some((finite.negative, finite.magnitude.to_big(), u32::try_from(finite.scale).ok()?))
    }

    pub(super) fn of_big(negative: bool, magnitude: BigUint, scale: u32) -> Self {
        let magnitude = Magnitude::of_big(magnitude);
        Self(F(Finite { negative, magnitude, scale: scale as usize }))
    }

    /// In the range of numeric.
    pub(super) fn checked(self) -> Result {
        match self.0 {
            F(finite) => finite.checked(),
            _ => Ok(self),
        }
    }

    /// Weight and value of the first of Postgres' digits.
    pub(super) fn leading_group(&self) -> (i64, u128) {
        match &self.0 {
            F(finite) => finite.leading_group(),
            _ => (0, 0),
        }
    }

    /// The weight of the first of Postgres' digits, and the first two as one number.
    pub(super) fn leading_groups(&self) -> (i64, u128) {
        match &self.0 {
            F(finite) => finite.leading(2),
            _ => (0, 0),
        }
    }

    pub fn is_zero(&self) -> bool {
        matches!(&self.0, F(finite) if finite.magnitude.is_zero())
    }

    pub fn add(&self, other: &Self) -> Result {
        match (&self.0, &other.0) {
            (NaN, _) | (_, NaN) => Ok(Self::NAN),
            (Infinite { negative: a }, Infinite { negative: b }) if a != b => Ok(Self::NAN),
            (Infinite { negative }, _) | (_, Infinite { negative }) => {
                Ok(Self::infinite(*negative))
            }
            (F(a), F(b)) => {
                let (x, y, scale) = aligned(a, b);
                let (negative, magnitude) = if a.negative == b.negative {
                    (a.negative, x.plus(&y))
                } else {
                    match x.cmp(&y) {
                        Ordering::Less => (b.negative, y.minus(&x)),
                        Ordering::Equal => (false, Magnitude::Small(0)),
                        Ordering::Greater => (a.negative, x.minus(&y)),
                    }
                };
                Finite { negative, magnitude, scale }.checked()
            }
        }
    }

    pub fn sub(&self, other: &Self) -> Result {
        self.add(&other.clone().negated())
    }

    pub fn mul(&self, other: &Self) -> Result {
        match (&self.0, &other.0) {
            (NaN, _) | (_, NaN) => Ok(Self::NAN),
            (F(a), F(b)) => {
                let negative = a.negative != b.negative;
                let magnitude = a.magnitude.times(&b.magnitude);
                Finite { negative, magnitude, scale: a.scale + b.scale }
                    .rounded(SCALE_MAX)
                    .checked()
            }
            _ if self.is_zero() || other.is_zero() => Ok(Self::NAN),
            _ => Ok(Self::infinite(self.is_negative() != other.is_negative())),
        }
    }

    pub fn div(&self, other: &Self) -> Result {
        match (&self.0, &other.0) {
            (NaN, _) | (_, NaN) => Ok(Self::NAN),
            (Infinite { .. }, Infinite { .. }) => Ok(Self::NAN),
            _ if other.is_zero() => Err(DecimalError::DivisionByZero),
            (Infinite { negative }, F(b)) => Ok(Self::infinite(*negative != b.negative)),
            (F(_), Infinite { .. }) => Ok(Self::ZERO),
            (F(a), F(b)) => {
                let scale = quotient_scale(a, b);
                // a / b * 10^scale, of which the integer part is rounded by the remainder.
                let up = |more: usize, less: usize| {
                    u32::try_from(more.saturating_sub(less)).unwrap_or(u32::MAX)
                };
                let dividend = a.magnitude.times_power(up(scale + b.scale, a.scale));
                let divisor = b.magnitude.times_power(up(a.scale, scale + b.scale));
                let magnitude = dividend.divide_rounded(&divisor);
                Finite { negative: a.negative != b.negative, magnitude, scale }.checked()
            }
        }
    }

    /// What is left of a division that is cut at the point; it has the dividend's sign.
    pub fn rem(&self, other: &Self) -> Result {
        match (&self.0, &other.0) {
            (NaN, _) | (_, NaN) => Ok(Self::NAN),
            _ if other.is_zero() => Err(DecimalError::DivisionByZero),
            (Infinite { .. }, _) => Ok(Self::NAN),
            (F(_), Infinite { .. }) => Ok(self.clone()),
            (F(a), F(b)) => {
                let (x, y, scale) = aligned(a, b);
                Finite { negative: a.negative, magnitude: x.divide(&y).1, scale }.checked()
            }
        }
    }

    /// As a cast to `numeric(precision, scale)`; a negative scale rounds before the point.
    pub fn fit(self, precision: i64, scale: i64) -> Result {
        if matches!(self.0, Infinite { .. }) {
            return Err(DecimalError::FieldOverflow);
        }
        let rounded = self.round(scale)?;
        if let F(finite) = &rounded.0 {
            let below_point = i64::try_from(finite.scale).unwrap_or(i64::MAX);
            let before_point = i64::try_from(finite.magnitude.digits()).unwrap_or(0) - below_point;
            if !finite.magnitude.is_zero() && before_point > precision - scale {
                return Err(DecimalError::FieldOverflow);
            }
        }
        Ok(rounded)
    }

    /// The quotient, cut at the point.
    pub fn div_whole(&self, other: &Self) -> Result {
        match (&self.0, &other.0) {
            (F(a), F(b)) if !other.is_zero() => {
                let (x, y, _) = aligned(a, b);
                let magnitude = x.divide(&y).0;
                Finite { negative: a.negative != b.negative, magnitude, scale: 0 }.checked()
            }
            _ => self.div(other),
        }
    }

    pub fn sign(&self) -> Self {
        match &self.0 {
            NaN => Self::NAN,
            _ if self.is_zero() => Self::ZERO,
            _ if self.is_negative() => Self::of_int(-1),
            _ => Self::of_int(1),
        }
    }

    /// With so many digits after the point, halves away from zero; a negative number of them rounds
    /// before the point.
    pub fn round(&self, digits: i64) -> Result {
        self.with_digits(digits, Magnitude::divide_rounded)
    }

    /// With so many digits after the point, the others cut off.
    pub fn truncated(&self, digits: i64) -> Result {
        self.with_digits(digits, |magnitude, by| magnitude.divide(by).0)
    }

    fn with_digits(
        &self,
        digits: i64,
        divide: impl Fn(&Magnitude, &Magnitude) -> Magnitude,
    ) -> Result {
        let F(finite) = &self.0 else { return Ok(self.clone()) };
        let most = i64::try_from(SCALE_MAX).unwrap_or(i64::MAX);
        // Before its first digit nothing is left but zero.
        let before_point = i64::try_from(finite.magnitude.digits()).unwrap_or(most)
            - i64::try_from(finite.scale).unwrap_or(most);
        let digits = digits.clamp(-before_point.max(0) - 1, most);
        let scale = usize::try_from(digits).unwrap_or(0);
        let shown = i64::try_from(finite.scale).unwrap_or(i64::MAX);
        let power = |number: i64| u32::try_from(number).unwrap_or(0);
        let magnitude = if digits >= shown {
            finite.magnitude.times_power(power(digits - shown))
        } else {
            let kept = divide(&finite.magnitude, &Magnitude::power(power(shown - digits)));
            kept.times_power(power(-digits))
        };
        Finite { negative: finite.negative, magnitude, scale }.checked()
    }

    pub fn ceil(&self) -> Result {
        let cut = self.truncated(0)?;
        if cut < *self { cut.add(&Self::of_int(1)) } else { Ok(cut) }
    }

    pub fn floor(&self) -> Result {
        let cut = self.truncated(0)?;
        if cut > *self { cut.sub(&Self::of_int(1)) } else { Ok(cut) }
    }

    /// With at least 16 significant digits, and no fewer after the point than it has.
    pub fn sqrt(&self) -> Result {
        self.root(|finite| finite.root_scale())
    }

    /// With as many digits after the point as it has.
    pub fn root_at_own_scale(&self) -> Result {
        self.root(|finite| finite.scale)
    }

    fn root(&self, scale: impl FnOnce(&Finite) -> usize) -> Result {
        let finite = match &self.0 {
            F(finite) => finite,
            Infinite { negative: true } => return Err(DecimalError::RootOfNegative),
            _ => return Ok(self.clone()),
        };
        if finite.negative {
            return Err(DecimalError::RootOfNegative);
        }
        let scale = scale(finite);
        // The root of the value times 100^scale, rounded to the nearest integer.
        let power = u32::try_from(2 * scale).unwrap_or(0);
        let down = u32::try_from(finite.scale).unwrap_or(0);
        let (square, _) = finite.magnitude.times_power(power).divide(&Magnitude::power(down));
        let square = square.to_big();
        let mut root = square.sqrt();
        if &square - &root * &root > root {
            root += 1u32;
        }
        Finite { negative: false, magnitude: Magnitude::of_big(root), scale }.checked()
    }

    /// How many digits it shows after the point; none for NaN and the infinities.
    pub fn scale(&self) -> Option<i64> {
        match &self.0 {
            F(finite) => i64::try_from(finite.scale).ok(),
            _ => None,
        }
    }

    /// Without zeros at the end of the fraction.
    pub fn trimmed(&self) -> Self {
        let F(finite) = &self.0 else { return self.clone() };
        if finite.magnitude.is_zero() {
            return Self::ZERO;
        }
        let mut finite = finite.clone();
        while finite.scale > 0 {
            let (cut, rest) = finite.magnitude.divide(&Magnitude::Small(10));
            if !rest.is_zero() {
                break;
            }
            finite.magnitude = cut;
            finite.scale -= 1;
        }
        Self(F(finite))
    }

    pub fn is_nan(&self) -> bool {
        matches!(self.0, NaN)
    }

    /// Rounded, halves away from zero; `None` for what has no such integer.
    pub fn to_i64(&self) -> Option<i64> {
        let F(finite) = &self.0 else { return None };
        let Finite { negative, magnitude, .. } = finite.clone().rounded(0);
        let Magnitude::Small(magnitude) = magnitude else { return None };
        let magnitude = i128::try_from(magnitude).ok()?;
        i64::try_from(if negative { -magnitude } else { magnitude }).ok()
    }

    /// The nearest number; infinite where it is too large, zero where it is too small.
    pub fn to_f64(&self) -> f64 {
        /// Integers and powers of ten up to these are exact, so that their quotient is the nearest.
        const EXACT_MAX: u128 = 1 << f64::MANTISSA_DIGITS;
        const EXACT_POWERS: [f64; 23] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
            1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
        ];
        match &self.0 {
            NaN => f64::NAN,
            Infinite { negative } => {
                if *negative {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                }
            }
            F(finite) => match (&finite.magnitude, EXACT_POWERS.get(finite.scale)) {
                (Magnitude::Small(magnitude @ ..=EXACT_MAX), Some(power)) => {
                    let value = *magnitude as f64 / power;
                    if finite.negative { -value } else { value }
                }
                _ => finite.parse_as(f64::NAN),
            },
        }
    }

    pub fn to_f32(&self) -> f32 {
        match &self.0 {
            NaN => f32::NAN,
            Infinite { negative } => {
                if *negative {
                    f32::NEG_INFINITY
                } else {
                    f32::INFINITY
                }
            }
            F(finite) => finite.parse_as(f32::NAN),
        }
    }

    pub fn is_finite(&self) -> bool {
        matches!(self.0, F(_))
    }
}

/// As Postgres orders them: NaN is equal to itself and above all else.
impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |value: &Self| match value.0 {
            Infinite { negative: true } => 0,
            F(_) => 1,
            Infinite { negative: false } => 2,
            NaN => 3,
        };
        match (&self.0, &other.0) {
            (F(a), F(b)) if a.negative != b.negative => b.negative.cmp(&a.negative),
            (F(a), F(b)) => {
                let (x, y, _) = aligned(a, b);
                if a.negative { y.cmp(&x) } else { x.cmp(&y) }
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

/// As Postgres prints it.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finite = match &self.0 {
            NaN => return f.write_str("NaN"),
            Infinite { negative: false } => return f.write_str("Infinity"),
            Infinite { negative: true } => return f.write_str("-Infinity"),
            F(finite) => finite,
        };
        let digits = match &finite.magnitude {
            Magnitude::Small(small) => small.to_string(),
            Magnitude::Big(big) => big.to_string(),
        };
        let digits = format!("{digits:0>width$}", width = finite.scale + 1);
        let (integer, fraction) =
            digits.split_at_checked(digits.len() - finite.scale).unwrap_or((&digits, ""));
        let sign = if finite.negative { "-" } else { "" };
        let point = if finite.scale > 0 { "." } else { "" };
        write!(f, "{sign}{integer}{point}{fraction}")
    }
}

impl Finite {
    /// The scale that the root of the value is shown with.
    fn root_scale(&self) -> usize {
        let weight = self.leading_group().0 * GROUP;
        let before_point = if weight >= 0 { weight / 2 + 1 } else { 1 - (1 - weight) / 2 };
        let shown = i64::try_from(self.scale).unwrap_or(QUOTIENT_SCALE_MAX);
        let scale = (QUOTIENT_DIGITS_MIN - before_point).max(shown).clamp(0, QUOTIENT_SCALE_MAX);
        usize::try_from(scale).unwrap_or(0)
    }

    fn checked(self) -> Result {
        if self.magnitude.digits() > self.scale + INTEGER_DIGITS_MAX {
            return Err(DecimalError::Overflow);
        }
        let negative = self.negative && !self.magnitude.is_zero();
        Ok(Decimal(F(Finite { negative, ..self })))
    }

    /// With at most so many digits after the point; halves go away from zero.
    fn rounded(self, scale: usize) -> Self {
        if self.scale <= scale {
            return self;
        }
        let down = u32::try_from(self.scale - scale).unwrap_or(u32::MAX);
        let magnitude = self.magnitude.divide_rounded(&Magnitude::power(down));
        Self { magnitude, scale, ..self }
    }

    /// Reads it from its digits, as Postgres does.
    fn parse_as<T: std::str::FromStr>(&self, otherwise: T) -> T {
        let sign = if self.negative { "-" } else { "" };
        let scale = self.scale;
        let parse = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
        let parsed = match &self.magnitude {
            Magnitude::Small(small) => {
                let mut text = std::io::Cursor::new([0u8; 64]);
                let written = write!(text, "{sign}{small}e-{scale}");
                let len = usize::try_from(text.position()).unwrap_or(0);
                text.get_ref().get(..len).filter(|_| written.is_ok()).and_then(parse)
            }
            Magnitude::Big(big) => parse(format!("{sign}{big}e-{scale}").as_bytes()),
        };
        parsed.unwrap_or(otherwise)
    }

    /// Weight and value of the first of Postgres' digits, which hold four decimal ones each.
    fn leading_group(&self) -> (i64, u128) {
        self.leading(1)
    }

    /// The weight of the first one, and so many of them as one number.
    fn leading(&self, groups: i64) -> (i64, u128) {
        if self.magnitude.is_zero() {
            return (0, 0);
        }
        let digits = self.magnitude.digits();
        let top = i64::try_from(digits).unwrap_or(0) - i64::try_from(self.scale).unwrap_or(0) - 1;
        let wanted = top.rem_euclid(GROUP) + 1 + (groups - 1) * GROUP;
        let wanted = usize::try_from(wanted).unwrap_or(1);
        let down = u32::try_from(digits.saturating_sub(wanted)).unwrap_or(u32::MAX);
        let up = u32::try_from(wanted.saturating_sub(digits)).unwrap_or(0);
        let leading = self.magnitude.divide(&Magnitude::power(down)).0.times_power(up);
        let Magnitude::Small(leading) = leading else { unreachable!("at most eight digits") };
        (top.div_euclid(GROUP), leading)
    }
}

/// As select_div_scale does: from an estimate of the quotient's size, enough digits for 16 significant
/// ones, and no fewer than either operand shows.
fn quotient_scale(a: &Finite, b: &Finite) -> usize {
    let ((weight_a, first_a), (weight_b, first_b)) = (a.leading_group(), b.leading_group());
    let weight = weight_a - weight_b - i64::from(first_a <= first_b);
    let shown = |of: &Finite| i64::try_from(of.scale).unwrap_or(QUOTIENT_SCALE_MAX);
    let scale = (QUOTIENT_DIGITS_MIN - weight * GROUP).max(shown(a)).max(shown(b));
    usize::try_from(scale.clamp(0, QUOTIENT_SCALE_MAX)).unwrap_or(0)
}

/// Both magnitudes in units of the smaller one of the two.
fn aligned(a: &Finite, b: &Finite) -> (Magnitude, Magnitude, usize) {
    let scale = a.scale.max(b.scale);
    let up =
        |of: &Finite| of.magnitude.times_power(u32::try_from(scale - of.scale).unwrap_or(u32::MAX));
    (up(a), up(b), scale)
}

impl Magnitude {
    fn of_big(big: BigUint) -> Self {
        match u128::try_from(&big) {
            Ok(small) => Self::Small(small),
            Err(_) => Self::Big(Box::new(big)),
        }
    }

    fn to_big(&self) -> BigUint {
        match self {
            Self::Small(small) => BigUint::from(*small),
            Self::Big(big) => (**big).clone(),
        }
    }

    fn power(of_ten: u32) -> Self {
        match of_ten {
            ..=SMALL_POWER_MAX => Self::Small(10u128.pow(of_ten)),
            _ => Self::Big(Box::new(BigUint::from(10u32).pow(of_ten))),
        }
    }

    fn is_zero(&self) -> bool {
        matches!(self, Self::Small(0))
    }

    /// How many decimal digits it has; none for zero.
    fn digits(&self) -> usize {
        match self {
            Self::Small(0) => 0,
            Self::Small(small) => small.ilog10() as usize + 1,
            Self::Big(big) => {
                // log10(2) from below, so the estimate is right or one or two too small.
                let mut digits = big.bits().saturating_sub(1) * 30_102 / 100_000;
                let power = |of_ten: u64| {
                    BigUint::from(10u32).pow(u32::try_from(of_ten).unwrap_or(u32::MAX))
                };
                let mut next = power(digits);
                while next <= **big {
                    next *= 10u32;
                    digits += 1;
                }
                usize::try_from(digits).unwrap_or(usize::MAX)
            }
        }
    }

    fn plus(&self, other: &Self) -> Self {
        if let (Self::Small(a), Self::Small(b)) = (self, other)
            && let Some(sum) = a.checked_add(*b)
        {
            return Self::Small(sum);
        }
        Self::of_big(self.to_big() + other.to_big())
    }

    /// Of a smaller or equal one.
    fn minus(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Small(a), Self::Small(b)) => Self::Small(a - b),
            _ => Self::of_big(self.to_big() - other.to_big()),
        }
    }

    fn times(&self, other: &Self) -> Self {
        if let (Self::Small(a), Self::Small(b)) = (self, other)
            && let Some(product) = a.checked_mul(*b)
        {
            return Self::Small(product);
        }
        Self::of_big(self.to_big() * other.to_big())
    }

    fn times_power(&self, of_ten: u32) -> Self {
        match of_ten {
            0 => self.clone(),
            _ if self.is_zero() => Self::Small(0),
            _ => self.times(&Self::power(of_ten)),
        }
    }

    /// Quotient and remainder; by zero nothing is left.
    fn divide(&self, by: &Self) -> (Self, Self) {
        match (self, by) {
            (_, Self::Small(0)) => (Self::Small(0), Self::Small(0)),
            (Self::Small(a), Self::Small(b)) => (Self::Small(a / b), Self::Small(a % b)),
            _ => {
                let (a, b) = (self.to_big(), by.to_big());
                let quotient = &a / &b;
                let remainder = a - &quotient * b;
                (Self::of_big(quotient), Self::of_big(remainder))
            }
        }
    }

    fn divide_rounded(&self, by: &Self) -> Self {
        let (quotient, remainder) = self.divide(by);
        match remainder.cmp(&by.minus(&remainder)) {
            Ordering::Less => quotient,
            Ordering::Equal | Ordering::Greater => quotient.plus(&Self::Small(1)),
        }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Small(a), Self::Small(b)) => a.cmp(b),
            (Self::Small(_), Self::Big(_)) => Ordering::Less,
            (Self::Big(_), Self::Small(_)) => Ordering::Greater,
            (Self::Big(a), Self::Big(b)) => a.cmp(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        let mut datum = Vec::new();
        numeric::encode(text.as_bytes(), &mut datum).unwrap_or_else(|| panic!("{text}"));
        Decimal::of_datum(&datum).unwrap()
    }

    /// As PostgreSQL 15 answers.
    #[test]
    fn results_have_the_digits_that_postgres_shows() {
        let (nines, tiny) = ("9".repeat(60), format!("0.{}1", "0".repeat(60)));
        for (a, op, b, expected) in [
            ("1", '/', "3", "0.33333333333333333333"),
            ("2", '/', "3", "0.66666666666666666667"),
            ("10000", '/', "3", "3333.3333333333333333"),
            ("1.10", '+', "2.205", "3.305"),
            ("1.10", '-', "1.1", "0.00"),
            ("1.10", '*', "-2.20", "-2.4200"),
            ("-7.5", '%', "2", "-1.5"),
            ("7.5", '%', "-2.00", "1.50"),
            ("0", '/', "5", "0.00000000000000000000"),
            ("Infinity", '-', "Infinity", "NaN"),
            ("Infinity", '*', "0", "NaN"),
            ("Infinity", '/', "-2", "-Infinity"),
            ("5", '/', "Infinity", "0"),
            ("5", '%', "Infinity", "5"),
            ("NaN", '/', "0", "NaN"),
            (&nines, '+', "1", &format!("1{}", "0".repeat(60))),
            (&tiny, '*', "10", &tiny.replace("01", "10")),
        ] {
            let (x, y) = (decimal(a), decimal(b));
            let result = match op {
                '+' => x.add(&y),
                '-' => x.sub(&y),
                '*' => x.mul(&y),
                '/' => x.div(&y),
                _ => x.rem(&y),
            };
            assert_eq!(result.unwrap().to_string(), expected, "{a} {op} {b}");
        }
        assert_eq!(decimal("1").div(&decimal("0.00")), Err(DecimalError::DivisionByZero));
        assert_eq!(decimal("Infinity").rem(&decimal("0")), Err(DecimalError::DivisionByZero));
        let huge = decimal(&"9".repeat(131_072));
        assert_eq!(huge.add(&decimal("1")), Err(DecimalError::Overflow));
        assert_eq!(huge.sub(&decimal("1")).unwrap(), decimal(&format!("{}8", "9".repeat(131_071))));
    }

    #[test]
    fn casts() {
        for (value, expected) in
            [(0.1, "0.1"), (1e20, "100000000000000000000"), (-2.5e-7, "-0.00000025"), (0.0, "0")]
        {
            assert_eq!(Decimal::of_f64(value).to_string(), expected);
        }
        assert_eq!(Decimal::of_f64(123_456_789.123_456_79).to_string(), "123456789.123457");
        assert_eq!(Decimal::of_f32(16_777_216.0).to_string(), "16777200");
        for (text, expected) in [("2.5", Some(3)), ("-2.5", Some(-3)), ("2.49", Some(2))] {
            assert_eq!(decimal(text).to_i64(), expected);
        }
        assert_eq!(decimal("-9223372036854775808.4").to_i64(), Some(i64::MIN));
        assert_eq!(decimal("9223372036854775807.5").to_i64(), None);
        assert_eq!(decimal("NaN").to_i64(), None);
        assert_eq!(decimal("12.345").fit(4, 2).unwrap().to_string(), "12.35");
        assert_eq!(decimal("1").fit(4, 2).unwrap().to_string(), "1.00");
        assert_eq!(decimal("99.995").fit(4, 2), Err(DecimalError::FieldOverflow));
        assert_eq!(decimal("Infinity").fit(4, 2), Err(DecimalError::FieldOverflow));
    }

    /// As PostgreSQL 15 answers.
    #[test]
    fn roundings_and_roots() {
        let all = |text: &str| {
            let of = decimal(text);
            [of.round(1), of.truncated(0), of.ceil(), of.floor(), of.round(-1)]
                .map(|result| result.unwrap().to_string())
        };
        assert_eq!(all("2.25"), ["2.3", "2", "3", "2", "0"]);
        assert_eq!(all("-15.5"), ["-15.5", "-15", "-15", "-16", "-20"]);
        assert_eq!(all("0.0000"), ["0.0", "0", "0", "0", "0"]);
        assert_eq!(all("NaN"), ["NaN"; 5]);
        assert_eq!(decimal("2").sqrt().unwrap().to_string(), "1.414213562373095");
        assert_eq!(decimal("-1").sqrt(), Err(DecimalError::RootOfNegative));
        assert_eq!(decimal("7.5").div_whole(&decimal("-2")).unwrap().to_string(), "-3");
        assert_eq!(decimal("1.500").trimmed().to_string(), "1.5");
        assert_eq!(decimal("1234.5").fit(2, -3).unwrap().to_string(), "1000");
    }

    #[test]
    fn literals() {
        for (text, expected) in [
            ("1", "1"),
            ("1.50", "1.50"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e3", "1000"),
            ("1.5E-3", "0.0015"),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().to_string(), expected);
        }
        for text in ["", ".", "e5", "1e", "1x", "0x1", "1_0", "1e-16384", "1e131073"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => "-?[1-9][0-9]{0,45}(\\.[0-9]{1,45})?",
            4 => "(0|[1-9][0-9]{0,45})(\\.[0-9]{1,20})?",
            1 => "NaN|-?Infinity",
        ]
    }

    proptest! {
        #[test]
        fn text_comes_back_and_keeps_its_order(a in any_text(), b in any_text()) {
            let (x, y) = (decimal(&a), decimal(&b));
            prop_assert_eq!(x.to_string(), a.clone());
            let datum = |text: &str| {
                let mut out = Vec::new();
                numeric::encode(text.as_bytes(), &mut out).unwrap();
                out
            };
            if x != y {
                prop_assert_eq!(x.cmp(&y), datum(&a).cmp(&datum(&b)));
            }
            if let Ok(value) = a.parse::<f64>() && x.is_finite() {
                prop_assert_eq!(x.to_f64(), value);
            }
        }
    }
}
