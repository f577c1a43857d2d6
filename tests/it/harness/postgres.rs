//! A PostgreSQL server of the test's own.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::OnceLock;

use tokio_postgres::{Client, NoTls};

use super::ports::Port;
use super::process::{Process, RunAs, Signal, run};
use super::scratch::{Scratch, replace, root};
use super::{Certificates, wait};

#[derive(Clone, Copy, Default)]
pub(crate) struct PostgresOptions<'a> {
    /// Lines of postgresql.conf; values are quoted for it.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    /// The whole of pg_hba.conf; by default everybody is trusted.
    pub(crate) hba: Option<&'a str>,
    /// Turns TLS on, with the server's certificate of these.
    pub(crate) tls: Option<&'a Certificates>,
    /// Only a power loss needs it, not a kill.
    pub(crate) fsync: bool,
    /// With a system identifier of its own: all others are copies of one.
    pub(crate) own_system: bool,
}

pub(crate) struct Postgres {
    process: Process,
    // After the process: it is killed before its directory goes.
    scratch: Scratch,
    port: Port,
}

impl Postgres {
    /// With `wal_level = logical` and the superuser `postgres`.
    pub(crate) async fn start(options: &PostgresOptions<'_>) -> Postgres {
        let scratch = Scratch::new("pg");
        run_as().own(scratch.path());
        let data = scratch.path().join("data");
        if options.own_system {
            initdb(scratch.path(), &data);
        } else {
            let mut copy = run_as().command(Path::new("cp"));
            copy.args(["-a", "--reflink=auto"]).arg(template()).arg(&data);
            run("cp", copy);
        }
        let port = Port::reserve();
        write_settings(&data, &scratch, &port, options);
        if let Some(hba) = options.hba {
            rewrite(&data.join("pg_hba.conf"), hba);
        }
        let process = launch(&scratch);
        let mut postgres = Postgres { process, scratch, port };
        postgres.ready().await;
        postgres
    }

    /// A server that follows this one, until it is promoted.
    pub(crate) async fn standby(&self) -> Postgres {
        self.standby_with(&[]).await
    }

