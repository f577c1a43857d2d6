//! Aggregates that need no more of a group than a running total: what comes is added, what goes is
//! subtracted.

use super::spread::Spread;
use super::sums::{FloatSum, IntervalSum, NumericSum};
use crate::sql::plan::Function;
use crate::value::{self, Decimal, Type, ValueError};

/// The total of one aggregate in one group.
pub(super) enum Running {
    Count(i64),
    Int {
        count: i64,
        sum: i64,
    },
    /// Of integers whose sum was once too large for that.
    Wide {
        count: i64,
        sum: Box<i128>,
    },
    Numeric {
        count: i64,
        sum: Box<NumericSum>,
    },
    /// Of integers and numeric.
    Spread {
        count: i64,
        sums: Box<Spread>,
    },
    Float {
        count: i64,
        sum: Box<FloatSum>,
    },
    Interval {
        count: i64,
        sum: Box<IntervalSum>,
    },
    Bool {
        falses: i64,
        trues: i64,
    },
    /// Of integers: in how many of them each bit is set.
    Bits {
        count: i64,
        ones: Box<[i64; 64]>,
    },
}

/// Why a total is no value; in Postgres' words.
pub(super) type Failure = String;

impl Running {
    /// `None` where the function reads the group's rows instead.
    pub(super) fn new(function: Function, argument: Option<&Type>) -> Option<Self> {
        Some(match (function, argument?) {
            (Function::Count, _) => Running::Count(0),
            (Function::BoolAnd | Function::BoolOr, _) => Running::Bool { falses: 0, trues: 0 },
            (Function::BitAnd | Function::BitOr | Function::BitXor, _) => {
                Running::Bits { count: 0, ones: Box::new([0; 64]) }
            }
            (spread, _) if spread.is_spread() => Running::Spread { count: 0, sums: Box::default() },
            (Function::Sum | Function::Avg, ty) => match ty {
                Type::Float4 | Type::Float8 => Running::Float { count: 0, sum: Box::default() },
                Type::Numeric => Running::Numeric { count: 0, sum: Box::default() },
                Type::Interval => Running::Interval { count: 0, sum: Box::default() },
                _ => Running::Int { count: 0, sum: 0 },
            },
            _ => return None,
        })
    }

    /// The datum, not NULL, is there so many times more.
    pub(super) fn add(&mut self, ty: &Type, datum: &[u8], weight: i64) -> Result<(), ValueError> {
        match self {
            Running::Count(count) => *count += weight,
            Running::Int { count, sum } => {
                let all = i128::from(*sum) + int_of(ty, datum, weight)?;
                *count += weight;
                match i64::try_from(all) {
                    Ok(all) => *sum = all,
                    Err(_) => *self = Running::Wide { count: *count, sum: Box::new(all) },
                }
            }
            Running::Wide { count, sum } => {
                *count += weight;
                **sum += int_of(ty, datum, weight)?;
            }
            Running::Numeric { count, sum } => {
                *count += weight;
                let value = Decimal::of_datum(datum).ok_or_else(|| unreadable(ty, datum))?;
                sum.add(&value, weight);
            }
            Running::Spread { count, sums } => {
                *count += weight;
                let value = match ty {
                    Type::Numeric => Decimal::of_datum(datum),
                    ty => Some(Decimal::of_int(value::int_of(ty, datum)?)),
                };
                let value = value.ok_or_else(|| unreadable(ty, datum))?;
                sums.add(&value, weight);
            }
            Running::Float { count, sum } => {
                *count += weight;
                sum.add(value::float_of(ty, datum)?, weight);
            }
            Running::Interval { count, sum } => {
                *count += weight;
                let value = value::interval(datum).ok_or_else(|| unreadable(ty, datum))?;
                sum.add(value, weight);
            }
            Running::Bits { count, ones } => {
                *count += weight;
                let value = value::int_of(ty, datum)?;
                let set = |bit: &usize| value >> bit & 1 == 1;
                (0..ones.len()).filter(set).for_each(|bit| ones[bit] += weight);
            }
            Running::Bool { falses, trues } => match datum {
                [1] => *trues += weight,
                _ => *falses += weight,
            },
        }
        Ok(())
    }

