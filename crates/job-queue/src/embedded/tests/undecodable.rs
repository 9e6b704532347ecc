//! Records that this version cannot use.

use super::*;

/// A queue whose journal holds these stored forms, with a good job around each.
async fn with_records(dir: &Path, stored: &[&[u8]]) -> (Embedded, Vec<Job>) {
    let jobs: Vec<_> = (0..=stored.len()).map(job).collect();
    {
        let journal = Journal::open(dir, journal::Options::default(), |_, _| {}).unwrap();
        let good: Vec<_> = jobs.iter().map(crate::message::encode).collect();
        let mut records = vec![&good[0][..]];
        for (bad, good) in stored.iter().zip(&good[1..]) {
            records.extend([bad, &good[..]]);
        }
        for (ticket, stored) in (1..).zip(records) {
            let record = Record { ticket: Ticket(ticket), change: Change::Stored(stored) };
            journal.append(record.encode()).await.unwrap();
        }
    }
    (open(dir), jobs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_be_read_is_skipped_and_blocks_no_other() {
    let dir = TempDir::new().unwrap();
    let (queue, jobs) = with_records(dir.path(), &[b"", b"\0\xff", b"{}", b"null"]).await;
    assert_eq!(waiting(&queue).await, jobs);
    assert_eq!(queue.skipped(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_request_cannot_be_read_is_leased_without_it() {
    const STORED: &[u8] = br#"{"version":9,"uuid":"0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3","tensor":[]}"#;
    let id: GenerationId = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
    let dir = TempDir::new().unwrap();
    let (queue, mut jobs) = with_records(dir.path(), &[STORED]).await;
    jobs.insert(1, Job { id, request: None, epoch: None });
    assert_eq!(waiting(&queue).await, jobs);
    assert_eq!(queue.skipped(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_a_newer_version_is_refused_with_advice() {
    let dir = TempDir::new().unwrap();
    {
        let journal = Journal::open(dir.path(), journal::Options::default(), |_, _| {}).unwrap();
        journal.append(vec![9, 1, 0]).await.unwrap();
    }
    let refused = Embedded::open(dir.path(), SMALL).unwrap_err();
    assert!(refused.to_string().contains("upgrade"), "{refused}");
}
