//! Text: lengths, parts, padding, joining.

mod format;
mod letters;
mod search;

use std::borrow::Cow;

use crate::value::{Scalar, Type};

use super::super::eval::{EvalError, Result};
use super::{Table, Typed, part, text, text_of};

pub(super) use letters::{is_word, letter_in_case};

/// As Postgres bounds what a function makes.
pub(super) const BYTES_MAX: usize = 0x3FFF_FFFF;

pub(super) fn register(table: &mut Table) {
    lengths(table);
    parts(table);
    made(table);
    joined(table);
    letters::register(table);
    search::register(table);
}

pub(super) fn count(number: usize) -> Scalar<'static> {
    Scalar::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn lengths(table: &mut Table) {
    table.all(&["length(text)", "char_length(text)", "character_length(text)"], |_, a| {
        Ok(count(a[0].str().chars().count()))
    });
    table.all(&["length(bpchar)", "char_length(bpchar)", "character_length(bpchar)"], |_, a| {
        Ok(count(a[0].str().trim_end_matches(' ').chars().count()))
    });
    table.all(&["octet_length(text)", "octet_length(bpchar)"], |_, a| Ok(count(a[0].str().len())));
    table.add("bit_length(text)", |_, a| Ok(count(a[0].str().len() * 8)));
    table.add("ascii(text)", |_, a| {
        Ok(Scalar::Int(a[0].str().chars().next().map_or(0, |c| i64::from(u32::from(c)))))
    });
    table.add("chr(int4)", |_, a| match a[0].int() {
        0 => Err(EvalError::text("null character not permitted")),
        ..0 => Err(EvalError::text("character number must be positive")),
        code => match u32::try_from(code).ok().and_then(char::from_u32) {
            Some(letter) => Ok(text(letter.to_string())),
            None => Err(EvalError::text("requested character not valid for encoding")),
        },
    });
}

/// Bytes of the characters from this one up to that one, counted from 0.
fn range(of: &str, start: i64, end: i64) -> std::ops::Range<usize> {
    let place = |at: i64| match usize::try_from(at) {
        Ok(at) if of.is_ascii() => at.min(of.len()),
        Ok(at) => of.char_indices().nth(at).map_or(of.len(), |(at, _)| at),
        Err(_) => 0,
    };
    let start = place(start);
    start..place(end).max(start)
}

fn parts(table: &mut Table) {
    table.all(&["substring(text,int4)", "substr(text,int4)"], |_, a| {
        let start = a[1].int() - 1;
        let of = a[0].take_str();
        let range = range(&of, start, i64::MAX);
        Ok(part(of, range))
    });
    table.all(&["substring(text,int4,int4)", "substr(text,int4,int4)"], |_, a| {
        let (start, length) = (a[1].int(), a[2].int());
        if length < 0 {
            return Err(EvalError::text("negative substring length not allowed"));
        }
        let of = a[0].take_str();
        let range = range(&of, start - 1, start - 1 + length);
        Ok(part(of, range))
    });
    table.add("left(text,int4)", |_, a| {
        let wanted = a[1].int();
        let of = a[0].take_str();
        let end = match wanted {
            0.. => wanted,
            _ => (characters(&of) + wanted).max(0),
        };
        let range = range(&of, 0, end);
        Ok(part(of, range))
    });
    table.add("right(text,int4)", |_, a| {
        let wanted = a[1].int();
        let of = a[0].take_str();
        let start = match wanted {
            0.. => (characters(&of) - wanted).max(0),
            // It has no positive counterpart there.
            _ if wanted == i64::from(i32::MIN) => 0,
            _ => -wanted,
        };
        let range = range(&of, start, i64::MAX);
        Ok(part(of, range))
    });
    for (name, start, end) in
        [("ltrim", true, false), ("rtrim", false, true), ("btrim", true, true)]
    {
        let (blanks, set): (super::Run, super::Run) = match (start, end) {
            (true, false) => (|_, a| trimmed(a, true, false), |_, a| trimmed(a, true, false)),
            (false, true) => (|_, a| trimmed(a, false, true), |_, a| trimmed(a, false, true)),
            _ => (|_, a| trimmed(a, true, true), |_, a| trimmed(a, true, true)),
        };
        table.add(&format!("{name}(text)"), blanks);
        table.add(&format!("{name}(text,text)"), set);
    }
    table.add("split_part(text,text,int4)", |_, a| {
        let (separator, field) = (a[1].take_str(), a[2].int());
        let of = a[0].take_str();
        if field == 0 {
            return Err(EvalError::text("field position must not be zero"));
        }
        if of.is_empty() {
            return Ok(text(""));
        }
        if separator.is_empty() {
            return Ok(if field == 1 || field == -1 { Scalar::Text(of) } else { text("") });
        }
        let index = usize::try_from(field.unsigned_abs() - 1).unwrap_or(usize::MAX);
        let found = match field {
            1.. => of.split(&*separator).nth(index),
            _ => {
                let parts = of.split(&*separator).count();
                parts.checked_sub(index + 1).and_then(|at| of.split(&*separator).nth(at))
            }
        };
        let Some(found) = found else { return Ok(text("")) };
        let start = found.as_ptr() as usize - of.as_ptr() as usize;
        let range = start..start + found.len();
        Ok(part(of, range))
    });
}

