//! Sockets for exchanges over TCP: made, bound and registered with the hooks here, handed over to whoever carries them
//! out ([`crate::probe::exchange`]).

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use netcheck_common::domain::Family;
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::net::sockopt::set_socket_linger;

use crate::model::observation::{KernelSource, OwnFlow, ProbeKey};
use crate::probe::SendFailure;
use crate::probe::ports::ProbePorts;
use crate::probe::route::{Registered, Routes};
use crate::probe::slots::Slots;
use crate::probe::socket::Sockets;

/// One exchange under way.
#[derive(Debug)]
struct UnderWay {
    key: ProbeKey,
    target: SocketAddr,
    /// The flow, where it is registered with the hooks.
    flow: Option<OwnFlow>,
    local_port: u16,
}

/// All exchanges of one family.
#[derive(Debug)]
pub(crate) struct StreamProber {
    family: Family,
    sockets: Sockets,
    routes: Routes,
    under_way: Slots<UnderWay>,
}

impl StreamProber {
    pub(crate) fn open(family: Family, sockets: Sockets, ports: ProbePorts) -> io::Result<Self> {
        let routes = Routes::open(family, &sockets, ports)?;
        Ok(Self { family, routes, sockets, under_way: Slots::default() })
    }

    /// Where its sockets come from.
    pub(crate) const fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Makes the socket of one probe, and registers its flow: its number, and whether hooks watch it.
    pub(crate) fn prepare(
        &mut self,
        key: ProbeKey,
        target: SocketAddr,
        now_ns: u64,
        kernel: &mut dyn KernelSource,
    ) -> Result<(u32, bool, OwnedFd), SendFailure> {
        let socket = self.sockets.open(self.family, SocketType::STREAM, None).map_err(SendFailure::of)?;
        // Closed by RST, as TCP probes are, unless all goes well. Failing to set it costs a TIME_WAIT, no more.
        let _ = set_socket_linger(&socket, Some(Duration::ZERO));
        let Registered { flow, local_port } = self.routes.register(&socket, key, target, now_ns, kernel)?;
        let watched = flow.is_some();
        let slot = self.under_way.insert(UnderWay { key, target, flow, local_port });
        Ok((slot, watched, socket))
    }

    /// A probe is over, however: ends its flow. The number may be someone else's by now.
    pub(crate) fn close(&mut self, slot: u32, key: ProbeKey, kernel: &mut dyn KernelSource) {
        if self.under_way.get(slot).is_some_and(|of| of.key == key)
            && let Some(flow) = self.under_way.remove(slot).and_then(|of| of.flow)
        {
            kernel.forget_flow(&flow);
        }
    }

    /// The exchange that an ICMP error quotes, as far as its port is known.
    pub(crate) fn quoted(&self, local_port: u16, target: SocketAddr) -> Option<ProbeKey> {
        let mut all = self.under_way.iter().filter(|of| of.local_port != 0);
        all.find(|of| of.local_port == local_port && of.target == target).map(|of| of.key)
    }
}

/// What is said where too many wait already.
pub(crate) const TOO_MANY: SendFailure = SendFailure::Own(Errno::AGAIN);
