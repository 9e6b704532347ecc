//! Reads a response from its first byte to its end.
//!
//! Every byte is a sign of life, also comments and empty deltas. Output before a failure is returned before the failure.
//! Dropping the stream drops the connection, which tells the upstream to stop.

use std::time::Duration;

use futures::StreamExt;
use tokenwire_core::model::Output;
use tokio::time::timeout;

use super::{
    answer::AnswerFold,
    call::{Body, Opened},
    config::{Key, Price},
    endpoints::InFlight,
    errors::UpstreamError,
    metrics::Asked,
    prefix_trimmer::PrefixTrimmer,
};
use crate::sse::{Decoder, Event};

/// How long a complete response may take to send its usage.
const USAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the body may take to end after `[DONE]`, so that its connection can be reused.
const END_TIMEOUT: Duration = Duration::from_millis(250);

/// The maximum length of one event and of one line. A delta is much shorter, and every stream of a worker may hold one.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// A response that is being read.
pub(super) struct AnswerStream {
    body: Body,
    decoder: Decoder,
    answer: AnswerFold,
    end: Option<End>,
    idle_timeout: Duration,
    key: Option<Key>,
    price: Option<Price>,
    in_flight: InFlight,
    asked: Asked,
}

enum End {
    Whole,
    Cut(UpstreamError),
}

/// How a response is read.
pub(super) struct AnswerReader {
    pub(super) prefix_trimmer: PrefixTrimmer,
    pub(super) idle_timeout: Duration,
    pub(super) key: Option<Key>,
    pub(super) price: Option<Price>,
}

impl AnswerReader {
    /// Reads this response.
    pub(super) fn read(self, opened: Opened, asked: Asked) -> AnswerStream {
        let Self { prefix_trimmer, idle_timeout, key, price } = self;
        let Opened { in_flight, body } = opened;
        let (decoder, answer) = (Decoder::new(MAX_EVENT_BYTES), AnswerFold::new(prefix_trimmer));
        AnswerStream { body, decoder, answer, end: None, idle_timeout, key, price, in_flight, asked }
    }
}

impl AnswerStream {
    /// The next output. Nothing follows [`Output::Finished`] or an error.
    pub(super) async fn next(&mut self) -> Result<Output, UpstreamError> {
        loop {
            if let Some(output) = self.answer.next() {
                return Ok(output);
            }
            match self.end.take() {
                Some(End::Whole) => {
                    let (reason, usage) = self.answer.ending();
                    self.asked.finished(usage, self.price);
                    return Ok(Output::Finished { reason, usage });
                }
                Some(End::Cut(fault)) => {
                    if fault.is_about_the_upstream() {
                        self.in_flight.failed(&fault);
                    } else {
                        self.in_flight.answered();
                    }
                    self.asked.failed(fault.outcome_after_the_first_byte());
                    return Err(fault.again_after(self.in_flight.wait()));
                }
                None => {}
            }
            self.end = self.read().await;
            if self.end.is_none() && !self.answer.has_more() {
                return Ok(Output::Working);
            }
        }
    }

    /// Reads the next bytes of the body.
    async fn read(&mut self) -> Option<End> {
        let limit =
            if self.answer.is_whole() { self.idle_timeout.min(USAGE_TIMEOUT) } else { self.idle_timeout };
        match timeout(limit, self.body.next()).await {
            Ok(Some(Ok(bytes))) => match self.decoder.push(&bytes) {
                Ok(events) => self.take(&events).await,
                Err(malformed) => Some(self.cut(UpstreamError::broken(malformed))),
            },
            Ok(Some(Err(error))) => Some(self.cut(UpstreamError::broken(error))),
            Ok(None) => {
                // An incomplete last event counts as missing.
                if let Ok(Some(last)) = self.decoder.finish() {
                    let _ = self.answer.take(&last, self.key.as_ref());
                }
                Some(self.cut(UpstreamError::broken("the upstream ended the answer before it was whole")))
            }
            Err(_) => {
                Some(self.cut(UpstreamError::broken(format!("the upstream said nothing for {limit:?}"))))
            }
        }
    }

    async fn take(&mut self, events: &[Event]) -> Option<End> {
        for event in events {
            if let Err(fault) = self.answer.take(event, self.key.as_ref()) {
                return Some(self.cut(fault));
            }
            // Only after an event: some services send comments, and then that they are busy.
            self.in_flight.answered();
            if self.answer.is_done() {
                let rest = async { while let Some(Ok(_)) = self.body.next().await {} };
                let _ = timeout(END_TIMEOUT, rest).await;
                return Some(End::Whole);
            }
        }
        None
    }

    /// The end of the response: a complete one can only lack its usage.
    fn cut(&self, fault: UpstreamError) -> End {
        if self.answer.is_whole() { End::Whole } else { End::Cut(fault) }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokenwire_core::ModelName;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::upstream::endpoints::Endpoints;

    /// Reads pieces that come this far apart, and after the last one nothing.
    fn reading(apart: Duration, pieces: &[&'static str]) -> AnswerStream {
        let pieces = stream::iter(pieces.to_vec()).then(move |piece| async move {
            sleep(apart).await;
            Ok(piece.into())
        });
        let model = ModelName::new("m").unwrap();
        let in_flight = Endpoints::new(&["http://h/v1".parse().unwrap()]).choose(&model, &[]).unwrap();
        let opened = Opened { in_flight, body: pieces.chain(stream::pending()).boxed() };
        let idle_timeout = Duration::from_secs(30);
        let reader =
            AnswerReader { prefix_trimmer: PrefixTrimmer::default(), idle_timeout, key: None, price: None };
        reader.read(opened, Asked::now(&model))
    }

    const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

    #[tokio::test(start_paused = true)]
    async fn every_byte_is_a_sign_of_life() {
        let began = Instant::now();
        let mut reading =
            reading(Duration::from_secs(29), &[":\n\n", ":", " ping", "\n", "data: {}\n\n", TEXT]);
        for _ in 0..5 {
            assert_eq!(reading.next().await.unwrap(), Output::Working);
        }
        assert!(matches!(reading.next().await.unwrap(), Output::Text { .. }));
        let cut = reading.next().await.unwrap_err();
        assert_eq!(cut.to_string(), "the upstream said nothing for 30s");
        assert_eq!(began.elapsed(), Duration::from_secs(6 * 29 + 30));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_whole_waits_for_its_usage_and_not_for_long() {
        let began = Instant::now();
        let mut reading = reading(Duration::ZERO, &[FINISH]);
        assert_eq!(reading.next().await.unwrap(), Output::Working);
        assert!(matches!(reading.next().await.unwrap(), Output::Finished { .. }));
        assert_eq!(began.elapsed(), USAGE_TIMEOUT);
    }
}
