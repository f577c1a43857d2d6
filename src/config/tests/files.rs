//! Files that the configuration is in or names, and everything at once.

use super::*;

#[test]
fn no_file() {
    let fault = load(Path::new("/nonexistent/readside.toml"), &Environment::default(), &any_url);
    let fault = fault.expect_err("no file").remove(0).to_string();
    insta::assert_snapshot!(fault, @r#"
    error: /nonexistent/readside.toml cannot be read: No such file or directory (os error 2)
     |
    hint: name the configuration by --config FILE or READSIDE_CONFIG
    "#);
}

#[test]
fn not_utf8() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("readside.toml");
    std::fs::write(&path, b"slot = \"\xff\"").expect("a file");
    let faults = load(&path, &Environment::default(), &any_url).expect_err("not UTF-8");
    let text = faults[0].to_string().replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(text, @r#"
    error: DIR/readside.toml cannot be read: it is not UTF-8
     |
    hint: name the configuration by --config FILE or READSIDE_CONFIG
    "#);
}

#[test]
fn secret_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("source"), "pass word\n").expect("a file");
    std::fs::write(path("token"), "tok\r\n").expect("a file");
    let text = edited("slot = \"readside\"", &format!("password_file = '{}'", path("source")));
    let token = format!("listen = \"127.0.0.1:7433\"\ntoken_file = '{}'", path("token"));
    let text = text.replace("listen = \"127.0.0.1:7433\"", &token);
    let config = config_of(&text, &[]);
    assert_eq!(config.source.password.as_ref().map(Secret::expose), Some("pass word"));
    assert_eq!(config.http.token.as_ref().map(Secret::expose), Some("tok"));
}

#[test]
fn secret_files_that_are_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("empty"), "\n").expect("a file");
    std::fs::write(path("long"), vec![b'x'; 70_000]).expect("a file");
    std::fs::write(path("binary"), b"\xff").expect("a file");
    let text = edited("slot = \"readside\"", &format!("password_file = '{}'", path("missing")))
        .replace(
            "9200\"\n",
            &format!(
                "9200\"\nusername = 'u'\npassword_file = '{}'\nca_file = '{}'\n",
                path("empty"),
                dir.path().display()
            ),
        )
        .replace("6379/0\"\n", &format!("6379/0\"\npassword_file = '{}'\n", path("long")))
        .replace("shop_read\"\n", &format!("shop_read\"\npassword_file = '{}'\n", path("binary")));
    let faults = faults_of(&text, &[]).replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(faults, @r#"
    error: the file of `password_file` cannot be read: No such file or directory (os error 2)
     --> readside.toml:4:17
      |
    4 | password_file = 'DIR/missing'
      |                 ^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: check the path, and that the user who runs Readside may read the file

    error: the file of `password_file` is empty
      --> readside.toml:15:17
       |
    15 | password_file = 'DIR/empty'
       |                 ^^^^^^^^^^^^^^^^^^^^^^^

    error: the file of `ca_file` cannot be read: it is no file
      --> readside.toml:16:11
       |
    16 | ca_file = 'DIR'
       |           ^^^^^^^^^^^^^^^^^
       |
    hint: check the path, and that the user who runs Readside may read the file

    error: the file of `password_file` cannot be read: it is longer than 64 KiB
      --> readside.toml:20:17
       |
    20 | password_file = 'DIR/long'
       |                 ^^^^^^^^^^^^^^^^^^^^^^
       |
    hint: check the path, and that the user who runs Readside may read the file

    error: the file of `password_file` cannot be read: it is not UTF-8
      --> readside.toml:24:17
       |
    24 | password_file = 'DIR/binary'
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^
       |
    hint: check the path, and that the user who runs Readside may read the file
    "#);
}