fn characters(of: &str) -> i64 {
    i64::try_from(of.chars().count()).unwrap_or(i64::MAX)
}

fn trimmed<'v>(of: &mut [Scalar<'v>], start: bool, end: bool) -> Result<Scalar<'v>> {
    let set = match of.get_mut(1) {
        Some(set) => set.take_str(),
        None => Cow::Borrowed(" "),
    };
    let of = of[0].take_str();
    let within = |letter: char| set.contains(letter);
    let from = if start { of.len() - of.trim_start_matches(within).len() } else { 0 };
    let to = if end { of.trim_end_matches(within).len().max(from) } else { of.len() };
    Ok(part(of, from..to))
}

fn bounded(bytes: usize) -> Result<()> {
    if bytes > BYTES_MAX {
        return Err(EvalError::text("requested length too large"));
    }
    Ok(())
}

fn made(table: &mut Table) {
    for (name, left) in [("lpad", true), ("rpad", false)] {
        let run: super::Run = match left {
            true => |_, a| padded(a, true),
            false => |_, a| padded(a, false),
        };
        table.add(&format!("{name}(text,int4,text)"), run);
        table.add(&format!("{name}(text,int4)"), run);
    }
    table.add("repeat(text,int4)", |_, a| {
        let times = usize::try_from(a[1].int()).unwrap_or(0);
        let of = a[0].str();
        bounded(of.len().saturating_mul(times))?;
        Ok(text(of.repeat(times)))
    });
    table.add("reverse(text)", |_, a| Ok(text(a[0].str().chars().rev().collect::<String>())));
    table.add("replace(text,text,text)", |_, a| {
        let (from, to) = (a[1].take_str(), a[2].take_str());
        if from.is_empty() || !a[0].str().contains(&*from) {
            return Ok(Scalar::Text(a[0].take_str()));
        }
        let found = a[0].str().matches(&*from).count();
        bounded(a[0].str().len().saturating_add(found.saturating_mul(to.len())))?;
        Ok(text(a[0].str().replace(&*from, &to)))
    });
    table.add("translate(text,text,text)", |_, a| {
        let (from, to): (Vec<char>, Vec<char>) =
            (a[1].str().chars().collect(), a[2].str().chars().collect());
        let translated = a[0].str().chars().filter_map(|letter| {
            match from.iter().position(|known| *known == letter) {
                Some(at) => to.get(at).copied(),
                None => Some(letter),
            }
        });
        Ok(text(translated.collect::<String>()))
    });
    table.all(&["overlay(text,text,int4)", "overlay(text,text,int4,int4)"], |_, a| {
        let (with, start) = (a[1].take_str(), a[2].int());
        let length = a.get(3).map_or_else(|| characters(&with), Typed::int);
        if start <= 0 {
            return Err(EvalError::text("negative substring length not allowed"));
        }
        if i32::try_from(start + length).is_err() {
            return Err(EvalError::text("integer out of range"));
        }
        let of = a[0].str();
        let before = range(of, 0, start - 1);
        let after = range(of, start - 1 + length, i64::MAX);
        Ok(text(format!("{}{with}{}", &of[before], &of[after])))
    });
    table.add("quote_literal(text)", |_, a| Ok(text(quoted_literal(a[0].str()))));
    table.add("quote_nullable(text)", |_, a| {
        Ok(match &a[0] {
            Scalar::Text(of) => text(quoted_literal(of)),
            _ => text("NULL"),
        })
    });
}

