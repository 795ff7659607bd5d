use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netcheck_common::window::PathWindow;
use netcheck_proto::v1;
use serde_json::json;

use super::*;
use crate::state::Hub;
use crate::state::Settings;
use netcheck_analysis::cluster::roster::Objects;
use netcheck_analysis::matrix::Slot;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::plan::coverage::Coverage;
use netcheck_analysis::plan::rotation::Rotation;
use netcheck_analysis::plan::selector::Selector;

const NODES: usize = 60;
/// 59 others, by ICMP, UDP and TCP.
const PATHS: u64 = 59 * 3;

struct Rig {
    hub: Arc<Hub>,
    now_ns: i64,
}

fn settings() -> Settings {
    let second = Duration::from_secs(1);
    let rotation = Rotation { paths_per_node: 96, cover: second * 120, interval: second };
    Settings { rotation, ..Settings::every(second) }
}

impl Rig {
    /// Sixty nodes in three zones, of which each may probe 96 paths at a time.
    fn start() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let hub = Hub::new(settings);
        // Turns hang on the time of day: always the same one, after the hub's start.
        let rig = Self { now_ns: 2_000_000_000 * SECOND_NS, hub };
        rig.take_nodes(|_| true);
        rig
    }

    /// `ready` says which nodes are.
    fn take_nodes(&self, ready: impl Fn(usize) -> bool) {
        let mut objects = Objects::default();
        for node in 0..NODES {
            let object = json!({
                "metadata": {
                    "name": format!("n{node}"),
                    "labels": {"topology.kubernetes.io/zone": format!("z{}", node % 3)},
                },
                "status": {
                    "addresses": [{"type": "InternalIP", "address": format!("10.0.0.{}", node + 1)}],
                    "conditions": [{"type": "Ready", "status": if ready(node) { "True" } else { "False" }}],
                },
            });
            objects.nodes.push(serde_json::from_value(object).unwrap());
        }
        self.hub.set_roster(objects.roster(), self.now_ns);
    }

    /// A second in which n0's probes are answered, but for those to one node.
    fn second(&mut self, dead: &str) {
        let start_ns = self.now_ns;
        self.now_ns += SECOND_NS;
        let mut state = self.hub.lock();
        let at = state.find("n0").unwrap();
        for row in state.agent_mut(at).rows.iter_mut().filter(|row| row.retired_ns.is_none()) {
            let mut window = PathWindow::empty(row.path.id);
            if row.path.probe.target.name == dead {
                window.failed[0] = 1;
            } else {
                window.reply = 1;
            }
            row.ring.add(Slot::of(start_ns, SECOND_NS, window));
        }
        drop(state);
        self.hub.tick(self.now_ns);
    }

    fn planned(&self) -> HashSet<String> {
        let state = self.hub.lock();
        let at = state.find("n0").unwrap();
        state.agent(at).plan.plan().paths.iter().map(|path| path.probe.target.name.clone()).collect()
    }

    fn report(&self) -> v1::Report {
        let range = Range::newest(Duration::from_secs(10), self.now_ns);
        self.hub.report(&range)
    }

    fn cells_of_n0(&self) -> Vec<v1::MatrixCell> {
        let selector =
            Selector::read(Some(v1::PathSelector { sources: vec!["n0".to_owned()], ..Default::default() }))
                .unwrap();
        self.hub.matrix(&selector, &Range::newest(Duration::from_secs(10), self.now_ns)).cells
    }
}

#[test]
fn a_limit_of_memory_makes_nodes_probe_fewer_paths_at_a_time_and_says_so() {
    let enough = settings().memory_for(NODES as u64 * 96);
    let rig = Rig::with(Settings { memory_limit: Some(enough), ..settings() });
    let coverage = rig.report().coverage.unwrap();
    let all_at_once = coverage.at_once;
    assert_eq!(rig.hub.caveats().iter().filter(|line| line.contains("memory")).count(), 0);

    let less = settings().memory_for(NODES as u64 * 72);
    let mut rig = Rig::with(Settings { memory_limit: Some(less), ..settings() });
    let coverage = rig.report().coverage.unwrap();
    assert!(coverage.at_once <= NODES as u64 * 72 && coverage.at_once < all_at_once, "{}", coverage.at_once);
    assert_eq!(coverage.paths, NODES as u64 * PATHS, "all have their turn");
    let caveats = rig.hub.caveats();
    let line = caveats.iter().find(|line| line.contains("memory")).unwrap();
    let expected = format!(
        "72 paths at a time rather than 96, and rounds take longer; for 96 raise the limit \
                            (hub.resources.limits.memory, --memory-limit) to some {} MiB",
        enough.div_ceil(1 << 20)
    );
    assert!(line.ends_with(&expected), "{line}");
    (0..3).for_each(|_| rig.second("nobody"));
    assert!(rig.planned().len() <= 72 / 3);
}

