//! What happens before the first byte of an answer.

use std::time::Duration;

use model::upstream::{Config, Key};
use serde_json::json;
use tokenwire_core::model::ModelError;

use super::fake::*;

const SOON: &str = "retry-after-ms: 1\r\n";

#[tokio::test]
async fn what_broke_is_asked_again_before_the_first_byte() {
    let cases = [
        ("a failure", Reply::status("500 Internal Server Error", SOON, "{}")),
        ("garbage", Reply::silence().raw("SSH-2.0-OpenSSH\r\n\r\n").close()),
        ("an empty stream", Reply::stream().end()),
        ("a stream that is closed before its first byte", Reply::stream().close()),
        ("silence", Reply::silence().stall()),
        ("silence after the head", Reply::stream().stall()),
    ];
    // At once: each of them waits for its time-outs.
    let all = cases.map(async |(why, reply)| {
        let fake = Fake::replying([reply.clone(), reply, Reply::answer(["a"])]).await;
        let config = Config { first_byte_timeout: Duration::from_secs(1), ..fake.config() };
        let answer = answer(&upstream(config)).await;
        assert_eq!(answer.text(), "a", "{why}");
        assert!(answer.is_whole(), "{why}: {answer:?}");
        let seen = fake.seen();
        assert_eq!(seen.len(), 3, "{why}");
        assert!(seen.iter().all(|request| request.body == seen[0].body), "{why}");
    });
    futures::future::join_all(all).await;
}

#[tokio::test]
async fn nothing_is_asked_more_often_than_it_may_be() {
    let fake = Fake::replying([Reply::status(
        "500 Internal Server Error",
        SOON,
        r#"{"error":{"message":"out of memory"}}"#,
    )])
    .await;
    let answer = answer(&upstream(Config { retries: 1, ..fake.config() })).await;
    assert!(answer.is_unavailable());
    let told = "the model failed: no answer after 2 tries: the upstream answered 500 Internal Server Error: out of memory";
    assert_eq!(answer.failure(), told);
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_request_that_can_never_be_answered_is_rejected_at_once_in_the_upstreams_words() {
    for status in ["400 Bad Request", "404 Not Found", "413 Payload Too Large", "422 Unprocessable Entity"] {
        let body =
            json!({"error": {"message": "context is 9412 tokens, limit 8192", "type": "t"}}).to_string();
        let fake = Fake::replying([Reply::status(status, "content-type: application/json\r\n", &body)]).await;
        let answer = answer(&upstream(fake.config())).await;
        let Err(ModelError::Rejected { message }) = answer.end else { panic!("{answer:?}") };
        assert_eq!(message, "context is 9412 tokens, limit 8192", "{status}");
        assert_eq!(fake.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_key_that_is_refused_is_nobodys_to_read() {
    for status in ["401 Unauthorized", "403 Forbidden", "400 Bad Request", "500 Internal Server Error"] {
        let body = json!({"error": {"message": "Incorrect API key provided: sk-secret."}}).to_string();
        let fake = Fake::replying([Reply::status(status, "", &body)]).await;
        let key = Some(Key::new("sk-secret").unwrap());
        let upstream = upstream(Config { key, retries: 0, ..fake.config() });
        let answer = answer(&upstream).await;
        let told = format!("{} {answer:?} {upstream:?}", answer.failure());
        assert!(!told.contains("sk-secret"), "{told}");
        assert_eq!(fake.seen().len(), 1);
    }
}

#[tokio::test]
async fn callers_are_told_that_a_refusal_is_not_about_their_request() {
    let fake = Fake::replying([Reply::status("401 Unauthorized", "", "")]).await;
    let Err(ModelError::Rejected { message }) = answer(&upstream(fake.config())).await.end else { panic!() };
    assert!(message.contains("401 Unauthorized") && message.contains("tell the operator"), "{message}");
}

#[tokio::test]
async fn the_body_of_an_error_may_be_anything() {
    let huge = "x".repeat(1024 * 1024);
    for (headers, body) in
        [("", "<html>"), ("", huge.as_str()), ("content-type: application/json\r\n", "{\"error\":")]
    {
        let fake = Fake::replying([Reply::status("400 Bad Request", headers, body)]).await;
        let Err(ModelError::Rejected { message }) = answer(&upstream(fake.config())).await.end else {
            panic!()
        };
        assert_eq!(message, "the upstream answered 400 Bad Request");
    }
}
