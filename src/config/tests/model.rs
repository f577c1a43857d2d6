//! What a valid configuration becomes, and that no text breaks the reading.

use proptest::prelude::*;

use super::*;

#[test]
fn defaults() {
    let text = "
[source]
url = 'postgres://db/shop'
[sink.a.postgres]
url = 'postgres://h1:1,h2:2/x?target_session_attrs=primary'
[sink.b.redis]
url = 'rediss://h'
[sink.c.elasticsearch]
url = 'https://h'
[projection.t]
table = '\"T x\"'
to.b = { json = 't:{id}' }
to.a = { table = 't' }
";
    let config = config_of(text, &[]);
    assert_eq!(
        (config.source.slot.as_str(), config.source.publication.as_str()),
        ("readside", "readside")
    );
    assert_eq!(config.source.on_slot_loss, OnSlotLoss::Reload);
    assert_eq!(config.source.on_wal_budget, OnWalBudget::Hold);
    assert_eq!(config.source.wal_budget, 20 << 30);
    assert_eq!(config.source.load_rows_per_second, None);
    assert_eq!(config.source.accept_system, None);
    assert_eq!(config.state.dir, Path::new("/var/lib/readside"));
    assert_eq!((config.state.memory, config.state.tombstones), (1 << 30, 256 << 20));
    assert_eq!(config.http.listen, "127.0.0.1:7433");
    let sinks: Vec<_> = config
        .sinks
        .iter()
        .map(|s| (s.name.as_str(), s.step_rows, s.max_lag, s.required))
        .collect();
    let lag = Duration::from_secs(30);
    assert_eq!(sinks, [("a", 10_000, lag, true), ("b", 2_000, lag, true), ("c", 5_000, lag, true)]);
    let projection = &config.projections[0];
    assert!(matches!(&projection.definition,
        Definition::Table { schema, name, .. } if schema == "public" && name == "T x"));
    assert_eq!(projection.on_error, OnError::DeadLetter);
    assert_eq!(projection.key, None);
    let sinks: Vec<_> = projection.targets.iter().map(|(sink, _)| sink.as_str()).collect();
    assert_eq!(sinks, ["b", "a"]);
}

#[test]
fn targets() {
    let text = r#"
[source]
url = "postgresql:///shop?host=/run/postgresql"
accept_system = 7300000000000000001
[sink.s.elasticsearch]
url = "http://h"
username = "u"
password = "p"
[sink.r.redis]
url = "redis://h"
[projection.t]
table = "Shop.T"
on_error = "halt"
to.s = { index = "t", id = "{a}", mappings = { properties = { a = { type = "keyword", boost = 1.5 } } }, settings = { number_of_replicas = 0 } }
to.r = [
  { hash = "t:{a}", ttl = "1h", columns = ["b", "a"] },
  { json = "j:{a}", ttl = 5 },
  { set = "s:{b}", member = "{a}" },
  { sorted_set = "z:{b}", member = "{a}", score = "extract(epoch from c)" },
]
"#;
    let config = config_of(text, &[]);
    assert_eq!(config.source.accept_system.as_deref(), Some("7300000000000000001"));
    let projection = &config.projections[0];
    assert_eq!(projection.on_error, OnError::Halt);
    let targets: Vec<_> = projection.targets.iter().map(|(_, target)| target).collect();
    let Target::Elasticsearch(search) = targets[0] else { panic!("Elasticsearch") };
    let mappings =
        serde_json::json!({ "properties": { "a": { "type": "keyword", "boost": 1.5 } } });
    assert_eq!(search.mappings, Some(mappings));
    assert_eq!(search.settings, Some(serde_json::json!({ "number_of_replicas": 0 })));
    assert_eq!(search.id.as_ref().map(ToString::to_string).as_deref(), Some("{a}"));
    let redis: Vec<_> = targets[1..]
        .iter()
        .map(|target| match target {
            Target::Redis(target) => target,
            _ => panic!("Redis"),
        })
        .collect();
    assert_eq!((redis[0].ttl, redis[1].ttl, redis[2].ttl), (Some(3600), Some(5), None));
    assert_eq!(redis[0].columns.as_deref(), Some(&["b".to_owned(), "a".to_owned()][..]));
    assert!(matches!(&redis[3].structure,
        RedisStructure::SortedSet { score, .. } if score == "extract(epoch from c)"));
    assert_eq!(redis[3].place.entry("score").to_string(), "readside.toml:19:51");
}

/// Pieces from which random configurations are made: much of it is nearly right.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(SHOP.lines().collect::<Vec<_>>()).prop_map(str::to_owned),
        "[a-z_.]{1,8} = (\"[^\"\n]{0,10}\"|[0-9]{1,4}|\\[\\]|\\{\\}|true|1.5|nan|1979-05-27)",
        "\\[{1,2}(sink|projection|source|event)(\\.[a-z\"]{1,6}){0,3}\\]{1,2}",
        "\\PC{0,20}",
    ]
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        render(&String::from_utf8_lossy(&bytes), &[]);
    }

    #[test]
    fn no_configuration_panics(lines in prop::collection::vec(fragment(), 0..30)) {
        render(&lines.join("\n"), &[]);
    }

    #[test]
    fn no_change_of_a_valid_one_panics(
        at in 0..SHOP.len(), len in 0..20_usize, text in "[\\[\\]{}\"'=.#$a\n\\\\é]{0,6}",
    ) {
        let end = (at + len).min(SHOP.len());
        render(&format!("{}{text}{}", &SHOP[..at], &SHOP[end..]), &[]);
    }

    #[test]
    fn no_override_panics(
        name in "READSIDE__(SOURCE|SINK|PROJECTION|STATE|EVENT)(__(CACHE|REDIS|ORDERS|TO|URL|KEY|_|é)){0,5}",
        value in "\\PC{0,20}",
    ) {
        render(SHOP, &[(&name, &value)]);
    }
}

/// Every fault can be shown, and shows a position inside of the file.
fn render(text: &str, environment: &[(&str, &str)]) {
    let environment = Environment::of(environment.iter().copied());
    for fault in read("f", text, &environment).err().unwrap_or_default() {
        fault.render(Style::Plain);
        fault.render(Style::Coloured);
    }
}
