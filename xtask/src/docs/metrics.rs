//! The table of metrics in `docs/metrics.md`, and pages of metrics as programs serve them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::tools::root;

const PAGE: &str = "docs/metrics.md";

/// Which program serves a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The hub.
    Hub,
    /// An agent.
    Agent,
}

/// A metric's type and the names of its labels, which are not known where a program shows no series of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// `gauge`, `counter` or `info`.
    pub kind: String,
    /// Names of labels.
    pub labels: Option<BTreeSet<String>>,
}

/// Metrics by the name of their series.
pub type Metrics = BTreeMap<String, Metric>;

/// What the page says of a program's metrics.
///
/// # Errors
/// If it can't be read, or has a row that is none of a metric.
pub fn documented(of: Of) -> Result<Metrics> {
    table(&fs::read_to_string(root().join(PAGE)).context(PAGE)?, of)
}

fn table(text: &str, of: Of) -> Result<Metrics> {
    let (mut here, mut found) = (None, Metrics::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            here = [("Of the hub", Of::Hub), ("Of an agent", Of::Agent)]
                .into_iter()
                .find_map(|(start, of)| heading.starts_with(start).then_some(of));
        }
        let Some(row) = line.strip_prefix("| `netcheck_").filter(|_| here == Some(of)) else { continue };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        ensure!(cells.len() == 5, "{PAGE}: a row with another number of cells: {line}");
        let name = format!("netcheck_{}", cells[0].trim_end_matches('`'));
        let labels = cells[2].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = Some(labels.filter(|label| !label.is_empty()).collect());
        let twice = found.insert(name.clone(), Metric { kind: cells[1].to_owned(), labels });
        ensure!(twice.is_none(), "{PAGE}: {name} stands twice");
    }
    ensure!(!found.is_empty(), "{PAGE}: no metrics of {of:?}");
    Ok(found)
}

/// The metrics of a page in the text format of OpenMetrics.
#[must_use]
pub fn served(text: &str) -> Metrics {
    let mut found = Metrics::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            found.insert(format!("{name}{suffix}"), Metric { kind: kind.to_owned(), labels: None });
        } else if !line.starts_with('#') {
            // What is behind a hash is an exemplar.
            let line = line.split_once(" # ").map_or(line, |(series, _)| series);
            let series = line.split_once(['{', ' ']).map_or(line, |(name, _)| name);
            let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
            let histogram =
                ["_bucket", "_sum", "_count"].into_iter().find_map(|end| series.strip_suffix(end));
            let name = histogram.filter(|name| found.contains_key(*name)).unwrap_or(series);
            if let Some(metric) = found.get_mut(name) {
                let names = labels.map_or_else(Vec::new, |(list, _)| names(list));
                metric.labels.get_or_insert_default().extend(names.into_iter().filter(|name| name != "le"));
            }
        }
    }
    found
}

/// Names in `a="1",b="2"`; a value may hold any character but a bare quote.
fn names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = list;
    while let Some((name, value)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(',').to_owned());
        let mut escaped = false;
        let end = value.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = end.map_or("", |end| &value[end + 1..]);
    }
    names
}

/// Where the page and a program differ, one line each. A metric without a series shows no labels to compare.
#[must_use]
pub fn differences(documented: &Metrics, served: &Metrics) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, metric) in documented {
        match served.get(name) {
            None => wrong.push(format!("{PAGE} has {name}, the program has not")),
            Some(other) if other.kind != metric.kind => {
                wrong.push(format!("{name} is a {}, {PAGE} says {}", other.kind, metric.kind));
            }
            Some(Metric { labels: Some(labels), .. }) if Some(labels) != metric.labels.as_ref() => {
                wrong.push(format!("{name} has the labels {labels:?}, {PAGE} says {:?}", metric.labels));
            }
            Some(_) => {}
        }
    }
    let missing = served.keys().filter(|name| !documented.contains_key(*name));
    wrong.extend(missing.map(|name| format!("the program has {name}, {PAGE} has not")));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = "## Of the hub: a\n| metric | type | labels | meaning |\n|---|---|---|---|\n\
        | `netcheck_paths` | gauge | `verdict` | x |\n| `netcheck_hub_samples_total` | counter | | y |\n\
        ## Of an agent: b\n| `netcheck_agent_build_info` | info | `node`, `version` | z |\n\
        ## Questions\n| `netcheck_no_metric` | q |\n";

    const SERVED: &str = "# HELP netcheck_paths Paths.\n# TYPE netcheck_paths gauge\nnetcheck_paths{verdict=\"a,b=\\\"c\"} 1\n\
        # TYPE netcheck_hub_samples counter\nnetcheck_hub_samples_total 3\n# EOF\n";

    #[test]
    fn the_page_and_the_program_agree() {
        let documented = table(DOCS, Of::Hub).unwrap();
        assert_eq!(differences(&documented, &served(SERVED)), [] as [&str; 0]);
        assert_eq!(table(DOCS, Of::Agent).unwrap().len(), 1);
        super::documented(Of::Hub).unwrap();
        super::documented(Of::Agent).unwrap();
    }

    #[test]
    fn differences_are_found_both_ways() {
        let documented = table(DOCS, Of::Hub).unwrap();
        let other = SERVED.replace("verdict=", "result=").replace("hub_samples counter", "hub_samples gauge");
        let wrong = differences(&documented, &served(&other));
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].contains("hub_samples_total, the program has not"));
        assert!(wrong[1].contains("{\"result\"}"));
        assert!(wrong[2].contains("the program has netcheck_hub_samples,"));
        assert!(table("## Of the hub\n| `netcheck_a` | gauge |\n", Of::Hub).is_err());
        assert!(table("## Of the hub\n", Of::Hub).is_err());
    }
}
