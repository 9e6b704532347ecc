//! Responses over WebSockets, with a third-party client.

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::Bytes,
    http::{Method, StatusCode},
};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokenwire_core::{
    CancelCause, Event, Failure, GenerationId, Message as Said, TextSoFar, ToolCallDelta,
    token_log::OnDisconnect,
};
use tokenwire_http::{Config, Cors};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue},
    },
};

use super::{RESPONSES, asked};
use crate::support::{PATIENCE, Server, Stage, delta, done, started, text};

/// A client's end of a socket.
struct Client {
    stream: WebSocketStream<TcpStream>,
}

async fn try_connect(address: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Client, Error> {
    let mut request = format!("ws://{address}{RESPONSES}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    let connected = timeout(PATIENCE, client_async(request, stream)).await.expect("an answer");
    connected.map(|(stream, _)| Client { stream })
}

async fn connect(server: &Server) -> Client {
    try_connect(server.address, &[]).await.unwrap()
}

/// Why there is no socket: the status, and the object inside the envelope.
async fn refused(server: &Server, headers: &[(&'static str, &str)]) -> StatusCode {
    match try_connect(server.address, headers).await {
        Err(Error::Http(response)) => response.status(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a socket"),
    }
}

impl Client {
    async fn send(&mut self, message: Message) {
        timeout(PATIENCE, self.stream.send(message)).await.expect("room to write").unwrap();
    }

    async fn create(&mut self, more: &Value) {
        let mut request = asked(more);
        request["type"] = json!("response.create");
        self.send(Message::text(request.to_string())).await;
    }

    async fn message(&mut self) -> Option<Result<Message, Error>> {
        timeout(PATIENCE, self.stream.next()).await.expect("a message, or an end")
    }

    /// The next event.
    async fn event(&mut self) -> Value {
        loop {
            match self.message().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_))) => {}
                other => panic!("an event, not {other:?}"),
            }
        }
    }

    /// Events up to the last of a response.
    async fn events(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            events.push(self.event().await);
            let name = events.last().unwrap()["type"].as_str().unwrap();
            if ["response.completed", "response.incomplete", "response.failed"].contains(&name) {
                return events;
            }
        }
    }

    /// A refusal: its status, and the object inside.
    async fn refusal(&mut self) -> (u64, Value) {
        let event = self.event().await;
        assert_eq!(event.as_object().unwrap().len(), 3, "{event}");
        assert_eq!(event["type"], "error");
        let fields: Vec<_> = event["error"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["code", "message", "param", "type"]);
        (event["status"].as_u64().unwrap(), event["error"].clone())
    }

    /// The code with which the server closes.
    async fn closed(mut self) -> u16 {
        loop {
            match self.message().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                other => panic!("a close frame, not {other:?}"),
            }
        }
    }
}

fn generation(event: &Value) -> GenerationId {
    event["response"]["id"].as_str().unwrap().strip_prefix("resp_").unwrap().parse().unwrap()
}

impl Stage {
    /// A response over a socket whose generation has these entries, to its last event.
    async fn said_to(&self, client: &mut Client, more: &Value, entries: &[Event]) -> Vec<Value> {
        client.create(more).await;
        let created = client.event().await;
        self.write(generation(&created), entries).await;
        [vec![created], client.events().await].concat()
    }
}

fn says(text: &str) -> [Event; 3] {
    [started(1, TextSoFar::Kept), delta(text), done()]
}

fn name(event: &Value) -> String {
    format!("resp_{}", generation(event))
}

#[tokio::test]
async fn responses_follow_one_another_and_are_told_as_in_a_stream() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let mut client = connect(&server).await;
    for words in ["one", "two"] {
        let told = stage.said_to(&mut client, &json!({"metadata": {"a": "b"}}), &says(words)).await;
        let streamed = text(stage.response(Method::GET, generation(&told[0]), "?stream=true").await).await;
        let data = streamed.lines().filter_map(|line| line.strip_prefix("data:"));
        let data: Vec<Value> = data.map_while(|data| serde_json::from_str(data).ok()).collect();
        assert_eq!(told, data);
        let numbers: Vec<_> = told.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..told.len() as u64).collect::<Vec<_>>());
        assert_eq!(told.last().unwrap()["response"]["output"][0]["content"][0]["text"], words);
    }
}

