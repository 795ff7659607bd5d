//! `ReachabilityCheck` (`netcheck.io/v1alpha1`), as its users write it. The schema in the chart is made from these types.
#![expect(unreachable_pub, reason = "KubeSchema copies the types into a function")]
#![expect(clippy::duplicated_attributes, reason = "each column has a type")]

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use requested::{
    DnsTarget, DnsTransport, Header, HttpTarget, Method, RecordType, Secret, SecretKeyRef, TextSource,
};
pub use values::{Percent, PercentError, Span};

use crate::status::ReachabilityCheckStatus;

mod requested;
mod values;

/// What is checked, when, and what it has to come to.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "netcheck.io",
    version = "v1alpha1",
    kind = "ReachabilityCheck",
    plural = "reachabilitychecks",
    status = "ReachabilityCheckStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "ncheck",
    category = "netcheck",
    doc = "Rounds of probes over the paths of the cluster's network, on a schedule, with what they have to come to.",
    printcolumn(
        name = "FINISH",
        type_ = "boolean",
        json_path = ".status.finish",
        description = "All rounds are done"
    ),
    printcolumn(
        name = "EXPECTEDROUND",
        type_ = "integer",
        json_path = ".status.expectedRound",
        description = "Rounds wanted; -1 is without end"
    ),
    printcolumn(
        name = "DONEROUND",
        type_ = "integer",
        json_path = ".status.doneRound",
        description = "Rounds that ended"
    ),
    printcolumn(
        name = "LASTROUNDSTATUS",
        type_ = "string",
        json_path = ".status.lastRoundStatus",
        description = "What the newest round came to"
    ),
    printcolumn(
        name = "SCHEDULE",
        type_ = "string",
        json_path = ".status.schedule",
        description = "When rounds begin"
    ),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = Rule::new("!has(self.rounds) || self.rounds == 1 || (has(self.schedule) && (has(self.schedule.cron) || has(self.schedule.every)))")
        .message("more than one round needs schedule.cron or schedule.every"),
    validation = Rule::new("!has(self.probesPerSecond) || has(self.duration)").message("probesPerSecond needs duration")
)]
pub struct ReachabilityCheckSpec {
    /// When rounds begin. Without it: one round, at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How many rounds; -1 is without end. Unset: one, and without end where `schedule.cron` or `schedule.every` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == -1 || (self >= 1 && self <= 1000000)").message("-1, or 1 to 1000000"))]
    pub rounds: Option<i64>,
    /// Probes of every path in a round.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub samples: u32,
    /// How long each round probes, as in 10s; at most 20 s less than the hub keeps windows for (its --expire, 2m). Unset: until
    /// every path has its samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
    /// Probes a second that each node is to send of what is selected, shared by its paths, for as long as `duration` says. No more
    /// than the agent's budgets have room for beside all else; what is not reached is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub probes_per_second: Option<u32>,
    /// How long a round may take, as in 90s; what is not probed by then is not measured. Unset: twice as long as it is
    /// expected to take, and 30 s at the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_timeout: Option<Span>,
    /// From where.
    #[serde(default)]
    pub from: From,
    /// To what.
    #[serde(default)]
    pub targets: Targets,
    /// What each target has to come to.
    #[serde(default)]
    pub expect: Expect,
    /// What becomes of a round that is due while the one before it still runs.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// Rounds that the status names, newest first.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 50))]
    pub history_limit: u32,
    /// Begin no round.
    #[serde(default)]
    pub suspend: bool,
}

