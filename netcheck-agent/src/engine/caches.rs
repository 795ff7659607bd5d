//! A DNS cache of the node came or went: what may be probed, and what is said of it.

use super::{Engine, EngineReply};
use crate::dns_caches::Caches;

impl Engine {
    /// Takes what was found of this node's own DNS caches: the hub is told, and what it plans there may be probed. Where
    /// there is none any more nothing is sent.
    pub(super) fn dns_caches(&mut self, found: Caches, now_ns: u64) {
        self.status.dns_caches = found;
        if let Some(gone) = self.plan.set_found_dns(self.status.dns_caches.found.clone()) {
            self.forget(&gone);
            self.reschedule(now_ns);
            self.tell_plan();
        }
        self.publish();
        self.link.reply(EngineReply::StatusChanged);
    }
}