    /// With more settings.
    pub(crate) async fn standby_with(&self, settings: &[(&str, &str)]) -> Postgres {
        let conninfo = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port());
        let settings = [&[("primary_conninfo", conninfo.as_str())], settings].concat();
        let signal = |data: &Path| {
            let file = data.join("standby.signal");
            fs::write(&file, "").expect("the directory is ours");
            run_as().own(&file);
        };
        self.backup(&settings, signal).await
    }

    /// A server that is restored from a base backup of this moment. It has no slots.
    pub(crate) async fn restored(&self) -> Postgres {
        self.backup(&[], |_| {}).await
    }

    /// A base backup of this moment, for [`Postgres::restore`].
    pub(crate) async fn copy(&self) {
        let copied = self.copied();
        if copied.exists() {
            fs::remove_dir_all(&copied).expect("the directory is ours");
        }
        self.base_backup(self.scratch.path(), &copied).await;
    }

    /// Starts on the backup, on the same port; ends first.
    pub(crate) async fn restore(&mut self) {
        self.stop_immediate().await;
        replace(&self.copied(), &self.data_dir());
        self.restart().await;
    }

    fn copied(&self) -> PathBuf {
        self.scratch.path().join("copy")
    }

    async fn base_backup(&self, from: &Path, to: &Path) {
        if !program("pg_basebackup").exists() {
            return self.backup_of_files(to).await;
        }
        let mut backup = run_as().command(&program("pg_basebackup"));
        backup.arg("-D").arg(to).args(["-h", "127.0.0.1", "-U", "postgres", "-c", "fast"]);
        backup.args(["-X", "stream", "--no-sync", "-p", &self.port().to_string()]);
        backup.current_dir(from);
        run("pg_basebackup", backup);
    }

    /// The files, and after them the log that was written meanwhile.
    async fn backup_of_files(&self, to: &Path) {
        let client = self.client("postgres").await;
        let version: i32 = client
            .query_one("SELECT current_setting('server_version_num')::int", &[])
            .await
            .unwrap()
            .get(0);
        let (start, stop) = match version {
            ..150_000 => ("pg_start_backup('a test', true, false)", "pg_stop_backup(false, false)"),
            _ => ("pg_backup_start('a test', true)", "pg_backup_stop(false)"),
        };
        client.query_one(&format!("SELECT {start}"), &[]).await.unwrap();
        copy_files(&self.data_dir(), to);
        let ended = client.query_one(&format!("SELECT labelfile FROM {stop}"), &[]).await.unwrap();
        copy_files(&self.data_dir().join("pg_wal"), &to.join("pg_wal"));
        let label = to.join("backup_label");
        fs::write(&label, ended.get::<_, String>(0)).expect("the directory is ours");
        run_as().own(&label);
    }

    async fn backup(&self, settings: &[(&str, &str)], before: impl Fn(&Path)) -> Postgres {
        let scratch = Scratch::new("pg");
        run_as().own(scratch.path());
        let data = scratch.path().join("data");
        self.base_backup(scratch.path(), &data).await;
        let port = Port::reserve();
        write_settings(&data, &scratch, &port, &PostgresOptions { settings, ..Default::default() });
        before(&data);
        let process = launch(&scratch);
        let mut postgres = Postgres { process, scratch, port };
        postgres.ready().await;
        postgres
    }

    /// Over TCP, as the superuser.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// Over TCP; `user` may hold a password: `name:secret`.
    pub(crate) fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port.number())
    }

    /// Over the Unix socket, as the superuser.
    pub(crate) fn socket_url(&self, database: &str) -> String {
        let (dir, port) = (self.scratch.path().display(), self.port.number());
        format!("postgres://postgres@/{database}?host={dir}&port={port}")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Of the postmaster.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// A connection as the superuser.
    pub(crate) async fn client(&self, database: &str) -> Client {
        match connect(&self.url(database)).await {
            Ok(client) => client,
            Err(error) => panic!("cannot connect to {}: {error:?}", self.url(database)),
        }
    }

    pub(crate) async fn create_database(&self, name: &str) {
        let client = self.client("postgres").await;
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    }

    /// A new database with a name of its own.
    pub(crate) async fn new_database(&self) -> String {
        let name = super::unique("db");
        self.create_database(&name).await;
        name
    }

    /// The postmaster dies at once; its children follow when they notice.
    pub(crate) fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Stops without a checkpoint, as `pg_ctl stop -m immediate` does.
    pub(crate) async fn stop_immediate(&mut self) -> ExitStatus {
        self.process.signal(Signal::QUIT);
        self.process.ended().await
    }

    /// Stops cleanly; open connections are ended.
    pub(crate) async fn stop_fast(&mut self) -> ExitStatus {
        self.process.signal(Signal::INT);
        self.process.ended().await
    }

    /// Starts again on the same port, after a stop or a kill; kills first when still running.
    pub(crate) async fn restart(&mut self) {
        self.kill9();
        self.process = launch(&self.scratch);
        self.ready().await;
    }

    /// More lines for postgresql.conf, for the next restart.
    pub(crate) fn configure(&self, settings: &[(&str, &str)]) {
        let file = self.data_dir().join("postgresql.conf");
        let mut text = fs::read_to_string(&file).expect("postgresql.conf is readable");
        append_settings(&mut text, settings);
        rewrite(&file, &text);
    }

    async fn ready(&mut self) {
        wait::until("PostgreSQL to be ready", async || {
            if let Some(status) = self.process.exited() {
                // After a kill, its children may still hold the shared memory for a moment.
                let log = self.process.log_tail();
                assert!(log.contains("shared memory"), "PostgreSQL ended ({status}):\n{log}");
                self.process = launch(&self.scratch);
            }
            // As pg_ctl does: a pg_hba.conf of the test's may refuse any connection of ours.
            let state = fs::read_to_string(self.data_dir().join("postmaster.pid"));
            let state = state.map_err(|e| e.to_string())?;
            let lines: Vec<&str> = state.lines().map(str::trim).collect();
            let ours = lines.first().is_some_and(|pid| *pid == self.pid().to_string());
            let ready = matches!(lines.get(7), Some(&"ready" | &"standby"));
            if ours && ready { Ok(()) } else { Err(state) }
        })
        .await;
    }
}

