//! One generation in the model's thread: its prompt, its answer so far, and the channel to its reader.
//!
//! An answer that is taken over is generated again from its beginning, token by token, as the first time. Committed deltas are
//! checked and not sent again. So taking over needs no second code path, and the model computes the same numbers as in an
//! undisturbed run. If they differ (another file, another kind of processor), the generation fails: two answers are never
//! joined.

use std::time::{Duration, Instant};

use tokenwire_core::{
    FinishReason, TokenId, Usage,
    model::{ModelError, Output},
    token_log::Prefix,
};
use tokio::sync::mpsc;

use super::{
    engine::{CHUNK, Vocabulary},
    sampler::Sampler,
    text::{Heard, Piece, Transcript},
};

/// How many outputs may wait for the reader. Enough for a reader that is busy with its log for a moment. When it is full, only
/// this generation waits.
pub(super) const OUTPUTS: usize = 64;

/// The most outputs of one step: a delta and the finish.
const RESERVED_OUTPUTS: usize = 2;

/// How long a generation may be silent before its reader gets a sign of work.
pub(super) const REASSURE: Duration = Duration::from_secs(1);

/// When to retry a model that could not be built again: the next request tries to build it.
pub(super) const REBUILT: Duration = Duration::from_secs(5);

/// What to generate, and where to send it.
#[derive(Debug)]
pub(super) struct Task {
    /// The tokens of the conversation, at least one.
    pub(super) prompt: Vec<u32>,
    /// How many tokens of answer there may be over all attempts, at least one.
    pub(super) limit: usize,
    pub(super) sampler: Sampler,
    pub(super) transcript: Transcript,
    /// Room for [`OUTPUTS`].
    pub(super) outputs: mpsc::Sender<Result<Output, ModelError>>,
}

/// A generation that waits, reads its prompt, or generates.
#[derive(Debug)]
pub(super) struct Generation {
    task: Task,
    /// How many tokens of the prompt are read.
    read: usize,
    /// How many tokens of answer there are.
    said: usize,
    /// The last of them.
    last: u32,
    committed: Committed,
    heard_at: Instant,
}

/// Whether a generation has more to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    GoesOn,
    Over,
}

/// A part of a prompt.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    /// Where in the sequence it begins.
    pub(super) at: usize,
    pub(super) tokens: &'a [u32],
    /// Whether the answer begins after it.
    pub(super) is_last: bool,
}

impl Generation {
    pub(super) fn new(task: Task, so_far: &Prefix) -> Self {
        let tokens = so_far.tokens.iter().map(|token| token.0).collect();
        let committed = Committed { tokens, text: so_far.text.clone(), passed: 0 };
        Self { task, read: 0, said: 0, last: 0, committed, heard_at: Instant::now() }
    }

