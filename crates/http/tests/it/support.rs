//! A stage: front ends over memory, with the test as the worker.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{Method, Request, Response},
};
use tokenwire_core::{
    Attempt, Caller, Conversation, Event, FinishReason, GenerateRequest, GenerationId, Generations, Job,
    JobQueue, Message, ModelName, SystemClock, TextSoFar, TokenLog, Usage,
    catalogue::ModelNames,
    generations::{Limits, Submission},
    token_log::OnDisconnect,
};
use tokenwire_http::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::stores::{self, Unattended};

/// How long a test waits for what must come: far longer than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Stage {
    pub(crate) log: Arc<dyn TokenLog>,
    pub(crate) generations: Generations,
    pub(crate) config: Config,
    pub(crate) drain: CancellationToken,
    pub(crate) router: Router,
    accepted: Option<watch::Receiver<Option<Job>>>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let queue = Arc::new(Unattended::default());
        let accepted = queue.last.subscribe();
        Self { accepted: Some(accepted), ..Self::over(stores::memory(), queue, config) }
    }

    pub(crate) fn over(log: Arc<dyn TokenLog>, queue: Arc<dyn JobQueue>, config: Config) -> Self {
        let models =
            ModelNames::new(ModelName::new("simulated").unwrap(), [ModelName::new("other").unwrap()]);
        Self::build(log, queue, models, config)
    }

    pub(crate) fn knowing(models: ModelNames) -> Self {
        Self::build(stores::memory(), Arc::new(Unattended::default()), models, Config::default())
    }

    /// Another server over the same log, where too many prompts wait already.
    pub(crate) fn overloaded(&self) -> Self {
        let other = self.replica();
        let generations = other.generations.with_waiting_at_most(0);
        let router = tokenwire_http::router(generations.clone(), &other.config, other.drain.clone());
        Self { generations, router, ..other }
    }

    fn build(log: Arc<dyn TokenLog>, queue: Arc<dyn JobQueue>, models: ModelNames, config: Config) -> Self {
        let limits = Limits { queue_time: Duration::from_secs(60), run_time: Duration::from_secs(60) };
        let generations = Generations::new(Arc::clone(&log), queue, Arc::new(SystemClock), models, limits);
        let drain = CancellationToken::new();
        let router = tokenwire_http::router(generations.clone(), &config, drain.clone());
        Self { log, generations, config, drain, router, accepted: None }
    }

    /// The generation that was accepted last; waits for the first.
    pub(crate) async fn accepted(&self) -> GenerationId {
        self.last_job(|_| true).await.id
    }

    /// The next one that is accepted after this.
    pub(crate) async fn accepted_after(&self, other: GenerationId) -> GenerationId {
        self.last_job(|job| job.id != other).await.id
    }

    /// What the model is asked in the generation that was accepted last.
    pub(crate) async fn request(&self) -> Vec<Message> {
        self.last_job(|_| true).await.request.unwrap().conversation.messages().to_vec()
    }

    async fn last_job(&self, wanted: impl Fn(&Job) -> bool) -> Job {
        let mut accepted = self.accepted.clone().expect("a stage with a queue that tells");
        let job = timeout(PATIENCE, accepted.wait_for(|job| job.as_ref().is_some_and(&wanted)));
        job.await.expect("a generation").unwrap().clone().expect("waited for")
    }

    /// Another server over the same log.
    pub(crate) fn replica(&self) -> Self {
        Self::over(Arc::clone(&self.log), Arc::new(Unattended::default()), self.config.clone())
    }

    /// A generation that no worker has begun.
    pub(crate) async fn queued(&self) -> GenerationId {
        let request =
            GenerateRequest::new(ModelName::new("simulated").unwrap(), Conversation::of("Hello").unwrap());
        let id = GenerationId::fresh();
        let (on_disconnect, metadata) = (OnDisconnect::Detached, Bytes::new());
        let submission = Submission { id, caller: Caller::Anonymous, request, on_disconnect, metadata };
        self.generations.submit(submission).await.unwrap();
        id
    }

    /// A generation with these entries, sealed when the last of them is terminal.
    pub(crate) async fn written(&self, events: &[Event]) -> GenerationId {
        let id = self.queued().await;
        self.write(id, events).await;
        id
    }

    pub(crate) async fn write(&self, id: GenerationId, events: &[Event]) {
        let mut writer = self.log.open_writer(id).await.unwrap();
        for event in events {
            if event.is_terminal() {
                writer.seal(event).await.unwrap();
            } else {
                writer.append(std::slice::from_ref(event)).await.unwrap();
            }
        }
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        timeout(PATIENCE, self.router.clone().oneshot(request)).await.expect("an answer").unwrap()
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        self.call(Method::GET, path, headers, Body::empty()).await
    }

    pub(crate) async fn post(&self, body: &str) -> Response<Body> {
        self.call(Method::POST, "/ask", &[JSON], body.to_owned()).await
    }

    /// Serves the stage on a socket.
    pub(crate) async fn serve(&self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let (generations, config) = (self.generations.clone(), self.config.clone());
        tasks.spawn(tokenwire_http::serve(listener, generations, config, soft.clone(), hard.clone()));
        Server { address, soft, hard, tasks }
    }
}

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) fn started(attempt: u32, text: TextSoFar) -> Event {
    Event::Started { attempt: Attempt::new(attempt), text, region: Some("EAST-1".to_owned()) }
}

