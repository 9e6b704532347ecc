//! A server that answers as a test says, to the byte, and remembers what it was asked. For what the real one does not do on
//! demand: reasoning, tool calls, an answer that starts over or never ends.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What one connection to `/ask` is answered with: frames of a stream.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// Then the body ends.
    Whole(&'static str),
    /// Then nothing, for as long as the client likes.
    Held(&'static str),
}

pub(crate) struct Scripted {
    port: u16,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// Ends with the test.
    _serving: JoinSet<()>,
}

impl Scripted {
    /// Gives each request to read an answer the next of these.
    pub(crate) async fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut answers = answers.into_iter().collect::<Vec<_>>().into_iter();
        let seen = Arc::clone(&asked);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let (line, body) = read(&mut client).await;
                let stop = line.starts_with("DELETE");
                seen.lock().unwrap().push((line, body));
                let answer = if stop { None } else { Some(answers.next().expect("one more than scripted")) };
                let (status, frames) = match answer {
                    None => ("202 Accepted", ""),
                    Some(Answer::Whole(frames) | Answer::Held(frames)) => ("200 OK", frames),
                };
                let response = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n{frames}");
                client.write_all(response.as_bytes()).await.unwrap();
                if matches!(answer, Some(Answer::Held(_))) {
                    held.push(client);
                }
            }
        });
        Self { port, asked, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The bodies of every `POST /ask`, in order.
    pub(crate) fn questions(&self) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(line, _)| line.starts_with("POST /ask "))
            .map(|(_, body)| body.clone())
            .collect()
    }

    /// How often an answer was stopped.
    pub(crate) fn stops(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|(line, _)| line.starts_with("DELETE /ask/")).count()
    }
}

/// The request line, and the body as JSON if there is one.
async fn read(client: &mut TcpStream) -> (String, Value) {
    let mut client = BufReader::new(client);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_ascii_lowercase()),
        }
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    client.read_exact(&mut body).await.unwrap();
    let line = head.into_iter().next().unwrap_or_default();
    let line = line.replacen("post", "POST", 1).replacen("delete", "DELETE", 1);
    (line, serde_json::from_slice(&body).unwrap_or_default())
}
