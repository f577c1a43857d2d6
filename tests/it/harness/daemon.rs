//! The readside binary, run as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use fastrand::Rng;
use reqwest::StatusCode;
use serde_json::Value;

use super::ports::Port;
use super::process::{Process, RunAs, Signal, run};
use super::scratch::Scratch;
use super::{power, wait};

/// `readside run` with a configuration of the test's. The state's directory and the address of HTTP
/// are set through the environment: the text names sources, sinks and projections.
pub(crate) struct Daemon {
    process: Process,
    /// What the starts before this one have printed.
    log_before: usize,
    scratch: Scratch,
    port: Port,
    environment: Vec<(String, String)>,
    http: reqwest::Client,
}

impl Daemon {
    pub(crate) fn start(config: &str) -> Daemon {
        Daemon::start_with(config, &[])
    }

    pub(crate) fn start_with(config: &str, environment: &[(&str, &str)]) -> Daemon {
        Daemon::start_in(Scratch::new("readside"), config, environment)
    }

    /// One that [`Daemon::lose_power`] may be asked of.
    pub(crate) fn start_noting_syncs(config: &str) -> Daemon {
        let scratch = Scratch::new("readside");
        let noting = power::environment(&scratch.path().join("state"), &syncs(&scratch));
        let noting: Vec<_> = noting.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        Daemon::start_in(scratch, config, &noting)
    }

    fn start_in(scratch: Scratch, config: &str, environment: &[(&str, &str)]) -> Daemon {
        let port = Port::reserve();
        fs::write(scratch.path().join("readside.toml"), config).expect("the directory is ours");
        let mut all = vec![
            ("READSIDE__STATE__DIR".into(), scratch.path().join("state").display().to_string()),
            ("READSIDE__HTTP__LISTEN".into(), format!("127.0.0.1:{}", port.number())),
        ];
        all.extend(environment.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let process = launch(&scratch, &all);
        Daemon { process, log_before: 0, scratch, port, environment: all, http: super::http() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.scratch.path().join("readside.toml")
    }

    /// For the next restart.
    pub(crate) fn set_config(&self, config: &str) {
        fs::write(self.config_file(), config).expect("the directory is ours");
    }

    /// Has it load what the file says then, and gives what became of that.
    pub(crate) async fn reload(&mut self, config: &str) -> Value {
        let before = self.status().await["reload"]["at"].clone();
        self.set_config(config);
        self.process.signal(Signal::HUP);
        self.reloaded_since(&before).await
    }

    /// What became of the first attempt after that of this moment.
    pub(crate) async fn reloaded_since(&self, before: &Value) -> Value {
        wait::until("the configuration to be loaded", async || {
            let reload = self.status().await["reload"].clone();
            let is_over = reload["at"] != *before && reload["result"] != "waiting";
            if is_over && !reload.is_null() { Ok(reload) } else { Err(reload) }
        })
        .await
    }

    /// Until `/readyz` says so; fails at once when the daemon ends.
    pub(crate) async fn wait_ready(&mut self) {
        self.ready().await.unwrap_or_else(|seen| panic!("the daemon is not ready: {seen}"));
    }

    /// As [`Daemon::wait_ready`], for programs that are no tests.
    pub(crate) async fn ready(&mut self) -> Result<(), String> {
        let url = format!("{}/readyz", self.url());
        wait::poll(wait::BOUND, async || {
            if let Some(status) = self.process.exited() {
                return Ok(Err(format!("it ended ({status})")));
            }
            match get(&self.http, &url).await? {
                (StatusCode::OK, _) => Ok(Ok(())),
                (status, reasons) => Err(format!("{status} {reasons}")),
            }
        })
        .await?
    }

    /// Until `/v1/wait` says that the sink has this projection up to `lsn`.
    pub(crate) async fn wait_for(&mut self, projection: &str, sink: &str, lsn: &str) {
        let query = format!("projection={projection}&sink={sink}&lsn={lsn}&timeout=5s");
        let url = format!("{}/v1/wait?{query}", self.url());
        wait::until(&format!("{projection} in {sink} at {lsn}"), async || {
            if let Some(status) = self.process.exited() {
                panic!("the daemon ended ({status})");
            }
            match get(&self.http, &url).await? {
                (StatusCode::OK, _) => Ok(()),
                (StatusCode::REQUEST_TIMEOUT, answer) => Err(format!("408 {answer}")),
                (status, answer) => panic!("/v1/wait?{query}: {status} {answer}"),
            }
        })
        .await;
    }

    /// Any endpoint; the answer's status and text.
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = get(&self.http, &format!("{}{path}", self.url())).await;
        answer.unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    /// As [`Daemon::get`], of one that may not listen yet or any more.
    pub(crate) async fn try_get(&self, path: &str) -> Result<(StatusCode, String), String> {
        get(&self.http, &format!("{}{path}", self.url())).await
    }

    /// `/v1/status`.
    pub(crate) async fn status(&self) -> Value {
        let (status, text) = self.get("/v1/status").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("/v1/status: {e}: {text}"))
    }

    /// `/metrics`.
    pub(crate) async fn metrics(&self) -> Metrics {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        Metrics(text)
    }

    /// Another command of the binary, with this daemon's configuration, run to its end.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(self.config_file()).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        // Proxies run on the test's own thread, which must not wait.
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.expect("it does not panic").unwrap_or_else(|e| panic!("{arguments:?}: {e}"))
    }

