//! The queues, and how a message moves between them.
//!
//! ```text
//!  enqueue ──> <queue> ── delivery limit, or no job at all ──> <queue>.dead ── no job at all ──> <queue>.undecodable
//!               │   ▲
//!         retry │   │ its time is over
//!               ▼   │
//!         <queue>.retry.1s, .2s, …
//! ```
//!
//! The broker moves messages by itself, at least once: neither a crash of ours nor one of its own loses a message on the
//! way. (Where the broker's feature flag `stream_queue` is off, as on a cluster that was upgraded from before 3.9, it moves
//! them at most once, and says so in its log.) Declaring is idempotent, so every connection does it first; a queue that was
//! deleted is declared again by connecting again.
//!
//! The arguments of a queue never change: the broker refuses to declare an existing queue with others, and an older
//! version may run beside this one.

use lapin::{
    Channel, ErrorKind,
    options::QueueDeclareOptions,
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{
    config::{Config, QueueName},
    delay::{STEPS, Step},
    link_error::{LinkError, words},
};

/// Undecodable messages are kept for people to look at. This many show what is wrong with a producer; a producer that
/// goes on must not fill the disk.
const UNDECODABLE_KEPT: i32 = 1000;

/// A dead letter stays until it was stored again or its stream is sealed, however long the log is away. The limit is set
/// because newer brokers have one of 20 by default.
const DEAD_LETTER_DELIVERIES: i64 = 1_000_000;

/// The names of the queues, and what distinguishes ours from others of the same name.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    pub(super) jobs: ShortString,
    pub(super) dead: ShortString,
    undecodable: ShortString,
    retries: [ShortString; STEPS.len()],
    delivery_limit: u32,
}

impl Topology {
    pub(super) fn new(config: &Config) -> Self {
        let name = |suffix| ShortString::from(format!("{}{suffix}", config.queue.as_str()));
        const { assert!(QueueName::MAX_BYTES + ".undecodable".len() <= 255) };
        Self {
            jobs: name(""),
            dead: name(".dead"),
            undecodable: name(".undecodable"),
            retries: STEPS.map(|step| name(step.suffix)),
            delivery_limit: config.delivery_limit,
        }
    }

    /// The delay queue of this step.
    pub(super) fn retry(&self, step: Step) -> &ShortString {
        let mut queues = STEPS.iter().zip(&self.retries);
        queues.find_map(|(other, queue)| (*other == step).then_some(queue)).unwrap_or(&self.jobs)
    }

    /// Makes sure that the queues exist as we need them.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), LinkError> {
        let jobs = counting(self.delivery_limit.into(), &self.dead);
        let dead = counting(DEAD_LETTER_DELIVERIES, &self.undecodable);
        let mut undecodable = FieldTable::default();
        undecodable.insert("x-max-length".into(), AMQPValue::LongInt(UNDECODABLE_KEPT));
        // Targets first: a message never finds the queue missing that it is handed on to.
        let queues = [(&self.undecodable, undecodable), (&self.dead, dead), (&self.jobs, jobs)];
        let retries =
            STEPS.iter().zip(&self.retries).map(|(step, queue)| (queue, delaying(*step, &self.jobs)));
        for (queue, arguments) in queues.into_iter().chain(retries) {
            let declared =
                channel.queue_declare(queue.clone(), QueueDeclareOptions::durable(), arguments).await;
            declared.map_err(|error| refused(queue, &error))?;
        }
        Ok(())
    }
}

/// A queue that hands on what was delivered too often.
fn counting(delivery_limit: i64, hand_on_to: &ShortString) -> FieldTable {
    let mut arguments = quorum(hand_on_to);
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(delivery_limit));
    arguments
}

/// A queue that hands on everything after a while.
fn delaying(step: Step, hand_on_to: &ShortString) -> FieldTable {
    let mut arguments = quorum(hand_on_to);
    let millis = i64::try_from(step.wait.as_millis()).expect("minutes at most");
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(millis));
    arguments
}

/// A replicated queue that hands on what it gives up. Handing on at least once needs `reject-publish`, which without a
/// limit of length never rejects anything.
fn quorum(hand_on_to: &ShortString) -> FieldTable {
    let mut arguments = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(hand_on_to.as_str()));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

fn refused(queue: &ShortString, error: &lapin::Error) -> LinkError {
    let other_arguments = matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED));
    if other_arguments {
        LinkError::new(format!(
            "queue {queue} exists with other properties ({}): delete it once it is empty, or choose another name with \
             TOKENWIRE_QUEUE",
            words(error)
        ))
    } else {
        LinkError::new(format!("queue {queue} cannot be declared: {}", words(error)))
    }
}
