//! Text → fault.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};

use super::{HELP, Word};
use crate::fault::{DnsAnswer, End, Fault, Hook, Leg, Match, Narrow, Verdict};

/// The settings that have not been asked for yet.
struct Settings(BTreeMap<String, String>);

impl Settings {
    fn text(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    fn need(&mut self, key: &str) -> Result<String> {
        self.text(key).with_context(|| format!("`{key}=` is missing"))
    }

    fn number<T: FromStr>(&mut self, key: &str) -> Result<Option<T>> {
        let number = |text: String| {
            text.parse().ok().with_context(|| format!("`{key}={text}` is no number that fits"))
        };
        self.text(key).map(number).transpose()
    }

    fn word<T: Word + Copy>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        let value = T::parse(&text)
            .with_context(|| format!("`{key}={text}`: `{key}` is one of {}", words.join(", ")))?;
        Ok(Some(*value))
    }

    fn need_word<T: Word + Copy>(&mut self, key: &str) -> Result<T> {
        self.word(key)?.with_context(|| format!("`{key}=` is missing"))
    }

    fn percent(&mut self) -> Result<Option<u8>> {
        let percent = self.number::<u8>("percent")?;
        ensure!(percent.is_none_or(|p| (1..=100).contains(&p)), "`percent` is 1 to 100");
        Ok(percent)
    }

    fn matching(&mut self) -> Result<Match> {
        Ok(Match {
            family: self.word("family")?,
            proto: self.word("proto")?,
            src: self.text("src"),
            dst: self.text("dst"),
            sport: self.number("sport")?,
            dport: self.number("dport")?,
            iif: self.text("iif"),
            oif: self.text("oif"),
            longer_bytes: self.number("longer")?,
            percent: self.percent()?,
        })
    }

    fn dns(&mut self) -> Result<DnsAnswer> {
        let delay = self.number::<u32>("delay-ms")?;
        let answer = match self.need("answer")?.as_str() {
            "slow" => return Ok(DnsAnswer::Slow(Duration::from_millis(delay.unwrap_or(1000).into()))),
            "servfail" => DnsAnswer::Servfail,
            "nxdomain" => DnsAnswer::Nxdomain,
            "silent" => DnsAnswer::Silent,
            "truncated" => DnsAnswer::Truncated,
            other => {
                bail!("`answer={other}`: `answer` is one of servfail, nxdomain, slow, silent, truncated")
            }
        };
        ensure!(delay.is_none(), "`delay-ms` goes with `answer=slow` only");
        Ok(answer)
    }

    fn source_ports(&mut self) -> Result<Fault> {
        let way = self.number::<u8>("way")?.unwrap_or(3);
        ensure!(way < 8, "`way` is 0 to 7");
        Ok(Fault::SourcePorts {
            from: self.need("from")?,
            to: self.need("to")?,
            way,
            family: self.word("family")?,
        })
    }

    fn reorder(&mut self) -> Result<Fault> {
        let delay_ms = self.number::<u16>("delay-ms")?.unwrap_or(300);
        let percent = self.percent()?.unwrap_or(50);
        let delay = Duration::from_millis(delay_ms.into());
        Ok(Fault::Reorder { node: self.need("node")?, percent, delay })
    }

    fn one_way(&mut self, leg: Leg) -> Result<Fault> {
        Ok(Fault::OneWay {
            leg,
            from: self.need("from")?,
            to: self.need("to")?,
            at: self.word("at")?.unwrap_or(End::Destination),
            family: self.word("family")?,
            proto: self.word("proto")?,
            port: self.number("port")?.unwrap_or(6100),
            percent: self.percent()?,
        })
    }

    fn filter(&mut self, verdict: Verdict) -> Result<Fault> {
        let hook: Hook = self.need_word("hook")?;
        ensure!(
            verdict == Verdict::Drop || hook != Hook::Postrouting,
            "the kernel has no reject in postrouting"
        );
        Ok(Fault::Filter { node: self.need("node")?, hook, verdict, matching: self.matching()? })
    }

    fn mtu_bytes(&mut self) -> Result<u16> {
        let mtu_bytes = self.number("mtu")?.context("`mtu=` is missing")?;
        ensure!(mtu_bytes >= 1280, "`mtu` is at least 1280, or IPv6 is switched off");
        Ok(mtu_bytes)
    }

    /// Faults of configuration.
    fn misconfigured(&mut self, kind: &str) -> Result<Fault> {
        Ok(match kind {
            "no-hairpin" => Fault::NoHairpin { pod: self.need("pod")? },
            "wrong-vni" => Fault::WrongVni { node: self.need("node")? },
            "stale-tunnel" => Fault::StaleTunnel { node: self.need("node")?, to: self.need("to")? },
            "tunnel-blocked" => Fault::TunnelBlocked { a: self.need("a")?, b: self.need("b")? },
            "pod-mtu" => Fault::PodMtu { node: self.need("node")?, mtu_bytes: self.mtu_bytes()? },
            "pod-mask" => Fault::PodMask { pod: self.need("pod")? },
            "echo-ignored" => Fault::EchoIgnored { at: self.need("at")? },
            "forwarding-off" => Fault::ForwardingOff { node: self.need("node")? },
            "dad-failed" => Fault::DadFailed { pod: self.need("pod")? },
            "duplicate-address" => Fault::DuplicateAddress { of: self.need("of")?, at: self.need("at")? },
            "policy-deny" => Fault::PolicyDeny { pod: self.need("pod")? },
            "new-denied" => Fault::NewDenied { node: self.need("node")? },
            _ => bail!("there is no such kind; the kinds are\n{HELP}"),
        })
    }

