//! Outages and losses of the log.

use super::*;

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
