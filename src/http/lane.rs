//! One lane's position and those who wait for it.
//!
//! The engine's thread writes the position very often and mostly nobody waits, so a write is two
//! stores and a load; the lock is taken only when somebody is to be woken. No wake-up is lost: a
//! waiter first shows what it waits for (`lowest`), then reads the position; the writer first writes
//! the position, then reads what is shown. All four are sequentially consistent, so at least one of
//! the two sees the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::lsn::Lsn;

#[derive(Debug)]
pub(super) struct Lane {
    lsn: AtomicU64,
    settled: AtomicBool,
    /// The lowest position that somebody waits for; `u64::MAX` when nobody does. Written under the lock.
    lowest: AtomicU64,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    /// By wanted position, then by a number that tells them apart.
    by_wanted: BTreeMap<(Lsn, u64), oneshot::Sender<()>>,
    next: u64,
}

impl Lane {
    pub(super) fn new() -> Lane {
        Lane {
            lsn: AtomicU64::new(0),
            settled: AtomicBool::new(false),
            lowest: AtomicU64::new(u64::MAX),
            waiters: Mutex::default(),
        }
    }

    pub(super) fn set(&self, lsn: Lsn, settled: bool) {
        self.settled.store(settled, Ordering::Relaxed);
        self.lsn.store(lsn.0, Ordering::SeqCst);
        if lsn.0 >= self.lowest.load(Ordering::SeqCst) {
            self.wake(lsn);
        }
    }

    pub(super) fn lsn(&self) -> Lsn {
        Lsn(self.lsn.load(Ordering::SeqCst))
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Resolves when the position was `wanted` or more for a moment at least.
    pub(super) async fn reached(&self, wanted: Lsn) {
        let (sender, reached) = oneshot::channel();
        let _waiting = self.join(wanted, sender);
        if self.lsn() < wanted {
            // An error cannot be: the sender is in `by_wanted` until it is used or `_waiting` ends.
            let _ = reached.await;
        }
    }

    fn join(&self, wanted: Lsn, sender: oneshot::Sender<()>) -> Waiting<'_> {
        let mut waiters = self.lock();
        let key = (wanted, waiters.next);
        waiters.next += 1;
        waiters.by_wanted.insert(key, sender);
        self.show_lowest(&waiters);
        Waiting { lane: self, key }
    }

    fn wake(&self, lsn: Lsn) {
        let reached = {
            let mut waiters = self.lock();
            let beyond = lsn.0.checked_add(1).map(|next| (Lsn(next), 0));
            let stay = beyond.map(|key| waiters.by_wanted.split_off(&key)).unwrap_or_default();
            let reached = std::mem::replace(&mut waiters.by_wanted, stay);
            self.show_lowest(&waiters);
            reached
        };
        for sender in reached.into_values() {
            // An error only says that the waiter has just gone.
            let _ = sender.send(());
        }
    }

    fn show_lowest(&self, waiters: &Waiters) {
        let lowest = waiters.by_wanted.first_key_value().map_or(u64::MAX, |((lsn, _), _)| lsn.0);
        self.lowest.store(lowest, Ordering::SeqCst);
    }

    /// Nothing can panic while it is held, and if it did, the map would still be one.
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A waiter's place in the list; leaves it when the wait ends, however it ends.
struct Waiting<'a> {
    lane: &'a Lane,
    key: (Lsn, u64),
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiters = self.lane.lock();
        if waiters.by_wanted.remove(&self.key).is_some() {
            self.lane.show_lowest(&waiters);
        }
    }
}

#[cfg(test)]
impl Lane {
    pub(super) fn waiting(&self) -> usize {
        self.lock().by_wanted.len()
    }
}
