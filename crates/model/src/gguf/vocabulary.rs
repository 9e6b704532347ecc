//! A model file's own tokens.

use std::sync::Arc;

use llama_cpp_2::{model::LlamaModel, token::LlamaToken, token_type::LlamaTokenAttr};

use super::engine;

/// The vocabulary of a loaded model.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    model: Arc<LlamaModel>,
}

/// Whether spellings in a text become special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// Their spellings are the tokens.
    Meant,
    /// Their spellings are text like any other.
    Text,
}

impl Vocabulary {
    pub(super) fn new(model: Arc<LlamaModel>) -> Self {
        Self { model }
    }

    /// Whether the model has such a token. llama.cpp must not be asked about others.
    pub(super) fn has(&self, token: u32) -> bool {
        i32::try_from(token).is_ok_and(|token| token < self.model.n_vocab())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.model.n_vocab() == 0
    }

    /// The tokens of a text, without any that the model wants in front of it or after it.
    pub(super) fn tokens(&self, text: &str, special: Special) -> Vec<u32> {
        if text.is_empty() {
            return Vec::new();
        }
        let tokens = self.model.vocab().tokenize(text.as_bytes(), false, special == Special::Meant);
        tokens.into_iter().filter_map(id).collect()
    }

    /// The token that the model wants in front of everything, if it does.
    pub(super) fn leading(&self) -> Option<u32> {
        let vocabulary = self.model.vocab();
        vocabulary.should_add_bos().then(|| vocabulary.bos()).and_then(id)
    }

    /// How the tokens at the beginning and at the end of a text are spelled; empty where there is none.
    pub(super) fn ends_spelled(&self) -> [String; 2] {
        let vocabulary = self.model.vocab();
        [vocabulary.bos(), vocabulary.eos()].map(|token| self.spelled(token))
    }

    /// The spellings of all tokens that no user should be able to type.
    pub(super) fn special(&self) -> Vec<String> {
        let vocabulary = self.model.vocab();
        let special = LlamaTokenAttr::Control | LlamaTokenAttr::Unknown;
        let all = vocabulary.tokens().filter(|&token| vocabulary.attr(token).intersects(special));
        all.map(|token| self.spelled(token)).filter(|spelling| !spelling.is_empty()).collect()
    }

    fn spelled(&self, token: LlamaToken) -> String {
        if id(token).is_none() {
            return String::new();
        }
        let text = self.model.vocab().text(token).map(|text| text.to_string_lossy().into_owned());
        text.unwrap_or_default()
    }
}

impl engine::Vocabulary for Vocabulary {
    fn bytes(&self, token: u32) -> Vec<u8> {
        raw(token).map(|token| self.model.vocab().token_to_piece(token, false, None)).unwrap_or_default()
    }

    fn ends(&self, token: u32) -> bool {
        raw(token).is_some_and(|token| self.model.vocab().is_eog(token))
    }
}

/// llama.cpp says -1 where there is none.
fn id(token: LlamaToken) -> Option<u32> {
    u32::try_from(token.0).ok()
}

fn raw(token: u32) -> Option<LlamaToken> {
    i32::try_from(token).ok().map(LlamaToken)
}
