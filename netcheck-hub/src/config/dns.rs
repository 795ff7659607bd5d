//! Flags about DNS.

use std::net::IpAddr;

use clap::Args;

use super::dns_name;
use netcheck_analysis::plan::dns::{DnsSettings, NAME, Over};

/// Flags about DNS.
#[derive(Clone, Debug, Args)]
pub struct DnsFlags {
    /// The names that DNS servers are asked for, separated by commas; may be repeated [default: kubernetes.default.svc in
    /// the cluster's domain, which pod vantages report; without any, cluster.local].
    #[arg(long, env = "NETCHECK_DNS_NAMES", value_name = "NAMES", value_delimiter = ',', value_parser = dns_name)]
    pub dns_names: Vec<String>,

    /// One such name, as older versions had it.
    #[arg(long, env = "NETCHECK_DNS_NAME", value_name = "NAME", value_parser = dns_name, hide = true)]
    pub dns_name: Option<String>,

    /// In which ways each DNS server is asked, separated by commas: udp, tcp, tls (port 853; a service only where it has
    /// that port). TCP and TLS as often as --http-interval says.
    #[arg(
        long,
        env = "NETCHECK_DNS_TRANSPORTS",
        value_name = "WAYS",
        value_delimiter = ',',
        default_value = "udp,tcp"
    )]
    pub dns_transports: Vec<Over>,

    /// Addresses of DNS caches that every node has of its own and that agents don't find by themselves, separated by
    /// commas; agents must be configured the same by their own --node-local-dns [default: none].
    #[arg(long, env = "NETCHECK_NODE_LOCAL_DNS", value_name = "ADDRESSES", value_delimiter = ',')]
    pub node_local_dns: Vec<IpAddr>,

    /// Don't probe the DNS caches that agents find on their own nodes: name servers of the agent's resolv.conf or the
    /// vantage's whose address is the node's own, and those of NodeLocal DNSCache.
    #[arg(long, env = "NETCHECK_IGNORE_FOUND_DNS")]
    pub ignore_found_dns: bool,

    /// Short names that every agent looks up now and then with its node's own search list, as a program there would,
    /// separated by commas; how many queries that takes is reported [default: none].
    #[arg(long, env = "NETCHECK_DNS_SEARCH_NAMES", value_name = "NAMES", value_delimiter = ',',
          value_parser = dns_name)]
    pub dns_search_names: Vec<String>,
}

impl DnsFlags {
    /// The first name, and all else.
    #[must_use]
    pub fn settings(&self) -> (String, DnsSettings) {
        let mut names: Vec<String> = self.dns_names.iter().chain(&self.dns_name).cloned().collect();
        let follow_domain = names.is_empty();
        if follow_domain {
            names.push(NAME.to_owned());
        }
        let first = names.remove(0);
        let settings = DnsSettings {
            more_names: names,
            over: self.dns_transports.clone(),
            node_local: self.node_local_dns.clone(),
            find_node_local: !self.ignore_found_dns,
            search_names: self.dns_search_names.clone(),
            follow_domain,
        };
        (first, settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_old_and_new() {
        let none = DnsFlags {
            dns_names: Vec::new(),
            dns_name: None,
            dns_transports: vec![Over::Udp],
            node_local_dns: Vec::new(),
            ignore_found_dns: false,
            dns_search_names: Vec::new(),
        };
        assert!(none.settings().0 == NAME && none.settings().1.follow_domain);
        let old = DnsFlags { dns_name: Some("a.b".to_owned()), ..none.clone() };
        assert!(old.settings().0 == "a.b" && !old.settings().1.follow_domain);
        let both = DnsFlags { dns_names: vec!["c.d".to_owned(), "e.f".to_owned()], ..old };
        let (first, settings) = both.settings();
        assert_eq!((first.as_str(), settings.more_names), ("c.d", vec!["e.f".to_owned(), "a.b".to_owned()]));
    }
}
