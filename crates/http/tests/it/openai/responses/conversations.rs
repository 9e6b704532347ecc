//! What a model is asked: input, instructions, and the responses before.

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};
use tokenwire_core::{Event, Failure, GenerateRequest, Message, TextSoFar, ToolCall, ToolCallDelta};
use tokenwire_http::Config;

use super::asked;
use crate::{
    openai::refusal,
    stores::{self, Unattended},
    support::{Stage, delta, done, started},
};

fn stage() -> (Stage, Arc<Unattended>) {
    let queue = Arc::new(Unattended::default());
    (Stage::over(stores::memory(), queue.clone(), Config::default()), queue)
}

fn last(queue: &Unattended) -> GenerateRequest {
    queue.last.borrow().as_ref().unwrap().request.clone().unwrap()
}

#[tokio::test]
async fn every_item_reaches_the_model_as_a_message() {
    let (stage, queue) = stage();
    let input = json!([
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}], "encrypted_content": null},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "commentary",
         "content": [{"type": "output_text", "text": "Let me look.", "annotations": [], "logprobs": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{}", "status": "completed"},
        {"type": "function_call", "call_id": "call_2", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "c"},
        {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "d"}]},
    ]);
    stage.responded(&json!({"input": input, "instructions": "Be brief."}), &[]).await;
    let call = |id: &str| ToolCall { id: id.to_owned(), name: "look".to_owned(), arguments: "{}".to_owned() };
    let tool =
        |id: &str, content: &str| Message::Tool { tool_call_id: id.to_owned(), content: content.to_owned() };
    let expected = [
        Message::system("Be brief."),
        Message::system("Be kind."),
        Message::user("a\nb"),
        Message::Assistant {
            content: "Let me look.".to_owned(),
            tool_calls: vec![call("call_1"), call("call_2")],
        },
        tool("call_1", "c"),
        tool("call_2", "d"),
    ];
    assert!(last(&queue).conversation.messages() == expected);
}

#[tokio::test]
async fn options_reach_the_model_by_the_names_of_chat_completions() {
    let (stage, queue) = stage();
    let more = json!({
        "tools": [{"type": "function", "name": "look", "description": null, "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "function", "name": "look"}, "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.25, "seed": 7,
        "metadata": {"a": "b"}, "user": "u", "service_tier": "auto", "include": ["reasoning.encrypted_content"],
        "stream_options": {"include_obfuscation": false}, "conversation": null, "prompt": null,
    });
    stage.responded(&more, &[]).await;
    let request = last(&queue);
    let expected = json!({
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, "strict": true}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}}, "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
        "verbosity": "low", "reasoning_effort": "low",
    });
    assert_eq!(serde_json::to_value(&request.extras).unwrap(), expected);
    let sampling = serde_json::to_value(&request.sampling).unwrap();
    assert_eq!(sampling, json!({"max_tokens": 9, "temperature": 0.5, "top_p": 0.25, "seed": 7}));
}

#[tokio::test]
async fn a_schema_that_says_nothing_asks_for_any_json() {
    let (stage, queue) = stage();
    let more = json!({"text": {"format": {"type": "json_schema"}}, "reasoning": {"summary": "detailed"}});
    stage.responded(&more, &[]).await;
    let expected = json!({"response_format": {"type": "json_object"}});
    assert_eq!(serde_json::to_value(&last(&queue).extras).unwrap(), expected);
}

#[tokio::test]
async fn a_response_goes_on_from_the_one_before_and_from_all_before_that() {
    let (stage, queue) = stage();
    let said = |text: &str| [started(1, TextSoFar::Kept), delta(text), done()];
    let first = stage.responded(&json!({"input": "1", "instructions": "Be brief."}), &said("one")).await;
    let after = |id| format!("resp_{id}");
    let second =
        stage.responded(&json!({"input": "2", "previous_response_id": after(first)}), &said("two")).await;
    assert_eq!(stage.resource(second).await["previous_response_id"], json!(after(first)));
    // A conversation outlives its beginning.
    stage.log.remove(first).await.unwrap();
    let third = json!({"input": "3", "previous_response_id": after(second), "instructions": "Be long."});
    stage.responded(&third, &[]).await;
    let expected = [
        Message::system("Be long."),
        Message::user("1"),
        Message::assistant("one"),
        Message::user("2"),
        Message::assistant("two"),
        Message::user("3"),
    ];
    assert!(last(&queue).conversation.messages() == expected);
}

