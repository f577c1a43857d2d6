//! What a process has used (proc_pid_stat(5), proc_pid_status(5)).

use std::fs;

use anyhow::{Context, Result};

/// Linux has it so on every machine that Readside runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time so far, the system's for it included.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    seconds(pid, 2)
}

/// The first so many of: user, system, and both of the children that it has waited for.
fn seconds(pid: u32, fields_taken: usize) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name stands in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("a stat has a name")?;
    let ticks = fields.split_whitespace().skip(11).take(fields_taken).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

/// The same of a server and of all that it has started, what has ended included.
pub(crate) fn server_cpu_seconds(pid: u32) -> Result<f64> {
    let mut sum = seconds(pid, 4)?;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    for child in children.split_whitespace() {
        // One that has ended meanwhile is in its parent's time at the next look.
        sum += seconds(child.parse()?, 2).unwrap_or(0.0);
    }
    Ok(sum)
}

pub(crate) struct Memory {
    pub(crate) now_mib: f64,
    pub(crate) peak_mib: f64,
    /// Without what it shares: a server's buffers.
    pub(crate) own_mib: f64,
}

pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("memory figures")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    };
    Ok(Memory { now_mib: mib("VmRSS:")?, peak_mib: mib("VmHWM:")?, own_mib: mib("RssAnon:")? })
}
