//! Certificates: the hub's, renewed while it runs; and the clients'. Over TCP.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use netcheck_common::domain::Outcome;
use netcheck_hub::serve::accept::Limits;
use netcheck_hub::serve::tls::{Port, TlsFiles, TlsTask};
use netcheck_hub::state::Settings;
use netcheck_proto::v1;
use netcheck_proto::v1::reachability_service_client::ReachabilityServiceClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::rig::{FakeAgent, Gate, Rig, hello};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key for a name.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let uri = name.contains("://");
        let text = name.try_into().unwrap();
        params.subject_alt_names.push(if uri { SanType::URI(text) } else { SanType::DnsName(text) });
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// Writes a pair where the hub looks for it, as a renewal does: by rename.
pub(crate) fn install(folder: &Path, (cert, key): &(String, String)) {
    for (name, text) in [("cert.pem", cert), ("key.pem", key)] {
        let new = folder.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, folder.join(name)).unwrap();
    }
}

pub(crate) fn files(folder: &Path, client_ca: Option<&Authority>) -> TlsFiles {
    let client_ca = client_ca.map(|authority| {
        let path = folder.join("clients.pem");
        std::fs::write(&path, authority.pem()).unwrap();
        path
    });
    TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem"), client_ca }
}

async fn connect(
    gate: &Gate,
    authority: &Authority,
    own: Option<(String, String)>,
) -> Result<Channel, tonic::transport::Error> {
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()));
    if let Some((cert, key)) = own {
        config = config.identity(Identity::from_pem(cert, key));
    }
    let url = format!("https://{}", gate.address);
    Endpoint::from_shared(url)?.tls_config(config.domain_name("netcheck-hub"))?.connect().await
}

/// Whether the hub answers over this connection. With TLS 1.3 a client hears only then that its certificate is missing.
async fn answers(channel: Result<Channel, tonic::transport::Error>) -> bool {
    let Ok(channel) = channel else { return false };
    ReachabilityServiceClient::new(channel).list_nodes(v1::ListNodesRequest {}).await.is_ok()
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_without_a_restart_and_sessions_go_on() {
    let (rig, folder) = (Rig::start(), tempfile::tempdir().unwrap());
    let (old, new) = (Authority::new(), Authority::new());
    install(folder.path(), &old.issue("netcheck-hub"));
    let (task, certificates) = TlsTask::start(files(folder.path(), None), Arc::clone(&rig.hub)).unwrap();
    let shutdown = CancellationToken::new();
    let renewal = tokio::spawn(task.run(shutdown.clone()));
    let gate = rig.gate(Some(certificates.grpc), Limits::default()).await;
    let mut agent = FakeAgent::start(connect(&gate, &old, None).await.unwrap(), hello("n1", "boot-1")).await;
    assert!(!answers(connect(&gate, &new, None).await).await, "not yet its certificate");
    rig.until("the stranger's handshake is counted", |state| state.counters.handshakes_failed == 1).await;

    install(folder.path(), &new.issue("netcheck-hub"));
    let mut ticks = rig.hub.ticks();
    while !answers(connect(&gate, &new, None).await).await {
        ticks.changed().await.unwrap();
    }
    let batch = agent.windows(1, |_| Outcome::Reply);
    assert_eq!(agent.batch(batch).await, 1, "the session goes on");

    // A key that is not the certificate's: said, and the last good pair stays.
    std::fs::write(folder.path().join("key.pem"), new.issue("other").1).unwrap();
    rig.until("the broken pair is noticed", |state| state.tls_error.is_some()).await;
    assert!(rig.hub.lock().caveats().iter().any(|line| line.contains("--tls-cert")));
    assert!(answers(connect(&gate, &new, None).await).await);
    install(folder.path(), &new.issue("netcheck-hub"));
    rig.until("the good pair is noticed", |state| state.tls_error.is_none()).await;
    shutdown.cancel();
    renewal.await.unwrap();
}

#[tokio::test]
async fn with_a_client_authority_only_its_clients_are_answered() {
    let (rig, folder) = (Rig::start(), tempfile::tempdir().unwrap());
    let (hubs, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    install(folder.path(), &hubs.issue("netcheck-hub"));
    let files = files(folder.path(), Some(&clients));
    let (_task, certificates) = TlsTask::start(files, Arc::clone(&rig.hub)).unwrap();
    let gate = rig.gate(Some(certificates.grpc), Limits::default()).await;
    assert!(answers(connect(&gate, &hubs, Some(clients.issue("reader"))).await).await);
    assert!(!answers(connect(&gate, &hubs, None).await).await);
    assert!(!answers(connect(&gate, &hubs, Some(strangers.issue("reader"))).await).await);
    rig.until("both are counted", |state| state.counters.handshakes_failed == 2).await;
}

#[tokio::test]
async fn agents_certificates_read_nothing_and_readers_open_no_session() {
    for (name, other) in [("netcheck-agent", "reader"), ("spiffe://cluster/agent", "spiffe://cluster/reader")]
    {
        let settings =
            Settings { agent_cert_name: Some(name.to_owned()), ..Settings::every(Duration::from_secs(1)) };
        let (rig, folder) = (Rig::of(settings), tempfile::tempdir().unwrap());
        let (hubs, clients) = (Authority::new(), Authority::new());
        install(folder.path(), &hubs.issue("netcheck-hub"));
        let files = files(folder.path(), Some(&clients));
        let (_task, certificates) = TlsTask::start(files, Arc::clone(&rig.hub)).unwrap();
        let gate = rig.gate(Some(certificates.grpc), Limits::default()).await;
        let channel = |name| connect(&gate, &hubs, Some(clients.issue(name)));
        let mut agent = FakeAgent::start(channel(name).await.unwrap(), hello("n1", "boot-1")).await;
        let batch = agent.windows(1, |_| Outcome::Reply);
        assert_eq!(agent.batch(batch).await, 1);
        assert!(!answers(channel(name).await).await, "{name}");
        assert!(answers(channel(other).await).await, "{other}");
        let mut rogue = FakeAgent::greet(channel(other).await.unwrap(), hello("n3", "boot-1")).await;
        let status = rogue.ended().await;
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        let counters = rig.hub.lock().counters.clone();
        assert_eq!((counters.readers_refused, counters.sessions_foreign), (1, 1));
    }
}

#[test]
fn files_that_make_no_sense_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let hub = TlsFiles { client_ca: None, ..files(folder.path(), None) };
    let error = |files: &TlsFiles| files.load(Port::Grpc).unwrap_err().to_string();
    assert!(error(&hub).contains("--tls-cert"));
    install(folder.path(), &(authority.issue("a").0, String::new()));
    assert!(error(&hub).contains("--tls-key"));
    install(folder.path(), &(authority.issue("a").0, authority.issue("a").1));
    assert!(error(&hub).contains("do not work together"), "{}", error(&hub));
    install(folder.path(), &(String::new(), authority.issue("a").1));
    assert!(error(&hub).contains("no certificate"), "{}", error(&hub));
    install(folder.path(), &authority.issue("a"));
    assert!(hub.load(Port::Http).is_ok());
    assert!(hub.number("path ids") != 0 && hub.number("path ids") != hub.number("else"));
    assert_eq!(hub.number("path ids"), hub.clone().number("path ids"), "over restarts");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "").unwrap();
    assert!(error(&TlsFiles { client_ca: Some(path), ..hub }).contains("--client-ca"));
}
