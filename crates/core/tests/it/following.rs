//! What a reader can rely on.

use std::{sync::Arc, time::Duration};

use testkit::{clock::TokioClock, wrapped::Log};
use token_log::memory::MemoryLog;
use tokenwire_core::{
    Event, Failure, Follower, GenerationId, Seq, TokenLog,
    follow::FollowError,
    token_log::{OnDisconnect, StreamSpec},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    house::{House, QUEUE_TIME, RUN_TIME, events, text},
    outage::Outage,
    script::{Script, Step},
};

/// A house whose log the test can take away.
fn house_on_sand() -> (House, Log<Outage>) {
    let clock = Arc::new(TokioClock::default());
    let log = Outage::new(Arc::new(MemoryLog::new(clock.clone(), Duration::from_secs(3600))));
    (House::with_log(Arc::new(log.clone()), clock), log)
}

/// A reader who has seen half of an answer, which does not go on.
async fn reading_half() -> (House, Log<Outage>, GenerationId, Follower) {
    let (mut house, log) = house_on_sand();
    house.worker(Script::new([vec![Step::Say("half"), Step::Hang]]));
    let id = house.ask().await;
    let mut follower = house.generations.follow(id, Seq::START).await.unwrap();
    while follower.cursor() < Seq::new(2) {
        follower.next().await.unwrap();
    }
    (house, log, id, follower)
}

