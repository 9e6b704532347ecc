//! What a run found: rounds of the server and the floor, as a table for people and as JSON for everything else.

mod commit;
mod json;
mod round;
mod started;
mod table;

pub(crate) use round::{Report, Round};
pub(crate) use started::Started;
