//! Ports that stay ours while a server is down. The system's own free ports will not do: between a
//! kill and a restart it gives them to any outgoing connection.

use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;

/// Below the range from which Linux takes the ports of outgoing connections.
const RANGE: RangeInclusive<u16> = 20_000..=32_000;

const BUS: u16 = 10_000;

/// A port on 127.0.0.1, reserved among all running test binaries by a lock on a file.
pub(crate) struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    pub(crate) fn reserve() -> Port {
        let dir = std::env::temp_dir().join("readside-ports");
        if fs::create_dir(&dir).is_ok() {
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))
                .expect("the directory was just created by us");
        }
        for _ in 0..1_000 {
            let number = fastrand::u16(RANGE);
            let Ok(lock) = File::create(dir.join(number.to_string())) else { continue };
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port in {RANGE:?}; can files be created in {}?", dir.display());
    }

    /// As [`Port::reserve`], and the port ten thousand above it, where the nodes of a Redis cluster talk
    /// to each other.
    pub(crate) fn reserve_with_bus() -> (Port, Port) {
        let dir = std::env::temp_dir().join("readside-ports");
        drop(Port::reserve());
        let free = |number: u16| {
            let lock = File::create(dir.join(number.to_string())).ok()?;
            let is_free =
                lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok();
            is_free.then_some(Port { number, _lock: lock })
        };
        for _ in 0..1_000 {
            let number = fastrand::u16(*RANGE.start()..=*RANGE.end() - BUS);
            if let (Some(port), Some(bus)) = (free(number), free(number + BUS)) {
                return (port, bus);
            }
        }
        panic!("no free pair of ports in {RANGE:?}");
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
