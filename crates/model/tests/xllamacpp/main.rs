//! [`model::upstream::Upstream`] in front of a real llama.cpp server with a real model, SmolLM2-135M-Instruct.
//!
//! `./test.sh` gets both and says where they are: `TOKENWIRE_TEST_PYTHON` and `TOKENWIRE_TEST_MODEL`. Everything is asked at
//! temperature 0, and yet no test knows what the model says, beyond the alphabet.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; the exemption for tests does not reach the helpers of an integration test"
)]

mod server;

use std::{num::NonZeroU32, time::Duration};

use futures::StreamExt;
use model::upstream::{Config, Upstream};
use testkit::{proxy::Proxy, services::LlamaServer};
use tokenwire_core::{
    Conversation, FinishReason, GenerateRequest, GenerationId, Message, Model, ModelName, StopTexts,
    Temperature, Usage,
    model::{Continuation, ModelError, Output, OutputStream},
    token_log::Prefix,
};

use server::{at, config, until, upstream};

fn request(prompt: &str, max_tokens: u32) -> GenerateRequest {
    let system = Message::system("You answer questions.");
    let conversation = Conversation::after(vec![system], prompt).unwrap();
    let mut request = GenerateRequest::new(ModelName::new("smollm2").unwrap(), conversation);
    request.sampling.temperature = Some(Temperature::new(0.0).unwrap());
    request.sampling.seed = Some(1);
    request.sampling.max_tokens = NonZeroU32::new(max_tokens);
    request
}

/// An answer that goes on for as long as a test needs it.
fn endless() -> GenerateRequest {
    request("Write a very long story about a dragon. Write at least ten thousand words.", 1_900)
}

async fn ask(upstream: &Upstream, request: &GenerateRequest, text: &str) -> OutputStream {
    let so_far = Prefix { text: text.to_owned(), ..Prefix::default() };
    assert!(text.is_empty() || upstream.continuation(&so_far) == Continuation::Resampled);
    upstream.generate(GenerationId::fresh(), request, &so_far).await.unwrap()
}

struct Answer {
    pieces: Vec<String>,
    end: Result<(FinishReason, Usage), ModelError>,
}

impl Answer {
    fn text(&self) -> String {
        self.pieces.concat()
    }
}

async fn answer(upstream: &Upstream, request: &GenerateRequest, text: &str) -> Answer {
    read(ask(upstream, request, text).await).await
}

async fn read(mut outputs: OutputStream) -> Answer {
    let mut pieces = Vec::new();
    loop {
        match outputs.next().await.unwrap() {
            Ok(Output::Text { text, .. }) => pieces.push(text),
            Ok(Output::Working) => {}
            Ok(Output::Finished { reason, usage }) => return Answer { pieces, end: Ok((reason, usage)) },
            Ok(other) => panic!("not text: {other:?}"),
            Err(error) => return Answer { pieces, end: Err(error) },
        }
    }
}

/// Reads until so much text was said.
async fn pieces(outputs: &mut OutputStream, count: usize) -> String {
    let mut said = Vec::new();
    while said.len() < count {
        if let Output::Text { text, .. } = outputs.next().await.unwrap().unwrap() {
            said.push(text);
        }
    }
    said.concat()
}

