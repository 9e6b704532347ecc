//! The rounds of a run, and the figures that follow from them.

use std::time::Duration;

use crate::{
    args::Options,
    load::{Measured, Window},
    number::{cores, float, micros_each},
    scenario::Load,
};

#[derive(Debug)]
pub(crate) struct Report {
    pub(super) options: Options,
    pub(super) load: Load,
    pub(crate) rounds: Vec<Round>,
}

/// The server and the floor, in the same minute.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) server: Measured,
    pub(crate) floor: Option<Measured>,
}

impl Report {
    pub(crate) fn new(options: &Options, load: &Load) -> Self {
        Self { options: options.clone(), load: load.clone(), rounds: Vec::new() }
    }

    pub(crate) fn errors(&self) -> u64 {
        self.rounds.iter().flat_map(Round::both).map(|measured| measured.errors.count).sum()
    }

    /// The median of those of the rounds.
    pub(super) fn ratio(&self) -> Option<f64> {
        let mut ratios: Vec<_> = self.rounds.iter().filter_map(Round::ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    }
}

impl Round {
    pub(super) fn both(&self) -> impl Iterator<Item = &Measured> {
        std::iter::once(&self.server).chain(&self.floor)
    }

    /// CPU per unit of the server to that of the floor. None where either used too little to tell.
    pub(super) fn ratio(&self) -> Option<f64> {
        let ratio = each(&self.server) / each(self.floor.as_ref()?);
        (ratio.is_finite() && ratio > 0.).then_some(ratio)
    }
}

/// What CPU time is divided by: events, or answers where they come in one.
pub(super) fn units(window: &Window) -> u64 {
    if window.answers > 0 { window.answers } else { window.events }
}

/// Of all processes of the server.
pub(super) fn cpu(window: &Window) -> Duration {
    window.used.iter().map(|used| used.cpu).sum()
}

/// CPU per unit, in microseconds.
pub(super) fn each(measured: &Measured) -> f64 {
    micros_each(cpu(&measured.window), units(&measured.window))
}

pub(super) fn wall(window: &Window) -> Duration {
    Duration::from_secs_f64(window.seconds)
}

pub(super) fn rate(window: &Window) -> f64 {
    float(units(window)) / window.seconds
}

/// What the rest of the machine did meanwhile, in cores.
pub(super) fn others(window: &Window) -> f64 {
    cores(window.machine.saturating_sub(cpu(window) + window.load), wall(window))
}

/// How much more memory a process has than at rest for each connection, in bytes.
pub(super) fn grown(measured: &Measured, process: usize) -> Option<f64> {
    let memory = measured.window.used.get(process)?.memory;
    let more = memory.saturating_sub(*measured.resting.get(process)?);
    Some(float(more) / float(measured.open as u64))
}

/// By how many KiB a minute memory grows, all processes together: the line of least squares through the second half of the
/// looks. The first half fills caches.
pub(super) fn slope(measured: &Measured) -> Option<f64> {
    let half = measured.looks.get(measured.looks.len() / 2..).filter(|half| half.len() > 1)?;
    let points: Vec<(f64, f64)> = half
        .iter()
        .map(|look| (look.seconds / 60., float(look.memory.iter().sum::<u64>()) / 1024.))
        .collect();
    let count = float(points.len() as u64);
    let (x, y) = points.iter().fold((0., 0.), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (over, under) = points.iter().fold((0., 0.), |(over, under), point| {
        (over + (point.0 - x) * (point.1 - y), under + (point.0 - x).powi(2))
    });
    Some(over / under)
}
