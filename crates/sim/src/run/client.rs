//! One client: submits, follows with several readers that cut themselves, and maybe stops what it asked for.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use testkit::history::History;
use tokenwire_core::{
    Caller, Event, Generations, Seq,
    follow::FollowError,
    generations::{Submission, SubmitError},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::World;
use crate::{
    plan::{Manner, Reading, Wanted},
    record::{Moment, Rule},
};

/// How often a client submits before it gives up.
const TRIES: usize = 4;

/// How soon one that waits has ended after it was stopped: some calls, if slow ones.
const ENDED_WITHIN: Duration = Duration::from_secs(3);

/// How soon a reader is told that its stream is damaged: at its next look, where the log answers, if slowly.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

pub(super) async fn live(world: &Arc<World>, wanted: &Wanted, apis: &[Generations]) {
    let began = Instant::now();
    sleep(wanted.at).await;
    let again = async {
        match wanted.again_after {
            Some(after) => {
                sleep(after).await;
                submit(world, wanted, apis).await
            }
            None => false,
        }
    };
    let (first, again) = futures::join!(submit(world, wanted, apis), again);
    let limit = began + if first || again { world.plan.all_ended } else { world.plan.all_expired };
    let readers = wanted.readers.iter().map(|Reading { name, manner }| async move {
        let reader = Reader { world, wanted, apis, name, manner: *manner, seen: &world.seen[name] };
        if timeout_at(limit, Box::pin(reader.read())).await.is_err() {
            world.record.violation(Rule::I10, format_args!("reader {name} hangs"));
        }
    });
    let stop = async {
        if let Some(after) = wanted.stopped_after {
            sleep(after).await;
            stop(world, wanted, apis).await;
        }
    };
    futures::join!(join_all(readers), stop);
}

fn any_api<'a>(world: &World, apis: &'a [Generations]) -> &'a Generations {
    &apis[world.rng.index(apis.len())]
}

/// Submits until the prompt is accepted or the client gives up. Returns whether it was accepted.
async fn submit(world: &World, wanted: &Wanted, apis: &[Generations]) -> bool {
    for _ in 0..TRIES {
        let submission = Submission {
            id: wanted.id,
            caller: Caller::Anonymous,
            request: wanted.request.clone(),
            on_disconnect: wanted.on_disconnect,
            metadata: wanted.name.clone().into(),
        };
        let submitting = any_api(world, apis).submit(submission);
        let answer = if world.injector.hits(|rates| rates.client_impatient) {
            timeout(world.rng.millis(0..=80), submitting).await.ok()
        } else {
            Some(submitting.await)
        };
        match answer {
            Some(Ok(how)) => {
                let is_known =
                    world.record.stream(wanted.id, format_args!("accepted: {how:?}"), |stream, _| {
                        stream.accepted = true;
                        stream.has_jobs_left()
                            || stream.jobs_lost > 0
                            || stream.damaged.is_some()
                            || !stream.opens.is_empty()
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
        sleep(world.rng.millis(50..=6000)).await;
    }
    false
}

async fn stop(world: &World, wanted: &Wanted, apis: &[Generations]) {
    for _ in 0..TRIES {
        let asked = world.record.now();
        // Where a call may fail, its next worker ends it.
        let is_kind = world.injector.never_fails_the_log() && world.plan.never_fails_the_log();
        if any_api(world, apis).cancel(wanted.id).await.is_ok() {
            // A worker that gave it up at this very moment ends it.
            sleep(ENDED_WITHIN).await;
            let waits = {
                let facts = world.record.facts();
                let stream = facts.streams.get(&wanted.id);
                stream.is_some_and(|stream| stream.waits_since(asked) && stream.damaged.is_none())
            };
            if waits && is_kind {
                world.record.violation_of(wanted.id, Rule::Stop, "was stopped while it waited, and waits on");
            }
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

struct Reader<'a> {
    world: &'a World,
    wanted: &'a Wanted,
    apis: &'a [Generations],
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
        sleep(world.rng.millis(0..=3000)).await;
        let tail = world.record.facts().streams.get(&self.wanted.id).map_or(0, |stream| stream.entries.len());
        let joined = if world.rng.happens(0.5) { 0 } else { world.rng.index(tail + 1) };
        self.seen.joined(self.name, Seq::START.plus(joined));
        loop {
            // In the calm every reader stays, so that a reader sees the end of the stream.
            let connection = Box::pin(self.connect());
            let cut = if world.injector.is_calm() {
                connection.await
            } else {
                timeout(world.rng.millis(10..=9000), connection).await.unwrap_or(Cut::Away)
            };
            match cut {
                Cut::Over => return,
                Cut::Away if self.manner == Manner::Leaves && world.rng.happens(0.5) => {
                    return world.record.note(format_args!("reader {} leaves", self.name));
                }
                Cut::Away => sleep(world.rng.millis(10..=3000)).await,
            }
        }
    }

    /// One connection, from the last cursor.
    async fn connect(&self) -> Cut {
        let (world, id) = (self.world, self.wanted.id);
        let (cursor, connected) = (self.seen.cursor(self.name), world.record.now());
        world.record.note(format_args!("reader {} follows after {cursor}", self.name));
        let mut follower = match any_api(world, self.apis).follow(id, cursor).await {
            Ok(follower) => follower,
            Err(error) => return self.refused(&error, connected),
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
                Err(error) => return self.refused(&error, connected),
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

    fn is_damaged(&self) -> bool {
        self.world.record.damaged(self.wanted.id).is_some()
    }

    /// Whether it is told only now of something that it could have been told long ago.
    fn is_told_late(&self, connected: Moment) -> bool {
        let damaged = self.world.record.damaged(self.wanted.id).unwrap_or_default();
        let is_late = self.world.record.now() > damaged.max(connected) + TOLD_WITHIN;
        is_late && self.world.plan.never_fails_the_log()
    }

    fn refused(&self, error: &FollowError, connected: Moment) -> Cut {
        let record = &self.world.record;
        record.note(format_args!("reader {}: {error}", self.name));
        let accepted = record.facts().streams.get(&self.wanted.id).is_some_and(|stream| stream.accepted);
        match error {
            FollowError::Unavailable(_) => Cut::Away,
            // Of something that was not accepted there need not be a stream.
            FollowError::NotFound(_) | FollowError::Lost(_) if !accepted => Cut::Over,
            FollowError::NotFound(_) if !self.is_damaged() => {
                record.violation(Rule::I9, format_args!("reader {} finds nothing", self.name));
                Cut::Over
            }
            FollowError::Lost(_) if self.is_damaged() => {
                if self.is_told_late(connected) {
                    let what = format_args!("reader {} learns late that its stream is damaged", self.name);
                    record.violation(Rule::I10, what);
                }
                Cut::Over
            }
            // The log here forgets nothing.
            FollowError::NotFound(_) | FollowError::BeyondEnd { .. } | FollowError::Lost(_) => {
                record.violation(Rule::I7, format_args!("reader {}: {error}", self.name));
                Cut::Over
            }
        }
    }
}