    fn mtu(&mut self) -> Result<Fault> {
        let mtu_bytes = self.mtu_bytes()?;
        let at = self.word("at")?.unwrap_or(Narrow::Tunnel);
        Ok(Fault::MtuBlackhole { node: self.need("node")?, at, mtu_bytes })
    }
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).with_context(|| format!("fault `{}`", text.trim()))
    }
}

fn parse(text: &str) -> Result<Fault> {
    let mut words = text.split_ascii_whitespace();
    let kind = words.next().context("no kind is given")?;
    let mut settings = Settings(BTreeMap::new());
    for word in words {
        let (key, value) =
            word.split_once('=').with_context(|| format!("`{word}` is not of the form key=value"))?;
        ensure!(!value.is_empty(), "`{key}=` has no value");
        let before = settings.0.insert(key.to_owned(), value.to_owned());
        ensure!(before.is_none(), "`{key}` is given twice");
    }
    let s = &mut settings;
    let fault = match kind {
        "drop" => s.filter(Verdict::Drop)?,
        "reject" => s.filter(Verdict::Reject)?,
        "route" => Fault::Route { node: s.need("node")?, kind: s.need_word("type")?, to: s.need("to")? },
        "route-loop" => Fault::RouteLoop { a: s.need("a")?, b: s.need("b")?, to: s.need("to")? },
        "reverse-path" => Fault::ReversePath { node: s.need("node")?, from: s.need("from")? },
        "slow-link" => {
            Fault::SlowLink { pod: s.need("pod")?, rate_kbit: s.number("rate-kbit")?.unwrap_or(2) }
        }
        "veth-down" => Fault::VethDown { pod: s.need("pod")? },
        "pod-link-down" => Fault::PodLinkDown { pod: s.need("pod")? },
        "storage-down" => Fault::StorageDown { node: s.need("node")? },
        "storage-address-gone" => Fault::StorageAddressGone { pod: s.need("pod")? },
        "uplink-down" => Fault::UplinkDown { node: s.need("node")? },
        "responder-filtered" => Fault::ResponderFiltered {
            node: s.need("node")?,
            port: s.number("port")?.unwrap_or(6100),
            family: s.word("family")?,
        },
        "request-loss" => s.one_way(Leg::Request)?,
        "reply-loss" => s.one_way(Leg::Reply)?,
        "loss" => Fault::WireLoss {
            node: s.need("node")?,
            direction: s.need_word("direction")?,
            percent: s.percent()?.context("`percent=` is missing")?,
            family: s.word("family")?,
            longer_bytes: s.number("longer")?,
        },
        "source-ports" => s.source_ports()?,
        "duplicate" => Fault::Duplicate { node: s.need("node")?, percent: s.percent()?.unwrap_or(100) },
        "reorder" => s.reorder()?,
        "conntrack-full" => Fault::ConntrackFull { node: s.need("node")? },
        "fragments-dropped" => Fault::FragmentsDropped { node: s.need("node")?, from: s.text("from") },
        "dns" => Fault::Dns { answer: s.dns()? },
        "backend-refuses" => Fault::BackendRefuses { pod: s.need("pod")? },
        "backend-stuck" => Fault::BackendStuck { pod: s.need("pod")? },
        "backend-dead" => Fault::BackendDead { pod: s.need("pod")? },
        "no-endpoints" => Fault::NoEndpoints { service: s.need("service")? },
        "no-node-port" => Fault::NoNodePort { node: s.need("node")?, service: s.need("service")? },
        "no-translation" => Fault::NoTranslation { node: s.need("node")?, service: s.need("service")? },
        "node-killed" => Fault::NodeKilled { node: s.need("node")? },
        "zone-cut" => Fault::ZoneCut {
            a: s.need("a")?,
            b: s.need("b")?,
            family: s.word("family")?,
            proto: s.word("proto")?,
        },
        "wrong-neighbour" => Fault::WrongNeighbour { node: s.need("node")?, to: s.need("to")? },
        "mtu-blackhole" => s.mtu()?,
        "node-state" => Fault::NodeState { node: s.need("node")?, state: s.need_word("state")? },
        "pod-gone" => Fault::PodGone { pod: s.need("pod")? },
        other => s.misconfigured(other)?,
    };
    let left: Vec<&str> = settings.0.keys().map(String::as_str).collect();
    ensure!(left.is_empty(), "`{kind}` has no setting `{}`", left.join("`, `"));
    Ok(fault)
}
