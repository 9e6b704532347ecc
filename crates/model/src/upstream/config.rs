//! The settings of an upstream.

use std::{fmt, time::Duration};

use reqwest::header::HeaderValue;
use url::{Host, Url};

/// An OpenAI-compatible service, and how it is used.
#[derive(Clone, Debug)]
pub struct Config {
    /// The base URLs, without `/chat/completions`: `http://127.0.0.1:8080/v1`. Several are replicas of one another. Each
    /// request goes to the one with the fewest requests of this process.
    pub base_urls: Vec<Url>,
    /// The API key, if it needs one.
    pub key: Option<Key>,
    /// The name of the model at the service.
    pub model: String,
    /// How it continues an interrupted answer. Default: it does not, and the answer starts over.
    pub continuation: ContinuationMode,
    /// How long connecting may take. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long it may take until the first byte of the response, including its queue and reading the prompt. llama.cpp
    /// sends nothing while a request waits for a slot: with fewer slots there than here, set this longer than that wait.
    /// Default: 60 s.
    pub first_byte_timeout: Duration,
    /// How long it may send nothing after that. Default: 30 s.
    pub idle_timeout: Duration,
    /// How many times a request is retried that the upstream accepted and that failed before the first byte of its
    /// response. Requests that it did not accept, because it is busy or unreachable, wait instead and are not counted.
    /// Default: 2.
    pub retries: u32,
    /// Its price, for the cost metric.
    pub price: Option<Price>,
}

impl Config {
    /// A service at these URLs with this model name, and the defaults.
    pub fn new(base_urls: Vec<Url>, model: impl Into<String>) -> Self {
        Self {
            base_urls,
            key: None,
            model: model.into(),
            continuation: ContinuationMode::default(),
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            retries: 2,
            price: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        if self.base_urls.is_empty() {
            return Err(InvalidConfig::NoUrl);
        }
        for url in &self.base_urls {
            if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
                return Err(InvalidConfig::NotHttp);
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err(InvalidConfig::Credentials);
            }
        }
        if self.model.is_empty() { Err(InvalidConfig::NoModel) } else { Ok(()) }
    }

    /// Whether every URL is on this machine. A proxy is not used then.
    pub(super) fn is_local(&self) -> bool {
        self.base_urls.iter().all(|url| match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        })
    }
}

/// How an upstream continues a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContinuationMode {
    /// It cannot: the next attempt starts over.
    #[default]
    Unsupported,
    /// The text is the last message, with role `assistant`, and the service continues it. llama.cpp does this, unless it
    /// runs with `--no-prefill-assistant`. Wrong for services that take that message for a complete one.
    AssistantPrefill,
    /// The same, with `add_generation_prompt: false` and `continue_final_message: true`: vLLM, SGLang.
    ContinueFinalMessage,
}

/// An API key. It is sent as a bearer token and never printed.
#[derive(Clone)]
pub struct Key {
    text: String,
    bearer: HeaderValue,
}

impl Key {
    /// Wraps a key.
    ///
    /// # Errors
    /// [`InvalidKey`] when it is empty or cannot be part of a header.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidKey> {
        let text = text.into();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| InvalidKey)?;
        bearer.set_sensitive(true);
        if text.trim().is_empty() { Err(InvalidKey) } else { Ok(Self { text, bearer }) }
    }

    pub(super) fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }

    /// The text without this key: upstreams often repeat it in errors.
    pub(super) fn hide(&self, text: &str) -> String {
        text.replace(&self.text, "(key)")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// The text cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is not empty, and has no line breaks or other characters that a header cannot carry")]
pub struct InvalidKey;

/// The price of a million tokens, in any currency. The cost is counted in this currency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Of the request.
    pub input: f64,
    /// Of the answer.
    pub output: f64,
}

/// An upstream cannot be used as it was configured.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// There is no URL.
    #[error("an upstream needs a base URL, such as http://127.0.0.1:8080/v1")]
    NoUrl,
    /// A URL is of another kind.
    #[error("the base URL of an upstream begins with http:// or https://")]
    NotHttp,
    /// A URL has a user name or a password, which would be printed with it.
    #[error("the base URL of an upstream has no user name and no password: give it a key instead")]
    Credentials,
    /// The model has no name.
    #[error("an upstream needs the name that the model has there")]
    NoModel,
    /// TLS cannot be set up on this machine.
    #[error("an HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        Config::new(vec![url.parse().unwrap()], "m")
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = Key::new("sk-secret").unwrap();
        let config = Config { key: Some(key.clone()), ..config("http://h/v1") };
        assert!(!format!("{config:?} {key:?} {:?}", key.bearer()).contains("secret"));
        assert_eq!(key.hide("Incorrect API key provided: sk-secret."), "Incorrect API key provided: (key).");
        for bad in ["", " ", "a\nb"] {
            assert_eq!(Key::new(bad).unwrap_err(), InvalidKey, "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refused = |config: Config| config.check().unwrap_err();
        assert!(matches!(refused(Config::new(vec![], "m")), InvalidConfig::NoUrl));
        assert!(matches!(refused(config("ftp://h/v1")), InvalidConfig::NotHttp));
        assert!(matches!(refused(config("http://me:pass@h/v1")), InvalidConfig::Credentials));
        assert!(matches!(
            refused(Config { model: String::new(), ..config("http://h") }),
            InvalidConfig::NoModel
        ));
    }

    #[test]
    fn this_machine_is_not_behind_a_proxy() {
        for (url, local) in [
            ("http://127.0.0.1:8080/v1", true),
            ("http://[::1]:8080/v1", true),
            ("http://localhost/v1", true),
            ("https://localhost.example.com/v1", false),
            ("http://10.0.0.1/v1", false),
        ] {
            assert_eq!(config(url).is_local(), local, "{url}");
        }
    }
}