pub(super) fn quoted_literal(of: &str) -> String {
    let escape = if of.contains('\\') { "E" } else { "" };
    format!("{escape}'{}'", of.replace('\'', "''").replace('\\', "\\\\"))
}

fn padded<'v>(of: &mut [Scalar<'v>], left: bool) -> Result<Scalar<'v>> {
    let width = of[1].int().max(0);
    let fill = match of.get_mut(2) {
        Some(fill) => fill.take_str(),
        None => Cow::Borrowed(" "),
    };
    let of = of[0].take_str();
    let missing = width - characters(&of);
    if missing <= 0 || fill.is_empty() {
        let range = range(&of, 0, width);
        return Ok(part(of, range));
    }
    let missing = usize::try_from(missing).unwrap_or(usize::MAX);
    bounded(missing.saturating_mul(4).saturating_add(of.len()))?;
    let fill: String = fill.chars().cycle().take(missing).collect();
    Ok(text(if left { format!("{fill}{of}") } else { format!("{of}{fill}") }))
}

fn joined(table: &mut Table) {
    table.add("||(text,text)", |_, a| {
        let (left, right) = (a[0].take_str(), a[1].take_str());
        let mut joined = left.into_owned();
        joined.push_str(&right);
        Ok(text(joined))
    });
    table.all(&["||(text,anynonarray)", "||(anynonarray,text)"], |t, a| {
        // By the cast to text, which prints a boolean as true.
        let mut joined = as_text(&a[0], &t.arguments[0])?;
        joined.push_str(&as_text(&a[1], &t.arguments[1])?);
        Ok(text(joined))
    });
    table.add("concat(any)", |t, a| {
        let mut joined = String::new();
        for (value, ty) in a.iter().zip(&t.arguments) {
            if !value.is_null() {
                joined.push_str(&text_of(value, ty)?);
            }
        }
        Ok(text(joined))
    });
    table.add("concat_ws(text,any)", |t, a| {
        if a[0].is_null() {
            return Ok(Scalar::Null);
        }
        let mut parts = Vec::new();
        for (value, ty) in a.iter().zip(&t.arguments).skip(1) {
            if !value.is_null() {
                parts.push(text_of(value, ty)?);
            }
        }
        Ok(text(parts.join(a[0].str())))
    });
    table.add("num_nulls(any)", |_, a| Ok(count(a.iter().filter(|of| of.is_null()).count())));
    table.add("num_nonnulls(any)", |_, a| Ok(count(a.iter().filter(|of| !of.is_null()).count())));
    table.all(&["format(text,any)", "format(text)"], format::format);
}

/// As a cast to text has it.
fn as_text(value: &Scalar<'_>, ty: &Type) -> Result<String> {
    match value {
        Scalar::Bool(value) => Ok(value.to_string()),
        Scalar::Text(of) if *ty == Type::Bpchar => Ok(of.trim_end_matches(' ').to_owned()),
        value => text_of(value, ty),
    }
}
