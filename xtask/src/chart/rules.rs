//! What each alert does, held against promtool: when it fires, when not, and that it ends.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::objects::list;
use crate::tools::{command, output, root};

/// The tests, in promtool's own form but for the rules.
const TESTS: &str = "deploy/tests/alerts.yaml";

/// What is wrong with the alerts of the chart's own rules, or with their tests.
pub(super) fn check() -> Result<Vec<String>> {
    let mut rules = super::queries::alerts()?;
    let text = fs::read_to_string(root().join(TESTS)).context(TESTS)?;
    let names: Vec<String> =
        rules.iter().filter_map(|rule| rule["alert"].as_str().map(str::to_owned)).collect();
    let mut wrong = untested(&serde_saphyr::from_str(&text)?, &names);
    // promtool would compare every word of an annotation.
    for rule in &mut rules {
        rule.as_object_mut().context("an alert is no object")?.remove("annotations");
    }
    let dir = tempfile::tempdir()?;
    let groups = json!({"groups": [{"name": "netcheck", "rules": rules}]});
    fs::write(dir.path().join("rules.yaml"), groups.to_string())?;
    fs::write(dir.path().join("tests.yaml"), format!("rule_files: [rules.yaml]\n{text}"))?;
    if let Err(error) = output(command("promtool").args(["test", "rules"]).arg(dir.path().join("tests.yaml")))
    {
        wrong.push(format!("{error:#}"));
    }
    Ok(wrong)
}

/// Alerts of which the tests do not show, in this order: that it does not fire, that it does, and that it ends.
fn untested(tests: &Value, names: &[String]) -> Vec<String> {
    let mut shown: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for test in list(&tests["tests"]) {
        for at in list(&test["alert_rule_test"]) {
            let fires = !list(&at["exp_alerts"]).is_empty();
            shown.entry(at["alertname"].as_str().unwrap_or_default()).or_default().push(fires);
        }
    }
    let complete = |name: &String| {
        shown
            .get(name.as_str())
            .is_some_and(|moments| moments.windows(3).any(|three| three == [false, true, false]))
    };
    let missing = names.iter().filter(|name| !complete(name));
    missing.map(|name| format!("{TESTS}: {name} is not shown silent, firing, and over")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_that_never_ends_is_no_tested_one() {
        let moment = |name: &str, fires: bool| {
            let alerts = if fires { vec![json!({})] } else { Vec::new() };
            json!({"alertname": name, "exp_alerts": alerts})
        };
        let moments = [("A", false), ("A", true), ("A", false), ("B", false), ("B", true)];
        let moments: Vec<Value> = moments.iter().map(|(name, fires)| moment(name, *fires)).collect();
        let tests = json!({"tests": [{"alert_rule_test": moments}]});
        let names = ["A", "B", "C"].map(str::to_owned);
        let wrong = untested(&tests, &names);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains(": B ") && wrong[1].contains(": C "), "{wrong:?}");
    }
}
