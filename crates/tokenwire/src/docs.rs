//! Holds the documents against the code: a number that stands before a mark has the value that the mark names.
//!
//! `500 ms<!-- =CHECK_EVERY core/src/pump.rs -->` names a constant, or a field of a default, by its name and its file below
//! `crates`; `30 s<!-- =TOKENWIRE_DISCONNECT_GRACE -->` names the default of a setting. Readers do not see the marks.

use std::{fs, path::Path};

use clap::CommandFactory;

use crate::{cli::Cli, settings};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

const DOCUMENTS: [&str; 9] = [
    "ARCHITECTURE.md",
    "README.md",
    "docs/cli.md",
    "docs/design.md",
    "docs/http.md",
    "docs/models.md",
    "docs/operating.md",
    "docs/performance.md",
    "docs/reliability.md",
];

#[test]
fn numbers_in_the_documents_are_those_of_the_code() {
    let mut wrong = Vec::new();
    let mut marks = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(Path::new(ROOT).join(document)).unwrap();
        for (before, mark) in text.match_indices("<!-- =").map(|(at, begin)| text.split_at(at + begin.len()))
        {
            let before = before.trim_end_matches("<!-- =");
            let mark = mark.split(" -->").next().unwrap();
            let code = match mark.split_once(' ') {
                Some((name, file)) => constants(name, file),
                None => setting(mark).into_iter().collect(),
            };
            if !last_quantity(before).is_some_and(|stated| code.contains(&stated)) {
                let line = before.lines().last().unwrap_or_default();
                wrong.push(format!("{document} says: {line}, but {mark} is {code:?}"));
            }
            marks += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(marks > 40, "only {marks} marks are found");
}

/// The values of each `const NAME: Type = VALUE;` in a file, and of each field `name: VALUE,` of a default.
fn constants(name: &str, file: &str) -> Vec<f64> {
    let text = fs::read_to_string(Path::new(ROOT).join("crates").join(file)).unwrap_or_default();
    text.split(&format!(" {name}: ")).skip(1).filter_map(value).collect()
}

/// `Type = VALUE;` or `VALUE,`, and more.
fn value(text: &str) -> Option<f64> {
    let value = text.split([';', ',', '\n']).next()?.rsplit(" = ").next()?;
    let (unit, factors) = match value.strip_suffix(')').and_then(|value| value.split_once('(')) {
        Some(("Duration::from_secs", seconds)) => (1.0, seconds),
        Some(("Duration::from_millis", milliseconds)) => (0.001, milliseconds),
        Some(_) => return None,
        None => (1.0, value),
    };
    let factors: Option<Vec<f64>> = factors.split('*').map(|factor| number(factor.trim())).collect();
    Some(unit * factors?.iter().product::<f64>())
}

/// The default of a setting.
fn setting(env: &str) -> Option<f64> {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let default = settings::default_of(
        serve.get_arguments().find(|arg| arg.get_env().is_some_and(|name| name == env))?,
    )?;
    number(&default).or_else(|| Some(humantime::parse_duration(&default).ok()?.as_secs_f64()))
}

/// `1.5 s`, `20,000` or `1 MiB` at the end of a text: in seconds, as a count, or in bytes.
fn last_quantity(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace().rev();
    let last = words.next()?.trim_start_matches(['(', '*', '`']);
    let unit = match last {
        "ms" => 0.001,
        "s" | "second" | "seconds" => 1.0,
        "minute" | "minutes" => 60.0,
        "hour" | "hours" => 3600.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        _ => return number(last),
    };
    Some(unit * number(words.next()?.trim_start_matches(['(', '*', '`']))?)
}

fn number(text: &str) -> Option<f64> {
    text.replace([',', '_'], "").parse().ok()
}
