//! The server forgets what it had answered, while a writer lives.

use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use testkit::services::{AppendOnly, Redis as Server};
use token_log::redis::{Config, Redis};
use tokenwire_core::{
    Caller, CallerName, CancelCause, Entry, GenerationId, LogError, LogWriter, Seq, TokenLog,
    token_log::{Created, Hint, OnDisconnect, Phase, StreamSpec},
};

use crate::support::{
    admin, append, ask, config, created, delta, finished, follow_by_hints, insist, next, open, read, shared,
    spec, texts,
};

/// Every byte there is, and more than a hash of small fields would hold.
fn metadata() -> Bytes {
    (0..=u8::MAX).cycle().take(100_000).collect()
}

/// A stream with a writer that has appended `one`, and `two` and `three` together.
async fn begun(log: &Redis) -> (GenerationId, Box<dyn LogWriter>) {
    let id = created(log).await;
    let mut writer = log.open_writer(id).await.unwrap();
    writer.append(&[delta("one")]).await.unwrap();
    writer.append(&[delta("two"), delta("three")]).await.unwrap();
    (id, writer)
}

async fn entries(log: &Redis, id: GenerationId) -> Vec<Entry> {
    insist(async || read(log, id, Seq::START).await.ok()).await.entries
}

/// Everything that the stream has in the server, gone.
async fn lose(admin: &mut MultiplexedConnection, config: &Config, id: GenerationId) {
    let family = format!("{}:{{{id}}}", config.prefix);
    ask::<u32>(admin, &format!("DEL {family}:meta {family}:entries {family}:audience")).await;
}

/// What the stream has in the server now, to be put back later as if the server had come back with it.
async fn state(
    admin: &mut MultiplexedConnection,
    config: &Config,
    id: GenerationId,
) -> Vec<(String, Vec<u8>)> {
    let mut state = vec![];
    for key in ["meta", "entries"].map(|key| format!("{}:{{{id}}}:{key}", config.prefix)) {
        let dump: Option<Vec<u8>> = ask(admin, &format!("DUMP {key}")).await;
        state.extend(dump.map(|dump| (key, dump)));
    }
    state
}

async fn roll_back(
    admin: &mut MultiplexedConnection,
    config: &Config,
    id: GenerationId,
    state: &[(String, Vec<u8>)],
) {
    lose(admin, config, id).await;
    for (key, dump) in state {
        redis::cmd("RESTORE").arg(key).arg(0).arg(dump).exec_async(admin).await.unwrap();
    }
}

fn is_sealed<T>(outcome: &Result<T, LogError>) -> bool {
    matches!(outcome, Err(LogError::Sealed))
}

#[tokio::test]
async fn a_server_that_comes_back_empty_gets_the_stream_again_entry_for_entry() {
    let server = Server::start(AppendOnly::No).await;
    let config = config(server.url());
    let (readers, writers) = (open(&config), open(&config));
    let (id, first) = begun(&writers).await;
    drop(first);
    let mut writer = writers.open_writer(id).await.unwrap();
    append(&mut *writer, &[delta("four")]).await;
    let before = entries(&readers, id).await;
    server.kill().await;
    server.restart().await;
    // As an idle generation does.
    append(&mut *writer, &[]).await;
    assert_eq!(entries(&readers, id).await, before, "the earlier attempt's entries too, with their times");
    assert_eq!(append(&mut *writer, &[delta("five")]).await, Seq::new(5));
    let next = writers.open_writer(id).await.unwrap();
    assert_eq!(next.attempt().get(), 3, "attempts go on counting (I4)");
    assert_eq!(next.so_far().text, "onetwothreefourfive");
    assert!(matches!(writer.append(&[]).await, Err(LogError::Fenced)));
}

