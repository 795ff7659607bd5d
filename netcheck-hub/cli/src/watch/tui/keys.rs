//! Keys: read by a thread, for reading waits. It ends within a moment after nobody wants them any more.

use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use tokio::sync::mpsc;

/// How long the thread waits for a key before it looks whether it is wanted.
const LOOK: Duration = Duration::from_millis(150);
/// Faster than anybody types; what is more waits in the terminal.
const DEPTH: usize = 16;

/// What is typed. A resized terminal counts as nothing: the next frame has its size.
pub(super) struct Keys(mpsc::Receiver<KeyEvent>);

impl Keys {
    pub(super) fn read() -> Self {
        let (typed, keys) = mpsc::channel(DEPTH);
        std::thread::spawn(move || {
            while !typed.is_closed() {
                match event::poll(LOOK) {
                    Ok(false) => continue,
                    Ok(true) => {}
                    Err(_) => return,
                }
                let sent = match event::read() {
                    Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => typed.blocking_send(key),
                    Ok(_) => Ok(()),
                    // The terminal is gone.
                    Err(_) => return,
                };
                if sent.is_err() {
                    return;
                }
            }
        });
        Self(keys)
    }

    /// The next one; none: there is no terminal any more.
    pub(super) async fn next(&mut self) -> Option<KeyEvent> {
        self.0.recv().await
    }
}
