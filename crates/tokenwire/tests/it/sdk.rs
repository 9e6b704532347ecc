//! OpenAI's SDKs on two replicas, one of which goes away in mid-answer. What they should see is written in their own languages,
//! in `tests/sdk`, where their tests on one server are too.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use testkit::services::Guarded;
use tokio::{
    join,
    time::{sleep, timeout},
};

use super::{
    app::{App, PATIENCE},
    cluster::Cluster,
};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sdk");
const MODELS: [&str; 2] = ["--models", concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sdk/models.toml")];

/// Each SDK, by the command that runs its file of this name.
fn sdks(name: &str) -> [Command; 2] {
    let path = |extension: &str| Path::new(DIRECTORY).join(name).with_extension(extension);
    let mut python = Command::new(python());
    python.args(["-B", "-W", "error::ResourceWarning"]).arg(path("py"));
    let installed = Path::new(DIRECTORY).join("node_modules/openai").is_dir();
    assert!(installed, "OpenAI's SDK for Node is not installed: run ./test.sh, or npm ci --prefix tests/sdk");
    let mut node = Command::new("node");
    node.arg(path("mjs"));
    [python, node]
}

fn python() -> PathBuf {
    const MISSING: &str =
        "TOKENWIRE_TEST_SDK_PYTHON is not set: run ./test.sh, or set it to what dev/sdk-python.sh prints";
    // It may be given as seen from the root of the repository; tests run in their crate.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    Path::new(root).join(std::env::var_os("TOKENWIRE_TEST_SDK_PYTHON").expect(MISSING))
}

/// Has each SDK read from one replica until it takes leave by this signal, and checks its exit status.
async fn readers_go_on_elsewhere(leave: Signal, status: i32) {
    let sdks = sdks("replica");
    let cluster = Cluster::start().await;
    let (api, worker) = (cluster.env(""), cluster.env("EAST-1"));
    let (other, _worker) = join!(App::role("api", &MODELS, &api), App::role("worker", &MODELS, &worker));
    for mut sdk in sdks {
        let mut leaving = App::role("api", &MODELS, &api).await;
        sdk.env("TOKENWIRE_LEAVING", leaving.url("/")).env("TOKENWIRE_URL", other.url("/"));
        sdk.env("TOKENWIRE_PID", leaving.pid().to_string()).env("TOKENWIRE_SIGNAL", leave.as_str());
        passes(&sdk).await;
        assert_eq!(leaving.wait(), status);
    }
}

async fn passes(sdk: &Command) {
    let directory = tempfile::tempdir().unwrap();
    let mut running = Guarded::spawn(sdk, directory.path());
    let ended = async {
        while !running.has_ended() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = timeout(PATIENCE, ended).await.is_ok();
    assert!(in_time, "{sdk:?} does not end: {}", running.output());
    assert_eq!(running.wait(), 0, "{sdk:?} said: {}", running.output());
}

#[tokio::test]
async fn official_sdks_resume_at_another_replica_when_theirs_is_killed() {
    readers_go_on_elsewhere(Signal::SIGKILL, 128 + 9).await;
}

#[tokio::test]
async fn official_sdks_resume_at_another_replica_when_theirs_is_drained() {
    readers_go_on_elsewhere(Signal::SIGTERM, 0).await;
}