    /// Whether its reader is gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.task.outputs.is_closed()
    }

    pub(super) fn is_reading(&self) -> bool {
        self.read < self.task.prompt.len()
    }

    /// Whether there is room for the outputs of a step. A generation without room skips steps.
    pub(super) fn has_room(&self) -> bool {
        self.task.outputs.capacity() >= RESERVED_OUTPUTS
    }

    /// The part of the prompt that is read next.
    pub(super) fn chunk(&self) -> Chunk<'_> {
        let end = (self.read + CHUNK).min(self.task.prompt.len());
        let tokens = self.task.prompt.get(self.read..end).unwrap_or_default();
        Chunk { at: self.read, tokens, is_last: end == self.task.prompt.len() }
    }

    /// That part is read.
    pub(super) fn advance(&mut self) {
        self.read += self.chunk().tokens.len();
    }

    /// The last token of the answer, and where in the sequence it belongs.
    pub(super) fn row(&self) -> (usize, u32) {
        (self.task.prompt.len() + self.said.saturating_sub(1), self.last)
    }

    /// The model computed these numbers for the next token.
    pub(super) fn hear(&mut self, logits: &[f32], vocabulary: &dyn Vocabulary) -> Progress {
        self.choose(logits, vocabulary).unwrap_or_else(|broken| self.fail(broken))
    }

    fn choose(&mut self, logits: &[f32], vocabulary: &dyn Vocabulary) -> Result<Progress, &'static str> {
        let token = self.task.sampler.choose(logits, self.said as u64);
        let token = token.ok_or("the model computed no number for any token")?;
        self.committed.check(self.said, token)?;
        if vocabulary.ends(token) {
            let rest = self.task.transcript.end();
            return self.finish(rest, FinishReason::Stop);
        }
        self.said += 1;
        self.last = token;
        match self.task.transcript.push(TokenId(token), &vocabulary.bytes(token)) {
            Heard::Stopped(rest) => return self.finish(rest, FinishReason::Stop),
            Heard::More(piece) => self.say(piece)?,
        }
        if self.said >= self.task.limit {
            let rest = self.task.transcript.end();
            return self.finish(rest, FinishReason::Length);
        }
        Ok(Progress::GoesOn)
    }

    fn finish(&mut self, rest: Option<Piece>, reason: FinishReason) -> Result<Progress, &'static str> {
        self.say(rest)?;
        self.committed.check_end()?;
        let usage = Usage { input_tokens: self.task.prompt.len() as u64, output_tokens: self.said as u64 };
        self.send(Ok(Output::Finished { reason, usage }));
        Ok(Progress::Over)
    }

    /// Tells the reader that the generation is broken.
    pub(super) fn fail(&mut self, why: &str) -> Progress {
        self.send(Err(ModelError::Unavailable(why.into())));
        Progress::Over
    }

    /// Tells the reader of a queued generation that the model is not up. The model was not asked.
    pub(super) fn decline(&mut self, why: &str) {
        self.send(Err(ModelError::Absent { retry_after: REBUILT, cause: why.into() }));
    }

    /// Sends a sign of work to a reader that has got nothing for a while.
    pub(super) fn reassure(&mut self) {
        // One place more than a step needs: this never holds a step back.
        if self.heard_at.elapsed() >= REASSURE && self.task.outputs.capacity() > RESERVED_OUTPUTS {
            self.send(Ok(Output::Working));
        }
    }

    fn say(&mut self, piece: Option<Piece>) -> Result<(), &'static str> {
        let Some(piece) = piece else { return Ok(()) };
        let Piece { text, tokens } = self.committed.pass(piece)?;
        if !text.is_empty() {
            self.send(Ok(Output::Text { text, tokens }));
        }
        Ok(())
    }

    /// Never waits: a step is taken only with room for its outputs, or the reader is gone.
    fn send(&mut self, output: Result<Output, ModelError>) {
        let _ = self.task.outputs.try_send(output);
        self.heard_at = Instant::now();
    }
}

/// The deltas that earlier attempts committed, and how much of them was generated again.
#[derive(Debug)]
struct Committed {
    tokens: Vec<u32>,
    /// The rest, not generated again yet.
    text: String,
    /// How many tokens were generated again.
    passed: usize,
}

/// Why an answer cannot be continued.
const OTHER: &str = "this model would not have said what the answer begins with: its file was replaced, or it began elsewhere";

impl Committed {
    /// The token that was chosen at this position must be the committed one, if there is one.
    fn check(&self, position: usize, token: u32) -> Result<(), &'static str> {
        match self.tokens.get(position) {
            Some(&committed) if committed != token => Err(OTHER),
            _ => Ok(()),
        }
    }

    /// Nothing committed may be missing from a whole answer.
    fn check_end(&self) -> Result<(), &'static str> {
        if self.text.is_empty() { Ok(()) } else { Err(OTHER) }
    }

    /// The part of this delta that was not committed yet.
    fn pass(&mut self, piece: Piece) -> Result<Piece, &'static str> {
        let known = self.text.len().min(piece.text.len());
        let (Some(expected), Some(again), Some(text)) =
            (self.text.get(..known), piece.text.get(..known), piece.text.get(known..))
        else {
            return Err(OTHER); // It would cut a character.
        };
        if expected != again {
            return Err(OTHER);
        }
        let text = text.to_owned();
        self.text.drain(..known);
        let old = (self.tokens.len() - self.passed).min(piece.tokens.len());
        self.passed += old;
        Ok(Piece { text, tokens: piece.tokens.into_iter().skip(old).collect() })
    }
}

#[cfg(test)]
mod tests;
