//! Every planted defect is caught, by the rule that it breaks.

use sim::Defect;

/// How many seeds a defect may hide in.
const SEEDS: u64 = 300;

#[test]
fn every_planted_defect_is_caught_by_its_rule() {
    let mut unseen = Vec::new();
    for (defect, rule) in Defect::ALL {
        let breaks =
            |seed: &u64| sim::run(*seed, Some(defect)).violations.iter().any(|found| found.rule == rule);
        match (0..SEEDS).find(breaks) {
            Some(seed) => say(&format!("{defect:?} breaks {rule:?} at seed {seed}")),
            None => unseen.push(defect),
        }
    }
    assert!(unseen.is_empty(), "the oracle found no {unseen:?} in {SEEDS} seeds");
}

#[expect(clippy::print_stderr, reason = "the table is said aloud: cargo test -p sim -- defect --nocapture")]
fn say(line: &str) {
    eprintln!("{line}");
}
