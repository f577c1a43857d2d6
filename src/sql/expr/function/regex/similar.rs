//! SIMILAR TO: its patterns as regular expressions.

use super::super::super::eval::Result;
use super::refused;

/// As PostgreSQL writes it (`similar_escape`); `escape` makes the character behind it a plain one.
pub(in super::super::super) fn from_similar(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut out = String::from("^(?:");
    let mut within_brackets = false;
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if Some(letter) == escape {
            match letters.next() {
                None => return Err(refused("it ends in an escape")),
                Some('"') => return Err(refused("parts of SIMILAR TO are not supported")),
                Some(escaped) => out.extend(['\\', escaped]),
            }
            continue;
        }
        match letter {
            ']' if within_brackets => within_brackets = false,
            '\\' => out.push('\\'),
            _ if within_brackets => {}
            '[' => within_brackets = true,
            '%' => {
                out.push_str(".*");
                continue;
            }
            '_' => {
                out.push('.');
                continue;
            }
            '(' => {
                out.push_str("(?:");
                continue;
            }
            '.' | '^' | '$' => out.push('\\'),
            _ => {}
        }
        out.push(letter);
    }
    out.push_str(")$");
    Ok(out)
}
