//! A Redis cluster of the test's own: three masters, and replicas where they are asked for.

use std::ops::RangeInclusive;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;

use super::wait;
use super::{Redis, RedisOptions};

const MASTERS: usize = 3;
const SLOTS: u16 = 16_384;

pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<Redis>,
    /// Whose turn it is to be killed.
    next: usize,
}

impl RedisCluster {
    pub(crate) async fn start(options: &RedisOptions<'_>) -> RedisCluster {
        let mut nodes = Vec::new();
        for _ in 0..MASTERS {
            nodes.push(Redis::start_node(options).await);
        }
        let cluster = RedisCluster { nodes, next: 0 };
        for (at, node) in cluster.nodes.iter().enumerate() {
            let mut client = node.client().await;
            let mut slots = redis::cmd("CLUSTER");
            slots.arg("ADDSLOTS").arg(slots_of(at).collect::<Vec<_>>());
            slots.exec_async(&mut client).await.unwrap();
            let epoch = at + 1;
            redis::cmd("CLUSTER")
                .arg("SET-CONFIG-EPOCH")
                .arg(epoch)
                .exec_async(&mut client)
                .await
                .unwrap();
        }
        let mut first = cluster.nodes[0].client().await;
        for node in &cluster.nodes[1..] {
            meet(&mut first, node).await;
        }
        cluster.whole().await;
        cluster
    }

    /// Until every node finds the cluster whole, and knows all the others.
    pub(crate) async fn whole(&self) {
        wait::until("the cluster to be whole", async || {
            for node in &self.nodes {
                let mut client = node.client().await;
                let info: String = redis::cmd("CLUSTER")
                    .arg("INFO")
                    .query_async(&mut client)
                    .await
                    .map_err(|error| error.to_string())?;
                let known = format!("cluster_known_nodes:{}\r", self.nodes.len());
                if !info.contains("cluster_state:ok") || !info.contains(&known) {
                    return Err(info);
                }
            }
            Ok(())
        })
        .await;
    }

    /// All nodes but the first are learnt from it.
    pub(crate) fn url(&self) -> String {
        self.nodes[0].url()
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// The node that has this slot from the beginning.
    pub(crate) fn at_first(slot: u16) -> usize {
        (0..MASTERS).find(|&at| slots_of(at).contains(&slot)).expect("each slot has a node")
    }

    /// One more node, which copies this one and takes its place when it dies.
    pub(crate) async fn add_replica(&mut self, of: usize, options: &RedisOptions<'_>) {
        let replica = Redis::start_node(options).await;
        meet(&mut self.nodes[0].client().await, &replica).await;
        self.nodes.push(replica);
        self.whole().await;
        let id = self.id(of).await;
        let mut client = self.nodes.last().expect("one was pushed").client().await;
        redis::cmd("CLUSTER").arg("REPLICATE").arg(id).exec_async(&mut client).await.unwrap();
        wait::until("the replica to have all", async || {
            let info: String =
                redis::cmd("INFO").arg("replication").query_async(&mut client).await.unwrap();
            if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
        })
        .await;
    }

    pub(crate) async fn id(&self, node: usize) -> String {
        let mut client = self.nodes[node].client().await;
        redis::cmd("CLUSTER").arg("MYID").query_async(&mut client).await.unwrap()
    }

    /// The connection to each node.
    pub(crate) async fn clients(&self) -> Vec<MultiplexedConnection> {
        let mut clients = Vec::new();
        for node in &self.nodes {
            clients.push(node.client().await);
        }
        clients
    }

    /// Kills one node, another one each time, and starts it again.
    pub(crate) async fn restart_one(&mut self) {
        self.next = (self.next + 1) % MASTERS;
        self.nodes[self.next].restart().await;
    }
}

fn slots_of(node: usize) -> RangeInclusive<u16> {
    let bound = |node: usize| u32::from(SLOTS) * node as u32 / MASTERS as u32;
    bound(node) as u16..=(bound(node + 1) - 1) as u16
}

async fn meet(first: &mut MultiplexedConnection, node: &Redis) {
    let mut meet = redis::cmd("CLUSTER");
    meet.arg("MEET").arg("127.0.0.1").arg(node.port());
    meet.exec_async(first).await.unwrap();
}

/// What a test writes to as one Redis: a server, or a cluster where `READSIDE_TEST_REDIS_CLUSTER` asks for it.
pub(crate) enum Cache {
    Single(Redis),
    Cluster(RedisCluster),
}

impl Cache {
    pub(crate) async fn start(options: &RedisOptions<'_>) -> Cache {
        match std::env::var_os("READSIDE_TEST_REDIS_CLUSTER") {
            Some(_) => Cache::Cluster(RedisCluster::start(options).await),
            None => Cache::Single(Redis::start(options).await),
        }
    }

    fn nodes(&mut self) -> &mut [Redis] {
        match self {
            Cache::Single(redis) => std::slice::from_mut(redis),
            Cache::Cluster(cluster) => &mut cluster.nodes,
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Cache::Single(redis) => redis.url(),
            Cache::Cluster(cluster) => cluster.url(),
        }
    }

    /// Of each node.
    pub(crate) fn urls(&self) -> Vec<String> {
        match self {
            Cache::Single(redis) => vec![redis.url()],
            Cache::Cluster(cluster) => cluster.urls(),
        }
    }

    pub(crate) async fn clients(&self) -> Vec<MultiplexedConnection> {
        let nodes = match self {
            Cache::Single(redis) => std::slice::from_ref(redis),
            Cache::Cluster(cluster) => &cluster.nodes,
        };
        join_all(nodes.iter().map(Redis::client)).await
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Cache::Single(redis) => redis.port(),
            Cache::Cluster(cluster) => cluster.nodes[0].port(),
        }
    }

    /// All of it.
    pub(crate) fn kill9(&mut self) {
        self.nodes().iter_mut().for_each(Redis::kill9);
    }

    /// Starts what was killed, or kills one and starts it again.
    pub(crate) async fn restart(&mut self) {
        if let Cache::Cluster(cluster) = self
            && cluster.nodes.iter_mut().all(Redis::is_running)
        {
            return cluster.restart_one().await;
        }
        for node in self.nodes() {
            node.restart().await;
        }
    }

    /// See [`Redis::copy`]; in a cluster, of one node.
    pub(crate) fn copy(&mut self) {
        self.nodes()[0].copy();
    }

    pub(crate) async fn restore(&mut self) {
        let (first, others) = self.nodes().split_first_mut().expect("there is one");
        first.restore().await;
        for node in others.iter_mut() {
            if !node.is_running() {
                node.restart().await;
            }
        }
    }
}
