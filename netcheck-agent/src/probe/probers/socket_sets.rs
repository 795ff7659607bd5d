//! Socket sets: whose sockets a probe leaves from, and how a ready socket is known among all of them.

use netcheck_common::domain::{Family, Vantage};

use super::family::OneFamily;
use super::networks::Networks;
use crate::plan::PathPlan;

/// Which prober a ready socket belongs to; with socket set and family the upper half of an epoll token, a slot is the lower.
pub(super) const ICMP: u64 = 0;
pub(super) const UDP: u64 = 1;
pub(super) const TCP: u64 = 2;
pub(super) const DNS: u64 = 3;

/// Socket sets: the host's sockets, the pod's, and from 2 on those of its secondary networks.
pub(super) const HOST: u32 = 0;
pub(super) const POD: u32 = 1;

pub(super) const fn token(prober: u64, socket_set: u32, family: Family, slot: u32) -> u64 {
    // There are fewer socket sets than 2²⁹ in any agent's life.
    ((socket_set as u64) << 3 | prober << 1 | family as u64) << 32 | slot as u64
}

/// The probers of all socket sets.
pub(super) struct SocketSets {
    pub(super) host: [OneFamily; 2],
    /// Of the vantage that is connected.
    pub(super) pod: Option<[OneFamily; 2]>,
    pub(super) networks: Networks,
}

impl SocketSets {
    /// The socket set that a path's probes take now.
    pub(super) fn of(&self, plan: &PathPlan) -> Option<u32> {
        match (plan.vantage, &plan.network) {
            (Vantage::Host, _) => Some(HOST),
            (Vantage::Pod, None) => self.pod.as_ref().map(|_| POD),
            (Vantage::Pod, Some(network)) => {
                self.networks.find(network, Family::of(plan.target.ip())).map(|one| one.socket_set)
            }
        }
    }

    pub(super) fn get(&self, socket_set: u32, family: Family) -> Option<&OneFamily> {
        match socket_set {
            HOST => Some(&self.host[family as usize]),
            POD => self.pod.as_ref().map(|pod| &pod[family as usize]),
            socket_set => self.networks.socket_set(socket_set),
        }
    }

    pub(super) fn get_mut(&mut self, socket_set: u32, family: Family) -> Option<&mut OneFamily> {
        match socket_set {
            HOST => Some(&mut self.host[family as usize]),
            POD => self.pod.as_mut().map(|pod| &mut pod[family as usize]),
            socket_set => self.networks.socket_set_mut(socket_set),
        }
    }
}
