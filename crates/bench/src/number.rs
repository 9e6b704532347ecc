//! Numbers for people.

use std::time::Duration;

/// For ratios: a count far below 2^52 loses nothing.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below what f64 holds exactly")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// `part` in microseconds for each of `count`; not a number when there are none.
pub(crate) fn micros_each(part: Duration, count: u64) -> f64 {
    part.as_secs_f64() * 1e6 / float(count)
}

/// How much of one core was at work.
pub(crate) fn cores(cpu: Duration, wall: Duration) -> f64 {
    cpu.as_secs_f64() / wall.as_secs_f64()
}
