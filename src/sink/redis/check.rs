//! What `check` asks of the server: every fault, and nothing created.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError};

use crate::config::{Diagnostic, SinkConfig};
use crate::sink::{SinkError, SinkProjection};

use super::apply::other_owner;
use super::connect::Server;
use super::error::{self, retryable};
use super::log::LogPlan;
use super::prepare::{Info, faults, info};
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
    let mut plans = Vec::new();
    for (number, projection) in projections.iter().enumerate() {
        match Plan::bind(number, projection) {
            Ok(plan) => plans.push(plan),
            Err(faults) => found.extend(faults.into_iter().map(|fault| Diagnostic {
                what: fault.what,
                place: Some(fault.place),
                hint: Some(fault.hint),
            })),
        }
    }
    let diagnostic = |what: String, hint: String| Diagnostic {
        what: format!("sink.{}: {what}", config.name),
        place: Some(config.place.clone()),
        hint: (!hint.is_empty()).then_some(hint),
    };
    let (server, connected) = match Server::new(config) {
        Ok(server) => {
            let connected = server.connect().await;
            (server, connected)
        }
        Err(error) => {
            found.push(from_sink_error(&diagnostic, error));
            return found;
        }
    };
    let mut connection = match connected {
        Ok(connection) => connection,
        Err(error) => {
            found.push(from_sink_error(&diagnostic, error));
            return found;
        }
    };
    match info(&mut connection).await {
        Ok(info) => {
            let mut faults = faults(&info);
            // For `open` that is trouble of the moment: a failover may promote it.
            if matches!(info.get("role").map(String::as_str), Some("slave" | "replica")) {
                faults.push((
                    "this Redis is a replica and takes no writes".into(),
                    "name its master in the url".into(),
                ));
            }
            let server_will_do = faults.is_empty();
            found.extend(faults.into_iter().map(|(what, hint)| diagnostic(what, hint)));
            found.extend(eviction(&info, &plans).map(|(what, hint)| diagnostic(what, hint)));
            if !server_will_do {
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
    for plan in &plans {
        let asked: Result<Option<String>, _> = redis::cmd("HGET")
            .arg(&plan.watermark_key)
            .arg("owner")
            .query_async(&mut connection)
            .await;
        // What may not be read is reported with the other permissions.
        if let (Ok(Some(there)), Some(owner)) = (asked, owner)
            && there != owner
        {
            found.push(from_sink_error(&diagnostic, other_owner(&plan.name, &there)));
        }
    }
    match refusals(&mut connection, &plans).await {
        Ok(refused) => {
            found.extend(refused.into_iter().map(|(what, hint)| diagnostic(what, hint)));
        }
        Err(error) => found.push(from_sink_error(&diagnostic, retryable(&server.address, error))),
    }
    found
}

/// What two urls of one database have in common, where that can be asked.
pub async fn store(config: &SinkConfig) -> Option<String> {
    let server = Server::new(config).ok()?;
    let mut connection = server.connect().await.ok()?;
    let run_id = info(&mut connection).await.ok()?.remove("run_id")?;
    Some(format!("{run_id}/{}", server.database()))
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

/// What Redis would refuse of what a step does. The commands are queued in a transaction, where
/// Redis checks permissions, role, memory and disk, and then discarded.
async fn refusals(
    connection: &mut MultiplexedConnection,
    plans: &[Plan],
) -> Result<Vec<(String, String)>, RedisError> {
    let queued = match redis::cmd("MULTI").exec_async(connection).await {
        Ok(()) => true,
        // A backlog is slower without transactions, no more. What only reads can be tried as it is.
        Err(error) if error::code(&error) == Some("NOPERM") => false,
        Err(error) => return Err(error),
    };
    let mut denied: Vec<String> = Vec::new();
    let mut found: Vec<(String, String)> = Vec::new();
    let commands = plans.iter().flat_map(sample_commands).chain(server_commands());
    for command in commands.filter(|command| queued || only_reads(command)) {
        let Err(error) = command.exec_async(connection).await else { continue };
        if error.is_io_error() {
            return Err(error);
        }
        if error::code(&error) == Some("NOPERM") {
            let words: Vec<_> = command.args_iter().take(2).map(shown_argument).collect();
            if !denied.contains(&words.join(" ")) {
                denied.push(words.join(" "));
            }
            continue;
        }
        if !queued {
            // It was done, and permitted: another type, a script that is not there.
            continue;
        }
        let what = match error::explain(&error) {
            Some(why) => why.to_owned(),
            None => error.to_string(),
        };
        if !found.iter().any(|(known, _)| *known == what) {
            found.push((what, String::new()));
        }
    }
    if queued {
        redis::cmd("DISCARD").exec_async(connection).await?;
    }
    if !denied.is_empty() {
        let user: String = redis::cmd("ACL")
            .arg("WHOAMI")
            .query_async(connection)
            .await
            .unwrap_or_else(|_| "NAME".into());
        found.push((
            format!("the Redis user lacks permissions for: {}", denied.join(", ")),
            format!(
                "grant the keys of your templates and readside:*, and the commands, such as\n\
                 ACL SETUSER {user} ~readside:* ~order:* +@read +@write +@scripting +@transaction \
                 +@connection +info"
            ),
        ));
    }
    Ok(found)
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

/// What a step and a fill send for the plan, with `0` for every column of a key.
fn sample_commands(plan: &Plan) -> Vec<Cmd> {
    let mut commands = Vec::new();
    let shapes_key = watermark::shapes_key(&plan.name);
    for key in [&plan.watermark_key, &shapes_key, &plan.reverse_key, &plan.refused_key] {
        commands.push(command(&["HSET", key, "f", "v"]));
        commands.push(command(&["HDEL", key, "f"]));
        commands.push(command(&["HMGET", key, "f"]));
        commands.push(command(&["HGETALL", key]));
        commands.push(command(&["HSCAN", key, "0"]));
        commands.push(command(&["UNLINK", key]));
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
