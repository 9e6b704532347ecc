//! Turns conversations into the tokens that a model reads.

use tokenwire_core::Conversation;

use super::{
    grouped,
    template::{ChatTemplate, PromptPart},
    vocabulary::{Special, Vocabulary},
};

/// A model's template, vocabulary, and context length.
#[derive(Debug)]
pub(super) struct Prompts {
    vocabulary: Vocabulary,
    template: ChatTemplate,
    context: u32,
}

impl Prompts {
    pub(super) fn new(vocabulary: Vocabulary, template: ChatTemplate, context: u32) -> Self {
        Self { vocabulary, template, context }
    }

    pub(super) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// How many tokens a conversation and its answer may have.
    pub(super) fn context(&self) -> usize {
        usize::try_from(self.context).unwrap_or(usize::MAX)
    }

    /// The tokens of a conversation, from 1 to [`Self::context`] of them. Fails with a message for the caller.
    pub(super) fn tokens(&self, conversation: &Conversation) -> Result<Vec<u32>, String> {
        let parts = self
            .template
            .render(conversation)
            .map_err(|reason| format!("the model's chat template refuses this conversation: {reason}"))?;
        let mut tokens: Vec<u32> = parts
            .iter()
            .flat_map(|part| match part {
                PromptPart::Made(text) => self.vocabulary.tokens(text, Special::Meant),
                PromptPart::Typed(text) => self.vocabulary.tokens(text, Special::Text),
            })
            .collect();
        // Some templates write it themselves.
        if let Some(leading) = self.vocabulary.leading()
            && tokens.first() != Some(&leading)
        {
            tokens.insert(0, leading);
        }
        if tokens.is_empty() {
            return Err("the model's chat template makes nothing of this conversation".to_owned());
        }
        if tokens.len() > self.context() {
            let (length, context) = (grouped(tokens.len() as u64), grouped(u64::from(self.context)));
            return Err(format!(
                "the conversation is {length} tokens, this model takes {context}: shorten it"
            ));
        }
        Ok(tokens)
    }
}
