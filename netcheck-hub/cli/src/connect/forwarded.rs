//! The connection to a hub in a cluster, through the API server. Each is forwarded anew, so that one that broke is made again.

use hyper_util::rt::TokioIo;
use netcheck_reach::Hub as Pod;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri};

use super::{Bearer, Hub, Tls, Token, innermost};

/// Connects. What its pod says is how it is asked, unless flags say it.
pub(super) async fn connect(pod: Pod, tls: &Tls, token: &Token) -> anyhow::Result<Hub> {
    let bearer = match pod.wants_token() && token.token_file.is_none() {
        true => pod.token().await?.map_or(Ok(Bearer(None)), |token| Bearer::of(&token))?,
        false => token.bearer()?,
    };
    // Nobody looks this name up.
    let mut endpoint = match pod.is_encrypted() {
        true => Endpoint::from_static("https://netcheck-hub:7070").tls_config(config(&pod, tls).await?)?,
        false => Endpoint::from_static("http://netcheck-hub:7070"),
    };
    endpoint = endpoint.connect_timeout(super::CONNECT_TIMEOUT);
    let name = format!("{}/{}", pod.namespace, pod.pod);
    let connector = tower::service_fn(move |_: Uri| {
        let pod = pod.clone();
        async move { pod.connect().await.map(TokioIo::new) }
    });
    let channel = endpoint.connect_with_connector(connector).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), innermost);
        anyhow::anyhow!("cannot reach the hub in pod {name} through the API server: {cause}")
    })?;
    Ok(Hub { channel: InterceptedService::new(channel, bearer) })
}

async fn config(pod: &Pod, tls: &Tls) -> anyhow::Result<ClientTlsConfig> {
    let name = tls.tls_server_name.clone().or(pod.server_name().map(ToOwned::to_owned));
    let mut config = if tls.ca_cert.is_some() {
        tls.config()?
    } else {
        let own = pod.tls().await?;
        let config = match own.ca.is_empty() {
            true => ClientTlsConfig::new().with_native_roots(),
            false => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(own.ca)),
        };
        match own.identity {
            Some((cert, key)) => config.identity(Identity::from_pem(cert, key)),
            None => config,
        }
    };
    if let Some(name) = name {
        config = config.domain_name(name);
    }
    Ok(config)
}
