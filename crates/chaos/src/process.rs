//! One process of the product: its start, its faults, and its restart on the same port and data.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use tempfile::TempDir;
use testkit::{
    client::{self, Request},
    services::{Guarded, free_port},
};
use tokio::{
    task::block_in_place,
    time::{Instant, sleep},
};

use crate::plan::{Fault, PACES, Role, WORDS};

/// The slowest of them: an answer of 15 s, for what has to happen within one.
const SLOWEST: u64 = 60;

/// How many prompts may wait. More than the run asks at once, and less than one copy for each time that a client repeats
/// its prompt: a queue that keeps those would be full.
const MAX_WAITING: usize = 100;

/// What a worker logs when it starts a job.
const BEGINNINGS: [&str; 2] = ["generation started", "took a generation over"];

/// Of [`Setup::Default`]: twenty words a second, so that a silence is known to a twentieth.
const PACE: &str = "50ms";

/// More than a start takes, recovery and a minute without Redis included.
const START: Duration = Duration::from_secs(120);

/// More than a drain and the last words of a process take.
const END: Duration = Duration::from_secs(20);

/// How a process is set up.
#[derive(Debug)]
pub(crate) enum Setup {
    /// For runs with faults: long time limits. All other settings have their defaults, the number of attempts included.
    Relaxed {
        rng: Box<StdRng>,
        /// The port of the service behind the model `upstream`.
        upstream: u16,
    },
    /// All settings have their defaults. Metrics are at this port.
    Default { metrics: u16 },
}

/// The programs that a process may be.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) current: PathBuf,
    pub(crate) previous: Option<PathBuf>,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// The one, where there is no other.
    Only,
    Current,
    Previous,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    role: Role,
    binaries: Binaries,
    env: Vec<String>,
    setup: Setup,
    port: Option<u16>,
    running: Option<Guarded>,
    /// The next answers are the slowest.
    is_slow: bool,
    starts_of_previous: usize,
    directory: PathBuf,
    /// Last: removed after the process has gone.
    _temporary: Option<TempDir>,
}

impl Setup {
    /// The settings of one start. Each role takes those that concern it.
    fn env(&self, role: Role, version: Version) -> Vec<String> {
        match self {
            Self::Relaxed { .. } => {
                // RabbitMQ allows half an hour at most.
                let mut env = ["TIMEOUT_SECONDS=1500", "TOKENWIRE_QUEUE_TIME=1h"].map(str::to_owned).to_vec();
                // Three workers have fewer slots than the run has prompts: jobs wait, and what is lost among them must be
                // noticed although the queue is not empty.
                let slots = if role == Role::Serve { 24 } else { 6 };
                env.push(format!("TOKENWIRE_SLOTS={slots}"));
                let grace = if role == Role::Serve { "4s" } else { "8s" };
                env.push(format!("TOKENWIRE_DISCONNECT_GRACE={grace}"));
                env.extend(["TOKENWIRE_DRAIN=1s", "TOKENWIRE_MODELS=models.toml"].map(str::to_owned));
                match version {
                    Version::Only => env.push(format!("TOKENWIRE_MAX_WAITING={MAX_WAITING}")),
                    // The other version stores copies, which count.
                    Version::Current => {}
                    // It counts what happens to processes as attempts.
                    Version::Previous => env.push("TOKENWIRE_ATTEMPTS=1000".into()),
                }
                env
            }
            Self::Default { metrics } => vec![
                format!("TOKENWIRE_METRICS_LISTEN=127.0.0.1:{metrics}"),
                format!("TOKENWIRE_SIMULATED_WORDS={WORDS}"),
                format!("TOKENWIRE_SIMULATED_DELAY={PACE}"),
            ],
        }
    }

    /// The models of the next start, as TOML. None where there is only the simulated one of the flags.
    fn models(&mut self, is_slow: bool) -> Option<String> {
        let Self::Relaxed { rng, upstream } = self else { return None };
        let drawn = *PACES.choose(rng).expect("there are some");
        let pace = if is_slow { SLOWEST } else { drawn };
        Some(format!(
            "default = \"simulated\"\n\
             [models.simulated]\nkind = \"simulated\"\nwords = {WORDS}\ndelay = \"{pace}ms\"\n\
             [models.upstream]\nkind = \"upstream\"\nbase_url = \"http://127.0.0.1:{upstream}/v1\"\n\
             model = \"chaos\"\ncontinuation = \"assistant_prefill\"\n"
        ))
    }

    /// Which binary is started next.
    fn version(&mut self, binaries: &Binaries) -> Version {
        match self {
            Self::Relaxed { rng, .. } if binaries.previous.is_some() => {
                if rng.random_bool(0.5) {
                    Version::Previous
                } else {
                    Version::Current
                }
            }
            _ => Version::Only,
        }
    }
}

impl Process {
    /// Not started yet. With `keep`, its files stay there.
    pub(crate) fn new(
        role: Role,
        name: String,
        binaries: &Binaries,
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
        Self {
            name,
            role,
            binaries: binaries.clone(),
            env,
            setup,
            port,
            running: None,
            is_slow: false,
            starts_of_previous: 0,
            directory,
            _temporary: temporary,
        }
    }

