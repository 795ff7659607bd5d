use super::{digest, iptables, nftables};
use crate::fault::{Family, Fault};
use crate::service::{Service, under};
use crate::spec::{LabSpec, Proxy};
use crate::topology::Topology;

fn topology() -> Topology {
    let spec = LabSpec { proxy: Proxy::KubeProxyIptables, all_services: true, ..LabSpec::default() };
    Topology::new(&spec)
}

fn services(faults: &[&str]) -> (Topology, Vec<Service>) {
    let topology = topology();
    let faults: Vec<Fault> = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    let services = under(&topology, &faults);
    (topology, services)
}

/// The rules of a node under faults.
fn iptables(node: &str, faults: &[&str]) -> String {
    let (topology, services) = services(faults);
    iptables::ruleset(topology.node(node).unwrap(), &services, Family::V4)
}

/// The lines with all of these words.
fn lines<'a>(rules: &'a str, words: &[&str]) -> Vec<&'a str> {
    rules.lines().filter(|line| words.iter().all(|word| line.contains(word))).collect()
}

#[test]
fn a_cluster_address_leads_to_each_backend_with_the_same_chance() {
    let rules = iptables("n1", &[]);
    let entry = lines(&rules, &["-A KUBE-SERVICES -d 10.96.0.20 ", "cluster IP"]);
    assert_eq!(entry.len(), 1);
    let chain = entry[0].rsplit(' ').next().unwrap();
    assert!(chain.starts_with("KUBE-SVC-") && chain.len() == 25, "{chain}");
    let of_chain = lines(&rules, &[&format!("-A {chain} ")]);
    assert_eq!(of_chain.len(), 4, "a mark for who is no pod, and three backends");
    assert!(of_chain[0].ends_with("-j KUBE-MARK-MASQ") && of_chain[0].contains("! -s 10.244.0.0/16"));
    assert!(of_chain[1].contains("--probability 0.3333333333 ") && of_chain[2].contains("0.5000000000 "));
    assert!(!of_chain[3].contains("statistic"));
    let backend = of_chain[3].rsplit(' ').next().unwrap();
    let of_backend = lines(&rules, &[&format!("-A {backend} ")]);
    assert!(of_backend[0].contains("-s 10.244.3.11 ") && of_backend[0].ends_with("-j KUBE-MARK-MASQ"));
    assert!(of_backend[1].ends_with("-m tcp -j DNAT --to-destination 10.244.3.11:8080"));
    assert_eq!(lines(&rules, &["-A KUBE-POSTROUTING", "MASQUERADE --random-fully"]).len(), 1);
}

#[test]
fn every_chain_that_is_jumped_to_is_declared_in_its_table() {
    for faults in
        [&[][..], &["no-endpoints service=shop"], &["backend-dead pod=web-n2", "pod-gone pod=web-n1"]]
    {
        for node in ["n1", "n4"] {
            for table in iptables(node, faults).split("COMMIT\n") {
                let declared = |chain: &str| lines(table, &[&format!(":{chain} ")]).len() == 1;
                for rule in lines(table, &["-A "]) {
                    let target = rule.split("-j ").nth(1).unwrap().split(' ').next().unwrap();
                    let built_in = ["ACCEPT", "DROP", "REJECT", "RETURN", "MARK", "MASQUERADE", "DNAT"];
                    assert!(built_in.contains(&target) || declared(target), "{node} {faults:?}: {rule}");
                }
            }
        }
    }
}

#[test]
fn without_backends_it_is_refused_and_without_backends_here_dropped() {
    let rules = iptables("n1", &["no-endpoints service=web"]);
    assert_eq!(lines(&rules, &["default/web:http has no endpoints", "-j REJECT"]).len(), 1);
    assert_eq!(lines(&rules, &["default/web:http cluster IP"]).len(), 0);
    // n4 has no `web` pod.
    let rules = iptables("n4", &[]);
    assert_eq!(lines(&rules, &["default/local:http has no local endpoints", "-j DROP"]).len(), 3);
    assert_eq!(lines(&rules, &["default/local:http cluster IP"]).len(), 0);
    assert_eq!(lines(&rules, &["pod traffic for default/local:http"]).len(), 1);
    assert_eq!(lines(&rules, &["KUBE-SVL-"]).len(), 0);
    let here = iptables("n1", &[]);
    assert_eq!(lines(&here, &["default/local:http cluster IP", "-j KUBE-SVL-"]).len(), 1);
}

#[test]
fn node_ports_and_whole_services_may_be_missing() {
    let rules = iptables("n2", &["no-node-port node=n2 service=shop"]);
    assert_eq!(lines(&rules, &["--dport 30080"]).len(), 0);
    assert!(!lines(&rules, &["default/shop:http cluster IP"]).is_empty());
    let rules = iptables("n2", &["no-translation node=n2 service=web"]);
    assert_eq!(lines(&rules, &["default/web:http"]).len(), 0);
    assert!(
        !lines(&iptables("n1", &["no-translation node=n2 service=web"]), &["default/web:http"]).is_empty()
    );
}

#[test]
fn a_client_stays_with_its_backend_where_that_is_asked_for() {
    let rules = iptables("n1", &[]);
    let sticky = lines(&rules, &["default/sticky:http", "-m recent"]);
    assert_eq!(sticky.iter().filter(|rule| rule.contains("--rcheck --seconds 10800 --reap")).count(), 3);
    assert_eq!(sticky.iter().filter(|rule| rule.contains("--set")).count(), 3);
    let (topology, services) = services(&[]);
    let rules = nftables::ruleset(topology.node("n1").unwrap(), &services);
    assert_eq!(lines(&rules, &["update @affinity-", "ip saddr"]).len(), 3);
    assert_eq!(lines(&rules, &["ip6 saddr @affinity-", "goto endpoint-"]).len(), 3);
}

#[test]
fn nftables_maps_lead_to_chains_that_are_there() {
    for faults in [&[][..], &["no-endpoints service=shop"], &["no-node-port node=n4 service=local"]] {
        let (topology, services) = services(faults);
        for node in &topology.nodes {
            let rules = nftables::ruleset(node, &services);
            let tables: Vec<&str> = rules.split("\ndelete table ").collect();
            for table in &tables {
                let targets = table.split("goto ").skip(1).map(|rest| rest.split([' ', ',', '\n']).next());
                for target in targets.flatten() {
                    assert_eq!(lines(table, &[&format!("  chain {target} {{")]).len(), 1, "{target}");
                }
            }
        }
    }
}

#[test]
fn names_of_chains_differ_and_have_their_length() {
    let names: std::collections::BTreeSet<String> = (0..500).map(|i| digest(&format!("web:{i}"))).collect();
    assert_eq!(names.len(), 500);
    assert!(names.iter().all(|name| name.len() == 16));
}
