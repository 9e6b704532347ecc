//! What each port promises, as tests that every adapter runs.
//!
//! A suite is a module of cases, each an `async fn(Fixture)` named by what must hold, and a macro that makes a test of
//! each. An adapter's crate writes a function that makes a fixture, and one line:
//!
//! ```text
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

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    fn sources(directory: &Path) -> Vec<PathBuf> {
        fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    /// A case that its macro does not name would not run, without a warning.
    #[test]
    fn every_case_is_in_the_list_of_its_suite() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
        for suite in ["token_log", "job_queue", "model"] {
            let file = here.join(suite).with_extension("rs");
            let list = fs::read_to_string(&file).unwrap();
            let mut cases = 0;
            for source in sources(&here.join(suite)).into_iter().chain([file]) {
                for line in fs::read_to_string(source).unwrap().lines() {
                    let Some(case) = line.strip_prefix("pub async fn ") else { continue };
                    let (case, _) = case.split_once('(').unwrap();
                    assert!(list.lines().any(|line| line.trim() == case), "{suite} does not run {case}");
                    cases += 1;
                }
            }
            assert!(cases > 4, "{suite}");
        }
    }
}
