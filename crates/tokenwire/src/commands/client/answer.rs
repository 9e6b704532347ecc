//! An answer on its way to the screen: what has been shown of it, and its figures.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use tokenwire_core::ToolCallDelta;

use super::{say, screen::Screen};

/// Whether the model's reasoning is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Reasoning {
    Shown,
    Hidden,
}

pub(in crate::commands) struct PrintedAnswer {
    screen: Screen,
    reasoning: Reasoning,
    /// The text since the last rewind.
    text: String,
    calls: BTreeMap<u32, PrintedCall>,
    /// Whether the message about a busy model was printed.
    wait_reported: bool,
    has_reasoned: bool,
    /// The seq of the last entry that was shown.
    cursor: u64,
    asked: Instant,
    first_after: Option<Duration>,
    deltas: u64,
}

/// A call of a tool, as far as it has come.
#[derive(Default)]
struct PrintedCall {
    name: String,
    arguments: String,
}

impl PrintedAnswer {
    pub(super) fn new(reasoning: Reasoning) -> Self {
        Self {
            screen: Screen::new(),
            reasoning,
            text: String::new(),
            calls: BTreeMap::new(),
            has_reasoned: false,
            wait_reported: false,
            cursor: 0,
            asked: Instant::now(),
            first_after: None,
            deltas: 0,
        }
    }

    /// The cursor to resume from; `None` before the first entry.
    pub(super) fn cursor(&self) -> Option<u64> {
        (self.cursor > 0).then_some(self.cursor)
    }

    /// Moves the cursor to an entry; false when it has been shown already.
    pub(super) fn advance(&mut self, seq: u64) -> bool {
        let new = seq > self.cursor;
        self.cursor = self.cursor.max(seq);
        new
    }

    /// Prints a delta of the text.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        self.first_after.get_or_insert_with(|| self.asked.elapsed());
        self.deltas += 1;
        self.text.push_str(text);
        self.screen.answer(text)
    }

    /// Takes a delta of the reasoning.
    pub(super) fn think(&mut self, text: &str) {
        match self.reasoning {
            Reasoning::Shown => self.screen.reasoning(text),
            Reasoning::Hidden if !self.has_reasoned => self.screen.hint("thinking (--reasoning shows it)"),
            Reasoning::Hidden => {}
        }
        self.has_reasoned = true;
    }

    /// Takes a delta of a tool call. Calls are printed when they are whole, because deltas of several may be mixed.
    pub(super) fn call(&mut self, delta: ToolCallDelta) {
        let call = self.calls.entry(delta.index).or_default();
        call.name.push_str(&delta.name.unwrap_or_default());
        call.arguments.push_str(&delta.arguments);
    }

    /// Drops the text so far: the model starts over.
    pub(super) fn rewind(&mut self) {
        self.screen.end_line();
        self.text.clear();
        self.calls.clear();
        self.has_reasoned = false;
        say("the answer starts over: ignore the text above this line");
    }

    /// Nothing comes because the model is busy or cannot be reached.
    pub(super) fn model_is_away(&mut self) {
        if !std::mem::replace(&mut self.wait_reported, true) {
            self.screen.end_line();
            say("the model is busy or cannot be reached; Tokenwire retries");
        }
    }

    /// Ends the last line, and shows the tools that the model wants called.
    pub(super) fn finish(&mut self) {
        self.screen.end_line();
        for call in std::mem::take(&mut self.calls).into_values() {
            say(&format!("the model calls {}({})", call.name, call.arguments));
        }
    }

    /// The answer, as far as it came.
    pub(in crate::commands) fn text(&self) -> &str {
        &self.text
    }

    /// How long it took, and how fast it came, as text.
    pub(in crate::commands) fn figures(&self) -> String {
        let total = self.asked.elapsed();
        let Some(first_after) = self.first_after else {
            return format!("no text in {:.1} s", total.as_secs_f64());
        };
        let streaming = (total.saturating_sub(first_after)).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = if streaming > 0.0 { self.deltas.saturating_sub(1) as f64 / streaming } else { 0.0 };
        format!(
            "{} deltas in {:.1} s, the first after {} ms, {rate:.1} deltas/s",
            self.deltas,
            total.as_secs_f64(),
            first_after.as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_shown_once() {
        let mut answer = PrintedAnswer::new(Reasoning::Hidden);
        assert_eq!(answer.cursor(), None);
        assert!(answer.advance(1) && answer.advance(3));
        assert!(!answer.advance(2) && !answer.advance(3));
        assert_eq!(answer.cursor(), Some(3));
    }
}
