//! The rule that drops probes is named in the incident: the one that the lab inserted, by the handle that nft shows in the
//! lab's namespace, never by reading the report's words back.

use std::time::Duration;

use netcheck_netlab::{Lab, LabSpec, Mode};
use serde_json::Value;
use xtask::cluster::{Cluster, Settings};

use crate::{args, healthy, inject};

/// Until probes are lost, the incident is open, the hub has asked, and the agent has watched for a moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// A rule as nft itself has it: family, table, chain, handle.
type Rule = (String, String, String, u64);

/// All rules on a node that drop or reject, in tables that the lab's faults made.
fn inserted(lab: &Lab, node: &str) -> Vec<Rule> {
    let output = lab.exec(node, &["nft", "-a", "list", "ruleset"]).unwrap();
    let (mut table, mut chain) = ((String::new(), String::new()), String::new());
    let mut rules = Vec::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["table", family, name, ..] => table = ((*family).to_owned(), (*name).to_owned()),
            ["chain", name, ..] => chain = (*name).to_owned(),
            [.., verdict, "#", "handle", handle] if ["drop", "reject"].contains(verdict) => {
                rules.push((table.0.clone(), table.1.clone(), chain.clone(), handle.parse().unwrap()));
            }
            // nft says what a rejection is by.
            [.., "#", "handle", handle] if words.contains(&"reject") => {
                rules.push((table.0.clone(), table.1.clone(), chain.clone(), handle.parse().unwrap()));
            }
            _ => {}
        }
    }
    rules.retain(|(_, table, ..)| table.starts_with("netlab_fault_"));
    rules
}

/// Culprits of all open incidents.
fn culprits(cluster: &Cluster) -> Vec<Value> {
    let answer = cluster.ask(&["incidents"]).unwrap();
    let incidents = answer["incidents"].as_array().cloned().unwrap_or_default();
    incidents
        .iter()
        .flat_map(|incident| incident["culprits"].as_array().cloned().unwrap_or_default())
        .collect()
}

fn rule(culprit: &Value) -> Option<Rule> {
    let rule = culprit.get("rule")?;
    let text = |name: &str| rule[name].as_str().unwrap_or_default().to_owned();
    let handle = rule["handle"].as_str().unwrap_or("0").parse().unwrap();
    Some((text("family"), text("table"), text("chain"), handle))
}

#[test]
fn the_rule_that_the_lab_inserted_is_named() {
    let cluster = healthy("e2e-culprits", Mode::Vxlan, Settings::default());
    // One node each: an agent traces rules three times in a row, and then once a minute.
    for (node, fault) in [
        ("n1", "drop node=n1 hook=input proto=udp dport=6100"),
        ("n2", "drop node=n2 hook=forward"),
        ("n3", "reject node=n3 hook=input proto=tcp dport=6100"),
        ("n4", "drop node=n4 hook=output proto=tcp sport=6100"),
    ] {
        let fault = inject(&cluster, fault);
        let ours = inserted(&cluster.lab, node);
        assert!(!ours.is_empty(), "{fault} inserts rules");
        let mut named = Vec::new();
        cluster
            .wait(&format!("the culprit of {fault}"), PATIENCE, |_| {
                named = culprits(&cluster);
                named.iter().any(|culprit| rule(culprit).is_some())
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.shown(&["incidents"]).unwrap()));
        for culprit in &named {
            let found = rule(culprit).unwrap_or_else(|| panic!("{culprit}"));
            assert!(ours.contains(&found), "{fault}: {found:?} is none of {ours:?}");
            assert_eq!(culprit["node"], node);
        }
        let shown = cluster.shown(&["report"]).unwrap();
        let (family, table, chain, _) = &ours[0];
        assert!(shown.contains(&format!("nft -a list chain {family} {table} {chain}")), "{shown}");
        println!("{fault}\n{shown}");
        let tables = cluster.lab.exec(node, &["nft", "list", "tables"]).unwrap();
        assert!(
            !String::from_utf8_lossy(&tables.stdout).contains("netcheck_trace_"),
            "the search's own is gone"
        );
        cluster.lab.heal_all().unwrap();
        cluster.wait_healthy().unwrap();
        cluster
            .wait("the incident is over", PATIENCE, |_| {
                !cluster.incidents().unwrap().iter().any(|one| one.open)
            })
            .unwrap();
    }
    cluster.stop().unwrap().down().unwrap();
}

#[test]
fn an_agent_that_must_not_look_says_so() {
    let lab = Lab::up(LabSpec { mode: Mode::Routed, ..LabSpec::named("e2e-culprits-off") }).unwrap();
    let settings = Settings { agent_args: args("--explain-rules off"), ..Settings::default() };
    let cluster = Cluster::start(lab, settings).unwrap();
    cluster.wait_healthy().unwrap();
    inject(&cluster, "drop node=n2 hook=forward");
    cluster
        .wait("why nothing is named", PATIENCE, |_| {
            culprits(&cluster).iter().any(|culprit| {
                culprit["kind"] == "CULPRIT_KIND_UNTOLD"
                    && culprit["text"].as_str().is_some_and(|why| why.contains("--explain-rules off"))
            })
        })
        .unwrap();
    cluster.stop().unwrap().down().unwrap();
}
