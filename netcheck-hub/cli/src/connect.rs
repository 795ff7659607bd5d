//! Where the hub is, and the connection to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use netcheck_proto::usage::read_token;
use netcheck_proto::v1::check_service_client::CheckServiceClient;
use netcheck_proto::v1::peer_service_client::PeerServiceClient;
use netcheck_proto::v1::reachability_service_client::ReachabilityServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::ANSWER_LIMIT;
use crate::args::{Global, Side};

#[cfg(feature = "kubernetes")]
mod forwarded;

/// Where a hub is asked without any word of where it is: behind a port that somebody forwards.
const LOCAL: &str = "http://127.0.0.1:7070";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An address that can be tried.
#[derive(Clone, Debug)]
pub(crate) struct HubUrl {
    /// As it was given.
    text: String,
    endpoint: Endpoint,
}

impl HubUrl {
    /// As it was given.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// How a hub is addressed.
const SCHEMES: &str =
    "the hub is reached at https://HOST:PORT, or http://HOST:PORT without encryption, HOST:PORT for short";

/// Why `--hub` can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    /// Neither HTTP nor HTTPS.
    #[error("{scheme}:// is no scheme that a hub speaks; {SCHEMES}")]
    Scheme {
        /// In lower case.
        scheme: String,
    },
    /// No URL at all.
    #[error("is not a URL; {SCHEMES}")]
    Syntax,
    /// A URL without a host.
    #[error("names no host; {SCHEMES}")]
    NoHost,
}

/// Reads `--hub`.
///
/// # Errors
/// See [`UrlError`].
pub(crate) fn endpoint(text: &str) -> Result<HubUrl, UrlError> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        None | Some("http" | "https") => {}
        Some(other) => return Err(UrlError::Scheme { scheme: other.to_owned() }),
    }
    let full = if scheme.is_some() { text.to_owned() } else { format!("http://{text}") };
    let endpoint = Endpoint::from_shared(full).map_err(|_invalid| UrlError::Syntax)?;
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(UrlError::NoHost);
    }
    Ok(HubUrl { text: text.to_owned(), endpoint: endpoint.connect_timeout(CONNECT_TIMEOUT) })
}

/// Which cluster's hub is asked, where no URL says it.
#[derive(Debug, Args)]
#[command(next_help_heading = "The hub")]
pub(crate) struct KubeArgs {
    /// The kubeconfig [default: $KUBECONFIG, else ~/.kube/config].
    #[arg(long, value_name = "PATH", global = true)]
    kubeconfig: Option<PathBuf>,
    /// Its context [default: the current one].
    #[arg(long, value_name = "NAME", global = true)]
    context: Option<String>,
    /// The hub's namespace [default: it is looked for in all].
    #[arg(short, long, value_name = "NAME", global = true)]
    namespace: Option<String>,
}

#[cfg(feature = "kubernetes")]
impl KubeArgs {
    pub(crate) fn access(&self) -> netcheck_reach::Access {
        netcheck_reach::Access {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            namespace: self.namespace.clone(),
        }
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The flags that say which cluster, for a command line; each begins with a space.
    pub(crate) fn which(&self) -> String {
        let kubeconfig = self.kubeconfig.as_ref().map(|path| format!(" --kubeconfig {}", path.display()));
        let context = self.context.as_ref().map(|context| format!(" --context {context}"));
        kubeconfig.into_iter().chain(context).collect()
    }
}

/// How the hub and the reader prove to each other who they are, for an `https://` URL.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The hub")]
pub(crate) struct Tls {
    /// Authorities that vouch for the hub (PEM file) [default: the system's].
    #[arg(long, env = "NETCHECK_CA_CERT", value_name = "PATH", global = true)]
    ca_cert: Option<PathBuf>,
    /// The certificate to show the hub (PEM file); needs --tls-key.
    #[arg(long, env = "NETCHECK_TLS_CERT", value_name = "PATH", global = true)]
    tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM file).
    #[arg(long, env = "NETCHECK_TLS_KEY", value_name = "PATH", global = true)]
    tls_key: Option<PathBuf>,
    /// The name that the hub's certificate must have, as behind a port-forward [default: the URL's].
    #[arg(long, env = "NETCHECK_TLS_SERVER_NAME", value_name = "NAME", global = true)]
    tls_server_name: Option<String>,
}

/// How the reader shows that it may read.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The hub")]
pub(crate) struct Token {
    /// The readers' token, where the hub wants one (file).
    #[arg(long = "token-file", env = "NETCHECK_READ_TOKEN_FILE", value_name = "PATH", global = true)]
    token_file: Option<PathBuf>,
}

