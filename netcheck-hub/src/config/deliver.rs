//! Flags about what the hub sends to others: notifications of incidents, and remote write.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use netcheck_notify::Label;
use netcheck_outbound::{Credentials, Endpoint, Url};
use netcheck_remote_write::{Version, Wanted};

use super::bytes::BytesError;
use crate::deliver::{RemoteWrite, Settings};

/// Flags about notifications and remote write.
#[derive(Clone, Debug, Args)]
pub struct DeliverFlags {
    /// Alertmanagers that are notified of incidents by their API v2 (URLs, as http://alertmanager:9093, separated by
    /// commas; may be repeated). All of them are notified: name each one of a cluster of them.
    #[arg(long, env = "NETCHECK_ALERTMANAGER_URL", value_name = "URL", value_delimiter = ',')]
    pub alertmanager_url: Vec<Url>,

    /// The bearer token for the Alertmanagers (file, read anew for every request).
    #[arg(
        long,
        env = "NETCHECK_ALERTMANAGER_TOKEN_FILE",
        value_name = "PATH",
        requires = "alertmanager_url"
    )]
    pub alertmanager_token_file: Option<PathBuf>,

    /// The user name for the Alertmanagers.
    #[arg(
        long,
        env = "NETCHECK_ALERTMANAGER_USER",
        value_name = "NAME",
        requires = "alertmanager_password_file",
        conflicts_with = "alertmanager_token_file"
    )]
    pub alertmanager_user: Option<String>,

    /// The password of --alertmanager-user (file, read anew for every request).
    #[arg(
        long,
        env = "NETCHECK_ALERTMANAGER_PASSWORD_FILE",
        value_name = "PATH",
        requires = "alertmanager_user"
    )]
    pub alertmanager_password_file: Option<PathBuf>,

    /// Who vouches for the Alertmanagers (PEM file, read again when it changes) [default: the machine's own
    /// authorities].
    #[arg(long, env = "NETCHECK_ALERTMANAGER_CA_CERT", value_name = "PATH", requires = "alertmanager_url")]
    pub alertmanager_ca_cert: Option<PathBuf>,

    /// Where a JSON document is posted when an incident opens, changes in its cause, and closes (URLs, separated by
    /// commas; may be repeated).
    #[arg(long, env = "NETCHECK_WEBHOOK_URL", value_name = "URL", value_delimiter = ',')]
    pub webhook_url: Vec<Url>,

    /// The bearer token for the webhooks (file, read anew for every request).
    #[arg(long, env = "NETCHECK_WEBHOOK_TOKEN_FILE", value_name = "PATH", requires = "webhook_url")]
    pub webhook_token_file: Option<PathBuf>,

    /// The user name for the webhooks.
    #[arg(
        long,
        env = "NETCHECK_WEBHOOK_USER",
        value_name = "NAME",
        requires = "webhook_password_file",
        conflicts_with = "webhook_token_file"
    )]
    pub webhook_user: Option<String>,

    /// The password of --webhook-user (file, read anew for every request).
    #[arg(long, env = "NETCHECK_WEBHOOK_PASSWORD_FILE", value_name = "PATH", requires = "webhook_user")]
    pub webhook_password_file: Option<PathBuf>,

    /// Who vouches for the webhooks (PEM file, read again when it changes) [default: the machine's own authorities].
    #[arg(long, env = "NETCHECK_WEBHOOK_CA_CERT", value_name = "PATH", requires = "webhook_url")]
    pub webhook_ca_cert: Option<PathBuf>,

    /// Labels of every alert and every document, as cluster=eu-1,severity=page (NAME=VALUE, separated by commas; may be
    /// repeated). alertname, incident and kind are the hub's own.
    #[arg(long, env = "NETCHECK_NOTIFICATION_LABEL", value_name = "NAME=VALUE", value_delimiter = ',')]
    pub notification_label: Vec<Label>,

    /// Make a Kubernetes Event of every incident that blames a node or a service, at that object. The hub's role must
    /// be allowed to create events.events.k8s.io.
    #[arg(long, env = "NETCHECK_KUBERNETES_EVENTS")]
    pub kubernetes_events: bool,

    /// Where the hub's metrics are written to by Prometheus' remote write (URL, as
    /// https://prometheus:9090/api/v1/write). What can't be sent waits under --data-dir; without one, in memory.
    #[arg(long, env = "NETCHECK_REMOTE_WRITE", value_name = "URL")]
    pub remote_write: Option<Url>,

    /// Which version of the protocol: auto, 2.0 where the receiver proves that it speaks it, else 1.0; or 1.0 or 2.0.
    #[arg(
        long,
        env = "NETCHECK_REMOTE_WRITE_VERSION",
        value_name = "auto|1.0|2.0",
        default_value = "auto",
        value_parser = version
    )]
    pub remote_write_version: Wanted,

    /// How often metrics are written (duration).
    #[arg(
        long,
        env = "NETCHECK_REMOTE_WRITE_INTERVAL",
        value_name = "DURATION",
        default_value = "15s",
        value_parser = every
    )]
    pub remote_write_interval: Duration,

    /// How many bytes may wait under --data-dir (as 512MiB); beyond, the oldest are given up and counted.
    #[arg(
        long,
        env = "NETCHECK_REMOTE_WRITE_QUEUE_BYTES",
        value_name = "BYTES",
        default_value = "512MiB",
        value_parser = queue_bytes
    )]
    pub remote_write_queue_bytes: u64,

    /// The bearer token for --remote-write (file, read anew for every request).
    #[arg(long, env = "NETCHECK_REMOTE_WRITE_TOKEN_FILE", value_name = "PATH", requires = "remote_write")]
    pub remote_write_token_file: Option<PathBuf>,

    /// The user name for --remote-write.
    #[arg(
        long,
        env = "NETCHECK_REMOTE_WRITE_USER",
        value_name = "NAME",
        requires = "remote_write_password_file",
        conflicts_with = "remote_write_token_file"
    )]
    pub remote_write_user: Option<String>,

    /// The password of --remote-write-user (file, read anew for every request).
    #[arg(
        long,
        env = "NETCHECK_REMOTE_WRITE_PASSWORD_FILE",
        value_name = "PATH",
        requires = "remote_write_user"
    )]
    pub remote_write_password_file: Option<PathBuf>,

    /// Who vouches for --remote-write (PEM file, read again when it changes) [default: the machine's own authorities].
    #[arg(long, env = "NETCHECK_REMOTE_WRITE_CA_CERT", value_name = "PATH", requires = "remote_write")]
    pub remote_write_ca_cert: Option<PathBuf>,

    /// Labels of all series that have none of that name, as cluster=eu-1 (NAME=VALUE, separated by commas; may be
    /// repeated). job is netcheck-hub unless it is said here.
    #[arg(long, env = "NETCHECK_REMOTE_WRITE_LABEL", value_name = "NAME=VALUE", value_delimiter = ',')]
    pub remote_write_label: Vec<Label>,
}

