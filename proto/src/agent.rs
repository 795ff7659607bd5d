//! What agents send, made fit to be kept and shown: names are names, every text is one bounded line
//! ([`crate::text`]), and nothing is longer than a real node can make it.

use std::fmt;

use crate::convert::{self, InvalidField};
use crate::text::{LINE, tidy};
use crate::v1;

/// Lines about what is missing on one node.
const DEGRADED: usize = 32;
/// Hooks of one node: two for each of its interfaces.
const HOOKS: usize = 4096;
/// Links of pods that are down on one node: as many pods as it can hold.
const POD_LINKS: usize = 1024;
/// Hooks that one packet crosses.
const CROSSED: usize = 64;
/// Versions, names of interfaces, reasons, functions.
const WORD: usize = 128;
/// Kinds and lines of a pod vantage that are kept.
const VANTAGE: usize = 16;
/// DNS caches of one node.
const DNS_CACHES: usize = 8;
/// Interfaces of a pod vantage, and addresses of all of them and of one.
const VANTAGE_ADDRESSES: usize = 64;
/// What a resolver reads of its configuration (`MAXNS` of glibc; domains without a bound since 2.26).
const NAME_SERVERS: usize = 3;
/// See above.
const SEARCH_DOMAINS: usize = 32;

/// Checks an introduction.
///
/// # Errors
/// Node or boot without a proper name, no probe session, a port that is none.
pub fn hello(mut hello: v1::Hello) -> Result<v1::Hello, InvalidField> {
    convert::name("hello.node", &hello.node)?;
    convert::name("hello.boot_id", &hello.boot_id)?;
    convert::port("hello.responder_port", hello.responder_port)?;
    convert::port("hello.relay_port", hello.relay_port)?;
    if !hello.relayed_by.is_empty() {
        convert::name("hello.relayed_by", &hello.relayed_by)?;
    }
    if hello.probe_session == 0 {
        return Err(InvalidField::Zero { field: "hello.probe_session" });
    }
    tidy(&mut hello.agent_version, WORD);
    tidy(&mut hello.kernel_release, WORD);
    Ok(hello)
}

/// Bounds what an agent says of itself. Lines and hooks beyond what is kept are counted in a last line.
#[must_use]
pub fn status(mut status: v1::AgentStatus) -> v1::AgentStatus {
    let hooks = cut(&mut status.hooks, HOOKS);
    for hook in &mut status.hooks {
        tidy(&mut hook.interface, WORD);
        tidy(&mut hook.detail, LINE);
        tidy(&mut hook.kind, WORD);
    }
    let lines = cut(&mut status.degraded, DEGRADED);
    for line in &mut status.degraded {
        tidy(line, LINE);
    }
    let links = cut(&mut status.pod_links_down, POD_LINKS);
    for link in &mut status.pod_links_down {
        tidy(&mut link.interface, WORD);
        // Namespace and name.
        tidy(&mut link.pod, 2 * LINE);
        tidy(&mut link.network, 2 * LINE);
    }
    let caches = cut(&mut status.dns_caches, DNS_CACHES);
    if let Some(vantage) = &mut status.vantage {
        tidy(&mut vantage.pod, 2 * LINE);
        shorten(&mut vantage.addresses, VANTAGE_ADDRESSES);
        shorten(&mut vantage.links, VANTAGE_ADDRESSES);
        for link in &mut vantage.links {
            tidy(&mut link.interface, WORD);
            shorten(&mut link.addresses, VANTAGE_ADDRESSES);
        }
        shorten(&mut vantage.name_servers, NAME_SERVERS);
        shorten(&mut vantage.search_domains, SEARCH_DOMAINS);
        vantage.search_domains.iter_mut().for_each(|domain| tidy(domain, LINE));
        shorten(&mut vantage.can, VANTAGE);
        shorten(&mut vantage.detail, VANTAGE);
        vantage.detail.iter_mut().for_each(|line| tidy(line, LINE));
    }
    let cut = [
        (lines, "lines about what is missing"),
        (hooks, "hooks"),
        (links, "pods' links that are down"),
        (caches, "DNS caches"),
    ];
    for (more, what) in cut {
        if more > 0 {
            status.degraded.push(format!("… and {more} more {what}, which are not kept"));
        }
    }
    status
}

/// Shortens a list; how much was cut.
fn cut<T>(list: &mut Vec<T>, most: usize) -> usize {
    let more = list.len().saturating_sub(most);
    shorten(list, most);
    more
}

