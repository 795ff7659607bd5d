//! Which object did it: asks the agents where an incident's probes die, and keeps what they answer.
//!
//! One question at a time per agent, with all that is open there. What was found is kept for a while; that nothing was
//! found, for a shorter one. An incident's culprits are those of its places, so nothing is asked before a place is known.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use netcheck_common::domain::{PathId, ProbeKind};
use netcheck_proto::{convert, v1};

use self::case::{case, far_end, mistranslated, no_endpoint, receiver, sender, strayed, translates};
use super::State;
use netcheck_analysis::cluster::roster::Owner;
use netcheck_analysis::evidence::locate::addressee;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_analysis::model::culprit::{Culprit, CulpritKind};
use netcheck_analysis::plan::Probe;
use netcheck_analysis::wire;

mod case;

/// Cases of one question; the rest waits for the next.
const CASES: usize = 8;
/// Incidents that are looked at with one tick, worst first.
const INCIDENTS: usize = 32;
/// Paths of one incident that are looked at.
const PATHS: usize = 64;
/// Newest losses of one path that are looked at.
const LOSSES: usize = 4;
/// Cases of one incident that are asked about, those with most losses first.
const PLACES: usize = 12;
/// A question that is not answered by then is forgotten.
const ANSWER_NS: i64 = 12 * SECOND_NS;
/// How long a culprit is taken for the one.
const FOUND_NS: i64 = 600 * SECOND_NS;
/// The same of nothing.
const NOTHING_NS: i64 = 180 * SECOND_NS;
/// After no answer.
const SILENT_NS: i64 = 30 * SECOND_NS;
/// How long an incident's first losses are waited for, so that one question has them all: agents may trace rules a few times only.
const GATHER_NS: i64 = SECOND_NS;
/// The same of what comes after a question.
const NEXT_NS: i64 = 5 * SECOND_NS;
/// For how long after an operator asked agents may be asked that wait for that.
const DEMAND_NS: i64 = 60 * SECOND_NS;

/// What a place is called: node, stage, interface, reason; and of what kind and family the probes are that die there, for
/// a rule may stand there for each. A node's rules are the same for all interfaces.
type Place = (String, i32, String, String, ProbeKind, bool);

/// A path by its source and number.
type PathOf = (Arc<str>, PathId);

/// A place of an incident.
type Key = (String, Place);

#[derive(Debug, Default)]
struct Known {
    culprits: Vec<Culprit>,
    /// When it is to be asked about again.
    due_ns: i64,
}

#[derive(Debug)]
struct Asked {
    to: NodeIx,
    /// Of the session that was asked: with another one comes no answer.
    generation: u64,
    until_ns: i64,
    cases: Vec<Key>,
}

/// Questions that are out, and what was answered.
#[derive(Debug, Default)]
pub struct Culprits {
    next: u64,
    out: HashMap<u64, Asked>,
    known: HashMap<Key, Known>,
    /// By incident and node: no question before.
    next_ns: HashMap<(String, NodeIx), i64>,
    demand_ns: Option<i64>,
}

/// A place, one of the probes that die there, and how many others do.
struct Case {
    losses: usize,
    wire: v1::CulpritCase,
    source: NodeIx,
    path: PathId,
    /// The path's next probe goes where this one went.
    returns: bool,
}

impl Culprits {
    /// An operator wants to know: agents that wait for that may be asked.
    pub fn demand(&mut self, now_ns: i64) {
        self.demand_ns = Some(now_ns);
        let unknown = |known: &&mut Known| known.culprits.iter().all(Culprit::is_untold);
        for known in self.known.values_mut().filter(unknown) {
            known.due_ns = now_ns;
        }
    }

    fn is_demanded(&self, now_ns: i64) -> bool {
        self.demand_ns.is_some_and(|at_ns| now_ns - at_ns < DEMAND_NS)
    }

