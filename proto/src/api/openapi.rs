//! The document of the HTTP side, OpenAPI 3.1: its paths are the table of operations, its schemas those of proto3's JSON
//! mapping, its words the comments of the contract.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{OPERATIONS, Operation, Parameter, k8snet, words};

/// What an answer may be beside 200, and what that means.
const REFUSALS: [(&str, &str); 5] = [
    ("400", "a parameter makes no sense, or selects too much"),
    ("404", "there is no such path"),
    ("409", "this hub keeps no history"),
    ("500", "the hub failed"),
    ("503", "not now, or too many ask at the same time"),
];

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut schemas = BTreeMap::new();
    let mut paths = Map::new();
    for operation in &OPERATIONS {
        let method = if operation.acts() { "post" } else { "get" };
        paths.insert(operation.path.to_owned(), json!({method: described(operation, &mut schemas)}));
    }
    paths.extend(k8snet::paths());
    schemas.extend(k8snet::schemas());
    schemas.insert(
        "Error".to_owned(),
        json!({
            "type": "object",
            "description": "Why there is no answer.",
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            "required": ["code", "message"],
            "additionalProperties": false,
        }),
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "netcheck hub",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What can be read of the hub, as JSON by proto3's mapping: values that are zero, false or \
                empty are left out, and 64-bit numbers are strings.",
        },
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn described(operation: &Operation, schemas: &mut BTreeMap<String, Value>) -> Value {
    let call = operation.descriptor();
    let answer = reference(&operation.output(), schemas);
    let answer = if operation.watches() {
        // One message of that schema in the data of each event.
        json!({"text/event-stream": {"schema": {"type": "string"}, "x-event-data": answer}})
    } else {
        json!({"application/json": {"schema": answer}})
    };
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({"description": "the answer", "content": answer}));
    for (status, why) in REFUSALS {
        let mut content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
        if status == "503" {
            // So is it where too many ask.
            content["text/plain"] = json!({"schema": {"type": "string"}});
        }
        responses.insert(status.to_owned(), json!({"description": why, "content": content}));
    }
    responses.extend(not_admitted());
    let parameters: Vec<Value> = operation.parameters().iter().map(parameter).collect();
    json!({
        "operationId": operation.call,
        "summary": comment(&call.parent_file(), call.path()),
        "parameters": parameters,
        "responses": responses,
    })
}

/// What those are answered who may not read.
pub(super) fn not_admitted() -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, why) in
        [("401", "the token is missing or wrong"), ("403", "readers show certificates, by gRPC")]
    {
        let content = json!({"text/plain": {"schema": {"type": "string"}}});
        responses.insert(status.to_owned(), json!({"description": why, "content": content}));
    }
    responses
}

fn parameter(of: &Parameter) -> Value {
    let one = match of.field.kind() {
        Kind::Enum(values) => {
            let words: Vec<String> = words(&values).into_iter().map(|(word, _)| word).collect();
            json!({"type": "string", "enum": words})
        }
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Uint32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        Kind::Uint64 => json!({"type": "integer", "minimum": 0}),
        Kind::Message(message) if message.full_name() == "google.protobuf.Duration" => {
            json!({"type": "string", "pattern": "^[1-9][0-9]{0,3}(ms|s|m)$", "examples": ["30s"]})
        }
        Kind::Message(_) => json!({
            "type": "string",
            "description": "how long ago, a time of day in UTC, or RFC 3339",
            "pattern": "^(0|[1-9][0-9]{0,2}[smh]|[01][0-9]:[0-5][0-9]|20[0-9]{2}-(0[1-9]|1[0-2])-[012][0-9]T[01][0-9]:[0-5][0-9]:[0-5][0-9]Z)$",
            "examples": ["2h", "03:05", "2026-11-29T03:05:00Z"],
        }),
        _ if of.field.is_list() => json!({"type": "string"}),
        _ => json!({"type": "string", "minLength": 1}),
    };
    let schema = if of.field.is_list() { json!({"type": "array", "items": one}) } else { one };
    json!({
        "name": of.name,
        "in": "query",
        "required": of.required,
        "style": "form",
        "explode": false,
        "description": comment(&of.field.parent_file(), of.field.path()),
        "schema": schema,
    })
}

