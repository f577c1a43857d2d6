//! The machine's part in delivery: which sink is told what.

use super::letters::{Payload, Refused};
use super::machine::{Fault, Machine, Sink};
use super::operate::rebuild_fact;
use super::table::Stage;
use crate::engine::{Entry, Notice, RowsOf, Told};
use crate::lsn::Lsn;
use crate::output::{Delivered, LaneState, Rows, Standing, Step, WantedPage, Work};
use crate::value::ValueError;

/// What became of a key that the engine itself cannot show.
#[derive(Debug)]
pub struct News {
    pub projection: String,
    /// For people.
    pub key: String,
    pub lsn: Lsn,
    pub notice: Notice,
}

impl Machine {
    /// The sink was opened and says where it stands with each of its projections.
    pub fn opened(&mut self, sink: usize, standings: &[Standing]) {
        let (engine, projections) = (&self.engine, &self.projections);
        let Sink { feed, letters, projections: lanes, .. } = &mut self.sinks[sink];
        for lane in feed.opened(standings, engine) {
            let name = format!("generation/{}", letters.lane_name(lane));
            self.batch.fact(name, feed.generation(lane).to_be_bytes().to_vec());
            self.batch.remove_fact(rebuild_fact(letters.lane_name(lane)));
        }
        // Letters of events are of occurrences, which do not go.
        let is_there = |lane: usize, key: &[u8], _| {
            let of = &projections[lanes[lane]];
            of.output.is_none() || engine.arrangements()[of.arrangement].get(key).is_some()
        };
        letters.retain(is_there, &mut self.batch.facts);
    }

    /// Another instance leads, and has brought the sink there. So it can be taken over without a fill: by
    /// whom a letter is kept, its row's version decides.
    pub fn watched(&mut self, sink: usize, standings: &[Standing]) {
        let (engine, projections) = (&self.engine, &self.projections);
        let Sink { feed, letters, projections: lanes, .. } = &mut self.sinks[sink];
        for lane in feed.watched(standings, engine) {
            let name = format!("generation/{}", letters.lane_name(lane));
            self.batch.fact(name, feed.generation(lane).to_be_bytes().to_vec());
        }
        let is_still_refused = |lane: usize, key: &[u8], lsn: Lsn| {
            let of = &projections[lanes[lane]];
            let row = engine.arrangements()[of.arrangement].get(key);
            of.output.is_none() || row.is_some_and(|row| row.lsn() == lsn)
        };
        letters.retain(is_still_refused, &mut self.batch.facts);
    }

    /// The connection to the sink is gone.
    pub fn closed(&mut self, sink: usize) {
        self.sinks[sink].feed.closed();
    }

    /// What the sink is to do next, or `None` before more is applied. With `idle` also a step that
    /// moves nothing but the watermarks.
    pub fn next_work(&mut self, sink: usize, idle: bool) -> Option<Work> {
        let (projections, tables, progress) = (&self.projections, &self.tables, self.progress);
        let of_sink = self.sinks[sink].projections.iter();
        let wait: Vec<bool> = of_sink.map(|&at| self.may_begin_anew(at)).collect();
        let sink = &mut self.sinks[sink];
        let rows = |lane: usize| {
            let of = &projections[sink.projections[lane]].tables;
            let mut there_is = if wait[lane] { Rows::Loading } else { Rows::Live };
            for &table in of {
                match tables[table].stage {
                    Stage::Live => {}
                    Stage::Loading => there_is = Rows::Loading,
                    Stage::Quarantined(_) => return Rows::Stopped,
                }
            }
            there_is
        };
        sink.feed.next(&self.engine, progress, rows, idle)
    }

    /// A piece of a log that a sink's lane has to read from the store before it can go on.
    pub fn wanted_page(&self, sink: usize) -> Option<(WantedPage, RowsOf)> {
        let of = &self.sinks[sink];
        let follows = |lane: usize| self.is_followed(of.projections[lane]);
        let wanted = of.feed.wanted_page(follows)?;
        let rows_of = self.rows_of[wanted.arrangement];
        Some((wanted, rows_of))
    }

