//! Which models there are: from the flags, and from the file that `--models` names.
//!
//! With no model configured, `simulated` is offered. Otherwise exactly the configured models exist.

use std::{
    collections::BTreeMap,
    fmt,
    num::{NonZeroU16, NonZeroU32},
    path::{Path, PathBuf},
    time::Duration,
};

use model::{
    Defaults, Scripted, simulated,
    upstream::{self, Key},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokenwire_core::{ModelName, Sampling, StopTexts, Temperature, TopP, explain};
use url::Url;

use super::{Problems, Setting, parse, setting};
use crate::cli;

/// The models, and which of them answers when a request names none.
#[derive(Debug)]
pub(crate) struct Models {
    pub(crate) default: ModelName,
    pub(crate) all: BTreeMap<ModelName, Offered>,
}

impl Models {
    /// Whether any of them is somewhere else.
    pub(crate) fn has_upstream(&self) -> bool {
        self.all.values().any(|offered| matches!(offered.kind, Kind::Upstream(_)))
    }
}

/// What stands behind a name.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) kind: Kind,
    /// What completes a request.
    pub(crate) defaults: Defaults,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Simulated(simulated::Config),
    Gguf(Gguf),
    /// The path of its script.
    Scripted(PathBuf),
    Upstream(upstream::Config),
}

/// A model in this process. What is left out is the adapter's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gguf {
    pub(crate) path: PathBuf,
    pub(crate) slots: Option<NonZeroU16>,
    pub(crate) threads: Option<NonZeroU16>,
    pub(crate) context: Option<NonZeroU32>,
}

#[cfg(feature = "gguf")]
impl From<Gguf> for model::gguf::Config {
    fn from(Gguf { path, slots, threads, context }: Gguf) -> Self {
        let defaults = Self::new(path);
        Self {
            slots: slots.unwrap_or(defaults.slots),
            threads: threads.or(defaults.threads),
            context: context.unwrap_or(defaults.context),
            ..defaults
        }
    }
}

/// What a role does with the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It runs them: keys have to be there, and this build has to know how.
    Run,
    /// It names them; workers run them.
    Name,
}

/// Reads the settings of models. `simulated` is how a simulated one behaves where nothing else is said.
pub(super) fn models(
    cli: &cli::Catalogue,
    simulated: simulated::Config,
    used: Use,
    problems: &mut Problems,
) -> Option<Models> {
    let mut reading = CatalogueReader { all: BTreeMap::new(), simulated, used, problems };
    let mut default = setting!(cli.models).given().and_then(|path| reading.file(Path::new(path)));
    if let Some(name) = setting!(cli.upstream).given().and_then(|urls| reading.upstream(cli, urls)) {
        default = Some(name);
    }
    match setting!(cli.model).given() {
        Some(path) if has_extension(path, "gguf") => default = reading.gguf(cli, path),
        Some(name) => default = reading.name(setting!(cli.model), name),
        None => {}
    }
    let CatalogueReader { mut all, simulated, .. } = reading;
    if all.is_empty() {
        let kind = Kind::Simulated(simulated);
        all.insert(simulated_name(), Offered { kind, defaults: Defaults::default() });
    }
    let only = || (all.len() == 1).then(|| all.keys().next().cloned()).flatten();
    let Some(default) = default.or_else(only) else {
        problems.push(format!(
            "there are several models ({}) and no default: set default = \"...\" in the file, or {}",
            names(&all),
            setting!(cli.model)
        ));
        return None;
    };
    if !all.contains_key(&default) {
        problems.push(format!("the default model {default} does not exist; models: {}", names(&all)));
    }
    Some(Models { default, all })
}

/// The model that there is when none is named.
fn simulated_name() -> ModelName {
    ModelName::new("simulated").expect("a plain name")
}

fn names(all: &BTreeMap<ModelName, Offered>) -> String {
    all.keys().map(ModelName::as_str).collect::<Vec<_>>().join(", ")
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// The models found so far.
struct CatalogueReader<'a> {
    all: BTreeMap<ModelName, Offered>,
    simulated: simulated::Config,
    used: Use,
    problems: &'a mut Problems,
}

