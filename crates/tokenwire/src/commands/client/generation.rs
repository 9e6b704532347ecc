//! One request to one server: submitted, followed to its end, resumed, cancelled.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{Stream, StreamExt};
use model::sse::{Decoder, Event};
use reqwest::{RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use tokenwire_core::{FinishReason, GenerationId, retry::Backoff};
use tokio::time::sleep;

use super::{End, PrintedAnswer, Question, Refusal, Server, open};

/// The maximum length of one event: far above that of a delta which a server passes on.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Generation<'a> {
    server: &'a Server,
    path: String,
    body: String,
    patience: Duration,
}

/// Why one connection ended.
enum Cut {
    /// Try again, after this time if the server said so.
    Again { reason: String, after: Option<Duration> },
    /// The answer has ended.
    End(End),
}

impl<'a> Generation<'a> {
    /// Nothing is sent yet.
    pub(super) fn new(server: &'a Server, question: &Question, patience: Duration) -> anyhow::Result<Self> {
        #[derive(Serialize)]
        struct Body<'a> {
            uuid: GenerationId,
            #[serde(flatten)]
            question: &'a Question,
        }
        let id = GenerationId::fresh();
        let body =
            serde_json::to_string(&Body { uuid: id, question }).context("writing the question as JSON")?;
        Ok(Self { server, path: format!("ask/{id}"), body, patience })
    }

    /// Streams the answer to its end. May be dropped at any time; the generation then stops once nobody reads.
    pub(super) async fn stream(&self, answer: &mut PrintedAnswer) -> End {
        let mut accepted = false;
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
        let mut heard = Instant::now();
        loop {
            let before = answer.cursor();
            let request = if accepted { self.resume(answer.cursor()) } else { self.submit() };
            let cut = match open(request).await {
                Ok(response) => {
                    accepted = true;
                    let cut = show(response.bytes_stream(), answer).await;
                    heard = Instant::now();
                    if answer.cursor() > before {
                        backoff.reset();
                    }
                    cut
                }
                Err(Refusal::Temporary { reason, after }) => Cut::Again { reason, after },
                Err(Refusal::Permanent(reason)) => Cut::End(End::Refused(reason)),
            };
            match cut {
                Cut::End(end) => return end,
                Cut::Again { reason, .. } if heard.elapsed() >= self.patience => {
                    return self.server.unreachable(&reason);
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
        let response = self.server.http.delete(self.server.at(&self.path)).send().await?;
        // Not found is as good: it had not been accepted.
        anyhow::ensure!(response.status().is_success() || response.status() == StatusCode::NOT_FOUND);
        Ok(())
    }

    /// The same id and the same body: posting it twice is posting it once.
    fn submit(&self) -> RequestBuilder {
        let request = self.server.http.post(self.server.at("ask"));
        request.header("content-type", "application/json").body(self.body.clone())
    }

    fn resume(&self, cursor: Option<u64>) -> RequestBuilder {
        let request = self.server.http.get(self.server.at(&self.path));
        match cursor {
            Some(cursor) => request.header("last-event-id", cursor),
            None => request,
        }
    }
}

/// Shows the events of one connection.
async fn show<B: AsRef<[u8]>, E: std::error::Error + 'static>(
    body: impl Stream<Item = Result<B, E>>,
    answer: &mut PrintedAnswer,
) -> Cut {
    let (mut body, mut decoder) = (std::pin::pin!(body), Decoder::new(MAX_EVENT_BYTES));
    while let Some(bytes) = body.next().await {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return Cut::Again { reason: tokenwire_core::explain(&error), after: None },
        };
        let events = match decoder.push(bytes.as_ref()) {
            Ok(events) => events,
            Err(malformed) => {
                return Cut::End(End::Failed(format!("the server sent no answer: {malformed}")));
            }
        };
        if let Some(end) = events.iter().find_map(|event| take(event, answer)) {
            return Cut::End(end);
        }
    }
    // A body that ends without a terminal event was cut.
    Cut::Again { reason: "the connection was cut in mid-answer".into(), after: None }
}

/// Shows one event. Returns the end of the answer, if the event says it.
fn take(event: &Event, answer: &mut PrintedAnswer) -> Option<End> {
    let is_entry = event.id.parse().is_ok_and(|seq| answer.advance(seq));
    match event.name.as_str() {
        // The only end without an id: the log has lost the stream. The decoder repeats the last id.
        "error" => return Some(End::Failed(message_of(&event.data))),
        "waiting_for_model" => answer.model_is_away(),
        // `queued`, and events that were shown before.
        _ if !is_entry => {}
        "message" | "" => {
            if answer.show(&event.data).is_err() {
                return Some(End::OutputClosed);
            }
        }
        "reasoning" => {
            if let Ok(ReasoningData { text }) = serde_json::from_str(&event.data) {
                answer.think(&text);
            }
        }
        "tool_call" => {
            if let Ok(delta) = serde_json::from_str(&event.data) {
                answer.call(delta);
            }
        }
        "rewind" => answer.rewind(),
        "done" => {
            let done = serde_json::from_str::<Done>(&event.data).ok();
            return Some(End::Done(done.map(|done| done.finish_reason)));
        }
        "timeout" => return Some(End::TimedOut),
        "expired" => return Some(End::Expired),
        "cancelled" => return Some(End::Cancelled),
        other => tracing::debug!(event = other, "not shown"),
    }
    None
}

fn message_of(data: &str) -> String {
    serde_json::from_str::<Failure>(data)
        .map_or_else(|_| "the generation failed".into(), |failure| failure.message)
}

#[derive(Deserialize)]
struct ReasoningData {
    text: String,
}

#[derive(Deserialize)]
struct Done {
    finish_reason: FinishReason,
}

#[derive(Deserialize)]
struct Failure {
    message: String,
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;

    use super::{super::Reasoning, *};

    async fn shown(frames: &'static str, answer: &mut PrintedAnswer) -> Cut {
        show(stream::iter([Ok::<_, Infallible>(frames)]), answer).await
    }

    #[tokio::test]
    async fn an_answer_that_the_server_has_lost_ends_as_failed() {
        let mut answer = PrintedAnswer::new(Reasoning::Hidden);
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

    #[tokio::test]
    async fn a_body_that_is_no_event_stream_is_not_asked_for_again() {
        let body = stream::repeat_with(|| Ok::<_, Infallible>([b'x'; 4096]));
        let end = show(body, &mut PrintedAnswer::new(Reasoning::Hidden)).await;
        assert!(
            matches!(end, Cut::End(End::Failed(message)) if message.ends_with("longer than 16777216 bytes"))
        );
    }
}
