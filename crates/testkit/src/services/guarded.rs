//! A child process that cannot outlive the test.
//!
//! A shell, the guard, reads a pipe that only the test holds open. When the test ends, even by `kill -9`, the pipe ends, and
//! the guard kills the child and removes its directory.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

/// Prints the child's pid, and then its exit status as a shell sees it. The watcher kills the shell first: otherwise the
/// shell would end the whole group, including the watcher, before the directory is removed.
const GUARD: &str = r#"
log=$1 doomed=$2
shift 2
exec 3<&0 </dev/null
"$@" 3<&- >>"$log" 2>&1 &
child=$!
echo $child
exec 2>/dev/null
{
    cat <&3 >/dev/null
    kill -KILL $$ $child
    rm -rf -- "$doomed" || { sleep 1; rm -rf -- "$doomed"; }
    kill -KILL 0
} &
wait $child
echo $?
kill -KILL 0
"#;

/// A running child process, its output in a file.
#[derive(Debug)]
pub struct Guarded {
    guard: Child,
    /// What the guard watches. Not the `Child`'s: that closes it before it waits, and the guard, which is about to end,
    /// would take that for the test's death and remove the directory of a server that is to be started again.
    _pipe: ChildStdin,
    reports: BufReader<ChildStdout>,
    pid: Pid,
    log: PathBuf,
    /// Bytes of the log that earlier children in this directory have written.
    log_before: usize,
}

impl Guarded {
    /// Starts `command` with its output appended to `<directory>/<program>.log`. The directory is removed should
    /// the test process die; otherwise it is the caller's.
    ///
    /// Program, arguments, environment and working directory are the command's; its standard streams are not.
    pub fn spawn(command: &Command, directory: &Path) -> Self {
        let program = Path::new(command.get_program()).file_name().expect("a command names a program");
        let log = directory.join(program).with_extension("log");
        let log_before =
            fs::metadata(&log).map_or(0, |log| log.len().try_into().expect("a log fits into memory"));
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(&log).arg(directory);
        guard.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => guard.env(name, value),
                None => guard.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            guard.current_dir(directory);
        }
        // A group of its own: to be killed as a whole, and out of reach of a Ctrl-C in the terminal.
        let mut guard = guard
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let pipe = guard.stdin.take().expect("its input is piped");
        let mut reports = BufReader::new(guard.stdout.take().expect("its output is piped"));
        let pid = Pid::from_raw(report(&mut reports).expect("the guard tells the pid of its child"));
        Self { guard, _pipe: pipe, reports, pid, log, log_before }
    }

    /// The child's own process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Sends a signal to the child. Returns from a SIGSTOP when the child has stopped.
    ///
    /// The kernel stops a process some time after the signal was sent: one of its threads has to run first, and on a busy
    /// machine the others go on meanwhile. A broker has confirmed messages in that time.
    ///
    /// # Panics
    /// When the child has not stopped within a minute.
    pub fn signal(&self, signal: Signal) {
        // An error means that the child has just ended, which is fine.
        let _ = signal::kill(self.pid, signal);
        if signal == Signal::SIGSTOP {
            let stopped = super::wait_until(Duration::from_secs(60), || is_stopped(self.pid));
            assert!(stopped, "a child does not stop: {:?}", thread_states(self.pid));
        }
    }

    /// Ends the child at once, without a chance to write anything, and waits until it is gone.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// Asks the child to end (SIGTERM), waits until it has, and returns its exit status as a shell tells it: 128 + n for a
    /// death by signal n.
    ///
    /// # Panics
    /// When it has not ended within `wait`.
    pub fn stop(mut self, wait: Duration) -> i32 {
        self.signal(Signal::SIGTERM);
        assert!(
            super::wait_until(wait, || self.has_ended()),
            "a child did not end when it was asked to: {}",
            self.output()
        );
        self.wait()
    }

    /// Whether the child has ended.
    pub fn has_ended(&mut self) -> bool {
        self.guard.try_wait().expect("the guard is our child").is_some()
    }

    /// Waits until the child has ended, and returns its exit status as [`Self::stop`] does. Blocks.
    pub fn wait(&mut self) -> i32 {
        let status = report(&mut self.reports).expect("the guard tells the exit status of its child");
        self.guard.wait().expect("the guard is our child");
        status
    }

    /// Whether this child has written `text`.
    pub(super) fn has_written(&self, text: &str) -> bool {
        let log = fs::read(&self.log).unwrap_or_default();
        log.get(self.log_before..).is_some_and(|new| String::from_utf8_lossy(new).contains(text))
    }

    /// What has been written so far, to either stream, by this child and those before it in the same directory.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.signal(Signal::SIGKILL);
            let _ = self.guard.wait();
        }
    }
}

