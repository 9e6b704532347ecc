//! The conversation so far, and how it goes on.

use tokenwire_core::{Message, Sampling};

use crate::commands::client::Question;

pub(super) struct Session {
    model: Option<String>,
    system: Option<String>,
    sampling: Sampling,
    /// Turns that have an answer, or the beginning of one: the user's message, then the model's.
    said: Vec<Message>,
}

impl Session {
    pub(super) fn new(model: Option<String>, system: Option<String>, sampling: Sampling) -> Self {
        Self { model, system, sampling, said: Vec::new() }
    }

    /// The next turn, with everything that was said before it.
    pub(super) fn question(&self, prompt: &str) -> Question {
        let system = self.system.iter().map(Message::system);
        let messages = system.chain(self.said.iter().cloned()).chain([Message::user(prompt)]);
        Question { messages: messages.collect(), model: self.model.clone(), sampling: self.sampling.clone() }
    }

    /// Remembers a turn. One without any answer is as if it had not been: to ask it again, it is typed again.
    pub(super) fn keep(&mut self, prompt: &str, answer: &str) {
        if !answer.is_empty() {
            self.said.extend([Message::user(prompt), Message::assistant(answer)]);
        }
    }

    pub(super) fn reset(&mut self) {
        self.said.clear();
    }

    pub(super) fn system(&mut self, text: Option<&str>) {
        self.system = text.map(str::to_owned);
    }

    pub(super) fn model(&mut self, name: &str) {
        self.model = Some(name.to_owned());
    }

    /// The model that was chosen; `None` leaves it to the server.
    pub(super) fn chosen(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(session: &Session, prompt: &str) -> Vec<Message> {
        session.question(prompt).messages
    }

    #[test]
    fn a_turn_is_asked_with_what_was_said_before_and_nothing_that_had_no_answer() {
        let mut session = Session::new(None, Some("be brief".to_owned()), Sampling::default());
        session.keep("one", "1");
        session.keep("lost", "");
        let turn = [
            Message::system("be brief"),
            Message::user("one"),
            Message::assistant("1"),
            Message::user("two"),
        ];
        assert_eq!(said(&session, "two"), turn);
        session.system(None);
        session.reset();
        assert_eq!(said(&session, "two"), [Message::user("two")]);
    }
}
