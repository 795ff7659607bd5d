//! Lost probes that translation took from the hooks' sight: the table of connections knows how they left.

use crate::model::observation::{Hook, InterfaceRole, KernelSource};
use crate::model::report::Report;

/// Lost probes of one report that are looked up.
const LOOKUPS: usize = 64;

/// Completes what is known of lost probes that no hook saw leave: the flow behind all translation, and the hooks that saw it.
pub(super) fn follow(report: &mut Report, kernel: &mut dyn KernelSource) {
    let left =
        |hook: &Hook| hook.egress && matches!(hook.role, InterfaceRole::Uplink | InterfaceRole::Tunnel);
    let unseen = report.lost.iter_mut().filter(|lost| !lost.request_hooks.iter().any(left));
    for (lost, origin) in unseen.filter_map(|lost| lost.origin.map(|origin| (lost, origin))).take(LOOKUPS) {
        let Some(flow) = kernel.left_as(&origin).filter(|flow| *flow != origin) else { continue };
        lost.flow = Some(flow);
        let Some(seen) = kernel.flow_seen(&flow) else { continue };
        // An earlier flow may have had the same ports.
        let own = |seen: Option<(Hook, u64)>| {
            seen.filter(|(_, at_ns)| *at_ns >= lost.sent_ns).map(|(hook, _)| hook)
        };
        let (request, reply) = (own(seen.last_request), own(seen.last_reply));
        lost.request_hooks.extend(request);
        lost.reply_hooks.extend(reply);
    }
}

#[cfg(test)]
mod tests {
    use netcheck_common::domain::{Outcome, PathId, ProbeKind, Sequence};

    use super::*;
    use crate::model::observation::{Flow, FlowSeen, KernelStatus, ProbeKey};
    use crate::model::report::Lost;
    use crate::model::sample::Detail;

    fn hook(role: InterfaceRole, egress: bool) -> Hook {
        Hook { ifindex: 1, interface: "x".into(), role, egress, encapsulated: false }
    }

    fn flow(kind: ProbeKind, source: &str) -> Flow {
        Flow { kind, source: source.parse().unwrap(), destination: "10.0.0.3:6100".parse().unwrap() }
    }

    /// Masquerades all flows, and saw them at 5 ns.
    struct Masquerading;

    impl KernelSource for Masquerading {
        fn left_as(&mut self, flow: &Flow) -> Option<Flow> {
            Some(Flow { source: "10.0.0.1:50000".parse().unwrap(), ..*flow })
        }

        fn flow_seen(&self, flow: &Flow) -> Option<FlowSeen> {
            (flow.source.port() == 50_000).then(|| FlowSeen {
                request_packets: 1,
                reply_packets: 0,
                last_request: Some((hook(InterfaceRole::Uplink, true), 5)),
                last_reply: None,
            })
        }

        fn status(&self) -> KernelStatus {
            KernelStatus::default()
        }
    }

    #[test]
    fn what_left_masqueraded_is_followed() {
        let lost = |kind, sent_ns, hooks: &[Hook]| Lost {
            probe: ProbeKey { path: PathId(1), sequence: Sequence(1) },
            sent_ns,
            outcome: Outcome::Timeout,
            suspect: false,
            request_hooks: hooks.to_vec(),
            reply_hooks: Vec::new(),
            detail: Detail::default(),
            flow: None,
            origin: Some(flow(kind, "10.244.1.7:61000")),
            unwatched: false,
            size_bytes: 0,
            new_flows_lost: 0,
        };
        let came_out = [hook(InterfaceRole::PodVeth, false)];
        let after = |lost: Lost| {
            let mut report = Report { lost: vec![lost], ..Report::default() };
            follow(&mut report, &mut Masquerading);
            let lost = report.lost.remove(0);
            (lost.flow.map(|flow| flow.source.port()), lost.request_hooks.len())
        };
        assert_eq!(after(lost(ProbeKind::Tcp, 4, &came_out)), (Some(50_000), 2));
        assert_eq!(after(lost(ProbeKind::Tcp, 6, &came_out)), (Some(50_000), 1), "an earlier one's");
        assert_eq!(after(lost(ProbeKind::Udp, 4, &came_out)), (Some(50_000), 2), "a DNS server's, say");
        let gone = hook(InterfaceRole::Uplink, true);
        assert_eq!(after(lost(ProbeKind::Tcp, 4, &[came_out[0].clone(), gone])), (None, 2));
    }
}
