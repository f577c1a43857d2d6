//! Faults in targets.

use super::*;

#[test]
fn unknown_key() {
    insta::assert_snapshot!(faults(r#"{ index = "products" }"#, r#"{ index = "products", mapping = {} }"#), @r#"
    error: unknown key `mapping` in a target in sink `search`
      --> readside.toml:23:35
       |
    23 | to.search = { index = "products", mapping = {} }
       |                                   ^^^^^^^
       |
    hint: did you mean `mappings`?
    "#);
}

#[test]
fn of_another_kind() {
    insta::assert_snapshot!(faults(r#"{ index = "products" }"#, r#"{ hash = "product:{id}" }"#), @r#"
    error: `hash` is for Redis, but sink `search` is Elasticsearch
      --> readside.toml:23:15
       |
    23 | to.search = { hash = "product:{id}" }
       |               ^^^^
       |
    hint: a target in Elasticsearch takes `index`, `id`, `mappings`, `settings`
    "#);
}

#[test]
fn index_missing() {
    insta::assert_snapshot!(faults(r#"{ index = "products" }"#, r#"{ id = "{product_id}" }"#), @r#"
    error: a target in sink `search` has no `index`
      --> readside.toml:23:4
       |
    23 | to.search = { id = "{product_id}" }
       |    ^^^^^^
       |
    hint: add index = "INDEX"
    "#);
}

#[test]
fn index_in_upper_case() {
    insta::assert_snapshot!(faults(r#"{ index = "products" }"#, r#"{ index = "Products" }"#), @r#"
    error: `index` has upper case letters, spaces or one of \ / * ? " < > | , # : { }
      --> readside.toml:23:23
       |
    23 | to.search = { index = "Products" }
       |                       ^^^^^^^^^^
       |
    hint: write a name in lower case; it becomes an alias in the search server
    "#);
}

#[test]
fn index_with_a_column() {
    insta::assert_snapshot!(faults(r#"{ index = "products" }"#, r#"{ index = "products-{shop}" }"#), @r#"
    error: `index` has upper case letters, spaces or one of \ / * ? " < > | , # : { }
      --> readside.toml:23:23
       |
    23 | to.search = { index = "products-{shop}" }
       |                       ^^^^^^^^^^^^^^^^^
       |
    hint: write a name in lower case; it becomes an alias in the search server
    "#);
}

#[test]
fn index_is_reserved() {
    insta::assert_snapshot!(faults(r#"{ index = "products" }"#, r#"{ index = "readside-watermark" }"#), @r#"
    error: `index` takes a name that is Readside's own
      --> readside.toml:23:23
       |
    23 | to.search = { index = "readside-watermark" }
       |                       ^^^^^^^^^^^^^^^^^^^^
       |
    hint: names in Readside's own schema, index and key space hold its watermarks
    "#);
}

#[test]
fn id_is_no_template() {
    insta::assert_snapshot!(faults(r#"{ index = "products" }"#, r#"{ index = "products", id = "{a}}" }"#), @r#"
    error: `id` is no template: `}` closes nothing
      --> readside.toml:23:44
       |
    23 | to.search = { index = "products", id = "{a}}" }
       |                                            ^
       |
    hint: write columns in braces, as in "order:{order_id}"; {{ and }} are braces
    "#);
}

#[test]
fn mappings_are_a_string() {
    insta::assert_snapshot!(faults(r#"{ index = "products" }"#, r#"{ index = "products", mappings = "x" }"#), @r#"
    error: `mappings` is a table, not a string
      --> readside.toml:23:46
       |
    23 | to.search = { index = "products", mappings = "x" }
       |                                              ^^^
    "#);
}

#[test]
fn settings_hold_nan() {
    insta::assert_snapshot!(faults(r#"{ index = "products" }"#, r#"{ index = "products", settings = { a = nan } }"#), @r#"
    error: `settings` is JSON, which has neither NaN nor infinities
      --> readside.toml:23:52
       |
    23 | to.search = { index = "products", settings = { a = nan } }
       |                                                    ^^^
    "#);
}

#[test]
fn table_missing() {
    insta::assert_snapshot!(faults(r#"{ table = "orders", indexes = ["(customer_id)"] }"#, r#"{ indexes = ["(customer_id)"] }"#), @r#"
    error: a target in sink `reporting` has no `table`
      --> readside.toml:28:4
       |
    28 | to.reporting = { indexes = ["(customer_id)"] }
       |    ^^^^^^^^^
       |
    hint: add table = "TABLE"
    "#);
}

#[test]
fn table_is_reserved() {
    insta::assert_snapshot!(faults(r#"{ table = "orders", indexes = ["(customer_id)"] }"#, r#"{ table = "readside.orders" }"#), @r#"
    error: `table` takes a name that is Readside's own
      --> readside.toml:28:26
       |
    28 | to.reporting = { table = "readside.orders" }
       |                          ^^^^^^^^^^^^^^^^^
       |
    hint: names in Readside's own schema, index and key space hold its watermarks
    "#);
}

#[test]
fn index_without_parentheses() {
    insta::assert_snapshot!(faults(r#"indexes = ["(customer_id)"]"#, r#"indexes = ["(a)", "customer_id"]"#), @r#"
    error: an index begins with its columns in parentheses, or with USING
      --> readside.toml:28:54
       |
    28 | to.reporting = { table = "orders", indexes = ["(a)", "customer_id"] }
       |                                                      ^^^^^^^^^^^^^
       |
    hint: write what follows CREATE INDEX … ON table, such as "(customer_id, created_at DESC)"
    "#);
}

#[test]
fn history_in_a_schema_of_ours() {
    insta::assert_snapshot!(faults(r#"indexes = ["(customer_id)"]"#, r#"history = "readside.x""#), @r#"
    error: `history` takes a name that is Readside's own
      --> readside.toml:28:46
       |
    28 | to.reporting = { table = "orders", history = "readside.x" }
       |                                              ^^^^^^^^^^^^
       |
    hint: names in Readside's own schema, index and key space hold its watermarks
    "#);
}

#[test]
fn no_structure() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ ttl = "1h" }"#), @r#"
    error: a target in sink `cache` has no structure
      --> readside.toml:30:3
       |
    30 |   { ttl = "1h" },
       |   ^^^^^^^^^^^^^^
       |
    hint: add one of `hash`, `json`, `sorted_set` and `set`
    "#);
}

#[test]
fn two_structures() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "order:{order_id}", json = "o:{order_id}" }"#), @r#"
    error: a target in sink `cache` is both `hash` and `json`
      --> readside.toml:30:32
       |
    30 |   { hash = "order:{order_id}", json = "o:{order_id}" },
       |                                ^^^^
       |
    hint: make two targets of it: to.SINK = [ { … }, { … } ]
    "#);
}

#[test]
fn unclosed_brace() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "order:{order_id" }"#), @r#"
    error: `hash` is no template: `{` is never closed
      --> readside.toml:30:19
       |
    30 |   { hash = "order:{order_id" },
       |                   ^
       |
    hint: write columns in braces, as in "order:{order_id}"; {{ and }} are braces
    "#);
}

#[test]
fn brace_that_closes_nothing() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "order:order_id}" }"#), @r#"
    error: `hash` is no template: `}` closes nothing
      --> readside.toml:30:27
       |
    30 |   { hash = "order:order_id}" },
       |                           ^
       |
    hint: write columns in braces, as in "order:{order_id}"; {{ and }} are braces
    "#);
}

#[test]
fn empty_name() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "order:{}" }"#), @r#"
    error: `hash` is no template: `{}` names no column
      --> readside.toml:30:19
       |
    30 |   { hash = "order:{}" },
       |                   ^
       |
    hint: write columns in braces, as in "order:{order_id}"; {{ and }} are braces
    "#);
}

#[test]
fn brace_in_a_name() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "order:{a{b}" }"#), @r#"
    error: `hash` is no template: `{` inside a column's name
      --> readside.toml:30:21
       |
    30 |   { hash = "order:{a{b}" },
       |                     ^
       |
    hint: write columns in braces, as in "order:{order_id}"; {{ and }} are braces
    "#);
}

#[test]
fn empty_template() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "" }"#), @r#"
    error: `hash` is no template: the template is empty
      --> readside.toml:30:12
       |
    30 |   { hash = "" },
       |            ^^
       |
    hint: write columns in braces, as in "order:{order_id}"; {{ and }} are braces
    "#);
}

#[test]
fn place_after_escapes() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "\u006frder\t\"{}" }"#), @r#"
    error: `hash` is no template: `{}` names no column
      --> readside.toml:30:27
       |
    30 |   { hash = "\u006frder\t\"{}" },
       |                           ^
       |
    hint: write columns in braces, as in "order:{order_id}"; {{ and }} are braces
    "#);
}

#[test]
fn reserved_key() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "readside:{order_id}" }"#), @r#"
    error: `hash` takes a name that is Readside's own
      --> readside.toml:30:12
       |
    30 |   { hash = "readside:{order_id}" },
       |            ^^^^^^^^^^^^^^^^^^^^^
       |
    hint: names in Readside's own schema, index and key space hold its watermarks
    "#);
}

#[test]
fn member_missing() {
    insta::assert_snapshot!(faults(r#"sorted_set = "customer:{customer_id}:orders", member = "{order_id}", score = "created_at""#, r#"set = "orders""#), @r#"
    error: `set` has no `member`
      --> readside.toml:31:5
       |
    31 |   { set = "orders" },
       |     ^^^
       |
    hint: add member = "{COLUMN}"
    "#);
}

#[test]
fn score_missing() {
    insta::assert_snapshot!(faults(r#"sorted_set = "customer:{customer_id}:orders", member = "{order_id}", score = "created_at""#, r#"sorted_set = "orders", member = "{order_id}""#), @r#"
    error: `sorted_set` has no `score`
      --> readside.toml:31:5
       |
    31 |   { sorted_set = "orders", member = "{order_id}" },
       |     ^^^^^^^^^^
       |
    hint: add score = "COLUMN"
    "#);
}

#[test]
fn score_of_a_set() {
    insta::assert_snapshot!(faults(r#"sorted_set = "customer:{customer_id}:orders", member = "{order_id}", score = "created_at""#, r#"set = "orders", member = "{order_id}", score = "created_at""#), @r#"
    error: `score` belongs to `sorted_set`, not to `set`
      --> readside.toml:31:44
       |
    31 |   { set = "orders", member = "{order_id}", score = "created_at" },
       |                                            ^^^^^
       |
    hint: remove `score`
    "#);
}

#[test]
fn columns_of_a_set() {
    insta::assert_snapshot!(faults(r#"sorted_set = "customer:{customer_id}:orders", member = "{order_id}", score = "created_at""#, r#"set = "orders", member = "{order_id}", columns = ["a"]"#), @r#"
    error: `columns` belongs to `hash` and `json`, not to `set`
      --> readside.toml:31:44
       |
    31 |   { set = "orders", member = "{order_id}", columns = ["a"] },
       |                                            ^^^^^^^
       |
    hint: remove `columns`
    "#);
}

#[test]
fn member_of_a_hash() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "order:{order_id}", member = "x" }"#), @r#"
    error: `member` belongs to `sorted_set` and `set`, not to `hash`
      --> readside.toml:30:32
       |
    30 |   { hash = "order:{order_id}", member = "x" },
       |                                ^^^^^^
       |
    hint: remove `member`
    "#);
}

#[test]
fn ttl_of_half_a_second() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "order:{order_id}", ttl = "500ms" }"#), @r#"
    error: `ttl` takes whole seconds, at least one, and at most 36500d
      --> readside.toml:30:38
       |
    30 |   { hash = "order:{order_id}", ttl = "500ms" },
       |                                      ^^^^^^^
    "#);
}

#[test]
fn ttl_beyond_what_redis_counts() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "order:{order_id}", ttl = "36501d" }"#), @r#"
    error: `ttl` takes whole seconds, at least one, and at most 36500d
      --> readside.toml:30:38
       |
    30 |   { hash = "order:{order_id}", ttl = "36501d" },
       |                                      ^^^^^^^^
    "#);
}

#[test]
fn stream_of_a_projection() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ stream = "orders" }"#), @r#"
    error: `stream` is for events; a projection has rows, not occurrences
      --> readside.toml:30:5
       |
    30 |   { stream = "orders" },
       |     ^^^^^^
       |
    hint: write one of `hash`, `json`, `sorted_set` and `set`
    "#);
}

#[test]
fn maxlen_of_a_hash() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "order:{order_id}", maxlen = 5 }"#), @r#"
    error: `maxlen` belongs to `stream`, not to `hash`
      --> readside.toml:30:32
       |
    30 |   { hash = "order:{order_id}", maxlen = 5 },
       |                                ^^^^^^
       |
    hint: remove `maxlen`
    "#);
}

#[test]
fn same_index_twice() {
    insta::assert_snapshot!(faults("[projection.orders]", "[projection.others]\ntable = \"others\"\nto.search = { index = \"products\" }\n\n[projection.orders]"), @r#"
    error: projection `others` writes to the same target as projection `products`
      --> readside.toml:27:23
       |
    27 | to.search = { index = "products" }
       |                       ^^^^^^^^^^
       |
    hint: give it a name of its own in sink `search`
    "#);
}

#[test]
fn same_table_twice() {
    insta::assert_snapshot!(faults("[projection.orders]", "[projection.others]\ntable = \"others\"\nto.reporting = { table = \"public.Orders\" }\n\n[projection.orders]"), @r#"
    error: projection `orders` writes to the same target as projection `others`
      --> readside.toml:32:26
       |
    32 | to.reporting = { table = "orders", indexes = ["(customer_id)"] }
       |                          ^^^^^^^^
       |
    hint: give it a name of its own in sink `reporting`
    "#);
}

#[test]
fn same_key_pattern_twice() {
    insta::assert_snapshot!(faults(r#"{ hash = "order:{order_id}" }"#, r#"{ hash = "order:{order_id}" }, { json = "order:{id}" }"#), @r#"
    error: projection `orders` writes to the same target twice
      --> readside.toml:30:43
       |
    30 |   { hash = "order:{order_id}" }, { json = "order:{id}" },
       |                                           ^^^^^^^^^^^^
       |
    hint: give it a name of its own in sink `cache`
    "#);
}
