//! A model service for the product's upstream adapter: OpenAI-compatible, in this process, and busy or away on demand.
//!
//! It says what the simulated model says. Given the beginning of an answer, it continues that answer exactly. So an
//! answer that was cut has one right text. It refuses a beginning that differs from its own answer: then the generation ends as
//! rejected, and the run counts that as a violation.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use futures::StreamExt;
use model::{Simulated, simulated};
use serde_json::{Value, json};
use testkit::services::free_port;
use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, Model, ModelName, model::Output, token_log::Prefix,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use crate::plan::{Fault, PACES, REFUSED, WORDS};

/// How often a port that the system has not given back yet is tried again.
const BIND_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Upstream {
    port: u16,
    shared: Arc<Shared>,
    /// The listener and every connection. Empty while the service is away.
    accepting: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Open,
    /// New requests get 503. Answers that have begun go on.
    Busy { retry_after: Option<Duration> },
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared { state: watch::Sender::default() });
        let mut upstream = Self { port: free_port(), shared, accepting: JoinSet::new() };
        upstream.listen().await;
        upstream
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Suffers a fault, and is open again when this returns.
    pub(crate) async fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Busy { lasts, retry_after } => {
                self.shared.state.send_replace(State::Busy { retry_after });
                sleep(lasts).await;
                self.shared.state.send_replace(State::Open);
            }
            Fault::Closed { lasts } => {
                // The listener is dropped, and every connection with it.
                self.accepting.shutdown().await;
                sleep(lasts).await;
                self.listen().await;
            }
            _ => {}
        }
    }

    async fn listen(&mut self) {
        let listener = loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await {
                Ok(listener) => break listener,
                Err(_) => sleep(BIND_AGAIN).await,
            }
        };
        self.accepting.spawn(accept(listener, Arc::clone(&self.shared)));
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // An error is a client that has gone away before it was accepted.
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let _ = serve(client, &shared).await;
                });
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request after the other, until the client goes away.
async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    while let Some(body) = read_request(&mut client).await? {
        let state = *shared.state.borrow();
        match state {
            State::Busy { retry_after } => {
                let header = retry_after
                    .map(|after| format!("retry-after: {}\r\n", after.as_secs()))
                    .unwrap_or_default();
                whole(&mut client, "503 Service Unavailable", &header, "all slots are busy").await?;
            }
            State::Open => answer(&mut client, &body).await?,
        }
    }
    Ok(())
}

async fn answer(client: &mut TcpStream, body: &Value) -> io::Result<()> {
    let (prompt, so_far) = read_messages(body);
    if prompt.starts_with(REFUSED) {
        return whole(client, "400 Bad Request", "", "this prompt is refused").await;
    }
    let Ok(conversation) = Conversation::of(prompt.clone()) else {
        return whole(client, "400 Bad Request", "", "there is no prompt").await;
    };
    let name = ModelName::new("upstream").expect("a plain name");
    let request = GenerateRequest::new(name, conversation);
    let config =
        simulated::Config { delay: pace(&prompt), words: Some(WORDS), ..simulated::Config::default() };
    let so_far = Prefix { text: so_far, ..Prefix::default() };
    let model = Simulated::new(config);
    let Ok(mut outputs) = model.generate(GenerationId::fresh(), &request, &so_far).await else {
        return whole(client, "400 Bad Request", "", "the answer so far is not of this model").await;
    };
    client
        .write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await?;
    let mut said = 0;
    while let Some(Ok(output)) = outputs.next().await {
        match output {
            Output::Text { text, .. } => {
                said += 1;
                let delta = json!({ "content": text });
                let choice = json!({ "index": 0, "delta": delta, "finish_reason": null });
                event(client, &json!({ "choices": [choice] }).to_string()).await?;
            }
            Output::Finished { usage, .. } => {
                let choice = json!({ "index": 0, "delta": {}, "finish_reason": "stop" });
                event(client, &json!({ "choices": [choice] }).to_string()).await?;
                // As real services count: what this call said, and no more.
                let usage = json!({ "prompt_tokens": usage.input_tokens, "completion_tokens": said });
                event(client, &json!({ "choices": [], "usage": usage }).to_string()).await?;
                event(client, "[DONE]").await?;
            }
            _ => {}
        }
    }
    client.write_all(b"0\r\n\r\n").await
}

