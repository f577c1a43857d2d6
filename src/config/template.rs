//! Templates: text with column names in braces; `{{` and `}}` are braces.
//!
//! ```text
//! template = { literal | "{{" | "}}" | "{" column "}" }
//! ```

use std::fmt;
use std::ops::Range;

use crate::value::Column;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// No two literals follow each other, and none is empty.
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Literal(String),
    /// The exact name of a column of the row.
    Column(String),
}

/// Text that is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct TemplateError {
    /// The byte of the text where it goes wrong.
    pub offset: usize,
    pub kind: TemplateErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateErrorKind {
    Empty,
    Unclosed,
    Unopened,
    EmptyName,
    BraceInName,
}

impl fmt::Display for TemplateErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the template is empty",
            Self::Unclosed => "`{` is never closed",
            Self::Unopened => "`}` closes nothing",
            Self::EmptyName => "`{}` names no column",
            Self::BraceInName => "`{` inside a column's name",
        })
    }
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let error = |offset, kind| Err(TemplateError { offset, kind });
        if text.is_empty() {
            return error(0, TemplateErrorKind::Empty);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let offset = text.len() - rest.len() + brace;
            literal.push_str(&rest[..brace]);
            let after = &rest[brace + 1..];
            let opens = rest.as_bytes()[brace] == b'{';
            if let Some(after) = after.strip_prefix(if opens { '{' } else { '}' }) {
                literal.push(if opens { '{' } else { '}' });
                rest = after;
                continue;
            }
            if !opens {
                return error(offset, TemplateErrorKind::Unopened);
            }
            let Some(end) = after.find(['{', '}']) else {
                return error(offset, TemplateErrorKind::Unclosed);
            };
            if after.as_bytes()[end] == b'{' {
                return error(offset + 1 + end, TemplateErrorKind::BraceInName);
            }
            if end == 0 {
                return error(offset, TemplateErrorKind::EmptyName);
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Column(after[..end].to_owned()));
            rest = &after[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    /// The columns' names, in the template's order, with repetitions.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Column(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The byte range of each part in the template's text, braces included.
    pub fn spans(&self) -> impl Iterator<Item = Range<usize>> {
        self.parts.iter().scan(0, |at, part| {
            let start = *at;
            *at += match part {
                Part::Literal(text) => text.len() + text.matches(['{', '}']).count(),
                Part::Column(name) => name.len() + 2,
            };
            Some(start..*at)
        })
    }

    /// What two templates share that make the same strings from the same values, whatever their
    /// columns are called.
    pub fn pattern(&self) -> String {
        self.parts.iter().fold(String::new(), |mut pattern, part| {
            match part {
                Part::Literal(text) => {
                    pattern.push_str(&text.replace('{', "{{").replace('}', "}}"));
                }
                Part::Column(_) => pattern.push_str("{}"),
            }
            pattern
        })
    }

    /// Looks the columns up once, so that no name is needed per row.
    pub fn compile(&self, columns: &[Column]) -> Result<CompiledTemplate, UnknownColumn> {
        let compile = |part: &Part| match part {
            Part::Literal(text) => Ok(CompiledPart::Literal(text.as_bytes().into())),
            Part::Column(name) => columns
                .iter()
                .position(|column| column.name == *name)
                .map(CompiledPart::Column)
                .ok_or_else(|| UnknownColumn(name.clone())),
        };
        Ok(CompiledTemplate { parts: self.parts.iter().map(compile).collect::<Result<_, _>>()? })
    }
}

/// The template as it is written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Literal(text) => {
                    f.write_str(&text.replace('{', "{{").replace('}', "}}"))?;
                }
                Part::Column(name) => write!(f, "{{{name}}}")?,
            }
        }
        Ok(())
    }
}

/// A template over the columns of one projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledTemplate {
    pub parts: Vec<CompiledPart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompiledPart {
    Literal(Box<[u8]>),
    /// Position of the column in the row; its text is put in, and a NULL there means: no entry.
    Column(usize),
}

/// A template names a column that the projection does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no column is called `{0}`")]
pub struct UnknownColumn(pub String);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use TemplateErrorKind::*;

    fn literal(text: &str) -> Part {
        Part::Literal(text.to_owned())
    }

    fn column(name: &str) -> Part {
        Part::Column(name.to_owned())
    }

    #[test]
    fn parts() {
        let parts = |text| Template::parse(text).expect("valid").parts;
        assert_eq!(parts("order:{order_id}"), [literal("order:"), column("order_id")]);
        assert_eq!(parts("{a}{b}x"), [column("a"), column("b"), literal("x")]);
        assert_eq!(parts("{{{id}}}"), [literal("{"), column("id"), literal("}")]);
        assert_eq!(parts("{{id}}"), [literal("{id}")]);
        assert_eq!(parts("plain"), [literal("plain")]);
        assert_eq!(parts("{Größe (cm)}"), [column("Größe (cm)")]);
    }

    #[test]
    fn errors_say_where() {
        let error = |text| Template::parse(text).map_err(|e| (e.offset, e.kind));
        assert_eq!(error(""), Err((0, Empty)));
        assert_eq!(error("a:{b"), Err((2, Unclosed)));
        assert_eq!(error("a}"), Err((1, Unopened)));
        assert_eq!(error("a{}"), Err((1, EmptyName)));
        assert_eq!(error("a{b{c}"), Err((3, BraceInName)));
        assert_eq!(error("{a}}"), Err((3, Unopened)));
    }

    #[test]
    fn patterns_forget_names_only() {
        let pattern = |text| Template::parse(text).expect("valid").pattern();
        assert_eq!(pattern("o:{a}:{b}"), pattern("o:{x}:{y}"));
        assert_ne!(pattern("o:{a}"), pattern("o:{{}}"));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_points_into_it(text in "[{}a:é]{0,12}") {
            match Template::parse(&text) {
                Ok(template) => {
                    prop_assert_eq!(template.to_string(), text.as_str());
                    let end = template.spans().last().map(|span| span.end);
                    prop_assert_eq!(end, Some(text.len()));
                }
                Err(error) => prop_assert!(text.is_char_boundary(error.offset)),
            }
        }
    }
}