/// Puts the token into every request.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Token {
    fn bearer(&self) -> anyhow::Result<Bearer> {
        let Some(path) = &self.token_file else { return Ok(Bearer(None)) };
        let token = read_token(path).map_err(|error| anyhow::anyhow!("--token-file {error}"))?;
        Bearer::of(&token)
    }
}

impl Bearer {
    fn of(token: &str) -> anyhow::Result<Self> {
        let mut words: MetadataValue<Ascii> = format!("Bearer {token}").parse()?;
        words.set_sensitive(true);
        Ok(Self(Some(words)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(words) = &self.0 {
            request.metadata_mut().insert("authorization", words.clone());
        }
        Ok(request)
    }
}

impl Tls {
    fn config(&self) -> anyhow::Result<ClientTlsConfig> {
        let read = |flag: &str, path: &Path| {
            std::fs::read(path).with_context(|| format!("cannot read {flag} {}", path.display()))
        };
        let mut config = match &self.ca_cert {
            Some(path) => {
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("--ca-cert", path)?))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                let (cert, key) = (read("--tls-cert", cert)?, read("--tls-key", key)?);
                config = config.identity(Identity::from_pem(cert, key));
            }
            (None, None) => {}
            _ => anyhow::bail!("--tls-cert and --tls-key go together"),
        }
        Ok(match &self.tls_server_name {
            Some(name) => config.domain_name(name),
            None => config,
        })
    }
}

/// What requests go through.
pub(crate) type Asking = InterceptedService<Channel, Bearer>;

/// A hub that answers.
pub(crate) struct Hub {
    pub(crate) channel: Asking,
}

impl Hub {
    /// The hub that is named, else that of the cluster.
    pub(crate) async fn connect(global: &Global) -> anyhow::Result<Self> {
        if let Some(hub) = &global.hub {
            return Self::at(hub, &global.tls, &global.token).await;
        }
        #[cfg(feature = "kubernetes")]
        if let Some(cluster) = netcheck_reach::Cluster::open(&global.kube.access()).await? {
            return forwarded::connect(cluster.hub().await?, &global.tls, &global.token).await;
        }
        Self::at(&endpoint(LOCAL)?, &global.tls, &global.token).await
    }

    /// The hub of one of two clusters.
    pub(crate) async fn of_side(global: &Global, side: &Side) -> anyhow::Result<Self> {
        if let Some(hub) = &side.hub {
            return Self::at(hub, &global.tls, &global.token).await;
        }
        #[cfg(feature = "kubernetes")]
        {
            let mut access = global.kube.access();
            access.kubeconfig = side.kubeconfig.clone().or(access.kubeconfig);
            access.context.clone_from(&side.context);
            if let Some(cluster) = netcheck_reach::Cluster::open(&access).await? {
                return forwarded::connect(cluster.hub().await?, &global.tls, &global.token).await;
            }
        }
        anyhow::bail!("no kubeconfig leads there; --src-hub and --dst-hub say where hubs are")
    }

    /// The hub of this pod, by what the pod itself says alone.
    #[cfg(feature = "kubernetes")]
    pub(crate) async fn in_pod(pod: netcheck_reach::Hub) -> anyhow::Result<Self> {
        forwarded::connect(pod, &Tls::default(), &Token::default()).await
    }

    async fn at(hub: &HubUrl, tls: &Tls, token: &Token) -> anyhow::Result<Self> {
        let bearer = token.bearer()?;
        let encrypted = hub.endpoint.uri().scheme_str() == Some("https");
        let mut endpoint = hub.endpoint.clone();
        if encrypted {
            let config = tls.config()?;
            endpoint =
                endpoint.tls_config(config).map_err(|error| anyhow::anyhow!("TLS: {}", innermost(&error)))?;
        }
        let channel = endpoint.connect().await.map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), innermost);
            let url = &hub.text;
            anyhow::anyhow!("cannot reach the hub at {url}: {cause} (--hub or NETCHECK_HUB says where it is)")
        })?;
        Ok(Self { channel: InterceptedService::new(channel, bearer) })
    }

    pub(crate) fn checks(&self) -> CheckServiceClient<Asking> {
        CheckServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_LIMIT)
    }

    pub(crate) fn peers(&self) -> PeerServiceClient<Asking> {
        PeerServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_LIMIT)
    }

    pub(crate) fn reachability(&self) -> ReachabilityServiceClient<Asking> {
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
        assert_eq!(endpoint("https://hub:7070").unwrap().endpoint.uri().scheme_str(), Some("https"));
        for text in ["ftp://x", "http://", "://hub", "", "a b:1", "unix:///x"] {
            let error = endpoint(text).expect_err(text).to_string();
            assert!(error.contains("http://HOST:PORT"), "{text}: {error}");
            assert_eq!(error.lines().count(), 1);
        }
    }
}
