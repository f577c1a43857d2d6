//! Faults in `[source]`, `[state]` and `[http]`.

use super::*;

#[test]
fn unknown_key() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"slott = "x""#), @r#"
    error: unknown key `slott` in [source]
     --> readside.toml:4:1
      |
    4 | slott = ***
      | ^^^^^
      |
    hint: did you mean `slot`?
    "#);
}

#[test]
fn unknown_key_without_a_near_one() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"colour = "x""#), @r#"
    error: unknown key `colour` in [source]
     --> readside.toml:4:1
      |
    4 | colour = ***
      | ^^^^^^
      |
    hint: known here: `url`, `password`, `password_file`, `slot`, `publication`, `on_slot_loss`, `wal_budget`, `on_wal_budget`, `load_rows_per_second`, `accept_system`
    "#);
}

#[test]
fn unknown_section() {
    insta::assert_snapshot!(faults("[state]", "[sate]"), @r#"
    error: unknown key `sate` in the configuration
     --> readside.toml:6:2
      |
    6 | [sate]
      |  ^^^^
      |
    hint: did you mean `state`?
    "#);
}

#[test]
fn section_is_no_table() {
    insta::assert_snapshot!(faults("[http]\nlisten = \"127.0.0.1:7433\"", "[http.listen]"), @r#"
    error: `listen` takes a string, not a table
     --> readside.toml:9:1
      |
    9 | [http.listen]
      | ^^^^^^^^^^^^^
    "#);
}

#[test]
fn source_without_url() {
    insta::assert_snapshot!(faults("url = \"postgres://readside@db/shop\"\n", ""), @r#"
    error: [source] has no `url`
     --> readside.toml:2:2
      |
    2 | [source]
      |  ^^^^^^
      |
    hint: write url = "postgres://user@host:5432/database"
    "#);
}

#[test]
fn no_source() {
    insta::assert_snapshot!(faults("[source]\nurl = \"postgres://readside@db/shop\"\nslot = \"readside\"\n", ""), @r#"
    error: [source] has no `url`
     |
    hint: write url = "postgres://user@host:5432/database"
    "#);
}

#[test]
fn source_url_of_another_kind() {
    insta::assert_snapshot!(faults(r#"url = "postgres://readside@db/shop""#, r#"url = "mysql://readside@db/shop""#), @r#"
    error: `url` begins with postgres:// or postgresql:// here
     --> readside.toml:3:7
      |
    3 | url = "mysql://***@db/shop"
      |       ^^^^^^^^^^^^^^^^^^^^^
      |
    hint: write url = "postgres://user@host:5432/database"
    "#);
}

#[test]
fn source_url_is_none() {
    insta::assert_snapshot!(faults(r#"url = "postgres://readside@db/shop""#, r#"url = "host=db password=x""#), @r#"
    error: `url` is no URL
     --> readside.toml:3:7
      |
    3 | url = ***
      |       ^^^
      |
    hint: write url = "postgres://user@host:5432/database"
    "#);
}

#[test]
fn wrong_type() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "slot = 5"), @r#"
    error: `slot` takes a string, not a whole number
     --> readside.toml:4:8
      |
    4 | slot = 5
      |        ^
    "#);
}

#[test]
fn bad_slot() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"slot = "Read-Side""#), @r#"
    error: `slot` takes 1 to 63 lower case letters, digits and underscores
     --> readside.toml:4:8
      |
    4 | slot = "Read-Side"
      |        ^^^^^^^^^^^
    "#);
}

#[test]
fn bad_publication() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"publication = """#), @r#"
    error: `publication` takes a name of 1 to 63 bytes
     --> readside.toml:4:15
      |
    4 | publication = ""
      |               ^^
    "#);
}

#[test]
fn bad_choice() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"on_slot_loss = "relaod""#), @r#"
    error: `on_slot_loss` takes "reload" or "stop", not `relaod`
     --> readside.toml:4:16
      |
    4 | on_slot_loss = "relaod"
      |                ^^^^^^^^
      |
    hint: did you mean "reload"?
    "#);
}

#[test]
fn bad_choice_far() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"on_wal_budget = "explode""#), @r#"
    error: `on_wal_budget` takes "hold" or "drop-slot", not `explode`
     --> readside.toml:4:17
      |
    4 | on_wal_budget = "explode"
      |                 ^^^^^^^^^
    "#);
}

#[test]
fn size_without_known_unit() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"wal_budget = "20GB""#), @r#"
    error: `wal_budget` takes a size, but `20GB` has no unit that is known here
     --> readside.toml:4:14
      |
    4 | wal_budget = "20GB"
      |              ^^^^^^
      |
    hint: write a whole number with B, KiB, MiB, GiB or TiB, such as "256MiB"
    "#);
}

#[test]
fn size_with_a_fraction() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"wal_budget = "1.5GiB""#), @r#"
    error: `wal_budget` takes a size, but `1.5GiB` has a fraction
     --> readside.toml:4:14
      |
    4 | wal_budget = "1.5GiB"
      |              ^^^^^^^^
      |
    hint: write a whole number with B, KiB, MiB, GiB or TiB, such as "256MiB"
    "#);
}

#[test]
fn size_is_a_float() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "wal_budget = 1.5"), @r#"
    error: `wal_budget` takes a size such as "256MiB", not a number with a fraction
     --> readside.toml:4:14
      |
    4 | wal_budget = 1.5
      |              ^^^
    "#);
}

