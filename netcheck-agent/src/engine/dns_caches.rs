//! DNS caches of this node's own, found where programs of the node and of its pods look names up.
//!
//! In: the agent's resolv.conf(5), that of the vantage's pod, the node's addresses. Out: [`Command::DnsCaches`] whenever
//! something else is found than before. Only an address that this very node has is taken: a name server elsewhere is
//! one like any other, and may be a cloud's metadata service. A cache that ends in order takes its address with it; where
//! programs are still configured to ask it, that is said. Cancelling [`CachesTask`] loses nothing.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::engine::{Command, EngineHandle};
use crate::model::status::{Caches, EngineStatus, PodLink};
use crate::net::own_addresses::links_with;
use crate::net::resolv::ResolvConf;
use crate::plan::policy::may_be_cache;

/// How often it is looked for: caches come with a DaemonSet, some time after the node.
const LOOK: Duration = Duration::from_secs(5);
/// The interface that NodeLocal DNSCache makes for its addresses, by its default (`-interfacename`).
const NODE_LOCAL_DNS: &str = "nodelocaldns";
/// Where kube-proxy puts the addresses of all services.
const SERVICES: &str = "kube-ipvs0";
/// More than any node has.
const CACHES_MAX: usize = 8;

/// The task.
pub(crate) struct CachesTask {
    /// The agent's own: of the node, or (`dnsPolicy`) what pods are configured with.
    pub(crate) resolv_conf: PathBuf,
    pub(crate) engine: EngineHandle,
    /// Says who is asked for names in the vantage's pod.
    pub(crate) status: watch::Receiver<EngineStatus>,
}

impl CachesTask {
    /// Looks until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut of_pods, mut known) = (Vec::new(), Caches::default());
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = shutdown.cancelled() => return,
            }
            // Without a vantage, what the last one said holds: pods of this node are all configured the same.
            if let Some(vantage) = self.status.borrow().vantage.as_ref().filter(|now| !now.pod.is_empty()) {
                of_pods.clone_from(&vantage.name_servers);
            }
            let text = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
            let mut servers = ResolvConf::parse(&text).servers;
            servers.extend(&of_pods);
            let links = match links_with(may_be_cache) {
                Ok(links) => links,
                Err(error) => {
                    tracing::debug!(%error, "this node's addresses can't be read");
                    continue;
                }
            };
            let next = next(&known, &servers, &links);
            if next != known {
                tracing::info!(found = ?next.found, gone = ?next.gone, "DNS caches of this node");
                self.engine.command(Command::DnsCaches(next.clone())).await;
                known = next;
            }
        }
    }
}

/// What became of those found so far, of which `servers` are asked.
fn next(known: &Caches, servers: &[IpAddr], links: &[PodLink]) -> Caches {
    let found = found(servers, links);
    let before = known.found.iter().chain(&known.gone);
    let mut gone: Vec<IpAddr> =
        before.filter(|at| servers.contains(at) && !found.contains(at)).copied().collect();
    gone.sort_unstable();
    gone.dedup();
    Caches { found, gone }
}

/// What of a node's own addresses is a cache's, ascending.
fn found(servers: &[IpAddr], links: &[PodLink]) -> Vec<IpAddr> {
    let links = links.iter().filter(|link| link.interface != SERVICES);
    let own = links.flat_map(|link| link.addresses.iter().map(move |&own| (&link.interface, own)));
    let cache = |(interface, own): (&String, IpAddr)| {
        (servers.contains(&own) || interface == NODE_LOCAL_DNS).then_some(own)
    };
    let mut found: Vec<IpAddr> = own.filter_map(cache).collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(CACHES_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_node_itself_has() {
        let link = |interface: &str, addresses: &[&str]| PodLink {
            interface: interface.to_owned(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        let links = [
            link("eth0", &["10.0.0.7", "fd00::7"]),
            link("nodelocaldns", &["169.254.20.10", "10.96.0.10"]),
            link("lxc1", &["169.254.1.1"]),
            link("kube-ipvs0", &["10.96.0.53"]),
        ];
        let servers = |list: &[&str]| list.iter().map(|one| one.parse().unwrap()).collect::<Vec<IpAddr>>();
        let reported =
            |list: &[&str]| found(&servers(list), &links).iter().map(ToString::to_string).collect::<Vec<_>>();
        let local = ["10.96.0.10", "169.254.20.10"];
        assert_eq!(reported(&[]), local);
        assert_eq!(
            reported(&["10.96.0.10", "169.254.169.253", "10.0.0.8"]),
            local,
            "servers elsewhere are none"
        );
        assert_eq!(reported(&["10.96.0.53"]), local, "a service's address is on every node");
        assert_eq!(
            reported(&["fd00::7", "10.0.0.7"]),
            ["10.0.0.7", "10.96.0.10", "169.254.20.10", "fd00::7"]
        );
        assert!(found(&servers(&["10.0.0.53"]), &links[..1]).is_empty());
        // One that goes while programs are still configured to ask it is missed until it comes back, or they are
        // configured otherwise.
        let asked = servers(&["169.254.20.10"]);
        let there = next(&Caches::default(), &asked, &links);
        assert_eq!((there.found.len(), there.degraded().count()), (2, 0));
        let away = next(&there, &asked, &links[..1]);
        assert_eq!((away.found.len(), away.gone.as_slice()), (0, asked.as_slice()));
        assert!(away.degraded().next().unwrap().starts_with("DNS cache 169.254.20.10 is gone"));
        assert_eq!(next(&away, &asked, &links[..1]), away);
        assert_eq!(next(&away, &asked, &links), there);
        assert_eq!(next(&away, &servers(&["10.0.0.53"]), &links[..1]), Caches::default());
    }
}
