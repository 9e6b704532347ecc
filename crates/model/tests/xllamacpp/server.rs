//! llama.cpp's server (PyPI `xllamacpp`) as a child of the test, on a port of its own.

use std::{path::PathBuf, process::Command, sync::Once, time::Duration};

use model::upstream::{Config, ContinuationMode, Upstream};
use reqwest::Url;
use tempfile::TempDir;
use testkit::services::Guarded;
use tokio::time::sleep;

/// A running server.
pub(crate) struct Server {
    process: Guarded,
    url: Url,
    _directory: TempDir,
}

impl Server {
    /// Starts one that gives so many answers at once, and waits until it is ready.
    pub(crate) async fn start(slots: usize) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dev/upstream.py");
        let mut command = Command::new(path_from("TOKENWIRE_TEST_PYTHON", "dev/upstream-python.sh"));
        command.arg(script).arg(path_from("TOKENWIRE_TEST_MODEL", "dev/fetch-model.sh"));
        command.args(["--port", "0", "--slots", &slots.to_string()]);
        let directory = tempfile::tempdir().unwrap();
        let mut process = Guarded::spawn(&command, directory.path());
        let mut url = None;
        until("the server is ready", async || {
            assert!(!process.has_ended(), "the server has ended: {}", process.output());
            url = process
                .output()
                .lines()
                .find_map(|line| line.starts_with("http").then(|| line.parse().unwrap()));
            url.is_some()
        })
        .await;
        Self { process, url: url.unwrap(), _directory: directory }
    }

    /// How it is used.
    pub(crate) fn config(&self) -> Config {
        at(self.port())
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.port().unwrap()
    }

    /// How many of its slots are at work, by its own count.
    pub(crate) async fn busy_slots(&self) -> usize {
        let metrics = self.url.join("/metrics").unwrap();
        let text = client().get(metrics).send().await.unwrap().text().await.unwrap();
        let gauge = text.lines().find_map(|line| line.strip_prefix("llamacpp:requests_processing "));
        gauge.unwrap().parse().unwrap()
    }

    pub(crate) fn kill(self) {
        self.process.kill();
    }
}

/// llama.cpp at this port of this machine.
pub(crate) fn at(port: u16) -> Config {
    let url = format!("http://127.0.0.1:{port}/v1").parse().unwrap();
    let continuation = ContinuationMode::AssistantPrefill;
    Config { continuation, ..Config::new(vec![url], "smollm2") }
}

pub(crate) fn upstream(config: Config) -> Upstream {
    install_tls();
    Upstream::new(config).unwrap()
}

fn client() -> reqwest::Client {
    install_tls();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn install_tls() {
    static TLS: Once = Once::new();
    TLS.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
}

fn path_from(variable: &str, script: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    let missing = format!("{variable} is not set: run ./test.sh, or set it to what {script} prints");
    // It may be given as seen from the root of the repository; tests run in their crate.
    std::path::absolute(path.expect(&missing)).unwrap()
}

/// Waits for something that another process does. The bound is for tests that fail.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut looks = 0;
    while !is_so().await {
        looks += 1;
        assert!(looks < 2_400, "it is not so that {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
