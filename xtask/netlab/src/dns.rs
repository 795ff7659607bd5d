//! The cluster's DNS: unbound in the `dns` pod, with a configuration that follows from the services and the
//! faults. Pure; `servers.rs` runs it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::fault::{DnsAnswer, Fault};
use crate::service::Service;
use crate::state::write_atomically;

/// Where the answers of a slow server are held back.
pub(crate) const DELAY_PORT: u16 = 5300;

/// How the server shall answer, if otherwise than well: the last fault counts.
pub(crate) fn answer(faults: &[Fault]) -> Option<DnsAnswer> {
    faults.iter().rev().find_map(|fault| match fault {
        Fault::Dns { answer } => Some(*answer),
        _ => None,
    })
}

/// How long answers are held back.
pub(crate) fn delay(faults: &[Fault]) -> Option<Duration> {
    match answer(faults) {
        Some(DnsAnswer::Slow(delay)) => Some(delay),
        _ => None,
    }
}

/// What DNS over TLS shows: a certificate that vouches for itself, made once for each lab.
///
/// # Errors
/// If it can't be made or written.
pub(crate) fn certificate(dir: &Path) -> Result<()> {
    let (pem, key) = (dir.join("dns.pem"), dir.join("dns.key"));
    if pem.exists() && key.exists() {
        return Ok(());
    }
    let names = vec!["kube-dns.kube-system.svc".to_owned()];
    let made =
        rcgen::generate_simple_self_signed(names).context("making a certificate for the DNS server")?;
    write_atomically(&key, made.signing_key.serialize_pem().as_bytes())?;
    write_atomically(&pem, made.cert.pem().as_bytes())
}

/// The configuration file.
///
/// - NXDOMAIN: the zone is there and has no names.
/// - SERVFAIL: the zone is configured, but its primary server cannot be reached to load it.
/// - silent: queries for the zone are dropped.
/// - truncated: over UDP there is room for the questions that are asked here (47 bytes for `web`, 54 for `kubernetes`,
///   with the header) and for none of the answers (16 bytes more, 28 over IPv6).
pub(crate) fn configuration(dir: &Path, services: &[Service], answer: Option<DnsAnswer>) -> String {
    let mut text = format!(
        "server:\n\
         \x20 interface: 0.0.0.0\n\
         \x20 interface: ::0\n\
         \x20 interface: 0.0.0.0@853\n\
         \x20 interface: ::0@853\n\
         \x20 tls-port: 853\n\
         \x20 tls-service-pem: \"{dir}/dns.pem\"\n\
         \x20 tls-service-key: \"{dir}/dns.key\"\n\
         \x20 access-control: 0.0.0.0/0 allow\n\
         \x20 access-control: ::/0 allow\n\
         \x20 do-daemonize: no\n\
         \x20 use-syslog: no\n\
         \x20 logfile: \"\"\n\
         \x20 username: \"\"\n\
         \x20 chroot: \"\"\n\
         \x20 pidfile: \"\"\n\
         \x20 directory: \"{dir}\"\n\
         \x20 num-threads: 1\n\
         \x20 msg-cache-size: 1m\n\
         \x20 rrset-cache-size: 1m\n\
         \x20 module-config: \"iterator\"\n\
         \x20 local-zone: \".\" static\n",
        dir = dir.display()
    );
    let zone = match answer {
        None | Some(DnsAnswer::Slow(_) | DnsAnswer::Truncated | DnsAnswer::Nxdomain) => "static",
        Some(DnsAnswer::Silent) => "deny",
        Some(DnsAnswer::Servfail) => "transparent",
    };
    _ = writeln!(text, "  local-zone: \"cluster.local.\" {zone}");
    if answer == Some(DnsAnswer::Truncated) {
        text.push_str("  max-udp-size: 60\n");
    }
    if matches!(answer, None | Some(DnsAnswer::Slow(_) | DnsAnswer::Truncated)) {
        for service in services {
            records(&mut text, service);
        }
    }
    text.push_str("remote-control:\n  control-enable: no\n");
    if answer == Some(DnsAnswer::Servfail) {
        text.push_str(
            "auth-zone:\n  name: \"cluster.local.\"\n  for-downstream: yes\n  for-upstream: no\n  \
             fallback-enabled: no\n  primary: 127.0.0.1@9\n",
        );
    }
    text
}

fn records(text: &mut String, service: &Service) {
    let name = format!("{}.{}.svc.cluster.local.", service.name, service.namespace);
    let backends = service.backends.iter().filter(|backend| backend.ready).map(|b| (b.v4, b.v6));
    let addresses: Vec<_> = match service.cluster_ips {
        Some(pair) => vec![pair],
        None => backends.collect(),
    };
    for (v4, v6) in addresses {
        _ = writeln!(text, "  local-data: \"{name} 5 IN A {v4}\"");
        _ = writeln!(text, "  local-data: \"{name} 5 IN AAAA {v6}\"");
    }
}

/// Sends queries that reach the pod to the port where answers are held back, or no longer.
pub(crate) fn detour(slow: bool) -> String {
    let mut text = "table inet netlab_delay\ndelete table inet netlab_delay\n".to_owned();
    if slow {
        _ = write!(
            text,
            "table inet netlab_delay {{\n  chain prerouting {{\n    \
             type nat hook prerouting priority dstnat; policy accept;\n    \
             meta l4proto {{ tcp, udp }} th dport 53 redirect to :{DELAY_PORT}\n  }}\n}}\n"
        );
    }
    text
}
