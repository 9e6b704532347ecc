//! What this crate counts: name, unit and meaning side by side. No id is ever a label.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const OPEN: &str = "tokenwire_streams_open";
const OPENED: &str = "tokenwire_streams_opened_total";

/// Tells the recorder of this process what they mean.
pub fn describe() {
    describe_gauge!(OPEN, Unit::Count, "Streams that readers have open here now");
    describe_counter!(OPENED, Unit::Count, "Streams that readers opened here, resumed ones too");
}

/// Counts a stream as open for as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenStream(());

impl OpenStream {
    pub(crate) fn begin() -> Self {
        counter!(OPENED).increment(1);
        gauge!(OPEN).increment(1);
        Self(())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        gauge!(OPEN).decrement(1);
    }
}
