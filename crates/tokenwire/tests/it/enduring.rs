//! What an operator's week does to `tokenwire serve`, at its default settings: it costs answers time and nothing else.

use std::{
    fs,
    net::TcpListener,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::json;
use testkit::services::{Guarded, free_port};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    app::{App, PATIENCE, http, tokenwire},
    embedded::undisturbed,
    reader::Reader,
};

/// An answer that lives through some restarts.
const LONG: [&str; 6] = ["--simulated-words", "400", "--simulated-delay", "10ms", "--drain", "0s"];

#[tokio::test]
async fn six_planned_restarts_within_one_answer_lose_nothing() {
    let mut app = App::serve(&LONG).await;
    let mut readers = Vec::new();
    for query in ["one story", "another story"] {
        readers.push(Reader::asking(&app, query, 5).await);
    }
    for _ in 0..6 {
        assert_eq!(app.stop(), 0);
        app.start_again().await;
        sleep(Duration::from_millis(300)).await;
    }
    for (query, mut reader) in ["one story", "another story"].into_iter().zip(readers) {
        assert_eq!(reader.read_to_the_end(&app).await, "done", "{query}");
        assert_eq!(reader.text, undisturbed(query, 400).await);
    }
}

#[tokio::test]
async fn many_kills_before_the_first_word_end_no_prompt() {
    let mut app = App::serve(&["--simulated-words", "20", "--simulated-delay", "400ms"]).await;
    let mut readers = Vec::new();
    for number in 0..12 {
        let query = format!("question {number}");
        readers.push(post(&app, &query).await);
    }
    for _ in 0..12 {
        app.kill();
        app.start_again().await;
        sleep(Duration::from_millis(150)).await;
    }
    for mut reader in readers {
        assert_eq!(reader.read_to_the_end(&app).await, "done");
    }
}

/// Bind, then open, then lease: a start that fails leaves nothing behind.
#[tokio::test]
async fn a_start_on_a_taken_port_fails_and_leaves_nothing_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let args = ["serve", "--listen", &listen, "--data-dir", data.to_str().unwrap()].map(str::to_owned);
    let mut command = tokenwire(&[], &args);
    command.current_dir(dir.path());
    let mut failed = Guarded::spawn(&command, dir.path());
    let ended = timeout(PATIENCE, async {
        while !failed.has_ended() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(ended.await.is_ok(), "it goes on without its port");
    let output = failed.output();
    assert!(output.contains(&listen), "{output}");
    assert!(!data.exists(), "it made a data directory");
    assert_ne!(failed.wait(), 0);
}

#[tokio::test]
async fn a_restart_on_a_taken_port_does_no_harm_to_what_waits() {
    let mut app = App::serve(&LONG).await;
    let mut reader = Reader::asking(&app, "a story", 5).await;
    app.kill();
    let port = app.url("").rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for _ in 0..6 {
        assert_ne!(app.fails_to_start(), 0);
    }
    drop(taken);
    app.start_again().await;
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 400).await);
    assert_eq!(reader.attempts().len(), 2, "the starts that failed began nothing");
}

#[tokio::test]
async fn a_stop_of_a_prompt_that_waits_takes_effect_at_once() {
    let app = App::serve(&["--slots", "1", "--simulated-words", "600", "--simulated-delay", "50ms"]).await;
    let _running = Reader::asking(&app, "a long story", 3).await;
    let mut waiting = post(&app, "a story that waits").await;
    let stopped = http().delete(app.url(&format!("/ask/{}", waiting.id))).send().await.unwrap();
    assert_eq!(stopped.status(), StatusCode::ACCEPTED);
    let began = Instant::now();
    assert_eq!(waiting.read_to_the_end(&app).await, "cancelled");
    assert!(began.elapsed() < Duration::from_secs(15), "long before the slot is free");
}

