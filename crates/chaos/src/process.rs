//! One process of the product: started, hurt, and started again where it was.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use rand::{rngs::StdRng, seq::IndexedRandom};
use tempfile::TempDir;
use testkit::services::{Guarded, free_port};
use tokio::{
    task::block_in_place,
    time::{Instant, sleep},
};

use crate::{
    plan::{Fault, Role},
    wire::{self, Request},
};

/// How long every answer is, in words.
pub(crate) const WORDS: usize = 250;

/// The times between two words of [`Setup::Patient`], drawn at each start: answers that end within a second and answers that
/// live through a dozen faults. The text is the same.
const PACES: [&str; 4] = ["2ms", "5ms", "20ms", "60ms"];

/// Of [`Setup::Plain`]: twenty words a second, so that a silence is known to a twentieth.
const PACE: &str = "50ms";

/// More than a start takes, recovery included.
const START: Duration = Duration::from_secs(60);

/// More than a drain and the last words of a process take.
const END: Duration = Duration::from_secs(20);

/// How a process is set up.
#[derive(Debug)]
pub(crate) enum Setup {
    /// For any weather: nothing ends because it takes long.
    Patient { dice: Box<StdRng> },
    /// As it comes, with its metrics at this port.
    Plain { metrics: u16 },
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    role: Role,
    binary: PathBuf,
    env: Vec<String>,
    setup: Setup,
    port: Option<u16>,
    running: Option<Guarded>,
    directory: PathBuf,
    /// Last: removed after the process has gone.
    _temporary: Option<TempDir>,
}

impl Setup {
    /// The settings of one start. Each role takes those that concern it.
    fn env(&mut self, role: Role) -> Vec<String> {
        let mut env = vec![format!("TOKENWIRE_SIMULATED_WORDS={WORDS}")];
        let pace = match self {
            Self::Patient { dice } => {
                // RabbitMQ allows half an hour at most.
                env.extend(["TIMEOUT_SECONDS=1500", "TOKENWIRE_QUEUE_TIME=1h"].map(str::to_owned));
                env.extend(["TOKENWIRE_ATTEMPTS=1000", "TOKENWIRE_SLOTS=24"].map(str::to_owned));
                let grace = if role == Role::Serve { "4s" } else { "8s" };
                env.push(format!("TOKENWIRE_DISCONNECT_GRACE={grace}"));
                env.push("TOKENWIRE_DRAIN=1s".into());
                PACES.choose(dice).expect("there are some")
            }
            Self::Plain { metrics } => {
                env.push(format!("TOKENWIRE_METRICS_LISTEN=127.0.0.1:{metrics}"));
                PACE
            }
        };
        env.push(format!("TOKENWIRE_SIMULATED_DELAY={pace}"));
        env
    }
}

