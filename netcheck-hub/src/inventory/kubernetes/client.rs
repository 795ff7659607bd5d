//! A client of the API, from a kubeconfig or from the pod that the hub runs in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::{Access, ApiHealth};

/// TCP and TLS handshakes with the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence in the middle of an answer, above any watch's own end.
const READ_MARGIN: Duration = Duration::from_secs(15);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No kubeconfig was given, and this is no pod of a cluster.
    #[error("not inside a cluster ({source}): say --kubeconfig PATH or --inventory file:PATH")]
    NotInCluster {
        /// What is missing.
        source: InClusterError,
    },
    /// The kubeconfig can't be read or makes no sense.
    #[error("kubeconfig {path} is of no use: {source}")]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why.
        source: KubeconfigError,
    },
    /// Certificates or credentials that can't be used.
    #[error("cannot set up a client of the Kubernetes API: {source}")]
    Client {
        /// Why.
        source: kube::Error,
    },
}

/// Makes a client. Nothing is asked of the API yet.
///
/// # Errors
/// See [`ClientError`].
pub async fn connect(access: &Access, health: &Arc<ApiHealth>) -> Result<Client, ClientError> {
    let mut config = match &access.kubeconfig {
        None => Config::incluster().map_err(|source| ClientError::NotInCluster { source })?,
        Some(path) => {
            let broken = |source| ClientError::Kubeconfig { path: path.clone(), source };
            let kubeconfig = Kubeconfig::read_from(path).map_err(broken)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(broken)?
        }
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(access.watch + READ_MARGIN);
    config.reset_reader_on_write = true;
    // Pauses are our own, or the report would learn late that the API is away.
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).map_err(|source| ClientError::Client { source })?;
    Ok(builder.with_layer(&health.layer()).build())
}
