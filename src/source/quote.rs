//! Names and strings as SQL text, for statements that take no parameters.

use std::fmt::Write as _;

/// `"name"`, always in quotes: right for every name and every keyword.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`. Every session of ours has standard_conforming_strings on.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// As a person would type it: in quotes only where Postgres needs them.
pub(super) fn readable(name: &str) -> String {
    let mut chars = name.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !is_reserved(name);
    if plain { name.to_owned() } else { identifier(name) }
}

/// Each item by `text`, separated by commas.
pub(crate) fn list<T>(items: impl IntoIterator<Item = T>, text: impl Fn(T) -> String) -> String {
    let mut out = String::new();
    for item in items {
        if !out.is_empty() {
            out.push_str(", ");
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "{}", text(item));
    }
    out
}

/// Words that cannot be a table's, column's or role's name without quotes (manual, appendix C). One
/// that is missing here is still quoted in the statements that we run.
fn is_reserved(word: &str) -> bool {
    const RESERVED: [&str; 77] = [
        "all",
        "analyse",
        "analyze",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "asymmetric",
        "both",
        "case",
        "cast",
        "check",
        "collate",
        "column",
        "constraint",
        "create",
        "current_catalog",
        "current_date",
        "current_role",
        "current_time",
        "current_timestamp",
        "current_user",
        "default",
        "deferrable",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "false",
        "fetch",
        "for",
        "foreign",
        "from",
        "grant",
        "group",
        "having",
        "in",
        "initially",
        "intersect",
        "into",
        "lateral",
        "leading",
        "limit",
        "localtime",
        "localtimestamp",
        "not",
        "null",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "placing",
        "primary",
        "references",
        "returning",
        "select",
        "session_user",
        "some",
        "symmetric",
        "system_user",
        "table",
        "then",
        "to",
        "trailing",
        "true",
        "union",
        "unique",
        "user",
        "using",
        "variadic",
        "when",
        "where",
        "window",
    ];
    RESERVED.binary_search(&word).is_ok() || word == "with"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_needed() {
        assert_eq!(readable("orders"), "orders");
        assert_eq!(readable("Group"), "\"Group\"");
        assert_eq!(readable("group"), "\"group\"");
        assert_eq!(readable("user"), "\"user\"");
        assert_eq!(readable("a\"b"), "\"a\"\"b\"");
        assert_eq!(readable("1a"), "\"1a\"");
        assert_eq!(readable(""), "\"\"");
        assert_eq!(literal("it's \\n"), "'it''s \\n'");
        assert_eq!(list([1, 2, 3], |n| n.to_string()), "1, 2, 3");
    }
}
