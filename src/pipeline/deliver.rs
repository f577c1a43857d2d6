//! The machine's part in delivery: which sink is told what.

use super::machine::Machine;
use super::table::Stage;
use crate::lsn::Lsn;
use crate::output::{Delivered, LaneState, Standing, Step, Work};

impl Machine {
    /// The sink was opened and says where it stands with each of its projections.
    pub fn opened(&mut self, sink: usize, standings: &[Standing]) {
        self.sinks[sink].feed.opened(standings, &self.engine);
    }

    /// The connection to the sink is gone.
    pub fn closed(&mut self, sink: usize) {
        self.sinks[sink].feed.closed();
    }

    /// What the sink is to do next, or `None` before more is applied. With `idle` also a step that
    /// moves nothing but the watermarks.
    pub fn next_work(&mut self, sink: usize, idle: bool) -> Option<Work> {
        let (projections, progress) = (&self.projections, self.progress);
        let tables = &self.tables;
        let ready = |projection: usize| {
            let projection: &super::machine::Projection = &projections[projection];
            projection.bound <= progress.applied
                && projection.tables.iter().all(|&table| tables[table].stage != Stage::Loading)
        };
        let sink = &mut self.sinks[sink];
        let of_sink = &sink.projections;
        sink.feed.next(&self.engine, progress, |lane| ready(of_sink[lane]), idle)
    }

    /// The sink has done a step.
    pub fn stepped(&mut self, sink: usize, step: &Step) {
        self.sinks[sink].feed.done(step);
    }

    pub fn halt(&mut self, sink: usize, lane: usize) {
        self.sinks[sink].feed.halt(lane);
    }

    /// Its tables are loaded and its first consistent position is reached.
    pub fn is_ready(&self, projection: usize) -> bool {
        let projection = &self.projections[projection];
        projection.bound <= self.progress.applied
            && projection.tables.iter().all(|&table| self.tables[table].stage != Stage::Loading)
    }

    /// How far the sink is with the projection of this lane.
    pub fn delivered(&self, sink: usize, lane: usize) -> Delivered {
        self.sinks[sink].feed.delivered(lane, &self.engine, self.progress.applied)
    }

    pub fn lane_state(&self, sink: usize, lane: usize) -> LaneState {
        let sink = &self.sinks[sink];
        sink.feed.state(lane, self.is_ready(sink.projections[lane]))
    }

    pub fn generation(&self, sink: usize, lane: usize) -> u64 {
        self.sinks[sink].feed.generation(lane)
    }

    /// The position that somebody waits for but nothing has reached: a load's bound beyond what the
    /// source has sent.
    pub fn wanted_position(&self) -> Option<Lsn> {
        let bound = self.projections.iter().map(|projection| projection.bound).max()?;
        (self.load.is_none() && bound > self.progress.applied).then_some(bound)
    }
}
