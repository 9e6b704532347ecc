//! Where a text that was cut and its continuation meet.
//!
//! llama.cpp goes on right after the very bytes that it was given, white space included, and repeats none of them: what it
//! says is taken as it is. Services that render the text by a chat template first ([`ContinueFinalMessage`]) may lose the
//! white space at its end, as the template trims it or not; the model then says it again. Readers have it already, so
//! here it is left out of the continuation.
//!
//! Nothing else is ever left out: a continuation that begins as the text did is one that repeats itself, as small models
//! do.
//!
//! [`ContinueFinalMessage`]: ContinuationMode::ContinueFinalMessage

use super::config::ContinuationMode;

/// The white space that a continuation may begin with although it is there already.
#[derive(Debug, Default)]
pub(super) struct PrefixTrimmer {
    again: String,
}

impl PrefixTrimmer {
    /// Between this text and its continuation.
    pub(super) fn after(text: &str, mode: ContinuationMode) -> Self {
        match mode {
            ContinuationMode::Unsupported | ContinuationMode::AssistantPrefill => Self::default(),
            ContinuationMode::ContinueFinalMessage => {
                let again = text.strip_prefix(text.trim_end()).unwrap_or_default();
                Self { again: again.to_owned() }
            }
        }
    }

    /// What of the next piece is new.
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
