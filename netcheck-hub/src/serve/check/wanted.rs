//! What a check is asked to probe.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use netcheck_common::domain::Vantage;
use netcheck_proto::{convert, v1};

use netcheck_analysis::model::clock::positive;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::PlannedPath;
use netcheck_analysis::plan::selector::Selector;
use netcheck_analysis::wire::target::wire_path;

/// The longest that a check may ask for.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What distinguishes one path of a source to a target from the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Way {
    vantage: i32,
    kind: i32,
    address: String,
    port: u32,
    detail: String,
}

impl Way {
    fn of(path: &v1::Path) -> Self {
        Self {
            vantage: path.vantage,
            kind: path.kind,
            address: path.address.clone(),
            port: path.port,
            detail: path.detail.clone(),
        }
    }
}

/// Single paths: by source and target, so that a lookup copies no names.
type Ways = HashMap<String, HashMap<String, HashSet<Way>>>;

/// A request whose words are checked.
pub(super) struct Wanted {
    /// Whatever the verdict.
    pub(super) selector: Selector,
    /// As asked, with its verdicts.
    by_verdict: Option<Selector>,
    /// None: all that are selected.
    single: Option<Ways>,
    pub(super) rounds: u64,
    /// None: as long as it takes.
    pub(super) deadline: Option<Duration>,
    pub(super) take_turns: bool,
    pub(super) stream_cells: bool,
    all_cells: bool,
    /// Only some targets, or kinds of path, are asked for.
    pub(super) narrowed: bool,
}

impl Wanted {
    /// Reads the wire form.
    ///
    /// # Errors
    /// An enum value that is unspecified or unknown.
    pub(super) fn read(request: &v1::RunCheckRequest) -> Result<Self, convert::InvalidField> {
        let wire = request.selector.clone().unwrap_or_default();
        let mut asked = wire.clone();
        let single = (!request.paths.is_empty()).then(|| ways(&request.paths));
        if let Some(ways) = &single {
            // What the lists would select besides is sorted out later; this spares most of the work.
            if asked.sources.is_empty() {
                asked.sources = ways.keys().cloned().collect();
            }
            if asked.targets.is_empty() {
                let targets: HashSet<&String> = ways.values().flat_map(HashMap::keys).collect();
                asked.targets = targets.into_iter().cloned().collect();
            }
        }
        let selector = Selector::read(Some(asked))?;
        Ok(Self {
            by_verdict: selector.by_verdict().then(|| selector.clone()),
            selector: selector.any_verdict(),
            rounds: u64::from(request.rounds.max(1)),
            deadline: positive(request.deadline.as_ref()).map(|deadline| deadline.min(LONGEST)),
            take_turns: request.take_turns,
            stream_cells: request.stream_cells,
            all_cells: request.all_cells,
            narrowed: single.is_some()
                || !(wire.targets.is_empty() && wire.kinds.is_empty() && wire.families.is_empty()),
            single,
        })
    }

    /// Whether paths from pods can be among them.
    pub(super) fn takes_pods(&self) -> bool {
        self.selector.takes_vantage(Vantage::Pod)
    }

    /// Whether it is one of them.
    pub(super) fn takes(&self, source: &str, path: &PlannedPath) -> bool {
        self.selector.takes(source, path)
            && self.single.as_ref().is_none_or(|_| self.takes_wire(&wire_path(source, "", path)))
    }

    /// The same of one that the selector takes.
    pub(super) fn takes_wire(&self, path: &v1::Path) -> bool {
        let Some(single) = &self.single else { return true };
        let target = path.target.as_ref().map_or("", |target| target.id.as_str());
        let ways = single.get(&path.source_node).and_then(|targets| targets.get(target));
        ways.is_some_and(|ways| ways.contains(&Way::of(path)))
    }

    /// Whether single paths are asked for.
    pub(super) const fn is_single(&self) -> bool {
        self.single.is_some()
    }

    /// Whether the reader wants the cell of a path with this verdict.
    pub(super) fn lists(&self, verdict: Verdict) -> bool {
        match &self.by_verdict {
            _ if self.all_cells => true,
            Some(selector) => selector.takes_verdict(verdict),
            None => verdict != Verdict::Reachable,
        }
    }
}

fn ways(paths: &[v1::Path]) -> Ways {
    let mut ways = Ways::new();
    for path in paths {
        let target = path.target.as_ref().map(|target| target.id.clone()).unwrap_or_default();
        ways.entry(path.source_node.clone()).or_default().entry(target).or_default().insert(Way::of(path));
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(source: &str, target: &str, port: u32) -> v1::Path {
        v1::Path {
            source_node: source.to_owned(),
            target: Some(v1::Target { id: target.to_owned(), ..Default::default() }),
            port,
            ..Default::default()
        }
    }

    #[test]
    fn single_paths_are_those_and_no_others() {
        let paths = vec![path("n1", "node/n2", 6100), path("n2", "node/n3", 0)];
        let wanted =
            Wanted::read(&v1::RunCheckRequest { paths: paths.clone(), ..Default::default() }).unwrap();
        assert!(paths.iter().all(|path| wanted.takes_wire(path)) && wanted.narrowed);
        for other in [path("n1", "node/n3", 0), path("n1", "node/n2", 0), path("n3", "node/n2", 6100)] {
            assert!(!wanted.takes_wire(&other), "{other:?}");
        }
        let all = Wanted::read(&v1::RunCheckRequest::default()).unwrap();
        assert!(all.takes_wire(&paths[0]) && !all.narrowed);
    }
}
