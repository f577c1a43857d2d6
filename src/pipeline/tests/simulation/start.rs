//! What a start finds in the store, and the machine that it makes of it.

use super::logs::{EVENT_ROWS_OF, EVENTS, HISTORY_ROWS_OF, data_len, maker};
use super::*;
use crate::engine::gap_entry;
use crate::output::{PageFrom, WantedPage};

/// An event's table is loaded again: there will be a gap where the load begins.
const GAP_FACT: &str = "gap at load";

impl Kept {
    /// A history begins where the stream does.
    pub(super) fn begin_logs(&mut self) {
        let floor = self.position.lsn.0.to_be_bytes().to_vec();
        self.facts.insert(format!("floor/{HISTORY_ROWS_OF}"), floor);
    }

    /// What has happened to the events' table is not known.
    pub(super) fn missed(&mut self, load_to_come: bool) {
        for (event, name) in EVENTS.iter().enumerate() {
            let rows_of = EVENT_ROWS_OF[event];
            for waiting in self.waiting(event) {
                self.rows.remove(&(rows_of, waiting.key().to_vec()));
            }
            self.facts.remove(&pending_fact(name));
            if load_to_come {
                self.facts.insert(GAP_FACT.to_owned(), Vec::new());
            } else {
                let gap = gap_entry(data_len(event), rows_lsn(self.position.lsn), 0);
                self.rows.insert((rows_of, gap.key().to_vec()), gap);
            }
        }
    }

    /// What waits to become an occurrence.
    fn waiting(&self, event: usize) -> Vec<Entry> {
        let Some(from) = self.facts.get(&pending_fact(EVENTS[event])) else { return Vec::new() };
        let entries = self.rows_of(EVENT_ROWS_OF[event]).into_iter();
        entries.filter(|entry| entry.key() >= from.as_slice()).collect()
    }

    /// As the store reads a piece of a log.
    pub(super) fn page(
        &self,
        rows_of: RowsOf,
        wanted: &WantedPage,
        room: usize,
    ) -> (Vec<Entry>, bool) {
        let is_wanted = |entry: &Entry| match &wanted.from {
            PageFrom::After(key) => entry.key() > key.as_slice(),
            PageFrom::At(key) => entry.key() >= key.as_slice(),
        };
        let mut entries = self.rows_of(rows_of);
        entries.retain(|entry| is_wanted(entry) && entry.key() <= wanted.to.as_slice());
        let is_last = entries.len() <= room;
        entries.truncate(room);
        (entries, is_last)
    }

    /// The tables' rows are to be read again.
    pub(super) fn announce_load(&mut self) {
        let stale = self.stale();
        self.rows.retain(|(of, _), _| !stale.iter().any(|&at| ROWS_OF[at] == *of));
        self.facts.retain(|name, _| !name.starts_with("chunk/"));
        self.backlog.clear();
    }

    /// As of this position and later.
    pub(super) fn load_begins(&mut self, from: Lsn) {
        self.facts.insert(LOAD_FACT.to_owned(), from.0.to_be_bytes().to_vec());
        for at in self.stale() {
            self.facts.insert(format!("floor/{}", ROWS_OF[at]), from.0.to_be_bytes().to_vec());
        }
    }

    pub(super) fn stale(&self) -> Vec<usize> {
        (0..2).filter(|&table| !self.is_live(table)).collect()
    }

    pub(super) fn is_whole(&self) -> bool {
        self.stale().is_empty()
    }

    pub(super) fn is_live(&self, table: usize) -> bool {
        let fact = self.facts.get(&format!("table/{}", [A, B][table]));
        fact.is_some_and(|fact| fact == b"live")
    }

    pub(super) fn load_from(&self) -> Lsn {
        Lsn(self.number(LOAD_FACT).unwrap_or(0))
    }

    /// Of a load that goes on.
    pub(super) fn unread(&self) -> Vec<(u32, usize)> {
        let is_unread = |(chunk, table): &&(u32, usize)| {
            !self.is_live(*table) && self.number(&format!("chunk/{chunk}")).is_none()
        };
        let goes_on = self.facts.contains_key(LOAD_FACT);
        CHUNKS.iter().filter(|_| goes_on).filter(is_unread).copied().collect()
    }

    pub(super) fn write_chunks(&mut self, chunks: Vec<LoadedChunk>) {
        for LoadedChunk { rows_of, rows } in chunks {
            let rows = rows.into_iter().flatten();
            self.rows.extend(rows.map(|row| ((rows_of, row.key().to_vec()), row)));
        }
    }

    fn number(&self, fact: &str) -> Option<u64> {
        let fact = self.facts.get(fact)?;
        Some(u64::from_be_bytes(*fact.first_chunk().expect("eight bytes")))
    }
}

