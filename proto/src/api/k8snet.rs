//! The paths of k8snet-checker's users in the document: their shapes are that program's, not the contract's.

use serde_json::{Map, Value, json};

use super::openapi::not_admitted;

/// Where, what it is called, what it says, and the schema of its answer.
const PATHS: [(&str, &str, &str, &str); 8] = [
    ("/api/v1/health", "K8snetHealth", "Whether the hub answers. For everybody.", "K8snetHealth"),
    ("/api/v1/hosts", "K8snetHosts", "An address of every node.", "K8snetHosts"),
    ("/api/v1/pods", "K8snetPods", "An address of every pod that is probed.", "K8snetPods"),
    (
        "/api/v1/test-results/hosts",
        "K8snetHostResults",
        "Ping and TCP between nodes, by source, then by target.",
        "K8snetTests",
    ),
    (
        "/api/v1/test-results/pods",
        "K8snetPodResults",
        "The same to pods, from pods where any probe.",
        "K8snetTests",
    ),
    ("/api/v1/test-results/service", "K8snetServiceResults", "One service, by source.", "K8snetServiceTests"),
    ("/api/v1/clients/count", "K8snetClients", "Agents that are connected.", "K8snetClients"),
    ("/api/v1/results", "K8snetResults", "All of these.", "K8snetResults"),
];

/// Their places in the document.
pub(super) fn paths() -> Map<String, Value> {
    let path = |&(path, id, words, schema): &(&str, &str, &str, &str)| {
        let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
        let answer =
            json!({"description": "the answer", "content": {"application/json": {"schema": schema}}});
        let mut responses = Map::from_iter([("200".to_owned(), answer)]);
        let mut described = json!({"operationId": id, "summary": words, "parameters": []});
        if id == "K8snetHealth" {
            described["security"] = json!([]);
        } else {
            responses.extend(not_admitted());
            let content = json!({"text/plain": {"schema": {"type": "string"}}});
            let busy = json!({"description": "too many ask at the same time", "content": content});
            responses.insert("503".to_owned(), busy);
        }
        described["responses"] = Value::Object(responses);
        (path.to_owned(), json!({"get": described}))
    };
    PATHS.iter().map(path).collect()
}

/// An object of which nothing is missing and nothing is more.
fn object(words: &str, properties: &Value) -> Value {
    let names: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({
        "type": "object",
        "description": words,
        "properties": properties,
        "required": names,
        "additionalProperties": false,
    })
}

/// By address.
fn by_address(of: &Value) -> Value {
    json!({"type": "object", "additionalProperties": of})
}

fn named(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn addresses() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn seconds() -> Value {
    json!({"type": "string", "pattern": "^[0-9]+\\.[0-9]{6}s$"})
}

fn rate() -> Value {
    json!({"type": "number", "minimum": 0, "maximum": 100})
}

fn instant() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// By source, then by target.
fn tests() -> Value {
    by_address(&by_address(&named("K8snetTest")))
}

/// By source.
fn service_tests() -> Value {
    by_address(&named("K8snetServiceTest"))
}

/// The schemas of their answers.
pub(super) fn schemas() -> Vec<(String, Value)> {
    let all = lists().into_iter().chain(single_tests()).chain(summaries());
    all.map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// Answers that list things.
fn lists() -> [(&'static str, Value); 7] {
    [
        ("K8snetHealth", object("", &json!({"status": {"type": "string", "enum": ["healthy"]}}))),
        ("K8snetHosts", object("", &json!({"count": count(), "host_ips": addresses()}))),
        ("K8snetPods", object("", &json!({"count": count(), "pod_ips": addresses()}))),
        ("K8snetClients", object("", &json!({"active_client_count": count()}))),
        ("K8snetTests", object("", &json!({"results": tests()}))),
        ("K8snetServiceTests", object("", &json!({"results": service_tests()}))),
        (
            "K8snetResults",
            object(
                "",
                &json!({
                    "timestamp": instant(),
                    "active_client_count": count(),
                    "host_ips": addresses(),
                    "pod_ips": addresses(),
                    "host_test_summary": named("K8snetSummary"),
                    "pod_test_summary": named("K8snetSummary"),
                    "service_test_summary": named("K8snetServiceSummary"),
                    "host_test_results": tests(),
                    "pod_test_results": tests(),
                    "service_test_results": service_tests(),
                }),
            ),
        ),
    ]
}

/// What one address found of another one, or of the service.
fn single_tests() -> [(&'static str, Value); 2] {
    let reached = || json!({"type": "string", "enum": ["reachable", "unreachable"]});
    [
        (
            "K8snetTest",
            object(
                "What one address found of another.",
                &json!({
                    "ping": reached(),
                    "port_status": {"type": "string", "enum": ["open", "closed", "unknown"]},
                    "test_duration": seconds(),
                }),
            ),
        ),
        (
            "K8snetServiceTest",
            object(
                "What one address found of the service. Durations are nanoseconds.",
                &json!({
                    "source_ip": {"type": "string"},
                    "target_ip": {"type": "string"},
                    "ping_status": reached(),
                    "port_status": by_address(&json!({"type": "string", "enum": ["open", "closed"]})),
                    "latency": count(),
                    "test_duration": count(),
                    "timestamp": instant(),
                }),
            ),
        ),
    ]
}

/// Tests in numbers.
fn summaries() -> [(&'static str, Value); 2] {
    [
        (
            "K8snetSummary",
            object(
                "Tests in sum.",
                &json!({
                    "total_tests": count(),
                    "successful_tests": count(),
                    "failed_tests": count(),
                    "success_rate": rate(),
                    "avg_test_duration": seconds(),
                    "total_test_duration": seconds(),
                }),
            ),
        ),
        (
            "K8snetServiceSummary",
            object(
                "Tests of the service in sum.",
                &json!({
                    "service_name": {"type": "string"},
                    "total_tests": count(),
                    "successful_tests": count(),
                    "failed_tests": count(),
                    "success_rate": rate(),
                }),
            ),
        ),
    ]
}
