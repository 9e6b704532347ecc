//! An upstream that is busy or away: prompts learn how long to wait, and it is left alone meanwhile. The clock is paused, and
//! moves only where a test says so.

use std::time::Duration;

use futures::{StreamExt, future::join_all};
use model::upstream::{Config, Upstream};
use serde_json::json;
use tokenwire_core::{
    GenerationId, Model,
    model::{ModelError, Output},
};
use tokio::time::{Instant, advance};

use super::fake::*;

const BUSY: &str = "503 Service Unavailable";

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What a prompt learns, at once.
async fn ask_now(upstream: &Upstream) -> Answer {
    let began = Instant::now();
    let answer = frozen(answer(upstream)).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    answer
}

/// What a worker does: it waits for as long as it has to, outside of its slots. Gives the answer and how often it waited.
async fn ask_until_answered(upstream: &Upstream) -> (Answer, usize) {
    for waits in 0..100 {
        let answer = ask_now(upstream).await;
        let Some(wait) = answer.wait() else { return (answer, waits) };
        advance(wait).await;
    }
    panic!("it is never answered");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_busy_for_23_s_costs_time_and_no_attempt() {
    let began = Instant::now();
    let busy = move || began.elapsed() < secs(23);
    let fake =
        Fake::with(move |_, _| if busy() { Reply::status(BUSY, "", "") } else { Reply::answer(["a"]) }).await;
    let (answer, waits) = ask_until_answered(&upstream(fake.config())).await;
    assert_eq!(answer.text(), "a");
    assert!(began.elapsed() <= secs(40), "{:?}", began.elapsed());
    assert!(waits <= 5 && fake.seen().len() == waits + 1, "asked {} times", fake.seen().len());
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_closed_for_10_s_costs_time_and_no_attempt() {
    let port = closed_port().await;
    let upstream = upstream(config(&[port]));
    let began = Instant::now();
    while began.elapsed() < secs(10) {
        let answer = ask_now(&upstream).await;
        let Err(ModelError::Absent { retry_after, cause }) = answer.end else { panic!("{answer:?}") };
        let cause = tokenwire_core::explain(&*cause);
        assert!(cause.contains("refused"), "{cause}");
        assert!(!cause.contains("http://"), "where it is is for the log: {cause}");
        advance(retry_after).await;
    }
    let _fake = Fake::at(port, Reply::answer(["a"])).await;
    let (answer, _) = ask_until_answered(&upstream).await;
    assert!(answer.is_whole(), "{answer:?}");
    assert!(began.elapsed() <= secs(20), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn every_answer_of_an_absent_upstream_costs_no_attempt() {
    for (why, reply) in [
        ("a closed connection", Reply::silence().close()),
        ("a reset connection", Reply::silence().reset()),
        ("half a head", Reply::silence().raw("HTTP/1.1 200 OK\r\ncontent-").close()),
        ("a bad gateway", Reply::status("502 Bad Gateway", "content-type: text/html\r\n", "<p>nginx</p>")),
        ("a gateway that waits in vain", Reply::status("504 Gateway Timeout", "", "")),
        ("a time-out", Reply::status("408 Request Timeout", "", "")),
        ("a conflict", Reply::status("409 Conflict", "", "")),
        ("too early", Reply::status("425 Too Early", "", "")),
    ] {
        let fake = Fake::replying([reply.clone(), reply, Reply::answer(["a"])]).await;
        let upstream = upstream(fake.config());
        let answer = ask_now(&upstream).await;
        assert!(matches!(answer.end, Err(ModelError::Absent { .. })), "{why}: {answer:?}");
        let (answer, _) = ask_until_answered(&upstream).await;
        assert!(answer.is_whole(), "{why}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_prompts_that_wait_for_it_cost_a_connection_now_and_then() {
    let began = Instant::now();
    let fake =
        Fake::with(
            move |_, _| {
                if began.elapsed() < secs(20) { Reply::silence().reset() } else { Reply::answer(["a"]) }
            },
        )
        .await;
    let upstream = upstream(fake.config());
    assert!(ask_now(&upstream).await.wait().is_some());
    let mut waiting = 100;
    while waiting > 0 {
        // Each comes back when its time is over; here all come as soon as the first of them may.
        let answers = frozen(join_all((0..waiting).map(|_| answer(&upstream)))).await;
        assert!(answers.iter().all(|answer| answer.is_whole() || answer.wait().is_some()));
        waiting = answers.iter().filter(|answer| !answer.is_whole()).count();
        assert!(waiting == 0 || began.elapsed() <= secs(40), "{waiting} still wait");
        if began.elapsed() < secs(20) {
            // A connection that is closed without a byte is tried once more at once.
            assert!(fake.connections() <= 14, "{} connections", fake.connections());
        }
        advance(answers.iter().filter_map(Answer::wait).min().unwrap_or_default()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_within_bounds() {
    for (headers, wait) in [
        ("retry-after: 60\r\n", 60),
        ("retry-after: 999999\r\n", 300),
        ("retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n", 300),
        ("retry-after: 0\r\n", 1),
    ] {
        for status in ["429 Too Many Requests", BUSY, "529 Overloaded", "502 Bad Gateway"] {
            let fake = Fake::replying([Reply::status(status, headers, ""), Reply::answer(["a"])]).await;
            let upstream = upstream(fake.config());
            let told = ask_now(&upstream).await.wait().unwrap();
            assert!((secs(wait)..=secs(wait + 2)).contains(&told), "{status}: {told:?}");
            advance(Duration::from_millis(wait * 1000 - 1)).await;
            let told = ask_now(&upstream).await.wait().unwrap();
            assert!(told < secs(1), "{status}: {told:?} are left");
            assert_eq!(fake.seen().len(), 1, "{status}: it is left alone");
            advance(told).await;
            assert!(ask_now(&upstream).await.is_whole(), "{status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_request_finds_out_whether_it_is_back() {
    let fake = Fake::with(|request, _| match request {
        0 => Reply::status(BUSY, "", ""),
        1 => Reply::silence().stall(),
        2 => Reply::stream().text("a").stall(),
        _ => Reply::answer(["a"]),
    })
    .await;
    let upstream = upstream(fake.config());
    advance(ask_now(&upstream).await.wait().unwrap()).await;
    // A trial that is given up has no result: the next request tries.
    let mut given_up = ask(&upstream).await;
    frozen(async {
        tokio::select! {
            _ = given_up.next() => panic!("it is silent"),
            () = async { while fake.running() < 1 { tokio::task::yield_now().await } } => {}
        }
    })
    .await;
    for _ in 0..50 {
        let wait = ask_now(&upstream).await.wait().unwrap();
        assert!((Duration::from_millis(500)..secs(1)).contains(&wait), "{wait:?}");
    }
    drop(given_up);
    let mut trial = ask(&upstream).await;
    let said = frozen(trial.next()).await.unwrap().unwrap();
    assert!(matches!(said, Output::Text { .. }), "{said:?}");
    assert_eq!(fake.seen().len(), 3);
    let answers = frozen(join_all((0..10).map(|_| answer(&upstream)))).await;
    assert!(answers.iter().all(Answer::is_whole));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_says_so_within_a_stream_has_not_answered() {
    let overloaded = json!({"error": {"message": "overloaded", "code": 503}});
    let reply = Reply::stream().chunk(": PROCESSING\n\n").event(&overloaded).done();
    let fake = Fake::replying([reply]).await;
    let upstream = upstream(fake.config());
    for at_least in [1, 2, 4, 8] {
        let wait = ask_now(&upstream).await.wait().unwrap();
        assert!((secs(at_least)..=secs(at_least) * 5 / 4).contains(&wait), "{wait:?}");
        advance(wait).await;
    }
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_bad_retry_after_keeps_no_other_replica_away() {
    let busy = Fake::replying([Reply::status(BUSY, "retry-after: 999999\r\n", "")]).await;
    let port = closed_port().await;
    let upstream = upstream(config(&[busy.port(), port]));
    let wait = ask_now(&upstream).await.wait().unwrap();
    assert!(wait < secs(2), "{wait:?}");
    let back = Fake::at(port, Reply::answer(["a"])).await;
    advance(wait).await;
    for _ in 0..10 {
        assert!(ask_now(&upstream).await.is_whole());
    }
    assert_eq!((busy.seen().len(), back.seen().len()), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn every_replica_is_asked_once_before_a_prompt_waits() {
    let mut fakes = Vec::new();
    for _ in 0..5 {
        fakes.push(Fake::replying([Reply::status(BUSY, "", "")]).await);
    }
    let ports: Vec<_> = fakes.iter().map(Fake::port).collect();
    let upstream = upstream(Config { retries: 0, ..config(&ports) });
    assert!(ask_now(&upstream).await.wait().is_some());
    assert!(ask_now(&upstream).await.wait().is_some());
    assert!(fakes.iter().all(|fake| fake.seen().len() == 1));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_away_leaves_the_other_models_alone() {
    let fake = Fake::with(|_, body| {
        if body["model"] == "busy" {
            Reply::status(BUSY, "retry-after: 60\r\n", "")
        } else {
            Reply::answer(["a"])
        }
    })
    .await;
    let busy = upstream(Config { model: "busy".into(), ..fake.config() });
    let free = upstream(Config { model: "free".into(), ..fake.config() });
    for _ in 0..3 {
        assert!(ask_now(&busy).await.wait().is_some());
        assert!(ask_now(&free).await.is_whole());
    }
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn requests_that_break_it_keep_no_other_away() {
    let fake = Fake::with(|request, _| {
        if request % 2 == 0 {
            Reply::status("500 Internal Server Error", "", "")
        } else {
            Reply::answer(["a"])
        }
    })
    .await;
    let upstream = upstream(Config { retries: 0, ..fake.config() });
    for _ in 0..5 {
        assert!(ask_now(&upstream).await.is_unavailable());
        assert!(ask_now(&upstream).await.is_whole());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_its_upstream_down_each_time_is_counted() {
    let fake = Fake::with(|_, body| {
        let is_poison = body["messages"][0]["content"] == "a private prompt";
        if is_poison { Reply::silence().reset() } else { Reply::answer(["a"]) }
    })
    .await;
    let upstream = upstream(fake.config());
    let poison = GenerationId::fresh();
    let ask = async || {
        let outputs = upstream.generate(poison, &request(), &so_far("")).await.unwrap();
        frozen(read(outputs)).await
    };
    let harmless = async || {
        let mut harmless = request();
        harmless.conversation = tokenwire_core::Conversation::of("harmless").unwrap();
        let outputs = upstream.generate(GenerationId::fresh(), &harmless, &so_far("")).await.unwrap();
        assert!(frozen(read(outputs)).await.is_whole());
    };
    // It may be an accident once.
    let wait = ask().await.wait().unwrap();
    advance(wait).await;
    harmless().await;
    for _ in 0..3 {
        assert!(ask().await.is_unavailable());
        harmless().await;
    }
}
