//! `/ask`: its calls. What it writes, and that resuming is the same bytes, is in `golden`.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use tokenwire_core::{GenerationId, Seq, TextSoFar};

use crate::support::{JSON, Stage, delta, done, piece, started, text};

fn opening(id: GenerationId) -> String {
    format!("retry: 1000\n\nevent: queued\ndata:{{\"uuid\":\"{id}\"}}\n\n")
}

#[tokio::test]
async fn of_two_cursors_the_header_counts() {
    let stage = Stage::new();
    let id = stage.written(&[delta("one"), delta("two"), done()]).await;
    let path = format!("/ask/{id}?last_event_id=1");
    let rest = text(stage.get(&path, &[("last-event-id", "2")]).await).await;
    assert!(rest.starts_with("retry: 1000\n\nid: 3\n"), "{rest}");
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
    // No worker has begun with it, so it has ended by now.
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
    let id = stage.written(&[started(1, TextSoFar::Kept), done()]).await;
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
    let long = "long ".repeat(100_000);
    writer.append(&[delta(&long)]).await.unwrap();
    writer.seal(&done()).await.unwrap();
    let stream = text(stage.get(&format!("/ask/{id}"), &[]).await).await;
    let pieces = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    assert!(pieces.eq((0..3_000).map(|number| format!("{number} ")).chain([long])), "I1");
}
