//! How far reported delays are off while hosts are starved, and in whose share the delay lands: netcheck's figures and
//! those of `ping`, each against a capture of the very same packets at the source's interface.
//!
//! A hub keeps quantiles of many probes together. So a listener stands in its place (`proto/examples/listener.rs`),
//! which writes down windows of one probe each. Their delays are still middles of buckets of the sketch: up to 3 % off,
//! which is the least error that can be seen here.

mod capture;
mod load;
mod ping;
mod reported;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use netcheck_common::sketch::{bucket_bounds, bucket_of};
use netcheck_netlab::Process;
use serde_json::{Value, json};

use self::capture::Capture;
use self::load::Load;
use self::ping::Ping;
use self::reported::{Delays, Kind, Samples};
use super::Output;
use super::spread::{Aim, Goal, Tail, short};
use super::veth_pair::{FAR, FAR_V4, NEAR, VethPair};
use crate::cluster::Profile;
use crate::tools;

/// ICMP paths, and as many of UDP, each with up to five probes a second.
const PATHS: &str = "20";
const POLL: Duration = Duration::from_millis(50);
/// How long until a load shows, and until an agent that had none of the CPU has reported everything.
const SETTLE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of `bench split`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// How many seconds each of the five loads lasts
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
    #[command(flatten)]
    pub(super) output: Output,
}

/// One kind of figure under one load; microseconds.
struct Row {
    what: &'static str,
    value: Tail,
    /// Error against the captured packets; none for what the capture itself says.
    error: Option<Tail>,
    /// Error beyond the sketch's rounding: how far the captured delay lies outside of the reported bucket; none for
    /// pings.
    beyond: Option<Tail>,
}

/// All figures under one load.
struct Phase {
    load: Load,
    rows: Vec<Row>,
    /// Probes that the agent did not judge.
    suspect: u64,
    /// Reported probes that no packet of the capture could be found for.
    unmatched: u64,
}

const USER_CLOCK: &str = "ping -U (user clock)";
const PING: &str = "ping";
const ICMP_ROUND_TRIP: &str = "ICMP round trip";
const ICMP_NETWORK: &str = "ICMP network share";
const UDP_ROUND_TRIP: &str = "UDP round trip";
const UDP_RESPONDER: &str = "UDP responder share";
const UDP_NETWORK: &str = "UDP network share";

/// Measures under each load, and prints a table for each and the goals.
pub(super) fn run(args: &Args) -> Result<()> {
    let veth_pair = VethPair::up(args.output.profile())?;
    veth_pair.receive_like_hardware()?;
    let listener = listen(&veth_pair, args.output.profile())?;
    let style =
        ProgressStyle::with_template("{bar:40} {pos}/{len} s, {msg}").context("the bar's template")?;
    let bar = ProgressBar::new(args.seconds * Load::ALL.len() as u64).with_style(style);
    let mut phases = Vec::new();
    for load in Load::ALL {
        bar.set_message(load.title());
        phases.push(measure(&veth_pair, load, args.seconds, &bar).with_context(|| load.title())?);
    }
    bar.finish_and_clear();
    drop(listener);
    veth_pair.down()?;
    let goals = goals(&phases);
    if args.output.json {
        let goals: Vec<Value> = goals.iter().map(Goal::to_json).collect();
        let phases: Vec<Value> = phases.iter().map(Phase::to_json).collect();
        println!("{}", json!({"seconds": args.seconds, "phases": phases, "goals": goals}));
        return Ok(());
    }
    for phase in &phases {
        println!("{}", phase.table());
    }
    println!(
        "errors against a capture of the same packets; netcheck's sketches have buckets of up to 6 %: \
         what lies beyond them is no rounding"
    );
    for goal in goals {
        println!("{}", goal.line());
    }
    Ok(())
}

fn hub(veth_pair: &VethPair) -> String {
    format!("{}:7070", veth_pair.lab.topology().hub_v4)
}

fn listen(veth_pair: &VethPair, profile: Profile) -> Result<Process> {
    let folder = if profile == Profile::Release { "release" } else { "debug" };
    let program = tools::target_dir().join(folder).join("examples/listener");
    veth_pair.lab.spawn_in("hub", program, &[&hub(veth_pair), NEAR, FAR_V4, PATHS], &[], "listener")
}

