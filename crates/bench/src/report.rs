//! The table and the JSON.

use std::{
    fmt::{self, Display},
    io::{self, Write},
    time::Duration,
};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    args::{Mode, Options, Scenario},
    load::{Measured, Times, Window},
    number::{cores, float, micros_each},
    plan::Work,
    run::commit,
    scenario::Load,
};

/// From this part of a core on, what is measured is the load tool.
const SATURATED: f64 = 0.85;

/// With so many cores of other work, rates and latencies are not the server's.
const BUSY: f64 = 0.3;

#[derive(Debug)]
pub(crate) struct Report {
    options: Options,
    load: Load,
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
        self.rounds.iter().map(|round| round.server.errors.count + floor_errors(round)).sum()
    }

    /// The median, over the rounds, of CPU per unit of the server to that of the floor.
    fn ratio(&self) -> Option<f64> {
        let mut ratios: Vec<_> = self.rounds.iter().filter_map(Round::ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    }

    pub(crate) fn json(&self) -> Result<String> {
        let rounds: Vec<Value> = self
            .rounds
            .iter()
            .map(|round| {
                json!({
                    "tokenwire": measured(&round.server),
                    "floor": round.floor.as_ref().map(measured),
                    "ratio": round.ratio(),
                })
            })
            .collect();
        let Options { scenario, mode, sync, redis, small, settings, .. } = &self.options;
        let said = json!({
            "scenario": scenario,
            "mode": mode,
            "sync": (*mode == Mode::Embedded).then_some(sync),
            "redis": (*mode == Mode::Cluster).then_some(redis),
            "small": small,
            "settings": settings,
            "commit": commit(),
            "pause_us": u64::try_from(self.load.delay.as_micros())?,
            "pieces": self.load.pieces,
            "work": self.load.work,
            "ratio": self.ratio(),
            "errors": self.errors(),
            "rounds": rounds,
        });
        Ok(serde_json::to_string_pretty(&said)? + "\n")
    }
}

impl Round {
    fn ratio(&self) -> Option<f64> {
        let ratio = each(&self.server) / each(self.floor.as_ref()?);
        ratio.is_finite().then_some(ratio)
    }
}

fn floor_errors(round: &Round) -> u64 {
    round.floor.as_ref().map_or(0, |floor| floor.errors.count)
}

/// What CPU time is divided by: events, or answers where they come in one.
fn units(window: &Window) -> u64 {
    if window.events > 0 { window.events } else { window.answers }
}

fn cpu(window: &Window) -> Duration {
    window.used.iter().map(|used| used.cpu).sum()
}

/// CPU per unit, all processes together, in microseconds.
fn each(measured: &Measured) -> f64 {
    micros_each(cpu(&measured.window), units(&measured.window))
}

fn measured(measured: &Measured) -> Value {
    let Measured { open, resting, window, first_token, caught_up, verified, errors, looks, sample: _ } =
        measured;
    let processes: Vec<Value> = window
        .used
        .iter()
        .zip(resting)
        .map(|(used, resting)| {
            json!({
                "name": used.name,
                "cpu_us_per_event": micros_each(used.cpu, units(window)),
                "cpu_seconds": used.cpu.as_secs_f64(),
                "memory_at_rest": resting,
                "memory": used.memory,
                "memory_per_connection": float(used.memory.saturating_sub(*resting)) / float(*open as u64),
            })
        })
        .collect();
    json!({
        "cpu_us_per_event": each(measured),
        "processes": processes,
        "seconds": window.seconds,
        "events": window.events,
        "answers": window.answers,
        "events_per_second": float(units(window)) / window.seconds,
        "bytes_per_event": float(window.bytes) / float(units(window)),
        "events_per_read": float(units(window)) / float(window.reads),
        "latency_us": window.latency,
        "answer_time_us": window.answer_time,
        "first_token_us": first_token,
        "caught_up_us": caught_up,
        "connections": open,
        "verified": verified,
        "errors": errors,
        "load_cores": cores(window.load, Duration::from_secs_f64(window.seconds)),
        "other_cores": others(window),
        "looks": looks,
    })
}

