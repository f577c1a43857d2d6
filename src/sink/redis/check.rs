//! What `check` asks of the server: every fault, and nothing created.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError};

use crate::config::{Diagnostic, SinkConfig};
use crate::sink::{SinkError, SinkProjection};

use super::apply::other_owner;
use super::connect::{Link, Server};
use super::error::{self, retryable};
use super::log::LogPlan;
use super::prepare::{Info, info};
use super::record::Layout;
use super::session::fence_key;
use super::slot::slot_of;
use super::target::{Plan, Structure};
use super::watermark;

/// Every fault of the server for these projections, found without writing anything. `owner` is the
/// source's system identifier and slot, where they are known.
pub async fn check(
    config: &SinkConfig,
    owner: Option<&str>,
    projections: &[SinkProjection],
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let diagnostic = |what: String, hint: String| Diagnostic {
        what: format!("sink.{}: {what}", config.name),
        place: Some(config.place.clone()),
        hint: (!hint.is_empty()).then_some(hint),
    };
    let linked = match Server::new(config) {
        Ok(server) => server.link(&[]).await.map(|link| (server, link)),
        Err(error) => Err(error),
    };
    let layout = linked.as_ref().map_or(Layout::Single, |(_, link)| link.layout());
    let mut plans = Vec::new();
    for (number, projection) in projections.iter().enumerate() {
        match Plan::bind(number, projection, layout) {
            Ok(plan) => plans.push(plan),
            Err(faults) => found.extend(faults.into_iter().map(|fault| Diagnostic {
                what: fault.what,
                place: Some(fault.place),
                hint: Some(fault.hint),
            })),
        }
    }
    let (server, mut link) = match linked {
        Ok(linked) => linked,
        Err(error) => {
            found.push(from_sink_error(&diagnostic, error));
            return found;
        }
    };
    for (connection, address) in link.connections() {
        let of_node = |what: String| match address.as_str() {
            "" => what,
            address => format!("{address}: {what}"),
        };
        match info(connection).await {
            Ok(info) => {
                // For `open` that is trouble of the moment: a failover may promote it.
                let is_replica =
                    matches!(info.get("role").map(String::as_str), Some("slave" | "replica"));
                if is_replica && layout == Layout::Single {
                    found.push(diagnostic(
                        "this Redis is a replica and takes no writes".into(),
                        "name its master in the url".into(),
                    ));
                }
                found.extend(
                    eviction(&info, &plans).map(|(what, hint)| diagnostic(of_node(what), hint)),
                );
                if is_replica {
                    return found;
                }
            }
            // A user without INFO may still have all that a step needs.
            Err(error) if error::code(&error) == Some("NOPERM") => {}
            Err(error) => {
                found.push(from_sink_error(&diagnostic, retryable(&server.address, error)));
                return found;
            }
        }
        if layout == Layout::Cluster
            && let Some(state) = cluster_state(connection).await
            && state != "ok"
        {
            let what = of_node(format!("the cluster's state is {state}"));
            let hint = "see CLUSTER INFO and CLUSTER NODES there";
            found.push(diagnostic(what, hint.into()));
        }
    }
    for plan in &plans {
        let ask = redis::cmd("HGET").arg(&plan.watermark_key).arg("owner").take();
        let asked = link.ask(&server, vec![(plan.watermark_key.as_bytes(), ask)]).await;
        // What may not be read is reported with the other permissions.
        if let (Ok(answers), Some(owner)) = (asked, owner)
            && let Some(redis::Value::BulkString(there)) = answers.first()
            && there != owner.as_bytes()
        {
            let there = String::from_utf8_lossy(there);
            found.push(from_sink_error(&diagnostic, other_owner(&plan.name, &there)));
        }
    }
    match refusals(&mut link, &plans, owner.unwrap_or("0")).await {
        Ok(refused) => {
            found.extend(refused.into_iter().map(|(what, hint)| diagnostic(what, hint)));
        }
        Err(error) => found.push(from_sink_error(&diagnostic, retryable(&server.address, error))),
    }
    found
}

/// `None`: it may not be asked.
async fn cluster_state(connection: &mut MultiplexedConnection) -> Option<String> {
    let text: String = redis::cmd("CLUSTER").arg("INFO").query_async(connection).await.ok()?;
    text.lines().find_map(|line| line.strip_prefix("cluster_state:")).map(|s| s.trim().to_owned())
}

