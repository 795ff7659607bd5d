//! How an agent's node looked up short names last. Pure.

use std::collections::BTreeMap;

use netcheck_proto::v1;

use netcheck_analysis::model::clock::SECOND_NS;

/// What is older was looked up by an agent that is gone.
const STALE_NS: i64 = 180 * SECOND_NS;
/// Names of one agent.
const NAMES_MAX: usize = 16;

/// The newest look-ups of one node, by name.
#[derive(Clone, Debug, Default)]
pub struct Searches {
    newest: BTreeMap<String, (i64, v1::NameSearch)>,
}

impl Searches {
    /// Takes what an agent reported.
    pub fn take(&mut self, searches: Vec<v1::NameSearch>, now_ns: i64) {
        for search in searches {
            if self.newest.len() < NAMES_MAX || self.newest.contains_key(&search.name) {
                self.newest.insert(search.name.clone(), (now_ns, search));
            }
        }
    }

    /// Those that are not too old to be reported.
    pub fn fresh(&self, now_ns: i64) -> impl Iterator<Item = &v1::NameSearch> {
        let fresh = move |at_ns: i64| now_ns.saturating_sub(at_ns) < STALE_NS;
        self.newest.values().filter(move |(at_ns, _)| fresh(*at_ns)).map(|(_, search)| search)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(answer: &str) -> v1::NameSearch {
        let step = v1::SearchStep { name: "a.".to_owned(), answer: answer.to_owned() };
        v1::NameSearch { name: "web.default".to_owned(), steps: vec![step], ..Default::default() }
    }

    #[test]
    fn the_newest_counts_until_it_is_old() {
        let mut searches = Searches::default();
        searches.take(vec![search("NXDOMAIN")], 0);
        searches.take(vec![search("")], SECOND_NS);
        assert_eq!(searches.fresh(2 * SECOND_NS).count(), 1);
        assert!(searches.fresh(2 * SECOND_NS).all(|search| search.steps[0].answer.is_empty()));
        assert_eq!(searches.fresh(2 * STALE_NS).count(), 0);
    }
}
