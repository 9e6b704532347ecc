//! `/ask`: the bytes on the wire, and that resuming is the same bytes.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use tokenwire_core::{Event, GenerationId, Seq, TextSoFar};

use crate::support::{JSON, Stage, delta, done, piece, started, text};

/// One of everything that is hard to frame.
fn events() -> Vec<Event> {
    let mut events = vec![started(1, TextSoFar::Kept)];
    events.extend(
        ["Hello", " ", " world", "a\nb", "a\rb", "a\r\nb", "\n", "\n\n", "cut\r", "\nhere", ""].map(delta),
    );
    events.extend(["👩", "\u{200d}", "🚀"].map(delta));
    events.push(started(2, TextSoFar::Superseded));
    events.extend(["data: x", "\nevent: done\ndata: {}\n\n", ": comment", "id: 99", "retry: 1"].map(delta));
    events.push(started(3, TextSoFar::Kept));
    events.push(delta(&"long ".repeat(100_000)));
    events.push(done());
    events
}

fn transcript() -> String {
    let texts = |lines: &[&str]| format!("data: {}\n", lines.join("\ndata: "));
    let event = |name, data| format!("event: {name}\ndata:{data}\n");
    let frames = [
        event("started", r#"{"attempt":1,"region":"EAST-1"}"#),
        texts(&["Hello"]),
        texts(&[" "]),
        texts(&[" world"]),
        texts(&["a", "b"]),
        texts(&["a", "b"]),
        texts(&["a", "b"]),
        texts(&["", ""]),
        texts(&["", "", ""]),
        texts(&["cut"]),
        texts(&["", "here"]),
        String::new(),
        texts(&["👩"]),
        texts(&["\u{200d}"]),
        texts(&["🚀"]),
        event("rewind", r#"{"attempt":2,"region":"EAST-1"}"#),
        texts(&["data: x"]),
        texts(&["", "event: done", "data: {}", "", ""]),
        texts(&[": comment"]),
        texts(&["id: 99"]),
        texts(&["retry: 1"]),
        event("started", r#"{"attempt":3,"region":"EAST-1"}"#),
        texts(&[&"long ".repeat(100_000)]),
        event("done", r#"{"finish_reason":"stop","usage":{"input_tokens":1,"output_tokens":2}}"#),
    ];
    frames.iter().zip(1..).map(|(frame, id)| format!("id: {id}\n{frame}\n")).collect::<Vec<_>>().concat()
}

fn opening(id: GenerationId) -> String {
    format!("retry: 1000\n\nevent: queued\ndata:{{\"uuid\":\"{id}\"}}\n\n")
}

#[tokio::test]
async fn a_stream_is_written_byte_for_byte_as_the_contract_says() {
    let stage = Stage::new();
    let id = stage.written(&events()).await;
    let response = stage.get(&format!("/ask/{id}"), &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("location", &*format!("/ask/{id}")),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(response.headers()[name], value, "{name}");
    }
    assert_eq!(text(response).await, opening(id) + &transcript());
}

#[tokio::test]
async fn resuming_at_every_cut_gives_exactly_the_rest() {
    let stage = Stage::new();
    let id = stage.written(&events()).await;
    let whole = transcript();
    let path = format!("/ask/{id}");
    for cursor in 1..events().len() {
        let from = whole.find(&format!("id: {}\n", cursor + 1)).unwrap();
        let rest = format!("retry: 1000\n\n{}", &whole[from..]);
        let header = stage.get(&path, &[("last-event-id", &cursor.to_string())]).await;
        let query = stage.get(&format!("{path}?last_event_id={cursor}"), &[]).await;
        let both =
            stage.get(&format!("{path}?last_event_id=1"), &[("last-event-id", &cursor.to_string())]).await;
        for response in [header, query, both] {
            assert!(text(response).await == rest, "resumed after {cursor} (I8)");
        }
    }
}

#[tokio::test]
async fn a_sealed_stream_that_was_fully_read_is_no_content() {
    let stage = Stage::new();
    let id = stage.written(&events()).await;
    let response = stage.get(&format!("/ask/{id}?last_event_id={}", events().len()), &[]).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn text_is_sent_as_it_is_appended_and_the_stream_ends_after_its_terminal_event() {
    let stage = Stage::new();
    let mut body = stage.post(r#"{"query": "Hello"}"#).await.into_body();
    let opening = piece(&mut body).await.unwrap().unwrap();
    let id: GenerationId = opening.split('"').nth(3).unwrap().parse().unwrap();
    let mut writer = stage.log.open_writer(id).await.unwrap();
    for (word, seq) in ["one", "two", "three"].into_iter().zip(1..) {
        writer.append(&[delta(word)]).await.unwrap();
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), format!("id: {seq}\ndata: {word}\n\n"));
    }
    writer.seal(&done()).await.unwrap();
    assert!(piece(&mut body).await.unwrap().unwrap().starts_with("id: 4\nevent: done\ndata:{"));
    assert!(piece(&mut body).await.is_none());
}

#[tokio::test]
async fn asking_again_with_the_same_id_attaches_and_another_question_is_a_conflict() {
    let stage = Stage::new();
    let id = GenerationId::fresh();
    let question = format!(r#"{{"query": "Hello", "uuid": "{id}", "whatever": [1]}}"#);
    let first = stage.post(&question).await;
    assert_eq!(first.headers()["location"], format!("/ask/{id}"));
    stage.write(id, &[started(1, TextSoFar::Kept), delta("Hi"), done()]).await;
    let second = stage.post(&question).await;
    assert_eq!(text(first).await, text(second).await);

    let shouted =
        format!(r#"{{"uuid": "{}", "model": "simulated", "query": "Hello"}}"#, id.to_string().to_uppercase());
    let resumed = stage.call(Method::POST, "/ask", &[JSON, ("last-event-id", "2")], shouted.clone()).await;
    assert_eq!(resumed.headers()["location"], format!("/ask/{id}"));
    assert!(text(resumed).await.starts_with("retry: 1000\n\nid: 3\nevent: done\n"));
    let read = stage.call(Method::POST, "/ask", &[JSON, ("last-event-id", "3")], shouted).await;
    assert_eq!(read.status(), StatusCode::NO_CONTENT);

    let other = stage.post(&question.replace("Hello", "Bye")).await;
    assert_eq!(other.status(), StatusCode::CONFLICT);
    assert!(text(other).await.contains(r#""type":"conflict""#));
}

#[tokio::test]
async fn a_cursor_from_an_earlier_life_of_the_id_does_not_cost_the_start_of_the_new_one() {
    let stage = Stage::new();
    let id = GenerationId::fresh();
    let body = format!(r#"{{"query": "Hello", "uuid": "{id}"}}"#);
    let response = stage.call(Method::POST, "/ask", &[JSON, ("last-event-id", "7")], body).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(piece(&mut response.into_body()).await.unwrap().unwrap(), opening(id));
}

#[tokio::test]
async fn stopping_is_accepted_as_often_as_it_is_asked() {
    let stage = Stage::new();
    let id = stage.queued().await;
    let path = format!("/ask/{id}");
    for _ in 0..2 {
        let response = stage.call(Method::DELETE, &path, &[], Body::empty()).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }
    let mut writer = stage.log.open_writer(id).await.unwrap();
    let cause = writer.cancellation().cause().expect("the writer is told to stop");
    writer.seal(&Event::Failed { failure: tokenwire_core::Failure::Cancelled { cause } }).await.unwrap();
    let ended = text(stage.get(&path, &[]).await).await;
    let last = "id: 1\nevent: cancelled\n\
                data:{\"type\":\"cancelled\",\"message\":\"stopped on request\",\"cause\":\"requested\"}\n\n";
    assert!(ended.ends_with(last), "{ended}");
    let again = stage.call(Method::DELETE, &path, &[], Body::empty()).await;
    assert_eq!(again.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn head_says_what_get_would_without_a_body() {
    let stage = Stage::new();
    let id = stage.written(&events()).await;
    let response = stage.call(Method::HEAD, &format!("/ask/{id}"), &[], Body::empty()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn a_long_stream_arrives_whole_in_order() {
    let stage = Stage::new();
    let id = stage.queued().await;
    let mut writer = stage.log.open_writer(id).await.unwrap();
    let batch: Vec<_> = (0..3_000).map(|number| delta(&format!("{number} "))).collect();
    assert_eq!(writer.append(&batch).await.unwrap(), Seq::new(3_000));
    writer.seal(&done()).await.unwrap();
    let stream = text(stage.get(&format!("/ask/{id}"), &[]).await).await;
    let numbers = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    assert!(numbers.eq((0..3_000).map(|number| format!("{number} "))), "I1");
}