#[tokio::test]
async fn a_server_that_comes_back_empty_gets_metadata_and_caller_again() {
    let server = Server::start(AppendOnly::No).await;
    let config = config(server.url());
    let (readers, writers) = (open(&config), open(&config));
    let id = GenerationId::fresh();
    let grace = OnDisconnect::CancelAfter(Duration::from_secs(600));
    let caller = Caller::Named(CallerName::new("team/blue").unwrap());
    let spec = StreamSpec { caller, metadata: metadata(), ..spec(grace) };
    writers.create(id, &spec).await.unwrap();
    // It learns of the metadata from the server, and not from whoever created the stream.
    let mut writer = open(&config).open_writer(id).await.unwrap();
    append(&mut *writer, &[delta("one")]).await;
    // The second loss too: what was put back is as good as what was there.
    for _ in 0..2 {
        server.kill().await;
        server.restart().await;
        append(&mut *writer, &[]).await;
        let again = insist(async || readers.spec(id).await.ok()).await;
        assert!(again == spec, "{again:?}");
    }
    drop(writer);
    let mut next = insist(async || writers.open_writer(id).await.ok()).await;
    server.kill().await;
    server.restart().await;
    insist(async || next.seal(&finished()).await.ok()).await;
    assert!(readers.spec(id).await.unwrap() == spec, "and after the end");
    let day = 24 * 60 * 60 * 1000;
    let meta = format!("{}:{{{id}}}:meta", config.prefix);
    let expires: i64 = ask(&mut admin(&config.url).await, &format!("PTTL {meta}")).await;
    assert!((1..=day).contains(&expires));
}

#[tokio::test]
async fn readers_get_exactly_the_rest_however_often_the_server_loses_everything() {
    let server = Server::start(AppendOnly::No).await;
    let config = config(server.url());
    let (readers, writers) = (open(&config), open(&config));
    let id = created(&writers).await;
    let write = async {
        let mut writer = insist(async || writers.open_writer(id).await.ok()).await;
        for number in 0..60 {
            assert_eq!(append(&mut *writer, &[delta(&number)]).await, Seq::new(number + 1));
            if number % 20 == 10 {
                server.kill().await;
                server.restart().await;
            }
        }
        insist(async || writer.seal(&finished()).await.ok()).await
    };
    let (sealed, seen) = futures::join!(write, follow_by_hints(&readers, id));
    let whole: Vec<_> = (1..=sealed.get()).map(Seq::new).collect();
    assert_eq!(seen.iter().map(|entry| entry.seq).collect::<Vec<_>>(), whole);
    assert_eq!(seen, entries(&readers, id).await, "what was seen is what is there");
}

#[tokio::test]
async fn a_server_that_comes_back_as_it_was_before_gets_the_rest() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let id = created(&log).await;
    let queued = state(&mut admin, &config, id).await;
    let mut writer = log.open_writer(id).await.unwrap();
    let opened = state(&mut admin, &config, id).await;
    writer.append(&[delta("one")]).await.unwrap();
    let one = state(&mut admin, &config, id).await;
    writer.append(&[delta("two"), delta("three")]).await.unwrap();
    let before = entries(&log, id).await;
    for older in [queued, opened, one] {
        roll_back(&mut admin, &config, id, &older).await;
        let mut wakeups = log.wakeups(id).await.unwrap();
        assert_eq!(writer.append(&[]).await.unwrap(), Seq::new(3));
        assert!(matches!(next(&mut wakeups).await, Hint::Look), "readers are told to look");
        assert_eq!(entries(&log, id).await, before);
    }
    assert_eq!(writer.append(&[delta("four")]).await.unwrap(), Seq::new(4));
    assert_eq!(writer.seal(&finished()).await.unwrap(), Seq::new(5));
    assert_eq!(texts(&log, id).await, ["one", "two", "three", "four"]);
}

#[tokio::test]
async fn a_server_that_restarts_from_an_older_snapshot_gets_the_rest() {
    let server = Server::start(AppendOnly::No).await;
    let config = config(server.url());
    let log = open(&config);
    let (id, mut writer) = begun(&log).await;
    ask::<()>(&mut admin(&server.url()).await, "SAVE").await;
    append(&mut *writer, &[delta("four")]).await;
    let before = entries(&log, id).await;
    server.kill().await;
    server.restart().await;
    assert_eq!(
        insist(async || read(&log, id, Seq::START).await.ok()).await.last_seq,
        Seq::new(3),
        "rolled back"
    );
    assert_eq!(append(&mut *writer, &[]).await, Seq::new(4));
    assert_eq!(entries(&log, id).await, before);
}

#[tokio::test]
async fn a_loss_is_healed_by_a_seal_too() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let (id, mut writer) = begun(&log).await;
    lose(&mut admin, &config, id).await;
    assert_eq!(writer.seal(&finished()).await.unwrap(), Seq::new(4));
    assert_eq!(texts(&log, id).await, ["one", "two", "three"]);
    assert!(is_sealed(&log.open_writer(id).await));
}

