//! I11: what happens to a process, a dependency or a deployment costs a generation time, and nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use job_queue::memory::MemoryQueue;
use testkit::wrapped::{Queue, QueueHooks};
use tokenwire_core::{
    Caller, CancelCause, Clock, Event, Failure, Follower, GenerationId, Job, JobQueue, Lease, QueueError,
    Seq, Timestamp,
    follow::Update,
    generations::{Submission, Submitted},
    job_queue::LeaseHandle,
    model::Continuation,
    token_log::{JobClaim, OnDisconnect, Phase},
    worker::Config,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    house::{House, QUEUE_TIME, RUN_TIME, events, request, text},
    outage::Outage,
    script::{Script, Step},
};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config { run_time: RUN_TIME, ..Config::default() }
}

/// Waits until the model was asked so often.
async fn asked(script: &Script, times: usize) {
    while script.asked() < times {
        sleep(Duration::from_millis(10)).await;
    }
}

impl House {
    /// As SIGTERM and the end of the drain time do; another worker can be started after it.
    async fn restart_workers(&mut self) {
        self.soft.cancel();
        self.hard.cancel();
        self.drained().await;
        self.soft = CancellationToken::new();
        self.hard = CancellationToken::new();
    }
}

fn failure(entries: &[tokenwire_core::Entry]) -> Option<&Failure> {
    match &entries.last()?.event {
        Event::Failed { failure } => Some(failure),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn planned_restarts_cost_an_answer_nothing_but_time() {
    let mut house = House::new();
    let id = house.ask().await;
    for restart in 1..=20 {
        let script = Script::new([vec![Step::Hang]]);
        house.worker_with(script.clone(), config());
        asked(&script, 1).await;
        let began = Instant::now();
        house.restart_workers().await;
        assert!(began.elapsed() < SECOND, "restart {restart} is not held up");
    }
    house.worker_with(Script::new([vec![Step::Say("whole"), Step::Finish]]), config());
    let began = Instant::now();
    let entries = house.follow(id).await;
    assert_eq!(text(events(&entries)), "whole");
    assert!(began.elapsed() < SECOND, "the next worker does not wait for one that gave back");
    assert_eq!(entries.len(), 4, "what was given back left no entry: {entries:?}");
}

/// A queue that stores a job again behind all others when it is retried, as RabbitMQ does.
#[derive(Debug, Default)]
struct RetriesAtTheEnd(Arc<MemoryQueue>);

#[derive(Debug)]
struct RetriedAtTheEnd {
    queue: Arc<MemoryQueue>,
    lease: Lease,
}

#[async_trait]
impl QueueHooks for RetriesAtTheEnd {
    fn queue(&self) -> &dyn JobQueue {
        &*self.0
    }

    async fn lease(&self) -> Result<Lease, QueueError> {
        let lease = self.0.lease().await?;
        let (job, queue) = (lease.job().clone(), Arc::clone(&self.0));
        Ok(Lease::new(job, Box::new(RetriedAtTheEnd { queue, lease })))
    }
}

#[async_trait]
impl LeaseHandle for RetriedAtTheEnd {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        self.lease.ack().await
    }

    async fn retry(self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        sleep(after).await;
        self.queue.enqueue(self.lease.job()).await?;
        self.lease.ack().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_a_restart_gave_back_goes_on_before_prompts_that_have_not_begun() {
    let plain = House::new();
    let queue = Arc::<Queue<RetriesAtTheEnd>>::default();
    let mut house = House::with(Arc::clone(&plain.log), queue, Arc::clone(&plain.clock));
    let one_slot = || Config { slots: 1, ..config() };
    let script = Script::new([vec![Step::Say("half "), Step::Hang]]);
    house.worker_with(script.clone(), one_slot());
    let half_done = house.ask().await;
    asked(&script, 1).await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(house.ask().await);
    }
    house.restart_workers().await;
    house.worker_with(
        Script::new([vec![Step::Wait(5 * SECOND), Step::Say("whole"), Step::Finish]]),
        one_slot(),
    );
    let began = Instant::now();
    assert_eq!(text(events(&house.follow(half_done).await)), "half whole");
    assert!(began.elapsed() < 6 * SECOND, "it waited {:?}, behind others", began.elapsed());
    for id in waiting {
        house.follow(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn crashes_of_a_process_in_which_the_answer_gets_further_are_not_counted() {
    let mut house = House::new();
    let id = house.ask().await;
    for _ in 0..20 {
        let script = Script::new([vec![Step::Say("x"), Step::Hang]]);
        house.worker_with(script.clone(), config());
        asked(&script, 1).await;
        sleep(SECOND / 10).await;
        house.kill_workers().await;
    }
    house.worker_with(Script::new([vec![Step::Finish]]), config());
    assert_eq!(text(events(&house.follow(id).await)), "x".repeat(20));
}

/// The clock of a machine that is ahead of the others.
#[derive(Debug)]
struct Ahead(Arc<dyn Clock>);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.0.now().after(QUEUE_TIME / 2)
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_on_a_machine_whose_clock_is_ahead_is_not_waited_for_until_then() {
    let mut house = House::new();
    let ahead = Arc::new(Ahead(Arc::clone(&house.clock)));
    let mut other = House::with(Arc::clone(&house.log), Arc::clone(&house.queue), ahead);
    let id = house.ask().await;
    let script = Script::new([vec![Step::Hang]]);
    other.worker_with(script.clone(), config());
    asked(&script, 1).await;
    other.kill_workers().await;
    house.worker_with(Script::new([vec![Step::Say("whole"), Step::Finish]]), config());
    let began = Instant::now();
    assert_eq!(text(events(&house.follow(id).await)), "whole");
    assert!(began.elapsed() < 5 * SECOND, "{:?}", began.elapsed());
}

/// Forty kills in six seconds, with sixty prompts waiting.
#[tokio::test(start_paused = true)]
async fn quick_crashes_of_a_process_end_no_generation() {
    let mut house = House::new();
    let mut ids = Vec::new();
    for _ in 0..60 {
        ids.push(house.ask().await);
    }
    for _ in 0..40 {
        house.worker_with(Script::new([vec![Step::Hang]]), config());
        sleep(Duration::from_millis(150)).await;
        house.kill_workers().await;
    }
    house.worker_with(Script::new([vec![Step::Say("whole"), Step::Finish]]), config());
    for id in ids {
        let entries = house.follow(id).await;
        assert_eq!(text(events(&entries)), "whole", "{:?}", entries.last());
    }
}

/// The model kills its process before it says anything. The test plays the process.
#[tokio::test(start_paused = true)]
async fn a_prompt_that_kills_its_process_ends_and_takes_no_neighbour_with_it() {
    let mut house = House::new();
    let poison = house.ask().await;
    let neighbours = [house.ask().await, house.ask().await, house.ask().await];
    let deadly = Arc::new(AtomicUsize::new(0));
    // The poison was asked for first, so it is the first to run in every process.
    loop {
        let script = super::script::Deadly::new(poison, Arc::clone(&deadly));
        house.worker_with(script.clone(), config());
        let died = timeout(30 * SECOND, script.died()).await.is_ok();
        if !died {
            break;
        }
        house.kill_workers().await;
    }
    let entries = house.follow(poison).await;
    assert!(matches!(failure(&entries), Some(Failure::Exhausted { attempts: 5, .. })), "{entries:?}");
    assert_eq!(deadly.load(Ordering::SeqCst), 5);
    for id in neighbours {
        assert_eq!(text(events(&house.follow(id).await)), "fine");
    }
}

/// After a kill no single answer is suspected: all of them continue at once, and not one after the other.
#[tokio::test(start_paused = true)]
async fn a_kill_before_the_first_word_costs_every_answer_the_same() {
    for continuation in [Continuation::Resampled, Continuation::Unsupported] {
        let mut house = House::new();
        let mut slow = Script::new([vec![Step::Wait(40 * SECOND), Step::Say("whole"), Step::Finish]]);
        slow.continuation = continuation;
        house.worker_with(slow.clone(), config());
        let mut ids = Vec::new();
        for _ in 0..8 {
            ids.push(house.ask().await);
        }
        asked(&slow, 8).await;
        house.kill_workers().await;
        house.worker_with(slow, config());
        let began = Instant::now();
        for id in ids {
            assert_eq!(text(events(&house.follow(id).await)), "whole");
        }
        assert!(began.elapsed() < 45 * SECOND, "{:?}", began.elapsed());
    }
}

/// While a suspect is tried, no other generation begins: their jobs stay in the queue, where other processes can lease them.
#[tokio::test(start_paused = true)]
async fn a_trial_does_not_empty_the_queue_into_its_process() {
    let mut house = House::new();
    house.ask().await;
    let script = Script::new([vec![Step::Hang]]);
    for death in 1..=2 {
        house.worker_with(script.clone(), config());
        asked(&script, death).await;
        house.kill_workers().await;
    }
    house.worker_with(script.clone(), Config { slots: 2, ..config() });
    asked(&script, 3).await;
    for _ in 0..20 {
        house.ask().await;
    }
    sleep(3 * SECOND).await;
    assert_eq!(script.asked(), 3, "one is tried alone");
    assert_eq!(house.queue.waiting(), 19, "one more has a slot");
}

/// In a busy process there is always an attempt whose model has not said anything yet. A suspect gets its turn all the same.
#[tokio::test(start_paused = true)]
async fn a_suspect_gets_its_turn_in_a_process_that_is_always_busy() {
    let mut house = House::new();
    let suspect = house.ask().await;
    let script = Script::new([vec![Step::Hang]]);
    for death in 1..=3 {
        house.worker_with(script.clone(), config());
        asked(&script, death).await;
        house.kill_workers().await;
    }
    let answers = (0..1000).map(|number| {
        let wait = Duration::from_millis(3000 + number * 700 % 3000);
        vec![Step::Wait(wait), Step::Say("whole"), Step::Finish]
    });
    let held = house.queue.lease().await.unwrap();
    house.worker_with(Script::new(answers), Config { slots: 4, ..config() });
    let others = async {
        loop {
            while house.queue.waiting() < 8 {
                house.ask().await;
            }
            sleep(SECOND / 10).await;
        }
    };
    let suspect = async {
        sleep(10 * SECOND).await;
        drop(held);
        house.follow(suspect).await
    };
    tokio::select! {
        () = others => {}
        entries = suspect => assert_eq!(text(events(&entries)), "whole", "{:?}", entries.last()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_model_is_waited_for_until_the_generations_own_time_is_over() {
    let mut house = House::new();
    let busy = vec![Step::Busy(Duration::ZERO)];
    let script =
        Script::new(std::iter::repeat_n(busy.clone(), 8).chain([vec![Step::Say("at last"), Step::Finish]]));
    house.worker_with(script.clone(), config());
    let id = house.ask().await;
    let began = Instant::now();
    let entries = house.follow(id).await;
    assert_eq!(text(events(&entries)), "at last");
    assert!(began.elapsed() > 30 * SECOND, "longer each time");
    assert_eq!(entries.len(), 4, "one for the first attempt, one for the one that spoke: {entries:?}");

    house.kill_workers().await;
    house.worker_with(Script::new([busy]), config());
    let id = house.ask().await;
    let began = Instant::now();
    let entries = house.follow(id).await;
    assert_eq!(failure(&entries), Some(&Failure::TimedOut));
    assert!(began.elapsed() < RUN_TIME + 2 * SECOND, "not later");
}

#[tokio::test(start_paused = true)]
async fn an_absent_model_costs_no_attempt() {
    let mut house = House::new();
    let script = Script::new(
        std::iter::repeat_n(vec![Step::Absent], 7).chain([vec![Step::Say("back"), Step::Finish]]),
    );
    house.worker_with(script, Config { attempts: 1, ..config() });
    let id = house.ask().await;
    assert_eq!(text(events(&house.follow(id).await)), "back");
}

#[tokio::test(start_paused = true)]
async fn readers_learn_that_a_generation_waits_for_its_model() {
    let mut house = House::new();
    let again = 20 * SECOND;
    house.worker_with(Script::new([vec![Step::Busy(again)], vec![Step::Finish]]), config());
    let id = house.ask().await;
    let mut follower = house.generations.follow(id, Seq::START).await.unwrap();
    let mut waits = Vec::new();
    while let Some(one) = follower.next_update().await.unwrap() {
        if let Update::Waiting { until } = one {
            waits.push(until.since(house.clock.now()));
        }
    }
    assert_eq!(waits.len(), 1, "{waits:?}");
    assert!(waits[0] <= again && waits[0] + 3 * SECOND > again, "{waits:?}");
}

/// A retry that lies in the queue holds no slot: others are answered meanwhile.
#[tokio::test(start_paused = true)]
async fn a_generation_that_waits_for_its_model_holds_up_no_other() {
    let mut house = House::new();
    let script = Script::new([vec![Step::Busy(60 * SECOND)], vec![Step::Say("quick"), Step::Finish]]);
    house.worker_with(script.clone(), Config { slots: 1, ..config() });
    let slow = house.ask().await;
    asked(&script, 1).await;
    let began = Instant::now();
    let quick = house.ask().await;
    assert_eq!(text(events(&house.follow(quick).await)), "quick");
    assert!(began.elapsed() < SECOND);
    house.follow(slow).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_what_waits_at_once() {
    let mut house = House::new();
    let script = Script::new([vec![Step::Hang], vec![Step::Busy(60 * SECOND)]]);
    house.worker_with(script.clone(), Config { slots: 1, ..config() });
    let running = house.ask().await;
    asked(&script, 1).await;
    let queued = house.ask().await;
    let began = Instant::now();
    house.generations.cancel(queued).await.unwrap();
    let entries = house.follow(queued).await;
    assert_eq!(failure(&entries), Some(&Failure::Cancelled { cause: CancelCause::Requested }));
    assert!(began.elapsed() < SECOND, "though no slot is free");

    house.generations.cancel(running).await.unwrap();
    house.follow(running).await;
    let waiting = house.ask().await;
    asked(&script, 2).await;
    sleep(SECOND).await;
    house.generations.cancel(waiting).await.unwrap();
    let began = Instant::now();
    house.follow(waiting).await;
    assert!(began.elapsed() < SECOND, "one that waits for its model, too");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_away_uses_up_nothing() {
    let plain = House::new();
    let outage = Outage::new(Arc::clone(&plain.log));
    let mut house = House::with_log(Arc::new(outage.clone()), Arc::clone(&plain.clock));
    let id = house.ask().await;
    outage.down();
    let script = Script::new([vec![Step::Say("whole"), Step::Finish]]);
    house.worker_with(script.clone(), Config { attempts: 1, ..config() });
    sleep(QUEUE_TIME / 2).await;
    assert_eq!(house.queue.waiting(), 1, "no job is leased without a log");
    outage.up();
    assert_eq!(text(events(&house.follow(id).await)), "whole");
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_the_queue_lost_is_stored_again() {
    let mut house = House::new();
    let id = house.ask().await;
    // As a purge does.
    house.queue.lease().await.unwrap().ack().await.unwrap();
    house.worker_with(Script::new([vec![Step::Say("after all"), Step::Finish]]), config());
    let began = Instant::now();
    assert_eq!(text(events(&house.follow(id).await)), "after all");
    assert!(began.elapsed() < 20 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_the_queue_lost_is_stored_again_without_a_reader() {
    let mut house = House::new();
    let stop = CancellationToken::new();
    let (watching, theirs) = (house.generations.clone(), stop.clone());
    let watch = tokio::task::JoinSet::from_iter([async move { watching.keep_watch(theirs).await }]);
    let id = house.ask().await;
    house.queue.lease().await.unwrap().ack().await.unwrap();
    let script = Script::new([vec![Step::Finish]]);
    house.worker_with(script.clone(), config());
    sleep(30 * SECOND).await;
    assert_eq!(script.asked(), 1);
    assert_eq!(house.stored(id).await.len(), 2);
    stop.cancel();
    watch.join_all().await;
}

/// A generation that runs is looked at less often. One that was accepted later does not wait behind it.
#[tokio::test(start_paused = true)]
async fn a_lost_job_is_stored_again_as_soon_when_others_run_without_readers() {
    let mut house = House::new();
    let stop = CancellationToken::new();
    let (watching, theirs) = (house.generations.clone(), stop.clone());
    let watch = tokio::task::JoinSet::from_iter([async move { watching.keep_watch(theirs).await }]);
    let script = Script::new([vec![Step::Hang], vec![Step::Finish]]);
    house.worker_with(script.clone(), config());
    house.ask().await;
    asked(&script, 1).await;
    sleep(10 * SECOND).await;
    house.kill_workers().await;
    let running = house.queue.lease().await.unwrap();
    house.ask().await;
    house.queue.lease().await.unwrap().ack().await.unwrap();
    house.worker_with(script.clone(), config());
    sleep(25 * SECOND).await;
    assert_eq!(script.asked(), 2);
    drop(running);
    stop.cancel();
    watch.join_all().await;
}

/// Its first submission was refused half way, so that only the second one is known to be accepted.
#[tokio::test(start_paused = true)]
async fn a_generation_that_was_accepted_when_it_was_posted_again_is_looked_after_too() {
    let mut house = House::new();
    let id = house.ask().await;
    let door = House::with(house.log.clone(), house.queue.clone(), house.clock.clone()).generations;
    let stop = CancellationToken::new();
    let (watching, theirs) = (door.clone(), stop.clone());
    let watch = tokio::task::JoinSet::from_iter([async move { watching.keep_watch(theirs).await }]);
    let (request, on_disconnect) = (request("Hello"), OnDisconnect::Detached);
    let submission =
        Submission { id, caller: Caller::Anonymous, request, on_disconnect, metadata: Bytes::new() };
    let (accepted, ()) = futures::join!(door.submit(submission), async {
        sleep(SECOND).await;
        house.worker_with(Script::new([vec![Step::Hang]]), config());
    });
    assert_eq!(accepted.unwrap().how, Submitted::Existing);
    // Its worker and its job are gone.
    house.kill_workers().await;
    house.queue.lease().await.unwrap().ack().await.unwrap();
    house.worker_with(Script::new([vec![Step::Finish]]), config());
    sleep(30 * SECOND).await;
    assert!(matches!(house.stored(id).await.last(), Some(Event::Finished { .. })));
    stop.cancel();
    watch.join_all().await;
}

/// With others behind it, an empty queue shows nothing; that they were taken first does.
#[tokio::test(start_paused = true)]
async fn a_job_that_was_lost_among_others_is_stored_again_once_they_overtake_it() {
    let mut house = House::new();
    let lost = house.ask().await;
    house.queue.lease().await.unwrap().ack().await.unwrap();
    sleep(15 * SECOND).await;
    let script = Script::new([vec![Step::Wait(SECOND), Step::Say("x"), Step::Finish]]);
    house.worker_with(script, Config { slots: 1, ..config() });
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(house.ask().await);
    }
    let (lost, _) = futures::join!(house.follow(lost), house.follow(others[0]));
    assert_eq!(text(events(&lost)), "x");
}

/// The same, for an answer that has begun and whose worker died.
#[tokio::test(start_paused = true)]
async fn the_job_of_an_answer_that_has_begun_is_stored_again_though_the_queue_is_never_empty() {
    let mut house = House::new();
    let script = Script::new([vec![Step::Say("x"), Step::Hang]]);
    house.worker_with(script.clone(), config());
    let lost = house.ask().await;
    asked(&script, 1).await;
    sleep(SECOND).await;
    house.kill_workers().await;
    house.queue.lease().await.unwrap().ack().await.unwrap();
    let script = Script::new([vec![Step::Wait(SECOND), Step::Say("y"), Step::Finish]]);
    house.worker_with(script, Config { slots: 1, ..config() });
    let others = async {
        loop {
            let id = house.ask().await;
            let door = house.generations.clone();
            while house.queue.waiting() < 5 {
                house.ask().await;
            }
            let mut follower = door.follow(id, Seq::START).await.unwrap();
            while follower.next().await.unwrap().is_some() {}
        }
    };
    let lost = async { house.follow(lost).await };
    tokio::select! {
        () = others => {}
        lost = timeout(RUN_TIME, lost) => assert_eq!(text(events(&lost.unwrap())), "xy"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_prompt_posted_again_and_again_while_it_waits_is_queued_twice_at_most() {
    let house = House::new();
    let id = GenerationId::fresh();
    let submit = || {
        let (request, on_disconnect) = (request("Hello"), OnDisconnect::Detached);
        house.generations.submit(Submission {
            id,
            caller: Caller::Anonymous,
            request,
            on_disconnect,
            metadata: Bytes::new(),
        })
    };
    submit().await.unwrap();
    for _ in 0..12 {
        assert_eq!(submit().await.unwrap().how, Submitted::Existing);
    }
    assert!(house.queue.waiting() <= 2, "{}", house.queue.waiting());
    let many = futures::future::join_all((0..12).map(|_| submit())).await;
    assert!(many.into_iter().all(|one| one.is_ok()));
    assert!(house.queue.waiting() <= 2, "{}", house.queue.waiting());
}

#[tokio::test(start_paused = true)]
async fn of_many_that_would_store_a_job_again_one_does() {
    let house = House::new();
    let id = house.ask().await;
    let claim = || house.log.claim_job(id);
    assert_eq!(claim().await.unwrap(), JobClaim::Taken, "its creator stores it");
    sleep(7 * SECOND).await;
    assert_eq!((claim().await.unwrap(), claim().await.unwrap()), (JobClaim::Granted, JobClaim::Taken));
    house.log.job_stored(id).await.unwrap();
    assert_eq!(claim().await.unwrap(), JobClaim::Stored);
}

/// As after a blip of the broker: each job that runs is delivered once more, and short prompts are behind them.
#[tokio::test(start_paused = true)]
async fn copies_of_jobs_that_run_here_take_no_slot() {
    let mut house = House::new();
    let long = || vec![Step::Wait(50 * SECOND), Step::Finish];
    let script = Script::new([long(), long(), long(), vec![Step::Say("short"), Step::Finish]]);
    house.worker_with(script.clone(), Config { slots: 4, ..config() });
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(house.ask().await);
    }
    asked(&script, 3).await;
    for id in &running {
        let spec = house.log.spec(*id).await.unwrap();
        let job = Job { id: *id, request: Some(request("Hello")), epoch: Some(spec.epoch()) };
        house.queue.enqueue(&job).await.unwrap();
    }
    let began = Instant::now();
    let short = house.ask().await;
    assert_eq!(text(events(&house.follow(short).await)), "short");
    assert!(began.elapsed() < 5 * SECOND);
    for id in running {
        house.follow(id).await;
    }
    sleep(SECOND).await;
    assert_eq!(script.asked(), 4);
    assert_eq!(house.queue.waiting(), 0, "the copies are settled with their jobs");
}

/// Two processes: what one runs is delivered to the other once more.
#[tokio::test(start_paused = true)]
async fn copies_of_jobs_that_run_elsewhere_take_no_slot() {
    let mut house = House::new();
    let script = Script::new([vec![Step::Wait(50 * SECOND), Step::Finish]]);
    house.worker_with(script.clone(), Config { slots: 1, ..config() });
    let running = house.ask().await;
    asked(&script, 1).await;
    let spec = house.log.spec(running).await.unwrap();
    let other = Script::new([vec![Step::Say("short"), Step::Finish]]);
    house.worker_with(other.clone(), Config { slots: 1, ..config() });
    let job = Job { id: running, request: Some(request("Hello")), epoch: Some(spec.epoch()) };
    house.queue.enqueue(&job).await.unwrap();
    let began = Instant::now();
    let short = house.ask().await;
    house.follow(short).await;
    assert!(began.elapsed() < 5 * SECOND, "{:?}", began.elapsed());
    house.follow(running).await;
    assert_eq!((script.asked(), other.asked()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_cannot_be_read_is_run_from_its_stream() {
    let plain = House::new();
    let queue = Arc::new(MemoryQueue::default());
    let mut house = House::with(Arc::clone(&plain.log), Arc::clone(&queue) as _, Arc::clone(&plain.clock));
    let id = house.ask().await;
    queue.lease().await.unwrap().ack().await.unwrap();
    // As an adapter gives a message of which it can read the id alone.
    queue.enqueue(&Job { id, request: None, epoch: None }).await.unwrap();
    house.worker_with(Script::new([vec![Step::Say("read"), Step::Finish]]), config());
    assert_eq!(text(events(&house.follow(id).await)), "read");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_nothing_can_read_ends_its_generation_at_once() {
    let mut house = House::new();
    let template = house.ask().await;
    let spec = house.log.spec(template).await.unwrap();
    house.queue.lease().await.unwrap().ack().await.unwrap();
    // As versions before this one created streams.
    let id = GenerationId::fresh();
    let spec = tokenwire_core::token_log::StreamSpec { request: Bytes::new(), ..spec };
    house.log.create(id, &spec).await.unwrap();
    house.queue.enqueue(&Job { id, request: None, epoch: None }).await.unwrap();
    house.worker_with(Script::new([vec![Step::Finish]]), config());
    let began = Instant::now();
    assert_eq!(failure(&house.follow(id).await), Some(&Failure::Lost));
    assert!(began.elapsed() < SECOND);
}

/// The log has noted that a model is about to be asked, and its answer is lost: nothing was asked yet.
#[tokio::test(start_paused = true)]
async fn a_note_of_unknown_outcome_is_no_attempt() {
    let plain = House::new();
    let outage = Outage::new(Arc::clone(&plain.log));
    let mut house = House::with_log(Arc::new(outage.clone()), Arc::clone(&plain.clock));
    outage.lose_answers(7);
    let id = house.ask().await;
    let script = Script::new([vec![Step::Say("whole"), Step::Finish]]);
    house.worker_with(script.clone(), config());
    assert_eq!(text(events(&house.follow(id).await)), "whole");
    assert_eq!(script.asked(), 1);
}

/// The API sees a worker and leaves the rest to it; the worker is about to give its slot up until the model has room.
#[tokio::test(start_paused = true)]
async fn a_stop_that_meets_a_model_that_has_become_busy_is_not_put_off_until_it_has_room() {
    let plain = House::new();
    let outage = Outage::new(Arc::clone(&plain.log));
    outage.slow_to_append(SECOND);
    let mut house = House::with_log(Arc::new(outage), Arc::clone(&plain.clock));
    let script = Script::new([vec![Step::Say("x"), Step::Busy(30 * SECOND)]]);
    house.worker_with(script.clone(), config());
    let id = house.ask().await;
    asked(&script, 1).await;
    house.generations.cancel(id).await.unwrap();
    let began = Instant::now();
    let entries = house.follow(id).await;
    assert_eq!(failure(&entries), Some(&Failure::Cancelled { cause: CancelCause::Requested }));
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
}

/// The process stops while an append is under way, and the answer is stopped at the same moment.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_stopped_while_its_process_stops_ends() {
    let plain = House::new();
    let outage = Outage::new(Arc::clone(&plain.log));
    outage.slow_to_append(SECOND);
    let mut house = House::with_log(Arc::new(outage), Arc::clone(&plain.clock));
    let script = Script::new([vec![Step::Say("x"), Step::Hang]]);
    house.worker_with(script.clone(), config());
    let id = house.ask().await;
    asked(&script, 1).await;
    house.generations.cancel(id).await.unwrap();
    house.restart_workers().await;
    house.worker_with(script, config());
    let entries = timeout(10 * SECOND, house.follow(id)).await.unwrap();
    assert_eq!(failure(&entries), Some(&Failure::Cancelled { cause: CancelCause::Requested }));
}

/// Accepted is accepted: the client gets its stream, and reads when the log is back.
#[tokio::test(start_paused = true)]
async fn what_fails_between_acceptance_and_the_first_byte_refuses_nothing() {
    let plain = House::new();
    let outage = Outage::new(Arc::clone(&plain.log));
    let mut house = House::with_log(Arc::new(outage.clone()), Arc::clone(&plain.clock));
    let id = GenerationId::fresh();
    let (request, on_disconnect) = (request("Hello"), OnDisconnect::Detached);
    let submission =
        Submission { id, caller: Caller::Anonymous, request, on_disconnect, metadata: Bytes::new() };
    let accepted = house.generations.submit(submission).await.unwrap();
    outage.down();
    let mut follower = house.generations.follow_accepted(&accepted, Seq::START).await.unwrap();
    let ending = async {
        sleep(20 * SECOND).await;
        outage.up();
        house.worker_with(Script::new([vec![Step::Say("whole"), Step::Finish]]), config());
    };
    let ((), all) = futures::join!(ending, read(&mut follower));
    assert_eq!(text(&all), "whole");
}

async fn read(follower: &mut Follower) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(entries) = follower.next().await.unwrap() {
        all.extend(entries.iter().map(|entry| entry.event.clone()));
    }
    all
}

/// A server on which the user may use keys and no channels.
#[tokio::test(start_paused = true)]
async fn a_reader_without_wake_ups_reads_all_the_same() {
    let plain = House::new();
    let outage = Outage::new(Arc::clone(&plain.log));
    outage.take_wake_ups_away();
    let mut house = House::with_log(Arc::new(outage), Arc::clone(&plain.clock));
    let steps = [Step::Say("a"), Step::Wait(SECOND), Step::Say("b"), Step::Wait(SECOND), Step::Finish];
    house.worker_with(Script::new([steps.to_vec()]), config());
    let id = house.ask().await;
    let began = Instant::now();
    assert_eq!(text(events(&house.follow(id).await)), "ab");
    assert!(began.elapsed() < 4 * SECOND, "it looks twice a second");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_read_is_told_as_lost_at_once() {
    let plain = House::new();
    let outage = Outage::new(Arc::clone(&plain.log));
    let house = House::with_log(Arc::new(outage.clone()), Arc::clone(&plain.clock));
    let id = house.ask().await;
    let mut follower = house.generations.follow(id, Seq::START).await.unwrap();
    outage.damage();
    let began = Instant::now();
    let lost = follower.next().await;
    assert!(matches!(lost, Err(tokenwire_core::follow::FollowError::Lost(lost)) if lost == id), "{lost:?}");
    assert!(began.elapsed() < 3 * SECOND);
    let refused = house.generations.follow(id, Seq::START).await;
    assert!(matches!(refused, Err(tokenwire_core::follow::FollowError::Lost(_))));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_an_unknown_generation_is_refused_at_once_where_nothing_can_be_lost() {
    let house = House::new();
    let began = Instant::now();
    let refused = house.generations.follow(GenerationId::fresh(), Seq::new(7)).await;
    assert!(matches!(refused, Err(tokenwire_core::follow::FollowError::NotFound(_))));
    assert!(began.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn no_end_by_ever_moves() {
    let mut house = House::new();
    let id = house.ask().await;
    let end_by = house.log.spec(id).await.unwrap().end_by;
    for _ in 0..3 {
        let script = Script::new([vec![Step::Busy(SECOND)]]);
        house.worker_with(script.clone(), config());
        asked(&script, 1).await;
        house.restart_workers().await;
        let page = house.log.read(id, Seq::START, std::num::NonZeroUsize::MIN).await.unwrap();
        let Phase::Running { end_by: now, .. } = page.phase else { panic!("it was begun") };
        assert_eq!(now, end_by);
        assert!(Timestamp::from_millis(0) < now);
    }
}
