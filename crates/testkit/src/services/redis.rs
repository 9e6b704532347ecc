//! A Redis server of the test's own.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::sync::OnceCell;

use super::{
    Guarded, STARTS, free_port,
    guarded::require,
    server::{Recipe, Server, TIMEOUT},
    unblock, wait_until,
};

/// What the server keeps over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOnly {
    /// Nothing: it comes back empty.
    No,
    /// Everything that it has answered (`appendfsync always`).
    Yes,
    /// Everything that it has answered, unless the machine loses its power: then all but the last second. Redis's own way
    /// (`appendfsync everysec`).
    EverySecond,
}

/// A Redis server on 127.0.0.1.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    server: Server,
}

/// The role of a server. Tokenwire works only with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Standalone,
    Cluster,
    Sentinel,
}

impl Redis {
    /// Starts a server, and waits until it answers.
    pub async fn start(append_only: AppendOnly) -> Self {
        Self::start_as(Mode::Standalone, append_only).await
    }

    /// Starts a node of a Redis Cluster that has no other node and no slots.
    pub async fn start_cluster_node() -> Self {
        Self::start_as(Mode::Cluster, AppendOnly::No).await
    }

    /// Starts a Redis Sentinel that watches nothing.
    pub async fn start_sentinel() -> Self {
        Self::start_as(Mode::Sentinel, AppendOnly::No).await
    }

    async fn start_as(mode: Mode, append_only: AppendOnly) -> Self {
        unblock(move || {
            require("redis-server", "redis-server");
            let start = || {
                let port = free_port();
                let directory = tempfile::tempdir().expect("a temporary directory");
                let directory_path = directory.path().to_owned();
                let recipe = RedisServer { port, mode, append_only, directory: directory_path };
                Some(Self { port, server: Server::start(recipe, directory)? })
            };
            (0..STARTS).find_map(|_| start()).expect("redis-server starts")
        })
        .await
    }

    /// The server that the tests of this binary share; append-only is off. Use your own keys, and inject no faults.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Redis> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start(AppendOnly::No)).await
    }

    /// Its address, as clients take it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id, while it is up.
    pub fn pid(&self) -> u32 {
        self.server.pid()
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
    /// answers.
    pub async fn restart(&self) {
        self.server.restart().await;
    }

    /// Makes it a replica of another server, which replaces all that it has, and waits until it has the same.
    pub async fn replicate(&self, primary: &Self) {
        let (port, of) = (self.port, primary.port);
        unblock(move || {
            let answer = tell(port, &format!("REPLICAOF 127.0.0.1 {of}")).expect("the server answers");
            assert!(answer.starts_with("+OK"), "{answer}");
            let in_step = || {
                tell(port, "INFO replication").is_ok_and(|answer| answer.contains("master_link_status:up"))
            };
            assert!(wait_until(TIMEOUT, in_step), "the replica does not come up");
        })
        .await;
    }

    /// Makes a replica a server that takes writes.
    pub async fn promote(&self) {
        let port = self.port;
        unblock(move || {
            let answer = tell(port, "REPLICAOF NO ONE").expect("the server answers");
            assert!(answer.starts_with("+OK"), "{answer}");
        })
        .await;
    }

    /// Runs one command, its words separated by blanks, and returns the answer as the server sent it.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn command(&self, command: &str) -> String {
        let (port, command) = (self.port, command.to_owned());
        unblock(move || tell(port, &command).expect("the server answers")).await
    }

    /// Gives the server a user with these rights only, as `ACL SETUSER` takes them, and returns the address of the server
    /// for that user.
    pub async fn url_of_user(&self, name: &str, rules: &str) -> String {
        let (port, command) = (self.port, format!("ACL SETUSER {name} reset on >secret {rules}"));
        unblock(move || {
            let answer = tell(port, &command).expect("the server answers");
            assert!(answer.starts_with("+OK"), "{answer}");
        })
        .await;
        format!("redis://{name}:secret@127.0.0.1:{}", self.port)
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

#[derive(Debug)]
struct RedisServer {
    port: u16,
    mode: Mode,
    append_only: AppendOnly,
    directory: PathBuf,
}

impl Recipe for RedisServer {
    fn command(&self) -> Command {
        let mut command = Command::new("redis-server");
        if self.mode == Mode::Sentinel {
            // It keeps what it learns in its configuration, and does not start without a file for it.
            let file = self.directory.join("sentinel.conf");
            std::fs::write(&file, "").expect("the directory can be written to");
            command.arg(file).arg("--sentinel");
        }
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        command.arg("--dir").arg(&self.directory);
        if self.mode == Mode::Sentinel {
            return command;
        }
        command.args(["--save", ""]);
        // A replica is in step at once, instead of after a wait for others that might want the same.
        command.args(["--repl-diskless-sync-delay", "0"]);
        if self.mode == Mode::Cluster {
            command.args(["--cluster-enabled", "yes"]);
        }
        match self.append_only {
            AppendOnly::No => {}
            AppendOnly::Yes => {
                command.args(["--appendonly", "yes", "--appendfsync", "always"]);
            }
            AppendOnly::EverySecond => {
                command.args(["--appendonly", "yes", "--appendfsync", "everysec"]);
            }
        }
        command
    }

    /// `PING` does not show which server answers. While the server loads its files, this is refused as well.
    fn is_up(&self, server: &Guarded) -> bool {
        let process_id = format!("process_id:{}\r\n", server.pid());
        tell(self.port, "INFO server").is_ok_and(|answer| answer.contains(&process_id))
    }
}

/// Runs one command, and returns the server's answer unchanged.
fn tell(port: u16, command: &str) -> io::Result<String> {
    let mut redis = TcpStream::connect(("127.0.0.1", port))?;
    redis.set_read_timeout(Some(Duration::from_secs(1)))?;
    redis.write_all(format!("{command}\r\n").as_bytes())?;
    // The end of what is sent, and not `QUIT`, which a sentinel does not know.
    redis.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    redis.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(redis: &Redis, command: &str) -> String {
        let mut connection = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
        write!(connection, "{command}\r\nQUIT\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test]
    async fn an_append_only_server_has_everything_after_a_kill() {
        let redis = Redis::start(AppendOnly::Yes).await;
        assert_eq!(ask(&redis, "SET key value"), "+OK\r\n+OK\r\n");
        redis.kill().await;
        assert!(TcpStream::connect(("127.0.0.1", redis.port())).is_err());
        redis.restart().await;
        assert_eq!(ask(&redis, "GET key"), "$5\r\nvalue\r\n+OK\r\n");
        redis.stop().await;
    }

    #[tokio::test]
    async fn a_server_without_files_comes_back_empty() {
        let redis = Redis::start(AppendOnly::No).await;
        assert_eq!(ask(&redis, "SET key value"), "+OK\r\n+OK\r\n");
        redis.stop().await;
        redis.restart().await;
        assert_eq!(ask(&redis, "GET key"), "$-1\r\n+OK\r\n");
    }
}