    /// Of one incident, all of its places.
    fn of(&self, incident: &str) -> Vec<Culprit> {
        let of_it = self.known.iter().filter(|((id, _), _)| id == incident);
        let mut all: Vec<Culprit> = of_it.flat_map(|(_, known)| known.culprits.iter().cloned()).collect();
        // That one place is not known is no news beside what another one showed.
        if all.iter().any(|culprit| !culprit.is_untold()) {
            all.retain(|culprit| !culprit.is_untold());
        }
        // Nor is that somebody does not answer, beside why.
        if all.iter().any(|culprit| !culprit.symptom) {
            all.retain(|culprit| !culprit.symptom);
        }
        all.sort_by(|a, b| (&a.node, a.kind, &a.object, &a.text).cmp(&(&b.node, b.kind, &b.object, &b.text)));
        all.dedup_by(|a, b| (&a.node, &a.object) == (&b.node, &b.object) && !a.object.is_empty());
        all.dedup_by(|a, b| (&a.node, &a.object, &a.text) == (&b.node, &b.object, &b.text));
        all
    }

    /// Forgets what was found at places where nothing of an incident dies any more: late evidence moved it elsewhere. Says
    /// whether something was.
    fn forget_left(&mut self, id: &str, places: &[(Place, Case)]) -> bool {
        let still =
            |place: &Place| places.iter().any(|((node, stage, ..), _)| (node, stage) == (&place.0, &place.1));
        let mut forgot = false;
        self.known.retain(|(of, place), known| {
            let keep = of != id || places.is_empty() || still(place);
            forgot |= !keep && !known.culprits.is_empty();
            keep
        });
        forgot
    }

    fn learn(&mut self, key: &Key, culprits: Vec<Culprit>, due_ns: i64) {
        let known = self.known.entry(key.clone()).or_default();
        known.due_ns = due_ns;
        if known.culprits.is_empty() || culprits.iter().any(|culprit| !culprit.is_untold()) {
            known.culprits = culprits;
        }
    }
}

fn place(at: &v1::LossLocation, probe: &Probe) -> Place {
    let v4 = probe.address.is_ipv4();
    let of_rules = matches!(
        at.stage(),
        v1::Stage::NetfilterPrerouting
            | v1::Stage::NetfilterInput
            | v1::Stage::NetfilterForward
            | v1::Stage::NetfilterOutput
            | v1::Stage::NetfilterPostrouting
    );
    let interface = if of_rules { String::new() } else { at.interface.clone() };
    (at.node.clone(), at.stage, interface, at.reason.clone(), probe.kind, v4)
}

impl State {
    /// Asks about the places of open incidents that nothing is known of yet, or not any more.
    pub(crate) fn ask_culprits(&mut self, now_ns: i64) {
        let gone = |asked: &Asked| {
            self.agent(asked.to).live.as_ref().is_none_or(|live| live.generation != asked.generation)
        };
        let late = self.culprits.out.iter().filter(|(_, asked)| asked.until_ns <= now_ns || gone(asked));
        let late: Vec<(u64, bool)> = late.map(|(id, asked)| (*id, gone(asked))).collect();
        for (id, gone) in late {
            let Some(asked) = self.culprits.out.remove(&id) else { continue };
            // Who comes back is asked again at once: the fault may be what broke the session.
            let due_ns = if gone { now_ns } else { now_ns + SILENT_NS };
            for key in &asked.cases {
                self.culprits.learn(key, Vec::new(), due_ns);
            }
        }
        let open: Vec<(String, Vec<PathOf>)> = self
            .incidents
            .open_paths()
            .take(INCIDENTS)
            .map(|(id, paths)| (id, paths.take(PATHS).collect()))
            .collect();
        self.culprits.known.retain(|(id, _), _| open.iter().any(|(other, _)| other == id));
        self.culprits.next_ns.retain(|(id, _), _| open.iter().any(|(other, _)| other == id));
        let demanded = self.culprits.is_demanded(now_ns);
        let mut wanted: BTreeMap<NodeIx, Vec<(Key, Case)>> = BTreeMap::new();
        for (id, paths) in open {
            let places = self.places(&paths, now_ns);
            if self.culprits.forget_left(&id, &places) {
                self.name_culprits(&id);
            }
            for (place, case) in places {
                let key = (id.clone(), place);
                let due = self.culprits.known.get(&key).is_none_or(|known| known.due_ns <= now_ns);
                let Some(node) = self.find(&key.1.0).filter(|_| due) else { continue };
                let next_ns = self.culprits.next_ns.entry((id.clone(), node)).or_insert(now_ns + GATHER_NS);
                if demanded || *next_ns <= now_ns {
                    wanted.entry(node).or_default().push((key, case));
                }
            }
        }
        for (node, cases) in wanted {
            if !self.culprits.out.values().any(|asked| asked.to == node) {
                for ((id, _), _) in &cases {
                    self.culprits.next_ns.insert((id.clone(), node), now_ns + NEXT_NS);
                }
                self.ask_for_culprits(node, cases, now_ns);
            }
        }
    }

