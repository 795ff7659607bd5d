//! The kernel side, as the flags want it: with programs, without, or no agent at all.

use anyhow::bail;
use netcheck_common::domain::ProbeSession;
use netcheck_proto::v1;

use crate::config::{EbpfMode, Run};
#[cfg(feature = "ebpf")]
use crate::kernel;
use crate::model::observation::KernelSource;
use crate::net::interface_drops::NoKernelSource;

/// What is missing, and why, where the flag says so.
const OFF: &str = "no kernel programs: switched off by --ebpf off";

/// The kernel side, as the flags want it: the source for the engine, and the task that follows the interfaces.
pub(super) struct KernelSide {
    pub(super) source: Box<dyn KernelSource>,
    #[cfg(feature = "ebpf")]
    pub(super) attacher: Option<kernel::Attacher>,
}

impl KernelSide {
    fn without(state: v1::EbpfState, why: String) -> Self {
        Self {
            source: Box::new(NoKernelSource::new(state, vec![why])),
            #[cfg(feature = "ebpf")]
            attacher: None,
        }
    }

    #[cfg(feature = "ebpf")]
    pub(super) async fn open(
        flags: &Run,
        session: ProbeSession,
        responder_port: u16,
    ) -> anyhow::Result<Self> {
        if flags.ebpf == EbpfMode::Off {
            return Ok(Self::without(v1::EbpfState::Off, OFF.to_owned()));
        }
        let config = kernel::KernelConfig {
            session: session.0,
            responder_port,
            netns_scope: flags.netns_scope.clone(),
            clock_offset_ns: flags.clock_offset_ns,
            tc_mode: None,
            kernel_names: true,
        };
        match kernel::open(&config).await {
            Ok((attacher, source)) => Ok(Self { source, attacher: Some(attacher) }),
            Err(error) if flags.ebpf == EbpfMode::Required => bail!("--ebpf required: {}", error.one_line()),
            Err(error) => {
                let why = error.one_line();
                tracing::warn!("no kernel programs, user-space times only: {why}");
                Ok(Self::without(v1::EbpfState::Failed, why))
            }
        }
    }

    #[cfg(not(feature = "ebpf"))]
    #[expect(clippy::unused_async, reason = "the same signature as with kernel programs")]
    pub(super) async fn open(
        flags: &Run,
        _session: ProbeSession,
        _responder_port: u16,
    ) -> anyhow::Result<Self> {
        let absent = "this agent was built without kernel programs";
        match flags.ebpf {
            EbpfMode::Off => Ok(Self::without(v1::EbpfState::Off, OFF.to_owned())),
            EbpfMode::Auto => Ok(Self::without(v1::EbpfState::Failed, absent.to_owned())),
            EbpfMode::Required => bail!("--ebpf required: {absent}"),
        }
    }
}
