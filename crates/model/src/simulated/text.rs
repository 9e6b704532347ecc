//! What the simulated model says, word by word.

use std::{iter::Peekable, mem, time::UNIX_EPOCH};

use tokenwire_core::GenerationId;

use crate::words::words;

/// How long a stamp is: enough until the year 2286.
const STAMP: usize = 16;

/// A text and how much of it has been said.
pub(super) struct Text {
    words: Peekable<Words>,
    spoken: usize,
    /// The rest of a word that a skipped prefix ended in.
    cut: Option<String>,
    stamps: Stamps,
    /// How much of the next word's stamp has been said.
    stamped: usize,
}

/// Whether each word begins with the time at which it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamps {
    Yes,
    No,
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
        Self { words: words.peekable(), spoken: 0, cut: None, stamps: Stamps::No, stamped: 0 }
    }

    /// The same text, with or without stamps.
    pub(super) fn stamped(self, stamps: Stamps) -> Self {
        Self { stamps, ..self }
    }

    /// Goes on right after `prefix`. False when the text does not begin with it; any stamps will do.
    pub(super) fn skip(&mut self, prefix: &str) -> bool {
        let mut prefix = prefix;
        while !prefix.is_empty() {
            if self.stamps == Stamps::Yes {
                let digits = prefix.bytes().take(STAMP).take_while(u8::is_ascii_digit).count();
                // What follows a stamp that is not whole is no part of any word.
                self.stamped = digits;
                prefix = prefix.get(digits..).unwrap_or_default();
                if prefix.is_empty() {
                    break;
                }
                if digits < STAMP {
                    return false;
                }
            }
            let Some(word) = self.words.next() else { return false };
            if let Some(rest) = prefix.strip_prefix(word.as_str()) {
                prefix = rest;
                self.stamped = 0;
                self.spoken += 1;
            } else if let Some(rest) = word.strip_prefix(prefix) {
                self.cut = Some(rest.to_owned());
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
        Some(match self.stamps {
            Stamps::No => word,
            Stamps::Yes => {
                let mut stamp = stamp();
                stamp.replace_range(..mem::take(&mut self.stamped), "");
                stamp + &word
            }
        })
    }
}

/// The time now.
fn stamp() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "a load test compares it with the same clock elsewhere, in microseconds"
    )]
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:0STAMP$}", now.as_micros())
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
    fn a_stamped_text_is_the_plain_one_with_a_time_before_each_word() {
        let words = all(Text::filler("a", 70).stamped(Stamps::Yes));
        let (stamps, plain): (Vec<_>, Vec<_>) = words.iter().map(|word| word.split_at(STAMP)).unzip();
        assert_eq!(plain, all(Text::filler("a", 70)));
        let stamps: Vec<u128> = stamps.into_iter().map(|stamp| stamp.parse().unwrap()).collect();
        assert!(stamps.is_sorted());
        assert!(stamps[0] > 1_700_000_000_000_000);
    }

    #[test]
    fn a_stamped_text_goes_on_after_any_part_of_it() {
        let words = all(Text::filler("a", 15).stamped(Stamps::Yes));
        let whole = words.concat();
        for cut in 0..=whole.len() {
            let mut rest = Text::filler("a", 15).stamped(Stamps::Yes);
            assert!(rest.skip(&whole[..cut]));
            let spliced = whole[..cut].to_owned() + &all(rest).concat();
            let mut read = Text::filler("a", 15).stamped(Stamps::Yes);
            assert!(read.skip(&spliced) && read.is_over(), "{spliced:?}");
            assert_eq!((spliced.len(), read.spoken()), (whole.len(), 15));
        }
    }

    #[test]
    fn a_prefix_of_another_text_is_refused() {
        assert!(!Text::echo("Hello", id()).skip("Goodbye"));
        assert!(!Text::filler("a", 1).skip(&all(Text::filler("a", 2)).concat()));
        assert!(!Text::filler("a", 2).stamped(Stamps::Yes).skip("12 "));
        assert!(!Text::filler("a", 2).stamped(Stamps::Yes).skip(&all(Text::filler("a", 2)).concat()));
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
