//! Health on a port and a thread of its own (`--health-addr`): whatever readers do to the other ports, the kubelet gets
//! its answer in time.
//!
//! In: connections. Out: `/healthz` and `/readyz`, as on the HTTP port, without encryption: a kubelet brings no certificate.
//! The thread ends with `shutdown`.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use netcheck_doors::{Limits, Slots};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::serve::http;
use crate::state::Hub;

/// Serves until `shutdown`.
///
/// # Errors
/// No thread can be started.
pub fn start(
    hub: Arc<Hub>,
    listener: std::net::TcpListener,
    shutdown: CancellationToken,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name("health".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            let slots = Slots::new(Limits::of_agent());
            netcheck_doors::http::serve(listener, slots, http::health(hub), shutdown).await;
            Ok(())
        })
    })
}
