//! The agent's composition: takes ports and sockets first, then starts the tasks in the order of the data, and drains
//! them in that order when told to stop.
//!
//! Threads: the probe engine and the UDP echo have one each; everything else is a task on this one.

mod kernel_side;
mod running;
mod tasks;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use netcheck_common::domain::ProbeSession;
use netcheck_proto::v1;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use self::kernel_side::KernelSide;
use self::running::Running;
#[cfg(feature = "ebpf")]
use self::tasks::start_hooks;
use self::tasks::{Answering, listener, start_vantage, thread};
use crate::admin::http::{HttpTask, Sources};
use crate::config::{RelayMode, Run};
use crate::engine::{Engine, EngineConfig, EngineHandle, EngineOutput};
use crate::host::clock;
use crate::host::usage::Uptime;
#[cfg(feature = "ebpf")]
use crate::kernel;
use crate::model::status::{HubState, VantageCounts};
use crate::plan::policy::{self, Allowed};
use crate::relay::LiveRelayCounts;
use crate::relay::accept::RelayTask;
use crate::relay::nodes::NodeAddresses;
use crate::responder::{Responder, listen};
use crate::uplink::buffer::Limits;
use crate::uplink::buffer::outbox::{Collector, Outbox};
use crate::uplink::session::SessionTask;
use crate::uplink::session::connect::addresses::{HubAddresses, service_address};
use crate::uplink::session::connect::over_tcp;
use crate::uplink::session::connect::relays::Relays;
use crate::uplink::token::TokenFile;
use crate::vantage::listen::ListenTask;

/// What is said of a vantage until one has come.
const NO_VANTAGE: &str = "no pod vantage has connected yet";

/// Why an agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It was asked to.
    Requested,
    /// Another node's agent claims its probe session.
    SessionTaken,
}

/// Runs the agent until SIGTERM or SIGINT. Where another node's agent claims its probe session it starts anew at once, with
/// another: what it has counted and not yet sent is lost, as with any restart.
///
/// # Errors
/// A port is taken, or kernel programs are required and can't be had.
pub fn run(flags: &Run) -> anyhow::Result<()> {
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the runtime")?;
        // The task that follows the interfaces can't change threads; there is only one here.
        let served = LocalSet::new().block_on(&runtime, serve(flags));
        // A look-up of the hub's name may hang in the system's resolver, on a thread that can't be told to stop.
        runtime.shutdown_background();
        if served? == Ended::Requested {
            return Ok(());
        }
    }
}

/// Removes what an agent that was killed may have left in the kernel, and says what. Links of Linux 6.6 and newer
/// are gone with their agent; filters of older kernels stay.
#[must_use]
pub fn cleanup() -> String {
    #[cfg(feature = "ebpf")]
    let removed = kernel::cleanup();
    #[cfg(not(feature = "ebpf"))]
    let removed = 0;
    match removed {
        0 => "nothing to remove".to_owned(),
        1 => "removed 1 tc filter".to_owned(),
        filters => format!("removed {filters} tc filters"),
    }
}

async fn serve(flags: &Run) -> anyhow::Result<Ended> {
    clock::shift(flags.clock_offset_ns);
    let ready = Ready::take(flags).await?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tracing::info!(node = ready.node, hub = %flags.hub, responder = ready.responder.port, "netcheck agent");
    let mut running = ready.start(flags)?;
    let ended_early = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = running.first_end() => true,
    };
    tracing::info!("stopping");
    let taken = running.hub.borrow().session_taken;
    let joined = running.stop().await;
    match (ended_early, joined) {
        (true, true) if taken => Ok(Ended::SessionTaken),
        (false, true) => Ok(Ended::Requested),
        _ => bail!("a part of the agent ended by itself; the log says which"),
    }
}

/// All that can fail, taken before the first task starts.
struct Ready {
    node: String,
    session: ProbeSession,
    uptime: Uptime,
    responder: Responder,
    http: std::net::TcpListener,
    /// Where sessions of others come in, if they do.
    relay: Option<std::net::TcpListener>,
    vantage: Option<ListenTask>,
    #[cfg(feature = "ebpf")]
    attacher: Option<kernel::Attacher>,
    engine: Engine,
    handle: EngineHandle,
    output: EngineOutput,
}

impl Ready {
    async fn take(flags: &Run) -> anyhow::Result<Self> {
        let uptime = Uptime::begin();
        let host_name = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        let node = flags.node.clone().unwrap_or_else(host_name);
        let session = ProbeSession(rand::random());
        let responder = Responder::bind(flags.responder_addr)
            .with_context(|| format!("--responder-addr {}", flags.responder_addr))?;
        let http =
            listen(flags.http.http_addr).with_context(|| format!("--http-addr {}", flags.http.http_addr))?;
        let relay = (flags.relay == RelayMode::On)
            .then(|| listen(flags.relay_addr).with_context(|| format!("--relay-addr {}", flags.relay_addr)));
        let relay = relay.transpose()?;
        let vantage_counts = Arc::new(VantageCounts::default());
        let vantage = flags.vantage_socket.as_deref().map(|path| {
            ListenTask::bind(path, Arc::clone(&vantage_counts))
                .with_context(|| format!("--vantage-socket {}", path.display()))
        });
        let vantage = vantage.transpose()?;
        let kernel = KernelSide::open(flags, session, responder.port).await?;
        let config = EngineConfig {
            node: node.clone(),
            session,
            limit_pps: flags.pps,
            policy: policy::refusal,
            allowed: Allowed::new(flags.allow_cidr.clone(), flags.node_local_dns.clone()),
            kernel: kernel.source,
            vantage: vantage.as_ref().map(|_| (NO_VANTAGE.to_owned(), vantage_counts)),
        };
        let (engine, handle, output) = Engine::new(config).context("start the probe engine")?;
        Ok(Self {
            node,
            session,
            uptime,
            responder,
            http,
            relay,
            vantage,
            #[cfg(feature = "ebpf")]
            attacher: kernel.attacher,
            engine,
            handle,
            output,
        })
    }