impl CatalogueReader<'_> {
    /// Everything in a file; its default, if it says one.
    fn file(&mut self, path: &Path) -> Option<ModelName> {
        let name = || format!("{} {}", Setting::named("models"), path.display());
        let text = std::fs::read_to_string(path)
            .map_err(|error| self.problems.push(format!("{} cannot be read: {error}", name())))
            .ok()?;
        let file: File = toml::from_str(&text)
            .map_err(|error| self.problems.push(format!("{}: {}", name(), error.to_string().trim_end())))
            .ok()?;
        // Paths in a file are relative to it.
        let beside = path.parent().unwrap_or(Path::new(""));
        for (key, mut entry) in file.models {
            let place = format!("{}, [models.{key}]", name());
            let key = self.name(&place, &key);
            let defaults = entry.remove("defaults").map_or_else(
                || Some(Defaults::default()),
                |defaults| {
                    self.value::<FileDefaults>(&format!("{place}, defaults"), defaults).map(Into::into)
                },
            );
            let entry = self.value::<Entry>(&place, toml::Value::Table(entry));
            let kind = entry.and_then(|entry| self.kind(&place, entry, beside));
            if let (Some(key), Some(kind), Some(defaults)) = (key, kind, defaults) {
                self.all.insert(key, Offered { kind, defaults });
            }
        }
        file.default.and_then(|default| self.name(format!("{}, default", name()), &default))
    }

    fn value<T: DeserializeOwned>(&mut self, place: &str, value: toml::Value) -> Option<T> {
        value.try_into().map_err(|error| self.problems.push(format!("{place}: {}", error.message()))).ok()
    }

    /// What the flags say for the models that they name.
    fn flag_defaults(&mut self, cli: &cli::Catalogue) -> Defaults {
        let temperature =
            self.problems.given(setting!(cli.default_temperature), parse::temperature).flatten();
        let max_tokens = self.problems.given(setting!(cli.default_max_tokens), parse::tokens).flatten();
        Defaults {
            system: setting!(cli.default_system).given().map(str::to_owned),
            sampling: Sampling { temperature, max_tokens, ..Sampling::default() },
        }
    }

    fn kind(&mut self, place: &str, entry: Entry, beside: &Path) -> Option<Kind> {
        match entry {
            Entry::Simulated(entry) => {
                let Simulated { delay, first_delay, words, stamped } = entry;
                Some(Kind::Simulated(simulated::Config {
                    delay: delay.map_or(self.simulated.delay, |Span(delay)| delay),
                    first_delay: first_delay.map_or(self.simulated.first_delay, |Span(delay)| delay),
                    words: words.or(self.simulated.words),
                    stamped,
                    fault: self.simulated.fault,
                }))
            }
            Entry::Gguf(GgufEntry { path, slots, threads, context }) => {
                self.check_build(place);
                Some(Kind::Gguf(Gguf { path: beside.join(path), slots, threads, context }))
            }
            Entry::Scripted(ScriptedEntry { path }) => {
                let path = beside.join(path);
                // Read here too, so that its mistakes are told with all the others.
                if self.used == Use::Run
                    && let Err(error) = Scripted::load(&path)
                {
                    self.problems.push(format!("{place}: {}", explain(&error)));
                }
                Some(Kind::Scripted(path))
            }
            Entry::Upstream(entry) => {
                let urls = self.urls(place, &Vec::from(entry.base_url));
                let key = entry.key_env.as_deref().and_then(|variable| self.key(place, variable));
                let mut config = upstream::Config::new(urls?, entry.model);
                config.key = key;
                config.price = entry.price_per_million_tokens.map(Into::into);
                if let Some(continuation) = entry.continuation {
                    config.continuation = continuation.into();
                }
                for (given, setting) in [
                    (entry.connect_timeout, &mut config.connect_timeout),
                    (entry.first_byte_timeout, &mut config.first_byte_timeout),
                    (entry.idle_timeout, &mut config.idle_timeout),
                ] {
                    if let Some(Span(time)) = given {
                        *setting = time;
                    }
                }
                config.retries = entry.retries.unwrap_or(config.retries);
                Some(Kind::Upstream(config))
            }
        }
    }

    /// The model of `--upstream`.
    fn upstream(&mut self, cli: &cli::Catalogue, urls: &str) -> Option<ModelName> {
        let place = setting!(cli.upstream);
        let urls: Vec<_> = urls.split(',').map(|url| url.trim().to_owned()).collect();
        let there = setting!(cli.upstream_model).given().unwrap_or("default");
        let mut config = upstream::Config::new(self.urls(&place.to_string(), &urls)?, there.to_owned());
        let key_env = setting!(cli.upstream_key_env);
        config.key = key_env.given().and_then(|variable| self.key(&key_env.to_string(), variable));
        config.continuation =
            self.problems.setting(setting!(cli.upstream_continuation), parse::continuation)?;
        let name = setting!(cli.upstream_model).given().and_then(|name| ModelName::new(name).ok());
        let name = name.unwrap_or_else(|| ModelName::new("upstream").expect("a plain name"));
        let defaults = self.flag_defaults(cli);
        self.all.insert(name.clone(), Offered { kind: Kind::Upstream(config), defaults });
        Some(name)
    }

    /// The model of `--model FILE.gguf`, named after its file.
    fn gguf(&mut self, cli: &cli::Catalogue, path: &str) -> Option<ModelName> {
        self.check_build(&setting!(cli.model).to_string());
        let path = PathBuf::from(path);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._:-".contains(c) { c } else { '-' };
        let name = self.name(setting!(cli.model), &stem.chars().map(plain).collect::<String>())?;
        let slots = self.problems.given(setting!(cli.model_slots), parse::slots);
        let threads = self.problems.given(setting!(cli.model_threads), parse::slots);
        let context = self.problems.given(setting!(cli.model_context), parse::tokens);
        let gguf = Gguf { path, slots: slots?, threads: threads?, context: context? };
        let defaults = self.flag_defaults(cli);
        self.all.insert(name.clone(), Offered { kind: Kind::Gguf(gguf), defaults });
        Some(name)
    }

    fn name(&mut self, place: impl fmt::Display, name: &str) -> Option<ModelName> {
        self.problems.parse(place, name, |name| ModelName::new(name).map_err(|error| error.to_string()))
    }

    fn urls(&mut self, place: &str, urls: &[String]) -> Option<Vec<Url>> {
        if urls.is_empty() {
            self.problems.push(format!("{place}: base_url is empty: add at least one URL"));
        }
        let urls = urls.iter().map(|url| self.problems.parse(place, url, parse::base_url));
        // Every wrong address is told, not only the first.
        urls.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>().filter(|urls| !urls.is_empty())
    }

    /// The key in a variable of the environment; only who runs the model needs it.
    fn key(&mut self, place: &str, variable: &str) -> Option<Key> {
        if self.used == Use::Name {
            return None;
        }
        #[expect(clippy::disallowed_methods, reason = "the configuration reads the environment")]
        let value = std::env::var(variable);
        let Some(key) = value.ok().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()) else {
            self.problems
                .push(format!("{place}: the environment variable {variable} is not set: put the key there"));
            return None;
        };
        Key::new(key).map_err(|error| self.problems.push(format!("{place}: {variable}: {error}"))).ok()
    }

    fn check_build(&mut self, place: &str) {
        if self.used == Use::Run && !cfg!(feature = "gguf") {
            self.problems.push(format!(
                "{place} is a GGUF file, but this build cannot run it: build with --features gguf (./up.sh --real does)"
            ));
        }
    }
}

