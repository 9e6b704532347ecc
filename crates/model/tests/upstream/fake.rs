//! A service that answers with any bytes, in any pieces, and sees when its callers go away. It speaks just enough HTTP/1.1.

use std::{
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use model::upstream::{Config, Upstream};
use serde_json::{Value, json};
use tokenwire_core::{
    Conversation, FinishReason, GenerateRequest, GenerationId, Model, ModelName, Usage,
    model::{ModelError, Output, OutputStream},
    token_log::Prefix,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// One thing that a reply does.
#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    /// Say nothing more until the caller goes away.
    Stall,
    /// End the connection, politely or not.
    Close,
    Reset,
}

/// What the fake does with one request. It keeps the connection unless it says otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply(Vec<Step>);

impl Reply {
    /// Nothing yet.
    pub(crate) fn silence() -> Self {
        Self::default()
    }

    /// A whole response that is no stream.
    pub(crate) fn status(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::silence().raw(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"))
    }

    /// The head of a stream.
    pub(crate) fn stream() -> Self {
        Self::stream_of("text/event-stream; charset=utf-8")
    }

    pub(crate) fn stream_of(content_type: &str) -> Self {
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n");
        Self::silence().raw(head)
    }

    /// A stream that says these pieces of text, and ends as it should.
    pub(crate) fn answer<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Self {
        let begun = Self::stream().event(&delta(&json!({"role": "assistant", "content": null})));
        let said = pieces.into_iter().fold(begun, Reply::text);
        said.event(&finish("stop")).event(&usage(7, 3)).done()
    }

    pub(crate) fn raw(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.push(Step::Send(bytes.into()));
        self
    }

    /// These bytes of the body as one piece, which the caller gets as one.
    pub(crate) fn chunk(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return self; // An empty chunk would be the end.
        }
        self.raw([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
    }

    pub(crate) fn event(self, data: &Value) -> Self {
        self.chunk(format!("data: {data}\n\n"))
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.event(&delta(&json!({"content": text})))
    }

    /// `[DONE]`, and the end of the body.
    pub(crate) fn done(self) -> Self {
        self.chunk("data: [DONE]\n\n").end()
    }

    pub(crate) fn end(self) -> Self {
        self.raw("0\r\n\r\n")
    }

    pub(crate) fn stall(mut self) -> Self {
        self.0.push(Step::Stall);
        self
    }

    pub(crate) fn close(mut self) -> Self {
        self.0.push(Step::Close);
        self
    }

    pub(crate) fn reset(mut self) -> Self {
        self.0.push(Step::Reset);
        self
    }
}

pub(crate) fn delta(delta: &Value) -> Value {
    json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": null}], "usage": null})
}

pub(crate) fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

pub(crate) fn usage(input: u64, output: u64) -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": input, "completion_tokens": output}})
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Value,
}

type Script = Box<dyn Fn(usize, &Value) -> Reply + Send + Sync>;

/// The service. It is gone when it is dropped, and its connections with it.
pub(crate) struct Fake {
    shared: Arc<Shared>,
    port: u16,
    _accepting: JoinSet<()>,
}

struct Shared {
    script: Script,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    running: AtomicUsize,
}

impl Fake {
    /// A service that gives these replies in turn, the last one for ever.
    pub(crate) async fn replying(replies: impl Into<Vec<Reply>>) -> Self {
        let replies = replies.into();
        Self::with(move |request, _| replies[request.min(replies.len() - 1)].clone()).await
    }

    /// A service that looks at the number of the request, from 0, and its body.
    pub(crate) async fn with(script: impl Fn(usize, &Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, Box::new(script))
    }

    /// A service at a port of which it is known that nobody listens there.
    pub(crate) async fn at(port: u16, reply: Reply) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        Self::on(listener, Box::new(move |_, _| reply.clone()))
    }

    fn on(listener: TcpListener, script: Script) -> Self {
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            script,
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Self { shared, port, _accepting: accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How this service is used: with short waits, since every one of them is waited for.
    pub(crate) fn config(&self) -> Config {
        config(&[self.port])
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many requests are being answered now.
    pub(crate) fn running(&self) -> usize {
        self.shared.running.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    while let Some((head, body)) = read_request(&mut stream).await {
        let number = {
            let mut seen = shared.seen.lock().unwrap();
            seen.push(Seen { head, body: body.clone() });
            seen.len() - 1
        };
        let reply = (shared.script)(number, &body);
        shared.running.fetch_add(1, Ordering::SeqCst);
        let kept = play(&mut stream, reply).await;
        shared.running.fetch_sub(1, Ordering::SeqCst);
        if !kept {
            return;
        }
    }
}

/// Whether the connection goes on.
async fn play(stream: &mut TcpStream, reply: Reply) -> bool {
    for step in reply.0 {
        match step {
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return false;
                }
            }
            Step::Stall => {
                let _ = stream.read(&mut [0]).await;
                return false;
            }
            Step::Close => return false,
            Step::Reset => {
                stream.set_zero_linger().unwrap();
                return false;
            }
        }
    }
    true
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    while bytes.len() < length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, serde_json::from_slice(&bytes).unwrap()))
}

/// A port on which nobody listens.
pub(crate) async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

pub(crate) fn config(ports: &[u16]) -> Config {
    let urls = ports.iter().map(|port| format!("http://127.0.0.1:{port}/v1").parse().unwrap()).collect();
    // Long where nothing is to happen; tests that wait for a time-out make it short.
    let patience = Duration::from_secs(60);
    Config { connect_timeout: patience, idle_timeout: patience, ..Config::new(urls, "theirs") }
}

pub(crate) fn upstream(config: Config) -> Upstream {
    static TLS: Once = Once::new();
    TLS.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    Upstream::new(config).unwrap()
}

pub(crate) fn request() -> GenerateRequest {
    GenerateRequest::new(ModelName::new("ours").unwrap(), Conversation::of("a private prompt").unwrap())
}

pub(crate) fn so_far(text: &str) -> Prefix {
    Prefix { text: text.to_owned(), ..Prefix::default() }
}

pub(crate) async fn ask(upstream: &Upstream) -> OutputStream {
    ask_after(upstream, "").await
}

pub(crate) async fn ask_after(upstream: &Upstream, text: &str) -> OutputStream {
    upstream.generate(GenerationId::fresh(), &request(), &so_far(text)).await.unwrap()
}

/// Everything that was said, signs of life left out, and how it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) said: Vec<Output>,
    pub(crate) end: Result<(FinishReason, Usage), ModelError>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        let text = |output: &Output| match output {
            Output::Text { text, .. } => text.clone(),
            other => panic!("not text: {other:?}"),
        };
        self.said.iter().map(text).collect()
    }

    /// Why it is not whole, as the worker would log it.
    pub(crate) fn failure(&self) -> String {
        tokenwire_core::explain(self.end.as_ref().unwrap_err())
    }

    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self.end, Err(ModelError::Unavailable(_)))
    }

    /// How long to wait where the model was never asked: it is busy or absent.
    pub(crate) fn wait(&self) -> Option<Duration> {
        match self.end {
            Err(ModelError::Busy { retry_after } | ModelError::Absent { retry_after, .. }) => {
                Some(retry_after)
            }
            _ => None,
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.end.is_ok()
    }
}

pub(crate) async fn answer(upstream: &Upstream) -> Answer {
    read(ask(upstream).await).await
}

/// Runs something with real sockets while a paused clock stands still: tokio moves it only where a runtime has nothing to do.
pub(crate) async fn frozen<T>(work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = async { loop { tokio::task::yield_now().await } } => never,
    }
}

pub(crate) async fn read(mut outputs: OutputStream) -> Answer {
    let mut said = Vec::new();
    let end = loop {
        match outputs.next().await.expect("an answer ends with a finish or an error") {
            Ok(Output::Working) => {}
            Ok(Output::Finished { reason, usage }) => break Ok((reason, usage)),
            Ok(output) => said.push(output),
            Err(error) => break Err(error),
        }
    };
    assert!(outputs.next().await.is_none(), "nothing follows the end");
    Answer { said, end }
}

/// Waits for something that the fake sees. The bound is for tests that fail.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut looks = 0;
    while !is_so() {
        looks += 1;
        assert!(looks < 6_000, "it is not so that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
