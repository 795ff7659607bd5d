//! The agent's flags. Every flag has an environment variable `NETCHECK_<FLAG>`.
//!
//! In: arguments. Out: [`Command`], checked, or one clear line and the exit code for it.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use netcheck_common::header::DEFAULT_RESPONDER_PORT;
use netcheck_common::schedule::DEFAULT_PPS;
use netcheck_proto::usage::one_line;
use netcheck_proto::v1;
use tonic::transport::Uri;

use self::values::{drain, hub_url, link_local, log_filter, network, node_name};
use crate::uplink::session::connect::TlsFiles;

mod values;

/// Exit code for everything that goes wrong later.
pub const EXIT_FAILURE: u8 = 1;

/// Where agents pass sessions on.
const DEFAULT_RELAY_PORT: u16 = 6102;

/// Probes the cluster's network from this node and watches its own packets inside the kernel.
#[derive(Debug, Parser)]
#[command(
    name = "netcheck-agent",
    version,
    max_term_width = 100,
    after_help = "Flags without a subcommand are those of run: see `netcheck-agent run --help`."
)]
pub struct Cli {
    /// What to do; `run` where nothing is said.
    #[command(subcommand)]
    pub command: Command,
}

/// What the agent is asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Probe, watch and report until stopped (the default).
    Run(Box<Run>),
    /// Be the agent's vantage in the pod network: answer probes there, and hand it sockets to probe with.
    Vantage(Vantage),
    /// Show how the agent on this node is.
    Status(Status),
    /// Remove what an agent that was killed may have left in the kernel.
    Cleanup,
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Name of this node, as the cluster knows it [default: the host's name].
    #[arg(long, env = "NETCHECK_NODE", value_parser = node_name)]
    pub node: Option<String>,
    /// Where the hub listens for agents, as in `http://netcheck-hub:7070`.
    #[arg(long, env = "NETCHECK_HUB", value_name = "URL", value_parser = hub_url)]
    pub hub: Uri,
    /// File of this node that keeps the addresses at which the hub was reached last: an agent that starts while names
    /// can't be looked up finds the hub by them [default: they are forgotten with the process]. Beside it, in a file of
    /// that name and `.relays`, are the neighbours that would pass its session on.
    #[arg(long, env = "NETCHECK_HUB_ADDRESSES_FILE", value_name = "PATH")]
    pub hub_addresses_file: Option<PathBuf>,
    /// Address of the hub's Service, for while its name can't be looked up; Kubernetes sets the variable in pods of the
    /// hub's namespace. What is no address counts for nothing.
    #[arg(long, env = "NETCHECK_HUB_SERVICE_HOST", value_name = "ADDRESS")]
    pub hub_service_host: Option<String>,
    /// Port of the hub's Service, the same way [default: that of --hub].
    #[arg(long, env = "NETCHECK_HUB_SERVICE_PORT", value_name = "PORT")]
    pub hub_service_port: Option<String>,
    /// Talk to the hub without TLS: required for an `http://` URL.
    #[arg(long, env = "NETCHECK_INSECURE")]
    pub insecure: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help text of the flattened flags")]
    pub tls: Tls,
    /// Proves to the hub which node this is: a file with a Kubernetes token for the audience netcheck-hub. Read anew
    /// for every session.
    #[arg(long, env = "NETCHECK_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// Kernel programs: use them where the kernel allows it, insist on them, or go without.
    #[arg(long, env = "NETCHECK_EBPF", value_name = "MODE", default_value = "auto")]
    pub ebpf: EbpfMode,
    /// Which filter rule drops a probe: put a rule of the agent's own into nftables, for 2s at most and once in 2m, that
    /// marks this node's lost probes and nothing else for the kernel's tracing; when the hub has an incident, when an
    /// operator asks for it, or never.
    #[arg(long, env = "NETCHECK_EXPLAIN_RULES", value_name = "WHEN", default_value = "on-incident")]
    pub explain_rules: ExplainRules,
    /// Inodes of the network namespaces whose kernel drops count, separated by commas [default: all of this kernel's; on a
    /// node that is a container, its own and those with a link to it].
    #[arg(long, env = "NETCHECK_NETNS_SCOPE", value_name = "INODES", value_delimiter = ',')]
    pub netns_scope: Vec<u32>,
    /// Nanoseconds added to this node's monotonic clock, in user space and kernel programs: to show that nothing needs
    /// clocks that agree.
    #[arg(
        long,
        env = "NETCHECK_CLOCK_OFFSET_NS",
        value_name = "N",
        default_value_t = 0,
        hide = true,
        allow_negative_numbers = true
    )]
    pub clock_offset_ns: i64,
    /// Where the responder listens (UDP echo, TCP, `GET /health`); `0.0.0.0` means both families.
    #[arg(long, env = "NETCHECK_RESPONDER_ADDR", value_name = "ADDR:PORT",
          default_value_t = SocketAddr::from(([0, 0, 0, 0], DEFAULT_RESPONDER_PORT)))]
    pub responder_addr: SocketAddr,
    /// Whether this agent passes on the sessions of agents of other nodes that can't reach the hub, and has its own passed
    /// on by one of them when it can't.
    #[arg(long, env = "NETCHECK_RELAY", value_name = "MODE", default_value = "on")]
    pub relay: RelayMode,
    /// Where it listens for such sessions; `0.0.0.0` means both families. Addresses of nodes, as the hub knows them, are
    /// let in.
    #[arg(long, env = "NETCHECK_RELAY_ADDR", value_name = "ADDR:PORT",
          default_value_t = SocketAddr::from(([0, 0, 0, 0], DEFAULT_RELAY_PORT)))]
    pub relay_addr: SocketAddr,
    /// Where to listen for the vantage, which runs in a pod of this node and opens sockets in the pod network for this
    /// agent; its directory must exist [default: no vantage, probes leave from the node only].
    #[arg(long, env = "NETCHECK_VANTAGE_SOCKET", value_name = "PATH")]
    pub vantage_socket: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help text of the flattened flags")]
    pub http: Http,
    /// Most packets per second that this agent sends, whatever the plan wants (packets/s).
    #[arg(long, env = "NETCHECK_PPS", value_name = "N", default_value_t = DEFAULT_PPS, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub pps: u32,
    /// Networks whose addresses may be probed though nothing in the cluster has them, separated by commas, as in
    /// `192.0.2.0/24,2001:db8::/32` [default: none]. Loopback, link-local and metadata addresses never are.
    #[arg(long, env = "NETCHECK_ALLOW_CIDR", value_name = "CIDRS", value_delimiter = ',', value_parser = network)]
    pub allow_cidr: Vec<ipnet::IpNet>,
    /// Addresses of this node's own DNS cache, as 169.254.20.10, separated by commas: DNS probes, and no others, may go
    /// there though the address is link-local [default: none].
    #[arg(long, env = "NETCHECK_NODE_LOCAL_DNS", value_name = "ADDRESSES", value_delimiter = ',',
          value_parser = link_local)]
    pub node_local_dns: Vec<IpAddr>,
    /// How names are looked up, where the hub asks for that: servers, search list and options (file).
    #[arg(long, env = "NETCHECK_RESOLV_CONF", value_name = "PATH", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// What to log: a level, and `target=level` pairs, separated by commas; `info` where no level stands alone.
    #[arg(long, env = "NETCHECK_LOG", value_name = "FILTER", default_value = "info", value_parser = log_filter)]
    pub log: String,
    /// How to log.
    #[arg(long, env = "NETCHECK_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Flags of `vantage`.
