//! A cluster as one server: which master has which slot, a connection to each, and commands that go
//! where their slots are.
//!
//! A command is sent again only after an answer that says that nothing was done: MOVED, ASK, TRYAGAIN,
//! NOSCRIPT. Whatever else happens is told, for only who asked can know what it means.
//!
//! A node executes what it is sent in the order of the commands, but for those that it has sent
//! elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, ServerError, Value};

use super::connect::Server;
use super::error::{interrupted, retryable};
use super::slot::SLOTS;
use crate::sink::SinkError;

/// A slot on its way takes no new keys for so long; then the sink is away.
const ROUNDS_MAX: u32 = 60;
const ROUND_PAUSE: Duration = Duration::from_millis(50);

/// A command, and the slot of all its keys.
pub(super) struct Routed {
    pub(super) slot: u16,
    pub(super) command: Cmd,
}

/// The answers, in the commands' order.
pub(super) struct Exchanged {
    pub(super) answers: Vec<Value>,
    /// Some of them came from elsewhere, and later.
    pub(super) redirected: bool,
}

pub(super) struct Cluster {
    server: Server,
    /// For nodes that do not know how they are reached.
    host: String,
    /// What every node is to know.
    scripts: &'static [&'static str],
    masters: Vec<Master>,
    /// By slot: the master's position.
    of_slot: Vec<u16>,
}

pub(super) struct Master {
    pub(super) id: String,
    host: String,
    port: u16,
    /// Of its own.
    pub(super) first_slot: u16,
    connection: MultiplexedConnection,
}

/// A master, and its slots.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    id: String,
    host: String,
    port: u16,
    slots: Vec<(u16, u16)>,
}

