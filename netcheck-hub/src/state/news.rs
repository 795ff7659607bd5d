//! What an inventory reports besides rosters: that something is wrong with it, or missing in it.

use std::sync::Arc;

use super::Hub;
use crate::inventory::{News, Take};
use netcheck_analysis::cluster::roster::LeftOut;
use netcheck_analysis::model::clock::unix_now_ns;

impl Hub {
    /// What is wrong with the inventory now, if anything, and what is missing in it. The roster stays.
    pub fn inventory_trouble(&self, trouble: Option<String>, caveat: Option<String>) {
        let mut state = self.lock();
        if trouble.is_some() && state.inventory_error.is_none() {
            state.counters.inventory_errors += 1;
        }
        state.inventory_error = trouble;
        state.inventory_caveat = caveat;
    }

    /// What of the inventory in use is left out, and how often anything was so far.
    pub fn inventory_left_out(&self, left_out: LeftOut, so_far: u64) {
        let mut state = self.lock();
        state.left_out = left_out;
        state.counters.objects_skipped = so_far;
    }

    /// Who takes what an inventory reports.
    #[must_use]
    pub fn taker(self: &Arc<Self>) -> Take {
        let hub = Arc::clone(self);
        Arc::new(move |news| hub.take(news))
    }

    /// Takes what an inventory reports. See [`Hub::set_roster`] for how long that may take.
    fn take(&self, news: News) {
        match news {
            News::Roster { roster, trouble } => self.set_roster_despite(roster, trouble, unix_now_ns()),
            News::Failed(error) => self.inventory_failed(error),
            News::State { trouble, caveat } => self.inventory_trouble(trouble, caveat),
            News::LeftOut { left_out, so_far } => self.inventory_left_out(left_out, so_far),
        }
    }

    /// The newest inventory is no good.
    pub fn inventory_failed(&self, error: String) {
        let mut state = self.lock();
        state.counters.inventory_errors += 1;
        state.inventory_error = Some(error);
    }
}
