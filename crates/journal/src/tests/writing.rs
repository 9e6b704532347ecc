//! Appending, removing, and a medium that fails.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use tokio::{task::JoinSet, time::timeout};

use super::disk::{FaultyDisk, SlowDisk, files, open, payloads};
use crate::{Journal, JournalError, MAX_PAYLOAD, Options, Position, ReadError, Sync};

const SMALL: Options = Options { segment_bytes: 256, sync: Sync::Commit };

fn open_on(disk: &Arc<FaultyDisk>, dir: &Path) -> Journal {
    Journal::open_on(Arc::clone(disk) as _, dir, SMALL, |_, _| {}).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_all_complete_and_each_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(dir.path(), SMALL).0);
    let mut appends = JoinSet::new();
    for n in 0..500_u32 {
        let journal = Arc::clone(&journal);
        appends.spawn(async move { (n, journal.append(n.to_le_bytes().to_vec()).await.unwrap()) });
    }
    while let Some(appended) = appends.join_next().await {
        let (n, position) = appended.unwrap();
        assert_eq!(journal.read(position).unwrap(), n.to_le_bytes());
    }
    drop(journal);
    let mut found = payloads(dir.path());
    found.sort();
    let mut expected: Vec<_> = (0..500_u32).map(|n| n.to_le_bytes().to_vec()).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn completions_run_in_the_order_of_submission_over_many_segments() {
    let dir = tempfile::tempdir().unwrap();
    let done = Arc::new(Mutex::new(Vec::new()));
    {
        let (journal, _) = open(dir.path(), SMALL);
        for n in 0..200_u8 {
            let room = journal.reserve(30).await.unwrap();
            let done = Arc::clone(&done);
            journal
                .submit(room, vec![n; 30], move |outcome| done.lock().unwrap().push((n, outcome.unwrap())));
        }
        // Dropping the journal waits for all of them.
    }
    let done = done.lock().unwrap();
    assert!(done.iter().map(|(n, _)| *n).eq(0..200));
    assert!(done.iter().map(|(_, position)| *position).is_sorted());
    let (_, found) = open(dir.path(), SMALL);
    assert!(found.iter().map(|(position, _)| position).eq(done.iter().map(|(_, position)| position)));
    for file in files(dir.path()) {
        assert!(fs::metadata(file).unwrap().len() <= 256);
    }
}

/// A journal whose first record is being flushed until the sender says so.
async fn busy(dir: &Path) -> (Journal, Arc<SlowDisk>, std::sync::mpsc::Sender<()>) {
    let (disk, let_go) = SlowDisk::new();
    let disk = Arc::new(disk);
    let_go.send(()).unwrap(); // The first segment is created with one flush.
    let journal = Journal::open_on(Arc::clone(&disk) as _, dir, Options::default(), |_, _| {}).unwrap();
    let room = journal.reserve(1).await.unwrap();
    journal.submit(room, vec![0], |outcome| assert!(outcome.is_ok()));
    let flushing = async {
        while disk.flushes.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), flushing).await.unwrap();
    (journal, disk, let_go)
}

#[tokio::test]
async fn what_arrives_during_a_flush_shares_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk, let_go) = busy(dir.path()).await;
    for n in 0..1000_u32 {
        let room = journal.reserve(4).await.unwrap();
        journal.submit(room, n.to_le_bytes().to_vec(), |outcome| assert!(outcome.is_ok()));
    }
    drop(let_go);
    drop(journal);
    assert_eq!(disk.flushes.load(Ordering::SeqCst), 3, "creation, the first record, all the others");
    assert_eq!(payloads(dir.path()).len(), 1001);
}

#[tokio::test]
async fn a_slow_disk_holds_writers_back_instead_of_filling_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, let_go) = busy(dir.path()).await;
    let mut submitted = 1;
    while let Some(room) = poll_once(journal.reserve(MAX_PAYLOAD)).await {
        journal.submit(room.unwrap(), vec![1; MAX_PAYLOAD], |outcome| assert!(outcome.is_ok()));
        submitted += 1;
        assert!(submitted < 10, "no caller was held back");
    }
    drop(let_go);
    journal.append(vec![2; MAX_PAYLOAD]).await.unwrap();
    drop(journal);
    assert_eq!(payloads(dir.path()).len(), submitted + 1);
}

#[tokio::test]
async fn a_dropped_append_is_wholly_there_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (journal, _) = open(dir.path(), Options::default());
        for n in 0..50_u8 {
            // Polled once: submitted, and then dropped.
            let _ = poll_once(journal.append(vec![n; 20])).await;
        }
        journal.append(b"last".to_vec()).await.unwrap();
    }
    let found = payloads(dir.path());
    let (last, dropped) = found.split_last().unwrap();
    assert_eq!(last, b"last");
    assert!(dropped.iter().all(|record| *record == vec![record[0]; 20]));
    assert!(dropped.is_sorted());
}

async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn a_record_larger_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), SMALL);
    for size in [10, 5000, 10, MAX_PAYLOAD] {
        let position = journal.append(vec![7; size]).await.unwrap();
        assert_eq!(journal.read(position).unwrap(), vec![7; size]);
    }
    for size in [0, MAX_PAYLOAD + 1] {
        let refused = journal.append(vec![7; size]).await;
        assert!(matches!(refused, Err(JournalError::Size { bytes }) if bytes == size));
    }
    drop(journal);
    assert_eq!(payloads(dir.path()).len(), 4);
}

