//! The plan changed, or what of it can be carried out: what is let go of, and the pace from then on.

use std::time::Duration;

use netcheck_common::domain::{PathId, ProbeKind, Vantage};
use netcheck_proto::v1;

use super::{Engine, EngineReply};
use crate::host::clock::{SECOND_NS, unix_offset_ns};
use crate::measure::new_flows::Cadence;
use crate::model::status::{Caches, PlanSummary};
use crate::plan::PathPlan;

impl Engine {
    /// Takes a change of the plan, or asks for all of it.
    pub(super) fn apply(&mut self, delta: &v1::PlanDelta, now_ns: u64) {
        let change = match self.plan.apply(delta) {
            Ok(change) => change,
            Err(gap) => {
                self.link.reply(EngineReply::PlanGap(gap));
                return;
            }
        };
        // What is asked for may be other names now.
        self.next_search_ns = self.next_search_ns.min(now_ns + SECOND_NS);
        self.forget(&change.gone);
        if change.addresses {
            self.kernel.set_addresses(&self.plan.addresses, &self.plan.watched_ports);
        }
        self.follow_networks();
        let timing = self.plan.timing;
        self.merge.set_timing(now_ns, timing.timeout_ns, timing.window_ns, unix_offset_ns());
        self.reschedule(now_ns);
        self.probers.set_terms(self.plan.terms());
        self.report_plan();
    }

    /// Lets go of paths that left the plan.
    pub(super) fn forget(&mut self, gone: &[PathId]) {
        self.sequences.prune(|path| self.plan.paths.contains_key(path));
        self.merge.forget(gone, |probe| self.probers.close(probe, self.kernel.as_mut()));
        self.probers.forget(gone);
    }

    /// Reports what of the plan is carried out, and what is not.
    pub(super) fn report_plan(&mut self) {
        self.status.plan = PlanSummary {
            version: self.plan.version,
            paths: self.plan.paths.len(),
            refused: self.plan.refused_wire().into_iter().chain(self.probers.barred()).collect(),
            effective_interval: Duration::from_nanos(self.schedule.effective_interval_ns()),
        };
        self.publish();
        self.link.reply(EngineReply::PlanApplied(self.status.plan.to_wire()));
    }

    /// Sets the pace for the paths of the plan that can be probed now.
    pub(super) fn reschedule(&mut self, now_ns: u64) {
        let timing = self.plan.timing;
        let usable = |plan: &PathPlan| plan.vantage == Vantage::Host || self.probers.can_send(plan);
        let paths = self.plan.paths.iter().filter(|(_, plan)| usable(plan));
        let sizes = paths.clone().filter(|(_, plan)| plan.kind.carries_header()).count() as u64;
        let udp = paths.clone().filter(|(_, plan)| plan.kind == ProbeKind::Udp).count();
        let new_flows =
            paths.clone().filter(|(_, plan)| plan.kind.carries_header() && plan.network.is_none());
        let new_flows = new_flows.count() as u64;
        let sizes = if timing.sizes_ns == 0 { 0 } else { sizes.div_ceil(crate::measure::sizes::ONE_IN) };
        let loads: Vec<_> = paths.map(|(&path, plan)| (path, plan.load(&timing))).collect();
        self.schedule.reserve(sizes);
        self.schedule.set(now_ns, loads.iter().copied(), timing.interval_ns, timing.wanted_pps);
        // What is left of the budget is for new flows, and some of it in any case.
        let (round_ns, spare) = (self.schedule.effective_interval_ns(), self.schedule.spare_packets());
        let timeouts = self.probers.quarantine().timeouts;
        let cadence = Cadence::new(new_flows, round_ns, timeouts.icmp_ns, spare);
        if cadence.every > 1 && cadence != self.cadence {
            tracing::info!(
                "new flows of ICMP and UDP leave every {:.1} s on each path: tables of connections and the budget of \
                 packets have room for no more",
                cadence.distance_s()
            );
        }
        self.cadence = cadence;
        self.schedule.reserve(sizes + cadence.packets(new_flows));
        self.schedule.set(now_ns, loads, timing.interval_ns, timing.wanted_pps);
        self.merge.sizes.set(timing.sizes_ns, self.schedule.effective_interval_ns());
        self.merge.ports.set(udp, self.schedule.effective_interval_ns());
        self.pace.set_timeout(timing.timeout_ns);
        self.set_pace();
    }

    /// Sets the loop's ticks for what is sent now.
    pub(super) fn set_pace(&mut self) {
        self.pace.set_rate(self.schedule.rate_pps(), self.prompt());
        self.pace.no_longer_than(self.schedule.shortest_ns());
    }

    /// Takes what was found of this node's own DNS caches: the hub learns of them, and what it plans there may be probed. Where
    /// there is none any more nothing is sent.
    pub(super) fn dns_caches(&mut self, found: Caches, now_ns: u64) {
        self.status.dns_caches = found;
        if let Some(gone) = self.plan.set_found_dns(self.status.dns_caches.found.clone()) {
            self.forget(&gone);
            self.reschedule(now_ns);
            self.report_plan();
        }
        self.news = true;
        self.publish();
    }
}
