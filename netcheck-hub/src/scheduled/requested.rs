//! What a check asks for itself: its object → what the plan is made of, and for as long as a round runs a part of it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_analysis::plan::dns::Over;
use netcheck_analysis::plan::exchange::Call;
use netcheck_analysis::plan::requested::{DnsTarget, HttpTarget, QUESTIONS_MAX, RequestError, Requested};
use netcheck_common::domain::{Family, Vantage};
use netcheck_proto::text;
use netcheck_scheduled::ReachabilityCheckSpec;
use netcheck_scheduled::spec::{self, DnsTransport, RecordType};

use super::secrets::Texts;
use crate::state::Hub;

/// Longest name that servers are asked for (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;

/// Why an object's own targets are not taken, with the field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetsError {
    /// What the definition refuses, too.
    #[error("spec.targets: http and dns stand alone, without kinds, names, serviceAddresses and probes")]
    Alone,
    #[error("spec.targets.http[{at}].{why}")]
    Http { at: usize, why: RequestError },
    #[error(
        "spec.targets.http[{at}].verify: the hub has no authorities (hub.http.ca of the chart, --http-ca)"
    )]
    NoAuthorities { at: usize },
    #[error("spec.targets.http[{at}].headers: {name} has exactly one of value and valueFrom")]
    Value { at: usize, name: String },
    #[error("spec.targets.http[{at}]: body or bodyFrom, not both")]
    Bodies { at: usize },
    #[error("spec.targets.dns[{at}].names: {name:?} is no name")]
    Name { at: usize, name: String },
    #[error("spec.targets.dns[{at}].servers: {server:?} is neither an address nor one with a port")]
    Server { at: usize, server: String },
    #[error("spec.targets.dns: {questions} questions to each server, {QUESTIONS_MAX} at most")]
    Questions { questions: usize },
}

/// Reads what an object asks for itself, with texts that are not in it; none where it asks for nothing. `vouched`: the hub
/// has authorities.
pub(super) fn read(
    check: &str,
    spec: &ReachabilityCheckSpec,
    texts: &Texts,
    vouched: bool,
) -> Result<Option<Requested>, TargetsError> {
    let targets = &spec.targets;
    if !targets.are_own() {
        return Ok(None);
    }
    let others =
        targets.kinds.len() + targets.names.len() + targets.service_addresses.len() + targets.probes.len();
    if others > 0 {
        return Err(TargetsError::Alone);
    }
    let http = targets.http.iter().enumerate().map(|(at, of)| request(at, of, texts, vouched));
    let mut dns = Vec::new();
    for (at, of) in targets.dns.iter().enumerate() {
        questions(at, of, &mut dns)?;
    }
    if dns.len() > QUESTIONS_MAX {
        return Err(TargetsError::Questions { questions: dns.len() });
    }
    let family = |family: &spec::Family| match family {
        spec::Family::Ipv4 => Family::V4,
        spec::Family::Ipv6 => Family::V6,
    };
    let vantage = match spec.from.vantages[..] {
        [spec::Vantage::Host] => Some(Vantage::Host),
        [spec::Vantage::Pod] => Some(Vantage::Pod),
        _ => None,
    };
    Ok(Some(Requested {
        check: check.into(),
        http: http.collect::<Result<_, _>>()?,
        dns,
        nodes: spec.from.nodes.iter().cloned().collect::<BTreeSet<_>>(),
        vantage,
        families: targets.families.iter().map(family).collect(),
    }))
}

