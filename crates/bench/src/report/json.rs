//! The report for programs. Times are in microseconds and memory is in bytes, as the names say.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    commit::commit,
    round::{Report, cpu, each, grown, others, rate, slope, units, wall},
};
use crate::{
    args::{Mode, Options},
    load::Measured,
    number::{cores, float, micros_each},
};

impl Report {
    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&value(self)?)? + "\n")
    }
}

fn value(report: &Report) -> Result<Value> {
    let Options { scenario, mode, sync, redis, small, settings, .. } = &report.options;
    let rounds = report.rounds.iter().map(|round| {
        json!({
            "tokenwire": measured(&round.server),
            "floor": round.floor.as_ref().map(measured),
            "ratio": round.ratio(),
        })
    });
    Ok(json!({
        "scenario": scenario,
        "mode": mode,
        "sync": (*mode == Mode::Embedded).then_some(sync),
        "redis": (*mode == Mode::Cluster).then_some(redis),
        "small": small,
        "settings": settings,
        "commit": commit(),
        "pause_us": u64::try_from(report.load.delay.as_micros())?,
        "pieces": report.load.pieces,
        "work": report.load.work,
        "ratio": report.ratio(),
        "errors": report.errors(),
        "rounds": rounds.collect::<Vec<_>>(),
    }))
}

fn measured(measured: &Measured) -> Value {
    let Measured { open, resting, window, first_token, caught_up, verified, errors, looks, sample: _ } =
        measured;
    let processes = window.used.iter().zip(resting).enumerate().map(|(process, (used, resting))| {
        json!({
            "name": used.name,
            "cpu_us_per_event": micros_each(used.cpu, units(window)),
            "cpu_us": u64::try_from(used.cpu.as_micros()).ok(),
            "memory_at_rest": resting,
            "memory": used.memory,
            "memory_per_connection": grown(measured, process),
        })
    });
    json!({
        "cpu_us_per_event": each(measured),
        "processes": processes.collect::<Vec<_>>(),
        "seconds": window.seconds,
        "events": window.events,
        "answers": window.answers,
        "events_per_second": rate(window),
        "bytes_per_event": float(window.bytes) / float(units(window)),
        "events_per_read": float(units(window)) / float(window.reads),
        "latency_us": window.latency,
        "accepted_us": window.answer_time,
        "first_token_us": first_token,
        "caught_up_us": caught_up,
        "connections": open,
        "verified": verified,
        "errors": errors,
        "server_cores": cores(cpu(window), wall(window)),
        "load_cores": cores(window.load, wall(window)),
        "other_cores": others(window),
        "looks": looks,
        "memory_slope_kib_per_minute": slope(measured),
    })
}
