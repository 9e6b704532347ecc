//! What `ready` finds out before a prompt does.

use std::time::Duration;

use futures::future::join_all;
use testkit::services::{AppendOnly, Redis as Server};
use token_log::redis::{Config, Redis};
use tokenwire_core::{LogError, TokenLog};
use tokio::time::Instant;

use crate::support::{TEST_TIMEOUT, admin, ask, config, explain, insist, open};

/// A log of a user with these rights, and with a prefix that rules can be written for.
async fn log_of(server: &Server, name: &str, rules: &str) -> Redis {
    let url = server.url_of_user(name, rules).await;
    open(&Config { url, response_timeout: TEST_TIMEOUT, ..Config::default() })
}

async fn reason(log: &Redis) -> String {
    let error = log.ready().await.unwrap_err();
    assert!(matches!(error, LogError::Unavailable(_)), "{error:?}");
    explain(&error)
}

/// The default of a new ACL user: its prompts were stored, and answered with 503.
#[tokio::test]
async fn a_user_with_keys_and_no_channels_is_not_ready_until_it_may_subscribe() {
    let server = Server::start(AppendOnly::No).await;
    let log = log_of(&server, "some", "~tokenwire:* resetchannels +@all -@admin -@dangerous").await;
    let reason = reason(&log).await;
    assert!(reason.contains("may not subscribe to channels that begin with \"tokenwire:\""), "{reason}");
    assert!(reason.contains("the user some of redis") && reason.contains("add &tokenwire:*"), "{reason}");
    ask::<()>(&mut admin(&server.url()).await, "ACL SETUSER some &tokenwire:*").await;
    insist(async || log.ready().await.ok()).await;
}

/// The list in docs/operating.md.
#[tokio::test]
async fn the_single_commands_that_the_documents_list_are_enough() {
    let documents = include_str!("../../../../docs/operating.md");
    let list = documents.split("single commands only: `").nth(1).unwrap().split('`').next().unwrap();
    let commands = list.split_whitespace().collect::<Vec<_>>().join(" ");
    let server = Server::start(AppendOnly::No).await;
    let log = log_of(&server, "few", &format!("~tokenwire:* &tokenwire:* {commands}")).await;
    log.ready().await.unwrap();
}

#[tokio::test]
async fn every_right_that_is_missing_is_named() {
    let server = Server::start(AppendOnly::No).await;
    for (index, (rules, named)) in [
        ("~other:* &tokenwire:* +@all", "add ~tokenwire:*"),
        ("~tokenwire:* &tokenwire:* +@all -evalsha", "add +evalsha"),
        ("~tokenwire:* &tokenwire:* +@all -subscribe", "add +subscribe"),
        // What a script runs is not named by Redis 7.0.
        ("~tokenwire:* &tokenwire:* +@all -publish", "add +"),
        ("~tokenwire:* &tokenwire:* +@all -xadd", "add +"),
        ("~tokenwire:* &tokenwire:* +@all -rename", "add +"),
        ("~tokenwire:* &tokenwire:* +@all -unlink", "add +"),
    ]
    .into_iter()
    .enumerate()
    {
        let reason = reason(&log_of(&server, &format!("user{index}"), rules).await).await;
        assert!(reason.contains(named) && reason.contains("to its ACL rules"), "{rules}: {reason}");
    }
}

#[tokio::test]
async fn a_crowd_that_asks_costs_one_trial_a_second_and_leaves_nothing_for_long() {
    let server = Server::start(AppendOnly::No).await;
    let config = config(server.url());
    let log = open(&config);
    log.ready().await.unwrap();
    let mut admin = admin(&server.url()).await;
    ask::<()>(&mut admin, "CONFIG RESETSTAT").await;
    let began = Instant::now();
    join_all((0..200).map(async |_| log.ready().await.unwrap())).await;
    let stats: String = ask(&mut admin, "INFO commandstats").await;
    let calls = |command: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    let seconds = began.elapsed().as_secs() + 1;
    assert!(calls("hincrby") <= seconds, "{} trials in {seconds} s", calls("hincrby"));

    for key in ask::<Vec<String>>(&mut admin, &format!("KEYS {}:*", config.prefix)).await {
        let expires: u64 = ask(&mut admin, &format!("PTTL {key}")).await;
        assert!(Duration::from_millis(expires) <= Duration::from_secs(60), "{key} {expires}");
        assert!(key.ends_with(":ready") || key.ends_with(":removed"), "{key}");
    }
}