#[test]
fn every_path_is_reported_once_and_all_are_covered_in_the_time_promised() {
    let mut rig = Rig::start();
    let coverage = rig.report().coverage.unwrap();
    assert_eq!((coverage.nodes as usize, coverage.paths), (NODES, NODES as u64 * PATHS));
    assert_eq!(coverage.at_once, coverage.covered, "nothing was measured yet but what is in turn");
    let promised = coverage.promised.unwrap().seconds;
    assert!(promised <= 120, "{promised}");
    for _ in 0..=promised {
        rig.second("nobody");
        let cells = rig.cells_of_n0();
        assert_eq!(cells.len() as u64, PATHS);
        let names: HashSet<_> = cells
            .iter()
            .map(|cell| {
                let path = cell.path.as_ref().unwrap();
                (path.target.as_ref().unwrap().id.clone(), path.kind)
            })
            .collect();
        assert_eq!(names.len() as u64, PATHS, "a path is shown twice");
    }
    let cells = rig.cells_of_n0();
    assert!(cells.iter().all(|cell| cell.verdict() == v1::Verdict::Reachable));
    let inactive: Vec<_> = cells.iter().filter(|cell| cell.inactive).collect();
    assert!(inactive.len() as u64 >= PATHS - 96 && inactive.iter().all(|cell| cell.measured_at.is_some()));
    let report = rig.report();
    assert_eq!(report.paths, NODES as u64 * PATHS);
    assert_eq!(report.reachable, PATHS, "of the other nodes nobody reported anything");
    assert_eq!(report.no_data, report.paths - PATHS);
}

#[test]
fn what_is_bad_stays_in_the_plan_until_it_is_well() {
    let mut rig = Rig::start();
    let mut turns = HashSet::new();
    let mut seen_ns = None;
    for _ in 0..240 {
        rig.second("n7");
        let planned = rig.planned();
        if planned.contains("n7") {
            seen_ns.get_or_insert(rig.now_ns);
        } else {
            assert_eq!(seen_ns, None, "it left the plan while it was unreachable");
        }
        let mut names: Vec<String> = planned.into_iter().collect();
        names.sort();
        turns.insert(names);
    }
    assert!(seen_ns.is_some() && turns.len() >= 3, "{} turns", turns.len());
    let bad = |cell: &&v1::MatrixCell| cell.verdict() == v1::Verdict::Unreachable;
    assert_eq!(rig.cells_of_n0().iter().filter(bad).count(), 3);
    for _ in 0..240 {
        rig.second("nobody");
        if !rig.planned().contains("n7") {
            return;
        }
    }
    panic!("it is well and still there");
}

#[test]
fn a_node_that_comes_back_and_a_path_that_somebody_looks_at_are_probed_at_once() {
    let mut rig = Rig::start();
    for _ in 0..13 {
        rig.second("nobody");
    }
    let planned = rig.planned();
    let away: Vec<usize> = (1..NODES).filter(|node| !planned.contains(&format!("n{node}"))).take(2).collect();
    assert_eq!(away.len(), 2);
    rig.take_nodes(|node| !away.contains(&node));
    rig.take_nodes(|_| true);
    assert!(away.iter().all(|node| rig.planned().contains(&format!("n{node}"))));

    let outside =
        (1..NODES).map(|node| format!("n{node}")).find(|name| !rig.planned().contains(name)).unwrap();
    let mut state = rig.hub.lock();
    let at = state.find("n0").unwrap();
    let target = format!("node/{outside}");
    state.ask_for(at, &target, rig.now_ns);
    drop(state);
    rig.second("nobody");
    rig.second("nobody");
    assert!(rig.planned().contains(&outside));
}

#[test]
fn a_path_whose_turn_begins_does_not_look_unmeasured() {
    let mut rig = Rig::start();
    for _ in 0..130 {
        rig.second("nobody");
    }
    for _ in 0..130 {
        rig.second("nobody");
        let blank = rig.cells_of_n0().iter().filter(|cell| cell.verdict() == v1::Verdict::NoData).count();
        assert_eq!(blank, 0);
    }
}

/// While rosters change all the time, readers see each path once, and in the end all plans are of the newest.
#[test]
fn plans_are_made_while_rosters_come_and_readers_ask() {
    let rig = Rig::start();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..12 {
                rig.take_nodes(|node| node % 6 != round % 6);
            }
            over.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                rig.hub.tick(rig.now_ns);
            }
        });
        while !over.load(Ordering::Relaxed) {
            assert_eq!(rig.cells_of_n0().len() as u64, PATHS);
            assert_eq!(rig.report().coverage.unwrap().paths, NODES as u64 * PATHS);
        }
    });
    let state = rig.hub.lock();
    assert!(!state.stale);
    assert!(state.each().all(|(_, agent)| Arc::ptr_eq(&agent.catalog, &state.catalog)));
    assert!(state.each().all(|(_, agent)| agent.plan.plan().paths.len() <= 96));
}

#[test]
fn a_hub_that_ends_plans_no_further() {
    let rig = Rig::start();
    let catalog = Arc::clone(&rig.hub.lock().catalog);
    rig.hub.end();
    rig.take_nodes(|node| node != 3);
    let state = rig.hub.lock();
    assert!(state.each().all(|(_, agent)| Arc::ptr_eq(&agent.catalog, &catalog)));
}

/// What the cache of last verdicts counts is what the cells show, whatever comes and goes.
#[test]
fn coverage_is_what_the_cells_show() {
    let mut rig = Rig::start();
    for round in 0..60 {
        rig.second(if round % 2 == 0 { "n7" } else { "nobody" });
        if round % 9 == 0 {
            rig.take_nodes(|node| node != round);
        }
        let inactive: Vec<_> = rig.cells_of_n0().into_iter().filter(|cell| cell.inactive).collect();
        let mut coverage = Coverage::default();
        let state = rig.hub.lock();
        state.cover(state.find("n0").unwrap(), &mut coverage, rig.now_ns);
        drop(state);
        for verdict in Verdict::ALL {
            let shown = inactive.iter().filter(|cell| cell.verdict() == verdict.to_wire()).count();
            assert_eq!(coverage.inactive(verdict), shown as u64, "{verdict:?} after {round} s");
        }
    }
}
