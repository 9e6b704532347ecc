//! Responses as resources: what they show, how they are stopped and forgotten.

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};
use tokenwire_core::{CancelCause, Event, Failure, TextSoFar, token_log::OnDisconnect};
use tokenwire_http::Config;

use super::{RESPONSES, asked, object};
use crate::{
    openai::{id, refusal},
    stores::{Plug, Unattended},
    support::{JSON, Stage, delta, done, started, text},
};

#[tokio::test]
async fn a_response_has_all_of_its_properties_and_repeats_its_request() {
    let tool = json!({"type": "function", "name": "look", "parameters": {"type": "object"}});
    let more = json!({
        "instructions": "Be brief.", "tools": [tool], "tool_choice": {"type": "function", "name": "look"},
        "parallel_tool_calls": false, "metadata": {"a": "b"}, "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.25,
        "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low"}, "safety_identifier": "s",
        "prompt_cache_key": "k", "user": "u", "truncation": "disabled", "top_logprobs": 0, "include": [],
        "frequency_penalty": 0.5,
    });
    let stage = Stage::new();
    let id = stage.responded(&more, &[started(1, TextSoFar::Kept), delta("Hello"), done()]).await;
    let shown = stage.resource(id).await;
    let completed = shown["completed_at"].clone();
    assert!(completed.is_u64());
    let expected = json!({
        "id": format!("resp_{id}"), "object": "response", "created_at": stage.created(id).await,
        "completed_at": completed, "status": "completed", "background": true, "store": true, "model": "simulated",
        "previous_response_id": null, "instructions": "Be brief.", "error": null, "incomplete_details": null,
        "output": [{
            "id": format!("msg_{id}_0"), "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
        }],
        "usage": {
            "input_tokens": 1, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 3,
        },
        "tools": [{"type": "function", "name": "look", "description": null, "parameters": {"type": "object"}, "strict": null}],
        "tool_choice": {"type": "function", "name": "look"}, "parallel_tool_calls": false,
        "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low", "summary": null},
        "temperature": 0.5, "top_p": 0.25, "presence_penalty": 0.0, "frequency_penalty": 0.5, "max_output_tokens": 9,
        "max_tool_calls": null, "top_logprobs": 0, "truncation": "disabled", "service_tier": "default",
        "metadata": {"a": "b"}, "safety_identifier": "s", "prompt_cache_key": "k",
    });
    assert_eq!(shown, expected);
    assert_eq!(shown.as_object().unwrap().len(), 31);
}

#[tokio::test]
async fn reasoning_is_shown_as_a_summary_on_request_and_otherwise_as_text() {
    let stage = Stage::new();
    let thought = Event::Reasoning { text: "hm".to_owned() };
    let events = [started(1, TextSoFar::Kept), thought, delta("Hi"), done()];
    let shown = async |reasoning: Value| {
        let id = stage.responded(&json!({ "reasoning": reasoning }), &events).await;
        let resource = stage.resource(id).await;
        let of = |field: &str| resource["output"][0][field].clone();
        (resource["reasoning"].clone(), of("summary"), of("content"))
    };
    let (summary, text) =
        (json!([{"type": "summary_text", "text": "hm"}]), json!([{"type": "reasoning_text", "text": "hm"}]));
    for (asked, echoed) in [
        (json!({"summary": "auto"}), json!({"effort": null, "summary": "auto"})),
        (json!({"summary": "concise", "effort": "low"}), json!({"effort": "low", "summary": "concise"})),
        (json!({"generate_summary": "detailed"}), json!({"effort": null, "summary": "detailed"})),
        (
            json!({"summary": "auto", "generate_summary": "concise"}),
            json!({"effort": null, "summary": "auto"}),
        ),
    ] {
        assert_eq!(shown(asked).await, (echoed, summary.clone(), json!([])));
    }
    for (asked, echoed) in [
        (json!(null), json!(null)),
        (json!({"effort": "low"}), json!({"effort": "low", "summary": null})),
        (json!({"summary": null}), json!({"effort": null, "summary": null})),
    ] {
        assert_eq!(shown(asked).await, (echoed, json!([]), text.clone()));
    }
}

#[tokio::test]
async fn a_response_in_the_background_is_there_at_once_and_goes_on_alone() {
    let stage = Stage::new();
    let response = stage.respond(&asked(&json!({"background": true}))).await;
    let id = id(&response);
    assert_eq!(object(response).await["status"], "queued");
    assert_eq!(stage.generations.spec(id).await.unwrap().on_disconnect, OnDisconnect::Detached);
    stage.write(id, &[started(1, TextSoFar::Kept), delta("Hel")]).await;
    let shown = stage.resource(id).await;
    assert_eq!((&shown["status"], &shown["completed_at"]), (&json!("in_progress"), &Value::Null));
    assert_eq!(shown["output"][0]["content"][0]["text"], "Hel");
    assert_eq!(shown["output"][0]["status"], "in_progress");
}

