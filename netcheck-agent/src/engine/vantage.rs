//! The pod vantage came or went: its sockets, its paths, what is said of it.

use netcheck_common::domain::{Family, PathId, ProbeKind, Vantage};

use super::{Engine, EngineReply, VantageChange, VantageStatus};

impl Engine {
    /// Takes a vantage into use, or lets go of it. Its probes in flight are not judged: their sockets are gone, which
    /// says nothing of the network. Without a vantage its paths stay in the plan and are not probed.
    pub(super) fn vantage(&mut self, change: VantageChange, now_ns: u64) {
        let mut paths: Vec<PathId> = self
            .plan
            .paths
            .iter()
            .filter_map(|(&path, plan)| (plan.vantage == Vantage::Pod).then_some(path))
            .collect();
        paths.sort_unstable();
        self.merge.forget(&paths, |probe| self.probers.close(probe, self.eye.as_mut()));
        let (status, netns) = match change {
            VantageChange::Down(why) => {
                self.probers.close_pod();
                (VantageStatus::none(why), None)
            }
            VantageChange::Up(pool) => {
                // A socket that can't be waited for is read with the others.
                if let Err(error) = self.probers.open_pod(&pool) {
                    tracing::warn!(%error, "the pod vantage's sockets");
                }
                let hello = &pool.hello;
                let status = VantageStatus {
                    pod: hello.pod.clone(),
                    addresses: hello.addresses.clone(),
                    responder_port: hello.responder_port,
                    can: self.pod_can(),
                    detail: self.pod_cannot(|family| hello.has(family)),
                    ..VantageStatus::default()
                };
                (status, pool.netns.inode)
            }
        };
        self.eye.set_vantage(netns.map(|inode| (inode, status.addresses.clone())));
        self.merge.ports.open(Vantage::Pod, self.probers.udp_ports(Vantage::Pod));
        self.status.vantage = Some(status);
        self.reschedule(now_ns);
        self.publish();
        self.link.reply(EngineReply::StatusChanged);
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
