//! Who submits a generation.

use std::{fmt, sync::Arc};

/// Who submits a generation. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Caller {
    /// The caller is not known. Also the caller of streams that older versions created.
    #[default]
    Anonymous,
    /// The caller is known by this name.
    Named(CallerName),
}

impl Caller {
    /// The name. `None` for an anonymous caller.
    pub fn name(&self) -> Option<&CallerName> {
        match self {
            Self::Anonymous => None,
            Self::Named(name) => Some(name),
        }
    }
}

/// The name of a caller. It is safe in log lines, headers and keys of a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerName(Arc<str>);

impl CallerName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Checks and wraps a name: 1 to [`Self::MAX_BYTES`] printable ASCII characters, without spaces.
    ///
    /// # Errors
    /// [`InvalidCallerName`] for anything else. The message says what is allowed.
    pub fn new(name: &str) -> Result<Self, InvalidCallerName> {
        let fits = (1..=Self::MAX_BYTES).contains(&name.len());
        if fits && name.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidCallerName)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not the name of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a caller is 1 to {} printable ASCII characters without spaces", CallerName::MAX_BYTES)]
pub struct InvalidCallerName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_name_is_short_and_printable() {
        for name in ["a", "team/blue:ci@example.org", &"x".repeat(CallerName::MAX_BYTES)] {
            assert_eq!(CallerName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "a b", "a\n", "é", "\u{7f}", &"x".repeat(CallerName::MAX_BYTES + 1)] {
            assert_eq!(CallerName::new(name), Err(InvalidCallerName), "{name:?}");
        }
    }
}
