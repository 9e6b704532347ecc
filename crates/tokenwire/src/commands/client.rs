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

pub(super) use answer::{Answer, Reasoning};
pub(super) use end::End;
pub(super) use screen::say;

use generation::Generation;

use crate::cli::client as args;

/// A server that is silent for longer than two and a half heartbeats is gone.
const SILENCE: Duration = Duration::from_secs(25);

/// After Ctrl-C, how long to wait for the server to say that the generation has stopped.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

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
pub(super) struct Listed {
    pub(super) id: String,
    /// Whether it answers when nobody is named.
    #[serde(default)]
    pub(super) default: bool,
}

/// Why there is no answer to a request.
enum Refusal {
    /// It may work later; after this time, if the server said so.
    Passing {
        reason: String,
        after: Option<Duration>,
    },
    Lasting(String),
}

impl Server {
    pub(super) fn new(cli: &args::Server) -> anyhow::Result<Self> {
        let base = Url::parse(&cli.url).ok();
        let base = base.filter(|base| matches!(base.scheme(), "http" | "https") && !base.cannot_be_a_base());
        let mut base =
            base.context("--url: expected the address of a server, such as http://localhost:8000")?;
        // A path is where the server begins, behind a proxy.
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).read_timeout(SILENCE);
        Ok(Self { http: http.build().context("preparing the HTTP client")?, base })
    }

    /// Asks, and shows the answer until it ends or Ctrl-C stops it.
    pub(super) async fn ask(
        &self,
        question: &Question,
        patience: Duration,
        reasoning: Reasoning,
    ) -> anyhow::Result<(End, Answer)> {
        let generation = Generation::new(self, question, patience)?;
        let mut answer = Answer::new(reasoning);
        // Listens before the first byte is asked for: a Ctrl-C that nobody listens to ends the program.
        let mut interrupts = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        let end = tokio::select! {
            end = generation.stream(&mut answer) => end,
            _ = interrupts.recv() => End::Interrupted,
        };
        answer.finish();
        if matches!(end, End::Interrupted | End::NobodyReads) {
            stop(&generation, &mut interrupts).await;
        }
        end.report();
        Ok((end, answer))
    }

    /// The models that the server has.
    pub(super) async fn models(&self) -> Result<Vec<Listed>, End> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Listed>,
        }
        let response = open(self.http.get(self.at("v1/models"))).await.map_err(|refusal| match refusal {
            Refusal::Passing { reason, .. } => self.unreachable(&reason),
            Refusal::Lasting(reason) => End::Refused(reason),
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
        stopped = timeout(STOP_PATIENCE, generation.cancel()) => if !matches!(stopped, Ok(Ok(()))) {
            say("could not tell the server to stop; it stops by itself once nobody reads");
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
        error: Said,
    }
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    let passing = |error| Refusal::Passing { reason: explain(&error), after: None };
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
    Err(if passing { Refusal::Passing { reason, after } } else { Refusal::Lasting(reason) })
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
