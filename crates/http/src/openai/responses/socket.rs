//! `/v1/responses` as a WebSocket: one response after another. A `response.create` asks for each, and each event of its stream
//! is one text message.
//!
//! ```text
//! idle ── response.create ──► one response ── its last event ──► idle
//!   │                            ├ another response.create: an `error` event, and it goes on
//!   │                            ├ a drain, or an unavailable log: the socket is closed in mid-stream, and GET resumes
//!   │                            └ the client disconnects: one reader fewer, as with POST
//!   └ a drain, or an hour is over: the socket is closed
//! ```
//!
//! A refused request is an `error` event too, and the socket stays open. A socket remembers only the name of its last response,
//! which it may continue even if that is not stored, and the messages of its last warm-up.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response as HttpResponse},
};
use serde::Serialize;
use tokenwire_core::{GenerationId, Message, Seq, token_log::OnDisconnect};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{Instrument, Span};

use super::{
    encoder::ResponseEncoder,
    references,
    request::Turn,
    stored::{accept, said},
    warm_up,
};
use crate::{
    front::{
        app::App,
        caller::Caller,
        describe::refusals,
        on_disconnect::{self, OnDisconnectHeader},
        problem::Problem,
    },
    openai::error::{self, ErrorEnvelope, ErrorObject, OpenAiError},
    stream::{
        permit::StreamPermit,
        reader::{Cut, StreamReader},
        sink::Sink,
        upgrade::Ending,
        websocket::{CloseReason, Disconnected, Handshake, HandshakeError, Incoming, Messages, Socket},
    },
};

