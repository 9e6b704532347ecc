//! What a model is asked to go on from: messages, the last of them the user's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whoever runs the product: how the model should behave.
    System,
    /// Whoever asks.
    User,
    /// The model, earlier.
    Assistant,
}

impl Role {
    /// Its name on the wire and in chat templates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One thing that was said.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// By whom.
    pub role: Role,
    /// The text, exactly as given.
    pub content: String,
}

/// Messages are private: a log line that prints a request by accident shows sizes only.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} bytes)", self.role.as_str(), self.content.len())
    }
}

/// A conversation that waits for an answer: one message or more, the last of them the user's and not blank, of bounded
/// size. Texts are kept exactly as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    before: Vec<Message>,
    prompt: String,
}

impl Conversation {
    /// The most text of all messages together, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// The most messages.
    pub const MAX_MESSAGES: usize = 1024;

    /// Checks and wraps messages.
    ///
    /// # Errors
    /// [`InvalidConversation`]; the message says what to change.
    pub fn new(mut messages: Vec<Message>) -> Result<Self, InvalidConversation> {
        let Some(last) = messages.pop() else { return Err(InvalidConversation::Empty) };
        if last.role != Role::User {
            return Err(InvalidConversation::NotAsked);
        }
        Self::after(messages, last.content)
    }

    /// A conversation of one question.
    ///
    /// # Errors
    /// [`InvalidConversation`] when it is blank or too long.
    pub fn of(prompt: impl Into<String>) -> Result<Self, InvalidConversation> {
        Self::after(Vec::new(), prompt.into())
    }

    /// The question `prompt`, after what was said before.
    ///
    /// # Errors
    /// [`InvalidConversation`]; the message says what to change.
    pub fn after(before: Vec<Message>, prompt: String) -> Result<Self, InvalidConversation> {
        if prompt.trim().is_empty() {
            return Err(InvalidConversation::Blank);
        }
        let bytes = before.iter().map(|message| message.content.len()).sum::<usize>() + prompt.len();
        if bytes > Self::MAX_BYTES {
            return Err(InvalidConversation::TooLong { bytes });
        }
        if before.len() >= Self::MAX_MESSAGES {
            return Err(InvalidConversation::TooMany { messages: before.len() + 1 });
        }
        Ok(Self { before, prompt })
    }

    /// What is asked: the text of the last message, which is the user's.
    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    /// What was said before that.
    pub fn before(&self) -> &[Message] {
        &self.before
    }

    /// Every message in order, each as its role and its text.
    pub fn messages(&self) -> impl Iterator<Item = (Role, &str)> {
        let before = self.before.iter().map(|message| (message.role, message.content.as_str()));
        before.chain(std::iter::once((Role::User, self.prompt.as_str())))
    }
}

/// The messages cannot be a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConversation {
    /// There is no message.
    #[error("is empty: write what you want to ask")]
    Empty,
    /// The last message is not the user's.
    #[error("must end with a message of the user: that is what is answered")]
    NotAsked,
    /// The last message is nothing but white space.
    #[error("is empty: write what you want to ask")]
    Blank,
    /// More than [`Conversation::MAX_BYTES`].
    #[error("is {bytes} bytes long, the limit is {}: shorten it", Conversation::MAX_BYTES)]
    TooLong {
        /// The size of all texts, in bytes of UTF-8.
        bytes: usize,
    },
    /// More than [`Conversation::MAX_MESSAGES`].
    #[error("has {messages} messages, the limit is {}: leave the oldest out", Conversation::MAX_MESSAGES)]
    TooMany {
        /// How many there are.
        messages: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: Role, content: &str) -> Message {
        Message { role, content: content.to_owned() }
    }

    #[test]
    fn a_conversation_is_kept_exactly_and_never_printed() {
        let said = [
            message(Role::System, "  be brief\n"),
            message(Role::User, "1"),
            message(Role::Assistant, ""),
            message(Role::User, "  two\nlines "),
        ];
        let conversation = Conversation::new(said.to_vec()).unwrap();
        assert_eq!(conversation.prompt(), "  two\nlines ");
        let kept: Vec<_> = conversation.messages().map(|(role, text)| message(role, text)).collect();
        assert_eq!(kept, said);
        assert!(!format!("{conversation:?}").contains("brief"));
    }

    #[test]
    fn what_nobody_could_answer_is_refused() {
        let asked = |messages: &[Message]| Conversation::new(messages.to_vec()).unwrap_err();
        assert_eq!(asked(&[]), InvalidConversation::Empty);
        assert_eq!(asked(&[message(Role::User, " \n\t")]), InvalidConversation::Blank);
        assert_eq!(
            asked(&[message(Role::User, "a"), message(Role::Assistant, "b")]),
            InvalidConversation::NotAsked
        );
        let many = vec![message(Role::User, "a"); Conversation::MAX_MESSAGES + 1];
        assert_eq!(asked(&many), InvalidConversation::TooMany { messages: Conversation::MAX_MESSAGES + 1 });
    }

    #[test]
    fn all_texts_together_are_bounded() {
        let long = "é".repeat(Conversation::MAX_BYTES / 2);
        assert!(Conversation::of(long.clone()).is_ok());
        let over = Conversation::after(vec![message(Role::System, "ab")], long);
        assert_eq!(over, Err(InvalidConversation::TooLong { bytes: Conversation::MAX_BYTES + 2 }));
    }
}
