//! The flags of `netcheck-hub`. A bad one is one line and exit code 64.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::hub::Settings;
use crate::plan::Timing;

/// Exit code for flags that make no sense (sysexits.h EX_USAGE).
pub const EXIT_USAGE: u8 = 64;

/// The netcheck hub: takes the agents' samples, judges every path, and says where lost probes died.
#[derive(Clone, Debug, Parser)]
#[command(name = "netcheck-hub", version, max_term_width = 100)]
pub struct Config {
    /// Where agents and readers connect by gRPC (address:port).
    #[arg(long, env = "NETCHECK_GRPC_ADDR", value_name = "ADDR", default_value = "0.0.0.0:7070")]
    pub grpc_addr: SocketAddr,

    /// Where /metrics, /healthz, /readyz and /api/v1 are served by HTTP (address:port).
    #[arg(long, env = "NETCHECK_HTTP_ADDR", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub http_addr: SocketAddr,

    /// Where the roster of nodes, pods and services comes from: file:PATH, a v1 List as
    /// `kubectl get nodes,pods,services,endpointslices -A -o yaml` prints it (YAML or JSON). Re-read when it changes.
    #[arg(long, env = "NETCHECK_INVENTORY", value_name = "file:PATH", value_parser = inventory)]
    pub inventory: PathBuf,

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

    /// How long samples, lost probes, paths that left the plan, and agents of nodes that are neither in the inventory
    /// nor connected are kept in memory (duration).
    #[arg(long, env = "NETCHECK_EXPIRE", value_name = "DURATION", default_value = "2m", value_parser = expire)]
    pub expire: Duration,

    /// The name that DNS servers are asked for.
    #[arg(
        long,
        env = "NETCHECK_DNS_NAME",
        value_name = "NAME",
        default_value = "kubernetes.default.svc.cluster.local",
        value_parser = dns_name
    )]
    pub dns_name: String,

    /// Serve without encryption and without asking agents who they are. This version has no other way to serve, so
    /// it must be given.
    #[arg(long, env = "NETCHECK_INSECURE")]
    pub insecure: bool,

    /// How the log on stderr is written.
    #[arg(long, env = "NETCHECK_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
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
        if !config.insecure {
            return wrong("no encryption is available in this version: say --insecure to serve plaintext");
        }
        if config.expire < config.interval * 5 {
            return wrong("--expire must be at least five times --interval");
        }
        Ok(config)
    }

    /// What of it the hub needs.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            timing: Timing {
                interval: self.interval,
                timeout: self.timeout,
                window: self.window,
                sizes: self.size_interval,
            },
            dns_name: self.dns_name.clone(),
            expire: self.expire,
        }
    }
}

/// A clap error as one line.
#[must_use]
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").map(ToOwned::to_owned).unwrap_or(line)
}

fn inventory(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("file:") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err("this version reads the roster from file:PATH only".to_owned()),
    }
}

fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let value = humantime::parse_duration(text).map_err(|error| format!("{error} (try 500ms, 1s, 2m)"))?;
    if value < least || value > most {
        return Err(format!(
            "must be {} to {}",
            humantime::format_duration(least),
            humantime::format_duration(most)
        ));
    }
    Ok(value)
}

fn interval(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(50), Duration::from_secs(3600))
}

fn sizes(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO, Duration::from_secs(3600))
}

fn window(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(100), Duration::from_secs(60))
}

fn expire(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(30), Duration::from_secs(24 * 3600))
}

fn dns_name(text: &str) -> Result<String, String> {
    let labels = text.trim_end_matches('.').split('.');
    let ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text.len() <= 253 && labels.clone().all(ok) {
        Ok(text.to_owned())
    } else {
        Err("is not a DNS name".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_hold_together() {
        Config::command().debug_assert();
    }

    #[test]
    fn values() {
        assert_eq!(inventory("file:/x/y.yaml"), Ok(PathBuf::from("/x/y.yaml")));
        assert!(inventory("kubernetes").is_err());
        assert!(inventory("file:").is_err());
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert!(interval("0s").is_err());
        assert!(interval("soon").is_err());
        assert!(dns_name("kubernetes.default.svc.cluster.local.").is_ok());
        assert!(dns_name("a..b").is_err());
    }
}