refusals!(SocketRefusals: ErrorEnvelope<'_>, 400 403 426 503);

/// Ask for one response after another over a WebSocket
///
/// A request for a WebSocket as in RFC 6455. One response runs at a time.
#[utoipa::path(
    get,
    path = "/v1/responses",
    operation_id = "openSocket",
    tag = "Responses",
    params(OnDisconnectHeader),
    responses(
        (
            status = 101,
            description = "A WebSocket. Each text that is sent is a `response.create`: the body of `POST /v1/responses` with \
                           this `type`, without `stream` and `background`. Each text that comes is an event of that response; \
                           or an `error` with a `status`, for a request that is refused.",
        ),
        SocketRefusals,
    ),
)]
pub(super) async fn open(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<HttpResponse, HttpResponse> {
    let (head, _) = request.into_parts();
    let handshake = Handshake::of(&head, &app.config).map_err(refused)?;
    let on_disconnect = on_disconnect::or(app.config.on_disconnect, &head.headers, &app.config);
    let on_disconnect = on_disconnect.map_err(response_of)?;
    // Held while the socket is open, even if it is idle.
    let permit = app.limits.open_stream().map_err(response_of)?;
    let max_message = app.config.max_body;
    let session = Session { app, caller, on_disconnect, last: None, warm: None };
    let span = Span::current();
    Ok(handshake.accept(max_message, |socket| session.run(socket, permit).instrument(span)))
}

fn response_of(problem: Problem) -> HttpResponse {
    OpenAiError::from(problem).into_response()
}

pub(super) fn refused(why: HandshakeError) -> HttpResponse {
    let (status, code, message) = match why {
        HandshakeError::NotRequested => (
            StatusCode::UPGRADE_REQUIRED,
            "upgrade_required",
            "GET is for WebSockets here: ask for one, or use POST",
        ),
        HandshakeError::Origin => {
            (StatusCode::FORBIDDEN, "origin_not_allowed", "pages of this origin may not open sockets here")
        }
    };
    let mut response = response_of(Problem::request(status, code, message));
    if why == HandshakeError::NotRequested {
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    response
}

/// The state of one socket.
struct Session {
    app: App,
    caller: Caller,
    on_disconnect: OnDisconnect,
    /// Its last response, unless a request that was to continue it failed.
    last: Option<GenerationId>,
    /// Its last warm-up, with the messages.
    warm: Option<(GenerationId, Vec<Message>)>,
}

/// The event for a refused request.
#[derive(Serialize)]
struct SocketError<'a> {
    r#type: &'static str,
    status: u16,
    error: ErrorObject<'a>,
}

/// Why a socket ends.
enum SessionEnd {
    /// The server closes it.
    Close(CloseReason),
    /// The client closed it, or takes no bytes.
    Disconnected,
    /// There is no time for a close frame.
    CutOff,
}

impl From<Disconnected> for SessionEnd {
    fn from(Disconnected: Disconnected) -> Self {
        Self::Disconnected
    }
}

impl Session {
    async fn run(mut self, mut socket: Socket, permit: StreamPermit) -> (Socket, Ending) {
        let ending = match self.serve(&mut socket).await {
            SessionEnd::Disconnected => Ending::Closed,
            SessionEnd::CutOff => Ending::CutOff,
            SessionEnd::Close(reason) => match socket.close(reason).await {
                Ok(()) => Ending::Closed,
                Err(Disconnected) => Ending::CutOff,
            },
        };
        drop(permit);
        (socket, ending)
    }

    async fn serve(&mut self, socket: &mut Socket) -> SessionEnd {
        let close_at = Instant::now() + self.app.config.socket_lifetime;
        loop {
            let incoming = match self.idle(socket, close_at).await {
                Ok(incoming) => incoming,
                Err(end) => return end,
            };
            let done = match incoming {
                Incoming::Text(text) => Box::pin(self.turn(socket, text.as_bytes())).await,
                other => Err(end_of(&other)),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Waits for the client's next message.
    async fn idle(&self, socket: &mut Socket, close_at: Instant) -> Result<Incoming, SessionEnd> {
        loop {
            tokio::select! {
                biased;
                () = self.app.drain.cancelled() => return Err(SessionEnd::Close(CloseReason::Restart)),
                () = sleep_until(close_at) => {
                    let message = "the socket has been open for as long as it may: open a new one";
                    let error = Problem::request(StatusCode::BAD_REQUEST, "websocket_connection_limit_reached", message);
                    self.send(socket, &mut refusal(&error)).await?;
                    return Err(SessionEnd::Close(CloseReason::Lifetime));
                }
                incoming = socket.receive() => return Ok(incoming),
                () = sleep(self.app.config.heartbeat) => {
                    if self.is_gone(socket) {
                        return Err(SessionEnd::CutOff);
                    }
                    let mut ping = Messages::default();
                    ping.heartbeat();
                    self.send(socket, &mut ping).await?;
                }
            }
        }
    }

    /// One request, to the last event of its response.
    async fn turn(&mut self, socket: &mut Socket, text: &[u8]) -> Result<(), SessionEnd> {
        let turn = Turn::parse(text, self.app.generations.models());
        let previous = turn.as_ref().ok().and_then(|turn| turn.create.previous);
        let begun = match turn {
            Ok(turn) => self.begin(turn).await,
            Err(error) => Err(error),
        };
        let went_well = match begun {
            Ok(Begun::Reading(reading)) => self.tell(socket, reading).await?,
            Ok(Begun::Warm(mut events)) => {
                self.send(socket, &mut events).await?;
                true
            }
            Err(error) => {
                self.send(socket, &mut refusal(&error)).await?;
                false
            }
        };
        if !went_well {
            self.forget(previous);
        }
        Ok(())
    }

    async fn begin(&mut self, turn: Turn) -> Result<Begun, Problem> {
        let Turn { mut create, generate } = turn;
        references::resolve(&self.app, &mut create.metadata.input).await?;
        let before = match (create.previous, &self.warm) {
            (None, _) => Vec::new(),
            (Some(previous), Some((warm, said))) if previous == *warm => said.clone(),
            (Some(previous), _) => said(&self.app, previous, self.last == Some(previous)).await?,
        };
        if !generate {
            let (id, said, events) = warm_up::tell(create, before)?;
            self.warm = Some((id, said));
            return Ok(Begun::Warm(events));
        }
        let id = GenerationId::fresh();
        let (response, accepted) =
            accept(&self.app, self.caller.clone(), id, create.after(before)?, self.on_disconnect).await?;
        let follower = self.app.generations.follow_accepted(&accepted, Seq::START).await?;
        let encoder = ResponseEncoder::new(response, None);
        Ok(Begun::Reading(Box::new(self.app.reader(id, follower, encoder))))
    }

    /// Sends a response to its end. Returns whether a later request can continue it.
    async fn tell(
        &mut self,
        socket: &mut Socket,
        mut reading: Box<StreamReader<ResponseEncoder>>,
    ) -> Result<bool, SessionEnd> {
        let mut events = Messages::default();
        reading.begin(&mut events);
        loop {
            self.send(socket, &mut events).await?;
            let response = reading.encoder().response();
            // Return at once, not at the next step: the client's next request may have arrived.
            if response.has_ended() {
                let went_well = response.can_be_gone_on_from();
                self.last = went_well.then_some(response.id).or(self.last);
                return Ok(went_well);
            }
            tokio::select! {
                biased;
                stepped = reading.step(&mut events) => match stepped {
                    // A stream ends with a terminal entry (I1).
                    Ok(true) => {}
                    Ok(false) | Err(Cut::Unreadable(_)) => return Err(SessionEnd::Close(CloseReason::TryAgain)),
                    Err(Cut::Drained) => return Err(SessionEnd::Close(CloseReason::Restart)),
                },
                incoming = socket.receive() => match incoming {
                    Incoming::Text(_) => {
                        let message = "a response is in progress on this socket: wait for its end, or open another socket";
                        let error = Problem::request(StatusCode::BAD_REQUEST, "response_already_in_flight", message);
                        events = refusal(&error);
                    }
                    other => return Err(end_of(&other)),
                },
            }
            if events.is_ping() && self.is_gone(socket) {
                return Err(SessionEnd::CutOff);
            }
        }
    }

    /// Sends messages, unless the server drains.
    async fn send(&self, socket: &mut Socket, messages: &mut Messages) -> Result<(), SessionEnd> {
        tokio::select! {
            biased;
            sent = socket.send(messages) => Ok(sent?),
            () = self.app.drain.cancelled() => Err(SessionEnd::CutOff),
        }
    }

    /// Whether the client has not answered pings for the write timeout: its program or its machine is gone.
    fn is_gone(&self, socket: &Socket) -> bool {
        socket.silent_for() >= self.app.config.write_timeout
    }

    /// Forgets a response that a request failed to continue. The client then starts anew with the whole conversation.
    fn forget(&mut self, previous: Option<GenerationId>) {
        let Some(previous) = previous else { return };
        self.last = self.last.filter(|last| *last != previous);
        self.warm = self.warm.take().filter(|(warm, _)| *warm != previous);
    }
}

/// The outcome of a request.
enum Begun {
    Reading(Box<StreamReader<ResponseEncoder>>),
    Warm(Messages),
}

fn refusal(problem: &Problem) -> Messages {
    let mut messages = Messages::default();
    let status = error::status(problem).as_u16();
    messages.object(&SocketError { r#type: "error", status, error: ErrorObject::of(problem) });
    messages
}

/// How a message that is not text ends the socket.
fn end_of(incoming: &Incoming) -> SessionEnd {
    match incoming {
        Incoming::Binary | Incoming::Text(_) => SessionEnd::Close(CloseReason::NotText),
        Incoming::TooLarge => SessionEnd::Close(CloseReason::TooLarge),
        Incoming::Closed => SessionEnd::Disconnected,
    }
}
