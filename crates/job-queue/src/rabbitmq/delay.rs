//! The delay queues that a retried job passes through, and its message there.
//!
//! A delay queue moves the message at its head when its time is over. A message with a shorter wait behind it would wait as
//! long. So each queue has one wait for all its messages: a step. Nothing consumes from it.
//!
//! - No wait: the job goes to the jobs queue directly, behind the others.
//! - The shortest step that is long enough is used, unless it is longer than 1.5 times the wait.
//! - Otherwise the longest shorter step is used, and a header of the message has the rest of the wait. The process that
//!   receives it sends it on without leasing it. An older version does not know the header, and leases the job early.
//! - A message that is delivered a second time does not wait again: its receiver died, or an older version leased it.
//!
//! So a job never comes back early, and at most half of its wait or 250 ms late. While no process leases jobs, none is sent
//! on, so a wait of several steps takes longer.

use std::time::Duration;

use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};

/// A delay queue: its wait, and the suffix of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) wait: Duration,
    pub(super) suffix: &'static str,
}

/// All steps, the shortest first. Never remove a released step: its queue may have jobs.
pub(super) const STEPS: [Step; 8] = [
    Step { wait: Duration::from_millis(250), suffix: ".retry.250ms" },
    Step { wait: Duration::from_secs(1), suffix: ".retry.1s" },
    Step { wait: Duration::from_secs(2), suffix: ".retry.2s" },
    Step { wait: Duration::from_secs(5), suffix: ".retry.5s" },
    Step { wait: Duration::from_secs(10), suffix: ".retry.10s" },
    Step { wait: Duration::from_secs(30), suffix: ".retry.30s" },
    Step { wait: Duration::from_secs(60), suffix: ".retry.60s" },
    Step { wait: Duration::from_secs(300), suffix: ".retry.300s" },
];

/// The header with the rest of the wait, in milliseconds. Absent for none.
const REST: &str = "tokenwire-retry-after-ms";

/// Headers of the broker that must not be sent again. It drops a message that died in its target queue before (`x-death`),
/// and copies it to every queue in `CC`.
const BROKERS_OWN: [&str; 10] = [
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    "x-delivery-count",
    "CC",
    "BCC",
];

/// The next step for a job that waits for `after`, and the rest of the wait. `None`: no wait.
pub(super) fn plan(after: Duration) -> (Option<Step>, Duration) {
    if after.is_zero() {
        return (None, Duration::ZERO);
    }
    let enough = STEPS.into_iter().find(|step| step.wait >= after);
    let shorter = STEPS.into_iter().rfind(|step| step.wait < after);
    match (enough, shorter) {
        (Some(step), Some(_)) if step.wait <= after.saturating_add(after / 2) => (Some(step), Duration::ZERO),
        (_, Some(step)) => (Some(step), after.saturating_sub(step.wait)),
        (step, None) => (step, Duration::ZERO),
    }
}

/// The rest of the wait of a job that has arrived.
pub(super) fn rest(delivery: &Delivery) -> Duration {
    if delivery.redelivered { Duration::ZERO } else { written(&delivery.properties) }
}

fn written(properties: &BasicProperties) -> Duration {
    let header = properties.headers().as_ref().and_then(|headers| headers.inner().get(REST));
    let millis = header.and_then(AMQPValue::as_long_long_int).and_then(|millis| u64::try_from(millis).ok());
    Duration::from_millis(millis.unwrap_or(0))
}

