//! Speaks to a running server, for the commands that do: `ask`, `chat` and `models`.
//!
//! The text of an answer goes to standard output as it comes, exactly once; everything else goes to standard error. A
//! question has an id of the client's own, which makes it idempotent, so every step may be tried again: a cut connection, a
//! restarted server and a replica that drains cost time only.
//!
//! Not here: what a conversation is and where its prompts come from. That is the commands'.

mod answer;
mod end;
mod generation;
mod screen;

use std::time::Duration;

use anyhow::Context;
use reqwest::{RequestBuilder, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use tokenwire_core::{Message, Sampling, StopTexts, explain};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use url::Url;

pub(super) use answer::{PrintedAnswer, Reasoning};
pub(super) use end::End;
pub(super) use screen::say;

use generation::Generation;

use crate::cli::client as args;

/// A server that is silent for longer than two and a half heartbeats is gone.
const READ_TIMEOUT: Duration = Duration::from_secs(25);

/// After Ctrl-C, how long to wait for the server to say that the generation has stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    http: reqwest::Client,
    base: Url,
}

/// What to ask, as `/ask` reads it.
#[derive(Debug, Serialize)]
pub(super) struct Question {
    pub(super) messages: Vec<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    #[serde(flatten)]
    pub(super) sampling: Sampling,
}

/// A model that the server has.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct ListedModel {
    pub(super) id: String,
    /// Whether it is the default model.
    #[serde(default)]
    pub(super) default: bool,
}

/// Why a request was refused.
enum Refusal {
    /// A retry may succeed, after this time if the server named one.
    Temporary {
        reason: String,
        after: Option<Duration>,
    },
    Permanent(String),
}

impl Server {
    pub(super) fn new(cli: &args::Server) -> anyhow::Result<Self> {
        let base = Url::parse(&cli.url).ok();
        let base = base.filter(|base| matches!(base.scheme(), "http" | "https") && !base.cannot_be_a_base());
        let mut base = base.context("--url: expected the URL of a server, such as http://localhost:8000")?;
        // A path is where the server begins, behind a proxy.
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let http =
            reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).read_timeout(READ_TIMEOUT);
        Ok(Self { http: http.build().context("preparing the HTTP client")?, base })
    }

    /// Asks, and shows the answer until it ends or Ctrl-C stops it.
    pub(super) async fn ask(
        &self,
        question: &Question,
        patience: Duration,
        reasoning: Reasoning,
    ) -> anyhow::Result<(End, PrintedAnswer)> {
        let generation = Generation::new(self, question, patience)?;
        let mut answer = PrintedAnswer::new(reasoning);
        // Listens before the first byte is asked for: a Ctrl-C that nobody listens to ends the program.
        let mut interrupts = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        let end = tokio::select! {
            end = generation.stream(&mut answer) => end,
            _ = interrupts.recv() => End::Interrupted,
        };
        answer.finish();
        if matches!(end, End::Interrupted | End::OutputClosed) {
            stop(&generation, &mut interrupts).await;
        }
        end.report();
        Ok((end, answer))
    }

    /// The models that the server has.
    pub(super) async fn models(&self) -> Result<Vec<ListedModel>, End> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<ListedModel>,
        }
        let response = open(self.http.get(self.at("v1/models"))).await.map_err(|refusal| match refusal {
            Refusal::Temporary { reason, .. } => self.unreachable(&reason),
            Refusal::Permanent(reason) => End::Refused(reason),
        })?;
        let list: List = response.json().await.map_err(|error| self.unreachable(&explain(&error)))?;
        Ok(list.data)
    }

    fn at(&self, path: &str) -> Url {
        self.base.join(path).expect("our paths are relative, and the address is a base")
    }

    fn unreachable(&self, reason: &str) -> End {
        End::Unreachable(format!("{} cannot be reached: {reason}", self.base))
    }
}

/// Stops the generation; a second Ctrl-C does not wait for it.
async fn stop(generation: &Generation<'_>, interrupts: &mut Signal) {
    tokio::select! {
        stopped = timeout(STOP_TIMEOUT, generation.cancel()) => if !matches!(stopped, Ok(Ok(()))) {
            say("cannot reach the server to stop the generation; the server cancels it when no client reads it");
        },
        _ = interrupts.recv() => {}
    }
}

/// What a command's options say of the choice.
pub(super) fn sampling(cli: args::Sampling) -> anyhow::Result<Sampling> {
    let args::Sampling { max_tokens, temperature, top_p, top_k, seed, stop } = cli;
    let stop = StopTexts::new(stop).map_err(|error| anyhow::anyhow!("--stop {error}"))?;
    Ok(Sampling { temperature, top_p, top_k, seed, max_tokens, stop })
}

/// Sends a request, and returns a response that is what was asked for.
async fn open(request: RequestBuilder) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        error: ErrorBody,
    }
    #[derive(Deserialize)]
    struct ErrorBody {
        message: String,
    }
    let passing = |error| Refusal::Temporary { reason: explain(&error), after: None };
    let response = request.send().await.map_err(passing)?;
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let after = retry_after(&response);
    let reason = match response.json::<Body>().await {
        Ok(body) => body.error.message,
        Err(_) => format!("the server answered {status}"),
    };
    let passing = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    Err(if passing { Refusal::Temporary { reason, after } } else { Refusal::Permanent(reason) })
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
