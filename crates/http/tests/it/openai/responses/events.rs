//! The events of a response: which, in which order, with which numbers.

use axum::http::Method;
use serde_json::{Value, json};
use tokenwire_core::{
    CancelCause, Event, Failure, FinishReason, GenerationId, TextSoFar, ToolCallDelta, Usage,
};

use super::asked;
use crate::{
    openai::id,
    support::{Stage, delta, done, piece, started, text},
};

fn call(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> Event {
    let (id, name) = (id.map(str::to_owned), name.map(str::to_owned));
    Event::ToolCall(ToolCallDelta { index, id, name, arguments: arguments.to_owned() })
}

fn reasoning(text: &str) -> Event {
    Event::Reasoning { text: text.to_owned() }
}

fn begun() -> Event {
    started(1, TextSoFar::Kept)
}

/// The frames of a stream that ended politely, each with its blank line.
async fn frames(stage: &Stage, id: GenerationId, rest: &str) -> Vec<String> {
    let response = stage.response(Method::GET, id, &format!("?stream=true{rest}")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body = text(response).await;
    body.split_inclusive("\n\n").map(str::to_owned).collect()
}

/// One event in a line: its number, its name without `response.`, and what it says; of resources, what changes.
fn line(number: usize, frame: &str, id: GenerationId) -> String {
    let (name, data) = frame.trim_end().split_once('\n').unwrap();
    let name = name.strip_prefix("event: ").unwrap();
    let mut data: Value = serde_json::from_str(data.strip_prefix("data:").unwrap()).unwrap();
    let fields = data.as_object_mut().unwrap();
    assert_eq!(fields.remove("type").unwrap(), name);
    assert_eq!(fields.remove("sequence_number").unwrap(), json!(number));
    let what = match fields.get("response") {
        Some(response) => {
            assert_eq!(response.as_object().unwrap().len(), 31);
            let output = &response["output"];
            format!("{} {}", response["status"].as_str().unwrap(), output)
        }
        None => data.to_string(),
    };
    let name = name.strip_prefix("response.").unwrap_or(name);
    format!("{name} {what}").replace(&id.to_string(), "ID")
}

/// Every event of a response with these entries, which must end with `[DONE]`.
async fn told(more: &Value, events: &[Event]) -> Vec<String> {
    let stage = Stage::new();
    let id = stage.responded(more, events).await;
    let frames = frames(&stage, id, "").await;
    let (end, told) = frames.split_last().unwrap();
    assert_eq!(end, "data: [DONE]\n\n");
    told.iter().enumerate().map(|(number, frame)| line(number, frame, id)).collect()
}

fn part(text: &str) -> String {
    format!(r#"{{"annotations":[],"logprobs":[],"text":"{text}","type":"output_text"}}"#)
}

#[tokio::test]
async fn text_is_told_in_the_order_that_the_sdks_expect() {
    let events = [begun(), delta("Hel"), delta(""), delta("lo\n"), done()];
    let message = |status: &str, text: &str| {
        let part = if text.is_empty() { String::new() } else { part(text) };
        format!(
            r#"{{"content":[{part}],"id":"msg_ID_0","role":"assistant","status":"{status}","type":"message"}}"#
        )
    };
    let at = r#""item_id":"msg_ID_0""#;
    let expected = [
        "created queued []".to_owned(),
        "queued queued []".to_owned(),
        "in_progress in_progress []".to_owned(),
        format!(r#"output_item.added {{"item":{},"output_index":0}}"#, message("in_progress", "")),
        format!(r#"content_part.added {{"content_index":0,{at},"output_index":0,"part":{}}}"#, part("")),
        format!(
            r#"output_text.delta {{"content_index":0,"delta":"Hel",{at},"logprobs":[],"output_index":0}}"#
        ),
        format!(
            r#"output_text.delta {{"content_index":0,"delta":"lo\n",{at},"logprobs":[],"output_index":0}}"#
        ),
        format!(
            r#"output_text.done {{"content_index":0,{at},"logprobs":[],"output_index":0,"text":"Hello\n"}}"#
        ),
        format!(
            r#"content_part.done {{"content_index":0,{at},"output_index":0,"part":{}}}"#,
            part("Hello\\n")
        ),
        format!(r#"output_item.done {{"item":{},"output_index":0}}"#, message("completed", "Hello\\n")),
        format!("completed completed [{}]", message("completed", "Hello\\n")),
    ];
    assert_eq!(told(&json!({}), &events).await, expected);
}

#[tokio::test]
async fn reasoning_and_calls_are_items_of_their_own() {
    let events = [
        begun(),
        reasoning("hm"),
        call(0, Some("call_1"), Some("look"), ""),
        call(0, None, None, "{\"a\":"),
        call(1, None, Some("go"), "{}"),
        call(0, None, None, "1}"),
        Event::Finished { reason: FinishReason::ToolCalls, usage: Usage::default() },
    ];
    let thought = |status: &str, content: &str| {
        format!(
            r#"{{"content":[{content}],"id":"rs_ID_0","status":"{status}","summary":[],"type":"reasoning"}}"#
        )
    };
    let hm = r#"{"text":"hm","type":"reasoning_text"}"#;
    let item = |index: usize, status: &str, arguments: &str| {
        let (call, name) = if index == 1 { ("call_1", "look") } else { ("call_ID_1", "go") };
        format!(
            r#"{{"arguments":"{arguments}","call_id":"{call}","id":"fc_ID_{index}","name":"{name}","status":"{status}","type":"function_call"}}"#
        )
    };
    let a = r#"{\"a\":1}"#;
    let expected = [
        "created queued []".to_owned(),
        "queued queued []".to_owned(),
        "in_progress in_progress []".to_owned(),
        format!(r#"output_item.added {{"item":{},"output_index":0}}"#, thought("in_progress", "")),
        r#"content_part.added {"content_index":0,"item_id":"rs_ID_0","output_index":0,"part":{"text":"","type":"reasoning_text"}}"#.to_owned(),
        r#"reasoning_text.delta {"content_index":0,"delta":"hm","item_id":"rs_ID_0","output_index":0}"#.to_owned(),
        r#"reasoning_text.done {"content_index":0,"item_id":"rs_ID_0","output_index":0,"text":"hm"}"#.to_owned(),
        format!(r#"content_part.done {{"content_index":0,"item_id":"rs_ID_0","output_index":0,"part":{hm}}}"#),
        format!(r#"output_item.done {{"item":{},"output_index":0}}"#, thought("completed", hm)),
        format!(r#"output_item.added {{"item":{},"output_index":1}}"#, item(1, "in_progress", "")),
        r#"function_call_arguments.delta {"delta":"{\"a\":","item_id":"fc_ID_1","output_index":1}"#.to_owned(),
        format!(r#"output_item.added {{"item":{},"output_index":2}}"#, item(2, "in_progress", "")),
        r#"function_call_arguments.delta {"delta":"{}","item_id":"fc_ID_2","output_index":2}"#.to_owned(),
        r#"function_call_arguments.delta {"delta":"1}","item_id":"fc_ID_1","output_index":1}"#.to_owned(),
        format!(r#"function_call_arguments.done {{"arguments":"{a}","item_id":"fc_ID_1","name":"look","output_index":1}}"#),
        format!(r#"output_item.done {{"item":{},"output_index":1}}"#, item(1, "completed", a)),
        r#"function_call_arguments.done {"arguments":"{}","item_id":"fc_ID_2","name":"go","output_index":2}"#.to_owned(),
        format!(r#"output_item.done {{"item":{},"output_index":2}}"#, item(2, "completed", "{}")),
        format!("completed completed [{},{},{}]", thought("completed", hm), item(1, "completed", a), item(2, "completed", "{}")),
    ];
    assert_eq!(told(&json!({}), &events).await, expected);
}

#[tokio::test]
async fn every_end_has_its_events_and_is_what_the_resource_says() {
    let message = || "it broke".to_owned();
    let failed = |failure| Event::Failed { failure };
    let finished = |reason| Event::Finished { reason, usage: Usage::default() };
    for (end, events, status, reason, code) in [
        (
            finished(FinishReason::Length),
            &["response.incomplete"][..],
            "incomplete",
            json!("max_output_tokens"),
            None,
        ),
        (
            finished(FinishReason::ContentFilter),
            &["response.incomplete"],
            "incomplete",
            json!("content_filter"),
            None,
        ),
        (
            failed(Failure::Cancelled { cause: CancelCause::Requested }),
            &["response.incomplete"],
            "cancelled",
            Value::Null,
            None,
        ),
        (failed(Failure::TimedOut), &["error", "response.failed"], "failed", Value::Null, Some("timeout")),
        (failed(Failure::Lost), &["error", "response.failed"], "failed", Value::Null, Some("lost")),
        (
            failed(Failure::Exhausted { attempts: 3, message: message() }),
            &["error", "response.failed"],
            "failed",
            Value::Null,
            Some("exhausted"),
        ),
        (
            failed(Failure::Rejected { message: message() }),
            &["error", "response.failed"],
            "failed",
            Value::Null,
            Some("rejected"),
        ),
    ] {
        let stage = Stage::new();
        let id = stage.responded(&json!({}), &[begun(), delta("half"), end]).await;
        let frames = frames(&stage, id, "").await;
        assert_eq!(frames.last().unwrap(), "data: [DONE]\n\n");
        let last: Vec<_> = frames[frames.len() - 1 - events.len()..frames.len() - 1]
            .iter()
            .map(|frame| data(frame))
            .collect();
        assert_eq!(last.iter().map(|data| data["type"].as_str().unwrap()).collect::<Vec<_>>(), events);
        let resource = stage.resource(id).await;
        assert_eq!(last.last().unwrap()["response"], resource);
        assert_eq!(resource["status"], status);
        assert_eq!(resource["incomplete_details"]["reason"], reason);
        assert_eq!(resource["error"]["code"], json!(code));
        assert_eq!(resource["output"][0]["status"], "incomplete");
        if code.is_some() {
            assert_eq!(last[0]["error"]["code"], json!(code), "nested, so that the SDKs raise");
            assert_eq!(last[0]["error"].as_object().unwrap().len(), 4);
        }
    }
}

fn data(frame: &str) -> Value {
    serde_json::from_str(frame.trim_end().split_once("data:").unwrap().1).unwrap()
}

#[tokio::test]
async fn a_failure_before_the_first_attempt_is_never_in_progress() {
    let told = told(&json!({}), &[Event::Failed { failure: Failure::Expired }]).await;
    let names: Vec<_> = told.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["created", "queued", "error", "failed"]);
}

#[tokio::test]
async fn text_that_would_have_to_be_taken_back_is_a_failure_of_the_stream_alone() {
    let stage = Stage::new();
    let again = started(2, TextSoFar::Superseded);
    let events = [begun(), delta("Hi"), again.clone(), delta("Hello"), done()];
    let id = stage.responded(&json!({}), &events).await;
    let frames = frames(&stage, id, "").await;
    let names: Vec<_> = frames.iter().rev().take(3).map(|frame| frame.lines().next().unwrap()).collect();
    assert_eq!(names, ["data: [DONE]", "event: response.failed", "event: error"]);
    assert!(frames[frames.len() - 3].contains(r#""code":"started_over""#));
    let resource = stage.resource(id).await;
    assert_eq!(resource["status"], "completed");
    assert_eq!(resource["output"][0]["content"][0]["text"], "Hello");

    let told = told(&json!({}), &[begun(), again, delta("Hello"), done()]).await;
    assert!(
        told.last().unwrap().starts_with("completed completed"),
        "nothing was said, nothing is taken back"
    );
}

#[tokio::test]
async fn a_reader_that_was_cut_anywhere_gets_exactly_the_rest() {
    let stage = Stage::new();
    let events = [
        begun(),
        reasoning("hm"),
        delta("Hel"),
        started(2, TextSoFar::Kept),
        delta("lo"),
        call(0, None, Some("go"), "{}"),
        Event::Finished { reason: FinishReason::ToolCalls, usage: Usage::default() },
    ];
    let id = stage.responded(&json!({}), &events).await;
    let all = frames(&stage, id, "").await;
    for cut in 0..all.len() - 1 {
        let rest = frames(&stage, id, &format!("&starting_after={cut}")).await;
        assert_eq!(rest, all[cut + 1..], "cut after {cut}");
    }
    assert_eq!(frames(&stage, id, "&starting_after=99").await, ["data: [DONE]\n\n"]);
}

#[tokio::test]
async fn events_do_not_depend_on_how_entries_came() {
    let stage = Stage::new();
    let live = stage.respond(&asked(&json!({"stream": true}))).await;
    let id = id(&live);
    let mut body = live.into_body();
    let mut seen = piece(&mut body).await.unwrap().unwrap();
    assert!(seen.contains("event: response.created") && !seen.contains("response.queued"), "{seen}");
    let mut writer = stage.log.open_writer(id).await.unwrap();
    for event in [begun(), delta("a"), delta("b")] {
        writer.append(&[event]).await.unwrap();
        seen += &piece(&mut body).await.unwrap().unwrap();
    }
    writer.append(&[reasoning("c"), delta("d")]).await.unwrap();
    writer.seal(&done()).await.unwrap();
    while let Some(next) = piece(&mut body).await {
        seen += &next.unwrap();
    }
    assert_eq!(seen, frames(&stage, id, "").await.concat());
}

#[tokio::test]
async fn a_drain_cuts_a_stream_rather_than_ending_it() {
    let stage = Stage::new();
    let mut body = stage.respond(&asked(&json!({"stream": true}))).await.into_body();
    piece(&mut body).await.unwrap().unwrap();
    stage.drain.cancel();
    assert!(piece(&mut body).await.unwrap().is_err());
}

#[tokio::test]
async fn an_answer_beyond_all_bounds_is_a_failure() {
    let stage = Stage::new();
    let part = delta(&"long ".repeat(200_000));
    let id = stage.responded(&json!({}), &[&vec![part; 9][..], &[done()]].concat()).await;
    let frames = frames(&stage, id, "&starting_after=13").await;
    assert!(frames[0].starts_with("event: error\n") && frames[0].contains("answer_too_large"));
    assert_eq!(data(&frames[1])["response"]["status"], "failed");
    assert_eq!(stage.resource(id).await["error"]["code"], "answer_too_large");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_log_loses_ends_in_a_failure() {
    let stage = Stage::new();
    let response = stage.respond(&asked(&json!({"stream": true}))).await;
    stage.write(id(&response), &[delta("half")]).await;
    stage.log.remove(id(&response)).await.unwrap();
    let body = text(response).await;
    assert!(body.contains(r#""code":"lost""#) && body.contains("event: response.failed"), "{body}");
    assert!(body.ends_with("data: [DONE]\n\n"));
}
