//! Nothing is lost at the seam between what is stored and what is live (I7).

use async_trait::async_trait;
use futures::future::join_all;
use rand::RngExt;
use tokenwire_core::{
    Follower,
    token_log::{Hint, Wakeups},
};
use tokio::sync::broadcast;

use super::{
    Arc, Duration, Entry, Fixture, GenerationId, LogError, Seq, SystemClock, TokenLog, assert_numbered,
    delta, finished,
};
use crate::wrapped::{Log, LogHooks};

/// More than any wake-up takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Hints may be lost, but a log that never gives any makes its readers wait for the slow recheck.
pub async fn an_append_wakes_listeners(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    let mut wakeups = fixture.elsewhere.wakeups(id).await.unwrap();
    let mut seen = Seq::START;
    for n in 1..=10 {
        writer.append(&[delta("a"), delta("b")]).await.unwrap();
        while seen < Seq::new(2 * n) {
            let hint = tokio::time::timeout(TIMEOUT, wakeups.next()).await.expect("an append is announced");
            if let Hint::Appended { entries, .. } = hint {
                // I2: what is announced is already there to be read.
                let first = entries.first().unwrap().seq;
                let page = fixture.page(id, Seq::new(first.get() - 1), entries.len()).await;
                assert_eq!(page.entries, entries[..page.entries.len()]);
            }
            seen = fixture.page(id, Seq::START, 1).await.last_seq;
        }
    }
}

/// 200 readers join while a writer writes, each at a moment of its own. Each sees what the log holds: all of it, once, in
/// order, to the end.
pub async fn readers_who_join_at_any_moment_see_the_log_once_and_in_order(fixture: Fixture) {
    const READERS: usize = 200;
    const BATCHES: u32 = 150;
    let (id, mut writer) = fixture.writing().await;
    let write = async {
        for n in 0..BATCHES {
            let batch: Vec<_> = (0..=n % 3).map(|part| delta(&format!("{n}.{part} "))).collect();
            writer.append(&batch).await.unwrap();
            tokio::time::sleep(Duration::from_micros(u64::from(n % 7) * 500)).await;
        }
        writer.seal(&finished()).await.unwrap();
    };
    let readers = join_all((0..READERS).map(|reader| {
        let log = Arc::clone(if reader % 4 == 0 { &fixture.log } else { &fixture.elsewhere });
        async move {
            // A quarter of them is there from the start, the others come in any of the next 300 ms.
            let wait = if reader % 4 == 1 { 0 } else { rand::rng().random_range(0..300_000) };
            tokio::time::sleep(Duration::from_micros(wait)).await;
            follow(log, id, Seq::START).await
        }
    }));
    let ((), seen) = futures::join!(write, readers);
    let entries = fixture.entries(id).await;
    assert_numbered(&entries);
    assert_eq!(entries.len(), 301);
    for (reader, seen) in seen.into_iter().enumerate() {
        assert!(seen == entries, "reader {reader} saw {} of {} entries", seen.len(), entries.len());
    }
    // A reader that resumes from a cursor sees the rest.
    for after in [0, 1, 150, 300, 301] {
        assert_eq!(
            follow(Arc::clone(&fixture.elsewhere), id, Seq::new(after as u64)).await,
            entries[after..]
        );
    }
}

/// I7: with every wake-up lost, readers are late and miss nothing.
pub async fn losing_every_hint_loses_no_entry(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    let (_silent, hints) = broadcast::channel(1);
    let deaf = || Arc::new(Log(Deaf { log: Arc::clone(&fixture.elsewhere), hints: hints.resubscribe() }));
    let readers = join_all((0..10).map(|_| follow(deaf(), id, Seq::START)));
    let write = async {
        for n in 0..30 {
            writer.append(&[delta(&format!("{n} "))]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        writer.seal(&finished()).await.unwrap();
    };
    let ((), seen) = futures::join!(write, readers);
    let entries = fixture.entries(id).await;
    assert!(seen.iter().all(|seen| *seen == entries));
}

async fn follow(log: Arc<dyn TokenLog>, id: GenerationId, after: Seq) -> Vec<Entry> {
    let mut follower = Follower::open(log, Arc::new(SystemClock), id, after).await.unwrap();
    let mut seen = Vec::new();
    while let Some(entries) = follower.next().await.unwrap() {
        assert!(!entries.is_empty());
        seen.extend(entries.iter().cloned());
    }
    seen
}

/// A log whose hints are all lost.
#[derive(Debug)]
struct Deaf {
    log: Arc<dyn TokenLog>,
    hints: broadcast::Receiver<Hint>,
}

#[async_trait]
impl LogHooks for Deaf {
    fn log(&self) -> &dyn TokenLog {
        &*self.log
    }

    async fn wakeups(&self, _id: GenerationId) -> Result<Wakeups, LogError> {
        Ok(Wakeups::new(self.hints.resubscribe()))
    }
}