/// The prompt, and the text so far where there is one.
fn read_messages(body: &Value) -> (String, String) {
    let messages = body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let of = |role: &str| {
        let message =
            messages.iter().rfind(|message| message.get("role").and_then(Value::as_str) == Some(role));
        let content = message.and_then(|message| message.get("content")).and_then(Value::as_str);
        content.unwrap_or_default().to_owned()
    };
    (of("user"), of("assistant"))
}

/// The time between two words: one of the paces, the same for every attempt at a prompt.
fn pace(prompt: &str) -> Duration {
    let sum = prompt.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let millis = PACES.get(sum % PACES.len()).copied().unwrap_or_default();
    Duration::from_millis(millis)
}

async fn event(client: &mut TcpStream, data: &str) -> io::Result<()> {
    let event = format!("data: {data}\n\n");
    client.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await
}

/// An answer that is no stream.
async fn whole(client: &mut TcpStream, status: &str, headers: &str, message: &str) -> io::Result<()> {
    let body = json!({ "error": { "message": message } }).to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-type: application/json\r\n");
    client.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await
}

/// The body of the next request. None at the end of the connection.
async fn read_request(client: &mut TcpStream) -> io::Result<Option<Value>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break bytes.drain(..end + 4).collect::<Vec<_>>();
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    while bytes.len() < length {
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the service sends for one request, to the end of the connection or for this long.
    async fn ask(port: u16, body: &Value) -> String {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let body = body.to_string();
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        client.write_all((head + &body).as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        said
    }

    fn request(messages: &Value) -> Value {
        json!({ "model": "chaos", "stream": true, "messages": messages })
    }

    fn text(said: &str) -> String {
        let data = said.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter_map(|data| serde_json::from_str::<Value>(data).ok())
            .filter_map(|chunk| Some(chunk.pointer("/choices/0/delta/content")?.as_str()?.to_owned()))
            .collect()
    }

    /// One that is answered at the fastest pace.
    fn quick_prompt() -> String {
        let mut prompts = (0..1000).map(|number| format!("Question {number}?"));
        prompts.find(|prompt| pace(prompt).as_millis() == 2).unwrap()
    }

    #[tokio::test]
    async fn a_text_that_was_cut_is_continued_exactly() {
        let upstream = Upstream::start().await;
        let prompt = quick_prompt();
        let whole =
            text(&ask(upstream.port(), &request(&json!([{ "role": "user", "content": prompt }]))).await);
        assert_eq!(whole.split_whitespace().count(), WORDS);
        let cut = whole.len() / 2;
        let cut = whole[..cut].rfind(' ').unwrap();
        let messages = json!([
            { "role": "user", "content": prompt },
            { "role": "assistant", "content": whole[..cut] },
        ]);
        let rest = ask(upstream.port(), &request(&messages)).await;
        assert_eq!(format!("{}{}", &whole[..cut], text(&rest)), whole);
        let foreign = json!([
            { "role": "user", "content": prompt },
            { "role": "assistant", "content": "Something else" },
        ]);
        let refused = ask(upstream.port(), &request(&foreign)).await;
        assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    }

    #[tokio::test]
    async fn it_is_busy_or_away_for_a_while_and_then_open_again() {
        let mut upstream = Upstream::start().await;
        let port = upstream.port();
        let asking = request(&json!([{ "role": "user", "content": quick_prompt() }]));
        let lasts = Duration::from_millis(300);
        let busy = Fault::Busy { lasts, retry_after: Some(Duration::from_secs(7)) };
        let ((), said) = tokio::join!(upstream.inject(busy), ask(port, &asking));
        assert!(said.starts_with("HTTP/1.1 503") && said.contains("retry-after: 7\r\n"), "{said}");
        let ((), connected) = tokio::join!(upstream.inject(Fault::Closed { lasts }), async {
            tokio::task::yield_now().await;
            sleep(lasts / 2).await;
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map(drop)
        });
        assert!(connected.is_err());
        assert!(ask(port, &asking).await.starts_with("HTTP/1.1 200"));
    }
}
