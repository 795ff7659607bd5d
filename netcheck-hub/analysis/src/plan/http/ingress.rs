//! Ingresses and Gateways: each host and path at each address, as a client outside would ask for it. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use netcheck_common::domain::ProbeKind;

use super::url::{any, usual_family};
use super::{Catalog, HttpSettings, Probe, Sources, TlsCheck, endpoint, host_header, request};
use crate::cluster::roster::Roster;
use crate::cluster::roster::frontend::{FrontendKind, HttpFrontend, Site};
use crate::cluster::selection::{Decision, Selection};
use crate::plan::Target;
use crate::plan::exchange::Exchange;
use crate::words::names::listed;

/// Where requests go.
#[derive(Clone, Copy)]
enum To<'a> {
    Address(IpAddr),
    /// Looked up by each agent.
    Name(&'a str, IpAddr),
}

impl Catalog {
    pub(super) fn ask_ingresses(
        &mut self,
        roster: &Roster,
        selection: &Selection,
        settings: &HttpSettings,
        ports: &mut BTreeSet<u16>,
    ) {
        let wanted = |frontend: &&HttpFrontend| match frontend.kind {
            FrontendKind::Ingress => settings.ingress,
            FrontendKind::Gateway => settings.gateway,
        };
        let (mut unselected, mut nowhere) = (BTreeSet::new(), BTreeSet::new());
        for frontend in roster.frontends.values().filter(wanted) {
            let name = frontend.full_name();
            match selection.of_frontend(frontend) {
                Decision::Probed => {}
                Decision::Unselected => {
                    unselected.insert(name);
                    continue;
                }
                Decision::Off => continue,
            }
            self.troubles.extend(frontend.http.wrong.iter().map(|wrong| format!("{name}: {wrong}")));
            self.troubles.extend(frontend.skipped.iter().map(|what| format!("{name}: not probed: {what}")));
            if frontend.http.verify && settings.authorities.is_empty() {
                self.troubles.push(format!(
                    "{name}: netcheck.io/https-verify is true, and the hub has no --http-ca: nobody can vouch"
                ));
            }
            if frontend.sites.is_empty() {
                self.troubles.push(format!("{name}: nothing to ask for: it has no rule with a host or path"));
                continue;
            }
            if frontend.addresses.is_empty() && frontend.address_names.is_empty() {
                nowhere.insert(name);
                continue;
            }
            self.ask_frontend(roster, frontend, ports);
        }
        let reported = [
            (&nowhere, "not probed: nobody has given an address"),
            (
                &unselected,
                "not probed: select by the annotation netcheck.io/probe: \"true\" on it or its namespace",
            ),
        ];
        let lines = reported.into_iter().filter(|(names, _)| !names.is_empty());
        let lines = lines.map(|(names, why)| format!("{} {why}", listed(names.iter().cloned())));
        self.left_out = self.left_out.iter().cloned().chain(lines).collect();
    }

    fn ask_frontend(&mut self, roster: &Roster, frontend: &HttpFrontend, ports: &mut BTreeSet<u16>) {
        let family = usual_family(roster);
        for site in &frontend.sites {
            ports.insert(site.port);
            let target = target(frontend, site);
            let addresses = frontend.addresses.iter().map(|&address| To::Address(address));
            let names = frontend.address_names.iter().map(|name| To::Name(name, any(family)));
            for to in addresses.chain(names) {
                let (address, lookup) = match to {
                    To::Address(address) => (address, None),
                    To::Name(name, address) => (address, Some(name.to_owned())),
                };
                let host = match (site.host.as_str(), to) {
                    ("", To::Address(address)) => of_address(address, site),
                    ("", To::Name(name, _)) => host_header(name, site.tls, site.port),
                    (host, _) => host_header(host, site.tls, site.port),
                };
                let exchange = Exchange {
                    talk: request(host, &site.path, &frontend.http.expected),
                    tls: site
                        .tls
                        .then(|| TlsCheck { name: site.host.clone(), authority: frontend.http.verify }),
                    // The address is the object's own.
                    external: false,
                    lookup,
                };
                self.probes.push(Probe {
                    target: Arc::clone(&target),
                    kind: ProbeKind::Http,
                    address,
                    port: site.port,
                    question: None,
                    sources: Sources::All,
                    exchange: Some(Arc::new(exchange)),
                });
            }
        }
    }
}

/// A host of one frontend, by HTTP or HTTPS.
fn target(frontend: &HttpFrontend, site: &Site) -> Arc<Target> {
    let host = if site.host.is_empty() { "*" } else { &site.host };
    let scheme = if site.tls { "https" } else { "http" };
    let origin = format!("{scheme}://{}", host_header(host, site.tls, site.port));
    let HttpFrontend { kind, namespace, name, addresses, .. } = frontend;
    let id = format!("{}/{namespace}/{name}/{origin}", kind.as_str());
    let called = format!("{origin} of {}", frontend.full_name());
    endpoint(id, called, namespace.clone(), addresses.clone(), site.port)
}

