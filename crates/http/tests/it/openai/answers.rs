//! Chat completions in one piece.

use serde_json::{Value, json};
use tokenwire_core::{
    Event, Failure, FinishReason, TextSoFar, ToolCallDelta, Usage, token_log::OnDisconnect,
};
use tokenwire_http::Config;

use super::{CHAT, hello, id, refusal, with};
use crate::support::{Stage, delta, done, started, text};

#[tokio::test]
async fn an_answer_is_its_stream_collected() {
    let stage = Stage::new();
    let events = [started(1, TextSoFar::Kept), delta("Hello"), delta(" world\n"), done()];
    let (id, response) = stage.told(&hello(), &events).await;
    assert_eq!(super::id(&response), id);
    let expected = json!({
        "id": format!("chatcmpl-{id}"), "object": "chat.completion", "created": stage.created(id).await,
        "model": "simulated",
        "choices": [{
            "index": 0, "message": {"role": "assistant", "content": "Hello world\n", "refusal": null},
            "logprobs": null, "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    });
    assert_eq!(serde_json::from_str::<Value>(&text(response).await).unwrap(), expected);
}

#[tokio::test]
async fn reasoning_and_calls_of_tools_are_part_of_the_message() {
    let piece = |index, id: Option<&str>, name: Option<&str>, arguments: &str| {
        let (id, name) = (id.map(str::to_owned), name.map(str::to_owned));
        Event::ToolCall(ToolCallDelta { index, id, name, arguments: arguments.to_owned() })
    };
    let events = [
        Event::Reasoning { text: "h".to_owned() },
        Event::Reasoning { text: "m".to_owned() },
        piece(0, Some("call_1"), Some("look"), "{\"a\""),
        piece(1, None, Some("go"), "{}"),
        piece(0, None, None, ":1}"),
        Event::Finished { reason: FinishReason::ToolCalls, usage: Usage::default() },
    ];
    let (id, response) = Stage::new().told(&hello(), &events).await;
    let answer: Value = serde_json::from_str(&text(response).await).unwrap();
    let call = |id: &str, name, arguments| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let message = json!({
        "role": "assistant", "content": null, "refusal": null, "reasoning_content": "hm",
        "tool_calls": [call("call_1", "look", "{\"a\":1}"), call(&format!("call_{id}_1"), "go", "{}")],
    });
    assert_eq!(answer["choices"][0]["message"], message);
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn what_an_earlier_attempt_said_is_not_part_of_the_answer() {
    let events = [delta("Hi"), started(2, TextSoFar::Superseded), delta("Hello"), done()];
    let (_, response) = Stage::new().told(&hello(), &events).await;
    let answer: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello");
}

#[tokio::test]
async fn a_failure_has_a_status_and_says_whether_to_try_again() {
    let message = || "it broke".to_owned();
    let cause = tokenwire_core::CancelCause::Requested;
    for (failure, status, code, again) in [
        (Failure::Expired, 503, "expired", true),
        (Failure::TimedOut, 504, "timeout", false),
        (Failure::Cancelled { cause }, 409, "cancelled", false),
        (Failure::Rejected { message: message() }, 400, "rejected", true),
        (Failure::Exhausted { attempts: 3, message: message() }, 500, "exhausted", false),
        (Failure::Lost, 500, "lost", true),
    ] {
        let stage = Stage::new();
        let answered = async {
            let queued = async {
                // The only generation of this stage, whose id nobody knows yet.
                let id = stage.accepted().await;
                stage.write(id, &[delta("half"), Event::Failed { failure: failure.clone() }]).await;
                id
            };
            let body = hello();
            tokio::join!(stage.chat(&body, &[]), queued)
        };
        let (response, written) = answered.await;
        assert_eq!(id(&response), written);
        assert_eq!(!response.headers().contains_key("x-should-retry"), again, "{failure:?}");
        let (found, error) = refusal(response).await;
        assert_eq!((found, &error["code"]), (status, &json!(code)));

        let (_, keyed) = Stage::new().told(&hello(), &[Event::Failed { failure }]).await;
        assert_eq!(keyed.headers()["x-should-retry"], "false", "the key would find the same failure");
    }
}

#[tokio::test]
async fn an_answer_beyond_all_bounds_is_refused_rather_than_collected() {
    let part = delta(&"long ".repeat(200_000));
    let (id, response) = Stage::new().told(&hello(), &[&vec![part; 9][..], &[done()]].concat()).await;
    assert_eq!(super::id(&response), id);
    assert_eq!(response.headers()["x-should-retry"], "false");
    let (status, error) = refusal(response).await;
    assert_eq!((status, &error["code"]), (500, &json!("answer_too_large")));
}

#[tokio::test]
async fn a_server_that_drains_says_so_while_nothing_was_sent() {
    let stage = Stage::new();
    let body = hello();
    let (response, id) = tokio::join!(stage.chat(&body, &[]), async {
        let id = stage.accepted().await;
        stage.drain.cancel();
        id
    });
    assert_eq!(super::id(&response), id);
    assert!(!response.headers().contains_key("x-should-retry"));
    let (status, error) = refusal(response).await;
    assert_eq!((status, &error["code"]), (503, &json!("draining")));
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_to_the_next() {
    let stage = Stage::with(Config { max_streams: 1, ..Config::default() });
    let server = stage.serve().await;
    let post = |body: &Value| {
        let body = body.to_string();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        head + &body
    };
    let mut waiting = server.connect().await;
    waiting.send(post(&hello())).await;
    stage.accepted().await;
    drop(waiting);
    server.comes_to_serve(&post(&with(&json!({"stream": true})))).await;
}

#[tokio::test]
async fn a_client_says_what_becomes_of_an_answer_that_nobody_reads() {
    let grace = Config::default().on_disconnect;
    let detached = Config { on_disconnect: OnDisconnect::Detached, ..Config::default() };
    for (config, header, expected) in [
        (Config::default(), None, grace),
        (Config::default(), Some("detach"), OnDisconnect::Detached),
        (Config::default(), Some("cancel"), grace),
        (detached.clone(), None, OnDisconnect::Detached),
        (detached, Some("cancel"), grace),
    ] {
        let stage = Stage::with(config);
        let header = header.map(|value| ("tokenwire-on-disconnect", value));
        let response = stage.chat(&with(&json!({"stream": true})), header.as_slice()).await;
        let spec = stage.generations.spec(id(&response)).await.unwrap();
        assert_eq!(spec.on_disconnect, expected);
    }
    let refused = Stage::new().chat(&hello(), &[("tokenwire-on-disconnect", "stop")]).await;
    let (status, error) = refusal(refused).await;
    assert_eq!((status, &error["param"]), (400, &json!("Tokenwire-On-Disconnect")));
}
