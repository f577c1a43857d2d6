//! A Redis server of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::ports::Port;
use super::process::{Process, RunAs, Signal};
use super::scratch::{Scratch, replace};
use super::{Certificates, wait};

#[derive(Clone, Copy, Default)]
pub(crate) struct RedisOptions<'a> {
    /// Each write is on disk before its answer: nothing answered is lost by a kill.
    pub(crate) appendonly: bool,
    /// Of the user `default`.
    pub(crate) password: Option<&'a str>,
    /// TLS only, with the server's certificate of these; clients need none.
    pub(crate) tls: Option<&'a Certificates>,
    /// More settings, as in redis.conf: `("maxmemory", "10mb")`.
    pub(crate) settings: &'a [(&'a str, &'a str)],
}

pub(crate) struct Redis {
    process: Process,
    scratch: Scratch,
    port: Port,
    /// Of a node of a cluster.
    _bus: Option<Port>,
    arguments: Vec<String>,
    password: Option<String>,
    tls: Option<Vec<u8>>,
}

impl Redis {
    pub(crate) async fn start(options: &RedisOptions<'_>) -> Redis {
        Redis::start_at(options, Port::reserve(), None).await
    }

    /// One that `cluster.rs` makes a node of a cluster.
    pub(super) async fn start_node(options: &RedisOptions<'_>) -> Redis {
        let (port, bus) = Port::reserve_with_bus();
        Redis::start_at(options, port, Some(bus)).await
    }

    async fn start_at(options: &RedisOptions<'_>, port: Port, bus: Option<Port>) -> Redis {
        let scratch = Scratch::new("redis");
        let mut arguments = arguments(scratch.path(), &port, options);
        if bus.is_some() {
            let settings = [
                ("cluster-enabled", "yes"),
                ("cluster-announce-ip", "127.0.0.1"),
                // A killed node is taken for dead, and the cluster for down.
                ("cluster-node-timeout", "3000"),
                ("tls-cluster", if options.tls.is_some() { "yes" } else { "" }),
            ];
            for (name, value) in settings.iter().filter(|(_, value)| !value.is_empty()) {
                arguments.extend([format!("--{name}"), (*value).into()]);
            }
        }
        let process = launch(&scratch, &arguments);
        let mut redis = Redis {
            process,
            scratch,
            port,
            _bus: bus,
            arguments,
            password: options.password.map(Into::into),
            tls: options.tls.map(|c| std::fs::read(&c.authority).expect("the authority's file")),
        };
        redis.ready().await;
        redis
    }

    /// Database 0, with the password.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        let login = self.password.as_ref().map(|p| format!(":{p}@")).unwrap_or_default();
        format!("{scheme}://{login}127.0.0.1:{}/0", self.port.number())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) async fn client(&self) -> redis::aio::MultiplexedConnection {
        self.connect().await.unwrap_or_else(|e| panic!("cannot connect to {}: {e}", self.url()))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.exited().is_none()
    }

    /// It executes what it was sent meanwhile when it is continued.
    pub(crate) fn stand_still(&mut self) {
        self.process.signal(Signal::STOP);
    }

    pub(crate) fn go_on(&mut self) {
        self.process.signal(Signal::CONT);
    }

    pub(crate) fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Saves nothing that is not saved, as an ordinary SIGTERM without save points does.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.ended().await
    }

    /// What it holds is there again after [`Redis::restart`].
    pub(crate) async fn save_and_stop(&mut self) {
        let mut connection = self.client().await;
        // It answers by ending.
        let _ = redis::cmd("SHUTDOWN").arg("SAVE").exec_async(&mut connection).await;
        self.process.ended().await;
    }

    /// Starts again on the same port; kills first when still running. Without `appendonly`, empty.
    pub(crate) async fn restart(&mut self) {
        self.kill9();
        self.process = launch(&self.scratch, &self.arguments);
        self.ready().await;
    }

    /// Its files as they are on disk now, for [`Redis::restore`]: what a crash leaves of one that syncs
    /// now and then, or a backup.
    pub(crate) fn copy(&self) {
        replace(&self.files(), &self.copied());
    }

    /// Starts on the copy; kills first.
    pub(crate) async fn restore(&mut self) {
        self.kill9();
        replace(&self.copied(), &self.files());
        self.restart().await;
    }

    fn files(&self) -> PathBuf {
        self.scratch.path().join("appendonlydir")
    }

    fn copied(&self) -> PathBuf {
        self.scratch.path().join("copy")
    }

    pub(crate) async fn connect(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        super::install_crypto();
        let client = match &self.tls {
            None => redis::Client::open(self.url())?,
            Some(authority) => {
                let root_cert = Some(authority.clone());
                let certificates = redis::TlsCertificates { client_tls: None, root_cert };
                redis::Client::build_with_tls(self.url(), certificates)?
            }
        };
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(wait::BOUND));
        client.get_multiplexed_async_connection_with_config(&patient).await
    }

    async fn ready(&mut self) {
        wait::until("Redis to answer", async || {
            if let Some(status) = self.process.exited() {
                panic!("Redis ended ({status}):\n{}", self.process.log_tail());
            }
            // Refused while it reads its file back.
            let mut connection = self.connect().await.map_err(|e| e.to_string())?;
            redis::cmd("PING").query_async::<()>(&mut connection).await.map_err(|e| e.to_string())
        })
        .await;
    }
}

