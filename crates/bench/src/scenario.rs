//! What each scenario is, in numbers: how the model speaks, how the load reads, what the server has to be told.

use std::time::Duration;

use crate::{
    args::{Options, Scenario},
    plan::{Accept, Ends, Follow, Replay, Soak, Storm, Work},
};

/// A scenario with all its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// How the simulated model speaks; no delay is as fast as it goes.
    pub(crate) delay: Duration,
    pub(crate) first_delay: Duration,
    pub(crate) pieces: u32,
    /// How many generations run at once.
    pub(crate) slots: usize,
    /// How long finished streams are kept, where it matters.
    pub(crate) retention: Option<Duration>,
    pub(crate) work: Work,
}

/// The numbers of a scenario that may be said on the command line.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    streams: usize,
    readers: usize,
    rate: f64,
    /// Of an answer; none is as many as it takes.
    pieces: Option<u32>,
    seconds: f64,
    /// Before the window, in seconds.
    warm_up: f64,
}

impl Numbers {
    fn of(scenario: Scenario, small: bool) -> Self {
        let numbers = |streams, readers, rate, pieces, seconds, warm_up| Self {
            streams,
            readers,
            rate,
            pieces,
            seconds,
            warm_up,
        };
        match (scenario, small) {
            (Scenario::Fanout, false) => numbers(1, 1000, 20., None, 10., 2.),
            (Scenario::Fanout, true) => numbers(1, 20, 20., None, 0.5, 0.1),
            (Scenario::Streams, false) => numbers(500, 1, 20., None, 10., 2.),
            (Scenario::Streams, true) => numbers(20, 1, 20., None, 0.5, 0.1),
            (Scenario::Flat, false) => numbers(8, 1, 0., Some(400_000), 60., 0.5),
            (Scenario::Flat, true) => numbers(2, 2, 0., Some(1000), 0.5, 0.),
            (Scenario::Accept, false) => numbers(1, 64, 0., None, 10., 2.),
            (Scenario::Accept, true) => numbers(1, 4, 0., None, 0.5, 0.1),
            (Scenario::Idle, false) => numbers(15_000, 1, 0.1, None, 10., 5.),
            (Scenario::Idle, true) => numbers(50, 1, 2., None, 1., 0.1),
            (Scenario::Storm, false) => numbers(1, 5000, 5., None, 0., 3.),
            (Scenario::Storm, true) => numbers(1, 50, 20., None, 0., 0.3),
            (Scenario::Replay, false) => numbers(8, 8, 0., Some(5000), 10., 0.),
            (Scenario::Replay, true) => numbers(2, 2, 0., Some(200), 0.3, 0.),
            (Scenario::Soak, false) => numbers(1, 200, 20., Some(100), 600., 0.),
            (Scenario::Soak, true) => numbers(1, 10, 100., Some(50), 1.5, 0.),
            (Scenario::Start, _) => numbers(1, 1, 0., Some(1), 0., 0.),
        }
    }
}

impl Load {
    pub(crate) fn of(options: &Options) -> Self {
        let Numbers { streams, readers, rate, pieces, seconds, warm_up } =
            Numbers::of(options.scenario, options.small);
        let streams = options.streams.map_or(streams, Into::into);
        let readers = options.readers.map_or(readers, Into::into);
        let rate = options.rate.unwrap_or(rate);
        let delay = if rate > 0. { Duration::from_secs_f64(1. / rate) } else { Duration::ZERO };
        let (window, warm_up) =
            (Duration::from_secs_f64(options.seconds.unwrap_or(seconds)), Duration::from_secs_f64(warm_up));
        // 500 streams begin within a second, as a busy hour goes, not at one instant.
        let ramp = Duration::from_millis(2)
            * u32::try_from(if options.small { 0 } else { streams }).unwrap_or_default();
        let gathering = Duration::from_secs(2)
            + ramp
            + Duration::from_millis(1) * u32::try_from(readers).unwrap_or_default();
        let lasting = if options.small {
            window + warm_up + Duration::from_secs(1)
        } else {
            window + warm_up + gathering
        };
        let enough = || match delay {
            Duration::ZERO => 1,
            delay => u32::try_from(lasting.as_millis() / delay.as_millis().max(1)).unwrap_or(u32::MAX),
        };
        let pieces = options.pieces.map(u32::from).or(pieces).unwrap_or_else(enough).max(1);
        let ends = Ends::Told { pieces: pieces.into() };
        let follow = |ends| Work::Follow(Follow { streams, readers, ramp, warm_up, window, ends });
        let (mut slots, mut first_delay, mut said, mut retention) = (streams, Duration::ZERO, pieces, None);
        let work = match options.scenario {
            Scenario::Fanout | Scenario::Streams | Scenario::Start => follow(ends),
            Scenario::Flat => {
                // All readers connect before the first word.
                first_delay = if options.small { Duration::from_millis(200) } else { Duration::from_secs(1) };
                follow(ends)
            }
            Scenario::Idle => {
                said = 10_000;
                follow(Ends::Never)
            }
            Scenario::Accept => {
                // Jobs are stored and stay where they are: one runs, and says nothing.
                (slots, first_delay) = (1, Duration::from_secs(3600));
                Work::Accept(Accept { connections: readers, looked_up: 100, warm_up, window })
            }
            Scenario::Storm => Work::Storm(Storm {
                readers,
                warm_up,
                away: if options.small { Duration::from_millis(100) } else { Duration::from_secs(1) },
                pieces: pieces.into(),
            }),
            Scenario::Replay => Work::Replay(Replay { streams, pieces: pieces.into(), readers, window }),
            Scenario::Soak => {
                slots = 2 * readers;
                // What is kept takes memory: after a minute or two as much is forgotten as comes.
                retention = Some(Duration::from_secs(60));
                let look = if options.small { window / 4 } else { Duration::from_secs(10) };
                Work::Soak(Soak { readers, pieces: pieces.into(), window, look })
            }
        };
        Self { delay, first_delay, pieces: said, slots, retention, work }
    }

    /// How many connections there may be.
    pub(crate) fn connections(&self) -> usize {
        match &self.work {
            Work::Follow(work) => work.streams * work.readers,
            Work::Accept(work) => work.connections,
            Work::Storm(work) => 2 * work.readers,
            Work::Replay(work) => work.streams.max(work.readers),
            Work::Soak(work) => 4 * work.readers,
        }
    }

    /// The file that `--models` names.
    pub(crate) fn catalogue(&self) -> String {
        let Self { delay, first_delay, pieces, .. } = self;
        format!(
            "[models.load]\nkind = \"simulated\"\ndelay = \"{}us\"\nfirst_delay = \"{}us\"\nwords = {pieces}\nstamped = true\n",
            delay.as_micros(),
            first_delay.as_micros()
        )
    }
}
