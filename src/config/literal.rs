//! Strings as the file writes them: where each byte of the value stands in the file, and `${NAME}`.
//!
//! ```text
//! string = { character | "$${" (a literal "${") | "${" NAME "}" }
//! NAME   = letter or "_", then letters, digits and "_"
//! ```

use std::ops::Range;

use super::environment::{Environment, Missing};

/// A string's value and, for each of its bytes and its end, the offset in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) value: String,
    pub(super) offsets: Vec<usize>,
}

impl Mapped {
    fn new(end: usize) -> Self {
        Self { value: String::new(), offsets: vec![end] }
    }

    /// Appends text whose bytes all come from one place.
    fn push(&mut self, text: &str, from: Range<usize>) {
        self.offsets.pop();
        self.offsets.extend(std::iter::repeat_n(from.start, text.len()));
        self.offsets.push(from.end);
        self.value.push_str(text);
    }

    /// Every byte comes from the whole literal: used where the mapping cannot be told.
    pub(super) fn opaque(value: &str, span: &Range<usize>) -> Self {
        let mut mapped = Self::new(span.end);
        mapped.push(value, span.clone());
        mapped
    }

    /// Reads a TOML string literal again, this time with offsets. `value` is what the TOML parser
    /// made of it; where the two disagree, the parser is right and the mapping is given up.
    pub(super) fn of_literal(literal: &str, at: usize, value: &str) -> Self {
        let span = at..at + literal.len();
        match scan(literal, at) {
            Some(mapped) if mapped.value == value => mapped,
            _ => Self::opaque(value, &span),
        }
    }
}

fn scan(literal: &str, at: usize) -> Option<Mapped> {
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|q| literal.starts_with(q))?;
    let basic = quote.starts_with('"');
    let body = literal.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut start = at + quote.len();
    let mut rest = body;
    if quote.len() == 3 {
        for newline in ["\r\n", "\n"] {
            if let Some(after) = rest.strip_prefix(newline) {
                (rest, start) = (after, start + newline.len());
                break;
            }
        }
    }
    let end = start + rest.len();
    let mut mapped = Mapped::new(start);
    loop {
        if let Some(after) = basic.then(|| continued_line(rest)).flatten() {
            rest = after;
            continue;
        }
        let Some(c) = rest.chars().next() else { break };
        let from = end - rest.len();
        let (c, used) = if basic && c == '\\' { escape(rest)? } else { (c, c.len_utf8()) };
        mapped.push(c.encode_utf8(&mut [0; 4]), from..from + used);
        rest = &rest[used..];
    }
    Some(mapped)
}

/// A backslash at a line's end swallows the white space that follows: what comes after that.
fn continued_line(text: &str) -> Option<&str> {
    let after = text.strip_prefix('\\')?;
    let rest = after.trim_start_matches([' ', '\t', '\r', '\n']);
    after[..after.len() - rest.len()].contains('\n').then_some(rest)
}

/// The character that an escape stands for, and the escape's length.
fn escape(text: &str) -> Option<(char, usize)> {
    let kind = text[1..].chars().next()?;
    let simple = |c| Some((c, 2));
    let code = |digits: usize| {
        let number = u32::from_str_radix(text.get(2..2 + digits)?, 16).ok()?;
        Some((char::from_u32(number)?, 2 + digits))
    };
    match kind {
        'b' => simple('\u{8}'),
        't' => simple('\t'),
        'n' => simple('\n'),
        'f' => simple('\u{c}'),
        'r' => simple('\r'),
        'e' => simple('\u{1b}'),
        '"' => simple('"'),
        '\\' => simple('\\'),
        'x' => code(2),
        'u' => code(4),
        'U' => code(8),
        _ => None,
    }
}

/// What was wrong with a `${`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReferenceFault {
    /// In the file.
    pub(super) span: Range<usize>,
    pub(super) kind: ReferenceFaultKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReferenceFaultKind {
    Unclosed,
    BadName,
    Missing(String, Missing),
}

