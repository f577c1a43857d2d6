//! Places where a test makes the process die: `READSIDE_FAILPOINT=NAME[@SINK][:NTH]` aborts it, as
//! suddenly as kill -9 does, when it comes to the place for the nth time (the first, when not said).
//!
//! A benchmark may have the process leave out a part of its work instead, to see what it costs: [`left_out`].
//!
//! Without the variable a place costs a look at a static.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable's name.
const VARIABLE: &str = "READSIDE_FAILPOINT";

struct Armed {
    name: String,
    sink: Option<String>,
    left: AtomicU64,
}

static ARMED: LazyLock<Option<Armed>> =
    LazyLock::new(|| std::env::var(VARIABLE).ok().map(|text| Armed::read(&text)));

/// The process is at this place.
pub fn reached(name: &str) {
    if let Some(armed) = ARMED.as_ref() {
        armed.reached(name, None);
    }
}

/// Whether the part of this name is left out. What is right without it is for the benchmark to know.
pub fn left_out(name: &str) -> bool {
    ARMED.as_ref().is_some_and(|armed| armed.name == name)
}

/// As [`reached`], on the way into a sink.
pub fn reached_in(name: &str, sink: &str) {
    if let Some(armed) = ARMED.as_ref() {
        armed.reached(name, Some(sink));
    }
}

impl Armed {
    fn read(text: &str) -> Self {
        let (place, nth) = text.rsplit_once(':').unwrap_or((text, "1"));
        let (name, sink) = match place.split_once('@') {
            Some((name, sink)) => (name, Some(sink.to_owned())),
            None => (place, None),
        };
        // What cannot be read is never reached, which the test that waits for it tells.
        let nth = nth.parse().unwrap_or(0);
        Self { name: name.to_owned(), sink, left: AtomicU64::new(nth) }
    }

    fn is_at(&self, name: &str, sink: Option<&str>) -> bool {
        let there = self.name == name && (self.sink.is_none() || self.sink.as_deref() == sink);
        there && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }

    fn reached(&self, name: &str, sink: Option<&str>) {
        if self.is_at(name, sink) {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_by_sink_and_number() {
        let armed = Armed::read("delivered@cache:2");
        let at = |name, sink| armed.is_at(name, sink);
        assert!(!at("delivered", Some("search")));
        assert!(!at("received", None));
        assert!(!at("delivered", Some("cache")));
        assert!(at("delivered", Some("cache")));
        assert!(!at("delivered", Some("cache")), "it has been passed");
        assert!(Armed::read("received").is_at("received", None));
        assert!(Armed::read("delivered").is_at("delivered", Some("search")));
    }
}