/// What two urls of one database have in common, where that can be asked.
pub async fn store(config: &SinkConfig) -> Option<String> {
    let server = Server::new(config).ok()?;
    match server.link(&[]).await.ok()? {
        Link::Single(mut connection) => {
            let run_id = info(&mut connection).await.ok()?.remove("run_id")?;
            Some(format!("{run_id}/{}", server.database()))
        }
        Link::Cluster(cluster) => cluster.masters().iter().map(|master| master.id.clone()).min(),
    }
}

fn from_sink_error(
    diagnostic: &impl Fn(String, String) -> Diagnostic,
    error: SinkError,
) -> Diagnostic {
    match error {
        SinkError::Fatal { what, hint } | SinkError::Blocked { what, hint, .. } => {
            diagnostic(what, hint)
        }
        SinkError::Retryable { what, source } => {
            let hint = "check url, username, password or password_file, and ca_file";
            match source {
                Some(source) => diagnostic(format!("{what} ({source})"), hint.into()),
                None => diagnostic(what, hint.into()),
            }
        }
        // No check asks who leads.
        SinkError::Outranked { .. } => diagnostic(error.to_string(), String::new()),
    }
}

/// A policy that could take keys of ours; `volatile-*` takes only keys that expire.
fn eviction(info: &Info, plans: &[Plan]) -> Option<(String, String)> {
    let policy = info.get("maxmemory_policy")?;
    let limited = info.get("maxmemory").is_some_and(|bytes| bytes != "0");
    let expires = |plan: &Plan| {
        plan.targets.iter().any(|target| target.ttl_seconds.is_some())
            || plan.log.as_ref().is_some_and(LogPlan::expires)
    };
    let expiring = plans.iter().any(expires);
    let takes_ours = match policy.as_str() {
        "noeviction" => false,
        policy if policy.starts_with("volatile-") => expiring,
        _ => true,
    };
    (limited && takes_ours).then(|| {
        (
            format!("maxmemory-policy is {policy}: Redis may evict what Readside has written"),
            "set it in redis.conf, or type: CONFIG SET maxmemory-policy noeviction".into(),
        )
    })
}

/// What Redis would refuse of what a step does.
async fn refusals(
    link: &mut Link,
    plans: &[Plan],
    owner: &str,
) -> Result<Vec<(String, String)>, RedisError> {
    let layout = link.layout();
    let fence = (layout == Layout::Cluster).then(|| fence_key(0, owner));
    let mut commands: Vec<Cmd> = plans.iter().flat_map(sample_commands).collect();
    commands.extend(fence.iter().flat_map(|key| own_commands(key)));
    let mut refused = Refusals::default();
    let of_slot: Vec<usize> = match &*link {
        Link::Single(_) => vec![0; commands.len()],
        Link::Cluster(cluster) => commands
            .iter()
            .map(|command| match command.args_iter().nth(1) {
                Some(redis::Arg::Simple(key)) => cluster.master_of(slot_of(key)),
                _ => 0,
            })
            .collect(),
    };
    for (at, (connection, _)) in link.connections().into_iter().enumerate() {
        let here = commands.iter().zip(&of_slot).filter(|(_, master)| **master == at);
        let here = here.map(|(command, _)| command.clone()).chain(server_commands());
        refused.ask(connection, here).await?;
    }
    let Refusals { denied, mut found } = refused;
    if !denied.is_empty() {
        let user: Option<String> = match link.connections().into_iter().next() {
            Some((connection, _)) => {
                redis::cmd("ACL").arg("WHOAMI").query_async(connection).await.ok()
            }
            None => None,
        };
        let user = user.unwrap_or_else(|| "NAME".into());
        let of_cluster = match layout {
            Layout::Single => "",
            Layout::Cluster => " +cluster|slots +cluster|info",
        };
        found.push((
            format!("the Redis user lacks permissions for: {}", denied.join(", ")),
            format!(
                "grant the keys of your templates and readside:*, and the commands, such as\n\
                 ACL SETUSER {user} ~readside:* ~order:* +@read +@write +@scripting +@transaction \
                 +@connection +info{of_cluster}"
            ),
        ));
    }
    Ok(found)
}

#[derive(Default)]
struct Refusals {
    /// Command and key of each that the user may not.
    denied: Vec<String>,
    /// What and hint of everything else.
    found: Vec<(String, String)>,
}

