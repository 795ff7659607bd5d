//! `cargo xtask test battery`: many faults, one after the other, in a lab of each network; what netcheck says of each,
//! as one table and as JSON under `target/`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netcheck_netlab::{Fault, Lab, LabSpec, Mode};

use crate::cluster::{Cluster, Incident, Profile, Report, Settings, build};
use crate::network::Network;
use crate::tools;

mod figures;
mod foreign;
mod judge;
mod named;
mod table;
mod tracker;

use judge::Grade;
use table::{Change, Families, FaultAction, Row};

pub(crate) use table::RowSet;

/// How often the report is looked at.
const POLL: Duration = Duration::from_millis(200);
/// How much longer losses that have no place yet may take to get one.
const EVIDENCE: Duration = Duration::from_secs(4);
/// The past that must be clean before the next fault.
const CLEAN: Duration = Duration::from_secs(3);
/// The past that is judged, at most.
const JUDGED: Duration = Duration::from_secs(10);
/// How long mending may take.
const MEND: Duration = Duration::from_secs(40);

const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

/// Which rows are run, and where.
pub(crate) struct Selection {
    /// One of the tables.
    pub(crate) set: RowSet,
    /// Only rows whose network and fault contain one of these.
    words: Vec<String>,
    networks: Vec<Network>,
}

impl Selection {
    /// Reads `[SET:]WORDS`, or the name of a set alone; without networks, the set's own are taken.
    pub(crate) fn new(rows: &str, networks: &[Network]) -> Self {
        let (head, rest) = rows.split_once(':').unwrap_or((rows, ""));
        let (set, words) = RowSet::named(head).map_or((RowSet::Default, rows), |set| (set, rest));
        let networks = if networks.is_empty() { set.networks() } else { networks.to_vec() };
        Self { set, words: words.split(',').map(str::to_owned).collect(), networks }
    }

    fn rows(&self, network: Network) -> Vec<&'static Row> {
        let is_wanted = |row: &&Row| {
            let name = format!("{network} {}", row.action.text());
            (!row.overlay || network.mode == Mode::Vxlan)
                && self.words.iter().any(|words| name.contains(words.as_str()))
        };
        self.set.rows().iter().filter(is_wanted).collect()
    }
}

/// What was found of one fault in one network and family.
struct Cell {
    network: Network,
    family: &'static str,
    grade: Grade,
    detected: Option<Duration>,
    /// Findings that are wrong, or name no place.
    notes: Vec<String>,
}

/// What was found of one fault.
struct Line {
    row: &'static Row,
    network: Network,
    cells: Vec<Cell>,
    /// What was opened for it: one incident for both families.
    incident: Option<(Grade, Vec<String>)>,
    /// Why the row could not be run.
    failed: Option<String>,
}

/// What was found, by family, and of the incidents that were opened.
type Tried = (Vec<Cell>, (Grade, Vec<String>));

