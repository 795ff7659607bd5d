//! What `--at` shows of paths that take turns, of those that left while they waited, and of sizes and ports.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{SECOND_NS, unix_now_ns};
use netcheck_analysis::plan::rotation::Rotation;
use netcheck_hub::state::Settings;
use netcheck_hub::state::ingest::Decoded;
use netcheck_hub::view::past::When;
use netcheck_proto::v1;

use crate::history::figures;
use crate::rig::set_roster_at;
use crate::turned::{RANGE, Turned, well};

const NODES: usize = 12;

/// Some hours ago, ten seconds into one: always the same way to the next step of what is rolled up.
fn begin_ns() -> i64 {
    (unix_now_ns() / (3600 * SECOND_NS) - 2) * 3600 * SECOND_NS + 10 * SECOND_NS
}

/// Nodes n1 to n12, without some.
fn nodes(without: &[usize]) -> String {
    let mut text = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for node in (1..=NODES).filter(|node| !without.contains(node)) {
        text += &format!(
            "- {{apiVersion: v1, kind: Node, metadata: {{name: n{node}}}, status: {{addresses: [{{type: InternalIP, \
             address: 10.0.0.{node}}}], conditions: [{{type: Ready, status: 'True'}}]}}}}\n"
        );
    }
    text
}

fn turns() -> Settings {
    let second = Duration::from_secs(1);
    let rotation = Rotation { paths_per_node: 12, cover: second * 40, interval: second };
    Settings { rotation, ..Settings::every(second) }
}

fn turning() -> Turned {
    turning_in(None, begin_ns())
}

fn turning_in(dir: Option<&Path>, now_ns: i64) -> Turned {
    let hub = Turned::with(turns(), dir, now_ns);
    set_roster_at(&hub.hub, &nodes(&[]), hub.now_ns);
    hub.connect();
    hub
}

/// Ten seconds, to the next whole step, and what was reported then. What changed with the plan is judged with the tick
/// after.
fn step(hub: &mut Turned) -> (i64, v1::Report) {
    hub.seconds(9, &well);
    hub.second(&well);
    hub.hub.observe(hub.now_ns);
    hub.hub.remember(hub.now_ns);
    (hub.now_ns, hub.live())
}

fn targets(hub: &Turned, at_ns: i64) -> BTreeSet<String> {
    let when = When { at_ns, range: RANGE, judged: false };
    let cells = hub.hub.past_matrix(&Default::default(), &when).unwrap().cells;
    cells.into_iter().map(|cell| cell.path.unwrap().target.unwrap().id).collect()
}

#[test]
fn what_waits_for_its_turn_counts_as_it_did_then_and_goes_when_it_leaves() {
    let mut hub = turning();
    let mut reports: Vec<_> = (0..10).map(|_| step(&mut hub)).collect();
    let there_ns = hub.now_ns;
    let before = reports.last().unwrap().1.clone();
    let coverage = before.coverage.unwrap();
    assert!(coverage.at_once < coverage.covered && coverage.covered <= coverage.paths, "{coverage:?}");
    // Two nodes leave; one of them is a source, too.
    set_roster_at(&hub.hub, &nodes(&[4, 9]), hub.now_ns);
    reports.extend((0..20).map(|_| step(&mut hub)));
    hub.hub.remember_all(hub.now_ns);
    let after = &reports.last().unwrap().1;
    assert!(after.paths < before.paths, "{} of {}", after.paths, before.paths);
    for (at_ns, live) in &reports[1..] {
        let past = hub.past(*at_ns);
        let at = (at_ns - begin_ns()) / SECOND_NS;
        assert_eq!(figures(&past), figures(live), "{at} s");
    }
    let of = |node: &str| format!("node/{node}");
    assert!(targets(&hub, there_ns).is_superset(&[of("n4"), of("n9")].into()));
    let left = targets(&hub, hub.now_ns);
    assert!(!left.contains(&of("n4")) && !left.contains(&of("n9")) && left.contains(&of("n5")), "{left:?}");
    hub.kill();
}

/// What rests on the disk when its target goes while there is no hub.
#[test]
fn what_left_while_the_hub_was_away_goes_after_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = turning_in(Some(dir.path()), begin_ns());
    (0..10).for_each(|_| drop(step(&mut first)));
    assert!(targets(&first, first.now_ns).contains("node/n9"));
    first.written();
    let killed_ns = first.kill();
    let start_ns = killed_ns + 30 * SECOND_NS;
    let mut second = Turned::with(turns(), Some(dir.path()), start_ns);
    set_roster_at(&second.hub, &nodes(&[9]), start_ns);
    second.connect();
    (0..12).for_each(|_| drop(step(&mut second)));
    second.hub.remember_all(second.now_ns);
    let left = targets(&second, second.now_ns);
    assert!(!left.contains("node/n9") && left.contains("node/n5"), "{left:?}");
    second.kill();
}

#[test]
fn without_a_word_of_them_caveats_are_said_to_be_unknown() {
    let mut hub = turning();
    hub.seconds(5, &well);
    hub.hub.remember_all(hub.now_ns);
    let first = hub.past(begin_ns() + SECOND_NS / 2);
    assert!(first.caveats.iter().any(|line| line.ends_with("is not known")), "{:?}", first.caveats);
    let later = hub.past(hub.now_ns);
    assert!(!later.caveats.iter().any(|line| line.ends_with("is not known")), "{:?}", later.caveats);
    hub.kill();
}

