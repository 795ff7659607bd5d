//! The terminal: taken as a whole, and left as it was: at the end, where something fails, and before a panic is reported.

use std::io::{self, Stdout, Write as _};

use ratatui::Frame;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// Taken until it is dropped.
pub(super) struct Terminal {
    inner: ratatui::Terminal<CrosstermBackend<Stdout>>,
}

impl Terminal {
    /// Takes it. A panic gives it back before it is reported, also where a panic ends the process at once.
    pub(super) fn enter() -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            before(panic);
        }));
        enable_raw_mode()?;
        let made = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| ratatui::Terminal::new(CrosstermBackend::new(io::stdout())));
        if made.is_err() {
            leave();
        }
        Ok(Self { inner: made? })
    }

    /// Draws what is not on it already.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.inner.draw(draw).map(|_| ())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        leave();
    }
}

/// A terminal that is gone needs nothing.
fn leave() {
    let _ = disable_raw_mode();
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = io::stdout().flush();
}

#[cfg(test)]
mod tests {
    /// Not a test of its own: run by `tests/tui.rs` in a terminal.
    #[test]
    #[ignore = "needs a terminal, and panics"]
    fn panics_on_the_whole_terminal() {
        let _terminal = super::Terminal::enter().unwrap();
        panic!("panicked after the terminal was given back");
    }
}
