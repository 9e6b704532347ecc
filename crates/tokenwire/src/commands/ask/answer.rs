//! What has been shown of an answer, and its figures.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

/// An answer on its way to standard output.
#[derive(Debug)]
pub(super) struct Answer {
    asked: Instant,
    first_after: Option<Duration>,
    pieces: u64,
    /// The seq of the last entry that was shown.
    cursor: u64,
    ends_a_line: bool,
}

impl Answer {
    pub(super) fn new() -> Self {
        Self { asked: Instant::now(), first_after: None, pieces: 0, cursor: 0, ends_a_line: true }
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

    /// Shows a piece of text at once.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        self.first_after.get_or_insert_with(|| self.asked.elapsed());
        self.pieces += 1;
        if let Some(last) = text.chars().next_back() {
            self.ends_a_line = last == '\n';
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Ends the last line. Whoever closed the pipe does not need it.
    pub(super) fn finish(&mut self) {
        if !self.ends_a_line {
            let _ = writeln!(io::stdout());
            self.ends_a_line = true;
        }
    }

    /// For people: how long it took, and how fast it came.
    pub(super) fn figures(&self) -> String {
        let total = self.asked.elapsed();
        let Some(first_after) = self.first_after else {
            return format!("no text in {:.1} s", total.as_secs_f64());
        };
        let streaming = (total.saturating_sub(first_after)).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = if streaming > 0.0 { self.pieces.saturating_sub(1) as f64 / streaming } else { 0.0 };
        format!(
            "{} pieces in {:.1} s, the first after {} ms, {rate:.1} pieces/s",
            self.pieces,
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
        let mut answer = Answer::new();
        assert_eq!(answer.cursor(), None);
        assert!(answer.advance(1) && answer.advance(3));
        assert!(!answer.advance(2) && !answer.advance(3));
        assert_eq!(answer.cursor(), Some(3));
    }
}
