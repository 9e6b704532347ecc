//! Who is being hurt when: the faults so far, and how much of a silence fell into a calm.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

/// Every fault from the moment it is done to the moment it is undone.
#[derive(Debug)]
pub(crate) struct Weather {
    began: Instant,
    storms: Mutex<Vec<Storm>>,
}

#[derive(Debug)]
struct Storm {
    who: String,
    kind: &'static str,
    from: Instant,
    until: Option<Instant>,
}

/// A fault that lasts until this is dropped.
#[derive(Debug)]
pub(crate) struct Blowing<'a> {
    weather: &'a Weather,
    index: usize,
}

impl Drop for Blowing<'_> {
    fn drop(&mut self) {
        if let Some(storm) = self.weather.lock().get_mut(self.index) {
            storm.until = Some(Instant::now());
        }
    }
}

impl Weather {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), storms: Mutex::default() }
    }

    pub(crate) fn blow(&self, who: &str, kind: &'static str) -> Blowing<'_> {
        let mut storms = self.lock();
        storms.push(Storm { who: who.to_owned(), kind, from: Instant::now(), until: None });
        Blowing { weather: self, index: storms.len() - 1 }
    }

    /// The longest part of this time in which nobody was hurt.
    pub(crate) fn calm(&self, from: Instant, until: Instant) -> Duration {
        let (mut calm_from, mut longest) = (from, Duration::ZERO);
        for storm in &*self.lock() {
            if storm.from >= until {
                break;
            }
            longest = longest.max(storm.from.saturating_duration_since(calm_from));
            calm_from = calm_from.max(storm.until.unwrap_or(until));
        }
        longest.max(until.saturating_duration_since(calm_from))
    }

    /// Seconds since the beginning, for people.
    pub(crate) fn clock(&self) -> String {
        self.seconds(Instant::now())
    }

    /// The kinds of all faults so far.
    pub(crate) fn kinds(&self) -> Vec<(String, &'static str)> {
        self.lock().iter().map(|storm| (storm.who.clone(), storm.kind)).collect()
    }

    /// The faults of this time, for people.
    pub(crate) fn between(&self, from: Instant, until: Instant) -> Vec<String> {
        let storms = self.lock();
        let line = |storm: &Storm| {
            let until = storm.until.map_or_else(|| "now".into(), |until| self.seconds(until));
            format!("{} to {until}: {}: {}", self.seconds(storm.from), storm.who, storm.kind)
        };
        let overlaps = |storm: &&Storm| storm.from < until && storm.until.is_none_or(|end| end > from);
        storms.iter().filter(overlaps).map(line).collect()
    }

    fn seconds(&self, at: Instant) -> String {
        format!("{:.3}", at.duration_since(self.began).as_secs_f64())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Storm>> {
        self.storms.lock().expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_calm_part_of_a_silence_counts() {
        let (weather, began) = (Weather::new(), Instant::now());
        let second = Duration::from_secs(1);
        advance(2 * second).await;
        let first = weather.blow("one", "kill");
        advance(second).await;
        let second_one = weather.blow("two", "cut");
        drop(first);
        advance(second).await;
        drop(second_one);
        advance(3 * second).await;
        assert_eq!(weather.calm(began, Instant::now()), 3 * second);
        assert_eq!(weather.calm(began, began + 4 * second), 2 * second);
        assert_eq!(weather.calm(began + 2 * second, began + 4 * second), Duration::ZERO);
        let _still = weather.blow("three", "freeze");
        advance(9 * second).await;
        assert_eq!(weather.calm(began, Instant::now()), 3 * second);
    }
}
