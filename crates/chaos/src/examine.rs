//! Checks one generation and its readers, and collects what helps to explain a violation.

use std::{fmt::Display, time::Duration};

use crate::{
    generation::Generation,
    judge::{GenerationReport, judge, undisturbed},
    reader::{Ending, Record},
    system::System,
    world::World,
};

/// How the generation ended, and what is wrong with it or its readers, if anything is. The last reader was undisturbed, after
/// everything.
pub(crate) async fn examine(
    world: &World,
    system: &System,
    generation: &Generation,
    records: &[Record],
    last: &Record,
) -> (GenerationReport, Option<String>) {
    let judged = judge(generation, last, records, &undisturbed(generation).await);
    let mut wrong = judged.faults.clone();
    for record in records.iter().chain([last]) {
        if record.ending == Ending::Hung {
            wrong.push(format!("reader {} still waits after {} entries", record.name, record.seen.len()));
        }
    }
    let wrong = (!wrong.is_empty()).then(|| explain(generation, &wrong, world, system, records, last));
    (judged, wrong)
}

/// What helps to explain a violation.
fn explain(
    generation: &Generation,
    wrong: &[String],
    world: &World,
    system: &System,
    records: &[Record],
    last: &Record,
) -> String {
    const AROUND: Duration = Duration::from_secs(15);
    let id = generation.id.to_string();
    let mut lines =
        vec![format!("generation {id}: {}", wrong.join("; ")), format!("  {:?}", generation.prompt)];
    for record in records.iter().chain([last]) {
        lines.push(format!("  reader {}, {:?}, {} entries:", record.name, record.ending, record.seen.len()));
        lines.extend(ends(&record.trail));
        lines.extend(record.seen.iter().rev().take(3).rev().map(|frame| format!("    saw {frame:?}")));
    }
    for process in system.processes() {
        let output = process.output();
        let about: Vec<_> = output.lines().filter(|line| line.contains(&id)).collect();
        lines.push(format!("  {} said of it, {} lines:", process.name, about.len()));
        lines.extend(ends(&about));
    }
    lines.push("  faults around its start:".into());
    let asked_at = generation.asked_at;
    let (from, until) = (asked_at.checked_sub(AROUND).unwrap_or(asked_at), asked_at + AROUND);
    lines.extend(world.fault_log.between(from, until).iter().map(|line| format!("    {line}")));
    lines.join("\n")
}

/// The first lines and the last ones.
fn ends(lines: &[impl Display]) -> impl Iterator<Item = String> {
    const FIRST: usize = 5;
    const LAST: usize = 10;
    let shown = |index: &usize| *index < FIRST || index + LAST >= lines.len();
    lines.iter().enumerate().filter(move |(index, _)| shown(index)).map(|(_, line)| format!("    {line}"))
}
