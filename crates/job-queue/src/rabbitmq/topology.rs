//! The queues, and how a message moves between them.
//!
//! ```text
//!  enqueue ──> <queue> ── delivery limit, or no job at all ──> <queue>.dead ── no job at all ──> <queue>.undecodable
//! ```
//!
//! The broker moves messages by itself, at least once: neither a crash of ours nor one of its own loses a message on the
//! way. Declaring is idempotent, so every connection does it first; a queue that somebody deleted is healed by
//! connecting again.

use lapin::{
    Channel, ErrorKind,
    options::QueueDeclareOptions,
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{
    config::{Config, QueueName},
    fault::{Fault, words},
};

/// Undecodable messages are kept for people to look at. This many show what is wrong with a producer; a producer that
/// goes on must not fill the disk.
const UNDECODABLE_KEPT: i32 = 1000;

/// A dead letter stays until its stream is sealed, however long the log is away. Said outright because newer brokers
/// have a limit of 20 by default.
const DEAD_LETTER_DELIVERIES: i64 = 1_000_000;

/// The names of the queues, and what distinguishes ours from others of the same name.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    pub(super) jobs: ShortString,
    pub(super) dead: ShortString,
    undecodable: ShortString,
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
            delivery_limit: config.delivery_limit,
        }
    }

    /// Makes sure that the queues exist as we need them.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), Fault> {
        let jobs = quorum(self.delivery_limit.into(), &self.dead);
        let dead = quorum(DEAD_LETTER_DELIVERIES, &self.undecodable);
        let mut undecodable = FieldTable::default();
        undecodable.insert("x-max-length".into(), AMQPValue::LongInt(UNDECODABLE_KEPT));
        // Targets first: a dead letter never finds its queue missing.
        for (queue, arguments) in [(&self.undecodable, undecodable), (&self.dead, dead), (&self.jobs, jobs)] {
            let declared =
                channel.queue_declare(queue.clone(), QueueDeclareOptions::durable(), arguments).await;
            declared.map_err(|error| refused(queue, &error))?;
        }
        Ok(())
    }
}

/// A replicated queue that hands on what it gives up. Handing on at least once needs `reject-publish`, which without a
/// limit of length never rejects anything.
fn quorum(delivery_limit: i64, hand_on_to: &ShortString) -> FieldTable {
    let mut arguments = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(delivery_limit));
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(hand_on_to.as_str()));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

fn refused(queue: &ShortString, error: &lapin::Error) -> Fault {
    let other_arguments = matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED));
    if other_arguments {
        Fault::new(format!(
            "queue {queue} exists with other properties ({}): delete it once it is empty, or choose another name with \
             TOKENWIRE_QUEUE",
            words(error)
        ))
    } else {
        Fault::new(format!("queue {queue} cannot be declared: {}", words(error)))
    }
}
