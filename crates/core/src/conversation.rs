//! The messages of a request. The last one is to be answered.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The role of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions of the application.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// Its name on the wire and in chat templates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message. The stored and wire form is that of chat completions: `{"role": "user", "content": "..."}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// Instructions of the application.
    System {
        /// The text, exactly as given.
        content: String,
    },
    /// A message of the user.
    User {
        /// The text.
        content: String,
    },
    /// A message of the model.
    Assistant {
        /// The text. May be empty beside tool calls.
        content: String,
        /// The tool calls.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
    },
    /// The result of a tool call.
    Tool {
        /// The id of the call.
        tool_call_id: String,
        /// The result.
        content: String,
    },
}

/// A complete tool call.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its id, to which its result refers.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// The arguments: JSON, if the model is correct.
    pub arguments: String,
}

impl Message {
    /// A message of the system.
    pub fn system(content: impl Into<String>) -> Self {
        Self::System { content: content.into() }
    }

    /// A message of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self::User { content: content.into() }
    }

    /// A message of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::Assistant { content: content.into(), tool_calls: Vec::new() }
    }

    /// Its role.
    pub const fn role(&self) -> Role {
        match self {
            Self::System { .. } => Role::System,
            Self::User { .. } => Role::User,
            Self::Assistant { .. } => Role::Assistant,
            Self::Tool { .. } => Role::Tool,
        }
    }

    /// Its text.
    pub fn content(&self) -> &str {
        let (Self::System { content }
        | Self::User { content }
        | Self::Assistant { content, .. }
        | Self::Tool { content, .. }) = self;
        content
    }

    /// Its tool calls.
    pub fn tool_calls(&self) -> &[ToolCall] {
        match self {
            Self::Assistant { tool_calls, .. } => tool_calls,
            Self::System { .. } | Self::User { .. } | Self::Tool { .. } => &[],
        }
    }

    /// Whether it has tool calls or is the result of one.
    pub fn is_about_tools(&self) -> bool {
        matches!(self, Self::Tool { .. }) || !self.tool_calls().is_empty()
    }

    fn bytes(&self) -> usize {
        let calls = self.tool_calls().iter();
        self.content().len() + calls.map(|call| call.name.len() + call.arguments.len()).sum::<usize>()
    }
}

/// Messages are private: only their sizes are printed.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} bytes)", self.role().as_str(), self.bytes())
    }
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolCall({}, {} bytes)", self.name, self.arguments.len())
    }
}

/// A conversation that waits for an answer, of bounded size. The last message is a user message that is not blank, or the
/// result of a tool call. Texts are kept exactly as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation(Vec<Message>);

impl Conversation {
    /// The maximum size of all texts together, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// The maximum number of messages.
    pub const MAX_MESSAGES: usize = 1024;

    /// Checks and wraps messages.
    ///
    /// # Errors
    /// [`InvalidConversation`]; the message says what to change.
    pub fn new(mut messages: Vec<Message>) -> Result<Self, InvalidConversation> {
        match messages.last() {
            None => return Err(InvalidConversation::Empty),
            Some(Message::User { content }) if content.trim().is_empty() => {
                return Err(InvalidConversation::Blank);
            }
            Some(Message::User { .. } | Message::Tool { .. }) => {}
            Some(Message::System { .. } | Message::Assistant { .. }) => {
                return Err(InvalidConversation::NotAsked);
            }
        }
        let bytes = messages.iter().map(Message::bytes).sum();
        if bytes > Self::MAX_BYTES {
            return Err(InvalidConversation::TooLong { bytes });
        }
        if messages.len() > Self::MAX_MESSAGES {
            return Err(InvalidConversation::TooMany { messages: messages.len() });
        }
        // The messages are held until the answer is complete.
        messages.shrink_to_fit();
        Ok(Self(messages))
    }

