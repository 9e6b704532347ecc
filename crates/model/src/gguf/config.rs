//! What a model file is run with.

use std::{
    num::{NonZeroU16, NonZeroU32},
    path::PathBuf,
};

/// One model file, and how much of this machine it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The GGUF file.
    pub path: PathBuf,
    /// How many generations run at once; the others wait in line. Each has its own part of the memory. Default 4, at most
    /// [`Self::MAX_SLOTS`].
    pub slots: NonZeroU16,
    /// How many threads compute. Default: one fewer than there are cores, and at least 1, so that the server stays quick
    /// while the model works. More threads than idle cores is slower than fewer.
    pub threads: Option<NonZeroU16>,
    /// How many tokens a conversation and its answer may have together. Memory for all slots is taken at once. Default
    /// 4096, and never more than the model was trained for.
    pub context: NonZeroU32,
}

impl Config {
    /// The most slots: llama.cpp's own limit of sequences.
    pub const MAX_SLOTS: u16 = 256;

    /// The defaults, with this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let slots = NonZeroU16::MIN.saturating_add(3);
        let context = NonZeroU32::MIN.saturating_add(4095);
        Self { path: path.into(), slots, threads: None, context }
    }

    /// The threads to compute with.
    pub(super) fn threads(&self) -> NonZeroU16 {
        self.threads.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            u16::try_from(cores.saturating_sub(1)).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_left_to_the_server_unless_told_otherwise() {
        let config = Config::new("model.gguf");
        assert_eq!((config.slots.get(), config.context.get()), (4, 4096));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(usize::from(config.threads().get()), cores.saturating_sub(1).max(1));
        let all = Config { threads: NonZeroU16::new(7), ..config };
        assert_eq!(all.threads().get(), 7);
    }
}
