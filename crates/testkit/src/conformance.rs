//! What each port promises, as tests that every adapter runs.
//!
//! A suite is a module of cases, each an `async fn(Fixture)` named by what must hold, and a macro that makes a test of
//! each. An adapter's crate writes a function that makes a fixture, and one line:
//!
//! ```ignore
//! async fn memory() -> token_log::Fixture { token_log::Fixture::new(Arc::new(Memory::new(..))) }
//! testkit::token_log_conformance!(paused memory);
//! ```
//!
//! `paused` runs on tokio's paused time: for adapters that wait for nothing but tokio, not for a thread, disk or server.
//! The others say `real`, and get two worker threads.

pub mod job_queue;
pub mod model;
pub mod token_log;

/// Makes a test of each case.
#[doc(hidden)]
#[macro_export]
macro_rules! __cases {
    ($time:ident $fixture:ident in $suite:path { $($case:ident)+ }) => {
        mod $fixture {
            use $suite as suite;
            $($crate::__case!($time $fixture $case);)+
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __case {
    (paused $fixture:ident $case:ident) => {
        #[tokio::test(start_paused = true)]
        async fn $case() {
            suite::$case(super::$fixture().await).await;
        }
    };
    (real $fixture:ident $case:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            suite::$case(super::$fixture().await).await;
        }
    };
}
