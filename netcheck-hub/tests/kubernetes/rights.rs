//! The role that the chart gives to the hub, against what the hub's program really asks of the API: nothing more, nothing
//! less.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use netcheck_kubefake::{FakeApi, Resource, Token};
use netcheck_proto::v1;
use netcheck_proto::v1::agent_service_client::AgentServiceClient;
use netcheck_proto::v1::session_request::Message as FromAgent;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::rig::{DEADLINE, cluster};

/// What the chart renders to by default; `cargo xtask test chart` holds it against the chart.
const RENDERED: &str = include_str!("../../../deploy/tests/golden/default.yaml");

/// Verb and resource, the latter with its group as in `discovery.k8s.io/endpointslices`.
type Rights = BTreeSet<(String, String)>;

/// What the chart adds to it with everything switched on.
const MORE: &str = include_str!("../../../deploy/tests/golden/everything.diff");

/// The rights beyond those of the default that the chart gives with everything switched on.
fn more() -> Rights {
    let added: Vec<&str> = MORE.lines().filter_map(|line| line.strip_prefix('+')).map(str::trim).collect();
    let mut rights = Rights::new();
    let (mut group, mut resources) = ("", "");
    for line in added {
        let list = |key: &str| line.strip_prefix(key)?.trim().strip_prefix('[')?.strip_suffix(']');
        if let Some(name) = list("- apiGroups:") {
            group = name;
        } else if let Some(names) = list("resources:").filter(|_| !group.is_empty()) {
            resources = names;
        } else if let Some(verbs) = list("verbs:") {
            let each = resources.split(", ").filter(|resource| !resource.is_empty()).flat_map(|resource| {
                verbs.split(", ").map(move |verb| (verb.to_owned(), format!("{group}/{resource}")))
            });
            rights.extend(each);
        }
    }
    rights
}

/// The rights of all cluster roles and roles in the chart.
fn granted() -> Rights {
    let documents = RENDERED.split("\n---\n").filter(|text| text.contains("kind: "));
    let objects = documents.map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    let roles: Vec<Value> = objects
        .filter(|object| object["kind"].as_str().is_some_and(|kind| kind == "ClusterRole" || kind == "Role"))
        .collect();
    assert_eq!(roles.len(), 1, "only the hub talks to the API");
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = Rights::new();
    for rule in roles[0]["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let resource = if group.is_empty() { resource } else { format!("{group}/{resource}") };
                rights.extend(texts(&rule["verbs"]).into_iter().map(|verb| (verb, resource.clone())));
            }
        }
    }
    rights
}

/// Killed if a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn the_role_in_the_chart_is_what_the_hub_uses() {
    uses(&[], granted()).await;
}

#[tokio::test]
async fn what_is_switched_on_has_its_rights() {
    let mut wanted = granted();
    let more = more();
    let names = [
        "networking.k8s.io/ingresses",
        "gateway.networking.k8s.io/gateways",
        "gateway.networking.k8s.io/httproutes",
    ];
    for name in names {
        assert!(more.contains(&("watch".to_owned(), name.to_owned())), "{name}: {more:?}");
    }
    wanted.extend(more);
    // Used when there is an incident: tests/hub/deliver.rs has one.
    assert!(wanted.remove(&("create".to_owned(), "events.k8s.io/events".to_owned())), "{wanted:?}");
    uses(&["--http-ingress", "--http-gateway"], wanted).await;
}

async fn uses(flags: &[&str], wanted: Rights) {
    let fake = FakeApi::start().await.unwrap();
    fake.load(&cluster());
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "agent-1", "namespace": "netcheck"},
                     "spec": {"nodeName": "n1", "hostNetwork": true, "containers": []},
                     "status": {"phase": "Running", "podIP": "10.0.0.1"}});
    fake.apply(pod);
    fake.token("secret", Token::of_pod("netcheck", "agent", "agent-1", Some("n1")));
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, fake.kubeconfig()).unwrap();
    let (hub, address, rest) = start(&kubeconfig, flags);
    admit(address).await;

    // What happens in the life of a hub: things change, watches end, a state is too old to go on from.
    let used = || -> Rights { fake.calls().into_keys().collect() };
    let waiting = async {
        while !wanted.is_subset(&used()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fake.edit(Resource::Nodes, "", "n2", |node| node["spec"] = json!({"unschedulable": true}));
        fake.compact();
        let lists = fake.called("list", "nodes");
        fake.faults(|faults| {
            faults.gone_at_start(Resource::Nodes, 1);
            faults.cut_watches(Resource::Nodes);
        });
        while fake.called("list", "nodes") == lists {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let done = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(done.is_ok(), "granted and never used: {:?}", wanted.difference(&used()));
    let excess: Vec<_> = used().difference(&wanted).cloned().collect();
    assert!(excess.is_empty(), "used and not granted: {excess:?}");
    drop(hub);
    assert!(rest.join().is_ok());
}

/// A hub that reads the cluster, its gRPC address, and the thread that reads its log to the end.
fn start(kubeconfig: &Path, flags: &[&str]) -> (Running, String, JoinHandle<usize>) {
    let mut hub = Command::new(env!("CARGO_BIN_EXE_netcheck-hub"))
        .args([
            "--insecure",
            "--grpc-addr",
            "127.0.0.1:0",
            "--http-addr",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ])
        .args(flags)
        .args(["--agent-service-account", "netcheck/agent", "--pods", "all", "--services", "all"])
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env_remove("NETCHECK_INVENTORY")
        .stderr(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    let log = BufReader::new(hub.0.stderr.take().unwrap());
    let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let listening = lines.find(|line| line["fields"]["message"] == "listening").unwrap();
    let address = format!("http://{}", listening["fields"]["grpc"].as_str().unwrap());
    // Nobody reads the rest; the pipe must not fill up.
    let rest = std::thread::spawn(move || lines.count());
    (hub, address, rest)
}

/// Has an agent connect that proves who it is, for as long as it takes until it is let in.
async fn admit(address: String) {
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let mut client = AgentServiceClient::new(channel);
    let hello = v1::Hello {
        node: "n1".to_owned(),
        boot_id: "boot".to_owned(),
        probe_session: 7,
        ..Default::default()
    };
    let admitted = async {
        loop {
            let (tx, rx) = tokio::sync::mpsc::channel(1);
            tx.send(v1::SessionRequest { message: Some(FromAgent::Hello(hello.clone())) }).await.unwrap();
            let mut request = Request::new(ReceiverStream::new(rx));
            request.metadata_mut().insert("authorization", "Bearer secret".parse().unwrap());
            let answered = async { client.session(request).await?.into_inner().message().await };
            match answered.await {
                Ok(welcome) => return welcome,
                // The hub has not read of its pod yet.
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let welcome = tokio::time::timeout(DEADLINE, admitted).await.unwrap();
    assert!(welcome.is_some(), "it is let in");
}
