use std::collections::{BTreeMap, BTreeSet};

use netcheck_proto::v1;
use proptest::prelude::*;
use serde_json::json;

use super::addresses::tests::{Table, applied};
use super::pod_source::PodSource;
use super::*;
use crate::cluster::roster::{Objects, Roster};
use crate::cluster::selection::Selection;
use crate::model::target::TargetKind;

/// Which nodes there are, and how many pods each has.
type Shape = BTreeMap<u8, u8>;

fn roster(shape: &Shape) -> Roster {
    let mut objects = Objects::default();
    for (&node, &pods) in shape {
        let object = json!({
            "metadata": {"name": format!("n{node}")},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": format!("10.0.0.{node}")},
                    {"type": "InternalIP", "address": format!("fd00::{node}")},
                ],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        objects.nodes.push(serde_json::from_value(object).unwrap());
        for pod in 1..=pods {
            let object = json!({
                "metadata": {"name": format!("p{node}-{pod}"), "namespace": "default"},
                "spec": {"nodeName": format!("n{node}"), "containers": []},
                "status": {
                    "phase": "Running",
                    "podIPs": [{"ip": format!("10.1.{node}.{pod}")}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            });
            objects.pods.push(serde_json::from_value(object).unwrap());
        }
    }
    objects.roster()
}

fn timing() -> Timing {
    Timing::every(Duration::from_secs(1))
}

/// An agent, as far as plans go.
#[derive(Default)]
struct AgentPlan {
    version: u64,
    paths: BTreeMap<u32, v1::PathSpec>,
    addresses: Table,
    watched_ports: Vec<u32>,
}

impl AgentPlan {
    fn apply(&mut self, delta: v1::PlanDelta) {
        if delta.base_version == 0 {
            *self = Self::default();
        }
        assert_eq!(delta.base_version, self.version);
        for id in delta.remove {
            assert!(self.paths.remove(&id).is_some());
        }
        for path in delta.upsert {
            assert!(self.paths.insert(path.path_id, path).is_none());
        }
        if let Some(table) = delta.addresses {
            self.watched_ports.clone_from(&table.watched_ports);
            applied(&mut self.addresses, table);
        }
        self.version = delta.version;
    }
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn shape() -> impl Strategy<Value = Shape> {
    prop::collection::btree_map(1u8..6, 0u8..4, 1..5)
}

proptest! {
    #[test]
    fn deltas_lead_to_the_full_plan_and_ids_stay(shapes in prop::collection::vec(shape(), 1..6)) {
        let mut book = PathIdAllocator::default();
        let (mut reported, mut older) = (AgentPlan::default(), Catalog::default());
        let mut last: Option<Arc<Plan>> = None;
        let mut given: BTreeMap<u32, Identity> = BTreeMap::new();
        let mut retired: BTreeMap<PathId, Arc<PlannedPath>> = BTreeMap::new();
        for shape in shapes {
            let catalog = Catalog::of(&roster(&shape), &Selection::everything(), &BTreeMap::new(), "a.b").grouped(&older);
            let before = Arc::clone(book.plan());
            let Some(plan) = book.update(
                "n1",
                &catalog.of_node("n1", &FAMILIES),
                &catalog,
                &retired.values().cloned().collect::<Vec<_>>(),
            ) else {
                prop_assert_eq!(before.version, book.plan().version);
                continue;
            };
            prop_assert!(plan.version > before.version);
            prop_assert!(plan.paths.is_sorted_by(|a, b| a.id < b.id));
            for path in &plan.paths {
                // No number ever means two things while it is known, nor comes back as something else.
                let identity = path.identity();
                prop_assert_eq!(given.entry(path.id.0).or_insert_with(|| identity.clone()), &identity);
                retired.remove(&path.id);
            }
            // Nor does a path that comes back get a second number.
            let identities: BTreeSet<&Identity> = given.values().collect();
            prop_assert_eq!(identities.len(), given.len());
            let gone = before.paths.iter().filter(|path| !plan.paths.iter().any(|other| other.id == path.id));
            retired.extend(gone.map(|path| (path.id, Arc::clone(path))));
            reported.apply(plan.delta(last.as_deref(), "n1", &timing()));
            let mut fresh = AgentPlan::default();
            fresh.apply(plan.delta(None, "n1", &timing()));
            prop_assert_eq!(&reported.paths, &fresh.paths);
            prop_assert_eq!(&reported.addresses, &fresh.addresses);
            prop_assert_eq!(&reported.watched_ports, &fresh.watched_ports);
            prop_assert_eq!(reported.version, fresh.version);
            last = Some(plan);
            older = catalog;
        }
    }

    #[test]
    fn the_same_roster_gives_the_same_ids(shape in shape()) {
        let catalog = Catalog::of(&roster(&shape), &Selection::everything(), &BTreeMap::new(), "a.b");
        let (mut one, mut other) = (PathIdAllocator::default(), PathIdAllocator::default());
        let wanted = catalog.of_node("n1", &FAMILIES);
        one.update("n1", &wanted, &catalog, &[]);
        other.update("n1", &wanted, &catalog, &[]);
        prop_assert_eq!(&one.plan().paths, &other.plan().paths);
    }

    #[test]
    fn a_seed_has_ids_begin_elsewhere_and_at_the_same_every_time(shape in shape(), seed in 1..u64::MAX) {
        let catalog = Catalog::of(&roster(&shape), &Selection::everything(), &BTreeMap::new(), "a.b");
        let wanted = catalog.of_node("n1", &FAMILIES);
        let first = |seed| {
            let mut book = PathIdAllocator::default().seeded(seed);
            book.update("n1", &wanted, &catalog, &[]);
            book.plan().paths.first().map(|path| path.id)
        };
        prop_assert_eq!(first(seed), first(seed));
        prop_assume!(!wanted.is_empty());
        let elsewhere = [seed, seed ^ 1, !seed].into_iter().filter(|&seed| seed != 0 && first(seed) != first(0));
        // Thirty bits: two seeds may meet, several don't.
        prop_assert!(elsewhere.count() > 0);
    }
}

#[test]
fn full_mesh_without_oneself_in_the_families_that_one_has() {
    let catalog = Catalog::of(
        &roster(&Shape::from([(1, 1), (2, 2)])),
        &Selection::everything(),
        &BTreeMap::new(),
        "a.b",
    );
    let probes = |families: &[Family]| -> Vec<String> {
        catalog
            .of_node("n1", families)
            .iter()
            .map(|path| path.probe)
            .map(|probe| format!("{} {} {}", probe.target.id, probe.kind, probe.address))
            .collect()
    };
    assert_eq!(
        probes(&[Family::V4]),
        [
            "node/n2 icmp 10.0.0.2",
            "node/n2 udp 10.0.0.2",
            "node/n2 tcp 10.0.0.2",
            "pod/default/p1-1 icmp 10.1.1.1",
            "pod/default/p2-1 icmp 10.1.2.1",
            "pod/default/p2-2 icmp 10.1.2.2",
        ]
    );
    assert_eq!(probes(&FAMILIES).len(), 9);
    assert_eq!(*catalog.watched_ports, [53, 6100]);
}

#[test]
fn a_responder_elsewhere_or_none_is_respected() {
    let responders = BTreeMap::from([("n2".to_owned(), 7000), ("n3".to_owned(), 0)]);
    let catalog = Catalog::of(
        &roster(&Shape::from([(1, 0), (2, 0), (3, 0)])),
        &Selection::everything(),
        &responders,
        "a.b",
    );
    let ports = |target: &str| -> Vec<u16> {
        catalog
            .of_node("n1", &[Family::V4])
            .iter()
            .map(|path| path.probe)
            .filter(|probe| probe.target.name == target)
            .map(|probe| probe.port)
            .collect()
    };
    assert_eq!(ports("n2"), [0, 7000, 7000]);
    assert_eq!(ports("n3"), [0]);
}

/// One service with these endpoints, in a cluster of two nodes; n2 is not ready.
fn with_service(selector: bool, endpoints: &[(&str, &str, bool)]) -> Catalog {
    let mut objects = Objects::default();
    for (node, ready) in [("n1", "True"), ("n2", "False")] {
        let object = json!({
            "metadata": {"name": node},
            "status": {
                "addresses": [{"type": "InternalIP", "address": format!("10.0.0.{}", &node[1..])}],
                "conditions": [{"type": "Ready", "status": ready}],
            },
        });
        objects.nodes.push(serde_json::from_value(object).unwrap());
    }
    let selector = if selector { json!({"app": "web"}) } else { json!(null) };
    let service = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}], "selector": selector},
    });
    objects.services.push(serde_json::from_value(service).unwrap());
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(address, node, ready)| {
            json!({
                "addresses": [address], "nodeName": node, "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "name": "web-1"},
            })
        })
        .collect();
    let slice = json!({
        "metadata": {"name": "web-x", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints,
    });
    objects.endpoint_slices.push(serde_json::from_value(slice).unwrap());
    Catalog::of(&objects.roster(), &Selection::everything(), &BTreeMap::new(), "a.b")
}