    /// A conversation of one user message.
    ///
    /// # Errors
    /// [`InvalidConversation`] when it is blank or too long.
    pub fn of(prompt: impl Into<String>) -> Result<Self, InvalidConversation> {
        Self::new(vec![Message::user(prompt)])
    }

    /// The messages before, then the user message `prompt`.
    ///
    /// # Errors
    /// [`InvalidConversation`]; the message says what to change.
    pub fn after(before: Vec<Message>, prompt: impl Into<String>) -> Result<Self, InvalidConversation> {
        let mut messages = before;
        messages.push(Message::user(prompt));
        Self::new(messages)
    }

    /// Every message, in order.
    pub fn messages(&self) -> &[Message] {
        &self.0
    }

    /// The message to be answered.
    pub fn last(&self) -> &Message {
        self.0.last().expect("a conversation has a message, by its construction")
    }

    /// The messages before the last one.
    pub fn before(&self) -> &[Message] {
        self.0.split_last().map_or(&[], |(_, before)| before)
    }

    /// The text of the last message.
    pub fn prompt(&self) -> &str {
        self.last().content()
    }
}

/// The messages cannot be a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConversation {
    /// There is no message.
    #[error("is empty: write what you want to ask")]
    Empty,
    /// The last message is neither the user's nor a tool's.
    #[error("must end with a message of the user, or the result of a tool: that is what is answered")]
    NotAsked,
    /// The last message is only white space.
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

    fn call(name: &str) -> ToolCall {
        ToolCall { id: "call_1".to_owned(), name: name.to_owned(), arguments: "{}".to_owned() }
    }

    #[test]
    fn a_conversation_is_kept_exactly_and_never_printed() {
        let said = [
            Message::system("  be brief\n"),
            Message::user("1"),
            Message::Assistant { content: String::new(), tool_calls: vec![call("look")] },
            Message::Tool { tool_call_id: "call_1".to_owned(), content: String::new() },
            Message::user("  two\nlines "),
        ];
        let conversation = Conversation::new(said.to_vec()).unwrap();
        assert_eq!(conversation.prompt(), "  two\nlines ");
        assert_eq!((conversation.messages(), conversation.before()), (&said[..], &said[..4]));
        assert!(!format!("{conversation:?}").contains("brief"));
    }

    #[test]
    fn messages_have_the_form_of_chat_completions() {
        for form in [
            r#"{"role":"system","content":"a"}"#,
            r#"{"role":"user","content":"a"}"#,
            r#"{"role":"assistant","content":"a"}"#,
            r#"{"role":"assistant","content":"","tool_calls":[{"id":"1","name":"n","arguments":"{}"}]}"#,
            r#"{"role":"tool","tool_call_id":"1","content":"a"}"#,
        ] {
            let message: Message = serde_json::from_str(form).unwrap();
            assert_eq!(serde_json::to_string(&message).unwrap(), form);
            assert!(form.contains(message.role().as_str()));
        }
    }

    #[test]
    fn what_nobody_could_answer_is_refused() {
        let asked = |messages: &[Message]| Conversation::new(messages.to_vec()).unwrap_err();
        assert_eq!(asked(&[]), InvalidConversation::Empty);
        assert_eq!(asked(&[Message::user(" \n\t")]), InvalidConversation::Blank);
        assert_eq!(asked(&[Message::user("a"), Message::assistant("b")]), InvalidConversation::NotAsked);
        let many = vec![Message::user("a"); Conversation::MAX_MESSAGES + 1];
        assert_eq!(asked(&many), InvalidConversation::TooMany { messages: Conversation::MAX_MESSAGES + 1 });
    }

    #[test]
    fn all_texts_together_are_bounded() {
        let long = "é".repeat(Conversation::MAX_BYTES / 2);
        assert!(Conversation::of(long.clone()).is_ok());
        let over = Conversation::after(vec![Message::system("ab")], long);
        assert_eq!(over, Err(InvalidConversation::TooLong { bytes: Conversation::MAX_BYTES + 2 }));
    }
}
