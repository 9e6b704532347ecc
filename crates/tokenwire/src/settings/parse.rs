//! One function for each kind of value. An error says what is expected.

use std::{
    net::SocketAddr,
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

use http::HeaderValue;
use job_queue::rabbitmq::{Address, QueueName};
use model::{simulated::Fault, upstream::ContinuationMode};
use tokenwire_core::Temperature;
use tokenwire_http::Cors;
use url::Url;

use super::{Problems, Setting, setting};
use crate::cli;

pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "expected a port, 0 to 65535 (0 takes a free one)".into())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:8000 or 0.0.0.0:8000".into())
}

pub(super) fn count<T>(text: &str) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + From<u8>,
{
    text.parse()
        .ok()
        .filter(|count| *count >= T::from(1))
        .ok_or_else(|| "expected a whole number from 1".into())
}

/// RabbitMQ's prefetch is a 16-bit number, and the slots are the prefetch.
pub(super) fn slots(text: &str) -> Result<NonZeroU16, String> {
    text.parse().map_err(|_| "expected a whole number from 1 to 65535".into())
}

pub(super) fn queue_name(text: &str) -> Result<QueueName, String> {
    text.parse().map_err(|error: job_queue::rabbitmq::InvalidQueueName| error.to_string())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a duration, such as 20ms, 5s or 2m".into())
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected more than nothing, such as 20ms, 5s or 2m".into()),
        duration => Ok(duration),
    }
}

/// The demonstration's `TIMEOUT_SECONDS` is a bare number.
pub(super) fn seconds_or_duration(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(0) => Err("expected more than nothing, such as 300 or 5m".into()),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => {
            positive_duration(text).map_err(|_| "expected seconds or a duration, such as 300 or 5m".into())
        }
    }
}

pub(super) fn cors(text: &str) -> Result<Cors, String> {
    match text {
        "any" | "*" => Ok(Cors::Any),
        "off" => Ok(Cors::Off),
        origins => {
            let origins: Result<Vec<_>, _> =
                origins.split(',').map(|origin| origin_of(origin.trim())).collect();
            Ok(Cors::Origins(origins?))
        }
    }
}

fn origin_of(text: &str) -> Result<HeaderValue, String> {
    let expected =
        || format!("{text:?} is not an origin: expected any, off, or origins such as https://example.org");
    let url = Url::parse(text).map_err(|_| expected())?;
    let origin = url.origin().ascii_serialization();
    let plain = origin == text.trim_end_matches('/');
    plain.then(|| HeaderValue::from_str(&origin).ok()).flatten().ok_or_else(expected)
}

pub(super) fn sync(text: &str) -> Result<journal::Sync, String> {
    match text {
        "commit" => Ok(journal::Sync::Commit),
        "os" => Ok(journal::Sync::Os),
        _ => Err("expected commit or os".into()),
    }
}

pub(super) fn fault(text: &str) -> Result<Fault, String> {
    let expected = || "expected error:K or silence:K, K being a number of words".to_owned();
    let (kind, after) = text.split_once(':').ok_or_else(expected)?;
    let after = after.parse().map_err(|_| expected())?;
    match kind {
        "error" => Ok(Fault::Error { after }),
        "silence" => Ok(Fault::Silence { after }),
        _ => Err(expected()),
    }
}

pub(super) fn tokens(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "expected a whole number of tokens from 1".into())
}

pub(super) fn temperature(text: &str) -> Result<Temperature, String> {
    text.parse()
        .ok()
        .and_then(|number| Temperature::new(number).ok())
        .ok_or_else(|| "expected a number from 0 to 2".into())
}

/// Where an OpenAI-compatible service has its API.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let expected =
        || "expected the address of an OpenAI-compatible API, such as http://127.0.0.1:8080/v1".to_owned();
    let url = Url::parse(text).map_err(|_| expected())?;
    let plain = ["http", "https"].contains(&url.scheme()) && url.has_host() && url.query().is_none();
    plain.then_some(url).ok_or_else(expected)
}

pub(super) fn continuation(text: &str) -> Result<ContinuationMode, String> {
    match text {
        "unsupported" => Ok(ContinuationMode::Unsupported),
        "assistant_prefill" => Ok(ContinuationMode::AssistantPrefill),
        "continue_final_message" => Ok(ContinuationMode::ContinueFinalMessage),
        _ => Err("expected unsupported, assistant_prefill or continue_final_message".into()),
    }
}

pub(super) fn prefix(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
    fits.then(|| text.to_owned()).ok_or_else(|| "expected 1 to 64 letters, digits and . _ : -".into())
}

/// The address of Redis, from its URL or its parts.
pub(super) fn redis_url(cli: &cli::Cluster, problems: &mut Problems) -> Option<String> {
    let parts = [setting!(cli.redis_host), setting!(cli.redis_port)];
    let whole = setting!(cli.redis_url);
    if let Some(url) = whole_address(whole, &parts, problems) {
        return problems.secret(whole, url, |url| {
            let schemes = ["redis", "rediss", "valkey", "valkeys", "redis+unix", "unix"];
            let known = Url::parse(url).is_ok_and(|url| schemes.contains(&url.scheme()));
            known
                .then(|| url.to_owned())
                .ok_or("expected redis://user:password@host:port/db, or rediss:// for TLS")
        });
    }
    let [redis_host, redis_port] = parts;
    let (host, port) = (problems.setting(redis_host, host), problems.setting(redis_port, port));
    Some(format!("redis://{}:{}", host?, port?))
}

/// The address of RabbitMQ, from its URL or its parts.
pub(super) fn amqp_address(cli: &cli::Cluster, problems: &mut Problems) -> Option<Address> {
    let (user, password) = (setting!(cli.rabbitmq_user), setting!(cli.rabbitmq_pass));
    let parts = [setting!(cli.rabbitmq_host), setting!(cli.rabbitmq_port), user, password];
    let whole = setting!(cli.amqp_url);
    if let Some(url) = whole_address(whole, &parts, problems) {
        return problems.secret(whole, url, str::parse::<Address>);
    }
    let [rabbitmq_host, rabbitmq_port, ..] = parts;
    let (host, port) = (problems.setting(rabbitmq_host, host), problems.setting(rabbitmq_port, port));
    Some(Address::new(host?, port?, user.or_default(), password.or_default()))
}

/// A whole address excludes its parts.
fn whole_address<'a>(whole: Setting<'a>, parts: &[Setting<'_>], problems: &mut Problems) -> Option<&'a str> {
    let url = whole.given()?;
    for part in parts.iter().filter(|part| part.given().is_some()) {
        problems.push(format!("{part} and {whole} are both set: remove {part}"));
    }
    Some(url)
}

fn host(host: &str) -> Result<String, String> {
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    plain
        .then(|| host.to_owned())
        .ok_or_else(|| "expected a host's name or IPv4 address, without a port".into())
}
