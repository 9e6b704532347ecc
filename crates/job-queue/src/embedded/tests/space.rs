//! Space that is given back, and space that is not there.

use std::{
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, Ordering},
};

use super::*;

fn bytes_in(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_space_of_settled_jobs_is_given_back_and_the_others_keep_their_place() {
    let dir = TempDir::new().unwrap();
    let queue = open(dir.path());
    let mut jobs = enqueue(&queue, 200).await;
    let full = bytes_in(dir.path());
    // Every twentieth is still running, and the last ten wait.
    let mut running = Vec::new();
    for index in 0..190 {
        let lease = lease(&queue).await;
        if index % 20 == 0 { running.push(lease) } else { lease.ack().await.unwrap() }
    }
    queue.sweep().await;
    assert!(bytes_in(dir.path()) < full / 2, "{} of {full} bytes are left", bytes_in(dir.path()));

    // The running ones lie elsewhere now, and end all the same.
    for lease in running.split_off(5) {
        lease.ack().await.unwrap();
    }
    let mut index = 0;
    jobs.retain(|_| {
        index += 1;
        index > 190 || (index <= 100 && index % 20 == 1)
    });
    drop((queue, running));
    let queue = open(dir.path());
    assert_eq!(waiting(&queue).await, jobs);
    queue.sweep().await;
    assert_eq!(waiting(&open(dir.path())).await, jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweeping_a_busy_queue_loses_and_repeats_nothing() {
    let dir = TempDir::new().unwrap();
    let queue = Arc::new(open(dir.path()));
    let work = async {
        let mut seen = Vec::new();
        for round in 0..30 {
            let jobs = enqueue(&queue, 10).await;
            for job in &jobs {
                let lease = lease(&queue).await;
                assert_eq!(lease.job(), job, "round {round}");
                seen.push(lease.job().id);
                lease.ack().await.unwrap();
            }
        }
        seen
    };
    let sweep = async {
        loop {
            queue.sweep().await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        seen = work => assert_eq!(seen.len(), 300),
        () = sweep => {}
    }
    assert_eq!(waiting(&queue).await, []);
}

/// A disk that is full on request.
#[derive(Debug, Default)]
struct FaultyDisk {
    full: AtomicBool,
}

impl Medium for FaultyDisk {
    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, offset)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_takes_no_job_and_loses_none() {
    let dir = TempDir::new().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let queue = Embedded::open_on(Arc::clone(&disk) as _, dir.path(), SMALL).unwrap();
    let jobs = enqueue(&queue, 2).await;
    let first = lease(&queue).await;
    queue.ready().await.unwrap();

    disk.full.store(true, Ordering::SeqCst);
    assert!(is_unavailable(&queue.enqueue(&job(9)).await));
    assert!(is_unavailable(&queue.ready().await));
    assert!(is_unavailable(&first.ack().await), "it may come back");

    disk.full.store(false, Ordering::SeqCst);
    let second = lease(&queue).await;
    assert_eq!(second.job(), &jobs[1]);
    second.ack().await.unwrap();
    queue.ready().await.unwrap();
    let again = lease(&queue).await;
    assert_eq!(again.job(), &jobs[0], "and does");
    again.ack().await.unwrap();
    drop(queue);
    assert_eq!(waiting(&open(dir.path())).await, []);
}
