//! Streamed chat completions: the bytes on the wire.

use serde_json::{Value, json};
use tokenwire_core::{
    CancelCause, Event, Failure, FinishReason, GenerationId, TextSoFar, ToolCallDelta, Usage,
};

use super::{hello, id, with};
use crate::support::{Stage, delta, done, piece, started, text};

fn call(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> Event {
    let (id, name) = (id.map(str::to_owned), name.map(str::to_owned));
    Event::ToolCall(ToolCallDelta { index, id, name, arguments: arguments.to_owned() })
}

fn reasoning(text: &str) -> Event {
    Event::Reasoning { text: text.to_owned() }
}

/// The stream of a call whose generation has these entries: `{head}` stands for what all chunks begin with.
async fn stream(more: &Value, events: &[Event]) -> String {
    let stage = Stage::new();
    let mut body = with(more);
    body["stream"] = json!(true);
    let (id, response) = stage.told(&body, events).await;
    let created = stage.created(id).await;
    let head = format!(
        r#"{{"id":"chatcmpl-{id}","object":"chat.completion.chunk","created":{created},"model":"simulated","choices":["#
    );
    text(response).await.replace(&head, "{head}").replace(&id.to_string(), "{id}")
}

const ROLE: &str = "data: {head}{\"index\":0,\"delta\":{\"role\":\"assistant\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";

fn chunk(delta: &str) -> String {
    format!("data: {{head}}{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n")
}

fn end(reason: &str) -> String {
    format!(
        "data: {{head}}{{\"index\":0,\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"{reason}\"}}]}}\n\n"
    )
}

#[tokio::test]
async fn a_stream_is_written_byte_for_byte_as_the_contract_says() {
    let said = [
        started(1, TextSoFar::Kept),
        delta("Hello"),
        delta(""),
        delta("\r\n\"👩‍🚀"),
        started(2, TextSoFar::Kept),
    ];
    let expected = [
        ROLE.to_owned(),
        chunk(r#"{"content":"Hello"}"#),
        chunk(r#"{"content":"\r\n\"👩‍🚀"}"#),
        end("stop"),
        "data: [DONE]\n\n".to_owned(),
    ];
    assert_eq!(stream(&json!({}), &[&said[..], &[done()]].concat()).await, expected.concat());
}

#[tokio::test]
async fn reasoning_and_calls_of_tools_have_their_own_deltas() {
    let reason = FinishReason::ToolCalls;
    let events = [
        reasoning("hm"),
        call(0, Some("call_1"), Some("look"), ""),
        call(0, None, None, "{\"a\":"),
        call(1, None, Some("go"), "{}"),
        call(0, None, None, "1}"),
        Event::Finished { reason, usage: Usage::default() },
    ];
    let expected = [
        ROLE.to_owned(),
        chunk(r#"{"reasoning_content":"hm"}"#),
        chunk(
            r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"look","arguments":""}}]}"#,
        ),
        chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}"#),
        chunk(
            r#"{"tool_calls":[{"index":1,"id":"call_{id}_1","type":"function","function":{"name":"go","arguments":"{}"}}]}"#,
        ),
        chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#),
        end("tool_calls"),
        "data: [DONE]\n\n".to_owned(),
    ];
    assert_eq!(stream(&json!({}), &events).await, expected.concat());
}