fn is_unavailable(answer: &Answer) -> bool {
    matches!(answer.end, Err(ModelError::Unavailable(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_streamed_with_their_reason_and_usage_one_right_after_another() {
    let server = LlamaServer::start(1).await;
    // llama.cpp closes each connection after its answer: without retries, a request that met an old one would fail.
    let upstream = upstream(Config { retries: 0, ..config(&server) });
    for max_tokens in [4, 8, 12] {
        let answer = answer(&upstream, &request("Tell me about Paris.", max_tokens), "").await;
        let (reason, usage) = answer.end.unwrap();
        assert_eq!((reason, usage.output_tokens), (FinishReason::Length, max_tokens.into()));
        assert!(usage.input_tokens > 10, "{usage:?}");
        assert!(answer.pieces.len() > 2, "{:?}", answer.pieces);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_reach_the_model_and_a_request_that_cannot_fit_is_rejected_in_its_words() {
    let server = LlamaServer::start(1).await;
    let upstream = upstream(config(&server));
    let mut stopped = request("Count: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10. Now you.", 60);
    let whole = answer(&upstream, &stopped, "").await.text();
    let stop = &whole[whole.len() / 2..][..1];
    stopped.sampling.stop = StopTexts::new(vec![stop.to_owned()]).unwrap();
    let cut = answer(&upstream, &stopped, "").await;
    assert_eq!(cut.text(), whole.split_once(stop).unwrap().0);
    assert_eq!(cut.end.unwrap().0, FinishReason::Stop);

    let Err(ModelError::Rejected { message }) =
        answer(&upstream, &request(&"word ".repeat(3_000), 8), "").await.end
    else {
        panic!("3,000 words do not fit into 2,048 tokens")
    };
    assert!(message.contains("2048"), "{message}");
}

/// llama.cpp looks for a closed connection when it has something to say: a prompt is read to its end first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_frees_the_slot_in_mid_answer_and_once_a_prompt_is_read() {
    let server = LlamaServer::start(1).await;
    let upstream = upstream(config(&server));
    let long_prompt = request(&"word ".repeat(400), 1_500);
    for (request, count) in [(endless(), 3), (long_prompt, 0)] {
        let mut outputs = ask(&upstream, &request, "").await;
        pieces(&mut outputs, count).await;
        let reading = async { while outputs.next().await.is_some_and(|output| output.is_ok()) {} };
        tokio::select! {
            () = reading => panic!("it goes on"),
            () = until("its slot is busy", async || server.busy_slots().await == 1) => {}
        }
        drop(outputs);
        until("its slot is free", async || server.busy_slots().await == 0).await;
    }
    assert!(answer(&upstream, &request("Hello", 4), "").await.end.is_ok(), "and it answers others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_slot_is_answered() {
    let server = LlamaServer::start(1).await;
    let upstream = upstream(config(&server));
    let asked: Vec<_> = (0..3).map(|_| request("Tell me about Paris.", 24)).collect();
    let answers = futures::future::join_all(asked.iter().map(|request| answer(&upstream, request, ""))).await;
    for answer in &answers {
        assert_eq!(answer.text(), answers[0].text());
        assert!(answer.end.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_server_was_killed_goes_on_at_another() {
    let (first, second) = (LlamaServer::start(1).await, LlamaServer::start(1).await);
    let request = request("Tell me about Paris.", 60);
    let mut outputs = ask(&upstream(config(&first)), &request, "").await;
    let mut text = pieces(&mut outputs, 10).await;
    first.kill();
    let cut = read(outputs).await;
    assert!(is_unavailable(&cut), "{:?}", cut.end);
    text += &cut.text();

    let upstream = upstream(config(&second));
    let rest = answer(&upstream, &request, &text).await;
    assert!(rest.end.is_ok());
    assert!(
        !rest.text().trim().is_empty() && !rest.text().starts_with(&text),
        "{text:?} and {:?}",
        rest.text()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_or_falls_silent_ends_the_attempt() {
    let server = LlamaServer::start(2).await;
    let proxy = Proxy::start(server.port()).await;
    let upstream = upstream(Config { idle_timeout: Duration::from_secs(2), ..at(proxy.port()) });
    for hurt in [Proxy::cut, Proxy::black_hole] {
        let mut outputs = ask(&upstream, &endless(), "").await;
        pieces(&mut outputs, 3).await;
        hurt(&proxy);
        let cut = read(outputs).await;
        assert!(is_unavailable(&cut), "{:?}", cut.end);
        proxy.heal();
        proxy.cut();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_continuation_goes_on_right_where_the_text_was_cut() {
    let server = LlamaServer::start(1).await;
    let upstream = upstream(config(&server));
    let alphabet = request("Write the letters of the alphabet in order, each followed by a comma.", 8);
    for (text, next) in [
        ("A, B, C, D, E, F, G,", " H, I, J"),
        ("A, B, C, D, E, F, G, H", ", I, J"),
        ("A,\nB,\nC,\nD,\nE,\nF,\nG,\n", "H,\nI,\n"),
        ("\n\nA, B, C, D, E, F, G, H,", " I, J"),
    ] {
        let rest = answer(&upstream, &alphabet, text).await.text();
        assert!(rest.starts_with(next), "after {text:?}: {rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_so_far_is_given_to_the_model_as_it_is_and_never_said_again() {
    let server = LlamaServer::start(1).await;
    let upstream = upstream(config(&server));
    let request = request("Tell me about Paris.", 12);
    let whole = answer(&upstream, &request, "").await;
    for cut in 1..=whole.pieces.len() {
        let text = whole.pieces[..cut].concat();
        if text.trim().is_empty() {
            continue;
        }
        let rest = answer(&upstream, &request, &text).await;
        assert!(rest.end.is_ok() && !rest.text().starts_with(&text), "after {text:?}: {:?}", rest.text());
    }
    // A token of white space more is a token of input more: no template trims it.
    let mut input = Vec::new();
    for text in ["Hello", "Hello\n", "\n\nHello"] {
        input.push(answer(&upstream, &request, text).await.end.unwrap().1.input_tokens);
    }
    assert_eq!(input, [input[0], input[0] + 1, input[0] + 1]);
}
