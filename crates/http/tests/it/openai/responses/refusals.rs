//! What is not understood and would change the answer is refused by its name.

use axum::http::Method;
use serde_json::{Value, json};

use super::{RESPONSES, asked};
use crate::{openai::refusal, support::Stage};

#[tokio::test]
async fn a_request_that_cannot_be_honoured_names_what_is_wrong() {
    let stage = Stage::new();
    let item = |item: Value| json!({ "input": [item] });
    let said = |content: Value| item(json!({"role": "user", "content": content}));
    for (more, param) in [
        (json!({"input": null}), "input"),
        (json!({"input": 1}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": " "}), "input"),
        (json!({"input": ["a"]}), "input[0]"),
        (item(json!({"content": "a"})), "input[0].role"),
        (item(json!({"role": "tool", "content": "a"})), "input[0].role"),
        (item(json!({"role": "user"})), "input[0].content"),
        (item(json!({"role": "user", "content": "a", "name": "Ann"})), "input[0].name"),
        (item(json!({"role": "assistant", "content": "a"})), "input"),
        (said(json!([])), "input[0].content"),
        (said(json!([{"type": "input_image", "image_url": "x"}])), "input[0].content[0].type"),
        (said(json!([{"type": "input_file"}])), "input[0].content[0].type"),
        (said(json!([{"type": "input_text"}])), "input[0].content[0].text"),
        (item(json!({"type": "item_reference"})), "input[0].id"),
        (item(json!({"type": "computer_call"})), "input[0].type"),
        (item(json!({"type": "function_call", "call_id": "1", "name": "a"})), "input[0].arguments"),
        (item(json!({"type": "function_call_output", "output": "a"})), "input[0].call_id"),
        (item(json!({"type": "function_call_output", "call_id": "1"})), "input[0].output"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"background": true, "store": false}), "background"),
        (json!({"background": 1}), "background"),
        (json!({"instructions": ["a"]}), "instructions"),
        (json!({"truncation": "auto"}), "truncation"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (json!({"include": ["message.output_text.logprobs"]}), "include"),
        (json!({"stream_options": {"include_obfuscation": true}}), "stream_options.include_obfuscation"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options.include_usage"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
        (json!({"tools": [{"type": "function", "name": "a", "defer": true}]}), "tools[0].defer"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tool_choice": {"type": "allowed_tools"}}), "tool_choice.type"),
        (json!({"text": {"format": {"type": "grammar"}}}), "text.format.type"),
        (json!({"text": {"format": {"type": "json_schema", "name": "a"}}}), "text.format.schema"),
        (json!({"text": {"colour": "red"}}), "text.colour"),
        (json!({"reasoning": {"effort": 1}}), "reasoning.effort"),
        (json!({"reasoning": {"summary": "long"}}), "reasoning.summary"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"metadata": {"a": 1}}), "metadata"),
        (json!({"max_tokens": 9}), "max_tokens"),
        (json!({"context_management": []}), "context_management"),
    ] {
        let (status, error) = refusal(stage.respond(&asked(&more)).await).await;
        assert_eq!((status, &error["param"]), (400, &json!(param)), "{more}: {error}");
        assert!(error["message"].as_str().unwrap().starts_with(param), "{error}");
    }
    let (status, error) = refusal(stage.respond(&asked(&json!({"model": "gpt"}))).await).await;
    assert_eq!((status, &error["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let stage = Stage::new();
    let unknown = tokenwire_core::GenerationId::fresh();
    for name in ["a".to_owned(), "resp_1".to_owned(), "%ff".to_owned(), format!("resp_{unknown}")] {
        for (method, rest) in [
            (Method::GET, ""),
            (Method::DELETE, ""),
            (Method::POST, "/cancel"),
            (Method::GET, "/input_items"),
        ] {
            let answer = stage.call(method, &format!("{RESPONSES}/{name}{rest}"), &[], "").await;
            let (status, error) = refusal(answer).await;
            assert_eq!((status, &error["code"]), (404, &json!("not_found")));
        }
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_meant_is_refused() {
    let stage = Stage::new();
    let id = stage.responded(&json!({}), &[]).await;
    for (query, param) in [
        ("?stream=maybe", "stream"),
        ("?starting_after=1", "starting_after"),
        ("?stream=true&starting_after=a", "starting_after"),
        ("/input_items?limit=0", "limit"),
        ("/input_items?order=up", "order"),
        ("/input_items?after=msg_1", "after"),
    ] {
        let (status, error) = refusal(stage.response(Method::GET, id, query).await).await;
        assert_eq!((status, &error["param"]), (400, &json!(param)));
    }
}

#[tokio::test]
async fn a_prompt_too_many_is_refused_whole_streamed_and_in_the_background() {
    let full = Stage::new().overloaded();
    for more in [json!({}), json!({"stream": true}), json!({"background": true})] {
        let (status, error) = refusal(full.respond(&asked(&more)).await).await;
        assert_eq!((status, &error["code"]), (503, &json!("overloaded")));
    }
}
