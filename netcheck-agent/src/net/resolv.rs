//! How programs of a host or pod look names up: resolv.conf(5), as the C library reads it. Pure.

use std::net::IpAddr;
use std::time::Duration;

/// Most domains that are tried; glibc had six for long.
const DOMAINS_MAX: usize = 32;
/// Servers beyond these are never asked (`MAXNS` of glibc).
const SERVERS_MAX: usize = 3;
/// As the C library has it.
const NDOTS_MAX: usize = 15;
/// How long one answer is waited for by default, and at most (`RES_TIMEOUT`, `RES_MAXRETRANS`).
const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// Rounds through all servers by default, and at most (`RES_DFLRETRY`, `RES_MAXRETRY`).
const ATTEMPTS: usize = 2;
const ATTEMPTS_MAX: usize = 5;

/// A file of that form, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    pub(crate) servers: Vec<IpAddr>,
    pub(crate) domains: Vec<String>,
    pub(crate) ndots: usize,
    /// How long one answer is waited for.
    pub(crate) timeout: Duration,
    /// How often each server is asked.
    pub(crate) attempts: usize,
}

impl ResolvConf {
    /// Reads the file's text; what makes no sense is passed over, as the C library does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut conf =
            Self { servers: Vec::new(), domains: Vec::new(), ndots: 1, timeout: TIMEOUT, attempts: ATTEMPTS };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if conf.servers.len() < SERVERS_MAX => {
                    // A scope is of no use to another socket.
                    let word = words.next().unwrap_or_default();
                    conf.servers.extend(word.split('%').next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                // The last of them counts.
                Some("search" | "domain") => {
                    conf.domains = words.take(DOMAINS_MAX).map(ToOwned::to_owned).collect();
                }
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        conf
    }

    fn option(&mut self, word: &str) {
        let Some((name, number)) = word.split_once(':') else { return };
        let Ok(number) = number.parse::<usize>() else { return };
        match name {
            "ndots" => self.ndots = number.min(NDOTS_MAX),
            "timeout" => self.timeout = Duration::from_secs(number.max(1) as u64).min(TIMEOUT_MAX),
            "attempts" => self.attempts = number.clamp(1, ATTEMPTS_MAX),
            _ => {}
        }
    }

    /// The names that are asked for, in their order.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let dots = name.bytes().filter(|&byte| byte == b'.').count();
        let with = self.domains.iter().map(|domain| match domain.trim_matches('.') {
            "" => format!("{name}."),
            domain => format!("{name}.{domain}."),
        });
        let mut names: Vec<String> = with.collect();
        let own = format!("{name}.");
        if dots >= self.ndots {
            names.insert(0, own);
        } else {
            names.push(own);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "# a pod's\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n\
                       nameserver 10.96.0.10\nnameserver fe80::1%eth0\noptions timeout:1 ndots:5\n";

    #[test]
    fn the_file() {
        let conf = ResolvConf::parse(POD);
        assert_eq!((conf.servers.len(), conf.domains.len(), conf.ndots), (2, 3, 5));
        assert_eq!((conf.timeout, conf.attempts), (Duration::from_secs(1), 2));
        assert_eq!(ResolvConf::parse("").ndots, 1);
        let twice = ResolvConf::parse("search a b\ndomain c\nnameserver nonsense\noptions ndots:99 ndots:x");
        assert_eq!(
            (twice.domains.as_slice(), twice.servers.len(), twice.ndots),
            (&["c".to_owned()][..], 0, 15)
        );
        let odd = ResolvConf::parse("options timeout:0 attempts:0\noptions attempts:99 timeout:999 rotate");
        assert_eq!((odd.timeout, odd.attempts), (TIMEOUT_MAX, ATTEMPTS_MAX));
        let four = "nameserver ::1\n".repeat(SERVERS_MAX + 1);
        assert_eq!(ResolvConf::parse(&four).servers.len(), SERVERS_MAX);
    }

    #[test]
    fn names_in_the_order_in_which_they_are_tried() {
        let conf = ResolvConf::parse(POD);
        let (d, s, c) = ("default.svc.cluster.local.", "svc.cluster.local.", "cluster.local.");
        assert_eq!(
            conf.candidates("web.default"),
            [
                format!("web.default.{d}"),
                format!("web.default.{s}"),
                format!("web.default.{c}"),
                "web.default.".to_owned(),
            ]
        );
        assert_eq!(conf.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f.");
        assert_eq!(conf.candidates("example.org."), ["example.org."]);
        assert_eq!(ResolvConf::parse("").candidates("web"), ["web."]);
    }
}