fn arguments(dir: &Path, port: &Port, options: &RedisOptions<'_>) -> Vec<String> {
    let dir = dir.display().to_string();
    let number = port.number().to_string();
    let mut settings = vec![("bind", "127.0.0.1"), ("dir", &*dir), ("save", "")];
    if options.appendonly {
        settings.extend([("appendonly", "yes"), ("appendfsync", "always")]);
    }
    if let Some(password) = options.password {
        settings.push(("requirepass", password));
    }
    let mut arguments: Vec<String> = Vec::new();
    match options.tls {
        None => settings.push(("port", &number)),
        Some(certificates) => {
            settings.extend([("port", "0"), ("tls-port", &number), ("tls-auth-clients", "no")]);
            for (name, file) in [
                ("tls-cert-file", &certificates.server),
                ("tls-key-file", &certificates.server_key),
                ("tls-ca-cert-file", &certificates.authority),
            ] {
                arguments.extend([format!("--{name}"), file.display().to_string()]);
            }
        }
    }
    settings.extend(options.settings);
    for (name, value) in settings {
        arguments.extend([format!("--{name}"), value.into()]);
    }
    arguments
}

/// `READSIDE_TEST_REDIS` is the program of another version, or of Valkey.
fn launch(scratch: &Scratch, arguments: &[String]) -> Process {
    let program = std::env::var_os("READSIDE_TEST_REDIS").unwrap_or_else(|| "redis-server".into());
    let program = Path::new(&program);
    // Asked first, since setpriv's own error would be all there is.
    assert!(
        Command::new(program).arg("--version").output().is_ok(),
        "Redis is not installed (no {}); run: apt-get install redis-server",
        program.display()
    );
    let mut command = RunAs::Ourselves.command(program);
    command.args(arguments).current_dir(scratch.path());
    Process::start("Redis", command, &scratch.path().join("log"))
}

/// All keys with all they hold: one script, so nothing comes between.
pub(crate) const READ_ALL: &str = r"
local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local held
  if kind == 'hash' then held = redis.call('HGETALL', key)
  elseif kind == 'string' then held = {redis.call('GET', key)}
  elseif kind == 'set' then held = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then held = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  else held = {} end
  all[#all + 1] = {key, kind, held}
end
return all";

/// Of each watermark the key and the token of its last step.
pub(crate) const READ_STEPS: &str = r"
local all = {}
for _, key in ipairs(redis.call('KEYS', 'readside:watermark:*')) do
  all[#all + 1] = {key, redis.call('HGET', key, 'step') or ''}
end
return all";
