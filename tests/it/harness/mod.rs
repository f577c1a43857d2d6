//! Real servers on free ports for the tests: started as a user starts them, killed when they are
//! dropped, and gone even when the test binary itself is killed.
//!
//! A server that is not installed is a failure that says what to install, never a skip. Tests wait
//! for conditions (`wait::until`), never for time. The demo and the benchmarks include this room too.

#![allow(dead_code, unused_imports, reason = "each program that includes it uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may: the panic is its failure")]

pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod cluster;
pub(crate) mod daemon;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod power;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod scratch;
pub(crate) mod search;
pub(crate) mod wait;

pub(crate) use certificates::Certificates;
pub(crate) use cluster::{Cache, RedisCluster};
pub(crate) use daemon::{Daemon, readside};
pub(crate) use postgres::{Postgres, PostgresOptions};
pub(crate) use proxy::Proxy;
pub(crate) use redis::{Redis, RedisOptions};
pub(crate) use search::Search;

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// Several crates ask rustls for the process's default provider and panic without one.
pub(crate) fn install_crypto() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        // Refused only when one is there already, which is what we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// An HTTP client of the calling test: its connections live on that test's runtime, so it is not to
/// be shared between tests.
pub(crate) fn http() -> reqwest::Client {
    install_crypto();
    reqwest::Client::builder().no_proxy().build().expect("an HTTP client without options builds")
}

/// A name that no other test of this or another run uses: for indexes, databases, keys. Lower case,
/// so that it needs no quotes anywhere.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{}_{number}", std::process::id())
}

/// A task beside the test, ended with the test's runtime.
#[expect(clippy::disallowed_methods, reason = "the test's runtime owns and ends it")]
pub(crate) fn beside(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
