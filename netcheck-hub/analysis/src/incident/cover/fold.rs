//! Causes that were chosen one after the other, and are one: the cover counts paths, and does not look at what kernels reported
//! of those that are not proof enough alone.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use netcheck_common::domain::Family;

use super::Chosen;
use crate::incident::cause::{Cause, Scope, Side, Suspect, Symbol};
use crate::incident::index::{Index, Item};
use crate::incident::tally::Tallies;
use crate::incident::{Fact, place};
use crate::model::location::{Certainty, Direction, Location, Stage};

/// A pod that answers nobody answers no service's clients either, and what is sent to it may be seen last at more than one
/// hook before it: all that is one cause, the pod's own where that was found, else the hook that saw most.
pub(super) fn into_silent_pods(chosen: &mut Vec<Chosen>, index: &Index) {
    let pods: Vec<Option<String>> = chosen.iter().map(|one| one.silent_pod(index)).collect();
    let whole = |at: usize| {
        let same = (0..pods.len()).filter(|&other| pods[other].is_some() && pods[other] == pods[at]);
        let rank = |&other: &usize| {
            let own = matches!(chosen[other].cause.suspect, Suspect::Target(_));
            let backend = matches!(chosen[other].cause.suspect, Suspect::Backend(_));
            (own, !backend, chosen[other].bad.len(), Reverse(other))
        };
        same.max_by_key(rank).filter(|&whole| {
            let (of_pod, scope) = (chosen[whole].cause.scope, chosen[at].cause.scope);
            whole != at
                && !matches!(chosen[at].cause.suspect, Suspect::Target(_))
                && of_pod.probe.is_none_or(|probe| scope.probe == Some(probe))
                && of_pod.family.is_none_or(|family| scope.family == Some(family))
        })
    };
    let folds: Vec<(usize, usize)> = (0..pods.len()).filter_map(|at| Some((at, whole(at)?))).collect();
    join(chosen, &folds);
}

/// What kernels reported of it is what they reported of a larger cause: a link that loses a part of its packets loses some
/// targets' and backends' whole, which the cover takes for causes of their own.
pub(super) fn into_shared_reports(chosen: &mut Vec<Chosen>, facts: &[Fact], index: &Index) {
    let reports: Vec<Vec<Report>> = chosen.iter().map(|one| one.reports(facts, index)).collect();
    let larger = |at: usize| {
        let own: BTreeSet<&Report> = reports[at].iter().collect();
        let own_place =
            matches!(chosen[at].cause.suspect, Suspect::Place(_) | Suspect::Loop(_) | Suspect::Scattered);
        // What nobody reported may be another's.
        let known = reports[at].len() * 2 >= chosen[at].bad.len() && !own.is_empty();
        let takes = |&other: &usize| {
            let its = &reports[other];
            let shared = its.iter().filter(|report| own.contains(report)).count();
            let ranks = (chosen[other].bad.len(), Reverse(other)) > (chosen[at].bad.len(), Reverse(at));
            // It has to be what the larger one is about, not what happened to one of its paths.
            let about = shared * SHARE >= its.len() && shared > 0;
            ranks && about && own.iter().all(|report| its.contains(report))
        };
        let rank = |&other: &usize| (chosen[other].bad.len(), Reverse(other));
        (0..chosen.len()).filter(takes).max_by_key(rank).filter(|_| known && !own_place)
    };
    // What waited for such a neighbour in vain may not have been reported yet: then its own node saw it last.
    let waiting = |at: usize| {
        let own = chosen[at].unseen_on(facts, index)?;
        let takes = |&other: &usize| {
            let ranks = (chosen[other].bad.len(), Reverse(other)) > (chosen[at].bad.len(), Reverse(at));
            let neighbours = || reports[other].iter().filter_map(|(of, towards)| Some((of, (*towards)?)));
            let waits = |(node, family, to): &Unseen| {
                neighbours().any(|(of, (its_family, its_to))| {
                    of.split('/').next() == Some(node) && its_family == *family && (*to == 0 || its_to == *to)
                })
            };
            ranks && own.iter().all(waits)
        };
        (0..chosen.len()).filter(takes).max_by_key(|&other| (chosen[other].bad.len(), Reverse(other)))
    };
    let whole = |at: usize| larger(at).or_else(|| waiting(at));
    let folds: Vec<(usize, usize)> = (0..chosen.len()).filter_map(|at| Some((at, whole(at)?))).collect();
    join(chosen, &folds);
}