#[tokio::test]
async fn an_unknown_generation_is_unknown_at_once_also_with_a_cursor() {
    let app = App::serve(&[]).await;
    let began = Instant::now();
    let url = app.url("/ask/0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3?last_event_id=7");
    assert_eq!(http().get(url).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert!(began.elapsed() < Duration::from_secs(5), "it was waited for");
}

/// The machine's clock is set an hour ahead while a prompt waits.
#[tokio::test]
async fn a_step_of_the_clock_expires_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let offset = dir.path().join("offset");
    fs::write(&offset, "+0").unwrap();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let args = [
        "serve",
        "--listen",
        &listen,
        "--slots",
        "1",
        "--simulated-words",
        "100",
        "--simulated-delay",
        "40ms",
    ];
    let env = [
        ("LD_PRELOAD", libfaketime()),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap().to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let app = App::under(&args, &env, port).await;
    let mut first = Reader::asking(&app, "the first", 3).await;
    let mut waiting = post(&app, "the second").await;
    fs::write(&offset, "+3600").unwrap();
    assert_eq!(first.read_to_the_end(&app).await, "done");
    assert_eq!(waiting.read_to_the_end(&app).await, "done");
    assert_eq!(waiting.text, undisturbed("the second", 100).await);
}

/// Debian's faketime, which `./test.sh` installs.
fn libfaketime() -> String {
    let arch = Command::new("uname").arg("-m").output().unwrap().stdout;
    let arch = String::from_utf8(arch).unwrap();
    let path = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", arch.trim());
    assert!(fs::exists(&path).unwrap(), "{path} is missing: install the package faketime");
    path
}

/// An upstream of which the test says what it does now.
struct Upstream {
    port: u16,
    state: watch::Sender<State>,
    asked: Arc<AtomicUsize>,
    serving: JoinSet<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its port is closed.
    Away,
    /// 503.
    Busy,
    Well,
}

impl Upstream {
    fn start(state: State) -> Self {
        let (state, asked) = (watch::Sender::new(state), Arc::<AtomicUsize>::default());
        let mut upstream = Self { port: free_port(), state, asked, serving: JoinSet::new() };
        upstream.open();
        upstream
    }

    fn set(&mut self, state: State) {
        self.state.send_replace(state);
        self.open();
    }

    fn open(&mut self) {
        self.serving.abort_all();
        if *self.state.borrow() == State::Away {
            return;
        }
        let (port, state, asked) = (self.port, self.state.subscribe(), Arc::clone(&self.asked));
        self.serving.spawn(async move {
            // The last listener may be on its way out.
            let listener = loop {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.set_reuseaddr(true).unwrap();
                match socket.bind(([127, 0, 0, 1], port).into()).and_then(|()| socket.listen(64)) {
                    Ok(listener) => break listener,
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            };
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                let is_well = *state.borrow() == State::Well;
                answer(socket, is_well).await;
            }
        });
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }
}

async fn answer(mut socket: tokio::net::TcpStream, is_well: bool) {
    let mut request = vec![0; 64 * 1024];
    // Small requests come in one piece on loopback.
    let _ = socket.read(&mut request).await;
    let (status, kind, body) = if is_well {
        let piece = |delta: &str, finish: &str| {
            format!(
                "data: {{\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
                 \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
            )
        };
        let said = piece("{\"content\":\"at last\"}", "null") + &piece("{}", "\"stop\"") + "data: [DONE]\n\n";
        ("200 OK", "text/event-stream", said)
    } else {
        ("503 Service Unavailable", "application/json", "{\"error\":{\"message\":\"full\"}}".to_owned())
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let _ = socket.write_all((head + &body).as_bytes()).await;
    let _ = socket.shutdown().await;
}

#[tokio::test]
async fn an_upstream_that_is_busy_or_away_for_a_while_costs_time_alone() {
    for (trouble, lasts) in [(State::Busy, 23), (State::Away, 10)] {
        let mut upstream = Upstream::start(trouble);
        let app = App::serve(&["--upstream", &upstream.url()]).await;
        let mut readers = Vec::new();
        for number in 0..20 {
            readers.push(post(&app, &format!("question {number}")).await);
        }
        sleep(Duration::from_secs(lasts)).await;
        let asked = upstream.asked.load(Ordering::SeqCst);
        assert!(asked < 60, "{asked} requests to an upstream that does not answer");
        upstream.set(State::Well);
        for reader in &mut readers {
            assert_eq!(reader.read_to_the_end(&app).await, "done", "{trouble:?}");
            assert_eq!(reader.text, "at last");
        }
        assert!(app.output().contains("waits"), "the log says that the model is waited for");
    }
}

/// Stores a prompt, and gives a reader who has not begun to read.
async fn post(app: &App, query: &str) -> Reader {
    let reader = Reader::new(query);
    let body = json!({ "query": query, "uuid": reader.id.to_string() });
    let accepted = http().post(app.url("/ask")).json(&body).send().await.unwrap();
    assert_eq!(accepted.status(), StatusCode::OK);
    reader.another()
}