    /// All addresses of a node, or of a pod on the cluster's own network.
    fn addresses(&self, of: &Owner) -> Vec<Vec<u8>> {
        let addresses = match &of.pod {
            Some(pod) => self.roster.pods.get(pod).map(|pod| &pod.addresses),
            None => self.roster.nodes.get(&of.node).map(|node| &node.addresses),
        };
        let own = addresses.into_iter().flatten().filter(|_| of.network.is_none());
        own.map(|address| convert::address_bytes(*address)).collect()
    }

    /// Where most of these paths' probes die.
    fn places(&self, paths: &[PathOf], now_ns: i64) -> Vec<(Place, Case)> {
        let mut places: BTreeMap<Place, Case> = BTreeMap::new();
        for (source, path) in paths {
            let Some(source) = self.find(source) else { continue };
            let agent = self.agent(source);
            let session = agent.hello.as_ref().map_or(0, |hello| hello.probe_session);
            let Some(row) = agent.rows.get(*path) else { continue };
            let losses = row.lost.iter().rev().filter(|lost| !lost.sample.suspect).take(LOSSES);
            for lost in losses.filter(|lost| now_ns - lost.sent_ns < FOUND_NS) {
                let probe = lost.in_the_end(&row.path.probe);
                let known = lost.located.location.as_ref().filter(|at| !at.node.is_empty());
                let known = known.map(wire::location);
                let to = addressee(&self.roster, &probe, lost);
                let from = lost.flow.and_then(|flow| self.roster.owner(flow.source.ip()));
                let far = far_end(known.as_ref(), from, to);
                let Some(at) = known.or_else(|| far.clone()) else { continue };
                let target = Some(probe.target.node.as_str()).filter(|node| !node.is_empty());
                let stray = match self.find(&at.node) {
                    None => strayed(&at, [Some(&agent.name), target.filter(|node| **node != *agent.name)]),
                    Some(_) => Vec::new(),
                };
                // Who refuses what is no endpoint's is right to.
                let at = match no_endpoint(&self.roster, &probe, lost) {
                    true => mistranslated(&agent.name),
                    false => at,
                };
                let more = [sender(&at, &agent.name, to), receiver(&at, lost.tries_size()), far];
                for at in more.into_iter().flatten().chain(stray).chain([at]) {
                    let place = place(&at, &probe);
                    let known = places.get(&place);
                    let losses = 1 + known.map_or(0, |case| case.losses);
                    // The next probe of a service with several backends may go elsewhere.
                    let returns = probe.target.backends <= 1;
                    // Nor is it plain which rule may make another packet of what this node translates.
                    let translates = translates(&probe.target, *at.node == *agent.name);
                    let rank = (returns, !translates);
                    if known.is_none_or(|known| rank > (known.returns, !known.wire.translates)) {
                        let mut wire = case(&probe, lost, &at, (session, *path));
                        wire.translates = translates;
                        let here = [to, from].into_iter().flatten().find(|end| end.node == at.node);
                        wire.end_addresses = here.map(|end| self.addresses(end)).unwrap_or_default();
                        places.insert(place, Case { losses, wire, source, path: *path, returns });
                    } else if let Some(known) = places.get_mut(&place) {
                        known.losses = losses;
                    }
                }
            }
        }
        let mut places: Vec<(Place, Case)> = places.into_iter().collect();
        places.sort_by_key(|(_, case)| {
            // Who is asked besides is asked for what was observed elsewhere.
            let inferred = case.wire.location.as_ref().map(v1::LossLocation::certainty);
            (inferred == Some(v1::Certainty::Inferred), std::cmp::Reverse(case.losses))
        });
        places.truncate(PLACES);
        places
    }

