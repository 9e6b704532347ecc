//! What is this adapter's own: that it comes back from whatever happened to its process and its files.

mod damage;
mod keeping;
mod looking;

use std::{fs::File, io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use journal::{Medium, Sync};
use tempfile::TempDir;
use tokenwire_core::{
    Attempt, Caller, Clock, Entry, Event, Fingerprint, FinishReason, GenerationId, LogWriter, Seq,
    SystemClock, TextSoFar, TokenLog, Usage,
    token_log::{OnDisconnect, StreamSpec},
};

use super::{Config, Embedded};

/// Small segments, so that every test crosses some.
const SMALL: Config = Config { sync: Sync::Os, segment_bytes: 2048, retention: Duration::from_secs(3600) };

/// A disk that never waits: tests end processes, not the power.
#[derive(Debug)]
struct QuickDisk;

impl Medium for QuickDisk {
    fn flush(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn flush_names(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

fn open(dir: &Path) -> Embedded {
    Embedded::open_on(Arc::new(QuickDisk), dir, SMALL, Arc::new(SystemClock)).unwrap()
}

fn spec() -> StreamSpec {
    let now = SystemClock.now();
    StreamSpec {
        fingerprint: Fingerprint::from_bytes([7; 32]),
        caller: Caller::Anonymous,
        on_disconnect: OnDisconnect::Detached,
        created_at: now,
        start_by: now.after(Duration::from_secs(60)),
        end_by: now.after(Duration::from_secs(120)),
        metadata: Bytes::from_static(b"memo"),
        request: Bytes::new(),
    }
}

async fn writing(log: &Embedded) -> (GenerationId, Box<dyn LogWriter>) {
    let id = GenerationId::fresh();
    log.create(id, &spec()).await.unwrap();
    (id, log.open_writer(id).await.unwrap())
}

async fn entries(log: &Embedded, id: GenerationId) -> Vec<Entry> {
    log.read(id, Seq::START, 1000.try_into().unwrap()).await.unwrap().entries
}

fn started() -> Event {
    Event::Started { attempt: Attempt::new(1), text: TextSoFar::Kept, region: None }
}

fn delta(text: &str) -> Event {
    Event::Delta { text: text.to_owned(), tokens: Vec::new() }
}

fn finished() -> Event {
    Event::Finished { reason: FinishReason::Stop, usage: Usage::default() }
}

/// I1, for a stream that may go on.
fn assert_numbered(entries: &[Entry]) {
    assert!(entries.iter().map(|entry| entry.seq.get()).eq(1..=entries.len() as u64));
    let terminal = entries.iter().position(|entry| entry.event.is_terminal());
    assert!(terminal.is_none_or(|index| index + 1 == entries.len()), "nothing follows a terminal event");
}
