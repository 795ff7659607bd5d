//! The connection to the hub: TCP to the first of its addresses that answers, and TLS where the URL says https. Whatever
//! the address, the certificate must be for the name in the URL.

pub(crate) mod addresses;
mod dial;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};

use self::addresses::HubAddresses;

use super::CONNECT_TIMEOUT;

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes a connection to the hub.
pub(crate) type Connect = Box<dyn Fn() -> Connecting + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<Channel, ConnectError>> + Send>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// A certificate or key can't be read.
    #[error("{flag} {}", path.display())]
    File {
        /// Which flag named it.
        flag: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody listens, the hub's certificate is not good, or the like.
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
}

/// What TLS needs. PEM files, read anew for every connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    /// Who vouches for the hub; none: whom this system trusts.
    pub(crate) ca_cert: Option<PathBuf>,
    /// The agent's own certificate and key, if the hub wants to see one.
    pub(crate) own: Option<(PathBuf, PathBuf)>,
    /// The name in the hub's certificate, if it is not the URL's.
    pub(crate) server_name: Option<String>,
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|source| ConnectError::File { flag, path: path.to_owned(), source })
}

impl TlsFiles {
    fn config(&self) -> Result<ClientTlsConfig, ConnectError> {
        let mut config = ClientTlsConfig::new();
        config = match &self.ca_cert {
            Some(path) => config.ca_certificate(Certificate::from_pem(read("--ca-cert", path)?)),
            None => config.with_native_roots(),
        };
        if let Some((cert, key)) = &self.own {
            let (cert, key) = (read("--tls-cert", cert)?, read("--tls-key", key)?);
            config = config.identity(Identity::from_pem(cert, key));
        }
        Ok(match &self.server_name {
            Some(name) => config.domain_name(name),
            None => config,
        })
    }
}

/// Connects over TCP, to one of these addresses.
pub(crate) fn over_tcp(hub: Uri, tls: TlsFiles, addresses: Arc<HubAddresses>) -> Connect {
    let encrypted = hub.scheme_str() == Some("https");
    let endpoint = Endpoint::from(hub)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    Box::new(move || {
        let (endpoint, tls, addresses) = (endpoint.clone(), tls.clone(), Arc::clone(&addresses));
        Box::pin(async move {
            let endpoint = if encrypted { endpoint.tls_config(tls.config()?)? } else { endpoint };
            let connector = tower::service_fn(move |_: Uri| {
                let addresses = Arc::clone(&addresses);
                async move { addresses.connect().await.map(TokioIo::new) }
            });
            Ok(endpoint.connect_with_connector(connector).await?)
        })
    })
}
