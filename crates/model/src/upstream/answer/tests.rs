use serde_json::{Value, json};
use tokenwire_core::model::ModelError;

use super::*;

fn text(text: &str) -> Output {
    Output::Text { text: text.into(), tokens: Vec::new() }
}

fn reasoning(text: &str) -> Output {
    Output::Reasoning { text: text.into() }
}

fn call(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> Output {
    let (id, name) = (id.map(str::to_owned), name.map(str::to_owned));
    Output::ToolCall(ToolCallDelta { index, id, name, arguments: arguments.to_owned() })
}

fn delta(delta: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}], "usage": null})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn data(data: impl std::fmt::Display) -> Event {
    Event { data: format!("{data}"), ..Event::default() }
}

struct Fold(AnswerFold);

impl Fold {
    fn new() -> Self {
        Self(AnswerFold::new(PrefixTrimmer::default()))
    }

    fn take(&mut self, event: &Value) -> Vec<Output> {
        self.0.take(&data(event), None).unwrap();
        std::iter::from_fn(|| self.0.next()).collect()
    }

    fn fault(&mut self, event: &Event) -> UpstreamError {
        self.0.take(event, None).unwrap_err()
    }
}

fn said(event: &Value) -> Vec<Output> {
    Fold::new().take(event)
}

#[test]
fn what_says_nothing_is_nothing() {
    for nothing in [
        json!({}),
        json!({"choices": []}),
        json!({"choices": null, "usage": null, "error": null}),
        json!({"choices": [{}]}),
        json!({"choices": [{"index": 0, "delta": null}]}),
        delta(&json!({"role": "assistant"})),
        delta(
            &json!({"role": "assistant", "content": null, "refusal": null, "reasoning": null, "tool_calls": null}),
        ),
        delta(&json!({"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": []})),
        delta(
            &json!({"tool_calls": [{"index": 0, "id": null, "function": {"name": null, "arguments": null}}]}),
        ),
        delta(
            &json!({"tool_calls": [{"index": 0, "id": "", "type": "function", "function": {"name": "", "arguments": ""}}]}),
        ),
        json!({"choices": [{"index": 1, "delta": {"content": "another answer"}}]}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": ""}]}),
        json!({"prompt_filter_results": [], "choices": [], "object": ""}),
    ] {
        let mut fold = Fold::new();
        assert_eq!(fold.take(&nothing), [], "{nothing}");
        assert!(!fold.0.is_whole(), "{nothing}");
    }
}

#[test]
fn text_is_text_and_a_refusal_is_what_the_model_says() {
    assert_eq!(said(&delta(&json!({"role": "assistant", "content": "é🦀"}))), [text("é🦀")]);
    assert_eq!(said(&delta(&json!({"content": null, "refusal": "I will not."}))), [text("I will not.")]);
    assert_eq!(said(&json!({"choices": [{"delta": {"content": "no index"}}]})), [text("no index")]);
}

#[test]
fn reasoning_is_kept_apart_and_told_once() {
    assert_eq!(said(&delta(&json!({"reasoning_content": "hm"}))), [reasoning("hm")]);
    assert_eq!(said(&delta(&json!({"reasoning": "hm"}))), [reasoning("hm")]);
    assert_eq!(said(&delta(&json!({"reasoning_content": "hm", "reasoning": "hm"}))), [reasoning("hm")]);
    assert_eq!(said(&delta(&json!({"reasoning_content": "", "reasoning": "hm"}))), [reasoning("hm")]);
    let both = delta(&json!({"content": "So:", "reasoning": "hm"}));
    assert_eq!(said(&both), [reasoning("hm"), text("So:")]);
}

#[test]
fn tool_calls_come_in_pieces() {
    let mut fold = Fold::new();
    let begin = json!({"tool_calls": [
        {"index": 1, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
    ]});
    assert_eq!(fold.take(&delta(&begin)), [call(1, Some("c1"), Some("look"), "")]);
    let piece = json!({"tool_calls": [{"index": 1, "function": {"arguments": "{\"q\":"}}]});
    assert_eq!(fold.take(&delta(&piece)), [call(1, None, None, "{\"q\":")]);
    let two = json!({"tool_calls": [
        {"index": 1, "id": "", "function": {"name": "", "arguments": "1}"}},
        {"index": 2, "id": "c2", "function": {"name": "go", "arguments": "{}"}},
    ]});
    assert_eq!(fold.take(&delta(&two)), [call(1, None, None, "1}"), call(2, Some("c2"), Some("go"), "{}")]);
    let unnumbered = json!({"tool_calls": [{"id": "a", "function": {}}, {"id": "b", "function": {}}]});
    assert_eq!(said(&delta(&unnumbered)), [call(0, Some("a"), None, ""), call(1, Some("b"), None, "")]);
}

#[test]
fn every_reason_to_end_is_known() {
    for (said, reason) in [
        ("stop", FinishReason::Stop),
        ("length", FinishReason::Length),
        ("tool_calls", FinishReason::ToolCalls),
        ("function_call", FinishReason::ToolCalls),
        ("content_filter", FinishReason::ContentFilter),
        ("whatever", FinishReason::Stop),
    ] {
        let mut fold = Fold::new();
        fold.take(&finish(said));
        assert!(fold.0.is_whole() && !fold.0.is_done());
        assert_eq!(fold.0.ending(), (reason, Usage::default()), "{said}");
    }
    for cut in ["abort", "error"] {
        assert!(matches!(Fold::new().fault(&data(finish(cut))), UpstreamError::Broken { .. }), "{cut}");
    }
}

#[test]
fn the_last_piece_may_come_with_its_reason() {
    let mut fold = Fold::new();
    let last = json!({"choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": "length"}]});
    assert_eq!(fold.take(&last), [text("!")]);
    assert_eq!(fold.0.ending().0, FinishReason::Length);
}

