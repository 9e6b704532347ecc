//! Killed at every point, cut at every byte, damaged at every byte.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use tokenwire_core::{
    CallerName, LogError,
    token_log::{Created, Phase},
};

use super::*;

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// In one segment: a sealed stream, between whose batches another one goes on.
async fn two_streams(dir: &Path) -> ([GenerationId; 2], [Vec<Entry>; 2]) {
    let log =
        Embedded::open(dir, Config { sync: Sync::Os, ..Config::default() }, Arc::new(SystemClock)).unwrap();
    let (first, mut one) = writing(&log).await;
    let (second, mut two) = writing(&log).await;
    one.append(&[started()]).await.unwrap();
    two.append(&[started(), delta("x")]).await.unwrap();
    one.append(&[delta("Hello"), delta(" world")]).await.unwrap();
    two.append(&[delta("y")]).await.unwrap();
    one.append(&[delta("!")]).await.unwrap();
    one.seal(&finished()).await.unwrap();
    two.append(&[delta("z")]).await.unwrap();
    let all = [entries(&log, first).await, entries(&log, second).await];
    ([first, second], all)
}

/// Opens a log whose only segment has these bytes, and checks what holds whatever happened to them: every stream is a
/// beginning of what it was, and can be finished by the next attempt (I1, I3).
async fn check(bytes: &[u8], ids: [GenerationId; 2], all: &[Vec<Entry>; 2]) -> [Option<usize>; 2] {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(format!("{:020}.journal", 1)), bytes).unwrap();
    let log = open(dir.path());
    let mut left = [None; 2];
    for ((id, all), left) in ids.into_iter().zip(all).zip(&mut left) {
        let found = match log.read(id, Seq::START, 1000.try_into().unwrap()).await {
            Ok(page) => page.entries,
            Err(LogError::NotFound(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        assert_numbered(&found);
        assert!(all.starts_with(&found), "a stream is a beginning of what it was");
        assert_eq!(log.spec(id).await.unwrap().metadata, spec().metadata);
        *left = Some(found.len());
        match log.open_writer(id).await {
            Ok(mut writer) => {
                assert_eq!(writer.seal(&finished()).await.unwrap().get(), found.len() as u64 + 1);
            }
            Err(error) => assert!(matches!(error, LogError::Sealed) && found == *all, "{error}"),
        }
    }
    drop(log);
    let log = open(dir.path());
    for (id, left) in ids.into_iter().zip(left) {
        if left.is_some() {
            let found = entries(&log, id).await;
            assert_numbered(&found);
            assert!(found.last().unwrap().event.is_terminal());
        }
    }
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_cut_at_any_byte_holds_a_beginning_of_every_stream() {
    let dir = TempDir::new().unwrap();
    let (ids, all) = two_streams(dir.path()).await;
    let bytes = fs::read(&files(dir.path())[0]).unwrap();
    let mut before = [None, None];
    for cut in 0..=bytes.len() {
        let left = check(&bytes[..cut], ids, &all).await;
        assert!(before[0] <= left[0] && before[1] <= left[1], "more bytes are never less text");
        before = left;
    }
    assert_eq!(before, [Some(all[0].len()), Some(all[1].len())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_byte_anywhere_costs_one_stream_its_end_and_the_other_nothing() {
    let dir = TempDir::new().unwrap();
    let (ids, all) = two_streams(dir.path()).await;
    let bytes = fs::read(&files(dir.path())[0]).unwrap();
    // Behind the header of the file, which costs both.
    for at in 32..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let left = check(&damaged, ids, &all).await;
        let whole = left.iter().zip(&all).filter(|(left, all)| **left == Some(all.len())).count();
        assert!(whole >= 1, "byte {at} cost more than one stream: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_with_a_gap_goes_on_before_it_as_a_newer_attempt_than_any() {
    let dir = TempDir::new().unwrap();
    let (id, text) = {
        let log = Embedded::open(dir.path(), Config::default(), Arc::new(SystemClock)).unwrap();
        let (id, mut writer) = writing(&log).await;
        writer.append(&[started()]).await.unwrap();
        writer.append(&[delta("lost")]).await.unwrap();
        let mut writer = log.open_writer(id).await.unwrap();
        writer.append(&[delta("behind")]).await.unwrap();
        writer.seal(&finished()).await.unwrap();
        (id, b"lost")
    };
    let file = files(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();

    for attempt in 3..5_u32 {
        let log = open(dir.path());
        let page = log.read(id, Seq::START, 9.try_into().unwrap()).await.unwrap();
        assert_eq!(
            page.last_seq,
            Seq::new(u64::from(attempt) - 2),
            "what lies before the gap, and what came since"
        );
        assert!(matches!(page.phase, Phase::Running { .. }));
        let mut writer = log.open_writer(id).await.unwrap();
        assert_eq!(writer.attempt(), Attempt::new(attempt));
        writer.append(&[delta("again")]).await.unwrap();
    }
}

/// A disk on which the next write fails.
#[derive(Debug, Default)]
struct FailsOnce(AtomicBool);

impl Medium for FailsOnce {
    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.0.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("no space"));
        }
        QuickDisk.write_all_at(file, bytes, offset)
    }
}

#[tokio::test]
async fn a_stream_whose_caller_could_not_be_written_is_not_created() {
    let dir = TempDir::new().unwrap();
    let medium = Arc::new(FailsOnce::default());
    // Each record has a segment of its own, and so a write of its own.
    let config = Config { segment_bytes: 1, ..SMALL };
    let log = Embedded::open_on(medium.clone(), dir.path(), config, Arc::new(SystemClock)).unwrap();
    log.create(GenerationId::fresh(), &spec()).await.unwrap();
    let id = GenerationId::fresh();
    let named = StreamSpec { caller: Caller::Named(CallerName::new("team/blue").unwrap()), ..spec() };
    medium.0.store(true, Ordering::Relaxed);
    assert!(matches!(log.create(id, &named).await, Err(LogError::Unavailable(_))));
    assert!(matches!(log.spec(id).await, Err(LogError::NotFound(_))));
    assert_eq!(log.create(id, &named).await.unwrap(), Created::New);
    drop(log);
    assert_eq!(open(dir.path()).spec(id).await.unwrap(), named);
}
