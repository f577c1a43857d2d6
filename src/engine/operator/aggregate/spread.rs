//! Variances and standard deviations of exact numbers, digit for digit as Postgres computes them
//! (numeric.c, `numeric_stddev_internal`): from the sum and the sum of squares, both exact.

use super::sums::NumericSum;
use crate::sql::plan::Function;
use crate::value::{Decimal, DecimalError};

#[derive(Default)]
pub(super) struct Spread {
    sum: NumericSum,
    squares: NumericSum,
    /// How many values have no square that is a numeric.
    too_large: i64,
}

impl Spread {
    pub(super) fn add(&mut self, value: &Decimal, weight: i64) {
        self.sum.add(value, weight);
        if !value.is_finite() {
            return;
        }
        match value.mul(value) {
            Ok(square) => self.squares.add(&square, weight),
            Err(_) => self.too_large += weight,
        }
    }

    /// Of so many values; `None` is NULL.
    pub(super) fn spread(
        &self,
        count: i64,
        function: Function,
    ) -> Result<Option<Decimal>, DecimalError> {
        let of_sample = matches!(function, Function::VarSamp | Function::StddevSamp);
        if count <= i64::from(of_sample) {
            return Ok(None);
        }
        let sum = self.sum.sum()?;
        if !sum.is_finite() {
            return Ok(Some(Decimal::NAN));
        }
        if self.too_large > 0 {
            return Err(DecimalError::Overflow);
        }
        let n = Decimal::of_int(count);
        let over = n.mul(&self.squares.sum()?)?.sub(&sum.mul(&sum)?)?;
        if over.is_zero() {
            return Ok(Some(Decimal::of_int(0)));
        }
        let under = n.mul(&Decimal::of_int(count - i64::from(of_sample)))?;
        let variance = over.div(&under)?;
        Ok(Some(match function {
            Function::StddevSamp | Function::StddevPop => variance.root_at_own_scale()?,
            _ => variance,
        }))
    }

    pub(super) fn bytes(&self) -> usize {
        self.sum.bytes() + self.squares.bytes()
    }
}
