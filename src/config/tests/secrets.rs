//! A distinctive secret in every secret place shows in no output.

use super::*;

const SECRET: &str = "hunter2";

/// Secrets in every place that can hold one.
fn secretive() -> String {
    SHOP.replace("postgres://readside@db/shop", "postgres://u:hunter2@db/shop?password=hunter2b")
        .replace("slot = \"readside\"\n", "slot = \"readside\" # was hunter2\npassword = \"hunter2c\"\n")
        .replace("http://search:9200\"", "http://search:9200\"\napi_key = \"hunter2d\"")
        .replace("redis://cache:6379/0\"", "redis://:hunter2e@cache:6379/0\"\nusername = 'u'\npassword = '''\nhunter2f\nhunter2g'''")
}

#[test]
fn no_secret_in_debug() {
    let text = secretive();
    let config = config_of(&text, &[("READSIDE__SINK__REPORTING__POSTGRES__PASSWORD", "hunter2h")]);
    assert_eq!(config.sinks[2].password.as_ref().map(Secret::expose), Some("hunter2h"));
    let shown = format!("{config:?} {config:#?} {}", config.source.url);
    assert!(!shown.contains(SECRET), "{shown}");
    let environment = Environment::of([("PW", SECRET)]);
    assert!(!format!("{environment:?}").contains(SECRET));
}

/// Breaks the file at every line in several ways, and searches all that is said about it.
#[test]
fn no_secret_in_faults() {
    let text = secretive();
    let lines: Vec<_> = text.lines().collect();
    let mut rendered = 0;
    for at in 0..lines.len() {
        let breaks: [fn(&str) -> String; 7] = [
            |line| format!("{line} x"),
            |line| format!("x{line}"),
            |line| line.replacen(['"', '\''], "", 1),
            |line| line.replace("password", "pasword").replace("url", "urll"),
            |line| line.replace('=', ""),
            |line| line.replace("\"", "").replace("'", ""),
            |line| format!("{line}\n{line}"),
        ];
        for change in breaks {
            let mut broken: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
            broken[at] = change(lines[at]);
            let environment = Environment::of([("READSIDE__STATE__MEMORY", "hunter2")]);
            let Err(faults) = read("readside.toml", &broken.join("\n"), &environment) else {
                continue;
            };
            for fault in &faults {
                for style in [Style::Plain, Style::Coloured] {
                    let shown = format!("{} {fault:?}", fault.render(style));
                    assert!(!shown.contains(SECRET), "line {}: {shown}", at + 1);
                    rendered += 1;
                }
            }
        }
    }
    assert!(rendered > 500, "only {rendered} faults were looked at");
}

#[test]
fn the_caret_keeps_its_column_behind_a_mask() {
    let text = edited(
        "[sink.cache.redis]\nurl = \"redis://cache:6379/0\"",
        "[sink.cache]\nredis = { password = \"hunter2hunter2\", url = \"redis://:pw@c/0\", bogus = 1 }",
    );
    insta::assert_snapshot!(faults_of(&text, &[]), @r#"
    error: unknown key `bogus` in [sink.cache.redis]
      --> readside.toml:16:65
       |
    16 | redis = { password = ***, url = "redis://***@c/0", bogus = *** }
       |                                                    ^^^^^
       |
    hint: known here: `url`, `password`, `password_file`, `step_rows`, `max_lag`, `required`, `ca_file`, `username`
    "#);
}

#[test]
fn a_misspelt_password_is_hidden() {
    insta::assert_snapshot!(faults("slot = \"readside\"", "pasword = \"hunter2\""), @r#"
    error: unknown key `pasword` in [source]
     --> readside.toml:4:1
      |
    4 | pasword = ***
      | ^^^^^^^
      |
    hint: did you mean `password`?
    "#);
}

#[test]
fn a_password_of_the_wrong_type_is_hidden() {
    insta::assert_snapshot!(faults("slot = \"readside\"", "password = 1234"), @r#"
    error: `password` takes a string, not a whole number
     --> readside.toml:4:12
      |
    4 | password = ***
      |            ^^^
    "#);
}

#[test]
fn a_bad_url_is_hidden() {
    insta::assert_snapshot!(
        faults("\"redis://cache:6379/0\"", "\"redis://:hunter2@cache:99999/0\""), @r#"
    error: `url` cannot be read: invalid port number
      --> readside.toml:16:7
       |
    16 | url = "redis://***@cache:99999/0"
       |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
    hint: write url = "redis://host:6379/0"
    "#
    );
}

#[test]
fn coloured_output_differs_only_in_colours() {
    let faults = read("readside.toml", "[source]\nx = 1", &Environment::default());
    for fault in faults.expect_err("faults") {
        let coloured = fault.render(Style::Coloured);
        assert!(coloured.contains('\u{1b}'));
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\u{1b}[") {
            plain.push_str(before);
            rest = after.split_once('m').expect("the end of a colour").1;
        }
        assert_eq!(plain + rest, fault.render(Style::Plain));
    }
}
