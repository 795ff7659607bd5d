//! Signals that ask the program to end: Ctrl-C, an orderly end, a terminal that goes.

/// The signals, from when they are listened to: then they end nothing by themselves.
#[cfg(unix)]
pub(crate) struct Ends([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl Ends {
    pub(crate) fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// See above.
#[cfg(not(unix))]
pub(crate) struct Ends;

#[cfg(not(unix))]
impl Ends {
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