/// Shortens a list, and gives back the room of what was cut: what is kept of an agent is no larger than it looks.
fn shorten<T>(list: &mut Vec<T>, most: usize) {
    list.truncate(most);
    list.shrink_to(most);
}

/// Paths of one agent that it can't probe.
const REFUSED: usize = 65_536;

/// Bounds what an agent says of its plan.
#[must_use]
pub fn plan_applied(mut applied: v1::PlanApplied) -> v1::PlanApplied {
    shorten(&mut applied.refused, REFUSED);
    for refused in &mut applied.refused {
        tidy(&mut refused.why, LINE);
    }
    applied
}

/// Paths and flows of one answer: more than any question asks for.
const ANSWERED: usize = 4096;

/// Bounds an answer.
#[must_use]
pub fn evidence_answer(mut answer: v1::EvidenceAnswer) -> v1::EvidenceAnswer {
    shorten(&mut answer.paths, ANSWERED);
    shorten(&mut answer.flows, ANSWERED);
    let of_paths =
        answer.paths.iter_mut().flat_map(|path| [&mut path.last_request_hook, &mut path.last_reply_hook]);
    let of_flows =
        answer.flows.iter_mut().flat_map(|flow| [&mut flow.last_request_hook, &mut flow.last_reply_hook]);
    for hook in of_paths.chain(of_flows).flatten() {
        tidy(&mut hook.interface, WORD);
    }
    answer
}

/// Culprits of one answer: some for each case of a question.
const CULPRITS: usize = 32;
/// A rule, as long as people write them.
const RULE: usize = 4 * LINE;

/// Bounds what an agent says of what did it.
#[must_use]
pub fn culprit_answer(mut answer: v1::CulpritAnswer) -> v1::CulpritAnswer {
    shorten(&mut answer.found, CULPRITS);
    for culprit in answer.found.iter_mut().filter_map(|found| found.culprit.as_mut()) {
        tidy(&mut culprit.node, LINE);
        tidy(&mut culprit.owner, WORD);
        tidy(&mut culprit.text, RULE);
        for text in [&mut culprit.object, &mut culprit.comment, &mut culprit.see, &mut culprit.mend] {
            tidy(text, 2 * LINE);
        }
        if let Some(rule) = &mut culprit.rule {
            for text in [&mut rule.family, &mut rule.table, &mut rule.chain] {
                tidy(text, LINE);
            }
        }
    }
    answer
}

/// Bounds a lost probe's record.
///
/// # Errors
/// More hooks than a packet can cross.
pub fn lost_sample(mut sample: v1::LostSample) -> Result<v1::LostSample, InvalidField> {
    for hooks in [&mut sample.request_hooks, &mut sample.reply_hooks] {
        if hooks.len() > CROSSED {
            return Err(InvalidField::TooMany { field: "lost.hooks", most: CROSSED, len: hooks.len() });
        }
        for hook in hooks {
            tidy(&mut hook.interface, WORD);
        }
    }
    tidy(&mut sample.errno, WORD);
    tidy(&mut sample.dns_rcode, WORD);
    tidy(&mut sample.tls_error, WORD);
    tidy(&mut sample.tls_detail, LINE);
    tidy(&mut sample.exchange_error, WORD);
    tidy(&mut sample.resolver, WORD);
    Ok(sample)
}

/// Names of one search list, and some more.
const SEARCH_STEPS: usize = 64;

/// Bounds how a name was looked up.
#[must_use]
pub fn name_search(mut search: v1::NameSearch) -> v1::NameSearch {
    tidy(&mut search.name, LINE);
    tidy(&mut search.server, WORD);
    shorten(&mut search.steps, SEARCH_STEPS);
    for step in &mut search.steps {
        tidy(&mut step.name, 2 * LINE);
        tidy(&mut step.answer, WORD);
    }
    search
}

/// Without what may be secret: headers' values, the body, and a query.
impl fmt::Debug for v1::HttpCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCall").field("method", &self.method).finish_non_exhaustive()
    }
}

/// Without its value.
impl fmt::Debug for v1::HttpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHeader").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Without the token.
impl fmt::Debug for v1::TokenRenewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRenewal").finish_non_exhaustive()
    }
}

/// Bounds a drop record.
#[must_use]
pub fn drop_record(mut record: v1::DropRecord) -> v1::DropRecord {
    for text in [&mut record.interface, &mut record.reason, &mut record.function] {
        tidy(text, WORD);
    }
    // Namespace and name.
    tidy(&mut record.pod, 2 * LINE);
    record
}

