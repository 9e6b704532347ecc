//! The workers of a run, and everything that hits them.

use std::sync::Arc;

use model::{Simulated, simulated};
use tokenwire_core::{
    Catalogue, Clock, Model, Worker, model::Continuation, token_log::Prefix, worker::Config,
};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Process, World};
use crate::{
    clock::{JumpingClock, MOST_OFF},
    models::{Babble, Watched},
    plan::{Blow, CALM, RUN_TIME, STALL_TIME, name_of},
    weather::{Service, Switch},
};

pub(super) struct Staff {
    world: Arc<World>,
    workers: Vec<Employed>,
    tasks: JoinSet<()>,
    /// Every process, dead ones too: freezing the dead changes nothing.
    switches: Vec<(String, Arc<Switch>)>,
    clocks: Vec<Arc<JumpingClock>>,
    hired: usize,
}

struct Employed {
    name: String,
    soft: CancellationToken,
    hard: CancellationToken,
    abort: AbortHandle,
}

impl Staff {
    pub(super) fn new(world: Arc<World>, doors: impl IntoIterator<Item = Process>) -> Self {
        let mut staff = Self {
            world,
            workers: Vec::new(),
            tasks: JoinSet::new(),
            switches: Vec::new(),
            clocks: Vec::new(),
            hired: 0,
        };
        for (index, door) in doors.into_iter().enumerate() {
            staff.switches.push((format!("api {}", index + 1), door.switch));
            staff.clocks.push(door.clock);
        }
        for _ in 0..staff.world.plan.workers {
            staff.hire();
        }
        staff
    }

    /// One blow after another, until the calm.
    pub(super) async fn suffer(&mut self) {
        let calm = Instant::now() + CALM;
        while Instant::now() < calm {
            let quiet = self.world.chance.millis(50..=self.world.plan.quiet);
            sleep_until((Instant::now() + quiet).min(calm)).await;
            self.recover(0.4);
            let blows = &self.world.plan.blows;
            if !blows.is_empty() {
                self.strike(blows[self.world.chance.index(blows.len())]);
            }
        }
        self.world.weather.calm_down();
        self.recover(1.0);
        self.world.record.note("calm");
    }

    /// Everybody finishes what runs, and goes. A worker that cannot is aborted with the runtime.
    pub(super) async fn go_home(&mut self) {
        self.workers.iter().for_each(|worker| worker.soft.cancel());
        while self.tasks.join_next().await.is_some() {}
    }

    fn strike(&mut self, blow: Blow) {
        let world = Arc::clone(&self.world);
        let chance = &world.chance;
        match blow {
            Blow::Kill => {
                if let Some(worker) = self.dismiss() {
                    world.record.note(format_args!("{} is killed", worker.name));
                    worker.abort.abort();
                }
            }
            Blow::Drain => {
                if let Some(worker) = self.dismiss() {
                    world.record.note(format_args!("{} drains", worker.name));
                    worker.soft.cancel();
                    let time = chance.millis(0..=5000);
                    self.tasks.spawn(async move {
                        sleep(time).await;
                        worker.hard.cancel();
                    });
                }
            }
            Blow::Freeze => {
                let (name, switch) = &self.switches[chance.index(self.switches.len())];
                world.record.note(format_args!("{name} freezes"));
                switch.freeze();
            }
            Blow::Outage(service) => {
                world.record.note(format_args!("the {service:?} is away"));
                world.weather.set_away(service, true);
            }
            Blow::Jump => {
                let most = MOST_OFF.unsigned_abs();
                let off = i64::try_from(chance.number(0..=2 * most)).unwrap_or(MOST_OFF) - MOST_OFF;
                world.record.note(format_args!("a clock is {off} ms off"));
                self.clocks[chance.index(self.clocks.len())].jump(off);
            }
        }
    }

    /// Ends what lasts, each with this probability.
    fn recover(&mut self, probability: f64) {
        let world = Arc::clone(&self.world);
        for (name, switch) in &self.switches {
            if switch.is_frozen() && world.chance.happens(probability) {
                world.record.note(format_args!("{name} thaws"));
                switch.thaw();
            }
        }
        for service in [Service::Log, Service::Queue] {
            if world.chance.happens(probability) {
                world.weather.set_away(service, false);
            }
        }
        while self.workers.len() < world.plan.workers && world.chance.happens(probability) {
            self.hire();
        }
    }

    fn dismiss(&mut self) -> Option<Employed> {
        let count = self.workers.len();
        (count > 0).then(|| self.workers.remove(self.world.chance.index(count)))
    }

    fn hire(&mut self) {
        self.hired += 1;
        let name = format!("worker {}", self.hired);
        self.world.record.note(format_args!("{name} begins"));
        let process = self.world.process();
        let plan = &self.world.plan;
        let config = Config {
            slots: plan.slots,
            attempts: plan.attempts,
            run_time: RUN_TIME,
            stall_time: STALL_TIME,
            pending_bytes: plan.pending_bytes,
            region: Some(name.clone()),
        };
        let models = self.models(&process);
        let clock: Arc<dyn Clock> = Arc::clone(&process.clock) as _;
        let worker = Worker::new(process.log, process.queue, models, clock, config);
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let (theirs_soft, theirs_hard) = (soft.clone(), hard.clone());
        let abort = self.tasks.spawn(async move { worker.run(theirs_soft, theirs_hard).await });
        self.switches.push((name.clone(), process.switch));
        self.clocks.push(process.clock);
        self.workers.push(Employed { name, soft, hard, abort });
    }

    fn models(&self, process: &Process) -> Catalogue {
        let plan = &self.world.plan;
        let exact = simulated::Config { delay: plan.pace, ..simulated::Config::default() };
        let babble = |continuation| -> Arc<dyn Model> {
            let chance = Arc::clone(&self.world.chance);
            Arc::new(Babble { continuation, words: plan.words, pace: plan.pace, chance })
        };
        let models: [Arc<dyn Model>; 3] = [
            Arc::new(Simulated::new(exact)),
            babble(Continuation::Resampled),
            babble(Continuation::Unsupported),
        ];
        models.into_iter().fold(Catalogue::default(), |catalogue, model| {
            let name = name_of(model.continuation(&Prefix::default()));
            let (node, record) = (process.node.clone(), Arc::clone(&self.world.record));
            catalogue.with(name, Arc::new(Watched { model, node, record }))
        })
    }
}
