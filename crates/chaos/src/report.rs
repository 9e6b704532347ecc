//! The report of a run.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    fs,
    time::Duration,
};

use tokenwire_core::GenerationId;

use crate::{
    args::Options,
    judge::{Counts, GenerationReport, count, ids},
    reader::{Ending, Record},
    say::say,
};

/// How many violations are shown in full.
const SHOWN: usize = 20;

/// The totals of a run.
#[derive(Debug)]
pub(crate) struct Report {
    options: Options,
    pub(crate) took: Duration,
    /// From the end of the last fault to the last reader's end.
    pub(crate) settled_after: Duration,
    pub(crate) faults: BTreeMap<&'static str, usize>,
    /// How often the binary of `--previous` was started.
    pub(crate) starts_of_previous: usize,
    /// How many prompts were sent again with the same id.
    pub(crate) repeats: usize,
    prompts: usize,
    accepted: usize,
    endings: BTreeMap<String, usize>,
    /// Ended for a reason that is not their own (I11).
    foreign: usize,
    attempts: usize,
    most_attempts: usize,
    /// Generations of more than five attempts: these would have failed if a restart were counted.
    beyond_five: usize,
    readers: usize,
    connections: usize,
    counts: Counts,
    hung: usize,
    longest_stall: Duration,
    /// The generation of the longest stall.
    stalled: Option<GenerationId>,
    longest_calm_stall: Duration,
    pub(crate) violations: Vec<String>,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            options: options.clone(),
            took: Duration::ZERO,
            settled_after: Duration::ZERO,
            faults: BTreeMap::new(),
            starts_of_previous: 0,
            repeats: 0,
            prompts: 0,
            accepted: 0,
            endings: BTreeMap::new(),
            foreign: 0,
            beyond_five: 0,
            attempts: 0,
            most_attempts: 0,
            readers: 0,
            connections: 0,
            counts: Counts::default(),
            hung: 0,
            longest_stall: Duration::ZERO,
            stalled: None,
            longest_calm_stall: Duration::ZERO,
            violations: Vec::new(),
        }
    }

    pub(crate) fn add_generation(&mut self, accepted: bool, judged: &GenerationReport) {
        self.prompts += 1;
        self.accepted += usize::from(accepted);
        *self.endings.entry(judged.ending.clone()).or_default() += 1;
        self.foreign += usize::from(judged.is_foreign);
        self.attempts += judged.attempts;
        self.beyond_five += usize::from(judged.attempts > 5);
        self.most_attempts = self.most_attempts.max(judged.attempts);
    }

    pub(crate) fn add_reader(&mut self, id: GenerationId, record: &Record) {
        let counts = count(record.joined_after, ids(record));
        self.readers += 1;
        self.connections += record.connections;
        self.counts.pieces += counts.pieces;
        self.counts.lost += counts.lost;
        self.counts.repeated += counts.repeated;
        self.counts.reordered += counts.reordered;
        self.hung += usize::from(record.ending == Ending::Hung);
        if record.longest_stall > self.longest_stall {
            self.longest_stall = record.longest_stall;
            self.stalled = Some(id);
        }
        self.longest_calm_stall = self.longest_calm_stall.max(record.longest_calm_stall);
    }

    /// Writes every violation in full into the directory of `--keep`: the table shows the first ones.
    pub(crate) fn keep(&self) {
        if let Some(keep) = &self.options.keep
            && let Err(error) = fs::write(keep.join("violations.txt"), self.violations.join("\n\n"))
        {
            say(&format!("the violations cannot be kept: {error}"));
        }
    }

    /// Whether every promise was kept.
    pub(crate) fn is_clean(&self) -> bool {
        let Counts { lost, repeated, reordered, .. } = self.counts;
        self.violations.is_empty() && lost + repeated + reordered + self.hung + self.foreign == 0
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { mode, rounds, seed, .. } = &self.options;
        let mut row = |what: &str, value: &dyn Display| writeln!(f, "{what:<44} {value:>10}");
        row("mode", mode)?;
        row("rounds", rounds)?;
        row("seed", seed)?;
        row("seconds", &self.took.as_secs())?;
        row("faults injected", &self.faults.values().sum::<usize>())?;
        for (kind, count) in &self.faults {
            row(&format!("  {kind}"), count)?;
        }
        if self.options.previous.is_some() {
            row("starts of the previous version", &self.starts_of_previous)?;
        }
        row("generations asked for", &self.prompts)?;
        row("generations accepted", &self.accepted)?;
        for (ending, count) in &self.endings {
            row(&format!("  ended: {ending}"), count)?;
        }
        row("ended for a reason not their own", &self.foreign)?;
        row("prompts sent again with the same id", &self.repeats)?;
        row("attempts", &self.attempts)?;
        row("most attempts of one generation", &self.most_attempts)?;
        row("generations of more than 5 attempts", &self.beyond_five)?;
        row("readers", &self.readers)?;
        row("connections", &self.connections)?;
        row("pieces read", &self.counts.pieces)?;
        row("pieces lost", &self.counts.lost)?;
        row("pieces repeated", &self.counts.repeated)?;
        row("pieces reordered", &self.counts.reordered)?;
        row("readers hung", &self.hung)?;
        row("longest silence between two pieces, s", &seconds(self.longest_stall))?;
        row("  of which without any fault, s", &seconds(self.longest_calm_stall))?;
        if let Some(id) = self.stalled {
            row("  in generation", &id)?;
        }
        row("all ended after the last fault, s", &seconds(self.settled_after))?;
        row("violations", &self.violations.len())?;
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(f, "\nVIOLATION {violation}")?;
        }
        if self.violations.len() > SHOWN {
            writeln!(f, "\n… and {} more", self.violations.len() - SHOWN)?;
        }
        writeln!(f, "\nagain: {}", self.options.again())
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}
