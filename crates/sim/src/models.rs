//! The three kinds of model, and what is recorded about each.
//!
//! Every delta has two numbers as its tokens: the number of the call of the model, and the number of the delta in that call.
//! So the oracle knows the origin of every entry, and whether one is missing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use tokenwire_core::{
    Attempt, FinishReason, GenerateRequest, GenerationId, Model, TokenId, Usage,
    model::{Continuation, ModelError, Output, OutputStream},
    token_log::Prefix,
};
use tokio::time::sleep;

use crate::{
    Defect,
    injector::{FaultInjector, Node, Service},
    plan::Nature,
    record::{Asked, Death, Record},
    rng::Rng,
};

/// A model in a process: it freezes with the process, fails at times, and all that it says is numbered. Some requests it
/// rejects, and some kill its process.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) model: Arc<dyn Model>,
    pub(crate) node: Node,
    pub(crate) record: Arc<Record>,
    pub(crate) natures: Arc<BTreeMap<GenerationId, Nature>>,
    pub(crate) defect: Option<Defect>,
}

#[derive(Clone, Copy, Debug)]
enum ModelFault {
    Error,
    Silence,
    End,
    Refusal,
}

struct NumberedAnswer {
    outputs: OutputStream,
    id: GenerationId,
    attempt: Option<Attempt>,
    asking: usize,
    piece: usize,
    /// Before which piece it fails, and how.
    fault: Option<(usize, ModelFault)>,
    /// Before which piece it kills its process.
    deadly: Option<usize>,
    defect: Option<Defect>,
    node: Node,
    record: Arc<Record>,
}

/// It has no room, or is not there.
fn refusal(injector: &FaultInjector, defect: Option<Defect>) -> ModelError {
    if defect == Some(Defect::BusyIsBroken) {
        return ModelError::Unavailable("busy".into());
    }
    let rng = &injector.rng;
    let retry_after = match rng.index(4) {
        0 | 1 => Duration::ZERO,
        2 => rng.millis(100..=2000),
        _ => rng.millis(2000..=20_000),
    };
    if rng.happens(0.5) {
        ModelError::Busy { retry_after }
    } else {
        ModelError::Absent { retry_after, cause: "its port is closed".into() }
    }
}

impl Watched {
    #[expect(clippy::too_many_arguments, reason = "all that is known about one asking")]
    async fn speak(
        &self,
        id: GenerationId,
        attempt: Option<Attempt>,
        asking: usize,
        request: &GenerateRequest,
        so_far: &Prefix,
        fault: Option<(usize, ModelFault)>,
        deadly: Option<usize>,
    ) -> Result<OutputStream, ModelError> {
        let outputs = self.model.generate(id, request, so_far).await?;
        let (node, record) = (self.node.clone(), Arc::clone(&self.record));
        let speaking = NumberedAnswer {
            outputs,
            id,
            attempt,
            asking,
            piece: 0,
            fault,
            deadly,
            defect: self.defect,
            node,
            record,
        };
        Ok(stream::unfold(speaking, NumberedAnswer::next).boxed())
    }
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
        let attempt = self.node.life.attempt_of(id);
        let line = format!("asks its model to go on from {} bytes", so_far.text.len());
        let asking = self.record.stream(id, line, |stream, at| {
            let so_far = so_far.text.clone();
            stream.asked.push(Asked { at, so_far, spoken: Vec::new() });
            if let Some(opened) = attempt.and_then(|attempt| stream.attempts.get_mut(&attempt)) {
                opened.asked = true;
            }
            stream.asked.len() - 1
        });
        self.node.thawed().await;
        let nature = self.natures.get(&id).copied().unwrap_or_default();
        if nature == Nature::Unwelcome {
            return Err(ModelError::Rejected { message: "not this one".into() });
        }
        let deadly = match nature {
            // Two tokens a piece.
            Nature::Poison { after } => Some(after.saturating_sub(so_far.tokens.len() / 2)),
            Nature::Ordinary | Nature::Unwelcome => None,
        };
        let injector = &self.node.injector;
        if injector.is_away(Service::Models) || injector.hits(|rates| rates.model_refuses) {
            if !injector.is_away(Service::Models) && injector.rng.happens(0.3) {
                let fault = Some((injector.rng.index(8), ModelFault::Refusal));
                return self.speak(id, attempt, asking, request, so_far, fault, deadly).await;
            }
            self.record.refused(id, attempt);
            return Err(refusal(injector, self.defect));
        }
        let mut fault = None;
        if injector.hits(|rates| rates.model_fails) {
            let before = injector.rng.index(8);
            fault = match injector.rng.index(3) {
                0 => Some((before, ModelFault::Silence)),
                1 => Some((before, ModelFault::End)),
                _ => Some((before, ModelFault::Error)),
            };
        }
        self.speak(id, attempt, asking, request, so_far, fault, deadly).await
    }
}

impl NumberedAnswer {
    async fn next(mut self) -> Option<(Result<Output, ModelError>, Self)> {
        if self.deadly == Some(self.piece) {
            self.record.dies(&self.node.life.name, Death::Poisoned(self.id));
            self.node.life.end();
            return std::future::pending().await;
        }
        match self.fault {
            Some((before, ModelFault::Refusal)) if before == self.piece => {
                self.record.refused(self.id, self.attempt);
                self.fault = Some((before, ModelFault::End));
                return Some((Err(refusal(&self.node.injector, self.defect)), self));
            }
            Some((before, fault)) if before == self.piece => {
                self.record.broke(self.id, self.attempt);
                match fault {
                    ModelFault::Silence => return std::future::pending().await,
                    ModelFault::End => return None,
                    ModelFault::Error | ModelFault::Refusal => {
                        // A caller that goes on gets the end.
                        self.fault = Some((before, ModelFault::End));
                        return Some((Err(ModelError::Unavailable("it broke".into())), self));
                    }
                }
            }
            _ => {}
        }
        let output = self.outputs.next().await?;
        if self.node.injector.hits(|rates| rates.slow) {
            sleep(self.node.injector.rng.millis(1..=300)).await;
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

/// Generates so many random words.
#[derive(Debug)]
pub(crate) struct RandomModel {
    pub(crate) continuation: Continuation,
    pub(crate) words: usize,
    pub(crate) pace: Duration,
    /// Before the first word.
    pub(crate) reading: Duration,
    pub(crate) rng: Arc<Rng>,
}

#[async_trait]
impl Model for RandomModel {
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
        let (pace, rng) = (self.pace, Arc::clone(&self.rng));
        if !self.reading.is_zero() {
            sleep(self.reading).await;
        }
        let words = stream::iter(said..self.words).then(move |_| {
            let rng = Arc::clone(&rng);
            async move {
                if !pace.is_zero() {
                    sleep(pace).await;
                }
                let text = format!("w{} ", rng.number(0..=9999));
                Ok(Output::Text { text, tokens: Vec::new() })
            }
        });
        let finished = Output::Finished { reason: FinishReason::Stop, usage: Usage::default() };
        Ok(words.chain(stream::iter([Ok(finished)])).boxed())
    }
}
