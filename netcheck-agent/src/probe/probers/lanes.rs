//! Lanes: whose sockets a probe leaves from, and how a ready socket is known among all of them.

use netcheck_common::domain::{Family, Vantage};

use super::family::OneFamily;
use super::networks::Networks;
use crate::plan::PathPlan;

/// Which prober a ready socket belongs to; with lane and family the upper half of an epoll token, a slot is the lower.
pub(super) const ICMP: u64 = 0;
pub(super) const UDP: u64 = 1;
pub(super) const TCP: u64 = 2;
pub(super) const DNS: u64 = 3;

/// Lanes: the host's sockets, the pod's, and from 2 on those of its further networks.
pub(super) const HOST: u32 = 0;
pub(super) const POD: u32 = 1;

pub(super) const fn token(prober: u64, lane: u32, family: Family, slot: u32) -> u64 {
    // There are fewer lanes than 2²⁹ in any agent's life.
    ((lane as u64) << 3 | prober << 1 | family as u64) << 32 | slot as u64
}

/// The probers of all lanes.
pub(super) struct Lanes {
    pub(super) host: [OneFamily; 2],
    /// Of the vantage that is connected.
    pub(super) pod: Option<[OneFamily; 2]>,
    pub(super) networks: Networks,
}

impl Lanes {
    /// The lane that a path's probes take now.
    pub(super) fn of(&self, plan: &PathPlan) -> Option<u32> {
        match (plan.vantage, &plan.network) {
            (Vantage::Host, _) => Some(HOST),
            (Vantage::Pod, None) => self.pod.as_ref().map(|_| POD),
            (Vantage::Pod, Some(network)) => {
                self.networks.find(network, Family::of(plan.target.ip())).map(|one| one.lane)
            }
        }
    }

    pub(super) fn get(&self, lane: u32, family: Family) -> Option<&OneFamily> {
        match lane {
            HOST => Some(&self.host[family as usize]),
            POD => self.pod.as_ref().map(|pod| &pod[family as usize]),
            lane => self.networks.lane(lane),
        }
    }

    pub(super) fn get_mut(&mut self, lane: u32, family: Family) -> Option<&mut OneFamily> {
        match lane {
            HOST => Some(&mut self.host[family as usize]),
            POD => self.pod.as_mut().map(|pod| &mut pod[family as usize]),
            lane => self.networks.lane_mut(lane),
        }
    }
}
