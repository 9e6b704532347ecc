//! `cargo run --release -p sim -- --seeds 10000`: runs many seeds, and reports those that break an invariant.

use std::{collections::BTreeMap, process::ExitCode};

use clap::Parser;

/// Runs the whole system with injected faults, one seed after another, and checks what clients and readers saw.
#[derive(Debug, Parser)]
struct Cli {
    /// Number of seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Print the history of every seed, not only of those that break an invariant
    #[arg(long)]
    history: bool,
}

/// Seeds between two lines of progress.
const PROGRESS: u64 = 500;

/// How many seeds run twice, before all others.
const REPEATED: usize = 100;

#[derive(Debug, Default)]
struct Total {
    runs: u64,
    broken: Vec<u64>,
    accepted: usize,
    attempts: usize,
    entries: usize,
    endings: BTreeMap<&'static str, usize>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let end = cli.from.saturating_add(cli.seeds);
    // A run that does not repeat exactly proves nothing.
    let goes_two_ways = |seed: &u64| sim::run(*seed, None).history != sim::run(*seed, None).history;
    if let Some(seed) = (cli.from..end).take(REPEATED).find(goes_two_ways) {
        say(&format!("seed {seed} has two histories: something does not follow from the seed"));
        return ExitCode::FAILURE;
    }
    let mut total = Total::default();
    for seed in cli.from..end {
        let run = sim::run(seed, None);
        total.runs += 1;
        total.accepted += run.accepted;
        total.attempts += run.attempts;
        total.entries += run.entries;
        for (ending, count) in run.endings {
            *total.endings.entry(ending).or_default() += count;
        }
        if !run.violations.is_empty() {
            total.broken.push(seed);
        }
        if cli.history || !run.violations.is_empty() {
            say(&format!("seed {seed}\n{}", run.history));
        }
        for violation in &run.violations {
            say(&format!("seed {seed} breaks {violation}"));
        }
        if total.runs.is_multiple_of(PROGRESS) {
            say(&total.line());
        }
    }
    say(&total.line());
    if total.broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    say(&format!("broken: {:?}; repeat one with --from SEED --seeds 1", total.broken));
    ExitCode::FAILURE
}

impl Total {
    fn line(&self) -> String {
        let Self { runs, broken, accepted, attempts, entries, endings } = self;
        let broken = broken.len();
        format!(
            "{runs} seeds, {broken} broken: {accepted} generations accepted, {attempts} attempts, {entries} entries, \
             {endings:?}"
        )
    }
}

#[expect(clippy::print_stdout, reason = "this command is asked what it found")]
fn say(line: &str) {
    println!("{line}");
}
