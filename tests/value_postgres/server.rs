//! A throw-away Postgres: a cluster in a temporary directory, reached by its Unix socket, gone when
//! dropped.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

const START_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    process: Child,
    dir: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let bin = binaries();
        let dir = tempfile::Builder::new().prefix("readside-value-").tempdir().unwrap();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let command = |program: &str| {
            let mut command = Command::new(bin.join(program));
            command.current_dir(dir.path()).stdin(Stdio::null());
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let initdb = command("initdb")
            .args(["-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
            .arg("--locale=C.UTF-8")
            .output()
            .unwrap();
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let process = command("postgres")
            .args(["-D", "data", "-c", "fsync=off", "-c", "listen_addresses=", "-k"])
            .arg(dir.path())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process, dir }
    }

    /// A session with the settings that values are printed under.
    pub(crate) async fn connect(&self) -> Client {
        let config = format!("host={} user=postgres dbname=postgres", self.dir.path().display());
        let begin = Instant::now();
        let (client, connection) = loop {
            match tokio_postgres::connect(&config, NoTls).await {
                Ok(connected) => break connected,
                Err(error) => {
                    let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                    assert!(begin.elapsed() < START_TIMEOUT, "{error}\n{log}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::spawn(connection);
        client
            .batch_execute(
                "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
                 SET extra_float_digits = 1; SET bytea_output = 'hex'; SET client_min_messages = 'error'",
            )
            .await
            .unwrap();
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The newest of Debian's, else what PATH has.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .max();
    newest.map_or_else(PathBuf::new, |(_, path)| path.join("bin"))
}

/// Postgres refuses to run as root: then its package's user does.
fn unprivileged() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let user = users.lines().find(|line| line.starts_with("postgres:")).expect("a user postgres");
    let mut ids = user.split(':').skip(2).take(2).map(|id| id.parse().unwrap());
    ids.next().zip(ids.next())
}
