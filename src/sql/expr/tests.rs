//! What no server is needed for: no text makes the compiler panic, and rows of NULLs do not either.

use proptest::prelude::*;

use super::{Collation, Expr, Fault, Field, Names, Row, Ty};
use crate::value::{NULL, Type};

/// A column of each of some types, all NULL.
struct Nulls;

const COLUMNS: [(&str, u32); 12] = [
    ("i", 23),
    ("n", 1700),
    ("f", 701),
    ("b", 16),
    ("s", 25),
    ("d", 1082),
    ("t", 1184),
    ("v", 1186),
    ("j", 3802),
    ("a", 1007),
    ("u", 2950),
    ("y", 17),
];

impl Names for Nulls {
    fn column(&self, path: &[sqlparser::ast::Ident]) -> Result<Field, Fault> {
        let name = path.last().map(|name| name.value.as_str()).unwrap_or_default();
        let position = COLUMNS.iter().position(|(known, _)| *known == name);
        let position = position.ok_or_else(|| Fault::new("there is no such column"))?;
        let oid = COLUMNS[position].1;
        let stored = match oid {
            1007 => Type::Array(Box::new(Type::Int4), b','),
            oid => crate::value::resolve(oid, &std::collections::HashMap::new()),
        };
        let (name, collation) = (stored.to_string(), Collation::Default);
        let ty = Ty { oid, typmod: -1, stored, name, collation, not_null: false };
        Ok(Field { position, ty })
    }
}

fn compile(text: &str) -> Result<Expr, Fault> {
    Expr::parse(text, &Nulls)
}

/// The datum for a row of NULLs.
fn eval(expr: &Expr) -> Option<Vec<u8>> {
    let bytes = [NULL; COLUMNS.len()];
    let ranges: Vec<_> = (0..COLUMNS.len()).map(|at| at..at + 1).collect();
    let mut out = Vec::new();
    expr.eval(Row { bytes: &bytes, ranges: &ranges }, &mut out).ok().map(|()| out)
}

#[test]
fn equal_expressions_are_equal() {
    assert_eq!(compile("i + 1").unwrap(), compile("(i) + 1").unwrap());
    assert_ne!(compile("i + 1").unwrap(), compile("i + 2").unwrap());
    assert_ne!(compile("i = 1").unwrap(), compile("i <> 1").unwrap());
}

#[test]
fn a_column_is_recognised() {
    assert_eq!(compile("(n)").unwrap().as_column(), Some(1));
    assert_eq!(compile("n + 1").unwrap().as_column(), None);
}

#[test]
fn faults_say_what_and_where() {
    for (text, what, start) in [
        ("1 + lenght(s)", "the function lenght is not known here", 4),
        ("i + now()", "now reads the clock", 4),
        ("i + x", "there is no such column", 4),
        ("1 / 0", "division by zero", 0),
        (
            "i = 1 AND s ~ 'a(?=b)'",
            "regular expression: looking ahead and behind is not supported",
            10,
        ),
        ("i + s", "there is no operator integer + text", 0),
    ] {
        let fault = compile(text).unwrap_err();
        assert_eq!((fault.what.as_str(), fault.span.start), (what, start), "{text}");
    }
    assert_eq!(compile("lenght(s)").unwrap_err().hint.unwrap(), "did you mean length?");
}

/// The names' own database is not known to order by bytes.
#[test]
fn texts_are_ordered_by_their_bytes_alone() {
    for text in
        ["s < 'b'", "s BETWEEN 'a' AND 'b'", "greatest(s, 'x')", "j < j", "s >= ALL ('{a}')"]
    {
        assert_eq!(compile(text).unwrap_err().what, "texts are not ordered here", "{text}");
    }
    for text in
        ["s = 'b'", "s COLLATE \"C\" < 'b'", "'b' > s COLLATE \"POSIX\"", "s LIKE 'a%'", "j = j"]
    {
        assert!(compile(text).is_ok(), "{text}");
    }
    assert!(compile("s COLLATE \"C\" = s COLLATE \"C.UTF-8\"").is_err());
}

#[test]
fn depth_is_bounded() {
    let chain = vec!["i = 1"; 240].join(" OR ");
    assert!(eval(&compile(&chain).unwrap()).is_some());
    let sum = vec!["i"; 400].join(" + ");
    assert_eq!(compile(&sum).unwrap_err().what, "the expression is nested too deep");
    for (open, close) in [("(", ")"), ("abs(", ")"), ("ARRAY[", "]"), ("CASE WHEN b THEN ", " END")]
    {
        let nested = format!("{}i{}", open.repeat(300), close.repeat(300));
        assert!(compile(&nested).is_err(), "{open}");
    }
}

const WORDS: &[&str] = &[
    "i",
    "n",
    "f",
    "b",
    "s",
    "d",
    "t",
    "v",
    "j",
    "a",
    "u",
    "y",
    "1",
    "0",
    "2.5",
    "'a'",
    "'1'",
    "'{}'",
    "NULL",
    "TRUE",
    "(",
    ")",
    "(",
    ")",
    ",",
    "+",
    "-",
    "*",
    "/",
    "%",
    "=",
    "<",
    "<>",
    "||",
    "->",
    "->>",
    "#>",
    "@>",
    "?",
    "AND",
    "OR",
    "NOT",
    "IS",
    "IN",
    "BETWEEN",
    "LIKE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "::",
    "int",
    "text",
    "numeric(3,1)",
    "date",
    "jsonb",
    "int[]",
    "ARRAY[",
    "]",
    "[",
    "abs(",
    "coalesce(",
    "nullif(",
    "concat(",
    "substring(",
    "FROM",
    "FOR",
    "extract(",
    "year",
    "date_trunc(",
    "interval",
    "AT TIME ZONE",
    "'UTC'",
    "jsonb_build_object(",
    "to_jsonb(",
    "greatest(",
    "ANY",
    "x.y",
    "COLLATE",
    "\"C\"",
    "DISTINCT",
    "round(",
    "split_part(",
    "format(",
    "'%s'",
    "lpad(",
    "trim(",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_text_panics(words in prop::collection::vec(prop::sample::select(WORDS), 1..14)) {
        if let Ok(expr) = compile(&words.join(" ")) {
            eval(&expr);
        }
    }

    #[test]
    fn no_characters_panic(text in any::<String>()) {
        if let Ok(expr) = compile(&text) {
            eval(&expr);
        }
    }
}
