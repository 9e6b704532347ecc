//! A running `tokenwire`, to be asked and hurt.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use testkit::services::{Guarded, free_port};
use tokio::time::{sleep, timeout};

/// More than a debug build needs to start on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One process of the product, and the directory that it works in. It can be killed and started again.
pub(crate) struct App {
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// How large a file may grow.
    disk: Option<u64>,
    /// How many files may be open.
    descriptors: Option<u64>,
    port: Option<u16>,
    running: Option<Guarded>,
    dir: PathBuf,
    _owned: Option<TempDir>,
}

/// The program, in an environment that has nothing but what the test says.
pub(crate) fn tokenwire(env: &[(String, String)], args: &[String]) -> Command {
    let mut command = Command::new("env");
    command.arg("-i").arg("PATH=/usr/bin:/bin");
    command.args(env.iter().map(|(name, value)| format!("{name}={value}")));
    command.arg(env!("CARGO_BIN_EXE_tokenwire")).args(args);
    command
}

/// The same command, with a limit on the size of its files. What would exceed it fails with an error instead of a signal.
fn limited(bytes: u64, command: &Command) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--fsize={bytes}:unlimited")).args(["sh", "-c", r#"trap '' XFSZ; exec "$@""#, "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

fn with_descriptors(limit: u64, command: &Command) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--nofile={}:{limit}", limit / 2));
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

/// An HTTP client with no connections yet.
pub(crate) fn http() -> reqwest::Client {
    // As the program does; every test but the first finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

impl App {
    /// `tokenwire serve` on a port and a data directory of its own, with a quick model.
    pub(crate) async fn serve(args: &[&str]) -> Self {
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let all = ["serve", "--listen", &listen].iter().chain(args).map(ToString::to_string).collect();
        Self::start(all, Vec::new(), Some(port)).await
    }

    /// As [`Self::serve`], on a disk that is full once a file of the journal has this many bytes.
    pub(crate) async fn serve_on_a_small_disk(bytes: u64, args: &[&str]) -> Self {
        let mut app = Self::serve(args).await;
        app.kill();
        app.disk = Some(bytes);
        app.start_again().await;
        app
    }

    /// As [`Self::serve`], where so many files may be open at most, and half as many until it asks for more.
    pub(crate) async fn serve_with_descriptors(limit: u64, args: &[&str]) -> Self {
        let mut app = Self::serve(args).await;
        app.kill();
        app.descriptors = Some(limit);
        app.start_again().await;
        app
    }

    /// Makes room on the disk of [`Self::serve_on_a_small_disk`].
    pub(crate) fn make_room(&mut self) {
        self.disk = None;
        let pid = self.pid().to_string();
        let status = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap();
        assert!(status.success());
    }

    /// `tokenwire api` or `tokenwire worker` with these settings in its environment.
    pub(crate) async fn role(role: &str, args: &[&str], env: &[(&str, String)]) -> Self {
        let mut app = Self::role_unready(role, args, env).await;
        if app.port.is_some() {
            app.wait_until_ready().await;
        }
        app
    }

    /// The same, also when it is not ready. An API listens when this returns.
    pub(crate) async fn role_unready(role: &str, args: &[&str], env: &[(&str, String)]) -> Self {
        let port = (role == "api").then(free_port);
        let mut all = vec![role.to_owned()];
        if let Some(port) = port {
            all.extend(["--listen".to_owned(), format!("127.0.0.1:{port}")]);
        }
        all.extend(args.iter().map(ToString::to_string));
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut app = Self::new(all, env, port);
        app.spawn();
        let listening = async {
            while app.port.is_some() && http().get(app.url("/health")).send().await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, listening).await.is_ok(), "{}", app.output());
        app
    }

    /// With all of these arguments, and this environment.
    pub(crate) async fn under(args: &[&str], env: &[(&str, String)], port: u16) -> Self {
        let args = args.iter().map(ToString::to_string).collect();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self::start(args, env, Some(port)).await
    }

    /// Starts it where it was, and waits until it has given up. Returns the exit status.
    pub(crate) fn fails_to_start(&self) -> i32 {
        assert!(self.running.is_none(), "kill it first");
        let mut command = tokenwire(&self.env, &self.args);
        command.current_dir(&self.dir);
        Guarded::spawn(&command, &self.dir).wait()
    }

    async fn start(args: Vec<String>, env: Vec<(String, String)>, port: Option<u16>) -> Self {
        let mut app = Self::new(args, env, port);
        app.start_again().await;
        app
    }

    fn new(args: Vec<String>, env: Vec<(String, String)>, port: Option<u16>) -> Self {
        let owned = tempfile::tempdir().unwrap();
        let dir = owned.path().to_owned();
        Self { args, env, disk: None, descriptors: None, port, running: None, dir, _owned: Some(owned) }
    }

    /// Starts it where it was: same port, same directory.
    pub(crate) async fn start_again(&mut self) {
        self.spawn();
        if self.port.is_some() {
            self.wait_until_ready().await;
        }
    }

    fn spawn(&mut self) {
        assert!(self.running.is_none(), "kill it first");
        let mut command = tokenwire(&self.env, &self.args);
        if let Some(bytes) = self.disk {
            command = limited(bytes, &command);
        }
        if let Some(limit) = self.descriptors {
            command = with_descriptors(limit, &command);
        }
        command.current_dir(&self.dir);
        self.running = Some(Guarded::spawn(&command, &self.dir));
    }

    async fn wait_until_ready(&mut self) {
        let ready = async {
            while !matches!(http().get(self.url("/ready")).send().await, Ok(answer) if answer.status() == 200)
            {
                let running = self.running.as_mut().unwrap();
                assert!(!running.has_ended(), "tokenwire did not start: {}", running.output());
                sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = timeout(PATIENCE, ready).await.is_ok();
        assert!(in_time, "tokenwire is not ready: {}", self.output());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        testkit::client::local(self.port.expect("only the API listens"))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub(crate) fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// What it has logged so far, over all of its lives.
    pub(crate) fn output(&self) -> String {
        self.running.as_ref().map(Guarded::output).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").pid()
    }

    /// Waits until it has logged this.
    pub(crate) async fn says(&self, what: &str) {
        let said = async {
            while !self.output().contains(what) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, said).await.is_ok(), "it never said {what:?}");
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.running.take().expect("it runs").kill();
    }

    /// SIGTERM; returns the exit status.
    pub(crate) fn stop(&mut self) -> i32 {
        self.running.take().expect("it runs").stop(PATIENCE)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running.as_ref().expect("it runs").signal(signal);
    }

    /// Waits until it has ended, and returns the exit status.
    pub(crate) fn wait(&mut self) -> i32 {
        self.running.take().expect("it runs").wait()
    }
}

/// A test that fails shows what every process had to say.
impl Drop for App {
    #[expect(clippy::print_stderr, reason = "where a failed test is looked into")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.args.join(" "), self.output());
        }
    }
}
