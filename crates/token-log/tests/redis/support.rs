//! Logs on test servers, and streams to try things on.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{FromRedisValue, aio::MultiplexedConnection};
use testkit::services;
use token_log::redis::{Config, Redis};
use tokenwire_core::{
    Caller, Clock, Conversation, Entry, Event, FinishReason, GenerateRequest, GenerationId, LogError,
    LogWriter, ModelName, Seq, SystemClock, Timestamp, TokenLog, Usage,
    token_log::{Hint, OnDisconnect, Page, StreamSpec, Wakeups},
};

/// Longer than anything here takes on a busy machine. Nothing waits for it to pass.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A prefix that no other test uses, and no time-out that a busy machine could reach.
pub(crate) fn config(url: String) -> Config {
    let prefix = format!("test-{}", GenerationId::fresh());
    Config { url, prefix, response_timeout: TEST_TIMEOUT, ..Config::default() }
}

pub(crate) fn open(config: &Config) -> Redis {
    Redis::new(config, Arc::new(SystemClock)).unwrap()
}

/// A log of the test's own, on the server that all share.
pub(crate) async fn shared() -> (Config, Redis) {
    let config = config(services::Redis::shared().await.url());
    let log = open(&config);
    (config, log)
}

pub(crate) async fn admin(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// Runs a command that is written as in `redis-cli`.
pub(crate) async fn ask<T: FromRedisValue>(admin: &mut MultiplexedConnection, command: &str) -> T {
    let mut words = command.split(' ');
    let mut ask = redis::cmd(words.next().unwrap());
    ask.arg(words.collect::<Vec<_>>());
    ask.query_async(admin).await.unwrap()
}

/// What is left once the audience has been gone for longer than the stream's grace.
pub(crate) async fn leave(admin: &mut MultiplexedConnection, config: &Config, id: GenerationId) {
    let family = format!("{}:{{{id}}}", config.prefix);
    ask::<u32>(admin, &format!("DEL {family}:audience")).await;
    ask::<u32>(admin, &format!("HSET {family}:meta attended_until 1763800000000")).await;
}

pub(crate) fn spec(on_disconnect: OnDisconnect) -> StreamSpec {
    let model = ModelName::new("simulated").unwrap();
    let now: Timestamp = SystemClock.now();
    StreamSpec {
        fingerprint: GenerateRequest::new(model, Conversation::of("Hello").unwrap()).fingerprint(),
        caller: Caller::Anonymous,
        on_disconnect,
        created_at: now,
        start_by: now.after(Duration::from_secs(60)),
        end_by: now.after(Duration::from_secs(600)),
        metadata: Bytes::new(),
        request: Bytes::new(),
    }
}

pub(crate) async fn created(log: &Redis) -> GenerationId {
    let id = GenerationId::fresh();
    log.create(id, &spec(OnDisconnect::Detached)).await.unwrap();
    id
}

pub(crate) fn delta(text: &(impl ToString + ?Sized)) -> Event {
    Event::Delta { text: text.to_string(), tokens: vec![] }
}

pub(crate) fn finished() -> Event {
    Event::Finished { reason: FinishReason::Stop, usage: Usage::default() }
}

pub(crate) async fn read(log: &Redis, id: GenerationId, after: Seq) -> Result<Page, LogError> {
    log.read(id, after, NonZeroUsize::new(512).unwrap()).await
}

/// The deltas so far.
pub(crate) async fn texts(log: &Redis, id: GenerationId) -> Vec<String> {
    let mut texts = vec![];
    let mut cursor = Seq::START;
    loop {
        let page = read(log, id, cursor).await.unwrap();
        let Some(last) = page.entries.last() else { return texts };
        cursor = last.seq;
        texts.extend(page.entries.into_iter().filter_map(|entry| match entry.event {
            Event::Delta { text, .. } => Some(text),
            _ => None,
        }));
    }
}

/// Appends one batch, however often it takes.
pub(crate) async fn append(writer: &mut dyn LogWriter, batch: &[Event]) -> Seq {
    insist(async || match writer.append(batch).await {
        Err(LogError::Unavailable(_)) => None,
        appended => Some(appended.unwrap()),
    })
    .await
}

/// Reads a stream to its end by hints alone: without the slow recheck that a follower has underneath, one lost wake-up
/// would be a reader that never ends.
pub(crate) async fn follow_by_hints(log: &Redis, id: GenerationId) -> Vec<Entry> {
    let follow = async {
        let mut wakeups = insist(async || log.wakeups(id).await.ok()).await;
        let mut entries: Vec<Entry> = vec![];
        let mut hint = Hint::Look;
        loop {
            let cursor = entries.last().map_or(Seq::START, |entry| entry.seq);
            match &hint {
                Hint::Appended { entries: next, .. } if next[0].seq == cursor.next() => {
                    entries.extend_from_slice(next);
                }
                Hint::Appended { entries: known, .. } if known.last().unwrap().seq <= cursor => {}
                _ => loop {
                    let cursor = entries.last().map_or(Seq::START, |entry| entry.seq);
                    let page = insist(async || read(log, id, cursor).await.ok()).await;
                    if page.entries.is_empty() {
                        break;
                    }
                    entries.extend(page.entries);
                },
            }
            if entries.last().is_some_and(|entry| entry.event.is_terminal()) {
                return entries;
            }
            hint = next(&mut wakeups).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, follow).await.expect("a wake-up for everything that was appended")
}

pub(crate) async fn next(wakeups: &mut Wakeups) -> Hint {
    tokio::time::timeout(TEST_TIMEOUT, wakeups.next()).await.expect("a hint")
}

/// Tries until there is something.
pub(crate) async fn insist<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let insist = async {
        loop {
            match attempt().await {
                Some(value) => return value,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, insist).await.expect("it works in the end")
}

/// An error and its causes in one line.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
