//! The same request gives the same answer, alone, in company, and however it is cut.

use model::gguf::Gguf;
use testkit::gguf::{TinyLlama, Weights};
use tokenwire_core::{FinishReason, GenerationId, Model, TokenId, model::Continuation, token_log::Prefix};
use tokio::task::JoinSet;

use crate::house::{Ask, load, tiny};

/// Requests of every kind, of different lengths.
fn asks() -> Vec<Ask> {
    (0..8_u32)
        .map(|seed| {
            let ask = Ask::new(&"All work and no play. ".repeat(seed as usize + 1)).seed(seed.into());
            let ask = if seed % 2 == 0 { ask.temperature(0.0) } else { ask.temperature(0.8) };
            ask.tokens(30 + 7 * seed)
        })
        .collect()
}

#[tokio::test]
async fn the_same_request_gives_the_same_answer() {
    let (model, other) = (tiny(), tiny());
    for ask in asks() {
        let answer = ask.answer(&model).await;
        assert_eq!(answer, ask.answer(&model).await);
        assert_eq!(answer, ask.answer(&other).await, "another process would say the same");
    }
}

#[tokio::test]
async fn seeds_ids_and_temperatures_make_a_difference() {
    let model = tiny();
    let ask = Ask::new("Hello").tokens(40);
    let answers = [
        ask.clone().temperature(0.0).answer(&model).await,
        ask.clone().seed(1).answer(&model).await,
        ask.clone().seed(2).answer(&model).await,
        ask.clone().id(GenerationId::from_bytes([1; 16])).answer(&model).await,
        ask.clone().id(GenerationId::from_bytes([2; 16])).answer(&model).await,
    ];
    for (index, answer) in answers.iter().enumerate() {
        assert!(answers[..index].iter().all(|other| other.text() != answer.text()), "{index}");
    }
}

/// As a worker that dies after every piece, with what it had committed.
async fn assert_goes_on_at_every_cut(model: &Gguf, ask: &Ask) {
    let undisturbed = ask.answer(model).await;
    for cut in 0..=undisturbed.pieces.len() {
        let so_far = undisturbed.prefix(cut);
        if !so_far.is_empty() {
            assert_eq!(model.continuation(&so_far), Continuation::Exact, "at {cut}");
        }
        assert_eq!(ask.go_on(model, &so_far).await, undisturbed.after(cut), "at {cut}");
    }
}

#[tokio::test]
async fn an_answer_goes_on_exactly_at_every_cut() {
    let model = tiny();
    for ask in
        [Ask::new("Tell me.").temperature(0.0), Ask::new("Tell me.").seed(3), Ask::new("Tell me.").wild()]
    {
        assert_goes_on_at_every_cut(&model, &ask.tokens(50)).await;
    }
}

/// Beyond 256 and 512 tokens llama.cpp has its memory in more parts, and other kernels if it is let.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_on_exactly_in_long_contexts_under_load() {
    let model = std::sync::Arc::new(tiny());
    let ask = Ask::new(&"x".repeat(200)).temperature(0.8).seed(11).tokens(500);
    let undisturbed = ask.answer(&model).await;
    assert!(undisturbed.tokens().len() > 400, "a long answer, not {}", undisturbed.tokens().len());
    for cut in [1, 20, 47, 48, 100, undisturbed.pieces.len() / 2, undisturbed.pieces.len() - 1] {
        let mut noise = JoinSet::new();
        for company in asks().into_iter().cycle().skip(cut).take(6) {
            let model = std::sync::Arc::clone(&model);
            noise.spawn(async move { company.answer(&model).await });
        }
        assert_eq!(ask.go_on(&model, &undisturbed.prefix(cut)).await, undisturbed.after(cut), "at {cut}");
        noise.join_all().await;
    }
}

