//! The workers of a run, and the faults of whole processes and services.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::FutureExt;
use model::{Simulated, simulated};
use tokenwire_core::{
    Catalogue, Clock, GenerationId, Model, Worker, model::Continuation, token_log::Prefix, worker::Config,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Process, World};
use crate::{
    clock::{JumpingClock, MOST_OFF},
    injector::{Life, Service},
    models::{RandomModel, Watched},
    plan::{Fault, STALL_TIME, name_of},
    record::Death,
};

/// After the faults have ended: how soon a worker that a prompt killed is replaced.
const REPLACED_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Workers {
    world: Arc<World>,
    workers: Vec<RunningWorker>,
    tasks: JoinSet<()>,
    /// Every process, dead ones too: freezing the dead changes nothing.
    lives: Vec<Arc<Life>>,
    clocks: Vec<Arc<JumpingClock>>,
    spawned: usize,
}

struct RunningWorker {
    life: Arc<Life>,
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Workers {
    pub(super) fn new(world: Arc<World>, apis: impl IntoIterator<Item = Process>) -> Self {
        let mut workers = Self {
            world,
            workers: Vec::new(),
            tasks: JoinSet::new(),
            lives: Vec::new(),
            clocks: Vec::new(),
            spawned: 0,
        };
        for api in apis {
            workers.lives.push(api.node.life);
            workers.clocks.push(api.clock);
        }
        for _ in 0..workers.world.plan.workers {
            workers.spawn();
        }
        workers
    }

    /// Injects one fault after another, until the calm.
    pub(super) async fn run_faults(&mut self) {
        let world = Arc::clone(&self.world);
        let began = Instant::now();
        let calm = began + world.plan.calm;
        while Instant::now() < calm {
            let quiet = world.rng.millis(50..=world.plan.quiet);
            sleep_until((Instant::now() + quiet).min(calm)).await;
            self.long_outage(began.elapsed());
            self.recover(0.4);
            let faults = &world.plan.faults;
            if !faults.is_empty() {
                self.inject(faults[world.rng.index(faults.len())]);
            }
        }
        world.injector.end_faults();
        self.recover(1.0);
        world.record.note("calm");
        // A prompt may kill its process in the calm as well.
        while !world.clients_are_gone.load(Ordering::SeqCst) {
            sleep(REPLACED_AFTER).await;
            self.recover(1.0);
        }
    }

    /// Replaces dead workers. Never ends.
    pub(super) async fn replace_dead(&mut self) {
        loop {
            sleep(REPLACED_AFTER).await;
            self.recover(1.0);
        }
    }

    fn long_outage(&self, now: Duration) {
        let Some((service, from, lasts)) = self.world.plan.long_outage else { return };
        if (from..from + lasts).contains(&now) {
            self.world.injector.begin_long_outage(service);
        } else {
            self.world.injector.end_long_outage(service);
        }
    }

    /// Every worker finishes what runs, and ends. A worker that cannot is aborted with the runtime.
    pub(super) async fn shutdown(&mut self) {
        self.workers.iter().for_each(|worker| worker.soft.cancel());
        while self.tasks.join_next().await.is_some() {}
    }

    fn inject(&mut self, fault: Fault) {
        let world = Arc::clone(&self.world);
        let rng = &world.rng;
        match fault {
            Fault::Kill => {
                if let Some(worker) = self.take_one() {
                    world.record.dies(&worker.life.name, Death::Killed);
                    worker.life.end();
                }
            }
            Fault::Drain => {
                if let Some(worker) = self.take_one() {
                    self.stop(worker, rng.millis(0..=5000));
                }
            }
            Fault::Restart => {
                for worker in std::mem::take(&mut self.workers) {
                    self.stop(worker, rng.millis(0..=200));
                    self.spawn();
                }
            }
            Fault::Freeze => {
                let life = &self.lives[rng.index(self.lives.len())];
                world.record.note(format_args!("{} freezes", life.name));
                world.record.worker(&life.name, |worker| worker.froze = true);
                life.switch.freeze();
            }
            Fault::Outage(service) => {
                world.record.note(format_args!("the {service:?} is away"));
                world.injector.set_away(service, true);
            }
            Fault::Jump => {
                let most = MOST_OFF.unsigned_abs();
                let off = i64::try_from(rng.number(0..=2 * most)).unwrap_or(MOST_OFF) - MOST_OFF;
                world.record.note(format_args!("a clock is {off} ms off"));
                self.clocks[rng.index(self.clocks.len())].jump(off);
            }
            Fault::Purge => {
                let gone = world.broker.iter().flat_map(|broker| broker.purge()).collect();
                self.lose_jobs("purged", gone);
            }
            Fault::Delete => {
                let gone = world.broker.iter().flat_map(|broker| broker.delete()).collect();
                self.lose_jobs("deleted", gone);
            }
            Fault::ForgetReaders => self.forget_readers(),
            Fault::Damage => {
                let ids: Vec<_> = world.plan.generations.iter().map(|wanted| wanted.id).collect();
                let id = ids[rng.index(ids.len())];
                // Seldom, so that most of a run is about other faults.
                if rng.happens(0.1)
                    && world.record.facts().streams.get(&id).is_some_and(|stream| stream.exists)
                {
                    world.record.stream(id, "is damaged", |stream, now| {
                        stream.damaged.get_or_insert(now);
                    });
                }
            }
        }
    }

    /// A worker is asked to finish, and after this time to give back what still runs.
    fn stop(&mut self, worker: RunningWorker, time: Duration) {
        let record = Arc::clone(&self.world.record);
        record.note(format_args!("{} drains", worker.life.name));
        worker.soft.cancel();
        self.tasks.spawn(async move {
            sleep(time).await;
            record.worker(&worker.life.name, |worker| worker.gives_back = true);
            worker.hard.cancel();
        });
    }

    fn lose_jobs(&self, how: &str, gone: Vec<GenerationId>) {
        self.world.record.note(format_args!("the queue is {how}"));
        for id in gone {
            self.world.record.stream(id, "has its job lost", |stream, _| stream.jobs_lost += 1);
        }
    }

    /// After the log forgets its readers, the grace of each stream starts anew.
    fn forget_readers(&self) {
        self.world.record.note("the log forgets its readers");
        for wanted in &self.world.plan.generations {
            match &self.world.flawed_log {
                Some(flawed) if flawed.abandons_unknown_readers() => flawed.abandon(wanted.id),
                // Nothing waits in memory.
                _ => drop(self.world.log.touch_presence(wanted.id).now_or_never()),
            }
        }
    }

    /// Ends each fault that lasts with this probability, and replaces dead workers.
    fn recover(&mut self, probability: f64) {
        let world = Arc::clone(&self.world);
        self.workers.retain(|worker| !worker.life.has_ended());
        for life in &self.lives {
            if life.switch.is_frozen() && world.rng.happens(probability) {
                world.record.note(format_args!("{} thaws", life.name));
                life.switch.thaw();
            }
        }
        for service in Service::ALL {
            if world.rng.happens(probability) {
                world.injector.set_away(service, false);
            }
        }
        while self.workers.len() < world.plan.workers && world.rng.happens(probability) {
            self.spawn();
        }
    }

    fn take_one(&mut self) -> Option<RunningWorker> {
        let count = self.workers.len();
        (count > 0).then(|| self.workers.remove(self.world.rng.index(count)))
    }

    fn spawn(&mut self) {
        self.spawned += 1;
        let name = format!("worker {}", self.spawned);
        self.world.record.note(format_args!("{name} begins"));
        let process = self.world.process(name.clone());
        let plan = &self.world.plan;
        let config = Config {
            slots: plan.slots,
            attempts: plan.attempts,
            run_time: plan.run_time,
            stall_time: STALL_TIME,
            pending_bytes: plan.pending_bytes,
            region: Some(name),
        };
        let models = self.models(&process);
        let clock: Arc<dyn Clock> = Arc::clone(&process.clock) as _;
        let worker = Worker::new(process.log, process.queue, models, clock, config);
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let (theirs_soft, theirs_hard) = (soft.clone(), hard.clone());
        let abort = self.tasks.spawn(async move { worker.run(theirs_soft, theirs_hard).await });
        let life = process.node.life;
        life.begin(abort);
        self.lives.push(Arc::clone(&life));
        self.clocks.push(process.clock);
        self.workers.push(RunningWorker { life, soft, hard });
    }

    fn models(&self, process: &Process) -> Catalogue {
        let plan = &self.world.plan;
        let exact =
            simulated::Config { delay: plan.pace, first_delay: plan.reading, ..simulated::Config::default() };
        let random = |continuation| -> Arc<dyn Model> {
            let rng = Arc::clone(&self.world.rng);
            Arc::new(RandomModel {
                continuation,
                words: plan.words,
                pace: plan.pace,
                reading: plan.reading,
                rng,
            })
        };
        let models: [Arc<dyn Model>; 3] = [
            Arc::new(Simulated::new(exact)),
            random(Continuation::Resampled),
            random(Continuation::Unsupported),
        ];
        models.into_iter().fold(Catalogue::default(), |catalogue, model| {
            let name = name_of(model.continuation(&Prefix::default()));
            let (node, record) = (process.node.clone(), Arc::clone(&self.world.record));
            let natures = Arc::clone(&self.world.natures);
            catalogue
                .with(name, Arc::new(Watched { model, node, record, natures, defect: self.world.defect }))
        })
    }
}
