//! What the kernel says of a process: CPU time and memory.
//!
//! CPU time is user and system time of all threads, those that have ended included. `/proc/PID/stat` tells it in ticks of
//! 10 ms, but the kernel derives it from an exact sum: over a window of seconds that is as good as nanoseconds, which
//! `/proc/PID/task/*/schedstat` tells of the threads that still live. What the kernel does for a process in interrupts (the
//! receiving half of the loopback interface) is in neither for certain: it is charged to the running process.
//!
//! Memory is `RssAnon`: what the process has allocated and touched, without its binary and mapped files. Memory of sockets is
//! the kernel's, and in none of it.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// What a tick is worth on Linux, whatever the kernel's own timer does.
const TICK: Duration = Duration::from_millis(10);

/// User and system time since the process began.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name, in parentheses, may hold anything; the state follows it as field 3, the times are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').with_context(|| format!("{path} has no name"))?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u32>().ok());
    let (user, system) = ticks().zip(ticks()).with_context(|| format!("{path} has no times"))?;
    Ok(TICK * (user + system))
}

/// Bytes.
pub(crate) fn memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes =
        line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|count| count.trim().parse().ok());
    kilobytes.map(|count: u64| count * 1024).with_context(|| format!("{path} has no RssAnon"))
}

/// What all cores together have done since the machine started.
pub(crate) fn machine() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let line =
        stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("/proc/stat has no sum")?;
    let ticks = line.split_ascii_whitespace().map(|field| field.parse::<u64>().unwrap_or_default());
    // User, nice, system; idle and waiting for the disk are no work; interrupts. What follows is counted in these.
    let work: u64 = ticks
        .enumerate()
        .filter(|(index, _)| ![3, 4].contains(index) && *index < 7)
        .map(|(_, count)| count)
        .sum();
    Ok(Duration::from_millis(work * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_has_used_its_time_and_memory() {
        let pid = std::process::id();
        let (before, machine_before) = (cpu(pid).unwrap(), machine().unwrap());
        let mut noise = vec![1_u64; 1 << 20];
        while cpu(pid).unwrap() < before + 3 * TICK {
            for value in &mut noise {
                *value = value.wrapping_mul(3);
            }
        }
        assert!(machine().unwrap() > machine_before);
        assert!(memory(pid).unwrap() > 8 << 20, "{noise:.0?}");
    }
}