/// The Host header where any will do.
fn of_address(address: IpAddr, site: &Site) -> String {
    let whole = SocketAddr::new(address, site.port).to_string();
    match whole.rsplit_once(':') {
        Some((bare, _)) if site.port == if site.tls { 443 } else { 80 } => bare.to_owned(),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::roster::Objects;
    use crate::plan::exchange::Talk;

    fn object(name: &str, annotations: &Value, status: &Value) -> Value {
        let path = json!({ "path": "/x", "pathType": "Prefix", "backend": { "service": { "name": "web" } } });
        json!({
            "metadata": { "name": name, "namespace": "shop", "annotations": annotations },
            "spec": {
                "tls": [{ "hosts": ["a.test"] }],
                "rules": [{ "host": "a.test", "http": { "paths": [path] } }, { "host": "*.b.test" }],
            },
            "status": { "loadBalancer": { "ingress": status } },
        })
    }

    fn catalog(objects: &[Value], selection: &Selection, ingress: bool) -> Catalog {
        let ingresses = objects.iter().map(|of| serde_json::from_value(of.clone()).unwrap()).collect();
        let roster = Objects { ingresses, ..Objects::default() }.roster();
        let settings = HttpSettings { ingress, ..HttpSettings::default() };
        Catalog::of(&roster, selection, &BTreeMap::new(), "a.b").with_http(&roster, selection, &settings)
    }

    #[test]
    fn every_host_and_path_at_every_address() {
        let status = json!([{ "ip": "192.0.2.7" }, { "ip": "2001:db8::7" }, { "hostname": "lb.test" }]);
        let on = json!({ "netcheck.io/probe": "true", "netcheck.io/http-status": "200-204" });
        let objects = [
            object("web", &on, &status),
            object("other", &json!({}), &status),
            object("new", &on, &json!([])),
        ];
        let selection = Selection::default();
        let catalog = catalog(&objects, &selection, true);
        let asked: Vec<String> = catalog
            .probes
            .iter()
            .map(|probe| {
                let exchange = probe.exchange.as_ref().unwrap();
                let Talk::Http(request) = &exchange.talk else { panic!("{probe:?}") };
                assert_eq!(request.expected, [(200, 204)]);
                assert!(!exchange.external && probe.target.is_frontend());
                let to = exchange.lookup.clone().unwrap_or_else(|| probe.address.to_string());
                let name = exchange.tls.as_ref().map_or("", |check| &check.name);
                format!(
                    "{} {} at {to}:{} for {} ({name})",
                    probe.target.id,
                    probe.detail(),
                    probe.port,
                    request.host
                )
            })
            .collect();
        let row = |scheme: &str, to: &str, port: u16, name: &str| {
            format!("ingress/shop/web/{scheme}://a.test {scheme} /x at {to}:{port} for a.test ({name})")
        };
        assert_eq!(
            asked,
            [
                row("http", "192.0.2.7", 80, ""),
                row("http", "lb.test", 80, ""),
                row("http", "2001:db8::7", 80, ""),
                row("https", "192.0.2.7", 443, "a.test"),
                row("https", "lb.test", 443, "a.test"),
                row("https", "2001:db8::7", 443, "a.test"),
            ]
        );
        let reported =
            |word: &str| catalog.left_out.iter().chain(&catalog.troubles).any(|line| line.contains(word));
        assert!(
            reported("ingress shop/new not probed: nobody has given an address"),
            "{:?}",
            catalog.left_out
        );
        assert!(reported("ingress shop/other not probed: select by"), "{:?}", catalog.left_out);
        assert!(reported("ingress shop/web: not probed: host *.b.test"), "{:?}", catalog.troubles);
        assert!(catalog.watched_ports.contains(&443));
    }

    #[test]
    fn none_without_the_flag_or_where_it_is_switched_off() {
        let status = json!([{ "ip": "192.0.2.7" }]);
        let everything = Selection::everything();
        let objects = [object("web", &json!({}), &status)];
        assert!(catalog(&objects, &everything, false).probes.is_empty());
        assert_eq!(catalog(&objects, &everything, true).probes.len(), 2);
        let off = [object("web", &json!({ "netcheck.io/probe": "false" }), &status)];
        assert!(catalog(&off, &everything, true).probes.is_empty());
    }

    #[test]
    fn where_any_host_will_do_it_is_the_address() {
        for (address, port, expected) in [
            ("192.0.2.7", 80, "192.0.2.7"),
            ("192.0.2.7", 8080, "192.0.2.7:8080"),
            ("2001:db8::7", 80, "[2001:db8::7]"),
            ("2001:db8::7", 81, "[2001:db8::7]:81"),
        ] {
            let site = Site { host: String::new(), tls: false, port, path: "/".to_owned() };
            assert_eq!(of_address(address.parse().unwrap(), &site), expected);
        }
    }
}