#[tokio::test]
async fn a_call_is_answered_by_its_result_alone() {
    let (stage, queue) = stage();
    let call = Event::ToolCall(ToolCallDelta {
        index: 0,
        id: Some("call_1".to_owned()),
        name: Some("look".to_owned()),
        arguments: "{}".to_owned(),
    });
    let first = stage.responded(&json!({}), &[started(1, TextSoFar::Kept), call, done()]).await;
    let result = json!([{"type": "function_call_output", "call_id": "call_1", "output": "b"}]);
    stage.responded(&json!({"input": result, "previous_response_id": format!("resp_{first}")}), &[]).await;
    let call = ToolCall { id: "call_1".to_owned(), name: "look".to_owned(), arguments: "{}".to_owned() };
    let expected = [
        Message::user("Hello"),
        Message::Assistant { content: String::new(), tool_calls: vec![call] },
        Message::Tool { tool_call_id: "call_1".to_owned(), content: "b".to_owned() },
    ];
    assert!(last(&queue).conversation.messages() == expected);
}

#[tokio::test]
async fn an_item_is_named_instead_of_repeated() {
    let (stage, queue) = stage();
    let reasoning = Event::Reasoning { text: "hm".to_owned() };
    let events = [started(1, TextSoFar::Kept), reasoning, delta("Hi"), done()];
    let asked = json!({"input": "Hello", "reasoning": {"summary": "auto"}});
    let first = stage.responded(&asked, &events).await;
    // A user stopped reading this one, and asks the next question.
    let second =
        stage.responded(&json!({"input": "Go on"}), &[started(1, TextSoFar::Kept), delta("Well")]).await;
    let name = |id: String| json!({"type": "item_reference", "id": id});
    let input = json!([
        name(format!("msg_{first}_in0")),
        name(format!("rs_{first}_0")),
        name(format!("msg_{first}_1")),
        {"role": "user", "content": "Go on"},
        name(format!("msg_{second}_0")),
        {"role": "user", "content": "What?"},
    ]);
    let third = stage.responded(&json!({ "input": input }), &[]).await;
    let expected = [
        Message::user("Hello"),
        Message::assistant("Hi"),
        Message::user("Go on"),
        Message::assistant("Well"),
        Message::user("What?"),
    ];
    assert!(last(&queue).conversation.messages() == expected);
    // What was named is a part of this response, and outlives where it came from.
    stage.log.remove(first).await.unwrap();
    let listed = super::object(stage.response(Method::GET, third, "/input_items?order=asc").await).await;
    assert_eq!(listed["data"][1]["summary"], json!([{"type": "summary_text", "text": "hm"}]));
    assert_eq!(listed["data"][2]["content"][0]["text"], "Hi");
    assert_eq!(listed["data"][2]["id"], json!(format!("msg_{third}_in2")));
}

#[tokio::test]
async fn an_item_that_is_not_there_is_not_found() {
    let (stage, _) = stage();
    let kept = stage.responded(&json!({}), &[started(1, TextSoFar::Kept), delta("Hi"), done()]).await;
    let unknown = tokenwire_core::GenerationId::fresh();
    for name in
        ["msg_1".to_owned(), format!("msg_{unknown}_0"), format!("msg_{kept}_1"), format!("msg_{kept}_in1")]
    {
        let input = json!([{"type": "item_reference", "id": name}, {"role": "user", "content": "a"}]);
        let (status, error) = refusal(stage.respond(&asked(&json!({ "input": input }))).await).await;
        assert_eq!((status, &error["code"]), (404, &json!("item_not_found")));
        assert_eq!(error["param"], "input[0].id");
    }
    let named = json!({"type": "item_reference", "id": format!("msg_{kept}_0")});
    let many = vec![named; tokenwire_core::Conversation::MAX_MESSAGES + 1];
    let (status, error) = refusal(stage.respond(&asked(&json!({ "input": many }))).await).await;
    assert_eq!((status, &error["param"]), (400, &json!("input")));
}

#[tokio::test]
async fn what_cannot_be_gone_on_from_is_refused() {
    let (stage, _) = stage();
    let refused = async |id: String| {
        let (status, error) =
            refusal(stage.respond(&asked(&json!({ "previous_response_id": id }))).await).await;
        assert_eq!((status, &error["param"]), (400, &json!("previous_response_id")));
        error
    };
    let unknown = tokenwire_core::GenerationId::fresh();
    for name in ["nothing".to_owned(), format!("resp_{unknown}")] {
        assert_eq!(refused(name).await["code"], "previous_response_not_found");
    }
    let failed = Event::Failed { failure: Failure::Lost };
    for events in [&[][..], &[started(1, TextSoFar::Kept)], &[failed]] {
        let id = stage.responded(&json!({}), events).await;
        assert_eq!(refused(format!("resp_{id}")).await["code"], Value::Null);
    }
    let elsewhere = stage.written(&[done()]).await;
    refused(format!("resp_{elsewhere}")).await;
}
