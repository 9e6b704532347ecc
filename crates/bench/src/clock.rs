//! The time that stamped pieces are told against: microseconds since the Unix epoch.

use std::time::UNIX_EPOCH;

/// Now, by the clock that the simulated model stamps with.
pub(crate) fn micros() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "stamps are compared with the machine's clock, in microseconds"
    )]
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
