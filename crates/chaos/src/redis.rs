//! Redis as a managed service gives it: a primary and a replica behind one address, which follows the primary.

use std::time::Duration;

use testkit::{
    proxy::Proxy,
    services::{AppendOnly, Redis},
};
use tokio::time::{Instant, sleep};

use crate::plan::Fault;

/// How long a replica may take to have everything, both disks included.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);

/// How often it is asked whether it has.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Pair {
    primary: Redis,
    replica: Redis,
    address: Proxy,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let (primary, replica) = tokio::join!(Redis::start(AppendOnly::Yes), Redis::start(AppendOnly::Yes));
        replica.replicate(&primary).await;
        let address = Proxy::start(primary.port()).await;
        Self { primary, replica, address }
    }

    /// The port of the address that stays the same.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Suffers a fault, and is whole again when this returns.
    ///
    /// # Errors
    /// The replica did not catch up: a fault of this run, not of the product.
    pub(crate) async fn inject(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Kill { down: lasts } | Fault::Stopped { lasts } => {
                self.primary.kill().await;
                sleep(lasts).await;
                self.primary.restart().await;
            }
            Fault::Freeze { lasts } | Fault::Frozen { lasts } => {
                self.primary.pause();
                sleep(lasts).await;
                self.primary.resume();
            }
            Fault::Switch { closes } => self.switch(closes).await?,
            _ => {}
        }
        Ok(())
    }

    /// Makes the replica the primary and the primary the replica, while clients use both.
    ///
    /// Replication is asynchronous, so a switch at any moment may lose the last writes. This one loses none: writes are held
    /// back until the replica has all of them. What is tested is that the product follows, and that nothing is lost where
    /// the stores lose nothing.
    async fn switch(&mut self, closes: bool) -> Result<(), String> {
        self.until("the replica has a copy on its disk", async |pair| pair.has_copy().await).await?;
        self.primary.command("CLIENT PAUSE 60000 WRITE").await;
        self.until("the replica has every write", async |pair| {
            let (primary, replica) = tokio::join!(
                pair.primary.command("INFO replication"),
                pair.replica.command("INFO replication")
            );
            let same = |of_primary, of_replica| {
                let written = field(&primary, of_primary);
                written.is_some() && written == field(&replica, of_replica)
            };
            // Offsets count within one history: after a restart of the primary a new one begins.
            same("master_replid", "master_replid")
                && same("master_repl_offset", "slave_repl_offset")
                && pair.has_copy().await
        })
        .await?;
        self.replica.promote().await;
        self.address.retarget(self.replica.port());
        self.primary.replicate(&self.replica).await;
        // What waited is answered with READONLY now.
        self.primary.command("CLIENT UNPAUSE").await;
        std::mem::swap(&mut self.primary, &mut self.replica);
        if closes {
            self.address.cut();
        }
        Ok(())
    }

    /// Whether the replica has taken the primary's data over, to its disk.
    async fn has_copy(&self) -> bool {
        let replication = self.replica.command("INFO replication").await;
        let persistence = self.replica.command("INFO persistence").await;
        // After a full copy the replica writes its file anew. A kill before the end of that would lose the data.
        replication.contains("master_link_status:up")
            && persistence.contains("loading:0")
            && persistence.contains("aof_rewrite_in_progress:0")
            && persistence.contains("aof_rewrite_scheduled:0")
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) -> Result<(), String> {
        let began = Instant::now();
        while !is_so(self).await {
            if began.elapsed() > CAUGHT_UP_WITHIN {
                return Err(format!("after {CAUGHT_UP_WITHIN:?} it is not so that {what}"));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    use super::*;

    fn ask(port: u16, command: &str) -> String {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(connection, "{command}\r\nQUIT\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_switch_moves_the_address_and_loses_nothing() {
        let mut pair = Pair::start().await;
        let port = pair.port();
        for round in 0..3 {
            let key = format!("key{round}");
            tokio::task::block_in_place(|| {
                assert!(ask(port, &format!("SET {key} value")).starts_with("+OK"));
            });
            pair.inject(Fault::Switch { closes: round == 1 }).await.unwrap();
            pair.inject(Fault::Kill { down: Duration::ZERO }).await.unwrap();
            tokio::task::block_in_place(|| {
                assert!(ask(port, &format!("GET {key}")).contains("value"));
                assert!(ask(port, "SET other value").starts_with("+OK"));
            });
        }
    }
}
