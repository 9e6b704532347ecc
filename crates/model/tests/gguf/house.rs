//! Tiny models, and what is asked of them.

use std::{
    num::{NonZeroU16, NonZeroU32},
    path::Path,
};

use futures::StreamExt;
use model::gguf::{Config, Gguf};
use testkit::gguf::TinyLlama;
use tokenwire_core::{
    Conversation, FinishReason, GenerateRequest, GenerationId, Message, Model, ModelName, StopTexts,
    Temperature, TokenId, TopP, Usage,
    model::{Output, OutputStream},
    token_log::Prefix,
};

/// Four slots of 1024 tokens, one thread.
pub(crate) fn tiny() -> Gguf {
    load(&TinyLlama::default(), 4, 1024)
}

pub(crate) fn load(model: &TinyLlama, slots: u16, context: u32) -> Gguf {
    let file = model.file();
    Gguf::load(config(file.path(), slots, context)).unwrap()
}

/// One thread: the tests run beside each other.
pub(crate) fn config(path: &Path, slots: u16, context: u32) -> Config {
    Config {
        slots: NonZeroU16::new(slots).unwrap(),
        context: NonZeroU32::new(context).unwrap(),
        threads: Some(NonZeroU16::MIN),
        ..Config::new(path)
    }
}

/// A request in the making.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    request: GenerateRequest,
    id: GenerationId,
}

impl Ask {
    pub(crate) fn new(prompt: &str) -> Self {
        Self::of(Conversation::of(prompt).unwrap())
    }

    pub(crate) fn of(conversation: Conversation) -> Self {
        let request = GenerateRequest::new(ModelName::new("tiny").unwrap(), conversation);
        Self { request, id: GenerationId::from_bytes([7; 16]) }
    }

    /// After a system message.
    pub(crate) fn after_system(system: &str, prompt: &str) -> Self {
        let before = vec![Message::system(system)];
        Self::of(Conversation::after(before, prompt.to_owned()).unwrap())
    }

    pub(crate) fn temperature(mut self, temperature: f32) -> Self {
        self.request.sampling.temperature = Some(Temperature::new(temperature).unwrap());
        self
    }

    /// Every token may be chosen: a tiny model says more of everything then.
    pub(crate) fn wild(mut self) -> Self {
        self.request.sampling.top_k = NonZeroU32::new(100_000);
        self.request.sampling.top_p = Some(TopP::new(1.0).unwrap());
        self.temperature(2.0)
    }

    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.request.sampling.seed = Some(seed);
        self
    }

    pub(crate) fn id(mut self, id: GenerationId) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn tokens(mut self, most: u32) -> Self {
        self.request.sampling.max_tokens = Some(NonZeroU32::new(most).unwrap());
        self
    }

    pub(crate) fn stop(mut self, texts: &[&str]) -> Self {
        self.request.sampling.stop = StopTexts::new(texts.iter().map(ToString::to_string).collect()).unwrap();
        self
    }

    pub(crate) fn request(&self) -> GenerateRequest {
        self.request.clone()
    }

    pub(crate) async fn begin(&self, model: &Gguf, so_far: &Prefix) -> OutputStream {
        model.generate(self.id, &self.request, so_far).await.unwrap()
    }

    pub(crate) async fn answer(&self, model: &Gguf) -> Answer {
        self.go_on(model, &Prefix::default()).await
    }

    pub(crate) async fn go_on(&self, model: &Gguf, so_far: &Prefix) -> Answer {
        rest(&mut self.begin(model, so_far).await).await
    }

    /// Why it is refused or fails.
    pub(crate) async fn failure(&self, model: &Gguf, so_far: &Prefix) -> String {
        let mut stream = match model.generate(self.id, &self.request, so_far).await {
            Ok(stream) => stream,
            Err(error) => return tokenwire_core::explain(&error),
        };
        loop {
            match stream.next().await.expect("it ends with its failure") {
                Ok(Output::Finished { .. }) => panic!("it does not fail"),
                Ok(_) => {}
                Err(error) => return tokenwire_core::explain(&error),
            }
        }
    }
}

/// The rest of an answer.
pub(crate) async fn rest(stream: &mut OutputStream) -> Answer {
    let mut pieces = Vec::new();
    loop {
        match stream.next().await.expect("an answer ends with its finish").unwrap() {
            Output::Text { text, tokens } => pieces.push((text, tokens)),
            Output::Working => {}
            Output::Finished { reason, usage } => return Answer { pieces, reason, usage },
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) pieces: Vec<(String, Vec<TokenId>)>,
    pub(crate) reason: FinishReason,
    pub(crate) usage: Usage,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        self.prefix(self.pieces.len()).text
    }

    pub(crate) fn tokens(&self) -> Vec<TokenId> {
        self.prefix(self.pieces.len()).tokens
    }

    /// What the first so many pieces amount to.
    pub(crate) fn prefix(&self, pieces: usize) -> Prefix {
        let mut prefix = Prefix::default();
        for (text, tokens) in &self.pieces[..pieces] {
            prefix.text.push_str(text);
            prefix.tokens.extend(tokens);
        }
        prefix
    }

    /// The same answer from there on.
    pub(crate) fn after(&self, pieces: usize) -> Self {
        Self { pieces: self.pieces[pieces..].to_vec(), ..self.clone() }
    }
}
