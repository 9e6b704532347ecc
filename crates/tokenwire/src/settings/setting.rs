//! One setting: its value, and what the command line says about it.

use std::fmt;

use clap::{Arg, CommandFactory};

use crate::cli::Cli;

/// The setting of a field of `cli`: `setting!(cli.max_streams)`.
macro_rules! setting {
    ($cli:ident.$field:ident) => {
        $crate::settings::Setting::new(stringify!($field), &$cli.$field)
    };
}
pub(crate) use setting;

/// A setting and its value. Displayed by its names: `TOKENWIRE_SLOTS (--slots)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    id: &'static str,
    value: Option<&'a str>,
}

impl<'a> Setting<'a> {
    pub(crate) fn new(id: &'static str, value: &'a impl Value) -> Self {
        Self { id, value: value.text() }
    }

    /// A setting whose value does not matter: for its names.
    pub(crate) fn named(id: &'static str) -> Self {
        Self { id, value: None }
    }

    /// The value. A blank one counts as not given: `REDIS_HOST=` in an environment file means that it is not set.
    pub(crate) fn given(self) -> Option<&'a str> {
        self.value.map(str::trim).filter(|value| !value.is_empty())
    }

    /// The value, or the default that the command line states.
    pub(crate) fn or_default(self) -> String {
        let default = || default_of(&argument(self.id)).unwrap_or_default();
        self.given().map_or_else(default, str::to_owned)
    }
}

impl fmt::Display for Setting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", names(&argument(self.id)))
    }
}

/// What a field of the command line holds.
pub(crate) trait Value {
    fn text(&self) -> Option<&str>;
}

impl Value for String {
    fn text(&self) -> Option<&str> {
        Some(self)
    }
}

impl Value for Option<String> {
    fn text(&self) -> Option<&str> {
        self.as_deref()
    }
}

/// A flag without a value.
impl Value for bool {
    fn text(&self) -> Option<&str> {
        self.then_some("true")
    }
}

/// How the command line defines a setting of `serve`, which has them all.
fn argument(id: &str) -> Arg {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").expect("there is this command");
    serve.get_arguments().find(|arg| arg.get_id() == id).expect("a field of it").clone()
}

fn names(arg: &Arg) -> String {
    let env = arg.get_env().unwrap_or_default().to_string_lossy();
    format!("{env} (--{})", arg.get_long().unwrap_or_default())
}

/// The default of a setting. Where a setting that is not given differs from one that has this value, the help alone states
/// it, as `[default: 6379]`.
pub(crate) fn default_of(arg: &Arg) -> Option<String> {
    if let Some(default) = arg.get_default_values().first() {
        return Some(default.to_string_lossy().into_owned());
    }
    let help = arg.get_long_help().or(arg.get_help())?.to_string();
    let (_, default) = help.split_once("[default: ")?;
    default.split_once(']').map(|(default, _)| default.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;

    #[test]
    fn every_setting_is_found_by_its_field() {
        let given = Some(" 7 ".to_owned());
        assert_eq!(Setting::new("slots", &given).to_string(), "TOKENWIRE_SLOTS (--slots)");
        assert_eq!(Setting::new("slots", &given).given(), Some("7"));
        assert_eq!(Setting::new("slots", &String::new()).or_default(), "8");
        assert_eq!(Setting::named("redis_port").or_default(), "6379");
    }

    #[test]
    fn defaults_that_the_help_states_in_words_are_those_of_the_code() {
        let (serve, cluster) = (settings::DRAIN_SERVE, settings::DRAIN_CLUSTER);
        let drain = Setting::named("drain").or_default();
        assert!(drain.starts_with(&format!("{serve:?} for serve")), "{drain}");
        assert!(drain.contains(&format!("{cluster:?} for api and worker")), "{drain}");
        #[cfg(feature = "gguf")]
        {
            let config = model::gguf::Config::new("a.gguf");
            assert_eq!(Setting::named("model_slots").or_default(), config.slots.to_string());
            let context = Setting::named("model_context").or_default();
            assert!(context.starts_with(&format!("{},", config.context)), "{context}");
        }
    }
}
