//! A conversation in the terminal, and from a pipe.

use std::{
    io::{Read, Write},
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::timeout,
};

use super::{
    app::{App, PATIENCE, tokenwire},
    cli::text,
    embedded::undisturbed,
    scripted::{Answer, Scripted},
};

/// Pipes these lines into a conversation.
async fn chat(url: &str, args: &[&str], lines: &'static str) -> Output {
    let args: Vec<String> = ["chat", "--url", url].iter().chain(args).map(ToString::to_string).collect();
    let talking = tokio::task::spawn_blocking(move || {
        let mut command = tokenwire(&[], &args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    talking.await.unwrap()
}

/// The messages of a question, as pairs of role and content.
fn said(question: &Value) -> Vec<(&str, &str)> {
    let messages = question["messages"].as_array().unwrap().iter();
    messages.map(|said| (said["role"].as_str().unwrap(), said["content"].as_str().unwrap())).collect()
}

const ONE: &str = "id: 1\nevent: started\ndata:{\"attempt\":1}\n\nid: 2\ndata: eins\n\nid: 3\nevent: done\ndata:{\"finish_reason\":\"stop\"}\n\n";
const OTHER: &str = "id: 1\nevent: started\ndata:{\"attempt\":1}\n\nid: 2\ndata: falsch\n\nid: 3\nevent: rewind\ndata:{\"attempt\":2}\n\nid: 4\ndata: zwei\n\nid: 5\nevent: done\ndata:{\"finish_reason\":\"stop\"}\n\n";

#[tokio::test]
async fn every_turn_is_asked_with_what_was_said_before() {
    let server = Scripted::answering([ONE, OTHER, ONE, ONE].map(Answer::Whole)).await;
    let lines = "one\n\ntwo\n//three\n/system\n/reset\nfour\n/quit\nnever\n";
    let output = chat(&server.url(), &["--system", "count", "--seed", "7"], lines).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "eins\nfalsch\nzwei\neins\neins\n");
    assert!(text(&output.stderr).contains("the answer starts over"));
    let asked = server.questions();
    assert!(asked.iter().all(|question| question["seed"] == json!(7)));
    let before = [("system", "count"), ("user", "one"), ("assistant", "eins"), ("user", "two")];
    assert_eq!(said(&asked[0]), before[..2]);
    assert_eq!(said(&asked[1]), before);
    let after = [("assistant", "zwei"), ("user", "/three")];
    assert_eq!(said(&asked[2]), [&before[..], &after].concat(), "what was void is not remembered");
    assert_eq!(said(&asked[3]), [("user", "four")]);
    assert_eq!(asked.len(), 4);
}

#[tokio::test]
async fn a_conversation_goes_on_by_itself_after_kill_9_of_the_server() {
    let mut app = App::serve(&["--simulated-words", "60", "--simulated-delay", "10ms"]).await;
    let args = ["chat", "--url", &app.url("")].map(str::to_owned);
    let mut child = tokenwire(&[], &args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a story\nanother one").unwrap();
    let mut out = child.stdout.take().unwrap();
    let (begun, told) = tokio::sync::oneshot::channel();
    let reading = tokio::task::spawn_blocking(move || {
        let mut answers = vec![0; 50];
        out.read_exact(&mut answers).unwrap();
        begun.send(()).unwrap();
        out.read_to_end(&mut answers).unwrap();
        (child.wait().unwrap(), text(&answers))
    });
    told.await.unwrap();
    app.kill();
    app.start_again().await;
    let (status, answers) = reading.await.unwrap();
    assert_eq!(status.code(), Some(0));
    let both = format!("{}\n{}\n", undisturbed("a story", 60).await, undisturbed("another one", 60).await);
    assert_eq!(answers, both);
}

#[tokio::test]
async fn the_first_answer_that_is_not_whole_ends_a_piped_conversation() {
    let app =
        App::serve(&["--simulated-delay", "1ms", "--simulated-fault", "error:2", "--attempts", "1"]).await;
    let output = chat(&app.url(""), &[], "Hello\nand then?\n").await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(3), "Hello: This\n"));
}

#[tokio::test]
async fn commands_that_cannot_be_carried_out_say_why_and_the_conversation_goes_on() {
    let app = App::serve(&["--simulated-delay", "1ms", "--simulated-words", "2"]).await;
    let output = chat(&app.url(""), &[], "/model gpt-17\n/models\n/model\n/model simulated\nHello\n").await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), undisturbed("Hello", 2).await + "\n");
    let told = text(&output.stderr);
    for part in ["no model gpt-17; there are: simulated", "no /models", "* simulated"] {
        assert!(told.contains(part), "{told}");
    }
}

/// A person at a terminal.
struct Terminal {
    child: Child,
    screen: String,
}

impl Terminal {
    fn chat(url: &str) -> Self {
        let chat = format!("exec {} chat --url {url}", env!("CARGO_BIN_EXE_tokenwire"));
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &chat, "/dev/null"]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm").env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        Self { child: command.spawn().unwrap(), screen: String::new() }
    }

    async fn types(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).await.unwrap();
    }

    /// Waits until this is on the screen, after what was waited for before.
    async fn sees(&mut self, text: &str) {
        let out = self.child.stdout.as_mut().unwrap();
        let reading = async {
            while !self.screen.contains(text) {
                let mut bytes = Vec::with_capacity(1024);
                assert!(out.read_buf(&mut bytes).await.unwrap() > 0, "it ended: {:?}", self.screen);
                self.screen.push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        let in_time = timeout(PATIENCE, reading).await.is_ok();
        assert!(in_time, "{text:?} is not on the screen: {:?}", self.screen);
        let seen = self.screen.find(text).unwrap() + text.len();
        self.screen.drain(..seen);
    }
}

#[tokio::test]
async fn ctrl_c_at_a_terminal_stops_the_answer_and_keeps_what_came() {
    let begun = "id: 1\nevent: started\ndata:{\"attempt\":1}\n\nid: 2\ndata: ei\u{1b}[2Jns\n\n";
    let server = Scripted::answering([Answer::Held(begun), Answer::Whole(ONE)]).await;
    let mut terminal = Terminal::chat(&server.url());
    terminal.sees("> ").await;
    terminal.types("one\r").await;
    terminal.sees("ei␛[2Jns").await;
    terminal.types("\x03").await;
    terminal.sees("tokenwire: stopped").await;
    assert_eq!(server.stops(), 1);
    terminal.sees("> ").await;
    terminal.types("\x03").await;
    terminal.sees("Ctrl-D or /quit ends the conversation").await;
    terminal.sees("> ").await;
    terminal.types("go on\r").await;
    terminal.sees("eins").await;
    terminal.sees("> ").await;
    terminal.types("\x04").await;
    let status = timeout(PATIENCE, terminal.child.wait()).await.expect("Ctrl-D ends it").unwrap();
    assert_eq!(status.code(), Some(0));
    let kept = [("user", "one"), ("assistant", "ei\u{1b}[2Jns"), ("user", "go on")];
    assert_eq!(said(&server.questions()[1]), kept);
}
