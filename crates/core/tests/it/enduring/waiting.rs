//! Generations that wait for their model.

use super::*;

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
