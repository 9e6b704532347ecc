//! The metrics of this crate: name, unit and description.

use ::metrics::{Unit, counter, describe_counter};

const UNDECODABLE: &str = "tokenwire_jobs_undecodable_total";

/// Registers the descriptions with the recorder of this process.
pub fn describe() {
    describe_counter!(UNDECODABLE, Unit::Count, "Messages in the job queue that could not be read as jobs");
}

pub(crate) fn undecodable() {
    counter!(UNDECODABLE).increment(1);
}
