//! A real server, and how it is used.

use std::{sync::Once, time::Duration};

use model::upstream::{Config, ContinuationMode, Upstream};
use testkit::services::LlamaServer;
use tokio::time::sleep;

/// How a server is used.
pub(crate) fn config(server: &LlamaServer) -> Config {
    at(server.port())
}

/// llama.cpp at this port of this machine.
pub(crate) fn at(port: u16) -> Config {
    let url = format!("http://127.0.0.1:{port}/v1").parse().unwrap();
    let continuation = ContinuationMode::AssistantPrefill;
    Config { continuation, ..Config::new(vec![url], "smollm2") }
}

pub(crate) fn upstream(config: Config) -> Upstream {
    static TLS: Once = Once::new();
    TLS.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    Upstream::new(config).unwrap()
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