/// What the rest of the machine did meanwhile, in cores.
fn others(window: &Window) -> f64 {
    cores(window.machine.saturating_sub(cpu(window) + window.load), Duration::from_secs_f64(window.seconds))
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { scenario, mode, sync, redis, .. } = &self.options;
        let durable = match mode {
            Mode::Embedded => format!("sync {sync:?}"),
            Mode::Cluster => format!("Redis {redis:?}"),
        };
        let name = format!("{scenario:?}, {mode:?}, {durable}").to_lowercase();
        writeln!(f, "\n{name}: {}", self.shape())?;
        for (number, round) in self.rounds.iter().enumerate() {
            if self.rounds.len() > 1 {
                writeln!(f, "\nround {}", number + 1)?;
            }
            round.fmt(f)?;
        }
        if self.rounds.len() > 1
            && let Some(ratio) = self.ratio()
        {
            writeln!(f, "\nmedian ratio to the floor {ratio:>31.2}")?;
        }
        Ok(())
    }
}

impl Report {
    fn shape(&self) -> String {
        let pace = match self.load.delay {
            Duration::ZERO => "as fast as it goes".to_owned(),
            delay => format!("{:.3} pieces/s each", 1. / delay.as_secs_f64()),
        };
        let pieces = self.load.pieces;
        match &self.load.work {
            Work::Follow(work) => {
                let (streams, readers) = (work.streams, work.readers);
                format!("{streams} streams of {pieces} pieces, {readers} readers each, {pace}")
            }
            Work::Accept(work) => format!("{} connections", work.connections),
            Work::Storm(work) => format!("{} readers of {pieces} pieces, {pace}", work.readers),
            Work::Replay(work) => {
                format!("{} streams of {pieces} pieces, {} readers at a time", work.streams, work.readers)
            }
            Work::Soak(work) => format!("{} readers at a time of {pieces} pieces, {pace}", work.readers),
        }
    }
}

/// One line of the table: the server, and the floor where it has such a figure.
fn row(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    server: &dyn Display,
    floor: Option<&dyn Display>,
) -> fmt::Result {
    match floor {
        Some(floor) => writeln!(f, "{what:<36} {server:>20} {floor:>20}"),
        None => writeln!(f, "{what:<36} {server:>20}"),
    }
}