#[tokio::test]
async fn a_long_stream_comes_back_in_pieces_and_whole() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let (id, mut writer) = begun(&log).await;
    let text = "x".repeat(300 * 1024);
    for _ in 0..20 {
        writer.append(&[delta(&text)]).await.unwrap();
    }
    let before = entries(&log, id).await;
    lose(&mut admin, &config, id).await;
    writer.append(&[]).await.unwrap();
    assert!(entries(&log, id).await == before);
    let left: Vec<String> = ask(&mut admin, &format!("KEYS {}:*restoring*", config.prefix)).await;
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn what_was_not_answered_is_put_back_too_since_readers_may_have_it() {
    let server = Server::start(AppendOnly::No).await;
    let config = config(server.url());
    let readers = open(&config);
    let writers = open(&Config { response_timeout: Duration::from_secs(1), ..config.clone() });
    let (id, mut writer) = begun(&readers).await;
    drop(writer);
    writer = insist(async || writers.open_writer(id).await.ok()).await;
    server.pause();
    assert!(matches!(writer.append(&[delta("four")]).await, Err(LogError::Unavailable(_))));
    server.resume();
    let seen = insist(async || {
        let page = read(&readers, id, Seq::START).await.ok()?;
        (page.last_seq == Seq::new(4)).then_some(page.entries)
    })
    .await;
    lose(&mut admin(&server.url()).await, &config, id).await;
    // Its worker has had enough meanwhile.
    let sealed = insist(async || writer.seal(&finished()).await.ok()).await;
    assert_eq!(sealed, Seq::new(5));
    assert_eq!(
        entries(&readers, id).await[..4],
        seen,
        "an entry that was seen keeps its seq and its content (I2)"
    );
}

#[tokio::test]
async fn a_fenced_writer_restores_nothing() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let (id, mut old) = begun(&log).await;
    let before_the_fence = state(&mut admin, &config, id).await;
    let mut new = log.open_writer(id).await.unwrap();
    new.append(&[delta("new")]).await.unwrap();
    assert!(matches!(old.append(&[]).await, Err(LogError::Fenced)));
    let before = entries(&log, id).await;

    // The newer one puts its fence back as well.
    roll_back(&mut admin, &config, id, &before_the_fence).await;
    new.append(&[]).await.unwrap();
    assert!(matches!(old.append(&[delta("old")]).await, Err(LogError::Fenced)));
    assert!(matches!(old.seal(&finished()).await, Err(LogError::Fenced)));
    assert_eq!(entries(&log, id).await, before);
}

#[tokio::test]
async fn whoever_went_on_with_what_the_server_had_left_keeps_the_stream() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let (id, _first) = begun(&log).await;
    let older = state(&mut admin, &config, id).await;
    let _second = log.open_writer(id).await.unwrap();
    let mut third = log.open_writer(id).await.unwrap();
    third.append(&[delta("of the third")]).await.unwrap();
    roll_back(&mut admin, &config, id, &older).await;
    // Opened last, with a lower number.
    let mut last = log.open_writer(id).await.unwrap();
    assert!(last.attempt() < third.attempt());
    last.append(&[delta("of the last")]).await.unwrap();
    assert!(matches!(third.append(&[]).await, Err(LogError::Fenced)));
    last.append(&[delta("!")]).await.unwrap();
    assert_eq!(texts(&log, id).await, ["one", "two", "three", "of the last", "!"]);
}

#[tokio::test]
async fn a_sealed_stream_is_not_opened_again_by_a_writer_that_remembers_less() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let (id, mut old) = begun(&log).await;
    let older = state(&mut admin, &config, id).await;
    let _second = log.open_writer(id).await.unwrap();
    let mut third = log.open_writer(id).await.unwrap();
    roll_back(&mut admin, &config, id, &older).await;
    let mut last = log.open_writer(id).await.unwrap();
    last.seal(&finished()).await.unwrap();
    let sealed = entries(&log, id).await;
    for writer in [&mut old, &mut third] {
        let refused = writer.append(&[delta("late")]).await;
        assert!(matches!(refused, Err(LogError::Sealed | LogError::Fenced)), "{refused:?}");
    }
    assert_eq!(entries(&log, id).await, sealed);
    assert_eq!(read(&log, id, Seq::START).await.unwrap().phase, Phase::Sealed);
}

#[tokio::test]
async fn a_stream_that_was_removed_on_purpose_stays_away() {
    let (_, log) = shared().await;
    let (id, mut writer) = begun(&log).await;
    log.remove(id).await.unwrap();
    assert!(matches!(writer.append(&[]).await, Err(LogError::NotFound(gone)) if gone == id));
    // Nor does it take the place of one that is created under its id later.
    let mut later = spec(OnDisconnect::Detached);
    later.created_at = later.created_at.after(Duration::from_secs(1));
    assert_eq!(log.create(id, &later).await.unwrap(), Created::New);
    assert!(matches!(writer.append(&[delta("old")]).await, Err(LogError::NotFound(_))));
    assert_eq!(texts(&log, id).await, [""; 0]);
}

