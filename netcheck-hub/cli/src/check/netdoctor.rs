//! NetDoctor's `config.json`, and what of it netcheck has. Pure.

use serde::Deserialize;

use super::config::{Check, Config};

/// The file, as NetDoctor's `init` writes it (kosmos-io/netdoctor, `DoOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    namespace: String,
    version: String,
    mode: String,
    protocol: String,
    pod_wait_time: Option<i64>,
    port: String,
    customized_target_port_list: Vec<String>,
    #[serde(rename = "customizedTargetIPList")]
    customized_target_ip_list: Vec<String>,
    #[serde(rename = "targetDNSServer")]
    target_dns_server: String,
    target_host_to_lookup: String,
    max_num: Option<i64>,
    cmd_timeout: Option<i64>,
    auto_clean: bool,
    src_kube_config: String,
    src_image_repository: String,
    dst_kube_config: String,
    dst_image_repository: String,
}

/// Reads it.
///
/// # Errors
/// Text that NetDoctor does not write.
pub(super) fn parse(text: &str) -> Result<Config, serde_json::Error> {
    let file: File = serde_json::from_str(text)?;
    let mut notes = Vec::new();
    let kinds = match file.protocol.to_ascii_lowercase().as_str() {
        "" => Vec::new(),
        known @ ("tcp" | "udp" | "icmp" | "dns" | "http") => vec![known.to_owned()],
        other => {
            notes.push(format!("protocol {other:?} is no kind of probe here: all kinds are probed"));
            Vec::new()
        }
    };
    let vantages = match file.mode.as_str() {
        "node" | "node-to-pod" => vec!["host".to_owned()],
        "pod" | "pod-to-node" => vec!["pod".to_owned()],
        _ => Vec::new(),
    };
    if !file.mode.is_empty() {
        notes.push(format!("mode {:?} says from where; name what to probe with targets", file.mode));
    }
    let ports = &file.customized_target_port_list;
    let targets: Vec<String> = file
        .customized_target_ip_list
        .iter()
        .flat_map(|address| {
            let end = |port: &String| match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            };
            if ports.is_empty() { vec![address.clone()] } else { ports.iter().map(end).collect() }
        })
        .collect();
    if !targets.is_empty() {
        notes.push(
            "customizedTargetIPList: only addresses of the cluster's own objects are probed".to_owned(),
        );
    }
    let kubeconfigs = [("srcKubeConfig", &file.src_kube_config), ("dstKubeConfig", &file.dst_kube_config)];
    for (name, value) in kubeconfigs.into_iter().filter(|(_, value)| !value.is_empty()) {
        notes.push(format!("{name} {value:?}: the hub is reached by --hub; each cluster has its own"));
    }
    let texts = [
        ("namespace", &file.namespace, "the chart's release has its own"),
        ("version", &file.version, "netcheck's images have their own versions"),
        ("port", &file.port, "probes go to the responders' port, agent.port of the chart"),
        ("srcImageRepository", &file.src_image_repository, "image.repository of the chart"),
        ("dstImageRepository", &file.dst_image_repository, "image.repository of the chart"),
        ("targetDNSServer", &file.target_dns_server, "the cluster's DNS servers are found by the hub"),
        ("targetHostToLookup", &file.target_host_to_lookup, "the hub's --dns-names says what is looked up"),
    ];
    for (name, value, why) in texts.into_iter().filter(|(_, value, _)| !value.is_empty()) {
        notes.push(format!("{name} {value:?} has no counterpart in this file: {why}"));
    }
    let numbers = [
        ("podWaitTime", file.pod_wait_time, "agents are there already"),
        ("maxNum", file.max_num, "agents probe within their own budget"),
        ("cmdTimeout", file.cmd_timeout, "the hub's --timeout is that of one probe"),
    ];
    for (name, value, why) in numbers.into_iter().filter_map(|(name, value, why)| Some((name, value?, why))) {
        notes.push(format!("{name} {value} has no counterpart in this file: {why}"));
    }
    if file.auto_clean {
        notes.push("autoClean has no counterpart in this file: a check leaves nothing behind".to_owned());
    }
    Ok(Config {
        version: 1,
        check: Check { targets, kinds, vantages, ..Check::default() },
        notes,
        ..Config::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_fields_are_mapped_and_what_is_not_is_reported() {
        let text = r#"{
            "namespace": "kosmos-system", "version": "0.2.1", "protocol": "tcp", "podWaitTime": 30, "port": "8889",
            "maxNum": 3, "cmdTimeout": 10, "mode": "pod", "srcKubeConfig": "~/.kube/config",
            "srcImageRepository": "ghcr.io/kosmos-io", "customizedTargetIPList": ["10.0.0.1", "fd00::1"],
            "customizedTargetPortList": ["80"]
        }"#;
        let config = parse(text).unwrap();
        assert_eq!(config.check.kinds, ["tcp"]);
        assert_eq!(config.check.vantages, ["pod"]);
        assert_eq!(config.check.targets, ["10.0.0.1:80", "[fd00::1]:80"]);
        for name in
            ["namespace", "version", "podWaitTime", "maxNum", "cmdTimeout", "srcKubeConfig", "port", "mode"]
        {
            assert!(config.notes.iter().any(|note| note.starts_with(name)), "{name}: {:?}", config.notes);
        }
        assert!(parse("{}").unwrap().notes.is_empty());
        assert!(parse(r#"{"pods": 3}"#).is_err());
    }
}
