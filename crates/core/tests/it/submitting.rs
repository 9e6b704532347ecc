//! What the door promises before anything runs.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use testkit::wrapped::{Log, Queue, QueueHooks};
use tokenwire_core::{
    Caller, CallerName, Catalogue, Event, Failure, GenerateRequest, GenerationId, Generations, Job, Model,
    QueueError, Seq,
    catalogue::ModelNames,
    generations::{AccessError, Limits, Submission, SubmitError, Submitted},
    model::{Continuation, ModelError, OutputStream},
    token_log::{OnDisconnect, Phase, Prefix},
};
use tokio::time::sleep;

use super::{
    house::{House, QUEUE_TIME, RUN_TIME, events, name, request, text},
    outage::Outage,
    script::{Script, Step},
};

fn submission(id: GenerationId, prompt: &str) -> Submission {
    let metadata = Bytes::from_static(b"as it was asked");
    Submission {
        id,
        caller: Caller::Named(CallerName::new("team/blue").unwrap()),
        request: request(prompt),
        on_disconnect: OnDisconnect::Detached,
        metadata,
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_submission_attaches_and_another_one_is_a_conflict() {
    let house = House::new();
    let id = GenerationId::fresh();
    let submit = |prompt| house.generations.submit(submission(id, prompt));
    assert_eq!(submit("Hello").await.unwrap().how, Submitted::New);
    assert_eq!(submit("Hello").await.unwrap().how, Submitted::Existing);
    assert!(matches!(submit("Goodbye").await, Err(SubmitError::Conflict(other)) if other == id));
}

#[tokio::test(start_paused = true)]
async fn what_a_front_end_noted_can_be_read_again_and_is_never_printed() {
    let house = House::new();
    let submission = submission(GenerationId::fresh(), "Hello");
    house.generations.submit(submission.clone()).await.unwrap();
    let again = Submission {
        caller: Caller::Anonymous,
        metadata: Bytes::from_static(b"otherwise"),
        ..submission.clone()
    };
    assert_eq!(house.generations.submit(again).await.unwrap().how, Submitted::Existing);
    let spec = house.generations.spec(submission.id).await.unwrap();
    assert_eq!(
        (&spec.metadata, &spec.caller),
        (&submission.metadata, &submission.caller),
        "the first ones stay"
    );
    assert_eq!(spec.start_by.since(spec.created_at), QUEUE_TIME);
    let printed = format!("{submission:?} {spec:?}");
    assert!(printed.contains("15 bytes") && !printed.contains("as it was"), "{printed}");
    let unknown = GenerationId::fresh();
    let missing = house.generations.spec(unknown).await;
    assert!(matches!(missing, Err(AccessError::NotFound(id)) if id == unknown));
}

#[tokio::test(start_paused = true)]
async fn who_only_looks_now_and_then_learns_that_nobody_will_end_a_stream() {
    let house = House::new();
    let id = house.ask().await;
    let page = house.generations.look(id, Seq::START).await.unwrap();
    assert!(page.entries.is_empty() && matches!(page.phase, Phase::Queued { .. }));
    sleep(QUEUE_TIME + Duration::from_secs(60)).await;
    for _ in 0..2 {
        let page = house.generations.look(id, Seq::START).await.unwrap();
        let said: Vec<_> = events(&page.entries).cloned().collect();
        assert_eq!((said, page.phase), (vec![Event::Failed { failure: Failure::Expired }], Phase::Sealed));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_forgotten_on_request_cannot_be_looked_up() {
    let house = House::new();
    let id = house.ask().await;
    house.generations.remove(id).await.unwrap();
    assert!(matches!(house.generations.look(id, Seq::START).await, Err(AccessError::NotFound(_))));
    assert!(matches!(house.generations.remove(id).await, Err(AccessError::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_cannot_be_followed_or_cancelled() {
    let house = House::new();
    let id = GenerationId::fresh();
    assert!(house.generations.follow(id, Seq::START).await.is_err());
    assert!(matches!(house.generations.cancel(id).await, Err(AccessError::NotFound(other)) if other == id));
}

/// A model that knows before it is asked that it will not answer.
#[derive(Debug)]
struct Refuses;

#[async_trait]
impl Model for Refuses {
    fn continuation(&self, _so_far: &Prefix) -> Continuation {
        Continuation::Unsupported
    }

    async fn check(&self, _request: &GenerateRequest) -> Result<(), ModelError> {
        Err(ModelError::Rejected { message: "too long".into() })
    }

    async fn generate(
        &self,
        _id: GenerationId,
        request: &GenerateRequest,
        _so_far: &Prefix,
    ) -> Result<OutputStream, ModelError> {
        self.check(request).await.map(|()| stream::empty().boxed())
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_model_would_never_answer_is_refused_before_anything_is_stored() {
    let house = House::new();
    let models = Catalogue::default().with(name(), Arc::new(Refuses));
    let names = ModelNames::new(name(), []).checked_by(models);
    let limits = Limits { queue_time: QUEUE_TIME, run_time: RUN_TIME };
    let (log, queue, clock) = (house.log.clone(), house.queue.clone(), house.clock.clone());
    let door = Generations::new(log, queue, clock, names, limits);
    let id = GenerationId::fresh();
    let refused = door.submit(submission(id, "Hello")).await;
    assert!(matches!(refused, Err(SubmitError::Rejected { message }) if message == "too long"));
    assert!(house.generations.follow(id, Seq::START).await.is_err());
}

/// A queue that refuses everything.
#[derive(Debug)]
struct Away;

#[async_trait]
impl QueueHooks for Away {
    async fn enqueue(&self, _job: &Job) -> Result<(), QueueError> {
        Err(QueueError::unavailable("connection refused"))
    }

    async fn ready(&self) -> Result<(), QueueError> {
        Err(QueueError::unavailable("connection refused"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_was_refused_without_a_queue_is_answered_when_it_is_posted_again() {
    let mut whole = House::new();
    let half = House::with(Arc::clone(&whole.log), Arc::new(Queue(Away)), Arc::clone(&whole.clock));
    let id = GenerationId::fresh();
    for _ in 0..2 {
        let refused = half.generations.submit(submission(id, "Hello")).await;
        assert!(matches!(refused, Err(SubmitError::Unavailable(_))));
    }
    assert_eq!(
        half.generations.ready().await,
        Err(vec!["the job queue is unavailable: connection refused".into()])
    );
    assert_eq!(whole.generations.ready().await, Ok(()));
    whole.worker(Script::new([vec![Step::Say("at last"), Step::Finish]]));
    whole.generations.submit(submission(id, "Hello")).await.unwrap();
    assert_eq!(text(events(&whole.follow(id).await)), "at last");
}

/// A queue that takes a job, and after that the log cannot be reached.
#[derive(Debug)]
struct TakesTheLogAway(Log<Outage>);

#[async_trait]
impl QueueHooks for TakesTheLogAway {
    async fn enqueue(&self, _job: &Job) -> Result<(), QueueError> {
        self.0.down();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_whose_job_is_stored_is_accepted_though_the_log_goes_away() {
    let whole = House::new();
    let outage = Outage::new(Arc::clone(&whole.log));
    let queue = Arc::new(Queue(TakesTheLogAway(outage.clone())));
    let house = House::with(Arc::new(outage.clone()), queue, Arc::clone(&whole.clock));
    let id = GenerationId::fresh();
    for expected in [Submitted::New, Submitted::Existing] {
        outage.up();
        let accepted = house.generations.submit(submission(id, "Hello")).await;
        assert_eq!(accepted.unwrap().how, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_taken_after_a_long_outage_is_not_abandoned_at_once() {
    let mut whole = House::new();
    let half = House::with(Arc::clone(&whole.log), Arc::new(Queue(Away)), Arc::clone(&whole.clock));
    let id = GenerationId::fresh();
    let grace = Duration::from_secs(3);
    let submission =
        Submission { on_disconnect: OnDisconnect::CancelAfter(grace), ..submission(id, "Hello") };
    assert!(half.generations.submit(submission.clone()).await.is_err());
    sleep(Duration::from_secs(30)).await;
    whole.worker(Script::new([vec![Step::Say("at last"), Step::Finish]]));
    whole.generations.submit(submission).await.unwrap();
    // The worker is quicker than the reader.
    sleep(Duration::from_millis(100)).await;
    assert_eq!(text(events(&whole.follow(id).await)), "at last");
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_was_refused_and_is_not_posted_again_expires() {
    let whole = House::new();
    let half = House::with(Arc::clone(&whole.log), Arc::new(Queue(Away)), Arc::clone(&whole.clock));
    let id = GenerationId::fresh();
    assert!(half.generations.submit(submission(id, "Hello")).await.is_err());
    assert_eq!(whole.follow(id).await[0].event, Event::Failed { failure: Failure::Expired });
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_posted_again_right_after_a_crash_is_answered() {
    let mut house = House::new();
    let id = house.ask().await;
    // As if the process had died between the stream and the job (I6).
    house.queue.lease().await.unwrap().ack().await.unwrap();
    house.worker(Script::new([vec![Step::Say("after all"), Step::Finish]]));
    assert_eq!(house.generations.submit(submission(id, "Hello")).await.unwrap().how, Submitted::Existing);
    assert_eq!(text(events(&house.follow(id).await)), "after all");
}
