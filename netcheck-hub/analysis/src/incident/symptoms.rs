//! What the paths that one cause explains have to say, whichever way it was found. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use netcheck_common::domain::{Outcome, Vantage};

use super::Fact;
use crate::model::location::Certainty;
use crate::words::names::{listed, probe_name, source_name, sources_listed};

/// Facts under one cause.
const FACTS: usize = 6;
/// Fine paths that are named.
const NAMED: usize = 3;

/// Who probes, in short.
pub(super) fn sources(facts: &[&Fact]) -> String {
    let of = |fact: &&Fact| (fact.source.to_string(), fact.path.vantage == Vantage::Pod);
    sources_listed(facts.iter().map(of))
}

/// What is probed, in short.
pub(super) fn targets(facts: &[&Fact]) -> String {
    listed(facts.iter().map(|fact| fact.path.probe.target.label()))
}

/// That nobody is behind any of the targets, where it is so.
pub(super) fn unbacked(facts: &[&Fact]) -> Option<String> {
    let why: Option<BTreeSet<&String>> =
        facts.iter().map(|fact| fact.path.probe.target.unbacked.as_ref()).collect();
    why.map(|why| listed(why.into_iter().cloned()))
}

/// What the target did instead of answering.
pub(super) fn answer(facts: &[&Fact]) -> String {
    let symptoms = || facts.iter().filter_map(|fact| fact.symptom.as_ref());
    let outcomes: BTreeSet<Option<Outcome>> = symptoms().map(|symptom| symptom.outcome).collect();
    let mut only = outcomes.iter().flatten();
    match (only.next(), only.next()) {
        (Some(Outcome::Refused), None) => "refuses".to_owned(),
        (Some(Outcome::DnsError | Outcome::HttpError), None) => {
            let reasons = symptoms().filter_map(|symptom| symptom.at.as_ref()).map(|at| at.reason.clone());
            let reasons: BTreeSet<String> = reasons.filter(|reason| !reason.is_empty()).collect();
            if reasons.is_empty() {
                "answers with errors".to_owned()
            } else {
                format!("answers with {}", listed(reasons.into_iter()))
            }
        }
        (Some(Outcome::Timeout), None) => "is silent".to_owned(),
        _ => "fails".to_owned(),
    }
}

/// The line of a target that answers nobody. `at`: which of its addresses, with a space before it.
pub(super) fn target_line(facts: &[&Fact], at: &str, only: &str, lossy: bool) -> String {
    let (who, answer) = (targets(facts), answer(facts));
    match (lossy, answer.strip_prefix("answers ")) {
        (true, Some(with)) => format!("{who}{at} answers some probes {with}{only}"),
        (false, Some(with)) => format!("{who}{at} answers everybody {with}{only}"),
        (true, None) => format!("{who}{at} loses probes from everybody{only}: it {answer}"),
        (false, None) => format!("{who}{at} answers nobody{only}: it {answer}"),
    }
}

/// What is lost for its size: `packets above 1400 bytes`.
pub(super) fn sizes(facts: &[&Fact]) -> String {
    let symptoms = facts.iter().filter_map(|fact| fact.symptom.as_ref());
    let borders: Vec<(u16, u16)> = symptoms.filter_map(|symptom| symptom.oversize).collect();
    crate::words::patterns::sizes_lost(&borders).unwrap_or_else(|| "large packets".to_owned())
}

/// What is lost for its source port.
pub(super) fn ports(facts: &[&Fact]) -> String {
    let symptoms = facts.iter().filter_map(|fact| fact.symptom.as_ref());
    let found: Vec<_> = symptoms.filter_map(|symptom| symptom.by_port.clone()).collect();
    let what = crate::words::patterns::ports_shared(&found)
        .unwrap_or_else(|| "some source ports lose their packets".to_owned());
    format!("{what}, {}", crate::matrix::ports::LOOKS)
}

/// The locations of losses and how many paths each explains, most first, those that were observed before those that were
/// concluded.
pub(super) fn locations(facts: &[&Fact]) -> Vec<(usize, String)> {
    let mut found: BTreeMap<&str, (bool, usize)> = BTreeMap::new();
    for symptom in facts.iter().filter_map(|fact| fact.symptom.as_ref()) {
        let Some(at) = &symptom.at else { continue };
        let known = found.entry(&symptom.summary).or_default();
        // An unreachable neighbour's error is no proof of where it is.
        known.0 |= at.certainty == Certainty::Observed && at.reason != "EHOSTUNREACH";
        known.1 += 1;
    }
    let mut found: Vec<(bool, usize, &str)> =
        found.into_iter().map(|(summary, (observed, count))| (observed, count, summary)).collect();
    found.sort_by_key(|&(observed, count, summary)| (!observed, Reverse(count), summary));
    found.into_iter().map(|(_, count, summary)| (count, summary.to_owned())).collect()
}

/// `arithmetic`, then what is known of the losses, then the paths that speak against it.
pub(super) fn evidence(arithmetic: Vec<String>, bad: &[&Fact], fine: &[&Fact]) -> Vec<String> {
    let mut lines = arithmetic;
    let (all, located) = (bad.len(), locations(bad));
    let mut facts: Vec<String> =
        located.iter().map(|(count, summary)| format!("{count} of {all} paths: {summary}")).collect();
    let without = all - located.iter().map(|(count, _)| count).sum::<usize>();
    let symptoms = bad.iter().filter_map(|fact| fact.symptom.as_ref());
    let mut known: Vec<&String> = symptoms.flat_map(|symptom| &symptom.evidence).collect();
    known.sort();
    known.dedup();
    facts.truncate(FACTS / 2);
    let room = FACTS - facts.len();
    facts.extend(known.into_iter().take(room).cloned());
    lines.extend(facts);
    if without > 0 && !located.is_empty() {
        lines.push(format!("{without} of {all} paths have no place of their own"));
    }
    if !fine.is_empty() {
        let named: Vec<String> = fine.iter().take(NAMED).map(|fact| path_name(fact)).collect();
        lines.push(format!(
            "against it: {} paths cross it and are fine, as {}",
            fine.len(),
            named.join(", ")
        ));
    }
    lines
}

fn path_name(fact: &Fact) -> String {
    let target = fact.path.probe.target.label();
    let source = source_name(&fact.source, fact.path.vantage == Vantage::Pod);
    format!("{source} → {target} ({})", probe_name(fact.path.probe.kind))
}
