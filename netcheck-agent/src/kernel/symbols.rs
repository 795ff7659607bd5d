//! Names of kernel functions by address, from `/proc/kallsyms`.
//!
//! The table has 200,000 lines, so it is never kept: a thread of its own reads it once per address that was not
//! asked for before, and the probe engine goes on meanwhile. The thread ends when its [`Symbols`] is dropped.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Addresses waiting to be looked up; more are tried again with the next event.
const QUEUE: usize = 64;

/// Resolves addresses in the background.
pub(crate) struct Symbols {
    known: HashMap<u64, Option<Arc<str>>>,
    ask: SyncSender<u64>,
    answers: Receiver<(u64, Arc<str>)>,
}

/// What is known of an address now.
pub(crate) enum Lookup {
    /// Its function; empty where the kernel hides addresses.
    Known(Arc<str>),
    /// Being looked up.
    Pending,
}

impl Symbols {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (ask, questions) = sync_channel::<u64>(QUEUE);
        let (answer, answers) = sync_channel(QUEUE);
        std::thread::Builder::new().name("symbols".into()).spawn(move || {
            while let Ok(address) = questions.recv() {
                let name = look_up(address).unwrap_or_default();
                if answer.send((address, Arc::from(name))).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { known: HashMap::new(), ask, answers })
    }

    /// The function that holds an address. Never waits.
    pub(crate) fn name(&mut self, address: u64) -> Lookup {
        while let Ok((address, name)) = self.answers.try_recv() {
            self.known.insert(address, Some(name));
        }
        match self.known.get(&address) {
            Some(Some(name)) => return Lookup::Known(Arc::clone(name)),
            Some(None) => return Lookup::Pending,
            None => {}
        }
        match self.ask.try_send(address) {
            Ok(()) => {
                self.known.insert(address, None);
                Lookup::Pending
            }
            Err(TrySendError::Full(_)) => Lookup::Pending,
            Err(TrySendError::Disconnected(_)) => Lookup::Known(Arc::from("")),
        }
    }
}

/// The last symbol at or before an address. None where addresses are hidden (kptr_restrict) or there is none.
fn look_up(address: u64) -> Option<String> {
    let mut lines = BufReader::with_capacity(1 << 16, File::open("/proc/kallsyms").ok()?);
    let mut best: Option<(u64, String)> = None;
    let mut line = String::new();
    while lines.read_line(&mut line).ok()? > 0 {
        let mut fields = line.split_ascii_whitespace();
        if let (Some(Ok(start)), Some(_kind), Some(name)) =
            (fields.next().map(|hex| u64::from_str_radix(hex, 16)), fields.next(), fields.next())
            && start != 0
            && start <= address
            && best.as_ref().is_none_or(|(closest, _)| start > *closest)
        {
            best = Some((start, name.to_owned()));
        }
        line.clear();
    }
    // The compiler's clones (`.isra.0`, `.cold`) are the same function to people.
    best.map(|(_, name)| name.split('.').next().unwrap_or(&name).to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn an_address_inside_a_function_finds_it() {
        let table = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let line = table.lines().find(|line| line.ends_with(" T kfree_skb_list_reason")).unwrap();
        let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap() + 5;
        let mut symbols = Symbols::start().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Lookup::Known(name) = symbols.name(address) {
                assert_eq!(&*name, "kfree_skb_list_reason");
                return;
            }
            assert!(Instant::now() < deadline, "no answer");
            std::thread::yield_now();
        }
    }
}