    /// What was read for `wanted_page`.
    pub fn give_page(
        &mut self,
        sink: usize,
        lane: usize,
        mut entries: Vec<Entry>,
        is_last: bool,
    ) -> Result<(), Fault> {
        if let Some(log) = self.event_log(self.sinks[sink].projections[lane]) {
            let renewed: Result<Vec<Entry>, ValueError> =
                entries.into_iter().map(|entry| log.renewed(entry)).collect();
            entries = renewed.map_err(Fault::from)?;
            self.tell_gap(sink, lane, &mut entries, is_last);
        }
        self.sinks[sink].feed.give_page(lane, entries, is_last);
        Ok(())
    }

    /// The sink has done what it was told, but for the rows that it refuses.
    pub fn done(&mut self, sink: usize, work: &Work, refused: Vec<Refused>) {
        let letters = &mut self.sinks[sink].letters;
        let facts = &mut self.batch.facts;
        match work {
            Work::Fill { lane, rows } => letters.accepted(*lane, rows, facts),
            Work::Amend { lane, changes } => letters.accepted(*lane, changes, facts),
            Work::Step(step) => {
                for part in &step.lanes {
                    letters.accepted(part.lane, &part.entries, facts);
                }
            }
            // Whatever is still refused will be refused again.
            Work::BeginFill { lane, .. } => letters.clear(*lane, facts),
            Work::Forget { lane, keys } => self.sinks[sink].feed.forgot(*lane, keys),
            Work::EndFill { .. } | Work::Reopen => {}
        }
        self.set_aside(sink, refused);
        if let Work::Step(step) = work {
            self.stepped(sink, step);
        }
    }

    /// The sink was opened, and remembers these refusals. Those that we have not heard of ourselves are
    /// letters: its answer was lost, or given to a leader before us.
    pub fn remembered(&mut self, sink: usize, refused: impl Iterator<Item = Refused>) {
        // An event of a name that had been removed, and with it what was known of its letters, begins anew.
        let is_ours = |refused: &Refused| {
            let log = self.event_log(self.sinks[sink].projections[refused.lane]);
            log.is_none_or(|log| log.added <= refused.entry.lsn())
        };
        let (refused, of_before): (Vec<Refused>, Vec<Refused>) = refused.partition(is_ours);
        let Sink { feed, letters, .. } = &mut self.sinks[sink];
        for Refused { lane, entry, .. } in of_before {
            feed.settled_by_hand(lane, entry.key().to_vec());
        }
        // Of a history that is not sent again what the sink has accepted meanwhile, only the sink knows.
        let is_still_refused = |lane: usize, key: &[u8], lsn: Lsn| {
            let is_it = |refused: &Refused| refused.lane == lane && refused.entry.key() == key;
            feed.told_by_sink(lane).is_none_or(|told| told <= lsn) || refused.iter().any(is_it)
        };
        letters.retain(is_still_refused, &mut self.batch.facts);
        let is_new = |refused: &Refused| {
            let Refused { lane, entry, .. } = refused;
            feed.takes_refusal(*lane, entry.lsn())
                && letters.version(*lane, entry.key()).is_none_or(|known| known < entry.lsn())
        };
        let new: Vec<Refused> = refused.into_iter().filter(is_new).collect();
        self.set_aside(sink, new);
    }

    fn set_aside(&mut self, sink: usize, refused: Vec<Refused>) {
        for refused in refused {
            if self.sinks[sink].letters.is_waived(&refused) {
                continue;
            }
            let payload = self
                .is_event(sink, refused.lane)
                .then(|| Payload::Row(refused.entry.value().unwrap_or_default().to_vec()));
            let Sink { feed, letters, halts, .. } = &mut self.sinks[sink];
            if halts[refused.lane] {
                feed.halt(refused.lane);
            }
            letters.refused(refused, payload.as_ref(), &mut self.batch.facts);
        }
    }