impl Refusals {
    /// The commands are queued in a transaction, where Redis checks permissions, role, memory and disk,
    /// and then discarded.
    async fn ask(
        &mut self,
        connection: &mut MultiplexedConnection,
        commands: impl Iterator<Item = Cmd>,
    ) -> Result<(), RedisError> {
        let queued = match redis::cmd("MULTI").exec_async(connection).await {
            Ok(()) => true,
            // A backlog is slower without transactions, no more. What only reads can be tried as it is.
            Err(error) if error::code(&error) == Some("NOPERM") => false,
            Err(error) => return Err(error),
        };
        for command in commands.filter(|command| queued || only_reads(command)) {
            let Err(error) = command.exec_async(connection).await else { continue };
            if error.is_io_error() {
                return Err(error);
            }
            if error::code(&error) == Some("NOPERM") {
                let words: Vec<_> = command.args_iter().take(2).map(shown_argument).collect();
                if !self.denied.contains(&words.join(" ")) {
                    self.denied.push(words.join(" "));
                }
                continue;
            }
            // A slot on its way is nothing that anybody has to do something about.
            if !queued || matches!(error::code(&error), Some("MOVED" | "ASK" | "TRYAGAIN")) {
                // It was done, and permitted: another type, a script that is not there.
                continue;
            }
            let what = match error::explain(&error) {
                Some(why) => why.to_owned(),
                None => error.to_string(),
            };
            if !self.found.iter().any(|(known, _)| *known == what) {
                self.found.push((what, String::new()));
            }
        }
        if queued {
            redis::cmd("DISCARD").exec_async(connection).await?;
        }
        Ok(())
    }
}

/// Of the commands below; EVALSHA of a script that nobody has.
fn only_reads(command: &Cmd) -> bool {
    const READING: [&[u8]; 11] = [
        b"HMGET", b"HGETALL", b"HSCAN", b"TYPE", b"HKEYS", b"HLEN", b"STRLEN", b"ZSCAN", b"SSCAN",
        b"SCAN", b"EVALSHA",
    ];
    let name = command.args_iter().next();
    name.is_some_and(|name| matches!(name, redis::Arg::Simple(name) if READING.contains(&name)))
}

fn shown_argument(argument: redis::Arg<&[u8]>) -> String {
    match argument {
        redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    words.iter().for_each(|word| {
        command.arg(word);
    });
    command
}

fn server_commands() -> Vec<Cmd> {
    vec![
        command(&["EVALSHA", "0", "0"]),
        command(&["SCRIPT", "LOAD", "return"]),
        command(&["SCAN", "0"]),
    ]
}

fn own_commands(key: &str) -> [Cmd; 6] {
    [
        command(&["HSET", key, "f", "v"]),
        command(&["HDEL", key, "f"]),
        command(&["HMGET", key, "f"]),
        command(&["HGETALL", key]),
        command(&["HSCAN", key, "0"]),
        command(&["UNLINK", key]),
    ]
}

/// What a step and a fill send for the plan, with `0` for every column of a key.
fn sample_commands(plan: &Plan) -> Vec<Cmd> {
    let mut commands = Vec::new();
    let shapes_key = watermark::shapes_key(&plan.name);
    let reverse_key = plan.reverse.keys().swap_remove(0);
    for key in [&plan.watermark_key, &shapes_key, &reverse_key, &plan.refused_key] {
        commands.extend(own_commands(key));
    }
    if let Some(log) = &plan.log {
        commands.extend(
            log.sample_commands()
                .iter()
                .map(|words| command(&words.iter().map(String::as_str).collect::<Vec<_>>())),
        );
    }
    for target in &plan.targets {
        let key = target.location.key.sample();
        let key = key.as_str();
        commands.push(command(&["TYPE", key]));
        match target.structure {
            Structure::Hash => commands.extend([
                command(&["HSET", key, "f", "v"]),
                command(&["HDEL", key, "f"]),
                command(&["HMGET", key, "f"]),
                command(&["HKEYS", key]),
                command(&["HLEN", key]),
                command(&["DEL", key]),
            ]),
            Structure::Json => commands.extend([
                command(&["SET", key, "v"]),
                command(&["STRLEN", key]),
                command(&["DEL", key]),
            ]),
            Structure::SortedSet => commands.extend([
                command(&["ZADD", key, "1", "m"]),
                command(&["ZREM", key, "m"]),
                command(&["ZSCAN", key, "0"]),
                command(&["PERSIST", key]),
            ]),
            Structure::Set => commands.extend([
                command(&["SADD", key, "m"]),
                command(&["SREM", key, "m"]),
                command(&["SSCAN", key, "0"]),
                command(&["PERSIST", key]),
            ]),
        }
        if let Some(seconds) = &target.ttl_seconds {
            commands.push(command(&["EXPIRE", key, seconds]));
        }
    }
    commands
}