/// An agent finds that large packets are lost, and later that they pass again.
#[test]
fn sizes_and_ports_are_those_of_the_time() {
    let mut hub = Turned::start(None, begin_ns());
    hub.connect();
    let path_id = {
        let state = hub.hub.lock();
        let mut rows = state.agent(NodeIx(0)).rows.iter();
        let udp = |row: &&netcheck_analysis::matrix::Row| {
            row.path.probe.kind == netcheck_common::domain::ProbeKind::Udp
                && row.path.probe.target.id.starts_with("node/")
        };
        rows.find(udp).unwrap().id().0
    };
    let mut instants = Vec::new();
    for (lost_bytes, port) in [(0, None), (1450, None), (1450, Some(40_007)), (0, None)] {
        hub.seconds(12, &well);
        hub.sequence += 1;
        let interval = Some(prost_types::Duration { seconds: 10, nanos: 0 });
        let size = v1::PathSize {
            path_id,
            route_bytes: 1500,
            passed_bytes: if lost_bytes == 0 { 1500 } else { lost_bytes - 1 },
            lost_bytes,
            measured_unix_ns: hub.now_ns,
            interval,
            ..Default::default()
        };
        let lost = port.map(|port| v1::PortLoss { port, sent: 9, lost: 9 });
        let ports = v1::PathPorts {
            path_id,
            ports: 16,
            lost: lost.into_iter().collect(),
            others_sent: 90,
            measured_unix_ns: hub.now_ns,
            interval,
            ..Default::default()
        };
        let batch =
            Decoded { sequence: hub.sequence, sizes: vec![size], ports: vec![ports], ..Decoded::default() };
        hub.hub.lock().apply(NodeIx(0), 1, batch, hub.now_ns).unwrap();
        hub.second(&well);
        let expected =
            hub.hub.lock().agent(NodeIx(0)).rows.get(netcheck_common::domain::PathId(path_id)).map(|row| {
                let sizes = row.sizes.as_ref().unwrap().to_wire();
                let ports = row.ports.as_ref().map(|ports| ports.to_wire());
                ((sizes.largest_passed_bytes, sizes.smallest_lost_bytes), ports.map(|ports| ports.lost))
            });
        instants.push((hub.now_ns, expected.unwrap()));
    }
    hub.hub.remember_all(hub.now_ns);
    let (source, target) = {
        let state = hub.hub.lock();
        let agent = state.agent(NodeIx(0));
        let row = agent.rows.get(netcheck_common::domain::PathId(path_id)).unwrap();
        (agent.name.to_string(), row.path.probe.target.id.to_string())
    };
    let selector = netcheck_analysis::plan::selector::Selector::default().between(&source, &target);
    for (at_ns, expected) in instants {
        let when = When { at_ns, range: RANGE, judged: false };
        let answer = hub.hub.past_path(&selector, &when).unwrap();
        let cells = answer.paths.into_iter().map(|path| path.cell.unwrap());
        let found: Vec<_> = cells
            .filter_map(|cell| {
                let sizes = cell.sizes?;
                let sizes = (sizes.largest_passed_bytes, sizes.smallest_lost_bytes);
                Some((sizes, cell.ports.map(|ports| ports.lost)))
            })
            .collect();
        assert_eq!(found, [expected], "{} s", (at_ns - begin_ns()) / SECOND_NS);
    }
    hub.kill();
}

/// Whenever the hub is killed: what is on the disk by then lacks no more than one step of what agents had reported.
#[test]
fn no_more_than_one_step_is_not_on_the_disk() {
    one_step_at_most(begin_ns());
}

/// The same while the ten minutes end by which windows are rolled up, and where the hub begins within a second.
#[test]
fn no_more_than_one_step_is_not_on_the_disk_at_the_end_of_ten_minutes() {
    let begin_ns = begin_ns();
    let period_ns = 600 * SECOND_NS;
    for before_ms in [20_000, 24_000, 3_000, 7_919, 23_601] {
        one_step_at_most(begin_ns - begin_ns % period_ns - before_ms * 1_000_000);
    }
}

fn one_step_at_most(begin_ns: i64) {
    const STEP: i64 = 10;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Turned::start(Some(dir.path()), begin_ns);
    // The first step may have begun before it.
    let from_ns = begin_ns - begin_ns.rem_euclid(STEP * SECOND_NS);
    hub.connect();
    for second in 1..=45_i64 {
        hub.second(&well);
        let archive = hub.hub.archive.as_ref().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let mut least = 0;
        // The ten seconds in which a hub begins may be another's, too: they are written once, when all of them is known.
        let began = begin_ns == from_ns || hub.now_ns > from_ns + 2 * STEP * SECOND_NS;
        while began && least < second - STEP {
            assert!(std::time::Instant::now() < deadline, "after {second} s there are {least} s on the disk");
            let paths = archive.reader.paths().unwrap();
            let replies = |number| {
                let step = Duration::from_secs(10);
                let series = archive.reader.series(number, from_ns, hub.now_ns, step).unwrap();
                series.points.iter().map(|point| i64::from(point.window.reply)).sum::<i64>()
            };
            let all: Vec<i64> = paths.into_iter().map(|(number, _)| replies(number)).collect();
            assert!(all.iter().all(|&replies| replies <= second), "nothing counts twice: {all:?}");
            least = all.into_iter().min().unwrap_or_default();
        }
    }
    hub.hub.remember_all(hub.now_ns);
    hub.kill();
}
