//! The computation, with llama.cpp.
//!
//! A step of several sequences may give each other numbers than a step alone. That depends on llama.cpp's kernels for the
//! file's weights on this processor: some compute one row and many rows alike, some do not. So this is tested with real rows
//! when a model is loaded. If the numbers differ, every sequence takes its steps alone, which is exact and slower.
//!
//! Flash attention stays off: its kernel for one sequence of more than 512 tokens adds up in another order than the one for
//! several. And each sequence has a memory of its own ("not unified"): in a shared one the order of sums depends on what
//! else is in it.

use std::num::NonZeroU32;

use llama_cpp_2::{
    context::{LlamaContext, params::LlamaContextParams},
    llama_backend::LlamaBackend,
    llama_batch::LlamaBatch,
    model::LlamaModel,
    token::LlamaToken,
};
use tokenwire_core::BoxError;

use super::{
    engine::{CHUNK, Compute, Row},
    llama_log,
};

/// `LLAMA_FLASH_ATTN_TYPE_DISABLED`.
const NO_FLASH_ATTENTION: i32 = 0;

/// How much memory and how many threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) slots: u16,
    /// Tokens of all slots together.
    pub(super) tokens: NonZeroU32,
    pub(super) threads: u16,
}

/// How sequences take steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Steps {
    /// All in one batch.
    Together,
    /// One by one, because a batch would give other numbers.
    Alone,
}

/// A model with memory.
pub(super) struct Llama<'m> {
    context: LlamaContext<'m>,
    batch: LlamaBatch<'static>,
    steps: Steps,
}

impl<'m> Llama<'m> {
    /// Allocates the memory, and tests how sequences may take steps.
    pub(super) fn new(backend: &LlamaBackend, model: &'m LlamaModel, size: Size) -> Result<Self, BoxError> {
        let rows = CHUNK.max(usize::from(size.slots));
        let batch = u32::try_from(rows)?;
        let params = LlamaContextParams::default()
            .with_n_ctx(Some(size.tokens))
            .with_n_seq_max(u32::from(size.slots))
            .with_kv_unified(false)
            .with_flash_attention_policy(NO_FLASH_ATTENTION)
            .with_n_batch(batch)
            .with_n_ubatch(batch)
            .with_n_threads(i32::from(size.threads))
            .with_n_threads_batch(i32::from(size.threads));
        let context = llama_log::explained(|| model.new_context(backend, params))?;
        let mut llama = Self { context, batch: LlamaBatch::new(rows, 1), steps: Steps::Alone };
        llama.steps = llama.probe(usize::from(size.slots))?;
        let context = size.tokens.get() / u32::from(size.slots.max(1));
        tracing::info!(slots = size.slots, context, threads = size.threads, steps = ?llama.steps, "a model is ready");
        Ok(llama)
    }

    /// Computes the numbers of this many sequences alone and together. Leaves all of them empty.
    fn probe(&mut self, slots: usize) -> Result<Steps, BoxError> {
        let token = |slot: usize| u32::try_from(slot * 7 + 3).unwrap_or_default();
        let rows: Vec<_> = (0..slots).map(|slot| Row { slot, at: 0, token: token(slot) }).collect();
        let mut alone = Vec::new();
        for row in &rows {
            self.decode(std::slice::from_ref(row), &mut |_, logits| alone.push(logits.to_vec()))?;
        }
        self.context.clear_kv_cache();
        // Kernels come in tiles of a few rows: the first sizes show all of them.
        for size in (2..=slots).filter(|&size| size <= 9 || size == slots) {
            let mut same = true;
            let rows = rows.get(..size).unwrap_or_default();
            self.decode(rows, &mut |slot, logits| {
                same &= alone.get(slot).is_some_and(|alone| alone == logits);
            })?;
            self.context.clear_kv_cache();
            if !same {
                return Ok(Steps::Alone);
            }
        }
        Ok(Steps::Together)
    }

    fn decode(&mut self, rows: &[Row], hear: &mut dyn FnMut(usize, &[f32])) -> Result<(), BoxError> {
        self.batch.clear();
        for row in rows {
            self.add(row.slot, row.at, row.token, true)?;
        }
        self.context.decode(&mut self.batch)?;
        for (index, row) in (0..).zip(rows) {
            hear(row.slot, self.context.get_logits_ith(index));
        }
        Ok(())
    }

    fn add(&mut self, slot: usize, at: usize, token: u32, logits: bool) -> Result<(), BoxError> {
        let token = LlamaToken(i32::try_from(token)?);
        self.batch.add(token, i32::try_from(at)?, &[i32::try_from(slot)?], logits)?;
        Ok(())
    }
}

impl Compute for Llama<'_> {
    fn read(
        &mut self,
        slot: usize,
        at: usize,
        tokens: &[u32],
        is_last: bool,
    ) -> Result<Option<&[f32]>, BoxError> {
        self.batch.clear();
        for (index, &token) in tokens.iter().enumerate() {
            let logits = is_last && index + 1 == tokens.len();
            self.add(slot, at + index, token, logits)?;
        }
        self.context.decode(&mut self.batch)?;
        Ok(if is_last { Some(self.context.get_logits_ith(i32::try_from(tokens.len())? - 1)) } else { None })
    }

    fn step(&mut self, rows: &[Row], hear: &mut dyn FnMut(usize, &[f32])) -> Result<(), BoxError> {
        match self.steps {
            Steps::Together => self.decode(rows, hear),
            Steps::Alone => rows.iter().try_for_each(|row| self.decode(std::slice::from_ref(row), hear)),
        }
    }

    fn forget(&mut self, slot: usize) -> Result<(), BoxError> {
        self.context.clear_kv_cache_seq(Some(u32::try_from(slot)?), None, None)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