/// Bounds a drop counter.
#[must_use]
pub fn drop_counter(mut counter: v1::DropCounter) -> v1::DropCounter {
    tidy(&mut counter.interface, WORD);
    tidy(&mut counter.reason, WORD);
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: &str = "\x1b[31mred";

    fn fine() -> v1::Hello {
        v1::Hello { node: "n1".into(), boot_id: "b".into(), probe_session: 1, ..Default::default() }
    }

    #[test]
    fn hellos() {
        let long = v1::Hello { agent_version: "1".repeat(1000), kernel_release: RED.into(), ..fine() };
        let read = hello(long).unwrap();
        assert_eq!((read.agent_version.chars().count(), read.agent_version.ends_with('…')), (WORD, true));
        assert_eq!(read.kernel_release, "\u{fffd}[31mred");
        let refused = [
            v1::Hello { node: RED.into(), ..fine() },
            v1::Hello { node: "n".repeat(300), ..fine() },
            v1::Hello { boot_id: String::new(), ..fine() },
            v1::Hello { probe_session: 0, ..fine() },
            v1::Hello { responder_port: 70_000, ..fine() },
            v1::Hello { relay_port: 70_000, ..fine() },
            v1::Hello { relayed_by: RED.into(), ..fine() },
        ];
        for bad in refused {
            assert!(hello(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lists_are_cut_and_say_so() {
        let hook = v1::HookStatus { interface: RED.into(), detail: RED.into(), ..Default::default() };
        let reported = v1::AgentStatus {
            degraded: vec![RED.into(); DEGRADED + 3],
            hooks: vec![hook; HOOKS + 2],
            ..Default::default()
        };
        let kept = status(reported);
        assert_eq!((kept.hooks.len(), kept.degraded.len()), (HOOKS, DEGRADED + 2));
        assert!(
            kept.degraded[DEGRADED].contains("3 more lines")
                && kept.degraded[DEGRADED + 1].contains("2 more hooks")
        );
        let short = v1::AgentStatus { degraded: vec!["no tracefs".into()], ..Default::default() };
        assert_eq!(status(short.clone()), short);
    }

    #[test]
    fn no_text_of_an_agent_reaches_a_terminal_raw() {
        let red = || RED.to_owned();
        let seen = || Some(v1::HookSeen { interface: red(), ..Default::default() });
        let reflected =
            v1::ReflectedState { last_request_hook: seen(), last_reply_hook: seen(), ..Default::default() };
        let sighting =
            v1::FlowSighting { last_request_hook: seen(), last_reply_hook: seen(), ..Default::default() };
        let answer = v1::EvidenceAnswer { id: 1, paths: vec![reflected], flows: vec![sighting] };
        let sample = v1::LostSample {
            request_hooks: seen().into_iter().collect(),
            reply_hooks: seen().into_iter().collect(),
            errno: red(),
            dns_rcode: red(),
            ..Default::default()
        };
        let rule = v1::FilterRule { family: red(), table: red(), chain: red(), handle: 1 };
        let culprit = v1::Culprit {
            node: red(),
            object: red(),
            text: red(),
            comment: red(),
            owner: red(),
            see: red(),
            mend: red(),
            rule: Some(rule),
            ..Default::default()
        };
        let found = v1::CulpritFound { case: 0, culprit: Some(culprit) };
        let culprits = v1::CulpritAnswer { found: vec![found; CULPRITS + 1], ..Default::default() };
        assert_eq!(culprit_answer(culprits.clone()).found.len(), CULPRITS);
        let record = v1::DropRecord {
            interface: red(),
            pod: red(),
            reason: red(),
            function: red(),
            ..Default::default()
        };
        let counter = v1::DropCounter { interface: red(), reason: red(), ..Default::default() };
        let refused = v1::RefusedPath { path_id: 1, why: red() };
        let applied = v1::PlanApplied { refused: vec![refused], ..Default::default() };
        let kept = [
            format!("{:?}", evidence_answer(answer)),
            format!("{:?}", lost_sample(sample).unwrap()),
            format!("{:?}", culprit_answer(culprits)),
            format!("{:?}", drop_record(record)),
            format!("{:?}", drop_counter(counter)),
            format!("{:?}", plan_applied(applied)),
        ];
        for text in kept {
            assert!(text.contains("[31mred") && !text.contains("u{1b}"), "{text}");
        }
        let crossed = vec![v1::HookSeen::default(); CROSSED + 1];
        assert!(lost_sample(v1::LostSample { reply_hooks: crossed, ..Default::default() }).is_err());
    }
}