/// Whether no thread of the process runs. Where the system does not tell: yes.
fn is_stopped(pid: Pid) -> bool {
    thread_states(pid).iter().all(|state| matches!(state, 'T' | 'Z' | 'X'))
}

/// The state of each thread of the process, as Linux names it: R for running, T for stopped. None on other systems.
fn thread_states(pid: Pid) -> Vec<char> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    // A thread may end while this looks. Its name stands in parentheses before its state, and may contain some.
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok())
        .filter_map(|stat| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()))
        .collect()
}

fn report(reports: &mut impl BufRead) -> Option<i32> {
    let mut line = String::new();
    reports.read_line(&mut line).ok()?;
    line.trim().parse().ok()
}

/// Stops with what to install, unless the program is there.
pub(super) fn require(program: &str, package: &str) {
    let found = Command::new("sh")
        .args(["-c", r#"command -v -- "$1" >/dev/null"#, "require", program])
        .status()
        .is_ok_and(|status| status.success());
    assert!(found, "{program} is not installed and this test needs it: apt-get install {package}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(directory: &Path) -> Guarded {
        let mut command = Command::new("sleep");
        command.arg("600");
        Guarded::spawn(&command, directory)
    }

    fn is_alive(pid: u32) -> bool {
        signal::kill(Pid::from_raw(pid.cast_signed()), None).is_ok()
    }

    /// The child of the next test: one idle thread, which the kernel wakes to stop the others, and busy ones.
    #[test]
    fn a_busy_child() {
        if std::env::var_os("TESTKIT_GUARDED_BUSY").is_some() {
            for _ in 0..16 {
                std::thread::spawn(|| {
                    loop {
                        std::hint::spin_loop();
                    }
                });
            }
            super::super::wait_until(Duration::from_secs(600), || false);
        }
    }

    #[test]
    fn a_child_does_nothing_any_more_when_the_stop_signal_was_sent() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "services::guarded::tests::a_busy_child"]).env("TESTKIT_GUARDED_BUSY", "1");
        let child = Guarded::spawn(&command, directory.path());
        for _ in 0..20 {
            let is_busy = || thread_states(child.pid).len() > 16 && !is_stopped(child.pid);
            assert!(super::super::wait_until(Duration::from_secs(60), is_busy));
            child.signal(Signal::SIGSTOP);
            let states = thread_states(child.pid);
            assert!(states.iter().all(|state| *state == 'T'), "{states:?}");
            child.signal(Signal::SIGCONT);
        }
    }

    /// The first half of the next test: a process that starts a child, says who it is, and waits to be killed.
    #[test]
    fn a_parent_that_is_about_to_be_killed() {
        if let Some(directory) = std::env::var_os("TESTKIT_GUARDED_DIRECTORY") {
            let directory = PathBuf::from(directory);
            let child = sleeper(&directory);
            fs::write(directory.with_extension("pid"), child.pid().to_string()).unwrap();
            super::super::wait_until(Duration::from_secs(600), || false);
        }
    }

    #[test]
    fn a_child_and_its_directory_do_not_outlive_a_parent_that_is_killed() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("child");
        fs::create_dir(&directory).unwrap();
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "services::guarded::tests::a_parent_that_is_about_to_be_killed"])
            .env("TESTKIT_GUARDED_DIRECTORY", &directory)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = || fs::read_to_string(directory.with_extension("pid")).ok()?.parse().ok();
        assert!(super::super::wait_until(Duration::from_secs(60), || pid().is_some()));
        assert!(is_alive(pid().unwrap()));
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert!(super::super::wait_until(Duration::from_secs(60), || !directory.exists()));
        assert!(super::super::wait_until(Duration::from_secs(60), || is_gone(pid().unwrap())));
    }

    /// An orphan may stay a zombie for as long as its new parent likes.
    fn is_gone(pid: u32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    }

    #[test]
    fn a_child_tells_its_exit_status() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo what it says; exit 7"]);
        let mut child = Guarded::spawn(&command, directory.path());
        assert_eq!(child.wait(), 7);
        assert_eq!(child.output(), "what it says\n");
        assert_eq!(sleeper(directory.path()).stop(Duration::from_secs(60)), 128 + 15);
    }
}
