//! What TOML cannot read.

use super::*;

#[test]
fn unclosed_string() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"slot = "readside"#), @r#"
    error: TOML: invalid basic string, expected `"`
     --> readside.toml:4:17
      |
    4 | slot = "readside
      |                 ^
    "#);
}

#[test]
fn missing_value() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "slot ="), @r#"
    error: TOML: string values must be quoted, expected literal string
     --> readside.toml:4:7
      |
    4 | slot =
      |       ^
    "#);
}

#[test]
fn unquoted_string() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "slot = readside"), @r#"
    error: TOML: string values must be quoted, expected literal string
     --> readside.toml:4:8
      |
    4 | slot = readside
      |        ^^^^^^^^
    "#);
}

#[test]
fn duplicate_key() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "slot = \"a\"\nslot = \"b\""), @r#"
    error: TOML: duplicate key
     --> readside.toml:5:1
      |
    5 | slot = "b"
      | ^^^^
    "#);
}

#[test]
fn duplicate_table() {
    insta::assert_snapshot!(faults("[http]", "[state]"), @r#"
    error: TOML: duplicate key
     --> readside.toml:9:2
      |
    9 | [state]
      |  ^^^^^

    error: unknown key `listen` in [state]
      --> readside.toml:10:1
       |
    10 | listen = "127.0.0.1:7433"
       | ^^^^^^
       |
    hint: known here: `dir`, `memory`, `tombstones`
    "#);
}

#[test]
fn unclosed_table() {
    insta::assert_snapshot!(faults("[http]", "[http"), @r#"
    error: TOML: unclosed table, expected `]`
     --> readside.toml:9:6
      |
    9 | [http
      |      ^
    "#);
}

#[test]
fn bad_escape() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"slot = "\q""#), @r#"
    error: TOML: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\`, `"`, `x`, `u`, `U`
     --> readside.toml:4:10
      |
    4 | slot = "\q"
      |          ^
    "#);
}

#[test]
fn number_too_large() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "load_rows_per_second = 99999999999999999999"), @r#"
    error: the number is too large
     --> readside.toml:4:24
      |
    4 | load_rows_per_second = 99999999999999999999
      |                        ^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_date() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "slot = 2024-01-01"), @r#"
    error: no key takes a date: write a string
     --> readside.toml:4:8
      |
    4 | slot = 2024-01-01
      |        ^^^^^^^^^^
    "#);
}

#[test]
fn what_else_can_be_told() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "slot = \nslott = 1\nwal_budget = true"), @r#"
    error: TOML: string values must be quoted, expected literal string
     --> readside.toml:4:8
      |
    4 | slot = 
      |        ^

    error: unknown key `slott` in [source]
     --> readside.toml:5:1
      |
    5 | slott = ***
      | ^^^^^
      |
    hint: did you mean `slot`?

    error: `wal_budget` takes a size such as "256MiB", not true or false
     --> readside.toml:6:14
      |
    6 | wal_budget = true
      |              ^^^^
    "#);
}

#[test]
fn nothing_is_missed_for_certain_in_a_broken_file() {
    // Half a file: what is missing may only not have been recognised.
    insta::assert_snapshot!(faults_of("[source\nurl = \"x", &[]), @r#"
    error: TOML: unclosed table, expected `]`
     --> readside.toml:1:8
      |
    1 | [source
      |        ^

    error: unknown key `url` in the configuration
     --> readside.toml:2:1
      |
    2 | url = ***
      | ^^^
      |
    hint: known here: `source`, `state`, `http`, `ha`, `sink`, `projection`, `event`
    "#);
}

#[test]
fn columns_count_characters() {
    insta::assert_snapshot!(faults("\"order:{order_id}\"", "\"größe→:{}\""), @r#"
    error: `hash` is no template: `{}` names no column
      --> readside.toml:30:20
       |
    30 |   { hash = "größe→:{}" },
       |                    ^
       |
    hint: write columns in braces, as in "order:{order_id}"; {{ and }} are braces
    "#);
}

#[test]
fn windows_line_ends() {
    let text = edited("slot = \"readside\"", "slot = 5").replace('\n', "\r\n");
    insta::assert_snapshot!(faults_of(&text, &[]), @r#"
    error: `slot` takes a string, not a whole number
     --> readside.toml:4:8
      |
    4 | slot = 5
      |        ^
    "#);
}
