use std::collections::BTreeSet;
use std::net::IpAddr;

use netcheck_common::domain::{Family, ProbeKind};
use netcheck_proto::{convert, v1};
use proptest::prelude::*;

use super::*;
use crate::model::target::TargetKind;
use crate::plan::pod_source::PodSource;
use crate::plan::{Probe, Sources, Target};

/// A target: what it is, its address, who probes it, and with which kinds.
type Made = (u8, u8, BTreeSet<u8>, BTreeSet<u8>);

fn made() -> impl Strategy<Value = Made> {
    (0u8..4, 0u8..40, prop::collection::btree_set(0u8..3, 0..3), prop::collection::btree_set(0u8..3, 1..4))
}

fn probes(number: usize, (kind, address, sources, kinds): &Made) -> Vec<Probe> {
    let (kind, name) = match kind {
        0 => (TargetKind::Node, format!("n{number}")),
        1 => (TargetKind::Pod, format!("p{number}")),
        _ => (TargetKind::Service, format!("s{number}")),
    };
    let address: IpAddr = match address % 2 {
        0 => [10, 0, 0, *address].into(),
        _ => [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(*address)].into(),
    };
    let target = Arc::new(Target {
        id: format!("{}/{name}", if kind == TargetKind::Node { "node" } else { "other" }).into(),
        kind,
        node: name.clone(),
        name,
        zone: format!("z{}", number % 2),
        addresses: vec![address],
        ..Target::default()
    });
    // Nodes and pods are everybody's.
    let node_specific = kind == TargetKind::Service && !sources.is_empty();
    let probe = |number: &u8| Probe {
        target: Arc::clone(&target),
        kind: ProbeKind::ALL[usize::from(*number)],
        address,
        port: 0,
        question: None,
        sources: if node_specific {
            sources.iter().map(|at| format!("n{at}")).collect()
        } else {
            Sources::All
        },
        exchange: None,
    };
    kinds.iter().map(probe).collect()
}

proptest! {
    /// What is counted by profiles is what looking at every probe finds.
    #[test]
    fn a_share_is_what_the_node_wants(
        targets in prop::collection::vec(made(), 1..60),
        v6: bool,
        pod in prop::option::of((0u8..40, prop::collection::btree_set((0usize..3, any::<bool>()), 0..6))),
        most in 4usize..80,
    ) {
        let probes = targets.iter().enumerate().flat_map(|(number, made)| probes(number, made)).collect();
        let mut catalog = Catalog { probes, ..Catalog::default() };
        catalog.sort();
        let catalog = catalog.grouped(&Catalog::default());
        let pod = pod.and_then(|(address, can)| {
            let can = can.iter().map(|&(kind, v6)| v1::VantageKind {
                kind: convert::kind_to_wire(ProbeKind::ALL[kind]).into(),
                ip_version: if v6 { 6 } else { 4 },
            });
            let reported = v1::PodVantage {
                addresses: vec![vec![10, 0, 0, address]],
                can: can.collect(),
                ..Default::default()
            };
            PodSource::read(&reported)
        });
        let mut addresses: Vec<IpAddr> = vec![[10, 0, 0, 200].into()];
        let mut families = vec![Family::V4];
        if v6 {
            addresses.push([0xfd00, 0, 0, 0, 0, 0, 0, 200].into());
            families.push(Family::V6);
        }
        let rotation = Rotation { paths_per_node: most, ..Rotation::default() };
        let prober = Prober::new(&catalog, "n0".into(), &addresses, pod.clone());
        let share = NodeAssignment::of(prober, &catalog, &rotation);

        let expected = catalog.of_node_and_pod("n0", &families, pod.as_ref());
        prop_assert_eq!(share.paths, expected.len() as u64);
        for group in 0..catalog.groups.len() {
            let places = catalog.groups.places(group);
            let size = expected.iter().filter(|path| places.contains(&path.at)).count();
            prop_assert_eq!(share.size(group), size);
            prop_assert!(places.clone().all(|at| catalog.groups.holding(at) == group));
            let target = &catalog.probes[places.start as usize].target.id;
            prop_assert_eq!(catalog.groups.find(&catalog.probes, target), Some(group));
        }
        let order = Order::of("n0");
        let walked: BTreeSet<u32> = share.walk(&catalog.groups, &order, 7).map(|(_, group)| group).collect();
        let all: Vec<u32> = walked.into_iter().collect();
        let wanted: Vec<_> = share.wanted(&catalog, &all).iter().map(|path| (path.vantage, path.at)).collect();
        let expected: Vec<_> = expected.iter().map(|path| (path.vantage, path.at)).collect();
        prop_assert_eq!(&wanted, &expected);

        prop_assert_eq!(share.parts.is_none(), expected.len() <= most);
        // Cut anywhere, it is never more turns than announced.
        if let Some(parts) = &share.parts {
            let mut turns = None;
            let mut seen = BTreeSet::new();
            for _ in 0..parts.turns {
                let now_ns = turns.map_or(0, |turns: crate::plan::rotation::RotationSlot| turns.ends_ns);
                let choice = rotation.choose(&share, &catalog, turns.as_ref(), std::iter::empty(), now_ns);
                turns = choice.turns;
                seen.extend(choice.picks);
            }
            prop_assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
        }
    }
}
