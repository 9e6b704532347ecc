//! Going on with an answer that was cut, and the promises of the port.

use std::sync::Arc;

use model::upstream::{Config, ContinuationMode};
use serde_json::{Value, json};
use testkit::conformance::model::Fixture;
use tokenwire_core::{
    GenerationId, Model,
    model::{Continuation, ModelError},
    token_log::Prefix,
};

use super::fake::*;

const WHOLE: &str = " Three\n\nlines é🦀\n  of text ";

/// A service with a mind of its own, which is always the same. Where it is given the beginning of its answer it goes on, as
/// `render` leaves that.
async fn speaking(render: fn(&str) -> &str) -> Fake {
    Fake::with(move |_, body| {
        let last = body["messages"].as_array().unwrap().last().unwrap();
        let text = last["content"].as_str().unwrap();
        let given = if last["role"] == "assistant" { render(text) } else { "" };
        let rest = WHOLE.strip_prefix(given).or_else(|| WHOLE.trim_start().strip_prefix(given)).unwrap();
        Reply::answer(rest.split_inclusive(' ').filter(|piece| !piece.is_empty()))
    })
    .await
}

fn fixture(fake: Fake, continuation: ContinuationMode) -> Fixture {
    let model = upstream(Config { continuation, ..fake.config() });
    Fixture::new(Arc::new(model), request()).running(move || fake.running())
}

async fn unsupported() -> Fixture {
    fixture(speaking(|text| text).await, ContinuationMode::Unsupported)
}

testkit::model_conformance!(real unsupported);

async fn prefill() -> Fixture {
    fixture(speaking(|text| text).await, ContinuationMode::AssistantPrefill)
}

testkit::model_conformance!(real prefill);

async fn continue_final_message() -> Fixture {
    fixture(speaking(str::trim).await, ContinuationMode::ContinueFinalMessage)
}

testkit::model_conformance!(real continue_final_message);

#[tokio::test]
async fn a_continuation_repeats_nothing_and_leaves_nothing_out_at_any_cut() {
    for (mode, fake) in [
        (ContinuationMode::AssistantPrefill, speaking(|text| text).await),
        (ContinuationMode::ContinueFinalMessage, speaking(str::trim).await),
        (ContinuationMode::ContinueFinalMessage, speaking(str::trim_end).await),
    ] {
        let upstream = upstream(Config { continuation: mode, ..fake.config() });
        for (cut, _) in WHOLE.char_indices().chain([(WHOLE.len(), ' ')]) {
            let text = &WHOLE[..cut];
            if !text.is_empty() && upstream.continuation(&so_far(text)) == Continuation::Unsupported {
                assert_eq!(text.trim(), "");
                continue;
            }
            let rest = read(ask_after(&upstream, text).await).await;
            assert_eq!(format!("{text}{}", rest.text()), WHOLE, "{mode:?} after {text:?}");
            assert!(rest.is_whole());
        }
    }
}

/// Then white space in which the text was cut may be told for white space that was lost; nothing else ever is.
#[tokio::test]
async fn a_template_that_keeps_white_space_costs_no_more_than_that() {
    let fake = speaking(|text| text).await;
    let continuation = ContinuationMode::ContinueFinalMessage;
    let upstream = upstream(Config { continuation, ..fake.config() });
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (cut, _) in WHOLE.char_indices().skip(2) {
        let text = &WHOLE[..cut];
        let spliced = format!("{text}{}", read(ask_after(&upstream, text).await).await.text());
        assert_eq!(words(&spliced), words(WHOLE), "after {text:?}");
        if !text.ends_with(char::is_whitespace) {
            assert_eq!(spliced, WHOLE, "after {text:?}");
        }
    }
}

#[tokio::test]
async fn the_text_so_far_is_asked_for_as_the_mode_says_and_never_by_a_prompt_of_ours() {
    let fake = Fake::replying([Reply::answer([" b"])]).await;
    let asked = async |continuation| -> Value {
        read(ask_after(&upstream(Config { continuation, ..fake.config() }), "a").await).await.end.unwrap();
        fake.seen().last().unwrap().body.clone()
    };
    let messages = json!([
        {"role": "user", "content": "a private prompt"},
        {"role": "assistant", "content": "a"},
    ]);
    let prefill = asked(ContinuationMode::AssistantPrefill).await;
    assert_eq!(prefill["messages"], messages);
    let continued = asked(ContinuationMode::ContinueFinalMessage).await;
    assert_eq!(continued["messages"], messages);
    assert_eq!(
        (&continued["continue_final_message"], &continued["add_generation_prompt"]),
        (&json!(true), &json!(false))
    );
}

#[tokio::test]
async fn what_a_text_cannot_carry_starts_over() {
    let fake = Fake::replying([Reply::answer(["a"])]).await;
    let with = |continuation| upstream(Config { continuation, ..fake.config() });
    let modes = [ContinuationMode::AssistantPrefill, ContinuationMode::ContinueFinalMessage];
    for mode in modes {
        let upstream = with(mode);
        assert_eq!(upstream.continuation(&so_far("a")), Continuation::Resampled, "{mode:?}");
        let beyond_text = Prefix { beyond_text: true, ..so_far("a") };
        for so_far in [beyond_text, so_far("\n ")] {
            assert_eq!(upstream.continuation(&so_far), Continuation::Unsupported, "{mode:?} {so_far:?}");
        }
    }
    let unsupported = with(ContinuationMode::Unsupported);
    assert_eq!(unsupported.continuation(&so_far("a")), Continuation::Unsupported);
    // Nobody asks for that; two samples would be spliced.
    let asked = unsupported.generate(GenerationId::fresh(), &request(), &so_far("a")).await;
    assert!(matches!(asked.err(), Some(ModelError::Rejected { .. })));
    assert_eq!(fake.connections(), 0);
}