    /// Starts threads and tasks in the order of the data: engine, collector, session; then who answers others.
    fn start(self, flags: &Run) -> anyhow::Result<Running> {
        let hello = self.hello(flags);
        let Self { node, session, uptime, responder, handle, output, engine, .. } = self;
        let shutdown = CancellationToken::new();
        // Not with `shutdown`: others probe the responder until the hub has told them that it goes.
        let closing = CancellationToken::new();
        let outbox = Outbox::new(Limits::default());
        let (hub, hub_seen) = watch::channel(HubState::default());
        let engine_thread = thread("probe-engine", move || engine.run())?;
        // Not with `shutdown`: the hooks stay until the last probe is judged.
        let detach = CancellationToken::new();
        #[cfg(feature = "ebpf")]
        let watching = start_hooks(self.attacher, &detach);
        #[cfg(not(feature = "ebpf"))]
        let watching = JoinSet::new();
        let mut data = JoinSet::new();
        data.spawn(Collector { reports: output.reports, outbox: Arc::clone(&outbox), session }.run());
        let (addresses, relays) = ways(flags);
        let nodes = Arc::new(NodeAddresses::default());
        let answered = Arc::clone(&responder.counts);
        let mut answering = Answering { flags, tasks: JoinSet::new(), shutdown: shutdown.clone() };
        let culprits = answering.start_culprits(&node);
        let session_task = SessionTask {
            connect: over_tcp(
                flags.hub.clone(),
                flags.tls.files(),
                (Arc::clone(&addresses), Arc::clone(&relays)),
            ),
            addresses,
            relays,
            nodes: Arc::clone(&nodes),
            token: flags.token_file.clone().map(TokenFile),
            hello,
            engine: handle.clone(),
            replies: output.replies,
            culprits,
            status: output.status.clone(),
            outbox: Arc::clone(&outbox),
            hub,
            uptime,
            notice: Arc::new(move || answered.degraded(clock::monotonic_ns())),
        };
        data.spawn(session_task.run(shutdown.clone()));

        answering.start_probers(&handle, output.status.clone(), output.exchanges);
        let handing = start_vantage(self.vantage, &handle, &shutdown);
        let responder_counts = Arc::clone(&responder.counts);
        let (echo, echo_thread) = answering.start_responder(responder, &closing)?;
        let relay_counts = self.relay.is_some().then(|| Arc::new(LiveRelayCounts::default()));
        if let Some((relay, counts)) = self.relay.zip(relay_counts.clone()) {
            let (listener, hub) = (listener(relay)?, hub_seen.clone());
            let task = RelayTask { listener, node: node.clone(), hub, nodes, counts };
            answering.tasks.spawn(task.run(shutdown.clone()));
        }
        let sources = Sources {
            node,
            hub_url: flags.hub.to_string(),
            engine: output.status,
            hub: hub_seen.clone(),
            outbox: Arc::clone(&outbox),
            responder: responder_counts,
            relay: relay_counts,
            uptime,
        };
        answering.tasks.spawn(HttpTask { listener: listener(self.http)?, sources }.run(shutdown.clone()));
        Ok(Running {
            data,
            answering: answering.tasks,
            handing,
            watching,
            shutdown,
            closing,
            detach,
            engine: handle,
            echo,
            threads: [engine_thread, echo_thread],
            outbox,
            hub: hub_seen,
        })
    }

    /// What the hub is shown of this agent.
    fn hello(&self, flags: &Run) -> v1::Hello {
        let explain_rules =
            if cfg!(feature = "ebpf") { flags.explain_rules.into() } else { v1::ExplainRules::Unspecified };
        v1::Hello {
            node: self.node.clone(),
            boot_id: format!("{:032x}", rand::random::<u128>()),
            probe_session: self.session.0,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
            responder_port: self.responder.port.into(),
            takes_table_changes: true,
            explain_rules: explain_rules.into(),
            relay_port: port_of(self.relay.as_ref()),
            ..v1::Hello::default()
        }
    }
}

fn port_of(listener: Option<&std::net::TcpListener>) -> u32 {
    listener.and_then(|listener| listener.local_addr().ok()).map_or(0, |local| local.port().into())
}

/// Where the hub may be, by all that is known without asking for its name, and through whom it may be reached.
fn ways(flags: &Run) -> (Arc<HubAddresses>, Arc<Relays>) {
    let (host, port) = (flags.hub_service_host.as_deref(), flags.hub_service_port.as_deref());
    let service = service_address(host, port, &flags.hub);
    let addresses = HubAddresses::new(&flags.hub, service, flags.hub_addresses_file.clone());
    let file = flags.hub_addresses_file.clone().map(|mut file| {
        file.as_mut_os_string().push(".relays");
        file
    });
    let relays = match flags.relay {
        RelayMode::On => Relays::new(addresses.host(), file),
        RelayMode::Off => Relays::default(),
    };
    (Arc::new(addresses), Arc::new(relays))
}

#[cfg(test)]
mod tests;
