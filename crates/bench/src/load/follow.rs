//! Asks for streams, reads them, and measures a window in the middle: everybody reads, and nobody has come to the end.

use anyhow::Result;

use super::{crowd::Crowd, measured::Found, meter::Meter, streams::Streams};
use crate::plan::{Ends, Follow, Watched};

pub(super) fn run(crowd: &mut Crowd, watched: &[Watched], work: &Follow) -> Result<Found> {
    let pieces = match work.ends {
        Ends::Told { pieces } => Some(pieces),
        Ends::Never => None,
    };
    let mut streams = Streams::default();
    streams.gather(crowd, work.streams, work.readers, work.ramp)?;
    streams.first_piece(crowd, pieces)?;
    streams.listen(crowd, work.warm_up, pieces)?;
    let open = crowd.len();
    let meter = Meter::begin(watched, &mut crowd.tally)?;
    streams.listen(crowd, work.window, pieces)?;
    let window = meter.end(watched, &mut crowd.tally)?;
    if pieces.is_some() {
        streams.finish(crowd, pieces)?;
    }
    Ok(Found::new(window, open, streams.verified))
}
