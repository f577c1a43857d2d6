//! What keeps the daemon from being ready: the source streams, projections are loaded, required sinks
//! are up and within `max_lag`; otherwise the reasons, as sentences for people.

use super::board::LaneName;
use super::status::{
    LaneState, LaneStatus, LoadStatus, ProjectionState, ProjectionStatus, SinkStatus, SourceStatus,
    Status,
};
use crate::lsn::Lsn;

/// Empty when ready.
pub(super) fn reasons(status: &Status, lanes: &[LaneName]) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(of_source(&status.source));
    if let Some(waiting_for) = status.load.as_ref().and_then(|load| load.waiting_for.as_ref()) {
        reasons.push(format!("load: waiting for {waiting_for}"));
    }
    let load = status.load.as_ref();
    reasons.extend(status.projections.iter().filter_map(|one| of_projection(one, load)));
    let required = |sink: &SinkStatus| lanes.iter().any(|l| l.required && l.sink == sink.name);
    let sinks = status.sinks.iter().filter(|sink| required(sink));
    reasons.extend(sinks.filter_map(of_sink));
    for lane in lanes.iter().filter(|lane| lane.required) {
        reasons.extend(of_lane(lane, status));
    }
    if status.projections.is_empty() && !lanes.is_empty() && reasons.is_empty() {
        reasons.push("the pipeline has not told of its projections yet".to_owned());
    }
    reasons
}

fn of_source(source: &SourceStatus) -> impl Iterator<Item = String> {
    let why = source.error.as_deref().unwrap_or("not connected yet");
    let away = (!source.connected).then(|| format!("source: not streaming: {why}"));
    let alarm = source.wal_alarm.as_ref().map(|alarm| format!("source: {alarm}"));
    away.into_iter().chain(alarm)
}

fn of_projection(projection: &ProjectionStatus, load: Option<&LoadStatus>) -> Option<String> {
    let name = &projection.name;
    match projection.state {
        ProjectionState::Live => None,
        ProjectionState::Loading => Some(match load.filter(|load| !load.tables.is_empty()) {
            Some(load) => {
                let rows: u64 = load.tables.iter().map(|table| table.rows).sum();
                let expected: u64 = load.tables.iter().map(|table| table.expected).sum();
                format!("projection {name}: loading, {rows} of about {expected} rows are read")
            }
            None => format!("projection {name}: loading"),
        }),
        ProjectionState::Quarantined => {
            let why = projection.reason.as_deref().unwrap_or("no reason was given");
            Some(format!("projection {name}: quarantined: {why}"))
        }
    }
}

fn of_sink(sink: &SinkStatus) -> Option<String> {
    let SinkStatus { name, since, .. } = sink;
    let why = sink.error.as_deref().unwrap_or("it has not answered yet");
    (!sink.up).then(|| format!("sink {name}: down since {since}: {why}"))
}

fn of_lane(lane: &LaneName, status: &Status) -> Option<String> {
    let LaneName { sink, projection, max_lag, .. } = lane;
    let of = status.projections.iter().find(|one| one.name == *projection)?;
    let stands = of.sinks.iter().find(|one| one.sink == *sink)?;
    // Loading or quarantined: the projection itself is the reason, and has been told.
    if of.state != ProjectionState::Live {
        return None;
    }
    match stands {
        LaneStatus { error: Some(why), .. } => {
            Some(format!("sink {sink}: projection {projection} stands still: {why}"))
        }
        LaneStatus { state: LaneState::Halted, .. } => {
            Some(format!("sink {sink}: projection {projection} is halted by a refused row"))
        }
        // An older generation can be read, however long the new one takes to be filled.
        LaneStatus { lsn: Lsn::ZERO, .. } => {
            let sink_is_up = status.sinks.iter().any(|one| one.name == *sink && one.up);
            sink_is_up.then(|| format!("sink {sink}: projection {projection} is being filled"))
        }
        LaneStatus { lag_seconds, .. } if *lag_seconds > max_lag.as_secs_f64() => Some(format!(
            "sink {sink}: projection {projection} lags {lag_seconds:.1} s, more than {} s",
            max_lag.as_secs_f64()
        )),
        _ => None,
    }
}
