//! `tokenwire inspect`: what is stored of one generation, for people who run the server. Changes nothing, takes no lock, and
//! does not count as a reader. The text is shown only when it is asked for.

mod report;

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use token_log::{Inspection, embedded, redis::Redis};
use tokenwire_core::{GenerationId, LogError, SystemClock, Timestamp, token_log::OnDisconnect};

use self::report::{Attempt, Report};
use crate::{
    cli,
    settings::{Place, Setting},
};

pub(crate) async fn run(cli: &cli::Inspect, place: Place) -> anyhow::Result<ExitCode> {
    let found = look(cli.id, &place).await?;
    let Some(inspection) = found else {
        bail!(
            "there is no generation {} in {place}: it never existed, or its retention time is over",
            cli.id
        );
    };
    let report = Report::new(cli.id, inspection, cli.text);
    let out = if cli.json { serde_json::to_string_pretty(&report)? + "\n" } else { table(&report) };
    io::stdout().write_all(out.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn look(id: GenerationId, place: &Place) -> anyhow::Result<Option<Inspection>> {
    match place {
        Place::Embedded(dir) => {
            let log = dir.join("log");
            if !log.is_dir() {
                bail!("there is no token log in {}: name another directory with --data-dir", dir.display());
            }
            let looking = tokio::task::spawn_blocking(move || embedded::inspect(&log, id)).await;
            looking.context("reading the token log")?.with_context(|| format!("reading {place}"))
        }
        Place::Redis(config) => {
            let log = Redis::new(config, Arc::new(SystemClock))
                .with_context(|| Setting::named("redis_url").to_string())?;
            match log.inspect(id).await {
                Ok(inspection) => Ok(Some(inspection)),
                Err(LogError::NotFound(_)) => Ok(None),
                Err(error) => Err(error).context("reading from Redis"),
            }
        }
    }
}

/// For people.
fn table(report: &Report) -> String {
    let mut facts = vec![
        ("generation", report.id.to_string()),
        ("state", state(report)),
        ("created", time(report.created_at)),
        ("begins by", time(report.start_by)),
        ("ends by", time(report.end_by)),
        ("readers", readers(report.on_disconnect)),
        ("attempts", report.newest_attempt.to_string()),
        (
            "entries",
            format!(
                "{} in {} batches, {} bytes of text, {} bytes stored",
                report.entries.len(),
                report.batches,
                report.text_bytes,
                report.stored_bytes
            ),
        ),
    ];
    if report.memo_bytes > 0 {
        facts.push(("memo", format!("{} bytes", report.memo_bytes)));
    }
    if report.told_to_stop {
        facts.push(("stop", "requested".to_owned()));
    }
    if let Some(end) = &report.end {
        facts.push(("end", format!("{}, entry {}, {}", end.outcome, end.seq, time(end.at))));
    }
    let facts = facts.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect::<Vec<_>>();
    let mut out = aligned(&facts);
    if !report.attempts.is_empty() {
        let head = ["attempt", "region", "text", "entries", "pieces", "bytes", "began", "last entry"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(report.attempts.iter().map(row));
        let _ = write!(out, "\n{}", aligned(&rows));
    }
    if let Some(text) = &report.text {
        let _ = write!(out, "\n{text}\n");
    }
    out
}

fn state(report: &Report) -> String {
    match report.silent_for_ms {
        Some(silent) => {
            let silent = humantime::format_duration(Duration::from_millis(silent));
            format!("{}, its owner was heard of {silent} ago", report.state)
        }
        None => report.state.to_owned(),
    }
}

fn readers(on_disconnect: OnDisconnect) -> String {
    match on_disconnect {
        OnDisconnect::Detached => "it goes on without any".to_owned(),
        OnDisconnect::CancelAfter(grace) => {
            format!("it stops {} after the last has gone", humantime::format_duration(grace))
        }
    }
}

fn row(attempt: &Attempt) -> Vec<String> {
    let took = attempt.last_at.since(attempt.began);
    vec![
        attempt.attempt.to_string(),
        attempt.region.clone().unwrap_or_else(|| "-".to_owned()),
        attempt.text.to_owned(),
        format!("{}-{}", attempt.first, attempt.last),
        attempt.pieces.to_string(),
        attempt.bytes.to_string(),
        time(attempt.began),
        format!("+{}", humantime::format_duration(took)),
    ]
}

fn time(at: Timestamp) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(at.as_millis()));
    at.map_or_else(|| "never".to_owned(), |at| humantime::format_rfc3339_millis(at).to_string())
}

/// Columns as wide as their widest cell, two spaces apart.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let cells = |column| rows.iter().filter_map(move |row| row.get(column));
    let widths: Vec<_> = (0..columns)
        .map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or_default())
        .collect();
    let mut out = String::new();
    for row in rows {
        let line = row.iter().zip(&widths).fold(String::new(), |mut line, (cell, width)| {
            let _ = write!(line, "{cell:width$}  ");
            line
        });
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use tokenwire_core::{
        Attempt, Caller, CancelCause, Entry, Event, Failure, Fingerprint, Seq, TextSoFar, TokenId,
        token_log::{Phase, StreamSpec},
    };

    use super::*;

    fn inspection() -> Inspection {
        let started = |attempt, text, region: Option<&str>| {
            let region = region.map(str::to_owned);
            Event::Started { attempt: Attempt::new(attempt), text, region }
        };
        let delta = |text: &str| Event::Delta { text: text.to_owned(), tokens: vec![TokenId(1), TokenId(2)] };
        let events = [
            started(1, TextSoFar::Kept, Some("EAST-1")),
            delta("secret"),
            delta(" words"),
            started(3, TextSoFar::Superseded, None),
            delta("other secret"),
            Event::Failed { failure: Failure::Cancelled { cause: CancelCause::Requested } },
        ];
        let at = |millis| Timestamp::from_millis(1_763_800_000_000 + millis);
        let entry =
            |(event, number): (Event, u64)| Entry { seq: Seq::new(number), at: at(number * 250), event };
        Inspection {
            spec: StreamSpec {
                fingerprint: Fingerprint::from_bytes([7; 32]),
                caller: Caller::Anonymous,
                on_disconnect: OnDisconnect::CancelAfter(Duration::from_secs(30)),
                created_at: at(0),
                start_by: at(300_000),
                end_by: at(660_000),
                metadata: "secret memo".into(),
                request: "secret request".into(),
            },
            metadata_bytes: 42,
            attempt: Attempt::new(3),
            phase: Phase::Sealed,
            cancelled: true,
            entries: events.into_iter().zip(1..).map(entry).collect(),
            batches: 5,
            stored_bytes: 600,
        }
    }

    fn report(with_text: bool) -> Report {
        Report::new("0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap(), inspection(), with_text)
    }

    #[test]
    fn people_get_a_table() {
        let expected = "\
generation  0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3
state       ended
created     2025-11-22T08:26:40.000Z
begins by   2025-11-22T08:31:40.000Z
ends by     2025-11-22T08:37:40.000Z
readers     it stops 30s after the last has gone
attempts    3
entries     6 in 5 batches, 12 bytes of text, 600 bytes stored
memo        42 bytes
stop        requested
end         cancelled on request, entry 6, 2025-11-22T08:26:41.500Z

attempt  region  text        entries  pieces  bytes  began                     last entry
1        EAST-1  kept        1-3      2       12     2025-11-22T08:26:40.250Z  +500ms
3        -       superseded  4-6      1       12     2025-11-22T08:26:41.000Z  +500ms
";
        assert_eq!(table(&report(false)), expected);
        assert_eq!(table(&report(true)), format!("{expected}\nother secret\n"));
    }

    #[test]
    fn the_text_is_shown_only_when_it_is_asked_for() {
        let json = serde_json::to_value(report(false)).unwrap();
        assert!(!json.to_string().contains("secret") && !json.to_string().contains("words"), "{json}");
        assert_eq!(json["entries"][1]["bytes"], 6);
        assert_eq!(json["entries"][1]["tokens"], 2);
        assert_eq!(json["cancel_after_ms"], 30_000);
        assert_eq!(serde_json::to_value(report(true)).unwrap()["text"], "other secret");
    }
}
