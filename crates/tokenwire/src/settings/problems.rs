//! Everything that is wrong with the settings, explained together.

use std::fmt;

/// Problems found so far, one sentence each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    pub(crate) fn push(&mut self, problem: String) {
        self.0.push(problem);
    }

    /// Parses a setting; a value that cannot be used becomes a problem, and nothing.
    pub(crate) fn parse<T>(
        &mut self,
        name: &str,
        value: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(value.trim()).map_err(|what| self.push(format!("{name} is {value:?}: {what}"))).ok()
    }

    /// As [`Self::parse`], for a setting that holds a password and is not quoted.
    pub(crate) fn parse_secret<T, E: fmt::Display>(
        &mut self,
        name: &str,
        value: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(value.trim()).map_err(|what| self.push(format!("{name} cannot be used: {what}"))).ok()
    }

    /// As [`Self::parse`], for a setting that may be left out: the outer `None` is a problem.
    #[expect(
        clippy::option_option,
        reason = "the outer level is a problem, the inner one is a setting left out"
    )]
    pub(crate) fn parse_given<T>(
        &mut self,
        name: &str,
        value: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        value.map_or(Some(None), |value| self.parse(name, value, parse).map(Some))
    }

    /// The settings, when nothing is wrong. `build` gives nothing only after a problem.
    pub(crate) fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, Self> {
        match build() {
            Some(settings) if self.0.is_empty() => Ok(settings),
            _ => Err(self),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "{one}"),
            all => {
                write!(f, "{} settings cannot be used:", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}
