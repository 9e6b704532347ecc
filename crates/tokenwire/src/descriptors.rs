//! File descriptors: as many as the system allows, and never more connections than they carry.
//!
//! A server that runs out of them takes no connection, opens no file and reaches no store: to its clients it hangs. So the
//! limit is raised as far as it goes, and what it cannot carry is refused early, with 503.

use std::{fs, path::Path};

use tokenwire_http::Config;

use crate::settings::Setting;

/// The room for everything that is opened later and is no connection of a client: files of the store, connections to Redis,
/// RabbitMQ and upstreams.
const SPARE: usize = 256;

/// Of so many connections one is not for a stream: to take stops and resumptions, and to say no with.
const OTHERS: usize = 8;

/// Raises the limit of this process as far as it may.
pub(crate) fn raise() {
    if let Err(error) = rlimit::increase_nofile_limit(rlimit::INFINITY) {
        tracing::warn!(%error, "cannot raise the open-file limit");
    }
}

/// Lowers the numbers of connections and streams to what the limit allows. Call it when everything else is open; `later`
/// descriptors are kept for other uses.
pub(crate) fn fit(http: &mut Config, later: usize) {
    let Ok((limit, _)) = rlimit::Resource::NOFILE.get() else { return };
    let taken = open_now() + later;
    let Fitted { connections, streams } =
        fitted(usize::try_from(limit).unwrap_or(usize::MAX), taken, http.max_connections, http.max_streams);
    if streams < http.max_streams {
        tracing::warn!(
            "open-file limit {limit} allows {streams} streams (configured: {}), and more get 503; raise the limit (ulimit -Hn, \
             LimitNOFILE) or lower {}",
            http.max_streams,
            Setting::named("max_streams"),
        );
    }
    (http.max_connections, http.max_streams) = (connections, streams);
}

#[derive(Debug, PartialEq, Eq)]
struct Fitted {
    connections: usize,
    streams: usize,
}

fn fitted(limit: usize, taken: usize, connections: usize, streams: usize) -> Fitted {
    let carried = limit.saturating_sub(taken).saturating_sub(SPARE.min(limit / 4)).max(1);
    if connections <= carried {
        return Fitted { connections, streams };
    }
    Fitted { connections: carried, streams: streams.min(carried - carried / OTHERS) }
}

/// How many descriptors are open, as far as the system tells.
fn open_now() -> usize {
    fs::read_dir(Path::new("/dev/fd")).map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_limit_carries_stays_as_it_was_asked_for() {
        assert_eq!(fitted(524_288, 30, 22_000, 20_000), Fitted { connections: 22_000, streams: 20_000 });
        assert_eq!(fitted(usize::MAX, 30, 22_000, 20_000), Fitted { connections: 22_000, streams: 20_000 });
    }

    #[test]
    fn what_it_does_not_carry_leaves_room_for_files_and_for_other_requests() {
        assert_eq!(fitted(20_000, 44, 22_000, 20_000), Fitted { connections: 19_700, streams: 17_238 });
        assert_eq!(fitted(1024, 32, 22_000, 20_000), Fitted { connections: 736, streams: 644 });
        assert_eq!(fitted(1024, 32, 2_100, 100), Fitted { connections: 736, streams: 100 });
    }

    #[test]
    fn a_limit_for_nothing_still_serves_one_connection() {
        assert_eq!(fitted(16, 32, 22_000, 20_000), Fitted { connections: 1, streams: 1 });
    }
}