impl Cluster {
    /// Learns the cluster from one of its nodes, and connects to its masters.
    pub(super) async fn join(
        server: &Server,
        seed: &mut MultiplexedConnection,
        host: &str,
        scripts: &'static [&'static str],
    ) -> Result<Self, SinkError> {
        let mut cluster = Self {
            server: server.clone(),
            host: host.to_owned(),
            scripts,
            masters: Vec::new(),
            of_slot: Vec::new(),
        };
        cluster.learn(seed).await?;
        Ok(cluster)
    }

    pub(super) fn masters(&self) -> &[Master] {
        &self.masters
    }

    pub(super) fn master_of(&self, slot: u16) -> usize {
        usize::from(self.of_slot[usize::from(slot)])
    }

    pub(super) fn connections(&mut self) -> Vec<(&mut MultiplexedConnection, String)> {
        let masters = self.masters.iter_mut();
        masters
            .map(|master| {
                let address = master.address();
                (&mut master.connection, address)
            })
            .collect()
    }

    /// Sends one command to one master, whatever its slots.
    pub(super) async fn ask_master(
        &mut self,
        master: usize,
        command: &Cmd,
    ) -> Result<Value, SinkError> {
        let Some(master) = self.masters.get_mut(master) else {
            return Err(interrupted(format!("{}: the cluster has changed", self.server.address)));
        };
        let answer = command.query_async(&mut master.connection).await;
        answer.map_err(|error| retryable(&master.address(), error))
    }

    /// Sends each command to the master of its slot, all at once.
    pub(super) async fn exchange(&mut self, commands: &[Routed]) -> Result<Exchanged, SinkError> {
        let mut answers = vec![Value::Nil; commands.len()];
        let mut open: Vec<usize> = (0..commands.len()).collect();
        // Where else a slot's command goes, once.
        let mut asked: BTreeMap<usize, (String, u16)> = BTreeMap::new();
        let mut redirected = false;
        let mut refused = None;
        for round in 0..ROUNDS_MAX {
            let mut still_open = Vec::new();
            let (mut moved, mut waits) = (false, false);
            let mut untaught = BTreeSet::new();
            for (at, answer, node) in self.round(commands, &open, &asked).await? {
                asked.remove(&at);
                let Value::ServerError(error) = answer else {
                    answers[at] = answer;
                    continue;
                };
                match error.code() {
                    "MOVED" => (moved, redirected) = (true, true),
                    "ASK" => {
                        redirected = true;
                        asked.insert(at, self.redirection(&error)?);
                    }
                    "TRYAGAIN" => waits = true,
                    "NOSCRIPT" => {
                        untaught.insert(node);
                    }
                    _ => {
                        answers[at] = Value::ServerError(error);
                        continue;
                    }
                }
                refused = Some(error);
                still_open.push(at);
            }
            if still_open.is_empty() {
                return Ok(Exchanged { answers, redirected });
            }
            open = still_open;
            for node in untaught {
                self.teach(node).await?;
            }
            if moved {
                self.learn_again().await?;
            }
            if waits || round > 0 {
                tokio::time::sleep(ROUND_PAUSE).await;
            }
        }
        let error = refused.map_or_else(
            || RedisError::from((ErrorKind::Client, "no node takes a command")),
            RedisError::from,
        );
        Err(retryable(&self.server.address, error))
    }

    /// Each open command's answer, and the node that gave it.
    async fn round(
        &mut self,
        commands: &[Routed],
        open: &[usize],
        asked: &BTreeMap<usize, (String, u16)>,
    ) -> Result<Vec<(usize, Value, usize)>, SinkError> {
        let mut sent: Vec<Vec<usize>> = vec![Vec::new(); self.masters.len()];
        let mut answered = Vec::with_capacity(open.len());
        for &at in open {
            match asked.get(&at) {
                None => sent[self.master_of(commands[at].slot)].push(at),
                Some((host, port)) => {
                    let node = self.node_at(host, *port).await?;
                    let mut both = redis::pipe();
                    both.cmd("ASKING").add_command(commands[at].command.clone());
                    let master = &mut self.masters[node];
                    let answers = master.connection.send_packed_commands(&both, 0, 2).await;
                    let answers = answers.map_err(|error| retryable(&master.address(), error))?;
                    answered.push((at, answers.into_iter().nth(1).unwrap_or_default(), node));
                }
            }
        }
        let exchanges = self.masters.iter_mut().zip(&sent).enumerate().map(
            async |(node, (master, numbers))| {
                if numbers.is_empty() {
                    return Ok(Vec::new());
                }
                let mut pipeline = redis::pipe();
                for &at in numbers {
                    pipeline.add_command(commands[at].command.clone());
                }
                let answers =
                    master.connection.send_packed_commands(&pipeline, 0, numbers.len()).await;
                let answers = answers.map_err(|error| retryable(&master.address(), error))?;
                let with_numbers = numbers.iter().zip(answers);
                Ok(with_numbers.map(|(&at, answer)| (at, answer, node)).collect::<Vec<_>>())
            },
        );
        let results: Vec<Result<Vec<_>, SinkError>> = join_all(exchanges).await;
        for result in results {
            answered.extend(result?);
        }
        if answered.len() != open.len() {
            return Err(interrupted(format!("{}: answers are missing", self.server.address)));
        }
        // In the order of the commands, which is kept when they are sent again.
        answered.sort_unstable_by_key(|(at, _, _)| *at);
        Ok(answered)
    }

    /// Where ASK points to.
    fn redirection(&self, error: &ServerError) -> Result<(String, u16), SinkError> {
        let read = || {
            let (_, address) = error.details()?.split_once(' ')?;
            let (host, port) = address.rsplit_once(':')?;
            // An empty host is that of the node which says so, and all of them have the seed's then.
            let host = if host.is_empty() { &*self.host } else { host };
            Some((host.to_owned(), port.parse().ok()?))
        };
        let unread = || interrupted(format!("{}: cannot read {error}", self.server.address));
        read().ok_or_else(unread)
    }

    /// A master that has just been given its first slot is not among those known.
    async fn node_at(&mut self, host: &str, port: u16) -> Result<usize, SinkError> {
        let known = |master: &Master| master.host == host && master.port == port;
        if let Some(at) = self.masters.iter().position(known) {
            return Ok(at);
        }
        let connection = self.connect(host, port).await?;
        self.masters.push(Master {
            id: String::new(),
            host: host.to_owned(),
            port,
            first_slot: 0,
            connection,
        });
        Ok(self.masters.len() - 1)
    }

    async fn connect(&self, host: &str, port: u16) -> Result<MultiplexedConnection, SinkError> {
        let mut connection = self.server.connect_to(host, port).await?;
        teach(&mut connection, self.scripts)
            .await
            .map_err(|error| retryable(&format!("{host}:{port}"), error))?;
        Ok(connection)
    }

    async fn teach(&mut self, node: usize) -> Result<(), SinkError> {
        let master = &mut self.masters[node];
        let taught = teach(&mut master.connection, self.scripts).await;
        taught.map_err(|error| retryable(&master.address(), error))
    }

    /// From whichever master answers: the one that is away may be what has changed.
    async fn learn_again(&mut self) -> Result<(), SinkError> {
        let mut connections: Vec<_> =
            self.masters.iter().map(|master| master.connection.clone()).collect();
        let mut failed = None;
        for connection in &mut connections {
            match self.learn(connection).await {
                Ok(()) => return Ok(()),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| interrupted(format!("{}: no master", self.server.address))))
    }

    async fn learn(&mut self, from: &mut MultiplexedConnection) -> Result<(), SinkError> {
        let answer = redis::cmd("CLUSTER").arg("SLOTS").query_async(from).await;
        let doing = || format!("{}: CLUSTER SLOTS", self.server.address);
        let answer: Value = answer.map_err(|error| retryable(&doing(), error))?;
        let owners = read_owners(answer, &self.host).ok_or_else(|| {
            interrupted(format!("{}: CLUSTER SLOTS cannot be read", self.server.address))
        })?;
        let mut of_slot = vec![u16::MAX; SLOTS];
        for (at, owner) in owners.iter().enumerate() {
            for &(first, last) in &owner.slots {
                of_slot[usize::from(first)..=usize::from(last)].fill(at as u16);
            }
        }
        let uncovered = of_slot.iter().filter(|&&at| at == u16::MAX).count();
        if uncovered > 0 {
            return Err(interrupted(format!(
                "{}: {uncovered} slots of the Redis cluster have no master",
                self.server.address
            )));
        }
        let mut known = std::mem::take(&mut self.masters);
        let connections = owners.iter().map(|owner| {
            let is_it = |m: &Master| m.host == owner.host && m.port == owner.port;
            let known = known.iter().find(|master| is_it(master));
            let known = known.map(|master| master.connection.clone());
            let this = &*self;
            async move {
                match known {
                    Some(connection) => Ok(connection),
                    None => this.connect(&owner.host, owner.port).await,
                }
            }
        });
        let connections: Vec<Result<_, SinkError>> = join_all(connections).await;
        let connections: Result<Vec<_>, SinkError> = connections.into_iter().collect();
        let connections = match connections {
            Ok(connections) => connections,
            Err(error) => {
                self.masters = std::mem::take(&mut known);
                return Err(error);
            }
        };
        self.masters = owners
            .into_iter()
            .zip(connections)
            .map(|(owner, connection)| Master {
                first_slot: owner.slots.iter().map(|(first, _)| *first).min().unwrap_or_default(),
                id: owner.id,
                host: owner.host,
                port: owner.port,
                connection,
            })
            .collect();
        self.of_slot = of_slot;
        Ok(())
    }
}

