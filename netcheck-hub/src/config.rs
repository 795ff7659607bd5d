//! The flags of `netcheck-hub`. A bad one is one line and exit code 64.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use netcheck_proto::text::is_name;

use self::http::HttpFlagError;
use crate::serve::readers::Readers;
use crate::serve::tls::TlsFiles;
use crate::state::Settings;
use netcheck_analysis::cluster::selection::labels::{self, LabelSelector};
use netcheck_analysis::cluster::selection::{Extent, Selection};
use netcheck_analysis::plan::Timing;

mod bytes;
pub mod deliver;
pub mod dns;
pub mod history;
pub mod http;
pub mod paths;
pub mod scheduled;

/// The netcheck hub: takes the agents' samples, judges every path, and says where lost probes died.
#[derive(Clone, Debug, Parser)]
#[command(name = "netcheck-hub", version, max_term_width = 100)]
pub struct Config {
    /// Where agents and readers connect by gRPC (address:port); `0.0.0.0` means both families.
    #[arg(long, env = "NETCHECK_GRPC_ADDR", value_name = "ADDR", default_value = "0.0.0.0:7070")]
    pub grpc_addr: SocketAddr,

    /// Where /metrics, /healthz, /readyz and /api/v1 are served by HTTP (address:port); `0.0.0.0` means both families.
    #[arg(long, env = "NETCHECK_HTTP_ADDR", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub http_addr: SocketAddr,

    /// Where /healthz and /readyz are served besides, without encryption, on a thread of their own (address:port): what a kubelet
    /// should ask, for no load on the other ports keeps that from answering.
    #[arg(long, env = "NETCHECK_HEALTH_ADDR", value_name = "ADDR")]
    pub health_addr: Option<SocketAddr>,