pub(crate) fn delta(text: &str) -> Event {
    Event::Delta { text: text.to_owned(), tokens: Vec::new() }
}

pub(crate) fn done() -> Event {
    Event::Finished { reason: FinishReason::Stop, usage: Usage { input_tokens: 1, output_tokens: 2 } }
}

/// A whole body as text, which must end politely.
pub(crate) async fn text(response: Response<Body>) -> String {
    let body = timeout(PATIENCE, to_bytes(response.into_body(), usize::MAX)).await.expect("an end").unwrap();
    utf8(&body)
}

/// The next part of a streaming body; `None` at its orderly end.
pub(crate) async fn piece(body: &mut Body) -> Option<Result<String, axum::Error>> {
    use http_body_util::BodyExt;
    let frame = timeout(PATIENCE, body.frame()).await.expect("a part of the body")?;
    Some(frame.map(|frame| utf8(&frame.into_data().expect("no trailers"))))
}

fn utf8(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8, and no frame cut inside a character")
}

/// A server on a socket; a hard stop when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) soft: CancellationToken,
    pub(crate) hard: CancellationToken,
    tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn connect(&self) -> Connection {
        let stream =
            timeout(PATIENCE, TcpStream::connect(self.address)).await.expect("a connection").unwrap();
        Connection { stream, received: Vec::new() }
    }

    /// A connection whose kernel takes little on its behalf.
    pub(crate) async fn connect_narrow(&self) -> Connection {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        let stream = timeout(PATIENCE, socket.connect(self.address)).await.expect("a connection").unwrap();
        Connection { stream, received: Vec::new() }
    }

    /// One request on a connection of its own; everything that came back.
    pub(crate) async fn exchange(&self, request: &str) -> String {
        let mut connection = self.connect().await;
        connection.send(request).await;
        connection.rest().await
    }

    /// Asks again until the answer is a 200: another client has to disconnect first.
    pub(crate) async fn comes_to_serve(&self, request: &str) {
        let served = async {
            loop {
                let mut connection = self.connect().await;
                connection.send(request).await;
                if connection.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 OK") {
                    return;
                }
            }
        };
        timeout(PATIENCE, served).await.expect("a 200");
    }

    pub(crate) async fn refuses_connections(&self) -> bool {
        TcpStream::connect(self.address).await.is_err()
    }

    /// Waits until the server has ended by itself.
    pub(crate) async fn ended(&mut self) {
        timeout(PATIENCE, self.tasks.join_next()).await.expect("the end of the server").unwrap().unwrap();
    }
}

/// A connection that speaks whatever the test says.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Sends what the server takes: one that has answered may close before it has read everything.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes).await;
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.expect("room to write")
    }

    /// Everything received so far, once it contains this.
    pub(crate) async fn until(&mut self, expected: &str) -> String {
        loop {
            let received = String::from_utf8_lossy(&self.received).into_owned();
            if received.contains(expected) {
                return received;
            }
            assert!(self.read().await, "the connection ended before {expected:?}, after {received:?}");
        }
    }

    /// Everything received until the server closed.
    pub(crate) async fn rest(mut self) -> String {
        while self.read().await {}
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// Receives so many bytes more, at most so many at a time, unless the server ends before.
    pub(crate) async fn sip(&mut self, count: usize, at_a_time: usize) {
        let until = self.received.len() + count;
        while self.received.len() < until {
            let mut sip = vec![0; at_a_time.min(until - self.received.len())];
            match timeout(PATIENCE, self.stream.read(&mut sip)).await.expect("bytes, or an end") {
                Ok(0) | Err(_) => return,
                Ok(count) => self.received.extend_from_slice(&sip[..count]),
            }
        }
    }

    /// Whether the server ends with a reset.
    pub(crate) async fn was_reset(mut self) -> bool {
        loop {
            match self.receive().await {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    async fn read(&mut self) -> bool {
        self.receive().await.is_ok_and(|count| count > 0)
    }

    async fn receive(&mut self) -> std::io::Result<usize> {
        timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await.expect("bytes, or an end")
    }
}
