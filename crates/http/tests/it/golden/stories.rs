//! What may happen in a generation, one story each: every kind of entry, and every end.

use serde_json::{Value, json};
use tokenwire_core::{
    Attempt, CancelCause, Event, Failure, FinishReason, TextSoFar, TokenId, ToolCallDelta, Usage,
};

use crate::support::{delta, started};

pub(crate) struct Story {
    pub(crate) name: &'static str,
    /// All of its entries; the last one is terminal.
    pub(crate) events: Vec<Event>,
    /// What the chat completion is asked beyond the prompt.
    pub(crate) chat: Value,
    /// The same of the response.
    pub(crate) response: Value,
}

impl Story {
    fn new(name: &'static str, said: impl IntoIterator<Item = Event>, end: Event) -> Self {
        let events = said.into_iter().chain([end]).collect();
        Self { name, events, chat: json!({}), response: json!({}) }
    }
}

fn begun() -> Event {
    started(1, TextSoFar::Kept)
}

fn reasoning(text: &str) -> Event {
    Event::Reasoning { text: text.to_owned() }
}

fn call(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> Event {
    let (id, name) = (id.map(str::to_owned), name.map(str::to_owned));
    Event::ToolCall(ToolCallDelta { index, id, name, arguments: arguments.to_owned() })
}

fn finished(reason: FinishReason) -> Event {
    Event::Finished { reason, usage: Usage { input_tokens: 4, output_tokens: 9 } }
}

fn stop() -> Event {
    finished(FinishReason::Stop)
}

fn failed(failure: Failure) -> Event {
    Event::Failed { failure }
}

/// The end of a story that has said a little.
fn broken_off(name: &'static str, failure: Failure) -> Story {
    Story::new(name, [begun(), delta("Hel"), delta("lo")], failed(failure))
}

/// Bytes of every width, tokens, and empty deltas.
pub(crate) fn text() -> Story {
    let with_token = Event::Delta { text: " wörld".to_owned(), tokens: vec![TokenId(7), TokenId(8)] };
    let said = [
        begun(),
        delta("Hello"),
        with_token,
        delta(""),
        delta(" 👩"),
        delta("\u{200d}"),
        delta("🚀 \"é\\\t"),
    ];
    Story::new("text", said, stop())
}

/// Line breaks of every kind, also cut in two, and text that looks like frames.
pub(crate) fn lines() -> Story {
    let pieces =
        ["a\nb", "a\rb", "a\r\nb", "\n", "\n\n", "cut\r", "\nhere", "data: x", "\nevent: done\ndata: {}\n\n"];
    let said = pieces.into_iter().chain([": comment", "id: 99", "retry: 1", "[DONE]"]).map(delta);
    Story::new("lines", [begun()].into_iter().chain(said), stop())
}

/// By a worker that has no region.
pub(crate) fn nothing_said() -> Story {
    let begun = Event::Started { attempt: Attempt::new(1), text: TextSoFar::Kept, region: None };
    Story::new("nothing_said", [begun], stop())
}

/// Thoughts before the answer, and once more in its midst.
pub(crate) fn thoughts() -> Story {
    let said = [begun(), reasoning("h"), reasoning("m\n"), delta("It"), reasoning("sure?"), delta(" is.")];
    Story::new("thoughts", said, stop())
}

/// Asked for a summary of them: one is whole, the other is cut short.
pub(crate) fn thoughts_as_summaries() -> Story {
    let said = [begun(), reasoning("h"), reasoning("m\n"), delta("It"), reasoning("sure"), reasoning("?")];
    let story = Story::new("thoughts_as_summaries", said, finished(FinishReason::Length));
    Story { response: json!({"reasoning": {"summary": "auto"}}), ..story }
}

/// Two calls whose deltas alternate, one without an id.
pub(crate) fn calls_of_tools() -> Story {
    let said = [
        begun(),
        reasoning("hm"),
        delta("Let me look."),
        call(0, Some("call_1"), Some("look"), ""),
        call(0, None, None, "{\"a\":"),
        call(1, None, Some("go"), "{}"),
        call(0, None, None, "\"é\"}"),
    ];
    Story::new("calls_of_tools", said, finished(FinishReason::ToolCalls))
}

/// Asked for what it cost.
pub(crate) fn cut_at_the_limit_of_tokens() -> Story {
    let story =
        Story::new("cut_at_the_limit_of_tokens", [begun(), delta("Hel")], finished(FinishReason::Length));
    Story { chat: json!({"stream_options": {"include_usage": true}}), ..story }
}

pub(crate) fn held_back_by_a_filter() -> Story {
    let end = finished(FinishReason::ContentFilter);
    Story::new("held_back_by_a_filter", [begun(), delta("Hel")], end)
}

/// Another worker goes on with the text.
pub(crate) fn taken_over() -> Story {
    let said = [begun(), delta("Hel"), started(2, TextSoFar::Kept), delta("lo")];
    Story::new("taken_over", said, stop())
}

/// Another worker says something else.
pub(crate) fn started_over() -> Story {
    let said = [begun(), delta("Hi"), started(2, TextSoFar::Superseded), delta("Hel"), delta("lo")];
    Story::new("started_over", said, stop())
}

/// Nothing was said that would have to be taken back.
pub(crate) fn started_over_unheard() -> Story {
    let said = [begun(), started(2, TextSoFar::Superseded), delta("Hello")];
    Story::new("started_over_unheard", said, stop())
}

/// No worker began.
pub(crate) fn expired() -> Story {
    Story::new("expired", [], failed(Failure::Expired))
}

pub(crate) fn timed_out() -> Story {
    broken_off("timed_out", Failure::TimedOut)
}

pub(crate) fn stopped() -> Story {
    broken_off("stopped", Failure::Cancelled { cause: CancelCause::Requested })
}

pub(crate) fn abandoned() -> Story {
    broken_off("abandoned", Failure::Cancelled { cause: CancelCause::Abandoned })
}

/// Before a word.
pub(crate) fn rejected() -> Story {
    let message = "the context is \"full\"\n".to_owned();
    Story::new("rejected", [begun()], failed(Failure::Rejected { message }))
}

pub(crate) fn exhausted() -> Story {
    broken_off("exhausted", Failure::Exhausted { attempts: 5, message: "it broke".to_owned() })
}

/// In the middle of a call, whose arguments stay incomplete.
pub(crate) fn job_lost() -> Story {
    let said = [begun(), delta("Let me look."), call(0, Some("call_1"), Some("look"), "{\"a\":")];
    Story::new("job_lost", said, failed(Failure::Lost))
}

/// Of the story that has no end.
pub(crate) const LAST_WORDS: &str = "and then";

/// Has no end in the log: it forgets the stream.
pub(crate) fn stream_lost() -> Story {
    let events = vec![begun(), reasoning("hm"), delta("Once, "), delta(LAST_WORDS)];
    Story { name: "stream_lost", events, chat: json!({}), response: json!({}) }
}