#[test]
fn done_without_a_reason_is_an_end_too() {
    let mut fold = Fold::new();
    fold.0.take(&data("[DONE]"), None).unwrap();
    assert!(fold.0.is_whole() && fold.0.is_done());
    assert_eq!(fold.0.ending().0, FinishReason::Stop);
    let mut fold = Fold::new();
    fold.take(&delta(&json!({"tool_calls": [{"id": "a", "function": {}}]})));
    fold.0.take(&data("[DONE]"), None).unwrap();
    assert_eq!(fold.0.ending().0, FinishReason::ToolCalls);
}

#[test]
fn the_last_usage_counts() {
    let mut fold = Fold::new();
    for (input, output) in [(7, 1), (7, 2)] {
        fold.take(&json!({"choices": [], "usage": {"prompt_tokens": input, "completion_tokens": output}}));
    }
    fold.take(&json!({"choices": [], "usage": null}));
    assert_eq!(fold.0.ending().1, Usage { input_tokens: 7, output_tokens: 2 });
    fold.take(
        &json!({"choices": [], "usage": {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": null}}),
    );
    assert_eq!(fold.0.ending().1, Usage { input_tokens: 7, output_tokens: 0 });
}

#[test]
fn an_error_before_anything_was_said_is_a_status() {
    let error = |code: Value| data(json!({"error": {"message": "too long", "code": code}}));
    let rejected = ModelError::from(Fold::new().fault(&error(json!(400))));
    assert!(matches!(rejected, ModelError::Rejected { message } if message == "too long"));
    assert!(matches!(Fold::new().fault(&error(json!(429))), UpstreamError::Busy { .. }));
    for code in [json!(500), json!("server_error"), json!(null), json!(99_999), json!(-1), json!(200)] {
        assert!(matches!(Fold::new().fault(&error(code.clone())), UpstreamError::Broken { .. }), "{code}");
    }
}

#[test]
fn an_error_in_mid_answer_cuts_it() {
    let mut fold = Fold::new();
    fold.take(&delta(&json!({"content": "a"})));
    let fault = fold.fault(&data(json!({"error": {"message": "out of memory", "code": 400}})));
    assert_eq!(fault.to_string(), "the upstream gave up: out of memory");
    assert!(matches!(fault, UpstreamError::Broken { .. }));
}

#[test]
fn errors_come_in_many_forms() {
    let named = |data: &str| Event { name: "error".into(), ..self::data(data) };
    for event in [
        data(json!({"error": "overloaded"})),
        data(
            json!({"error": {"message": "overloaded"}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]}),
        ),
        named(r#"{"error":{"message":"overloaded","type":"t"}}"#),
        named("overloaded"),
    ] {
        assert_eq!(Fold::new().fault(&event).to_string(), "the upstream gave up: overloaded", "{event:?}");
    }
}

#[test]
fn what_is_not_an_answer_is_not_shown_to_anybody() {
    for nonsense in [
        "",
        "secret",
        "{\"secret",
        "[]",
        "{\"choices\": \"secret\"}",
        "{\"choices\":[{\"delta\":{\"content\":7}}]}",
    ] {
        let fault = Fold::new().fault(&data(nonsense));
        assert_eq!(
            fault.to_string(),
            "the upstream sent an event that is not a chat completion chunk",
            "{nonsense}"
        );
    }
}