#[derive(Clone, Debug, Args)]
pub struct Vantage {
    /// Where the agent of this node listens for its vantage.
    #[arg(long, env = "NETCHECK_VANTAGE_SOCKET", value_name = "PATH")]
    pub vantage_socket: PathBuf,
    /// Name of this node, for the log.
    #[arg(long, env = "NETCHECK_NODE", value_parser = node_name)]
    pub node: Option<String>,
    /// Name of this pod, as NAMESPACE/NAME [default: the host's name, which in Kubernetes is the pod's].
    #[arg(long, env = "NETCHECK_POD", value_parser = node_name)]
    pub pod: Option<String>,
    /// How long to go on answering after SIGTERM, as 3s: until no Service sends to this pod any more (duration).
    #[arg(long, env = "NETCHECK_DRAIN", value_name = "DURATION", default_value = "0s", value_parser = drain)]
    pub drain: Duration,
    /// Where the responder listens (UDP echo, TCP, `GET /health`); `0.0.0.0` means both families.
    #[arg(long, env = "NETCHECK_RESPONDER_ADDR", value_name = "ADDR:PORT",
          default_value_t = SocketAddr::from(([0, 0, 0, 0], DEFAULT_RESPONDER_PORT)))]
    pub responder_addr: SocketAddr,
    /// How programs of this pod look names up (file): the agent does so, too, where it probes by name from here.
    #[arg(long, env = "NETCHECK_RESOLV_CONF", value_name = "PATH", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// What to log: a level, and `target=level` pairs, separated by commas; `info` where no level stands alone.
    #[arg(long, env = "NETCHECK_LOG", value_name = "FILTER", default_value = "info", value_parser = log_filter)]
    pub log: String,
    /// How to log.
    #[arg(long, env = "NETCHECK_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How the hub and this agent prove to each other who they are, for an `https://` URL.
