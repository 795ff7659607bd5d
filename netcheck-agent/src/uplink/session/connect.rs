//! The connection to the hub: TCP to the first of its addresses that answers, or to another agent that passes the bytes on,
//! and TLS where the URL says https. Whatever the way, the certificate must be for the name in the URL.

pub(crate) mod addresses;
mod dial;
pub(crate) mod relays;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use netcheck_common::files;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};

use self::addresses::HubAddresses;
use self::dial::DialError;
use self::relays::Relays;
use super::failover::Race;
use crate::model::status::Way;

use super::CONNECT_TIMEOUT;

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes a connection to the hub.
pub(crate) type Connect = Arc<dyn Fn(Race) -> Connecting + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>;

/// A connection to the hub.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    pub(crate) way: Way,
    /// Its socket, to be asked how the connection is; none where that is not TCP.
    pub(crate) socket: Option<OwnedFd>,
}

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
    files::read(path, files::SMALL).map_err(|source| ConnectError::File {
        flag,
        path: path.to_owned(),
        source,
    })
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

/// Connects over TCP, to one of these addresses or through one of these relays.
pub(crate) fn over_tcp(hub: Uri, tls: TlsFiles, ways: (Arc<HubAddresses>, Arc<Relays>)) -> Connect {
    let encrypted = hub.scheme_str() == Some("https");
    let endpoint = Endpoint::from(hub)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    Arc::new(move |race| {
        let (endpoint, tls, ways) = (endpoint.clone(), tls.clone(), ways.clone());
        Box::pin(async move {
            let endpoint = if encrypted { endpoint.tls_config(tls.config()?)? } else { endpoint };
            let reached = Arc::new(Mutex::new((Way::Direct(None), None)));
            let connector = tower::service_fn({
                let reached = Arc::clone(&reached);
                move |_: Uri| {
                    let ((addresses, relays), reached) = (ways.clone(), Arc::clone(&reached));
                    async move {
                        let (stream, way) = addresses.connect(race, &relays).await?;
                        let socket = stream.as_fd().try_clone_to_owned().ok();
                        *reached.lock().unwrap_or_else(PoisonError::into_inner) = (way, socket);
                        Ok::<_, DialError>(TokioIo::new(stream))
                    }
                }
            });
            let channel = endpoint.connect_with_connector(connector).await?;
            let mut reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(Connection { channel, way: reached.0.clone(), socket: reached.1.take() })
        })
    })
}
