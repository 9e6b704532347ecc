//! One story on one log, asked for at every front end. Three generations have its entries: a response in the background, which
//! `/ask` shows as well, a chat completion, and a text completion.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, StatusCode},
};
use serde_json::{Value, json};
use testkit::clock::ManualClock;
use tokenwire_core::{
    Event, GenerationId, Generations, LogWriter, ModelName, Timestamp, TokenLog, catalogue::ModelNames,
    generations::Limits,
};
use tokenwire_http::Config;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    logs::Place,
    readers::{Told, Wanted},
    stories::Story,
};
use crate::{
    openai::{CHAT, id},
    stores::Unattended,
    support::{JSON, piece},
};

const RESPONSES: &str = "/v1/responses";
const COMPLETIONS: &str = "/v1/completions";

/// How long every generation takes.
const TAKES: Duration = Duration::from_secs(7);

/// The headers that say something about an answer.
const SHOWN: [&str; 6] =
    ["content-type", "location", "cache-control", "x-accel-buffering", "retry-after", "x-should-retry"];

pub(crate) struct Scene {
    log: Arc<dyn TokenLog>,
    clock: Arc<ManualClock>,
    began: Timestamp,
    pub(crate) front: Front,
    /// The response and the completions, each with its writer.
    generations: Vec<(GenerationId, Option<Box<dyn LogWriter>>)>,
}

/// Where readers go.
#[derive(Clone)]
pub(crate) struct Front {
    router: Router,
    response: GenerationId,
    key: &'static str,
    chat: Value,
}

/// An answer of which no byte of the body was read.
pub(crate) struct Opened {
    asked: String,
    response: Response<Body>,
}

/// What was asked, and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) asked: String,
    pub(crate) status: StatusCode,
    /// Those of [`SHOWN`], a line each.
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Scene {
    /// Asks for all generations, or finds them. Gives the first readers of the completions too.
    pub(crate) async fn open(place: &Place, story: &Story) -> (Self, [(Wanted, Opened); 2]) {
        let Place { log, clock, began, .. } = place;
        clock.set(*began);
        let limits = Limits { queue_time: Duration::from_secs(60), run_time: Duration::from_secs(60) };
        let models = ModelNames::new(ModelName::new("simulated").unwrap(), []);
        let queue = Arc::new(Unattended::default());
        let generations = Generations::new(Arc::clone(log), queue, clock.clone(), models, limits);
        // Comments come when they come.
        let config = Config { heartbeat: Duration::from_secs(3600), ..Config::default() };
        let router = tokenwire_http::router(generations, &config, CancellationToken::new());
        let response = GenerationId::fresh();
        let mut front = Front { router, response, key: story.name, chat: story.chat.clone() };
        let mut background = json!({"model": "simulated", "input": "Hello", "background": true});
        background.as_object_mut().unwrap().extend(story.response.as_object().unwrap().clone());
        front.response = id(&front.open(Method::POST, RESPONSES, None, Some(&background)).await.response);
        let chunks = front.chunks().await;
        let texts = front.texts().await;
        let ids = [front.response, id(&chunks.response), id(&texts.response)];
        let generations = ids.map(|id| (id, None)).into();
        (
            Self { log: Arc::clone(log), clock: Arc::clone(clock), began: *began, front, generations },
            [(Wanted::Chunks, chunks), (Wanted::Texts, texts)],
        )
    }

    /// One more batch of each generation; each attempt has a writer of its own.
    pub(crate) async fn write(&mut self, batch: &[Event]) {
        for (id, writer) in &mut self.generations {
            if matches!(batch[0], Event::Started { .. }) {
                *writer = None;
            }
            let writer = match writer {
                Some(writer) => writer,
                None => writer.insert(self.log.open_writer(*id).await.unwrap()),
            };
            if batch[0].is_terminal() {
                self.clock.set(self.began.after(TAKES));
                writer.seal(&batch[0]).await.unwrap();
            } else {
                writer.append(batch).await.unwrap();
            }
        }
        if batch[0].is_terminal() {
            self.generations.iter_mut().for_each(|(_, writer)| *writer = None);
        }
    }

    /// Forgets all generations: their ids are free.
    pub(crate) async fn forget(&self) {
        for (id, _) in &self.generations {
            self.log.remove(*id).await.unwrap();
        }
    }

    /// What each front end says now to a reader who has seen nothing.
    pub(crate) async fn told(&self) -> Told {
        let front = &self.front;
        Told {
            ask: front.ask(None).await.read().await,
            chunks: front.chunks().await.read().await,
            completion: Some(front.completion().await.read().await),
            events: front.events(None).await.read().await,
            resource: front.resource().await.read().await,
            texts: front.texts().await.read().await,
            text_completion: Some(front.text_completion().await.read().await),
        }
    }

    /// Reads on after every entry and after every event, in each way to say so.
    pub(crate) async fn cut_everywhere(&self, told: &Told) {
        let front = &self.front;
        for seen in 0..told.entries() {
            let rest = told.rest_of_ask(Some(seen));
            assert_eq!(front.ask(Some(seen)).await.read().await.body, rest, "/ask after {seen}");
            let path = format!("/ask/{}?last_event_id={seen}", front.response);
            assert_eq!(front.open(Method::GET, &path, None, None).await.read().await.body, rest, "{path}");
        }
        let all = front.ask(Some(told.entries())).await.read().await;
        assert_eq!((all.status, &*all.body), (StatusCode::NO_CONTENT, ""));
        for seen in 0..told.numbered() + 2 {
            let rest = told.rest_of_events(Some(seen));
            assert_eq!(front.events(Some(seen)).await.read().await.body, rest, "events after {seen}");
        }
    }
}

