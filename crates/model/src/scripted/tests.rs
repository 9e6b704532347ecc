use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use tokenwire_core::{
    Conversation, FinishReason, GenerateRequest, GenerationId, Message, Model, ModelName, Sampling, ToolCall,
    Usage,
    model::{Continuation, ModelError, Output},
    token_log::Prefix,
};
use tokio::time::Instant;

use super::{LoadError, Script, Scripted};

fn scripted(script: &str) -> Scripted {
    Scripted::new(Script::parse(script).unwrap())
}

fn asking(prompt: &str) -> GenerateRequest {
    GenerateRequest::new(ModelName::new("scripted").unwrap(), Conversation::of(prompt).unwrap())
}

fn with(request: GenerateRequest, sampling: serde_json::Value) -> GenerateRequest {
    let sampling: Sampling = serde_json::from_value(sampling).unwrap();
    GenerateRequest { sampling, ..request }
}

/// Everything that one attempt says, an error included.
async fn attempt(
    model: &Scripted,
    request: &GenerateRequest,
    so_far: &str,
) -> Vec<Result<Output, ModelError>> {
    let so_far = Prefix { text: so_far.to_owned(), ..Prefix::default() };
    match model.generate(GenerationId::from_bytes([7; 16]), request, &so_far).await {
        Ok(stream) => stream.collect().await,
        Err(error) => vec![Err(error)],
    }
}

/// An attempt in short: each piece, then how it ended.
async fn said(model: &Scripted, request: &GenerateRequest, so_far: &str) -> Vec<String> {
    let in_short = |output: Result<Output, ModelError>| match output {
        Ok(Output::Text { text, tokens }) => {
            assert!(tokens.is_empty());
            text
        }
        Ok(Output::Reasoning { text }) => format!("thinks{text}"),
        Ok(Output::ToolCall(call)) => {
            format!(
                "call {} {}{}{}",
                call.index,
                call.id.unwrap_or_default(),
                call.name.unwrap_or_default(),
                call.arguments
            )
        }
        Ok(Output::Working) => "works".to_owned(),
        Ok(Output::Finished { reason, usage }) => {
            format!("{reason:?} {}/{}", usage.input_tokens, usage.output_tokens)
        }
        Err(error) => tokenwire_core::explain(&error),
    };
    attempt(model, request, so_far).await.into_iter().map(in_short).collect()
}

const LONG: &str = r#"
[[answer]]
say = [{ text = "one two" }, { wait = "1h" }, { text = " three" }, { pieces = [" fo", "ur"] }]
"#;

#[tokio::test]
async fn the_first_answer_that_fits_is_given() {
    let model = scripted(
        r#"
        answer = [
            { prompt = "a", say = [{ text = "exactly" }] },
            { pattern = "^a", say = [{ text = "begins" }] },
            { pattern = "a", say = [{ text = "has" }] },
        ]
        "#,
    );
    for (prompt, answer) in [("a", "exactly"), ("a ", "begins"), ("ba", "has")] {
        assert_eq!(said(&model, &asking(prompt), "").await, [answer, "Stop 1/1"]);
    }
    let refused = model.check(&asking("b")).await;
    assert!(
        matches!(&refused, Err(ModelError::Rejected { message }) if message.contains("no answer")),
        "{refused:?}"
    );
    assert_eq!(said(&model, &asking("b"), "").await.len(), 1);
}

#[tokio::test]
async fn reasoning_calls_and_text_come_in_pieces() {
    let model = scripted(
        r#"
        [[answer]]
        pattern = 'in (.+)\?'
        usage = { input_tokens = 5 }
        [[answer.say]]
        reasoning = "A question."
        [[answer.say]]
        text = "Let me look."
        [[answer.say]]
        tool_call = { id = "call_1", name = "look", arguments = '{"city":"$1"}' }
        [[answer.say]]
        tool_call = { name = "wait" }
        "#,
    );
    let id = GenerationId::from_bytes([7; 16]);
    let expected = [
        "thinksA",
        "thinks question.",
        "Let",
        " me",
        " look.",
        "call 0 call_1look",
        r#"call 0 {"city":"#,
        r#"call 0 "Saint \"#,
        r#"call 0 "Louis\""#,
        r#"call 0 "}"#,
        &format!("call 1 call_{id}_1wait"),
        "ToolCalls 5/11",
    ];
    assert_eq!(said(&model, &asking("Weather in Saint \"Louis\"?"), "").await, expected);
}