#[test]
fn size_is_negative() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "wal_budget = -1"), @r#"
    error: `wal_budget` takes a size, but `-1` is not a number with a unit
     --> readside.toml:4:14
      |
    4 | wal_budget = -1
      |              ^^
      |
    hint: write a whole number with B, KiB, MiB, GiB or TiB, such as "256MiB"
    "#);
}

#[test]
fn size_is_zero() {
    insta::assert_snapshot!(faults(r#"dir = "/tmp/state""#, "memory = 0"), @r#"
    error: `memory` is zero
     --> readside.toml:7:10
      |
    7 | memory = 0
      |          ^
      |
    hint: write a whole number with B, KiB, MiB, GiB or TiB, such as "256MiB"
    "#);
}

#[test]
fn size_is_too_large() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"wal_budget = "99999999999TiB""#), @r#"
    error: `wal_budget` takes a size, but `99999999999TiB` is too large
     --> readside.toml:4:14
      |
    4 | wal_budget = "99999999999TiB"
      |              ^^^^^^^^^^^^^^^^
      |
    hint: write a whole number with B, KiB, MiB, GiB or TiB, such as "256MiB"
    "#);
}

#[test]
fn count_is_zero() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "load_rows_per_second = 0"), @r#"
    error: `load_rows_per_second` takes a whole number of at least 1
     --> readside.toml:4:24
      |
    4 | load_rows_per_second = 0
      |                        ^
    "#);
}

#[test]
fn count_is_a_string() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"load_rows_per_second = "10""#), @r#"
    error: `load_rows_per_second` takes a whole number, not a string
     --> readside.toml:4:24
      |
    4 | load_rows_per_second = "10"
      |                        ^^^^
    "#);
}

#[test]
fn count_is_a_float() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "load_rows_per_second = 10.0"), @r#"
    error: `load_rows_per_second` takes a whole number, not a number with a fraction
     --> readside.toml:4:24
      |
    4 | load_rows_per_second = 10.0
      |                        ^^^^
    "#);
}

#[test]
fn bad_system_identifier() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, r#"accept_system = "new""#), @r#"
    error: `accept_system` takes the new system's identifier, a number
     --> readside.toml:4:17
      |
    4 | accept_system = "new"
      |                 ^^^^^
      |
    hint: ask the source: SELECT system_identifier FROM pg_control_system()
    "#);
}

#[test]
fn a_file_is_no_directory() {
    for dir in ["/dev/null", "/dev/null/state"] {
        let told = faults(r#"dir = "/tmp/state""#, &format!("dir = \"{dir}\""));
        let what = "error: `dir` is, or lies below, something else than a directory";
        assert!(told.starts_with(what), "{told}");
    }
}

#[test]
fn empty_directory() {
    insta::assert_snapshot!(faults(r#"dir = "/tmp/state""#, r#"dir = """#), @r#"
    error: `dir` names no directory
     --> readside.toml:7:7
      |
    7 | dir = ""
      |       ^^
      |
    hint: write the path of a directory that Readside may make its own
    "#);
}

#[test]
fn bad_listen() {
    insta::assert_snapshot!(faults(r#"listen = "127.0.0.1:7433""#, r#"listen = "localhost""#), @r#"
    error: `listen` takes an address and a port, not `localhost`
      --> readside.toml:10:10
       |
    10 | listen = "localhost"
       |          ^^^^^^^^^^^
       |
    hint: write listen = "127.0.0.1:7433", or "0.0.0.0:7433" for every interface
    "#);
}

#[test]
fn both_passwords() {
    insta::assert_snapshot!(faults(r#"slot = "readside""#, "password = \"a\"\npassword_file = \"/nonexistent/file\""), @r#"
    error: [source] has both `password` and `password_file`
     --> readside.toml:5:1
      |
    5 | password_file = "/nonexistent/file"
      | ^^^^^^^^^^^^^
      |
    hint: remove one of them
    "#);
}

#[test]
fn source_url_that_cannot_be_used() {
    insta::assert_snapshot!(faults("db/shop", "db/shop?sslmode=bad"), @r#"
    error: `url` cannot be used: invalid sslmode
     --> readside.toml:3:7
      |
    3 | url = "postgres://***@db/shop?sslmode=bad"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: write url = "postgres://user@host:5432/database"
    "#);
}

#[test]
fn a_group_and_its_lease() {
    let with = |section: &str| edited("[http]", &format!("[ha]\n{section}\n[http]"));
    assert!(config_of(SHOP, &[]).ha.is_none());
    assert!(config_of(&with(""), &[]).ha.is_none());
    let ha = config_of(&with("group = \"shop-1\""), &[]).ha.expect("a group");
    assert_eq!((ha.group.as_str(), ha.lease.as_secs()), ("shop-1", 5));
    for (section, told) in [
        ("lease = \"3s\"", "error: [ha] has no `group`"),
        ("group = \"a b\"", "error: the group's name `a b` is not made of"),
        ("group = \"a\"\nlease = \"10ms\"", "error: `lease` takes a duration from 1s to 5m"),
        ("group = \"a\"\nleas = \"10s\"", "error: unknown key `leas` in [ha]"),
    ] {
        let faults = faults_of(&with(section), &[]);
        assert!(faults.starts_with(told), "{faults}");
    }
}
