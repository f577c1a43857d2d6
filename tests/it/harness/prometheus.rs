//! A real Prometheus that scrapes a daemon, and its tool that checks rules.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::ports::Port;
use super::process::{Process, RunAs, run};
use super::scratch::Scratch;
use super::wait;

pub(crate) struct Prometheus {
    url: String,
    http: reqwest::Client,
    process: Process,
    _port: Port,
    _scratch: Scratch,
}

impl Prometheus {
    /// Scrapes and evaluates every second: `target` is a host and port, `rules` a file.
    pub(crate) async fn start(target: &str, rules: &Path) -> Prometheus {
        installed("prometheus");
        let (scratch, port) = (Scratch::new("prometheus"), Port::reserve());
        let config = scratch.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: readside\n    static_configs: [{{ targets: ['{target}'] }}]\n",
            rules.display()
        );
        fs::write(&config, text).expect("the directory is ours");
        let mut command = RunAs::Ourselves.command(Path::new("prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", scratch.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", port.number()));
        let process = Process::start("Prometheus", command, &scratch.path().join("log"));
        let url = format!("http://127.0.0.1:{}", port.number());
        let http = super::http();
        Prometheus { url, http, process, _port: port, _scratch: scratch }
    }

    async fn get(&mut self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        if let Some(status) = self.process.exited() {
            panic!("Prometheus ended ({status})");
        }
        let url = format!("{}/api/v1/{path}", self.url);
        let answer = self.http.get(url).query(query).send().await.map_err(|e| format!("{e:?}"))?;
        let mut found: Value = answer.json().await.map_err(|e| format!("{e:?}"))?;
        match found["status"].as_str() {
            Some("success") => Ok(found["data"].take()),
            _ => Err(found.to_string()),
        }
    }

    /// Until the expression has an answer that is not empty.
    pub(crate) async fn answers(&mut self, expression: &str) {
        wait::until(&format!("an answer to {expression}"), async || {
            let found = self.get("query", &[("query", expression)]).await?;
            match found["result"].as_array() {
                Some(series) if !series.is_empty() => Ok(()),
                _ => Err(found.to_string()),
            }
        })
        .await;
    }

    /// All rules by their names, once each has been evaluated.
    pub(crate) async fn rules(&mut self) -> Vec<(String, Value)> {
        wait::until("all rules to be evaluated", async || {
            let found = self.get("rules", &[]).await?;
            let groups = found["groups"].as_array().cloned().unwrap_or_default();
            let rules: Vec<Value> = groups
                .iter()
                .flat_map(|group| group["rules"].as_array().cloned())
                .flatten()
                .collect();
            if rules.is_empty() || rules.iter().any(|rule| rule["health"] == "unknown") {
                return Err(found.to_string());
            }
            let named = |rule: Value| (rule["name"].as_str().unwrap_or_default().to_owned(), rule);
            Ok(rules.into_iter().map(named).collect())
        })
        .await
    }
}

/// Runs `promtool`; panics with what it says when it is not content.
pub(crate) fn promtool(arguments: &[&str]) {
    installed("promtool");
    let mut command = Command::new("promtool");
    command.args(arguments);
    run("promtool", command);
}

fn installed(program: &str) {
    let found = Command::new(program).arg("--version").output().is_ok();
    assert!(found, "no {program} in the PATH; run: apt-get install prometheus");
}
