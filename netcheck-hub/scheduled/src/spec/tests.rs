use std::time::Duration;

use kube_core::CustomResourceExt as _;
use serde_json::{Value, json};

use super::*;

/// Every object schema in it, by its path.
fn objects<'a>(path: &str, schema: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    found.push((path.to_owned(), schema));
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        objects(&format!("{path}.{name}"), property, found);
    }
    if let Some(items) = schema.get("items") {
        objects(&format!("{path}[]"), items, found);
    }
}

/// What Kubernetes asks of structural schemas: each node has a type, and none of those words that it refuses.
#[test]
fn the_schema_is_structural() {
    let crd = serde_json::to_value(ReachabilityCheck::crd()).unwrap();
    let version = &crd["spec"]["versions"][0];
    let mut found = Vec::new();
    objects("", &version["schema"]["openAPIV3Schema"], &mut found);
    assert!(found.len() > 40, "{}", found.len());
    for (path, schema) in found {
        assert!(schema.get("type").is_some_and(Value::is_string), "{path}: {schema}");
        for refused in ["$ref", "definitions", "$defs", "additionalItems", "patternProperties", "const"] {
            assert!(schema.get(refused).is_none(), "{path}: {refused}");
        }
    }
    assert_eq!(crd["spec"]["scope"], "Cluster");
    let columns: Vec<&str> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["FINISH", "EXPECTEDROUND", "DONEROUND", "LASTROUNDSTATUS", "SCHEDULE", "AGE"]);
    assert_eq!(version["subresources"]["status"], json!({}));
}

#[test]
fn an_empty_spec_is_one_round_over_everything() {
    let spec: ReachabilityCheckSpec = serde_json::from_value(json!({})).unwrap();
    assert_eq!((spec.samples, spec.history_limit, spec.suspend), (1, 10, false));
    assert_eq!(spec.targets, Targets::default());
    assert_eq!(spec.expect, Expect::default());
}

#[test]
fn durations_and_shares_are_read_as_people_write_them() {
    let spec: ReachabilityCheckSpec = serde_json::from_value(json!({
        "schedule": { "every": "1h 30m" }, "roundTimeout": "90s",
        "expect": { "successRate": "99.9%", "p99": "20ms" },
        "targets": { "serviceAddresses": ["clusterIp", "nodePort"], "probes": ["tcp"] },
    }))
    .unwrap();
    assert_eq!(spec.schedule.unwrap().every, Some(Span(Duration::from_secs(5400))));
    assert_eq!(spec.expect.success_rate.unwrap().to_string(), "99.9%");
    for wrong in [
        json!({ "roundTimeout": "0s" }),
        json!({ "roundTimeout": "soon" }),
        json!({ "expect": { "successRate": "101%" } }),
    ] {
        let error = serde_json::from_value::<ReachabilityCheckSpec>(wrong.clone()).unwrap_err();
        assert!(
            error.to_string().contains("duration") || error.to_string().contains("share"),
            "{wrong}: {error}"
        );
    }
}
