//! What can go wrong after the first byte. It is never asked again here: the worker knows what was committed.

use std::time::Duration;

use model::upstream::Config;
use serde_json::json;
use tokenwire_core::model::ModelError;

use super::fake::*;

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_whole_and_never_asked_again() {
    let said = || Reply::stream().text("a");
    let long = vec![b'x'; 2 * 1024 * 1024];
    for (why, reply, told) in [
        ("a polite end", said().end(), "before it was whole"),
        (
            "an end within an event",
            said().chunk("data: {\"choices\":[{\"delta\":{\"content\":\"b").end(),
            "before it was",
        ),
        ("a usage that is not an end", said().event(&usage(7, 3)).end(), "before it was whole"),
        ("a closed connection", said().close(), ""),
        ("a connection closed within a chunk", said().raw("10\r\ndata: ").close(), ""),
        ("a reset connection", said().reset(), ""),
        ("silence", said().stall(), "said nothing for 200ms"),
        ("silence within an event", said().chunk("data: {").stall(), "said nothing for 200ms"),
        ("chunks that are none", said().raw("zz\r\nabc\r\n").stall(), ""),
        ("garbage", said().chunk("data: {\"choices\": 7}\n\n").stall(), "not a chat completion chunk"),
        ("an event that is not JSON", said().chunk("data: OK\n\n").stall(), "not a chat completion chunk"),
        ("bytes that are no text", said().chunk(b"data: \xff\xfe\n\n").stall(), "not UTF-8"),
        (
            "an event without end",
            said().chunk([b"data: ", &*long].concat()).stall(),
            "longer than 1048576 bytes",
        ),
        (
            "an error",
            said().event(&json!({"error": {"message": "out of memory"}})).done(),
            "gave up: out of memory",
        ),
        (
            "an error with a code",
            said().event(&json!({"error": {"message": "no", "code": 400}})).done(),
            "gave up: no",
        ),
        ("a named error", said().chunk("event: error\ndata: overloaded\n\n").stall(), "gave up: overloaded"),
        ("an end that is none", said().event(&finish("abort")).done(), "`abort`"),
    ] {
        let fake = Fake::replying([reply, Reply::answer(["again"])]).await;
        let config = Config { idle_timeout: Duration::from_millis(200), ..fake.config() };
        let answer = answer(&upstream(config)).await;
        assert!(answer.is_unavailable(), "{why}: {answer:?}");
        assert_eq!(answer.text(), "a", "{why}: what was said before is given out");
        assert!(answer.failure().contains(told), "{why}: {}", answer.failure());
        assert_eq!(fake.seen().len(), 1, "{why}");
    }
}

#[tokio::test]
async fn what_was_said_in_the_same_breath_as_an_error_is_given_out() {
    let error = json!({"error": {"message": "out of memory"}});
    let both = format!("data: {}\n\ndata: {error}\n\n", delta(&json!({"content": "a"})));
    let fake = Fake::replying([Reply::stream().chunk(both).end()]).await;
    let answer = answer(&upstream(fake.config())).await;
    assert_eq!(answer.text(), "a");
    assert!(answer.is_unavailable());
}

#[tokio::test]
async fn an_error_in_place_of_an_answer_is_what_it_would_be_as_a_status() {
    let too_long = json!({"error": {"message": "context is 9412 tokens, limit 8192", "code": 400}});
    for reply in [
        Reply::stream().event(&too_long).done(),
        Reply::stream().event(&delta(&json!({"role": "assistant"}))).event(&too_long).done(),
        Reply::status("200 OK", "content-type: application/json\r\n", &too_long.to_string()),
        Reply::status("400 Bad Request", "content-type: application/json\r\n", &too_long.to_string()),
    ] {
        let fake = Fake::replying([reply]).await;
        let answer = answer(&upstream(fake.config())).await;
        let Err(ModelError::Rejected { message }) = answer.end else { panic!("{answer:?}") };
        assert_eq!(message, "context is 9412 tokens, limit 8192");
        assert_eq!(fake.seen().len(), 1);
    }
}

#[tokio::test]
async fn what_is_not_a_stream_is_not_an_answer() {
    for reply in [
        Reply::status("200 OK", "content-type: text/html\r\n", "<p>Welcome</p>"),
        Reply::status(
            "200 OK",
            "content-type: application/json\r\n",
            r#"{"choices":[{"message":{"content":"a"}}]}"#,
        ),
        Reply::stream_of("text/plain").text("a").done(),
        Reply::stream_of("application/json").stall(),
        Reply::status("204 No Content", "", ""),
    ] {
        let fake = Fake::replying([reply]).await;
        let answer = answer(&upstream(fake.config())).await;
        assert!(answer.is_unavailable() && answer.said.is_empty(), "{answer:?}");
        assert_eq!(fake.seen().len(), 1, "the same would come again");
    }
}

#[tokio::test]
async fn the_prompt_and_the_answer_are_in_no_error() {
    for reply in [
        Reply::stream().chunk("data: a private answer\n\n").stall(),
        Reply::stream()
            .chunk(r#"data: {"choices":[{"delta":{"content":["a private answer"]}}]}"#)
            .chunk("\n\n")
            .end(),
        Reply::stream().reset(),
        Reply::status("500 Internal Server Error", "", "a private prompt in a trace"),
    ] {
        let fake = Fake::replying([reply]).await;
        let answer = answer(&upstream(Config { retries: 0, ..fake.config() })).await;
        assert!(
            !answer.failure().contains("private") && !format!("{answer:?}").contains("private"),
            "{answer:?}"
        );
    }
}