/// When rounds begin.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = Rule::new("[has(self.cron), has(self.every), has(self.at)].filter(x, x).size() == 1")
        .message("exactly one of cron, every and at"),
    validation = Rule::new("!has(self.timeZone) || has(self.cron)").message("timeZone belongs to cron"),
    validation = Rule::new("!has(self.startAfter) || has(self.every)").message("startAfter belongs to every")
)]
pub struct Schedule {
    /// Five fields as in crontab(5), or @hourly, @daily, @weekly, @monthly, @yearly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub cron: Option<String>,
    /// Of the IANA database, as in Europe/Vienna. Unset: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    pub time_zone: Option<String>,
    /// From the begin of one round to that of the next, as in 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// From the object's creation to the first round, as in 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_after: Option<Span>,
    /// Once, at this instant (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub at: Option<String>,
}

/// From where probes are sent.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct From {
    /// Names of nodes; unset: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5000))]
    pub nodes: Vec<String>,
    /// From nodes, from pods on them; unset: both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub vantages: Vec<Vantage>,
}

/// To what probes are sent: what all of its fields select. An unset field selects all.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = Rule::new("!(has(self.http) || has(self.dns)) || !(has(self.kinds) || has(self.names) || has(self.serviceAddresses) || has(self.probes))")
        .message("http and dns stand alone: without kinds, names, serviceAddresses and probes")
)]
pub struct Targets {
    /// What kinds of target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub kinds: Vec<TargetKind>,
    /// Nodes, pods and services ([NAMESPACE/]NAME, with :PORT if wanted), DNS servers, URLs, addresses; POD@NETWORK and
    /// @NETWORK for secondary networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub names: Vec<String>,
    /// At which addresses services are probed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub service_addresses: Vec<ServiceAddress>,
    /// By what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub probes: Vec<Probe>,
    /// In which families.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub families: Vec<Family>,
    /// Requests that agents send for this check alone, while its rounds run. Then nothing else is selected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub http: Vec<HttpTarget>,
    /// The same of questions to DNS servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub dns: Vec<DnsTarget>,
}

impl Targets {
    /// Whether the check asks for targets of its own.
    #[must_use]
    pub fn are_own(&self) -> bool {
        !(self.http.is_empty() && self.dns.is_empty())
    }
}

/// What each target has to come to; an unset field expects nothing. Without any, every path has to be reachable.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expect {
    /// Answered of all probes, as in 99.9%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<Percent>,
    /// Mean round trip at most, as in 5ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Span>,
    /// 99th percentile of the round trip at most, as in 20ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<Span>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub enum $name { $($(#[$of])* $variant),+ }
    };
}

words! {
    /// Where a probe starts.
    Vantage {
        /// A node's own network.
        Host,
        /// A pod's on that node.
        Pod,
    }
}
words! {
    /// What kind of thing a probe is sent to.
    TargetKind {
        /// A node.
        Node,
        /// A pod.
        Pod,
        /// A service.
        Service,
        /// A DNS server.
        Dns,
        /// What is asked by HTTP and none of these: an Ingress, a Gateway, a URL.
        Endpoint,
    }
}
words! {
    /// At what kind of address a service is probed.
    ServiceAddress {
        /// Its cluster addresses.
        ClusterIp,
        /// A port of a node.
        NodePort,
        /// What its load balancer answers at.
        LoadBalancer,
        /// One of `spec.externalIPs`.
        ExternalIp,
        /// One of the backends of a headless service.
        Endpoint,
    }
}
words! {
    /// Kind of packet exchange.
    Probe {
        /// An echo.
        Icmp,
        /// A datagram to a responder.
        Udp,
        /// A connection.
        Tcp,
        /// A question to a DNS server.
        Dns,
        /// An exchange by HTTP.
        Http,
    }
}
words! {
    /// Address family.
    Family {
        /// IPv4.
        Ipv4,
        /// IPv6.
        Ipv6,
    }
}

/// What becomes of a round that is due while the one before it still runs.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConcurrencyPolicy {
    /// It is left out, and an Event says so.
    #[default]
    Forbid,
    /// The one that runs is ended, and counts as failed.
    Replace,
}

const fn one() -> u32 {
    1
}

const fn ten() -> u32 {
    10
}

#[cfg(test)]
mod tests;
