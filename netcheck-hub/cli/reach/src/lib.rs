//! Finds netcheck's hub in a Kubernetes cluster, and connects to it through the API server.
//!
//! [`Cluster`] is what a kubeconfig leads to, [`Cluster::hub`] the hub's pod there with what its own specification says of how
//! it is asked: the command line in the hub's pod reads the same variables. [`Hub::connect`] forwards one connection to it
//! (`pods/portforward` over a web socket). What is not allowed is named with the right that is missing.

pub mod ephemeral;

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Secret};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config, ResourceExt as _};
use tokio::io::{AsyncRead, AsyncWrite};

/// The hub's pods, of whatever release: labels that the chart gives them.
pub const SELECTOR: &str = "app.kubernetes.io/part-of=netcheck,app.kubernetes.io/component=hub";
/// Where the hub's pod answers.
const GRPC_PORT: u16 = 7070;
/// TCP and TLS handshakes with the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers of the API server.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Which cluster, and where in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// None: `$KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// None: the kubeconfig's current one.
    pub context: Option<String>,
    /// Where the hub is. None: it is looked for in all namespaces.
    pub namespace: Option<String>,
}

/// Why there is no way to the hub.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// No kubeconfig, or one that makes no sense.
    #[error("the kubeconfig is of no use: {source}")]
    Kubeconfig {
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// The API server can't be asked.
    #[error("cannot ask the Kubernetes API: {source}")]
    Api {
        /// Why.
        source: Box<kube::Error>,
    },
    /// It may be asked, but not for this.
    #[error("not allowed: this needs the right to {verb} {resource} {place}; {instead}")]
    Forbidden {
        /// `list`, `get`, `create`.
        verb: &'static str,
        /// `pods`, `pods/portforward`, `secrets`.
        resource: &'static str,
        /// `in namespace netcheck`, `in all namespaces`.
        place: String,
        /// What does without.
        instead: &'static str,
    },
    /// There is none.
    #[error("no hub of netcheck {place}: no pod has the labels {SELECTOR}; --hub says where one is")]
    None {
        /// Where it was looked for.
        place: String,
    },
    /// There are several.
    #[error("hubs of netcheck are in several namespaces ({}); say which with --namespace", namespaces.join(", "))]
    Several {
        /// Where.
        namespaces: Vec<String>,
    },
    /// Its pod does not run.
    #[error("the hub's pod {namespace}/{pod} does not run: it is {phase}")]
    NotRunning {
        /// Its namespace.
        namespace: String,
        /// Its name.
        pod: String,
        /// As Kubernetes has it.
        phase: String,
    },
    /// A secret lacks what the hub reads of it.
    #[error("secret {namespace}/{secret} has no {key}")]
    Key {
        /// Its namespace.
        namespace: String,
        /// Its name.
        secret: String,
        /// What is missing.
        key: String,
    },
}

fn api(source: kube::Error) -> ReachError {
    ReachError::Api { source: Box::new(source) }
}

/// Whether the API server said that it is not allowed; an upgraded connection has only its status for that.
fn is_forbidden(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 403,
        kube::Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(status)) => {
            status.as_u16() == 403
        }
        _ => false,
    }
}

fn in_namespace(namespace: &str) -> String {
    format!("in namespace {namespace}")
}

/// A cluster that can be asked.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespace: Option<String>,
    /// That of the kubeconfig's context.
    own: String,
}

impl Cluster {
    /// Reads the kubeconfig. Nothing is asked yet. None where nobody names one and there is none.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn open(access: &Access) -> Result<Option<Self>, ReachError> {
        let named = access.kubeconfig.is_some() || access.context.is_some() || access.namespace.is_some();
        let unusable = |source| ReachError::Kubeconfig { source: Box::new(source) };
        let kubeconfig = match &access.kubeconfig {
            Some(path) => Kubeconfig::read_from(path).map_err(unusable)?,
            None => match Kubeconfig::read() {
                Ok(kubeconfig) => kubeconfig,
                Err(KubeconfigError::FindPath | KubeconfigError::ReadConfig(..)) if !named => {
                    return Ok(None);
                }
                Err(source) => return Err(unusable(source)),
            },
        };
        let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        config.default_retry = false;
        let own = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(api)?;
        Ok(Some(Self { client, namespace: access.namespace.clone(), own }))
    }

    /// Finds the hub. One that was installed for a check alone gives way to others.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn hub(&self) -> Result<Hub, ReachError> {
        let (mut pods, place) = self.pods().await?;
        let lasts = |pod: &Pod| !pod.labels().contains_key(ephemeral::RUN_LABEL);
        if self.namespace.is_none() && pods.iter().any(lasts) {
            pods.retain(lasts);
        }
        self.choose(&pods, place)
    }

    /// The hub in this namespace whose pod has this label, too.
    pub(crate) async fn hub_of(&self, namespace: &str, label: &str) -> Result<Hub, ReachError> {
        let params = ListParams::default().labels(&format!("{SELECTOR},{label}"));
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace).list(&params).await.map_err(api)?;
        self.choose(&pods.items, in_namespace(namespace))
    }

    fn choose(&self, pods: &[Pod], place: String) -> Result<Hub, ReachError> {
        let mut namespaces: Vec<String> =
            pods.iter().filter_map(|pod| pod.metadata.namespace.clone()).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        if namespaces.len() > 1 {
            return Err(ReachError::Several { namespaces });
        }
        let running = |pod: &&Pod| phase(pod) == "Running" && pod.metadata.deletion_timestamp.is_none();
        let Some(pod) = pods.iter().find(running).or(pods.first()) else {
            return Err(ReachError::None { place });
        };
        let name = pod.metadata.name.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        if !running(&pod) {
            return Err(ReachError::NotRunning { namespace, pod: name, phase: phase(pod).to_owned() });
        }
        let spec = pod.spec.clone().unwrap_or_default();
        Ok(Hub { client: self.client.clone(), namespace, pod: name, spec })
    }

    /// The hub's pods, and where they were looked for.
    async fn pods(&self) -> Result<(Vec<Pod>, String), ReachError> {
        let params = ListParams::default().labels(SELECTOR);
        let forbidden = |place: String| ReachError::Forbidden {
            verb: "list",
            resource: "pods",
            place,
            instead: "--hub asks a hub without it, --namespace looks in one namespace alone",
        };
        if let Some(namespace) = &self.namespace {
            let list = Api::<Pod>::namespaced(self.client.clone(), namespace).list(&params).await;
            return match list {
                Ok(list) => Ok((list.items, in_namespace(namespace))),
                Err(error) if is_forbidden(&error) => Err(forbidden(in_namespace(namespace))),
                Err(error) => Err(api(error)),
            };
        }
        match Api::<Pod>::all(self.client.clone()).list(&params).await {
            Ok(list) => return Ok((list.items, "in any namespace".to_owned())),
            Err(error) if is_forbidden(&error) => {}
            Err(error) => return Err(api(error)),
        }
        // Whoever may not look everywhere may look at home.
        match Api::<Pod>::namespaced(self.client.clone(), &self.own).list(&params).await {
            Ok(list) if !list.items.is_empty() => Ok((list.items, in_namespace(&self.own))),
            Ok(_) => Err(forbidden("in all namespaces".to_owned())),
            Err(error) if is_forbidden(&error) => Err(forbidden("in all namespaces".to_owned())),
            Err(error) => Err(api(error)),
        }
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Unknown")
}

