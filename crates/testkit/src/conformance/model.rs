//! The promises of [`Model`].

use std::{fmt, sync::Arc, time::Duration};

use futures::StreamExt;
use tokenwire_core::{
    FinishReason, GenerateRequest, GenerationId, Model, Usage,
    model::{Continuation, Output, OutputStream},
    token_log::Prefix,
};

/// Makes a test of every promise of [`Model`]: `model_conformance!(paused simulated);` calls `simulated()` for the fixture
/// of each. See [`crate::conformance`] for `real` and `paused`.
#[macro_export]
macro_rules! model_conformance {
    ($time:ident $fixture:ident) => {
        $crate::__cases! { $time $fixture in $crate::conformance::model {
            an_answer_is_text_and_then_one_finish
            an_exact_model_gives_the_same_answer_again
            a_model_goes_on_from_every_delta
            a_model_without_tokens_goes_on_from_every_character
            dropping_the_stream_stops_the_work
        }}
    };
}

/// A model to be tested, and a request that it answers with several deltas.
pub struct Fixture {
    model: Arc<dyn Model>,
    request: GenerateRequest,
    running: Option<Running>,
}

type Running = Box<dyn Fn() -> usize + Send + Sync>;

impl Fixture {
    /// Tests this model with this request.
    pub fn new(model: Arc<dyn Model>, request: GenerateRequest) -> Self {
        Self { model, request, running: None }
    }

    /// How many generations run now, from the model's own side: what an upstream sees, or a thread works on.
    #[must_use]
    pub fn running(mut self, running: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        self.running = Some(Box::new(running));
        self
    }

    async fn generate(&self, so_far: &Prefix) -> OutputStream {
        // The id is the same every time: an answer may depend on it.
        let id = GenerationId::from_bytes([7; 16]);
        self.model.generate(id, &self.request, so_far).await.unwrap()
    }

    /// The rest of the answer. Also checks what holds for every answer.
    async fn answer(&self, so_far: &Prefix) -> Answer {
        let mut stream = self.generate(so_far).await;
        let mut pieces = Vec::new();
        loop {
            match stream.next().await.expect("an answer ends with its finish").unwrap() {
                Output::Text { text, tokens } => {
                    assert!(!text.is_empty(), "a delta is never empty");
                    let piece = Prefix { text, tokens, ..Prefix::default() };
                    pieces.push(piece);
                }
                Output::Reasoning { .. } | Output::ToolCall(_) => {
                    panic!("the fixture's request is answered with text")
                }
                Output::Working => {}
                Output::Finished { reason, usage } => {
                    assert!(stream.next().await.is_none(), "nothing follows the finish");
                    return Answer { pieces, reason, usage };
                }
            }
        }
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("model", &self.model).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Answer {
    pieces: Vec<Prefix>,
    reason: FinishReason,
    usage: Usage,
}

impl Answer {
    /// The first deltas of the answer as a prefix.
    fn prefix(&self, pieces: usize) -> Prefix {
        let mut prefix = Prefix::default();
        for piece in &self.pieces[..pieces] {
            prefix.text.push_str(&piece.text);
            prefix.tokens.extend_from_slice(&piece.tokens);
        }
        prefix
    }

    fn whole(&self) -> Prefix {
        self.prefix(self.pieces.len())
    }
}

/// Text, never empty; then its finish, once; then the end.
pub async fn an_answer_is_text_and_then_one_finish(fixture: Fixture) {
    let answer = fixture.answer(&Prefix::default()).await;
    assert!(answer.pieces.len() > 2, "the fixture's request is answered in several deltas");
    assert!(answer.usage.output_tokens > 0);
}

/// The same request must always get the same answer.
pub async fn an_exact_model_gives_the_same_answer_again(fixture: Fixture) {
    let (first, second) =
        (fixture.answer(&Prefix::default()).await, fixture.answer(&Prefix::default()).await);
    if fixture.model.continuation(&first.whole()) == Continuation::Exact {
        assert_eq!(first.whole(), second.whole());
        assert_eq!((first.reason, first.usage), (second.reason, second.usage));
    }
}

/// A worker may die after any delta, including the last.
pub async fn a_model_goes_on_from_every_delta(fixture: Fixture) {
    let undisturbed = fixture.answer(&Prefix::default()).await;
    for cut in 0..=undisturbed.pieces.len() {
        let so_far = undisturbed.prefix(cut);
        assert_goes_on(&fixture, &undisturbed, &so_far).await;
    }
}

/// Any split of an answer is possible, except inside a character; where there are tokens, they are not split.
pub async fn a_model_without_tokens_goes_on_from_every_character(fixture: Fixture) {
    let undisturbed = fixture.answer(&Prefix::default()).await;
    let whole = undisturbed.whole();
    if !whole.tokens.is_empty() {
        return; // The case before this one is all there is to test.
    }
    for (cut, _) in whole.text.char_indices() {
        let so_far = Prefix { text: whole.text[..cut].to_owned(), ..Prefix::default() };
        assert_goes_on(&fixture, &undisturbed, &so_far).await;
    }
}

async fn assert_goes_on(fixture: &Fixture, undisturbed: &Answer, so_far: &Prefix) {
    let continuation = fixture.model.continuation(so_far);
    if continuation == Continuation::Unsupported && !so_far.is_empty() {
        return; // Then it is never asked to.
    }
    let rest = fixture.answer(so_far).await;
    if continuation == Continuation::Exact {
        let spliced = format!("{}{}", so_far.text, rest.whole().text);
        assert_eq!(spliced, undisturbed.whole().text, "after {:?}", so_far.text);
        let tokens = [&*so_far.tokens, &*rest.whole().tokens].concat();
        assert_eq!(tokens, undisturbed.whole().tokens, "after {:?}", so_far.text);
        assert_eq!(
            (rest.reason, rest.usage),
            (undisturbed.reason, undisturbed.usage),
            "so far is counted too"
        );
    }
}

/// At any point. Afterwards the model works as before.
pub async fn dropping_the_stream_stops_the_work(fixture: Fixture) {
    for pieces in 0..3 {
        let mut stream = fixture.generate(&Prefix::default()).await;
        for _ in 0..pieces {
            stream.next().await.expect("several deltas").unwrap();
        }
        drop(stream);
        if let Some(running) = &fixture.running {
            let mut looks = 0;
            while running() > 0 {
                looks += 1;
                assert!(looks < 6_000, "the work goes on without its stream");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    fixture.answer(&Prefix::default()).await;
}