fn request(
    at: usize,
    of: &spec::HttpTarget,
    texts: &Texts,
    vouched: bool,
) -> Result<HttpTarget, TargetsError> {
    if of.verify && !vouched {
        return Err(TargetsError::NoAuthorities { at });
    }
    let mut headers = Vec::new();
    for header in &of.headers {
        let value = match (&header.value, &header.value_from) {
            (Some(value), None) => value.0.clone(),
            (None, Some(source)) => one_line(texts.get(source)),
            _ => return Err(TargetsError::Value { at, name: header.name.chars().take(80).collect() }),
        };
        headers.push((header.name.clone(), value));
    }
    let body = match (&of.body, &of.body_from) {
        (Some(_), Some(_)) => return Err(TargetsError::Bodies { at }),
        (Some(body), None) => body.0.clone(),
        (None, Some(source)) => texts.get(source),
        (None, None) => String::new(),
    };
    let call = Call { method: of.method.name().to_owned(), headers, body: body.into_bytes() };
    let expected = of.expected_statuses.as_deref().unwrap_or_default();
    HttpTarget::read(&of.url, expected, of.verify, call).map_err(|why| TargetsError::Http { at, why })
}

/// Files, and so Secrets that are made of them, end in a line break that belongs to no header.
fn one_line(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
    }
    if text.ends_with('\r') {
        text.pop();
    }
    text
}

fn questions(at: usize, of: &spec::DnsTarget, into: &mut Vec<DnsTarget>) -> Result<(), TargetsError> {
    let server = |server: &String| {
        let address = server.parse::<IpAddr>().map(|address| (address, None));
        let address =
            address.or_else(|_| server.parse::<SocketAddr>().map(|end| (end.ip(), Some(end.port()))));
        let address = address.ok().filter(|(_, port)| *port != Some(0));
        address.ok_or_else(|| TargetsError::Server { at, server: server.chars().take(80).collect() })
    };
    let servers = of.servers.iter().map(server).collect::<Result<Vec<_>, _>>()?;
    let types = if of.types.is_empty() { &[RecordType::A][..] } else { &of.types };
    let transports = if of.transports.is_empty() { &[DnsTransport::Udp][..] } else { &of.transports };
    for name in &of.names {
        let bare = name.trim_end_matches('.');
        if bare.is_empty() || bare.len() > NAME_MAX || !text::is_name(bare) {
            return Err(TargetsError::Name { at, name: name.chars().take(80).collect() });
        }
        for record in types {
            into.extend(transports.iter().map(|transport| DnsTarget {
                servers: servers.clone(),
                name: bare.to_owned(),
                record: record.parts(),
                over: match transport {
                    DnsTransport::Udp => Over::Udp,
                    DnsTransport::Tcp => Over::Tcp,
                    DnsTransport::Tls => Over::Tls,
                },
            }));
        }
    }
    Ok(())
}

/// What a round asks for is in the plan as long as this is.
pub(super) struct Planned {
    hub: Arc<Hub>,
    requested: Arc<Requested>,
}

impl Planned {
    /// Returns when agents are sent it.
    pub(super) async fn begin(hub: Arc<Hub>, requested: Requested) -> Self {
        let requested = Arc::new(requested);
        {
            let mut state = hub.lock();
            state.requested.insert(Arc::clone(&requested.check), Arc::clone(&requested));
            state.stale = true;
        }
        let planned = Self { hub: Arc::clone(&hub), requested };
        // Where it fails the hub ends, and the round with it.
        drop(tokio::task::spawn_blocking(move || hub.plan_due(unix_now_ns())).await);
        planned
    }
}

