//! Many seeds, and what is known about each.

/// The same every time. `cargo run --release -p sim -- --seeds 10000` runs more.
const SEEDS: u32 = 3_000;

#[test]
fn a_seed_has_one_history() {
    for seed in 0..40 {
        let (first, second) = (sim::run(seed, None), sim::run(seed, None));
        for (line, (first, second)) in first.history.lines().zip(second.history.lines()).enumerate() {
            assert_eq!(first, second, "seed {seed} goes another way at line {line}");
        }
        assert_eq!(first.history.len(), second.history.len(), "seed {seed} ends another way");
    }
}

#[test]
fn seeds_differ() {
    assert_ne!(sim::run(1, None).history, sim::run(2, None).history);
}

#[test]
fn nothing_breaks_under_faults() {
    let (mut accepted, mut attempts) = (0, 0);
    for seed in 0..u64::from(SEEDS) {
        let run = sim::run(seed, None);
        assert!(
            run.violations.is_empty(),
            "seed {seed} breaks {:?}; see it with: cargo run -p sim -- --from {seed} --seeds 1",
            run.violations
        );
        accepted += run.accepted;
        attempts += run.attempts;
    }
    // Runs in which nothing is asked, or nothing goes wrong, would pass as well.
    assert!(accepted > 2 * SEEDS as usize, "only {accepted} generations were accepted");
    assert!(attempts > accepted + accepted / 4, "only {attempts} attempts for {accepted} generations");
}
