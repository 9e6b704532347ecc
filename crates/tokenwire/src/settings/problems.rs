//! Everything that is wrong with the settings, explained together.

use std::fmt;

use super::Setting;

/// Problems found so far, one sentence each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    pub(crate) fn push(&mut self, problem: String) {
        self.0.push(problem);
    }

    /// Parses a value that `name` has. One that cannot be used becomes a problem.
    pub(crate) fn parse<T>(
        &mut self,
        name: impl fmt::Display,
        value: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(value.trim()).map_err(|what| self.push(format!("{name} is {value:?}: {what}"))).ok()
    }

    /// As [`Self::parse`], for the value or the default of a setting.
    pub(crate) fn setting<T>(
        &mut self,
        setting: Setting<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.parse(setting, &setting.or_default(), parse)
    }

    /// As [`Self::parse`], for a setting that may be left out: the outer `None` is a problem.
    #[expect(
        clippy::option_option,
        reason = "the outer level is a problem, the inner one is a setting left out"
    )]
    pub(crate) fn given<T>(
        &mut self,
        setting: Setting<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        setting.given().map_or(Some(None), |value| self.parse(setting, value, parse).map(Some))
    }

    /// As [`Self::parse`], for a setting that holds a password and is not quoted.
    pub(crate) fn secret<T, E: fmt::Display>(
        &mut self,
        setting: Setting<'_>,
        value: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(value).map_err(|what| self.push(format!("{setting} cannot be used: {what}"))).ok()
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