/// A request that its own node saw last: that node, the family, and where it was to go, where that is known.
type Unseen = (String, Family, Symbol);

/// Of a cause's reports at least one in so many is the other's, too.
const SHARE: usize = 5;

/// What a kernel reported, so far that two of them are of one object: the place, and of a neighbour that does not answer the
/// family and the node that was looked for.
type Report = (String, Option<(Family, Symbol)>);

fn report(at: &Location, item: &Item) -> Option<Report> {
    if at.certainty != Certainty::Observed || matches!(at.stage, Stage::Socket | Stage::Application) {
        return None;
    }
    if at.stage == Stage::Neighbour {
        let towards = if at.direction == Direction::Reply { item.source } else { item.node };
        return Some((format!("{}/{}", at.node, at.interface), Some((item.family, towards))));
    }
    let (place, specific) = place::name(at);
    specific.then_some((place, None))
}

/// Whoever answered otherwise than expected, or did not read what had come, is to blame, whatever else its clients have in
/// common.
pub(super) fn by_who_answered(chosen: &mut [Chosen], facts: &[Fact], tallies: &Tallies<'_>) {
    for one in chosen.iter_mut().filter(|one| !one.proven) {
        let crossed = matches!(
            one.cause.suspect,
            Suspect::Pods(_)
                | Suspect::TunnelEnd(_)
                | Suspect::Node(..)
                | Suspect::Link(..)
                | Suspect::LinkOneWay(..)
                | Suspect::Zones(..)
                | Suspect::ZonesOneWay(..)
                | Suspect::Everywhere
        );
        if let Some(pod) = one.answering_pod(facts, tallies.index).filter(|_| crossed) {
            let suspect = Suspect::Backend(pod);
            // What is known of it may all be of the kind that fails, or of one family of it alone.
            let families: BTreeSet<Family> =
                one.bad.iter().map(|&at| tallies.index.items[at].family).collect();
            let family = families.first().copied().filter(|_| families.len() == 1);
            let scope = one.cause.scope;
            let scopes =
                [Scope::default(), Scope { family, ..Scope::default() }, scope, Scope { family, ..scope }];
            let causes = scopes.map(|scope| Cause { suspect, scope });
            // Of what is fine it is not known who answered, but through which service.
            let services: BTreeSet<Symbol> =
                one.bad.iter().filter_map(|&at| tallies.index.items[at].service()).collect();
            let good = |cause: &Cause| {
                let through = |service: &Symbol| Cause { suspect: Suspect::Service(*service), ..*cause };
                let of_services = services.iter().filter_map(|service| tallies.get(&through(service)));
                tallies.get(cause).map(|own| own.good + of_services.map(|tally| tally.good).sum::<usize>())
            };
            let fewest =
                causes.iter().min_by_key(|cause| (good(cause).unwrap_or(usize::MAX), cause.scope.rank()));
            one.cause = fewest.copied().unwrap_or(Cause { suspect, scope });
        }
    }
}

