//! Threads and tasks of the agent beside those that measure, each started.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Run;
#[cfg(feature = "ebpf")]
use crate::culprit::CulpritTask;
use crate::engine::EngineHandle;
use crate::engine::dns_caches::CachesTask;
#[cfg(feature = "ebpf")]
use crate::kernel;
use crate::model::status::EngineStatus;
use crate::probe::exchange::{ExchangeEnd, ExchangeTask};
use crate::responder::Responder;
use crate::responder::accept::AcceptTask;
use crate::responder::echo::Echo;
use crate::uplink::session::Culprits;
use crate::vantage::listen::ListenTask;

/// Questions of the hub about what ends probes here: it asks one at a time.
const QUESTIONS: usize = 2;
/// Answers to them that wait for the session.
const ANSWERS: usize = 2;

/// Who answers others, and what goes on without data to lose.
pub(super) struct Answering<'a> {
    pub(super) flags: &'a Run,
    pub(super) tasks: JoinSet<()>,
    /// Ends them, but for the responder.
    pub(super) shutdown: CancellationToken,
}

impl Answering<'_> {
    /// Starts what finds out what ended probes here, where there are kernel programs; the session's ends of its channels.
    #[cfg_attr(
        not(feature = "ebpf"),
        expect(unused_variables, clippy::unused_self, reason = "nothing is found without kernel programs")
    )]
    pub(super) fn start_culprits(&mut self, node: &str) -> Culprits {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let (answers, answered) = mpsc::channel(ANSWERS);
        #[cfg(feature = "ebpf")]
        {
            let mode = self.flags.explain_rules.into();
            let task = CulpritTask { node: node.to_owned(), mode, questions: asked, answers };
            self.tasks.spawn(task.run(self.shutdown.clone()));
        }
        #[cfg(not(feature = "ebpf"))]
        drop((asked, answers));
        Culprits { questions, answers: answered }
    }

    /// Starts what the engine's probes need besides it: the DNS caches of this node, and exchanges with servers.
    pub(super) fn start_probers(
        &mut self,
        engine: &EngineHandle,
        status: watch::Receiver<EngineStatus>,
        exchanges: ExchangeEnd,
    ) {
        let resolv_conf = self.flags.resolv_conf.clone();
        let caches = CachesTask { resolv_conf: resolv_conf.clone(), engine: engine.clone(), status };
        self.tasks.spawn(caches.run(self.shutdown.clone()));
        let task = ExchangeTask { end: exchanges, waker: engine.waker(), resolv_conf };
        self.tasks.spawn(task.run(self.shutdown.clone()));
    }

    /// Starts what answers other agents' probes: those over UDP on a thread of its own.
    pub(super) fn start_responder(
        &mut self,
        responder: Responder,
        closing: &CancellationToken,
    ) -> anyhow::Result<(Arc<Echo>, JoinHandle<()>)> {
        let echo = Echo::new(responder.udp, responder.port, Arc::clone(&responder.counts));
        let echoing = Arc::clone(&echo);
        let thread = thread("udp-echo", move || echoing.run())?;
        let accept = AcceptTask { listener: listener(responder.tcp)?, counts: responder.counts };
        self.tasks.spawn(accept.run(closing.clone()));
        Ok((echo, thread))
    }
}

/// Starts what attaches hooks to interfaces, and to those that come.
#[cfg(feature = "ebpf")]
pub(super) fn start_hooks(attacher: Option<kernel::Attacher>, detach: &CancellationToken) -> JoinSet<()> {
    let mut watching = JoinSet::new();
    if let Some(attacher) = attacher {
        watching.spawn_local(attacher.run(detach.clone()));
    }
    watching
}

/// Starts what takes sockets from the pod network and gives them to the engine, where there is a vantage.
pub(super) fn start_vantage(
    vantage: Option<ListenTask>,
    engine: &EngineHandle,
    shutdown: &CancellationToken,
) -> JoinSet<()> {
    let mut handing = JoinSet::new();
    if let Some(vantage) = vantage {
        let engine = engine.clone();
        let changed = move |change| engine.clone().vantage_changed(change);
        handing.spawn(vantage.run(changed, shutdown.clone()));
    }
    handing
}

pub(super) fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .with_context(|| format!("start the thread {name}"))
}

pub(super) fn listener(socket: impl Into<OwnedFd>) -> io::Result<TcpListener> {
    TcpListener::from_std(socket.into().into())
}