/// Runs the selected rows, in each network at the same time.
///
/// # Errors
/// If a lab can't be raised, a row can't be run, or a place is wrong.
pub(crate) fn run(selection: &Selection) -> Result<()> {
    build(Profile::Dev)?;
    let begin = Instant::now();
    let mut lines: Vec<Line> = Vec::new();
    let outcomes: Vec<Result<Vec<Line>>> = std::thread::scope(|scope| {
        let networks = selection.networks.iter();
        let running: Vec<_> =
            networks.map(|&network| scope.spawn(move || in_network(network, selection))).collect();
        running
            .into_iter()
            .map(|handle| {
                handle.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the battery's thread panicked")))
            })
            .collect()
    });
    for outcome in outcomes {
        lines.extend(outcome?);
    }
    ensure!(!lines.is_empty(), "no row contains `{}`", selection.words.join(","));
    let took = begin.elapsed();
    print!("{}", figures::shown(selection, &lines, took));
    let path = tools::target_dir().join("battery.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&figures::as_json(&lines, took))?)
        .with_context(|| format!("writing {}", path.display()))?;
    println!("{}", tools::relative(&path));
    let failed = lines.iter().filter(|line| line.failed.is_some()).count();
    let bad = |grade: &&Grade| matches!(grade, Grade::Wrong | Grade::NotDetected);
    let places = lines.iter().flat_map(|line| &line.cells).map(|cell| &cell.grade).filter(bad).count();
    let incidents = lines.iter().filter_map(|line| line.incident.as_ref()).map(|(grade, _)| grade);
    let incidents = incidents.filter(bad).count();
    ensure!(
        failed == 0 && places + incidents == 0,
        "{places} places and {incidents} incidents are wrong or missing, {failed} faults could not be tried"
    );
    Ok(())
}

fn in_network(network: Network, selection: &Selection) -> Result<Vec<Line>> {
    let wanted = selection.rows(network);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let vantage = selection.set.has_vantages();
    let lab = Lab::up(LabSpec { vantage, ..network.spec(&format!("bat-{}", network.short())) })?;
    let mut cluster = Cluster::start(lab, Settings::default())?;
    cluster.wait_healthy()?;
    let mut lines = Vec::new();
    let mut hub_args: &[&str] = &[];
    for row in wanted {
        if hub_args != row.hub_args {
            hub_args = row.hub_args;
            cluster.restart_hub(hub_args)?;
            cluster.wait_healthy()?;
        }
        let tried = one(&mut cluster, network, row);
        let mended = mend(&mut cluster, row);
        let (tried, failed) = match tried {
            Ok((cells, incident)) => ((cells, Some(incident)), mended.err()),
            Err(error) => ((Vec::new(), None), Some(error)),
        };
        let failed = failed.map(|error| format!("{network}: {error:#}"));
        let line = Line { row, network, cells: tried.0, incident: tried.1, failed };
        print!("{}", figures::progress(&line));
        lines.push(line);
    }
    cluster.stop()?.down()?;
    Ok(lines)
}

/// Breaks, looks, and leaves the mending to [`mend`].
fn one(cluster: &mut Cluster, network: Network, row: &Row) -> Result<Tried> {
    let starving = AtomicBool::new(row.action == FaultAction::Starve);
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..if row.action == FaultAction::Starve { cores } else { 0 } {
            scope.spawn(|| {
                while starving.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let cells = broken(cluster, network, row);
        starving.store(false, Ordering::Relaxed);
        cells
    })
}

fn broken(cluster: &mut Cluster, network: Network, row: &Row) -> Result<Tried> {
    let before: BTreeSet<String> = cluster.incidents()?.into_iter().map(|incident| incident.id).collect();
    let tracked = tracker::dropped(cluster);
    let mut program = None;
    match row.action {
        FaultAction::Lab(fault) | FaultAction::Harmless(fault) => cluster.lab.inject(&fault.parse()?)?,
        FaultAction::KillNode(node) => cluster.lab.inject(&Fault::NodeKilled { node: node.to_owned() })?,
        FaultAction::Foreign { node, interface, at } => {
            program = Some(cluster.lab.enter(node, || foreign::attach(interface, at))??);
        }
        FaultAction::KillAgent(node) => cluster.kill_agent(node)?,
        FaultAction::Commands { at, inject, .. } => shell(cluster, at, inject)?,
        FaultAction::Several(changes) => {
            changes.iter().try_for_each(|Change { at, inject, .. }| shell(cluster, at, inject))?;
        }
        FaultAction::Starve => {}
    }
    let start = Instant::now();
    let since = || start.elapsed().clamp(Duration::from_secs(1), JUDGED);
    let patience = Duration::from_secs(row.patience_s);
    let families: Vec<&'static str> = match row.families {
        Families::Both => FAMILIES.to_vec(),
        Families::V4 => vec!["ipv4"],
        Families::V6 => vec!["ipv6"],
    };
    let mut watched: Vec<Watched> = families.iter().map(|&family| Watched::new(row, family)).collect();
    while start.elapsed() < patience && watched.iter().any(|watched| watched.detected.is_none()) {
        let report = cluster.report_of(since())?;
        watched.iter_mut().for_each(|watched| watched.look(&report, start.elapsed()));
        std::thread::sleep(POLL);
    }
    let settled = Instant::now() + Duration::from_secs(row.settle_s);
    let mut report = Report::default();
    // The newest losses wait for what kernels have to report of them.
    let waits = |report: &Report| report.findings.iter().any(|finding| finding.location.is_none());
    while Instant::now() < settled || (waits(&report) && Instant::now() < settled + EVIDENCE) {
        std::thread::sleep(POLL);
        report = cluster.report_of(since())?;
        watched.iter_mut().for_each(|watched| watched.look(&report, start.elapsed()));
    }
    let opened = |cluster: &Cluster| -> Result<Vec<Incident>> {
        let mut incidents = cluster.incidents()?;
        incidents.retain(|incident| !before.contains(&incident.id));
        Ok(incidents)
    };
    let mut incidents = opened(cluster)?;
    // One opens when it was seen twice, and not while all that it explains still waits.
    while judge::incident(row, &incidents).0 == Grade::NotDetected && Instant::now() < settled + EVIDENCE {
        std::thread::sleep(POLL);
        incidents = opened(cluster)?;
    }
    drop(program);
    let clashes = tracker::grown(&tracked, &tracker::dropped(cluster));
    let excused = judge::excuse(row, &mut report, &clashes);
    let cells = watched.into_iter().map(|Watched { family, detected, mut newest, .. }| {
        if let Some(newest) = &mut newest {
            judge::excuse(row, newest, &clashes);
        }
        let (grade, mut notes) = match row.action {
            FaultAction::Starve => judge::false_alarms(family, &report),
            _ if row.is_harmless() => judge::false_losses(family, &report),
            _ => judge::grade(row, family, judge::judged(row, newest.as_ref(), &report)),
        };
        notes.extend(excused.iter().cloned());
        Cell { network, family, grade, detected, notes }
    });
    let (mut grade, mut notes) = judge::incident(row, &incidents);
    if let Some((named, more)) = named::grade(row, &incidents) {
        grade = grade.max(named);
        notes.extend(more);
    }
    Ok((cells.collect(), (grade, notes)))
}

/// Runs commands in a namespace of the lab.
fn shell(cluster: &Cluster, at: &str, commands: &str) -> Result<()> {
    let output = cluster.lab.exec(at, &["sh", "-c", commands])?;
    ensure!(
        output.status.success(),
        "at {at}: {commands}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// What was seen of a row's fault in one family.
struct Watched {
    row: Row,
    family: &'static str,
    detected: Option<Duration>,
    /// The newest report that shows it.
    newest: Option<Report>,
}

impl Watched {
    fn new(row: &Row, family: &'static str) -> Self {
        Self { row: *row, family, detected: None, newest: None }
    }

    fn look(&mut self, report: &Report, after: Duration) {
        let is_broken = self.row.action != FaultAction::Starve && !self.row.is_harmless();
        if is_broken && judge::detected(&self.row, self.family, report) {
            self.detected.get_or_insert(after);
            self.newest = Some(report.clone());
        }
    }
}

/// Mends, and waits until nothing of it is left in the past that the next row looks at, and no incident is open.
fn mend(cluster: &mut Cluster, row: &Row) -> Result<()> {
    cluster.lab.heal_all()?;
    if let FaultAction::Commands { at, heal, .. } = row.action {
        shell(cluster, at, heal)?;
    }
    if let FaultAction::Several(changes) = row.action {
        // What was done last is taken back first, all of it even where one part can't be.
        let healed: Vec<Result<()>> =
            changes.iter().rev().map(|Change { at, heal, .. }| shell(cluster, at, heal)).collect();
        healed.into_iter().collect::<Result<()>>()?;
    }
    if let FaultAction::KillAgent(node) | FaultAction::KillNode(node) = row.action {
        cluster.start_agent(node)?;
    }
    let deadline = Instant::now() + MEND;
    loop {
        let report = cluster.report_of(CLEAN)?;
        let mut incidents = cluster.incidents()?;
        incidents.retain(|incident| incident.open);
        if report.is_healthy() && incidents.is_empty() {
            return Ok(());
        }
        let headlines = report.findings.iter().map(|finding| finding.headline.as_str());
        let left: Vec<&str> =
            headlines.chain(incidents.iter().map(|incident| incident.headline.as_str())).collect();
        ensure!(Instant::now() < deadline, "not mended within {MEND:?}: {}", left.join("; "));
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::{RowSet, Selection};

    #[test]
    fn rows_are_selected_by_set_and_words() {
        let chosen = |rows: &str| {
            let selection = Selection::new(rows, &[]);
            let count: usize = selection.networks.iter().map(|network| selection.rows(*network).len()).sum();
            (selection.set, count)
        };
        let all = |set: RowSet| set.rows().len() * set.networks().len();
        assert_eq!(chosen(""), (RowSet::Default, all(RowSet::Default)));
        assert_eq!(chosen("new"), (RowSet::New, all(RowSet::New)));
        assert_eq!(chosen("kube-proxy"), (RowSet::KubeProxy, all(RowSet::KubeProxy)));
        assert_eq!(chosen("routed zone-cut"), (RowSet::Default, 2));
        assert_eq!(chosen("new:echo-ignored,forwarding-off").0, RowSet::New);
        assert!(chosen("new:echo-ignored").1 > 0 && chosen("new:echo-ignored").1 < all(RowSet::New));
        assert_eq!(chosen("nothing of the kind").1, 0);
        let only = Selection::new("", &["vxlan+kube-proxy-nftables".parse().unwrap()]);
        assert_eq!((only.set, only.networks.len()), (RowSet::Default, 1));
    }
}
