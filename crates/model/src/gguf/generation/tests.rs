use tokenwire_core::{GenerationId, Sampling, StopTexts};
use tokio::sync::mpsc::Receiver;

use super::*;

/// Says the letters of the alphabet, one by one; the last token ends an answer.
struct Alphabet;

impl Vocabulary for Alphabet {
    fn bytes(&self, token: u32) -> Vec<u8> {
        vec![b'a' + u8::try_from(token).unwrap()]
    }

    fn ends(&self, token: u32) -> bool {
        token == 25
    }
}

struct Answering {
    generation: Generation,
    outputs: Receiver<Result<Output, ModelError>>,
}

fn answering(limit: usize, stop: &[&str], so_far: &Prefix) -> Answering {
    let (sender, outputs) = mpsc::channel(OUTPUTS);
    let sampling: Sampling = serde_json::from_str(r#"{"temperature":0}"#).unwrap();
    let stop = StopTexts::new(stop.iter().map(ToString::to_string).collect()).unwrap();
    let task = Task {
        prompt: vec![0; 40],
        limit,
        sampler: Sampler::new(&sampling, GenerationId::from_bytes([7; 16])),
        transcript: Transcript::new(&stop),
        outputs: sender,
    };
    Answering { generation: Generation::new(task, so_far), outputs }
}

impl Answering {
    /// The model says these letters.
    fn hear(&mut self, letters: &str) -> Progress {
        let mut progress = Progress::GoesOn;
        for letter in letters.bytes() {
            let mut logits = [0.0; 26];
            logits[usize::from(letter - b'a')] = 1.0;
            progress = self.generation.hear(&logits, &Alphabet);
        }
        progress
    }

    /// What its reader got, with the tokens spelled.
    fn got(&mut self) -> Vec<String> {
        let mut got = Vec::new();
        while let Ok(output) = self.outputs.try_recv() {
            got.push(match output {
                Ok(Output::Text { text, tokens }) => {
                    let tokens = tokens.iter().flat_map(|token| Alphabet.bytes(token.0)).collect();
                    format!("{text} of {}", String::from_utf8(tokens).unwrap())
                }
                Ok(Output::Finished { reason, usage }) => format!("{reason:?} after {}", usage.output_tokens),
                Ok(Output::Working) => "working".to_owned(),
                Ok(other) => panic!("{other:?}"),
                Err(error) => tokenwire_core::explain(&error),
            });
        }
        got
    }
}

fn so_far(text: &str, tokens: &str) -> Prefix {
    let tokens = tokens.bytes().map(|letter| TokenId(u32::from(letter - b'a'))).collect();
    Prefix { text: text.to_owned(), tokens, ..Prefix::default() }
}

#[test]
fn a_prompt_is_read_in_chunks_of_the_same_size_whatever_remains() {
    let mut answering = answering(5, &[], &Prefix::default());
    let generation = &mut answering.generation;
    let chunk = generation.chunk();
    assert_eq!((chunk.at, chunk.tokens.len(), chunk.is_last), (0, CHUNK, false));
    generation.advance();
    let chunk = generation.chunk();
    assert_eq!((chunk.at, chunk.tokens.len(), chunk.is_last), (CHUNK, 40 - CHUNK, true));
    generation.advance();
    assert!(!generation.is_reading());
}

#[test]
fn an_answer_ends_where_the_model_ends_it() {
    let mut answering = answering(10, &[], &Prefix::default());
    assert_eq!(answering.hear("abz"), Progress::Over);
    assert_eq!(answering.got(), ["a of a", "b of b", "Stop after 2"]);
}

#[test]
fn an_answer_ends_at_its_limit() {
    let mut answering = answering(2, &[], &Prefix::default());
    assert_eq!(answering.hear("ab"), Progress::Over);
    assert_eq!(answering.got(), ["a of a", "b of b", "Length after 2"]);
}

#[test]
fn rows_follow_the_prompt_one_by_one() {
    let mut answering = answering(10, &[], &Prefix::default());
    answering.hear("c");
    assert_eq!(answering.generation.row(), (40, 2));
    answering.hear("d");
    assert_eq!(answering.generation.row(), (41, 3));
}

#[test]
fn what_was_committed_is_generated_again_and_not_said_again() {
    let mut answering = answering(4, &[], &so_far("ab", "ab"));
    answering.hear("abcd");
    assert_eq!(answering.got(), ["c of c", "d of d", "Length after 4"]);
}

#[test]
fn a_piece_that_a_stop_text_had_cut_is_not_said_again() {
    // Its text had gone on where its tokens ended.
    let mut answering = answering(10, &["x"], &so_far("ab", "a"));
    answering.hear("abx");
    assert_eq!(answering.got(), ["Stop after 3"]);
}

#[test]
fn another_answer_than_the_committed_one_is_refused() {
    for (committed, letters) in
        [(so_far("ab", "ab"), "ac"), (so_far("abc", "a"), "ax"), (so_far("abc", "ab"), "abz")]
    {
        let mut answering = answering(10, &[], &committed);
        assert_eq!(answering.hear(letters), Progress::Over);
        assert_eq!(answering.got(), [format!("the model failed: {OTHER}")]);
    }
}

#[test]
fn a_model_that_computes_nothing_fails() {
    let mut answering = answering(10, &[], &Prefix::default());
    assert_eq!(answering.generation.hear(&[f32::NAN; 26], &Alphabet), Progress::Over);
    assert_eq!(answering.got(), ["the model failed: the model computed no number for any token"]);
}

#[test]
fn a_reader_who_heard_nothing_for_a_while_is_told_that_there_is_work() {
    let mut answering = answering(10, &["abc"], &Prefix::default());
    answering.generation.reassure();
    assert_eq!(answering.got(), [""; 0]);
    answering.generation.heard_at -= REASSURE;
    answering.generation.reassure();
    answering.generation.reassure();
    assert_eq!(answering.got(), ["working"]);
}

#[test]
fn reassuring_never_takes_the_room_of_a_step() {
    let mut answering = answering(usize::MAX, &[], &Prefix::default());
    while answering.generation.has_room() {
        answering.hear("a");
        answering.generation.heard_at -= REASSURE;
        answering.generation.reassure();
    }
    let got = answering.got();
    assert_eq!(got.len(), OUTPUTS - 1);
    assert!(answering.generation.has_room());
}
