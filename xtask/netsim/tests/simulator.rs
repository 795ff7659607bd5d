//! Properties of the simulator and of its judge.

use netcheck_causes::{Cause, Component, Extent, Heading, Pattern};
use netcheck_netsim::judge::truth_as_answer;
use netcheck_netsim::observe::{lossy, way_of};
use netcheck_netsim::rng::Rng;
use netcheck_netsim::{Case, Verdict, judge, permute};

const SEEDS: std::ops::Range<u64> = 1..60;

/// Lost probes crossed what lost them, and a fault that passes none lost all that crossed it.
#[test]
fn lost_probes_crossed_a_fault() {
    for seed in SEEDS {
        let case = Case::draw(seed, 1);
        let fault = &case.truth[0];
        let named = (fault.component, fault.heading, fault.pattern);
        let whole = !fault.pattern.partial && !fault.pattern.by_port && fault.before == 0.0;
        for (flow, lost) in case.flows.iter().zip(&case.lost) {
            let way = way_of(&case.topology, flow);
            let crosses = lossy(&case.topology, named, flow, &way).next().is_some();
            let sum: u32 = lost.iter().map(|lost| lost.probes).sum();
            assert!(sum == 0 || crosses, "seed {seed}: {flow:?} lost {sum} and does not cross {fault:?}");
            assert!(!whole || !crosses || sum == flow.probes, "seed {seed}: {flow:?} crosses {fault:?}");
        }
    }
}

/// Without a fault groups have a stray loss at the most.
#[test]
fn healthy_clusters_lose_a_stray_probe_at_most() {
    for seed in SEEDS {
        let case = Case::draw(seed, 0);
        assert!(case.truth.is_empty());
        assert!(
            case.groups.iter().all(|group| group.lost <= 1 && group.answered > group.lost),
            "seed {seed}"
        );
    }
}

/// The same seed is the same case, another is not.
#[test]
fn a_seed_decides() {
    let shown = |seed| format!("{:?}", Case::draw(seed, 2));
    assert_eq!(shown(7), shown(7));
    assert_ne!(shown(7), shown(8));
}

/// No group reports more probes than it lost.
#[test]
fn groups_report_no_more_than_was_lost() {
    for seed in SEEDS {
        for group in Case::draw(seed, 2).groups {
            let reported: u32 = group.losses.iter().map(|loss| loss.probes).sum();
            assert!(reported <= group.lost, "seed {seed}: {group:?}");
        }
    }
}

#[test]
fn the_truth_is_exact() {
    for seed in SEEDS {
        for faults in 0..=3 {
            let case = Case::draw(seed, faults);
            let judgement = judge(&case, &truth_as_answer(&case));
            assert_eq!(judgement.verdict, Verdict::Exact, "seed {seed}, {faults} faults: {:?}", case.truth);
            assert_eq!(judgement.observed_and_false, 0, "seed {seed}");
        }
    }
}

/// Nothing is missed, something else is wrong, and something more is a superset.
#[test]
fn other_answers_are_not_exact() {
    for seed in SEEDS {
        let case = Case::draw(seed, 1);
        assert_eq!(judge(&case, &[]).verdict, Verdict::Missed, "seed {seed}");
        let truth = truth_as_answer(&case);
        let Some(other) = healthy_pod(&case) else { continue };
        let other = Cause { component: Component::PodLink(Extent::Pod(other)), ..whole(&truth[0]) };
        let judgement = judge(&case, std::slice::from_ref(&other));
        assert_eq!(judgement.verdict, Verdict::Wrong, "seed {seed}");
        assert_eq!(judgement.observed_and_false, 1, "seed {seed}");
        assert_eq!(judge(&case, &[truth[0].clone(), other]).verdict, Verdict::Superset, "seed {seed}");
    }
}

/// An alternative that is none makes an answer wrong.
#[test]
fn alternatives_must_be_equivalent() {
    let mut tried = 0;
    for seed in SEEDS {
        let case = Case::draw(seed, 1);
        let mut answer = truth_as_answer(&case);
        let Some(other) = healthy_pod(&case) else { continue };
        answer[0].pattern = Pattern::default();
        if case.truth[0].pattern != Pattern::default() {
            continue;
        }
        answer[0].alternatives = vec![(Component::PodLink(Extent::Pod(other)), Heading::Both)];
        assert_eq!(judge(&case, &answer).verdict, Verdict::Wrong, "seed {seed}");
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
}

/// A renumbered cluster has the same groups, and back again.
#[test]
fn renumbering_keeps_counts() {
    for seed in SEEDS {
        let case = Case::draw(seed, 1);
        let (topology, groups, _) = permute(&case.topology, &case.groups, &mut Rng::new(seed));
        let sums = |groups: &[netcheck_causes::Group]| {
            let mut sums: Vec<_> =
                groups.iter().map(|it| (it.class, it.answered, it.lost, it.losses.len())).collect();
            sums.sort_unstable();
            sums
        };
        assert_eq!(sums(&case.groups), sums(&groups), "seed {seed}");
        assert_eq!(topology.nodes.len(), case.topology.nodes.len());
        let names = |topology: &netcheck_causes::Topology| {
            let node = |pod: &netcheck_causes::Pod| {
                (pod.name.to_string(), topology.nodes[pod.node as usize].name.to_string())
            };
            let mut names: Vec<_> = topology.pods.iter().map(node).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(&case.topology), names(&topology), "seed {seed}");
    }
}

fn whole(cause: &Cause) -> Cause {
    Cause { heading: Heading::Both, pattern: Pattern::default(), ..cause.clone() }
}

/// A pod whose link some probe crossed that came back.
fn healthy_pod(case: &Case) -> Option<u32> {
    let healthy = |pod: &u32| {
        let named = (Component::PodLink(Extent::Pod(*pod)), Heading::Both, Pattern::default());
        case.flows.iter().zip(&case.lost).any(|(flow, lost)| {
            lost.is_empty()
                && lossy(&case.topology, named, flow, &way_of(&case.topology, flow)).next().is_some()
        })
    };
    (0..u32::try_from(case.topology.pods.len()).ok()?).find(healthy)
}