/// Packets whose time to live ends at the node that they were sent to were sent with too little of it. Where that is so at several
/// nodes, who sent them all is one cause, and each of those nodes is none.
pub(super) fn by_who_sent_too_short(chosen: &mut Vec<Chosen>, facts: &[Fact], index: &Index) {
    let senders: Vec<Option<Symbol>> = chosen.iter().map(|one| one.short_sender(facts, index)).collect();
    let first = |at: &usize| senders.iter().position(|sender| *sender == senders[*at]);
    let of_others: Vec<(usize, usize)> = (0..senders.len())
        .filter(|&at| senders[at].is_some())
        .filter_map(|at| Some((at, first(&at)?)))
        .filter(|(at, first)| at != first)
        .collect();
    for &(_, whole) in &of_others {
        let Some(sender) = senders[whole] else { continue };
        let families: BTreeSet<Family> = chosen[whole].bad.iter().map(|&at| index.items[at].family).collect();
        let family = families.first().copied().filter(|_| families.len() == 1);
        let scope = Scope { family, ..Scope::default() };
        chosen[whole].cause = Cause { suspect: Suspect::Node(sender, Side::Out), scope };
        // What goes to the nodes themselves arrives.
        chosen[whole].partial = true;
    }
    // All of it is the sender's own.
    for &(at, whole) in &of_others {
        let bad = std::mem::take(&mut chosen[at].bad);
        chosen[whole].bad.extend(bad);
    }
    join(chosen, &of_others);
}

/// What a node sends and what its pods send meets its rules at different hooks. Where both lose what is for the same services
/// there, for the same reason, whoever made those rules is one cause.
pub(super) fn at_both_hooks(chosen: &mut Vec<Chosen>, facts: &[Fact], index: &Index) {
    let services: Vec<Option<Denied>> = chosen.iter().map(|one| one.denied_services(facts, index)).collect();
    let with = |at: usize| {
        let (node, from_pods, reason, targets) =
            services[at].as_ref().filter(|(_, from_pods, ..)| *from_pods)?;
        services.iter().position(|other| {
            other.as_ref().is_some_and(|(at_node, of_pods, why, theirs)| {
                let shared = theirs.intersection(targets).count();
                let same = (at_node, why) == (node, reason) && !of_pods;
                same && from_pods != of_pods && shared * 2 >= theirs.len().max(targets.len())
            })
        })
    };
    let folds: Vec<(usize, usize)> = (0..chosen.len()).filter_map(|at| Some((at, with(at)?))).collect();
    join(chosen, &folds);
}

/// A node's place at which nothing dies but what it or its pods send to services: the node, whether pods sent it, the reason, and
/// which services.
type Denied = (Symbol, bool, String, BTreeSet<Symbol>);

/// Gives what each first one explains to the second, and takes it away. One that is taken away takes nothing itself: what it was
/// to take goes where it went.
fn join(chosen: &mut Vec<Chosen>, folds: &[(usize, usize)]) {
    let end = |mut at: usize| {
        while let Some((_, next)) = folds.iter().find(|(from, _)| *from == at) {
            at = *next;
        }
        at
    };
    for &(at, whole) in folds {
        let besides = std::mem::take(&mut chosen[at].bad);
        let further = std::mem::take(&mut chosen[at].besides);
        chosen[end(whole)].besides.extend(besides.into_iter().chain(further));
    }
    let mut at = 0..;
    chosen.retain(|_| at.next().is_some_and(|at| folds.iter().all(|(folded, _)| *folded != at)));
}

impl Chosen {
    fn reports(&self, facts: &[Fact], index: &Index) -> Vec<Report> {
        let items = self.bad.iter().map(|&number| &index.items[number]);
        items.filter_map(|item| report(location(facts, item)?, item)).collect()
    }

    fn denied_services(&self, facts: &[Fact], index: &Index) -> Option<Denied> {
        let Suspect::Place(place) = self.cause.suspect else { return None };
        let node = index.places[place].node;
        let items = || self.bad.iter().map(|&number| &index.items[number]);
        let first = items().next()?;
        let at = location(facts, first)?;
        let hook = match first.from_pod {
            true => matches!(at.stage, Stage::NetfilterPrerouting | Stage::NetfilterForward),
            false => at.stage == Stage::NetfilterOutput,
        };
        let own = |item: &Item| {
            item.source == node
                && item.from_pod == first.from_pod
                && item.request == Some(true)
                && item.service().is_some()
        };
        let all = hook && items().all(own);
        all.then(|| (node, first.from_pod, at.reason.clone(), items().map(|item| item.target).collect()))
    }