#[test]
fn a_service_that_nobody_is_behind_is_no_absent_node_and_one_that_nobody_is_meant_to_be_behind_is_not_probed()
{
    let of = |selector, endpoints: &[(&str, &str, bool)]| {
        let catalog = with_service(selector, endpoints);
        let target = catalog.targets().find(|target| target.kind == TargetKind::Service).cloned();
        target.map(|target| (target.unbacked.clone(), target.absent.clone()))
    };
    let nobody = Some("service default/web has no ready endpoints".to_owned());
    assert_eq!(of(true, &[]), Some((nobody.clone(), None)));
    assert_eq!(of(true, &[("10.1.1.1", "n1", false)]), Some((nobody.clone(), None)));
    assert_eq!(of(true, &[("10.1.1.1", "n1", false), ("10.1.2.1", "n2", false)]), Some((nobody, None)));
    assert_eq!(of(true, &[("10.1.1.1", "n1", true)]), Some((None, None)));
    assert_eq!(of(false, &[("10.1.1.1", "n1", true)]), Some((None, None)));
    assert_eq!(of(false, &[]), None);
    let (unbacked, absent) = of(true, &[("10.1.2.1", "n2", false)]).unwrap();
    assert!(unbacked.is_none() && absent.unwrap().contains("n2 is NotReady"));
}

