//! What the simulated model says, word by word.

use std::iter::Peekable;

use tokenwire_core::GenerationId;

use crate::words::words;

/// A text and how much of it has been said.
pub(super) struct Text {
    words: Peekable<Words>,
    spoken: usize,
    /// The rest of a word that a skipped prefix ended in.
    cut: Option<String>,
}

type Words = Box<dyn Iterator<Item = String> + Send>;

impl Text {
    /// The demonstration's own answer.
    pub(super) fn echo(prompt: &str, id: GenerationId) -> Self {
        let text = format!("{prompt}: This is a simulated LLM stream. Channel ID: {id}");
        Self::new(Box::new(words(text)))
    }

    /// This many words of filler, which follow from the prompt.
    pub(super) fn filler(prompt: &str, count: usize) -> Self {
        let mut seed = seed_of(prompt);
        let words = (0..count).map(move |index| {
            seed = next_seed(seed);
            filler_word(index, seed)
        });
        Self::new(Box::new(words))
    }

    fn new(words: Words) -> Self {
        Self { words: words.peekable(), spoken: 0, cut: None }
    }

    /// Goes on right after `prefix`. False when the text does not begin with it.
    pub(super) fn skip(&mut self, prefix: &str) -> bool {
        let mut prefix = prefix;
        while !prefix.is_empty() {
            let Some(word) = self.next() else { return false };
            if let Some(rest) = prefix.strip_prefix(word.as_str()) {
                prefix = rest;
            } else if let Some(rest) = word.strip_prefix(prefix) {
                self.cut = Some(rest.to_owned());
                self.spoken -= 1;
                prefix = "";
            } else {
                return false;
            }
        }
        true
    }

    /// How many words have been said, skipped ones included.
    pub(super) fn spoken(&self) -> usize {
        self.spoken
    }

    pub(super) fn is_over(&mut self) -> bool {
        self.cut.is_none() && self.words.peek().is_none()
    }

    pub(super) fn next(&mut self) -> Option<String> {
        let word = self.cut.take().or_else(|| self.words.next())?;
        self.spoken += 1;
        Some(word)
    }
}

/// FNV-1a: the same on every machine and in every version, which the standard hasher does not promise.
fn seed_of(prompt: &str) -> u64 {
    prompt
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// One step of a linear congruential generator (Knuth, MMIX): variety is all that is asked of it.
fn next_seed(seed: u64) -> u64 {
    seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// Sentences of twelve words, paragraphs of five sentences.
fn filler_word(index: usize, seed: u64) -> String {
    const SENTENCE: usize = 12;
    const PARAGRAPH: usize = 5 * SENTENCE;
    const VOCABULARY: [&str; 32] = [
        "a",
        "river",
        "carries",
        "every",
        "word",
        "from",
        "its",
        "source",
        "to",
        "whoever",
        "waits",
        "along",
        "the",
        "bank",
        "and",
        "none",
        "is",
        "lost",
        "on",
        "way",
        "though",
        "bridges",
        "fall",
        "boats",
        "turn",
        "over",
        "night",
        "comes",
        "early",
        "while",
        "water",
        "remembers",
    ];
    let pick = usize::try_from(seed >> 59).unwrap_or_default();
    let word = VOCABULARY.get(pick).copied().unwrap_or("word");
    let space = match index {
        0 => "",
        _ if index.is_multiple_of(PARAGRAPH) => "\n\n",
        _ => " ",
    };
    let mut text = space.to_owned();
    if index.is_multiple_of(SENTENCE) {
        let mut letters = word.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    } else {
        text.push_str(word);
    }
    if index % SENTENCE == SENTENCE - 1 {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(mut text: Text) -> Vec<String> {
        std::iter::from_fn(|| text.next()).collect()
    }

    fn id() -> GenerationId {
        "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap()
    }

    #[test]
    fn the_echo_is_the_demonstrations_answer_word_by_word() {
        let words = all(Text::echo("Hello world", id()));
        assert_eq!(words.first().map(String::as_str), Some("Hello"));
        assert_eq!(words.get(1).map(String::as_str), Some(" world:"));
        assert_eq!(
            words.concat(),
            "Hello world: This is a simulated LLM stream. Channel ID: 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"
        );
    }

    #[test]
    fn filler_has_as_many_words_as_asked_and_depends_on_the_prompt() {
        let words = all(Text::filler("a", 200));
        assert_eq!(words.len(), 200);
        assert_eq!(words.concat().split_whitespace().count(), 200);
        assert_eq!(words, all(Text::filler("a", 200)));
        assert_ne!(words, all(Text::filler("b", 200)));
    }

    #[test]
    fn a_prefix_of_another_text_is_refused() {
        assert!(!Text::echo("Hello", id()).skip("Goodbye"));
        assert!(!Text::filler("a", 1).skip(&all(Text::filler("a", 2)).concat()));
    }

    proptest! {
        #[test]
        fn words_joined_are_the_text_whatever_white_space_it_has(prompt in "\\PC*[ \n\r\t\u{2003}]*\\PC*") {
            let words = all(Text::echo(&prompt, id()));
            let expected = format!("{prompt}: This is a simulated LLM stream. Channel ID: {}", id());
            prop_assert_eq!(words.concat(), expected);
            prop_assert!(words.iter().all(|word| !word.is_empty()));
        }

        #[test]
        fn what_follows_a_prefix_is_what_an_undisturbed_run_would_say(prompt in "\\PC{0,20}", cut in any::<prop::sample::Index>()) {
            let whole = all(Text::echo(&prompt, id())).concat();
            let cut = cut.index(whole.len() + 1);
            prop_assume!(whole.is_char_boundary(cut));
            let mut rest = Text::echo(&prompt, id());
            prop_assert!(rest.skip(&whole[..cut]));
            prop_assert_eq!(all(rest).concat(), &whole[cut..]);
        }
    }
}
