//! What is described is what is parsed and written.

use std::collections::BTreeSet;

use serde::Serialize;
use tokenwire_core::{
    Attempt, Entry, Event, Failure, FinishReason, Seq, TextSoFar, Timestamp, ToolCallDelta, Usage,
};
use utoipa::PartialSchema;

use super::{
    super::{Resource, Response, metadata, options, output, response},
    *,
};
use crate::openapi::{EventKind, properties};

#[test]
fn every_parameter_that_the_parser_knows_is_described_and_no_other() {
    let known: BTreeSet<_> = options::known().map(str::to_owned).collect();
    assert_eq!(properties::<body::Body>(), known);
}

#[test]
fn the_resource_has_every_property_that_is_described_and_no_other() {
    let written = serde_json::to_value(Resource(&waiting())).unwrap();
    let written: BTreeSet<_> = written.as_object().unwrap().keys().cloned().collect();
    let described = serde_json::to_value(ResponseResource::schema()).unwrap();
    let required =
        described["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    assert_eq!(properties::<ResponseResource>(), written);
    assert_eq!(required.collect::<BTreeSet<_>>(), written);
}

/// Hears the names of events.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl output::Watch for Names {
    fn event(&mut self, name: &'static str, _what: &impl Serialize) {
        self.0.insert(name.to_owned());
    }
}

fn waiting() -> Response {
    let id = openai::nobody();
    Response {
        id,
        created_at: Timestamp::from_millis(0),
        metadata: metadata::ResponseMetadata { background: true, ..metadata::ResponseMetadata::default() },
        output: output::Output::new(id),
        state: response::State::Waiting,
    }
}

#[test]
fn every_event_that_is_written_is_described_and_no_other() {
    let mut names = Names::default();
    let usage = Usage::default();
    let call = |arguments: &str| {
        let arguments = arguments.to_owned();
        Event::ToolCall(ToolCallDelta { index: 0, id: None, name: None, arguments })
    };
    for (last, reasoning) in [
        (Event::Finished { reason: FinishReason::Stop, usage }, json!({"summary": "auto"})),
        (Event::Finished { reason: FinishReason::Length, usage }, json!({"summary": null})),
        (Event::Failed { failure: Failure::TimedOut }, json!(null)),
    ] {
        let mut response = waiting();
        response.metadata.echo.insert("reasoning".to_owned(), reasoning);
        response.created(&mut names);
        let events = [
            Event::Started { attempt: Attempt::new(1), text: TextSoFar::Kept, region: None },
            Event::Reasoning { text: "a".to_owned() },
            Event::Delta { text: "a".to_owned(), tokens: Vec::new() },
            call("{}"),
            last,
        ];
        for (index, event) in events.into_iter().enumerate() {
            let at = Timestamp::from_millis(0);
            response.take(&Entry { seq: Seq::new(index as u64 + 1), at, event }, &mut names);
        }
    }
    // The end of every stream is no event of the format.
    let described: BTreeSet<_> = events().iter().filter_map(EventKind::name).map(str::to_owned).collect();
    assert_eq!(described, names.0);
}
