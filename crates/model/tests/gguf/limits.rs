//! Where answers end, and what is no answer's text.

use testkit::gguf::TinyLlama;
use tokenwire_core::{FinishReason, Model, token_log::Prefix};

use crate::house::{Ask, load, tiny};

#[tokio::test]
async fn a_conversation_that_cannot_fit_is_refused_with_both_numbers() {
    let model = load(&TinyLlama::default(), 2, 300);
    let ask = Ask::new(&"x".repeat(1400));
    let expected =
        "model rejected the request: the conversation is 1,417 tokens, this model takes 300: shorten it";
    let refused = model.check(&ask.request()).await.unwrap_err();
    assert_eq!(refused.to_string(), expected);
    assert_eq!(ask.failure(&model, &Prefix::default()).await, expected, "also when nobody checked");
}

#[tokio::test]
async fn a_conversation_that_just_fits_is_answered_with_one_token() {
    let model = load(&TinyLlama::default(), 1, 300);
    // The template adds 17 tokens to a word's own.
    let full = Ask::new(&"x".repeat(283)).seed(1);
    model.check(&full.request()).await.unwrap();
    let answer = full.answer(&model).await;
    assert_eq!((answer.usage.input_tokens, answer.usage.output_tokens), (300, 1));
    assert!(model.check(&Ask::new(&"x".repeat(284)).request()).await.is_err());
}

#[tokio::test]
async fn an_answer_that_fills_the_context_ends_there() {
    let model = load(&TinyLlama::default(), 2, 60);
    let answer = Ask::new("x").temperature(0.8).seed(4).answer(&model).await;
    assert_eq!(answer.reason, FinishReason::Length);
    assert_eq!(answer.usage.input_tokens + answer.usage.output_tokens, 61, "the last one is not read");
}

#[tokio::test]
async fn no_slot_has_more_context_than_the_model_was_trained_for() {
    let model = load(&TinyLlama::default().context(100), 1, 1024);
    let refused = model.check(&Ask::new(&"x".repeat(200)).request()).await.unwrap_err();
    assert!(refused.to_string().ends_with("this model takes 100: shorten it"), "{refused}");
}

/// At every text that the answer holds: inside tokens, over several, at the beginning and the end.
#[tokio::test]
async fn an_answer_ends_before_the_first_of_its_stop_texts() {
    let model = tiny();
    let ask = Ask::new("Stop somewhere.").seed(5).tokens(60);
    let whole = ask.answer(&model).await.text();
    let letters: Vec<_> = whole.char_indices().collect();
    for length in [1, 3, 9] {
        for window in letters.windows(length).step_by(4) {
            let (first, (last, letter)) = (window[0].0, window[length - 1]);
            let stop = &whole[first..last + letter.len_utf8()];
            let answer = ask.clone().stop(&[stop, "never said"]).answer(&model).await;
            let expected = &whole[..whole.find(stop).unwrap()];
            assert_eq!((answer.text().as_str(), answer.reason), (expected, FinishReason::Stop), "{stop:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_cut_by_a_stop_text_goes_on_exactly() {
    let model = tiny();
    let ask = Ask::new("Stop somewhere.").seed(5).tokens(60);
    let whole = ask.answer(&model).await.text();
    let letters: Vec<_> = whole.char_indices().map(|(at, _)| at).collect();
    for window in letters.windows(3).skip(10).step_by(5) {
        let ask = ask.clone().stop(&[&whole[window[0]..window[2]]]);
        let undisturbed = ask.answer(&model).await;
        for cut in 0..=undisturbed.pieces.len() {
            let so_far = undisturbed.prefix(cut);
            if so_far.tokens.is_empty() && !so_far.text.is_empty() {
                continue; // Started over.
            }
            assert_eq!(ask.go_on(&model, &so_far).await, undisturbed.after(cut), "at {cut}");
        }
    }
}

#[tokio::test]
async fn an_answer_is_whole_characters_and_the_text_of_its_tokens() {
    let model = tiny();
    let (mut broken, mut joined) = (0, 0);
    for seed in 0..20 {
        let answer = Ask::new("é🦀").wild().seed(seed).tokens(120).answer(&model).await;
        let bytes: Vec<u8> = answer.tokens().iter().flat_map(|token| spelled(token.0)).collect();
        assert_eq!(answer.text(), String::from_utf8_lossy(&bytes));
        broken += answer.text().matches('\u{FFFD}').count();
        joined += answer.pieces.iter().filter(|(_, tokens)| tokens.len() > 1).count();
    }
    assert!(
        broken > 0 && joined > 0,
        "random bytes are often no text ({broken}), and sometimes join ({joined})"
    );
}

/// The bytes of a tiny model's token: none for special ones, then every byte, then what was merged.
fn spelled(token: u32) -> Vec<u8> {
    const MERGED: [&[u8]; 14] = [
        b"th",
        b"the",
        b" the",
        b"in",
        b"ing",
        b"er",
        b" a",
        b" s",
        b"on",
        b"an",
        b"and",
        b"\xC3\xA9",
        b"\xF0\x9F",
        b"ll",
    ];
    match token {
        0..3 => Vec::new(),
        3..259 => vec![u8::try_from(token - 3).unwrap()],
        _ => MERGED[token as usize - 259].to_vec(),
    }
}
