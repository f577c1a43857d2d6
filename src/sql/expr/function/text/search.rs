//! Searching: positions, LIKE and ILIKE.

use crate::value::Scalar;

use super::super::super::eval::{EvalError, Result};
use super::super::{Table, Typed, Types, text};
use super::count;
use super::letters::letter_in_case;

pub(super) fn register(table: &mut Table) {
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
        let run: super::super::Run = match (like, folded) {
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
