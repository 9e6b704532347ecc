//! The report for people: the server in one column, the floor in the next.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use super::round::{Report, Round, cpu, each, grown, others, rate, slope, units, wall};
use crate::{
    args::Mode,
    load::{Measured, Times, Window},
    number::{cores, float, micros_each},
    plan::Work,
};

/// From this part of a core on, what is measured is the load tool.
const SATURATED: f64 = 0.85;

/// With so many cores of other work, rates and times are not the server's.
const BUSY: f64 = 0.3;

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        let durable = match options.mode {
            Mode::Embedded => format!("sync {:?}", options.sync),
            Mode::Cluster => format!("Redis {:?}", options.redis),
        };
        let name = format!("{:?}, {:?}, {durable}", options.scenario, options.mode).to_lowercase();
        writeln!(f, "\n{name}: {}", self.shape())?;
        for (number, round) in (1..).zip(&self.rounds) {
            if self.rounds.len() > 1 {
                writeln!(f, "\nround {number}")?;
            }
            Table::of(round).fmt(f)?;
        }
        match self.ratio() {
            Some(ratio) if self.rounds.len() > 1 => writeln!(f, "\nmedian ratio to the floor {ratio:>31.2}"),
            _ => Ok(()),
        }
    }
}

impl Report {
    /// The load in a sentence.
    fn shape(&self) -> String {
        let pace = match self.load.delay {
            Duration::ZERO => "as fast as it goes".to_owned(),
            delay => format!("{} pieces/s each", float_text(1. / delay.as_secs_f64())),
        };
        let pieces = self.load.pieces;
        match &self.load.work {
            Work::Follow(work) => {
                let (streams, readers) = (work.streams, work.readers);
                format!("streams {streams}, readers of each {readers}, pieces {pieces}, {pace}")
            }
            Work::Accept(work) => format!("connections {}", work.connections),
            Work::Storm(work) => format!("readers {}, pieces {pieces}, {pace}", work.readers),
            Work::Replay(work) => {
                format!("streams {}, readers at a time {}, pieces {pieces}", work.streams, work.readers)
            }
            Work::Soak(work) => format!("readers at a time {}, pieces {pieces}, {pace}", work.readers),
        }
    }
}

