//! What a worker makes of jobs.

use std::{
    collections::HashSet,
    num::NonZeroUsize,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use job_queue::memory::MemoryQueue;
use testkit::wrapped::{Queue, QueueHooks};
use tokenwire_core::{
    Attempt, Caller, CancelCause, Catalogue, Epoch, Event, Failure, FinishReason, GenerationId, Generations,
    Job, JobQueue, Lease, QueueError, Seq, TextSoFar, Usage,
    model::Continuation,
    token_log::{OnDisconnect, Phase, Prefix},
    worker::Config,
};
use tokio::time::{Instant, sleep};

use super::{
    house::{House, QUEUE_TIME, RUN_TIME, events, name, request, text},
    outage::Outage,
    script::{Script, Step, call},
};

fn started(attempt: u32, text: TextSoFar) -> Event {
    Event::Started { attempt: Attempt::new(attempt), text, region: None }
}

fn finished() -> Event {
    Event::Finished { reason: FinishReason::Stop, usage: Usage::default() }
}

fn failed(failure: Failure) -> Event {
    Event::Failed { failure }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_answer_is_started_streamed_and_sealed() {
    let mut house = House::new();
    house.worker(Script::new([vec![
        Step::Say("Hello"),
        Step::Wait(SECOND),
        Step::Say(" world"),
        Step::Finish,
    ]]));
    let id = house.ask().await;
    let entries = house.follow(id).await;
    let delta = |text: &str| Event::Delta { text: text.to_owned(), tokens: Vec::new() };
    let expected = [started(1, TextSoFar::Kept), delta("Hello"), delta(" world"), finished()];
    assert_eq!(events(&entries).cloned().collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_killed_worker_is_replaced_and_the_text_goes_on() {
    let mut house = House::new();
    house.worker(Script::new([vec![Step::Say("one"), Step::Hang]]));
    let id = house.ask().await;
    let mut follower = house.generations.follow(id, tokenwire_core::Seq::START).await.unwrap();
    while follower.cursor().get() < 2 {
        follower.next().await.unwrap();
    }
    house.kill_workers().await;
    house.worker(Script::new([vec![Step::Say(" two"), Step::Finish]]));
    let entries = house.follow(id).await;
    assert_eq!(text(events(&entries)), "one two");
    assert_eq!(entries[2].event, started(2, TextSoFar::Kept));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_cannot_continue_starts_over_and_says_so() {
    let mut house = House::new();
    let mut script =
        Script::new([vec![Step::Say("void"), Step::Break], vec![Step::Say("anew"), Step::Finish]]);
    script.continuation = Continuation::Unsupported;
    house.worker(script);
    let id = house.ask().await;
    let entries = house.follow(id).await;
    assert_eq!(entries[2].event, started(2, TextSoFar::Superseded));
    assert_eq!(text(events(&entries)), "anew");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_breaks_every_time_exhausts_the_attempts() {
    let mut house = House::new();
    let script = Script::new([vec![Step::Say("a"), Step::Break], vec![Step::Break]]);
    house.worker_with(script.clone(), Config { attempts: 3, run_time: RUN_TIME, ..Config::default() });
    let id = house.ask().await;
    let entries = house.follow(id).await;
    assert_eq!(text(events(&entries)), "a", "what was committed stays");
    let message = "the model failed: it broke".to_owned();
    assert_eq!(entries.last().unwrap().event, failed(Failure::Exhausted { attempts: 3, message }));
    assert_eq!(script.asked(), 4, "the first one got further than nothing");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_panics_takes_nobody_with_it() {
    let mut house = House::new();
    house.worker(Script::new([vec![Step::Panic], vec![Step::Say("fine"), Step::Finish]]));
    let id = house.ask().await;
    assert_eq!(text(events(&house.follow(id).await)), "fine");
}

#[tokio::test(start_paused = true)]
async fn a_busy_model_is_asked_again_when_it_said() {
    let mut house = House::new();
    house.worker(Script::new([vec![Step::Busy(7 * SECOND)], vec![Step::Finish]]));
    let asked = Instant::now();
    let id = house.ask().await;
    house.follow(id).await;
    assert!(asked.elapsed() >= 7 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_request_fails_at_once_with_the_models_reason() {
    let mut house = House::new();
    let script = Script::new([vec![Step::Reject]]);
    house.worker(script.clone());
    let id = house.ask().await;
    let entries = house.follow(id).await;
    let message = "too long".to_owned();
    assert_eq!(entries.last().unwrap().event, failed(Failure::Rejected { message }));
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_for_a_model_that_this_worker_does_not_have_is_left_to_others() {
    let mut house = House::new();
    house.worker(Script::new([vec![Step::Finish]]));
    let id = house.ask().await;
    house.follow(id).await;
    // What a replica with another catalogue may accept.
    let other = tokenwire_core::GenerationId::fresh();
    let mut foreign = request("Hello");
    let foreign_name = tokenwire_core::ModelName::new("elsewhere").unwrap();
    foreign.model = foreign_name.clone();
    let submission = tokenwire_core::generations::Submission {
        id: other,
        caller: Caller::Anonymous,
        request: foreign,
        on_disconnect: OnDisconnect::Detached,
        metadata: bytes::Bytes::new(),
    };
    house.generations.submit(submission).await.unwrap();
    sleep(5 * SECOND).await;
    // A worker of the next deployment has it.
    house.kill_workers().await;
    let models = [name(), foreign_name].into_iter().fold(Catalogue::default(), |models, name| {
        models.with(name, Arc::new(Script::new([vec![Step::Say("mine"), Step::Finish]])))
    });
    house.worker_of(models, Config { run_time: RUN_TIME, ..Config::default() });
    let entries = house.follow(other).await;
    assert_eq!(text(events(&entries)), "mine");
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_waited_too_long_expires() {
    let mut house = House::new();
    let id = house.ask().await;
    sleep(QUEUE_TIME + SECOND).await;
    let script = Script::new([vec![Step::Finish]]);
    house.worker(script.clone());
    let entries = house.follow(id).await;
    assert_eq!(entries[0].event, failed(Failure::Expired));
    assert_eq!(script.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn running_time_counts_over_all_attempts() {
    let mut house = House::new();
    let begun = Instant::now();
    house.worker(Script::new([
        vec![Step::Say("a"), Step::Wait(RUN_TIME * 3 / 4), Step::Break],
        vec![Step::Say("b"), Step::Hang],
    ]));
    let id = house.ask().await;
    let entries = house.follow(id).await;
    assert_eq!(entries.last().unwrap().event, failed(Failure::TimedOut));
    assert_eq!(text(events(&entries)), "ab");
    assert!(begun.elapsed() < RUN_TIME + 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn stop_drops_the_model_in_mid_silence() {
    let mut house = House::new();
    let script = Script::new([vec![Step::Say("a"), Step::Hang]]);
    house.worker(script.clone());
    let id = house.ask().await;
    let mut follower = house.generations.follow(id, tokenwire_core::Seq::START).await.unwrap();
    while follower.cursor().get() < 2 {
        follower.next().await.unwrap();
    }
    assert_eq!(script.running.load(Ordering::SeqCst), 1);
    house.generations.cancel(id).await.unwrap();
    let entries = house.follow(id).await;
    let cause = CancelCause::Requested;
    assert_eq!(entries.last().unwrap().event, failed(Failure::Cancelled { cause }));
    assert_eq!(script.running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_generation_stopped_in_the_queue_never_asks_the_model() {
    let mut house = House::new();
    let id = house.ask().await;
    house.generations.cancel(id).await.unwrap();
    let script = Script::new([vec![Step::Finish]]);
    house.worker(script.clone());
    let entries = house.follow(id).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(script.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_nobody_reads_is_cancelled_after_the_grace() {
    let mut house = House::new();
    let script = Script::new([vec![Step::Say("a"), Step::Hang]]);
    house.worker(script.clone());
    let grace = 10 * SECOND;
    let id = house.submit(OnDisconnect::CancelAfter(grace)).await;
    let reader = house.generations.follow(id, tokenwire_core::Seq::START).await.unwrap();
    sleep(grace / 2).await;
    drop(reader);
    // Somebody comes back within the grace, reads for a while, and goes.
    sleep(grace / 2).await;
    let mut reader = house.generations.follow(id, tokenwire_core::Seq::START).await.unwrap();
    let reading = async { while reader.next().await.unwrap().is_some() {} };
    assert!(tokio::time::timeout(60 * SECOND, reading).await.is_err(), "it lives while somebody reads");
    drop(reader);
    sleep(grace + 10 * SECOND).await;
    let cause = CancelCause::Abandoned;
    assert_eq!(house.stored(id).await.last(), Some(&failed(Failure::Cancelled { cause })));
    assert_eq!(script.running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_delivered_twice_is_answered_once() {
    let mut house = House::new();
    let id = house.ask().await;
    let epoch = Epoch::of(house.clock.now().after(QUEUE_TIME));
    house.queue.enqueue(&Job { id, request: Some(request("Hello")), epoch: Some(epoch) }).await.unwrap();
    let script = Script::new([vec![Step::Say("once"), Step::Finish]]);
    house.worker_with(script, Config { slots: 1, run_time: RUN_TIME, ..Config::default() });
    assert_eq!(text(events(&house.follow(id).await)), "once");
    house.soft.cancel();
    house.drained().await;
    assert_eq!(house.stored(id).await.len(), 3, "the second delivery found a sealed stream (I5)");
}

#[tokio::test(start_paused = true)]
async fn a_job_delivered_twice_does_not_depose_a_worker_that_lives() {
    let mut house = House::new();
    let steps = (0..20).flat_map(|_| [Step::Say("+"), Step::Wait(SECOND * 3)]).chain([Step::Finish]);
    let script = Script::new([steps.collect()]);
    house.worker(script.clone());
    let id = house.ask().await;
    sleep(SECOND).await;
    let epoch = Epoch::of(house.clock.now().after(QUEUE_TIME));
    house.queue.enqueue(&Job { id, request: Some(request("Hello")), epoch: Some(epoch) }).await.unwrap();
    let entries = house.follow(id).await;
    assert_eq!(text(events(&entries)), "+".repeat(20));
    assert_eq!(script.asked(), 1);
    house.soft.cancel();
    house.drained().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_die_with_a_frozen_worker_that_woke_up_and_took_it() {
    let mut house = House::new();
    house.worker(Script::new([
        vec![Step::Say("one"), Step::Wait(10 * SECOND), Step::Say(" late"), Step::Finish],
        vec![Step::Say(" two"), Step::Finish],
    ]));
    let id = house.ask().await;
    sleep(SECOND).await;
    // Its lease is void: nobody gets the job back when it dies.
    let zombie = house.log.open_writer(id).await.unwrap();
    sleep(3 * SECOND).await;
    drop(zombie);
    let entries = house.follow(id).await;
    assert_eq!(text(events(&entries)), "one two");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_falls_silent_is_asked_again_and_in_the_end_given_up() {
    let mut house = House::new();
    let script = Script::new([
        vec![Step::Say("a"), Step::Wait(2 * SECOND), Step::Say("b"), Step::Hang],
        vec![Step::Say("c"), Step::Hang],
        vec![Step::Hang],
    ]);
    let config = Config { attempts: 2, stall_time: 5 * SECOND, run_time: RUN_TIME, ..Config::default() };
    house.worker_with(script.clone(), config);
    let id = house.ask().await;
    let entries = house.follow(id).await;
    assert_eq!(text(events(&entries)), "abc");
    let message = "the model failed: it sent nothing for 5s".to_owned();
    assert_eq!(entries.last().unwrap().event, failed(Failure::Exhausted { attempts: 2, message }));
    assert_eq!(script.running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_says_that_it_works_is_not_stalled() {
    let mut house = House::new();
    let reads = std::iter::repeat_n([Step::Wait(4 * SECOND), Step::Work], 5).flatten();
    let script = Script::new([reads.chain([Step::Say("read"), Step::Finish]).collect()]);
    let config = Config { stall_time: 5 * SECOND, run_time: RUN_TIME, ..Config::default() };
    house.worker_with(script.clone(), config);
    let id = house.ask().await;
    let entries = house.follow(id).await;
    assert_eq!(text(events(&entries)), "read");
    assert_eq!((script.asked(), entries.len()), (1, 3), "a sign of life is no entry");
}

#[tokio::test(start_paused = true)]
async fn reasoning_and_tool_calls_are_entries_and_no_text() {
    let mut house = House::new();
    house.worker(Script::new([vec![
        Step::Think("hm"),
        Step::Say("so: "),
        Step::Call("{\"of\":1}"),
        Step::Break,
    ]]));
    let id = house.ask().await;
    let entries = house.follow(id).await;
    assert_eq!(entries[1].event, Event::Reasoning { text: "hm".to_owned() });
    assert_eq!(entries[3].event, Event::ToolCall(call("{\"of\":1}")));
    assert_eq!(text(events(&entries[..4])), "so: ");
    let mut prefix = Prefix::default();
    entries[..2].iter().for_each(|entry| prefix.push(entry));
    assert!(!prefix.is_empty() && prefix.beyond_text && prefix.text.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_model_that_broke_before_its_first_piece_has_nothing_to_take_back() {
    let mut house = House::new();
    let mut script = Script::new([vec![Step::Break], vec![Step::Say("anew"), Step::Finish]]);
    script.continuation = Continuation::Unsupported;
    house.worker(script);
    let id = house.ask().await;
    assert_eq!(house.follow(id).await[1].event, started(2, TextSoFar::Kept));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_was_held_back_did_not_fall_silent() {
    let plain = House::new();
    let log = Outage::new(Arc::clone(&plain.log));
    let mut house = House::with_log(Arc::new(log.clone()), Arc::clone(&plain.clock));
    let script = Script::new([vec![Step::Say("a"), Step::Wait(SECOND), Step::Say("b"), Step::Finish]]);
    let config = Config { stall_time: 5 * SECOND, pending_bytes: 1, run_time: RUN_TIME, ..Config::default() };
    house.worker_with(script.clone(), config);
    let id = house.ask().await;
    sleep(SECOND / 2).await;
    log.down();
    sleep(20 * SECOND).await;
    log.up();
    assert_eq!(text(events(&house.follow(id).await)), "ab");
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_a_generation_that_is_silent_asks_whether_it_goes_on() {
    let plain = House::new();
    let log = Outage::new(Arc::clone(&plain.log));
    let mut house = House::with_log(Arc::new(log.clone()), Arc::clone(&plain.clock));
    let mut steps: Vec<_> = (0..50).flat_map(|_| [Step::Say("+"), Step::Wait(SECOND / 5)]).collect();
    steps.push(Step::Hang);
    house.worker(Script::new([steps]));
    house.ask().await;
    sleep(10 * SECOND).await;
    assert_eq!(log.asked(), 0, "every piece asks");
    sleep(10 * SECOND).await;
    assert!((18..=20).contains(&log.asked()), "{} times", log.asked());
}

/// A queue that gives up on each job the first time.
#[derive(Debug, Default)]
struct GivenUp {
    dead: MemoryQueue,
    jobs: MemoryQueue,
    seen: Mutex<HashSet<GenerationId>>,
}

#[async_trait]
impl QueueHooks for GivenUp {
    fn queue(&self) -> &dyn JobQueue {
        &self.jobs
    }

    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        let is_first = self.seen.lock().unwrap().insert(job.id);
        if is_first { self.dead.enqueue(job).await } else { self.jobs.enqueue(job).await }
    }

    fn waiting(&self) -> usize {
        self.dead.waiting() + self.jobs.waiting()
    }

    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        self.dead.lease().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_the_queue_gave_up_on_is_stored_again() {
    let plain = House::new();
    let queue = Arc::new(Queue(GivenUp::default()));
    let mut house = House::with(Arc::clone(&plain.log), Arc::clone(&queue) as _, Arc::clone(&plain.clock));
    house.worker(Script::new([vec![Step::Say("after all"), Step::Finish]]));
    let id = house.ask().await;
    assert_eq!(text(events(&house.follow(id).await)), "after all");
    assert_eq!(queue.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_without_a_stream_is_dropped() {
    let mut house = House::new();
    let id = house.ask().await;
    house.log.remove(id).await.unwrap();
    let script = Script::new([vec![Step::Finish]]);
    house.worker(script.clone());
    let other = house.ask().await;
    house.follow(other).await;
    assert_eq!(script.asked(), 1, "only for the other one");
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_is_forgotten_while_it_runs_stops_and_its_worker_goes_on() {
    let mut house = House::new();
    let script = Script::new([vec![Step::Say("half"), Step::Hang], vec![Step::Finish]]);
    let one = Config { slots: 1, run_time: RUN_TIME, ..Config::default() };
    house.worker_with(script.clone(), one);
    let id = house.ask().await;
    sleep(SECOND).await;
    house.generations.remove(id).await.unwrap();
    let next = house.ask().await;
    assert_eq!(events(&house.follow(next).await).last(), Some(&finished()));
    assert_eq!(script.running.load(Ordering::SeqCst), 0, "the model of the forgotten one was dropped");
    assert!(house.generations.spec(id).await.is_err(), "and nothing brought it back");
}

/// The job of a generation that was forgotten, whose id another one has now: with the same epoch it would be that one's.
fn stale(house: &House, id: GenerationId) -> Job {
    let epoch = Epoch::of(house.clock.now().after(QUEUE_TIME / 2));
    Job { id, request: Some(request("Hello")), epoch: Some(epoch) }
}

#[tokio::test(start_paused = true)]
async fn the_job_of_a_forgotten_generation_does_not_answer_the_next_one_of_its_id() {
    let next = House::new();
    let id = next.ask().await;
    let mut house =
        House::with(Arc::clone(&next.log), Arc::<MemoryQueue>::default(), Arc::clone(&next.clock));
    house.queue.enqueue(&stale(&house, id)).await.unwrap();
    let script = Script::new([vec![Step::Finish]]);
    house.worker_with(script.clone(), Config { slots: 1, run_time: RUN_TIME, ..Config::default() });
    let other = house.ask().await;
    house.follow(other).await;
    assert_eq!(script.asked(), 1, "only for the other one");
    let page = house.log.read(id, Seq::START, NonZeroUsize::MIN).await.unwrap();
    assert!(matches!(page.phase, Phase::Queued { .. }), "not an attempt was taken from it: {page:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_of_a_forgotten_generation_does_not_fail_the_next_one_of_its_id() {
    let next = House::new();
    let id = next.ask().await;
    let mut house =
        House::with(Arc::clone(&next.log), Arc::<Queue<GivenUp>>::default(), Arc::clone(&next.clock));
    house.queue.enqueue(&stale(&house, id)).await.unwrap();
    house.worker(Script::new([vec![Step::Finish]]));
    sleep(SECOND).await;
    assert_eq!(house.stored(id).await, []);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_log_holds_the_answer_back_and_loses_nothing() {
    let plain = House::new();
    let log = Outage::new(Arc::clone(&plain.log));
    let mut house = House::with_log(Arc::new(log.clone()), Arc::clone(&plain.clock));
    let mut steps = vec![Step::Say("begin")];
    steps.extend((0..300).flat_map(|_| [Step::Wait(SECOND / 10), Step::Say("+")]));
    steps.push(Step::Finish);
    house.worker(Script::new([steps]));
    let id = house.ask().await;
    let mut reader = house.generations.follow(id, tokenwire_core::Seq::START).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 20 {
        seen.extend(reader.next().await.unwrap().unwrap().iter().cloned());
    }
    log.down();
    let quiet = tokio::time::timeout(15 * SECOND, async { while reader.next().await.is_ok() {} }).await;
    assert!(quiet.is_err(), "a reader waits through an outage");
    log.up();
    let mut reader = house.generations.follow(id, seen.last().unwrap().seq).await.unwrap();
    while let Some(entries) = reader.next().await.unwrap() {
        seen.extend(entries.iter().cloned());
    }
    assert_eq!(text(events(&seen)), format!("begin{}", "+".repeat(300)));
}

#[tokio::test(start_paused = true)]
async fn a_model_is_held_back_while_too_much_waits_for_the_log() {
    let plain = House::new();
    let log = Outage::new(Arc::clone(&plain.log));
    let mut house = House::with_log(Arc::new(log.clone()), Arc::clone(&plain.clock));
    let mut steps = vec![Step::Say("begin"), Step::Wait(SECOND)];
    steps.extend(std::iter::repeat_n(Step::Say("0123456789"), 10_000));
    steps.push(Step::Finish);
    let script = Script::new([steps]);
    let bound = 10_000;
    house.worker_with(
        script.clone(),
        Config { pending_bytes: bound, run_time: RUN_TIME, ..Config::default() },
    );
    let id = house.ask().await;
    sleep(SECOND / 2).await;
    log.down();
    sleep(20 * SECOND).await;
    log.up();
    let entries = house.follow(id).await;
    assert_eq!(text(events(&entries)).len(), "begin".len() + 100_000);
    assert_eq!(entries.last().unwrap().event, finished());
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_runs_and_begins_nothing() {
    let mut house = House::new();
    let script = Script::new([vec![Step::Say("a"), Step::Wait(5 * SECOND), Step::Finish]]);
    house.worker_with(script.clone(), Config { slots: 1, run_time: RUN_TIME, ..Config::default() });
    let (first, second) = (house.ask().await, house.ask().await);
    sleep(SECOND).await;
    house.soft.cancel();
    house.drained().await;
    assert_eq!(house.stored(first).await.last(), Some(&finished()));
    assert!(house.stored(second).await.is_empty());
    assert_eq!(script.asked(), 1);
    // The waiting job is still there for the next worker.
    house.soft = tokio_util::sync::CancellationToken::new();
    house.worker(Script::new([vec![Step::Finish]]));
    house.follow(second).await;
}

#[tokio::test(start_paused = true)]
async fn a_hard_stop_gives_running_work_back() {
    let mut house = House::new();
    house.worker(Script::new([vec![Step::Say("half"), Step::Hang]]));
    let id = house.ask().await;
    sleep(SECOND).await;
    house.soft.cancel();
    house.hard.cancel();
    house.drained().await;
    house.soft = tokio_util::sync::CancellationToken::new();
    house.hard = tokio_util::sync::CancellationToken::new();
    house.worker(Script::new([vec![Step::Say(" whole"), Step::Finish]]));
    assert_eq!(text(events(&house.follow(id).await)), "half whole");
}

#[tokio::test(start_paused = true)]
async fn slots_bound_how_many_generations_run() {
    let mut house = House::new();
    let script = Script::new([vec![Step::Hang]]);
    house.worker_with(script.clone(), Config { slots: 3, run_time: RUN_TIME, ..Config::default() });
    for _ in 0..10 {
        house.ask().await;
    }
    sleep(SECOND).await;
    assert_eq!(script.running.load(Ordering::SeqCst), 3);
}

/// Front ends hold it in many tasks.
const _: fn() = || {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Generations>();
};
