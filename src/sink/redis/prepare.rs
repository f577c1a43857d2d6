//! What the server must be: `open` refuses the impossible, `check` finds every fault and creates
//! nothing.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError};

use crate::config::{Diagnostic, SinkConfig};
use crate::sink::{SinkError, SinkProjection, Watermark};

use super::RedisSink;
use super::apply::other_owner;
use super::connect::Server;
use super::error::{self, fatal, retryable};
use super::target::{Plan, Structure};
use super::watermark;

/// SCAN's TYPE, and the script's commands as it uses them.
const VERSION_MIN: (u64, u64) = (6, 2);

/// A version too old and a cluster: nothing to try again. A user who may not ask (INFO) is believed.
pub(super) async fn require_server(
    server: &Server,
    connection: &mut MultiplexedConnection,
) -> Result<(), SinkError> {
    match info(connection).await {
        Ok(info) => match faults(&info).into_iter().next() {
            Some((what, hint)) => Err(fatal(format!("{}: {what}", server.address), hint)),
            None => Ok(()),
        },
        Err(error) if error::code(&error) == Some("NOPERM") => Ok(()),
        Err(error) => Err(retryable(&server.address, error)),
    }
}

impl RedisSink {
    pub(super) async fn read_watermark(
        &mut self,
        projection: usize,
    ) -> Result<Option<Watermark>, SinkError> {
        let key = self.plans[projection].watermark_key.clone();
        let fields: HashMap<String, String> = self.ask(redis::cmd("HGETALL").arg(&key)).await?;
        let field = |name| fields.get(name).cloned().unwrap_or_default();
        let (owner, step) = (field("owner"), field("step"));
        let plan = &self.plans[projection];
        if !owner.is_empty() && owner != self.owner {
            return Err(other_owner(&plan.name, &owner));
        }
        let standing = &mut self.standings[projection];
        let possible = standing.possible.take();
        let ours = step == standing.step || possible.as_ref() == Some(&step);
        standing.owner = owner;
        standing.step = step;
        // One that cannot be read is as good as none: an empty Redis, or what a script left that was
        // broken off by a missing permission.
        let Some(stored) = watermark::read(&fields) else {
            standing.filling = false;
            standing.fill = None;
            return Ok(None);
        };
        // A fill goes on where it stood only when nobody else has moved the watermark since, such
        // as a restart of Redis that lost what was written last.
        if !ours || !stored.filling {
            standing.fill = None;
        }
        standing.filling = stored.filling;
        standing.watermark = stored.watermark.clone();
        let usable = !stored.filling && stored.watermark.fingerprint == plan.fingerprint;
        Ok(usable.then_some(stored.watermark))
    }
}

/// Every fault of the server for these projections, found without writing anything. `owner` is the
/// source's system identifier and slot, where they are known.
pub async fn check(
    config: &SinkConfig,
    owner: Option<&str>,
    projections: &[SinkProjection],
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut plans = Vec::new();
    for projection in projections {
        match Plan::bind(projection) {
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
            let faults = faults(&info);
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

fn from_sink_error(
    diagnostic: &impl Fn(String, String) -> Diagnostic,
    error: SinkError,
) -> Diagnostic {
    match error {
        SinkError::Fatal { what, hint } => diagnostic(what, hint),
        SinkError::Retryable { what, source } => {
            let hint = "check url, username, password or password_file, and ca_file";
            match source {
                Some(source) => diagnostic(format!("{what} ({source})"), hint.into()),
                None => diagnostic(what, hint.into()),
            }
        }
    }
}

type Info = HashMap<String, String>;

async fn info(connection: &mut MultiplexedConnection) -> Result<Info, RedisError> {
    let text: String = redis::cmd("INFO").query_async(connection).await?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    Ok(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

/// What and hint of each fault that no permission or memory can mend.
fn faults(info: &Info) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let field = |name: &str| info.get(name).map(String::as_str);
    if let Some(version) = field("redis_version") {
        let mut numbers = version.split('.').map_while(|part| part.parse().ok());
        let parsed = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if parsed < VERSION_MIN {
            found.push((
                format!("this is Redis {version}"),
                "run Redis 6.2 or later, or Valkey".into(),
            ));
        }
    }
    if field("cluster_enabled") == Some("1") {
        found.push((
            "this Redis is a node of a cluster, which is not supported".into(),
            "use a Redis that is not in cluster mode".into(),
        ));
    }
    if matches!(field("role"), Some("slave" | "replica")) {
        found.push((
            "this Redis is a replica and takes no writes".into(),
            "name its master in the url".into(),
        ));
    }
    found
}

/// A policy that could take keys of ours; `volatile-*` takes only keys that expire.
fn eviction(info: &Info, plans: &[Plan]) -> Option<(String, String)> {
    let policy = info.get("maxmemory_policy")?;
    let limited = info.get("maxmemory").is_some_and(|bytes| bytes != "0");
    let expiring = plans.iter().flat_map(|plan| &plan.targets).any(|t| t.ttl_seconds.is_some());
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
    match redis::cmd("MULTI").exec_async(connection).await {
        Ok(()) => {}
        // Steps need no transactions: such a user is believed.
        Err(error) if error::code(&error) == Some("NOPERM") => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let mut denied: Vec<String> = Vec::new();
    let mut found: Vec<(String, String)> = Vec::new();
    for command in plans.iter().flat_map(sample_commands).chain(server_commands()) {
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
        let what = match error::explain(&error) {
            Some(why) => why.to_owned(),
            None => error.to_string(),
        };
        if !found.iter().any(|(known, _)| *known == what) {
            found.push((what, String::new()));
        }
    }
    redis::cmd("DISCARD").exec_async(connection).await?;
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
                 ACL SETUSER {user} ~readside:* ~order:* +@read +@write +@scripting +@connection +info"
            ),
        ));
    }
    Ok(found)
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
    for key in [&plan.watermark_key, &shapes_key, &plan.reverse_key] {
        commands.push(command(&["HSET", key, "f", "v"]));
        commands.push(command(&["HDEL", key, "f"]));
        commands.push(command(&["HMGET", key, "f"]));
        commands.push(command(&["HGETALL", key]));
        commands.push(command(&["HSCAN", key, "0"]));
        commands.push(command(&["UNLINK", key]));
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
