//! The thread that a model lives in: continuous batching over slots.
//!
//! A turn reads one chunk of one prompt and takes one step of every answer. So a long prompt delays the others by at most one
//! chunk per token. A waiting generation gets the first free slot. Abandoned generations leave their slot at the next turn.
//!
//! **The schedule is part of the answer.** The last bits of a model's numbers depend on how its input is split into batches,
//! and sooner or later a choice depends on them. So a prompt is always read alone, in chunks of [`CHUNK`] tokens, and an answer
//! is always extended by one token per step. They never share a batch, which llama.cpp would split depending on its load. Other
//! slots have no influence (see [`super::llama`] for how steps are taken together).
//!
//! What computes is a trait here, so that the schedule can be tested without a model.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokenwire_core::{BoxError, explain};
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

use super::generation::{Generation, Progress, REASSURE};

/// How many tokens of a prompt are read at once. Another number gives other answers to the same requests, and breaks off
/// answers that run during the change. Measured with 16, 32 and 64: 32 reads nearly as fast as 64 (within a sixth) and delays
/// running answers half as long: 0.15 s for a model of 135M parameters on two slow cores.
pub(super) const CHUNK: usize = 32;

/// Maximum queue length. More generations are refused: the model is busy.
pub(super) const LINE: usize = 1024;

/// What computes: a model with memory for one sequence per slot.
pub(super) trait Compute {
    /// Reads a part of a prompt into the slot's sequence. Gives the numbers for the token after it, if it is the last.
    fn read(
        &mut self,
        slot: usize,
        at: usize,
        tokens: &[u32],
        is_last: bool,
    ) -> Result<Option<&[f32]>, BoxError>;

    /// Extends sequences by one token each, in the order of their slots, and gives the numbers for the token after each.
    fn step(&mut self, rows: &[Row], hear: &mut dyn FnMut(usize, &[f32])) -> Result<(), BoxError>;

    /// Empties the slot's sequence.
    fn forget(&mut self, slot: usize) -> Result<(), BoxError>;
}

/// What tokens mean.
pub(super) trait Vocabulary: Send + Sync {
    /// Its bytes: not always whole characters, and none for a control token.
    fn bytes(&self, token: u32) -> Vec<u8>;

    /// Whether it ends an answer.
    fn ends(&self, token: u32) -> bool;
}

/// A token that extends a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) slot: usize,
    pub(super) at: usize,
    pub(super) token: u32,
}

/// The scheduler, without the computation.
pub(super) struct Engine {
    inbox: Receiver<Generation>,
    line: VecDeque<Generation>,
    slots: Vec<Option<Generation>>,
    /// The slot whose prompt is read next, if it has one.
    reader: usize,
    vocabulary: Arc<dyn Vocabulary>,
    busy: Arc<AtomicUsize>,
}

impl Engine {
    /// `busy` is kept at the number of generations that wait or run.
    pub(super) fn new(
        inbox: Receiver<Generation>,
        slots: usize,
        vocabulary: Arc<dyn Vocabulary>,
        busy: Arc<AtomicUsize>,
    ) -> Self {
        let slots = (0..slots).map(|_| None).collect();
        Self { inbox, line: VecDeque::new(), slots, reader: 0, vocabulary, busy }
    }

    /// Works until the inbox is closed and empty. `ready` gets the result of the first build. If the model breaks later, the
    /// running generations fail, and it is built again for the waiting ones.
    pub(super) fn run<C: Compute>(
        mut self,
        build: impl Fn() -> Result<C, BoxError>,
        ready: impl FnOnce(Result<(), BoxError>),
    ) {
        let mut compute = match guarded(&build) {
            Ok(compute) => compute,
            Err(error) => return ready(Err(error)),
        };
        ready(Ok(()));
        loop {
            let Err(error) = guarded(|| self.work(&mut compute)) else { return };
            tracing::error!(error = %explain(&*error), "the model broke; building it again");
            drop(compute);
            self.fail_running(&error);
            let Some(again) = self.rebuild(&build) else { return };
            compute = again;
        }
    }

    /// Tries to build the model at each request, until it works. `None` when the inbox is closed.
    fn rebuild<C>(&mut self, build: &impl Fn() -> Result<C, BoxError>) -> Option<C> {
        loop {
            match guarded(build) {
                Ok(compute) => return Some(compute),
                Err(error) => {
                    tracing::error!(error = %explain(&*error), "the model cannot be built again");
                    self.receive();
                    for mut generation in self.line.drain(..) {
                        generation.decline(&explain(&*error));
                    }
                    self.count();
                }
            }
            while self.line.is_empty() {
                if !self.receive() {
                    return None;
                }
                if self.line.is_empty() {
                    thread::park();
                }
            }
        }
    }

