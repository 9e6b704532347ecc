//! Killed in every state, cut at every byte, damaged at every byte.

use std::collections::BTreeMap;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_every_job_that_was_not_settled_waits_in_its_order() {
    let dir = TempDir::new().unwrap();
    let mut jobs;
    {
        let queue = open(dir.path());
        jobs = enqueue(&queue, 50).await;
        // In every state: settled, leased, given back, put off for long, waiting.
        let mut leases = Vec::new();
        for _ in 0..40 {
            leases.push(lease(&queue).await);
        }
        for (index, lease) in leases.into_iter().enumerate() {
            match index % 4 {
                0 => lease.ack().await.unwrap(),
                1 => drop(lease),
                2 => lease.retry(Duration::from_secs(3600)).await.unwrap(),
                // The process dies with it.
                _ => std::mem::forget(lease),
            }
        }
        let mut index = 0;
        jobs.retain(|_| {
            index += 1;
            index > 40 || index % 4 != 1
        });
        // A forgotten lease keeps the first queue from being closed; what it has written is written.
    }
    assert_eq!(waiting(&open(dir.path())).await, jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_lease_comes_back_to_the_front_at_once() {
    let dir = TempDir::new().unwrap();
    let queue = open(dir.path());
    let jobs = enqueue(&queue, 3).await;
    let first = lease(&queue).await;
    let second = lease(&queue).await;
    drop(second);
    drop(first);
    assert_eq!(waiting(&queue).await, jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_acknowledgement_happens_wholly_or_not_at_all() {
    let dir = TempDir::new().unwrap();
    let queue = open(dir.path());
    let jobs = enqueue(&queue, 50).await;
    for _ in &jobs {
        let lease = lease(&queue).await;
        let _ = timeout(Duration::ZERO, lease.ack()).await;
    }
    // An acknowledgement that was begun ends before this one, and a job that was given back is here.
    let left = waiting(&queue).await;
    assert!(left.iter().all(|job| jobs.contains(job)));
    drop(queue);
    assert_eq!(waiting(&open(dir.path())).await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_lease_loses_no_job() {
    let dir = TempDir::new().unwrap();
    let queue = open(dir.path());
    let jobs = enqueue(&queue, 20).await;
    for _ in 0..100 {
        let _ = timeout(Duration::ZERO, queue.lease()).await;
    }
    assert_eq!(waiting(&queue).await, jobs);
}

/// A queue in one segment, its bytes, and every record in it with where it ends.
async fn one_segment() -> (Vec<u8>, Vec<(usize, Vec<u8>)>) {
    let dir = TempDir::new().unwrap();
    {
        let queue = Embedded::open(dir.path(), Config { sync: Sync::Os, ..Config::default() }).unwrap();
        enqueue(&queue, 4).await;
        for _ in 0..2 {
            lease(&queue).await.ack().await.unwrap();
        }
        enqueue(&queue, 1).await;
        lease(&queue).await.ack().await.unwrap();
    }
    let mut records = Vec::new();
    drop(Journal::open(dir.path(), journal::Options::default(), |at, record| {
        records.push((at.offset as usize + 8 + record.len(), record.to_vec()));
    }));
    let file = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    (fs::read(file).unwrap(), records)
}

/// The stored forms of the jobs that these records leave.
fn left<'a>(records: impl Iterator<Item = &'a Vec<u8>>) -> Vec<Vec<u8>> {
    let mut living = BTreeMap::new();
    for record in records {
        let Record { ticket, change } = Record::decode(record).unwrap();
        match change {
            Change::Stored(job) => living.insert(ticket, job.to_vec()),
            Change::Settled => living.remove(&ticket),
        };
    }
    living.into_values().collect()
}

async fn reopened(bytes: &[u8]) -> Vec<Vec<u8>> {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(format!("{:020}.journal", 1)), bytes).unwrap();
    waiting(&open(dir.path())).await.iter().map(crate::message::encode).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_cut_at_any_byte_holds_exactly_what_was_durable_there() {
    let (bytes, records) = one_segment().await;
    for cut in 0..=bytes.len() {
        let whole = records.iter().filter(|(end, _)| *end <= cut).map(|(_, record)| record);
        assert_eq!(reopened(&bytes[..cut]).await, left(whole), "cut at {cut}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_byte_anywhere_costs_one_record() {
    let (bytes, records) = one_segment().await;
    for at in 32..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let hit = records.iter().position(|(end, _)| at < *end).unwrap();
        let rest = records.iter().enumerate().filter(|(index, _)| *index != hit);
        assert_eq!(reopened(&damaged).await, left(rest.map(|(_, (_, record))| record)), "byte {at}");
    }
}