#[test]
fn a_dozen_faults_are_all_told_at_once() {
    let text = r#"
[source]
url = "mysql://db/shop"
slott = "readside"
wal_budget = "20GB"
on_slot_loss = "relaod"

[state]
memory = 1.5

[http]
listen = 7433

[sink.search.elasticsearch]
url = "http://search:9200"
max_lag = "soon"

[sink.cache.redis]
urll = "redis://cache:6379/0"

[projection.products]
table = "product-list"
to.serach = { index = "products" }

[projection.orders]
table = "orders"
key = "order_id"
query = "SELECT 1"
to.search = { hash = "order:{order_id}" }
to.cache = [ { hash = "order:{order_id" }, { sorted_set = "o", score = "created_at" } ]
"#;
    insta::assert_snapshot!(faults_of(text, &[("READSIDE__STATE__DIRR", "x")]), @r#"
    error: `url` begins with postgres:// or postgresql:// here
     --> readside.toml:3:7
      |
    3 | url = "mysql://db/shop"
      |       ^^^^^^^^^^^^^^^^^
      |
    hint: write url = "postgres://user@host:5432/database"

    error: unknown key `slott` in [source]
     --> readside.toml:4:1
      |
    4 | slott = ***
      | ^^^^^
      |
    hint: did you mean `slot`?

    error: `wal_budget` takes a size, but `20GB` has no unit that is known here
     --> readside.toml:5:14
      |
    5 | wal_budget = "20GB"
      |              ^^^^^^
      |
    hint: write a whole number with B, KiB, MiB, GiB or TiB, such as "256MiB"

    error: `on_slot_loss` takes "reload" or "stop", not `relaod`
     --> readside.toml:6:16
      |
    6 | on_slot_loss = "relaod"
      |                ^^^^^^^^
      |
    hint: did you mean "reload"?

    error: `memory` takes a size such as "256MiB", not a number with a fraction
     --> readside.toml:9:10
      |
    9 | memory = 1.5
      |          ^^^

    error: `listen` takes a string, not a whole number
      --> readside.toml:12:10
       |
    12 | listen = 7433
       |          ^^^^

    error: `max_lag` takes a duration, but `soon` is not a number with a unit
      --> readside.toml:16:11
       |
    16 | max_lag = "soon"
       |           ^^^^^^
       |
    hint: write whole numbers with ms, s, m, h or d, such as "30s" or "1h30m"

    error: [sink.cache.redis] has no `url`
      --> readside.toml:18:13
       |
    18 | [sink.cache.redis]
       |             ^^^^^
       |
    hint: write url = "redis://host:6379/0"

    error: unknown key `urll` in [sink.cache.redis]
      --> readside.toml:19:1
       |
    19 | urll = ***
       | ^^^^
       |
    hint: did you mean `url`?

    error: `table` is no table's name: unexpected text after the table's name; a name with such characters needs double quotes
      --> readside.toml:22:17
       |
    22 | table = "product-list"
       |                 ^^^^^
       |
    hint: write it as in SQL: orders, shop.orders or "Order" (in the file: table = '"Order"')

    error: there is no sink `serach`
      --> readside.toml:23:4
       |
    23 | to.serach = { index = "products" }
       |    ^^^^^^
       |
    hint: did you mean `search`?

    error: `key` takes a list of strings such as ["a", "b"], not a string
      --> readside.toml:27:7
       |
    27 | key = "order_id"
       |       ^^^^^^^^^^

    error: projection `orders` has both `table` and `query`
      --> readside.toml:28:1
       |
    28 | query = "SELECT 1"
       | ^^^^^
       |
    hint: remove one of them

    error: `hash` is for Redis, but sink `search` is Elasticsearch
      --> readside.toml:29:15
       |
    29 | to.search = { hash = "order:{order_id}" }
       |               ^^^^
       |
    hint: a target in Elasticsearch takes `index`, `id`, `mappings`, `settings`

    error: `hash` is no template: `{` is never closed
      --> readside.toml:30:30
       |
    30 | to.cache = [ { hash = "order:{order_id" }, { sorted_set = "o", score = "created_at" } ]
       |                              ^
       |
    hint: write columns in braces, as in "order:{order_id}"; {{ and }} are braces

    error: `sorted_set` has no `member`
      --> readside.toml:30:46
       |
    30 | to.cache = [ { hash = "order:{order_id" }, { sorted_set = "o", score = "created_at" } ]
       |                                              ^^^^^^^^^^
       |
    hint: add member = "{COLUMN}"

    error: unknown key `dirr` in [state]
    --> environment variable READSIDE__STATE__DIRR
     |
    hint: did you mean `dir`?
    "#);
}

#[test]
fn http_alone_needs_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("readside.toml");
    std::fs::write(&path, "[http]\nlisten = '[::1]:80'\n[source]\nslot = 5\n").expect("a file");
    let http = load_http(&path, &Environment::default()).expect("http is valid");
    assert_eq!(http.listen, "[::1]:80");
}
