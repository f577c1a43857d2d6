//! Upper and lower case as the C library's locales have it: one character for one.

use crate::value::Scalar;

use super::super::super::eval::{EvalError, Result};
use super::super::super::names::Ctype;
use super::super::{Table, Typed, Types, text};

pub(super) fn register(table: &mut Table) {
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

pub(in super::super) fn letter_in_case(letter: char, upper: bool, ctype: Ctype) -> Result<char> {
    if letter.is_ascii() {
        return Ok(if upper { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() });
    }
    match ctype {
        Ctype::C => Ok(letter),
        Ctype::Libc => in_case(letter, upper),
        Ctype::Unknown => Err(EvalError::text(
            "the case of letters beyond ASCII is not known under this collation",
        )),
    }
}

pub(in super::super) fn is_word(letter: char, ctype: Ctype) -> Result<bool> {
    if letter.is_ascii() {
        return Ok(letter.is_ascii_alphanumeric());
    }
    match ctype {
        Ctype::C => Ok(false),
        Ctype::Libc => is_letter(letter),
        Ctype::Unknown => {
            Err(EvalError::text("which characters make words is not known under this collation"))
        }
    }
}

/// Letters that got their case with Unicode 15.1 and later: servers differ.
const NEW: &[(u32, u32)] = &[
    (0x019B, 0x019B),
    (0x0264, 0x0264),
    (0x1C89, 0x1C8A),
    (0xA7CB, 0xA7CF),
    (0xA7D2, 0xA7D5),
    (0xA7DA, 0xA7DC),
    (0x1_0D50, 0x1_0D8F),
    (0x1_6EA0, 0x1_6EDF),
];

/// The letter in that case, itself where it has none.
fn in_case(letter: char, upper: bool) -> Result<char> {
    let code = u32::from(letter);
    if NEW.iter().any(|(first, last)| (*first..=*last).contains(&code)) {
        return Err(EvalError::text("the case of a letter differs between versions of Unicode"));
    }
    let mapped = match (upper, code) {
        // The forms for titles, where the upper case has two characters.
        (true, 0x1F80..=0x1F87 | 0x1F90..=0x1F97 | 0x1FA0..=0x1FA7) => code + 8,
        (true, 0x1FB3 | 0x1FC3 | 0x1FF3) => code + 9,
        (false, 0x0130) => u32::from('i'),
        (true, _) => single(letter, letter.to_uppercase()),
        (false, _) => single(letter, letter.to_lowercase()),
    };
    Ok(char::from_u32(mapped).unwrap_or(letter))
}

fn single(letter: char, mut mapped: impl Iterator<Item = char>) -> u32 {
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one.into(),
        _ => letter.into(),
    }
}

/// Whether a character is a letter or a digit; where servers agree.
fn is_letter(letter: char) -> Result<bool> {
    match u32::from(letter) {
        // Latin, Greek, Cyrillic, kana, Han and Hangul.
        0xAA
        | 0xB5
        | 0xBA
        | 0xC0..=0x24F
        | 0x370..=0x52F
        | 0x3041..=0x3096
        | 0x30A1..=0x30FA
        | 0x4E00..=0x9FFF
        | 0xAC00..=0xD7A3 => Ok(letter.is_alphabetic()),
        // Punctuation and symbols.
        0x80..=0xBF | 0x2010..=0x205F | 0x2190..=0x23FF | 0x3000..=0x3003 | 0x1_F300..=0x1_F64F => {
            Ok(false)
        }
        _ => Err(EvalError::text("which characters make words differs between servers")),
    }
}
