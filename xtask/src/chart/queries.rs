//! Alerts and dashboards ask for nothing that isn't there: their queries parse, and every series in them is one that hub
//! or agent exports.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{cases::Case, chart_dir, objects::list};
use crate::tools::{command, output, root};

/// The sources that name the metrics, and what is put before each name.
const SOURCES: &[(&str, &str)] = &[
    ("netcheck_", "netcheck-hub/src/metrics/agents.rs"),
    ("netcheck_", "netcheck-hub/src/metrics/collect.rs"),
    ("netcheck_", "netcheck-hub/src/metrics/hub.rs"),
    ("netcheck_", "netcheck-hub/src/metrics/measured.rs"),
    ("netcheck_", "netcheck-hub/src/metrics/paths.rs"),
    ("netcheck_agent_", "netcheck-agent/src/admin/metrics.rs"),
];
/// What OpenMetrics and units put behind.
const ENDINGS: &[&str] =
    &["", "_total", "_info", "_seconds", "_bytes", "_seconds_total", "_bucket", "_sum", "_count"];

/// What is wrong with the queries of the chart.
pub(super) fn check(cases: &[Case]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut groups = rule_groups(cases);
    if groups.is_empty() {
        wrong.push("no case has a PrometheusRule".to_owned());
    }
    let queries = dashboard_queries()?;
    let as_rules = queries.iter().map(|(_, query)| json!({"record": "dashboard", "expr": query}));
    groups.push(json!({"name": "dashboards", "rules": as_rules.collect::<Vec<_>>()}));
    let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    fs::write(file.path(), json!({"groups": groups}).to_string())?;
    // Several panels may ask the same.
    if let Err(error) = output(command("promtool").args(["check", "rules", "--lint=none"]).arg(file.path())) {
        wrong.push(format!("{error:#}"));
    }

    let known = exported()?;
    let alerts = groups
        .iter()
        .flat_map(|group| list(&group["rules"]))
        .filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule["expr"].as_str()?.to_owned())));
    for (place, query) in alerts.chain(queries) {
        for series in series(&query).filter(|series| !known.contains(*series)) {
            wrong.push(format!("{place}: nobody exports {series}"));
        }
    }
    Ok(wrong)
}

fn rule_groups(cases: &[Case]) -> Vec<Value> {
    let rules =
        cases.iter().flat_map(|case| &case.objects).filter(|object| object["kind"] == "PrometheusRule");
    rules.flat_map(|rule| list(&rule["spec"]["groups"]).to_vec()).collect()
}

/// The chart's own alerts.
///
/// # Errors
/// If they can't be read.
pub fn alerts() -> Result<Vec<Value>> {
    let text = fs::read_to_string(chart_dir().join("alerts.yaml")).context("alerts.yaml")?;
    let read: Value = serde_saphyr::from_str(&text)?;
    Ok(list(&read["alerts"]).to_vec())
}

/// The queries of all dashboards with where they are. Grafana's own variables get a value.
///
/// # Errors
/// If a dashboard can't be read, or a panel asks for nothing.
pub fn dashboard_queries() -> Result<Vec<(String, String)>> {
    let mut queries = Vec::new();
    for entry in fs::read_dir(chart_dir().join("dashboards"))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let board: Value = serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
        for panel in list(&board["panels"]) {
            let place = format!("{}: {}", board["title"].as_str().unwrap_or_default(), panel["title"]);
            for target in list(&panel["targets"]) {
                let query = target["expr"].as_str().with_context(|| format!("{place} asks for nothing"))?;
                queries.push((place.clone(), query.replace("$node", "n1")));
            }
        }
    }
    Ok(queries)
}

/// The names in a query that look like ours.
fn series(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("netcheck_"))
}

/// All names that the daemons' sources could give a series. More than they do, for every literal counts; enough to
/// catch one that was renamed.
fn exported() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (prefix, file) in SOURCES {
        let source = fs::read_to_string(root().join(file)).with_context(|| format!("can't read {file}"))?;
        let literals = source.split('"').skip(1).step_by(2);
        let is_name = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        for literal in literals.filter(|text| is_name(text)) {
            names.extend(ENDINGS.iter().map(|ending| format!("{prefix}{literal}{ending}")));
            // A registry within the registry.
            names.extend(ENDINGS.iter().map(|ending| format!("{prefix}process_{literal}{ending}")));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::{exported, series};

    #[test]
    fn names_are_found_in_queries() {
        let query =
            "sum by (node) (rate(netcheck_node_kernel_drops_total{node=~\"n\"}[5m])) / netcheck_paths";
        assert_eq!(series(query).collect::<Vec<_>>(), ["netcheck_node_kernel_drops_total", "netcheck_paths"]);
    }

    #[test]
    fn what_is_exported_is_known_and_nothing_else() {
        let known = exported().unwrap();
        assert!(known.contains("netcheck_paths") && known.contains("netcheck_agent_hub_connected"));
        assert!(!known.contains("netcheck_no_such"));
    }
}
