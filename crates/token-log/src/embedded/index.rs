//! The streams of the log, by id.

use std::{
    collections::{BTreeSet, HashMap, hash_map},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokenwire_core::{GenerationId, LogError, token_log::StreamSpec};

use super::{records::StreamNumber, stream::Stream};

#[derive(Debug)]
pub(super) struct Index {
    streams: Mutex<HashMap<GenerationId, Arc<Stream>>>,
    next_number: AtomicU64,
}

/// The result of [`Index::claim`].
pub(super) enum Creation {
    /// The caller creates the stream, and must settle it.
    New(Arc<Stream>),
    /// The stream exists, or another caller creates it.
    Existing(Arc<Stream>),
}

impl Index {
    pub(super) fn new(streams: HashMap<GenerationId, Arc<Stream>>, next_number: u64) -> Self {
        Self { streams: Mutex::new(streams), next_number: AtomicU64::new(next_number) }
    }

    /// The stream with this id, if it is created and kept.
    pub(super) fn kept(&self, id: GenerationId) -> Result<Arc<Stream>, LogError> {
        let stream = self.lock().get(&id).map(Arc::clone);
        stream.filter(|stream| stream.is_kept()).ok_or(LogError::NotFound(id))
    }

    /// Takes the id for a new stream, unless it is taken. So concurrent creations write one record, and of two creations in
    /// the journal the later one is valid.
    pub(super) fn claim(&self, id: GenerationId, spec: &StreamSpec, metadata_bytes: usize) -> Creation {
        match self.lock().entry(id) {
            hash_map::Entry::Occupied(taken) => Creation::Existing(Arc::clone(taken.get())),
            hash_map::Entry::Vacant(free) => {
                let number = StreamNumber(self.next_number.fetch_add(1, Ordering::Relaxed));
                let stream = Arc::new(Stream::creating(id, number, spec.clone(), metadata_bytes));
                Creation::New(Arc::clone(free.insert(stream)))
            }
        }
    }

    /// Removes a stream. Its readers and writers do not find it any more.
    pub(super) fn forget(&self, stream: &Stream) {
        {
            let mut streams = self.lock();
            if streams.get(&stream.id).is_some_and(|taken| taken.number == stream.number) {
                streams.remove(&stream.id);
            }
        }
        stream.gone();
    }

    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        self.lock().values().map(Arc::clone).collect()
    }

    /// The segments with a record of any stream.
    pub(super) fn segments(&self) -> BTreeSet<u64> {
        self.all().iter().flat_map(|stream| stream.segments()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GenerationId, Arc<Stream>>> {
        // Nothing panics while it holds the lock.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
