//! Workers of two versions at once, as while a deployment is upgraded.
//!
//! `fixtures` keeps scripts of earlier versions as they were, with their own arguments: `append.first.lua` is of the first
//! version, and `second/` is of 6e312e1. What they store and what they read is the same as today's in everything that both
//! know.

use std::time::Duration;

use redis::{FromRedisValue, RedisResult, ToRedisArgs, aio::MultiplexedConnection};
use token_log::redis::Config;
use tokenwire_core::{
    Caller, CallerName, GenerationId, LogError, Seq, TokenLog,
    token_log::{Attempts, Hint, JobClaim, OnDisconnect, Ownership, StreamSpec},
};

use crate::support::{
    admin, ask, created, delta, finished, follow_by_hints, leave, next, read, shared, spec, texts,
};

const APPEND: &str = include_str!("../fixtures/append.first.lua");

/// How often a reader attends, in milliseconds, as every version has it.
const EVERY: u64 = 5000;

/// A worker of the first version.
struct Older {
    admin: MultiplexedConnection,
    family: String,
    attempt: u32,
    token: String,
}

impl Older {
    /// As the writer that opened the stream last.
    async fn takes_over(config: &Config, id: GenerationId) -> Self {
        let mut admin = admin(&config.url).await;
        let family = format!("{}:{{{id}}}", config.prefix);
        let (attempt, token) = ask(&mut admin, &format!("HMGET {family}:meta attempt writer")).await;
        Self { admin, family, attempt, token }
    }

    /// One piece under this seq, with the flags of the first version.
    async fn append(&mut self, seq: u64, text: &str) -> RedisResult<(u64, String)> {
        let Self { admin, family, attempt, token } = self;
        let batch = format!(
            "\u{1}{{\"first\":{seq},\"at\":1763800000000,\"events\":[{{\"delta\":{{\"text\":\"{text}\"}}}}]}}"
        );
        let mut eval = redis::cmd("EVAL");
        eval.arg(APPEND).arg(3);
        eval.arg(format!("{family}:meta")).arg(format!("{family}:entries")).arg(format!("{family}:audience"));
        eval.arg(token).arg(*attempt).arg(seq).arg(seq).arg(batch).arg(family).arg("").arg(5000);
        eval.query_async(admin).await
    }
}

#[tokio::test]
async fn a_stream_goes_from_an_older_worker_to_a_newer_one_and_back() {
    let (config, log) = shared().await;
    let id = created(&log).await;

    let mut newer = log.open_writer(id).await.unwrap();
    newer.append(&[delta("1")]).await.unwrap();
    newer.append(&[delta("2"), delta("3")]).await.unwrap();

    let _opened = log.open_writer(id).await.unwrap();
    let mut older = Older::takes_over(&config, id).await;
    assert!(matches!(newer.append(&[delta("fenced")]).await, Err(LogError::Fenced)));
    let mut wakeups = log.wakeups(id).await.unwrap();
    assert_eq!(older.append(4, "4").await.unwrap(), (4, String::new()));
    assert!(matches!(next(&mut wakeups).await, Hint::Appended { .. }));
    assert_eq!(older.append(4, "4").await.unwrap(), (4, String::new()), "the same batch again");
    assert!(read(&log, id, Seq::START).await.unwrap().phase.has_owner());

    let mut newest = log.open_writer(id).await.unwrap();
    assert_eq!(newest.so_far().text, "1234");
    let refused = older.append(5, "fenced").await.unwrap_err();
    assert_eq!(refused.code(), Some("FENCED"));
    newest.append(&[delta("5")]).await.unwrap();
    assert_eq!(newest.seal(&finished()).await.unwrap(), Seq::new(6));
    assert_eq!(
        Older::takes_over(&config, id).await.append(7, "late").await.unwrap_err().code(),
        Some("SEALED")
    );

    assert_eq!(texts(&log, id).await, ["1", "2", "3", "4", "5"]);
    assert_eq!(follow_by_hints(&log, id).await.len(), 6);
}

/// Processes of the second version, of every kind.
struct Second {
    admin: MultiplexedConnection,
    family: String,
    id: GenerationId,
}

