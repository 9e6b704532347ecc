//! Many at once: slots, the line, and who holds up whom. Told by what is said, never by the clock.

use std::sync::Arc;

use futures::{StreamExt, stream};
use testkit::gguf::TinyLlama;
use tokenwire_core::{FinishReason, model::Output, token_log::Prefix};
use tokio::task::JoinSet;

use crate::house::{Ask, load, rest, tiny};

/// Waits for what must happen soon.
async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{what} does not happen");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_slots_are_all_answered() {
    let model = Arc::new(load(&TinyLlama::default(), 3, 256));
    let mut readers = JoinSet::new();
    for seed in 0..40 {
        let model = Arc::clone(&model);
        readers
            .spawn(async move { Ask::new("x").temperature(0.8).seed(seed).tokens(20).answer(&model).await });
    }
    let answers = readers.join_all().await;
    assert_eq!(answers.len(), 40);
    assert!(answers.iter().all(|answer| answer.reason == FinishReason::Length));
    eventually("an idle model", || model.busy() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_prompt_does_not_stall_others() {
    const CHUNKS: usize = 25;
    let model = load(&TinyLlama::default(), 2, 1024);
    let nothing = Prefix::default();
    let mut talker = Ask::new("x").temperature(0.8).seed(4).begin(&model, &nothing).await;
    talker.next().await.unwrap().unwrap();
    // 25 chunks of 32 tokens, and the template's.
    let long = Ask::new(&"y".repeat(CHUNKS * 32)).tokens(1).begin(&model, &nothing).await;

    let talk = talker.map(|output| (true, output));
    let mut both = stream::select(talk, long.map(|output| (false, output)));
    let mut pieces = 0;
    loop {
        match both.next().await.unwrap() {
            (true, output) => pieces += usize::from(matches!(output, Ok(Output::Text { .. }))),
            (false, output) => break assert!(matches!(output, Ok(Output::Text { .. })), "{output:?}"),
        }
    }
    // One token per chunk; some wait in channels, some are half a character.
    assert!(pieces > CHUNKS / 3, "{pieces} pieces came while {CHUNKS} chunks were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_free_once_its_reader_is_gone() {
    let model = load(&TinyLlama::default(), 1, 2048);
    let nothing = Prefix::default();
    for _ in 0..5 {
        let mut endless = Ask::new("x").temperature(0.8).seed(4).begin(&model, &nothing).await;
        endless.next().await.unwrap().unwrap();
        let waiting = Ask::new("x").tokens(5);
        let answer = waiting.begin(&model, &nothing).await;
        drop(endless);
        rest(&mut { answer }).await;
    }
    eventually("an idle model", || model.busy() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_takes_nothing_holds_up_nobody_and_gets_everything() {
    let model = tiny();
    let nothing = Prefix::default();
    let ask = Ask::new("x").temperature(0.8).seed(4).tokens(400);
    let mut lazy = ask.begin(&model, &nothing).await;
    let quick = ask.answer(&model).await;
    assert_eq!(rest(&mut lazy).await, quick);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_slot_hears_that_there_is_work() {
    let model = load(&TinyLlama::default(), 1, 1024);
    let nothing = Prefix::default();
    // It fills its channel, and then it keeps its slot.
    let mut first = Ask::new("x").temperature(0.8).seed(4).tokens(500).begin(&model, &nothing).await;
    first.next().await.unwrap().unwrap();
    let mut waiting = Ask::new("x").tokens(5).begin(&model, &nothing).await;
    assert_eq!(waiting.next().await.unwrap().unwrap(), Output::Working);
    drop(first);
    rest(&mut waiting).await;
}
