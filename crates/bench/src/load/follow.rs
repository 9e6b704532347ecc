//! Asks for streams, reads them, and measures a window in which all readers read and no stream has ended.

use anyhow::Result;

use super::{connections::Connections, measured::Found, meter::Meter, streams::Streams};
use crate::plan::{Ends, Follow, Watched};

pub(super) fn run(connections: &mut Connections, watched: &[Watched], work: &Follow) -> Result<Found> {
    let pieces = match work.ends {
        Ends::Told { pieces } => Some(pieces),
        Ends::Never => None,
    };
    let mut streams = Streams::default();
    streams.gather(connections, work.streams, work.readers, work.ramp)?;
    streams.first_piece(connections, pieces)?;
    streams.listen(connections, work.warm_up, pieces)?;
    let open = connections.len();
    let meter = Meter::begin(watched, &mut connections.tally)?;
    streams.listen(connections, work.window, pieces)?;
    let window = meter.end(watched, &mut connections.tally)?;
    if pieces.is_some() {
        streams.finish(connections, pieces)?;
    }
    Ok(Found::new(window, open, streams.verified))
}
