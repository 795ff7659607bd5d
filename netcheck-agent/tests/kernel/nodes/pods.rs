//! A node with a bridge and two pods on it.

use std::net::IpAddr;

use netcheck_agent::model::observation::KnownAddress;

use super::{Bare, How, Node, Scope, netns_inode};

/// A node, and the pods `default/p1` and `default/p2`.
pub(crate) struct Pods {
    pub(crate) node: Node,
    /// Addresses of the pods.
    pub(crate) addresses: [IpAddr; 2],
    /// Their namespaces, gone with this.
    pub(crate) pods: [Bare; 2],
}

impl Pods {
    /// Builds them. The host's ends of the pods' links are `p1` and `p2`, the bridge is `cni0`.
    pub(crate) fn new(session: u64) -> Self {
        Self::built(session, None)
    }

    /// The same, with another scope than the node and both pods by name.
    pub(crate) fn with_scope(session: u64, scope: Scope) -> Self {
        Self::built(session, Some(scope))
    }

    fn built(session: u64, scope: Option<Scope>) -> Self {
        let (node, pods) = (Bare::new(), [Bare::new(), Bare::new()]);
        node.ip("link add cni0 type bridge");
        node.ip("addr add 10.78.0.1/24 dev cni0");
        node.ip("link set cni0 up");
        let mut addresses = [IpAddr::from([10, 78, 0, 11]); 2];
        for ((index, pod), address) in pods.iter().enumerate().zip(&mut addresses) {
            let number = index + 1;
            *address = IpAddr::from([10, 78, 0, 10 + number as u8]);
            let peer = pod.run(|| rustix::thread::gettid().as_raw_nonzero().get());
            node.ip(&format!("link add p{number} type veth peer name eth0 netns {peer}"));
            node.ip(&format!("link set p{number} master cni0 up"));
            pod.ip(&format!("addr add {address}/24 dev eth0"));
            pod.ip("link set eth0 up");
        }
        let listed = || Scope::Listed([netns_inode(&pods[0]), netns_inode(&pods[1])]);
        let how = How { scope: scope.unwrap_or_else(listed), ..How::default() };
        let mut node = Node::new(node, 1, session, how);
        node.v4 = IpAddr::from([10, 78, 0, 1]);
        let known = |address, pod: Option<&str>| KnownAddress {
            address,
            pod: pod.map(Into::into),
            local: true,
            network: None,
        };
        node.kernel.set_addresses(
            &[
                known(node.v4, None),
                known(addresses[0], Some("default/p1")),
                known(addresses[1], Some("default/p2")),
            ],
            &[],
        );
        Self { node, addresses, pods }
    }
}