impl Master {
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

async fn teach(connection: &mut MultiplexedConnection, scripts: &[&str]) -> Result<(), RedisError> {
    if scripts.is_empty() {
        return Ok(());
    }
    let mut loads = redis::pipe();
    for script in scripts {
        loads.cmd("SCRIPT").arg("LOAD").arg(*script);
    }
    loads.query_async::<Vec<Value>>(connection).await.map(drop)
}

/// CLUSTER SLOTS: of each range its first and last slot, the master, replicas; of a node its host, port
/// and id.
fn read_owners(answer: Value, seed_host: &str) -> Option<Vec<Owner>> {
    let mut owners: Vec<Owner> = Vec::new();
    let Value::Array(ranges) = answer else { return None };
    for range in ranges {
        let Value::Array(range) = range else { return None };
        let mut range = range.into_iter();
        let mut slot = || match range.next()? {
            Value::Int(slot) => u16::try_from(slot).ok().filter(|&slot| usize::from(slot) < SLOTS),
            _ => None,
        };
        let (first, last) = (slot()?, slot()?);
        if first > last {
            return None;
        }
        let Value::Array(master) = range.next()? else { return None };
        let [host, Value::Int(port), Value::BulkString(id), ..] = master.as_slice() else {
            return None;
        };
        let host = match host {
            Value::BulkString(host) if !host.is_empty() => String::from_utf8(host.clone()).ok()?,
            // A node that does not know how it is reached; it is where we have asked.
            Value::BulkString(_) | Value::Nil => seed_host.to_owned(),
            _ => return None,
        };
        let (port, id) = (u16::try_from(*port).ok()?, String::from_utf8(id.clone()).ok()?);
        match owners.iter_mut().find(|owner| owner.id == id) {
            Some(owner) => owner.slots.push((first, last)),
            None => owners.push(Owner { id, host, port, slots: vec![(first, last)] }),
        }
    }
    // Positions are kept in 16 bits, of which one value says "none".
    (owners.len() < usize::from(u16::MAX)).then_some(owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn range(first: i64, last: i64, node: Vec<Value>) -> Value {
        Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(node)])
    }

    #[test]
    fn the_masters_of_slots_are_read() {
        let a = || vec![text("a"), Value::Int(1), text("x"), Value::Array(Vec::new())];
        let b = vec![Value::Nil, Value::Int(2), text("y")];
        let answer = Value::Array(vec![range(0, 5, a()), range(6, 9, b), range(10, 16_383, a())]);
        let owner = |id: &str, host: &str, port, slots| Owner {
            id: id.into(),
            host: host.into(),
            port,
            slots,
        };
        assert_eq!(
            read_owners(answer, "seed").unwrap(),
            [owner("x", "a", 1, vec![(0, 5), (10, 16_383)]), owner("y", "seed", 2, vec![(6, 9)])]
        );
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let node = || vec![text("a"), Value::Int(1), text("x")];
        for bad in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![Value::Array(Vec::new())]),
            Value::Array(vec![range(5, 0, node())]),
            Value::Array(vec![range(0, 16_384, node())]),
            Value::Array(vec![range(-1, 5, node())]),
            Value::Array(vec![range(0, 5, vec![text("a"), Value::Int(99_999), text("x")])]),
            Value::Array(vec![range(0, 5, vec![text("a")])]),
        ] {
            assert_eq!(read_owners(bad.clone(), "seed"), None, "{bad:?}");
        }
    }
}
