//! Tables for people: columns as wide as they have to be, and numbers as they are read.

use std::fmt;

/// Columns with heads; a row may have a note below it.
pub(super) struct Table {
    heads: Vec<String>,
    /// By column: numbers stand to the right.
    is_number: Vec<bool>,
    lines: Vec<Line>,
}

enum Line {
    Row(Vec<String>),
    Note(String),
}

impl Table {
    /// A head that ends with `#` is one of numbers. Without any text in the heads there is no such line.
    pub(super) fn new(heads: &[&str]) -> Self {
        let is_number = heads.iter().map(|head| head.ends_with('#')).collect();
        let heads = heads.iter().map(|head| head.trim_end_matches('#').to_owned()).collect();
        Self { heads, is_number, lines: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(Line::Row(cells.into_iter().collect()));
    }

    pub(super) fn note(&mut self, text: String) {
        self.lines.push(Line::Note(text));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn rows(&self) -> impl Iterator<Item = &Vec<String>> {
        self.lines.iter().filter_map(|line| match line {
            Line::Row(cells) => Some(cells),
            Line::Note(_) => None,
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |at: usize| {
            let cells = self.rows().chain([&self.heads]).filter_map(|cells| cells.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let write = |f: &mut fmt::Formatter<'_>, cells: &[String]| {
            let mut line = String::new();
            for ((cell, &width), is_number) in cells.iter().zip(&widths).zip(&self.is_number) {
                line.push_str(&match is_number {
                    true => format!("{cell:>width$}  "),
                    false => format!("{cell:width$}  "),
                });
            }
            writeln!(f, "{}", line.trim_end())
        };
        if self.heads.iter().any(|head| !head.is_empty()) {
            write(f, &self.heads)?;
        }
        for line in &self.lines {
            match line {
                Line::Row(cells) => write(f, cells)?,
                Line::Note(text) => writeln!(f, "  {}", text.replace(char::is_control, " "))?,
            }
        }
        Ok(())
    }
}

/// In groups of three digits.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn bytes(value: u64) -> String {
    let (mut shown, mut unit) = (value as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if shown < 1024.0 {
            break;
        }
        (shown, unit) = (shown / 1024.0, larger);
    }
    if unit == "B" { format!("{value} B") } else { format!("{shown:.1} {unit}") }
}

pub(super) fn duration(seconds: f64) -> String {
    // Beyond what a u64 holds nothing is shown that differs.
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_people_read_them() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(number), ["0", "999", "1,000", "12,345,678"]);
        assert_eq!([0, 1023, 1536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        let shown = [0.04, 9.96, 59.9, 60.0, 3_725.0].map(duration);
        assert_eq!(shown, ["0.0 s", "10.0 s", "59 s", "1 min 0 s", "1 h 2 min"]);
    }
}
