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
//! The broker moves messages at least once: no crash loses one. (If its feature flag `stream_queue` is off, as on a cluster that
//! was upgraded from before 3.9, it moves them at most once, and its log says so.) Declaring is idempotent, so every connection
//! does it first. A deleted queue is declared again by the next connection.
//!
//! The arguments of a queue never change: the broker refuses other arguments for an existing queue, and an older version may
//! run at the same time.

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

/// How many undecodable messages are kept for operators. A faulty producer must not fill the disk.
const UNDECODABLE_KEPT: i32 = 1000;

/// The delivery limit of dead letters: they stay until they are stored again or their streams are sealed. Set, because
/// newer brokers have a default of 20.
const DEAD_LETTER_DELIVERIES: i64 = 1_000_000;

/// The names of the queues, and their parameters.
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

    /// Declares the queues.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), LinkError> {
        let jobs = counting(self.delivery_limit.into(), &self.dead);
        let dead = counting(DEAD_LETTER_DELIVERIES, &self.undecodable);
        let mut undecodable = FieldTable::default();
        undecodable.insert("x-max-length".into(), AMQPValue::LongInt(UNDECODABLE_KEPT));
        // Targets first, so that no message finds its target missing.
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

/// A queue that moves messages after too many deliveries.
fn counting(delivery_limit: i64, hand_on_to: &ShortString) -> FieldTable {
    let mut arguments = quorum(hand_on_to);
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(delivery_limit));
    arguments
}

/// A queue that moves all messages after a time.
fn delaying(step: Step, hand_on_to: &ShortString) -> FieldTable {
    let mut arguments = quorum(hand_on_to);
    let millis = i64::try_from(step.wait.as_millis()).expect("minutes at most");
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(millis));
    arguments
}

/// A replicated queue with a dead-letter target. At-least-once dead-lettering needs `reject-publish`, which rejects nothing
/// without a length limit.
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
