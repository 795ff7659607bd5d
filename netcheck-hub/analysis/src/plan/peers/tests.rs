use std::path::Path;

use proptest::prelude::*;

use super::leases::{Claim, LeaseError, Leases};
use super::*;
use crate::cluster::inventory;
use crate::cluster::selection::Selection;
use crate::plan::selector::Selector;
use crate::wire::peers::{PeerError, TEXT, read};
use netcheck_proto::v1;

/// The cluster of the catalog's tests, and a service with a cluster IP and a node port.
const CLUSTER: &str = include_str!("../catalog/tests/cluster.yaml");
const WEB: &str = "\
- kind: Service
  metadata: {name: web, namespace: shop}
  spec: {type: NodePort, selector: {app: web}, clusterIP: 10.96.0.80, ports: [{name: http, port: 80, nodePort: 30080}]}
- kind: EndpointSlice
  metadata: {name: web-4, namespace: shop, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  ports: [{name: http, port: 8080}]
  endpoints: [{addresses: [10.1.1.1], nodeName: n1, targetRef: {kind: Pod, name: web-1}}]
";

fn catalog() -> Catalog {
    let text = format!("{CLUSTER}{WEB}");
    let roster = inventory::parse(Path::new("test.yaml"), &text).unwrap().roster();
    Catalog::of(&roster, &Selection::everything(), &BTreeMap::new(), "a.b")
}

fn nodes(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// What another cluster is sent.
#[derive(Debug)]
struct Announced {
    targets: Vec<v1::PeerTarget>,
    left_out: Vec<String>,
}

fn announced(
    catalog: &Catalog,
    kinds: &[TargetKind],
    most: usize,
    answering: &BTreeSet<String>,
) -> Announced {
    let Own { targets, left_out } = own(catalog, kinds, most, answering);
    Announced { targets: targets.iter().map(OwnTarget::to_wire).collect(), left_out }
}

#[test]
fn what_one_cluster_announces_is_probed_by_another() {
    let catalog = catalog();
    let own_targets = announced(&catalog, &[], TARGETS_MAX, &nodes(&["n1", "n2", "n3"]));
    assert!(own_targets.targets.len() > 8, "{own_targets:?}");
    let probes = read("east", &own_targets.targets).unwrap();
    assert_eq!(probes.len(), own_targets.targets.iter().map(|target| target.probes.len()).sum::<usize>());
    let both = catalog.clone().with_peers(&[probes.into()]).grouped(&Catalog::default());
    let peers: Vec<&Probe> = both.probes.iter().filter(|probe| probe.target.peer.is_some()).collect();
    // Whatever it is there, here it is none of the cluster's nodes, pods or services, and an agent is asked to look.
    for probe in &peers {
        assert_eq!(probe.target.kind, TargetKind::Endpoint);
        assert!(probe.target.id.starts_with("peer/east/") && probe.target.node.is_empty());
        let path = crate::plan::PlannedPath {
            id: netcheck_common::domain::PathId(1),
            vantage: netcheck_common::domain::Vantage::Host,
            at: 0,
            probe: (*probe).clone(),
        };
        assert!(path.to_wire().external, "{}", probe.target.id);
    }
    let named = |id: &str| peers.iter().find(|probe| *probe.target.id == *id).unwrap().target.to_wire();
    let node = named("peer/east/node/n1");
    assert_eq!(
        (node.name.as_str(), node.peer.as_str(), node.peer_kind()),
        ("n1 of east", "east", v1::TargetKind::Node)
    );
    let service = named("peer/east/service/shop/web:80");
    assert_eq!(service.name, "service shop/web:80 of east");
    assert_eq!(service.service_address(), v1::ServiceAddress::ClusterIp);
    // They are called by their cluster, and nothing of this one is called so.
    let select = |target: &str| {
        let wire = v1::PathSelector { targets: vec![target.to_owned()], ..Default::default() };
        let selector = Selector::read(Some(wire)).unwrap();
        both.probes.iter().filter(|probe| selector.takes_probe(probe)).count()
    };
    assert_eq!(select("peer/east"), peers.len());
    assert_eq!(select("peer/west"), 0);
    // A hub does not hand on what it has of others.
    assert_eq!(announced(&both, &[], TARGETS_MAX, &nodes(&["n1", "n2", "n3"])).targets, own_targets.targets);
}

#[test]
fn who_does_not_answer_is_not_announced() {
    let own_targets = announced(&catalog(), &[TargetKind::Node], TARGETS_MAX, &nodes(&["n1"]));
    let kinds = |id: &str| {
        let target = own_targets.targets.iter().find(|target| target.id == id).unwrap();
        target.probes.iter().map(v1::PeerProbe::kind).collect::<BTreeSet<_>>()
    };
    let all = [v1::ProbeKind::Icmp, v1::ProbeKind::Udp, v1::ProbeKind::Tcp];
    assert_eq!(kinds("node/n1"), all.into());
    // No agent is known there: nobody would answer, and silence would look like loss.
    assert_eq!(kinds("node/n2"), [v1::ProbeKind::Icmp].into());
    assert!(own_targets.targets.iter().all(|target| target.kind() == v1::TargetKind::Node));
    // The last node is not ready.
    assert!(own_targets.targets.iter().all(|target| target.id != "node/n4"), "{:?}", own_targets.targets);
    for (word, node) in [("ICMP alone", "n2"), ("nobody is there", "n4")] {
        assert!(
            own_targets.left_out.iter().any(|line| line.contains(word) && line.contains(node)),
            "{:?}",
            own_targets.left_out
        );
    }
}

fn target(id: &str) -> v1::PeerTarget {
    let probe = v1::PeerProbe {
        kind: v1::ProbeKind::Tcp.into(),
        address: vec![10, 0, 0, 1],
        port: 80,
        ..Default::default()
    };
    v1::PeerTarget {
        id: id.to_owned(),
        kind: v1::TargetKind::Node.into(),
        name: id.to_owned(),
        probes: vec![probe],
        ..Default::default()
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let with = |change: &dyn Fn(&mut v1::PeerTarget)| {
        let mut wire = target("node/n1");
        change(&mut wire);
        read("east", &[wire])
    };
    assert!(with(&|_| {}).is_ok());
    let cases: [&dyn Fn(&mut v1::PeerTarget); 10] = [
        &|wire| wire.id.clear(),
        &|wire| wire.id = "a b".to_owned(),
        &|wire| wire.name = "x".repeat(TEXT + 1),
        &|wire| wire.kind = 77,
        &|wire| wire.probes.clear(),
        &|wire| wire.probes[0].port = 0,
        &|wire| wire.probes[0].port = 70_000,
        &|wire| wire.probes[0].address = vec![1, 2, 3],
        &|wire| wire.probes[0].kind = v1::ProbeKind::Http.into(),
        &|wire| wire.probes = vec![wire.probes[0].clone(); PROBES_MAX + 1],
    ];
    for (at, case) in cases.iter().enumerate() {
        assert!(with(case).is_err(), "case {at}");
    }
    assert!(matches!(read("east", &[]), Err(PeerError::None)));
    assert!(matches!(read("a/b", &[target("x")]), Err(PeerError::Field(_))));
    assert!(matches!(read("east", &[target("x"), target("x")]), Err(PeerError::Twice { .. })));
    let many: Vec<v1::PeerTarget> =
        (0..=TARGETS_MAX).map(|number| target(&format!("node/{number}"))).collect();
    assert!(matches!(read("east", &many), Err(PeerError::TooMany(_))));
    // A look-up would go wherever the name leads, and a request is one line.
    for (path, host, resolve) in
        [("/", "a", "evil"), ("x", "a", ""), ("/", "a b", ""), ("/a\r\nb", "a", ""), ("/", "", "")]
    {
        let http = v1::HttpRequest {
            path: path.into(),
            host: host.into(),
            resolve: resolve.into(),
            ..Default::default()
        };
        let refused = with(&|wire| {
            wire.probes[0].kind = v1::ProbeKind::Http.into();
            wire.probes[0].http = Some(http.clone());
        });
        assert!(refused.is_err(), "{http:?}");
    }
}

proptest! {
    #[test]
    fn a_sample_is_as_large_as_it_may_be_and_fair(sizes in proptest::collection::vec(0usize..500, 0..8), most in 0usize..1500) {
        let quotas = quotas(&sizes, most);
        let total: usize = sizes.iter().sum();
        let given: usize = quotas.iter().sum();
        prop_assert_eq!(given, total.min(most));
        for (size, quota) in sizes.iter().zip(&quotas) {
            prop_assert!(quota <= size);
            // Nobody is left out for others who have more than their share.
            prop_assert!(quota == size || *quota >= most / sizes.len());
        }
    }

    #[test]
    fn samples_say_what_is_missing_and_keep_each_sort(most in 1usize..40) {
        let catalog = catalog();
        let all = announced(&catalog, &[], TARGETS_MAX, &nodes(&["n1", "n2", "n3"]));
        let some = announced(&catalog, &[], most, &nodes(&["n1", "n2", "n3"]));
        prop_assert_eq!(some.targets.len(), all.targets.len().min(most));
        prop_assert!(some.targets.iter().all(|target| all.targets.contains(target)));
        let said = some.left_out.iter().any(|line| line.contains("picked evenly"));
        prop_assert_eq!(said, most < all.targets.len());
    }

    /// Against a list of who holds what until when.
    #[test]
    fn leases_end_by_themselves(steps in proptest::collection::vec((0u8..5, 0usize..12, 0usize..3, 1i64..50, 1usize..1200), 1..60)) {
        let mut leases = Leases::default();
        let mut model: BTreeMap<String, (String, i64, usize)> = BTreeMap::new();
        let mut now_ns = 0;
        for (what, cluster, holder, span, count) in steps {
            let (cluster, holder) = (format!("c{cluster}"), format!("h{holder}"));
            let claim = Claim { cluster: &cluster, holder: &holder, until_ns: now_ns + span };
            model.retain(|_, (_, until_ns, _)| *until_ns > now_ns);
            let own = model.get(&cluster).is_some_and(|(held_by, ..)| *held_by == holder);
            match what {
                0 | 1 => {
                    let wire: Vec<v1::PeerTarget> = (0..count).map(|number| target(&format!("node/{number}"))).collect();
                    let begun = leases.begin(claim, read(&cluster, &wire).unwrap(), now_ns);
                    let others = || model.iter().filter(|(other, _)| **other != cluster);
                    let held: usize = others().map(|(_, (_, _, targets))| targets).sum();
                    let fits = held + count <= TARGETS_MAX && others().count() < 8;
                    prop_assert_eq!(begun.is_ok(), fits);
                    if fits {
                        model.insert(cluster, (holder, now_ns + span, count));
                    }
                }
                2 => {
                    let renewed = leases.renew(claim, now_ns);
                    prop_assert_eq!(renewed.is_ok(), own);
                    let lost = matches!(renewed, Err(LeaseError::Lost { .. }));
                    prop_assert!(own || lost);
                    if own {
                        model.get_mut(&cluster).unwrap().1 = now_ns + span;
                    }
                }
                3 => {
                    leases.expire(now_ns);
                    prop_assert_eq!(leases.end(&cluster, &holder), own);
                    if own {
                        model.remove(&cluster);
                    }
                }
                _ => now_ns += span,
            }
            leases.expire(now_ns);
            model.retain(|_, (_, until_ns, _)| *until_ns > now_ns);
            let held: BTreeMap<String, usize> = leases.all().map(|(cluster, targets, _)| (cluster.to_owned(), targets)).collect();
            let expected: BTreeMap<String, usize> = model.iter().map(|(cluster, (_, _, targets))| (cluster.clone(), *targets)).collect();
            prop_assert_eq!(held, expected);
        }
        now_ns += 50;
        leases.expire(now_ns);
        prop_assert_eq!(leases.probes().len(), 0);
    }
}
