//! What a line means: a turn of the conversation, or a command to it.

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input<'a> {
    Nothing,
    Turn(&'a str),
    Model(Option<&'a str>),
    /// How the model should behave; `None` takes it back.
    System(Option<&'a str>),
    Reset,
    Help,
    Quit,
    Unknown(&'a str),
}

impl<'a> Input<'a> {
    pub(super) fn parse(line: &'a str) -> Self {
        let line = line.trim_end();
        let Some(command) = line.strip_prefix('/') else {
            return if line.trim_start().is_empty() { Self::Nothing } else { Self::Turn(line) };
        };
        if command.starts_with('/') {
            return Self::Turn(command);
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = Some(rest.trim_start()).filter(|rest| !rest.is_empty());
        match (name, rest) {
            ("model", name) => Self::Model(name),
            ("system", text) => Self::System(text),
            ("reset", None) => Self::Reset,
            ("help", None) => Self::Help,
            ("quit" | "exit", None) => Self::Quit,
            _ => Self::Unknown(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_turn_or_a_command() {
        for (line, input) in [
            ("", Input::Nothing),
            (" \t", Input::Nothing),
            ("  two  words ", Input::Turn("  two  words")),
            ("//etc is what?", Input::Turn("/etc is what?")),
            (" /reset", Input::Turn(" /reset")),
            ("/model  a:b ", Input::Model(Some("a:b"))),
            ("/model", Input::Model(None)),
            ("/system be  brief", Input::System(Some("be  brief"))),
            ("/system ", Input::System(None)),
            ("/reset", Input::Reset),
            ("/help", Input::Help),
            ("/quit", Input::Quit),
            ("/reset now", Input::Unknown("/reset now")),
            ("/etc is what?", Input::Unknown("/etc is what?")),
            ("/", Input::Unknown("/")),
        ] {
            assert_eq!(Input::parse(line), input, "{line:?}");
        }
    }
}