impl Front {
    pub(crate) async fn ask(&self, seen: Option<usize>) -> Opened {
        self.open(Method::GET, &format!("/ask/{}", self.response), seen, None).await
    }

    pub(crate) async fn events(&self, after: Option<usize>) -> Opened {
        let after = after.map(|after| format!("&starting_after={after}")).unwrap_or_default();
        self.open(Method::GET, &format!("{}?stream=true{after}", self.address()), None, None).await
    }

    pub(crate) async fn resource(&self) -> Opened {
        self.open(Method::GET, &self.address(), None, None).await
    }

    pub(crate) async fn chunks(&self) -> Opened {
        self.chat(true).await
    }

    pub(crate) async fn completion(&self) -> Opened {
        self.chat(false).await
    }

    pub(crate) async fn texts(&self) -> Opened {
        let mut body = json!({"model": "simulated", "prompt": "Hello", "stream": true});
        body.as_object_mut().unwrap().extend(self.chat.as_object().unwrap().clone());
        self.open(Method::POST, COMPLETIONS, None, Some(&body)).await
    }

    pub(crate) async fn text_completion(&self) -> Opened {
        let body = json!({"model": "simulated", "prompt": "Hello"});
        self.open(Method::POST, COMPLETIONS, None, Some(&body)).await
    }

    async fn chat(&self, stream: bool) -> Opened {
        let mut body = json!({"model": "simulated", "messages": [{"role": "user", "content": "Hello"}]});
        if stream {
            body["stream"] = json!(true);
            body.as_object_mut().unwrap().extend(self.chat.as_object().unwrap().clone());
        }
        self.open(Method::POST, CHAT, None, Some(&body)).await
    }

    fn address(&self) -> String {
        format!("{RESPONSES}/resp_{}", self.response)
    }

    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        last_event_id: Option<usize>,
        body: Option<&Value>,
    ) -> Opened {
        let mut asked = format!("{method} {path}");
        let mut request = Request::builder().method(method).uri(path);
        if let Some(seen) = last_event_id {
            request = request.header("last-event-id", seen);
        }
        if let Some(body) = body {
            asked = format!("{asked} {body}");
            request = request.header(JSON.0, JSON.1).header("idempotency-key", self.key);
        }
        let request = request.body(body.map_or(Body::empty(), |body| body.to_string().into())).unwrap();
        Opened { asked, response: self.router.clone().oneshot(request).await.unwrap() }
    }
}

impl Opened {
    /// Reads to the end.
    pub(crate) async fn read(self) -> Exchange {
        self.read_past("", || ()).await
    }

    /// As [`Self::read`], and says once it has heard these words.
    pub(crate) async fn read_past(self, words: &str, heard: impl FnOnce()) -> Exchange {
        let Self { asked, response } = self;
        let (parts, mut rest) = response.into_parts();
        let headers = SHOWN.map(|name| {
            let value = parts.headers.get(name).map(|value| value.to_str().unwrap());
            value.map(|value| format!("{name}: {value}\n")).unwrap_or_default()
        });
        let (mut body, mut heard) = (String::new(), Some(heard));
        while let Some(more) = piece(&mut rest).await {
            body += &more.expect("a polite end");
            if body.contains(words)
                && let Some(heard) = heard.take()
            {
                heard();
            }
        }
        Exchange { asked, status: parts.status, headers: headers.concat(), body }
    }
}
