//! `watch --tui`: which node reaches which, on the whole terminal, as the hub reports it.
//!
//! ```text
//! keys ──thread──┐
//! hub ─▶ [`feed`]┼─▶ [`run`] ─▶ [`model`] ─▶ [`draw`] ─▶ terminal
//!          ▲─────┴── the nodes that are shown
//! ```
//! Only what is shown is asked for, so that a cluster of a thousand nodes costs no more than what fits on the screen. A hub
//! that is lost is asked again; what it sent last stays, marked as old. One task; the keys are read by a thread that ends
//! with it. However it ends, the terminal is left as it was ([`terminal`]).

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use netcheck_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::FOREVER;
use crate::args::{Global, Output};
use crate::ends::Ends;
use crate::style::Screen;

mod draw;
mod feed;
mod keys;
mod model;
mod terminal;
#[cfg(test)]
mod tests;

use feed::Feed;
use model::{Command, Model};
use terminal::Terminal;

/// What the hub sent and is not shown yet: a screen full of cells. Whoever is full waits, and the hub with it.
const DEPTH: usize = 4096;
/// How often the screen is drawn at most.
const FRAME: Duration = Duration::from_millis(100);

/// Runs until somebody quits, or for as long as is wanted.
pub(crate) async fn run(
    global: &Global,
    selector: v1::PathSelector,
    length: Option<Duration>,
    screen: &Screen,
) -> anyhow::Result<()> {
    if global.output != Output::Table {
        anyhow::bail!("--tui draws on the terminal: it has no other format, leave -o away");
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        anyhow::bail!("--tui needs a terminal; without it, watch prints a line for each change");
    }
    // Ctrl-C is a key here: the terminal passes all of them on.
    let mut ends = Ends::listen().context("cannot listen for signals")?;
    let (window, wanted) = watch::channel(feed::Window::default());
    let (sender, mut received) = mpsc::channel(DEPTH);
    let mut model = Model::new(screen.colours, &selector);
    let feed = Feed { global, selector, wanted, sender }.run();
    tokio::pin!(feed);
    let mut terminal = Terminal::enter().context("cannot set the terminal up")?;
    let mut keys = keys::Keys::read();
    let end = Instant::now() + length.unwrap_or(FOREVER);
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(end) => return Ok(()),
            () = ends.next() => return Ok(()),
            () = &mut feed => anyhow::bail!("the connection to the hub is not looked after any more"),
            Some(news) = received.recv() => model.take(news, std::time::Instant::now()),
            key = keys.next() => match key.map(|key| model.press(key)) {
                Some(Command::Go) => {}
                Some(Command::Quit) | None => return Ok(()),
            },
            _ = frames.tick() => {
                terminal.draw(|frame| draw::draw(frame, &mut model, std::time::Instant::now()))
                    .context("cannot draw")?;
                window.send_if_modified(|before| {
                    let now = model.window();
                    let changed = *before != now;
                    *before = now;
                    changed
                });
            }
        }
    }
}
