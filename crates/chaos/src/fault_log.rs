//! Records each fault with its times, and finds how much of a silence had no fault.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

/// All faults, each from its start to its end.
#[derive(Debug)]
pub(crate) struct FaultLog {
    began: Instant,
    spans: Mutex<Vec<FaultSpan>>,
}

#[derive(Debug)]
struct FaultSpan {
    who: String,
    kind: &'static str,
    from: Instant,
    until: Option<Instant>,
}

/// A fault that lasts until this is dropped.
#[derive(Debug)]
pub(crate) struct FaultGuard<'a> {
    fault_log: &'a FaultLog,
    index: usize,
}

impl Drop for FaultGuard<'_> {
    fn drop(&mut self) {
        if let Some(span) = self.fault_log.lock().get_mut(self.index) {
            span.until = Some(Instant::now());
        }
    }
}

impl FaultLog {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), spans: Mutex::default() }
    }

    pub(crate) fn begin(&self, who: &str, kind: &'static str) -> FaultGuard<'_> {
        let mut spans = self.lock();
        spans.push(FaultSpan { who: who.to_owned(), kind, from: Instant::now(), until: None });
        FaultGuard { fault_log: self, index: spans.len() - 1 }
    }

    /// The longest part of this time without a fault.
    pub(crate) fn calm(&self, from: Instant, until: Instant) -> Duration {
        let (mut calm_from, mut longest) = (from, Duration::ZERO);
        for span in &*self.lock() {
            if span.from >= until {
                break;
            }
            longest = longest.max(span.from.saturating_duration_since(calm_from));
            calm_from = calm_from.max(span.until.unwrap_or(until));
        }
        longest.max(until.saturating_duration_since(calm_from))
    }

    /// Seconds since the start, for the report.
    pub(crate) fn clock(&self) -> String {
        self.seconds(Instant::now())
    }

    /// The kinds of all faults so far.
    pub(crate) fn kinds(&self) -> Vec<(String, &'static str)> {
        self.lock().iter().map(|span| (span.who.clone(), span.kind)).collect()
    }

    /// The faults of this time, for the report.
    pub(crate) fn between(&self, from: Instant, until: Instant) -> Vec<String> {
        let spans = self.lock();
        let line = |span: &FaultSpan| {
            let until = span.until.map_or_else(|| "now".into(), |until| self.seconds(until));
            format!("{} to {until}: {}: {}", self.seconds(span.from), span.who, span.kind)
        };
        let overlaps = |span: &&FaultSpan| span.from < until && span.until.is_none_or(|end| end > from);
        spans.iter().filter(overlaps).map(line).collect()
    }

    fn seconds(&self, at: Instant) -> String {
        format!("{:.3}", at.duration_since(self.began).as_secs_f64())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<FaultSpan>> {
        self.spans.lock().expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_calm_part_of_a_silence_counts() {
        let (fault_log, began) = (FaultLog::new(), Instant::now());
        let second = Duration::from_secs(1);
        advance(2 * second).await;
        let first = fault_log.begin("one", "kill");
        advance(second).await;
        let second_one = fault_log.begin("two", "cut");
        drop(first);
        advance(second).await;
        drop(second_one);
        advance(3 * second).await;
        assert_eq!(fault_log.calm(began, Instant::now()), 3 * second);
        assert_eq!(fault_log.calm(began, began + 4 * second), 2 * second);
        assert_eq!(fault_log.calm(began + 2 * second, began + 4 * second), Duration::ZERO);
        let _still = fault_log.begin("three", "freeze");
        advance(9 * second).await;
        assert_eq!(fault_log.calm(began, Instant::now()), 3 * second);
    }
}
