//! The table at the end.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::Duration,
};

use super::way::Way;
use crate::args::Options;

/// What one time showed.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The longest time that the reader waited between two entries.
    pub(crate) silence: Duration,
    /// From the moment it was whole again until it knew that it was replaced. None for a process that was gone.
    pub(crate) fenced_after: Option<Duration>,
    pub(crate) attempts: usize,
    pub(crate) wrong: Vec<String>,
}

/// Everything that the times add up to.
#[derive(Debug)]
pub(crate) struct Table {
    options: Options,
    rows: BTreeMap<Way, Vec<Trial>>,
}

impl Table {
    pub(crate) fn new(options: &Options) -> Self {
        Self { options: options.clone(), rows: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, way: Way, trial: Trial) {
        self.rows.entry(way).or_default().push(trial);
    }

    /// Whether every promise was kept.
    pub(crate) fn is_clean(&self) -> bool {
        self.violations().next().is_none()
    }

    fn violations(&self) -> impl Iterator<Item = &String> {
        self.rows.values().flatten().flat_map(|trial| &trial.wrong)
    }
}

impl Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s of silence", seconds(self.silence))?;
        if let Some(fenced_after) = self.fenced_after {
            write!(f, ", fenced {} s after it came back", seconds(fenced_after))?;
        }
        let wrong = self.wrong.len();
        if wrong > 0 { write!(f, ", {wrong} violations") } else { Ok(()) }
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { mode, seed, .. } = &self.options;
        writeln!(f, "mode {mode}, seed {seed}; times in seconds")?;
        writeln!(f, "{:<28}{:>7}{:>10}{:>22}{:>22}", "", "", "most", "reader's silence", "fenced after")?;
        let mut line = |name: &str, cells: [&str; 6]| {
            let [times, attempts, silence, longest, fenced, latest] = cells;
            writeln!(
                f,
                "{name:<34}{times:>7}{attempts:>10}{silence:>11}{longest:>11}{fenced:>11}{latest:>11}"
            )
        };
        line("fault", ["times", "attempts", "median", "longest", "median", "longest"])?;
        for (way, trials) in &self.rows {
            let silences = Spread::of(trials.iter().map(|trial| trial.silence));
            let fenced = Spread::of(trials.iter().filter_map(|trial| trial.fenced_after));
            let attempts = trials.iter().map(|trial| trial.attempts).max().unwrap_or_default();
            line(
                way.name(),
                [
                    &trials.len().to_string(),
                    &attempts.to_string(),
                    &silences.median(),
                    &silences.longest(),
                    &fenced.median(),
                    &fenced.longest(),
                ],
            )?;
        }
        writeln!(f, "violations: {}", self.violations().count())?;
        for violation in self.violations() {
            writeln!(f, "\nVIOLATION {violation}")?;
        }
        writeln!(f, "\nagain: {}", self.options.again())
    }
}

/// Times, the shortest first.
struct Spread(Vec<Duration>);

impl Spread {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.collect();
        times.sort();
        Self(times)
    }

    /// The one in the middle; of two, the longer.
    fn median(&self) -> String {
        cell(self.0.get(self.0.len() / 2))
    }

    fn longest(&self) -> String {
        cell(self.0.last())
    }
}

fn cell(time: Option<&Duration>) -> String {
    time.map_or("-".to_owned(), |time| seconds(*time))
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn trial(millis: u64, wrong: &[&str]) -> Trial {
        let wrong = wrong.iter().map(ToString::to_string).collect();
        Trial { silence: Duration::from_millis(millis), fenced_after: None, attempts: 2, wrong }
    }

    #[test]
    fn a_way_is_a_line_with_its_median_and_its_longest() {
        let mut table = Table::new(&Options::parse_from(["chaos", "--takeovers", "3"]));
        for millis in [1600, 90, 1500] {
            table.add(Way::Kill, trial(millis, &[]));
        }
        let said = table.to_string();
        let line = said.lines().find(|line| line.starts_with("kill -9")).unwrap();
        let cells: Vec<_> = line.split_whitespace().skip(2).collect();
        assert_eq!(cells, ["3", "2", "1.50", "1.60", "-", "-"]);
        assert!(table.is_clean());
    }

    #[test]
    fn one_wrong_text_among_many_is_a_violation() {
        let mut table = Table::new(&Options::parse_from(["chaos", "--takeovers", "3"]));
        table.add(Way::Restart, trial(1, &["the text is not the model's"]));
        table.add(Way::Restart, trial(2, &[]));
        assert!(!table.is_clean());
        assert!(table.to_string().contains("VIOLATION the text is not the model's"));
    }
}
