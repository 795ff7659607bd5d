//! The command line without `--hub`: the hub is found in a cluster and asked through the API server.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::ByteString;
use kubectl_netcheck::{Answer, Screen};
use netcheck_hub::serve::accept::Limits;
use netcheck_hub::serve::tls::TlsTask;
use netcheck_kubefake::cluster::FakeCluster;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::tls::{Authority, files, install};

/// The name that agents know the hub by.
const NAME: &str = "netcheck-hub.netcheck.svc";

/// The hub's pod, as the chart makes it.
fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "netcheck-hub-1", "namespace": "netcheck", "labels": {
            "app.kubernetes.io/part-of": "netcheck", "app.kubernetes.io/component": "hub",
        }},
        "spec": {
            "containers": [{
                "name": "hub",
                "env": [
                    {"name": "NETCHECK_HUB", "value": "https://127.0.0.1:7070"},
                    {"name": "NETCHECK_TLS_SERVER_NAME", "value": NAME},
                    {"name": "NETCHECK_CA_CERT", "value": "/etc/netcheck/tls/ca.crt"},
                ],
                "volumeMounts": [{"name": "tls", "mountPath": "/etc/netcheck/tls"}],
            }],
            "volumes": [{"name": "tls", "secret": {"secretName": "netcheck-hub-tls"}}],
        },
        "status": {"phase": "Running"},
    })
}

async fn run(kubeconfig: &Path, words: &[&str]) -> Answer {
    let mut all = vec![OsString::from("kubectl-netcheck")];
    all.extend(words.iter().map(OsString::from));
    all.extend(["--kubeconfig".into(), kubeconfig.into()]);
    tokio::task::spawn_blocking(move || kubectl_netcheck::run(all, &Screen::plain())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hub_is_found_in_the_cluster_and_asked_through_the_api_server() {
    let (rig, folder) = (Rig::start(), tempfile::tempdir().unwrap());
    let authority = Authority::new();
    install(folder.path(), &authority.issue(NAME));
    let (_task, certificates) = TlsTask::start(files(folder.path(), None), Arc::clone(&rig.hub)).unwrap();
    let gate = rig.gate(Some(certificates.grpc), Limits::default()).await;
    let fake = FakeCluster::start(&["n1"], Arc::new(|_: &[String]| Default::default())).await.unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, fake.kubeconfig()).unwrap();
    let nothing = run(&kubeconfig, &["nodes"]).await;
    assert!(nothing.code == 1 && nothing.err.contains("no hub of netcheck in any namespace"), "{nothing:?}");

    fake.set("v1", "pods", "netcheck", "netcheck-hub-1", pod());
    let ca = ByteString(authority.pem().as_bytes().to_vec());
    let metadata = json!({"name": "netcheck-hub-tls", "namespace": "netcheck"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"ca.crt": ca}});
    fake.set("v1", "secrets", "netcheck", "netcheck-hub-tls", secret);
    fake.forward("netcheck-hub-1", gate.address);
    let _agent = rig.agent("n1").await;
    let nodes = run(&kubeconfig, &["nodes"]).await;
    assert!(nodes.code == 0 && nodes.out.contains("n1"), "{nodes:?}");
    let version = run(&kubeconfig, &["version", "--server"]).await;
    assert!(version.out.contains("\nhub ") && version.out.contains("1 agent "), "{version:?}");
    // It goes on until its time is over.
    let watched = run(&kubeconfig, &["watch", "--for", "300ms"]).await;
    assert_eq!((watched.code, watched.err.as_str()), (0, ""), "{watched:?}");
    let unknown = run(&kubeconfig, &["explain", "i-7"]).await;
    assert!(unknown.code == 1 && unknown.err.contains("no incident is known"), "{unknown:?}");
    let between = run(&kubeconfig, &["explain", "n1", "n2"]).await;
    assert!(between.out.contains("n1") && between.out.contains("n2"), "{between:?}");

    fake.forbid("pods", "portforward");
    let refused = run(&kubeconfig, &["nodes"]).await;
    assert_eq!(refused.err.lines().count(), 1, "{refused:?}");
    assert!(
        refused.err.contains("the right to create pods/portforward in namespace netcheck"),
        "{refused:?}"
    );
}
