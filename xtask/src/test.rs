//! `cargo xtask test`: all that must hold before a change is taken, part by part. A part that fails doesn't keep
//! the others from running; the summary says which did, and its last line counts them.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::network::Network;
use crate::{Usage, setup};

mod fuzz;
mod parts;
mod steps;
mod walls;

use parts::{PARTS, Part};
use steps::Shared;

/// Options of `test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these parts; by default all but those that are marked in the list
    #[arg(value_name = "PART")]
    parts: Vec<String>,
    /// List the parts and do nothing
    #[arg(long)]
    list: bool,
    /// Let `deny` look for known vulnerabilities too; fetches the advisory database from the network
    #[arg(long)]
    advisories: bool,
    /// Of the battery, only the rows that contain these words: a network, a fault, or a piece of it; several with
    /// commas. `kube-proxy`, `new`, `culprits`, `by-hand`, `field`, `reported` and `day-two` are sets of rows of
    /// their own; `new:WORDS` are some of them
    #[arg(long, value_name = "[SET:]WORDS", default_value = "")]
    rows: String,
    /// Networks of the battery's and the soak's labs, several with commas: `vxlan` or `routed`, then
    /// `+kube-proxy-iptables` or `+kube-proxy-nftables`, then `+cni` for pods that CNI plugins attach
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',')]
    networks: Vec<Network>,
    /// How long `soak` lasts
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
}

/// How a part ended.
struct Outcome {
    name: &'static str,
    passed: bool,
    took: Duration,
}

/// Runs the parts and sums up.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let selected = select(&args.parts)?;
    if args.list {
        for part in PARTS {
            let only = if part.by_name_only { "; only when named" } else { "" };
            println!("{:9}{}{only}", part.name, part.about);
        }
        return Ok(ExitCode::SUCCESS);
    }

    let mut tools: Vec<_> = selected.iter().flat_map(|part| part.tools).copied().collect();
    if selected.iter().any(|part| part.embeds) {
        tools.extend(setup::KERNEL);
    }
    // A tool that couldn't be had fails the parts that need it, not the others.
    if let Err(error) = setup::ensure(&tools) {
        eprintln!("{error:#}");
    }

    let mut shared = Shared::new(args);
    let outcomes: Vec<_> = selected.iter().map(|part| run_part(part, &mut shared)).collect();
    print!("{}", summary(&outcomes));
    let all_passed = outcomes.iter().all(|outcome| outcome.passed);
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_part(part: &Part, shared: &mut Shared) -> Outcome {
    println!("\n==> {}: {}", part.name, part.about);
    let begin = Instant::now();
    let result = setup::require(part.tools)
        .and_then(|()| if part.embeds { shared.kernel_programs() } else { Ok(()) })
        .and_then(|()| (part.run)(shared));
    if let Err(error) = &result {
        eprintln!("{}: {error:#}", part.name);
    }
    Outcome { name: part.name, passed: result.is_ok(), took: begin.elapsed() }
}

/// Whether the parts that a command line names are there.
pub(crate) fn known(args: &Args) -> Result<()> {
    select(&args.parts).map(drop)
}

/// The parts of those names in the order of the table, or all that need not be named.
fn select(names: &[String]) -> Result<Vec<&'static Part>> {
    let known = |name: &String| PARTS.iter().any(|part| part.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<_> = PARTS.iter().map(|part| part.name).collect();
        return Err(Usage(format!("no part `{unknown}` to test; there are: {}", all.join(" "))).into());
    }
    let named = |part: &&Part| names.iter().any(|name| name == part.name);
    let by_default = |part: &&Part| names.is_empty() && !part.by_name_only;
    Ok(PARTS.iter().filter(|part| named(part) || by_default(part)).collect())
}

/// The table, and below it the line that CI reads.
fn summary(outcomes: &[Outcome]) -> String {
    let mut text = format!("\n{:10}{:8}{:>8}\n", "part", "result", "seconds");
    for outcome in outcomes {
        let result = if outcome.passed { "ok" } else { "FAILED" };
        text += &format!("{:10}{result:8}{:8.1}\n", outcome.name, outcome.took.as_secs_f64());
    }
    let passed = outcomes.iter().filter(|outcome| outcome.passed).count();
    text + &format!("{passed} passed, {} failed\n", outcomes.len() - passed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outcome, PARTS, select, summary};
    use crate::setup;

    fn names(wanted: &[&str]) -> Vec<&'static str> {
        let wanted: Vec<_> = wanted.iter().map(|&name| name.to_owned()).collect();
        select(&wanted).unwrap().iter().map(|part| part.name).collect()
    }

    #[test]
    fn parts_run_once_and_in_the_tables_order() {
        assert_eq!(names(&[]).len(), PARTS.iter().filter(|part| !part.by_name_only).count());
        assert_eq!(names(&["battery"]), ["battery"]);
        assert_eq!(names(&["unit", "fmt", "unit"]), ["fmt", "unit"]);
    }

    #[test]
    fn an_unknown_part_is_named_with_those_there_are() {
        let error = select(&["unitt".to_owned()]).err().unwrap();
        assert!(error.is::<crate::Usage>());
        let text = error.to_string();
        assert!(text.contains("`unitt`") && text.contains("fmt typos buf machete"), "{text}");
    }

    #[test]
    fn every_tool_that_a_part_names_can_be_set_up() {
        for part in PARTS {
            for tool in part.tools {
                assert!(setup::is_part(tool), "{}: {tool}", part.name);
            }
        }
    }

    #[test]
    fn the_last_line_counts_the_parts() {
        let took = Duration::from_millis(1250);
        let outcome = |name, passed| Outcome { name, passed, took };
        let text = summary(&[outcome("fmt", true), outcome("unit", false), outcome("doc", true)]);
        assert_eq!(text.lines().last(), Some("2 passed, 1 failed"));
        assert!(text.contains("unit      FAILED       1.2"), "{text}");
    }
}
