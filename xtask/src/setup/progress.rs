//! One line for each thing that takes its time: on a terminal it turns, in a log it is written when it begins.

use std::{
    io::{IsTerminal as _, stdout},
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A thing under way.
pub(crate) struct Progress {
    what: String,
    begin: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Says what begins.
    pub(crate) fn begin(what: &str) -> Self {
        let bar = stdout().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            if let Ok(style) = ProgressStyle::with_template("{spinner} installing {wide_msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if bar.is_none() {
            println!("installing {what}");
        }
        Self { what: what.to_owned(), begin: Instant::now(), bar }
    }

    /// Says how it ended, and hands the outcome on.
    pub(crate) fn end(self, outcome: Result<()>) -> Result<()> {
        let seconds = self.begin.elapsed().as_secs();
        let verb = if outcome.is_ok() { "installed" } else { "FAILED" };
        match self.bar {
            Some(bar) => {
                bar.finish_and_clear();
                println!("{verb} {} ({seconds} s)", self.what);
            }
            None => println!("  {verb} after {seconds} s"),
        }
        outcome
    }
}
