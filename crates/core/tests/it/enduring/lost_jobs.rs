//! Jobs that the queue loses, repeats or cannot read.

use super::*;

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
