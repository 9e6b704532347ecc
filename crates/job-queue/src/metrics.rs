//! What this crate counts: name, unit and meaning side by side.

use ::metrics::{Unit, counter, describe_counter};

const UNDECODABLE: &str = "tokenwire_jobs_undecodable_total";

/// Tells the recorder of this process what they mean.
pub fn describe() {
    describe_counter!(
        UNDECODABLE,
        Unit::Count,
        "Messages in the job queue that are no jobs, and were put aside"
    );
}

pub(crate) fn undecodable() {
    counter!(UNDECODABLE).increment(1);
}
