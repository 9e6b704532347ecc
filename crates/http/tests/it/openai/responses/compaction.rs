//! Conversations made shorter.

use axum::{
    body::Body,
    http::{Method, Response},
};
use serde_json::{Value, json};
use tokenwire_core::{Event, Failure, FinishReason, GenerationId, Message, TextSoFar, Usage};

use super::{RESPONSES, asked, object};
use crate::{
    openai::{id, refusal},
    support::{JSON, Stage, delta, done, started},
};

fn window() -> Value {
    json!([
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "The launch is on Tuesday."},
        {"role": "assistant", "content": "Understood."},
        {"role": "user", "content": "Tell support first."},
    ])
}

impl Stage {
    async fn compact(&self, body: &Value, key: &str) -> Response<Body> {
        let headers = [JSON, ("idempotency-key", key)];
        self.call(Method::POST, &format!("{RESPONSES}/compact"), &headers, body.to_string()).await
    }

    /// What a call gives whose summary has these entries.
    async fn compacted(&self, body: &Value, events: &[Event]) -> Response<Body> {
        let (response, ()) = tokio::join!(self.compact(body, "key-1"), async {
            let id = self.accepted().await;
            self.write(id, events).await;
        });
        response
    }
}

fn summary(text: &str) -> [Event; 4] {
    [started(1, TextSoFar::Kept), Event::Reasoning { text: "hm".to_owned() }, delta(text), done()]
}

#[tokio::test]
async fn the_clients_words_are_kept_and_a_model_sums_up_the_rest() {
    let stage = Stage::new();
    let body = json!({"model": "simulated", "input": window(), "instructions": "In French.", "prompt_cache_key": "k"});
    let response = stage.compacted(&body, &summary(" Launch on Tuesday.\n")).await;
    let generation = id(&response);
    let shown = object(response).await;
    let content = shown["output"][3]["encrypted_content"].clone();
    assert!(content.as_str().unwrap().starts_with("tokenwire-1."));
    let kept = |index: usize, role: &str, text: &str| {
        json!({
            "type": "message", "id": format!("msg_{generation}_{index}"), "status": "completed", "role": role,
            "content": [{"type": "input_text", "text": text}],
        })
    };
    let expected = json!({
        "id": format!("resp_{generation}"), "object": "response.compaction", "created_at": stage.created(generation).await,
        "output": [
            kept(0, "system", "Be kind."), kept(1, "user", "The launch is on Tuesday."), kept(2, "user", "Tell support first."),
            {"type": "compaction", "id": format!("cmp_{generation}_3"), "encrypted_content": content},
        ],
        "usage": {
            "input_tokens": 1, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 3,
        },
    });
    assert_eq!(shown, expected);

    let asked_of_model = stage.request().await;
    let [task, transcript] = &asked_of_model[..] else { panic!("two messages") };
    assert!(matches!(task, Message::System { content } if content.ends_with("\n\nIn French.")));
    let expected = "[system]\nBe kind.\n\n[user]\nThe launch is on Tuesday.\n\n[assistant]\nUnderstood.\n\n\
                    [user]\nTell support first.\n\n[end of the transcript]\nWrite the summary now.";
    assert!(*transcript == Message::user(expected));
}

#[tokio::test]
async fn what_was_compacted_is_gone_on_from_and_compacted_again() {
    let stage = Stage::new();
    let body = json!({"model": "simulated", "input": window()});
    let shown = object(stage.compacted(&body, &summary("Launch on Tuesday.")).await).await;
    let mut input = shown["output"].as_array().unwrap().clone();
    input.push(json!({"role": "user", "content": "Go on."}));
    let next = stage
        .responded(&json!({"input": input}), &[started(1, TextSoFar::Kept), delta("Yes."), done()])
        .await;
    let told = |text: &str| Message::assistant(format!("What was said so far, in short:\n\n{text}"));
    let expected = [
        Message::system("Be kind."),
        Message::user("The launch is on Tuesday."),
        Message::user("Tell support first."),
        told("Launch on Tuesday."),
        Message::user("Go on."),
    ];
    assert!(stage.request().await == expected);
    let listed = object(stage.response(Method::GET, next, "/input_items?order=asc").await).await;
    assert_eq!(listed["data"][3]["id"], format!("cmp_{next}_in3"));
    assert_eq!(listed["data"][3]["encrypted_content"], shown["output"][3]["encrypted_content"]);

    let again = json!({"model": "simulated", "previous_response_id": format!("resp_{next}")});
    let (response, ()) = tokio::join!(stage.compact(&again, "key-2"), async {
        let id = stage.accepted_after(next).await;
        stage.write(id, &summary("Still Tuesday.")).await;
    });
    let output = object(response).await["output"].as_array().unwrap().clone();
    let roles: Vec<_> = output.iter().map(|item| item["role"].as_str().unwrap_or("-")).collect();
    assert_eq!(roles, ["system", "user", "user", "user", "-"]);
    let said = stage.request().await[1].content().to_owned();
    assert!(said.contains("in short:\n\nLaunch on Tuesday.") && said.contains("[assistant]\nYes."), "{said}");
}

