//! What an answer may look like on the wire.

use std::time::Duration;

use futures::StreamExt;
use model::upstream::Config;
use serde_json::json;
use tokenwire_core::{FinishReason, ToolCallDelta, Usage, model::Output};

use super::fake::*;

const USAGE: Usage = Usage { input_tokens: 7, output_tokens: 3 };

#[tokio::test]
async fn an_answer_is_streamed_with_its_reason_and_its_usage() {
    let fake = Fake::replying([Reply::answer(["Bonjour", ", ", "é🦀\n"])]).await;
    let answer = answer(&upstream(fake.config())).await;
    assert_eq!(answer.text(), "Bonjour, é🦀\n");
    assert_eq!(answer.end.unwrap(), (FinishReason::Stop, USAGE));
    assert_eq!(answer.said.len(), 3, "piece by piece");
}

#[tokio::test]
async fn a_piece_is_given_out_before_there_is_another() {
    let fake = Fake::replying([Reply::stream().text("a").stall()]).await;
    let mut outputs = ask(&upstream(fake.config())).await;
    let first = outputs.next().await.unwrap().unwrap();
    assert_eq!(first, Output::Text { text: "a".into(), tokens: vec![] });
}

#[tokio::test]
async fn an_answer_means_the_same_cut_at_every_byte() {
    for body in [
        format!("data: {}\n\ndata: {}\n\ndata: [DONE]\n\n", delta(&json!({"content": "é🦀"})), finish("stop")),
        format!(
            "\u{feff}: hello\r\n\r\nid: 1\r\ndata:{}\r\n\r\n:\r\nretry: 3\r\ndata:{}\r\n\r\ndata:[DONE]\r\n\r\n",
            delta(&json!({"content": "é🦀"})),
            finish("stop")
        ),
        // One JSON text over several lines.
        "event: message\ndata: {\"choices\": [{\ndata: \"delta\": {\"content\": \"é🦀\"},\ndata: \"finish_reason\": \"stop\"}]}\n\n"
            .into(),
    ] {
        let body = body.into_bytes();
        let bytes = body.len();
        let fake = Fake::with(move |cut, _| {
            let reply = if cut > bytes {
                body.iter().fold(Reply::stream(), |reply, byte| reply.chunk([*byte]))
            } else {
                Reply::stream().chunk(&body[..cut]).chunk(&body[cut..])
            };
            reply.end()
        })
        .await;
        let upstream = upstream(fake.config());
        for cut in 0..=bytes + 1 {
            let answer = answer(&upstream).await;
            assert_eq!(answer.text(), "é🦀", "{cut}");
            assert_eq!(answer.end.unwrap().0, FinishReason::Stop, "{cut}");
        }
        assert_eq!(fake.connections(), 1, "and the connection is kept");
    }
}

#[tokio::test]
async fn comments_and_pieces_that_say_nothing_are_signs_of_life() {
    let role_only = delta(&json!({"role": "assistant", "content": ""}));
    let reply = Reply::stream().chunk(": ping\n\n").event(&role_only).event(&json!({"choices": []})).stall();
    let fake = Fake::replying([reply]).await;
    let mut outputs = ask(&upstream(fake.config())).await;
    for _ in 0..3 {
        assert_eq!(outputs.next().await.unwrap().unwrap(), Output::Working);
    }
}

#[tokio::test]
async fn an_upstream_that_has_not_begun_is_vouched_for() {
    let fake = Fake::replying([Reply::silence().stall()]).await;
    let mut outputs = ask(&upstream(fake.config())).await;
    assert_eq!(outputs.next().await.unwrap().unwrap(), Output::Working);
    assert_eq!(fake.running(), 1);
}

#[tokio::test]
async fn reasoning_and_tool_calls_are_kept_apart_from_text() {
    let calls = [
        json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}]}),
        json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"q\""}}]}),
        json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        json!({"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "go", "arguments": "{}"}}]}),
    ];
    let begun = Reply::stream().event(&delta(&json!({"reasoning_content": "hm"}))).text("Let me see.");
    let reply = calls.iter().fold(begun, |reply, call| reply.event(&delta(call)));
    let fake = Fake::replying([reply.event(&finish("tool_calls")).event(&usage(7, 3)).done()]).await;
    let answer = answer(&upstream(fake.config())).await;
    let call = |index, id: Option<&str>, name: Option<&str>, arguments: &str| {
        let (id, name) = (id.map(Into::into), name.map(Into::into));
        Output::ToolCall(ToolCallDelta { index, id, name, arguments: arguments.into() })
    };
    let expected = [
        Output::Reasoning { text: "hm".into() },
        Output::Text { text: "Let me see.".into(), tokens: vec![] },
        call(0, Some("c1"), Some("look"), ""),
        call(0, None, None, "{\"q\""),
        call(0, None, None, ":1}"),
        call(1, Some("c2"), Some("go"), "{}"),
    ];
    assert_eq!(answer.said, expected);
    assert_eq!(answer.end.unwrap(), (FinishReason::ToolCalls, USAGE));
}

#[tokio::test]
async fn an_answer_is_whole_when_it_says_so_in_any_way() {
    let said = || Reply::stream().text("a");
    for (how, reply, counted) in [
        ("without usage", said().event(&finish("length")).done(), false),
        ("without [DONE]", said().event(&finish("length")).event(&usage(7, 3)).end(), true),
        ("without either", said().event(&finish("length")).end(), false),
        ("without a reason", said().event(&usage(7, 3)).done(), true),
        ("without the last blank line", said().event(&finish("length")).chunk("data: [DONE]").end(), false),
        ("and then the connection broke", said().event(&finish("length")).event(&usage(7, 3)).reset(), true),
        ("and then nothing", said().event(&finish("length")).event(&usage(7, 3)).stall(), true),
        ("and then garbage", said().event(&finish("length")).chunk("data: {\n\n").end(), false),
        ("[DONE], and the body goes on", said().event(&usage(7, 3)).chunk("data: [DONE]\n\n").stall(), true),
        (
            "usage at each step",
            said().event(&usage(7, 1)).event(&usage(7, 3)).event(&finish("length")).done(),
            true,
        ),
        ("in a stream without a type", untyped(), false),
    ] {
        let fake = Fake::replying([reply]).await;
        let config = Config { idle_timeout: Duration::from_millis(200), ..fake.config() };
        let answer = answer(&upstream(config)).await;
        assert_eq!(answer.text(), "a", "{how}");
        let (_, used) = answer.end.unwrap_or_else(|error| panic!("{how}: {error:?}"));
        assert_eq!(used, if counted { USAGE } else { Usage::default() }, "{how}");
    }
}

/// No content type, no chunks: the end of the connection is the end of the body.
fn untyped() -> Reply {
    let body = format!("data: {}\n\ndata: [DONE]\n\n", delta(&json!({"content": "a"})));
    Reply::silence().raw(format!("HTTP/1.1 200 OK\r\n\r\n{body}")).close()
}

#[tokio::test]
async fn chunks_may_have_extensions_and_trailers() {
    let event = format!("data: {}\n\n", delta(&json!({"content": "a"})));
    let head = format!("{:X};name=value\r\n", event.len());
    let reply = Reply::stream().raw([head.as_bytes(), event.as_bytes(), b"\r\n"].concat());
    let fake =
        Fake::replying([reply.chunk("data: [DONE]\n\n").raw("000;last\r\nx-trailer: 1\r\n\r\n")]).await;
    let answer = answer(&upstream(fake.config())).await;
    assert_eq!(answer.text(), "a");
    assert!(answer.is_whole());
}
