//! llama.cpp's server, by PyPI's `xllamacpp`, with a real model.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use super::{Guarded, unblock, wait_until};

/// More than it takes to load a small model on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// An OpenAI-compatible server on 127.0.0.1, with a port of its own. It answers requests that name any model.
#[derive(Debug)]
pub struct LlamaServer {
    process: Guarded,
    port: u16,
    _directory: TempDir,
}

impl LlamaServer {
    /// Starts one that gives so many answers at once, and waits until it is ready. The Python that has `xllamacpp` is named
    /// by `TOKENWIRE_TEST_PYTHON`.
    pub async fn start(slots: usize) -> Self {
        unblock(move || {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dev/upstream.py");
            let mut command = Command::new(path_from("TOKENWIRE_TEST_PYTHON", "dev/upstream-python.sh"));
            command.arg(script).arg(small_model());
            command.args(["--port", "0", "--slots", &slots.to_string()]);
            let directory = tempfile::tempdir().expect("a temporary directory");
            let mut process = Guarded::spawn(&command, directory.path());
            let mut port = None;
            let ready = wait_until(TIMEOUT, || {
                assert!(!process.has_ended(), "the server has ended: {}", process.output());
                port = port_in(&process.output());
                port.is_some()
            });
            assert!(ready, "the server is not ready: {}", process.output());
            Self { process, port: port.expect("it is ready"), _directory: directory }
        })
        .await
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its API is.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// How many of its slots are at work, by its own count.
    pub async fn busy_slots(&self) -> usize {
        let port = self.port;
        let metrics = unblock(move || get(port, "/metrics").expect("the server counts")).await;
        let gauge = metrics.lines().find_map(|line| line.strip_prefix("llamacpp:requests_processing "));
        gauge.and_then(|count| count.trim().parse().ok()).expect("a count of slots at work")
    }

    /// kill -9.
    pub fn kill(self) {
        self.process.kill();
    }
}

/// The file of SmolLM2-135M-Instruct, which `TOKENWIRE_TEST_MODEL` names.
pub fn small_model() -> PathBuf {
    path_from("TOKENWIRE_TEST_MODEL", "dev/fetch-model.sh")
}

fn path_from(variable: &str, script: &str) -> PathBuf {
    let missing = format!("{variable} is not set: run ./test.sh, or set it to what {script} prints");
    let path = std::env::var_os(variable).expect(&missing);
    // It may be given as seen from the root of the repository; tests run in their crate.
    std::path::absolute(path).expect("a working directory")
}

/// The port in the address that it prints once it is ready.
fn port_in(output: &str) -> Option<u16> {
    let address = output.lines().find_map(|line| line.strip_prefix("http://127.0.0.1:"))?;
    address.split('/').next()?.parse().ok()
}

fn get(port: u16, path: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    write!(connection, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}