impl Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, floor) = (&self.server, self.floor.as_ref());
        let (window, floor_window) = (&server.window, floor.map(|floor| &floor.window));
        let mut line = |what: &str, value: &dyn Fn(&Measured) -> Option<String>| match value(server) {
            Some(value_of) => {
                let floor = floor.and_then(value).unwrap_or_default();
                row(f, what, &value_of, Some(&floor))
            }
            None => Ok(()),
        };
        line("", &|measured| {
            Some(if std::ptr::eq(measured, server) { "tokenwire" } else { "floor" }.into())
        })?;
        let unit = if window.events > 0 { "event" } else { "prompt" };
        line(&format!("CPU us per {unit}"), &|measured| Some(format!("{:.2}", each(measured))))?;
        if float(units(window)) < float(server.open as u64) * window.seconds {
            line("CPU us per second and connection", &|measured| {
                let seconds = float(measured.open as u64) * measured.window.seconds;
                Some(format!("{:.2}", cpu(&measured.window).as_secs_f64() * 1e6 / seconds))
            })?;
        }
        if window.used.len() > 1 {
            for used in &window.used {
                let value = format!("{:.2}", micros_each(used.cpu, units(window)));
                line(&format!("  {}", used.name), &|measured| {
                    std::ptr::eq(measured, server).then(|| value.clone())
                })?;
            }
        }
        if let Some(ratio) = self.ratio() {
            line("ratio to the floor", &|measured| {
                std::ptr::eq(measured, server).then(|| format!("{ratio:.2}"))
            })?;
        }
        line(&format!("{unit}s per second"), &|measured| {
            Some(format!("{:.0}", float(units(&measured.window)) / measured.window.seconds))
        })?;
        line("events per read", &|measured| {
            Some(format!("{:.2}", float(units(&measured.window)) / float(measured.window.reads)))
        })?;
        line(&format!("bytes per {unit}"), &|measured| {
            Some(format!("{:.1}", float(measured.window.bytes) / float(units(&measured.window))))
        })?;
        for (what, times) in [
            ("latency", (|measured| measured.window.latency) as fn(&Measured) -> Option<Times>),
            ("accepted", |measured| measured.window.answer_time),
            ("first token", |measured| measured.first_token),
            ("caught up", |measured| measured.caught_up),
        ] {
            line(&format!("{what} p50 / p90 ms"), &|measured| {
                times(measured).map(|times| format!("{} / {}", millis(times.p50), millis(times.p90)))
            })?;
            line(&format!("{what} p99 / max ms"), &|measured| {
                times(measured).map(|times| format!("{} / {}", millis(times.p99), millis(times.max)))
            })?;
        }
        for (index, used) in window.used.iter().enumerate() {
            line(&format!("memory of {}, KiB", used.name), &|measured| {
                let used = measured.window.used.get(index)?;
                Some(format!("{}", used.memory / 1024))
            })?;
            line("  more than at rest, per connection", &|measured| {
                let used = measured.window.used.get(index)?;
                let grown = used.memory.saturating_sub(*measured.resting.get(index)?);
                Some(format!("{:.2}", float(grown) / 1024. / float(measured.open as u64)))
            })?;
        }
        line("connections", &|measured| Some(measured.open.to_string()))?;
        line("whole answers verified", &|measured| Some(measured.verified.to_string()))?;
        line("errors", &|measured| Some(measured.errors.count.to_string()))?;
        line("seconds measured", &|measured| Some(format!("{:.1}", measured.window.seconds)))?;
        line("cores: server", &|measured| Some(busy(&measured.window, cpu(&measured.window))))?;
        line("cores: load process", &|measured| Some(busy(&measured.window, measured.window.load)))?;
        line("cores: rest of the machine", &|measured| Some(format!("{:.2}", others(&measured.window))))?;
        if let Some(slope) = slope(server) {
            line("memory grows by, KiB a minute", &|measured| {
                std::ptr::eq(measured, server).then(|| format!("{slope:.1}"))
            })?;
        }
        for (whose, measured) in [("tokenwire", Some(server)), ("floor", floor)] {
            for told in measured.iter().flat_map(|measured| &measured.errors.told) {
                writeln!(f, "error at {whose}: {told}")?;
            }
        }
        for (whose, window) in [("tokenwire", Some(window)), ("floor", floor_window)] {
            let Some(window) = window else { continue };
            let load = cores(window.load, Duration::from_secs_f64(window.seconds));
            if load > SATURATED {
                writeln!(
                    f,
                    "beware: with {whose}, the load process used {load:.2} of its one core: this may be its own limit"
                )?;
            }
            if others(window) > BUSY {
                let others = others(window);
                writeln!(
                    f,
                    "beware: with {whose}, other work used {others:.2} cores: believe CPU and ratios, not rates and times"
                )?;
            }
        }
        Ok(())
    }
}

fn busy(window: &Window, cpu: Duration) -> String {
    format!("{:.2}", cores(cpu, Duration::from_secs_f64(window.seconds)))
}

fn millis(micros: u64) -> String {
    format!("{:.2}", float(micros) / 1000.)
}

/// By how many KiB a minute memory grows, all watched processes together: the line of least squares through the second half
/// of the looks. The first half fills caches.
fn slope(measured: &Measured) -> Option<f64> {
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

/// The report of [`Scenario::Start`].
pub(crate) fn started(
    options: &Options,
    times: Times,
    memory: &[(String, u64)],
    size: u64,
    stripped: u64,
) -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "\n{:?}, {:?}: {} times", Scenario::Start, options.mode, times.count)?;
    writeln!(
        out,
        "{:<36} {:>20}",
        "ready after p50 / max ms",
        format!("{} / {}", millis(times.p50), millis(times.max))
    )?;
    for (name, memory) in memory {
        writeln!(out, "{:<36} {:>20}", format!("memory of {name} at rest, KiB"), memory / 1024)?;
    }
    writeln!(out, "{:<36} {:>20.1}", "program, MB", float(size) / 1e6)?;
    writeln!(out, "{:<36} {:>20.1}", "  without symbols", float(stripped) / 1e6)?;
    if let Some(file) = &options.json {
        let said = json!({
            "scenario": options.scenario,
            "mode": options.mode,
            "commit": commit(),
            "ready_us": times,
            "memory_at_rest": memory,
            "bytes": size,
            "bytes_stripped": stripped,
        });
        std::fs::write(file, serde_json::to_string_pretty(&said)? + "\n")?;
    }
    Ok(())
}
