//! Readers that read slowly, or not at all, or send while they should read: they get the same bytes, and their cost is bounded.

use std::time::Duration;

use tokenwire_core::{Event, GenerationId, TextSoFar};
use tokenwire_http::Config;

use crate::support::{Stage, delta, done, started, text};

const LAST_CHUNK: &str = "0\r\n\r\n";

/// 16 MiB: more than the kernel takes on behalf of a reader.
const MUCH: usize = 64;

/// More than it takes on behalf of one with a small buffer.
const ENOUGH: usize = 20;

/// An answer of this many deltas of 256 KiB, each with other text.
fn answer(pieces: usize) -> Vec<Event> {
    let pieces = (0..pieces).map(|number| delta(&format!("{number:04}").repeat(64 * 1024)));
    [started(1, TextSoFar::Kept)].into_iter().chain(pieces).chain([done()]).collect()
}

fn request(id: GenerationId, headers: &str) -> String {
    format!("GET /ask/{id} HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

/// The content of a chunked answer, as far as it came.
fn content(answer: &str) -> String {
    let (_, mut rest) = answer.split_once("\r\n\r\n").expect("a head");
    let mut content = String::new();
    while let Some((size, more)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        content.push_str(&more[..size.min(more.len())]);
        rest = more.get(size + 2..).unwrap_or_default();
    }
    content
}

/// Whole frames, and the last id among them.
fn whole_frames(content: &str) -> (&str, &str) {
    let frames = &content[..content.rfind("\n\n").expect("a frame") + 2];
    let id = frames.rsplit("\nid: ").next().and_then(|frame| frame.lines().next()).expect("an id");
    (frames, id)
}

/// What a stream says, frame by frame, without what is said anew on every connection.
fn said(content: &str) -> impl Iterator<Item = &str> {
    content.split("\n\n").filter(|frame| frame.starts_with("id: "))
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_cut_and_resumes_with_the_rest_exactly_once() {
    let stage =
        Stage::with(Config { max_streams: 1, write_timeout: Duration::from_millis(50), ..Config::default() });
    let server = stage.serve().await;
    let id = stage.queued().await;
    let mut asleep = server.connect().await;
    asleep.send(request(id, "")).await;
    asleep.until("event: queued").await;
    stage.write(id, &answer(MUCH)).await;
    // The only stream is free again once the reader is cut.
    let other = stage.written(&[started(1, TextSoFar::Kept), done()]).await;
    server.comes_to_serve(&request(other, "connection: close\r\n")).await;

    let cut = asleep.rest().await;
    assert!(!cut.ends_with(LAST_CHUNK), "a polite end would pass for a whole answer");
    let cut = content(&cut);
    let (before, cursor) = whole_frames(&cut);
    let after = loop {
        let resumed = request(id, &format!("last-event-id: {cursor}\r\nconnection: close\r\n"));
        let answer = server.exchange(&resumed).await;
        // The other reader gives its stream back when the server has seen it go.
        if !answer.starts_with("HTTP/1.1 503") {
            break answer;
        }
    };
    assert!(after.ends_with(LAST_CHUNK));
    let after = content(&after);
    let whole = text(stage.get(&format!("/ask/{id}"), &[]).await).await;
    let (got, expected): (Vec<_>, Vec<_>) =
        (said(before).chain(said(&after)).collect(), said(&whole).collect());
    assert!(
        got == expected,
        "{} frames and then {} make {}",
        said(before).count(),
        said(&after).count(),
        expected.len()
    );
}

#[tokio::test]
async fn a_reader_in_sips_gets_the_very_bytes() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let id = stage.written(&answer(ENOUGH)).await;
    let whole = text(stage.get(&format!("/ask/{id}"), &[]).await).await;
    let mut sipping = server.connect_narrow().await;
    sipping.send(request(id, "connection: close\r\n")).await;
    // Chunks are met at every byte of their edges, and then at odd ones.
    sipping.sip(20_000, 1).await;
    sipping.sip(1_000_000, 997).await;
    let answer = sipping.rest().await;
    assert!(answer.ends_with(LAST_CHUNK) && content(&answer) == whole);
}

#[tokio::test]
async fn http_1_0_has_the_bare_bytes_and_then_the_end_of_the_connection() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let id = stage.written(&answer(ENOUGH)).await;
    let whole = text(stage.get(&format!("/ask/{id}"), &[]).await).await;
    for headers in ["", "connection: keep-alive\r\n"] {
        let mut connection = server.connect_narrow().await;
        connection.send(format!("GET /ask/{id} HTTP/1.0\r\n{headers}\r\n")).await;
        connection.sip(5_000, 1).await;
        let answer = connection.rest().await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(!head.contains("chunked"), "{head}");
        assert!(body == whole);
    }
}

#[tokio::test]
async fn requests_of_more_than_is_kept_during_a_stream_are_answered_after_it() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let id = stage.queued().await;
    let mut connection = server.connect().await;
    connection.send(request(id, "")).await;
    connection.until("event: queued").await;
    // More than the server keeps, and then more than the kernel hands on at once.
    let padding = "x".repeat(7 * 1024);
    for last in [false, false, false, false, true] {
        let close = if last { "connection: close\r\n" } else { "" };
        let health = format!("GET /health HTTP/1.1\r\nhost: x\r\nx-padding: {padding}\r\n{close}\r\n");
        connection.send(health).await;
    }
    stage.write(id, &[started(1, TextSoFar::Kept), delta("Hello"), done()]).await;
    let received = connection.rest().await;
    let (stream, answers) = received.split_once("\r\n0\r\n\r\n").expect("the stream ends");
    assert!(stream.contains("data: Hello\n\n"));
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 5, "{answers}");
    assert_eq!(answers.matches(r#"{"status":"ok"}"#).count(), 5, "{answers}");
}

#[tokio::test]
async fn a_reader_that_sends_more_than_is_kept_and_reads_nothing_is_cut_too() {
    let stage =
        Stage::with(Config { max_streams: 1, write_timeout: Duration::from_millis(50), ..Config::default() });
    let server = stage.serve().await;
    let id = stage.written(&answer(MUCH)).await;
    let mut connection = server.connect_narrow().await;
    connection.send(request(id, "")).await;
    connection.until("event: queued").await;
    connection.try_send("x".repeat(16 * 1024)).await.unwrap();
    let other = stage.queued().await;
    server.comes_to_serve(&request(other, "")).await;
}