impl Process {
    /// Not started yet. With `keep`, its files stay there.
    pub(crate) fn new(
        role: Role,
        name: String,
        binary: &Path,
        env: Vec<String>,
        setup: Setup,
        keep: Option<&Path>,
    ) -> Self {
        let temporary = keep.is_none().then(|| tempfile::tempdir().expect("a temporary directory"));
        let directory = match (&temporary, keep) {
            (Some(temporary), _) => temporary.path().to_owned(),
            (None, keep) => keep.expect("it is given when there is no temporary one").join(&name),
        };
        fs::create_dir_all(&directory).expect("a directory for the files of a process");
        let port = (role != Role::Worker).then(free_port);
        let binary = binary.to_owned();
        Self { name, role, binary, env, setup, port, running: None, directory, _temporary: temporary }
    }

    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }

    /// Everything that it wrote, over all of its lives.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.join("env.log")).unwrap_or_default()).into_owned()
    }

    fn spawn(&mut self) {
        let mut command = Command::new("env");
        command.current_dir(&self.directory).arg("-i").arg("PATH=/usr/bin:/bin").args(&self.env);
        command.args(self.setup.env(self.role)).arg(&self.binary);
        command.arg(match self.role {
            Role::Serve => "serve",
            Role::Api => "api",
            Role::Worker => "worker",
        });
        if let Some(port) = self.port {
            command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        }
        self.running = Some(block_in_place(|| Guarded::spawn(&command, &self.directory)));
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// It ended, or took too long.
    pub(crate) async fn start(&mut self) -> Result<(), String> {
        self.spawn();
        let Some(port) = self.port else { return Ok(()) };
        let began = Instant::now();
        let health = Request::get("/health", 0);
        while !matches!(wire::send(port, &health, None).await, Ok(answer) if answer.status == 200) {
            self.look()?;
            if began.elapsed() > START {
                return Err(format!("{} is not up {START:?} after its start", self.name));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Whether it still runs, as it should.
    ///
    /// # Errors
    /// It has ended by itself.
    pub(crate) fn look(&mut self) -> Result<(), String> {
        let Some(running) = &mut self.running else { return Ok(()) };
        if !running.has_ended() {
            return Ok(());
        }
        let status = running.wait();
        self.running = None;
        let output = self.output();
        let last: Vec<_> = output.lines().rev().take(5).collect();
        Err(format!("{} ended by itself with status {status}: {}", self.name, last.join(" ← ")))
    }

    /// How often it was told that a newer attempt owns a stream. None while it does not answer.
    pub(crate) async fn times_fenced(&self) -> Option<u64> {
        const FENCED: &str = "tokenwire_attempts_fenced_total ";
        let Setup::Plain { metrics } = self.setup else { return None };
        let answer = wire::send(metrics, &Request::get("/metrics", 0), None).await.ok()?;
        if answer.status != 200 {
            return None;
        }
        let text = answer.text().await;
        // What was never counted is not there.
        text.lines().find_map(|line| line.strip_prefix(FENCED)).map_or(Some(0), |count| count.parse().ok())
    }

    /// Suffers a fault, and is up again when this returns.
    ///
    /// # Errors
    /// It took it worse than it should.
    pub(crate) async fn suffer(&mut self, fault: Fault) -> Result<(), String> {
        self.look()?;
        match fault {
            Fault::Kill { down } => {
                self.kill();
                sleep(down).await;
                self.start().await
            }
            Fault::KillTwice { down, again } => {
                self.kill();
                sleep(down).await;
                self.spawn();
                sleep(again).await;
                self.look()?;
                self.kill();
                self.start().await
            }
            Fault::Freeze { lasts } => {
                self.signal(Signal::SIGSTOP);
                sleep(lasts).await;
                self.signal(Signal::SIGCONT);
                Ok(())
            }
            Fault::Drain => {
                self.signal(Signal::SIGTERM);
                self.end().await?;
                self.start().await
            }
            Fault::DrainHastily { again } => {
                self.signal(Signal::SIGTERM);
                sleep(again).await;
                self.signal(Signal::SIGTERM);
                self.end().await?;
                self.start().await
            }
            Fault::Cut
            | Fault::CutAfter { .. }
            | Fault::HalfClose
            | Fault::Unreachable { .. }
            | Fault::BlackHole { .. }
            | Fault::Delay { .. } => Err(format!("{} is no connection: {fault:?}", self.name)),
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            block_in_place(|| running.kill());
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            running.signal(signal);
        }
    }

    /// Waits for the end that it was asked for.
    async fn end(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let Some(mut running) = self.running.take() else { return Ok(()) };
        while !running.has_ended() {
            if began.elapsed() > END {
                block_in_place(|| running.kill());
                return Err(format!("{} has not ended {END:?} after SIGTERM", self.name));
            }
            sleep(Duration::from_millis(10)).await;
        }
        // By the signal itself, when it comes before the process listens for it.
        match block_in_place(|| running.wait()) {
            0 | 143 => Ok(()),
            status => Err(format!("{} ended with status {status} after SIGTERM", self.name)),
        }
    }
}
