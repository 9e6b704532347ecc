//! `/ask` as OpenAPI tells of it.

mod body;

use axum::{
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde_json::json;
use tokenwire_core::{GenerationId, generations::AccessError};
use utoipa::openapi::HttpMethod;

use super::encoder;
use crate::{
    front::{
        problem::Problem,
        refusal::{Refusal, RefusalBody},
    },
    openapi::{Answer, Described, examples, schemas},
    paths,
};

const TAG: &str = "Ask";

/// Ids as the encoder writes them, and nothing, which means from the start.
const CURSOR: &str = "^(0|[1-9][0-9]{0,17})?$";

const EXAMPLE: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

pub(crate) fn operations() -> Vec<Described> {
    vec![submit(), follow(), cancel()]
}

fn submit() -> Described {
    let stream = stream("The answer as it comes. By the time it begins, the question is stored durably.")
        .leads_to("followGeneration", "uuid", "$request.body#/uuid")
        .leads_to("cancelGeneration", "uuid", "$request.body#/uuid");
    Described::new(HttpMethod::Post, paths::ASK, "ask", "Ask a model")
        .tagged(TAG)
        .about(
            "Stores the question, and answers with the stream of what the model says. A `uuid` of the client's makes the call \
             safe to repeat: the same id with the same body attaches to the running or finished answer. A connection that \
             closes does not stop the answer at once: it goes on for a grace time, in case somebody comes back. Fields that \
             are not named here are ignored.",
        )
        .header("Last-Event-ID", "With a known `uuid`: the last event that the reader saw.", cursor())
        .body::<body::Body>(json!({"query": "Hello world", "uuid": EXAMPLE}))
        .answer(StatusCode::OK, stream)
        .answer(StatusCode::NO_CONTENT, everything_read())
        .refusals::<RefusalBody<'static>>(
            examples::of_bodies()
                .chain(examples::of_streams())
                .chain([
                    Problem::not_an_object(),
                    Problem::invalid_field("query", "is missing: write what you want to ask"),
                    Problem::rejected("the model can never answer this"),
                    Problem::conflict(nobody()),
                    Problem::overloaded(),
                ])
                .map(|problem| Refusal::from(problem).into_response()),
        )
}

fn follow() -> Described {
    Described::new(HttpMethod::Get, paths::GENERATION, "followGeneration", "Read an answer, or the rest of it")
        .tagged(TAG)
        .about(
            "The stream from its start, or after the entry that the reader saw last, at any replica and for as long as streams \
             are kept. An `EventSource` resumes here by itself.",
        )
        .part("uuid", "The id of the generation.", schemas::uuid())
        .header("Last-Event-ID", "The last event that the reader saw. It wins over `last_event_id`.", cursor())
        .query("last_event_id", "The same, for readers that cannot send a header.", cursor())
        .answer(StatusCode::OK, stream("What the reader has not seen yet, and then what comes."))
        .answer(StatusCode::NO_CONTENT, everything_read())
        .refusals::<RefusalBody<'static>>(
            examples::of_streams().chain([missing()]).map(|problem| Refusal::from(problem).into_response()),
        )
}

fn cancel() -> Described {
    Described::new(HttpMethod::Delete, paths::GENERATION, "cancelGeneration", "Stop an answer")
        .tagged(TAG)
        .about(
            "Tells the generation to stop, wherever it runs or waits; its stream ends with `cancelled`. Idempotent, also once it \
             has ended.",
        )
        .part("uuid", "The id of the generation.", schemas::uuid())
        .answer(StatusCode::ACCEPTED, Answer::new("It was told."))
        .refusals::<RefusalBody<'static>>([missing(), examples::unavailable()].map(|problem| Refusal::from(problem).into_response()))
}

fn stream(about: &str) -> Answer {
    let body = "Every event that stems from an entry of the log has its `id`, from 1 without a gap: a reader that was cut \
                resumes after it. Exactly one of `done`, `cancelled`, `timeout`, `expired` and `error` is the last. A body \
                that ends without one was cut. Comments (`:`) fill silence.";
    Answer::new(about).events(body, encoder::events()).header(&header::LOCATION)
}

fn everything_read() -> Answer {
    Answer::new("The stream has ended, and the reader has seen all of it. An `EventSource` stops here.")
        .header(&header::LOCATION)
}

fn cursor() -> utoipa::openapi::Object {
    schemas::text_like(CURSOR)
}

fn missing() -> Problem {
    AccessError::NotFound(nobody()).into()
}

fn nobody() -> GenerationId {
    EXAMPLE.parse().expect("a UUID")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use tokenwire_core::{
        Attempt, CancelCause, Entry, Event, Failure, FinishReason, Seq, TextSoFar, Timestamp, ToolCallDelta,
        Usage,
    };

    use super::{
        super::{encoder::AskEncoder, request::FIELDS},
        *,
    };
    use crate::{
        openapi::{EventKind, properties},
        stream::{frames::Frames, reader::Encoder},
    };

    #[test]
    fn every_field_that_the_parser_reads_is_described_and_no_other() {
        assert_eq!(properties::<body::Body>(), BTreeSet::from(FIELDS.map(str::to_owned)));
    }

    #[test]
    fn every_event_that_is_written_is_described_and_no_other() {
        let mut encoder = AskEncoder::new(nobody(), Duration::from_secs(1));
        let mut frames = Frames::default();
        encoder.begin(Seq::START, &mut frames);
        let started = |text| Event::Started { attempt: Attempt::new(1), text, region: None };
        let failed = |failure| Event::Failed { failure };
        let call = ToolCallDelta { index: 0, id: None, name: None, arguments: String::new() };
        for event in [
            started(TextSoFar::Kept),
            started(TextSoFar::Superseded),
            Event::Delta { text: "a".to_owned(), tokens: Vec::new() },
            Event::Reasoning { text: "a".to_owned() },
            Event::ToolCall(call),
            Event::Finished { reason: FinishReason::Stop, usage: Usage::default() },
            failed(Failure::Cancelled { cause: CancelCause::Requested }),
            failed(Failure::TimedOut),
            failed(Failure::Expired),
            failed(Failure::Lost),
        ] {
            encoder.encode(&Entry { seq: Seq::new(1), at: Timestamp::from_millis(0), event }, &mut frames);
        }
        encoder.waiting(Timestamp::from_millis(0), &mut frames);
        let written = String::from_utf8(frames.take().to_vec()).unwrap();
        let written: BTreeSet<_> = written.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        let kinds = encoder::events();
        let described: BTreeSet<_> = kinds.iter().filter_map(EventKind::name).collect();
        assert_eq!(described, written);
    }
}