#[tokio::test]
async fn a_repeated_key_finds_the_summary_that_a_cut_call_left_behind() {
    let stage = Stage::new();
    let body = json!({"model": "simulated", "input": window()});
    let (cut, generation) = tokio::join!(stage.compact(&body, "key-1"), async {
        let id = stage.accepted().await;
        stage.drain.cancel();
        id
    });
    assert_eq!(id(&cut), generation);
    let (status, error) = refusal(cut).await;
    assert_eq!((status, &error["code"]), (503, &json!("draining")));
    stage.write(generation, &summary("Launch on Tuesday.")).await;
    let other = stage.replica();
    let first = object(other.compact(&body, "key-1").await).await;
    assert_eq!(first["id"], format!("resp_{generation}"));
    assert_eq!(first, object(other.compact(&body, "key-1").await).await);
    let another = json!({"model": "simulated", "input": "b"});
    assert_eq!(refusal(other.compact(&another, "key-1").await).await.0, 409);
}

#[tokio::test]
async fn a_summary_is_no_response() {
    let stage = Stage::new();
    let body = json!({"model": "simulated", "input": window()});
    let generation = id(&stage.compacted(&body, &summary("Launch on Tuesday.")).await);
    assert_eq!(refusal(stage.response(Method::GET, generation, "").await).await.0, 404);
    let on = asked(&json!({"previous_response_id": format!("resp_{generation}")}));
    let (status, error) = refusal(stage.respond(&on).await).await;
    assert_eq!((status, &error["code"]), (400, &json!("previous_response_not_found")));
    // It can be forgotten.
    object(stage.response(Method::DELETE, generation, "").await).await;
}

#[tokio::test]
async fn a_summary_that_is_not_whole_is_a_failure() {
    let broken = |reason| Event::Finished { reason, usage: Usage { input_tokens: 1, output_tokens: 2 } };
    for (events, status, code) in [
        (vec![delta("Launch"), broken(FinishReason::Length)], 500, "compaction_failed"),
        (vec![delta(" "), done()], 500, "compaction_failed"),
        (vec![done()], 500, "compaction_failed"),
        (vec![delta(&"x".repeat(64 * 1024 + 1)), done()], 500, "compaction_failed"),
        (vec![Event::Failed { failure: Failure::Expired }], 503, "expired"),
    ] {
        let stage = Stage::new();
        let response = stage.compacted(&json!({"model": "simulated", "input": window()}), &events).await;
        assert_eq!(response.headers()["x-should-retry"], "false", "the key would find it again");
        let (found, error) = refusal(response).await;
        assert_eq!((found, &error["code"]), (status, &json!(code)));
    }
}

#[tokio::test]
async fn what_cannot_be_compacted_is_refused_by_its_name() {
    let stage = Stage::new();
    let unknown = GenerationId::fresh();
    for (body, status, param) in [
        (json!({"input": window()}), 400, "model"),
        (json!({"model": "gpt", "input": window()}), 404, "model"),
        (json!({"model": "simulated"}), 400, "input"),
        (json!({"model": "simulated", "input": []}), 400, "input"),
        (json!({"model": "simulated", "input": [{"type": "computer_call"}]}), 400, "input[0].type"),
        (
            json!({"model": "simulated", "previous_response_id": format!("resp_{unknown}")}),
            400,
            "previous_response_id",
        ),
        (json!({"model": "simulated", "input": "a", "stream": true}), 400, "stream"),
    ] {
        let (found, error) = refusal(stage.compact(&body, "key-1").await).await;
        assert_eq!((found, &error["param"]), (status, &json!(param)), "{body}: {error}");
    }
}

#[tokio::test]
async fn compactions_of_others_and_pieces_of_ours_are_refused() {
    let stage = Stage::new();
    for (content, what) in [
        ("gAAAAABm", "was not made here"),
        ("tokenwire-1.AAAA", "is broken"),
        ("tokenwire-9.AAAA", "newer server"),
    ] {
        let items =
            json!([{"type": "compaction", "encrypted_content": content}, {"role": "user", "content": "a"}]);
        let (status, error) = refusal(stage.respond(&asked(&json!({ "input": items }))).await).await;
        assert_eq!((status, &error["param"]), (400, &json!("input[0].encrypted_content")));
        assert!(error["message"].as_str().unwrap().contains(what), "{error}");
    }
    let empty = json!([{"type": "compaction"}]);
    let (_, error) = refusal(stage.respond(&asked(&json!({ "input": empty }))).await).await;
    assert_eq!(error["param"], "input[0].encrypted_content");
}

#[tokio::test]
async fn a_summary_too_many_is_refused() {
    let full = Stage::new().overloaded();
    let body = json!({"model": "simulated", "input": window()});
    let (status, error) = refusal(full.compact(&body, "key-1").await).await;
    assert_eq!((status, &error["code"]), (503, &json!("overloaded")));
}