    fn stepped(&mut self, sink: usize, step: &Step) {
        let sink = &mut self.sinks[sink];
        for part in step.lanes.iter().filter(|part| part.finish_fill) {
            if sink.feed.is_rebuilding(part.lane) {
                self.batch.remove_fact(rebuild_fact(sink.letters.lane_name(part.lane)));
            }
        }
        sink.feed.done(step);
        for part in step.lanes.iter().filter(|part| part.finish_fill) {
            sink.letters.filled(part.lane, &mut self.batch.facts);
            let name = format!("generation/{}", sink.letters.lane_name(part.lane));
            self.batch.fact(name, part.generation.to_be_bytes().to_vec());
        }
    }

    /// Keys that came to be such that nothing can be shown of them, or can be shown again.
    pub fn take_news(&mut self) -> Vec<News> {
        let told = std::mem::take(&mut self.told);
        let mut all = std::mem::take(&mut self.news);
        let of = |output| self.projections.iter().position(|of| of.output == Some(output));
        let news = |Told { output, lsn, notice }: Told| {
            let key = match &notice {
                Notice::Conflict { key, .. }
                | Notice::Refused { key, .. }
                | Notice::Accepted { key } => key,
            };
            let projection = of(output)?;
            let key = self.key_text(projection, key);
            let projection = self.projections[projection].name.clone();
            Some(News { projection, key, lsn, notice })
        };
        all.extend(told.into_iter().filter_map(news));
        all
    }

    /// Rows of this lane that the sink refuses for good, and keys that the engine itself cannot show:
    /// of a row that cannot be computed, or of several rows.
    pub fn dead_letters(&self, sink: usize, lane: usize) -> usize {
        let Sink { letters, projections, .. } = &self.sinks[sink];
        let output = self.projections[projections[lane]].output;
        letters.count(lane) + output.map_or(0, |output| self.engine.withheld_len(output))
    }

    /// Its tables are loaded: its first consistent position is reached.
    pub fn is_ready(&self, projection: usize) -> bool {
        self.projections[projection].tables.iter().all(|&table| self.tables[table].whole)
    }

    /// What is known of its rows is that of the applied position.
    pub fn is_followed(&self, projection: usize) -> bool {
        let mut tables = self.projections[projection].tables.iter();
        tables.all(|&table| self.tables[table].stage == Stage::Live)
    }

    /// How far the sink is with the projection of this lane.
    pub fn delivered(&self, sink: usize, lane: usize) -> Delivered {
        let Sink { feed, projections, .. } = &self.sinks[sink];
        let of = &self.projections[projections[lane]].tables;
        if of.iter().all(|&table| self.tables[table].stage == Stage::Live) {
            feed.delivered(lane, &self.engine, self.progress.applied)
        } else {
            feed.watermark(lane)
        }
    }

    /// It is away, and had all there is of the projection.
    pub fn lacks_nothing(&self, sink: usize, lane: usize) -> bool {
        let Sink { feed, projections, .. } = &self.sinks[sink];
        self.is_followed(projections[lane])
            && feed.lacks_nothing(lane, &self.engine, self.progress.applied)
    }

    pub fn lane_state(&self, sink: usize, lane: usize) -> LaneState {
        let sink = &self.sinks[sink];
        sink.feed.state(lane, self.is_ready(sink.projections[lane]))
    }

    /// While the lane is filled: rows that the sink was given so far.
    pub fn filled(&self, sink: usize, lane: usize) -> Option<u64> {
        self.sinks[sink].feed.filled(lane)
    }

    pub fn generation(&self, sink: usize, lane: usize) -> u64 {
        self.sinks[sink].feed.generation(lane)
    }

    /// The position that a load waits for and nothing has reached: it may lie beyond what the source has
    /// sent.
    pub fn wanted_position(&self) -> Option<Lsn> {
        self.load.as_ref()?.wanted_position().filter(|&bound| bound > self.progress.applied)
    }
}
