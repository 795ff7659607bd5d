//! A cluster without IPv4: no namespace has an address of it, and no object names one.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use netcheck_netlab::{Lab, LabSpec, Mode};
use serde_json::Value;
use xtask::cluster::{Cell, Cluster, Settings};

use crate::{inject, is_bad, wait_cells};

fn is_v4(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<Ipv4Addr>().is_ok())
}

/// Whether an object of a list stands for an IPv4 address.
fn names_v4(value: &Value) -> bool {
    is_v4(value) || is_v4(&value["ip"]) || is_v4(&value["address"]) || value["addressType"] == "IPv4"
}

/// Takes all IPv4 addresses out of Kubernetes objects, as if there had never been any.
fn without_v4(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.retain(|item| !names_v4(item));
            items.iter_mut().for_each(without_v4);
        }
        Value::Object(fields) => {
            fields.values_mut().for_each(without_v4);
            for (one, all) in [("podIP", "podIPs"), ("hostIP", "hostIPs"), ("clusterIP", "clusterIPs")] {
                if fields.get(one).is_some_and(is_v4) {
                    let first = fields.get(all).map(|all| &all[0]).cloned().unwrap_or_default();
                    let first = if first["ip"].is_null() { first } else { first["ip"].clone() };
                    fields.insert(one.to_owned(), first);
                }
            }
        }
        _ => {}
    }
}

/// A lab that lost its IPv4, and the inventory that says so.
fn lab() -> (Lab, PathBuf) {
    let spec = LabSpec { mode: Mode::Routed, vantage: true, ..LabSpec::named("e2e-ipv6") };
    let lab = Lab::up(spec).unwrap();
    for namespace in lab.topology().namespaces() {
        let flush = "ip -4 route flush table main; ip -4 addr flush scope global";
        let output = lab.exec(&namespace, &["sh", "-c", flush]).unwrap();
        assert!(output.status.success(), "{namespace}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = std::fs::read_to_string(lab.inventory_path()).unwrap();
    let mut objects: Value = serde_json::from_str(&text).unwrap();
    without_v4(&mut objects);
    assert!(objects["items"].as_array().unwrap().len() > 10);
    let path = lab.log_path("inventory").with_extension("json");
    std::fs::write(&path, objects.to_string()).unwrap();
    (lab, path)
}

#[test]
fn a_cluster_without_ipv4_is_planned_measured_and_reported() {
    let (lab, inventory) = lab();
    let settings = Settings { inventory: Some(inventory), ipv6: true, ..Settings::default() };
    let cluster = Cluster::start(lab, settings).unwrap();
    let (report, _) = cluster.wait_healthy().unwrap();
    assert!(report.paths > 50, "{report:?}");
    let cells = cluster.cells().unwrap();
    assert!(cells.iter().all(|cell| cell.family == "ipv6"), "{cells:#?}");
    for kind in ["icmp", "udp", "tcp", "dns"] {
        for vantage in ["host", "pod"] {
            let found = cells.iter().any(|cell| cell.kind == kind && cell.vantage == vantage);
            assert!(found, "no {kind} from a {vantage}");
        }
    }
    // Probes by IPv4 that nobody can send would show here.
    let about_probes: Vec<_> = report.caveats.iter().filter(|line| !line.contains("history")).collect();
    assert!(about_probes.is_empty(), "{about_probes:?}");
    // A loss is located as in any other cluster. What n2 forwards is dropped; its agent's own session is not.
    let fault = inject(&cluster, "drop node=n2 hook=forward");
    wait_cells(&cluster, "what n2 drops is located", |cells| {
        let at_n2 = |cell: &Cell| cell.location.as_ref().is_some_and(|at| at.node == "n2");
        cells.iter().any(|cell| is_bad(cell) && at_n2(cell))
    });
    cluster.lab.heal(&fault).unwrap();
    cluster.wait_healthy().unwrap();
    cluster.stop().unwrap().down().unwrap();
}
