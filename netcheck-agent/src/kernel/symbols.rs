//! Names of kernel functions by address: as the kernel programs had them made, else from `/proc/kallsyms`.
//!
//! The latter has 200,000 lines, so it is never kept: a thread of its own reads it once per address that was not
//! asked for before, and the probe engine goes on meanwhile. The thread ends when its [`Symbols`] is dropped.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use aya::maps::{HashMap as BpfHashMap, MapData};
use netcheck_common::abi::FunctionName;

use super::tables::Abi;
use crate::host::capability::{Capability, missing};

/// Where a kernel shows the addresses of its functions, to those who may see them.
const KALLSYMS: &str = "/proc/kallsyms";
/// [`netcheck_common::abi::maps::NAMES`].
pub(crate) type Names = BpfHashMap<MapData, u64, Abi<FunctionName>>;

/// Addresses waiting to be looked up; more are tried again with the next event.
const QUEUE: usize = 64;

/// Resolves addresses in the background.
pub(crate) struct Symbols {
    known: HashMap<u64, Option<Arc<str>>>,
    ask: SyncSender<u64>,
    answers: Receiver<(u64, Arc<str>)>,
    /// What the kernel programs keep; none where they keep nothing.
    names: Option<Names>,
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
    pub(crate) fn start(names: Option<Names>) -> std::io::Result<Self> {
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
        Ok(Self { known: HashMap::new(), ask, answers, names })
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
        let made = self.names.as_ref().and_then(|names| names.get(&address, 0).ok());
        if let Some(name) = made.and_then(|Abi(name)| plain_name(&name)) {
            self.known.insert(address, Some(Arc::clone(&name)));
            return Lookup::Known(name);
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

/// A function's name without its module's. None where the kernel has no table of symbols: then it is a number.
fn plain_name(name: &FunctionName) -> Option<Arc<str>> {
    let bytes = name.bytes.split(|&byte| byte == 0 || byte == b' ').next()?;
    let name = std::str::from_utf8(bytes).ok().filter(|name| !name.is_empty() && !name.starts_with("0x"))?;
    Some(Arc::from(without_clone(name)))
}

/// The compiler's clones (`.isra.0`, `.cold`) are the same function to people.
fn without_clone(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Why no function's address can be had, and what would bring it; none where they can be seen.
pub(crate) fn hidden() -> Option<String> {
    let shown = File::open(KALLSYMS).is_ok_and(|file| {
        let mut lines = BufReader::with_capacity(1 << 16, file).lines().map_while(Result::ok);
        lines.any(|line| line.bytes().take_while(|byte| !byte.is_ascii_whitespace()).any(|byte| byte != b'0'))
    });
    (!shown).then(|| {
        let lacking = missing(&[Capability::Syslog]);
        lacking.unwrap_or_else(|| format!("{KALLSYMS} shows none: sysctl kernel.kptr_restrict is 2"))
    })
}

/// The last symbol at or before an address. None where addresses are hidden (kptr_restrict) or there is none.
fn look_up(address: u64) -> Option<String> {
    let mut lines = BufReader::with_capacity(1 << 16, File::open(KALLSYMS).ok()?);
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
    best.map(|(_, name)| without_clone(&name).to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn an_address_inside_a_function_finds_it() {
        let table = std::fs::read_to_string(KALLSYMS).unwrap();
        let line = table.lines().find(|line| line.ends_with(" T kfree_skb_list_reason")).unwrap();
        let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap() + 5;
        let mut symbols = Symbols::start(None).unwrap();
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

    #[test]
    fn a_name_made_by_the_kernel_is_one_without_module_and_clone() {
        let name = |text: &str| {
            let mut bytes = [0; netcheck_common::abi::NAME_LEN];
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            plain_name(&FunctionName { bytes })
        };
        for (text, expected) in [
            ("nft_do_chain", Some("nft_do_chain")),
            ("nft_do_chain [nf_tables]", Some("nft_do_chain")),
            ("tcp_v4_rcv.isra.0", Some("tcp_v4_rcv")),
            ("0xffffffff81000000", None),
            ("", None),
        ] {
            assert_eq!(name(text).as_deref(), expected, "{text}");
        }
        let full = FunctionName { bytes: [b'a'; netcheck_common::abi::NAME_LEN] };
        assert_eq!(plain_name(&full).map(|name| name.len()), Some(netcheck_common::abi::NAME_LEN));
    }

    #[test]
    fn nothing_is_hidden_from_who_may_see_it() {
        assert_eq!(hidden(), None);
    }
}