    /// The same of a command that does not end by itself; what it prints is its log.
    pub(crate) fn command_that_stays(&self, arguments: &[&str]) -> Process {
        let mut command = RunAs::Ourselves.command(&binary());
        command.args(arguments).arg("--config").arg(self.config_file());
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        Process::start(
            "readside",
            command,
            &self.scratch.path().join(arguments.join(" ").replace('/', "-")),
        )
    }

    /// All it has printed, earlier starts included.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// What it has printed since its present start.
    pub(crate) fn log_of_this_start(&self) -> String {
        self.log().split_off(self.log_before)
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// Waits for it to end by itself, as it does on a faulty configuration.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }

    pub(crate) fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Dies, and of its state goes what was not synced: so many bytes.
    pub(crate) fn lose_power(&mut self, rng: &mut Rng) -> u64 {
        self.kill9();
        power::lose(&self.state_dir(), &syncs(&self.scratch), rng)
    }

    /// SIGTERM, as a service manager sends it.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.ended().await
    }

    /// Stands still, and notices nothing, until [`Daemon::resume`].
    pub(crate) fn pause(&mut self) {
        self.process.signal(Signal::STOP);
    }

    pub(crate) fn resume(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// As a disk that is full: no file grows beyond so many bytes. `None`: there is room again.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let soft = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let mut command = Command::new("prlimit");
        command.arg("--pid").arg(self.pid().to_string()).arg(format!("--fsize={soft}:unlimited"));
        run("prlimit", command);
    }

    /// On the same state, port and configuration file; kills first when still running.
    pub(crate) fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// As [`Daemon::restart`], with more in the environment this once.
    pub(crate) fn restart_with(&mut self, environment: &[(&str, &str)]) {
        self.kill9();
        self.log_before = self.log().len();
        let mut all = self.environment.clone();
        all.extend(environment.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        self.process = launch(&self.scratch, &all);
    }

    pub(crate) fn has_state(&self) -> bool {
        fs::read_dir(self.state_dir()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// As a loss of the state's disk: only while it is not running.
    pub(crate) fn lose_state(&mut self) {
        assert!(self.process.exited().is_some(), "the daemon is still running");
        // One that was killed in its first moments has not made it yet.
        if self.state_dir().exists() {
            fs::remove_dir_all(self.state_dir()).expect("the state's directory is ours");
        }
        // Not all daemons note what they sync.
        let _ = fs::remove_file(syncs(&self.scratch));
    }
}

/// What `/metrics` said.
pub(crate) struct Metrics(String);

impl Metrics {
    /// The value of each series of `name` that has all these labels.
    pub(crate) fn series(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(String, f64)> {
        let mut found = Vec::new();
        for line in self.0.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (series_name, series_labels) = series.split_once('{').unwrap_or((series, ""));
            let has = |(k, v): &(&str, &str)| series_labels.contains(&format!("{k}=\"{v}\""));
            if series_name == name && labels.iter().all(has) {
                let value = value.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
                found.push((series_labels.trim_end_matches('}').to_owned(), value));
            }
        }
        found
    }

    /// Their sum; `None` when there is none.
    pub(crate) fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.series(name, labels).into_iter().map(|(_, value)| value).reduce(|a, b| a + b)
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// Any other command of the binary, run to its end with a configuration file (if it needs one).
pub(crate) fn readside(arguments: &[&str], config: Option<&Path>) -> Output {
    let binary = binary();
    let mut command = Command::new(&binary);
    command.args(arguments).stdin(Stdio::null());
    if let Some(file) = config {
        command.arg("--config").arg(file);
    }
    command.output().unwrap_or_else(|e| panic!("cannot run {}: {e}", binary.display()))
}

/// Cargo names it to tests and benchmarks; an example lies in the directory beside it.
pub(crate) fn binary() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_readside") {
        Some(path) => path.into(),
        None => {
            let ourselves = std::env::current_exe().expect("a process knows its program");
            let examples = ourselves.parent().expect("a program lies in a directory");
            examples.with_file_name("readside")
        }
    }
}

async fn get(http: &reqwest::Client, url: &str) -> Result<(StatusCode, String), String> {
    let answer = http.get(url).send().await.map_err(|e| format!("{e:?}"))?;
    let status = answer.status();
    Ok((status, answer.text().await.map_err(|e| format!("{e:?}"))?))
}

/// What was written and what was synced.
fn syncs(scratch: &Scratch) -> PathBuf {
    scratch.path().join("syncs")
}

fn launch(scratch: &Scratch, environment: &[(String, String)]) -> Process {
    let mut command = RunAs::Ourselves.command(&binary());
    command.arg("run").arg("--config").arg(scratch.path().join("readside.toml"));
    command.envs(environment.iter().map(|(k, v)| (k, v))).current_dir(scratch.path());
    Process::start("readside", command, &scratch.path().join("log"))
}