#[tokio::test]
async fn a_response_in_the_foreground_is_whole_or_an_error() {
    let stage = Stage::new();
    let body = asked(&json!({}));
    let (response, written) = tokio::join!(stage.respond(&body), async {
        let id = stage.accepted().await;
        stage.write(id, &[started(1, TextSoFar::Kept), delta("Hello"), done()]).await;
        id
    });
    assert_eq!(stage.generations.spec(written).await.unwrap().on_disconnect, stage.config.on_disconnect);
    let shown = object(response).await;
    assert_eq!(shown, stage.resource(written).await);
    assert_eq!(shown["status"], "completed");

    let stage = Stage::new();
    let (response, written) = tokio::join!(stage.respond(&body), async {
        let id = stage.accepted().await;
        stage.write(id, &[Event::Failed { failure: Failure::Expired }]).await;
        id
    });
    assert_eq!(id(&response), written);
    let (status, error) = refusal(response).await;
    assert_eq!((status, &error["code"]), (503, &json!("expired")));
}

#[tokio::test]
async fn a_repeated_key_finds_the_response_of_the_first_call() {
    let stage = Stage::new();
    let call = async |metadata: &str| {
        let body = asked(&json!({"background": true, "metadata": {"call": metadata}}));
        let headers = [JSON, ("idempotency-key", "order-1")];
        object(stage.call(Method::POST, RESPONSES, &headers, body.to_string()).await).await
    };
    let first = call("first").await;
    assert_eq!(first, call("second").await);
    assert_eq!(first["metadata"]["call"], "first");
}

#[tokio::test]
async fn any_replica_shows_a_response_and_its_events() {
    let stage = Stage::new();
    let id = stage.responded(&json!({"metadata": {"a": "b"}}), &[delta("Hello"), done()]).await;
    let other = Stage::over(Arc::clone(&stage.log), Arc::new(Unattended::default()), Config::default());
    assert_eq!(other.resource(id).await, stage.resource(id).await);
    let events = async |stage: &Stage| text(stage.response(Method::GET, id, "?stream=true").await).await;
    assert_eq!(events(&other).await, events(&stage).await);
}

#[tokio::test]
async fn a_log_that_is_away_is_a_reason_to_come_back() {
    let plug = Plug::connected();
    let stage = Stage::over(plug.clone(), Arc::new(Unattended::default()), Config::default());
    let id = stage.responded(&json!({}), &[done()]).await;
    plug.pull();
    for (method, rest) in [
        (Method::GET, ""),
        (Method::GET, "?stream=true"),
        (Method::GET, "/input_items"),
        (Method::POST, "/cancel"),
        (Method::DELETE, ""),
    ] {
        let (status, error) = refusal(stage.response(method, id, rest).await).await;
        assert_eq!((status, &error["code"]), (503, &json!("unavailable")));
    }
    let (status, _) = refusal(stage.respond(&asked(&json!({"background": true}))).await).await;
    assert_eq!(status, 503);
    plug.connect();
    assert_eq!(stage.resource(id).await["status"], "completed");
}

#[tokio::test]
async fn a_client_chooses_what_happens_to_a_response_without_readers() {
    let grace = Config::default().on_disconnect;
    for (background, header, expected) in [
        (false, None, grace),
        (false, Some("detach"), OnDisconnect::Detached),
        (true, None, OnDisconnect::Detached),
        (true, Some("cancel"), grace),
    ] {
        let stage = Stage::new();
        let header = header.map(|value| ("tokenwire-on-disconnect", value));
        let headers = [&[JSON], header.as_slice()].concat();
        let body = asked(&json!({"background": background, "stream": true})).to_string();
        let response = stage.call(Method::POST, RESPONSES, &headers, body).await;
        assert_eq!(stage.generations.spec(id(&response)).await.unwrap().on_disconnect, expected);
    }
    let headers = [JSON, ("tokenwire-on-disconnect", "stop")];
    let body = asked(&json!({})).to_string();
    let refused = Stage::new().call(Method::POST, RESPONSES, &headers, body).await;
    assert_eq!(refusal(refused).await.1["param"], "Tokenwire-On-Disconnect");
}