    /// Whether it was started, and not seen to end.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// How often the older version was started.
    pub(crate) fn starts_of_previous(&self) -> usize {
        self.starts_of_previous
    }

    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }

    /// Everything that it wrote, over all of its lives.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.join("env.log")).unwrap_or_default()).into_owned()
    }

    fn spawn(&mut self) {
        if let Some(models) = self.setup.models(self.is_slow) {
            fs::write(self.directory.join("models.toml"), models).expect("the directory takes files");
        }
        let version = self.setup.version(&self.binaries);
        self.starts_of_previous += usize::from(version == Version::Previous);
        let command = self.command(version, &[]);
        self.running = Some(block_in_place(|| Guarded::spawn(&command, &self.directory)));
    }

    /// What starts it, with these settings beside its own.
    fn command(&self, version: Version, env: &[String]) -> Command {
        let binary = match (version, &self.binaries.previous) {
            (Version::Previous, Some(previous)) => previous,
            _ => &self.binaries.current,
        };
        let mut command = Command::new("env");
        command.current_dir(&self.directory).arg("-i").arg("PATH=/usr/bin:/bin").args(&self.env);
        command.args(self.setup.env(self.role, version)).args(env).arg(binary);
        command.arg(match self.role {
            Role::Serve => "serve",
            Role::Api => "api",
            Role::Worker => "worker",
        });
        if let Some(port) = self.port {
            command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        }
        command
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// It ended, or took too long.
    pub(crate) async fn start(&mut self) -> Result<(), String> {
        self.spawn();
        let Some(port) = self.port else { return Ok(()) };
        let began = Instant::now();
        let health = Request::get("/health");
        while !matches!(client::send(client::local(port), &health, None).await, Ok(answer) if answer.status == 200)
        {
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
        let Setup::Default { metrics } = self.setup else { return None };
        let answer = client::send(client::local(metrics), &Request::get("/metrics"), None).await.ok()?;
        if answer.status != 200 {
            return None;
        }
        let text = answer.text().await;
        // What was never counted is not there.
        text.lines().find_map(|line| line.strip_prefix(FENCED)).map_or(Some(0), |count| count.parse().ok())
    }

    /// Injects a fault, and returns when the process is up again.
    ///
    /// # Errors
    /// The process did not behave as it should.
    pub(crate) async fn inject(&mut self, fault: Fault) -> Result<(), String> {
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
            Fault::Roll => {
                self.signal(Signal::SIGTERM);
                self.end().await?;
                // For an answer that meets all of the steps.
                self.is_slow = true;
                let started = self.start().await;
                self.is_slow = false;
                started
            }
            Fault::DrainHastily { again } => {
                self.signal(Signal::SIGTERM);
                sleep(again).await;
                self.signal(Signal::SIGTERM);
                self.end().await?;
                self.start().await
            }
            Fault::DrainLoop { times, between } => {
                self.is_slow = true;
                let restarted = self.drain_again_and_again(times, between).await;
                self.is_slow = false;
                restarted
            }
            Fault::KillLoop { times, between } => {
                self.is_slow = true;
                let restarted = self.kill_again_and_again(times, between).await;
                self.is_slow = false;
                restarted
            }
            Fault::SecondStart => self.start_second().await,
            Fault::PortTaken { lasts } => {
                self.kill();
                self.start_on_a_taken_port(lasts).await?;
                self.start().await
            }
            other => Err(format!("{} is a process: {other:?}", self.name)),
        }
    }

    /// Once more than so many times: the first restart is not of the loop, it makes the answers slow.
    async fn drain_again_and_again(&mut self, times: u32, between: Duration) -> Result<(), String> {
        for _ in 0..=times {
            self.signal(Signal::SIGTERM);
            self.end().await?;
            self.start().await?;
            sleep(between).await;
        }
        Ok(())
    }

    /// The same with kill -9.
    async fn kill_again_and_again(&mut self, times: u32, between: Duration) -> Result<(), String> {
        for _ in 0..=times {
            self.kill();
            self.start().await?;
            sleep(between).await;
            self.look()?;
        }
        Ok(())
    }

    /// Starts a second process on the port of this one, with a data directory that does not exist.
    async fn start_second(&self) -> Result<(), String> {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let data = scratch.path().join("data");
        let command = self.command(Version::Only, &[format!("TOKENWIRE_DATA_DIR={}", data.display())]);
        let mut second = block_in_place(|| Guarded::spawn(&command, scratch.path()));
        self.must_fail(&mut second).await?;
        if data.exists() {
            return Err(format!("a second {} failed on the taken port and left a data directory", self.name));
        }
        Ok(())
    }

    /// Starts it while something else listens on its port. It must end, and must not have touched a job.
    async fn start_on_a_taken_port(&mut self, lasts: Duration) -> Result<(), String> {
        let Some(port) = self.port else { return Err(format!("{} has no port", self.name)) };
        let _other = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|error| format!("the port of {} cannot be taken: {error}", self.name))?;
        let before = self.output().len();
        let command = self.command(Version::Only, &[]);
        let mut failing = block_in_place(|| Guarded::spawn(&command, &self.directory));
        self.must_fail(&mut failing).await?;
        let output = self.output();
        let said = output.get(before..).unwrap_or_default();
        if let Some(line) = said.lines().find(|line| BEGINNINGS.iter().any(|words| line.contains(words))) {
            return Err(format!("{} took a job before it had its port: {line}", self.name));
        }
        sleep(lasts).await;
        Ok(())
    }

    /// Waits until a start on a taken port has failed.
    async fn must_fail(&self, process: &mut Guarded) -> Result<(), String> {
        let began = Instant::now();
        while !process.has_ended() {
            if began.elapsed() > END {
                return Err(format!("{} still runs {END:?} after a start on a taken port", self.name));
            }
            sleep(Duration::from_millis(10)).await;
        }
        match block_in_place(|| process.wait()) {
            0 => Err(format!("{} ended with success after a start on a taken port", self.name)),
            _ => Ok(()),
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