/// Why a flag's value is of no use.
#[derive(Debug, thiserror::Error)]
enum DeliverFlagError {
    #[error("expected auto, 1.0 or 2.0")]
    Version,
    #[error("{0} (try 15s or 1m)")]
    Duration(humantime::DurationError),
    #[error("must be 1s to 5m: receivers take what is older for a gap")]
    Range,
}

fn queue_bytes(text: &str) -> Result<u64, BytesError> {
    super::bytes::of(text, 1 << 20)
}

fn version(text: &str) -> Result<Wanted, DeliverFlagError> {
    match text {
        "auto" => Ok(Wanted::Auto),
        "1.0" => Ok(Wanted::Only(Version::One)),
        "2.0" => Ok(Wanted::Only(Version::Two)),
        _ => Err(DeliverFlagError::Version),
    }
}

fn every(text: &str) -> Result<Duration, DeliverFlagError> {
    let every = humantime::parse_duration(text).map_err(DeliverFlagError::Duration)?;
    let range = Duration::from_secs(1)..=Duration::from_secs(300);
    if range.contains(&every) { Ok(every) } else { Err(DeliverFlagError::Range) }
}

/// By token, by password, or as nobody.
fn credentials(token: Option<&PathBuf>, user: Option<&String>, password: Option<&PathBuf>) -> Credentials {
    match (token, user.zip(password)) {
        (Some(file), _) => Credentials::Bearer { file: file.clone() },
        (None, Some((user, file))) => Credentials::Basic { user: user.clone(), password_file: file.clone() },
        (None, None) => Credentials::None,
    }
}

impl DeliverFlags {
    fn remote(&self, url: Url) -> RemoteWrite {
        let credentials = credentials(
            self.remote_write_token_file.as_ref(),
            self.remote_write_user.as_ref(),
            self.remote_write_password_file.as_ref(),
        );
        let job = ("job".to_owned(), "netcheck-hub".to_owned());
        let own = self.remote_write_label.iter().map(|label| (label.name.clone(), label.value.clone()));
        RemoteWrite {
            endpoint: Endpoint { url, credentials, ca: self.remote_write_ca_cert.clone() },
            version: self.remote_write_version,
            labels: std::iter::once(job).chain(own).collect(),
            every: self.remote_write_interval,
            queue_bytes: self.remote_write_queue_bytes,
        }
    }

    /// What of it the hub needs.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let each = |urls: &[Url], credentials: Credentials, ca: &Option<PathBuf>| {
            let endpoint =
                |url: &Url| Endpoint { url: url.clone(), credentials: credentials.clone(), ca: ca.clone() };
            urls.iter().map(endpoint).collect()
        };
        Settings {
            alertmanagers: each(
                &self.alertmanager_url,
                credentials(
                    self.alertmanager_token_file.as_ref(),
                    self.alertmanager_user.as_ref(),
                    self.alertmanager_password_file.as_ref(),
                ),
                &self.alertmanager_ca_cert,
            ),
            webhooks: each(
                &self.webhook_url,
                credentials(
                    self.webhook_token_file.as_ref(),
                    self.webhook_user.as_ref(),
                    self.webhook_password_file.as_ref(),
                ),
                &self.webhook_ca_cert,
            ),
            labels: self.notification_label.clone(),
            kubernetes_events: self.kubernetes_events,
            remote_write: self.remote_write.clone().map(|url| self.remote(url)),
        }
    }
}
