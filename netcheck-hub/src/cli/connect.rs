//! Where the hub is, and the connection to it.

use std::time::Duration;

use netcheck_proto::v1::reachability_service_client::ReachabilityServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::ANSWER_LIMIT;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An address that can be tried.
#[derive(Clone, Debug)]
pub(super) struct HubUrl {
    /// As it was given.
    text: String,
    endpoint: Endpoint,
}

/// Reads `--hub`.
pub(super) fn endpoint(text: &str) -> Result<HubUrl, String> {
    let schemes = "the hub is reached at http://HOST:PORT, or HOST:PORT for short";
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        None | Some("http") => {}
        Some("https") => {
            return Err(format!(
                "this version speaks to the hub without encryption only, not by https; {schemes}"
            ));
        }
        Some(other) => return Err(format!("{other}:// is no scheme that a hub speaks; {schemes}")),
    }
    let full = if scheme.is_some() { text.to_owned() } else { format!("http://{text}") };
    let endpoint = Endpoint::from_shared(full).map_err(|_invalid| format!("is not a URL; {schemes}"))?;
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(format!("names no host; {schemes}"));
    }
    Ok(HubUrl { text: text.to_owned(), endpoint: endpoint.connect_timeout(CONNECT_TIMEOUT) })
}

/// A hub that answers.
pub(super) struct Hub {
    pub(super) channel: Channel,
}

impl Hub {
    pub(super) async fn connect(hub: &HubUrl) -> anyhow::Result<Self> {
        let channel = hub.endpoint.connect().await.map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), innermost);
            let url = &hub.text;
            anyhow::anyhow!("cannot reach the hub at {url}: {cause} (--hub or NETCHECK_HUB says where it is)")
        })?;
        Ok(Self { channel })
    }

    pub(super) fn reachability(&self) -> ReachabilityServiceClient<Channel> {
        ReachabilityServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_LIMIT)
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_tried() {
        for text in ["hub:7070", "10.0.0.1:7070", "[fd00::1]:7070", "HTTP://hub", "http://hub:7070/"] {
            let url = endpoint(text).unwrap();
            assert_eq!(url.endpoint.uri().scheme_str(), Some("http"), "{text}");
        }
        for text in ["ftp://x", "https://hub:7070", "http://", "://hub", "", "a b:1", "unix:///x"] {
            let error = endpoint(text).expect_err(text);
            assert!(error.contains("http://HOST:PORT"), "{text}: {error}");
            assert_eq!(error.lines().count(), 1);
        }
    }
}
