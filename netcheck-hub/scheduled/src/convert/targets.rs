//! Targets of kdoctor's tasks.

use serde_json::Value;

use super::{Request, TaskExpect};
use crate::spec::{
    DnsTarget, DnsTransport, Family, Header, HttpTarget, Method, RecordType, Secret, ServiceAddress,
    TargetKind, Targets,
};

/// What kdoctor asks for where a task says nothing.
const DOMAIN: &str = "kubernetes.default.svc.cluster.local";
/// Headers that agents write themselves.
const OWN_HEADERS: [&str; 6] = ["connection", "content-length", "host", "te", "transfer-encoding", "upgrade"];

/// Pods and services reach each other, at the addresses that the task selects. kdoctor's defaults: all but those that are
/// written `false`; Ingress, load balancer and Multus only where they are written `true`.
pub(super) fn net_reach(target: &Value, notes: &mut Vec<String>) -> Targets {
    let is = |field: &str, default: bool| target.get(field).and_then(Value::as_bool).unwrap_or(default);
    let mut kinds = Vec::new();
    let mut service_addresses = Vec::new();
    if is("endpoint", true) {
        kinds.push(TargetKind::Pod);
    }
    for (field, default, address) in [
        ("clusterIP", true, ServiceAddress::ClusterIp),
        ("nodePort", true, ServiceAddress::NodePort),
        ("loadBalancer", false, ServiceAddress::LoadBalancer),
    ] {
        if is(field, default) {
            service_addresses.push(address);
        }
    }
    if !service_addresses.is_empty() {
        kinds.push(TargetKind::Service);
    }
    if is("ingress", false) {
        kinds.push(TargetKind::Endpoint);
        notes.push(
            "target.ingress: set hub.http.ingress in the chart's values, so that Ingresses are probed"
                .to_owned(),
        );
    }
    if is("multusInterface", false) {
        notes.push(
            "target.multusInterface: pods' secondary networks are probed where pods have them; to check them alone, name \
             them in targets.names as @NETWORK"
                .to_owned(),
        );
    }
    if !is("enableLatencyMetric", true) {
        notes.push("target.enableLatencyMetric: latency is always measured".to_owned());
    }
    notes.push(
        "target: kdoctor probes its own agents and their service; this check probes the pods and services that the hub \
         selects (targets.pods, targets.services in its values)"
            .to_owned(),
    );
    Targets { kinds, service_addresses, families: families(target, "ipv4", "ipv6"), ..Targets::default() }
}

/// Both where neither is said to be left out.
fn families(target: &Value, v4: &str, v6: &str) -> Vec<Family> {
    let is = |field: &str, default: bool| target.get(field).and_then(Value::as_bool).unwrap_or(default);
    match (is(v4, true), is(v6, false)) {
        (true, true) | (false, false) => Vec::new(),
        (true, false) => vec![Family::Ipv4],
        (false, true) => vec![Family::Ipv6],
    }
}

/// kdoctor's methods, but CONNECT.
fn method(name: &str) -> Option<Method> {
    use Method::{Delete, Get, Head, Options, Patch, Post, Put};
    [Delete, Get, Head, Options, Patch, Post, Put].into_iter().find(|method| method.name() == name)
}

pub(super) fn app_http(target: &Value, expect: Option<&TaskExpect>, notes: &mut Vec<String>) -> Targets {
    let text = |field: &str| target.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(url) = text("host") else {
        notes.push("target.host: is missing: put the URL into spec.targets.http".to_owned());
        return Targets { kinds: vec![TargetKind::Endpoint], ..Targets::default() };
    };
    let mut http = HttpTarget { url: url.to_owned(), ..HttpTarget::default() };
    if let Some(name) = text("method") {
        match method(name) {
            Some(method) => http.method = method,
            None => notes.push(format!("target.method: {name} has no counterpart: this check sends GET")),
        }
    }
    for line in target.get("header").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let (name, value) = (name.trim(), value.trim());
        if OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            notes.push(format!("target.header: {name} is written by netcheck's agents, as the URL says"));
        } else {
            let value = Some(Secret(value.to_owned()));
            http.headers.push(Header { name: name.to_owned(), value, value_from: None });
        }
    }
    // kdoctor expects this one where a task says nothing.
    let status = expect.and_then(|expect| expect.status_code).unwrap_or(200);
    http.expected_statuses = Some(status.to_string());
    if let Some(body) = text("bodyConfigmapName") {
        notes.push(format!(
            "target.bodyConfigmapName: put the text of ConfigMap {body} into spec.targets.http[0].body, or into a Secret that \
             bodyFrom names (4 KiB at most)"
        ));
    }
    if text("tlsSecretName").is_some() {
        notes.push(
            "target.tlsSecretName: client certificates have no counterpart; for an authority of your own set hub.http.ca in \
             the chart's values, and spec.targets.http[0].verify"
                .to_owned(),
        );
    }
    if target.get("http2").and_then(Value::as_bool) == Some(true) {
        notes.push("target.http2: netcheck's agents speak HTTP/1.1".to_owned());
    }
    notes.push(
        "target.host: an address that no object of the cluster has must be in agent.allowCidrs of the chart's values".to_owned(),
    );
    Targets { http: vec![http], ..Targets::default() }
}

pub(super) fn net_dns(target: &Value, request: Option<&Request>, notes: &mut Vec<String>) -> Targets {
    let user = target.get("netDnsTargetUser").filter(|user| !user.is_null());
    let cluster = target.get("netDnsTargetDns").filter(|dns| !dns.is_null());
    let server = user.and_then(|user| {
        let server = user.get("server").and_then(Value::as_str)?;
        let port = user.get("port").and_then(Value::as_u64).filter(|&port| port > 0);
        Some(match port {
            Some(port) if server.contains(':') => format!("[{server}]:{port}"),
            Some(port) => format!("{server}:{port}"),
            None => server.to_owned(),
        })
    });
    if server.is_some() {
        notes.push(
            "target.netDnsTargetUser.server: where no object of the cluster has the address, it must be in agent.allowCidrs of \
             the chart's values"
                .to_owned(),
        );
    }
    if let Some(service) = cluster.and_then(|dns| dns.get("serviceName")).and_then(Value::as_str) {
        notes.push(format!(
            "target.netDnsTargetDns.serviceName: the cluster's DNS servers are asked; put the address of {service} into \
             spec.targets.dns[0].servers if it is another one"
        ));
    }
    let transport = match target.get("protocol").and_then(Value::as_str) {
        Some("tcp") => DnsTransport::Tcp,
        Some("tcp-tls") => DnsTransport::Tls,
        _ => DnsTransport::Udp,
    };
    let families = cluster.map(|dns| families(dns, "testIPv4", "testIPv6")).unwrap_or_default();
    let types = match families[..] {
        [Family::Ipv6] => vec![RecordType::Aaaa],
        [Family::Ipv4] => vec![RecordType::A],
        _ if cluster.is_some() => vec![RecordType::A, RecordType::Aaaa],
        _ => vec![RecordType::A],
    };
    let domain = request.and_then(|request| request.domain.as_deref()).filter(|domain| !domain.is_empty());
    let dns = DnsTarget {
        names: vec![domain.unwrap_or(DOMAIN).to_owned()],
        types,
        servers: server.into_iter().collect(),
        transports: vec![transport],
    };
    Targets { dns: vec![dns], families, ..Targets::default() }
}
