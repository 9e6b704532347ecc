//! Ports for servers that are told where to listen.

use std::{collections::HashSet, net::TcpListener, sync::Mutex};

use rand::RngExt;

/// Below the range from which systems take the ports of outgoing connections: while a server is down between `kill` and
/// `restart`, nobody is given its port by accident.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// A port on 127.0.0.1 that nobody listens on now, and that this process has not given out before.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().expect("nothing panics while it holds the lock");
    let given = given.get_or_insert_default();
    loop {
        let port = rand::rng().random_range(RANGE);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}
