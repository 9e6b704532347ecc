//! Where text goes, and what it may do there.
//!
//! A pipe gets every byte as it came. A terminal gets no control characters: what a model or a server says could move the
//! cursor, set the clipboard or hide text otherwise.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

/// Standard output with the answer, and standard error with the rest; often the same terminal.
#[derive(Debug)]
pub(super) struct Screen {
    out: Stream,
    err: Stream,
}

#[derive(Debug)]
struct Stream {
    is_terminal: bool,
    /// What was written last has left a line without its end.
    in_a_line: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        let stream = |is_terminal| Stream { is_terminal, in_a_line: false };
        Self { out: stream(io::stdout().is_terminal()), err: stream(io::stderr().is_terminal()) }
    }

    /// Shows a piece of the answer at once. Fails when nobody reads any more.
    pub(super) fn answer(&mut self, text: &str) -> io::Result<()> {
        self.end_reasoning();
        if let Some(last) = text.chars().next_back() {
            self.out.in_a_line = last != '\n';
        }
        let mut out = io::stdout().lock();
        out.write_all(fit(text, self.out.is_terminal).as_bytes())?;
        out.flush()
    }

    /// Shows a piece of reasoning, dimmed where that is possible.
    pub(super) fn reasoning(&mut self, text: &str) {
        self.make_room();
        self.err.in_a_line = !text.ends_with('\n');
        complain(&self.dimmed(text));
    }

    /// Says something that is for people at a terminal only.
    pub(super) fn hint(&mut self, message: &str) {
        if self.err.is_terminal {
            self.make_room();
            complain(&self.dimmed(&format!("{message}\n")));
        }
    }

    /// Ends the last line. Whoever closed the pipe does not need it.
    pub(super) fn end_line(&mut self) {
        self.end_reasoning();
        if std::mem::take(&mut self.out.in_a_line) {
            let _ = writeln!(io::stdout());
        }
    }

    /// Moves to a line of its own where both streams are on one terminal; a pipe gets nothing but the answer.
    fn make_room(&mut self) {
        if self.out.is_terminal && self.err.is_terminal && std::mem::take(&mut self.out.in_a_line) {
            complain("\n");
        }
    }

    fn end_reasoning(&mut self) {
        if std::mem::take(&mut self.err.in_a_line) {
            complain("\n");
        }
    }

    fn dimmed(&self, text: &str) -> String {
        let text = fit(text, self.err.is_terminal);
        if self.err.is_terminal { format!("\x1b[2m{text}\x1b[0m") } else { text.into_owned() }
    }
}

/// Says something on standard error.
pub(in crate::commands) fn say(message: &str) {
    complain(&format!("tokenwire: {}\n", fit(message, io::stderr().is_terminal())));
}

/// Without a standard error there is nobody to tell, and nothing to do about it.
fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The text as it may be written. Control characters become their pictures on a terminal, but for the end of a line and tabs.
fn fit(text: &str, is_terminal: bool) -> Cow<'_, str> {
    let harmful = |char: char| char.is_control() && !matches!(char, '\n' | '\t');
    if !is_terminal || !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let picture = |char| match char {
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(char)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        _ => char::REPLACEMENT_CHARACTER,
    };
    Cow::Owned(text.chars().map(|char| if harmful(char) { picture(char) } else { char }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_says_cannot_command_the_terminal() {
        let text = "a\tb\n\x1b]52;c;aGk=\x07\r\x7f\u{9b}2J é😀";
        assert_eq!(fit(text, true), "a\tb\n␛]52;c;aGk=␇␍␡\u{fffd}2J é😀");
        assert_eq!(fit(text, false), text, "a pipe gets every byte");
    }
}
