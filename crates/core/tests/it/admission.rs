//! How many prompts may wait, and what becomes of the others.

use bytes::Bytes;
use tokenwire_core::{
    Caller, Event, GenerationId, Generations, Seq,
    follow::FollowError,
    generations::{Submission, SubmitError, Submitted},
    token_log::OnDisconnect,
};
use tokio::task::JoinSet;

use super::{
    house::{House, events, request, text},
    script::{Script, Step},
};

fn submission(id: GenerationId, prompt: &str) -> Submission {
    Submission {
        id,
        caller: Caller::Anonymous,
        request: request(prompt),
        on_disconnect: OnDisconnect::Detached,
        metadata: Bytes::new(),
    }
}

/// A door through which so many may wait.
fn door(house: &House, bound: usize) -> Generations {
    house.generations.clone().with_waiting_at_most(bound)
}

async fn submit(door: &Generations, id: GenerationId) -> Result<Submitted, SubmitError> {
    Ok(door.submit(submission(id, "Hello")).await?.how)
}

#[tokio::test(start_paused = true)]
async fn a_prompt_too_many_is_refused_and_leaves_nothing_behind() {
    let house = House::new();
    let door = door(&house, 2);
    for _ in 0..2 {
        assert_eq!(submit(&door, GenerationId::fresh()).await.unwrap(), Submitted::New);
    }
    let id = GenerationId::fresh();
    assert!(matches!(submit(&door, id).await, Err(SubmitError::Overloaded)));
    assert!(matches!(door.follow(id, Seq::START).await, Err(FollowError::NotFound(_))));
    assert_eq!(house.queue.waiting(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_was_refused_is_answered_once_others_have_begun() {
    let mut house = House::new();
    let door = door(&house, 1);
    let (first, second) = (GenerationId::fresh(), GenerationId::fresh());
    submit(&door, first).await.unwrap();
    assert!(matches!(submit(&door, second).await, Err(SubmitError::Overloaded)));
    let say = || vec![Step::Say("hello"), Step::Finish];
    house.worker(Script::new([say(), say()]));
    house.follow(first).await;
    assert_eq!(submit(&door, second).await.unwrap(), Submitted::New);
    assert_eq!(text(events(&house.follow(second).await)), "hello");
}

/// I9: what was accepted stays accepted, however full the queue is.
#[tokio::test(start_paused = true)]
async fn a_repeated_submission_attaches_when_no_other_prompt_is_taken() {
    let mut house = House::new();
    let door = door(&house, 1);
    let id = GenerationId::fresh();
    submit(&door, id).await.unwrap();
    assert_eq!(submit(&door, id).await.unwrap(), Submitted::Existing);
    let other = door.submit(submission(id, "Goodbye")).await;
    assert!(matches!(other, Err(SubmitError::Conflict(other)) if other == id), "it is no new prompt");
    house.worker(Script::new([vec![Step::Finish]]));
    let said = house.follow(id).await;
    assert!(matches!(said.last().unwrap().event, Event::Finished { .. }));
}

/// I6: it had its place, although its job was lost on the way there.
#[tokio::test(start_paused = true)]
async fn an_orphaned_generation_is_queued_again_when_no_other_prompt_is_taken() {
    let mut house = House::new();
    let door = door(&house, 2);
    let id = GenerationId::fresh();
    submit(&door, id).await.unwrap();
    house.queue.lease().await.unwrap().ack().await.unwrap();
    for _ in 0..2 {
        submit(&door, GenerationId::fresh()).await.unwrap();
    }
    assert_eq!(submit(&door, id).await.unwrap(), Submitted::Existing);
    let say = || vec![Step::Say("after all"), Step::Finish];
    house.worker(Script::new([say(), say(), say()]));
    assert_eq!(text(events(&house.follow(id).await)), "after all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_prompts_at_once_do_not_exceed_the_bound_together() {
    const BOUND: usize = 100;
    let house = House::new();
    let door = door(&house, BOUND);
    let mut crowd = JoinSet::new();
    for _ in 0..1000 {
        let door = door.clone();
        crowd.spawn(async move { submit(&door, GenerationId::fresh()).await });
    }
    let outcomes = crowd.join_all().await;
    let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let allowed = |outcome: &_| matches!(outcome, Ok(Submitted::New) | Err(SubmitError::Overloaded));
    assert!(outcomes.iter().all(allowed));
    assert_eq!((accepted, house.queue.waiting()), (BOUND, BOUND));
}
