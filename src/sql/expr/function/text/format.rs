//! `format()`.

use crate::value::Scalar;

use super::super::super::eval::{EvalError, Result};
use super::super::{Typed, Types, text, text_of};
use super::quoted_literal;

/// `%s`, `%I`, `%L`, `%%`, with positions and without widths.
pub(super) fn format<'v>(types: &'v Types, of: &mut [Scalar<'v>]) -> Result<Scalar<'v>> {
    if of[0].is_null() {
        return Ok(Scalar::Null);
    }
    let pattern = of[0].take_str();
    let mut out = String::new();
    let mut letters = pattern.chars().peekable();
    let mut next = 1;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut digits = String::new();
        while let Some(digit) = letters.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if !digits.is_empty() {
            if letters.next_if_eq(&'$').is_none() {
                return Err(EvalError::text("format() with a width is not supported"));
            }
            next = digits.parse().unwrap_or(usize::MAX);
            if next == 0 {
                return Err(EvalError::text(
                    "format specifies argument 0, but arguments are numbered from 1",
                ));
            }
        }
        let kind = match letters.next() {
            Some('%') => {
                out.push('%');
                continue;
            }
            Some(kind @ ('s' | 'I' | 'L')) => kind,
            Some('-' | '*') => {
                return Err(EvalError::text("format() with a width is not supported"));
            }
            Some(other) => {
                let what = format!("unrecognized format() type specifier \"{other}\"");
                return Err(EvalError::new(what));
            }
            None => return Err(EvalError::text("unterminated format() type specifier")),
        };
        let Some(value) = of.get(next) else {
            return Err(EvalError::text("too few arguments for format()"));
        };
        let null = value.is_null();
        let shown = if null { String::new() } else { text_of(value, &types.arguments[next])? };
        next += 1;
        match kind {
            's' => out.push_str(&shown),
            'L' if null => out.push_str("NULL"),
            'L' => out.push_str(&quoted_literal(&shown)),
            _ if null => {
                return Err(EvalError::text(
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            // Which words need their quotes is the server's to say.
            _ => {
                return Err(EvalError::text("format() with %I is not supported"));
            }
        }
    }
    Ok(text(out))
}
