//! Speaks `/ask`: posts the prompt, follows the stream, resumes, cancels.

use std::time::{Duration, Instant};

use anyhow::Context;
use eventsource_stream::{Event, Eventsource};
use futures::{Stream, StreamExt};
use reqwest::{RequestBuilder, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use tokenwire_core::{GenerationId, retry::Backoff};
use tokio::time::sleep;
use url::Url;

use super::answer::Answer;

/// A server that is silent for longer than two and a half heartbeats is gone.
const SILENCE: Duration = Duration::from_secs(25);

/// One prompt at one server.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    submit: Url,
    generation: Url,
    id: GenerationId,
    prompt: String,
    model: Option<String>,
    patience: Duration,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    Done,
    /// The server will not take this prompt.
    Refused(String),
    Failed(String),
    TimedOut,
    Expired,
    Cancelled,
    Unreachable(String),
    Interrupted,
    /// Whoever read standard output went away.
    NobodyReads,
}

/// Why one connection gave no more.
enum Cut {
    /// Try again, after this time if the server said so.
    Again { reason: String, after: Option<Duration> },
    /// There is nothing to try.
    End(End),
}

impl Client {
    pub(super) fn new(
        base: &str,
        id: GenerationId,
        prompt: String,
        model: Option<String>,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let base = Url::parse(base).ok().filter(|base| matches!(base.scheme(), "http" | "https"));
        let base = base.context("--url: expected the address of a server, such as http://localhost:8000")?;
        let path = base.path().trim_end_matches('/').to_owned();
        let at =
            |tail: String| base.join(&format!("{path}/{tail}")).context("--url cannot be a base address");
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).read_timeout(SILENCE);
        Ok(Self {
            http: http.build().context("preparing the HTTP client")?,
            submit: at("ask".into())?,
            generation: at(format!("ask/{id}"))?,
            id,
            prompt,
            model,
            patience,
        })
    }

    /// Streams the answer to its end. May be dropped at any time; the generation then stops once nobody reads.
    pub(super) async fn stream(&self, answer: &mut Answer) -> End {
        let mut accepted = false;
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
        let mut heard = Instant::now();
        loop {
            let before = answer.cursor();
            let request = if accepted { self.resume(answer.cursor()) } else { self.submit() };
            let cut = match open(request).await {
                Ok(response) => {
                    accepted = true;
                    let cut = show(response.bytes_stream().eventsource(), answer).await;
                    heard = Instant::now();
                    if answer.cursor() > before {
                        backoff.reset();
                    }
                    cut
                }
                Err(cut) => cut,
            };
            match cut {
                Cut::End(end) => return end,
                Cut::Again { reason, .. } if heard.elapsed() >= self.patience => {
                    return End::Unreachable(format!("{} cannot be reached: {reason}", self.submit));
                }
                Cut::Again { reason, after } => {
                    tracing::debug!(reason, "trying again");
                    // The server's own word, but never longer than our patience.
                    sleep(after.unwrap_or_else(|| backoff.advance()).min(self.patience)).await;
                }
            }
        }
    }

    /// Stops the generation.
    pub(super) async fn cancel(&self) -> anyhow::Result<()> {
        let response = self.http.delete(self.generation.clone()).send().await?;
        // Not found is as good: it had not been accepted.
        anyhow::ensure!(response.status().is_success() || response.status() == StatusCode::NOT_FOUND);
        Ok(())
    }

    /// The same id and the same body: posting it twice is posting it once.
    fn submit(&self) -> RequestBuilder {
        let mut body = json!({ "query": self.prompt, "uuid": self.id.to_string() });
        if let (Some(model), Some(fields)) = (&self.model, body.as_object_mut()) {
            fields.insert("model".into(), model.clone().into());
        }
        self.http.post(self.submit.clone()).json(&body)
    }

    fn resume(&self, cursor: Option<u64>) -> RequestBuilder {
        let request = self.http.get(self.generation.clone());
        match cursor {
            Some(cursor) => request.header("last-event-id", cursor),
            None => request,
        }
    }
}

/// Sends a request that should be answered with a stream.
async fn open(request: RequestBuilder) -> Result<Response, Cut> {
    let response = request.send().await.map_err(|error| again(&error))?;
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let after = retry_after(&response);
    let message = match response.json::<ErrorBody>().await {
        Ok(body) => body.error.message,
        Err(_) => format!("the server answered {status}"),
    };
    let passing = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    Err(if passing { Cut::Again { reason: message, after } } else { Cut::End(End::Refused(message)) })
}

/// Shows what a connection brings.
async fn show<E: std::error::Error + 'static>(
    events: impl Stream<Item = Result<Event, E>>,
    answer: &mut Answer,
) -> Cut {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => return again(&error),
        };
        let is_entry = event.id.parse().is_ok_and(|seq| answer.advance(seq));
        match event.event.as_str() {
            // The one end that is no entry: the log has lost the stream. It has no id, so the parser repeats the last one.
            "error" => return Cut::End(End::Failed(message_of(&event.data))),
            // `queued`, and what was shown before.
            _ if !is_entry => {}
            "message" | "" => {
                if answer.show(&event.data).is_err() {
                    return Cut::End(End::NobodyReads);
                }
            }
            "rewind" => super::say("the answer starts over: what came before this line is void"),
            "done" => return Cut::End(End::Done),
            "timeout" => return Cut::End(End::TimedOut),
            "expired" => return Cut::End(End::Expired),
            "cancelled" => return Cut::End(End::Cancelled),
            other => tracing::debug!(event = other, "not shown"),
        }
    }
    // A body that ends without a terminal event is a cut, not an end.
    Cut::Again { reason: "the stream was cut".into(), after: None }
}

fn again(error: &(dyn std::error::Error + 'static)) -> Cut {
    Cut::Again { reason: tokenwire_core::explain(error), after: None }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn message_of(data: &str) -> String {
    serde_json::from_str::<Message>(data)
        .map_or_else(|_| "the generation failed".into(), |message| message.message)
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    error: Message,
}

#[derive(Debug, Deserialize)]
struct Message {
    message: String,
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;

    use super::*;

    async fn shown(frames: &'static str, answer: &mut Answer) -> Cut {
        show(stream::iter([Ok::<_, Infallible>(frames)]).eventsource(), answer).await
    }

    #[tokio::test]
    async fn an_answer_that_the_server_has_lost_ends_as_failed() {
        let mut answer = Answer::new();
        let started = "event: queued\ndata:{}\n\nid: 1\nevent: started\ndata:{}\n\n";
        assert!(matches!(shown(started, &mut answer).await, Cut::Again { .. }));
        let lost = "retry: 1000\n\nevent: error\ndata:{\"type\":\"lost\",\"message\":\"it is gone\"}\n\n";
        let both = "id: 1\nevent: started\ndata:{}\n\nevent: error\ndata:{\"type\":\"lost\",\"message\":\"it is gone\"}\n\n";
        for frames in [lost, both] {
            let end = shown(frames, &mut answer).await;
            assert!(matches!(end, Cut::End(End::Failed(message)) if message == "it is gone"));
        }
        assert_eq!(answer.cursor(), Some(1));
    }
}
