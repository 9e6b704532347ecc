//! Streams to measure with.

use std::{sync::Arc, time::Duration};

use token_log::memory::MemoryLog;
use tokenwire_core::{
    Attempt, Caller, Clock, Event, Fingerprint, FinishReason, GenerationId, LogWriter, SystemClock,
    TextSoFar, TokenLog, Usage,
    token_log::{OnDisconnect, StreamSpec},
};

/// How many pieces a stream has.
pub(crate) const PIECES: usize = 1000;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn memory() -> Arc<dyn TokenLog> {
    Arc::new(MemoryLog::new(Arc::new(SystemClock), DAY))
}

/// A new stream, with its first entry.
pub(crate) async fn begin(log: &dyn TokenLog) -> (GenerationId, Box<dyn LogWriter>) {
    let (id, now) = (GenerationId::fresh(), SystemClock.now());
    let spec = StreamSpec {
        fingerprint: Fingerprint::from_bytes([0; 32]),
        caller: Caller::Anonymous,
        on_disconnect: OnDisconnect::Detached,
        created_at: now,
        start_by: now.after(DAY),
        end_by: now.after(DAY),
        metadata: bytes::Bytes::new(),
        request: bytes::Bytes::new(),
    };
    log.create(id, &spec).await.expect("a new id");
    let mut writer = log.open_writer(id).await.expect("it was created");
    let started = Event::Started { attempt: Attempt::new(1), text: TextSoFar::Kept, region: None };
    writer.append(&[started]).await.expect("the only writer");
    (id, writer)
}

/// So many pieces, each as long as a token is.
pub(crate) fn pieces(count: usize) -> Vec<Event> {
    (0..count).map(|_| Event::Delta { text: " word".to_owned(), tokens: Vec::new() }).collect()
}

pub(crate) async fn seal(writer: &mut dyn LogWriter) {
    let usage = Usage { input_tokens: 1, output_tokens: PIECES as u64 };
    writer.seal(&Event::Finished { reason: FinishReason::Stop, usage }).await.expect("the only writer");
}