/// The hub's pod.
#[derive(Clone)]
pub struct Hub {
    client: Client,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    spec: PodSpec,
}

/// How a hub with TLS is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The name in its certificate.
    pub server_name: Option<String>,
    /// Authorities that vouch for it (PEM).
    pub ca: Vec<u8>,
    /// Certificate and key (PEM) to show it, where it asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Hub {
    fn variable(&self, name: &str) -> Option<&str> {
        let containers: &[Container] = &self.spec.containers;
        let mut variables = containers.iter().flat_map(|container| container.env.iter().flatten());
        variables.find(|variable| variable.name == name).and_then(|variable| variable.value.as_deref())
    }

    /// Whether it is asked by TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.variable("NETCHECK_HUB").is_some_and(|url| url.starts_with("https://"))
    }

    /// The name in its certificate.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.variable("NETCHECK_TLS_SERVER_NAME")
    }

    /// Whether it wants the readers' token.
    #[must_use]
    pub fn wants_token(&self) -> bool {
        self.variable("NETCHECK_READ_TOKEN_FILE").is_some()
    }

    /// How it is known, by the secret that it has its certificate of.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn tls(&self) -> Result<Tls, ReachError> {
        let instead = "--ca-cert says who vouches for the hub";
        let ca = self.file("NETCHECK_CA_CERT", instead).await?.unwrap_or_default();
        let cert = self.file("NETCHECK_TLS_CERT", instead).await?;
        let key = self.file("NETCHECK_TLS_KEY", instead).await?;
        Ok(Tls { server_name: self.server_name().map(ToOwned::to_owned), ca, identity: cert.zip(key) })
    }

    /// The readers' token; none where it wants none.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn token(&self) -> Result<Option<String>, ReachError> {
        let token = self.file("NETCHECK_READ_TOKEN_FILE", "--token-file has the token").await?;
        Ok(token.map(|token| String::from_utf8_lossy(&token).trim().to_owned()))
    }

    /// What the file holds that a variable of the hub's container names, out of the secret that is mounted there.
    async fn file(&self, variable: &str, instead: &'static str) -> Result<Option<Vec<u8>>, ReachError> {
        let Some((secret, key)) = self.variable(variable).and_then(|path| self.secret_of(path)) else {
            return Ok(None);
        };
        let namespace = self.namespace.clone();
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &namespace);
        let found = secrets.get(&secret).await.map_err(|error| match is_forbidden(&error) {
            true => ReachError::Forbidden {
                verb: "get",
                resource: "secrets",
                place: format!("{} ({secret})", in_namespace(&namespace)),
                instead,
            },
            false => api(error),
        })?;
        let value = found.data.unwrap_or_default().remove(&key);
        value.map(|value| Some(value.0)).ok_or(ReachError::Key { namespace, secret, key })
    }

    /// The secret behind a path in the hub's container, and the key of it.
    fn secret_of(&self, path: &str) -> Option<(String, String)> {
        let mounts =
            self.spec.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
        let at = |mount: &str| {
            path.strip_prefix(mount.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'))
        };
        let (volume, key) = mounts.filter_map(|mount| Some((&mount.name, at(&mount.mount_path)?))).next()?;
        let volumes = self.spec.volumes.iter().flatten().filter(|own| own.name == *volume);
        let secret = volumes.filter_map(|own| own.secret.as_ref()?.secret_name.clone()).next()?;
        Some((secret, key.to_owned()))
    }

    /// One connection to it, forwarded by the API server. It ends when it is dropped.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn connect(&self) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, ReachError> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let forwarder = pods.portforward(&self.pod, &[GRPC_PORT]).await;
        let mut forwarder = forwarder.map_err(|error| match is_forbidden(&error) {
            true => ReachError::Forbidden {
                verb: "create",
                resource: "pods/portforward",
                place: in_namespace(&self.namespace),
                instead: "--hub asks a hub without it",
            },
            false => api(error),
        })?;
        let stream = forwarder.take_stream(GRPC_PORT);
        stream.ok_or_else(|| ReachError::None { place: in_namespace(&self.namespace) })
    }
}
