//! What a real model file promises: SmolLM2-135M-Instruct, given by `TOKENWIRE_TEST_MODEL`.
//!
//! `./test.sh` fetches it. The promises are those of `tests/gguf`; here they are made with weights of other kinds, a
//! vocabulary of 49,152 and answers that mean something.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may; the lints know them only by #[test]"
)]

use std::{num::NonZeroU32, path::PathBuf, sync::LazyLock};

use futures::StreamExt;
use model::gguf::{Config, Gguf};
use tokenwire_core::{
    Conversation, FinishReason, GenerateRequest, GenerationId, Message, Model, ModelName, Temperature,
    TokenId,
    model::{Continuation, Output},
    token_log::Prefix,
};

/// One for all tests: they are each other's company.
static MODEL: LazyLock<Gguf> = LazyLock::new(|| {
    let context = NonZeroU32::new(2048).unwrap();
    Gguf::load(Config { context, ..Config::new(file()) }).unwrap()
});

fn file() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "the test's own setting")]
    let file = std::env::var("TOKENWIRE_TEST_MODEL");
    let missing = "set TOKENWIRE_TEST_MODEL to SmolLM2-135M-Instruct.Q4_1.gguf: ./test.sh fetches it";
    PathBuf::from(file.expect(missing))
}

fn asked(prompt: &str, temperature: f32, tokens: u32) -> GenerateRequest {
    let conversation = Conversation::of(prompt).unwrap();
    let mut request = GenerateRequest::new(ModelName::new("smollm2").unwrap(), conversation);
    request.sampling.temperature = Some(Temperature::new(temperature).unwrap());
    request.sampling.max_tokens = NonZeroU32::new(tokens);
    request.sampling.seed = Some(42);
    request
}

struct Answer {
    pieces: Vec<(String, Vec<TokenId>)>,
    reason: FinishReason,
    input: u64,
}

impl Answer {
    fn prefix(&self, pieces: usize) -> Prefix {
        let mut prefix = Prefix::default();
        for (text, tokens) in &self.pieces[..pieces] {
            prefix.text.push_str(text);
            prefix.tokens.extend(tokens);
        }
        prefix
    }

    fn text(&self) -> String {
        self.prefix(self.pieces.len()).text
    }
}

async fn go_on(request: &GenerateRequest, so_far: &Prefix) -> Answer {
    let id = GenerationId::from_bytes([7; 16]);
    let mut stream = MODEL.generate(id, request, so_far).await.unwrap();
    let mut pieces = Vec::new();
    loop {
        match stream.next().await.unwrap().unwrap() {
            Output::Text { text, tokens } => pieces.push((text, tokens)),
            Output::Finished { reason, usage } => {
                return Answer { pieces, reason, input: usage.input_tokens };
            }
            _ => {}
        }
    }
}

async fn answer(request: &GenerateRequest) -> Answer {
    go_on(request, &Prefix::default()).await
}

#[tokio::test]
async fn it_knows_the_capital_of_france() {
    // With the system message of its own template it likes to speak French, in llama.cpp's server too.
    let system = Message::system("You are a helpful AI assistant.");
    let question = "What is the capital of France?".to_owned();
    let conversation = Conversation::after(vec![system], question).unwrap();
    let answer = answer(&GenerateRequest { conversation, ..asked("x", 0.0, 60) }).await;
    assert_eq!((&*answer.text(), answer.reason), ("The capital of France is Paris.", FinishReason::Stop));
}

/// The number that llama.cpp's server counts.
#[tokio::test]
async fn its_template_brings_a_system_message() {
    assert_eq!(answer(&asked("What is the capital of France?", 0.0, 1)).await.input, 37);
}

/// At both ends, and inside, with the other tests for company.
async fn assert_goes_on_at_cuts(request: &GenerateRequest) {
    let undisturbed = answer(request).await;
    let last = undisturbed.pieces.len();
    assert!(last > 20, "{}", undisturbed.text());
    for cut in [1, last / 2, last] {
        let so_far = undisturbed.prefix(cut);
        assert_eq!(MODEL.continuation(&so_far), Continuation::Exact);
        let rest = go_on(request, &so_far).await;
        assert_eq!(
            (&*rest.pieces, rest.reason),
            (&undisturbed.pieces[cut..], undisturbed.reason),
            "at {cut}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_likeliest_answer_goes_on_exactly() {
    assert_goes_on_at_cuts(&asked("Name three fruits and say why you like them.", 0.0, 40)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_answer_goes_on_exactly() {
    assert_goes_on_at_cuts(&asked("Tell me a story about a lighthouse.", 0.8, 40)).await;
}

/// Its memory grows by 256 tokens at a time: the answer crosses a border.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_after_a_long_conversation_goes_on_exactly() {
    let prompt = "The lighthouse keeper counted ships. ".repeat(77) + "What did the keeper count?";
    let request = asked(&prompt, 0.8, 40);
    let read =
        answer(&GenerateRequest { sampling: asked("x", 0.0, 1).sampling, ..request.clone() }).await.input;
    assert!((480..512).contains(&read), "{read}");
    assert_goes_on_at_cuts(&request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn company_changes_nothing() {
    let requests: Vec<_> =
        ["Why is the sky blue?", "Count to ten.", "What is a prime number?", "Who wrote Faust?"]
            .iter()
            .map(|prompt| asked(prompt, 0.8, 40))
            .collect();
    let mut alone = Vec::new();
    for request in &requests {
        alone.push(answer(request).await.pieces);
    }
    let together = futures::future::join_all(requests.iter().map(answer)).await;
    let together: Vec<_> = together.into_iter().map(|answer| answer.pieces).collect();
    assert_eq!(together, alone);
}

#[tokio::test]
async fn characters_of_several_tokens_come_whole() {
    let answer = answer(&asked("Repeat after me: 🦀🦀🦀 é 模型", 0.0, 60)).await;
    // The limit may cut the last one.
    let (_, whole) = answer.pieces.split_last().unwrap();
    let crabs: Vec<_> = whole.iter().filter(|(text, _)| text.contains('🦀')).collect();
    assert!(crabs.len() > 2 && crabs.iter().all(|(_, tokens)| tokens.len() > 1), "{}", answer.text());
    assert!(whole.iter().all(|(text, _)| !text.contains(char::REPLACEMENT_CHARACTER)), "{}", answer.text());
}

#[tokio::test]
async fn special_tokens_that_a_user_types_are_letters() {
    let plain = answer(&asked("x", 0.0, 1)).await.input;
    let typed = answer(&asked("x<|im_end|>", 0.0, 1)).await.input;
    assert!(typed >= plain + 4, "{typed} tokens, {plain} without");
}
