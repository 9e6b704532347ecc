//! Turns the bytes of tokens into deltas of text.
//!
//! A delta ends where a token ends, the bytes so far are whole characters, and no stop text may have begun. So the text of all
//! deltas is the text of all their tokens, and another worker can continue from both. Only the last delta may differ: when a
//! stop text cuts a token, its text extends beyond its tokens.
//!
//! Bytes that are no UTF-8 are shown as U+FFFD, as [`String::from_utf8_lossy`] does for all bytes at once.

use std::str;

use tokenwire_core::{StopTexts, TokenId};

/// Some text and the tokens it was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) tokens: Vec<TokenId>,
}

/// The result of a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The answer goes on. The delta that is now final, if any.
    More(Option<Piece>),
    /// The answer ends at a stop text. The last delta, if any.
    Stopped(Option<Piece>),
}

/// The output that is not final yet.
#[derive(Debug)]
pub(super) struct Transcript {
    stops: Vec<String>,
    tokens: Vec<TokenId>,
    text: String,
    /// The beginning of a character.
    undecoded: Vec<u8>,
    seams: Vec<Seam>,
}

/// A place where a token ends and a character too: so far in the text, after so many tokens.
#[derive(Clone, Copy, Debug)]
struct Seam {
    text: usize,
    tokens: usize,
}

impl Transcript {
    pub(super) fn new(stops: &StopTexts) -> Self {
        let stops = stops.iter().map(ToOwned::to_owned).collect();
        Self { stops, tokens: Vec::new(), text: String::new(), undecoded: Vec::new(), seams: Vec::new() }
    }

    /// Adds a token.
    pub(super) fn push(&mut self, token: TokenId, bytes: &[u8]) -> Heard {
        self.tokens.push(token);
        self.undecoded.extend_from_slice(bytes);
        decode(&mut self.undecoded, &mut self.text);
        if self.undecoded.is_empty() {
            self.seams.push(Seam { text: self.text.len(), tokens: self.tokens.len() });
        }
        match self.stop() {
            Some(at) => Heard::Stopped(self.cut(at)),
            None => Heard::More(self.settle(self.text.len() - self.begun())),
        }
    }

    /// Ends the answer. Returns the rest, if any.
    pub(super) fn end(&mut self) -> Option<Piece> {
        if !self.undecoded.is_empty() {
            self.undecoded.clear();
            self.text.push(char::REPLACEMENT_CHARACTER);
            if let Some(at) = self.stop() {
                return self.cut(at);
            }
        }
        let rest = Piece { text: std::mem::take(&mut self.text), tokens: std::mem::take(&mut self.tokens) };
        (!rest.text.is_empty()).then_some(rest)
    }

    /// Where the first stop text begins.
    fn stop(&self) -> Option<usize> {
        self.stops.iter().filter_map(|stop| self.text.find(stop)).min()
    }

    /// How much of the end of the text may be the beginning of a stop text.
    fn begun(&self) -> usize {
        let longest = |stop: &String| {
            let shorter = 1..stop.len().min(self.text.len() + 1);
            shorter.rev().find(|&length| {
                stop.as_bytes().get(..length).is_some_and(|begun| self.text.as_bytes().ends_with(begun))
            })
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }

    /// Takes what ends with a token within the first `free` bytes.
    fn settle(&mut self, free: usize) -> Option<Piece> {
        let last = self.seams.iter().rposition(|seam| seam.text <= free)?;
        let end = *self.seams.get(last)?;
        if end.text == 0 {
            return None; // Tokens without text go with the next one that has some.
        }
        self.seams.drain(..=last);
        for seam in &mut self.seams {
            seam.text -= end.text;
            seam.tokens -= end.tokens;
        }
        let text = self.text.drain(..end.text).collect();
        let tokens = self.tokens.drain(..end.tokens).collect();
        Some(Piece { text, tokens })
    }

    /// Takes the first `at` bytes, and their tokens as far as they end there.
    fn cut(&mut self, at: usize) -> Option<Piece> {
        let whole = self.settle(at).unwrap_or_default();
        let rest = at - whole.text.len();
        let text = whole.text + self.text.get(..rest).unwrap_or_default();
        self.text.clear();
        (!text.is_empty()).then_some(Piece { text, tokens: whole.tokens })
    }
}

/// The text of these bytes, up to an incomplete character.
pub(super) fn shown(mut bytes: Vec<u8>) -> String {
    let mut text = String::new();
    decode(&mut bytes, &mut text);
    text
}

/// Moves bytes into the text, except the beginning of a character at their end.
fn decode(bytes: &mut Vec<u8>, text: &mut String) {
    let mut rest = bytes.as_slice();
    let begun = loop {
        match str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                break 0;
            }
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                text.push_str(str::from_utf8(valid).unwrap_or_default());
                let Some(invalid) = error.error_len() else { break after.len() };
                text.push(char::REPLACEMENT_CHARACTER);
                rest = after.get(invalid..).unwrap_or_default();
            }
        }
    };
    bytes.drain(..bytes.len() - begun);
}

#[cfg(test)]
mod tests;