impl Drop for Planned {
    /// The next tick makes the plans. A round that took this one's place has a part of its own.
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        let own = |now: &Arc<Requested>| Arc::ptr_eq(now, &self.requested);
        if state.requested.get(&self.requested.check).is_some_and(own) {
            state.requested.remove(&self.requested.check);
            state.stale = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(targets: &serde_json::Value) -> Result<Option<Requested>, TargetsError> {
        let spec = json!({ "targets": targets, "from": { "nodes": ["n1"], "vantages": ["pod"] } });
        read("nightly", &serde_json::from_value(spec).unwrap(), &Texts::default(), false)
    }

    #[test]
    fn an_object_becomes_what_the_plan_is_made_of() {
        let requested = of(&json!({
            "families": ["ipv4"],
            "http": [{
                "url": "https://shop.example.org/orders", "method": "POST", "body": "{}",
                "headers": [{ "name": "content-type", "value": "application/json" }], "expectedStatuses": "200-204,409",
            }],
            "dns": [{ "names": ["a.example", "b.example."], "types": ["A", "MX"], "servers": ["192.0.2.1", "[fd00::1]:5353"],
                      "transports": ["udp", "tls"] }, { "names": ["c.example"] }],
        }))
        .unwrap()
        .unwrap();
        assert_eq!((&*requested.check, requested.vantage), ("nightly", Some(Vantage::Pod)));
        assert_eq!((requested.families.as_slice(), requested.nodes.len()), (&[Family::V4][..], 1));
        let http = &requested.http[0];
        assert_eq!((http.tls, http.port, http.path.as_str()), (true, 443, "/orders"));
        assert_eq!(http.expected, [(200, 204), (409, 409)]);
        let call = http.call.as_ref().unwrap();
        assert_eq!((call.method.as_str(), call.headers.len(), call.body.as_slice()), ("POST", 1, &b"{}"[..]));
        assert_eq!(requested.dns.len(), 2 * 2 * 2 + 1);
        let first = &requested.dns[0];
        assert_eq!((first.name.as_str(), first.record, first.over), ("a.example", ("A", 1), Over::Udp));
        assert_eq!(
            first.servers,
            [("192.0.2.1".parse().unwrap(), None), ("fd00::1".parse().unwrap(), Some(5353))]
        );
        let last = requested.dns.last().unwrap();
        assert!(last.servers.is_empty() && last.record == ("A", 1), "the cluster's servers, an address");
        assert_eq!(of(&json!({ "kinds": ["node"] })).unwrap(), None);
    }

    #[test]
    fn what_makes_no_sense_names_its_field() {
        let names: Vec<String> = (0..16).map(|number| format!("n{number}.example")).collect();
        let types = ["A", "AAAA", "MX", "NS", "TXT", "SRV"];
        let source = json!({ "secretKeyRef": { "name": "a", "key": "b" } });
        for (targets, word) in [
            (json!({ "kinds": ["node"], "http": [{ "url": "http://a/" }] }), "stand alone"),
            (json!({ "http": [{ "url": "http://a/" }, { "url": "http:///" }] }), "spec.targets.http[1].url"),
            (json!({ "http": [{ "url": "https://a/", "verify": true }] }), "hub.http.ca"),
            (json!({ "http": [{ "url": "http://a/", "body": "x" }] }), "http[0].body: a GET has none"),
            (
                json!({ "http": [{ "url": "http://a/", "headers": [{ "name": "x" }] }] }),
                "http[0].headers: x has exactly one",
            ),
            (
                json!({ "http": [{ "url": "http://a/", "headers": [{ "name": "x", "value": "", "valueFrom": source }] }] }),
                "http[0].headers: x has exactly one",
            ),
            (json!({ "http": [{ "url": "http://a/", "bodyFrom": source }] }), "http[0].body: a GET has none"),
            (
                json!({ "http": [{ "url": "http://a/", "method": "PUT", "body": "", "bodyFrom": source }] }),
                "body or bodyFrom",
            ),
            (json!({ "dns": [{ "names": ["a b"] }] }), "dns[0].names"),
            (json!({ "dns": [{ "names": ["a"], "servers": ["kube-dns"] }] }), "dns[0].servers"),
            (json!({ "dns": [{ "names": ["a"], "servers": ["10.0.0.1:0"] }] }), "dns[0].servers"),
            (
                json!({ "dns": [{ "names": names, "types": types, "transports": ["udp", "tcp", "tls"] }] }),
                "288 questions",
            ),
        ] {
            let why = of(&targets).unwrap_err().to_string();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn a_method_or_a_type_that_there_is_not_is_refused_by_the_object() {
        for targets in [
            json!({ "http": [{ "url": "http://a/", "method": "BREW" }] }),
            json!({ "dns": [{ "names": ["a"], "types": ["ANY"] }] }),
        ] {
            assert!(serde_json::from_value::<ReachabilityCheckSpec>(json!({ "targets": targets })).is_err());
        }
    }
}