#[tokio::test]
async fn stopping_waits_for_the_end_and_can_be_repeated() {
    let stage = Stage::new();
    let id = stage.responded(&json!({}), &[started(1, TextSoFar::Kept), delta("half")]).await;
    let mut writer = stage.log.open_writer(id).await.unwrap();
    let (stopped, ()) = tokio::join!(stage.response(Method::POST, id, "/cancel"), async move {
        let cause = writer.cancellation().cancelled().await;
        assert_eq!(cause, CancelCause::Requested);
        writer.seal(&Event::Failed { failure: Failure::Cancelled { cause } }).await.unwrap();
    });
    let stopped = object(stopped).await;
    assert_eq!((&stopped["status"], &stopped["incomplete_details"]), (&json!("cancelled"), &Value::Null));
    assert_eq!(object(stage.response(Method::POST, id, "/cancel").await).await, stopped);
    assert_eq!(stage.resource(id).await, stopped);
}

#[tokio::test(start_paused = true)]
async fn what_no_worker_has_begun_ends_when_it_is_stopped() {
    let stage = Stage::new();
    let id = stage.responded(&json!({}), &[]).await;
    assert_eq!(object(stage.response(Method::POST, id, "/cancel").await).await["status"], "cancelled");
}

#[tokio::test]
async fn a_response_is_forgotten_on_request() {
    let stage = Stage::new();
    let id = stage.responded(&json!({}), &[done()]).await;
    let deleted = object(stage.response(Method::DELETE, id, "").await).await;
    assert_eq!(deleted, json!({"id": format!("resp_{id}"), "object": "response", "deleted": true}));
    for (method, rest) in
        [(Method::GET, ""), (Method::GET, "?stream=true"), (Method::POST, "/cancel"), (Method::DELETE, "")]
    {
        let (status, error) = refusal(stage.response(method, id, rest).await).await;
        assert_eq!((status, &error["code"]), (404, &json!("not_found")));
    }
}

#[tokio::test]
async fn what_is_not_stored_is_not_shown_again_and_can_be_forgotten() {
    let stage = Stage::new();
    let response = stage.respond(&asked(&json!({"store": false, "stream": true}))).await;
    let id = id(&response);
    for rest in ["", "?stream=true", "/input_items"] {
        assert_eq!(refusal(stage.response(Method::GET, id, rest).await).await.0, 404);
    }
    stage.write(id, &[done()]).await;
    let on = asked(&json!({"previous_response_id": format!("resp_{id}")}));
    let (status, error) = refusal(stage.respond(&on).await).await;
    assert_eq!((status, &error["code"]), (400, &json!("previous_response_not_found")));
    object(stage.response(Method::DELETE, id, "").await).await;
}

#[tokio::test]
async fn the_answer_of_another_front_end_is_shown_under_its_id() {
    let stage = Stage::new();
    let id = stage.written(&[started(1, TextSoFar::Kept), delta("Hello"), done()]).await;
    for name in [format!("resp_{id}"), format!("chatcmpl-{id}"), id.to_string()] {
        let shown = object(stage.get(&format!("{RESPONSES}/{name}"), &[]).await).await;
        assert_eq!((&shown["id"], &shown["model"]), (&json!(format!("resp_{id}")), &json!("unknown")));
        assert_eq!(shown["output"][0]["content"][0]["text"], "Hello");
    }
}

#[tokio::test]
async fn what_was_asked_is_listed_page_by_page() {
    let stage = Stage::new();
    let input = json!([
        {"role": "user", "content": "a"},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "b"},
    ]);
    let id = stage.responded(&json!({ "input": input }), &[]).await;
    let page = async |query: &str| {
        object(stage.response(Method::GET, id, &format!("/input_items?{query}")).await).await
    };
    let all = page("order=asc").await;
    let data = json!([
        {"id": format!("msg_{id}_in0"), "type": "message", "status": "completed", "role": "user",
         "content": [{"type": "input_text", "text": "a"}]},
        {"id": format!("fc_{id}_in1"), "type": "function_call", "status": "completed", "call_id": "call_1", "name": "look",
         "arguments": "{}"},
        {"id": format!("fco_{id}_in2"), "type": "function_call_output", "status": "completed", "call_id": "call_1", "output": "b"},
    ]);
    let expected = json!({
        "object": "list", "data": data, "first_id": format!("msg_{id}_in0"), "last_id": format!("fco_{id}_in2"),
        "has_more": false,
    });
    assert_eq!(all, expected);
    let first = page("limit=2").await;
    assert_eq!((&first["data"][0], &first["has_more"]), (&all["data"][2], &json!(true)));
    let rest = page(&format!("limit=2&after={}", first["last_id"].as_str().unwrap())).await;
    assert_eq!((&rest["data"], &rest["has_more"]), (&json!([all["data"][0]]), &json!(false)));
}
