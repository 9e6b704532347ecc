//! The job queue port on three foundations: memory, the embedded journal, and RabbitMQ.

pub mod embedded;
pub mod memory;
pub mod message;
pub mod metrics;
pub mod rabbitmq;
