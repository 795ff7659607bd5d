//! How short names are looked up on nodes: what a search list costs, reported where it costs something. Pure.

use std::collections::BTreeMap;

use netcheck_proto::v1;

use crate::state::State;
use netcheck_analysis::words::names::listed;

impl State {
    /// One line for each way in which a name is looked up that takes more than one query, or fails; with the nodes where
    /// it is so.
    #[must_use]
    pub fn long_searches(&self, now_ns: i64) -> Vec<String> {
        let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, agent) in self.each() {
            for line in agent.searches.fresh(now_ns).filter_map(line) {
                nodes.entry(line).or_default().push(agent.name.to_string());
            }
        }
        nodes.into_iter().map(|(line, nodes)| format!("{}: {line}", listed(nodes.into_iter()))).collect()
    }
}

/// What a look-up cost; none where it took a single query.
fn line(search: &v1::NameSearch) -> Option<String> {
    let name = &search.name;
    if search.server.is_empty() {
        return Some(format!("{name} is not looked up: the node's resolv.conf names no server"));
    }
    let answered = search.steps.last().is_some_and(|step| step.answer.is_empty());
    let queries = search.steps.len();
    if answered && queries <= 1 {
        return None;
    }
    let missed = search.steps.iter().filter(|step| !step.answer.is_empty());
    let missed: Vec<String> = missed.map(|step| format!("{} {}", step.name, step.answer)).collect();
    let then = match search.steps.last().filter(|_| answered) {
        Some(step) => format!(", then {}", step.name),
        None => ", and no answer".to_owned(),
    };
    let word = if queries == 1 { "query" } else { "queries" };
    Some(format!(
        "looking up {name} takes {queries} {word} at {} (search list, ndots {}): {}{then}",
        search.server,
        search.ndots,
        missed.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(steps: &[(&str, &str)]) -> v1::NameSearch {
        let step = |&(name, answer): &(&str, &str)| v1::SearchStep {
            name: name.to_owned(),
            answer: answer.to_owned(),
        };
        v1::NameSearch {
            name: "web.default".to_owned(),
            server: "10.96.0.10".to_owned(),
            ndots: 5,
            steps: steps.iter().map(step).collect(),
        }
    }

    #[test]
    fn only_what_costs_something_is_reported() {
        assert_eq!(line(&search(&[("web.default.svc.", "")])), None);
        assert_eq!(
            line(&search(&[("web.default.default.svc.", "NXDOMAIN"), ("web.default.svc.", "")])).unwrap(),
            "looking up web.default takes 2 queries at 10.96.0.10 (search list, ndots 5): \
             web.default.default.svc. NXDOMAIN, then web.default.svc."
        );
        let failed = line(&search(&[("web.default.", "timeout")])).unwrap();
        assert!(failed.contains("takes 1 query") && failed.ends_with("timeout, and no answer"), "{failed}");
        let nobody = v1::NameSearch { server: String::new(), ..search(&[]) };
        assert!(line(&nobody).unwrap().contains("names no server"));
    }
}
