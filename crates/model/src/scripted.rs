//! A model that answers from a script: a TOML file of prompts and answers.
//!
//! It shows on demand what a model does: text at a pace, reasoning, tool calls, a failure in the middle of an answer, any
//! ending, any usage. The script and the conversation decide the answer. `stop` and `max_tokens` apply, with one token a delta;
//! other options are accepted and ignored. `docs/models.md` has the format.
//!
//! It keeps no state. It continues from any text exactly ([`Continuation::Exact`]). A prefix does not hold reasoning and calls
//! ([`Prefix::beyond_text`] says only that there are some), so an answer with reasoning or calls starts over.

mod file;
mod playback;
mod script;
mod template;

use std::{io, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use tokenwire_core::{
    GenerateRequest, GenerationId, Model,
    model::{Continuation, ModelError, OutputStream},
    token_log::Prefix,
};

use playback::Playback;
pub use script::{Script, ScriptError};

/// The scripted model. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Scripted {
    script: Arc<Script>,
}

/// A script that cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It is no script.
    #[error("{} is no script: {problems}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Its mistakes.
        problems: ScriptError,
    },
}

impl Scripted {
    /// A model that answers from this script.
    pub fn new(script: Script) -> Self {
        Self { script: Arc::new(script) }
    }

    /// A model that answers from the script in this file. The file is read once.
    ///
    /// # Errors
    /// [`LoadError`]; it explains every problem at once.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, LoadError> {
        let path = path.into();
        match std::fs::read_to_string(&path).map(|text| Script::parse(&text)) {
            Ok(Ok(script)) => Ok(Self::new(script)),
            Ok(Err(problems)) => Err(LoadError::Invalid { path, problems }),
            Err(cause) => Err(LoadError::Unreadable { path, cause }),
        }
    }
}

#[async_trait]
impl Model for Scripted {
    fn continuation(&self, so_far: &Prefix) -> Continuation {
        if so_far.beyond_text { Continuation::Unsupported } else { Continuation::Exact }
    }

    async fn check(&self, request: &GenerateRequest) -> Result<(), ModelError> {
        self.script.answer(&request.conversation).map(drop)
    }

    async fn generate(
        &self,
        id: GenerationId,
        request: &GenerateRequest,
        so_far: &Prefix,
    ) -> Result<OutputStream, ModelError> {
        let (answer, captures) = self.script.answer(&request.conversation)?;
        let playback = Playback::of(answer, captures.as_ref(), id, request).after(&so_far.text)?;
        Ok(stream::unfold(playback, Playback::next).boxed())
    }
}

#[cfg(test)]
mod tests;