    /// Where the roster of nodes, pods and services comes from: kubernetes, the API of the cluster; or file:PATH, a
    /// v1 List as `kubectl get nodes,namespaces,pods,services,endpointslices -A -o yaml` prints it (YAML or JSON), re-read when it
    /// changes.
    #[arg(
        long,
        env = "NETCHECK_INVENTORY",
        value_name = "kubernetes|file:PATH",
        default_value = "kubernetes",
        value_parser = inventory
    )]
    pub inventory: Inventory,

    /// How to reach the Kubernetes API (path of a kubeconfig) [default: as a pod of its cluster].
    #[arg(long, env = "NETCHECK_KUBECONFIG", value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,

    /// Scheduled checks.
    #[command(flatten)]
    pub scheduled: scheduled::ScheduledFlags,

    /// How often each path is probed (duration, as 500ms or 10s).
    #[arg(long, env = "NETCHECK_INTERVAL", value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub interval: Duration,

    /// How long a reply is waited for (duration). May be longer than the interval.
    #[arg(long, env = "NETCHECK_TIMEOUT", value_name = "DURATION", default_value = "500ms", value_parser = interval)]
    pub timeout: Duration,

    /// How often each ICMP and UDP path is also tried with the largest packet that the node's own route takes
    /// (duration; 0s: never). At most one probe in ten is such a one, so a long --interval stretches it.
    #[arg(long, env = "NETCHECK_SIZE_INTERVAL", value_name = "DURATION", default_value = "10s", value_parser = sizes)]
    pub size_interval: Duration,

    /// How often agents report, as the length of a reporting window (duration).
    #[arg(long, env = "NETCHECK_WINDOW", value_name = "DURATION", default_value = "1s", value_parser = window)]
    pub window: Duration,

    /// Architectures that the agents' image is made for, as kubernetes.io/arch has them, separated by commas. Of nodes of
    /// others no agent is expected, and their paths are expected_absent [default: any].
    #[arg(long, env = "NETCHECK_AGENT_ARCHS", value_name = "ARCHS", value_delimiter = ',')]
    pub agent_archs: Vec<String>,

    /// How long samples, lost probes, paths that left the plan, and agents of nodes that are neither in the inventory
    /// nor connected are kept in memory (duration).
    #[arg(long, env = "NETCHECK_EXPIRE", value_name = "DURATION", default_value = "2m", value_parser = expire)]
    pub expire: Duration,

    /// Serve metrics of every pair of nodes, too, as long as these are 10,000 at most: those of 100 nodes.
    #[arg(long, env = "NETCHECK_PAIR_METRICS")]
    pub pair_metrics: bool,

    /// How often the report is written to the log, beside each time that an incident opens or closes (duration; 0s: never).
    #[arg(long, env = "NETCHECK_REPORT_INTERVAL", value_name = "DURATION", default_value = "5m", value_parser = report)]
    pub report_interval: Duration,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help text of the flattened flags")]
    pub paths: paths::PathsFlags,

    /// Have agents probe targets of other clusters for some minutes, for readers that ask for it, as
    /// `kubectl netcheck check --src-context A --dst-context B` does. Agents do so only where their --allow-cidr holds the
    /// address. Readers must prove themselves, by --read-token-file or --client-ca, unless --insecure is said.
    #[arg(long, env = "NETCHECK_PEER_TARGETS")]
    pub peer_targets: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help text of the flattened flags")]
    pub dns: dns::DnsFlags,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help text of the flattened flags")]
    pub http: http::HttpFlags,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help text of the flattened flags")]
    pub history: history::HistoryFlags,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help text of the flattened flags")]
    pub deliver: deliver::DeliverFlags,

    /// Which pods are probed: selected, netcheck's own vantages and those annotated netcheck.io/probe: "true", they or
    /// their namespace; or all but those annotated "false".
    #[arg(
        long,
        env = "NETCHECK_PODS",
        value_name = "selected|all",
        default_value = "selected",
        hide_possible_values = true
    )]
    pub pods: Extent,

    /// Which services are probed: selected, the API server's, the cluster's DNS, netcheck's vantages', those annotated
    /// netcheck.io/probe: "true", they or their namespace, and those of the next two flags; or all but those annotated
    /// "false".
    #[arg(
        long,
        env = "NETCHECK_SERVICES",
        value_name = "selected|all",
        default_value = "selected",
        hide_possible_values = true
    )]
    pub services: Extent,

    /// Probe services with these labels, too (label selector, as app=web,tier in (front,back),!legacy).
    #[arg(long, env = "NETCHECK_SERVICE_SELECTOR", value_name = "LABELS", value_parser = labels::parse)]
    pub service_selector: Option<LabelSelector>,

    /// Probe the services of these namespaces, too (names, separated by commas).
    #[arg(long, env = "NETCHECK_SERVICE_NAMESPACES", value_name = "NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    pub service_namespaces: Vec<String>,

    /// How agents prove which node they are: token, a Kubernetes token for the audience netcheck-hub, which the API
    /// reviews; or none, only with --insecure [default: token; with --insecure and an inventory file, none].
    #[arg(long, env = "NETCHECK_AGENT_AUTH", value_name = "HOW")]
    pub agent_auth: Option<AgentAuth>,

    /// The service account whose tokens are agents' (namespace/name) [default: any].
    #[arg(long, env = "NETCHECK_AGENT_SERVICE_ACCOUNT", value_name = "NAMESPACE/NAME", value_parser = account)]
    pub agent_service_account: Option<String>,

    /// The hub's certificate for gRPC, and those between it and its authority (PEM file). Re-read when it changes.
    #[arg(long, env = "NETCHECK_TLS_CERT", value_name = "PATH", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The key of --tls-cert (PEM file).
    #[arg(long, env = "NETCHECK_TLS_KEY", value_name = "PATH", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Authorities of the certificates that agents and readers must show (PEM file) [default: they need none].
    #[arg(long, env = "NETCHECK_CLIENT_CA", value_name = "PATH", requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,

    /// The name (DNS name or URI) that agents' certificates bear and no reader's: those who show it may open sessions and read
    /// nothing, all others may read and open none [default: with --client-ca, whoever has a certificate may do both].
    #[arg(long, env = "NETCHECK_AGENT_CERT_NAME", value_name = "NAME", requires = "client_ca")]
    pub agent_cert_name: Option<String>,

    /// Serve HTTP with the same certificate as gRPC. It asks nobody for a certificate.
    #[arg(long, env = "NETCHECK_HTTP_TLS", requires = "tls_cert")]
    pub http_tls: bool,

    /// The token that readers must show, by gRPC and HTTP (file); health and metrics need none [default: whoever reaches
    /// the port may read; with --client-ca, by gRPC only].
    #[arg(long, env = "NETCHECK_READ_TOKEN_FILE", value_name = "PATH")]
    pub read_token_file: Option<PathBuf>,

    /// Serve without encryption where no --tls-cert is given, and without asking agents who they are where
    /// --agent-auth is none.
    #[arg(long, env = "NETCHECK_INSECURE")]
    pub insecure: bool,

    /// How the log on stderr is written.
    #[arg(long, env = "NETCHECK_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How agents prove which node they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AgentAuth {
    /// Not at all.
    None,
    /// By a token.
    Token,
}