#[tokio::test]
async fn the_next_request_may_come_right_after_the_last_event() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let mut client = connect(&server).await;
    for _ in 0..50 {
        let told = stage.said_to(&mut client, &json!({}), &[done()]).await;
        assert_eq!(told.last().unwrap()["type"], "response.completed");
    }
}

#[tokio::test]
async fn one_response_runs_at_a_time_and_a_second_request_does_it_no_harm() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let mut client = connect(&server).await;
    client.create(&json!({})).await;
    let created = client.event().await;
    client.create(&json!({"input": "impatient"})).await;
    let (status, error) = client.refusal().await;
    assert_eq!((status, &error["code"]), (400, &json!("response_already_in_flight")));
    stage.write(generation(&created), &says("Hello")).await;
    let events = client.events().await;
    assert_eq!(events.last().unwrap()["response"]["status"], "completed");
    assert!(stage.request().await == [Said::user("Hello")], "the second was never accepted");
}

#[tokio::test]
async fn only_its_own_socket_continues_a_response_that_is_not_stored() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let (mut client, mut other) = (connect(&server).await, connect(&server).await);
    let private = json!({"input": "1", "store": false});
    let first = name(&stage.said_to(&mut client, &private, &says("one")).await[0]);
    let on = json!({"input": "2", "store": false, "previous_response_id": first});
    other.create(&on).await;
    let (status, error) = other.refusal().await;
    assert_eq!((status, &error["code"]), (400, &json!("previous_response_not_found")));
    assert_eq!(error["param"], "previous_response_id");
    stage.said_to(&mut client, &on, &says("two")).await;
    assert!(stage.request().await == [Said::user("1"), Said::assistant("one"), Said::user("2")]);
    // Only the last one.
    client.create(&on).await;
    assert_eq!(client.refusal().await.1["code"], "previous_response_not_found");
    // Every client can read a stored response.
    let stored = name(&stage.said_to(&mut client, &json!({}), &says("three")).await[0]);
    stage.said_to(&mut other, &json!({"previous_response_id": stored}), &says("four")).await;
}

#[tokio::test]
async fn a_failed_continuation_forgets_what_it_was_to_go_on_from() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let nobodys = json!([{"type": "function_call_output", "call_id": "call_1", "output": "a"}]);
    let failed = Event::Failed { failure: Failure::Lost };
    for fails_late in [false, true] {
        let mut client = connect(&server).await;
        let private = json!({"input": "1", "store": false});
        let first = name(&stage.said_to(&mut client, &private, &says("one")).await[0]);
        let mut on = json!({"input": "2", "store": false, "previous_response_id": first});
        if fails_late {
            let told = stage.said_to(&mut client, &on, std::slice::from_ref(&failed)).await;
            assert_eq!(told[told.len() - 2]["type"], "error");
        } else {
            let mut wrong = on.clone();
            wrong["input"] = nobodys.clone();
            client.create(&wrong).await;
            assert_eq!(client.refusal().await.1["param"], "input[0].call_id");
        }
        on["input"] = json!("stale");
        client.create(&on).await;
        assert_eq!(client.refusal().await.1["code"], "previous_response_not_found");
        // The socket itself still works.
        stage.said_to(&mut client, &private, &says("one")).await;
    }
}

#[tokio::test]
async fn the_result_of_a_call_goes_on_where_the_call_was_made() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let mut client = connect(&server).await;
    let call = Event::ToolCall(ToolCallDelta {
        index: 0,
        id: Some("call_1".to_owned()),
        name: Some("look".to_owned()),
        arguments: "{}".to_owned(),
    });
    let first = stage.said_to(&mut client, &json!({"store": false}), &[call, done()]).await;
    let result = json!([{"type": "function_call_output", "call_id": "call_1", "output": "b"}]);
    let on = json!({"input": result, "store": false, "previous_response_id": name(&first[0])});
    let told = stage.said_to(&mut client, &on, &says("c")).await;
    assert_eq!(told.last().unwrap()["response"]["status"], "completed");
}

