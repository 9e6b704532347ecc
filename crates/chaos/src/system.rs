//! The targets of faults: the processes, the servers that they need, and the network between them.

use std::{sync::Arc, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use testkit::{
    proxy::Proxy,
    services::{RabbitMq, free_port},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    args::{Mode, Options},
    plan::{CLUSTER, Fault, PlannedFault, Role, TargetId},
    process::{Binaries, Process, Setup},
    redis::Pair,
    upstream::Upstream,
    world::World,
};

/// How often a process without a fault is checked. It must not end by itself.
const LOOK: Duration = Duration::from_millis(500);

/// How many faults may wait for a target that recovers from an earlier one. RabbitMQ takes the longest, and gets few.
const WAITING: usize = 64;

/// All of it, whole.
#[derive(Debug)]
pub(crate) struct System {
    targets: Vec<Target>,
}

/// One target, with its name.
#[derive(Debug)]
struct Target {
    id: TargetId,
    name: String,
    kind: TargetKind,
}

#[derive(Debug)]
enum TargetKind {
    Process(Box<Process>),
    Link(Proxy),
    Redis(Box<Pair>),
    RabbitMq(Box<RabbitMq>),
    Upstream(Upstream),
}

impl System {
    /// Starts everything, servers first.
    ///
    /// # Errors
    /// A process does not start.
    pub(crate) async fn start(options: &Options, binaries: &Binaries) -> Result<Self, String> {
        let upstream = Upstream::start().await;
        let port = upstream.port();
        let mut targets = match options.mode {
            Mode::Embedded => vec![process(options, binaries, port, 0, Role::Serve, Vec::new())],
            Mode::Cluster => cluster(options, binaries, port).await,
        };
        let kind = TargetKind::Upstream(upstream);
        targets.push(Target { id: TargetId::Upstream, name: "upstream".into(), kind });
        for target in &mut targets {
            if let TargetKind::Process(process) = &mut target.kind {
                process.start().await?;
            }
        }
        Ok(Self { targets })
    }

    /// The ports at which the API listens.
    pub(crate) fn replicas(&self) -> Vec<u16> {
        self.processes().filter_map(Process::port).collect()
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.targets.iter().filter_map(|target| match &target.kind {
            TargetKind::Process(process) => Some(&**process),
            TargetKind::Link(_)
            | TargetKind::Redis(_)
            | TargetKind::RabbitMq(_)
            | TargetKind::Upstream(_) => None,
        })
    }

    /// The process of this name, and its links to the servers.
    pub(crate) fn reach(&mut self, name: &str) -> Option<(&mut Process, Vec<&Proxy>)> {
        let index = self.targets.iter().find_map(|target| match target.id {
            TargetId::Process(index) if target.name == name => Some(index),
            _ => None,
        })?;
        let (mut reached, mut links) = (None, Vec::new());
        for Target { id, kind, .. } in &mut self.targets {
            match kind {
                TargetKind::Process(process) if *id == TargetId::Process(index) => {
                    reached = Some(&mut **process);
                }
                TargetKind::Link(link)
                    if [TargetId::RedisLink(index), TargetId::RabbitMqLink(index)].contains(id) =>
                {
                    links.push(&*link);
                }
                _ => {}
            }
        }
        Some((reached?, links))
    }

    /// Whether every process runs.
    ///
    /// # Errors
    /// One has ended by itself.
    pub(crate) fn look(&mut self) -> Result<(), String> {
        for target in &mut self.targets {
            if let TargetKind::Process(process) = &mut target.kind {
                process.look()?;
            }
        }
        Ok(())
    }

    /// Injects one fault, and waits until its target has recovered.
    ///
    /// # Errors
    /// The target did not recover.
    pub(crate) async fn inject_once(&mut self, id: TargetId, fault: Fault) -> Result<(), String> {
        let target = self.targets.iter_mut().find(|target| target.id == id);
        target.ok_or("the mode has no such part")?.kind.inject(fault).await
    }

    /// Runs every target, which takes one fault after the other, until [`Running::recover`].
    pub(crate) fn run(self, world: &Arc<World>) -> Running {
        let mut targets = JoinSet::new();
        let senders = self.targets.into_iter().map(|target| {
            let (sender, faults) = mpsc::channel(WAITING);
            let id = target.id;
            targets.spawn(target.run(faults, Arc::clone(world)));
            (id, sender)
        });
        Running { senders: senders.collect(), targets }
    }
}

/// A system into which faults are injected.
#[derive(Debug)]
pub(crate) struct Running {
    senders: Vec<(TargetId, mpsc::Sender<Fault>)>,
    targets: JoinSet<Target>,
}

impl Running {
    pub(crate) async fn inject(&self, planned: PlannedFault) {
        let sender = self.senders.iter().find(|(id, _)| *id == planned.target);
        let (_, sender) = sender.expect("the plan names targets of this mode");
        // The other side ends only once this one is dropped.
        let _ = sender.send(planned.fault).await;
    }

    /// Waits until every fault has ended, and every target has recovered.
    pub(crate) async fn recover(self) -> System {
        drop(self.senders);
        let mut targets = self.targets.join_all().await;
        targets.sort_by_key(|target| target.id);
        System { targets }
    }
}

impl Target {
    async fn run(mut self, mut faults: mpsc::Receiver<Fault>, world: Arc<World>) -> Self {
        loop {
            match timeout(LOOK, faults.recv()).await {
                Ok(None) => return self,
                Ok(Some(fault)) => {
                    let guard = world.fault_log.begin(&self.name, fault.kind(self.id));
                    let injected = self.kind.inject(fault).await;
                    drop(guard);
                    self.restart_if_ended(injected, &world).await;
                }
                Err(_) => {
                    let looked = match &mut self.kind {
                        TargetKind::Process(process) => process.look(),
                        TargetKind::Link(_)
                        | TargetKind::Redis(_)
                        | TargetKind::RabbitMq(_)
                        | TargetKind::Upstream(_) => Ok(()),
                    };
                    self.restart_if_ended(looked, &world).await;
                }
            }
        }
    }

    async fn restart_if_ended(&mut self, injected: Result<(), String>, world: &World) {
        let Err(violation) = injected else { return };
        world.violation(violation);
        if let TargetKind::Process(process) = &mut self.kind
            && !process.is_running()
            && let Err(violation) = process.start().await
        {
            world.violation(violation);
        }
    }
}

impl TargetKind {
    async fn inject(&mut self, fault: Fault) -> Result<(), String> {
        match self {
            Self::Process(process) => process.inject(fault).await,
            Self::Link(link) => {
                inject_link(link, fault).await;
                Ok(())
            }
            Self::Redis(redis) => redis.inject(fault).await,
            Self::RabbitMq(rabbitmq) => {
                inject_broker(rabbitmq, fault).await;
                Ok(())
            }
            Self::Upstream(upstream) => {
                upstream.inject(fault).await;
                Ok(())
            }
        }
    }
}

async fn inject_broker(rabbitmq: &RabbitMq, fault: Fault) {
    match fault {
        Fault::Kill { down } => {
            rabbitmq.kill().await;
            sleep(down).await;
            rabbitmq.restart().await;
        }
        Fault::Freeze { lasts } => {
            rabbitmq.pause();
            sleep(lasts).await;
            rabbitmq.resume();
        }
        Fault::CloseConnections => rabbitmq.close_connections().await,
        Fault::CloseConnection { number } => {
            // In one step: a connection from a list may be gone by the time it is closed.
            let close = format!(
                "case rabbit_networking:connections() of [] -> ok; All -> catch rabbit_networking:close_connection(\
                 lists:nth({number} rem length(All) + 1, All), \"closed by the chaos run\") end."
            );
            rabbitmq.control(&["eval", &close]).await;
        }
        Fault::Purge { queue } => {
            if let Some(name) = queue_of(rabbitmq, queue).await {
                rabbitmq.purge(&name).await;
            }
        }
        Fault::Delete { queue } => {
            if let Some(name) = queue_of(rabbitmq, queue).await {
                rabbitmq.delete(&name).await;
            }
        }
        _ => {}
    }
}

/// One of the queues that there are. The one of the jobs has the shortest name, and is the first.
async fn queue_of(rabbitmq: &RabbitMq, number: usize) -> Option<String> {
    let list = rabbitmq.control(&["list_queues", "--no-table-headers", "name"]).await;
    let mut names: Vec<_> = list.lines().map(str::to_owned).collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    let number = number.checked_rem(names.len())?;
    Some(names.swap_remove(number))
}

async fn inject_link(link: &Proxy, fault: Fault) {
    let lasts = match fault {
        Fault::Cut => {
            link.cut();
            Duration::ZERO
        }
        Fault::HalfClose => {
            link.half_close();
            Duration::ZERO
        }
        Fault::CutAfter { bytes, lasts } => {
            link.cut_after(bytes);
            lasts
        }
        Fault::Unreachable { lasts } => {
            link.go_down();
            lasts
        }
        Fault::BlackHole { lasts } => {
            link.black_hole();
            lasts
        }
        Fault::Delay { by, lasts } => {
            link.delay(by);
            lasts
        }
        _ => Duration::ZERO,
    };
    sleep(lasts).await;
    link.heal();
}

async fn cluster(options: &Options, binaries: &Binaries, upstream: u16) -> Vec<Target> {
    let (redis, rabbitmq) = tokio::join!(Pair::start(), RabbitMq::start());
    let mut targets = Vec::new();
    for (index, role) in CLUSTER.into_iter().enumerate() {
        let to_redis = Proxy::start(redis.port()).await;
        let to_rabbitmq = Proxy::start(rabbitmq.port()).await;
        let env = vec![
            format!("REDIS_URL=redis://127.0.0.1:{}", to_redis.port()),
            format!("AMQP_URL=amqp://guest:guest@127.0.0.1:{}/%2f", to_rabbitmq.port()),
        ];
        let process = process(options, binaries, upstream, index, role, env);
        let link = |id, server, proxy| Target {
            id,
            name: format!("{} to {server}", process.name),
            kind: TargetKind::Link(proxy),
        };
        targets.push(link(TargetId::RedisLink(index), "Redis", to_redis));
        targets.push(link(TargetId::RabbitMqLink(index), "RabbitMQ", to_rabbitmq));
        targets.push(process);
    }
    targets.push(Target {
        id: TargetId::Redis,
        name: "Redis".into(),
        kind: TargetKind::Redis(Box::new(redis)),
    });
    let kind = TargetKind::RabbitMq(Box::new(rabbitmq));
    targets.push(Target { id: TargetId::RabbitMq, name: "RabbitMQ".into(), kind });
    targets
}

fn process(
    options: &Options,
    binaries: &Binaries,
    upstream: u16,
    index: usize,
    role: Role,
    mut env: Vec<String>,
) -> Target {
    // Its region, too: what an answer says of who gives it.
    let name = match role {
        Role::Serve => "serve".to_owned(),
        Role::Api => format!("api-{index}"),
        Role::Worker => format!("worker-{index}"),
    };
    env.push(format!("REGION={name}"));
    let seed = options.seed.wrapping_mul(31).wrapping_add(index as u64);
    let setup = match options.takeovers {
        Some(_) => Setup::Default { metrics: free_port() },
        None => Setup::Relaxed { rng: Box::new(StdRng::seed_from_u64(seed)), upstream },
    };
    let process = Process::new(role, name.clone(), binaries, env, setup, options.keep.as_deref());
    Target { id: TargetId::Process(index), name, kind: TargetKind::Process(Box::new(process)) }
}
