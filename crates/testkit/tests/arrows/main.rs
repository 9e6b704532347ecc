//! Which crate may name which. Cargo enforces what the manifests say; this says what the manifests may say, aloud:
//! `cargo test -p testkit --test arrows -- --nocapture`.
//!
//! Only what ships counts. A crate's tests may use any other crate.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "the arrows are said aloud, and tests may index"
)]

mod files;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Our crates, and which of ours each may depend on. Adapters do not see each other, the front ends see core alone, and
/// nothing that ships sees `testkit`, `chaos`, `sim` or `bench`.
const OURS: &[(&str, &[&str])] = &[
    ("tokenwire-core", &[]),
    ("journal", &[]),
    ("job-queue", &["tokenwire-core", "journal"]),
    ("token-log", &["tokenwire-core", "journal"]),
    ("model", &["tokenwire-core"]),
    ("tokenwire-http", &["tokenwire-core"]),
    ("tokenwire", &["tokenwire-core", "journal", "job-queue", "token-log", "model", "tokenwire-http"]),
    ("testkit", &["tokenwire-core"]),
    ("chaos", &["tokenwire-core", "model", "testkit"]),
    ("sim", &["tokenwire-core", "job-queue", "token-log", "model", "testkit"]),
    ("bench", &["tokenwire-core", "journal", "job-queue", "token-log", "model", "tokenwire-http", "testkit"]),
];

/// Outside crates that only some of ours may name: who else wants what they do goes through a port. The leaves
/// `testkit`, `chaos`, `sim` and `bench` may name anything.
const HOMES: &[(&str, &[&str])] = &[
    ("axum", &["tokenwire-http"]),
    // In model for one thing: which kind of error reqwest met.
    ("hyper", &["tokenwire-http", "model"]),
    ("hyper-util", &["tokenwire-http"]),
    ("tower", &["tokenwire-http"]),
    ("tower-http", &["tokenwire-http"]),
    ("tokio-tungstenite", &["tokenwire-http"]),
    ("utoipa", &["tokenwire-http"]),
    ("lapin", &["job-queue"]),
    ("redis", &["token-log"]),
    ("crc32fast", &["journal"]),
    ("llama-cpp-2", &["model"]),
    ("minijinja", &["model"]),
    ("rustyline", &["tokenwire"]),
    ("reqwest", &["model", "tokenwire"]),
    ("rustls", &["model", "tokenwire"]),
    ("clap", &["tokenwire"]),
    ("dotenvy", &["tokenwire"]),
    ("anyhow", &["tokenwire"]),
    ("tracing-subscriber", &["tokenwire"]),
];

const LEAVES: &[&str] = &["testkit", "chaos", "sim", "bench"];

#[test]
fn every_arrow_between_crates_is_one_that_the_design_draws() {
    let ours: BTreeMap<_, _> = OURS.iter().copied().collect();
    for (name, dependencies) in crates() {
        let Some(allowed) = ours.get(name.as_str()) else {
            panic!("{name} is a new crate: write into OURS in {} which of ours it may depend on", file!());
        };
        let arrows: Vec<_> =
            dependencies.iter().map(String::as_str).filter(|other| ours.contains_key(other)).collect();
        println!(
            "{name} → {}",
            if arrows.is_empty() { "nothing of ours".to_owned() } else { arrows.join(", ") }
        );
        for other in arrows {
            assert!(
                allowed.contains(&other),
                "{name} depends on {other}, and may depend on {allowed:?} only: go through a port in tokenwire-core"
            );
        }
    }
}

#[test]
fn frameworks_brokers_and_stores_stay_at_home() {
    let crates = crates();
    for (outside, homes) in HOMES {
        for (name, dependencies) in crates.iter().filter(|(name, _)| !LEAVES.contains(&name.as_str())) {
            assert!(
                !dependencies.contains(*outside) || homes.contains(&name.as_str()),
                "{name} depends on {outside}, which belongs into {homes:?} only"
            );
        }
        println!("{outside} only in {}", homes.join(", "));
    }
}

/// Every crate of the workspace, and what it depends on outside its tests.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    // Without dependencies' own manifests, and so without a network.
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().map(|package| (text(&package["name"]), shipped(package))).collect()
}

/// Build dependencies included. The real name, whatever the crate calls it.
fn shipped(package: &Value) -> BTreeSet<String> {
    let dependencies = package["dependencies"].as_array().expect("a list of dependencies");
    dependencies
        .iter()
        .filter(|dependency| dependency["kind"] != "dev")
        .map(|dependency| text(&dependency["name"]))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