#[tokio::test]
async fn a_warm_up_is_answered_without_a_model_and_gone_on_from() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let mut client = connect(&server).await;
    let rules = json!([{"role": "developer", "content": "Be kind."}]);
    client.create(&json!({"generate": false, "input": rules, "store": true})).await;
    let events = client.events().await;
    let told: Vec<_> =
        events.iter().map(|event| (event["type"].as_str().unwrap(), &event["sequence_number"])).collect();
    let expected = [
        ("response.created", &json!(0)),
        ("response.in_progress", &json!(1)),
        ("response.completed", &json!(2)),
    ];
    assert_eq!(told, expected);
    let warm = &events[2]["response"];
    assert_eq!(
        (&warm["output"], &warm["usage"]["total_tokens"], &warm["store"]),
        (&json!([]), &json!(0), &json!(false))
    );
    assert_eq!(warm.as_object().unwrap().len(), 31);
    let on = json!({"previous_response_id": warm["id"], "store": false});
    let next = stage.said_to(&mut client, &on, &says("one")).await;
    assert!(stage.request().await == [Said::system("Be kind."), Said::user("Hello")]);
    // Also later, and the chain goes on too.
    stage
        .said_to(&mut client, &json!({"previous_response_id": name(&next[0]), "store": false}), &says("two"))
        .await;
    stage.said_to(&mut client, &on, &says("three")).await;
    assert!(stage.request().await == [Said::system("Be kind."), Said::user("Hello")]);
    // It ends with its socket, and was never a response that could be read.
    let mut other = connect(&server).await;
    other.create(&on).await;
    assert_eq!(other.refusal().await.1["code"], "previous_response_not_found");
    assert_eq!(stage.response(Method::GET, generation(&events[0]), "").await.status(), 404);
    client.create(&json!({"generate": false, "input": null})).await;
    assert_eq!(client.events().await.len(), 3);
}

#[tokio::test]
async fn what_is_refused_is_told_and_the_socket_stays() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let mut client = connect(&server).await;
    for (request, status, param) in [
        ("a".to_owned(), 400, Value::Null),
        ("[]".to_owned(), 400, Value::Null),
        (json!({"input": "a"}).to_string(), 400, json!("type")),
        (json!({"type": "session.update"}).to_string(), 400, json!("type")),
        (json!({"type": "response.create"}).to_string(), 400, json!("input")),
    ] {
        client.send(Message::text(request)).await;
        let (found, error) = client.refusal().await;
        assert_eq!((found, &error["param"]), (status, &param));
    }
    for (more, status, param) in [
        (json!({"stream": false}), 400, "stream"),
        (json!({"background": true}), 400, "background"),
        (json!({"generate": "no"}), 400, "generate"),
        (json!({"conversation": "conv_1"}), 400, "conversation"),
        (json!({"model": "gpt"}), 404, "model"),
    ] {
        client.create(&more).await;
        let (found, error) = client.refusal().await;
        assert_eq!((found, &error["param"]), (status, &json!(param)));
    }
    let more = json!({"stream": true, "background": false, "stream_options": {"include_obfuscation": false}});
    stage.said_to(&mut client, &more, &says("Hello")).await;
    client.send(Message::binary(Bytes::from_static(b"a"))).await;
    assert_eq!(client.closed().await, 1003);
}

#[tokio::test]
async fn a_message_beyond_the_limit_closes_the_socket() {
    let stage = Stage::with(Config { max_body: 1000, ..Config::default() });
    let server = stage.serve().await;
    let mut client = connect(&server).await;
    client.create(&json!({"input": "x".repeat(2000)})).await;
    assert_eq!(client.closed().await, 1009);
}

