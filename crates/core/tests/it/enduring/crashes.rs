//! Restarts and crashes of processes, and trials of suspects.

use super::*;

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
        let script = crate::script::Deadly::new(poison, Arc::clone(&deadly));
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
