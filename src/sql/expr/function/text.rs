//! Text: parts, searching, padding, LIKE, letters.

use std::borrow::Cow;

use crate::value::{Scalar, Type};

use super::super::eval::{EvalError, Result};
use super::super::names::Ctype;
use super::{Table, Typed, Types, part, text, text_of};

/// As Postgres bounds what a function makes.
const BYTES_MAX: usize = 0x3FFF_FFFF;

pub(super) fn register(table: &mut Table) {
    lengths(table);
    parts(table);
    made(table);
    joined(table);
    letters(table);
    searches(table);
}

fn count(number: usize) -> Scalar<'static> {
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

fn quoted_literal(of: &str) -> String {
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
    table.all(&["format(text,any)", "format(text)"], format);
}

/// As a cast to text has it.
fn as_text(value: &Scalar<'_>, ty: &Type) -> Result<String> {
    match value {
        Scalar::Bool(value) => Ok(value.to_string()),
        Scalar::Text(of) if *ty == Type::Bpchar => Ok(of.trim_end_matches(' ').to_owned()),
        value => text_of(value, ty),
    }
}

/// `%s`, `%I`, `%L`, `%%`, with positions and without widths.
fn format<'v>(types: &'v Types, of: &mut [Scalar<'v>]) -> Result<Scalar<'v>> {
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

// --- Letters ----------------------------------------------------------------------------------------

fn letters(table: &mut Table) {
    table.add("lower(text)", |t, a| cased(t, a, Case::Lower));
    table.add("upper(text)", |t, a| cased(t, a, Case::Upper));
    table.add("initcap(text)", |t, a| cased(t, a, Case::Initial));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
    Initial,
}

fn cased<'v>(types: &Types, of: &mut [Scalar<'v>], case: Case) -> Result<Scalar<'v>> {
    let of = of[0].take_str();
    let mut out = String::with_capacity(of.len());
    let mut within_word = false;
    for letter in of.chars() {
        let upper = match case {
            Case::Lower => false,
            Case::Upper => true,
            Case::Initial => !within_word,
        };
        out.push(letter_in_case(letter, upper, types.ctype)?);
        if case == Case::Initial {
            within_word = is_word(letter, types.ctype)?;
        }
    }
    Ok(text(out))
}

fn letter_in_case(letter: char, upper: bool, ctype: Ctype) -> Result<char> {
    if letter.is_ascii() {
        return Ok(if upper { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() });
    }
    match ctype {
        Ctype::C => Ok(letter),
        Ctype::Libc => super::letters::in_case(letter, upper),
        Ctype::Unknown => Err(EvalError::text(
            "the case of letters beyond ASCII is not known under this collation",
        )),
    }
}

fn is_word(letter: char, ctype: Ctype) -> Result<bool> {
    if letter.is_ascii() {
        return Ok(letter.is_ascii_alphanumeric());
    }
    match ctype {
        Ctype::C => Ok(false),
        Ctype::Libc => super::letters::is_word(letter),
        Ctype::Unknown => {
            Err(EvalError::text("which characters make words is not known under this collation"))
        }
    }
}

// --- Searching --------------------------------------------------------------------------------------

fn searches(table: &mut Table) {
    table.all(&["position(text,text)", "strpos(text,text)"], |_, a| {
        let (of, wanted) = (a[0].str(), a[1].str());
        Ok(match of.find(wanted) {
            Some(at) => count(of[..at].chars().count() + 1),
            None => Scalar::Int(0),
        })
    });
    table.all(&["starts_with(text,text)", "^@(text,text)"], |_, a| {
        Ok(Scalar::Bool(a[0].str().starts_with(a[1].str())))
    });
    for (key, like, folded) in
        [("~~", true, false), ("!~~", false, false), ("~~*", true, true), ("!~~*", false, true)]
    {
        let run: super::Run = match (like, folded) {
            (true, false) => |t, a| matching(t, a, true, false),
            (false, false) => |t, a| matching(t, a, false, false),
            (true, true) => |t, a| matching(t, a, true, true),
            (false, true) => |t, a| matching(t, a, false, true),
        };
        table.add(&format!("{key}(text,text)"), run);
        table.add(&format!("{key}(bpchar,text)"), run);
    }
    table.add("like(text,text)", |t, a| matching(t, a, true, false));
    table.add("notlike(text,text)", |t, a| matching(t, a, false, false));
    table.add("like_escape(text,text)", |_, a| {
        let escape = a[1].str();
        let mut letters = escape.chars();
        let (escape, more) = (letters.next(), letters.next());
        if more.is_some() {
            return Err(EvalError::text("invalid escape string"));
        }
        let mut out = String::new();
        let mut after_escape = false;
        for letter in a[0].str().chars() {
            if Some(letter) == escape && !after_escape {
                out.push('\\');
                after_escape = true;
                if escape == Some('\\') {
                    continue;
                }
            } else {
                if letter == '\\' && escape != Some('\\') && !after_escape {
                    out.push('\\');
                }
                out.push(letter);
                after_escape = false;
            }
        }
        Ok(text(out))
    });
}

fn matching<'v>(
    types: &Types,
    of: &[Scalar<'_>],
    wanted: bool,
    folded: bool,
) -> Result<Scalar<'v>> {
    let matches = if folded {
        let fold = |text: &str| {
            text.chars()
                .map(|letter| letter_in_case(letter, false, types.ctype))
                .collect::<Result<String>>()
        };
        // As the server does, which folds both before it compares.
        like(fold(of[0].str())?.as_bytes(), fold(of[1].str())?.as_bytes())?
    } else {
        like(of[0].str().as_bytes(), of[1].str().as_bytes())?
    };
    Ok(Scalar::Bool(matches == wanted))
}

/// Whether a text matches a pattern of `%`, `_` and backslashes. Goes back to the last `%` alone, so
/// that no pattern takes more than the product of both lengths.
fn like(text: &[u8], pattern: &[u8]) -> Result<bool> {
    let (mut at, mut wanted) = (0, 0);
    // Behind the last %, and where the text stood there.
    let mut resume: Option<(usize, usize)> = None;
    loop {
        match pattern.get(wanted) {
            Some(b'%') => {
                wanted += 1;
                resume = Some((wanted, at));
                continue;
            }
            Some(b'_') if at < text.len() => {
                wanted += 1;
                at += character(text[at]);
                continue;
            }
            Some(b'\\') => {
                let Some(escaped) = pattern.get(wanted + 1) else {
                    if at >= text.len() && resume.is_none() {
                        return Ok(false);
                    }
                    return Err(EvalError::text("LIKE pattern must not end with escape character"));
                };
                if text.get(at) == Some(escaped) {
                    (wanted, at) = (wanted + 2, at + 1);
                    continue;
                }
            }
            Some(byte) if text.get(at) == Some(byte) => {
                (wanted, at) = (wanted + 1, at + 1);
                continue;
            }
            None if at == text.len() => return Ok(true),
            _ => {}
        }
        match resume {
            Some((behind, from)) if from < text.len() => {
                let from = from + character(text[from]);
                resume = Some((behind, from));
                (wanted, at) = (behind, from);
            }
            _ => return Ok(false),
        }
    }
}

/// The length of the character that begins with this byte.
fn character(first: u8) -> usize {
    match first {
        ..0x80 => 1,
        0xF0.. => 4,
        0xE0.. => 3,
        _ => 2,
    }
}