#[tokio::test]
async fn a_drain_closes_every_socket_so_that_none_looks_finished() {
    let stage = Stage::new();
    let mut server = stage.serve().await;
    let (idle, mut running) = (connect(&server).await, connect(&server).await);
    running.create(&json!({})).await;
    let created = running.event().await;
    stage.write(generation(&created), &[started(1, TextSoFar::Kept), delta("Hel")]).await;
    while running.event().await["type"] != "response.output_text.delta" {}
    server.soft.cancel();
    assert_eq!(idle.closed().await, 1012);
    assert_eq!(running.closed().await, 1012);
    server.ended().await;
    // What was asked for goes on, and is resumed by its number on any replica.
    stage.write(generation(&created), &[started(2, TextSoFar::Kept), delta("lo"), done()]).await;
    let rest =
        stage.replica().response(Method::GET, generation(&created), "?stream=true&starting_after=4").await;
    assert!(text(rest).await.contains(r#""delta":"lo""#));
}

#[tokio::test]
async fn a_hard_stop_waits_for_no_socket() {
    let stage = Stage::new();
    let mut server = stage.serve().await;
    let mut client = connect(&server).await;
    client.create(&json!({})).await;
    client.event().await;
    server.hard.cancel();
    server.ended().await;
    assert!(!matches!(client.message().await, Some(Ok(Message::Text(_) | Message::Close(_)))));
}

#[tokio::test]
async fn a_response_that_was_stopped_can_be_gone_on_from() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let mut client = connect(&server).await;
    client.create(&json!({})).await;
    let id = generation(&client.event().await);
    let cause = CancelCause::Requested;
    stage.write(id, &[Event::Failed { failure: Failure::Cancelled { cause } }]).await;
    let last = client.events().await.pop().unwrap();
    assert_eq!(
        (&last["type"], &last["response"]["status"]),
        (&json!("response.incomplete"), &json!("cancelled"))
    );
    let on = json!({"previous_response_id": name(&last)});
    stage.said_to(&mut client, &on, &says("one")).await;
}

#[tokio::test]
async fn a_socket_is_closed_between_two_responses_when_its_time_is_over() {
    let stage = Stage::with(Config { socket_lifetime: Duration::from_millis(50), ..Config::default() });
    let server = stage.serve().await;
    let (idle, mut running) = (connect(&server).await, connect(&server).await);
    running.create(&json!({})).await;
    let created = running.event().await;
    assert_eq!(idle.limit_reached().await, 1000);
    stage.write(generation(&created), &says("Hello")).await;
    assert_eq!(running.events().await.last().unwrap()["type"], "response.completed");
    assert_eq!(running.limit_reached().await, 1000);
}

impl Client {
    async fn limit_reached(mut self) -> u16 {
        let (status, error) = self.refusal().await;
        assert_eq!((status, &error["code"]), (400, &json!("websocket_connection_limit_reached")));
        self.closed().await
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_a_reader_that_leaves() {
    let stage = Stage::with(Config { max_streams: 1, ..Config::default() });
    let server = stage.serve().await;
    for (headers, expected) in [
        (&[][..], stage.config.on_disconnect),
        (&[("tokenwire-on-disconnect", "detach")][..], OnDisconnect::Detached),
    ] {
        let mut client = loop {
            // The one before gives its stream back when the server has seen it go.
            match try_connect(server.address, headers).await {
                Ok(client) => break client,
                Err(Error::Http(response)) => assert_eq!(response.status(), 503),
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(refused(&server, &[]).await, 503);
        client.create(&json!({})).await;
        let id = generation(&client.event().await);
        assert_eq!(stage.generations.spec(id).await.unwrap().on_disconnect, expected);
        drop(client);
    }
}

#[tokio::test]
async fn a_socket_holds_its_connection() {
    let stage = Stage::with(Config { max_connections: 1, ..Config::default() });
    let server = stage.serve().await;
    let mut client = connect(&server).await;
    let mut waiting = server.connect().await;
    waiting.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    stage.said_to(&mut client, &json!({}), &says("Hello")).await;
    client.stream.close(None).await.unwrap();
    waiting.until(r#"{"status":"ok"}"#).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_dropped() {
    let stage =
        Stage::with(Config { max_streams: 1, write_timeout: Duration::from_millis(50), ..Config::default() });
    let server = stage.serve().await;
    let mut asleep = connect(&server).await;
    asleep.create(&json!({})).await;
    let id = generation(&asleep.event().await);
    // More than the kernel takes on behalf of a reader: the last events repeat it.
    stage.write(id, &[started(1, TextSoFar::Kept), delta(&"x".repeat(7 * 1024 * 1024)), done()]).await;
    let other = stage.queued().await;
    server.comes_to_serve(&format!("GET /ask/{other} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    drop(asleep);
}

const HANDSHAKE: &str = "GET /v1/responses HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_client_that_answers_no_ping_is_dropped() {
    let beat = Duration::from_millis(20);
    let stage = Stage::with(Config { heartbeat: beat, write_timeout: 3 * beat, ..Config::default() });
    let server = stage.serve().await;
    let mut silent = server.connect().await;
    silent.send(HANDSHAKE).await;
    silent.until("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n").await;
    assert!(silent.was_reset().await);
    // One that answers stays for as long as it likes.
    let mut client = connect(&server).await;
    for _ in 0..10 {
        assert!(matches!(client.message().await, Some(Ok(Message::Ping(_)))));
    }
    client.create(&json!({})).await;
    client.event().await;
}

#[tokio::test]
async fn a_request_may_travel_with_the_handshake() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let request = br#"{"type":"response.create","input":"Hello"}"#;
    // A text, masked with zeros.
    let frame = [&[0x81, 0x80 | u8::try_from(request.len()).unwrap(), 0, 0, 0, 0][..], request].concat();
    let mut connection = server.connect().await;
    connection.send([HANDSHAKE.as_bytes(), &frame].concat()).await;
    let answer = connection.until(r#""type":"response.created""#).await;
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    assert!(answer.contains("x-request-id: req_"), "{answer}");
}

#[tokio::test]
async fn what_asks_for_no_socket_is_told_how_to_ask() {
    let stage = Stage::new();
    let server = stage.serve().await;
    let close = "\r\nconnection: close\r\n\r\n";
    for head in [
        format!("GET /v1/responses HTTP/1.1\r\nhost: x{close}"),
        HANDSHAKE.replace("websocket-version: 13", "websocket-version: 8"),
        HANDSHAKE.replace("upgrade: websocket", "upgrade: h2c"),
        HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0"),
    ] {
        let mut connection = server.connect().await;
        connection.send(&head).await;
        let answer = connection.until("upgrade_required").await;
        assert!(
            answer.contains(" 426 Upgrade Required\r\n") && answer.contains("\r\nupgrade: websocket\r\n"),
            "{answer}"
        );
    }
    // A connection on which a socket was refused goes on to speak HTTP.
    let mut connection = server.connect().await;
    connection.send(HANDSHAKE.replace("version: 13", "version: 8")).await;
    connection.until("upgrade_required").await;
    connection.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    connection.until(r#"{"status":"ok"}"#).await;
}

#[tokio::test]
async fn pages_of_other_origins_open_no_socket_unless_they_may() {
    let other = "https://other.example";
    for (cors, expected) in [
        (Cors::Off, Some(StatusCode::FORBIDDEN)),
        (Cors::Origins(vec![HeaderValue::from_static("https://a.example")]), Some(StatusCode::FORBIDDEN)),
        (Cors::Origins(vec![HeaderValue::from_static(other)]), None),
        (Cors::Any, None),
    ] {
        let stage = Stage::with(Config { cors, ..Config::default() });
        let server = stage.serve().await;
        match expected {
            Some(status) => assert_eq!(refused(&server, &[("origin", other)]).await, status),
            None => drop(try_connect(server.address, &[("origin", other)]).await.unwrap()),
        }
        let own = format!("http://{}", server.address);
        try_connect(server.address, &[("origin", &own)]).await.unwrap();
    }
}

#[tokio::test]
async fn a_prompt_too_many_is_refused_and_the_socket_stays() {
    let server = Stage::new().overloaded().serve().await;
    let mut client = connect(&server).await;
    for _ in 0..2 {
        client.create(&json!({})).await;
        let (status, error) = client.refusal().await;
        assert_eq!((status, &error["code"]), (503, &json!("overloaded")));
    }
}
