//! The matrix as it changes, for one reader.

use std::collections::HashMap;
use std::sync::Arc;

use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::selector::Selector;
use netcheck_proto::v1;

use crate::serve::follow::Follow;
use crate::state::Hub;
use crate::state::cells::Cell;

/// One reader that follows the matrix. It compares with what it was sent last, so a reader that is slow misses
/// states in between but never the newest one.
pub(super) struct MatrixWatch {
    hub: Arc<Hub>,
    selector: Selector,
    range: Option<prost_types::Duration>,
    changes_only: bool,
    known: HashMap<(NodeIx, u32), Verdict>,
}

/// Selecting by verdict would hide the change away from it: a watch compares all verdicts and filters what it sends.
fn selects_change(selector: &Selector, cell: &Cell, previous: Option<Verdict>) -> bool {
    selector.takes_verdict(cell.verdict) || previous.is_some_and(|previous| selector.takes_verdict(previous))
}

impl MatrixWatch {
    /// One that was sent nothing yet. `range`: what its verdicts are about.
    pub(super) fn new(
        hub: Arc<Hub>,
        selector: Selector,
        range: Option<prost_types::Duration>,
        changes_only: bool,
    ) -> Self {
        Self { hub, selector, range, changes_only, known: HashMap::new() }
    }

    fn cells(&self) -> Vec<Cell> {
        let range = self.hub.range(self.range.as_ref());
        self.hub.cells(&self.selector.clone().any_verdict(), &range)
    }
}

impl Follow for MatrixWatch {
    type Message = v1::WatchMatrixResponse;

    fn first(&mut self) -> Vec<v1::WatchMatrixResponse> {
        let (cells, inactive) = if self.changes_only {
            (self.cells(), Vec::new())
        } else {
            let range = self.hub.range(self.range.as_ref());
            self.hub.measured_and_inactive(&self.selector.clone().any_verdict(), &self.selector, &range)
        };
        self.known = cells.iter().map(|cell| (cell.key, cell.verdict)).collect();
        let mut pass: Vec<v1::WatchMatrixResponse> = Vec::new();
        if !self.changes_only {
            let shown = cells.into_iter().filter(|cell| selects_change(&self.selector, cell, None));
            let shown = shown.map(|cell| cell.cell).chain(inactive);
            pass.extend(shown.map(|cell| v1::WatchMatrixResponse { cell: Some(cell), ..Default::default() }));
        }
        pass.push(v1::WatchMatrixResponse { initial_done: true, ..Default::default() });
        pass
    }

    fn changes(&mut self) -> Vec<v1::WatchMatrixResponse> {
        // Node after node, so that not all cells are in memory at once.
        let range = self.hub.range(self.range.as_ref());
        let (selector, any) = (&self.selector, self.selector.clone().any_verdict());
        let known = std::mem::take(&mut self.known);
        let mut newest = HashMap::with_capacity(known.len());
        let mut changes = Vec::new();
        self.hub.in_pieces(self.hub.indices(), |state, source| {
            for cell in self.hub.cells_of(state, source, &any, &range) {
                newest.insert(cell.key, cell.verdict);
                let previous = known.get(&cell.key).copied();
                if previous != Some(cell.verdict) && selects_change(selector, &cell, previous) {
                    let previous = previous.map_or(v1::Verdict::Unspecified, Verdict::to_wire).into();
                    changes.push(v1::WatchMatrixResponse {
                        cell: Some(cell.cell),
                        previous,
                        initial_done: false,
                    });
                }
            }
        });
        self.known = newest;
        changes
    }
}
