//! The end of a fill: entries that no row of it has written leave, a bounded number in each script.
//! `swap.rs` says which are ours to remove.

use redis::{Cmd, FromRedisValue, Value};

use crate::sink::SinkError;

use super::RedisSink;
use super::connect::linked;
use super::encode::{Batch, leave};
use super::error::interrupted;
use super::record::{Reverse, read_record};
use super::swap::{Fill, Keep, Shape, ShapeTarget};
use super::target::Structure;

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
        let keys = self.plans[projection].reverse.keys();
        let exist = |key: &String| redis::cmd("EXISTS").arg(key).take();
        let asked = keys.iter().map(|key| (key.as_bytes(), exist(key))).collect();
        for answer in self.ask_all(asked).await? {
            if self.read::<bool>(answer)? {
                return Ok(false);
            }
        }
        for target in shape.targets.iter().filter(|target| target.key.has_fixed_part()) {
            let mut cursor = Some(Cursor::default());
            while let Some(at) = cursor {
                let keys;
                (cursor, keys) = self.scan(target, at).await?;
                if !keys.is_empty() {
                    return Ok(false);
                }
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
            sweep.records(&name, fingerprint).await?;
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
                    sweep.records(&name, fingerprint).await?;
                }
            }
        }
        Ok(())
    }

    /// Keys of this target's type that its template may have given.
    async fn scan(
        &mut self,
        target: &ShapeTarget,
        cursor: Cursor,
    ) -> Result<(Option<Cursor>, Vec<Vec<u8>>), SinkError> {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor.at).arg("MATCH").arg(target.key.glob()).arg("COUNT").arg(SCAN_COUNT);
        command.arg("TYPE").arg(target.structure.redis_type());
        let link = linked(&mut self.connection)?;
        let masters = link.masters();
        let answer = link.ask_master(&self.server, cursor.master, &command).await;
        let answer = answer.inspect_err(|_| self.connection = None)?;
        let (next, mut keys): Page<Vec<u8>> = self.read(answer)?;
        keys.retain(|key| target.key.matches(key) && !key.starts_with(b"readside:"));
        Ok((cursor.next(next, masters), keys))
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

    /// Sends one command that only reads, of this key.
    pub(super) async fn ask<T: FromRedisValue>(
        &mut self,
        key: &str,
        command: Cmd,
    ) -> Result<T, SinkError> {
        let answers = self.ask_all(vec![(key.as_bytes(), command)]).await?;
        self.read(answers.into_iter().next().unwrap_or_default())
    }

    /// Commands that only read or may be repeated, each of the key that it stands with.
    pub(super) async fn ask_all(
        &mut self,
        commands: Vec<(&[u8], Cmd)>,
    ) -> Result<Vec<Value>, SinkError> {
        let answers = linked(&mut self.connection)?.ask(&self.server, commands).await;
        answers.inspect_err(|_| self.connection = None)
    }
}

/// Where a SCAN over all masters is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) master: usize,
    pub(super) at: u64,
}

impl Cursor {
    /// `at` is the master's answer; `None`: all were seen.
    pub(super) fn next(self, at: u64, masters: usize) -> Option<Self> {
        match at {
            0 if self.master + 1 < masters => Some(Self { master: self.master + 1, at: 0 }),
            0 => None,
            _ => Some(Self { at, ..self }),
        }
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
        let mut cursor = Some(Cursor::default());
        while let Some(at) = cursor {
            let keys;
            (cursor, keys) = self.sink.scan(target, at).await?;
            if target.structure.has_members() {
                for keys in keys.chunks(MEMBER_SCANS) {
                    self.members(target, keys).await?;
                }
            } else {
                self.whole_keys(target, &keys).await?;
            }
        }
        Ok(())
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
            let scans = open.iter().map(|(key, cursor)| {
                let mut command = redis::cmd(scan);
                command.arg(key).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
                (key.as_slice(), command)
            });
            let found = self.sink.ask_all(scans.collect()).await?;
            let mut still_open = Vec::new();
            let mut batch = Batch::default();
            for ((key, _), found) in open.iter().zip(found) {
                let (next, members): Page<Vec<u8>> = self.sink.read(found)?;
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
    async fn records(&mut self, name: &str, fingerprint: &str) -> Result<(), SinkError> {
        for key in Reverse::of(name, fingerprint, self.sink.layout).keys() {
            self.records_at(&key).await?;
        }
        Ok(())
    }

    async fn records_at(&mut self, reverse_key: &str) -> Result<(), SinkError> {
        let mut cursor: u64 = 0;
        loop {
            let mut command = redis::cmd("HSCAN");
            command.arg(reverse_key).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
            let (next, found): Page<(Vec<u8>, Vec<u8>)> =
                self.sink.ask(reverse_key, command).await?;
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
