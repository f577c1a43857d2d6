//! Table names as SQL writes them: `orders`, `shop.orders`, `"Group"`, `shop."Order ""X"""`.

use std::ops::Range;

/// Postgres' NAMEDATALEN - 1: longer names are cut silently there, so they are refused here.
const NAME_BYTES_MAX: usize = 63;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    pub(super) schema: String,
    pub(super) name: String,
}

/// Text that is no table name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameError {
    /// In the text.
    pub(super) span: Range<usize>,
    pub(super) what: &'static str,
}

/// Folds unquoted identifiers as Postgres does; without a schema it is `public`.
pub(super) fn parse(text: &str) -> Result<TableName, NameError> {
    let mut parts = Vec::new();
    let mut at = skip_space(text, 0);
    loop {
        let (name, end) = identifier(text, at)?;
        if name.len() > NAME_BYTES_MAX {
            return Err(NameError {
                span: at..end,
                what: "a name in Postgres has at most 63 bytes",
            });
        }
        parts.push(name);
        at = skip_space(text, end);
        if !text[at..].starts_with('.') {
            break;
        }
        at = skip_space(text, at + 1);
    }
    if at < text.len() {
        let what = "unexpected text after the table's name; a name with such characters needs \
                    double quotes";
        return Err(NameError { span: at..text.len(), what });
    }
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => Ok(TableName { schema: "public".to_owned(), name }),
        (Some(schema), Some(name), None) => Ok(TableName { schema, name }),
        _ => Err(NameError {
            span: 0..text.len(),
            what: "a table's name has at most two parts, schema and table",
        }),
    }
}

/// The identifier at `at`, folded or unquoted, and where it ends.
fn identifier(text: &str, at: usize) -> Result<(String, usize), NameError> {
    let rest = &text[at..];
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut name = String::new();
        let mut from = 0;
        while let Some(quote) = quoted[from..].find('"') {
            name.push_str(&quoted[from..from + quote]);
            from += quote + 1;
            if quoted[from..].starts_with('"') {
                name.push('"');
                from += 1;
                continue;
            }
            let end = at + 1 + from;
            return match name.is_empty() {
                true => Err(NameError { span: at..end, what: "a quoted name is empty" }),
                false => Ok((name, end)),
            };
        }
        return Err(NameError { span: at..text.len(), what: "a double quote is never closed" });
    }
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let goes_on = |c: char| starts(c) || c.is_ascii_digit() || c == '$';
    if !rest.starts_with(starts) {
        let end = at + rest.chars().next().map_or(0, char::len_utf8);
        let what = "expected a table's name, as SQL writes it";
        return Err(NameError { span: at..end, what });
    }
    let len = rest.find(|c| !goes_on(c)).unwrap_or(rest.len());
    Ok((rest[..len].to_ascii_lowercase(), at + len))
}

fn skip_space(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start().len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_fold_as_in_sql() {
        for (text, schema, name) in [
            ("orders", "public", "orders"),
            ("Orders", "public", "orders"),
            ("\"Orders\"", "public", "Orders"),
            ("shop.Orders", "shop", "orders"),
            ("\"My Shop\" . \"a.\"\"b\"\"\"", "My Shop", "a.\"b\""),
            ("größe$1", "public", "größe$1"),
            ("ÄPFEL", "public", "Äpfel"),
        ] {
            let expected = TableName { schema: schema.to_owned(), name: name.to_owned() };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn faults_have_their_place() {
        let span = |text: &str| parse(text).map_err(|e| e.span);
        assert_eq!(span(""), Err(0..0));
        assert_eq!(span("a b"), Err(2..3));
        assert_eq!(span("a."), Err(2..2));
        assert_eq!(span("1a"), Err(0..1));
        assert_eq!(span("a.b.c"), Err(0..5));
        assert_eq!(span("order-items"), Err(5..11));
        assert_eq!(span("\"a"), Err(0..2));
        assert_eq!(span("a.\"\""), Err(2..4));
        assert_eq!(span(&"a".repeat(64)), Err(0..64));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_inside(text in "[a\". é1]{0,10}") {
            if let Err(error) = parse(&text) {
                prop_assert!(text.get(error.span).is_some());
            }
        }
    }
}
