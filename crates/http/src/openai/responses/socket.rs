//! `/v1/responses` as a WebSocket: one response after another, each asked for by a `response.create` and told in the events
//! of a stream, one text each.
//!
//! ```text
//! idle ── response.create ──► one response ── its last event ──► idle
//!   │                            ├ another response.create: an `error` event, and it goes on
//!   │                            ├ a drain, or a log that is away: the socket is closed in mid-stream, and GET resumes
//!   │                            └ the client leaves: a reader is gone, as with POST
//!   └ a drain, or an hour is over: the socket is closed
//! ```
//!
//! A refused request is an `error` event too, and the socket stays. What a socket remembers is little: the name of its last
//! response, from which it may go on even if that is not stored, and what a warm-up said.

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
    super::{
        disconnect,
        error::{ApiError, ErrorObject},
    },
    encoder::ResponseEncoder,
    references,
    request::Turn,
    stored::{accept, said},
    warm_up,
};
use crate::{
    app::App,
    limits::StreamPermit,
    reading::{Cut, Reading, Sink},
    takeover::Ending,
    websocket::{Gone, Handshake, Heard, Messages, NoSocket, Socket, Why},
};

/// `GET /v1/responses`.
pub(in super::super) async fn open(
    State(app): State<App>,
    request: Request,
) -> Result<HttpResponse, HttpResponse> {
    let (head, _) = request.into_parts();
    let handshake = Handshake::of(&head, &app.config).map_err(refused)?;
    let on_disconnect = disconnect::or(app.config.on_disconnect, &head.headers, &app.config);
    let on_disconnect = on_disconnect.map_err(IntoResponse::into_response)?;
    // For as long as the socket is open, also while it is idle.
    let permit = app.limits.open_stream().map_err(|error| ApiError::from(error).into_response())?;
    let max_message = app.config.max_body;
    let session = Session { app, on_disconnect, last: None, warm: None };
    let span = Span::current();
    Ok(handshake.accept(max_message, |socket| session.run(socket, permit).instrument(span)))
}

pub(super) fn refused(why: NoSocket) -> HttpResponse {
    let (status, code, message) = match why {
        NoSocket::NotAsked => (
            StatusCode::UPGRADE_REQUIRED,
            "upgrade_required",
            "GET is for WebSockets here: ask for one, or use POST",
        ),
        NoSocket::Origin => {
            (StatusCode::FORBIDDEN, "origin_not_allowed", "pages of this origin may not open sockets here")
        }
    };
    let mut response = ApiError::invalid(None, message).with_status(status).coded(code).into_response();
    if why == NoSocket::NotAsked {
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    response
}

/// What one socket remembers.
struct Session {
    app: App,
    on_disconnect: OnDisconnect,
    /// Its last response, unless a request that was to go on from it failed.
    last: Option<GenerationId>,
    /// Its last warm-up, and what that said.
    warm: Option<(GenerationId, Vec<Message>)>,
}

/// What goes out when a request is refused.
#[derive(Serialize)]
struct Refusal<'a> {
    r#type: &'static str,
    status: u16,
    error: &'a ErrorObject,
}

/// Why a socket is not read any more.
enum Over {
    Closed(Why),
    /// The client left, or takes nothing.
    Left,
    /// There is no time to say anything.
    CutOff,
}

impl From<Gone> for Over {
    fn from(Gone: Gone) -> Self {
        Self::Left
    }
}

impl Session {
    async fn run(mut self, mut socket: Socket, permit: StreamPermit) -> (Socket, Ending) {
        let ending = match self.serve(&mut socket).await {
            Over::Left => Ending::Said,
            Over::CutOff => Ending::CutOff,
            Over::Closed(why) => match socket.close(why).await {
                Ok(()) => Ending::Said,
                Err(Gone) => Ending::CutOff,
            },
        };
        drop(permit);
        (socket, ending)
    }

    async fn serve(&mut self, socket: &mut Socket) -> Over {
        let close_at = Instant::now() + self.app.config.socket_lifetime;
        loop {
            let heard = match self.idle(socket, close_at).await {
                Ok(heard) => heard,
                Err(over) => return over,
            };
            let done = match heard {
                Heard::Text(text) => Box::pin(self.turn(socket, text.as_bytes())).await,
                other => Err(over(&other)),
            };
            if let Err(over) = done {
                return over;
            }
        }
    }

