//! What `open` asks of the server: that it is one that can be used, and where each projection stands.

use std::collections::HashMap;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use crate::sink::{SinkError, Watermark};

use super::RedisSink;
use super::apply::other_owner;
use super::connect::Server;
use super::error::{self, fatal, retryable};
use super::watermark;

/// SCAN's TYPE, and the script's commands as it uses them.
const VERSION_MIN: (u64, u64) = (6, 2);

/// A version too old: nothing to try again. A user who may not ask (INFO) is believed. Answers whether
/// this is a node of a cluster.
pub(super) async fn require_server(
    server: &Server,
    connection: &mut MultiplexedConnection,
) -> Result<bool, SinkError> {
    match info(connection).await {
        Ok(info) => match faults(&info).into_iter().next() {
            Some((what, hint)) => Err(fatal(format!("{}: {what}", server.address), hint)),
            None => Ok(is_cluster(&info)),
        },
        Err(error) if error::code(&error) == Some("NOPERM") => {
            let slots = redis::cmd("CLUSTER").arg("SLOTS").query_async(connection).await;
            Ok(slots.is_ok_and(|slots: redis::Value| matches!(slots, redis::Value::Array(_))))
        }
        Err(error) => Err(retryable(&server.address, error)),
    }
}

pub(super) fn is_cluster(info: &Info) -> bool {
    info.get("cluster_enabled").is_some_and(|enabled| enabled == "1")
}

/// Whether the user is permitted transactions.
pub(super) async fn may_transact(
    server: &Server,
    connection: &mut MultiplexedConnection,
    watermark_key: &str,
) -> Result<bool, SinkError> {
    let mut empty = redis::pipe();
    empty.cmd("WATCH").arg(watermark_key).cmd("MULTI").cmd("EXEC");
    match connection.send_packed_commands(&empty, 0, 3).await {
        Ok(answers) => Ok(!answers.iter().any(|a| matches!(a, redis::Value::ServerError(_)))),
        Err(error) => Err(retryable(&server.address, error)),
    }
}

impl RedisSink {
    pub(super) async fn read_watermark(
        &mut self,
        projection: usize,
    ) -> Result<Option<Watermark>, SinkError> {
        let key = self.plans[projection].watermark_key.clone();
        let command = redis::cmd("HGETALL").arg(&key).take();
        let fields: HashMap<String, String> = self.ask(&key, command).await?;
        let field = |name| fields.get(name).cloned().unwrap_or_default();
        let (owner, step) = (field("owner"), field("step"));
        let plan = &self.plans[projection];
        if !owner.is_empty() && !self.origin.owner.is(&owner) {
            return Err(other_owner(&plan.name, &owner));
        }
        let standing = &mut self.standings[projection];
        let possible = standing.possible.take();
        let ours = step == standing.step || possible.as_ref() == Some(&step);
        standing.owner = owner;
        standing.step = step;
        // One that cannot be read is as good as none: an empty Redis, or what a script left that was
        // broken off by a missing permission.
        let Some(stored) = watermark::read(&fields).map(|found| self.origin.history.judge(found))
        else {
            standing.filling = false;
            standing.fill = None;
            return Ok(None);
        };
        // What a log holds stays, also where its watermark says nothing in this history.
        standing.filling = stored.fingerprint.is_empty() && plan.log.is_none();
        // A fill goes on where it stood only when nobody else has moved the watermark since, such
        // as a restart of Redis that lost what was written last.
        if !ours || !standing.filling {
            standing.fill = None;
        }
        standing.watermark = stored.clone();
        Ok(Some(stored))
    }
}

pub(super) type Info = HashMap<String, String>;

pub(super) async fn info(connection: &mut MultiplexedConnection) -> Result<Info, RedisError> {
    let text: String = redis::cmd("INFO").query_async(connection).await?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    Ok(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

/// What and hint of each fault that no permission or memory can mend.
pub(super) fn faults(info: &Info) -> Vec<(String, String)> {
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
    found
}