impl Second {
    async fn of(config: &Config, id: GenerationId) -> Self {
        Self { admin: admin(&config.url).await, family: format!("{}:{{{id}}}", config.prefix), id }
    }

    async fn run<T: FromRedisValue>(
        &mut self,
        script: &str,
        keys: &[&str],
        args: impl ToRedisArgs,
    ) -> RedisResult<T> {
        let mut eval = redis::cmd("EVAL");
        eval.arg(script).arg(keys.len());
        for key in keys {
            eval.arg(format!("{}:{key}", self.family));
        }
        eval.arg(args).query_async(&mut self.admin).await
    }

    async fn create(&mut self, grace: u64) {
        let spec = spec(OnDisconnect::Detached);
        let times = [spec.created_at, spec.start_by, spec.end_by].map(|time| time.as_millis().to_string());
        let mut args = vec!["f".repeat(32)];
        args.extend(times);
        args.extend([86_400_000, grace, EVERY + grace].map(|number| number.to_string()));
        args.push(String::new());
        let script = include_str!("../fixtures/second/create.lua");
        self.run::<()>(script, &["meta", "entries", "audience"], args).await.unwrap();
    }

    async fn attend(&mut self) {
        let script = include_str!("../fixtures/second/attend.lua");
        self.run::<()>(script, &["meta", "audience"], EVERY).await.unwrap();
    }

    /// The token of the writer, the last seq, and whether to stop.
    async fn open_writer(&mut self) -> RedisResult<(String, u64, String)> {
        let script = include_str!("../fixtures/second/open_writer.lua");
        let opened: Vec<redis::Value> = self.run(script, &["meta", "audience"], EVERY).await?;
        let text = |value: &redis::Value| String::from_redis_value(value.clone()).unwrap();
        Ok((text(&opened[1]), text(&opened[2]).parse().unwrap(), text(&opened[3])))
    }

    /// Appends one piece under this seq, and asks about the audience.
    async fn append(&mut self, writer: &str, seq: u64, text: &str) -> RedisResult<redis::Value> {
        let script = concat!("#!lua\n", include_str!("../fixtures/second/append.lua"));
        let batch = format!(
            "\u{1}{{\"first\":{seq},\"at\":1763800000000,\"events\":[{{\"delta\":{{\"text\":\"{text}\"}}}}]}}"
        );
        let seq = seq.to_string();
        let (channel, every) = (self.family.clone(), EVERY.to_string());
        let args = [writer, &seq, &seq, &batch, &channel, "1763800060000", &every];
        self.run(script, &["meta", "entries", "audience"], &args).await
    }

    async fn lose_key(&mut self) {
        ask::<u32>(&mut self.admin, &format!("DEL {}:audience", self.family)).await;
    }

