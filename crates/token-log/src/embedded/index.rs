//! Every stream of the log, by its id.

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

/// Who creates a stream.
pub(super) enum Creation {
    /// The caller: it must settle this one.
    New(Arc<Stream>),
    /// Somebody did, or is about to.
    Existing(Arc<Stream>),
}

impl Index {
    pub(super) fn new(streams: HashMap<GenerationId, Arc<Stream>>, next_number: u64) -> Self {
        Self { streams: Mutex::new(streams), next_number: AtomicU64::new(next_number) }
    }

    /// The stream that readers and writers may see.
    pub(super) fn kept(&self, id: GenerationId) -> Result<Arc<Stream>, LogError> {
        let stream = self.lock().get(&id).map(Arc::clone);
        stream.filter(|stream| stream.is_kept()).ok_or(LogError::NotFound(id))
    }

    /// Takes the id for a new stream, unless it is taken: so two that create it at once never both write it down, and of
    /// two creations in the journal the later one is always the true one.
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

    /// Forgets a stream; its readers and writers no longer find it.
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

    /// The segments in which any stream has a record.
    pub(super) fn segments(&self) -> BTreeSet<u64> {
        self.all().iter().flat_map(|stream| stream.segments()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GenerationId, Arc<Stream>>> {
        // Nothing panics while holding the lock.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
