//! The figures of those that are compared, as one table with the ratios.

use crate::contender::Kind;
use crate::probe::Latency;

#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) load_s: Option<f64>,
    pub(crate) changes_per_s: Option<f64>,
    /// At the two rates.
    pub(crate) latency: [Option<Latency>; 2],
    /// Per million changes: of its own process, and of the source's server meanwhile.
    pub(crate) cpu_s: Option<f64>,
    pub(crate) source_cpu_s: Option<f64>,
    pub(crate) memory_mib: Option<f64>,
    pub(crate) queries_per_change: Option<f64>,
}

/// Each of ours with who does the same work, and that one's figures.
const PAIRS: [(Kind, Option<Kind>); 4] = [
    (Kind::Tables, Some(Kind::Subscription)),
    (Kind::Hashes, Some(Kind::Debezium)),
    (Kind::Documents, Some(Kind::PgSync)),
    (Kind::Summary, None),
];

#[derive(Default)]
pub(crate) struct Table {
    kinds: Vec<(Kind, Figures)>,
    refresh: Figures,
}

impl Table {
    pub(crate) fn of(&mut self, kind: Kind) -> &mut Figures {
        let at = self.kinds.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            self.kinds.push((kind, Figures::default()));
            self.kinds.len() - 1
        });
        &mut self.kinds[at].1
    }

    pub(crate) fn refresh(&mut self) -> &mut Figures {
        &mut self.refresh
    }

    /// As Markdown. A ratio says how many times better Readside is.
    pub(crate) fn print(&mut self) {
        println!(
            "\n| | load, s | catch-up, k changes/s | latency at 100/s, p50 / p99, ms | at 1000/s \
             | CPU, s per million changes | of the source's server | memory, MiB \
             | queries on the source per 1000 changes |\n|---|---|---|---|---|---|---|---|---|"
        );
        for (ours, theirs) in PAIRS {
            let ours_cells = self.of(ours).cells();
            let (name, their_cells) = match theirs {
                Some(kind) => (kind.name(), self.of(kind).cells()),
                None => ("REFRESH MATERIALIZED VIEW CONCURRENTLY", self.refresh.cells()),
            };
            println!("| {} | {} |", ours.name(), texts(&ours_cells));
            println!("| {name} | {} |", texts(&their_cells));
            let ratios: Vec<_> = ours_cells.iter().zip(&their_cells).map(Cell::ratio).collect();
            println!("| **times better** | {} |", ratios.join(" | "));
        }
    }
}

/// One or two figures, and whether more is better.
struct Cell {
    values: Vec<Option<f64>>,
    digits: usize,
    more_is_better: bool,
}

impl Figures {
    fn cells(&self) -> [Cell; 8] {
        let cell = |value: Option<f64>, digits| Cell {
            values: vec![value],
            digits,
            more_is_better: false,
        };
        let latency = |at: usize| {
            let met = self.latency[at].as_ref();
            let values = vec![met.map(|met| met.p50), met.map(|met| met.p99)];
            Cell { values, digits: 1, more_is_better: false }
        };
        let rate = self.changes_per_s.map(|rate| rate / 1e3);
        [
            cell(self.load_s, 1),
            Cell { more_is_better: true, ..cell(rate, 1) },
            latency(0),
            latency(1),
            cell(self.cpu_s, 1),
            cell(self.source_cpu_s, 1),
            cell(self.memory_mib, 0),
            cell(self.queries_per_change.map(|queries| queries * 1e3), 1),
        ]
    }
}

fn texts(cells: &[Cell]) -> String {
    cells.iter().map(Cell::text).collect::<Vec<_>>().join(" | ")
}

impl Cell {
    fn text(&self) -> String {
        let one = |value: &Option<f64>| match value {
            None => "-".to_owned(),
            Some(value) if value.is_infinite() => "never".to_owned(),
            Some(value) => format!("{value:.*}", self.digits),
        };
        self.values.iter().map(one).collect::<Vec<_>>().join(" / ")
    }

    fn ratio((ours, theirs): (&Cell, &Cell)) -> String {
        let more_is_better = ours.more_is_better;
        let pairs = ours.values.iter().zip(&theirs.values);
        let ratios = pairs.map(|pair| match pair {
            (Some(ours), Some(theirs)) if *ours > 0.0 && *theirs > 0.0 && theirs.is_finite() => {
                let ratio = if more_is_better { ours / theirs } else { theirs / ours };
                format!("{ratio:.2}")
            }
            _ => "-".to_owned(),
        });
        ratios.collect::<Vec<_>>().join(" / ")
    }
}
