//! Free ports for servers.

use std::{collections::HashSet, net::TcpListener, sync::Mutex};

use rand::RngExt;

/// Below the range of ports for outgoing connections, so that none of them takes a server's port between `kill` and
/// `restart`.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// A free port on 127.0.0.1 that this process has not returned before.
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
