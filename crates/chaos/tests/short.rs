//! A short chaos run in each mode and a takeover of each kind in one, against the program that the workspace's tests have
//! built.
//!
//! The plan is the same every time, the run is not: a failure prints everything that is needed to look into it.

use std::{
    path::Path,
    process::{Command, Output},
};

#[test]
fn one_process_loses_nothing_under_any_fault() {
    // Six SIGTERMs in a row, five kills in a row, and starts on a taken port among them.
    chaos(&["--mode", "embedded", "--rounds", "18"], "ended: done");
}

#[test]
fn a_cluster_loses_nothing_under_any_fault() {
    // One kill of RabbitMQ, one switch of Redis and one queue purged among them.
    chaos(&["--mode", "cluster", "--rounds", "12"], "ended: done");
}

#[test]
fn one_process_goes_on_with_an_answer_after_each_kind_of_restart() {
    chaos(&["--mode", "embedded", "--takeovers", "1"], "kill -9 and restart");
}

/// A run without a violation. One in which nothing happens proves nothing: it must say this.
fn chaos(arguments: &[&str], proof: &str) {
    let chaos = Path::new(env!("CARGO_BIN_EXE_chaos"));
    let tokenwire = chaos.with_file_name("tokenwire");
    if !tokenwire.exists() {
        // Only `cargo test -p chaos` on its own comes here.
        let built = run(Command::new(env!("CARGO")).args(["build", "--package", "tokenwire"]));
        let why = String::from_utf8_lossy(&built.stderr);
        assert!(
            tokenwire.exists(),
            "there is no {} to test, and cargo built none: {why}",
            tokenwire.display()
        );
    }
    let report = run(Command::new(chaos).args(arguments).args(["--seed", "1", "--binary"]).arg(&tokenwire));
    let said = String::from_utf8_lossy(&report.stdout);
    assert!(report.status.success(), "{said}{}", String::from_utf8_lossy(&report.stderr));
    assert!(said.contains(proof), "{said}");
}

fn run(command: &mut Command) -> Output {
    command.output().expect("it can be started")
}
