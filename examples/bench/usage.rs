//! What a process has used (proc_pid_stat(5), proc_pid_status(5)).

use std::fs;

use anyhow::{Context, Result};

/// Linux has it so on every machine that Readside runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time so far, the system's for it included.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name stands in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("a stat has a name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

pub(crate) struct Memory {
    pub(crate) now_mib: f64,
    pub(crate) peak_mib: f64,
}

pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("memory figures")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    };
    Ok(Memory { now_mib: mib("VmRSS:")?, peak_mib: mib("VmHWM:")? })
}
