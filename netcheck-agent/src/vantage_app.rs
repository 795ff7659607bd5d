//! `netcheck-agent vantage`: the process in the pod. It answers probes as every responder does, and hands sockets of its
//! network to the agent of its node.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Vantage;
use crate::responder::Responder;
use crate::responder::accept::AcceptTask;
use crate::responder::echo::Echo;
use crate::vantage::serve::{ServeTask, pod_name};

/// What saying good-bye to the agent takes at least: it is on this very node.
const GOOD_BYE: Duration = Duration::from_millis(50);

/// Runs the vantage until SIGTERM or SIGINT.
///
/// # Errors
/// The responder's port is taken.
pub fn run(flags: &Vantage) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(serve(flags))
}

async fn serve(flags: &Vantage) -> anyhow::Result<()> {
    let responder = Responder::bind(flags.responder_addr)
        .with_context(|| format!("--responder-addr {}", flags.responder_addr))?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let pod = flags.pod.clone().unwrap_or_else(pod_name);
    let node = flags.node.as_deref().unwrap_or("unknown");
    tracing::info!(pod, node, responder = responder.port, "netcheck vantage");

    let (shutdown, closing) = (CancellationToken::new(), CancellationToken::new());
    let echo = Echo::new(responder.udp, responder.port, Arc::clone(&responder.counts));
    let echo_thread = std::thread::Builder::new()
        .name("udp-echo".to_owned())
        .spawn({
            let echo = Arc::clone(&echo);
            move || echo.run()
        })
        .context("start the echo's thread")?;
    let mut tasks = JoinSet::new();
    let listener = TcpListener::from_std(std::os::fd::OwnedFd::from(responder.tcp).into())?;
    tasks.spawn(AcceptTask { listener, counts: responder.counts }.run(closing.clone()));
    let (path, resolv_conf) = (flags.vantage_socket.clone(), flags.resolv_conf.clone());
    tasks.spawn(ServeTask { path, pod, responder_port: responder.port, resolv_conf }.run(shutdown.clone()));

    let ended_early = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        _ = tasks.join_next() => true,
    };
    tracing::info!("stopping");
    shutdown.cancel();
    // Services send to this pod until every node has heard that it goes.
    let drain = if ended_early { Duration::ZERO } else { flags.drain };
    tokio::time::sleep(drain.max(GOOD_BYE)).await;
    closing.cancel();
    echo.stop();
    tasks.shutdown().await;
    if echo_thread.join().is_err() || ended_early {
        bail!("a part of the vantage ended by itself; the log says which");
    }
    Ok(())
}
