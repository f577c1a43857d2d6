//! bytea, and digests.

use std::borrow::Cow;

use md5::{Digest as _, Md5};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::value::Scalar;

use super::super::eval::{EvalError, Result};
use super::{Table, Typed, text};

pub(super) fn register(table: &mut Table) {
    digests(table);
    table.all(&["length(bytea)", "octet_length(bytea)"], |_, a| {
        Ok(Scalar::Int(i64::try_from(a[0].bytes().len()).unwrap_or(i64::MAX)))
    });
    table.add("bit_length(bytea)", |_, a| {
        Ok(Scalar::Int(i64::try_from(a[0].bytes().len() * 8).unwrap_or(i64::MAX)))
    });
    table.add("bit_count(bytea)", |_, a| {
        Ok(Scalar::Int(a[0].bytes().iter().map(|byte| i64::from(byte.count_ones())).sum()))
    });
    table.add("get_byte(bytea,int4)", |_, a| {
        let at = usize::try_from(a[1].int()).ok();
        match at.and_then(|at| a[0].bytes().get(at)) {
            Some(byte) => Ok(Scalar::Int(i64::from(*byte))),
            None => {
                let last = a[0].bytes().len() as i64 - 1;
                let what = format!("index {} out of valid range, 0..{last}", a[1].int());
                Err(EvalError::new(what))
            }
        }
    });
    table.add("||(bytea,bytea)", |_, a| Ok(owned([a[0].bytes(), a[1].bytes()].concat())));
    table.all(&["substring(bytea,int4)", "substr(bytea,int4)"], |_, a| {
        Ok(cut(a[0].bytes(), a[1].int() - 1, i64::MAX))
    });
    table.all(&["substring(bytea,int4,int4)", "substr(bytea,int4,int4)"], |_, a| {
        if a[2].int() < 0 {
            return Err(EvalError::text("negative substring length not allowed"));
        }
        let start = a[1].int() - 1;
        Ok(cut(a[0].bytes(), start, start + a[2].int()))
    });
    table.add("encode(bytea,text)", |_, a| {
        let bytes = a[0].bytes();
        Ok(text(match a[1].str().to_ascii_lowercase().as_str() {
            "hex" => hex(bytes),
            "base64" => base64(bytes),
            "escape" => escaped(bytes),
            other => {
                return Err(EvalError::new(format!("unrecognized encoding: \"{other}\"")));
            }
        }))
    });
    table.add("decode(text,text)", |_, a| {
        let of = a[0].str();
        Ok(owned(match a[1].str().to_ascii_lowercase().as_str() {
            "hex" => of_hex(of)?,
            "base64" => of_base64(of)?,
            "escape" => of_escaped(of)?,
            other => {
                return Err(EvalError::new(format!("unrecognized encoding: \"{other}\"")));
            }
        }))
    });
}

fn digests(table: &mut Table) {
    table.add("md5(text)", |_, a| Ok(text(hex(&Md5::digest(a[0].str().as_bytes())))));
    table.add("md5(bytea)", |_, a| Ok(text(hex(&Md5::digest(a[0].bytes())))));
    table.add("sha224(bytea)", |_, a| Ok(owned(Sha224::digest(a[0].bytes()).to_vec())));
    table.add("sha256(bytea)", |_, a| Ok(owned(Sha256::digest(a[0].bytes()).to_vec())));
    table.add("sha384(bytea)", |_, a| Ok(owned(Sha384::digest(a[0].bytes()).to_vec())));
    table.add("sha512(bytea)", |_, a| Ok(owned(Sha512::digest(a[0].bytes()).to_vec())));
}

fn owned<'v>(bytes: Vec<u8>) -> Scalar<'v> {
    Scalar::Bytes(Cow::Owned(bytes))
}

fn cut<'v>(of: &[u8], start: i64, end: i64) -> Scalar<'v> {
    let place = |at: i64| usize::try_from(at.max(0)).unwrap_or(usize::MAX).min(of.len());
    let start = place(start);
    owned(of[start..place(end).max(start)].to_vec())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let written = write!(out, "{byte:02x}");
        debug_assert!(written.is_ok(), "a String takes all");
        out
    })
}

pub(super) fn of_hex(of: &str) -> Result<Vec<u8>> {
    let digit = |letter: char| {
        letter
            .to_digit(16)
            .map(|digit| digit as u8)
            .ok_or_else(|| EvalError::new(format!("invalid hexadecimal digit: \"{letter}\"")))
    };
    let mut out = Vec::with_capacity(of.len() / 2);
    let mut letters = of.chars();
    while let Some(letter) = letters.next() {
        // Between the pairs, blanks are passed over.
        if matches!(letter, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = digit(letter)?;
        let Some(low) = letters.next() else {
            return Err(EvalError::text("invalid hexadecimal data: odd number of digits"));
        };
        out.push(high << 4 | digit(low)?);
    }
    Ok(out)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// In lines of 76 letters.
fn base64(bytes: &[u8]) -> String {
    const LINE: usize = 76;
    let mut out = String::new();
    let mut line = 0;
    for chunk in bytes.chunks(3) {
        if line == LINE {
            out.push('\n');
            line = 0;
        }
        let group = chunk.iter().fold(0u32, |group, &byte| group << 8 | u32::from(byte));
        let group = group << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let index = (group >> (18 - 6 * at)) as usize & 0x3F;
            out.push(if at <= chunk.len() { char::from(BASE64[index]) } else { '=' });
        }
        line += 4;
    }
    out
}

fn of_base64(of: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(of.len() / 4 * 3);
    let (mut group, mut letters, mut end) = (0u32, 0, 0);
    for letter in of.chars().filter(|c| !matches!(c, ' ' | '\n' | '\t' | '\r')) {
        let value = if letter == '=' {
            if end == 0 {
                end = match letters {
                    2 => 1,
                    3 => 2,
                    _ => {
                        return Err(EvalError::text(
                            "unexpected \"=\" while decoding base64 sequence",
                        ));
                    }
                };
            }
            0
        } else {
            let found = BASE64.iter().position(|known| char::from(*known) == letter);
            match found {
                Some(value) if end == 0 => value as u32,
                _ => {
                    return Err(EvalError::new(format!(
                        "invalid symbol \"{letter}\" found while decoding base64 sequence"
                    )));
                }
            }
        };
        group = group << 6 | value;
        letters += 1;
        if letters == 4 {
            let bytes = group.to_be_bytes();
            let kept = if end == 0 { 3 } else { end };
            out.extend_from_slice(&bytes[1..=kept]);
            (group, letters) = (0, 0);
        }
    }
    if letters != 0 {
        return Err(EvalError::text("invalid base64 end sequence"));
    }
    Ok(out)
}

/// Zero and what has its high bit set in octal, backslashes doubled.
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        match byte {
            0 | 0x80.. => {
                out.push('\\');
                for shift in [6, 3, 0] {
                    out.push(char::from(b'0' + (byte >> shift & 7)));
                }
            }
            b'\\' => out.push_str("\\\\"),
            byte => out.push(char::from(byte)),
        }
    }
    out
}

pub(super) fn of_escaped(of: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(of.len());
    let mut rest = of.as_bytes();
    while let [byte, after @ ..] = rest {
        match rest {
            [b'\\', b'\\', after @ ..] => {
                out.push(b'\\');
                rest = after;
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            [b'\\', ..] => return Err(EvalError::text("invalid input syntax for type bytea")),
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    Ok(out)
}