/// Replaces every `${NAME}`. The second answer says whether anything was replaced.
pub(super) fn substitute(
    text: Mapped,
    environment: &Environment,
) -> Result<(Mapped, bool), Vec<ReferenceFault>> {
    if !text.value.contains("${") {
        return Ok((text, false));
    }
    let span = |range: Range<usize>| text.offsets[range.start]..text.offsets[range.end];
    let mut result = Mapped::new(text.offsets[0]);
    let mut faults = Vec::new();
    let mut replaced = false;
    let mut at = 0;
    while let Some(found) = text.value[at..].find("${") {
        let dollar = at + found;
        if text.value[at..dollar].ends_with('$') {
            copy(&mut result, &text, at..dollar - 1);
            result.push("${", span(dollar - 1..dollar + 2));
            at = dollar + 2;
            continue;
        }
        copy(&mut result, &text, at..dollar);
        let after = &text.value[dollar + 2..];
        let name_len =
            after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let name = &after[..name_len];
        let closed = after[name_len..].starts_with('}');
        at = dollar + 2 + name_len + usize::from(closed);
        let fault = match (closed, name.bytes().next()) {
            (false, _) if !after.contains('}') => Some(ReferenceFaultKind::Unclosed),
            (true, Some(first)) if !first.is_ascii_digit() => match environment.get(name) {
                Ok(value) => {
                    result.push(value, span(dollar..at));
                    replaced = true;
                    None
                }
                Err(missing) => Some(ReferenceFaultKind::Missing(name.to_owned(), missing)),
            },
            _ => Some(ReferenceFaultKind::BadName),
        };
        faults.extend(fault.map(|kind| ReferenceFault { span: span(dollar..at), kind }));
    }
    copy(&mut result, &text, at..text.value.len());
    if faults.is_empty() { Ok((result, replaced)) } else { Err(faults) }
}

/// Appends a part of `from`, each byte from its own place.
fn copy(to: &mut Mapped, from: &Mapped, range: Range<usize>) {
    to.offsets.pop();
    to.offsets.extend_from_slice(&from.offsets[range.start..=range.end]);
    to.value.push_str(&from.value[range]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapped(document: &str) -> (Mapped, String) {
        let table = toml::de::DeTable::parse(document).expect("valid TOML");
        let value = table.get_ref().values().next().expect("one key");
        let literal = &document[value.span()];
        let text = value.get_ref().as_str().expect("a string");
        (Mapped::of_literal(literal, value.span().start, text), text.to_owned())
    }

    #[test]
    fn every_kind_of_literal_is_mapped() {
        for document in [
            "a = \"x{é}\\t{b}\\u00e9c\"",
            "a = 'x\\{é}'",
            "a = \"\"\"\nx\n  {y}\\\n   z\"\"\"",
            "a = \"\"\"\\\n   \\\n  z{é}\"\"\"",
            "a = '''\nx\n'y'\n'''",
            "a = \"\"\"x\"\"\"\"\"",
        ] {
            let (mapped, text) = mapped(document);
            assert_eq!(mapped.value, text, "{document}");
            assert_eq!(mapped.offsets.len(), text.len() + 1, "{document}");
            for (at, c) in text.char_indices().filter(|(_, c)| c.is_alphabetic()) {
                let from = &document[mapped.offsets[at]..];
                assert!(from.starts_with(c) || from.starts_with('\\'), "{document}: {c} at {from}");
            }
        }
    }

    #[test]
    fn substitution_keeps_places() {
        let environment = Environment::of([("A", "one"), ("EMPTY", "")]);
        let (text, _) = mapped("a = 'x${A}y$${A}z${EMPTY}'");
        let (text, replaced) = substitute(text, &environment).expect("all are set");
        assert_eq!(text.value, "xoney${A}z");
        assert!(replaced);
        assert_eq!(text.offsets, [5, 6, 6, 6, 10, 11, 11, 14, 15, 16, 25]);
    }

    #[test]
    fn faults_name_their_span() {
        let environment = Environment::of([("A", "one")]);
        let (text, _) = mapped("a = 'x${B} ${1} ${} ${A B} ${C'");
        let faults = substitute(text, &environment).expect_err("five faults");
        let spans: Vec<_> = faults.iter().map(|fault| fault.span.clone()).collect();
        assert_eq!(spans, [6..10, 11..15, 16..19, 20..23, 27..30]);
    }

    proptest! {
        #[test]
        fn any_string_survives(text in "[$\\{}A_ \\\\\"'\n\té]{0,16}") {
            let document = format!("a = {}", toml::Value::String(text.clone()));
            let (read, parsed) = mapped(&document);
            prop_assert_eq!(&read.value, &parsed);
            prop_assert_eq!(read.offsets.len(), parsed.len() + 1);
            if let Ok((text, _)) = substitute(read, &Environment::of([("A", "x")])) {
                prop_assert_eq!(text.offsets.len(), text.value.len() + 1);
                prop_assert!(text.offsets.is_sorted());
            }
        }
    }
}
