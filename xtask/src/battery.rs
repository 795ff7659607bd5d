//! `cargo xtask test battery`: many faults, one after the other, in a lab of each mode; what netcheck says of each,
//! as one table and as JSON under `target/`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netcheck_netlab::{Fault, Lab, LabSpec, Mode};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Incident, Profile, Report, Settings, build};
use crate::tools;

mod foreign;
mod judge;
mod table;
mod tracker;

use judge::Grade;
use table::{Deed, Families, ROWS, Row};

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

const MODES: [Mode; 2] = [Mode::Routed, Mode::Vxlan];
const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

/// What was found of one fault in one mode and family.
struct Cell {
    mode: Mode,
    family: &'static str,
    grade: Grade,
    detected: Option<Duration>,
    /// Findings that are wrong, or name no place.
    notes: Vec<String>,
}

/// What was found of one fault.
struct Line {
    row: usize,
    mode: Mode,
    cells: Vec<Cell>,
    /// What was opened for it: one incident for both families.
    incident: Option<(Grade, Vec<String>)>,
    /// Why the row could not be run.
    failed: Option<String>,
}

/// What was found, by family, and of the incidents that were opened.
type Tried = (Vec<Cell>, (Grade, Vec<String>));

/// Runs the rows whose mode and fault contain the words (or some of them, with commas), in each mode at the same time.
///
/// # Errors
/// If a lab can't be raised, a row can't be run, or a place is wrong.
pub(crate) fn run(only: &str) -> Result<()> {
    build(Profile::Dev)?;
    let begin = Instant::now();
    let mut lines: Vec<Line> = Vec::new();
    let outcomes: Vec<Result<Vec<Line>>> = std::thread::scope(|scope| {
        let running: Vec<_> = MODES.map(|mode| scope.spawn(move || in_mode(mode, only))).into();
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
    ensure!(!lines.is_empty(), "no row contains `{only}`");
    let took = begin.elapsed();
    print!("{}", shown(&lines, took));
    let path = tools::target_dir().join("battery.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&as_json(&lines, took))?)
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

fn in_mode(mode: Mode, only: &str) -> Result<Vec<Line>> {
    let is_wanted = |row: &usize| {
        let name = format!("{mode} {}", ROWS[*row].deed.text());
        only.split(',').any(|words| name.contains(words))
    };
    let wanted: Vec<usize> = (0..ROWS.len()).filter(is_wanted).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let lab = Lab::up(LabSpec { mode, ..LabSpec::named(&format!("bat-{mode}")) })?;
    let mut cluster = Cluster::start(lab, Settings::default())?;
    cluster.wait_healthy()?;
    let mut lines = Vec::new();
    let mut hub_args: &[&str] = &[];
    for row in wanted {
        if hub_args != ROWS[row].hub_args {
            hub_args = ROWS[row].hub_args;
            cluster.restart_hub(hub_args)?;
            cluster.wait_healthy()?;
        }
        let tried = one(&mut cluster, mode, &ROWS[row]);
        let mended = mend(&mut cluster, &ROWS[row]);
        let (tried, failed) = match tried {
            Ok((cells, incident)) => ((cells, Some(incident)), mended.err()),
            Err(error) => ((Vec::new(), None), Some(error)),
        };
        let failed = failed.map(|error| format!("{mode}: {error:#}"));
        let line = Line { row, mode, cells: tried.0, incident: tried.1, failed };
        print!("{}", progress(mode, &line));
        lines.push(line);
    }
    cluster.stop()?.down()?;
    Ok(lines)
}

/// Breaks, looks, and leaves the mending to [`mend`].
fn one(cluster: &mut Cluster, mode: Mode, row: &Row) -> Result<Tried> {
    let starving = AtomicBool::new(row.deed == Deed::Starve);
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..if row.deed == Deed::Starve { cores } else { 0 } {
            scope.spawn(|| {
                while starving.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let cells = broken(cluster, mode, row);
        starving.store(false, Ordering::Relaxed);
        cells
    })
}

fn broken(cluster: &mut Cluster, mode: Mode, row: &Row) -> Result<Tried> {
    let before: BTreeSet<String> = cluster.incidents()?.into_iter().map(|incident| incident.id).collect();
    let tracked = tracker::dropped(cluster);
    let mut program = None;
    match row.deed {
        Deed::Lab(fault) | Deed::Harmless(fault) => cluster.lab.inject(&fault.parse()?)?,
        Deed::KillNode(node) => cluster.lab.inject(&Fault::NodeKilled { node: node.to_owned() })?,
        Deed::Foreign { node, interface, at } => {
            program = Some(cluster.lab.enter(node, || foreign::attach(interface, at))??);
        }
        Deed::KillAgent(node) => cluster.kill_agent(node)?,
        Deed::Starve => {}
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
    // The newest losses wait for what kernels have to tell of them.
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
        let (grade, mut notes) = match row.deed {
            Deed::Starve => judge::false_alarms(family, &report),
            Deed::Harmless(_) => judge::false_losses(family, &report),
            _ => judge::grade(row, family, judge::judged(row, newest.as_ref(), &report)),
        };
        notes.extend(excused.iter().cloned());
        Cell { mode, family, grade, detected, notes }
    });
    Ok((cells.collect(), judge::incident(row, &incidents)))
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
        let is_broken = !matches!(self.row.deed, Deed::Starve | Deed::Harmless(_));
        if is_broken && judge::detected(&self.row, self.family, report) {
            self.detected.get_or_insert(after);
            self.newest = Some(report.clone());
        }
    }
}

/// Mends, and waits until nothing of it is left in the past that the next row looks at, and no incident is open.
fn mend(cluster: &mut Cluster, row: &Row) -> Result<()> {
    cluster.lab.heal_all()?;
    if let Deed::KillAgent(node) | Deed::KillNode(node) = row.deed {
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

fn count(lines: &[Line], grade: Grade) -> usize {
    lines.iter().flat_map(|line| &line.cells).filter(|cell| cell.grade == grade).count()
}

fn count_incidents(lines: &[Line], grade: Grade) -> usize {
    lines.iter().filter_map(|line| line.incident.as_ref()).filter(|(found, _)| *found == grade).count()
}

fn told(cell: &Cell) -> String {
    let detected = cell.detected.map(|took| format!(" {:.1} s", took.as_secs_f64()));
    format!("{}{}", cell.grade, detected.unwrap_or_default())
}

fn progress(mode: Mode, line: &Line) -> String {
    let name = ROWS[line.row].deed.text();
    let mut text = format!("{:<7} {name:<62}", mode.to_string());
    for cell in &line.cells {
        _ = write!(text, " {} {:<14}", cell.family, told(cell));
    }
    if let Some((grade, _)) = &line.incident {
        _ = write!(text, " incident {grade}");
    }
    text.push_str(line.failed.as_deref().unwrap_or_default());
    text.push('\n');
    for note in line.incident.iter().flat_map(|(_, notes)| notes) {
        _ = writeln!(text, "    {note}");
    }
    for cell in &line.cells {
        for note in &cell.notes {
            _ = writeln!(text, "    {}: {note}", cell.family);
        }
    }
    text
}

/// One row a fault, one column a mode and family.
fn shown(lines: &[Line], took: Duration) -> String {
    let columns = MODES.map(|mode| FAMILIES.map(|family| (mode, family)));
    let columns: Vec<(Mode, &str)> = columns.into_iter().flatten().collect();
    let mut text = format!("\n{:<62}", "fault");
    for (mode, family) in &columns {
        _ = write!(text, " {:<14}", format!("{mode} {family}"));
    }
    for mode in MODES {
        _ = write!(text, " {:<14}", format!("{mode} incident"));
    }
    text.push('\n');
    for (index, row) in ROWS.iter().enumerate() {
        let of_row: Vec<&Line> = lines.iter().filter(|line| line.row == index).collect();
        if of_row.is_empty() {
            continue;
        }
        _ = write!(text, "{:<62}", row.deed.text());
        for (mode, family) in &columns {
            let mut cells = of_row.iter().flat_map(|line| &line.cells);
            let cell = cells.find(|cell| cell.mode == *mode && cell.family == *family);
            _ = write!(text, " {:<14}", cell.map_or_else(|| "-".to_owned(), told));
        }
        for mode in MODES {
            let line = of_row.iter().find(|line| line.mode == mode);
            let grade = line.and_then(|line| line.incident.as_ref()).map(|(grade, _)| grade.to_string());
            _ = write!(text, " {:<14}", grade.as_deref().unwrap_or("-"));
        }
        text.push('\n');
        for failed in of_row.iter().filter_map(|line| line.failed.as_ref()) {
            _ = writeln!(text, "    not tried: {failed}");
        }
    }
    let places = |grade| count(lines, grade);
    let incidents = |grade| count_incidents(lines, grade);
    for (what, count) in [("places", &places as &dyn Fn(Grade) -> usize), ("incidents", &incidents)] {
        let grades = [Grade::Right, Grade::Wrong, Grade::Unknown, Grade::NotDetected, Grade::NotStated];
        let told: Vec<String> = grades
            .iter()
            .map(|grade| format!("{} {}", count(*grade), grade.to_string().to_lowercase()))
            .collect();
        _ = writeln!(text, "{what}: {}", told.join(", "));
    }
    _ = writeln!(text, "in {:.0} s", took.as_secs_f64());
    text
}

fn as_json(lines: &[Line], took: Duration) -> Value {
    let rows: Vec<Value> = lines
        .iter()
        .flat_map(|line| {
            let fault = ROWS[line.row].deed.text();
            let failed =
                line.failed.iter().map(|why| json!({ "fault": fault, "not_tried": why })).collect::<Vec<_>>();
            let cells = line.cells.iter().map(|cell| {
                json!({
                    "fault": fault,
                    "mode": cell.mode.to_string(),
                    "family": cell.family,
                    "grade": cell.grade.to_string().to_lowercase(),
                    "detected_s": cell.detected.map(|took| took.as_secs_f64()),
                    "notes": cell.notes,
                })
            });
            let incident = line.incident.iter().map(|(grade, notes)| {
                json!({
                    "fault": fault,
                    "mode": line.mode.to_string(),
                    "incident": grade.to_string().to_lowercase(),
                    "notes": notes,
                })
            });
            failed.into_iter().chain(cells).chain(incident).collect::<Vec<_>>()
        })
        .collect();
    json!({
        "seconds": took.as_secs_f64(),
        "right": count(lines, Grade::Right),
        "wrong": count(lines, Grade::Wrong),
        "unknown": count(lines, Grade::Unknown),
        "not_detected": count(lines, Grade::NotDetected),
        "incidents_right": count_incidents(lines, Grade::Right),
        "incidents_wrong": count_incidents(lines, Grade::Wrong),
        "incidents_not_detected": count_incidents(lines, Grade::NotDetected),
        "rows": rows,
    })
}
