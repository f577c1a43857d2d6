//! Tables and projections as the status document shows them.

use super::{Report, number};
use crate::http::{self, LaneStatus, ProjectionState, ProjectionStatus, TableStatus};
use crate::pipeline::{Machine, Stage};

impl Report {
    pub(super) fn tables(&self, machine: &Machine) -> Vec<TableStatus> {
        let followed = machine.tables().iter().enumerate().map(|(at, table)| TableStatus {
            name: table.name.clone(),
            state: match &table.stage {
                Stage::Live => ProjectionState::Live,
                Stage::Loading => ProjectionState::Loading,
                Stage::Quarantined(_) => ProjectionState::Quarantined,
            },
            reason: match &table.stage {
                Stage::Quarantined(why) => Some(why.clone()),
                Stage::Live | Stage::Loading => None,
            },
            rows: machine.table_rows(at) as u64,
        });
        let apart = self.apart.tables.iter().map(|(name, why)| TableStatus {
            name: name.clone(),
            state: ProjectionState::Quarantined,
            reason: Some(why.clone()),
            rows: 0,
        });
        followed.chain(apart).collect()
    }

    pub(super) fn projections(&self, machine: &Machine) -> Vec<ProjectionStatus> {
        let of_projection = |name: &str| {
            let Some(at) = self.projections.iter().position(|known| known == name) else {
                return ProjectionStatus {
                    name: name.to_owned(),
                    state: ProjectionState::Quarantined,
                    reason: self.apart.projections.get(name).cloned(),
                    rows: 0,
                    sinks: self.lanes_apart(machine, name),
                };
            };
            let reason = machine.quarantine_of(at);
            let state = match (&reason, machine.is_ready(at)) {
                (Some(_), _) => ProjectionState::Quarantined,
                (None, true) => ProjectionState::Live,
                (None, false) => ProjectionState::Loading,
            };
            ProjectionStatus {
                name: name.to_owned(),
                state,
                reason,
                rows: machine.projection_rows(at) as u64,
                sinks: self.lanes(machine, name),
            }
        };
        let names = self.laid.config.projections.iter().map(|projection| projection.name.as_str());
        names.map(of_projection).collect()
    }

    /// Of a projection that is not followed: where its sinks were last known to be.
    fn lanes_apart(&self, machine: &Machine, projection: &str) -> Vec<LaneStatus> {
        let mut lanes = Vec::new();
        for sink in &self.laid.sinks {
            for shown in sink.lanes.iter().filter(|lane| lane.projection == projection) {
                let (lsn, settled) = self.laid.board.delivered(shown.board);
                let lag_bytes = machine.applied().0.saturating_sub(lsn.0);
                let lag_seconds = self.begun.elapsed().as_secs_f64();
                let of = (sink.name.clone(), projection.to_owned());
                let dead = self.letters_apart.get(&of).copied().unwrap_or(0);
                shown.metrics.dead_letters.set(number(dead));
                shown.metrics.lag_bytes.set(number(lag_bytes));
                shown.metrics.lag_seconds.set(lag_seconds);
                lanes.push(LaneStatus {
                    sink: sink.name.clone(),
                    state: http::LaneState::Halted,
                    error: None,
                    lsn,
                    settled,
                    generation: 0,
                    filled_rows: None,
                    lag_bytes,
                    lag_seconds,
                    dead_letters: dead,
                });
            }
        }
        lanes
    }

    fn lanes(&self, machine: &Machine, projection: &str) -> Vec<LaneStatus> {
        let mut lanes = Vec::new();
        for (at, sink) in self.laid.sinks.iter().enumerate() {
            for (lane, &shown) in self.lanes[at].iter().enumerate() {
                let shown = &sink.lanes[shown];
                if shown.projection != projection {
                    continue;
                }
                let delivered = machine.delivered(at, lane);
                let dead = machine.dead_letters(at, lane) as u64;
                let has = match machine.lacks_nothing(at, lane) {
                    true => machine.applied(),
                    false => delivered.lsn,
                };
                let lag_bytes = machine.applied().0.saturating_sub(has.0);
                let since = self.applied.more_since(has);
                let lag_seconds = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
                shown.metrics.dead_letters.set(number(dead));
                shown.metrics.lag_bytes.set(number(lag_bytes));
                shown.metrics.lag_seconds.set(lag_seconds);
                let error = sink.blocked_by(projection);
                let state = match error {
                    Some(_) => http::LaneState::Halted,
                    None => machine.lane_state(at, lane).into(),
                };
                lanes.push(LaneStatus {
                    sink: sink.name.clone(),
                    state,
                    error,
                    lsn: delivered.lsn,
                    settled: delivered.settled,
                    generation: machine.generation(at, lane),
                    filled_rows: machine.filled(at, lane),
                    lag_bytes,
                    lag_seconds,
                    dead_letters: dead,
                });
            }
        }
        lanes
    }
}