    /// Appends the answer.
    pub(super) fn write(
        &self,
        function: Function,
        argument: &Type,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let average = function == Function::Avg;
        match self {
            Running::Count(count) => value::encode_int(*count, out),
            Running::Int { count: 0, .. }
            | Running::Wide { count: 0, .. }
            | Running::Numeric { count: 0, .. }
            | Running::Spread { count: 0, .. }
            | Running::Float { count: 0, .. }
            | Running::Interval { count: 0, .. }
            | Running::Bits { count: 0, .. }
            | Running::Bool { falses: 0, trues: 0 } => value::encode_null(out),
            Running::Bool { falses, trues } => out.push(u8::from(match function {
                Function::BoolAnd => *falses == 0,
                _ => *trues > 0,
            })),
            Running::Bits { count, ones } => {
                let is_set = |ones: i64| match function {
                    Function::BitAnd => ones == *count,
                    Function::BitOr => ones > 0,
                    _ => ones % 2 != 0,
                };
                let bits =
                    ones.iter().rev().fold(0, |bits, ones| bits << 1 | i64::from(is_set(*ones)));
                value::encode_int(bits, out);
            }
            Running::Int { count, sum } => {
                put_int(i128::from(*sum), *count, average, argument, out)?;
            }
            Running::Wide { count, sum } => put_int(**sum, *count, average, argument, out)?,
            Running::Numeric { count, sum } => {
                let sum = sum.sum().map_err(|error| error.to_string())?;
                put_decimal(sum, average.then_some(*count), out)?;
            }
            Running::Spread { count, sums } => {
                let spread = sums.spread(*count, function).map_err(|error| error.to_string())?;
                match spread {
                    Some(value) => put_decimal(value, None, out)?,
                    None => value::encode_null(out),
                }
            }
            Running::Float { count, sum } => {
                let sum = sum.sum().ok_or("value out of range: overflow")?;
                match (average, argument) {
                    (true, _) => value::encode_float8(sum / *count as f64, out),
                    (false, Type::Float4) => {
                        let narrow = sum as f32;
                        if narrow.is_infinite() && sum.is_finite() {
                            return Err("value out of range: overflow".into());
                        }
                        value::encode_float4(narrow, out);
                    }
                    (false, _) => value::encode_float8(sum, out),
                }
            }
            Running::Interval { count, sum } => {
                let value = if average { sum.avg(*count) } else { sum.sum() };
                value::encode_interval(value.ok_or("interval out of range")?, out);
            }
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Running::Numeric { sum, .. } => sum.bytes(),
                Running::Spread { sums, .. } => sums.bytes(),
                Running::Float { sum, .. } => sum.bytes(),
                Running::Interval { .. } => size_of::<IntervalSum>(),
                Running::Bits { .. } => size_of::<[i64; 64]>(),
                Running::Wide { .. } => size_of::<i128>(),
                _ => 0,
            }
    }
}

fn int_of(ty: &Type, datum: &[u8], weight: i64) -> Result<i128, ValueError> {
    Ok(i128::from(value::int_of(ty, datum)?) * i128::from(weight))
}

/// A sum of integers, or their average.
fn put_int(
    sum: i128,
    count: i64,
    average: bool,
    argument: &Type,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    if !average && matches!(argument, Type::Int2 | Type::Int4) {
        let sum = i64::try_from(sum).map_err(|_| "bigint out of range")?;
        value::encode_int(sum, out);
        return Ok(());
    }
    let magnitude = Decimal::parse(&sum.unsigned_abs().to_string());
    let magnitude = magnitude.ok_or("value overflows numeric format")?;
    let sum = if sum < 0 { magnitude.negated() } else { magnitude };
    put_decimal(sum, average.then_some(count), out)
}

/// The sum, or with a count the average.
fn put_decimal(sum: Decimal, count: Option<i64>, out: &mut Vec<u8>) -> Result<(), Failure> {
    let value = match count {
        Some(count) => sum.div(&Decimal::of_int(count)).map_err(|error| error.to_string())?,
        None => sum,
    };
    value::encode_decimal(&value, out).map_err(|_| "value overflows numeric format".into())
}

fn unreadable(ty: &Type, datum: &[u8]) -> ValueError {
    ValueError { ty: ty.to_string(), text: String::from_utf8_lossy(datum).into_owned() }
}