/// Where the roster comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inventory {
    /// Watches of the Kubernetes API.
    Kubernetes,
    /// A file, re-read when it changes.
    File(PathBuf),
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads arguments and environment.
    ///
    /// # Errors
    /// What clap says, which includes `--help` and `--version`.
    pub fn read() -> Result<Self, clap::Error> {
        let config = Self::try_parse()?;
        let wrong = |message: &str| Err(clap::Error::raw(clap::error::ErrorKind::ValueValidation, message));
        if !config.insecure && config.tls_cert.is_none() {
            return wrong("no certificate: say --tls-cert and --tls-key, or --insecure to serve plaintext");
        }
        if config.agent_auth == Some(AgentAuth::None) && !config.insecure {
            return wrong("--agent-auth none takes samples from anybody: say --insecure if that is meant");
        }
        if config.peer_targets && !config.insecure && config.readers() == Readers::Anybody {
            return wrong(
                "--peer-targets lets readers say what is probed: say --read-token-file or --client-ca, too",
            );
        }
        if config.expire < config.interval * 5 {
            return wrong("--expire must be at least five times --interval");
        }
        Ok(config)
    }

    /// Certificate and key, if there are.
    #[must_use]
    pub fn tls(&self) -> Option<TlsFiles> {
        let (cert, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(TlsFiles { cert, key, client_ca: self.client_ca.clone() })
    }

    /// How agents prove which node they are, said or not.
    #[must_use]
    pub fn agents_prove(&self) -> AgentAuth {
        let lenient = self.insecure && matches!(self.inventory, Inventory::File(_));
        self.agent_auth.unwrap_or(if lenient { AgentAuth::None } else { AgentAuth::Token })
    }

    /// Who may read.
    #[must_use]
    pub fn readers(&self) -> Readers {
        match (&self.read_token_file, &self.client_ca) {
            (Some(path), _) => Readers::Token(path.clone()),
            (None, Some(_)) => Readers::Certified,
            (None, None) => Readers::Anybody,
        }
    }

    /// What of it the hub needs.
    ///
    /// # Errors
    /// A file that it names can't be read.
    pub fn settings(&self) -> Result<Settings, HttpFlagError> {
        let (dns_name, dns) = self.dns.settings();
        Ok(Settings {
            timing: Timing {
                interval: self.interval,
                timeout: self.timeout,
                window: self.window,
                sizes: self.size_interval,
                exchange: self.http.timing(),
            },
            rotation: self.paths.rotation(self.interval),
            memory_limit: self.paths.memory_limit(),
            selection: Selection {
                pods: self.pods,
                services: self.services,
                service_labels: self.service_selector.clone(),
                service_namespaces: self.service_namespaces.iter().cloned().collect(),
            },
            dns_name,
            dns,
            http: self.http.settings()?,
            certificate_warning: self.http.certificate_warning,
            peer_targets: self.peer_targets,
            agent_archs: self.agent_archs.clone(),
            expire: self.expire,
            pair_metrics: self.pair_metrics,
            agent_cert_name: self.agent_cert_name.clone(),
            path_seed: self.tls().map_or(0, |files| files.number("path ids")),
        })
    }
}

/// Why a flag's value is of no use.
#[derive(Debug, PartialEq, thiserror::Error)]
enum FlagError {
    #[error("expected kubernetes or file:PATH")]
    Inventory,
    #[error("expected NAMESPACE/NAME")]
    Account,
    #[error("is not the name of a namespace")]
    Namespace,
    #[error("{0} (try 500ms, 1s, 2m)")]
    Duration(humantime::DurationError),
    #[error("must be {} to {}", humantime::format_duration(*least), humantime::format_duration(*most))]
    Range { least: Duration, most: Duration },
    #[error("is not a DNS name")]
    DnsName,
    #[error("expected a path that starts with a slash, or off")]
    Api,
}

fn inventory(text: &str) -> Result<Inventory, FlagError> {
    match text.strip_prefix("file:") {
        Some(path) if !path.is_empty() => Ok(Inventory::File(PathBuf::from(path))),
        None if text == "kubernetes" => Ok(Inventory::Kubernetes),
        _ => Err(FlagError::Inventory),
    }
}

fn account(text: &str) -> Result<String, FlagError> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(text.to_owned())
        }
        _ => Err(FlagError::Account),
    }
}

fn namespace(text: &str) -> Result<String, FlagError> {
    let plain = is_name(text) && text.len() <= 63 && !text.contains(['.', '_']);
    if plain { Ok(text.to_owned()) } else { Err(FlagError::Namespace) }
}

fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, FlagError> {
    let value = humantime::parse_duration(text).map_err(FlagError::Duration)?;
    if value < least || value > most {
        return Err(FlagError::Range { least, most });
    }
    Ok(value)
}

fn interval(text: &str) -> Result<Duration, FlagError> {
    duration(text, Duration::from_millis(50), Duration::from_secs(3600))
}

fn sizes(text: &str) -> Result<Duration, FlagError> {
    duration(text, Duration::ZERO, Duration::from_secs(3600))
}

fn window(text: &str) -> Result<Duration, FlagError> {
    duration(text, Duration::from_millis(100), Duration::from_secs(60))
}

fn expire(text: &str) -> Result<Duration, FlagError> {
    duration(text, Duration::from_secs(30), Duration::from_secs(24 * 3600))
}

fn report(text: &str) -> Result<Duration, FlagError> {
    duration(text, Duration::ZERO, Duration::from_secs(24 * 3600))
}

fn dns_name(text: &str) -> Result<String, FlagError> {
    let labels = text.trim_end_matches('.').split('.');
    let ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text.len() <= 253 && labels.clone().all(ok) { Ok(text.to_owned()) } else { Err(FlagError::DnsName) }
}

#[cfg(test)]
mod tests;
