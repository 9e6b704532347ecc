//! A RabbitMQ broker of the test's own.
//!
//! It brings its own port mapper (epmd): otherwise the first broker would leave one behind for the whole machine. A
//! start takes several seconds, so most tests want [`RabbitMq::shared`].

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::{
    Guarded, STARTS, free_port,
    guarded::require,
    server::{Recipe, Server},
    unblock, wait_until,
};

/// The script itself: the `rabbitmq-server` in the path is Debian's wrapper, which changes the user.
const SCRIPT: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// The tool itself, for the same reason.
const CONTROL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";

/// A RabbitMQ broker on 127.0.0.1.
#[derive(Debug)]
pub struct RabbitMq {
    port: u16,
    server: Server,
    home: PathBuf,
    mapper: PortMapper,
}

impl RabbitMq {
    /// Starts a broker, and waits until it takes connections.
    pub async fn start() -> Self {
        unblock(|| {
            require(SCRIPT, "rabbitmq-server");
            require("epmd", "erlang-base");
            let start = || {
                let mapper = PortMapper::start()?;
                let directory = tempfile::tempdir().expect("a temporary directory");
                let broker = Broker::prepare(directory.path(), mapper.port);
                let (port, home) = (broker.port, directory.path().to_owned());
                Some(Self { port, server: Server::start(broker, directory)?, home, mapper })
            };
            (0..STARTS).find_map(|_| start()).expect("rabbitmq-server starts")
        })
        .await
    }

    /// The broker that the tests of this binary share. Use your own queues, and inject no faults.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<RabbitMq> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Its address, as clients take it: guest on the default virtual host.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the broker itself, while it is up.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Runs `rabbitmqctl` on this broker, and returns what it says.
    ///
    /// # Panics
    /// When it fails.
    pub async fn control(&self, args: &[&str]) -> String {
        let mut command = Command::new(CONTROL);
        command.args(["--quiet", "--node", &format!("{}@localhost", node_of(self.port))]).args(args);
        command
            .env("HOME", &self.home)
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("ERL_EPMD_PORT", self.mapper.port.to_string());
        let output =
            unblock(move || command.output().expect("rabbitmqctl is installed with the broker")).await;
        assert!(output.status.success(), "rabbitmqctl failed: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes the broker close all connections of its clients, as an operator would before maintenance.
    pub async fn close_connections(&self) {
        self.control(&["close_all_connections", "maintenance"]).await;
    }

    /// Removes all messages that wait in this queue.
    pub async fn purge(&self, queue: &str) {
        self.control(&["purge_queue", queue]).await;
    }

    /// Deletes this queue, with its messages.
    pub async fn delete(&self, queue: &str) {
        self.control(&["delete_queue", queue]).await;
    }

    /// Ends it at once (SIGKILL), and waits until it is gone.
    pub async fn kill(&self) {
        self.server.kill().await;
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`], on the same port with the same files, and waits until it
    /// takes connections.
    pub async fn restart(&self) {
        self.server.restart().await;
    }

    /// Freezes it (SIGSTOP): connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.server.signal(Signal::SIGSTOP);
    }

    /// Ends a [`Self::pause`].
    pub fn resume(&self) {
        self.server.signal(Signal::SIGCONT);
    }
}

/// The name of the node on this port, without its host.
fn node_of(port: u16) -> String {
    format!("testkit{port}")
}

#[derive(Debug)]
struct Broker {
    port: u16,
    /// The node's name without its host.
    node: String,
    distribution_port: u16,
    mapper_port: u16,
    directory: PathBuf,
}

impl Broker {
    fn prepare(directory: &Path, mapper_port: u16) -> Self {
        let port = free_port();
        fs::write(
            directory.join("rabbitmq.conf"),
            format!(
                "listeners.tcp.1 = 127.0.0.1:{port}\n\
                 log.console = true\n\
                 log.file = false\n\
                 disk_free_limit.absolute = 50MB\n\
                 vm_memory_high_watermark.absolute = 1GB\n"
            ),
        )
        .expect("a temporary directory takes files");
        fs::write(directory.join("enabled_plugins"), "[].\n").expect("a temporary directory takes files");
        Self {
            port,
            node: node_of(port),
            distribution_port: free_port(),
            mapper_port,
            directory: directory.to_owned(),
        }
    }
}

impl Recipe for Broker {
    fn command(&self) -> Command {
        let file = |name| self.directory.join(name);
        let mut command = Command::new(SCRIPT);
        command
            // The node's cookie is made in the home directory.
            .env("HOME", &self.directory)
            .env("RABBITMQ_NODENAME", format!("{}@localhost", self.node))
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", file("mnesia"))
            .env("RABBITMQ_LOG_BASE", file("log"))
            .env("RABBITMQ_PID_FILE", file("pid"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.mapper_port.to_string())
            // Two schedulers that do not spin while they are idle: tests share the machine.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-start_epmd false +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            )
            // Makes the script become the broker instead of waiting for it: our signals are for the broker.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env_remove("NOTIFY_SOCKET");
        command
    }

    /// Its listener opens before this. A broker that is asked to end in between never ends.
    fn is_up(&self, broker: &Guarded) -> bool {
        broker.has_written("Server startup complete")
    }
}

/// The Erlang port mapper of one broker. It lives as long as the broker's restarts need it.
#[derive(Debug)]
struct PortMapper {
    port: u16,
    _mapper: Guarded,
    _directory: TempDir,
}

impl PortMapper {
    /// None when another process took the port.
    fn start() -> Option<Self> {
        let port = free_port();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new("epmd");
        command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        let mut mapper = Guarded::spawn(&command, directory.path());
        let up = wait_until(Duration::from_secs(30), || {
            mapper.has_ended() || TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        (up && !mapper.has_ended()).then_some(Self { port, _mapper: mapper, _directory: directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_broker_ends_also_when_it_is_asked_at_once() {
        let rabbitmq = RabbitMq::start().await;
        rabbitmq.stop().await;
        rabbitmq.restart().await;
        rabbitmq.stop().await;
    }

    #[tokio::test]
    async fn a_killed_broker_comes_back_on_its_port() {
        let rabbitmq = RabbitMq::start().await;
        rabbitmq.kill().await;
        assert!(TcpStream::connect(("127.0.0.1", rabbitmq.port())).is_err());
        rabbitmq.restart().await;
        assert!(rabbitmq.control(&["list_queues"]).await.is_empty());
        rabbitmq.stop().await;
    }
}
