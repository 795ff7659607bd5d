//! `cargo xtask test soak`: a healthy lab under stress, in which nothing may be said to be broken. All cores are busy,
//! and on every node an interface comes and goes ten times a second.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netcheck_netlab::{Lab, Mode, Node};

use crate::bench::idle::memory_mib;
use crate::cluster::{Cluster, Profile, Report, Settings, build};
use crate::network::Network;

/// How often the hub is asked; it judges once a second.
const POLL: Duration = Duration::from_millis(500);
/// How long an interface is there, and how long until the next one: ten a second, some of which get hooks.
const LIFE: Duration = Duration::from_millis(80);
const PAUSE: Duration = Duration::from_millis(20);
/// Where an agent's metrics are.
const METRICS_PORT: u16 = 6101;
const IO_TIMEOUT: Duration = Duration::from_secs(10);

/// What is looked at besides verdicts, of one agent.
struct Agent {
    name: String,
    resident_mib: f64,
    open_files: usize,
    metrics: String,
}

/// What the polls saw.
#[derive(Default)]
struct Seen {
    polls: u64,
    /// Polls in which some path was degraded.
    degraded_polls: u64,
    /// Paths that were degraded, over all polls.
    degraded: u64,
    /// Polls in which some path had no data.
    silent_polls: u64,
    /// Each false alarm once, with when it was first seen.
    alarms: Vec<(Duration, String)>,
}

/// Runs it in each network, one after the other.
///
/// # Errors
/// If the lab can't be raised, or something is said to be broken.
pub(crate) fn run(minutes: u64, networks: &[Network]) -> Result<()> {
    build(Profile::Dev)?;
    match networks {
        [] => in_network(minutes, Network::plain(Mode::Vxlan)),
        some => some.iter().try_for_each(|network| in_network(minutes, *network)),
    }
}

fn in_network(minutes: u64, network: Network) -> Result<()> {
    println!("network {network}");
    let lab = Lab::up(network.spec(&format!("soak-{}", network.short())))?;
    let agent_args = ["--log", "info,netcheck_agent::kernel::attach=debug"].map(str::to_owned).to_vec();
    let cluster = Cluster::start(lab, Settings { agent_args, ..Settings::default() })?;
    cluster.wait_healthy()?;
    let before = agents(&cluster)?;
    let lasts = Duration::from_secs(60 * minutes);
    let (over, churned) = (AtomicBool::new(false), AtomicU64::new(0));
    let seen = std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..cores {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let (lab, over, churned) = (&cluster.lab, &over, &churned);
        let nodes = lab.nodes().iter();
        let churns: Vec<_> = nodes.map(|node| scope.spawn(move || churn(lab, node, over, churned))).collect();
        let seen = watch(&cluster, lasts);
        over.store(true, Ordering::Relaxed);
        for churn in churns {
            churn.join().map_err(|_| anyhow::anyhow!("a thread that churns panicked"))??;
        }
        seen
    })?;
    let after = agents(&cluster)?;
    let hooks = hooks(&cluster)?;
    print!("{}", summary(&seen, churned.into_inner(), &hooks, (&before, &after), minutes));
    let alive = cluster.processes().count();
    cluster.stop()?.down()?;
    ensure!(alive == before.len() + 1, "only {alive} programs lived to the end");
    ensure!(seen.alarms.is_empty(), "{} false alarms", seen.alarms.len());
    Ok(())
}

/// Asks until the time is up.
fn watch(cluster: &Cluster, lasts: Duration) -> Result<Seen> {
    let start = Instant::now();
    let mut seen = Seen::default();
    while start.elapsed() < lasts {
        let report = cluster.report()?;
        seen.take(start.elapsed(), &report);
        std::thread::sleep(POLL);
    }
    let incidents = cluster.ask(&["incidents", "--closed"])?;
    for incident in incidents["incidents"].as_array().into_iter().flatten() {
        let headline = incident["headline"].as_str().unwrap_or_default();
        let opened = incident["openedAt"].as_str().unwrap_or_default();
        seen.alarms.push((start.elapsed(), format!("incident, opened {opened}: {headline}")));
    }
    Ok(seen)
}

impl Seen {
    fn take(&mut self, at: Duration, report: &Report) {
        self.polls += 1;
        self.degraded += report.degraded;
        self.degraded_polls += u64::from(report.degraded > 0);
        self.silent_polls += u64::from(report.no_data > 0);
        for finding in report.findings.iter().filter(|finding| finding.verdict == "unreachable") {
            let evidence: String =
                finding.evidence.iter().take(4).map(|line| format!("\n      {line}")).collect();
            let alarm = format!("unreachable: {}{evidence}", finding.headline);
            if self.alarms.iter().all(|(_, known)| *known != alarm) {
                self.alarms.push((at, alarm));
            }
        }
    }
}

