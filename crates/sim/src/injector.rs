//! Injects faults into the calls of processes.
//!
//! Each run draws which kinds of fault it has: a fault that is always mixed with all others hides what it does alone. After a
//! time, the calm, there are no new faults, and every accepted generation has to end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokenwire_core::{Attempt, BoxError, GenerationId};
use tokio::{sync::Notify, task::AbortHandle, time::sleep};
use tokio_util::task::TaskTracker;

use crate::rng::Rng;

/// A hundred times what a run needs. Simulated time stands still while a task is ready, so an endless loop needs a limit.
const MOST_CALLS: u64 = 100_000;

/// The most jobs that a run delivers twice.
const MOST_REPEATED: u64 = 12;

/// The probability of each fault, per opportunity.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// A call takes long, on the way there or back.
    pub(crate) slow: f64,
    /// A call fails before it has an effect.
    pub(crate) refused: f64,
    /// A call has its effect, and its answer is lost.
    pub(crate) unanswered: f64,
    /// The death of a worker is noticed late: its writer and its leases live on for a while.
    pub(crate) unnoticed: f64,
    /// A job is delivered once more.
    pub(crate) job_twice: f64,
    /// A job comes later than those behind it.
    pub(crate) job_late: f64,
    /// A lease ends while its owner lives.
    pub(crate) lease_lost: f64,
    /// A wake-up never comes.
    pub(crate) hint_lost: f64,
    /// A wake-up comes late, twice, after a later one, or without its entries.
    pub(crate) hint_garbled: f64,
    /// An answer of a model ends in an error, or in silence.
    pub(crate) model_fails: f64,
    /// A model is busy or cannot be reached, when it is asked or in the middle of its answer.
    pub(crate) model_refuses: f64,
    /// A client gives up on its submission before it is answered.
    pub(crate) client_impatient: f64,
}

impl Rates {
    pub(crate) fn draw(rng: &Rng) -> Self {
        let rate = |most: f64| {
            // The draw is made either way, so that one kind of fault does not shift the others.
            let share = f64::from(u32::try_from(rng.number(1..=100)).unwrap_or(100)) / 100.0;
            if rng.happens(0.6) { most * share } else { 0.0 }
        };
        Self {
            slow: rate(0.4),
            refused: rate(0.15),
            unanswered: rate(0.15),
            unnoticed: rate(1.0),
            job_twice: rate(0.4),
            job_late: rate(0.4),
            lease_lost: rate(0.4),
            hint_lost: rate(1.0),
            hint_garbled: rate(0.5),
            model_fails: rate(0.3),
            model_refuses: rate(0.5),
            client_impatient: rate(0.3),
        }
    }
}

/// A shared service that can have an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// The log, for reads and writes.
    Log,
    /// What the log stores: its writes fail, and its reads work.
    Commits,
    Queue,
    /// Every model is busy or cannot be reached.
    Models,
}

impl Service {
    pub(crate) const ALL: [Self; 4] = [Self::Log, Self::Commits, Self::Queue, Self::Models];
}

/// The outage of a service.
#[derive(Debug, Default)]
struct Outage {
    is_away: AtomicBool,
    /// It stays away until its outage is over.
    is_long: AtomicBool,
}

/// The faults of one run. Shared by everything in it.
#[derive(Debug)]
pub(crate) struct FaultInjector {
    pub(crate) rng: Arc<Rng>,
    rates: Rates,
    calm: AtomicBool,
    outages: [Outage; Service::ALL.len()],
    calls: AtomicU64,
    jobs_repeated: AtomicU64,
    /// Calls on their way. Their sender may be gone.
    pub(crate) travelling: TaskTracker,
    /// What a dead worker held. Its death was not noticed.
    unnoticed: Mutex<Vec<Box<dyn std::any::Any + Send>>>,
}

impl FaultInjector {
    pub(crate) fn new(rng: Arc<Rng>, rates: Rates) -> Self {
        Self {
            rng,
            rates,
            calm: AtomicBool::new(false),
            outages: Default::default(),
            calls: AtomicU64::new(0),
            jobs_repeated: AtomicU64::new(0),
            travelling: TaskTracker::new(),
            unnoticed: Mutex::default(),
        }
    }

    /// Whether this fault happens now.
    pub(crate) fn hits(&self, rate: impl FnOnce(&Rates) -> f64) -> bool {
        self.rng.happens(rate(&self.rates)) && !self.is_calm()
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.rates.slow > 0.0
    }

