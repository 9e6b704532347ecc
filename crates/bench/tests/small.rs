//! Every scenario with tiny numbers, against the program that the workspace's tests have built: whatever is wrong with an
//! answer is an error. Times are not looked at.

#![expect(clippy::indexing_slicing, reason = "tests may index")]

use std::{path::Path, process::Command};

use serde_json::Value;

#[test]
fn many_readers_of_one_stream() {
    assert_eq!(bench("fanout", &[])["rounds"][0]["tokenwire"]["verified"], 20);
}

#[test]
fn many_streams() {
    let report = bench("streams", &["--rounds", "2", "--sync", "os"]);
    for round in report["rounds"].as_array().expect("rounds") {
        for measured in [&round["tokenwire"], &round["floor"]] {
            assert_eq!(measured["verified"], 20);
            assert!(measured["latency_us"]["count"].as_u64() > Some(0), "{measured}");
        }
    }
}

#[test]
fn streams_as_fast_as_they_go() {
    assert_eq!(bench("flat", &[])["rounds"][0]["floor"]["verified"], 4);
}

#[test]
fn prompts_that_nobody_reads() {
    let report = bench("accept", &[]);
    assert!(report["rounds"][0]["tokenwire"]["answers"].as_u64() > Some(0), "{report}");
}

#[test]
fn streams_that_hardly_say_anything() {
    assert_eq!(bench("idle", &[])["rounds"][0]["tokenwire"]["connections"], 50);
}

#[test]
fn readers_that_are_cut_at_once_and_come_back() {
    let report = bench("storm", &[]);
    let tokenwire = &report["rounds"][0]["tokenwire"];
    assert_eq!((&tokenwire["verified"], &tokenwire["caught_up_us"]["count"]), (&51.into(), &50.into()));
}

#[test]
fn finished_streams() {
    let report = bench("replay", &[]);
    assert!(report["rounds"][0]["tokenwire"]["verified"].as_u64() > Some(2), "{report}");
}

#[test]
fn readers_that_come_and_go() {
    let report = bench("soak", &[]);
    let tokenwire = &report["rounds"][0]["tokenwire"];
    assert!(tokenwire["verified"].as_u64() > Some(10), "{report}");
    assert_eq!(tokenwire["looks"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_start() {
    let report = bench("start", &[]);
    assert!(report["bytes_stripped"].as_u64() < report["bytes"].as_u64(), "{report}");
}

#[test]
fn streams_of_a_cluster() {
    let report = bench("streams", &["--mode", "cluster"]);
    let tokenwire = &report["rounds"][0]["tokenwire"];
    assert_eq!(tokenwire["verified"], 20);
    let names: Vec<_> =
        tokenwire["processes"].as_array().expect("processes").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["api", "worker", "Redis", "RabbitMQ"]);
}

/// What the run says in its JSON. It says itself when an answer was wrong.
fn bench(scenario: &str, options: &[&str]) -> Value {
    let bench = Path::new(env!("CARGO_BIN_EXE_bench"));
    let tokenwire = bench.with_file_name("tokenwire");
    if !tokenwire.exists() {
        // Only `cargo test -p bench` on its own comes here.
        let built = Command::new(env!("CARGO")).args(["build", "--package", "tokenwire"]).output();
        assert!(tokenwire.exists(), "there is no {}, and cargo built none: {built:?}", tokenwire.display());
    }
    let json = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut command = Command::new(bench);
    command
        .args([scenario, "--small", "--json"])
        .arg(json.path())
        .arg("--tokenwire")
        .arg(&tokenwire)
        .args(options);
    let output = command.output().expect("it can be started");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{errors}");
    let report: Value = serde_json::from_slice(&std::fs::read(json.path()).expect("a report")).expect("JSON");
    assert!(report["errors"].as_u64().unwrap_or_default() == 0, "{told}");
    report
}
