//! One client: submits, follows with several readers that cut themselves, and maybe stops what it asked for.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use testkit::history::History;
use tokenwire_core::{
    Event, Generations, Seq,
    follow::FollowError,
    generations::{Submission, SubmitError},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::World;
use crate::{
    plan::{ALL_ENDED, ALL_EXPIRED, Manner, Reading, Wanted},
    record::Rule,
};

/// How often a client submits before it gives up.
const TRIES: usize = 4;

pub(super) async fn live(world: &Arc<World>, wanted: &Wanted, doors: &[Generations]) {
    let began = Instant::now();
    sleep(wanted.at).await;
    let again = async {
        match wanted.again_after {
            Some(after) => {
                sleep(after).await;
                submit(world, wanted, doors).await
            }
            None => false,
        }
    };
    let (first, again) = futures::join!(submit(world, wanted, doors), again);
    let limit = began + if first || again { ALL_ENDED } else { ALL_EXPIRED };
    let readers = wanted.readers.iter().map(|Reading { name, manner }| async move {
        let reader = Reader { world, wanted, doors, name, manner: *manner, seen: &world.seen[name] };
        if timeout_at(limit, Box::pin(reader.read())).await.is_err() {
            world.record.violation(Rule::I10, format_args!("reader {name} hangs"));
        }
    });
    let stop = async {
        if let Some(after) = wanted.stopped_after {
            sleep(after).await;
            stop(world, wanted, doors).await;
        }
    };
    futures::join!(join_all(readers), stop);
}

fn door<'a>(world: &World, doors: &'a [Generations]) -> &'a Generations {
    &doors[world.chance.index(doors.len())]
}

/// Until it is accepted, or the client has had enough. Whether it was.
async fn submit(world: &World, wanted: &Wanted, doors: &[Generations]) -> bool {
    for _ in 0..TRIES {
        let submission = Submission {
            id: wanted.id,
            request: wanted.request.clone(),
            on_disconnect: wanted.on_disconnect,
            memo: wanted.name.clone().into(),
        };
        let submitting = door(world, doors).submit(submission);
        let answer = if world.weather.strikes(|rates| rates.client_impatient) {
            timeout(world.chance.millis(0..=80), submitting).await.ok()
        } else {
            Some(submitting.await)
        };
        match answer {
            Some(Ok(how)) => {
                let is_known =
                    world.record.stream(wanted.id, format_args!("accepted: {how:?}"), |stream, _| {
                        stream.accepted = true;
                        stream.jobs_stored > stream.jobs_acked || !stream.opens.is_empty()
                    });
                if !is_known {
                    let what = format_args!("was accepted ({how:?}), and nobody has its job");
                    world.record.violation_of(wanted.id, Rule::I9, what);
                }
                return true;
            }
            Some(Err(error @ (SubmitError::Conflict(_) | SubmitError::Rejected { .. }))) => {
                world.record.violation_of(wanted.id, Rule::I9, error);
                return false;
            }
            Some(Err(SubmitError::Overloaded | SubmitError::Unavailable(_))) => {
                world.record.note(format_args!("{} refused", wanted.name));
            }
            None => world.record.note(format_args!("{} submitted by a client that went away", wanted.name)),
        }
        sleep(world.chance.millis(50..=6000)).await;
    }
    false
}

async fn stop(world: &World, wanted: &Wanted, doors: &[Generations]) {
    for _ in 0..TRIES {
        if door(world, doors).cancel(wanted.id).await.is_ok() {
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

struct Reader<'a> {
    world: &'a World,
    wanted: &'a Wanted,
    doors: &'a [Generations],
    name: &'a str,
    manner: Manner,
    seen: &'a History<Event>,
}

/// What ended one connection of a reader.
enum Cut {
    /// It may come back.
    Away,
    /// There is nothing more to come back for.
    Over,
}

impl Reader<'_> {
    async fn read(&self) {
        let world = self.world;
        sleep(world.chance.millis(0..=3000)).await;
        let tail = world.record.facts().streams.get(&self.wanted.id).map_or(0, |stream| stream.entries.len());
        let joined = if world.chance.happens(0.5) { 0 } else { world.chance.index(tail + 1) };
        self.seen.joined(self.name, Seq::START.plus(joined));
        loop {
            // In the calm everybody stays, so that somebody sees a stream end by itself.
            let connection = Box::pin(self.connect());
            let cut = if world.weather.is_calm() {
                connection.await
            } else {
                timeout(world.chance.millis(10..=9000), connection).await.unwrap_or(Cut::Away)
            };
            match cut {
                Cut::Over => return,
                Cut::Away if self.manner == Manner::Leaves && world.chance.happens(0.5) => {
                    return world.record.note(format_args!("reader {} leaves", self.name));
                }
                Cut::Away => sleep(world.chance.millis(10..=3000)).await,
            }
        }
    }

    /// One connection, from the last cursor.
    async fn connect(&self) -> Cut {
        let (world, id) = (self.world, self.wanted.id);
        let cursor = self.seen.cursor(self.name);
        world.record.note(format_args!("reader {} follows after {cursor}", self.name));
        let mut follower = match door(world, self.doors).follow(id, cursor).await {
            Ok(follower) => follower,
            Err(error) => return self.refused(&error),
        };
        loop {
            match follower.next().await {
                Ok(Some(entries)) => {
                    for entry in entries.iter().cloned() {
                        self.saw(entry.seq);
                        self.seen.saw(self.name, entry.seq, entry.event);
                    }
                }
                Ok(None) => {
                    world.record.note(format_args!("reader {} is at the end", self.name));
                    return Cut::Over;
                }
                Err(error) => return self.refused(&error),
            }
        }
    }

    /// I2: what is not in the log yet cannot be seen.
    fn saw(&self, seq: Seq) {
        let record = &self.world.record;
        let tail = record.facts().streams.get(&self.wanted.id).map_or(0, |stream| stream.entries.len());
        record.note(format_args!("reader {} sees {seq}", self.name));
        if seq > Seq::START.plus(tail) {
            record.violation(
                Rule::I2,
                format_args!("reader {} sees {seq}, and the log ends at {tail}", self.name),
            );
        }
    }

    fn refused(&self, error: &FollowError) -> Cut {
        let record = &self.world.record;
        record.note(format_args!("reader {}: {error}", self.name));
        let accepted = record.facts().streams.get(&self.wanted.id).is_some_and(|stream| stream.accepted);
        match error {
            FollowError::Unavailable(_) => Cut::Away,
            // Of something that was not accepted there need not be a stream.
            FollowError::NotFound(_) | FollowError::Lost(_) if !accepted => Cut::Over,
            FollowError::NotFound(_) => {
                record.violation(Rule::I9, format_args!("reader {} finds nothing", self.name));
                Cut::Over
            }
            // The log here forgets nothing.
            FollowError::BeyondTail { .. } | FollowError::Lost(_) => {
                record.violation(Rule::I7, format_args!("reader {}: {error}", self.name));
                Cut::Over
            }
        }
    }
}
