//! What the hub knows of the cluster by its agents, beside what the inventory has.

use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_proto::v1;
use netcheck_proto::v1::session_request::Message as FromAgent;

use crate::rig::{CLUSTER, Rig, healthy, is, set_roster};

#[tokio::test]
async fn of_a_node_that_runs_no_agent_nothing_is_expected_until_one_connects() {
    let rig = Rig::start();
    let labels = "{topology.kubernetes.io/zone: zone-a}";
    let windows = "{topology.kubernetes.io/zone: zone-a, kubernetes.io/os: windows}";
    let (first, second) = CLUSTER.split_once("    name: n2\n").unwrap();
    set_roster(&rig.hub, &format!("{first}    name: n2\n{}", second.replacen(labels, windows, 1)));
    let mut agent = rig.agent("n1").await;
    for kind in [ProbeKind::Icmp, ProbeKind::Udp, ProbeKind::Tcp] {
        assert!(!agent.paths("node/n2", kind).is_empty(), "it is probed: it may answer");
    }
    let batch = agent.windows(9, |_| Outcome::Timeout);
    agent.batch(batch).await;
    rig.cells("n1", "n2", is(v1::Verdict::ExpectedAbsent)).await;
    let missing = |line: &String| line.contains("no agent connected on");
    assert!(
        rig.hub.lock().caveats().iter().filter(|line| missing(line)).all(|line| !line.contains("n2")),
        "nobody misses it"
    );
    assert!(rig.hub.nodes()[1].expected_absent.contains("it runs windows"));

    let _other = rig.agent("n2").await;
    rig.until("it can run one", |state| state.roster.node_absent("n2").is_none()).await;
    let batch = agent.windows(9, |_| Outcome::Timeout);
    agent.batch(batch).await;
    rig.cells("n1", "n2", is(v1::Verdict::Unreachable)).await;
    // A roster made anew knows it as well.
    set_roster(&rig.hub, &format!("{first}    name: n2\n{}", second.replacen(labels, windows, 1)));
    assert_eq!(rig.hub.lock().roster.node_absent("n2"), None);
}

#[tokio::test]
async fn dns_is_found_and_asked_as_pods_are_configured() {
    let own = CLUSTER.replace("name: kube-dns, namespace: kube-system, labels: {k8s-app: kube-dns}", "NAME");
    assert_ne!(own, CLUSTER);
    let own = own.replace("NAME", "name: kube-dns, namespace: kube-system, labels: {a: b}");
    let second = "- {kind: Service, apiVersion: v1, metadata: {name: dns, namespace: infra}, spec: {clusterIP: 10.96.0.53, \
                  ports: [{port: 53, protocol: UDP}], selector: {a: b}}}\n";
    let rig = Rig::start();
    set_roster(&rig.hub, &format!("{own}{second}"));
    let mut agent = rig.agent("n1").await;
    let asked = |agent: &crate::rig::FakeAgent| {
        let dns = agent.plan.values().filter(|spec| spec.kind() == v1::ProbeKind::Dns);
        let mut asked: Vec<(String, String)> =
            dns.map(|spec| (spec.target.clone(), spec.dns_name.clone())).collect();
        asked.sort();
        asked.dedup();
        asked
    };
    let before = asked(&agent);
    assert!(before.iter().any(|(target, _)| target == "dns/kube-system/kube-dns"), "{before:?}");
    assert!(before.iter().all(|(target, name)| {
        name == "kubernetes.default.svc.cluster.local." && !target.contains("infra")
    }));

    let vantage = v1::PodVantage {
        pod: "default/web-1".to_owned(),
        addresses: vec![vec![10, 244, 1, 2]],
        name_servers: vec![vec![10, 96, 0, 53]],
        search_domains: ["netcheck.svc.corp.example", "svc.corp.example", "corp.example"]
            .map(str::to_owned)
            .to_vec(),
        ..Default::default()
    };
    agent.send(FromAgent::Status(v1::AgentStatus { vantage: Some(vantage), ..healthy() })).await;
    agent.until_plan(|plan| plan.upsert.iter().any(|spec| spec.kind() == v1::ProbeKind::Dns)).await;
    assert_eq!(
        asked(&agent),
        [("dns/infra/dns".to_owned(), "kubernetes.default.svc.corp.example.".to_owned())],
        "nobody else knows the cluster's names"
    );
}
