//! Removes white space that a continuation repeats.
//!
//! llama.cpp continues right after the given bytes and repeats none: its text is not changed. Services that apply a chat
//! template to the text first ([`ContinueFinalMessage`]) may trim white space at its end, and the model repeats it. Readers
//! have it already, so it is removed from the continuation.
//!
//! Nothing else is removed: a continuation that begins like the text is one of a model that repeats itself.
//!
//! [`ContinueFinalMessage`]: ContinuationMode::ContinueFinalMessage

use super::config::ContinuationMode;

/// The white space that the continuation may repeat.
#[derive(Debug, Default)]
pub(super) struct PrefixTrimmer {
    again: String,
}

impl PrefixTrimmer {
    /// For the continuation of this text.
    pub(super) fn after(text: &str, mode: ContinuationMode) -> Self {
        match mode {
            ContinuationMode::Unsupported | ContinuationMode::AssistantPrefill => Self::default(),
            ContinuationMode::ContinueFinalMessage => {
                let again = text.strip_prefix(text.trim_end()).unwrap_or_default();
                Self { again: again.to_owned() }
            }
        }
    }

    /// The new part of the next delta.
    pub(super) fn rest_of(&mut self, piece: String) -> String {
        if self.again.is_empty() {
            return piece;
        }
        let same = piece.chars().zip(self.again.chars()).take_while(|(a, b)| a == b);
        let same: usize = same.map(|(a, _)| a.len_utf8()).sum();
        let again = std::mem::take(&mut self.again);
        if same == piece.len() {
            again.get(same..).unwrap_or_default().clone_into(&mut self.again);
        }
        piece.get(same..).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spliced(mode: ContinuationMode, text: &str, pieces: &[&str]) -> String {
        let mut prefix_trimmer = PrefixTrimmer::after(text, mode);
        let rest: String = pieces.iter().map(|piece| prefix_trimmer.rest_of((*piece).to_owned())).collect();
        format!("{text}{rest}")
    }

    #[test]
    fn white_space_that_a_template_lost_is_there_once() {
        let spliced = |text, pieces: &[&str]| spliced(ContinuationMode::ContinueFinalMessage, text, pieces);
        assert_eq!(spliced("a\n\n", &["\n\nb"]), "a\n\nb");
        assert_eq!(spliced("a\n\n", &["\n", "\n", "b"]), "a\n\nb");
        assert_eq!(spliced("a\n\n", &["\n", "b", "\n"]), "a\n\nb\n");
        assert_eq!(spliced("a\n", &["\n\nb"]), "a\n\nb");
        assert_eq!(spliced("a ", &[" b"]), "a b");
        assert_eq!(spliced("a\u{3000}\n", &["\u{3000}", "\n b"]), "a\u{3000}\n b");
    }

    #[test]
    fn a_template_that_kept_it_is_as_good() {
        let spliced = |text, pieces: &[&str]| spliced(ContinuationMode::ContinueFinalMessage, text, pieces);
        assert_eq!(spliced("a\n\n", &["b", "\n\nc"]), "a\n\nb\n\nc");
        assert_eq!(spliced("a\n    ", &["    b"]), "a\n        b");
        assert_eq!(spliced("a", &[" a", " a"]), "a a a");
    }

    #[test]
    fn llama_cpp_is_taken_at_its_word() {
        assert_eq!(spliced(ContinuationMode::AssistantPrefill, "a\n", &["\nb"]), "a\n\nb");
    }
}
