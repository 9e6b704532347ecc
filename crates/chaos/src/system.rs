//! Everything that can be hurt: the processes, the servers they need, and the network between them.

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
    plan::{Blow, CLUSTER, Fault, Role, Target},
    process::{Binaries, Process, Setup},
    redis::Pair,
    upstream::Upstream,
    world::World,
};

/// How often a process that nobody hurts is looked at: it must not end by itself.
const LOOK: Duration = Duration::from_millis(500);

/// Faults that wait for a victim that still suffers from an earlier one. RabbitMQ needs the longest, and has few.
const WAITING: usize = 64;

/// All of it, whole.
#[derive(Debug)]
pub(crate) struct System {
    victims: Vec<Victim>,
}

/// One thing that can be hurt, with what it is called.
#[derive(Debug)]
struct Victim {
    target: Target,
    name: String,
    what: What,
}

#[derive(Debug)]
enum What {
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
        let mut victims = match options.mode {
            Mode::Embedded => vec![process(options, binaries, port, 0, Role::Serve, Vec::new())],
            Mode::Cluster => cluster(options, binaries, port).await,
        };
        let what = What::Upstream(upstream);
        victims.push(Victim { target: Target::Upstream, name: "upstream".into(), what });
        for victim in &mut victims {
            if let What::Process(process) = &mut victim.what {
                process.start().await?;
            }
        }
        Ok(Self { victims })
    }

    /// The ports at which the API listens.
    pub(crate) fn replicas(&self) -> Vec<u16> {
        self.processes().filter_map(Process::port).collect()
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.victims.iter().filter_map(|victim| match &victim.what {
            What::Process(process) => Some(&**process),
            What::Link(_) | What::Redis(_) | What::RabbitMq(_) | What::Upstream(_) => None,
        })
    }

    /// The process of this name, and its links to the servers.
    pub(crate) fn reach(&mut self, name: &str) -> Option<(&mut Process, Vec<&Proxy>)> {
        let index = self.victims.iter().find_map(|victim| match victim.target {
            Target::Process(index) if victim.name == name => Some(index),
            _ => None,
        })?;
        let (mut reached, mut links) = (None, Vec::new());
        for Victim { target, what, .. } in &mut self.victims {
            match what {
                What::Process(process) if *target == Target::Process(index) => reached = Some(&mut **process),
                What::Link(link)
                    if [Target::RedisLink(index), Target::RabbitMqLink(index)].contains(target) =>
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
        for victim in &mut self.victims {
            if let What::Process(process) = &mut victim.what {
                process.look()?;
            }
        }
        Ok(())
    }

    /// Hurts one thing once, and waits until it is whole again.
    ///
    /// # Errors
    /// What is wrong then.
    pub(crate) async fn suffer_once(&mut self, target: Target, fault: Fault) -> Result<(), String> {
        let victim = self.victims.iter_mut().find(|victim| victim.target == target);
        victim.ok_or("the mode has no such part")?.what.suffer(fault).await
    }

    /// From now on everything suffers what it is sent, one fault after the other, until [`Suffering::heal`].
    pub(crate) fn suffer(self, world: &Arc<World>) -> Suffering {
        let mut victims = JoinSet::new();
        let senders = self.victims.into_iter().map(|victim| {
            let (sender, faults) = mpsc::channel(WAITING);
            let target = victim.target;
            victims.spawn(victim.live(faults, Arc::clone(world)));
            (target, sender)
        });
        Suffering { senders: senders.collect(), victims }
    }
}

/// A system while it is being hurt.
#[derive(Debug)]
pub(crate) struct Suffering {
    senders: Vec<(Target, mpsc::Sender<Fault>)>,
    victims: JoinSet<Victim>,
}

impl Suffering {
    pub(crate) async fn hurt(&self, blow: Blow) {
        let sender = self.senders.iter().find(|(target, _)| *target == blow.target);
        let (_, sender) = sender.expect("the plan hurts what there is");
        // The other side ends only once this one is dropped.
        let _ = sender.send(blow.fault).await;
    }

    /// Waits until everything that was begun is over, and everything is whole again.
    pub(crate) async fn heal(self) -> System {
        drop(self.senders);
        let mut victims = self.victims.join_all().await;
        victims.sort_by_key(|victim| victim.target);
        System { victims }
    }
}

impl Victim {
    async fn live(mut self, mut faults: mpsc::Receiver<Fault>, world: Arc<World>) -> Self {
        loop {
            match timeout(LOOK, faults.recv()).await {
                Ok(None) => return self,
                Ok(Some(fault)) => {
                    let blowing = world.weather.blow(&self.name, fault.kind(self.target));
                    let suffered = self.what.suffer(fault).await;
                    drop(blowing);
                    self.recover(suffered, &world).await;
                }
                Err(_) => {
                    let looked = match &mut self.what {
                        What::Process(process) => process.look(),
                        What::Link(_) | What::Redis(_) | What::RabbitMq(_) | What::Upstream(_) => Ok(()),
                    };
                    self.recover(looked, &world).await;
                }
            }
        }
    }

    async fn recover(&mut self, suffered: Result<(), String>, world: &World) {
        let Err(violation) = suffered else { return };
        world.violation(violation);
        if let What::Process(process) = &mut self.what
            && !process.is_running()
            && let Err(violation) = process.start().await
        {
            world.violation(violation);
        }
    }
}

impl What {
    async fn suffer(&mut self, fault: Fault) -> Result<(), String> {
        match self {
            Self::Process(process) => process.suffer(fault).await,
            Self::Link(link) => {
                disturb(link, fault).await;
                Ok(())
            }
            Self::Redis(redis) => redis.suffer(fault).await,
            Self::RabbitMq(rabbitmq) => {
                disturb_broker(rabbitmq, fault).await;
                Ok(())
            }
            Self::Upstream(upstream) => {
                upstream.suffer(fault).await;
                Ok(())
            }
        }
    }
}

async fn disturb_broker(rabbitmq: &RabbitMq, fault: Fault) {
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

async fn disturb(link: &Proxy, fault: Fault) {
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

async fn cluster(options: &Options, binaries: &Binaries, upstream: u16) -> Vec<Victim> {
    let (redis, rabbitmq) = tokio::join!(Pair::start(), RabbitMq::start());
    let mut victims = Vec::new();
    for (index, role) in CLUSTER.into_iter().enumerate() {
        let to_redis = Proxy::start(redis.port()).await;
        let to_rabbitmq = Proxy::start(rabbitmq.port()).await;
        let env = vec![
            format!("REDIS_URL=redis://127.0.0.1:{}", to_redis.port()),
            format!("AMQP_URL=amqp://guest:guest@127.0.0.1:{}/%2f", to_rabbitmq.port()),
        ];
        let process = process(options, binaries, upstream, index, role, env);
        let link = |target, server, proxy| Victim {
            target,
            name: format!("{} to {server}", process.name),
            what: What::Link(proxy),
        };
        victims.push(link(Target::RedisLink(index), "Redis", to_redis));
        victims.push(link(Target::RabbitMqLink(index), "RabbitMQ", to_rabbitmq));
        victims.push(process);
    }
    victims.push(Victim { target: Target::Redis, name: "Redis".into(), what: What::Redis(Box::new(redis)) });
    let what = What::RabbitMq(Box::new(rabbitmq));
    victims.push(Victim { target: Target::RabbitMq, name: "RabbitMQ".into(), what });
    victims
}

fn process(
    options: &Options,
    binaries: &Binaries,
    upstream: u16,
    index: usize,
    role: Role,
    mut env: Vec<String>,
) -> Victim {
    // Its region, too: what an answer says of who gives it.
    let name = match role {
        Role::Serve => "serve".to_owned(),
        Role::Api => format!("api-{index}"),
        Role::Worker => format!("worker-{index}"),
    };
    env.push(format!("REGION={name}"));
    let seed = options.seed.wrapping_mul(31).wrapping_add(index as u64);
    let setup = match options.takeovers {
        Some(_) => Setup::Plain { metrics: free_port() },
        None => Setup::Patient { dice: Box::new(StdRng::seed_from_u64(seed)), upstream },
    };
    let process = Process::new(role, name.clone(), binaries, env, setup, options.keep.as_deref());
    Victim { target: Target::Process(index), name, what: What::Process(Box::new(process)) }
}
