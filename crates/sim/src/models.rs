//! The three kinds of model, and what is watched about each.
//!
//! Every piece carries two numbers as its tokens: which asking it comes from, and which piece of that asking it is. So
//! the oracle knows, for every entry of a stream, who said it, and whether one is missing.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use tokenwire_core::{
    FinishReason, GenerateRequest, GenerationId, Model, TokenId, Usage,
    model::{Continuation, ModelError, Output, OutputStream},
    token_log::Prefix,
};
use tokio::time::sleep;

use crate::{
    chance::Chance,
    record::{Asked, Record},
    weather::Node,
};

/// A model in a process: it freezes with the process, fails at times, and all that it says is numbered.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) model: Arc<dyn Model>,
    pub(crate) node: Node,
    pub(crate) record: Arc<Record>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Error,
    Silence,
    End,
}

struct Speaking {
    outputs: OutputStream,
    id: GenerationId,
    asking: usize,
    piece: usize,
    /// Before which piece it fails, and how.
    fault: Option<(usize, Fault)>,
    node: Node,
    record: Arc<Record>,
}

#[async_trait]
impl Model for Watched {
    fn continuation(&self, so_far: &Prefix) -> Continuation {
        self.model.continuation(so_far)
    }

    async fn generate(
        &self,
        id: GenerationId,
        request: &GenerateRequest,
        so_far: &Prefix,
    ) -> Result<OutputStream, ModelError> {
        self.node.thawed().await;
        let line = format!("asks its model to go on from {} bytes", so_far.text.len());
        let asking = self.record.stream(id, line, |stream, at| {
            let so_far = so_far.text.clone();
            stream.asked.push(Asked { at, so_far, spoken: Vec::new() });
            stream.asked.len() - 1
        });
        let weather = &self.node.weather;
        let mut fault = None;
        if weather.strikes(|rates| rates.model_fails) {
            let before = weather.chance.index(8);
            fault = match weather.chance.index(4) {
                0 => return Err(ModelError::Busy { retry_after: weather.chance.millis(100..=2000) }),
                1 => Some((before, Fault::Silence)),
                2 => Some((before, Fault::End)),
                _ => Some((before, Fault::Error)),
            };
        }
        let outputs = self.model.generate(id, request, so_far).await?;
        let (node, record) = (self.node.clone(), Arc::clone(&self.record));
        let speaking = Speaking { outputs, id, asking, piece: 0, fault, node, record };
        Ok(stream::unfold(speaking, Speaking::next).boxed())
    }
}

impl Speaking {
    async fn next(mut self) -> Option<(Result<Output, ModelError>, Self)> {
        match self.fault {
            Some((before, fault)) if before == self.piece => match fault {
                Fault::Silence => return std::future::pending().await,
                Fault::End => return None,
                Fault::Error => {
                    // Whoever asks on gets the end.
                    self.fault = Some((before, Fault::End));
                    return Some((Err(ModelError::Unavailable("it broke".into())), self));
                }
            },
            _ => {}
        }
        let output = self.outputs.next().await?;
        if self.node.weather.strikes(|rates| rates.slow) {
            sleep(self.node.weather.chance.millis(1..=300)).await;
        }
        self.node.thawed().await;
        let now = self.record.now();
        let mut facts = self.record.facts();
        let mut asked = facts.streams.get_mut(&self.id).and_then(|stream| stream.asked.get_mut(self.asking));
        let output = output.map(|output| match output {
            Output::Text { text, .. } => {
                if let Some(asked) = &mut asked {
                    asked.spoken.push(now);
                }
                let tokens = vec![number(self.asking), number(self.piece)];
                Output::Text { text, tokens }
            }
            other => other,
        });
        drop(facts);
        self.piece += 1;
        Some((output, self))
    }
}

fn number(index: usize) -> TokenId {
    TokenId(u32::try_from(index).unwrap_or(u32::MAX))
}

/// Says so many words of its own choice, another choice every time.
#[derive(Debug)]
pub(crate) struct Babble {
    pub(crate) continuation: Continuation,
    pub(crate) words: usize,
    pub(crate) pace: Duration,
    pub(crate) chance: Arc<Chance>,
}

#[async_trait]
impl Model for Babble {
    fn continuation(&self, _so_far: &Prefix) -> Continuation {
        self.continuation
    }

    async fn generate(
        &self,
        _id: GenerationId,
        _request: &GenerateRequest,
        so_far: &Prefix,
    ) -> Result<OutputStream, ModelError> {
        let said = so_far.text.split_whitespace().count();
        let (pace, chance) = (self.pace, Arc::clone(&self.chance));
        let words = stream::iter(said..self.words).then(move |_| {
            let chance = Arc::clone(&chance);
            async move {
                if !pace.is_zero() {
                    sleep(pace).await;
                }
                let text = format!("w{} ", chance.number(0..=9999));
                Ok(Output::Text { text, tokens: Vec::new() })
            }
        });
        let finished = Output::Finished { reason: FinishReason::Stop, usage: Usage::default() };
        Ok(words.chain(stream::iter([Ok(finished)])).boxed())
    }
}
