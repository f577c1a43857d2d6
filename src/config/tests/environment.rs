//! `${NAME}`, and overrides by the environment.

use super::*;

const SLOT: &str = "slot = \"readside\"";

#[test]
fn unset_variable() {
    insta::assert_snapshot!(faults(SLOT, "slot = \"a${NO_SUCH}b\""), @r#"
    error: the environment variable `NO_SUCH` is not set
     --> readside.toml:4:10
      |
    4 | slot = "a${NO_SUCH}b"
      |          ^^^^^^^^^^
      |
    hint: set NO_SUCH where Readside is started, or write $${ where the text ${ itself is meant
    "#);
}

#[test]
fn unclosed_reference() {
    insta::assert_snapshot!(faults(SLOT, "slot = \"a${NO_SUCH\""), @r#"
    error: `${` is never closed
     --> readside.toml:4:10
      |
    4 | slot = "a${NO_SUCH"
      |          ^^^^^^^^^
      |
    hint: write $${ where the text ${ itself is meant
    "#);
}

#[test]
fn bad_name_in_a_reference() {
    insta::assert_snapshot!(faults(SLOT, "slot = \"a${1-2}\""), @r#"
    error: a variable's name is made of letters, digits and `_`
     --> readside.toml:4:10
      |
    4 | slot = "a${1-2}"
      |          ^^^
      |
    hint: write $${ where the text ${ itself is meant
    "#);
}

#[test]
fn references_are_replaced_in_every_string() {
    let text = edited("\"order:{order_id}\"", "\"${PREFIX}:$${x}:{order_id}\"");
    let config = config_of(&text, &[("PREFIX", "shop")]);
    let (_, Target::Redis(target)) = &config.projections[1].targets[1] else {
        panic!("a Redis target");
    };
    let RedisStructure::Hash { key } = &target.structure else { panic!("a hash") };
    assert_eq!(key.to_string(), "shop:${x}:{order_id}");
}

#[test]
fn what_a_reference_stands_for_is_not_shown() {
    let text = edited(SLOT, "on_slot_loss = \"${A}\"\nwal_budget = \"${A}\"\nslot = \"${A}\"");
    insta::assert_snapshot!(faults_of(&text, &[("A", "Hunter2")]), @r#"
    error: `on_slot_loss` takes "reload" or "stop"
     --> readside.toml:4:16
      |
    4 | on_slot_loss = "${A}"
      |                ^^^^^^

    error: `wal_budget` takes a size, but the value is not a number with a unit
     --> readside.toml:5:14
      |
    5 | wal_budget = "${A}"
      |              ^^^^^^
      |
    hint: write a whole number with B, KiB, MiB, GiB or TiB, such as "256MiB"

    error: `slot` takes 1 to 63 lower case letters, digits and underscores
     --> readside.toml:6:8
      |
    6 | slot = "${A}"
      |        ^^^^^^
    "#);
}

#[test]
fn overrides_coerce_to_the_type_of_the_key() {
    let config = config_of(
        SHOP,
        &[
            ("READSIDE__SOURCE__SLOT", "01234"),
            ("READSIDE__SOURCE__LOAD_ROWS_PER_SECOND", "500"),
            ("READSIDE__STATE__MEMORY", "2GiB"),
            ("READSIDE__STATE__TOMBSTONES", "4096"),
            ("READSIDE__SINK__CACHE__REDIS__URL", "redis://other:1/2"),
            ("READSIDE__SINK__CACHE__REDIS__REQUIRED", "false"),
            ("READSIDE__SINK__CACHE__REDIS__MAX_LAG", "2m"),
            ("READSIDE__PROJECTION__ORDERS__KEY", "['a', \"b\"]"),
            ("READSIDE__PROJECTION__ORDERS__TO__REPORTING", "{ table = 'o' }"),
            ("READSIDE__PROJECTION__PRODUCTS__TO__SEARCH__INDEX", "p$x"),
            ("READSIDE_CONFIG", "not an override"),
        ],
    );
    assert_eq!(config.source.slot, "01234");
    assert_eq!(config.source.publication, "01234");
    assert_eq!(config.source.load_rows_per_second, Some(500));
    assert_eq!(config.state.memory, 2 << 30);
    assert_eq!(config.state.tombstones, 4096);
    let cache = &config.sinks[1];
    assert_eq!(cache.url.expose(), "redis://other:1/2");
    assert!(!cache.required);
    assert_eq!(cache.max_lag, Duration::from_secs(120));
    assert_eq!(cache.step_rows, 2_000);
    assert_eq!(config.projections[1].key.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
    let targets: Vec<_> = config.projections[1].targets.iter().map(|(_, t)| t).collect();
    assert!(matches!(targets[0], Target::Postgres(t) if t.table == "o" && t.indexes.is_empty()));
}

#[test]
fn names_are_matched_without_case() {
    let text = SHOP.replace("cache", "My-big__Cache");
    let config = config_of(&text, &[("READSIDE__SINK__MY_BIG__CACHE__REDIS__STEP_ROWS", "7")]);
    assert_eq!((config.sinks[1].name.as_str(), config.sinks[1].step_rows), ("My-big__Cache", 7));
}

#[test]
fn a_password_from_the_environment_is_taken_as_it_is() {
    let password = "${X} \"'";
    let config = config_of(SHOP, &[("READSIDE__SOURCE__PASSWORD", password)]);
    assert_eq!(config.source.password.as_ref().map(Secret::expose), Some(password));
}

#[test]
fn overrides_of_what_is_not_there_name_the_variable() {
    insta::assert_snapshot!(faults_of(SHOP, &[
        ("READSIDE__SINK__CASHE__REDIS__URL", "x"),
        ("READSIDE__SINK__CACHE__REDIS__URLL", "x"),
        ("READSIDE__SINK__CACHE__VALKEY__URL", "x"),
        ("READSIDE__SORCE__URL", "x"),
        ("READSIDE__PROJECTION__NEW__TABLE", "x"),
        ("READSIDE__PROJECTION__ORDERS__TO__SERCH__INDEX", "x"),
    ]), @r#"
    error: the file has no projection `new` to override a value in
    --> environment variable READSIDE__PROJECTION__NEW__TABLE
     |
    hint: known here: `products`, `orders`

    error: the file has no sink `serch` to override a value in
    --> environment variable READSIDE__PROJECTION__ORDERS__TO__SERCH__INDEX
     |
    hint: did you mean `search`?

    error: the file has no sink `cashe` to override a value in
    --> environment variable READSIDE__SINK__CASHE__REDIS__URL
     |
    hint: did you mean `cache`?

    error: no section `sorce` to override a value in
    --> environment variable READSIDE__SORCE__URL
     |
    hint: did you mean `source`?

    error: unknown kind of sink `valkey`
    --> environment variable READSIDE__SINK__CACHE__VALKEY__URL
     |
    hint: write [sink.cache.redis], which speaks to it

    error: unknown key `urll` in [sink.cache.redis]
    --> environment variable READSIDE__SINK__CACHE__REDIS__URLL
     |
    hint: did you mean `url`?
    "#);
}

#[test]
fn overrides_that_cannot_be_read_name_the_variable() {
    insta::assert_snapshot!(faults_of(SHOP, &[
        ("READSIDE__STATE__MEMORY", "hunter2"),
        ("READSIDE__SOURCE__LOAD_ROWS_PER_SECOND", "hunter2"),
        ("READSIDE__SINK__CACHE__REDIS__REQUIRED", "hunter2"),
        ("READSIDE__SINK__CACHE__REDIS__MAX_LAG", "hunter2"),
        ("READSIDE__SOURCE__ON_SLOT_LOSS", "hunter2"),
        ("READSIDE__PROJECTION__ORDERS__KEY", "hunter2"),
        ("READSIDE__PROJECTION__PRODUCTS__TO__SEARCH", "hunter2"),
        ("READSIDE__HTTP", "hunter2"),
    ]), @r#"
    error: `on_slot_loss` takes "reload" or "stop"
    --> environment variable READSIDE__SOURCE__ON_SLOT_LOSS

    error: `load_rows_per_second` takes a whole number, not the variable's value
    --> environment variable READSIDE__SOURCE__LOAD_ROWS_PER_SECOND

    error: `memory` takes a size, but the value is not a number with a unit
    --> environment variable READSIDE__STATE__MEMORY
     |
    hint: write a whole number with B, KiB, MiB, GiB or TiB, such as "256MiB"

    error: [http] is a table, not a string
    --> environment variable READSIDE__HTTP

    error: `max_lag` takes a duration, but the value is not a number with a unit
    --> environment variable READSIDE__SINK__CACHE__REDIS__MAX_LAG
     |
    hint: write whole numbers with ms, s, m, h or d, such as "30s" or "1h30m"

    error: `required` takes true or false, not the variable's value
    --> environment variable READSIDE__SINK__CACHE__REDIS__REQUIRED

    error: a target in sink `search` is a table, not a string
    --> environment variable READSIDE__PROJECTION__PRODUCTS__TO__SEARCH

    error: `key` takes a list of strings such as ["a", "b"], not the variable's value
    --> environment variable READSIDE__PROJECTION__ORDERS__KEY
    "#);
}

#[test]
fn overrides_of_parts_of_lists_are_refused() {
    insta::assert_snapshot!(faults_of(SHOP, &[
        ("READSIDE__PROJECTION__ORDERS__TO__CACHE__TTL", "1h"),
        ("READSIDE__PROJECTION__ORDERS__KEY__0", "a"),
        ("READSIDE__PROJECTION__PRODUCTS__TO__SEARCH__SETTINGS__REPLICAS", "1"),
    ]), @r#"
    error: `projection.orders.key` is a list
    --> environment variable READSIDE__PROJECTION__ORDERS__KEY__0
     |
    hint: override the whole list by a TOML value, such as ["a", "b"]

    error: `projection.orders.to.cache` is a list
    --> environment variable READSIDE__PROJECTION__ORDERS__TO__CACHE__TTL
     |
    hint: override the whole list by a TOML value, such as ["a", "b"]

    error: a part of `settings` cannot be overridden
    --> environment variable READSIDE__PROJECTION__PRODUCTS__TO__SEARCH__SETTINGS__REPLICAS
     |
    hint: override the whole by a TOML value, such as { number_of_shards = 3 }
    "#);
}

#[test]
fn two_variables_for_one_value() {
    insta::assert_snapshot!(faults_of(SHOP, &[
        ("READSIDE__STATE__DIR", "/a"),
        ("READSIDE__state__dir", "/b"),
    ]), @r#"
    error: another variable overrides the same value
    --> environment variable READSIDE__state__dir
     |
    hint: remove one of the two
    "#);
}

#[test]
fn lists_from_variables_hold_no_surprises() {
    for value in ["[1979-05-27]", "[99999999999999999999]", "['${A}', 1]", "[", "['a'] x = 1"] {
        let faults = faults_of(SHOP, &[("READSIDE__PROJECTION__ORDERS__KEY", value)]);
        assert!(faults.contains("`key` takes a list of strings"), "{value}: {faults}");
    }
}

#[test]
fn an_overridden_value_needs_no_variable() {
    let text = edited("redis://cache:6379/0", "${CACHE_URL}");
    let config = config_of(&text, &[("READSIDE__SINK__CACHE__REDIS__URL", "redis://h")]);
    assert_eq!(config.sinks[1].url.expose(), "redis://h");
}
