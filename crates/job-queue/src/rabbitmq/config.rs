//! The settings of the RabbitMQ adapter.

use std::{fmt, num::NonZeroU16, str::FromStr, time::Duration};

use lapin::uri::AMQPUri;
use tokenwire_core::ModelName;

/// How to use a broker. Only the address and the default model have no default.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address of the broker, with credentials.
    pub address: Address,
    /// The queue of jobs. Default: `llm_queue`. The names of all other queues begin with this one: `<queue>.dead` has dead
    /// letters, `<queue>.undecodable` has messages that are no jobs, and `<queue>.retry.1s` and others like it have jobs that
    /// wait for their retry.
    pub queue: QueueName,
    /// How many unsettled jobs the broker sends to this process at once: the worker's slots. Jobs that wait for their retry
    /// do not count. Default: 8.
    pub prefetch: NonZeroU16,
    /// How long storing a job may take, including the broker's confirmation. Default: 5 s.
    pub confirm_timeout: Duration,
    /// How many deliveries of a job the broker allows before it becomes a dead letter. Dropped leases count, retries do
    /// not. A dead letter is stored again, so the limit ends no generation. It is part of the queue's definition: an
    /// existing queue with another value is refused. Default: 20.
    pub delivery_limit: u32,
    /// The model for messages of other producers that name none.
    pub default_model: ModelName,
}

impl Config {
    /// The defaults, for a broker at `address`.
    pub fn new(address: Address, default_model: ModelName) -> Self {
        Self {
            address,
            queue: QueueName::default(),
            prefetch: NonZeroU16::new(8).expect("not zero"),
            confirm_timeout: Duration::from_secs(5),
            delivery_limit: 20,
            default_model,
        }
    }
}

/// The address of a broker with credentials: `amqp://user:password@host:5672/vhost`, or `amqps://` for TLS. It prints only
/// host and port.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(AMQPUri);

impl Address {
    /// A broker without TLS on its default virtual host. The credentials are not percent-encoded.
    pub fn new(
        host: impl Into<String>,
        port: u16,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        let mut uri = AMQPUri::default();
        uri.authority.host = host.into();
        uri.authority.port = port;
        uri.authority.userinfo.username = user.into();
        uri.authority.userinfo.password = password.into();
        Self(uri)
    }

    pub(super) fn uri(&self) -> &AMQPUri {
        &self.0
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        // The parser reads an IPv6 literal as no host, and would connect to localhost.
        if text.contains('[') {
            return Err(InvalidAddress);
        }
        text.parse().map(Self).map_err(|_| InvalidAddress)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.authority.host, self.0.authority.port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// The text is not the address of a broker. It is not quoted, because it may have a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an AMQP address: write it like amqp://user:password@host:5672/%2f, with a host name or an IPv4 address"
)]
pub struct InvalidAddress;

/// The name of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueName(String);

impl QueueName {
    /// The maximum length, in bytes. AMQP allows 255, and derived names are longer.
    pub const MAX_BYTES: usize = 200;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for QueueName {
    fn default() -> Self {
        Self("llm_queue".into())
    }
}

impl FromStr for QueueName {
    type Err = InvalidQueueName;

    fn from_str(name: &str) -> Result<Self, InvalidQueueName> {
        if name.is_empty() || name.len() > Self::MAX_BYTES || name.starts_with("amq.") {
            return Err(InvalidQueueName);
        }
        Ok(Self(name.into()))
    }
}

/// The text cannot name a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a queue has 1 to {} bytes and does not begin with amq.", QueueName::MAX_BYTES)]
pub struct InvalidQueueName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_without_its_password() {
        let address: Address = "amqps://me:s3cret@broker.example:5999/prod".parse().unwrap();
        assert_eq!(address.to_string(), "broker.example:5999");
        let config = Config::new(address, ModelName::new("m").unwrap());
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn credentials_with_special_characters_are_taken_as_they_are() {
        let address = Address::new("localhost", 5672, "me@home", "p/w%2f:");
        assert_eq!(address, "amqp://me%40home:p%2Fw%252f%3A@localhost:5672/%2f".parse().unwrap());
    }

    #[test]
    fn what_is_no_address_is_refused_without_quoting_it() {
        for text in
            ["", "localhost", "http://localhost", "amqp://me:s3cret@host:port", "amqp://me:s3cret@[::1]:5672"]
        {
            let error = text.parse::<Address>().unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn the_name_of_a_queue_leaves_room_for_the_names_derived_from_it() {
        assert!("llm_queue".parse::<QueueName>().is_ok());
        for name in ["", "amq.direct", &"x".repeat(201)] {
            assert_eq!(name.parse::<QueueName>(), Err(InvalidQueueName));
        }
    }
}
