//! What the kernel programs log, into this process's log. Off unless the log filter asks for target
//! `netcheck::kernel` at level debug: then the programs are loaded with logging compiled in.

use log::{Level, Log, Metadata, Record};

/// Log target of the kernel programs.
const TARGET: &str = "netcheck::kernel";

/// Whether anybody would read it.
pub(crate) fn enabled() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
}

/// The value of aya-log's level global: nothing, or all but trace.
pub(crate) fn level() -> u8 {
    if enabled() { Level::Debug as u8 } else { 0 }
}

/// Hands records on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() <= Level::Warn {
            tracing::warn!(target: TARGET, "{}", record.args());
        } else {
            tracing::debug!(target: TARGET, "{}", record.args());
        }
    }

    fn flush(&self) {}
}