    /// Takes turns until the inbox is closed.
    fn work(&mut self, compute: &mut impl Compute) -> Result<(), BoxError> {
        while self.receive() {
            self.admit(compute)?;
            self.count();
            let read = self.read(compute)?;
            let spoke = self.step(compute)?;
            if !read && !spoke {
                self.rest();
            }
        }
        Ok(())
    }

    /// Moves requests from the inbox to the queue. False when the inbox is closed: then no reader is left either.
    fn receive(&mut self) -> bool {
        while self.line.len() < LINE {
            match self.inbox.try_recv() {
                Ok(generation) => self.line.push_back(generation),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    /// Removes abandoned generations, and moves queued ones into the lowest free slots: llama.cpp batches adjacent slots best.
    fn admit(&mut self, compute: &mut impl Compute) -> Result<(), BoxError> {
        self.line.retain(|generation| !generation.is_abandoned());
        for (slot, place) in self.slots.iter_mut().enumerate() {
            if place.as_ref().is_some_and(Generation::is_abandoned) {
                *place = None;
                compute.forget(slot)?;
            }
            if place.is_none() {
                *place = self.line.pop_front();
            }
        }
        for generation in self.slots.iter_mut().flatten().chain(&mut self.line) {
            generation.reassure();
        }
        Ok(())
    }

    /// Reads one chunk of one prompt, of each in turn. Whether there was one.
    fn read(&mut self, compute: &mut impl Compute) -> Result<bool, BoxError> {
        let slots = self.slots.len();
        for slot in (self.reader..slots).chain(0..self.reader) {
            let Some(Some(generation)) = self.slots.get_mut(slot) else { continue };
            if !generation.is_reading() || !generation.has_room() {
                continue;
            }
            let chunk = generation.chunk();
            let logits = compute.read(slot, chunk.at, chunk.tokens, chunk.is_last)?;
            generation.advance();
            if let Some(logits) = logits
                && generation.hear(logits, &*self.vocabulary) == Progress::Over
            {
                self.leave(slot, compute)?;
            }
            self.reader = (slot + 1) % slots;
            return Ok(true);
        }
        Ok(false)
    }

    /// Extends every answer that has room by one token. Whether there was one.
    fn step(&mut self, compute: &mut impl Compute) -> Result<bool, BoxError> {
        let speaks = |generation: &&Generation| !generation.is_reading() && generation.has_room();
        let rows: Vec<_> = (0..)
            .zip(&self.slots)
            .filter_map(|(slot, place)| {
                let (at, token) = place.as_ref().filter(speaks)?.row();
                Some(Row { slot, at, token })
            })
            .collect();
        if rows.is_empty() {
            return Ok(false);
        }
        let mut over = Vec::new();
        let (slots, vocabulary) = (&mut self.slots, &*self.vocabulary);
        compute.step(&rows, &mut |slot, logits| {
            if let Some(Some(generation)) = slots.get_mut(slot)
                && generation.hear(logits, vocabulary) == Progress::Over
            {
                over.push(slot);
            }
        })?;
        for slot in over {
            self.leave(slot, compute)?;
        }
        Ok(true)
    }

    fn leave(&mut self, slot: usize, compute: &mut impl Compute) -> Result<(), BoxError> {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = None;
        }
        compute.forget(slot)
    }

    fn fail_running(&mut self, error: &BoxError) {
        for place in &mut self.slots {
            if let Some(mut generation) = place.take() {
                generation.fail(&explain(&**error));
            }
        }
    }

    fn count(&self) {
        let busy = self.line.len() + self.slots.iter().flatten().count();
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Waits for a request, or for a reader that reads or leaves: each unparks this thread.
    fn rest(&self) {
        if self.line.is_empty() && self.slots.iter().all(Option::is_none) {
            thread::park();
        } else {
            thread::park_timeout(REASSURE);
        }
    }
}

/// A panic as an error: one broken turn must not end the thread.
fn guarded<T>(work: impl FnOnce() -> Result<T, BoxError>) -> Result<T, BoxError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(said(&*panic).into()))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().map(ToString::to_string);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", message.unwrap_or_else(|| "without a message".to_owned()))
}

#[cfg(test)]
mod tests;