/// While a server writes: what changes meanwhile, or goes, is in its log.
fn copy_files(from: &Path, to: &Path) {
    let script = "mkdir -p -m 700 \"$2\" && tar -C \"$1\" -c --warning=no-file-changed \
                  --warning=no-file-removed --exclude=./postmaster.* --exclude=./pg_replslot/* . \
                  | tar -C \"$2\" -x; test \"${PIPESTATUS[0]}\" -le 1";
    let mut copy = run_as().command(Path::new("bash"));
    copy.args(["-c", script, "copy"]).arg(from).arg(to);
    run("bash", copy);
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    super::beside(async move {
        // A lost connection shows in the calls on the client.
        let _ = connection.await;
    });
    Ok(client)
}

fn launch(scratch: &Scratch) -> Process {
    let mut command = run_as().command(&program("postgres"));
    command.arg("-D").arg(scratch.path().join("data")).current_dir(scratch.path());
    Process::start("PostgreSQL", command, &scratch.path().join("log"))
}

fn write_settings(data: &Path, scratch: &Scratch, port: &Port, options: &PostgresOptions<'_>) {
    let file = data.join("postgresql.conf");
    let mut text = fs::read_to_string(&file).expect("postgresql.conf is readable");
    append_settings(
        &mut text,
        &[
            ("listen_addresses", "127.0.0.1"),
            ("port", &port.number().to_string()),
            ("unix_socket_directories", &scratch.path().display().to_string()),
            ("wal_level", "logical"),
            ("max_wal_senders", "20"),
            ("max_replication_slots", "20"),
            ("shared_buffers", "32MB"),
            ("fsync", if options.fsync { "on" } else { "off" }),
        ],
    );
    if let Some(certificates) = options.tls {
        let key = data.join("server.key");
        fs::copy(&certificates.server_key, &key).expect("the key can be copied");
        run_as().own(&key);
        let certificate = certificates.server.display().to_string();
        let authority = certificates.authority.display().to_string();
        let key = key.display().to_string();
        append_settings(
            &mut text,
            &[
                ("ssl", "on"),
                ("ssl_cert_file", &certificate),
                ("ssl_key_file", &key),
                ("ssl_ca_file", &authority),
            ],
        );
    }
    append_settings(&mut text, options.settings);
    rewrite(&file, &text);
}

fn append_settings(text: &mut String, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        let value = value.replace('\'', "''");
        writeln!(text, "{name} = '{value}'").expect("a String takes all");
    }
}

/// In place: the file stays its owner's.
fn rewrite(file: &Path, text: &str) {
    fs::write(file, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", file.display()));
}

fn run_as() -> RunAs {
    RunAs::unprivileged(&["postgres", "nobody"])
}

/// A data directory as initdb makes it, made once in this run.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let parent = root().join("template");
        fs::create_dir(&parent).expect("the root is ours");
        run_as().own(&parent);
        let data = parent.join("data");
        initdb(&parent, &data);
        data
    })
}

fn initdb(from: &Path, data: &Path) {
    let mut initdb = run_as().command(&program("initdb"));
    initdb.arg("-D").arg(data).current_dir(from).args([
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    ]);
    run("initdb", initdb);
}

/// `READSIDE_TEST_PG_BIN`, else the newest of Debian's, else the PATH.
pub(crate) fn program(name: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        if let Some(dir) = std::env::var_os("READSIDE_TEST_PG_BIN") {
            return dir.into();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = debian_versions();
        places.extend(std::env::split_paths(&path));
        places.into_iter().find(|dir| dir.join("initdb").exists()).unwrap_or_else(|| {
            panic!(
                "PostgreSQL is not installed (no initdb in /usr/lib/postgresql/*/bin or the PATH); \
                 run: apt-get install postgresql, or set READSIDE_TEST_PG_BIN to its bin directory"
            )
        })
    });
    dir.join(name)
}

fn debian_versions() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path().join("bin"))))
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, bin)| bin).collect()
}