/// What the file of `--models` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Option<String>,
    #[serde(default)]
    models: BTreeMap<String, toml::Table>,
}

/// What completes requests for a model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDefaults {
    system: Option<String>,
    temperature: Option<Temperature>,
    top_p: Option<TopP>,
    top_k: Option<NonZeroU32>,
    seed: Option<u64>,
    max_tokens: Option<NonZeroU32>,
    #[serde(default)]
    stop: StopTexts,
}

impl From<FileDefaults> for Defaults {
    fn from(defaults: FileDefaults) -> Self {
        let FileDefaults { system, temperature, top_p, top_k, seed, max_tokens, stop } = defaults;
        Self { system, sampling: Sampling { temperature, top_p, top_k, seed, max_tokens, stop } }
    }
}

/// One model in the file.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Entry {
    Simulated(Simulated),
    Gguf(GgufEntry),
    Scripted(ScriptedEntry),
    Upstream(Upstream),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Simulated {
    delay: Option<Span>,
    first_delay: Option<Span>,
    words: Option<usize>,
    #[serde(default)]
    stamped: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GgufEntry {
    path: PathBuf,
    slots: Option<NonZeroU16>,
    threads: Option<NonZeroU16>,
    context: Option<NonZeroU32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptedEntry {
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upstream {
    base_url: OneOrMany,
    model: String,
    key_env: Option<String>,
    continuation: Option<Continuation>,
    connect_timeout: Option<Span>,
    first_byte_timeout: Option<Span>,
    idle_timeout: Option<Span>,
    retries: Option<u32>,
    price_per_million_tokens: Option<Price>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    input: f64,
    output: f64,
}

impl From<Price> for upstream::Price {
    fn from(Price { input, output }: Price) -> Self {
        Self { input, output }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Continuation {
    Unsupported,
    AssistantPrefill,
    ContinueFinalMessage,
}

impl From<Continuation> for upstream::ContinuationMode {
    fn from(continuation: Continuation) -> Self {
        match continuation {
            Continuation::Unsupported => Self::Unsupported,
            Continuation::AssistantPrefill => Self::AssistantPrefill,
            Continuation::ContinueFinalMessage => Self::ContinueFinalMessage,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(urls: OneOrMany) -> Self {
        match urls {
            OneOrMany::One(url) => vec![url],
            OneOrMany::Many(urls) => urls,
        }
    }
}

/// A time, written as on the command line.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Span(Duration);

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        parse::duration(&text).map(Self)
    }
}

#[cfg(test)]
mod tests;