/// Every answer is what it is alone, however many others are given, and whatever they are.
async fn assert_company_changes_nothing(model: &TinyLlama) {
    let model = std::sync::Arc::new(load(model, 6, 1024));
    let mut asks = asks();
    asks.push(Ask::new(&"y".repeat(300)).temperature(0.8).seed(1).tokens(400));
    asks.push(Ask::new(&"y".repeat(550)).temperature(0.0).tokens(100));
    let mut alone = Vec::new();
    for ask in &asks {
        alone.push(ask.answer(&model).await);
    }
    let mut together = JoinSet::new();
    for (index, ask) in asks.into_iter().enumerate() {
        let model = std::sync::Arc::clone(&model);
        together.spawn(async move { (index, ask.answer(&model).await) });
    }
    for (index, answer) in together.join_all().await {
        assert_eq!(answer, alone[index], "{index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn company_changes_nothing() {
    assert_company_changes_nothing(&TinyLlama::default()).await;
}

/// For whole floats llama.cpp has one kernel for a row and another for rows, which give different numbers.
#[tokio::test(flavor = "multi_thread")]
async fn company_changes_nothing_where_kernels_differ() {
    assert_company_changes_nothing(&TinyLlama::default().weights(Weights::F32)).await;
}

#[tokio::test]
async fn slots_and_threads_change_nothing() {
    let file = TinyLlama::default().file();
    let one = Gguf::load(crate::house::config(file.path(), 1, 1024)).unwrap();
    let threads = std::num::NonZeroU16::new(2);
    let many = model::gguf::Config { threads, ..crate::house::config(file.path(), 7, 512) };
    let many = Gguf::load(many).unwrap();
    for ask in asks().into_iter().take(3) {
        assert_eq!(ask.answer(&one).await, ask.answer(&many).await);
    }
}

#[tokio::test]
async fn an_answer_that_was_whole_but_not_sealed_is_only_finished() {
    let model = tiny();
    for ask in [Ask::new("a").seed(1).tokens(20), Ask::new("a").seed(1).tokens(40).stop(&["e", "i"])] {
        let undisturbed = ask.answer(&model).await;
        let rest = ask.go_on(&model, &undisturbed.prefix(undisturbed.pieces.len())).await;
        assert_eq!((rest.pieces.len(), rest.reason, rest.usage), (0, undisturbed.reason, undisturbed.usage));
    }
}

/// Two files can share a vocabulary: only what they say tells them apart.
#[tokio::test]
async fn an_answer_of_another_model_file_is_never_gone_on_with() {
    let (model, other) = (tiny(), load(&TinyLlama::default().seed(2), 4, 1024));
    let ask = Ask::new("Tell me.").seed(3).tokens(50);
    let begun = ask.answer(&other).await.prefix(20);
    assert_eq!(model.continuation(&begun), Continuation::Exact, "as far as the vocabulary shows");
    let failure = ask.failure(&model, &begun).await;
    assert!(failure.contains("this model would not have said"), "{failure}");
}

#[tokio::test]
async fn what_is_not_of_this_vocabulary_is_started_over() {
    let model = tiny();
    let ours = Ask::new("Tell me.").seed(3).tokens(50).answer(&model).await.prefix(10);
    assert_eq!(model.continuation(&ours), Continuation::Exact);
    let with = |tokens: Vec<TokenId>| Prefix { tokens, ..ours.clone() };
    let mut shifted = ours.tokens.clone();
    shifted.rotate_left(3);
    let ends = [&*ours.tokens, &[TokenId(2)]].concat();
    let unknown = [&*ours.tokens, &[TokenId(u32::MAX)]].concat();
    for prefix in [
        with(vec![]),
        with(shifted),
        with(ends),
        with(unknown),
        Prefix { beyond_text: true, ..ours.clone() },
        Prefix { text: "x".to_owned(), ..ours.clone() },
    ] {
        assert_eq!(model.continuation(&prefix), Continuation::Unsupported, "{:?}", prefix.tokens);
    }
}

#[tokio::test]
async fn tokens_are_counted_over_all_attempts() {
    let model = tiny();
    let ask = Ask::new("Tell me.").seed(3).tokens(30);
    let undisturbed = ask.answer(&model).await;
    assert_eq!(undisturbed.reason, FinishReason::Length);
    assert_eq!(undisturbed.usage.output_tokens, 30);
    let rest = ask.go_on(&model, &undisturbed.prefix(5)).await;
    assert_eq!(rest.usage, undisturbed.usage);
}
