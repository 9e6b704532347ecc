//! Waits between retries.

use std::time::Duration;

use rand::RngExt;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokenwire_core::{Timestamp, retry::Backoff};

/// Doubling waits with jitter, so that workers do not retry all at once.
#[derive(Debug)]
pub(super) struct Pace(Backoff);

impl Default for Pace {
    fn default() -> Self {
        Self(Backoff::new(Duration::from_millis(250), Duration::from_secs(4)))
    }
}

impl Pace {
    /// The next wait.
    pub(super) fn advance(&mut self) -> Duration {
        self.0.advance().mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

/// The wait that the upstream asks for: `retry-after-ms`, or `Retry-After` as seconds or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(millis / 1000.0).ok();
    }
    let text = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let date = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_millis(now.as_millis())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a minute before the date in the tests: 1994-11-06, 08:49:37.
    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000 - 30_000);

    fn asked(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        retry_after(&headers, NOW)
    }

    #[test]
    fn every_form_of_retry_after_is_understood() {
        assert_eq!(asked(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(asked(&[("retry-after", " 0.5 ")]), Some(Duration::from_millis(500)));
        assert_eq!(asked(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]), Some(Duration::from_secs(30)));
        assert_eq!(
            asked(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]),
            Some(Duration::ZERO),
            "is past"
        );
        assert_eq!(
            asked(&[("retry-after-ms", "1500"), ("retry-after", "7")]),
            Some(Duration::from_millis(1500))
        );
        for nonsense in ["", "soon", "-1", "NaN", "inf", "1e300"] {
            assert_eq!(asked(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn waits_grow_and_are_not_the_same_for_everybody() {
        let waits: Vec<_> = (0..64).map(|_| Pace::default().advance()).collect();
        assert!(waits.iter().all(|wait| (125..=250).contains(&wait.as_millis())));
        assert!(waits.iter().any(|wait| *wait != waits[0]));
        let mut pace = Pace::default();
        let last = (0..10).map(|_| pace.advance()).last().unwrap();
        assert!((2000..=4000).contains(&last.as_millis()));
    }
}
