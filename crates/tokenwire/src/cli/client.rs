//! The arguments of the commands that speak to a running server: `ask`, `chat` and `models`.
//!
//! What a request may contain is core's to say: the values become its types here, so bad usage is told before anything is
//! sent.

use std::{num::NonZeroU32, time::Duration};

use clap::Args;
use tokenwire_core::{OutOfRange, Temperature, TopP};

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// What to ask; `-` reads it from standard input.
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
    /// Where the server is.
    #[arg(long, env = "TOKENWIRE_URL", value_name = "URL", default_value = "http://localhost:8000")]
    pub(crate) url: String,
}

/// Whom to ask, and how.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    pub(crate) server: Server,
    /// How long to go on trying when the server cannot be reached.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) patience: Duration,
    /// Which model to ask; `tokenwire models` lists them. [default: the server's]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// How the model should behave.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) system: Option<String>,
    /// Show on standard error what the model thinks before it answers, where it tells.
    #[arg(long)]
    pub(crate) reasoning: bool,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
}

/// How the model chooses. What is left out is its own choice.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// End the answer after this many tokens.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_tokens: Option<NonZeroU32>,
    /// 0 always takes the likeliest token, up to 2 spreads the choice.
    #[arg(long, value_name = "NUMBER", value_parser = temperature)]
    pub(crate) temperature: Option<Temperature>,
    /// Choose among the likeliest tokens whose probabilities add up to this: 0 to 1.
    #[arg(long, value_name = "NUMBER", value_parser = top_p)]
    pub(crate) top_p: Option<TopP>,
    /// Choose among this many of the likeliest tokens.
    #[arg(long, value_name = "COUNT")]
    pub(crate) top_k: Option<NonZeroU32>,
    /// The same seed and question give the same answer, where the model can promise it.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// End the answer before this text. May be given several times.
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