#[tokio::test]
async fn the_result_of_a_tool_has_answers_of_its_own() {
    let model = scripted(
        r#"
        answer = [
            { tool = "look", pattern = '\d+', say = [{ text = "$0 degrees" }] },
            { pattern = '\d+', say = [{ text = "a number" }] },
            { say = [{ text = "whatever" }] },
        ]
        "#,
    );
    let call = |name: &str| ToolCall { id: "1".into(), name: name.into(), arguments: "{}".into() };
    let after = |name: &str, id: &str| {
        let messages = vec![
            Message::user("22?"),
            Message::Assistant { content: String::new(), tool_calls: vec![call(name)] },
            Message::Tool { tool_call_id: id.into(), content: "22".into() },
        ];
        GenerateRequest { conversation: Conversation::new(messages).unwrap(), ..asking("22") }
    };
    assert_eq!(said(&model, &after("look", "1"), "").await.concat(), "22 degreesStop 2/2");
    assert_eq!(said(&model, &after("listen", "1"), "").await.concat(), "whateverStop 2/1");
    assert_eq!(said(&model, &after("look", "2"), "").await.concat(), "whateverStop 2/1");
    assert_eq!(said(&model, &asking("22"), "").await.concat(), "a numberStop 1/2");
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_before_a_stop_text_wherever_its_pieces_are_cut() {
    let model = scripted(LONG);
    for (stop, expected) in [
        (json!(["e fou"]), &["one", " two", " thre", "Stop 1/3"][..]),
        (json!([" three", "x"]), &["one", " two", "Stop 1/2"]),
        (json!(["o"]), &["Stop 1/0"]),
        (json!(["four", "wo"]), &["one", " t", "Stop 1/2"]),
        (json!(["five"]), &["one", " two", " three", " fo", "ur", "Stop 1/5"]),
    ] {
        assert_eq!(said(&model, &with(asking("q"), json!({ "stop": stop })), "").await, expected, "{stop}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_after_the_most_tokens_that_were_asked_for() {
    let began = Instant::now();
    let model = scripted(LONG);
    let two = said(&model, &with(asking("q"), json!({ "max_tokens": 2 })), "").await;
    assert_eq!(two, ["one", " two", "Length 1/2"]);
    assert_eq!(began.elapsed(), Duration::ZERO, "it does not wait for what it will not say");
    let five = said(&model, &with(asking("q"), json!({ "max_tokens": 5 })), "").await;
    assert_eq!(five.last().unwrap(), "Stop 1/5", "the answer is whole");
    let both = json!({ "max_tokens": 1, "stop": ["two"] });
    assert_eq!(said(&model, &with(asking("q"), both), "").await, ["one", "Length 1/1"]);
}

#[tokio::test]
async fn what_the_script_says_of_the_end_stands_for_the_whole_answer_only() {
    let script = r#"
        [[answer]]
        finish = "content_filter"
        usage = { input_tokens = 100, output_tokens = 200 }
        say = [{ text = "a b c" }]
    "#;
    let model = scripted(script);
    assert_eq!(said(&model, &asking("q"), "").await.last().unwrap(), "ContentFilter 100/200");
    let short = with(asking("q"), json!({ "max_tokens": 2 }));
    assert_eq!(said(&model, &short, "").await.last().unwrap(), "Length 100/2");
}

#[tokio::test(start_paused = true)]
async fn the_pace_is_between_pieces_and_waits_come_on_top() {
    let script = r#"
        pace = "10ms"
        [[answer]]
        prompt = "fast"
        pace = "1ms"
        say = [{ text = "a b c" }]
        [[answer]]
        say = [{ wait = "1s" }, { text = "a b" }, { wait = "1s" }, { reasoning = "c" }]
    "#;
    let model = scripted(script);
    for (prompt, takes) in [("fast", 2), ("q", 2020)] {
        let began = Instant::now();
        said(&model, &asking(prompt), "").await;
        assert_eq!(began.elapsed(), Duration::from_millis(takes), "{prompt}");
    }
}

#[tokio::test]
async fn an_error_meets_every_attempt() {
    let model = scripted(
        r#"[[answer]]
           say = [{ text = "a b" }, { error = { unavailable = "it fell" } }]"#,
    );
    let fell = "the model failed: it fell";
    assert_eq!(said(&model, &asking("q"), "").await, ["a", " b", fell]);
    assert_eq!(said(&model, &asking("q"), "a").await, [" b", fell]);
    assert_eq!(said(&model, &asking("q"), "a b").await, [fell]);
}

#[tokio::test]
async fn an_error_that_happens_once_is_passed_by_the_attempt_that_goes_on_from_there() {
    let model = scripted(
        r#"[[answer]]
           say = [
               { text = "a b" },
               { error = { busy = "2s" }, once = true },
               { text = " c" },
           ]"#,
    );
    let busy = attempt(&model, &asking("q"), "").await;
    let retry_after = Duration::from_secs(2);
    assert!(matches!(busy.last(), Some(Err(ModelError::Busy { retry_after: told })) if *told == retry_after));
    assert_eq!(said(&model, &asking("q"), "a").await, [" b", "the model is busy"]);
    assert_eq!(said(&model, &asking("q"), "a b").await, [" c", "Stop 1/3"]);
    assert_eq!(said(&model, &asking("q"), "a b c").await, ["Stop 1/3"]);
}

#[tokio::test]
async fn another_script_than_before_is_never_spliced_with_this_one() {
    let model = scripted(r#"answer = [{ say = [{ text = "a b" }, { reasoning = "c" }, { text = " d" }] }]"#);
    for so_far in ["b", "a c", "a b d", "a b d e"] {
        let told = said(&model, &asking("q"), so_far).await;
        assert!(told.len() == 1 && told[0].contains("the script was changed"), "{so_far}: {told:?}");
    }
}

#[test]
fn an_answer_that_holds_more_than_text_starts_over() {
    let model = scripted("answer = [{}]");
    let text = Prefix { text: "a".to_owned(), ..Prefix::default() };
    assert_eq!(model.continuation(&text), Continuation::Exact);
    let more = Prefix { beyond_text: true, ..text };
    assert_eq!(model.continuation(&more), Continuation::Unsupported);
}

#[tokio::test]
async fn an_empty_answer_is_one() {
    let outputs = attempt(&scripted("answer = [{}]"), &asking("a b"), "").await;
    let usage = Usage { input_tokens: 2, output_tokens: 0 };
    let expected = Output::Finished { reason: FinishReason::Stop, usage };
    assert!(matches!(&outputs[..], [Ok(output)] if *output == expected));
}

#[test]
fn every_mistake_in_a_script_is_told_at_once_with_its_place() {
    let script = r#"pace = "soon"
colour = "blue"

[[answer]]
prompt = "a"
pattern = "b"

[[answer]]
pattern = "(a"

[[answer]]
pattern = "(a)"
[[answer.say]]
text = "$2"
[[answer.say]]
text = ""
[[answer.say]]
text = "a"
wait = "1s"
[[answer.say]]
txet = "a"
[[answer.say]]
wait = "1 parsec"
finish = "stop"
[[answer.say]]
wait = 5

[[answer]]
prompt = "b"
finish = "tired"

[[answer]]
prompt = "a"

[[answer]]
prompt = "c"
finish = "stop"
say = [
    { error = { busy = "1s" }, once = true },
    { tool_call = { id = "1" } },
    { tool_call = { name = "" } },
    { reasoning = "hm" },
    { text = "x", once = true },
    { text = "x" },
    { error = { busy = "1s" }, once = true },
    { error = { rejected = "no" }, once = true },
    { error = { tired = "no" } },
    { error = { rejected = "no" } },
    { text = "y" },
]

[[answer]]

[[answer]]
prompt = "d"
say = "d"

[[answer]]
prompt = " "
"#;
    let told = Script::parse(script).unwrap_err();
    let told: Vec<_> = told.problems().collect();
    let expected = [
        "line 1: expected a duration, such as 20ms, 5s or 2m",
        "line 2: unknown field `colour`, expected `pace` or `answer`",
        "line 4, answer 1: has a prompt and a pattern: leave one out",
        "line 8, answer 2: has a pattern that cannot be used: unclosed group",
        "line 13, answer 3, step 1: the pattern has no group 2, which $2 names",
        "line 15, answer 3, step 2: has a text that is empty: leave it out",
        "line 17, answer 3, step 3: is not one of text, pieces",
        "line 21, answer 3, step 4: unknown field `txet`, expected one of",
        "line 24, answer 3, step 5: finish belongs to the answer: write it above the first [[answer.say]]",
        "line 26, answer 3, step 6: invalid type: integer `5`, expected a string",
        "line 30, answer 4: unknown variant `tired`, expected one of",
        "line 35, answer 6: ends with an error, and so has no finish",
        "line 39, answer 6, step 1: has once without a text before it",
        "line 40, answer 6, step 2: missing field `name`",
        "line 41, answer 6, step 3: calls a tool with an empty name or id",
        "line 43, answer 6, step 5: has once, which only an error can have",
        "line 45, answer 6, step 7: has once after reasoning or a tool call",
        "line 46, answer 6, step 8: is a rejection, which is final",
        "line 47, answer 6, step 9: unknown variant `tired`, expected one of",
        "line 49, answer 6, step 11: is never reached",
        "line 56, answer 8: answer.say is a list: write [[answer.say]]",
        "line 58, answer 9: has a blank prompt, which no client can send",
    ];
    for (problem, expected) in told.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{expected} is not {problem} in {told:#?}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn a_script_without_a_use_is_told() {
    for (script, expected) in [
        ("", "line 1: there is no [[answer]]: write at least one"),
        ("\nanswer = 5", "line 2: answer is a list: write [[answer]]"),
        ("answer = [5]", "line 1, answer 1: is no table: write [[answer]]"),
        ("\n\nanswer = [", "line 3: "),
        (
            "[[answer]]\nfinish = \"stop\"\nsay = [{ error = { busy = \"1s\" } }]",
            "line 1, answer 1: ends with an error, and so has no finish",
        ),
    ] {
        let told = Script::parse(script).unwrap_err().to_string();
        assert!(told.starts_with(expected), "{script}: {told}");
    }
}

#[test]
fn a_file_that_holds_no_script_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script.toml");
    assert!(matches!(Scripted::load(&path), Err(LoadError::Unreadable { .. })));
    std::fs::write(&path, "").unwrap();
    let told = Scripted::load(&path).unwrap_err().to_string();
    assert!(told.ends_with("script.toml is no script: line 1: there is no [[answer]]: write at least one"));
}

#[test]
fn the_example_in_the_docs_is_a_script() {
    let docs = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/models.md"));
    let (_, section) = docs.split_once("## A scripted model").unwrap();
    let (_, block) = section.split_once("```toml\n").unwrap();
    let (script, _) = block.split_once("```").unwrap();
    Script::parse(script).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_example_is_a_script() {
    let model = Scripted::load(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/scripted.toml")).unwrap();
    for (prompt, last) in [
        ("What is the weather in Paris?", "ToolCalls 12/20"),
        ("What is 6 times 7?", "Stop 5/13"),
        ("Say hello.", "Stop 2/7"),
        ("Stumble.", "the model failed: it lost its thread"),
        ("Refuse.", "model rejected the request: this model does not answer that"),
        ("Talk too long.", "Length 3/4096"),
        ("two\nlines", "Stop 2/4"),
    ] {
        assert_eq!(said(&model, &asking(prompt), "").await.last().unwrap(), last, "{prompt}");
    }
}
