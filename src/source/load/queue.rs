//! The chunks that are still to be read, shared by the workers.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::sync::{Mutex, Notify, mpsc};

use super::plan::{self, Cut, LeafSize};
use super::{Chunk, LoadEvent, LoadPlan, TableError};

#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// A chunk has ended, or the plan has changed.
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    pending: VecDeque<Chunk>,
    /// Of each leaf: its present file and all ids of its chunks, whatever became of them.
    leaves: HashMap<u32, (u32, Vec<u32>)>,
    failed: HashSet<usize>,
    next_id: u32,
    in_flight: usize,
}

impl Queue {
    pub(super) fn new(plan: &LoadPlan, done: &HashSet<u32>) -> Self {
        let mut leaves: HashMap<u32, (u32, Vec<u32>)> = HashMap::new();
        for chunk in &plan.chunks {
            let leaf = leaves.entry(chunk.leaf_oid);
            leaf.or_insert((chunk.filenode, Vec::new())).1.push(chunk.id);
        }
        let pending = plan.chunks.iter().filter(|chunk| !done.contains(&chunk.id)).cloned();
        let inner = Inner {
            pending: pending.collect(),
            leaves,
            failed: HashSet::new(),
            next_id: plan.next_id,
            in_flight: 0,
        };
        Self { inner: Mutex::new(inner), changed: Notify::new() }
    }

    /// The next chunk; `None` when all is done. While others still read, more may come to be.
    pub(super) async fn take(&self) -> Option<Chunk> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            {
                let mut inner = self.inner.lock().await;
                if let Some(chunk) = inner.pending.pop_front() {
                    inner.in_flight += 1;
                    return Some(chunk);
                }
                if inner.in_flight == 0 {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// A chunk that was taken needs no more work.
    pub(super) async fn end(&self) {
        let mut inner = self.inner.lock().await;
        inner.in_flight = inner.in_flight.saturating_sub(1);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// The chunk's leaf has another file: all its chunks are replaced, unless another worker has
    /// done that already. The event is sent before any of the new chunks can be taken.
    pub(super) async fn replan(
        &self,
        chunk: &Chunk,
        size: &LeafSize,
        cut: Cut,
        out: &mpsc::Sender<LoadEvent>,
    ) -> Result<(), super::Error> {
        let mut inner = self.inner.lock().await;
        let inner = &mut *inner;
        let current = inner.leaves.entry(chunk.leaf_oid).or_default();
        if current.0 == size.filenode || inner.failed.contains(&chunk.table) {
            return Ok(());
        }
        let chunks = plan::chunks(chunk.table, chunk.leaf_oid, size, cut, &mut inner.next_id);
        let ids = chunks.iter().map(|chunk| chunk.id).collect();
        let (_, dropped) = std::mem::replace(current, (size.filenode, ids));
        inner.pending.retain(|pending| pending.leaf_oid != chunk.leaf_oid);
        inner.pending.extend(chunks.iter().cloned());
        let (table, leaf_oid) = (chunk.table, chunk.leaf_oid);
        let event = LoadEvent::Replanned { table, leaf_oid, dropped, chunks };
        let sent = out.send(event).await.map_err(|_| super::Error::Receiver);
        self.changed.notify_waiters();
        sent
    }

    /// Sends that the chunk is loaded, if it still counts.
    pub(super) async fn loaded(
        &self,
        chunk: &Chunk,
        event: LoadEvent,
        out: &mpsc::Sender<LoadEvent>,
    ) -> Result<(), super::Error> {
        let inner = self.inner.lock().await;
        let planned = |leaf: &(u32, Vec<u32>)| leaf.1.contains(&chunk.id);
        let counts = inner.leaves.get(&chunk.leaf_oid).is_some_and(planned);
        if !counts || inner.failed.contains(&chunk.table) {
            return Ok(());
        }
        // Under the lock, so that no replanning overtakes it.
        out.send(event).await.map_err(|_| super::Error::Receiver)
    }

    /// Takes the table's chunks out; told once.
    pub(super) async fn fail(
        &self,
        table: usize,
        error: TableError,
        out: &mpsc::Sender<LoadEvent>,
    ) -> Result<(), super::Error> {
        let mut inner = self.inner.lock().await;
        inner.pending.retain(|chunk| chunk.table != table);
        if !inner.failed.insert(table) {
            return Ok(());
        }
        out.send(LoadEvent::Failed { table, error }).await.map_err(|_| super::Error::Receiver)
    }
}
