//! Defaults of a model for what a request leaves out: a system message and sampling options.
//!
//! Small models need them: one word of a system message can decide how useful an answer is. The stored and compared request
//! stays the caller's. It is completed where it runs, so configure every worker alike.

use std::sync::Arc;

use async_trait::async_trait;
use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, Message, Model, Role, Sampling,
    model::{Continuation, ModelError, OutputStream},
    token_log::Prefix,
};

/// The defaults of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// The system message of conversations that begin without one.
    pub system: Option<String>,
    /// The options that the request leaves out.
    pub sampling: Sampling,
}

impl Defaults {
    /// The model with these defaults, or the model itself if there are none.
    pub fn of(self, model: Arc<dyn Model>) -> Arc<dyn Model> {
        if self == Self::default() { model } else { Arc::new(WithDefaults { model, defaults: self }) }
    }

    fn complete(&self, request: &GenerateRequest) -> Result<GenerateRequest, ModelError> {
        let GenerateRequest { model, conversation, sampling, extras } = request.clone();
        let (ours, theirs) = (self.sampling.clone(), sampling);
        let sampling = Sampling {
            temperature: theirs.temperature.or(ours.temperature),
            top_p: theirs.top_p.or(ours.top_p),
            top_k: theirs.top_k.or(ours.top_k),
            seed: theirs.seed.or(ours.seed),
            max_tokens: theirs.max_tokens.or(ours.max_tokens),
            stop: if theirs.stop.is_empty() { ours.stop } else { theirs.stop },
        };
        Ok(GenerateRequest { model, conversation: self.begun(conversation)?, sampling, extras })
    }

    fn begun(&self, conversation: Conversation) -> Result<Conversation, ModelError> {
        let begins_so = conversation.before().first().is_some_and(|first| first.role() == Role::System);
        let Some(system) = self.system.as_ref().filter(|_| !begins_so) else { return Ok(conversation) };
        let system = Message::system(system);
        let messages = std::iter::once(system).chain(conversation.messages().iter().cloned()).collect();
        Conversation::new(messages).map_err(|error| {
            let message = format!("with the system message of the model, the conversation {error}");
            ModelError::Rejected { message }
        })
    }
}

#[derive(Debug)]
struct WithDefaults {
    model: Arc<dyn Model>,
    defaults: Defaults,
}

#[async_trait]
impl Model for WithDefaults {
    fn continuation(&self, so_far: &Prefix) -> Continuation {
        self.model.continuation(so_far)
    }

    async fn check(&self, request: &GenerateRequest) -> Result<(), ModelError> {
        self.model.check(&self.defaults.complete(request)?).await
    }

    async fn generate(
        &self,
        id: GenerationId,
        request: &GenerateRequest,
        so_far: &Prefix,
    ) -> Result<OutputStream, ModelError> {
        self.model.generate(id, &self.defaults.complete(request)?, so_far).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        let sampling = r#"{"temperature":0.2,"top_k":40,"stop":["a"]}"#;
        Defaults { system: Some("Be brief.".to_owned()), sampling: serde_json::from_str(sampling).unwrap() }
    }

    fn request(messages: &[Message], sampling: &str) -> GenerateRequest {
        let conversation = Conversation::new(messages.to_vec()).unwrap();
        let plain = GenerateRequest::new("m".to_owned().try_into().unwrap(), conversation);
        GenerateRequest { sampling: serde_json::from_str(sampling).unwrap(), ..plain }
    }

    #[test]
    fn what_is_left_out_is_completed() {
        let completed = defaults().complete(&request(&[Message::user("q")], r#"{"seed":7}"#)).unwrap();
        let expected = r#"{"temperature":0.2,"top_k":40,"seed":7,"stop":["a"]}"#;
        assert_eq!(completed, request(&[Message::system("Be brief."), Message::user("q")], expected));
    }

    #[test]
    fn what_the_caller_says_stays() {
        let said = [Message::system(""), Message::user("q")];
        let sampling = r#"{"temperature":0.0,"top_k":1,"stop":["b"]}"#;
        assert_eq!(defaults().complete(&request(&said, sampling)).unwrap(), request(&said, sampling));
    }

    #[test]
    fn a_system_message_that_makes_it_too_long_is_told() {
        let long = "x".repeat(Conversation::MAX_BYTES);
        let refused = defaults().complete(&request(&[Message::user(long)], "{}"));
        assert!(
            matches!(refused, Err(ModelError::Rejected { message }) if message.contains("system message of the model"))
        );
    }
}
