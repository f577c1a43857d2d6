//! Faults in `[sink.NAME.KIND]`.

use super::*;

#[test]
fn unknown_kind() {
    insta::assert_snapshot!(faults("[sink.cache.redis]", "[sink.cache.rediss]"), @r#"
    error: unknown kind of sink `rediss`
      --> readside.toml:15:13
       |
    15 | [sink.cache.rediss]
       |             ^^^^^^
       |
    hint: did you mean `redis`?
    "#);
}

#[test]
fn kind_by_another_name() {
    insta::assert_snapshot!(faults("[sink.search.elasticsearch]", "[sink.search.opensearch]"), @r#"
    error: unknown kind of sink `opensearch`
      --> readside.toml:12:14
       |
    12 | [sink.search.opensearch]
       |              ^^^^^^^^^^
       |
    hint: write [sink.search.elasticsearch], which speaks to it
    "#);
}

#[test]
fn no_kind() {
    insta::assert_snapshot!(faults("[sink.cache.redis]\nurl = \"redis://cache:6379/0\"", "[sink.cache]"), @r#"
    error: sink `cache` has no kind
      --> readside.toml:15:7
       |
    15 | [sink.cache]
       |       ^^^^^
       |
    hint: write [sink.cache.postgres], [sink.cache.redis] or [sink.cache.elasticsearch]
    "#);
}

#[test]
fn setting_outside_of_the_kind() {
    insta::assert_snapshot!(faults("[sink.cache.redis]", "[sink.cache]"), @r#"
    error: `url` stands outside of the sink's kind
      --> readside.toml:16:1
       |
    16 | url = "redis://cache:6379/0"
       | ^^^
       |
    hint: write it under [sink.cache.KIND], KIND being postgres, redis or elasticsearch
    "#);
}

#[test]
fn two_kinds() {
    insta::assert_snapshot!(faults("[sink.reporting.postgres]", "[sink.cache.postgres]"), @r#"
    error: sink `cache` is both redis and postgres
      --> readside.toml:18:13
       |
    18 | [sink.cache.postgres]
       |             ^^^^^^^^
       |
    hint: give each store a sink with a name of its own

    error: there is no sink `reporting`
      --> readside.toml:28:4
       |
    28 | to.reporting = { table = "orders", indexes = ["(customer_id)"] }
       |    ^^^^^^^^^
       |
    hint: known here: `cache`, `search`
    "#);
}

#[test]
fn strange_name() {
    insta::assert_snapshot!(faults("[sink.cache.redis]", r#"[sink."my cache".redis]"#), @r#"
    error: the sink's name `my cache` is not made of 1 to 63 letters, digits, `_` and `-`
      --> readside.toml:15:7
       |
    15 | [sink."my cache".redis]
       |       ^^^^^^^^^^

    error: there is no sink `cache`
      --> readside.toml:29:4
       |
    29 | to.cache = [
       |    ^^^^^
       |
    hint: known here: `my cache`, `reporting`, `search`
    "#);
}

#[test]
fn no_url() {
    insta::assert_snapshot!(faults("url = \"redis://cache:6379/0\"\n", ""), @r#"
    error: [sink.cache.redis] has no `url`
      --> readside.toml:15:13
       |
    15 | [sink.cache.redis]
       |             ^^^^^
       |
    hint: write url = "redis://host:6379/0"
    "#);
}

#[test]
fn url_of_another_kind() {
    insta::assert_snapshot!(faults(r#""redis://cache:6379/0""#, r#""http://cache:6379/0""#), @r#"
    error: `url` begins with redis:// or rediss:// here
      --> readside.toml:16:7
       |
    16 | url = "http://cache:6379/0"
       |       ^^^^^^^^^^^^^^^^^^^^^
       |
    hint: write url = "redis://host:6379/0"
    "#);
}

#[test]
fn url_without_a_host() {
    insta::assert_snapshot!(faults(r#""redis://cache:6379/0""#, r#""redis://""#), @r#"
    error: `url` names no host
      --> readside.toml:16:7
       |
    16 | url = "redis://"
       |       ^^^^^^^^^^
       |
    hint: write url = "redis://host:6379/0"
    "#);
}

#[test]
fn url_with_a_bad_port() {
    insta::assert_snapshot!(faults(r#""redis://cache:6379/0""#, r#""redis://cache:port/0""#), @r#"
    error: `url` cannot be read: invalid port number
      --> readside.toml:16:7
       |
    16 | url = "redis://***/0"
       |       ^^^^^^^^^^^^^^^
       |
    hint: write url = "redis://host:6379/0"
    "#);
}

#[test]
fn redis_database_is_a_name() {
    insta::assert_snapshot!(faults(r#""redis://cache:6379/0""#, r#""redis://cache:6379/shop""#), @r#"
    error: the path of a Redis `url` is the number of a database
      --> readside.toml:16:7
       |
    16 | url = "redis://cache:6379/shop"
       |       ^^^^^^^^^^^^^^^^^^^^^^^^^
       |
    hint: write url = "redis://host:6379/0"
    "#);
}

#[test]
fn step_rows_out_of_bounds() {
    insta::assert_snapshot!(faults(r#""redis://cache:6379/0""#, "\"redis://cache:6379/0\"\nstep_rows = 0"), @r#"
    error: `step_rows` takes a whole number from 1 to 1000000
      --> readside.toml:17:13
       |
    17 | step_rows = 0
       |             ^
    "#);
}

#[test]
fn max_lag_without_known_unit() {
    insta::assert_snapshot!(faults(r#""redis://cache:6379/0""#, "\"redis://cache:6379/0\"\nmax_lag = \"3 weeks\""), @r#"
    error: `max_lag` takes a duration, but `3 weeks` has no unit that is known here
      --> readside.toml:17:11
       |
    17 | max_lag = "3 weeks"
       |           ^^^^^^^^^
       |
    hint: write whole numbers with ms, s, m, h or d, such as "30s" or "1h30m"
    "#);
}

#[test]
fn max_lag_is_a_list() {
    insta::assert_snapshot!(faults(r#""redis://cache:6379/0""#, "\"redis://cache:6379/0\"\nmax_lag = [\"3s\"]"), @r#"
    error: `max_lag` takes a duration such as "30s", not a list
      --> readside.toml:17:11
       |
    17 | max_lag = ["3s"]
       |           ^^^^^^
    "#);
}

#[test]
fn required_is_a_string() {
    insta::assert_snapshot!(faults(r#""redis://cache:6379/0""#, "\"redis://cache:6379/0\"\nrequired = \"yes\""), @r#"
    error: `required` takes true or false, not a string
      --> readside.toml:17:12
       |
    17 | required = "yes"
       |            ^^^^^
    "#);
}

#[test]
fn api_key_in_redis() {
    insta::assert_snapshot!(faults(r#""redis://cache:6379/0""#, "\"redis://cache:6379/0\"\napi_key = \"secret\""), @r#"
    error: unknown key `api_key` in [sink.cache.redis]
      --> readside.toml:17:1
       |
    17 | api_key = ***
       | ^^^^^^^
       |
    hint: known here: `url`, `password`, `password_file`, `step_rows`, `max_lag`, `required`, `ca_file`, `username`
    "#);
}

#[test]
fn api_key_and_password() {
    insta::assert_snapshot!(faults(r#""http://search:9200""#, "\"http://search:9200\"\nusername = \"u\"\npassword = \"p\"\napi_key = \"k\""), @r#"
    error: [sink.search.elasticsearch] has both an `api_key` and a user or password
      --> readside.toml:16:1
       |
    16 | api_key = ***
       | ^^^^^^^
       |
    hint: remove one of them
    "#);
}

#[test]
fn username_without_password() {
    insta::assert_snapshot!(faults(r#""http://search:9200""#, "\"http://search:9200\"\nusername = \"u\""), @r#"
    error: [sink.search.elasticsearch] has a `username` but no password
      --> readside.toml:14:1
       |
    14 | username = "u"
       | ^^^^^^^^
       |
    hint: add password_file = "FILE" or password = "${NAME}"
    "#);
}

#[test]
fn ca_file_of_a_postgres_sink() {
    insta::assert_snapshot!(faults(r#""postgres://readside@reporting/shop_read""#, "\"postgres://readside@reporting/shop_read\"\nca_file = \"/ca.pem\""), @r#"
    error: a Postgres sink has no `ca_file`
      --> readside.toml:20:1
       |
    20 | ca_file = "/ca.pem"
       | ^^^^^^^
       |
    hint: write sslrootcert=FILE in its url
    "#);
}

#[test]
fn same_store_twice() {
    insta::assert_snapshot!(faults(r#"url = "http://search:9200""#, "url = \"http://search:9200\"\n[sink.other.elasticsearch]\nurl = \"http://user:pw@SEARCH:9200/\""), @r#"
    error: sinks `search` and `other` are the same store
      --> readside.toml:15:7
       |
    15 | url = "http://***@SEARCH:9200/"
       |       ^^^^^^^^^^^^^^^^^^^^^^^^^
       |
    hint: give the targets of `other` to `search` and remove it
    "#);
}

#[test]
fn no_sinks() {
    insta::assert_snapshot!(faults("[sink.search.elasticsearch]", "[sinks.search.elasticsearch]"), @r#"
    error: unknown key `sinks` in the configuration
      --> readside.toml:12:2
       |
    12 | [sinks.search.elasticsearch]
       |  ^^^^^
       |
    hint: did you mean `sink`?

    error: there is no sink `search`
      --> readside.toml:23:4
       |
    23 | to.search = { index = "products" }
       |    ^^^^^^
       |
    hint: known here: `cache`, `reporting`
    "#);
}

#[test]
fn targets_without_sinks() {
    let text =
        "[source]\nurl = 'postgres://h/d'\n[projection.t]\ntable = 't'\nto.cache = { hash = 'a' }";
    insta::assert_snapshot!(faults_of(text, &[]), @r#"
    error: there is no sink `cache`
     --> readside.toml:5:4
      |
    5 | to.cache = { hash = 'a' }
      |    ^^^^^
      |
    hint: there is no sink here
    "#);
}

#[test]
fn a_redis_url_may_name_several_nodes() {
    assert_eq!(
        crate::config::each_host("rediss://u,x:p@a:1,b:2,[::1]:3/0?x=1"),
        ["rediss://u,x:p@a:1/0?x=1", "rediss://u,x:p@b:2/0?x=1", "rediss://u,x:p@[::1]:3/0?x=1"]
    );
    assert_eq!(crate::config::each_host("redis://a"), ["redis://a"]);
    assert_eq!(crate::config::each_host("redis+unix:///a,b"), ["redis+unix:///a,b"]);
}
