//! The engine alone: what a change costs each operator, by the size of its group; then a shop's order
//! summary: changes a second, what a small transaction takes, memory, fan-out and sharing. Each figure
//! stands beside its limit. Time is the processor's, so that neighbours matter less.
//!
//! cargo bench --bench engine [-- SCALE [PART ...]]
//!
//! SCALE is of the standard data (100 k customers, 10 k products, 1 M orders, 3 M items); the parts are
//! operators, summary and sharing.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and may panic")]

mod operators;
mod sharing;
mod shop;
mod summary;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: readside::memory::Allocator = readside::memory::Allocator;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let scale = given.iter().find_map(|arg| arg.parse::<f64>().ok()).unwrap_or(1.0);
    let parts: Vec<&str> =
        given.iter().map(String::as_str).filter(|arg| arg.parse::<f64>().is_err()).collect();
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    if wanted("operators") {
        operators::run();
    }
    if wanted("summary") {
        summary::run(scale);
    }
    if wanted("sharing") {
        sharing::run(scale);
    }
}

/// Resident memory of this process.
fn memory_mb() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    resident.unwrap_or_default() * 4096.0 / f64::from(1 << 20)
}

/// What this thread has had of a processor.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.unwrap_or_default() / 1e9
}

fn at_least(what: &str, value: f64, unit: &str, limit: f64) {
    let verdict = if value >= limit { "" } else { "  MISSED" };
    println!("  {what:<62} {value:>9.1} {unit} (at least {limit}){verdict}");
}

fn at_most(what: &str, value: f64, unit: &str, limit: f64) {
    let verdict = if value <= limit { "" } else { "  MISSED" };
    println!("  {what:<62} {value:>9.1} {unit} (at most {limit}){verdict}");
}
