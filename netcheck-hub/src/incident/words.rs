//! Causes in words: what names them, the line for people, the arithmetic and the facts.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use netcheck_common::domain::Outcome;

use super::Fact;
use super::cause::{Cause, Scope, Side, Suspect, Symbol};
use super::index::{Index, Item};
use super::tally::Tallies;
use crate::report::{listed, target_name};

/// Facts under one cause.
const FACTS: usize = 6;
/// Fine paths that are named.
const NAMED: usize = 3;

/// Says what the numbers mean.
pub struct Speaker<'a> {
    /// The paths.
    pub facts: &'a [Fact],
    /// Their numbers.
    pub index: &'a Index,
    /// Their counts.
    pub tallies: &'a Tallies<'a>,
}

fn scoped(scope: Scope, item: &Item) -> bool {
    scope.probe.is_none_or(|probe| probe == item.probe)
        && scope.family.is_none_or(|family| family == item.family)
}

impl Speaker<'_> {
    fn fact(&self, number: usize) -> &Fact {
        &self.facts[self.index.items[number].fact]
    }

    fn pair(&self, a: Symbol, b: Symbol) -> [&str; 2] {
        let mut names = [self.index.name(a), self.index.name(b)];
        names.sort_unstable();
        names
    }

    /// Names the cause, the same in every evaluation.
    #[must_use]
    pub fn key(&self, cause: &Cause) -> String {
        let name = |symbol| self.index.name(symbol);
        let base = match cause.suspect {
            Suspect::Place(place) => format!("place/{}", self.index.places[place].key),
            Suspect::LinkOneWay(a, b) => format!("link/{}>{}", name(a), name(b)),
            Suspect::Link(a, b) => format!("link/{}", self.pair(a, b).join("~")),
            Suspect::ZonesOneWay(a, b) => format!("zones/{}>{}", name(a), name(b)),
            Suspect::Zones(a, b) => format!("zones/{}", self.pair(a, b).join("~")),
            Suspect::Backend(backend) => format!("backend/{}", name(backend)),
            Suspect::Target(target) => format!("target/{}", name(target)),
            Suspect::Service(service) => format!("service/{}", name(service)),
            Suspect::Pods(node) => format!("pods/{}", name(node)),
            Suspect::Node(node, _) => format!("node/{}", name(node)),
            Suspect::Everywhere => "everywhere".to_owned(),
            Suspect::From(source, target) => format!("from/{}/{}", name(source), name(target)),
            Suspect::Scattered => "scattered".to_owned(),
        };
        match cause.scope.name() {
            scope if scope.is_empty() => base,
            scope => format!("{base} ({scope})"),
        }
    }

    /// Facts of paths that cross a cause and are fine, as places in the facts.
    #[must_use]
    pub fn contradictions(&self, cause: &Cause, bad: &BTreeSet<usize>) -> Vec<usize> {
        let items = || bad.iter().map(|&number| &self.index.items[number]);
        let what: HashSet<_> = items().map(|item| (item.probe, item.family)).collect();
        let suspect = cause.suspect.undirected().unwrap_or(cause.suspect);
        let sides = |node| (items().any(|item| item.source == node), items().any(|item| item.node == node));
        let place = match suspect {
            Suspect::Place(place) => {
                let node = self.index.places[place].node;
                Some((node, sides(node)))
            }
            _ => None,
        };
        let crosses = |item: &Item| match place {
            Some((node, (out, into))) => {
                what.contains(&(item.probe, item.family))
                    && ((out && item.source == node) || (into && item.node == node))
            }
            None => {
                let mut found = false;
                item.crosses(|crossed| found |= crossed == suspect);
                found && scoped(cause.scope, item)
            }
        };
        let fine = self.index.items.iter().filter(|item| !item.bad && crosses(item));
        fine.map(|item| item.fact).collect()
    }

    /// One line for people, cause first.
    #[must_use]
    pub fn headline(&self, cause: &Cause, bad: &BTreeSet<usize>, unreachable: bool, partial: bool) -> String {
        let name = |symbol| self.index.name(symbol);
        let targets =
            || listed(bad.iter().map(|&at| target_name(&self.fact(at).path.probe.target.to_wire())));
        let sources = || listed(bad.iter().map(|&at| self.fact(at).source.to_string()));
        let only = match cause.scope.name() {
            scope if scope.is_empty() => String::new(),
            scope => format!(", {scope} only"),
        };
        let lossy = partial || !unreachable;
        let between = |[a, b]: [&str; 2], zone: &str| {
            if lossy {
                format!("probes are lost between {zone}{a} and {zone}{b}{only}")
            } else {
                format!("nothing passes between {zone}{a} and {zone}{b}{only}")
            }
        };
        let place = self.place(bad).map(|place| format!(": {place}")).unwrap_or_default();
        match cause.suspect {
            Suspect::Place(_) => {
                format!("{} ({} → {})", place.trim_start_matches(": "), sources(), targets())
            }
            Suspect::LinkOneWay(a, b) => {
                format!("packets from {} to {} are lost, those back are not{only}", name(a), name(b))
            }
            Suspect::ZonesOneWay(a, b) => {
                format!(
                    "packets from zone {} to zone {} are lost, those back are not{only}",
                    name(a),
                    name(b)
                )
            }
            Suspect::Link(a, b) => between(self.pair(a, b), ""),
            Suspect::Zones(a, b) => between(self.pair(a, b), "zone "),
            Suspect::Backend(backend) => {
                let what = if lossy { "fails its share of" } else { "fails" };
                format!("{} {}: it {what} {}{only}", name(backend), self.answer(bad), targets())
            }
            Suspect::Target(_) | Suspect::Service(_) => {
                let answer = self.answer(bad);
                let how = match (lossy, answer.starts_with("answers")) {
                    (true, _) => "loses probes from everybody",
                    (false, true) => "answers nobody as it should",
                    (false, false) => "answers nobody",
                };
                format!("{} {how}{only}: it {answer}", targets())
            }
            Suspect::Pods(node) => {
                let how = if lossy { "lose probes" } else { "are cut off" };
                format!("the pods on {} {how}{only}{place}", name(node))
            }
            Suspect::Node(node, _) if lossy => format!("{} loses probes{only}{place}", name(node)),
            Suspect::Node(node, Side::Both) => {
                format!("{} answers nobody and reaches nobody{only}{place}", name(node))
            }
            Suspect::Node(node, Side::In) => format!("{} answers nobody{only}{place}", name(node)),
            Suspect::Node(node, Side::Out) => format!("{} reaches nobody{only}{place}", name(node)),
            Suspect::Everywhere => {
                let what = cause.scope.name();
                let what = if what.is_empty() { "every kind of probe" } else { &what };
                format!("{what} {} everywhere{place}", if lossy { "loses probes" } else { "fails" })
            }
            Suspect::From(..) => format!("{} loses probes to {}{only}{place}", sources(), targets()),
            Suspect::Scattered => {
                format!(
                    "{} paths fail that have nothing in common ({} → {})",
                    bad.len(),
                    sources(),
                    targets()
                )
            }
        }
    }

    /// What the target did instead of answering.
    fn answer(&self, bad: &BTreeSet<usize>) -> String {
        let outcomes: BTreeSet<Option<Outcome>> = bad
            .iter()
            .filter_map(|&at| self.fact(at).symptom.as_ref())
            .map(|symptom| symptom.outcome)
            .collect();
        let mut only = outcomes.iter().flatten();
        match (only.next(), only.next()) {
            (Some(Outcome::Refused), None) => "refuses".to_owned(),
            (Some(Outcome::DnsError), None) => {
                let reason =
                    |at: &usize| self.fact(*at).symptom.as_ref()?.at.as_ref().map(|at| at.reason.clone());
                let reasons: BTreeSet<String> =
                    bad.iter().filter_map(reason).filter(|it| !it.is_empty()).collect();
                if reasons.is_empty() {
                    "answers with errors".to_owned()
                } else {
                    format!("answers {}", listed(reasons.into_iter()))
                }
            }
            (Some(Outcome::Timeout), None) => "is silent".to_owned(),
            _ => "fails".to_owned(),
        }
    }

    /// The places where its probes died and how many paths each explains, most first, those that were seen before
    /// those that were concluded.
    fn places(&self, bad: &BTreeSet<usize>) -> Vec<(usize, String)> {
        let mut places: BTreeMap<&str, (bool, usize)> = BTreeMap::new();
        for number in bad {
            let item = &self.index.items[*number];
            let Some(symptom) = &self.fact(*number).symptom else { continue };
            if symptom.at.is_some() {
                let known = places.entry(&symptom.summary).or_default();
                known.0 |= item.observed;
                known.1 += 1;
            }
        }
        let mut places: Vec<(bool, usize, &str)> =
            places.into_iter().map(|(place, (observed, count))| (observed, count, place)).collect();
        places.sort_by_key(|&(observed, count, place)| (!observed, std::cmp::Reverse(count), place));
        places.into_iter().map(|(_, count, place)| (count, place.to_owned())).collect()
    }

    fn place(&self, bad: &BTreeSet<usize>) -> Option<String> {
        self.places(bad).into_iter().next().map(|(_, place)| place)
    }

    /// The arithmetic first, then facts.
    #[must_use]
    pub fn evidence(&self, cause: &Cause, bad: &BTreeSet<usize>, contradictions: &[usize]) -> Vec<String> {
        let mut lines = vec![self.arithmetic(cause, bad, contradictions)];
        let located: Vec<(usize, String)> = self.places(bad);
        let mut facts: Vec<String> =
            located.iter().map(|(count, place)| format!("{count} of {} paths: {place}", bad.len())).collect();
        let without = bad.len() - located.iter().map(|(count, _)| count).sum::<usize>();
        let mut told: Vec<&String> = Vec::new();
        for symptom in bad.iter().filter_map(|&at| self.fact(at).symptom.as_ref()) {
            told.extend(symptom.evidence.iter());
        }
        told.sort();
        told.dedup();
        facts.truncate(FACTS / 2);
        let room = FACTS - facts.len();
        facts.extend(told.into_iter().take(room).cloned());
        lines.extend(facts);
        if without > 0 && !located.is_empty() {
            lines.push(format!("{without} of {} paths have no place of their own", bad.len()));
        }
        if !contradictions.is_empty() {
            let name = |&at: &usize| {
                let fact = &self.facts[at];
                let target = target_name(&fact.path.probe.target.to_wire());
                format!("{} → {target} ({})", fact.source, super::cause::probe_name(fact.path.probe.kind))
            };
            let named: Vec<String> = contradictions.iter().take(NAMED).map(name).collect();
            lines.push(format!(
                "against it: {} paths cross it and are fine, as {}",
                contradictions.len(),
                named.join(", ")
            ));
        }
        lines
    }

    /// How many of the paths that cross it are bad, and how many of the others.
    fn arithmetic(&self, cause: &Cause, bad: &BTreeSet<usize>, contradictions: &[usize]) -> String {
        let name = |symbol| self.index.name(symbol);
        // Bad paths that cross it count even where another cause, which a kernel's report proves, explains them.
        let crossing = self.tallies.get(cause).map_or(bad.len(), |tally| tally.bad.len());
        let crossing = crossing.max(bad.len());
        let judged = crossing + contradictions.len();
        let all_bad = self.index.items.iter().filter(|item| item.bad).count();
        let others = self.index.items.len().saturating_sub(judged);
        let scope = cause.scope.name();
        let probes = if scope.is_empty() { "paths".to_owned() } else { format!("{scope} paths") };
        let which = match cause.suspect {
            Suspect::Place(place) => {
                format!("{probes} through {} of these kinds", name(self.index.places[place].node))
            }
            Suspect::LinkOneWay(a, b) | Suspect::Link(a, b) => {
                let [a, b] = self.pair(a, b);
                format!("{probes} between {a} and {b}")
            }
            Suspect::ZonesOneWay(a, b) | Suspect::Zones(a, b) => {
                let [a, b] = self.pair(a, b);
                format!("{probes} between zones {a} and {b}")
            }
            Suspect::Backend(backend) => format!("{probes} known to have met {}", name(backend)),
            Suspect::Target(target) => format!("{probes} to {}", name(target)),
            Suspect::Service(service) => format!("{probes} to service {}", name(service)),
            Suspect::Pods(node) => format!("{probes} of pods on {}", name(node)),
            Suspect::Node(node, Side::In) => format!("{probes} to {}", name(node)),
            Suspect::Node(node, Side::Out) => format!("{probes} from {}", name(node)),
            Suspect::Node(node, Side::Both) => format!("{probes} to and from {}", name(node)),
            Suspect::Everywhere => format!("{probes} in the cluster"),
            Suspect::From(source, target) => format!("{probes} from {} to {}", name(source), name(target)),
            Suspect::Scattered => probes,
        };
        format!(
            "{crossing} of {judged} {which} fail, {} of {others} others",
            all_bad.saturating_sub(crossing).min(others)
        )
    }
}