#[test]
fn kernels_are_sent_endpoints_that_no_pod_has() {
    let catalog = with_service(true, &[("10.1.1.254", "n1", true)]);
    let of = catalog.addresses.iter().find(|of| of.address == IpAddr::from([10, 1, 1, 254])).unwrap();
    assert_eq!((of.node.as_str(), of.pod.as_deref()), ("n1", Some("default/web-1")));
}

/// The vantage that is pod p1-1 of n1.
fn vantage(kinds: &[v1::ProbeKind]) -> PodSource {
    let can = |&kind: &v1::ProbeKind| v1::VantageKind { kind: kind.into(), ip_version: 4 };
    let reported = v1::PodVantage {
        pod: "default/p1-1".into(),
        addresses: vec![vec![10, 1, 1, 1]],
        can: kinds.iter().map(can).collect(),
        responder_port: 6100,
        ..Default::default()
    };
    PodSource::read(&reported).unwrap()
}

fn aims(plan: &Plan, from: Vantage) -> BTreeSet<String> {
    let paths = plan.paths.iter().filter(|path| path.vantage == from);
    paths.map(|path| format!("{} {} {}", path.probe.target.id, path.probe.kind, path.probe.address)).collect()
}

#[test]
fn what_a_node_probes_its_pod_vantage_probes_too_but_for_itself() {
    let roster = roster(&Shape::from([(1, 2), (2, 1)]));
    let responders = BTreeMap::from(["10.1.1.1", "10.1.2.1"].map(|address| (address.parse().unwrap(), 6100)));
    let catalog =
        Catalog::of(&roster, &Selection::everything(), &BTreeMap::new(), "a.b").with_responders(&responders);
    let mut book = PathIdAllocator::default();
    let before = book.update("n1", &catalog.of_node_and_pod("n1", &FAMILIES, None), &catalog, &[]).unwrap();
    assert!(aims(&before, Vantage::Pod).is_empty());
    let from_host = aims(&before, Vantage::Host);
    assert!(from_host.contains("pod/default/p1-1 tcp 10.1.1.1"), "{from_host:?}");
    assert!(!from_host.contains("pod/default/p1-2 tcp 10.1.1.2"), "nobody is known to listen there");
    let able = vantage(&[v1::ProbeKind::Udp, v1::ProbeKind::Tcp, v1::ProbeKind::Icmp]);
    let after =
        book.update("n1", &catalog.of_node_and_pod("n1", &FAMILIES, Some(&able)), &catalog, &[]).unwrap();
    assert_eq!(aims(&after, Vantage::Host), from_host);
    let same = |path: &&Arc<PlannedPath>| before.paths.iter().any(|was| was.id == path.id);
    assert_eq!(after.paths.iter().filter(same).count(), before.paths.len(), "the host's keep their numbers");
    let from_pod = aims(&after, Vantage::Pod);
    for expected in ["node/n1 icmp 10.0.0.1", "node/n2 udp 10.0.0.2", "pod/default/p1-2 icmp 10.1.1.2"] {
        assert!(from_pod.contains(expected), "{expected}: {from_pod:?}");
    }
    let itself = |aim: &String| aim.contains("p1-1");
    assert!(!from_pod.iter().any(itself) && !from_pod.iter().any(|aim| aim.contains("fd00")), "{from_pod:?}");
    let without_icmp = vantage(&[v1::ProbeKind::Udp, v1::ProbeKind::Tcp]);
    let fewer = book
        .update("n1", &catalog.of_node_and_pod("n1", &FAMILIES, Some(&without_icmp)), &catalog, &[])
        .unwrap();
    assert!(!aims(&fewer, Vantage::Pod).iter().any(|aim| aim.contains("icmp")));
    assert_eq!(aims(&fewer, Vantage::Host), from_host);
}