    /// Whether no call to the log fails by itself.
    pub(crate) fn never_fails_the_log(&self) -> bool {
        self.is_calm() || self.rates.refused + self.rates.unanswered == 0.0
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    pub(crate) fn end_faults(&self) {
        self.calm.store(true, Ordering::SeqCst);
        for service in Service::ALL {
            self.end_long_outage(service);
        }
    }

    /// A short outage begins or ends. It does not end a long one.
    pub(crate) fn set_away(&self, service: Service, away: bool) {
        let outage = self.outage(service);
        outage.is_away.store(away || outage.is_long.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub(crate) fn begin_long_outage(&self, service: Service) {
        self.outage(service).is_long.store(true, Ordering::SeqCst);
        self.set_away(service, true);
    }

    pub(crate) fn end_long_outage(&self, service: Service) {
        self.outage(service).is_long.store(false, Ordering::SeqCst);
        self.set_away(service, false);
    }

    pub(crate) fn is_long_away(&self, service: Service) -> bool {
        self.outage(service).is_long.load(Ordering::SeqCst)
    }

    pub(crate) fn is_away(&self, service: Service) -> bool {
        self.outage(service).is_away.load(Ordering::SeqCst)
    }

    /// Keeps what a dead worker held, so that its death is not noticed.
    pub(crate) fn keep_unnoticed(&self, held: impl Send + 'static) {
        self.unnoticed.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(held));
    }

    /// Stops a task that calls in an endless loop. It is then found to hang.
    async fn count_call(&self) {
        if self.calls.fetch_add(1, Ordering::Relaxed) > MOST_CALLS {
            std::future::pending::<()>().await;
        }
    }

    /// Copies of copies would fill every slot for ever. No broker does that.
    pub(crate) fn may_repeat_job(&self) -> bool {
        self.jobs_repeated.fetch_add(1, Ordering::Relaxed) < MOST_REPEATED
    }

    fn outage(&self, service: Service) -> &Outage {
        &self.outages[service as usize]
    }
}

/// Freezes a process. Not a `watch` channel, which wakes those who wait in an order of its own.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    frozen: AtomicBool,
    thawed: Notify,
}

impl Switch {
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
    }

    pub(crate) fn thaw(&self) {
        self.frozen.store(false, Ordering::SeqCst);
        self.thawed.notify_waiters();
    }
}

/// A process, as far as its calls are concerned. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) injector: Arc<FaultInjector>,
    pub(crate) life: Arc<Life>,
}

/// The state of a process.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) name: String,
    /// Freezes it: none of its calls goes out or comes back meanwhile.
    pub(crate) switch: Switch,
    /// Ends it.
    task: OnceLock<AbortHandle>,
    /// Its tasks end one after the other: none of them makes a call meanwhile.
    is_dead: AtomicBool,
    /// How many jobs it has leased in a long outage of the log.
    pub(crate) leases_without_log: AtomicUsize,
    /// The last attempt that it opened, of each generation.
    opened: Mutex<BTreeMap<GenerationId, Attempt>>,
}

impl Life {
    pub(crate) fn begin(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// The process dies without notice.
    pub(crate) fn end(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.task.get().is_some_and(AbortHandle::is_finished)
    }

    pub(crate) fn opens(&self, id: GenerationId, attempt: Attempt) {
        self.opened().insert(id, attempt);
    }

    pub(crate) fn attempt_of(&self, id: GenerationId) -> Option<Attempt> {
        self.opened().get(&id).copied()
    }

    fn opened(&self) -> MutexGuard<'_, BTreeMap<GenerationId, Attempt>> {
        // Nothing panics while it holds the lock.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    pub(crate) fn new(injector: Arc<FaultInjector>, name: String) -> Self {
        let life = Life {
            name,
            switch: Switch::default(),
            task: OnceLock::new(),
            is_dead: AtomicBool::new(false),
            leases_without_log: AtomicUsize::new(0),
            opened: Mutex::default(),
        };
        Self { injector, life: Arc::new(life) }
    }

    /// Waits while the process is frozen, and for ever in one that has died.
    pub(crate) async fn thawed(&self) {
        loop {
            if self.life.is_dead.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let thawed = self.life.switch.thawed.notified();
            if !self.life.switch.is_frozen() {
                return;
            }
            thawed.await;
        }
    }

    /// One call: `effect` happens or not. Returns what the caller learns of it.
    pub(crate) async fn call<T>(
        &self,
        service: Service,
        effect: impl Future<Output = T> + Send,
    ) -> Result<T, BoxError> {
        self.go_out(service).await?;
        let value = effect.await;
        self.come_back().await?;
        Ok(value)
    }

    /// The way there.
    pub(crate) async fn go_out(&self, service: Service) -> Result<(), BoxError> {
        self.injector.count_call().await;
        self.thawed().await;
        self.wait_if_slow().await;
        // Without the log there are no commits.
        let is_away = |service| self.injector.is_away(service);
        if is_away(service) || service == Service::Commits && is_away(Service::Log) {
            return Err(format!("away: {service:?}").into());
        }
        if self.injector.hits(|rates| rates.refused) {
            return Err("refused".into());
        }
        Ok(())
    }

    /// The way back.
    pub(crate) async fn come_back(&self) -> Result<(), BoxError> {
        let lost = self.injector.hits(|rates| rates.unanswered);
        self.wait_if_slow().await;
        self.thawed().await;
        if lost { Err("the answer was lost".into()) } else { Ok(()) }
    }

    async fn wait_if_slow(&self) {
        if self.injector.hits(|rates| rates.slow) {
            sleep(self.long_time()).await;
        }
    }

    /// Mostly some milliseconds, sometimes more than an owner may be silent.
    pub(crate) fn long_time(&self) -> Duration {
        let rng = &self.injector.rng;
        if rng.happens(0.1) { rng.millis(500..=2500) } else { rng.millis(1..=60) }
    }
}