fn measure(veth_pair: &VethPair, load: Load, seconds: u64, bar: &ProgressBar) -> Result<Phase> {
    let url = format!("http://{}", hub(veth_pair));
    let log = veth_pair.lab.log_path("listener");
    let log_lines = || std::fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()));
    let known = log_lines()?.len();
    let agents = [veth_pair.start_agent(NEAR, &url)?, veth_pair.start_agent(FAR, &url)?];
    wait("an agent reports nothing", || Ok(log_lines()?.len() > known))?;
    let capture = Capture::start(veth_pair)?;
    let loaded = load.begin(veth_pair, agents[0].id(), agents[1].id())?;
    std::thread::sleep(SETTLE);
    let begin_ns = unix_ns()?;
    let (user_clock, ping) =
        (Ping::start(veth_pair, true, seconds)?, Ping::start(veth_pair, false, seconds)?);
    loaded.also(&[user_clock.id(), ping.id()])?;
    let start = Instant::now();
    let done = bar.position();
    while start.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(POLL);
        bar.set_position(done + start.elapsed().as_secs());
    }
    let span_ns = begin_ns..unix_ns()?;
    loaded.end()?;
    wait("an agent does not report to the end", || {
        Ok(reported::newest_ns(&log_lines()?[known..]).is_some_and(|newest_ns| newest_ns > span_ns.end))
    })?;
    let (user_clock, ping) = (user_clock.end()?, ping.end()?);
    let captured = capture.end(unix_ns()?)?;
    agents.into_iter().try_for_each(VethPair::stop_agent)?;

    let samples = Samples::read(&log_lines()?[known..], &captured, &span_ns)?;
    let mut rows = Vec::new();
    for (what, seen) in [(USER_CLOCK, user_clock), (PING, ping)] {
        let pairs = seen.against(&captured);
        rows.push(Row { beyond: None, ..Row::of(what, pairs) });
    }
    let of = |kind: Kind, delay: fn(&Delays) -> &Vec<(f64, f64)>| delay(samples.of(kind)).clone();
    rows.push(Row::of(ICMP_ROUND_TRIP, of(Kind::Icmp, |delays| &delays.round_trip)));
    rows.push(Row::of(ICMP_NETWORK, of(Kind::Icmp, |delays| &delays.network)));
    rows.push(Row::of(UDP_ROUND_TRIP, of(Kind::Udp, |delays| &delays.round_trip)));
    let responder = of(Kind::Udp, |delays| &delays.responder);
    rows.push(Row { error: None, beyond: None, ..Row::of(UDP_RESPONDER, responder) });
    rows.push(Row::of(UDP_NETWORK, of(Kind::Udp, |delays| &delays.network)));
    Ok(Phase { load, rows, suspect: samples.suspect, unmatched: samples.unmatched })
}