    async fn remove(&mut self) {
        let script = include_str!("../fixtures/second/remove.lua");
        let channel = self.family.clone();
        self.run::<()>(script, &["meta", "entries", "audience", "removed"], channel).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_of_the_second_version_is_written_by_both_in_turn() {
    let (config, log) = shared().await;
    let id = GenerationId::fresh();
    let mut second = Second::of(&config, id).await;
    second.create(30_000).await;
    second.attend().await;
    let mut newer = log.open_writer(id).await.unwrap();
    newer.append(&[delta("1")]).await.unwrap();
    newer.append(&[]).await.unwrap();
    assert_eq!(newer.cancellation().cause(), None);

    let (token, last_seq, stop) = second.open_writer().await.unwrap();
    assert_eq!((last_seq, stop.as_str()), (1, ""));
    assert!(matches!(newer.append(&[delta("fenced")]).await, Err(LogError::Fenced)));
    let mut heard = log.wakeups(id).await.unwrap();
    second.append(&token, 2, "2").await.unwrap();
    assert!(matches!(next(&mut heard).await, Hint::Appended { .. }));

    let mut newest = log.open_writer(id).await.unwrap();
    assert_eq!(newest.so_far().text, "12");
    assert_eq!(second.append(&token, 3, "fenced").await.unwrap_err().code(), Some("FENCED"));
    newest.append(&[delta("3")]).await.unwrap();
    // What is put back is read by the older version too.
    let family = second.family.clone();
    ask::<u32>(&mut second.admin, &format!("DEL {family}:meta {family}:entries")).await;
    newest.append(&[]).await.unwrap();
    let (token, last_seq, _) = second.open_writer().await.unwrap();
    assert_eq!(last_seq, 3);
    second.append(&token, 4, "4").await.unwrap();
    assert_eq!(texts(&log, id).await, ["1", "2", "3", "4"]);

    let mut last = log.open_writer(id).await.unwrap();
    last.seal(&finished()).await.unwrap();
    assert_eq!(second.open_writer().await.unwrap_err().code(), Some("SEALED"));
    second.remove().await;
    assert!(matches!(log.open_writer(second.id).await, Err(LogError::NotFound(_))));
}

/// The older one neither reads nor writes what it does not know, and leaves it where it is.
#[tokio::test]
async fn what_only_the_newer_version_knows_survives_the_older_one() {
    let (config, log) = shared().await;
    let id = GenerationId::fresh();
    let spec = StreamSpec {
        caller: Caller::Named(CallerName::new("team/blue").unwrap()),
        request: "a request".into(),
        metadata: "a memo".into(),
        ..spec(OnDisconnect::CancelAfter(Duration::from_secs(30)))
    };
    log.create(id, &spec).await.unwrap();
    log.job_stored(id).await.unwrap();
    let mut newer = log.open_writer(id).await.unwrap();
    newer.append(&[delta("1")]).await.unwrap();
    let attempts = Attempts { without_progress: 2, best: 1, model_waits: 3, ..Attempts::default() };
    newer.record_attempts(attempts, Ownership::Released).await.unwrap();
    assert!(!read(&log, id, Seq::START).await.unwrap().phase.has_owner());

    let mut second = Second::of(&config, id).await;
    second.attend().await;
    let (token, last_seq, stop) = second.open_writer().await.unwrap();
    assert_eq!((last_seq, stop.as_str()), (1, ""));
    second.append(&token, 2, "2").await.unwrap();
    assert!(read(&log, id, Seq::START).await.unwrap().phase.has_owner());
    let refused = newer.record_attempts(attempts, Ownership::Kept).await;
    assert!(matches!(refused, Err(LogError::Fenced)), "{refused:?}");
    assert_eq!(log.claim_job(id).await.unwrap(), JobClaim::Stored);

    let mut newest = log.open_writer(id).await.unwrap();
    assert_eq!((newest.attempts(), newest.so_far().text.as_str()), (attempts, "12"));
    assert!(log.spec(id).await.unwrap() == spec);
    newest.seal(&finished()).await.unwrap();
    assert_eq!(second.open_writer().await.unwrap_err().code(), Some("SEALED"));
}

/// Either of them may keep the audience, and either may ask for it.
#[tokio::test]
async fn readers_at_processes_of_two_versions_are_an_audience_to_both() {
    let (config, log) = shared().await;
    let id = GenerationId::fresh();
    let mut second = Second::of(&config, id).await;
    second.create(1).await;
    // The newer one knows a time until which the audience counts; the older one attends after it.
    let mut newer = log.open_writer(id).await.unwrap();
    log.touch_presence(id).await.unwrap();
    leave(&mut admin(&config.url).await, &config, id).await;
    second.attend().await;
    newer.append(&[]).await.unwrap();
    assert_eq!(newer.cancellation().cause(), None, "the key is there");
    let (token, _, stop) = second.open_writer().await.unwrap();
    assert_eq!(stop, "");
    second.lose_key().await;
    log.touch_presence(id).await.unwrap();
    assert!(matches!(second.append(&token, 1, "1").await.unwrap(), redis::Value::Int(1)));
    // Both find that there are no readers any more.
    leave(&mut admin(&config.url).await, &config, id).await;
    assert!(matches!(second.append(&token, 2, "2").await.unwrap(), redis::Value::Array(_)));
    let newer = log.open_writer(id).await.unwrap();
    assert_eq!(newer.cancellation().cause(), Some(tokenwire_core::CancelCause::Abandoned));
}
