//! Readside as its image and its compose file run it, as far as that goes without a container engine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::ports::Port;
use crate::harness::postgres::program;
use crate::harness::process::{Process, RunAs, run};
use crate::harness::{
    Daemon, Postgres, PostgresOptions, Redis, RedisOptions, Search, http, scratch, wait,
};

/// A PID namespace whose first process is Readside, unprivileged and without capabilities, on a root that is
/// read-only but for the state.
const CONTAINED: &str = r#"
mount -o remount,bind,ro /
mount -t tmpfs -o "$OWNER" tmpfs "$STATE"
exec setpriv $USER_OPTIONS --no-new-privs --bounding-set=-all --inh-caps=-all -- "$0" "$@"
"#;

/// As root the image's own user; everybody else can only be themselves, as root of a namespace.
fn contained(command: &mut Command) -> u32 {
    let user = rustix::process::geteuid();
    let (namespace, owner, options, uid): (&[&str], _, _, _) = if user.is_root() {
        (&[], "uid=65532,gid=65532,mode=700", "--reuid=65532 --regid=65532 --clear-groups", 65532)
    } else {
        (&["--user", "--map-root-user"], "mode=700", "", user.as_raw())
    };
    command.args(namespace).args(["--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]);
    command.args(["--", "sh", "-ec", CONTAINED]);
    command.env("OWNER", owner).env("USER_OPTIONS", options);
    uid
}

#[tokio::test]
async fn process_1_on_a_read_only_root_ends_by_sigterm() {
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let (source, sink) = (postgres.new_database().await, postgres.new_database().await);
    let client = postgres.client(&source).await;
    client.batch_execute("CREATE TABLE items (id int PRIMARY KEY)").await.unwrap();
    let (here, port) = (scratch::Scratch::new("contained"), Port::reserve());
    let (state, config) = (here.path().join("state"), here.path().join("readside.toml"));
    fs::create_dir(&state).unwrap();
    let text = format!(
        "[source]\nurl = '{}'\n[state]\ndir = '{}'\n[http]\nlisten = '127.0.0.1:{}'\n\
         [sink.reporting.postgres]\nurl = '{}'\n\
         [projection.items]\ntable = 'items'\nto.reporting = {{ table = 'items' }}\n",
        postgres.url(&source),
        state.display(),
        port.number(),
        postgres.url(&sink)
    );
    fs::write(&config, text).unwrap();
    let mut command = RunAs::Ourselves.command(Path::new("unshare"));
    let uid = contained(&mut command);
    command
        .arg(crate::harness::daemon::binary())
        .args(["run", "--log", "json", "--config"])
        .arg(&config)
        .env("STATE", &state);
    let mut process = Process::start("readside", command, &here.path().join("log"));
    let (url, http) = (format!("http://127.0.0.1:{}/readyz", port.number()), http());
    wait::until("it to be ready", async || {
        if let Some(status) = process.exited() {
            panic!("it ended ({status})");
        }
        let answer = http.get(&url).send().await.map_err(|error| format!("{error:?}"))?;
        if answer.status() == 200 { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
    })
    .await;

    let parent = process.pid();
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    let ours: u32 = children.trim().parse().unwrap();
    let status = fs::read_to_string(format!("/proc/{ours}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("NSpid:").last().map(String::as_str), Some("1"), "{status}");
    assert_eq!(field("Uid:"), vec![uid.to_string(); 4]);
    assert_eq!(field("CapEff:"), ["0000000000000000"]);
    let mounts = fs::read_to_string(format!("/proc/{ours}/mounts")).unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).unwrap();
    assert!(root.split([' ', ',']).any(|word| word == "ro"), "{root}");

    // What the image's health check runs.
    let health = crate::harness::readside(&["status", "--json"], Some(&config));
    assert!(health.status.success(), "{}", String::from_utf8_lossy(&health.stderr));

    let mut kill = Command::new("kill");
    kill.args(["-TERM", &ours.to_string()]);
    run("kill", kill);
    let ended = process.ended().await;
    assert_eq!(ended.code(), Some(0), "{}", process.log());
}

/// The environment that `docker/compose.yml` gives to Readside.
fn composed() -> BTreeMap<String, String> {
    let compose = include_str!("../../docker/compose.yml");
    let lines = compose.lines().filter_map(|line| line.trim().split_once(": "));
    let ours = lines.filter(|(name, _)| name.starts_with("READSIDE__"));
    ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn the_composed_shop_is_in_order() {
    let redis_options = RedisOptions::default();
    let options = PostgresOptions::default();
    let (postgres, redis, search) =
        tokio::join!(Postgres::start(&options), Redis::start(&redis_options), Search::shared());
    postgres.create_database("shop").await;
    postgres.create_database("shop_read").await;
    let client = postgres.client("shop").await;
    for script in [
        include_str!("../../config/examples/shop.sql"),
        include_str!("../../docker/shop/readside.sql"),
    ] {
        client.batch_execute(script).await.unwrap_or_else(|error| panic!("{error:?}"));
    }
    let environment: Vec<(String, String)> = (composed().into_iter())
        .map(|(name, url)| {
            let address = |host: &str, port: u16| url.replace(host, &format!("127.0.0.1:{port}"));
            let here = match name.as_str() {
                "READSIDE__SOURCE__URL" => address("source", postgres.port()),
                "READSIDE__SINK__REPORTING__POSTGRES__URL" => {
                    address("@reporting", postgres.port()).replace("127", "@127")
                }
                "READSIDE__SINK__CACHE__REDIS__URL" => address("cache:6379", redis.port()),
                "READSIDE__SINK__SEARCH__ELASTICSEARCH__URL" => search.url().to_owned(),
                other => panic!("{other} is not known here"),
            };
            (name, here)
        })
        .collect();
    assert_eq!(environment.len(), 4);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/shop.toml");
    let mut check = Command::new(crate::harness::daemon::binary());
    check.arg("check").arg("--config").arg(&example).envs(environment.clone());
    run("readside check", check);

    // The workload, while Readside follows it; other tests have indexes of these names.
    let text = fs::read_to_string(&example).unwrap();
    let own = crate::harness::unique("composed");
    let own = text
        .replace("index = \"", &format!("index = \"{own}_"))
        .replace("[projection.", &format!("[projection.{own}_"));
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mut daemon = Daemon::start_with(&own, &environment);
    daemon.wait_ready().await;
    let mut pgbench = Command::new(program("pgbench"));
    pgbench
        .args(["-n", "-t", "40", "-h", "127.0.0.1", "-U", "postgres", "-f"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/shop/workload.sql"))
        .args(["-p", &postgres.port().to_string(), "shop"]);
    let said = run("pgbench", pgbench);
    assert!(said.contains("number of transactions actually processed: 40/40"), "{said}");
    assert!(said.contains("number of failed transactions: 0"), "{said}");
    let orders: i64 = client.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
    assert_eq!(orders, 5040);
    let lsn = crate::world::one(&client, "SELECT pg_current_wal_insert_lsn()::text").await;
    let name = own
        .split("[projection.")
        .find_map(|part| part.split(']').next().filter(|name| name.ends_with("_order_summary")));
    daemon.wait_for(name.unwrap(), "reporting", &lsn).await;
    let reporting = postgres.client("shop_read").await;
    let kept: i64 =
        reporting.query_one("SELECT count(*) FROM order_summary", &[]).await.unwrap().get(0);
    assert_eq!(kept, orders);
}