#[derive(Clone, Debug, Args)]
pub struct Tls {
    /// Authorities that vouch for the hub (PEM file, read anew for every connection) [default: the system's].
    #[arg(long, env = "NETCHECK_CA_CERT", value_name = "PATH")]
    pub ca_cert: Option<PathBuf>,
    /// The certificate that this agent shows (PEM file).
    #[arg(long, env = "NETCHECK_TLS_CERT", value_name = "PATH", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM file).
    #[arg(long, env = "NETCHECK_TLS_KEY", value_name = "PATH", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The name that the hub's certificate must have [default: the URL's].
    #[arg(long, env = "NETCHECK_TLS_SERVER_NAME", value_name = "NAME")]
    pub tls_server_name: Option<String>,
}

impl Tls {
    pub(crate) fn files(&self) -> TlsFiles {
        TlsFiles {
            ca_cert: self.ca_cert.clone(),
            own: self.tls_cert.clone().zip(self.tls_key.clone()),
            server_name: self.tls_server_name.clone(),
        }
    }
}

/// Flags of `status`.
#[derive(Clone, Debug, Args)]
pub struct Status {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help text of the flattened flags")]
    pub http: Http,
    /// Print the agent's answer as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Where the agent's own HTTP endpoints are.
#[derive(Clone, Debug, Args)]
pub struct Http {
    /// Where /metrics, /healthz, /readyz and /status are served; `0.0.0.0` means both families.
    #[arg(long, env = "NETCHECK_HTTP_ADDR", value_name = "ADDR:PORT",
          default_value_t = SocketAddr::from(([0, 0, 0, 0], 6101)))]
    pub http_addr: SocketAddr,
}

/// Whether to load kernel programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EbpfMode {
    /// Where the kernel allows it; else user-space times only.
    Auto,
    /// Exit where the kernel does not allow it.
    Required,
    /// Never.
    Off,
}

/// When to look for the filter rules that drop probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExplainRules {
    /// When the hub has an incident.
    OnIncident,
    /// When an operator asks for it.
    OnDemand,
    /// Never.
    Off,
}

impl From<ExplainRules> for v1::ExplainRules {
    fn from(when: ExplainRules) -> Self {
        match when {
            ExplainRules::OnIncident => Self::OnIncident,
            ExplainRules::OnDemand => Self::OnDemand,
            ExplainRules::Off => Self::Off,
        }
    }
}

/// Whether sessions with the hub are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RelayMode {
    /// Those of others by this agent, and its own by others.
    On,
    /// Neither.
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub enum NotRun {
    /// Help or version: for standard output, exit 0.
    Shown(String),
    /// A bad flag: one line for standard error, exit 64.
    Usage(String),
}

/// Reads arguments (the first is the program's name) and the environment.
///
/// # Errors
/// Help was asked for, or the arguments are wrong.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, NotRun> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let first = args.get(1).and_then(|arg| arg.to_str());
    let general = ["-h", "--help", "-V", "--version"];
    if first.is_none_or(|arg| arg.starts_with('-') && !general.contains(&arg)) {
        args.insert(1.min(args.len()), "run".into());
    }
    let command = Cli::try_parse_from(args).map_err(|error| not_run(&error))?.command;
    if let Command::Run(run) = &command
        && run.hub.scheme_str() == Some("http")
        && !run.insecure
    {
        return Err(NotRun::Usage(format!(
            "--hub {}: plain HTTP has no encryption; use https://, or say --insecure if that is meant",
            run.hub
        )));
    }
    Ok(command)
}

fn not_run(error: &clap::Error) -> NotRun {
    let text = error.to_string();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return NotRun::Shown(text);
    }
    NotRun::Usage(one_line(&text))
}

#[cfg(test)]
mod tests;
