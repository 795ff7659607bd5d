//! Who hears that there is news finds it in the status.

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::observation::{DropCount, Flow, FlowSeen, KernelStatus, KnownAddress, OwnFlow, ReflectedPath};

/// A kernel side that is another each time it is looked at.
#[derive(Debug, Default)]
struct Restless(AtomicU64);

impl KernelEye for Restless {
    fn stamps(&self) -> bool {
        false
    }
    fn drain(&mut self, _sink: &mut dyn FnMut(crate::observation::Observation)) {}
    fn watch_flow(&mut self, _flow: &OwnFlow) -> bool {
        false
    }
    fn forget_flow(&mut self, _flow: &OwnFlow) {}
    fn set_addresses(&mut self, _addresses: &[KnownAddress], _watched_ports: &[u16]) {}
    fn set_vantage(&mut self, _vantage: Option<(u32, Vec<IpAddr>)>) {}
    fn reflected_path(&self, _session: ProbeSession, _path: PathId) -> Option<ReflectedPath> {
        None
    }
    fn flow_seen(&self, _flow: &Flow) -> Option<FlowSeen> {
        None
    }
    fn drop_counts(&mut self) -> Vec<DropCount> {
        Vec::new()
    }
    fn news(&mut self) -> bool {
        true
    }
    fn status(&self) -> KernelStatus {
        let looks = self.0.fetch_add(1, Ordering::Relaxed);
        KernelStatus { ring_events_lost: looks, ..KernelStatus::default() }
    }
}

#[test]
fn the_status_has_the_news_when_the_session_hears_of_it() {
    const NEWS: u64 = 300;
    let (handle, mut output, thread) = start_with(Box::<Restless>::default());
    for told in 1..=NEWS {
        handle.ring();
        let deadline = Instant::now() + PATIENCE;
        // Awake when it comes: another thread that has to be woken would be too slow to see it too early.
        let reply = loop {
            match output.replies.try_recv() {
                Ok(reply) => break reply,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        let seen = output.status.borrow().kernel.ring_events_lost;
        assert_eq!(reply, EngineReply::StatusChanged);
        assert!(seen >= told, "{seen} of {told}");
    }
    handle.stop();
    thread.join().unwrap();
}
