//! Numbers by a pattern of `9`, `0`, `,` and `.`, with `FM` in front and a sign.

use crate::value::{Decimal, Scalar};

use super::super::super::eval::{EvalError, Result};
use super::super::{Table, Typed, text};

pub(super) fn register(table: &mut Table) {
    for ty in ["int4", "int8"] {
        table.add(&format!("to_char({ty},text)"), |_, a| {
            formatted(&Decimal::of_int(a[0].int()), a[1].str())
        });
    }
    table.add("to_char(numeric,text)", |_, a| formatted(a[0].decimal(), a[1].str()));
}

/// A pattern that is read: its signs, and where the point is.
struct Pattern {
    fill: bool,
    signs: Vec<char>,
    before_point: usize,
    behind_point: usize,
    /// How many digits lie before the first 0.
    zeros_from: Option<usize>,
}

impl Pattern {
    fn parse(pattern: &str) -> Option<Self> {
        let (fill, signs) = match pattern.strip_prefix("FM").or_else(|| pattern.strip_prefix("fm"))
        {
            Some(signs) => (true, signs),
            None => (false, pattern),
        };
        let mut this = Pattern {
            fill,
            signs: signs.chars().collect(),
            before_point: 0,
            behind_point: 0,
            zeros_from: None,
        };
        let mut point = false;
        for sign in signs.chars() {
            match sign {
                '9' | '0' => {
                    if sign == '0' && !point {
                        this.zeros_from.get_or_insert(this.before_point);
                    }
                    if point { this.behind_point += 1 } else { this.before_point += 1 }
                }
                '.' if !point => point = true,
                ',' => {}
                _ => return None,
            }
        }
        (this.before_point + this.behind_point > 0).then_some(this)
    }
}

fn formatted<'v>(value: &Decimal, pattern: &str) -> Result<Scalar<'v>> {
    if pattern.is_empty() {
        return Ok(Scalar::Null);
    }
    let unsupported = || {
        EvalError::text("to_char() of numbers with other signs than FM 9 0 , . is not supported")
    };
    let pattern = Pattern::parse(pattern).ok_or_else(unsupported)?;
    if !value.is_finite() {
        return Err(unsupported());
    }
    let rounded = value.round(i64::try_from(pattern.behind_point).unwrap_or(i64::MAX))?;
    let negative = rounded.sign() == Decimal::of_int(-1);
    let shown = rounded.abs().to_string();
    let (whole, fraction) = shown.split_once('.').unwrap_or((&shown, ""));
    let overflow = whole.len() > pattern.before_point;
    Ok(text(pattern.write(whole, fraction, negative, overflow)))
}

impl Pattern {
    fn write(&self, whole: &str, fraction: &str, negative: bool, overflow: bool) -> String {
        let blanks =
            self.before_point.saturating_sub(if overflow { usize::MAX } else { whole.len() });
        // With FM, zeros at the end are left out where the pattern has no 0.
        let kept = match self.fill {
            true if !overflow => fraction.trim_end_matches('0').len().max(self.last_zero()),
            _ => self.behind_point,
        };
        // Nothing stands before the point of a number below 1, but for a 0 of the pattern.
        let hidden = whole == "0" && !overflow && self.zeros_from.is_none() && kept > 0;
        let started_at = if hidden { self.before_point } else { blanks };
        let started_at = self.zeros_from.map_or(started_at, |zeros| zeros.min(started_at));
        let sign = match (negative, self.fill) {
            (true, _) => "-",
            (false, true) => "",
            (false, false) => " ",
        };
        let mut out = String::new();
        let (mut at, mut point, mut signed) = (0, false, false);
        for pattern_sign in &self.signs {
            match pattern_sign {
                '.' => {
                    out.push_str(if signed { "" } else { sign });
                    signed = true;
                    point = true;
                    at = 0;
                    out.push('.');
                }
                // Before the first digit it is a blank like the others.
                ',' if !signed => {
                    if !self.fill {
                        out.push(' ');
                    }
                }
                ',' => out.push(','),
                _ if point => {
                    if at < kept {
                        out.push(if overflow {
                            '#'
                        } else {
                            fraction.as_bytes().get(at).map_or('0', |digit| char::from(*digit))
                        });
                    }
                    at += 1;
                }
                _ => {
                    if at < started_at {
                        if !self.fill {
                            out.push(' ');
                        }
                    } else {
                        out.push_str(if signed { "" } else { sign });
                        signed = true;
                        out.push(match at.checked_sub(blanks) {
                            _ if overflow => '#',
                            None => '0',
                            Some(digit) => {
                                whole.as_bytes().get(digit).map_or('0', |d| char::from(*d))
                            }
                        });
                    }
                    at += 1;
                }
            }
        }
        out
    }

    /// Behind the last 0 that follows the point.
    fn last_zero(&self) -> usize {
        let behind: Vec<char> = self
            .signs
            .iter()
            .copied()
            .skip_while(|sign| *sign != '.')
            .filter(|sign| matches!(sign, '9' | '0'))
            .collect();
        behind.iter().rposition(|sign| *sign == '0').map_or(0, |at| at + 1)
    }
}