/// Makes and destroys a pair of interfaces, again and again, where those of a new pod would be: one end at the node's
/// bridge, the other in a pod.
fn churn(lab: &Lab, node: &Node, over: &AtomicBool, churned: &AtomicU64) -> Result<()> {
    let pod = node.pods.last().with_context(|| format!("{} has no pod", node.name))?;
    let made = format!(
        "link add name vethsoak type veth peer name soak netns {}\nlink set vethsoak master cni0 up\n",
        pod.netns
    );
    let mut command = lab.command(&node.name, "ip")?;
    let mut ip = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting `ip`")?;
    let mut lines = ip.stdin.take().context("`ip` has no standard input")?;
    while !over.load(Ordering::Relaxed) {
        // A pipe that broke is reported by the exit status.
        if lines.write_all(made.as_bytes()).is_err() {
            break;
        }
        std::thread::sleep(LIFE);
        if lines.write_all(b"link del vethsoak\n").is_err() {
            break;
        }
        churned.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
    drop(lines);
    let output = ip.wait_with_output().context("waiting for `ip`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "interfaces of {}: {}", node.name, said.trim());
    Ok(())
}

fn agents(cluster: &Cluster) -> Result<Vec<Agent>> {
    let processes = cluster.processes().filter(|(name, _)| name != "hub");
    processes
        .zip(cluster.lab.nodes())
        .map(|((name, pid), node)| {
            Ok(Agent {
                resident_mib: memory_mib(pid, "VmRSS:")?,
                open_files: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
                metrics: metrics(cluster, &node.name).with_context(|| format!("metrics of {name}"))?,
                name,
            })
        })
        .collect()
}

fn metrics(cluster: &Cluster, node: &str) -> Result<String> {
    let text = cluster.lab.enter(node, || -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, METRICS_PORT))?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })??;
    if !text.starts_with("HTTP/1.1 200 ") {
        bail!("{}", text.lines().next().unwrap_or_default());
    }
    Ok(text)
}

/// Sum of the series of one name.
fn value(metrics: &str, name: &str) -> f64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let last = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    metrics.lines().filter(of_name).filter_map(last).sum()
}

/// How often the agents attached a hook, and how often the interface was gone before.
fn hooks(cluster: &Cluster) -> Result<[usize; 2]> {
    let mut counts = [0; 2];
    for (name, _) in cluster.processes().filter(|(name, _)| name != "hub") {
        let log = cluster.lab.log_path(&name);
        let text = std::fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
        for (count, words) in counts.iter_mut().zip(["hook attached", "gone before its hook"]) {
            *count += text.lines().filter(|line| line.contains(words)).count();
        }
    }
    Ok(counts)
}

fn summary(
    seen: &Seen,
    churned: u64,
    [attached, gone]: &[usize; 2],
    (before, after): (&[Agent], &[Agent]),
    minutes: u64,
) -> String {
    let sum = |agents: &[Agent], name: &str| -> f64 {
        agents.iter().map(|agent| value(&agent.metrics, &format!("netcheck_agent_{name}"))).sum()
    };
    let grown = |name: &str| sum(after, name) - sum(before, name);
    let Seen { polls, degraded_polls, degraded, silent_polls, alarms } = seen;
    let mut text = format!(
        "\n{minutes} min, {polls} polls, {churned} interfaces made and destroyed\n\
         probes judged {}, suspect {}, late replies {}, turns {}, of them late {}\n\
         degraded in {degraded_polls} polls, {degraded} paths in all; without data in {silent_polls} polls\n\
         hooks attached {attached}, too late {gone}; open before {}, after {}; ring events lost {}\n",
        grown("probes_total"),
        grown("suspect_probes_total"),
        grown("late_replies_total"),
        grown("turns_total"),
        grown("late_turns_total"),
        sum(before, "hooks"),
        sum(after, "hooks"),
        grown("ring_events_lost_total"),
    );
    for (before, after) in before.iter().zip(after) {
        text += &format!(
            "{}: resident {:.1} → {:.1} MiB, open files {} → {}\n",
            before.name, before.resident_mib, after.resident_mib, before.open_files, after.open_files
        );
    }
    for (at, alarm) in alarms {
        text += &format!("FALSE ALARM at {:.0} s: {alarm}\n", at.as_secs_f64());
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Duration, Report, Seen, value};

    #[test]
    fn metrics_are_summed_by_their_whole_name() {
        let text =
            "# TYPE a_b counter\na_b_total{kind=\"icmp\"} 3\na_b_total{kind=\"udp\"} 4\na_b_total_x 9\na 1\n";
        assert!((value(text, "a_b_total") - 7.0).abs() < f64::EPSILON);
        assert!((value(text, "a") - 1.0).abs() < f64::EPSILON);
        assert!(value(text, "b") < f64::EPSILON);
    }

    #[test]
    fn an_unreachable_path_is_an_alarm_once_and_a_degraded_one_is_counted() {
        let finding = |verdict: &str| json!({ "headline": "h", "verdict": verdict });
        let report = json!({ "report": { "degraded": "2", "noData": "1",
            "findings": [finding("VERDICT_UNREACHABLE"), finding("VERDICT_DEGRADED")] } });
        let report = Report::read(&report).unwrap();
        let mut seen = Seen::default();
        for second in 1..=3 {
            seen.take(Duration::from_secs(second), &report);
        }
        assert_eq!((seen.polls, seen.degraded_polls, seen.degraded, seen.silent_polls), (3, 3, 6, 3));
        assert_eq!(seen.alarms, [(Duration::from_secs(1), "unreachable: h".to_owned())]);
    }
}