fn wait(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        if Instant::now() > deadline {
            bail!("{what} within {PATIENCE:?}");
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn unix_ns() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    u64::try_from(since.as_nanos()).context("the clock stands after 2554")
}

impl Row {
    /// Of pairs of what was reported and what was captured, nanoseconds.
    fn of(what: &'static str, pairs: Vec<(f64, f64)>) -> Self {
        let errors = pairs.iter().map(|(reported, captured)| (reported - captured).abs() / 1e3).collect();
        let beyond =
            pairs.iter().map(|&(reported, captured)| beyond_bucket_ns(reported, captured) / 1e3).collect();
        let values = pairs.into_iter().map(|(reported, _)| reported / 1e3).collect();
        Self { what, value: Tail::of(values), error: Some(Tail::of(errors)), beyond: Some(Tail::of(beyond)) }
    }
}

/// How far a delay lies outside of the bucket that was reported for it.
fn beyond_bucket_ns(reported_ns: f64, captured_ns: f64) -> f64 {
    let (low, high) = bucket_bounds(bucket_of(reported_ns as u64));
    (low as f64 - captured_ns).max(captured_ns - high as f64).max(0.0)
}

impl Phase {
    fn row(&self, what: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.what == what)
    }

    fn value(&self, what: &str) -> Option<Tail> {
        Some(self.row(what)?.value)
    }

    /// p99, microseconds; NaN where there is none.
    fn error_us(&self, what: &str) -> f64 {
        self.row(what).and_then(|row| row.error).map_or(f64::NAN, |error| error.p99)
    }

    fn to_json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({"what": row.what, "us": row.value.to_json(), "error_us": row.error.map(Tail::to_json),
                       "beyond_bucket_us": row.beyond.map(Tail::to_json)})
            })
            .collect();
        json!({"load": self.load.title(), "rows": rows, "suspect": self.suspect, "unmatched": self.unmatched})
    }

    fn table(&self) -> String {
        let mut text = format!("{}\n", self.load.title());
        let heads = ["samples", "p50 µs", "p99", "p99.9", "error p50", "p99", "p99.9", "beyond p99"];
        text += &format!("{:<22}", "");
        for head in heads {
            text += &format!(" {head:>10}");
        }
        for Row { what, value, error, beyond } in &self.rows {
            text += &format!("\n{what:<22} {:>10}", value.samples);
            for tail in std::iter::once(value).chain(error) {
                for figure in [tail.p50, tail.p99, tail.p999] {
                    text += &format!(" {:>10}", short(figure));
                }
            }
            text += &beyond.map_or(String::new(), |beyond| format!(" {:>10}", short(beyond.p99)));
        }
        if self.suspect + self.unmatched > 0 {
            text += &format!("\n{} suspect, {} without their packets", self.suspect, self.unmatched);
        }
        text + "\n"
    }
}

fn goals(phases: &[Phase]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for phase in phases {
        let load = phase.load.title();
        let (user, ping) = (phase.error_us(USER_CLOCK), phase.error_us(PING));
        let mut share_of_user = |part: f64| {
            for what in [ICMP_ROUND_TRIP, ICMP_NETWORK, UDP_NETWORK] {
                let error = phase.error_us(what);
                let what = format!("{load}: {what}, p99 error, share of a user clock's");
                goals.push(Goal::new(what, error / user, Aim::AtMost(part)));
            }
        };
        match phase.load {
            Load::None => {}
            Load::Busy => {
                share_of_user(1.0 / 100.0);
                for what in [ICMP_NETWORK, UDP_NETWORK] {
                    let error = phase.error_us(what);
                    goals.push(Goal::new(format!("{load}: {what}, p99 error, µs"), error, Aim::AtMost(3.0)));
                    let what = format!("{load}: {what}, p99 error, share of ping's");
                    goals.push(Goal::new(what, error / ping, Aim::AtMost(0.5)));
                }
            }
            Load::Quota => share_of_user(1.0 / 500.0),
            Load::Starved | Load::Asleep => {
                let tail = |what| phase.value(what).map_or([f64::NAN; 2], |tail| [tail.p99, tail.p999]);
                let ([round_trip_99, round_trip], [responder_99, _], [_, network]) =
                    (tail(UDP_ROUND_TRIP), tail(UDP_RESPONDER), tail(UDP_NETWORK));
                let what = format!("{load}: UDP network share, p99.9, part of the round trip's");
                goals.push(Goal::new(what, network / round_trip, Aim::AtMost(1.0 / 50.0)));
                if phase.load == Load::Asleep {
                    let what = format!("{load}: UDP responder share, p99, part of the round trip's");
                    goals.push(Goal::new(what, responder_99 / round_trip_99, Aim::AtLeast(0.9)));
                }
            }
        }
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::{Row, beyond_bucket_ns};

    #[test]
    fn errors_with_and_without_rounding() {
        // 1024 to 1088 is one bucket.
        for (captured_ns, beyond_ns) in [(1030.0, 0.0), (1088.0, 0.0), (1100.0, 12.0), (1000.0, 24.0)] {
            assert!(
                (beyond_bucket_ns(1056.0, captured_ns) - beyond_ns).abs() < f64::EPSILON,
                "{captured_ns}"
            );
        }
        let row = Row::of("x", vec![(1056.0, 1030.0), (1056.0, 1100.0)]);
        let [error, beyond] = [row.error, row.beyond].map(|tail| tail.unwrap().p999);
        assert_eq!((row.value.samples, error, beyond), (2, 0.044, 0.012));
    }
}