    /// The node that sent all of it with a time to live that ended where it was to go.
    fn short_sender(&self, facts: &[Fact], index: &Index) -> Option<Symbol> {
        if !matches!(self.cause.suspect, Suspect::Place(_)) {
            return None;
        }
        let sender = |item: &Item| {
            let at = location(facts, item)?;
            let (from, to) = match item.request? {
                true => (item.source, item.node),
                false => (item.node, item.source),
            };
            // A service's probes go to several nodes, of which each is one of its own.
            let arrived = index.name(to) == at.node || (to == 0 && index.name(from) != at.node);
            (place::spent(at) && from != 0 && from != to && arrived).then_some(from)
        };
        let mut items = self.bad.iter().map(|&number| &index.items[number]);
        let first = items.next().and_then(sender)?;
        items.all(|item| sender(item) == Some(first)).then_some(first)
    }

    /// What its own node saw last, where all of it is that.
    fn unseen_on(&self, facts: &[Fact], index: &Index) -> Option<Vec<Unseen>> {
        if !matches!(self.cause.suspect, Suspect::Place(_)) || self.proven {
            return None;
        }
        let unseen = |item: &Item| {
            let at = location(facts, item)?;
            let own = index.name(item.source) == at.node;
            (own && place::last_seen(at) && at.direction == Direction::Request)
                .then(|| (at.node.clone(), item.family, item.node))
        };
        self.bad.iter().map(|&number| unseen(&index.items[number])).collect()
    }

    /// The one pod at which all located losses of this cause died, or which answered them.
    fn answering_pod(&self, facts: &[Fact], index: &Index) -> Option<Symbol> {
        let items = || self.bad.iter().map(|&number| &index.items[number]);
        let located: Vec<(&Item, &Location)> =
            items().filter_map(|item| Some((item, location(facts, item)?))).collect();
        let answered =
            |at: &Location| matches!(at.stage, Stage::Socket | Stage::Application) && !at.pod.is_empty();
        let (_, first) = located.iter().find(|(_, at)| answered(at))?;
        let its = |at: &Location| answered(at) && at.pod == first.pod;
        // Of some it is only known that they came as far as its node.
        let behind = |at: &Location| place::last_seen(at) && at.node == first.node;
        let all = located.iter().all(|(_, at)| its(at) || behind(at));
        let most = located.iter().filter(|(_, at)| its(at)).count() * 4 >= located.len() * 3;
        let known = located.len() * 2 >= self.bad.len();
        let symbol = located.iter().map(|(item, _)| item.pod).find(|&symbol| index.name(symbol) == first.pod);
        symbol.filter(|_| all && most && known)
    }

    /// The one pod that nothing of this reaches: as itself, as a backend, or behind the hook of its node that saw it last.
    fn silent_pod(&self, index: &Index) -> Option<String> {
        match self.cause.suspect {
            Suspect::Target(target) => index.name(target).strip_prefix("pod/").map(ToOwned::to_owned),
            Suspect::Backend(backend) => Some(index.name(backend).to_owned()),
            Suspect::Place(place) if !self.proven => {
                let items = || self.bad.iter().map(|&number| &index.items[number]);
                let pod = items().next()?.pod;
                let node = index.places[place].node;
                let its = items().all(|item| item.pod == pod && item.node == node && item.last_seen);
                (pod != 0 && its).then(|| index.name(pod).to_owned())
            }
            _ => None,
        }
    }
}

fn location<'a>(facts: &'a [Fact], item: &Item) -> Option<&'a Location> {
    facts[item.fact].symptom.as_ref()?.at.as_ref()
}
