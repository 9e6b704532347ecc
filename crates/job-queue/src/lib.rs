//! The job queue port in memory, on the embedded journal, and on RabbitMQ.

pub mod embedded;
pub mod memory;
pub mod message;
pub mod metrics;
pub mod rabbitmq;