/// The properties of a message that is sent again: those of its producer, without those that would make the broker treat
/// the copy differently (a time to live, another user, headers of the broker).
pub(super) fn properties(of: &BasicProperties, rest: Duration) -> BasicProperties {
    let mut headers = of.headers().clone().unwrap_or_default().inner().clone();
    headers.retain(|name, _| name.as_str() != REST && !BROKERS_OWN.contains(&name.as_str()));
    if !rest.is_zero() {
        // Rounded up, so that it is never early.
        let millis = i64::try_from(rest.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
        headers.insert(ShortString::from(REST), AMQPValue::LongLongInt(millis));
    }
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    if !headers.is_empty() {
        properties = properties.with_headers(FieldTable::from(headers));
    }
    macro_rules! keep {
        ($($get:ident $with:ident)*) => {
            $(if let Some(value) = of.$get() {
                properties = properties.$with(value.clone());
            })*
        };
    }
    keep! {
        content_type with_content_type
        content_encoding with_content_encoding
        priority with_priority
        correlation_id with_correlation_id
        reply_to with_reply_to
        message_id with_message_id
        timestamp with_timestamp
        kind with_type
        app_id with_app_id
    }
    properties
}

/// AMQP's mark for a message that survives a restart of the broker.
pub(super) const PERSISTENT: u8 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waits(mut after: Duration) -> Vec<&'static str> {
        let mut waits = vec![];
        while let (Some(step), rest) = plan(after) {
            waits.push(step.suffix);
            after = rest;
        }
        waits
    }

    #[test]
    fn a_wait_is_one_step_where_one_fits_and_several_otherwise() {
        for (millis, steps) in [
            (0, vec![]),
            (1, vec![".retry.250ms"]),
            (250, vec![".retry.250ms"]),
            (300, vec![".retry.250ms", ".retry.250ms"]),
            (700, vec![".retry.1s"]),
            (1000, vec![".retry.1s"]),
            (3000, vec![".retry.2s", ".retry.1s"]),
            (20_000, vec![".retry.30s"]),
            (60_000, vec![".retry.60s"]),
            (61_000, vec![".retry.60s", ".retry.1s"]),
            (900_000, vec![".retry.300s"; 3]),
        ] {
            assert_eq!(waits(Duration::from_millis(millis)), steps, "{millis} ms");
        }
    }

    #[test]
    fn properties_of_the_producer_are_kept_and_those_of_the_broker_are_not() {
        let mut headers = FieldTable::default();
        for name in ["x-death", "CC", "x-delivery-count", "traceparent", REST] {
            headers.insert(name.into(), AMQPValue::LongLongInt(7));
        }
        let from = BasicProperties::default()
            .with_headers(headers)
            .with_message_id("id".into())
            .with_content_type("application/json".into())
            .with_timestamp(5)
            .with_expiration("10".into())
            .with_user_id("them".into());
        let mut kept = FieldTable::default();
        kept.insert("traceparent".into(), AMQPValue::LongLongInt(7));
        let expected = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id("id".into())
            .with_content_type("application/json".into())
            .with_timestamp(5);
        assert_eq!(properties(&from, Duration::ZERO), expected.clone().with_headers(kept.clone()));
        assert_eq!(written(&expected), Duration::ZERO);

        kept.insert(REST.into(), AMQPValue::LongLongInt(2));
        let waits = properties(&from, Duration::from_micros(1001));
        assert_eq!(waits, expected.with_headers(kept));
        assert_eq!(written(&waits), Duration::from_millis(2));
    }

    #[test]
    fn a_job_that_comes_a_second_time_does_not_wait_again() {
        let delivery = |redelivered| {
            let mut delivery = Delivery::mock(1, "".into(), "jobs".into(), redelivered, vec![]);
            delivery.properties = properties(&BasicProperties::default(), Duration::from_secs(60));
            delivery
        };
        assert_eq!(rest(&delivery(false)), Duration::from_secs(60));
        assert_eq!(rest(&delivery(true)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_job_comes_back_no_sooner_than_asked_and_not_much_later(millis in 0..10_000_000_u64) {
            let after = Duration::from_millis(millis);
            let (mut waited, mut left) = (Duration::ZERO, after);
            while let (Some(step), rest) = plan(left) {
                waited += step.wait;
                left = rest;
            }
            prop_assert!(waited >= after);
            prop_assert!(waited <= after + after / 2 + Duration::from_millis(250));
        }
    }
}