#[tokio::test]
async fn what_it_cost_comes_last_when_it_was_asked_for() {
    let usage = |line: &str| line.replace("]}\n\n", "],\"usage\":null}\n\n");
    let expected = [
        usage(ROLE),
        usage(&chunk(r#"{"content":"Hi"}"#)),
        usage(&end("length")),
        "data: {head}],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":9,\"total_tokens\":13}}\n\n"
            .to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ];
    let cost = Usage { input_tokens: 4, output_tokens: 9 };
    let events = [delta("Hi"), Event::Finished { reason: FinishReason::Length, usage: cost }];
    let asked = json!({"stream_options": {"include_usage": true}});
    assert_eq!(stream(&asked, &events).await, expected.concat());
}

#[tokio::test]
async fn a_failure_is_an_error_object_and_no_done() {
    let message = "it broke".to_owned();
    for (failure, error) in [
        (Failure::Expired, json!(["server_error", "expired", "no worker began in time: ask again"])),
        (Failure::TimedOut, json!(["server_error", "timeout", "the answer took longer than it may"])),
        (
            Failure::Cancelled { cause: CancelCause::Requested },
            json!(["invalid_request_error", "cancelled", "the answer was stopped on request"]),
        ),
        (
            Failure::Cancelled { cause: CancelCause::Abandoned },
            json!([
                "invalid_request_error",
                "cancelled",
                "the answer was stopped because nobody was reading"
            ]),
        ),
        (
            Failure::Rejected { message: message.clone() },
            json!(["invalid_request_error", "rejected", "it broke"]),
        ),
        (
            Failure::Exhausted { attempts: 3, message: message.clone() },
            json!(["server_error", "exhausted", "it broke"]),
        ),
        (Failure::Lost, json!(["server_error", "lost", "the server lost the job of this answer: ask again"])),
    ] {
        let told = stream(&json!({}), &[delta("half"), Event::Failed { failure }]).await;
        let frames: Vec<_> = told.split_terminator("\n\n").collect();
        assert_eq!(frames.len(), 3, "{told}");
        let last: Value = serde_json::from_str(frames[2].strip_prefix("data: ").unwrap()).unwrap();
        let expected =
            json!({"error": {"message": error[2], "type": error[0], "param": null, "code": error[1]}});
        assert_eq!(last, expected);
    }
}

#[tokio::test]
async fn an_answer_that_starts_over_is_an_error_only_for_who_has_seen_some_of_it() {
    let again = started(2, TextSoFar::Superseded);
    let unseen = [started(1, TextSoFar::Kept), again.clone(), delta("Hi"), done()];
    let told = stream(&json!({}), &unseen).await;
    assert_eq!(told, ROLE.to_owned() + &chunk(r#"{"content":"Hi"}"#) + &end("stop") + "data: [DONE]\n\n");

    for seen in [delta("Hi"), reasoning("hm"), call(0, None, Some("go"), "")] {
        let told = stream(&json!({}), &[seen, again.clone(), delta("Hello"), done()]).await;
        let frames: Vec<_> = told.split_terminator("\n\n").collect();
        assert_eq!(frames.len(), 3, "nothing follows the error: {told}");
        assert!(frames[2].contains(r#""type":"server_error","param":null,"code":"started_over""#), "{told}");
    }
}

#[tokio::test]
async fn the_role_is_sent_at_once_and_text_as_it_is_appended() {
    let stage = Stage::new();
    let response = stage.chat(&with(&json!({"stream": true})), &[]).await;
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(response.headers()[name], value, "{name}");
    }
    let id = id(&response);
    let mut body = response.into_body();
    assert!(piece(&mut body).await.unwrap().unwrap().contains(r#""delta":{"role":"assistant"}"#));
    for word in ["one", "two"] {
        stage.write(id, &[delta(word)]).await;
        let chunk = piece(&mut body).await.unwrap().unwrap();
        assert!(chunk.contains(&format!(r#""delta":{{"content":"{word}"}}"#)), "{chunk}");
    }
    stage.write(id, &[done()]).await;
    assert!(piece(&mut body).await.unwrap().unwrap().ends_with("data: [DONE]\n\n"));
    assert!(piece(&mut body).await.is_none());
}

#[tokio::test]
async fn the_id_in_every_chunk_reads_the_same_answer_at_ask() {
    let stage = Stage::new();
    let response = stage.chat(&with(&json!({"stream": true})), &[]).await;
    let opening = piece(&mut response.into_body()).await.unwrap().unwrap();
    let (_, rest) = opening.split_once(r#""id":"chatcmpl-"#).unwrap();
    let id: GenerationId = rest[..36].parse().unwrap();
    stage.write(id, &[delta("Hello"), done()]).await;
    let read = text(stage.get(&format!("/ask/{id}?last_event_id=0"), &[]).await).await;
    assert!(read.contains("id: 1\ndata: Hello\n\n"), "{read}");
}

#[tokio::test(start_paused = true)]
async fn silence_is_filled_with_comments_and_a_drain_aborts() {
    let stage = Stage::new();
    let mut body = stage.chat(&with(&json!({"stream": true})), &[]).await.into_body();
    piece(&mut body).await.unwrap().unwrap();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), ":\n\n");
    stage.drain.cancel();
    piece(&mut body).await.unwrap().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_log_loses_ends_in_an_error_object() {
    let stage = Stage::new();
    let response = stage.chat(&with(&json!({"stream": true})), &[]).await;
    let id = id(&response);
    stage.write(id, &[delta("half")]).await;
    let mut body = response.into_body();
    for _ in 0..2 {
        piece(&mut body).await.unwrap().unwrap();
    }
    stage.log.remove(id).await.unwrap();
    let end = loop {
        let piece = piece(&mut body).await.unwrap().unwrap();
        if piece != ":\n\n" {
            break piece;
        }
    };
    assert!(end.contains(r#""code":"lost""#), "{end}");
    assert!(piece(&mut body).await.is_none());
}

#[tokio::test]
async fn accept_and_authorization_are_not_looked_at() {
    let stage = Stage::new();
    for headers in [("accept", "application/json"), ("accept", "nonsense"), ("authorization", "Bearer x")] {
        let response = stage.chat(&with(&json!({"stream": true})), &[headers]).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
    }
    let (_, whole) = stage.told(&hello(), &[done()]).await;
    assert_eq!(whole.headers()["content-type"], "application/json");
}
