//! Faults in `[projection.NAME]` and `[event.NAME]`.

use super::*;

#[test]
fn unknown_key() {
    insta::assert_snapshot!(faults(r#"key = ["order_id"]"#, r#"keys = ["order_id"]"#), @r#"
    error: unknown key `keys` in [projection.orders]
      --> readside.toml:27:1
       |
    27 | keys = [***]
       | ^^^^
       |
    hint: did you mean `key`?
    "#);
}

#[test]
fn neither_table_nor_query() {
    insta::assert_snapshot!(faults("table = \"products\"\n", ""), @r#"
    error: projection `products` has neither `table` nor `query`
      --> readside.toml:21:13
       |
    21 | [projection.products]
       |             ^^^^^^^^
       |
    hint: add table = "TABLE", which projects a table as it is
    "#);
}

#[test]
fn both_table_and_query() {
    insta::assert_snapshot!(faults("table = \"products\"\n", "table = \"products\"\nquery = \"SELECT 1\"\n"), @r#"
    error: projection `products` has both `table` and `query`
      --> readside.toml:23:1
       |
    23 | query = "SELECT 1"
       | ^^^^^
       |
    hint: remove one of them
    "#);
}

#[test]
fn table_with_a_hyphen() {
    insta::assert_snapshot!(faults(r#"table = "products""#, r#"table = "order-items""#), @r#"
    error: `table` is no table's name: unexpected text after the table's name; a name with such characters needs double quotes
      --> readside.toml:22:15
       |
    22 | table = "order-items"
       |               ^^^^^^
       |
    hint: write it as in SQL: orders, shop.orders or "Order" (in the file: table = '"Order"')
    "#);
}

#[test]
fn table_with_three_parts() {
    insta::assert_snapshot!(faults(r#"table = "products""#, r#"table = "db.shop.products""#), @r#"
    error: `table` is no table's name: a table's name has at most two parts, schema and table
      --> readside.toml:22:10
       |
    22 | table = "db.shop.products"
       |          ^^^^^^^^^^^^^^^^
       |
    hint: write it as in SQL: orders, shop.orders or "Order" (in the file: table = '"Order"')
    "#);
}

#[test]
fn table_with_an_open_quote() {
    insta::assert_snapshot!(faults(r#"table = "products""#, r#"table = '"products'"#), @r#"
    error: `table` is no table's name: a double quote is never closed
      --> readside.toml:22:10
       |
    22 | table = '"products'
       |          ^^^^^^^^^
       |
    hint: write it as in SQL: orders, shop.orders or "Order" (in the file: table = '"Order"')
    "#);
}

#[test]
fn table_is_empty() {
    insta::assert_snapshot!(faults(r#"table = "products""#, r#"table = """#), @r#"
    error: `table` is no table's name: expected a table's name, as SQL writes it
      --> readside.toml:22:10
       |
    22 | table = ""
       |          ^
       |
    hint: write it as in SQL: orders, shop.orders or "Order" (in the file: table = '"Order"')
    "#);
}

#[test]
fn key_is_a_string() {
    insta::assert_snapshot!(faults(r#"key = ["order_id"]"#, r#"key = "order_id""#), @r#"
    error: `key` takes a list of strings such as ["a", "b"], not a string
      --> readside.toml:27:7
       |
    27 | key = "order_id"
       |       ^^^^^^^^^^
    "#);
}

#[test]
fn key_is_empty() {
    insta::assert_snapshot!(faults(r#"key = ["order_id"]"#, "key = []"), @r#"
    error: `key` is an empty list
      --> readside.toml:27:7
       |
    27 | key = []
       |       ^^
    "#);
}

#[test]
fn key_has_a_number() {
    insta::assert_snapshot!(faults(r#"key = ["order_id"]"#, r#"key = ["order_id", 5]"#), @r#"
    error: `key` takes a list of strings such as ["a", "b"], this item is a whole number
      --> readside.toml:27:20
       |
    27 | key = ["order_id", 5]
       |                    ^
    "#);
}

#[test]
fn key_has_a_column_twice() {
    insta::assert_snapshot!(faults(r#"key = ["order_id"]"#, r#"key = ["order_id", "order_id"]"#), @r#"
    error: `order_id` is twice in `key`
      --> readside.toml:27:20
       |
    27 | key = ["order_id", "order_id"]
       |                    ^^^^^^^^^^
    "#);
}

#[test]
fn bad_on_error() {
    insta::assert_snapshot!(faults(r#"key = ["order_id"]"#, r#"on_error = "stop""#), @r#"
    error: `on_error` takes "dead-letter" or "halt", not `stop`
      --> readside.toml:27:12
       |
    27 | on_error = "stop"
       |            ^^^^^^
    "#);
}

#[test]
fn strange_name() {
    insta::assert_snapshot!(faults("[projection.products]", r#"[projection."pro ducts"]"#), @r#"
    error: the projection's name `pro ducts` is not made of 1 to 63 letters, digits, `_` and `-`
      --> readside.toml:21:13
       |
    21 | [projection."pro ducts"]
       |             ^^^^^^^^^^^
    "#);
}

#[test]
fn no_targets() {
    insta::assert_snapshot!(faults("to.search = { index = \"products\" }\n", ""), @r#"
    error: [projection.products] has no `to`
      --> readside.toml:21:13
       |
    21 | [projection.products]
       |             ^^^^^^^^
       |
    hint: add to.SINK = { … } for each sink that is to hold it
    "#);
}

#[test]
fn targets_are_an_empty_table() {
    insta::assert_snapshot!(faults(r#"to.search = { index = "products" }"#, "to = {}"), @r#"
    error: projection `products` goes to no sink
      --> readside.toml:21:13
       |
    21 | [projection.products]
       |             ^^^^^^^^
       |
    hint: add to.SINK = { … } for each sink that is to hold it
    "#);
}

#[test]
fn targets_are_an_empty_list() {
    insta::assert_snapshot!(faults(r#"to.search = { index = "products" }"#, "to.search = []"), @r#"
    error: `to.search` is an empty list
      --> readside.toml:23:13
       |
    23 | to.search = []
       |             ^^
    "#);
}

#[test]
fn unknown_sink() {
    insta::assert_snapshot!(faults("to.search", "to.serach"), @r#"
    error: there is no sink `serach`
      --> readside.toml:23:4
       |
    23 | to.serach = { index = "products" }
       |    ^^^^^^
       |
    hint: did you mean `search`?
    "#);
}

#[test]
fn unknown_sink_far() {
    insta::assert_snapshot!(faults("to.search", "to.mongodb"), @r#"
    error: there is no sink `mongodb`
      --> readside.toml:23:4
       |
    23 | to.mongodb = { index = "products" }
       |    ^^^^^^^
       |
    hint: known here: `cache`, `reporting`, `search`
    "#);
}

#[test]
fn target_is_a_string() {
    insta::assert_snapshot!(faults(r#"to.search = { index = "products" }"#, r#"to.search = "products""#), @r#"
    error: a target in sink `search` is a table, not a string
      --> readside.toml:23:13
       |
    23 | to.search = "products"
       |             ^^^^^^^^^^
    "#);
}

#[test]
fn an_event_with_faults() {
    insta::assert_snapshot!(faults("[projection.products]", "[event.OrderConfirmed]\nwhere = \"x\"\ntype = \"{a\"\nto.cache = { hash = \"x\" }\n\n[projection.products]"), @r#"
    error: event `OrderConfirmed` has neither `table` nor `message`
      --> readside.toml:21:8
       |
    21 | [event.OrderConfirmed]
       |        ^^^^^^^^^^^^^^
       |
    hint: add table = "TABLE", whose changes make it, or message = "PREFIX", of pg_logical_emit_message(true, 'PREFIX', …)

    error: [event.OrderConfirmed] has no `data`
      --> readside.toml:21:8
       |
    21 | [event.OrderConfirmed]
       |        ^^^^^^^^^^^^^^
       |
    hint: add expressions over old and new, such as data = "new.order_id"

    error: unknown key `where` in [event.OrderConfirmed]
      --> readside.toml:22:1
       |
    22 | where = ***
       | ^^^^^
       |
    hint: known here: `table`, `message`, `when`, `data`, `type`, `on_error`, `to`

    error: `type` is no template: `{` is never closed
      --> readside.toml:23:9
       |
    23 | type = "{a"
       |         ^
       |
    hint: write columns in braces, as in "order:{order_id}"; {{ and }} are braces

    error: `hash` is for projections; an event goes to a `stream` or a `list`
      --> readside.toml:24:14
       |
    24 | to.cache = { hash = "x" }
       |              ^^^^
    "#);
}

#[test]
fn an_event_of_a_table_without_a_condition() {
    insta::assert_snapshot!(faults("[projection.products]", "[event.Moved]\ntable = \"orders\"\ndata = \"new.order_id\"\nto.cache = { stream = \"moved\" }\nto.search = { index = \"moved\", id = \"{order_id}\" }\nto.reporting = { table = \"moved\", history = \"h\" }\n\n[projection.products]"), @r#"
    error: [event.Moved] has no `when`
      --> readside.toml:21:8
       |
    21 | [event.Moved]
       |        ^^^^^
       |
    hint: add a condition over old and new, such as when = "old IS NULL", which is true of inserted rows

    error: an event's document has the id lsn/ordinal
      --> readside.toml:25:32
       |
    25 | to.search = { index = "moved", id = "{order_id}" }
       |                                ^^
       |
    hint: remove `id`: sent again, the same event is the same document

    error: an event's table is a history already
      --> readside.toml:26:35
       |
    26 | to.reporting = { table = "moved", history = "h" }
       |                                   ^^^^^^^
       |
    hint: remove `history`, which is for projections
    "#);
}

#[test]
fn events_and_projections_share_their_names_and_nothing_else() {
    insta::assert_snapshot!(faults("[projection.products]", "[event.products]\nmessage = \"readside\"\ntable = \"products\"\ndata = \"content\"\nto.cache = [{ stream = \"s\" }, { stream = \"s\" }]\n\n[event.a]\nmessage = \"readside\"\ndata = \"content\"\nto.cache = { stream = \"s\" }\n\n[event.b]\nmessage = \"b\"\ndata = \"content\"\nto.cache = { list = \"s\" }\n\n[projection.products]"), @r#"
    error: `products` is the name of a projection and of an event
      --> readside.toml:21:8
       |
    21 | [event.products]
       |        ^^^^^^^^
       |
    hint: give the event another name: its watermarks go by it

    error: event `products` has both `table` and `message`
      --> readside.toml:22:1
       |
    22 | message = "readside"
       | ^^^^^^^
       |
    hint: remove one of them

    error: event `products` writes to the same target twice
      --> readside.toml:25:42
       |
    25 | to.cache = [{ stream = "s" }, { stream = "s" }]
       |                                          ^^^
       |
    hint: give it a name of its own in sink `cache`

    error: `message` takes the prefix of Readside's own messages
      --> readside.toml:28:11
       |
    28 | message = "readside"
       |           ^^^^^^^^^^
       |
    hint: choose another prefix; those only push the log on

    error: event `b` writes to the same target as event `products`
      --> readside.toml:35:21
       |
    35 | to.cache = { list = "s" }
       |                     ^^^
       |
    hint: give it a name of its own in sink `cache`
    "#);
}

#[test]
fn no_projections() {
    let at = SHOP.find("[projection.products]").expect("a projection");
    insta::assert_snapshot!(faults_of(&SHOP[..at], &[]), @r#"
    error: the configuration has no projection
     |
    hint: add one, such as:
          [projection.products]
          table = "products"
          to.SINK = { … }
    "#);
}