/// A message's schema, and those of all that it holds.
fn reference(message: &MessageDescriptor, schemas: &mut BTreeMap<String, Value>) -> Value {
    match message.full_name() {
        "google.protobuf.Timestamp" => return json!({"type": "string", "format": "date-time"}),
        "google.protobuf.Duration" => {
            return json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?s$"});
        }
        _ => {}
    }
    let name = message.name().to_owned();
    if !schemas.contains_key(&name) {
        // Messages may hold themselves.
        schemas.insert(name.clone(), Value::Null);
        let mut properties = Map::new();
        for field in message.fields() {
            properties.insert(field.json_name().to_owned(), property(&field, schemas));
        }
        let schema = json!({
            "type": "object",
            "description": comment(&message.parent_file(), message.path()),
            "properties": properties,
            "additionalProperties": false,
        });
        schemas.insert(name.clone(), schema);
    }
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn property(field: &FieldDescriptor, schemas: &mut BTreeMap<String, Value>) -> Value {
    let one = match field.kind() {
        Kind::Message(message) => reference(&message, schemas),
        Kind::Enum(values) => enumeration(&values, schemas),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Double | Kind::Float => json!({"type": "number"}),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "string", "pattern": "^-?[0-9]+$"}),
        Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "pattern": "^[0-9]+$"}),
        Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer"}),
    };
    let mut schema = if field.is_list() { json!({"type": "array", "items": one}) } else { one };
    let words = comment(&field.parent_file(), field.path());
    if let Some(schema) = schema.as_object_mut().filter(|_| !words.is_empty()) {
        schema.insert("description".to_owned(), Value::String(words));
    }
    schema
}

fn enumeration(values: &EnumDescriptor, schemas: &mut BTreeMap<String, Value>) -> Value {
    let name = values.name().to_owned();
    schemas.entry(name.clone()).or_insert_with(|| {
        let names: Vec<String> = values.values().map(|value| value.name().to_owned()).collect();
        let words = comment(&values.parent_file(), values.path());
        json!({"type": "string", "description": words, "enum": names})
    });
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// What the contract says before it.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let locations = file.file_descriptor_proto().source_code_info.iter().flat_map(|info| &info.location);
    let found = locations
        .filter(|location| location.path == path)
        .find_map(|location| location.leading_comments.clone());
    let lines = found.unwrap_or_default();
    lines.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_holds_together_and_has_the_contracts_words() {
        let document = document();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas.get(name).is_some_and(Value::is_object), "{name}");
        }
        let matrix = &document["paths"]["/api/v1/matrix"]["get"];
        assert_eq!(matrix["operationId"], "GetMatrix");
        let kind = matrix["parameters"].as_array().unwrap().iter().find(|one| one["name"] == "kind").unwrap();
        assert_eq!(kind["schema"]["items"]["enum"], json!(["icmp", "udp", "tcp", "dns", "http"]));
        let cell = &schemas["MatrixCell"];
        assert_eq!(cell["properties"]["since"]["description"], "Since when the verdict stands.");
        assert_eq!(cell["properties"]["path"]["$ref"], "#/components/schemas/Path");
        assert_eq!(schemas["PathStats"]["properties"]["sent"]["pattern"], "^[0-9]+$");
        assert!(schemas.len() > 40, "{}", schemas.len());
        let check = &document["paths"]["/api/v1/check"];
        assert_eq!(check["get"], Value::Null, "it makes agents probe");
        let answer = &check["post"]["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(answer["$ref"], "#/components/schemas/CheckResult");
        let names: Vec<&str> = check["post"]["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|one| one["name"].as_str())
            .collect();
        for name in ["source", "kind", "rounds", "deadline", "take_turns", "all_cells"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        let pods = &document["paths"]["/api/v1/test-results/pods"]["get"]["responses"]["200"];
        assert_eq!(pods["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/K8snetTests");
    }
}