fn float_text(number: f64) -> String {
    format!("{number:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A round, as it is printed.
#[derive(Debug)]
struct Table<'a> {
    round: &'a Round,
    rows: Vec<[String; 3]>,
    remarks: Vec<String>,
}

/// A time of a run that not every run has.
type TimesOf = fn(&Measured) -> Option<Times>;

impl<'a> Table<'a> {
    fn of(round: &'a Round) -> Self {
        let mut table = Self { round, rows: Vec::new(), remarks: Vec::new() };
        table.cpu();
        table.times();
        table.memory();
        table.circumstances();
        table.remark();
        table
    }

    /// A row of what both may have.
    fn both(&mut self, what: &str, value: impl Fn(&Measured) -> Option<String>) {
        let floor = self.round.floor.as_ref().and_then(&value).unwrap_or_default();
        if let Some(server) = value(&self.round.server) {
            self.rows.push([what.to_owned(), server, floor]);
        }
    }

    /// A row of what only the server has.
    fn server(&mut self, what: &str, value: String) {
        self.rows.push([what.to_owned(), value, String::new()]);
    }

    fn cpu(&mut self) {
        let Round { server, .. } = self.round;
        let window = &server.window;
        let unit = if window.answers > 0 { "prompt" } else { "event" };
        self.both(&format!("CPU us per {unit}"), |measured| Some(figure(each(measured), 2)));
        if window.used.len() > 1 {
            for used in &window.used {
                self.server(&format!("  {}", used.name), figure(micros_each(used.cpu, units(window)), 2));
            }
        }
        if let Some(ratio) = self.round.ratio() {
            self.server("ratio to the floor", format!("{ratio:.2}"));
        }
        if rate(window) < float(server.open as u64) {
            self.both("CPU us per second and connection", |measured| {
                let connections = float(measured.open as u64);
                Some(format!(
                    "{:.2}",
                    1e6 * cores(cpu(&measured.window), wall(&measured.window)) / connections
                ))
            });
        }
        self.both(&format!("{unit}s per second"), |measured| Some(format!("{:.0}", rate(&measured.window))));
        self.both("events per read", |Measured { window, .. }| {
            Some(figure(float(units(window)) / float(window.reads), 2))
        });
        self.both(&format!("bytes per {unit}"), |Measured { window, .. }| {
            Some(figure(float(window.bytes) / float(units(window)), 1))
        });
    }

    fn times(&mut self) {
        let all: [(&str, TimesOf); 4] = [
            ("latency", |measured| measured.window.latency),
            ("accepted", |measured| measured.window.answer_time),
            ("first token", |measured| measured.first_token),
            ("caught up", |measured| measured.caught_up),
        ];
        for (what, times) in all {
            self.both(&format!("{what} p50 / p90 ms"), |measured| {
                times(measured).map(|times| format!("{} / {}", millis(times.p50), millis(times.p90)))
            });
            self.both(&format!("{what} p99 / max ms"), |measured| {
                times(measured).map(|times| format!("{} / {}", millis(times.p99), millis(times.max)))
            });
        }
    }

    fn memory(&mut self) {
        let Round { server, .. } = self.round;
        for (process, used) in server.window.used.iter().enumerate() {
            self.both(&format!("memory of {}, KiB", used.name), |measured| {
                Some((measured.window.used.get(process)?.memory / 1024).to_string())
            });
            self.both("  more than at rest, per connection", |measured| {
                Some(format!("{:.2}", grown(measured, process)? / 1024.))
            });
        }
        if let Some(slope) = slope(server) {
            self.server("memory grows by, KiB a minute", format!("{slope:.1}"));
        }
    }

    fn circumstances(&mut self) {
        self.both("connections", |measured| Some(measured.open.to_string()));
        self.both("whole answers verified", |measured| Some(measured.verified.to_string()));
        self.both("errors", |measured| Some(measured.errors.count.to_string()));
        self.both("seconds measured", |measured| Some(format!("{:.1}", measured.window.seconds)));
        self.both("cores: server", |Measured { window, .. }| Some(busy(window, cpu(window))));
        self.both("cores: load process", |Measured { window, .. }| Some(busy(window, window.load)));
        self.both("cores: rest of the machine", |measured| Some(format!("{:.2}", others(&measured.window))));
    }

    fn remark(&mut self) {
        for (whose, measured) in ["tokenwire", "floor"].into_iter().zip(self.round.both()) {
            let told = measured.errors.told.iter().map(|told| format!("error with {whose}: {told}"));
            self.remarks.extend(told);
            let window = &measured.window;
            let load = cores(window.load, wall(window));
            if load > SATURATED {
                self.remarks.push(format!(
                    "beware: with {whose} the load process used {load:.2} of its one core, so this may be its own limit"
                ));
            }
            let others = others(window);
            if others > BUSY {
                self.remarks.push(format!(
                    "beware: with {whose} other work used {others:.2} cores: believe CPU and ratios, not rates and times"
                ));
            }
        }
    }
}

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let floor = if self.round.floor.is_some() { "floor" } else { "" };
        writeln!(f, "{:<36} {:>20} {floor:>20}", "", "tokenwire")?;
        for [what, server, floor] in &self.rows {
            writeln!(f, "{what:<36} {server:>20} {floor:>20}")?;
        }
        self.remarks.iter().try_for_each(|remark| writeln!(f, "{remark}"))
    }
}

/// Nothing, where it was divided by nothing.
fn figure(number: f64, digits: usize) -> String {
    if number.is_finite() { format!("{number:.digits$}") } else { "-".to_owned() }
}

fn busy(window: &Window, cpu: Duration) -> String {
    format!("{:.2}", cores(cpu, wall(window)))
}

pub(super) fn millis(micros: u64) -> String {
    format!("{:.2}", float(micros) / 1000.)
}
