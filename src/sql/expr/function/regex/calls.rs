//! The operators and functions that take a regular expression.

use crate::value::Scalar;

use super::super::super::eval::{EvalError, Result};
use super::super::array::{flat, write};
use super::super::text::count;
use super::super::{Run, Table, Typed, Types, text};
use super::search::{Match, Regex};
use super::{Asked, compiled, refused};

pub(super) fn register(table: &mut Table) {
    for (name, run) in [
        ("~", (|t, a| matching(t, a, true, false)) as Run),
        ("!~", |t, a| matching(t, a, false, false)),
        ("~*", |t, a| matching(t, a, true, true)),
        ("!~*", |t, a| matching(t, a, false, true)),
    ] {
        table.all(&[&format!("{name}(text,text)"), &format!("{name}(bpchar,text)")], run);
    }
    table.all(&["regexp_like(text,text)", "regexp_like(text,text,text)"], |t, a| {
        with(t, a, "regexp_like", flags(a, 2)?, |regex, text, _| {
            Ok(Scalar::Bool(regex.is_match(text)))
        })
    });
    table.add("substring(text,text)", |t, a| part(t, a, "substring"));
    table.add("regexp_substr(text,text)", |t, a| part(t, a, "regexp_substr"));
    table.all(&["regexp_match(text,text)", "regexp_match(text,text,text)"], |t, a| {
        let flags = flags(a, 2)?;
        if flags.all {
            return Err(refused("regexp_match does not support the flag g"));
        }
        with(t, a, "regexp_match", flags, |regex, of, asked| {
            let Some(found) = regex.find(of, 0, asked)? else { return Ok(Scalar::Null) };
            let part = |range: &std::ops::Range<usize>| text(of[range.clone()].to_owned());
            let parts: Vec<Scalar<'static>> = match regex.groups {
                0 => vec![part(&found.whole)],
                _ => found.groups.iter().map(|of| of.as_ref().map_or(Scalar::Null, part)).collect(),
            };
            array(t, parts)
        })
    });
    table.all(
        &["regexp_replace(text,text,text)", "regexp_replace(text,text,text,text)"],
        |t, a| {
            let flags = flags(a, 3)?;
            let replacement = a[2].str().to_owned();
            with(t, a, "regexp_replace", flags, |regex, of, asked| {
                replaced(regex, of, &replacement, flags.all, asked)
            })
        },
    );
    table.add("regexp_count(text,text)", |t, a| {
        with(t, a, "regexp_count", Flags::default(), |regex, of, asked| {
            Ok(count(all(regex, of, asked, false)?.len()))
        })
    });
    table.all(
        &["regexp_split_to_array(text,text)", "regexp_split_to_array(text,text,text)"],
        |t, a| {
            let flags = flags(a, 2)?;
            if flags.all {
                return Err(refused("regexp_split_to_array does not support the flag g"));
            }
            with(t, a, "regexp_split_to_array", flags, |regex, of, asked| {
                let (mut parts, mut start) = (Vec::new(), 0);
                for found in all(regex, of, asked, true)? {
                    parts.push(text(of[start..found.whole.start].to_owned()));
                    start = found.whole.end;
                }
                parts.push(text(of[start..].to_owned()));
                array(t, parts)
            })
        },
    );
}

/// What a call asks of the pattern's matches. `replacement`: as far as it is known.
pub(super) fn asked(name: &str, regex: &Regex, replacement: Option<&str>) -> Asked {
    match name {
        "~" | "!~" | "~*" | "!~*" | "regexp_like" => Asked::Whether,
        "substring" | "regexp_match" if regex.groups > 0 => Asked::Groups,
        "regexp_replace" if replacement.is_some_and(names_groups) => Asked::Groups,
        _ => Asked::Where,
    }
}

fn names_groups(replacement: &str) -> bool {
    let letters: Vec<char> = replacement.chars().collect();
    letters.windows(2).any(|two| two[0] == '\\' && matches!(two[1], '1'..='9'))
}

#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    pub(super) folded: bool,
    pub(super) all: bool,
}

impl Flags {
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut flags = Self::default();
        for flag in text.chars() {
            match flag {
                'g' => flags.all = true,
                'i' => flags.folded = true,
                'c' => flags.folded = false,
                's' | 't' => {}
                flag => return Err(refused(format!("the flag {flag} is not supported"))),
            }
        }
        Ok(flags)
    }
}

