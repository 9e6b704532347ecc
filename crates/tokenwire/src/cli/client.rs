//! The arguments of the commands that speak to a running server: `ask`, `chat` and `models`.
//!
//! What a request may contain is core's to say: the values become its types here, so bad usage is told before anything is
//! sent.

use std::{num::NonZeroU32, time::Duration};

use clap::Args;
use tokenwire_core::{OutOfRange, Temperature, TopP};

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The prompt. `-` reads it from standard input.
    #[arg(value_name = "PROMPT", allow_hyphen_values = true)]
    pub(crate) prompt: String,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Models {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Print JSON: a list of `{"id", "default"}`.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The URL of the server.
    #[arg(long, env = "TOKENWIRE_URL", value_name = "URL", default_value = "http://localhost:8000")]
    pub(crate) url: String,
}

/// Whom to ask, and how.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    pub(crate) server: Server,
    /// How long to retry while the server cannot be reached.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) patience: Duration,
    /// The model. `tokenwire models` lists them. [default: the server's]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// The system message: how the model should behave.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) system: Option<String>,
    /// Print the model's reasoning on standard error, if it sends any.
    #[arg(long)]
    pub(crate) reasoning: bool,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
}

/// Sampling. Options that are not given are left to the model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// Maximum number of tokens of the answer.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_tokens: Option<NonZeroU32>,
    /// Sampling temperature, 0 to 2. 0 always takes the likeliest token.
    #[arg(long, value_name = "NUMBER", value_parser = temperature)]
    pub(crate) temperature: Option<Temperature>,
    /// Sample from the likeliest tokens whose probabilities add up to this, 0 to 1.
    #[arg(long, value_name = "NUMBER", value_parser = top_p)]
    pub(crate) top_p: Option<TopP>,
    /// Sample from this number of the likeliest tokens.
    #[arg(long, value_name = "COUNT")]
    pub(crate) top_k: Option<NonZeroU32>,
    /// With the same seed, a model that supports it gives the same answer to the same prompt.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Stop the answer before this text. Can be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
}

fn temperature(text: &str) -> Result<Temperature, String> {
    number(text, Temperature::new)
}

fn top_p(text: &str) -> Result<TopP, String> {
    number(text, TopP::new)
}

fn number<N>(text: &str, checked: impl Fn(f32) -> Result<N, OutOfRange>) -> Result<N, String> {
    // What is no number is out of every range.
    checked(text.parse().unwrap_or(f32::NAN)).map_err(|error| error.to_string())
}
