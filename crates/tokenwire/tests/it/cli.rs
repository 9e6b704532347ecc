//! The command line, as a shell sees it.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use serde_json::{Value, json};
use testkit::services::Redis;
use token_log::redis;
use tokenwire_core::{
    Attempt, Caller, Clock, Event, Failure, Fingerprint, GenerationId, SystemClock, TextSoFar, TokenLog,
    token_log::{OnDisconnect, StreamSpec},
};

use super::{
    app::{App, tokenwire},
    embedded::undisturbed,
    reader::Reader,
    scripted::{Answer, Scripted},
};

fn run(args: &[&str]) -> Output {
    run_in(&[], args)
}

fn run_in(env: &[(&str, &str)], args: &[&str]) -> Output {
    let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let args: Vec<_> = args.iter().map(ToString::to_string).collect();
    let scratch = tempfile::tempdir().unwrap();
    tokenwire(&env, &args).current_dir(scratch.path()).stdin(Stdio::null()).output().unwrap()
}

async fn ask(app: &App, args: &[&str]) -> Output {
    speaking_to(&app.url(""), "ask", args).await
}

async fn speaking_to(url: &str, command: &str, args: &[&str]) -> Output {
    let args: Vec<String> = [command, "--url", url].iter().chain(args).map(ToString::to_string).collect();
    tokio::task::spawn_blocking(move || tokenwire(&[], &args).stdin(Stdio::null()).output().unwrap())
        .await
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn ask_prints_the_answer_and_nothing_else() {
    let app = App::serve(&["--simulated-words", "40", "--simulated-delay", "1ms"]).await;
    let output = ask(&app, &["a story"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), undisturbed("a story", 40).await + "\n");
    assert_eq!(text(&output.stderr), "");
}

#[tokio::test]
async fn ask_reads_the_prompt_from_standard_input() {
    let app = App::serve(&["--simulated-delay", "1ms"]).await;
    let args = ["ask", "--url", &app.url(""), "-"].map(str::to_owned);
    let output = tokio::task::spawn_blocking(move || {
        let mut child = tokenwire(&[], &args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all("from a pipe\n".as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    assert!(text(&output.await.unwrap().stdout).starts_with("from a pipe: This is a simulated LLM stream."));
}

#[tokio::test]
async fn ask_goes_on_by_itself_after_kill_9_of_the_server() {
    let mut app = App::serve(&["--simulated-words", "150", "--simulated-delay", "10ms"]).await;
    let args = ["ask", "--url", &app.url(""), "a story"].map(str::to_owned);
    let mut child = tokenwire(&[], &args).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (begun, told) = tokio::sync::oneshot::channel();
    let reading = tokio::task::spawn_blocking(move || {
        let mut answer = vec![0; 100];
        out.read_exact(&mut answer).unwrap();
        begun.send(()).unwrap();
        out.read_to_end(&mut answer).unwrap();
        (child.wait().unwrap(), text(&answer))
    });
    told.await.unwrap();
    app.kill();
    app.start_again().await;
    let (status, answer) = reading.await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(answer, undisturbed("a story", 150).await + "\n");
}

#[tokio::test]
async fn ctrl_c_stops_the_generation() {
    let app = App::serve(&["--simulated-words", "100000", "--simulated-delay", "5ms"]).await;
    let args = ["ask", "--url", &app.url(""), "for ever"].map(str::to_owned);
    let mut child = tokenwire(&[], &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    let status = tokio::task::spawn_blocking(move || {
        child.stdout.take().unwrap().read_exact(&mut [0; 20]).unwrap();
        kill(pid, Signal::SIGINT).unwrap();
        child.wait().unwrap()
    });
    assert_eq!(status.await.unwrap().code(), Some(130));
    tokio::time::timeout(Duration::from_secs(30), async {
        while !app.output().contains("cancelled") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the server ends the generation");
}

#[tokio::test]
async fn scripts_can_tell_how_it_ended() {
    let app =
        App::serve(&["--simulated-delay", "1ms", "--simulated-fault", "error:2", "--attempts", "1"]).await;
    let failed = ask(&app, &["Hello"]).await;
    assert_eq!(failed.status.code(), Some(3));
    assert_eq!(text(&failed.stdout), "Hello: This\n");
    let blank = ask(&app, &["  "]).await;
    assert_eq!(blank.status.code(), Some(1));
    assert!(text(&blank.stderr).contains("messages is empty"), "{}", text(&blank.stderr));
    let model = ask(&app, &["--model", "gpt-17", "Hello"]).await;
    assert_eq!(model.status.code(), Some(1));
    let nowhere = run(&["ask", "--url", "http://127.0.0.1:9", "--patience", "1s", "Hello"]);
    assert_eq!(nowhere.status.code(), Some(7));
    assert!(text(&nowhere.stderr).contains("cannot be reached"));
    assert_eq!(run(&["ask"]).status.code(), Some(2));
}

#[tokio::test]
async fn ask_sends_what_its_options_say_and_nothing_else() {
    let done = "id: 1\nevent: started\ndata:{}\n\nid: 2\ndata: Hi\n\nid: 3\nevent: done\ndata:{\"finish_reason\":\"length\"}\n\n";
    let server = Scripted::answering([Answer::Whole(done), Answer::Whole(done)]).await;
    let options =
        "--model m --max-tokens 9 --temperature 0.8 --top-p 0.5 --top-k 40 --seed 18446744073709551615";
    let mut args: Vec<_> = options.split(' ').collect();
    args.extend(["--system", "- be brief", "--stop", "--", "--stop", "\n", "--", "Hello"]);
    let output = speaking_to(&server.url(), "ask", &args).await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "Hi\n"));
    assert!(text(&output.stderr).contains("its maximum number of tokens"), "{}", text(&output.stderr));
    assert_eq!(speaking_to(&server.url(), "ask", &["Hello"]).await.status.code(), Some(0));
    let user = json!({"role": "user", "content": "Hello"});
    let mut asked = server.questions();
    for question in &mut asked {
        let id = question.as_object_mut().unwrap().remove("uuid").unwrap();
        assert!(id.as_str().unwrap().parse::<GenerationId>().is_ok());
    }
    let full = json!({
        "messages": [{"role": "system", "content": "- be brief"}, user],
        "model": "m", "max_tokens": 9, "temperature": 0.8, "top_p": 0.5, "top_k": 40,
        "seed": u64::MAX, "stop": ["--", "\n"],
    });
    assert_eq!(asked, [full, json!({"messages": [user]})]);
}

#[tokio::test]
async fn what_is_not_the_answer_goes_to_standard_error() {
    let frames = "id: 1\nevent: started\ndata:{}\n\n\
        id: 2\nevent: reasoning\ndata:{\"text\":\"Two and\"}\n\n\
        id: 3\nevent: reasoning\ndata:{\"text\":\" two\"}\n\n\
        id: 4\ndata: Let me\n\n\
        id: 5\nevent: reasoning\ndata:{\"text\":\"hm\"}\n\n\
        id: 6\ndata:  see\n\n\
        id: 7\nevent: tool_call\ndata:{\"index\":0,\"id\":\"a\",\"name\":\"add\",\"arguments\":\"{\\\"x\\\"\"}\n\n\
        id: 8\nevent: tool_call\ndata:{\"index\":1,\"name\":\"now\"}\n\n\
        id: 9\nevent: tool_call\ndata:{\"index\":0,\"arguments\":\":2}\"}\n\n\
        id: 10\nevent: done\ndata:{\"finish_reason\":\"tool_calls\"}\n\n";
    let server = Scripted::answering([Answer::Whole(frames), Answer::Whole(frames)]).await;
    let calls = "tokenwire: the model calls add({\"x\":2})\ntokenwire: the model calls now()\n";
    let hidden = speaking_to(&server.url(), "ask", &["2+2?"]).await;
    assert_eq!((text(&hidden.stdout).as_str(), text(&hidden.stderr).as_str()), ("Let me see\n", calls));
    let shown = speaking_to(&server.url(), "ask", &["--reasoning", "2+2?"]).await;
    assert_eq!(text(&shown.stdout), "Let me see\n");
    assert_eq!(text(&shown.stderr), format!("Two and two\nhm\n{calls}"));
}

#[tokio::test]
async fn models_lists_what_can_be_asked_and_marks_the_default() {
    let app = App::serve(&[]).await;
    let listed = speaking_to(&app.url(""), "models", &[]).await;
    assert_eq!((listed.status.code(), text(&listed.stdout).as_str()), (Some(0), "simulated (default)\n"));
    let json: Value =
        serde_json::from_slice(&speaking_to(&app.url("/"), "models", &["--json"]).await.stdout).unwrap();
    assert_eq!(json, json!([{"id": "simulated", "default": true}]));
    let nowhere = run(&["models", "--url", "http://127.0.0.1:9"]);
    assert_eq!((nowhere.status.code(), text(&nowhere.stdout).as_str()), (Some(7), ""));
    assert!(text(&nowhere.stderr).contains("http://127.0.0.1:9/ cannot be reached"));
}

#[test]
fn options_that_cannot_be_are_bad_usage_before_anything_is_sent() {
    for bad in [
        ["--temperature", "2.1"],
        ["--temperature", "hot"],
        ["--top-p", "-1"],
        ["--top-k", "0"],
        ["--max-tokens", "many"],
        ["--seed", "-1"],
        ["--patience", "soon"],
    ] {
        let output = run(&["ask", "--url", "http://127.0.0.1:9", bad[0], bad[1], "Hello"]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}: {}", text(&output.stderr));
    }
}

#[test]
fn every_problem_with_the_settings_is_explained_at_once() {
    let env = [
        ("TIMEOUT_SECONDS", "soon"),
        ("REDIS_HOST", "localhost"),
        ("REDIS_URL", "http://localhost"),
        ("RABBITMQ_PORT", "99999"),
        ("TOKENWIRE_DATA_DIR", "somewhere"),
    ];
    let output = run_in(&env, &["config", "check", "--slots", "0"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    for name in
        ["TIMEOUT_SECONDS", "REDIS_URL", "REDIS_HOST", "RABBITMQ_PORT", "TOKENWIRE_DATA_DIR", "--slots"]
    {
        assert!(said.contains(name), "{name} is not explained: {said}");
    }
}

#[test]
fn settings_that_fit_are_said_to_fit() {
    let output = run(&["config", "check"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("127.0.0.1:8000"));
    let env = [("REDIS_HOST", ""), ("RABBITMQ_USER", " "), ("TOKENWIRE_SLOTS", "")];
    assert_eq!(run_in(&env, &["config", "check"]).status.code(), Some(0), "blank means not set");
    for role in ["api", "worker"] {
        assert_eq!(run(&["config", "check", "--role", role]).status.code(), Some(0));
    }
}

#[test]
fn a_timeout_that_the_broker_would_not_wait_for_is_refused() {
    let output = run_in(&[("RABBITMQ_HOST", "localhost")], &["config", "check", "--timeout", "45m"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("consumer_timeout"));
}

#[test]
fn settings_may_stand_in_an_environment_file() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join(".env"), "API_PORT=8123\nTIMEOUT_SECONDS=60\n").unwrap();
    let args = ["config", "check"].map(str::to_owned);
    let output = tokenwire(&[], &args).current_dir(scratch.path()).output().unwrap();
    assert!(text(&output.stdout).contains("127.0.0.1:8123"), "{}", text(&output.stderr));
}

fn inspect(dir: &Path, args: &[&str]) -> Output {
    let args: Vec<_> = ["inspect"].iter().chain(args).map(ToString::to_string).collect();
    tokenwire(&[], &args).current_dir(dir).output().unwrap()
}

/// What `inspect` says to a script that insists on success.
fn inspected(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn inspect_shows_a_stream_while_the_server_writes_it_and_after_kill_9() {
    let long = ["--simulated-words", "200", "--simulated-delay", "10ms", "--region", "EAST-1"];
    let mut app = App::serve(&long).await;
    let mut reader = Reader::asking(&app, "a story", 20).await;
    let id = reader.id.to_string();
    let running = inspected(&inspect(app.dir(), &[&id, "--json", "--text"]));
    assert_eq!(running["state"], "running");
    assert_eq!(running["attempts"][0]["region"], "EAST-1");
    assert!(running["text"].as_str().unwrap().starts_with(&reader.text), "I2: what was read is stored");

    app.kill();
    let cut = inspected(&inspect(app.dir(), &[&id, "--json"]));
    assert_eq!((&cut["state"], &cut["text"]), (&"running".into(), &Value::Null));
    assert!(cut["text_bytes"].as_u64() >= running["text_bytes"].as_u64());

    app.start_again().await;
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    let ended = inspected(&inspect(app.dir(), &[&id, "--json", "--text"]));
    assert_eq!((&ended["state"], &ended["newest_attempt"]), (&"ended".into(), &2.into()));
    assert_eq!(ended["text"], reader.text);
    let seqs = ended["entries"].as_array().unwrap().iter().map(|entry| entry["seq"].as_u64());
    assert!(seqs.eq((1..=reader.pieces as u64 + 3).map(Some)), "two beginnings, the pieces, one end (I1)");
    let table = text(&inspect(app.dir(), &[&id]).stdout);
    assert!(table.contains("EAST-1") && !table.contains("story"), "{table}");
}

#[tokio::test]
async fn inspect_shows_a_stream_in_redis() {
    let server = Redis::shared().await;
    let id = GenerationId::fresh();
    let prefix = format!("inspect-{id}");
    let config = redis::Config { url: server.url(), prefix: prefix.clone(), ..redis::Config::default() };
    let log = redis::Redis::new(&config, Arc::new(SystemClock)).unwrap();
    let now = SystemClock.now();
    let spec = StreamSpec {
        fingerprint: Fingerprint::from_bytes([7; 32]),
        caller: Caller::Anonymous,
        on_disconnect: OnDisconnect::Detached,
        created_at: now,
        start_by: now.after(Duration::from_secs(60)),
        end_by: now.after(Duration::from_secs(120)),
        metadata: "what was asked".into(),
        request: "secret request".into(),
    };
    log.create(id, &spec).await.unwrap();
    let mut writer = log.open_writer(id).await.unwrap();
    let started = Event::Started { attempt: Attempt::new(1), text: TextSoFar::Kept, region: None };
    let said = Event::Delta { text: "Hello".to_owned(), tokens: Vec::new() };
    writer.append(&[started, said]).await.unwrap();
    let env = [
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PORT", &server.port().to_string()),
        ("TOKENWIRE_REDIS_PREFIX", &prefix),
    ];
    let running = inspected(&run_in(&env, &["inspect", &id.to_string(), "--json"]));
    assert_eq!((&running["state"], &running["text_bytes"]), (&"running".into(), &5.into()));
    assert_eq!(running["memo_bytes"], 14);
    assert!(running["silent_for_ms"].is_u64(), "Redis knows when its owner was heard of");
    writer.seal(&Event::Failed { failure: Failure::TimedOut }).await.unwrap();
    let output = run_in(&env, &["inspect", &id.to_string()]);
    let table = text(&output.stdout);
    assert!(table.contains("timed out, entry 3") && !table.contains("Hello"), "{table}");
    assert!(table.contains("14 bytes") && !table.contains("what was asked"), "{table}");

    let unknown = GenerationId::fresh().to_string();
    let output = run_in(&env, &["inspect", &unknown]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("there is no generation {unknown} in Redis")), "{said}");
}

#[tokio::test]
async fn inspect_says_what_it_could_not_find() {
    let app = App::serve(&["--simulated-delay", "1ms"]).await;
    let unknown = GenerationId::fresh().to_string();
    for (args, status, reason) in [
        (&[&*unknown][..], 1, "there is no generation"),
        (&[&unknown, "--data-dir", "elsewhere"], 1, "there is no token log in elsewhere"),
        (&[&unknown, "--ephemeral"], 1, "cannot read them"),
        (&[&unknown, "--redis-url", "redis://127.0.0.1:1"], 1, "cannot connect to redis at 127.0.0.1:1"),
        (&["42"], 2, "not a UUID"),
    ] {
        let output = inspect(app.dir(), args);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(status), ""), "{said}");
        assert!(said.contains(reason), "{said}");
    }
    assert!(!app.dir().join("elsewhere").exists());
}

#[tokio::test]
async fn a_redis_cluster_is_refused_at_the_start_in_one_sentence() {
    let node = Redis::start_cluster_node().await;
    for role in ["api", "worker"] {
        let url = format!("{}/0", node.url());
        let output = run(&[role, "--redis-url", &url]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("is a node of a Redis Cluster, which Tokenwire does not support"), "{said}");
    }
}