#[tokio::test]
async fn nobody_opens_a_stream_that_only_its_writer_remembers_until_it_is_back() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let (id, mut writer) = begun(&log).await;
    lose(&mut admin, &config, id).await;
    assert!(matches!(log.open_writer(id).await, Err(LogError::NotFound(_))));
    assert!(matches!(read(&log, id, Seq::START).await, Err(LogError::NotFound(_))));
    assert!(matches!(log.spec(id).await, Err(LogError::NotFound(_))));
    writer.append(&[]).await.unwrap();
    assert!(log.open_writer(id).await.is_ok());
}

#[tokio::test]
async fn stopping_and_leaving_work_after_a_loss() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let id = GenerationId::fresh();
    let spec = spec(OnDisconnect::CancelAfter(Duration::from_secs(30)));
    log.create(id, &spec).await.unwrap();
    let mut writer = log.open_writer(id).await.unwrap();
    lose(&mut admin, &config, id).await;
    writer.append(&[delta("one")]).await.unwrap();
    assert_eq!(writer.cancellation().cause(), None, "readers have time to come back");
    assert_eq!(log.create(id, &spec).await.unwrap(), Created::Existing(spec.fingerprint));
    let mut expires = async |key: &str| {
        let key = format!("{}:{{{id}}}:{key}", config.prefix);
        ask::<i64>(&mut admin, &format!("PTTL {key}")).await
    };
    let day = 24 * 60 * 60 * 1000;
    assert!((1..=35_000).contains(&expires("audience").await));
    assert!((day..=day + 600_000).contains(&expires("meta").await), "its end_by, and the retention");
    assert!((day..=day + 600_000).contains(&expires("entries").await));

    log.cancel(id).await.unwrap();
    writer.append(&[]).await.unwrap();
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Requested));
    lose(&mut self::admin(&config.url).await, &config, id).await;
    writer.append(&[]).await.unwrap();
    let next = log.open_writer(id).await.unwrap();
    assert_eq!(next.cancellation().cause(), Some(CancelCause::Requested), "a stop is not forgotten");
}

#[tokio::test]
async fn a_writer_puts_its_stream_in_the_place_of_what_is_none() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let (id, mut writer) = begun(&log).await;
    let family = format!("{}:{{{id}}}", config.prefix);
    let mut number = 3;
    for keys in [&["entries"][..], &["meta"], &["meta", "entries"]] {
        for key in keys {
            ask::<()>(&mut admin, &format!("SET {family}:{key} damage")).await;
        }
        number += 1;
        assert_eq!(writer.append(&[delta(&number)]).await.unwrap(), Seq::new(number), "{keys:?}");
    }
    assert_eq!(texts(&log, id).await, ["one", "two", "three", "4", "5", "6"]);
    let expires: i64 = ask(&mut admin, &format!("PTTL {family}:entries")).await;
    assert!(expires > 0);
    writer.seal(&finished()).await.unwrap();
    // A removal also removes a key that has another type by now.
    ask::<()>(&mut admin, &format!("SET {family}:meta damage")).await;
    log.remove(id).await.unwrap();
    assert_eq!(ask::<u32>(&mut admin, &format!("EXISTS {family}:meta {family}:entries")).await, 0);
}

/// An eviction, or a hand that trims: what the meta says of the stream is still there.
#[tokio::test]
async fn a_writer_notices_that_entries_are_missing_and_puts_them_back() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let (id, mut writer) = begun(&log).await;
    let family = format!("{}:{{{id}}}", config.prefix);
    for damage in ["DEL", "XTRIM"] {
        let before = entries(&log, id).await;
        let command = format!("{damage} {family}:entries");
        ask::<u32>(&mut admin, &if damage == "DEL" { command } else { command + " MAXLEN 1" }).await;
        // One that asks nothing notices nothing.
        writer.append(&[delta("more")]).await.unwrap();
        writer.append(&[]).await.unwrap();
        assert_eq!(entries(&log, id).await[..before.len()], before, "{damage}");
        let expires: i64 = ask(&mut admin, &format!("PTTL {family}:entries")).await;
        assert!(expires > 0);
    }
    assert_eq!(texts(&log, id).await, ["one", "two", "three", "more", "more"]);
}
