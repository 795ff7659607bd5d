//! The pod vantage came or went: its sockets, its paths, what is said of it.

use netcheck_common::domain::{Family, PathId, ProbeKind, Vantage};

use super::Engine;
use crate::model::status::VantageStatus;
use crate::net::resolv::ResolvConf;
use crate::plan::PathPlan;
use crate::vantage::listen::VantageChange;

impl Engine {
    /// Takes a vantage into use, or lets go of it. Its probes in flight are not judged: their sockets are gone, which
    /// says nothing of the network. Without a vantage its paths stay in the plan and are not probed.
    pub(super) fn vantage(&mut self, change: VantageChange, now_ns: u64) {
        let leaving = self.status.vantage.as_ref().is_some_and(|vantage| vantage.leaving);
        if let VantageChange::Leaving = change {
            if let Some(vantage) = &mut self.status.vantage {
                vantage.leaving = true;
            }
            self.news = true;
            self.publish();
            return;
        }
        let mut paths: Vec<PathId> = self
            .plan
            .paths
            .iter()
            .filter_map(|(&path, plan)| (plan.vantage == Vantage::Pod).then_some(path))
            .collect();
        paths.sort_unstable();
        self.merge.forget(&paths, |probe| self.probers.close(probe, self.kernel.as_mut()));
        let (status, netns) = match change {
            VantageChange::Leaving => return,
            VantageChange::Down(why) => {
                self.probers.close_pod();
                (VantageStatus { leaving, ..VantageStatus::none(why) }, None)
            }
            VantageChange::Up(pool) => {
                // A socket that can't be waited for is read with the others.
                if let Err(error) = self.probers.open_pod(&pool) {
                    tracing::warn!(%error, "the pod vantage's sockets");
                }
                let hello = &pool.hello;
                let resolv_conf = ResolvConf::parse(&hello.resolv_conf);
                let status = VantageStatus {
                    pod: hello.pod.clone(),
                    addresses: hello.addresses.clone(),
                    links: hello.links.clone(),
                    responder_port: hello.responder_port,
                    name_servers: resolv_conf.servers,
                    search_domains: resolv_conf.domains,
                    can: self.pod_can(),
                    detail: self.pod_cannot(|family| hello.has(family)),
                    ..VantageStatus::default()
                };
                (status, pool.netns.inode)
            }
        };
        self.kernel.set_vantage(netns.map(|inode| (inode, status.addresses.clone())));
        self.merge.ports.open(Vantage::Pod, self.probers.udp_ports(Vantage::Pod));
        self.status.vantage = Some(status);
        self.follow_networks();
        self.reschedule(now_ns);
        self.news = true;
        self.publish();
    }

    /// Brings the sockets on secondary networks in line with the plan and with the addresses of the vantage's pod. Their
    /// probes in flight are not judged where these changed.
    pub(super) fn follow_networks(&mut self) {
        let own = self.status.vantage.as_ref().map_or(&[][..], |vantage| &vantage.addresses);
        let wanted = self.plan.networks(own);
        let stale = self.probers.stale_networks(&wanted);
        let left = |plan: &PathPlan| {
            stale.iter().any(|(network, family)| {
                plan.network.as_ref() == Some(network) && Family::of(plan.target.ip()) == *family
            })
        };
        let mut paths: Vec<PathId> =
            self.plan.paths.iter().filter(|(_, plan)| left(plan)).map(|(&path, _)| path).collect();
        paths.sort_unstable();
        self.merge.forget(&paths, |probe| self.probers.close(probe, self.kernel.as_mut()));
        self.probers.want_networks(wanted);
        self.report_networks();
    }

    /// Opens what could not be opened at once.
    pub(super) fn complete_networks(&mut self, now_ns: u64) {
        if self.probers.complete_networks() {
            self.reschedule(now_ns);
        }
        self.report_networks();
    }

    /// Reports what is wrong with secondary networks, after what is wrong with the rest.
    fn report_networks(&mut self) {
        let has = |family| {
            let vantage = self.status.vantage.as_ref();
            vantage.is_some_and(|vantage| vantage.addresses.iter().any(|&own| Family::of(own) == family))
        };
        let mut detail = self.pod_cannot(has);
        detail.extend(self.probers.networks_wrong());
        if let Some(vantage) = self.status.vantage.as_mut().filter(|vantage| !vantage.pod.is_empty())
            && vantage.detail != detail
        {
            vantage.detail = detail;
            self.news = true;
        }
    }

    fn pod_can(&self) -> Vec<(ProbeKind, Family)> {
        let all = ProbeKind::ALL.into_iter().flat_map(|kind| [(kind, Family::V4), (kind, Family::V6)]);
        all.filter(|&(kind, family)| self.probers.can(Vantage::Pod, kind, family)).collect()
    }

    /// That a pod has no address of a family needs no words.
    fn pod_cannot(&self, has: impl Fn(Family) -> bool) -> Vec<String> {
        let missing = self.probers.pod_missing().iter().filter(|missing| has(missing.family));
        missing.map(|missing| missing.why.clone()).collect()
    }
}
