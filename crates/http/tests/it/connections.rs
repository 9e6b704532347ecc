//! Connections: what a client that misbehaves may cost, and how connections end.

use std::time::Duration;

use tokenwire_core::TextSoFar;
use tokenwire_http::Config;

use crate::support::{Connection, Stage, delta, done, started};

const LAST_CHUNK: &str = "\r\n0\r\n\r\n";

async fn reading(stage: &Stage, server: &crate::support::Server) -> Connection {
    let id = stage.written(&[started(1, TextSoFar::Kept), delta("Hello")]).await;
    let mut connection = server.connect().await;
    connection.send(format!("GET /ask/{id} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    connection.until("data: Hello\n\n").await;
    connection
}

#[tokio::test]
async fn a_finished_stream_ends_with_the_final_chunk_and_the_connection_lives_on() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let id = stage.written(&[started(1, TextSoFar::Kept), delta("Hello"), done()]).await;
    let mut connection = server.connect().await;
    connection.send(format!("GET /ask/{id} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    connection.until(LAST_CHUNK).await;
    connection.send("GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(connection.rest().await.ends_with(r#"{"status":"ok"}"#));
}

#[tokio::test]
async fn a_request_that_is_sent_during_a_stream_is_answered_after_it() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let id = stage.queued().await;
    let mut connection = server.connect().await;
    connection.send(format!("GET /ask/{id} HTTP/1.1\r\nhost: x\r\n\r\nGET /hea")).await;
    connection.until("event: queued").await;
    connection.send("lth HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    stage.write(id, &[started(1, TextSoFar::Kept), delta("Hello"), done()]).await;
    let received = connection.rest().await;
    let (stream, answer) = received.split_once(LAST_CHUNK).expect("the stream ends");
    assert!(stream.contains("data: Hello\n\n"));
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with(r#"{"status":"ok"}"#), "{answer}");
}

#[tokio::test]
async fn a_stream_is_the_last_answer_where_the_client_says_so() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let id = stage.written(&[started(1, TextSoFar::Kept), delta("Hello"), done()]).await;
    let request = format!("GET /ask/{id} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let received = server.exchange(&request).await;
    assert!(received.contains("\r\nconnection: close\r\n") && received.ends_with(LAST_CHUNK), "{received}");
}

#[tokio::test]
async fn a_drain_is_seen_as_a_cut_and_not_as_an_end() {
    let stage = Stage::new();
    let mut server = stage.serve().await;
    let connection = reading(&stage, &server).await;
    server.soft.cancel();
    let received = connection.rest().await;
    assert!(received.contains("transfer-encoding: chunked"));
    assert!(!received.contains(LAST_CHUNK), "a polite end would pass for a whole answer: {received}");
    server.ended().await;
    assert!(server.refuses_connections().await);
}

#[tokio::test]
async fn a_cut_is_a_reset_because_http_1_0_has_no_final_chunk_to_miss() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let id = stage.written(&[started(1, TextSoFar::Kept), delta("Hello")]).await;
    let mut connection = server.connect().await;
    connection.send(format!("GET /ask/{id} HTTP/1.0\r\n\r\n")).await;
    connection.until("data: Hello\n\n").await;
    server.soft.cancel();
    assert!(connection.was_reset().await);
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_lets_short_requests_finish() {
    let stage = Stage::new();
    let mut server = stage.serve().await;
    let unused = server.connect().await;
    let mut idle = server.connect().await;
    idle.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    idle.until(r#"{"status":"ok"}"#).await;
    let mut asking = server.connect().await;
    asking.send("POST /ask HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n").await;
    asking.until("100 Continue").await;
    server.soft.cancel();
    assert_eq!(unused.rest().await, "");
    assert!(idle.rest().await.ends_with(r#"{"status":"ok"}"#));
    asking.send("{}").await;
    let answer = asking.rest().await;
    assert!(answer.contains("422 Unprocessable Entity") && answer.contains("connection: close"), "{answer}");
    server.ended().await;
}

#[tokio::test]
async fn a_hard_stop_waits_for_no_client() {
    let stage = Stage::new();
    let mut server = stage.serve().await;
    let reader = reading(&stage, &server).await;
    let mut asking = server.connect().await;
    asking.send("POST /ask HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n").await;
    asking.until("100 Continue").await;
    server.hard.cancel();
    server.ended().await;
    assert!(!reader.rest().await.contains(LAST_CHUNK));
    assert!(!asking.rest().await.contains("422"));
}

#[tokio::test]
async fn a_reader_that_leaves_gives_its_stream_to_the_next() {
    let stage =
        Stage::with(Config { max_streams: 1, heartbeat: Duration::from_millis(20), ..Config::default() });
    let server = stage.serve().await;
    let id = stage.queued().await;
    let request = format!("GET /ask/{id} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut first = server.connect().await;
    first.send(&request).await;
    first.until("event: queued").await;
    assert!(server.exchange(&request).await.contains("503 Service Unavailable"));
    drop(first);
    server.comes_to_serve(&request).await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_dropped() {
    let stage =
        Stage::with(Config { max_streams: 1, write_timeout: Duration::from_millis(50), ..Config::default() });
    let server = stage.serve().await;
    // More than the kernel takes on behalf of a reader.
    let large = delta(&"x".repeat(16 * 1024 * 1024));
    let id = stage.written(&[large.clone(), large]).await;
    let mut asleep = server.connect().await;
    asleep.send(format!("GET /ask/{id} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    asleep.until("event: queued").await;
    let other = stage.queued().await;
    server.comes_to_serve(&format!("GET /ask/{other} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert!(!asleep.rest().await.contains(LAST_CHUNK));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_one_to_end() {
    let stage = Stage::with(Config { max_connections: 1, ..Config::default() });
    let server = stage.serve().await;
    let mut first = server.connect().await;
    first.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    first.until(r#"{"status":"ok"}"#).await;
    let mut second = server.connect().await;
    second.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    drop(first);
    second.until(r#"{"status":"ok"}"#).await;
}

#[tokio::test]
async fn what_is_not_http_is_answered_and_closed() {
    let stage = Stage::new();
    let server = stage.serve().await;
    for nonsense in [
        "nonsense\r\n\r\n",
        "GET /health\r\n\r\n",
        "GET /health HTTP/1.1\r\nbad header\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}",
    ] {
        let mut connection = server.connect().await;
        connection.send(nonsense).await;
        let answer = connection.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{nonsense:?}: {answer}");
    }
    assert!(
        server
            .exchange("GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .contains("200 OK")
    );
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let large = format!("GET /health HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(20 * 1024));
    let many = format!("GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    for head in [large, many] {
        let answer = server.exchange(&head).await;
        assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_is_refused_and_an_idle_connection_is_closed() {
    let stage = Stage::with(Config { head_timeout: Duration::from_millis(50), ..Config::default() });
    let server = stage.serve().await;
    let answer = server.exchange("GET /health HTTP/1.1\r\nhost: ").await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(server.connect().await.rest().await, "");
    let mut idle = server.connect().await;
    idle.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(idle.rest().await.ends_with(r#"{"status":"ok"}"#));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_refused() {
    let stage = Stage::with(Config { body_timeout: Duration::from_millis(50), ..Config::default() });
    let server = stage.serve().await;
    let head = "POST /ask HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"query\":";
    let answer = server.exchange(head).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n") && answer.contains("body_too_slow"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_sends_before_it_reads_still_hears_why_it_was_refused() {
    let stage = Stage::new();
    let server = stage.serve().await;
    // More than the kernel takes on behalf of a server.
    let body = "x".repeat(32 * 1024 * 1024);
    for (head, status) in [
        (
            format!(
                "POST /ask HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            ),
            "413 Payload Too Large",
        ),
        (
            format!("POST /ask HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len()),
            "415 Unsupported Media Type",
        ),
        (
            format!("POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len()),
            "404 Not Found",
        ),
    ] {
        let mut connection = server.connect().await;
        connection.send(head).await;
        let all = connection.try_send(&body).await;
        assert!(all.is_ok(), "a client that is reset while it sends may never read the answer: {all:?}");
        let answer = connection.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_leaves_nothing_behind() {
    let stage = Stage::new();
    let mut server = stage.serve().await;
    let mut connection = server.connect().await;
    connection
        .send(
            "POST /ask HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
        )
        .await;
    drop(connection);
    server.soft.cancel();
    server.ended().await;
}