    /// Waits for the client's next word.
    async fn idle(&self, socket: &mut Socket, close_at: Instant) -> Result<Heard, Over> {
        loop {
            tokio::select! {
                biased;
                () = self.app.drain.cancelled() => return Err(Over::Closed(Why::Restart)),
                () = sleep_until(close_at) => {
                    let message = "the socket has been open for as long as it may: open a new one";
                    let error = ApiError::invalid(None, message).coded("websocket_connection_limit_reached");
                    self.say(socket, &mut refusal(&error)).await?;
                    return Err(Over::Closed(Why::Lifetime));
                }
                heard = socket.hear() => return Ok(heard),
                () = sleep(self.app.config.heartbeat) => {
                    if self.is_gone(socket) {
                        return Err(Over::CutOff);
                    }
                    let mut ping = Messages::default();
                    ping.heartbeat();
                    self.say(socket, &mut ping).await?;
                }
            }
        }
    }

    /// One request, to the last event of its response.
    async fn turn(&mut self, socket: &mut Socket, text: &[u8]) -> Result<(), Over> {
        let turn = Turn::parse(text, self.app.generations.models());
        let previous = turn.as_ref().ok().and_then(|turn| turn.create.previous);
        let begun = match turn {
            Ok(turn) => self.begin(turn).await,
            Err(error) => Err(error),
        };
        let went_well = match begun {
            Ok(Begun::Reading(reading)) => self.tell(socket, reading).await?,
            Ok(Begun::Warm(mut events)) => {
                self.say(socket, &mut events).await?;
                true
            }
            Err(error) => {
                self.say(socket, &mut refusal(&error)).await?;
                false
            }
        };
        if !went_well {
            self.forget(previous);
        }
        Ok(())
    }

    async fn begin(&mut self, turn: Turn) -> Result<Begun, ApiError> {
        let Turn { mut create, generate } = turn;
        references::resolve(&self.app, &mut create.memo.input).await?;
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
        let (response, accepted) = accept(&self.app, id, create.after(before)?, self.on_disconnect).await?;
        let follower = self.app.generations.follow_accepted(&accepted, Seq::START).await?;
        let encoder = ResponseEncoder::new(response, None);
        let (heartbeat, drain) = (self.app.config.heartbeat, self.app.drain.clone());
        Ok(Begun::Reading(Box::new(Reading::new(id, follower, encoder, heartbeat, drain))))
    }

    /// Tells a response to its end. Whether the conversation can go on from there.
    async fn tell(
        &mut self,
        socket: &mut Socket,
        mut reading: Box<Reading<ResponseEncoder>>,
    ) -> Result<bool, Over> {
        let mut events = Messages::default();
        reading.begin(&mut events);
        loop {
            self.say(socket, &mut events).await?;
            let response = reading.encoder().response();
            // At once, not at the next step: the client's next request may have come by now.
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
                    Ok(false) | Err(Cut::Unreadable(_)) => return Err(Over::Closed(Why::TryAgain)),
                    Err(Cut::Drained) => return Err(Over::Closed(Why::Restart)),
                },
                heard = socket.hear() => match heard {
                    Heard::Text(_) => {
                        let message = "a response is in progress on this socket: wait for its end, or open another socket";
                        let error = ApiError::invalid(None, message).coded("response_already_in_flight");
                        events = refusal(&error);
                    }
                    other => return Err(over(&other)),
                },
            }
            if events.is_ping() && self.is_gone(socket) {
                return Err(Over::CutOff);
            }
        }
    }

    /// Sends, unless the server has to go.
    async fn say(&self, socket: &mut Socket, messages: &mut Messages) -> Result<(), Over> {
        tokio::select! {
            biased;
            said = socket.say(messages) => Ok(said?),
            () = self.app.drain.cancelled() => Err(Over::CutOff),
        }
    }

    /// Whoever takes every byte and answers no ping is a machine without its program, or not there.
    fn is_gone(&self, socket: &Socket) -> bool {
        socket.silent_for() >= self.app.config.write_timeout
    }

    /// Whoever failed to go on from something begins anew, with all of it.
    fn forget(&mut self, previous: Option<GenerationId>) {
        let Some(previous) = previous else { return };
        self.last = self.last.filter(|last| *last != previous);
        self.warm = self.warm.take().filter(|(warm, _)| *warm != previous);
    }
}

/// What a request has led to.
enum Begun {
    Reading(Box<Reading<ResponseEncoder>>),
    Warm(Messages),
}

fn refusal(error: &ApiError) -> Messages {
    let mut messages = Messages::default();
    messages.object(&Refusal { r#type: "error", status: error.status(), error: error.object() });
    messages
}

/// What is no text ends a socket.
fn over(heard: &Heard) -> Over {
    match heard {
        Heard::Bytes | Heard::Text(_) => Over::Closed(Why::NotText),
        Heard::TooMuch => Over::Closed(Why::TooLarge),
        Heard::Left => Over::Left,
    }
}
