//! Workers of two versions at once, as while a deployment is upgraded.
//!
//! What is stored has not changed; the script that appends has. `append.first.lua` is the one of the first version, with its
//! own arguments; all other scripts are still those that it knew.

use redis::{RedisResult, aio::MultiplexedConnection};
use token_log::redis::Config;
use tokenwire_core::{GenerationId, LogError, Seq, TokenLog, token_log::Hint};

use crate::support::{admin, ask, created, delta, finished, follow_by_hints, next, read, shared, texts};

const APPEND: &str = include_str!("../fixtures/append.first.lua");

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
    let mut tail = log.tail(id).await.unwrap();
    assert_eq!(older.append(4, "4").await.unwrap(), (4, String::new()));
    assert!(matches!(next(&mut tail).await, Hint::Appended { .. }));
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