fn flags(of: &[Scalar<'_>], at: usize) -> Result<Flags> {
    match of.get(at) {
        Some(flags) => Flags::read(flags.str()),
        None => Ok(Flags::default()),
    }
}

fn with<'v>(
    types: &Types,
    of: &[Scalar<'_>],
    name: &str,
    flags: Flags,
    run: impl FnOnce(&Regex, &str, Asked) -> Result<Scalar<'v>>,
) -> Result<Scalar<'v>> {
    let regex = compiled(of[1].str(), flags.folded, types.ctype);
    let regex = regex.as_ref().as_ref().map_err(refused)?;
    let replacement = match (name, of.get(2)) {
        ("regexp_replace", Some(replacement)) => Some(replacement.str()),
        _ => None,
    };
    let asked = asked(name, regex, replacement);
    regex.answers(asked)?;
    let text = of[0].str();
    regex.admit(text)?;
    run(regex, text, asked)
}

fn matching<'v>(
    types: &Types,
    of: &[Scalar<'_>],
    wanted: bool,
    folded: bool,
) -> Result<Scalar<'v>> {
    with(types, of, "~", Flags { folded, all: false }, |regex, text, _| {
        Ok(Scalar::Bool(regex.is_match(text) == wanted))
    })
}

/// What the first parentheses match, else all of it.
fn part<'v>(types: &Types, of: &[Scalar<'_>], name: &str) -> Result<Scalar<'v>> {
    with(types, of, name, Flags::default(), |regex, of, asked| {
        let Some(found) = regex.find(of, 0, asked)? else { return Ok(Scalar::Null) };
        let range = match (asked, found.groups.first()) {
            (Asked::Groups, Some(first)) => first.clone(),
            _ => Some(found.whole),
        };
        Ok(range.map_or(Scalar::Null, |range| text(of[range].to_owned())))
    })
}

/// All matches, as PostgreSQL goes through them. `between`: without empty ones at the ends and behind another.
fn all(regex: &Regex, of: &str, asked: Asked, between: bool) -> Result<Vec<Match>> {
    let (mut found, mut from, mut before) = (Vec::new(), 0, 0);
    while from <= of.len() {
        let Some(one) = regex.find(of, from, asked)? else { break };
        let whole = one.whole.clone();
        if !between || (whole.start < of.len() && whole.end > before) {
            found.push(one);
            before = whole.end;
        } else {
            before = before.max(whole.end);
        }
        from = match whole.is_empty() {
            true => next(of, whole.end),
            false => whole.end,
        };
    }
    Ok(found)
}

/// The place behind the character there.
fn next(of: &str, at: usize) -> usize {
    at + of[at..].chars().next().map_or(1, char::len_utf8)
}

fn replaced<'v>(
    regex: &Regex,
    of: &str,
    replacement: &str,
    every: bool,
    asked: Asked,
) -> Result<Scalar<'v>> {
    let (mut out, mut copied, mut from) = (String::new(), 0, 0);
    while from <= of.len() {
        let Some(found) = regex.find(of, from, asked)? else { break };
        let whole = found.whole.clone();
        out.push_str(&of[copied..whole.start]);
        put(&mut out, of, &found, replacement);
        copied = whole.end;
        if !every {
            break;
        }
        from = match whole.is_empty() {
            true => next(of, whole.end),
            false => whole.end,
        };
        if out.len() > super::super::text::BYTES_MAX {
            return Err(EvalError::text("requested length too large"));
        }
    }
    out.push_str(&of[copied..]);
    Ok(text(out))
}

/// The replacement, with `\1` and `\&` put in.
fn put(out: &mut String, of: &str, found: &Match, replacement: &str) {
    let mut letters = replacement.chars().peekable();
    while let Some(letter) = letters.next() {
        let following = letters.peek().copied();
        let range = match (letter, following) {
            ('\\', Some('&')) => Some(found.whole.clone()),
            ('\\', Some(digit @ '1'..='9')) => {
                let group = digit.to_digit(10).map_or(0, |digit| digit as usize);
                found.groups.get(group - 1).cloned().flatten().or(Some(0..0))
            }
            ('\\', Some('\\')) => {
                out.push('\\');
                letters.next();
                continue;
            }
            _ => None,
        };
        match range {
            Some(range) => {
                out.push_str(&of[range]);
                letters.next();
            }
            None => out.push(letter),
        }
    }
}

fn array<'v>(types: &Types, parts: Vec<Scalar<'static>>) -> Result<Scalar<'v>> {
    write(&types.result, &flat(parts))
}