    fn ask_for_culprits(&mut self, to: NodeIx, mut cases: Vec<(Key, Case)>, now_ns: i64) {
        let agent = self.agent(to);
        // Who is not connected may be soon.
        let Some((hello, live)) = agent.hello.as_ref().zip(agent.live.as_ref()) else { return };
        let generation = live.generation;
        let on_demand = self.culprits.is_demanded(now_ns);
        let (name, can) = (agent.name.to_string(), hello.explain_rules());
        if can == v1::ExplainRules::Unspecified {
            let text = "the agent there can't look for what did it: it is too old, or has no kernel programs";
            let unknown = unknown(&name, text);
            for (key, _) in &cases {
                self.culprits.learn(key, vec![unknown.clone()], now_ns + NOTHING_NS);
                self.name_culprits(&key.0);
            }
            return;
        }
        cases.truncate(CASES);
        self.culprits.next += 1;
        let id = self.culprits.next;
        let wire = cases.iter().map(|(_, case)| case.wire.clone()).collect();
        let question = v1::CulpritQuestion { id, cases: wire, on_demand };
        if !self.send(to, v1::session_response::Message::CulpritQuestion(question)) {
            return;
        }
        self.counters.culprit_questions += 1;
        let mut expedited: BTreeMap<NodeIx, Vec<u32>> = BTreeMap::new();
        for (_, case) in &cases {
            expedited.entry(case.source).or_default().push(case.path.0);
        }
        for (source, path_ids) in expedited {
            // It looks for a moment only: better than to wait for the next turn.
            self.send(source, v1::session_response::Message::Expedite(v1::Expedite { path_ids }));
        }
        let cases = cases.into_iter().map(|(key, _)| key).collect();
        self.culprits.out.insert(id, Asked { to, generation, until_ns: now_ns + ANSWER_NS, cases });
    }

    /// Takes an agent's answer.
    pub fn culprits_answered(&mut self, from: NodeIx, answer: &v1::CulpritAnswer, now_ns: i64) {
        let Some(asked) = self.culprits.out.get(&answer.id).filter(|asked| asked.to == from) else {
            self.counters.answers_unasked += 1;
            return;
        };
        let keys = asked.cases.clone();
        self.culprits.out.remove(&answer.id);
        self.counters.culprit_answers += 1;
        let node = self.agent(from).name.to_string();
        let again_ns = answer
            .again_after
            .map(|after| after.seconds.saturating_mul(SECOND_NS).saturating_add(after.nanos.into()));
        for (at, key) in (0..).zip(&keys) {
            let of_case = answer.found.iter().filter(|found| found.case == at);
            let culprits: Vec<Culprit> = of_case
                .filter_map(|found| found.culprit.as_ref())
                // An agent speaks of its own node, whatever it says.
                .map(|found| Culprit { node: node.clone(), found_ns: Some(now_ns), ..wire::culprit(found) })
                .collect();
            let lasts_ns = match again_ns {
                Some(after_ns) => after_ns.clamp(SECOND_NS, FOUND_NS),
                None if culprits.iter().any(|culprit| !culprit.is_untold()) => FOUND_NS,
                None => NOTHING_NS,
            };
            self.culprits.learn(key, culprits, now_ns.saturating_add(lasts_ns));
            self.name_culprits(&key.0);
        }
    }

    fn name_culprits(&mut self, incident: &str) {
        let culprits = self.culprits.of(incident);
        self.incidents.name_culprits(incident, culprits);
    }
}

fn unknown(node: &str, why: &str) -> Culprit {
    Culprit { node: node.to_owned(), kind: CulpritKind::Untold, text: why.to_owned(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_somebody_does_not_answer_is_no_news_beside_why() {
        let key = |node: &str| {
            ("1".to_owned(), (node.to_owned(), 0, String::new(), String::new(), ProbeKind::Icmp, true))
        };
        let silent = Culprit { object: "neighbour".to_owned(), symptom: true, ..Default::default() };
        let why = Culprit { object: "sysctl".to_owned(), ..Default::default() };
        let mut culprits = Culprits::default();
        culprits.learn(&key("n1"), vec![silent.clone()], 0);
        assert_eq!(culprits.of("1"), [silent]);
        culprits.learn(&key("n2"), vec![unknown("n2", "too old")], 0);
        assert_eq!(culprits.of("1").len(), 1, "but better than that nobody knows");
        culprits.learn(&key("n3"), vec![why.clone()], 0);
        assert_eq!(culprits.of("1"), [why]);
    }
}
