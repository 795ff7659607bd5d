//! The calls by HTTP: which path is which call, with which parameters ([`request`]), and the document that says so
//! ([`openapi`]). All of it follows from the descriptors of the messages.

use std::sync::LazyLock;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

mod k8snet;
pub mod openapi;
pub mod request;

/// The service of the read side.
const SERVICE: &str = "netcheck.v1.ReachabilityService";
/// That of checks.
const CHECKS: &str = "netcheck.v1.CheckService";
/// The one message of requests whose fields are parameters themselves.
const SELECTOR: &str = "netcheck.v1.PathSelector";

/// One call by HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Where it is asked.
    pub path: &'static str,
    /// The call's name.
    pub call: &'static str,
    service: &'static str,
    /// The message of the answer; none: that of the call.
    answer: Option<&'static str>,
    /// Fields of the request that are no parameters, for others say the same.
    left_out: &'static [&'static str],
    /// Parameters that must be given.
    required: &'static [&'static str],
}

const fn operation(path: &'static str, call: &'static str) -> Operation {
    Operation { path, call, service: SERVICE, answer: None, left_out: &[], required: &[] }
}

/// All calls of the read side, and those of checks.
pub const OPERATIONS: [Operation; 13] = [
    operation("/api/v1/version", "GetVersion"),
    operation("/api/v1/nodes", "ListNodes"),
    operation("/api/v1/targets", "ListTargets"),
    operation("/api/v1/matrix", "GetMatrix"),
    operation("/api/v1/matrix/watch", "WatchMatrix"),
    Operation {
        left_out: &["sources", "targets"],
        required: &["source", "target"],
        ..operation("/api/v1/path", "GetPath")
    },
    operation("/api/v1/report", "GetReport"),
    operation("/api/v1/incidents", "ListIncidents"),
    operation("/api/v1/incidents/watch", "WatchIncidents"),
    // One node or several are asked for by the same parameter.
    Operation { left_out: &["source", "target"], ..operation("/api/v1/history", "GetPathHistory") },
    operation("/api/v1/events", "ListEvents"),
    Operation { service: CHECKS, ..operation("/api/v1/checks", "ListScheduledChecks") },
    // Its progress is for those who ask by gRPC; here there is the result.
    Operation {
        service: CHECKS,
        answer: Some("netcheck.v1.CheckResult"),
        left_out: &["stream_cells"],
        ..operation("/api/v1/check", "RunCheck")
    },
];

/// One parameter of a query.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// As it is asked for.
    pub name: String,
    /// The field that it sets.
    pub field: FieldDescriptor,
    /// The field of the request that this field is in; none: it is the request's own.
    pub within: Option<FieldDescriptor>,
    /// Whether it must be given.
    pub required: bool,
}

/// Parameters are called as the command line calls them.
fn parameter_name(field: &str) -> String {
    match field {
        "include_closed" => "closed",
        "sources" => "source",
        "targets" => "target",
        "kinds" => "kind",
        "families" => "family",
        "vantages" => "vantage",
        "verdicts" => "verdict",
        other => other,
    }
    .to_owned()
}

impl Operation {
    /// The call itself.
    #[must_use]
    pub fn descriptor(&self) -> MethodDescriptor {
        let service =
            crate::json::pool().get_service_by_name(self.service).expect("the contract has this service");
        let mut calls = service.methods();
        calls.find(|call| call.name() == self.call).expect("the table names calls of the service")
    }

    /// Whether its answer goes on.
    #[must_use]
    pub fn watches(&self) -> bool {
        self.answer.is_none() && self.descriptor().is_server_streaming()
    }

    /// Whether it is of the service of checks.
    #[must_use]
    pub fn is_of_checks(&self) -> bool {
        self.service == CHECKS
    }

    /// Whether it has something done, so that it is asked by POST.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.answer.is_some()
    }

    /// The message of the answer.
    #[must_use]
    pub fn output(&self) -> MessageDescriptor {
        let named = self.answer.and_then(|name| crate::json::pool().get_message_by_name(name));
        named.unwrap_or_else(|| self.descriptor().output())
    }

    /// What can be said in a query.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        for field in self.descriptor().input().fields() {
            match message_of(&field) {
                Some(message) if message.full_name() == SELECTOR => {
                    let inner = message.fields().collect::<Vec<_>>().into_iter();
                    parameters.extend(inner.filter_map(|inner| self.parameter(inner, Some(field.clone()))));
                }
                _ => parameters.extend(self.parameter(field, None)),
            }
        }
        parameters
    }

    fn parameter(&self, field: FieldDescriptor, within: Option<FieldDescriptor>) -> Option<Parameter> {
        if self.left_out.contains(&field.name()) || !is_said(&field) {
            return None;
        }
        let name = parameter_name(field.name());
        let required = self.required.contains(&name.as_str());
        Some(Parameter { name, field, within, required })
    }
}

/// Whether a field can be said in a query: messages can't, but for times.
fn is_said(field: &FieldDescriptor) -> bool {
    let times = ["google.protobuf.Duration", "google.protobuf.Timestamp"];
    message_of(field).is_none_or(|message| !field.is_list() && times.contains(&message.full_name()))
}

/// The message that a field holds, if it does.
fn message_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) => Some(message),
        _ => None,
    }
}

/// An enum's values by the words that parameters have for them: `udp`, not `PROBE_KIND_UDP`. What is unspecified has none.
fn words(of: &prost_reflect::EnumDescriptor) -> Vec<(String, i32)> {
    let mut prefix = String::new();
    for letter in of.name().chars() {
        if letter.is_ascii_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(letter.to_ascii_uppercase());
    }
    prefix.push('_');
    let values = of.values().filter(|value| value.number() != 0);
    values.map(|value| (value.name().trim_start_matches(&prefix).to_lowercase(), value.number())).collect()
}

/// The whole document, made once.
pub static DOCUMENT: LazyLock<serde_json::Value> = LazyLock::new(openapi::document);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_read_call_has_a_path_of_its_own() {
        let service = crate::json::pool().get_service_by_name(SERVICE).unwrap();
        let calls: BTreeSet<String> = service.methods().map(|call| call.name().to_owned()).collect();
        let read = OPERATIONS.iter().filter(|one| one.service == SERVICE);
        let named: BTreeSet<String> = read.map(|one| one.call.to_owned()).collect();
        assert_eq!(named, calls);
        let paths: BTreeSet<&str> = OPERATIONS.iter().map(|one| one.path).collect();
        assert_eq!(paths.len(), OPERATIONS.len());
        for one in OPERATIONS {
            let names: Vec<String> = one.parameters().into_iter().map(|parameter| parameter.name).collect();
            let unique: BTreeSet<&String> = names.iter().collect();
            assert_eq!(unique.len(), names.len(), "{}: {names:?}", one.path);
        }
    }

    #[test]
    fn parameters_are_those_of_the_command_line() {
        let names = |path: &str| {
            let one = OPERATIONS.iter().find(|one| one.path == path).unwrap();
            one.parameters().into_iter().map(|parameter| parameter.name).collect::<Vec<_>>()
        };
        let matrix = names("/api/v1/matrix");
        for name in ["source", "target", "kind", "family", "vantage", "verdict", "range", "at", "from", "to"]
        {
            assert!(matrix.iter().any(|have| have == name), "{name}: {matrix:?}");
        }
        assert!(names("/api/v1/incidents").contains(&"closed".to_owned()));
        assert!(names("/api/v1/nodes").is_empty());
    }
}
