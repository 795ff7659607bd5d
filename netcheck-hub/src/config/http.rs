//! Flags about HTTP, and about DNS over TCP and TLS.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use netcheck_common::files;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::{FlagError, duration};
use netcheck_analysis::plan::ExchangeTiming;
use netcheck_analysis::plan::http::url::NamedUrl;
use netcheck_analysis::plan::http::{Endpoint, HttpSettings};

/// Servers that are known by name.
const URLS_MAX: usize = 64;
/// What agents are sent of authorities at most, with every change of their plan.
const AUTHORITIES_MAX: usize = 512 << 10;

/// A file of authorities that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum HttpFlagError {
    /// It can't be read.
    #[error("--http-ca {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds no certificate, or one that is none.
    #[error("--http-ca {path}: holds no certificates in PEM form")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// More than is probed.
    #[error("--http-url: more than {URLS_MAX} of them")]
    TooMany,
    /// All together are too long.
    #[error("--http-ca: more than {AUTHORITIES_MAX} bytes of certificates")]
    TooLong,
}

/// Flags about HTTP.
#[derive(Clone, Debug, Args)]
pub struct HttpFlags {
    /// What the API server is asked for by HTTPS, through the service default/kubernetes: a path, or off. Its statuses
    /// 200, 401 and 403 are answers.
    #[arg(long, env = "NETCHECK_HTTP_API", value_name = "PATH|off", default_value = "/readyz", value_parser = api)]
    pub http_api: Api,

    /// Ask this by HTTP from every node: `http://ADDRESS[:PORT][/PATH]` or the same with https; may be repeated. Agents
    /// do so only where their --allow-cidr holds the address.
    #[arg(long = "http-target", env = "NETCHECK_HTTP_TARGET", value_name = "URL", value_delimiter = ' ',
          value_parser = Endpoint::read)]
    pub http_targets: Vec<Endpoint>,

    /// Ask this server by HTTP from every node, whose name each agent looks up before each probe: `https://NAME[:PORT][/PATH]`,
    /// and after a # options with & between them: ipv4, ipv6 (the cluster's first family without), status=200-399,
    /// verify (--http-ca must vouch for it). May be repeated. Agents go there only where their --allow-cidr holds the
    /// address.
    #[arg(long = "http-url", env = "NETCHECK_HTTP_URL", value_name = "URL", value_delimiter = ' ',
          value_parser = NamedUrl::read)]
    pub http_urls: Vec<NamedUrl>,

    /// Also watch Ingresses, and ask each host and path of those that are selected at each of their addresses.
    #[arg(long, env = "NETCHECK_HTTP_INGRESS")]
    pub http_ingress: bool,

    /// The same of Gateways and the HTTPRoutes attached to them, where the cluster has the Gateway API.
    #[arg(long, env = "NETCHECK_HTTP_GATEWAY")]
    pub http_gateway: bool,

    /// Who must vouch for the certificates of services with the annotation netcheck.io/https-verify (PEM file); may be
    /// repeated.
    #[arg(long, env = "NETCHECK_HTTP_CA", value_name = "PATH", value_delimiter = ':')]
    pub http_ca: Vec<PathBuf>,

    /// How often each path is probed by HTTP, and by DNS over TCP and TLS (duration).
    #[arg(long, env = "NETCHECK_HTTP_INTERVAL", value_name = "DURATION", default_value = "5s", value_parser = interval)]
    pub http_interval: Duration,

    /// How long such an exchange may take as a whole (duration). May be longer than its interval.
    #[arg(long, env = "NETCHECK_HTTP_TIMEOUT", value_name = "DURATION", default_value = "3s", value_parser = timeout)]
    pub http_timeout: Duration,

    /// Warn of servers' certificates that expire sooner than this (duration).
    #[arg(long, env = "NETCHECK_CERTIFICATE_WARNING", value_name = "DURATION", default_value = "14d",
          value_parser = warning)]
    pub certificate_warning: Duration,
}

/// What the API server is asked for, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api(Option<String>);

impl HttpFlags {
    /// How often, and how long.
    #[must_use]
    pub fn timing(&self) -> ExchangeTiming {
        ExchangeTiming { interval: self.http_interval, timeout: self.http_timeout }
    }

    /// What is asked for.
    ///
    /// # Errors
    /// A file can't be read, or is none of certificates.
    pub fn settings(&self) -> Result<HttpSettings, HttpFlagError> {
        if self.http_urls.len() > URLS_MAX {
            return Err(HttpFlagError::TooMany);
        }
        let mut authorities = Vec::new();
        for path in &self.http_ca {
            let pem = files::read(path, files::SMALL)
                .map_err(|source| HttpFlagError::Read { path: path.clone(), source })?;
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            if read.is_ok_and(|certificates| certificates.is_empty())
                || CertificateDer::pem_slice_iter(&pem).any(|certificate| certificate.is_err())
            {
                return Err(HttpFlagError::Empty { path: path.clone() });
            }
            authorities.extend_from_slice(&pem);
            authorities.push(b'\n');
        }
        if authorities.len() > AUTHORITIES_MAX {
            return Err(HttpFlagError::TooLong);
        }
        Ok(HttpSettings {
            api: self.http_api.0.clone(),
            endpoints: self.http_targets.clone(),
            urls: self.http_urls.clone(),
            ingress: self.http_ingress,
            gateway: self.http_gateway,
            authorities: Arc::from(authorities),
        })
    }
}

fn api(text: &str) -> Result<Api, FlagError> {
    match text {
        "off" => Ok(Api(None)),
        path if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Api(Some(path.to_owned())))
        }
        _ => Err(FlagError::Api),
    }
}

fn interval(text: &str) -> Result<Duration, FlagError> {
    duration(text, Duration::from_millis(200), Duration::from_secs(3600))
}

fn timeout(text: &str) -> Result<Duration, FlagError> {
    duration(text, Duration::from_millis(100), Duration::from_secs(60))
}

fn warning(text: &str) -> Result<Duration, FlagError> {
    duration(text, Duration::ZERO, Duration::from_secs(3650 * 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(api("off"), Ok(Api(None)));
        assert_eq!(api("/livez?verbose"), Ok(Api(Some("/livez?verbose".to_owned()))));
        assert!(api("livez").is_err() && api("/a b").is_err());
        let endpoint = Endpoint::read("https://192.0.2.7/x?y=1").unwrap();
        assert_eq!(
            (endpoint.tls, endpoint.address.to_string().as_str(), endpoint.path.as_str()),
            (true, "192.0.2.7:443", "/x?y=1")
        );
        let endpoint = Endpoint::read("http://[2001:db8::1]:8080").unwrap();
        assert_eq!(
            (endpoint.address.to_string().as_str(), endpoint.path.as_str()),
            ("[2001:db8::1]:8080", "/")
        );
        for url in ["192.0.2.7", "ftp://192.0.2.7", "http://example.org/", "http://", "http://192.0.2.7:0"] {
            assert!(Endpoint::read(url).is_err(), "{url}");
        }
    }
}
