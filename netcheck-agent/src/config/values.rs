//! Values of flags as people write them, or why they can't be taken.

use std::net::IpAddr;
use std::time::Duration;

use tonic::transport::Uri;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};

use crate::plan::policy::refusal;

/// Longest that a vantage may go on after it was told to end.
const DRAIN_MAX: Duration = Duration::from_secs(60);

pub(super) fn node_name(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.len() > 253 {
        return Err("a node name has 1 to 253 characters");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("a node name has no spaces");
    }
    Ok(text.to_owned())
}

pub(super) fn drain(text: &str) -> Result<Duration, BadValue> {
    let drain = humantime::parse_duration(text).map_err(|_| BadValue::Form { form: "a duration, as 3s" })?;
    if drain > DRAIN_MAX { Err(BadValue::Form { form: "60s at most" }) } else { Ok(drain) }
}

/// Why a flag's value can't be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadValue {
    #[error("expected {form}")]
    Form { form: &'static str },
    #[error("has bits beyond its length: did you mean {network}?")]
    HostBits { network: ipnet::IpNet },
    #[error("is {what}")]
    Forbidden { what: &'static str },
    #[error(transparent)]
    Url(#[from] http::uri::InvalidUri),
    #[error(transparent)]
    Filter(#[from] ParseError),
    #[error("{word:?} is no level (off, error, warn, info, debug, trace) and no target=level pair")]
    Level { word: String },
}

pub(super) fn network(text: &str) -> Result<ipnet::IpNet, BadValue> {
    let network: ipnet::IpNet =
        text.parse().map_err(|_| BadValue::Form { form: "a network, as 192.0.2.0/24 or 2001:db8::/32" })?;
    if network.trunc() != network {
        return Err(BadValue::HostBits { network: network.trunc() });
    }
    Ok(network)
}

/// A cache may listen at a link-local address; at a metadata service's or on loopback nothing is probed.
pub(super) fn link_local(text: &str) -> Result<IpAddr, BadValue> {
    let address: IpAddr =
        text.parse().map_err(|_| BadValue::Form { form: "an address, as 169.254.20.10" })?;
    match refusal(address) {
        Some("a link-local address") | None => Ok(address),
        Some(what) => Err(BadValue::Forbidden { what }),
    }
}

pub(super) fn hub_url(text: &str) -> Result<Uri, BadValue> {
    let url: Uri = text.parse()?;
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(url),
        _ => Err(BadValue::Form { form: "http://HOST:PORT or https://HOST:PORT" }),
    }
}

/// A filter that says what it means: to `EnvFilter` a misspelt level is the name of a target, and all other targets
/// are silent.
pub(super) fn log_filter(text: &str) -> Result<String, BadValue> {
    EnvFilter::try_new(text)?;
    let alone: Vec<&str> =
        text.split(',').map(str::trim).filter(|directive| !directive.contains(['=', '[', '}'])).collect();
    if let Some(word) = alone.iter().find(|word| word.is_empty() || word.parse::<LevelFilter>().is_err()) {
        return Err(BadValue::Level { word: (*word).to_owned() });
    }
    Ok(if alone.is_empty() { format!("info,{text}") } else { text.to_owned() })
}