#[tokio::test]
async fn a_removed_segment_is_gone_for_good_and_the_active_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), SMALL);
    let mut positions: Vec<Position> = Vec::new();
    for n in 0..20_u8 {
        positions.push(journal.append(vec![n; 100]).await.unwrap());
    }
    let segments = journal.segments();
    assert!(segments.iter().rev().map(|segment| segment.active).eq((0..segments.len()).map(|n| n == 0)));
    for segment in &segments {
        journal.remove(segment.id).unwrap();
        journal.remove(segment.id).unwrap();
    }
    assert!(journal.segments().iter().all(|segment| segment.active));
    for position in positions {
        let kept = position.segment == segments.last().unwrap().id;
        match journal.read(position) {
            Ok(_) => assert!(kept),
            Err(error) => assert!(!kept && matches!(error, ReadError::Gone { .. })),
        }
    }
}

#[tokio::test]
async fn a_record_that_rots_under_a_running_journal_is_not_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), Options::default());
    let position = journal.append(b"precious".to_vec()).await.unwrap();
    let file = files(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[position.offset as usize + 8] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(matches!(journal.read(position), Err(ReadError::Damaged { .. })));
}

#[tokio::test]
async fn a_full_disk_fails_the_group_without_a_trace_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    {
        let journal = open_on(&disk, dir.path());
        journal.append(b"before".to_vec()).await.unwrap();
        disk.full.store(true, Ordering::SeqCst);
        // Within the segment, and where a new one is needed.
        for size in [50, 250] {
            let failed = journal.append(vec![b'x'; size]).await;
            assert!(matches!(failed, Err(JournalError::Full(_))), "{failed:?}");
        }
        assert!(matches!(journal.ready(), Err(JournalError::Full(_))));
        disk.full.store(false, Ordering::SeqCst);
        journal.append(b"after".to_vec()).await.unwrap();
        journal.ready().unwrap();
        journal.append(vec![b'y'; 250]).await.unwrap();
    }
    assert_eq!(payloads(dir.path()), [&b"before"[..], b"after", &[b'y'; 250]]);
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_behind_for_a_crash_to_find() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let journal = open_on(&disk, dir.path());
    journal.append(b"before".to_vec()).await.unwrap();
    disk.full.store(true, Ordering::SeqCst);
    // Many at once: the first ones of a group are whole on the disk when its write fails.
    let failed = all_at_once((0..5).map(|_| journal.append(b"x".to_vec()))).await;
    assert!(failed.iter().all(|outcome| matches!(outcome, Err(JournalError::Full(_)))));
    assert_eq!(fs::metadata(&files(dir.path())[0]).unwrap().len(), 32 + 8 + 6);
    drop(journal);
    assert_eq!(payloads(dir.path()), [b"before"]);
}

async fn all_at_once<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut done = Vec::new();
    // All are submitted before the first is waited for.
    for future in &mut pending {
        if let Some(output) = poll_once(future.as_mut()).await {
            done.push(output);
        }
    }
    if done.is_empty() {
        for future in pending {
            done.push(future.await);
        }
    }
    done
}

#[tokio::test]
async fn a_failed_flush_poisons_the_journal_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let journal = open_on(&disk, dir.path());
    journal.append(b"before".to_vec()).await.unwrap();
    journal.ready().unwrap();
    let poisoned = journal.poisoned();
    disk.flush_fails.store(true, Ordering::SeqCst);
    assert!(matches!(journal.append(b"x".to_vec()).await, Err(JournalError::Poisoned(_))));
    timeout(Duration::from_secs(10), poisoned).await.unwrap();
    disk.flush_fails.store(false, Ordering::SeqCst);
    assert!(matches!(journal.append(b"y".to_vec()).await, Err(JournalError::Poisoned(_))));
    assert!(matches!(journal.ready(), Err(JournalError::Poisoned(_))));
}

#[tokio::test]
async fn a_failed_write_that_cannot_be_undone_poisons_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let journal = open_on(&disk, dir.path());
    disk.full.store(true, Ordering::SeqCst);
    disk.cut_fails.store(true, Ordering::SeqCst);
    assert!(matches!(journal.append(b"x".to_vec()).await, Err(JournalError::Poisoned(_))));
    timeout(Duration::from_secs(10), journal.poisoned()).await.unwrap();
}

#[tokio::test]
async fn the_room_for_more_records_is_given_back_when_a_segment_is_full_and_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), SMALL);
    let mut ends = Vec::new();
    for size in [100, 200, 150] {
        let at = journal.append(vec![b'x'; size]).await.unwrap();
        ends.push(u64::from(at.offset + at.length) + 8);
    }
    let lengths =
        || files(dir.path()).iter().map(|file| fs::metadata(file).unwrap().len()).collect::<Vec<_>>();
    assert_eq!(lengths(), [ends[0], ends[1], 256], "the last segment has room");
    drop(journal);
    assert_eq!(lengths(), ends);
}

#[tokio::test]
async fn a_disk_that_makes_no_room_takes_records_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    disk.cut_fails.store(true, Ordering::SeqCst);
    let journal = open_on(&disk, dir.path());
    for record in ["one", "two"] {
        journal.append(record.into()).await.unwrap();
    }
    drop(journal);
    assert_eq!(payloads(dir.path()), [b"one", b"two"]);
}

#[tokio::test]
async fn a_completion_that_panics_stops_the_journal_and_blocks_no_caller() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), Options::default());
    let room = journal.reserve(1).await.unwrap();
    journal.submit(room, vec![1], |_| panic!("a bug in a completion"));
    timeout(Duration::from_secs(10), journal.poisoned()).await.unwrap();
    assert!(matches!(journal.append(vec![2]).await, Err(JournalError::Poisoned(_))));
}
