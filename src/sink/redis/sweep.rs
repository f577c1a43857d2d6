//! The end of a fill: entries that no row of it has written leave, a bounded number in each script.
//! `swap.rs` says which are ours to remove.

use redis::{Cmd, FromRedisValue};

use crate::sink::SinkError;

use super::RedisSink;
use super::connect::opened;
use super::encode::{Batch, leave};
use super::error::{interrupted, retryable};
use super::record::read_record;
use super::swap::{Fill, Keep, Shape, ShapeTarget};
use super::target::Structure;
use super::watermark;

/// Keys or members that one SCAN looks at.
const SCAN_COUNT: usize = 1_000;
/// Keys whose members are asked for at once.
const MEMBER_SCANS: usize = 100;
/// Arguments of one script, some milliseconds' work.
const MOVES_MAX: usize = 6_000;

/// What a SCAN answers: the next cursor, and what was found.
type Page<T> = (u64, Vec<T>);

impl RedisSink {
    /// Whether neither a record nor a scan finds anything that a generation of this shape has left.
    pub(super) async fn nothing_stands(
        &mut self,
        projection: usize,
        shape: &Shape,
    ) -> Result<bool, SinkError> {
        let reverse_key = self.plans[projection].reverse_key.clone();
        if self.ask::<bool>(redis::cmd("EXISTS").arg(reverse_key)).await? {
            return Ok(false);
        }
        for target in shape.targets.iter().filter(|target| target.key.has_fixed_part()) {
            let mut cursor = 0;
            loop {
                let (next, keys) = self.scan(target, cursor).await?;
                if !keys.is_empty() {
                    return Ok(false);
                }
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        Ok(true)
    }

    pub(super) async fn sweep(&mut self, projection: usize, fill: &Fill) -> Result<(), SinkError> {
        let Some(keep) = &fill.keep else { return Ok(()) };
        let plan = &self.plans[projection];
        let (name, own) = (plan.name.clone(), plan.fingerprint.clone());
        let shape = Shape::of(plan);
        let older = fill.older.iter().map(|(fingerprint, shape)| (fingerprint, shape));
        let mut sweep = Sweep { sink: self, projection, generation: fill.generation, keep };
        for (fingerprint, shape) in older.chain([(&own, &shape)]) {
            for target in shape.targets.iter().filter(|target| target.key.has_fixed_part()) {
                sweep.keys(target).await?;
            }
            sweep.records(&watermark::reverse_key(&name, fingerprint)).await?;
        }
        Ok(())
    }

    /// Older generations' keys where this one writes another type.
    pub(super) async fn make_way(
        &mut self,
        projection: usize,
        generation: u64,
        shape: &Shape,
    ) -> Result<(), SinkError> {
        let Some(fill) = &self.standings[projection].fill else { return Ok(()) };
        let older = fill.older.clone();
        let name = self.plans[projection].name.clone();
        let mut sweep = Sweep { sink: self, projection, generation, keep: &Keep::default() };
        for (fingerprint, shape_before) in &older {
            for target in &shape_before.targets {
                let glob = target.key.glob();
                let is_in_the_way = |now: &&ShapeTarget| {
                    now.structure.redis_type() != target.structure.redis_type()
                        && now.key.glob() == glob
                };
                if !shape.targets.iter().any(|now| is_in_the_way(&now)) {
                    continue;
                }
                if target.key.has_fixed_part() {
                    sweep.keys(target).await?;
                } else {
                    sweep.records(&watermark::reverse_key(&name, fingerprint)).await?;
                }
            }
        }
        Ok(())
    }

    /// Keys of this target's type that its template may have given.
    async fn scan(
        &mut self,
        target: &ShapeTarget,
        cursor: u64,
    ) -> Result<Page<Vec<u8>>, SinkError> {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(target.key.glob()).arg("COUNT").arg(SCAN_COUNT);
        command.arg("TYPE").arg(target.structure.redis_type());
        let (next, mut keys): Page<Vec<u8>> = self.ask(&command).await?;
        keys.retain(|key| target.key.matches(key) && !key.starts_with(b"readside:"));
        Ok((next, keys))
    }

    /// Whether another projection of this sink may have written it.
    fn is_of_another(&self, projection: usize, key: &[u8], member: &[u8]) -> bool {
        self.plans.iter().enumerate().filter(|(at, _)| *at != projection).any(|(_, plan)| {
            plan.targets.iter().map(|target| &target.location).any(|location| {
                location.key.has_fixed_part()
                    && location.key.matches(key)
                    && location.member.as_ref().is_none_or(|m| m.matches(member))
            })
        })
    }

    /// Sends one command that only reads.
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, SinkError> {
        let answer = command.query_async(opened(&mut self.connection)?).await;
        answer.map_err(|error| {
            self.connection = None;
            retryable(&self.server.address, error)
        })
    }
}

struct Sweep<'s> {
    sink: &'s mut RedisSink,
    projection: usize,
    generation: u64,
    keep: &'s Keep,
}

impl Sweep<'_> {
    async fn keys(&mut self, target: &ShapeTarget) -> Result<(), SinkError> {
        let mut cursor = 0;
        loop {
            let (next, keys) = self.sink.scan(target, cursor).await?;
            if target.structure.has_members() {
                for keys in keys.chunks(MEMBER_SCANS) {
                    self.members(target, keys).await?;
                }
            } else {
                self.whole_keys(target, &keys).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn whole_keys(
        &mut self,
        target: &ShapeTarget,
        keys: &[Vec<u8>],
    ) -> Result<(), SinkError> {
        let mut batch = Batch::default();
        for key in keys.iter().filter(|key| self.is_left_over(target.structure, key, b"")) {
            if batch.is_empty() {
                batch.moves.push("A");
                batch.moves.push_number(target.fields.len());
                target.fields.iter().for_each(|field| batch.moves.push(field));
            }
            batch.moves.push(if target.structure == Structure::Hash { "c" } else { "C" });
            batch.moves.push(key);
        }
        self.run(batch).await
    }

    async fn members(&mut self, target: &ShapeTarget, keys: &[Vec<u8>]) -> Result<(), SinkError> {
        let (scan, stride) = match target.structure {
            Structure::SortedSet => ("ZSCAN", 2),
            _ => ("SSCAN", 1),
        };
        let mut open: Vec<(&Vec<u8>, u64)> = keys.iter().map(|key| (key, 0)).collect();
        while !open.is_empty() {
            let mut scans = redis::pipe();
            for (key, cursor) in &open {
                scans.cmd(scan).arg(key).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
            }
            let connection = opened(&mut self.sink.connection)?;
            let found: Result<Vec<Page<Vec<u8>>>, _> = scans.query_async(connection).await;
            let found = found.map_err(|error| {
                self.sink.connection = None;
                retryable(&self.sink.server.address, error)
            })?;
            let mut still_open = Vec::new();
            let mut batch = Batch::default();
            for ((key, _), (next, members)) in open.iter().zip(found) {
                for member in members.iter().step_by(stride) {
                    if target.fits(key, member) && self.is_left_over(target.structure, key, member)
                    {
                        leave(&mut batch.moves, target.structure, key, member);
                    }
                }
                if next != 0 {
                    still_open.push((*key, next));
                }
                if batch.moves.len() >= MOVES_MAX {
                    self.run(std::mem::take(&mut batch)).await?;
                }
            }
            self.run(batch).await?;
            open = still_open;
        }
        Ok(())
    }

    /// Follows the records of a generation; those of rows that are no more leave with their entries.
    async fn records(&mut self, reverse_key: &str) -> Result<(), SinkError> {
        let mut cursor: u64 = 0;
        loop {
            let mut command = redis::cmd("HSCAN");
            command.arg(reverse_key).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
            let (next, found): Page<(Vec<u8>, Vec<u8>)> = self.sink.ask(&command).await?;
            let mut batch = Batch::default();
            for (field, record) in &found {
                let mut stands = false;
                let read = read_record(record, |structure, key, member| {
                    if self.is_left_over(structure, key, member) {
                        leave(&mut batch.moves, structure, key, member);
                    } else {
                        stands = true;
                    }
                });
                read.ok_or_else(|| {
                    interrupted(format!("{reverse_key} holds something that is no record"))
                })?;
                if !stands {
                    batch.moves.push("D");
                    batch.moves.push(reverse_key);
                    batch.moves.push(field);
                }
            }
            self.run(batch).await?;
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    fn is_left_over(&self, structure: Structure, key: &[u8], member: &[u8]) -> bool {
        !self.keep.contains(structure, key, member)
            && !self.sink.is_of_another(self.projection, key, member)
    }

    async fn run(&mut self, batch: Batch<'_>) -> Result<(), SinkError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mark = self.sink.filling_mark(self.projection, self.generation, None);
        self.sink.run(vec![mark], batch).await.map(drop)
    }
}
