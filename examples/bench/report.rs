//! What was measured, as it comes and once more at the end.

use std::fmt;

#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    missed: usize,
}

#[derive(Clone, Copy)]
pub(crate) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Report {
    /// A figure that is only there to compare with.
    pub(crate) fn peer(&mut self, what: &str, value: f64, unit: &str) {
        self.line(format!("{what:<66} {value:>9.2} {unit}"));
    }

    pub(crate) fn figure(&mut self, what: &str, value: f64, unit: &str, limit: Limit) {
        let kept = match limit {
            Limit::AtLeast(least) => value >= least,
            Limit::AtMost(most) => value <= most,
        };
        self.missed += usize::from(!kept);
        let verdict = if kept { "" } else { "  MISSED" };
        self.line(format!("{what:<66} {value:>9.2} {unit:<5} ({limit}){verdict}"));
    }

    fn line(&mut self, line: String) {
        println!("  {line}");
        self.lines.push(line);
    }

    pub(crate) fn summary(&self) {
        println!("\nAll figures:");
        for line in &self.lines {
            println!("  {line}");
        }
        println!("{} limits missed.", self.missed);
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::AtLeast(least) => write!(f, "at least {least}"),
            Limit::AtMost(most) => write!(f, "at most {most}"),
        }
    }
}
