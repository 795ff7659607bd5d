//! Pods that are attached by the CNI plugins of the distribution, as a container runtime runs them (CNI specification
//! 1.0.0, section 2: parameters by environment, configuration by standard input).

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::netns;
use crate::topology::{Node, Pod, Topology, dual};

/// Folder of the plugins.
const PLUGINS: &str = "/usr/lib/cni";
/// The plugin that makes the bridge and the pod's veth pair.
pub(crate) const BRIDGE: &str = "/usr/lib/cni/bridge";
/// The plugin that hands out addresses.
pub(crate) const HOST_LOCAL: &str = "/usr/lib/cni/host-local";
/// The package that has them.
pub(crate) const PACKAGE: &str = "containernetworking-plugins";

/// Attaches a pod to its node's bridge, under the addresses of the plan. The plugin calls the node's end of the veth
/// pair something random; it gets the name of the plan, by which faults find it.
pub(crate) fn attach(topology: &Topology, node: &Node, pod: &Pod, state: &Path) -> Result<()> {
    let config = config(topology, node, pod, &state.join("cni").join(&node.name));
    let result = netns::enter(&node.netns, || {
        let mut plugin = Command::new(BRIDGE);
        plugin.env("CNI_COMMAND", "ADD").env("CNI_CONTAINERID", &pod.netns).env("CNI_IFNAME", "eth0");
        plugin.env("CNI_NETNS", netns::path(&pod.netns)).env("CNI_PATH", PLUGINS);
        netns::output(&mut plugin, &config.to_string())
    })?
    .with_context(|| format!("attaching pod {}", pod.name))?;
    let veth = host_end(&result).with_context(|| format!("the answer to attaching pod {}", pod.name))?;
    netns::ip(&node.netns, &[format!("link set {veth} name {}", pod.veth)])
}

/// As flannel delegates to `bridge`, with the addresses asked for.
fn config(topology: &Topology, node: &Node, pod: &Pod, data: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "cbr0",
        "type": "bridge",
        "bridge": "cni0",
        "mtu": topology.pod_mtu_bytes(),
        "isGateway": true,
        "isDefaultGateway": true,
        "hairpinMode": true,
        "ipMasq": false,
        "args": { "cni": { "ips": dual(pod.v4, pod.v6) } },
        "ipam": {
            "type": "host-local",
            "dataDir": data,
            "ranges": [[{ "subnet": node.pod_cidr_v4() }], [{ "subnet": node.pod_cidr_v6() }]],
        },
    })
}

/// The interface of the result that is neither the bridge nor in the pod.
fn host_end(result: &str) -> Result<String> {
    let result: Value = serde_json::from_str(result).context("reading it")?;
    let interfaces = result["interfaces"].as_array().context("it names no interfaces")?;
    let names = interfaces.iter().filter(|interface| interface["sandbox"].as_str().is_none_or(str::is_empty));
    let veth = names.filter_map(|interface| interface["name"].as_str()).find(|name| *name != "cni0");
    veth.map(str::to_owned).context("it names no veth of the node")
}

#[cfg(test)]
mod tests {
    use super::{config, host_end};
    use crate::spec::{LabSpec, Mode};
    use crate::topology::Topology;

    #[test]
    fn the_nodes_end_of_the_pair_is_found() {
        let result = r#"{ "interfaces": [ { "name": "cni0", "mac": "56:49:26:3f:1e:27" },
            { "name": "veth0761ac1c" }, { "name": "eth0", "sandbox": "/run/netns/p" } ] }"#;
        assert_eq!(host_end(result).unwrap(), "veth0761ac1c");
        assert!(host_end(r#"{ "interfaces": [ { "name": "cni0" } ] }"#).is_err());
        assert!(host_end("{}").is_err() && host_end("no").is_err());
    }

    #[test]
    fn plugins_are_asked_for_the_plans_addresses() {
        let topology = Topology::new(&LabSpec { mode: Mode::Vxlan, ..LabSpec::default() });
        let (node, pod) = (topology.node("n2").unwrap(), topology.pod("web-n2").unwrap());
        let config = config(&topology, node, pod, "/x".as_ref());
        assert_eq!(config["args"]["cni"]["ips"], serde_json::json!(["10.244.2.11", "fd00:10:244:2::11"]));
        assert_eq!((config["mtu"].as_u64(), &config["hairpinMode"]), (Some(1450), &true.into()));
    }
}
