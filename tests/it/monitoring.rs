//! The dashboard and the alert rules speak of what a daemon at work really shows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::prometheus::{Prometheus, promtool};
use crate::harness::{Daemon, wait};
use crate::world::{World, until_metric};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every expression of the dashboard, variables and time replaced as Grafana does.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let expression = |target: &Value| {
        let mut text = target["expr"].as_str().unwrap().replace("$__rate_interval", "10s");
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            text = text.replace(&format!("${}", variable["name"].as_str().unwrap()), ".*");
        }
        text
    };
    targets.map(expression).collect()
}

/// Names of our metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| word.starts_with("readside_") || word.starts_with("process_");
    words.filter(ours).map(str::to_owned).collect()
}

#[tokio::test]
async fn dashboard_and_rules_speak_of_what_is_there() {
    let rules = file("grafana/alerts.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()]);
    promtool(&["test", "rules", file("grafana/alerts_test.yml").to_str().unwrap()]);

    let world = World::new(
        "CREATE TABLE items (id int PRIMARY KEY, v text);
         INSERT INTO items SELECT i, 'v' || i FROM generate_series(1, 100) AS i;
         ANALYZE items",
    )
    .await;
    let mut daemon = Daemon::start(&world.config(&world.projection("items", "items", &["id"])));
    daemon.wait_ready().await;
    let target = daemon.url().replace("http://", "");
    let mut prometheus = Prometheus::start(&target, &rules).await;

    let dashboard: Value = serde_json::from_str(&read("grafana/readside.json")).unwrap();
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 20, "{expressions:?}");
    let work = async {
        for round in 0.. {
            world.execute(&format!("UPDATE items SET v = 'round {round}'")).await;
            world
                .execute("DELETE FROM items WHERE id = 1; INSERT INTO items VALUES (1, 'back')")
                .await;
            wait::delay(std::time::Duration::from_millis(200)).await;
        }
    };
    let look = async {
        for expression in &expressions {
            prometheus.answers(expression).await;
        }
    };
    tokio::select! {
        () = work => unreachable!("it has no end"),
        () = look => {}
    }
    for (name, rule) in prometheus.rules().await {
        assert_eq!(rule["health"], "ok", "{name}: {rule}");
    }

    // Each name is one of the scrape, and what the scrape has is on the dashboard.
    let rows = [("op", "upsert")];
    until_metric(&daemon, "readside_rows_written_total", &rows, |rows| rows > 300.0).await;
    let scrape = daemon.metrics().await;
    let series: BTreeSet<String> = (scrape.text().lines())
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned))
        .collect();
    let variables = dashboard["templating"].to_string();
    let used =
        names(&format!("{} {variables} {}", expressions.join(" "), read("grafana/alerts.yml")));
    let unknown: Vec<&String> = used.difference(&series).collect();
    assert!(unknown.is_empty(), "no scrape has {unknown:?}");
    let shown = names(&expressions.join(" "));
    let base = |name: &str| {
        ["_bucket", "_sum", "_count"].iter().fold(name.to_owned(), |name, end| {
            name.strip_suffix(end).map_or(name.clone(), str::to_owned)
        })
    };
    let shown: BTreeSet<String> = shown.iter().map(|name| base(name)).collect();
    let hidden: Vec<&String> = (series.iter())
        .filter(|name| name.starts_with("readside_") && !shown.contains(&base(name)))
        .collect();
    assert!(hidden.is_empty(), "the dashboard does not show {hidden:?}");
}

#[test]
fn each_alert_has_its_section_in_the_runbook() {
    let runbook = read("docs/runbook.md");
    let rules = read("grafana/alerts.yml");
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let links = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: "));
    let expected = alerts.iter().map(|alert| format!("docs/runbook.md#{}", alert.to_lowercase()));
    assert!(alerts.len() > 5);
    assert_eq!(links.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    for alert in &alerts {
        let section = runbook.split(&format!("\n## {alert}\n")).nth(1);
        let section = section.unwrap_or_else(|| panic!("docs/runbook.md has no section {alert}"));
        let text = section.split("\n## ").next().unwrap_or_default();
        assert!(text.contains("**Do.**"), "{alert} does not say what to do");
    }
    // And none is of an alert that is gone.
    for section in runbook.lines().filter_map(|line| line.strip_prefix("## Readside")) {
        assert!(alerts.contains(&&*format!("Readside{section}")), "{section}");
    }
}
