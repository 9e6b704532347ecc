//! The report of the scenario that only starts the program.

use std::fmt::{self, Display};

use anyhow::Result;
use serde_json::json;

use super::{commit::commit, table::millis};
use crate::{args::Options, load::Times, number::float};

#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) options: Options,
    /// From the start to ready.
    pub(crate) times: Times,
    /// Of each process at rest, by its name, in bytes.
    pub(crate) memory: Vec<(String, u64)>,
    /// Of the program as it was built, in bytes.
    pub(crate) size: u64,
    /// Without symbols.
    pub(crate) stripped: u64,
}

impl Started {
    pub(crate) fn json(&self) -> Result<String> {
        let Self { options, times, memory, size, stripped } = self;
        let said = json!({
            "scenario": options.scenario,
            "mode": options.mode,
            "settings": options.settings,
            "commit": commit(),
            "ready_us": times,
            "memory_at_rest": memory,
            "bytes": size,
            "bytes_stripped": stripped,
            "errors": 0,
        });
        Ok(serde_json::to_string_pretty(&said)? + "\n")
    }
}

impl Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, times, memory, size, stripped } = self;
        let mut row = |what: &str, value: &dyn Display| writeln!(f, "{what:<36} {value:>20}");
        row(&format!("\nstart, {:?}", options.mode).to_lowercase(), &"")?;
        row("starts", &times.count)?;
        row("ready after p50 / max ms", &format!("{} / {}", millis(times.p50), millis(times.max)))?;
        for (name, memory) in memory {
            row(&format!("memory of {name} at rest, KiB"), &(memory / 1024))?;
        }
        row("program, MB", &format!("{:.1}", float(*size) / 1e6))?;
        row("  without symbols", &format!("{:.1}", float(*stripped) / 1e6))
    }
}
