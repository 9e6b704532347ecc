//! Streamed chat completions: how they come. What they write is in `golden`.

use serde_json::json;
use tokenwire_core::{Event, GenerationId, TextSoFar, ToolCallDelta};

use super::{hello, id, with};
use crate::support::{Stage, delta, done, piece, started, text};

#[tokio::test]
async fn an_answer_that_starts_over_is_an_error_for_readers_that_have_seen_any_of_it() {
    let call = ToolCallDelta { index: 0, id: None, name: Some("go".to_owned()), arguments: String::new() };
    for seen in [Event::Reasoning { text: "hm".to_owned() }, Event::ToolCall(call)] {
        let stage = Stage::new();
        let events = [seen, started(2, TextSoFar::Superseded), delta("Hello"), done()];
        let (_, response) = stage.told(&with(&json!({"stream": true})), &events).await;
        let told = text(response).await;
        let frames: Vec<_> = told.split_terminator("\n\n").collect();
        assert_eq!(frames.len(), 3, "nothing follows the error: {told}");
        assert!(frames[2].contains(r#""type":"server_error","param":null,"code":"started_over""#), "{told}");
    }
}

#[tokio::test]
async fn the_role_is_sent_at_once_and_text_as_it_is_appended() {
    let stage = Stage::new();
    let response = stage.chat(&with(&json!({"stream": true})), &[]).await;
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