#[tokio::test(start_paused = true)]
async fn a_reader_may_resume_after_every_entry() {
    let mut house = House::new();
    let steps = ["a", "b\n", "", "é🦀", "\r\n"].map(Step::Say).into_iter().chain([Step::Finish]).collect();
    house.worker(Script::new([steps]));
    let id = house.ask().await;
    let all = house.follow(id).await;
    for cut in 0..=all.len() {
        let mut follower = house.generations.follow(id, Seq::new(cut as u64)).await.unwrap();
        let mut rest = Vec::new();
        while let Some(entries) = follower.next().await.unwrap() {
            rest.extend(entries.iter().cloned());
        }
        assert_eq!(rest, all[cut..]);
        assert!(follower.has_ended());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_behind_the_end_is_nobodys() {
    let mut house = House::new();
    house.worker(Script::new([vec![Step::Finish]]));
    let id = house.ask().await;
    house.follow(id).await;
    let refused = house.generations.follow(id, Seq::new(3)).await;
    assert!(matches!(refused, Err(FollowError::BeyondEnd { .. })));
}

#[tokio::test(start_paused = true)]
async fn next_may_be_dropped_at_any_time_without_losing_an_entry() {
    let mut house = House::new();
    let steps = (0..200).flat_map(|_| [Step::Say("x"), Step::Wait(Duration::from_millis(3))]);
    house.worker(Script::new([steps.chain([Step::Finish]).collect()]));
    let id = house.ask().await;
    let mut follower = house.generations.follow(id, Seq::START).await.unwrap();
    let mut all = Vec::new();
    while !follower.has_ended() {
        let patience = Duration::from_micros(500 * (1 + all.len() as u64 % 7));
        if let Ok(entries) = tokio::time::timeout(patience, follower.next()).await {
            all.extend(entries.unwrap().iter().flat_map(|entries| entries.iter().cloned()));
        }
    }
    let seqs: Vec<_> = all.iter().map(|entry| entry.seq.get()).collect();
    assert_eq!(seqs, (1..=202).collect::<Vec<_>>());
    assert_eq!(text(events(&all)), "x".repeat(200));
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_job_ends_with_expired() {
    let house = House::new();
    let id = house.ask().await;
    house.queue.lease().await.unwrap().ack().await.unwrap();
    let asked = Instant::now();
    let entries = house.follow(id).await;
    assert_eq!(entries[0].event, Event::Failed { failure: Failure::Expired });
    assert!(asked.elapsed() >= QUEUE_TIME);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_worker_and_job_are_gone_ends_with_lost() {
    let mut house = House::new();
    house.worker(Script::new([vec![Step::Say("half"), Step::Hang]]));
    let id = house.ask().await;
    sleep(Duration::from_secs(1)).await;
    house.kill_workers().await;
    house.queue.lease().await.unwrap().ack().await.unwrap();
    let asked = Instant::now();
    let entries = house.follow(id).await;
    assert_eq!(text(events(&entries)), "half");
    assert_eq!(entries.last().unwrap().event, Event::Failed { failure: Failure::Lost });
    assert!(asked.elapsed() < QUEUE_TIME + 3 * RUN_TIME);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_lost_and_written_again_costs_a_reader_nothing() {
    let (mut house, log) = house_on_sand();
    let steps = (0..100).flat_map(|_| [Step::Say("x"), Step::Wait(Duration::from_millis(100))]);
    house.worker(Script::new([steps.chain([Step::Finish]).collect()]));
    let id = house.ask().await;
    let lose = async {
        // Wholly; up to some entry that readers have seen; and on top of an outage.
        for (wait, lost_for, left) in [(2, 8, 0), (1, 8, 3), (0, 8, 0)] {
            sleep(Duration::from_secs(wait)).await;
            log.lose(left);
            sleep(Duration::from_secs(lost_for)).await;
            log.down();
            sleep(Duration::from_secs(20)).await;
            log.up();
            sleep(Duration::from_secs(lost_for)).await;
            log.find();
        }
    };
    let (entries, ()) = futures::join!(house.follow(id), lose);
    assert_eq!(text(events(&entries)), "x".repeat(100));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stays_lost_ends_its_readers_and_never_hangs_them() {
    for left in [0, 1] {
        let (_house, log, id, mut follower) = reading_half().await;
        log.lose(left);
        let lost_at = Instant::now();
        let end = follower.next().await;
        assert!(matches!(end, Err(FollowError::Lost(lost)) if lost == id), "{end:?}");
        assert!(
            lost_at.elapsed() >= Duration::from_secs(10),
            "a worker that lives has time to write it again"
        );
        assert!(lost_at.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_comes_when_the_stream_is_lost_is_told_at_once() {
    let (house, log) = house_on_sand();
    let id = house.ask().await;
    log.lose(0);
    let asked = Instant::now();
    assert!(matches!(house.generations.follow(id, Seq::START).await, Err(FollowError::NotFound(_))));
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_resumes_when_the_stream_is_lost_waits_for_it_to_come_back() {
    for left in [0, 1] {
        let (mut house, log) = house_on_sand();
        house.worker(Script::new([vec![
            Step::Say("half"),
            Step::Wait(Duration::from_secs(60)),
            Step::Finish,
        ]]));
        let id = house.ask().await;
        sleep(Duration::from_secs(1)).await;
        log.lose(left);
        let resume = house.generations.follow(id, Seq::new(2));
        let (resumed, ()) = futures::join!(resume, async {
            sleep(Duration::from_secs(8)).await;
            log.find();
        });
        let rest = resumed.unwrap().next().await.unwrap().unwrap();
        assert_eq!(rest[0].seq, Seq::new(3));

        log.lose(0);
        let asked = Instant::now();
        let gone = house.generations.follow(id, Seq::new(2)).await;
        assert!(matches!(gone, Err(FollowError::NotFound(_))));
        assert!(asked.elapsed() < Duration::from_secs(12));
    }
}

#[tokio::test(start_paused = true)]
async fn short_outages_do_not_make_a_reader_look_gone() {
    let (mut house, log) = house_on_sand();
    let second = Duration::from_secs(1);
    house.worker(Script::new([vec![Step::Say("a"), Step::Wait(30 * second), Step::Say("b"), Step::Finish]]));
    let id = house.submit(OnDisconnect::CancelAfter(second)).await;
    let reading = house.follow(id);
    let weather = async {
        // Around two of the times at which a follower says that it is there, 5 s apart.
        for _ in 0..2 {
            sleep(4 * second + second / 2).await;
            log.down();
            sleep(second).await;
            log.up();
        }
    };
    let (entries, ()) = futures::join!(reading, weather);
    assert_eq!(text(events(&entries)), "ab");
}

/// Another stream under this id, with this many entries.
async fn take_again(log: &dyn TokenLog, id: GenerationId, spec: &StreamSpec, entries: usize) {
    let start_by = spec.start_by.after(Duration::from_secs(1));
    log.create(id, &StreamSpec { start_by, ..spec.clone() }).await.unwrap();
    let mut writer = log.open_writer(id).await.unwrap();
    for _ in 0..entries {
        writer.append(&[Event::Delta { text: "other".into(), tokens: Vec::new() }]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_lost_stream_learns_at_once_that_another_has_its_id() {
    // It ends before what was given out, there, right behind it, and far behind it.
    for entries in [0, 1, 2, 3, 100] {
        let (_house, log, id, mut follower) = reading_half().await;
        let spec = log.spec(id).await.unwrap();
        let asked = Instant::now();
        let replace = async {
            sleep(Duration::from_millis(100)).await;
            log.remove(id).await.unwrap();
            sleep(Duration::from_secs(3)).await;
            take_again(&log, id, &spec, entries).await;
        };
        let (end, ()) = futures::join!(follower.next(), replace);
        assert!(matches!(end, Err(FollowError::Lost(lost)) if lost == id), "{end:?}");
        assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
    }
}

/// What `next` says at last, to somebody who waits for it a second at a time, and how long it has taken.
async fn end_for_the_impatient(follower: &mut Follower) -> (Result<(), FollowError>, Duration) {
    let asked = Instant::now();
    loop {
        if let Ok(end) = timeout(Duration::from_secs(1), follower.next()).await {
            return (end.map(|_| ()), asked.elapsed());
        }
        assert!(asked.elapsed() < Duration::from_secs(300), "it hangs");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_next_does_not_renew_its_patience() {
    let (_house, log, _id, mut follower) = reading_half().await;
    log.down();
    let (end, took) = end_for_the_impatient(&mut follower).await;
    assert!(matches!(end, Err(FollowError::Unavailable(_))), "{end:?}");
    assert!((60..70).contains(&took.as_secs()), "{took:?}");
    log.up();
    log.lose(0);
    let (end, took) = end_for_the_impatient(&mut follower).await;
    assert!(matches!(end, Err(FollowError::Lost(_))), "{end:?}");
    assert!((10..15).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_slower_than_its_reader_is_patient_is_read_all_the_same() {
    let (mut house, log) = house_on_sand();
    house.worker(Script::new([vec![
        Step::Say("a"),
        Step::Wait(Duration::from_secs(30)),
        Step::Say("b"),
        Step::Finish,
    ]]));
    let id = house.submit(OnDisconnect::CancelAfter(Duration::from_secs(1))).await;
    let mut follower = house.generations.follow(id, Seq::START).await.unwrap();
    log.slow(Duration::from_millis(1500));
    let mut all = Vec::new();
    while !follower.has_ended() {
        if let Ok(entries) = timeout(Duration::from_millis(100), follower.next()).await {
            all.extend(entries.unwrap().iter().flat_map(|entries| entries.iter().cloned()));
        }
    }
    assert_eq!(text(events(&all)), "ab");
    assert!(matches!(all.last().unwrap().event, Event::Finished { .. }), "it counts as a reader too");
}