/// As a start makes one of what the store has.
pub(super) fn machine(kept: &Kept, sinks: &[Sink], bytes_max: [usize; 2]) -> Machine {
    let [recent_bytes_max, tombstone_bytes_max] = bytes_max;
    let floor = |of: RowsOf| Lsn(kept.number(&format!("floor/{of}")).unwrap_or(0));
    let tables = [A, B].into_iter().enumerate().map(|(at, oid)| TableInit {
        name: format!("public.t{oid}"),
        layout: layout(),
        leaves: vec![(oid, 0)],
        partitioned: false,
        rows_of: ROWS_OF[at],
        stage: if kept.is_live(at) { Stage::Live } else { Stage::Loading },
        rows: kept.rows_of(ROWS_OF[at]),
        tombstone_floor: floor(ROWS_OF[at]),
        facts: TableFacts {
            name: format!("table/{oid}"),
            live: b"live".to_vec(),
            stale: b"stale".to_vec(),
        },
    });
    let projection = |name: &str, plan, rows_of| ProjectionInit {
        name: name.to_owned(),
        plan,
        rows_of,
        rows: kept.rows_of(rows_of),
        tombstone_floor: floor(rows_of),
    };
    let load = kept.number(LOAD_FACT).map(|from| {
        let bound = |chunk: u32| kept.number(&format!("chunk/{chunk}"));
        LoadInit {
            from: Lsn(from),
            bound: Lsn(CHUNKS.iter().filter_map(|(chunk, _)| bound(*chunk)).max().unwrap_or(from)),
            chunks_left: kept.unread().into_iter().collect(),
            backlog_end: kept.backlog.keys().next_back().map_or(0, |last| last + 1),
        }
    });
    let load_to_come = load.is_none() && !kept.is_whole();
    let names = [&PROJECTIONS[..], &EVENTS[..]].concat();
    let lane = |sink: &Sink, lane: usize| format!("{}/{}", sink.name, names[lane]);
    let number = |fact: String| kept.number(&fact).unwrap_or(0);
    let events = (0..EVENTS.len()).map(|event| {
        let rows_of = EVENT_ROWS_OF[event];
        let (entries, pending) = (kept.rows_of(rows_of), kept.waiting(event));
        let made = entries.len() - pending.len();
        EventInit {
            name: EVENTS[event].to_owned(),
            maker: maker(event),
            table: Some(0),
            prefix: None,
            rows_of,
            last: entries[..made].last().cloned(),
            stored_from: entries.first().map(Entry::lsn),
            gone_to: kept.facts.get(&gone_fact(EVENTS[event])).cloned(),
            pending,
            older: Vec::new(),
            gap_at_load: load_to_come && !kept.is_live(0) && kept.facts.contains_key(GAP_FACT),
            added: Lsn::ZERO,
        }
    });
    let history = sinks.iter().find_map(|sink| sink.history).map(|projection| {
        let entries = kept.rows_of(HISTORY_ROWS_OF);
        HistoryInit {
            projection,
            rows_of: HISTORY_ROWS_OF,
            last: entries.last().cloned(),
            stored_from: entries.first().map(Entry::lsn),
            floor: floor(HISTORY_ROWS_OF),
        }
    });
    let sinks = sinks.iter().map(|sink| SinkInit {
        name: sink.name.to_owned(),
        step_rows: sink.step_rows,
        backlog_rows: sink.backlog_rows,
        forgetful: sink.forgetful,
        projections: (0..LANES).collect(),
        halts: vec![false; LANES],
        hides_fills: sink.hides_fills,
        histories: (0..LANES).map(|lane| sink.history == Some(lane)).collect(),
        generations: (0..LANES)
            .map(|at| number(format!("generation/{}", lane(sink, at))))
            .collect(),
        told: (0..LANES).map(|at| Lsn(number(told_fact(&lane(sink, at))))).collect(),
        rebuilds: (0..LANES)
            .map(|at| kept.facts.contains_key(&rebuild_fact(&lane(sink, at))))
            .collect(),
        letters: (0..LANES)
            .flat_map(|at| {
                let prefix = format!("dead/{}/", lane(sink, at));
                let letters = kept.facts.range(prefix.clone()..);
                let letters = letters.take_while(move |(name, _)| name.starts_with(&prefix));
                letters.map(move |(name, letter)| {
                    let (_, hex) = name.rsplit_once('/').expect("it has the prefix");
                    let lsn = Lsn(u64::from_be_bytes(*letter.first_chunk().expect("an LSN")));
                    Letter { lane: at, key: letter_key(hex).expect("hex"), lsn }
                })
            })
            .collect(),
        waived: Vec::new(),
    });
    let init = MachineInit {
        tables: tables.collect(),
        projections: vec![
            projection(PROJECTIONS[0], Plan::table(0, vec![0]), 0),
            projection(PROJECTIONS[1], Plan::table(1, vec![0]), 0),
            projection(PROJECTIONS[2], Plan::table(0, vec![1]), ROWS_OF[2]),
        ],
        sinks: sinks.collect(),
        events: events.collect(),
        histories: history.into_iter().collect(),
        position: kept.position,
        committed_at: 0,
        xid_max: 0,
        load_to_come,
        load,
        recent_bytes_max,
        tombstone_bytes_max,
    };
    Machine::new(init).expect("rows are whole")
}
