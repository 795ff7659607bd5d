//! URLs whose host is a name: every agent looks it up itself, and goes to the address that it gets. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use netcheck_common::domain::{Family, ProbeKind};
use netcheck_proto::text;

use super::{Catalog, HttpSettings, Probe, Sources, TlsCheck, endpoint, host_header, request};
use crate::cluster::roster::Roster;
use crate::cluster::roster::http::{Statuses, statuses};
use crate::plan::catalog::record_type;
use crate::plan::exchange::Exchange;

/// Longest name (RFC 1035 §2.3.4), and longest path.
const NAME_MAX: usize = 253;
const PATH_MAX: usize = 1024;

const USAGE: &str = "expected http://NAME[:PORT][/PATH] or https://…, and after a # options with & between: ipv4, ipv6, \
                     status=200-399, verify";

/// A URL whose host is a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedUrl {
    /// By HTTPS.
    pub tls: bool,
    /// Without a dot at its end, search lists apply.
    pub name: String,
    /// Where.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// In which families; none: in the first one of the cluster.
    pub families: Vec<Family>,
    /// Statuses that are expected; empty: the usual ones.
    pub expected: Statuses,
    /// The hub's authorities must vouch for the certificate.
    pub verify: bool,
}

/// Why a text is no [`NamedUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has another form.
    #[error("{USAGE}")]
    Usage,
    /// Addresses are asked for by another flag.
    #[error("its host is an address: say --http-target")]
    Address,
}

impl NamedUrl {
    /// Reads `https://NAME[:PORT][/PATH][#OPTIONS]`.
    ///
    /// # Errors
    /// Anything else.
    pub fn read(text: &str) -> Result<Self, UrlError> {
        let usage = || UrlError::Usage;
        let (url, options) = text.split_once('#').unwrap_or((text, ""));
        let url: http::Uri = url.parse().map_err(|_| usage())?;
        let tls = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(usage()),
        };
        let name = url.host().unwrap_or_default();
        let bare = name.trim_end_matches('.');
        if name.parse::<IpAddr>().is_ok() || name.starts_with('[') {
            return Err(UrlError::Address);
        }
        let authority = url.authority().map_or("", http::uri::Authority::as_str);
        if bare.is_empty() || bare.len() > NAME_MAX || !text::is_name(bare) || authority.contains('@') {
            return Err(usage());
        }
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        if port == 0 || !path.starts_with('/') || path.len() > PATH_MAX {
            return Err(usage());
        }
        let name = name.to_owned();
        let mut read =
            Self { tls, name, port, path, families: Vec::new(), expected: Vec::new(), verify: false };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("ipv4", "") => read.families.push(Family::V4),
                ("ipv6", "") => read.families.push(Family::V6),
                ("verify", "") if tls => read.verify = true,
                ("status", list) => read.expected = statuses(list).ok_or_else(usage)?,
                _ => return Err(usage()),
            }
        }
        Ok(read)
    }

    /// `https://shop.example.org`.
    fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", host_header(&self.name, self.tls, self.port))
    }
}

/// What stands for the address in paths whose name is looked up: it says the family.
pub(in crate::plan) const fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// The family that is probed where nobody says which.
pub(in crate::plan) fn usual_family(roster: &Roster) -> Family {
    if record_type(roster) == 1 { Family::V4 } else { Family::V6 }
}

impl Catalog {
    pub(super) fn ask_url(&mut self, roster: &Roster, url: &NamedUrl, settings: &HttpSettings) {
        if url.verify && settings.authorities.is_empty() {
            self.troubles.push(format!(
                "{}: verify is said, and the hub has no --http-ca: nobody can vouch",
                url.origin()
            ));
        }
        let bare = url.name.trim_end_matches('.');
        let target =
            endpoint(format!("endpoint/{}", url.origin()), url.origin(), String::new(), Vec::new(), url.port);
        let exchange = Arc::new(Exchange {
            talk: request(host_header(bare, url.tls, url.port), &url.path, &url.expected),
            tls: url.tls.then(|| TlsCheck { name: bare.to_owned(), authority: url.verify }),
            external: true,
            lookup: Some(url.name.clone()),
        });
        let usual = [usual_family(roster)];
        let families = if url.families.is_empty() { &usual[..] } else { &url.families };
        self.probes.extend(families.iter().map(|&family| Probe {
            target: Arc::clone(&target),
            kind: ProbeKind::Http,
            address: any(family),
            port: url.port,
            question: None,
            sources: Sources::All,
            exchange: Some(Arc::clone(&exchange)),
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use netcheck_proto::v1;

    use super::*;
    use crate::cluster::selection::Selection;

    #[test]
    fn what_is_a_url() {
        let url = NamedUrl::read("https://shop.example.org./x?y=1#ipv6&status=200,401&verify&ipv4").unwrap();
        assert_eq!((url.tls, url.name.as_str(), url.port), (true, "shop.example.org.", 443));
        assert_eq!((url.path.as_str(), url.verify), ("/x?y=1", true));
        assert_eq!(
            (url.families, url.expected),
            (vec![Family::V6, Family::V4], vec![(200, 200), (401, 401)])
        );
        let url = NamedUrl::read("http://web:8080").unwrap();
        assert_eq!((url.tls, url.port, url.path.as_str()), (false, 8080, "/"));
        assert!(url.families.is_empty() && url.expected.is_empty() && !url.verify);
        for text in [
            "web",
            "ftp://web/",
            "http://",
            "http://web:0/",
            "http://a b/",
            "http://user@web/",
            "http://web/#ipv5",
            "http://web/#status=x",
            "http://web/#verify",
            "https://web/#verify=1",
        ] {
            assert!(NamedUrl::read(text).is_err(), "{text}");
        }
        for text in ["http://192.0.2.7/", "https://[2001:db8::1]/"] {
            assert_eq!(NamedUrl::read(text).unwrap_err(), UrlError::Address, "{text}");
        }
    }

    #[test]
    fn it_is_looked_up_by_each_agent() {
        let urls = vec![NamedUrl::read("https://shop.test:8443/x#ipv4&ipv6").unwrap()];
        let settings = HttpSettings { urls, ..HttpSettings::default() };
        let roster = Roster::default();
        let selection = Selection::everything();
        let catalog = Catalog::of(&roster, &selection, &BTreeMap::new(), "a.b");
        let catalog = catalog.with_http(&roster, &selection, &settings);
        assert_eq!(
            catalog.probes.iter().map(|probe| probe.address).collect::<Vec<_>>(),
            [any(Family::V4), any(Family::V6)]
        );
        let probe = &catalog.probes[0];
        assert_eq!((&*probe.target.id, probe.port), ("endpoint/https://shop.test:8443", 8443));
        let mut spec = v1::PathSpec::default();
        probe.exchange.as_ref().unwrap().write(&mut spec);
        let (http, tls) = (spec.http.unwrap(), spec.tls.unwrap());
        assert_eq!((http.host.as_str(), http.resolve.as_str()), ("shop.test:8443", "shop.test"));
        assert!(spec.external && tls.name == "shop.test" && catalog.watched_ports.contains(&8443));
    }
}
