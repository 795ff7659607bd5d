//! Traces probes through nftables for a moment.
//!
//! [`trace`] makes a table of its own, listens to what the kernel reports of marked packets, and asks for the rules that
//! ended them. Both sockets are its own: when it returns, is cancelled, or its process dies, the kernel closes them and
//! takes the table away (`NFT_TABLE_F_OWNER`, Linux 5.12), whatever had happened before. No other rule is touched.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use tokio::time::{Instant, timeout_at};

use super::attributes::messages;
use super::event::{Packet, TraceEvent, Verdict};
use super::request::{self, Layer, Mark};
use super::rule::Rule;

/// `NFNLGRP_NFTRACE`.
const TRACE_GROUP: u32 = 9;
/// How long the kernel may take to acknowledge the table, or to show a rule.
const ANSWER: Duration = Duration::from_secs(1);
/// Packets whose way is kept.
const PACKETS: usize = 256;
/// Rules of one case that are remembered though they ended nothing.
const PASSED: usize = 64;
/// Chains of one packet's way that are kept.
const CHAINS: usize = 64;

/// Why nothing is traced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error("this kernel has no nftables that can be traced: {0}")]
    Socket(#[source] io::Error),
    #[error("nftables refused the table that marks probes: {0}")]
    Refused(#[source] io::Error),
    #[error("nftables did not answer")]
    Silent,
}

/// What a rule or policy did with a marked packet that it did not let go on as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndedBy {
    /// It dropped it, or answered with an error.
    Drop,
    /// It asked a program in user space, by a queue.
    Queue,
    /// It kept it: for another interface, or to answer itself.
    Stolen,
    /// It let it go on as another one: under another address or port, or unknown to connection tracking.
    Altered,
}

/// Whose verdict ended a marked packet, or made another one of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// `NFPROTO_*` of the table.
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) chain: String,
    /// 0: the policy of the chain.
    pub(crate) handle: u64,
    /// How.
    pub(crate) how: EndedBy,
    /// The chains that led to this one, outermost first.
    pub(crate) through: Vec<String>,
    /// What the rule says; none of a policy, and of one that is gone already.
    pub(crate) rule: Option<Rule>,
}

/// Marks the packets of some cases until each has one that was dropped, or for this long.
///
/// The answer: for each case what ended its packets, most often first. Where nothing did, what altered them.
///
/// # Errors
/// Nothing could be traced.
pub(crate) async fn trace(
    layers: &[Layer],
    cases: &[Vec<Mark>],
    listen: Duration,
) -> Result<Vec<Vec<Ended>>, TraceError> {
    let mut listener = open().map_err(TraceError::Socket)?;
    listener.socket_mut().add_membership(TRACE_GROUP).map_err(TraceError::Socket)?;
    let mut owner = open().map_err(TraceError::Socket)?;
    let name = format!("netcheck_trace_{}", std::process::id());
    for layer in layers {
        put(&mut owner, &name, layer, cases).await?;
    }
    let mut ways = Ways::new(&name, cases.len());
    let end = Instant::now() + listen;
    let wanted = cases.iter().filter(|marks| !marks.is_empty()).count();
    while ways.found() < wanted {
        match timeout_at(end, listener.recv_from_full()).await {
            Ok(Ok((datagram, _))) => {
                for event in messages(&datagram).filter_map(|message| TraceEvent::read(&message)) {
                    ways.take(event);
                }
            }
            // More was reported than this socket could hold: the rest is as good.
            Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Ok(Err(error)) => return Err(TraceError::Socket(error)),
            Err(_elapsed) => break,
        }
    }
    // The table goes first: nothing is marked any more while rules are read.
    drop(listener);
    drop(owner);
    let mut reader = open().map_err(TraceError::Socket)?;
    let (mut ended, passed) = ways.end();
    for one in ended.iter_mut().flatten().filter(|one| one.handle != 0) {
        one.rule = read_rule(&mut reader, one).await;
    }
    for (case, passed) in ended.iter_mut().zip(passed).filter(|(case, _)| case.is_empty()) {
        for mut one in passed {
            one.rule = read_rule(&mut reader, &one).await.filter(|rule| rule.alters);
            case.extend(one.rule.is_some().then_some(one));
        }
    }
    Ok(ended)
}

fn open() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Makes the table of one layer.
async fn put(
    owner: &mut TokioSocket,
    name: &str,
    layer: &Layer,
    cases: &[Vec<Mark>],
) -> Result<(), TraceError> {
    let (batch, last) = request::table(name, layer, cases);
    owner.send_to(&batch, &SocketAddr::new(0, 0)).await.map_err(TraceError::Socket)?;
    let end = Instant::now() + ANSWER;
    loop {
        let received =
            timeout_at(end, owner.recv_from_full()).await.map_err(|_elapsed| TraceError::Silent)?;
        let (datagram, _) = received.map_err(TraceError::Socket)?;
        for message in messages(&datagram) {
            match message.errno() {
                Some(0) if message.sequence == last => return Ok(()),
                Some(0) | None => {}
                Some(errno) => return Err(TraceError::Refused(io::Error::from_raw_os_error(errno))),
            }
        }
    }
}

/// The rule as it is now; none where it is gone, or can't be read.
async fn read_rule(reader: &mut TokioSocket, ended: &Ended) -> Option<Rule> {
    let question = request::rule(ended.family, &ended.table, &ended.chain, ended.handle);
    reader.send_to(&question, &SocketAddr::new(0, 0)).await.ok()?;
    let answer = timeout_at(Instant::now() + ANSWER, reader.recv_from_full()).await;
    let (datagram, _) = answer.ok()?.ok()?;
    let message = messages(&datagram).find(|message| message.errno().is_none())?;
    let (family, attributes) = message.netfilter()?;
    Some(Rule::read(family, attributes))
}

/// The way of each marked packet, from what is reported of its steps. Pure.
pub(super) struct Ways<'a> {
    /// The own table's name.
    own: &'a str,
    packets: HashMap<u32, Way>,
    /// Those that a rule of ours marked, newest last.
    marked: Vec<(u32, Packet)>,
    /// For each case what ended its packets, and how many.
    ended: Vec<Vec<(Ended, u32)>>,
    /// For each case the rules that its packets met and that did not end them, in their order.
    passed: Vec<Vec<Ended>>,
}

/// One packet.
#[derive(Default)]
struct Way {
    cases: BTreeSet<usize>,
    /// Family, table and chain of where it is, and what led there from the base chain.
    table: (u8, String),
    chains: Vec<String>,
}

impl<'a> Ways<'a> {
    pub(super) fn new(own: &'a str, cases: usize) -> Self {
        Self {
            own,
            packets: HashMap::new(),
            marked: Vec::new(),
            ended: vec![Vec::new(); cases],
            passed: vec![Vec::new(); cases],
        }
    }

    /// Cases with something that ended them.
    pub(super) fn found(&self) -> usize {
        self.ended.iter().filter(|ended| !ended.is_empty()).count()
    }

    pub(super) fn take(&mut self, event: TraceEvent) {
        let TraceEvent { id, packet, family, table, chain, handle, verdict } = event;
        if table == self.own {
            let case = request::case_of(&chain).filter(|&case| case < self.ended.len());
            return case.into_iter().for_each(|case| self.mark(id, packet, case));
        }
        if !self.packets.contains_key(&id) {
            self.recognize(id, packet);
        }
        let Some(way) = self.packets.get_mut(&id) else { return };
        if way.table != (family, table.clone()) || !way.chains.contains(&chain) {
            way.table = (family, table.clone());
            way.chains = vec![chain.clone()];
        }
        // Back from where it had jumped to, or where it is already.
        let here = way.chains.iter().position(|other| *other == chain).unwrap_or(0);
        way.chains.truncate(here + 1);
        let how = match verdict {
            Verdict::To(next) if way.chains.len() < CHAINS => return way.chains.push(next),
            Verdict::Drop => EndedBy::Drop,
            Verdict::Queue => EndedBy::Queue,
            Verdict::Stolen => EndedBy::Stolen,
            Verdict::Accept | Verdict::On if handle != 0 => EndedBy::Altered,
            Verdict::To(_) | Verdict::Accept | Verdict::On => return,
        };
        let mut through = way.chains.clone();
        through.pop();
        let one = Ended { family, table, chain, handle, how, through, rule: None };
        for &case in &way.cases {
            if how == EndedBy::Altered {
                let passed = &mut self.passed[case];
                if passed.len() < PASSED && !passed.contains(&one) {
                    passed.push(one.clone());
                }
                continue;
            }
            let all = &mut self.ended[case];
            match all.iter_mut().find(|(known, _)| *known == one) {
                Some((_, packets)) => *packets += 1,
                None => all.push((one.clone(), 1)),
            }
        }
    }

    /// A rule of ours marked a packet.
    fn mark(&mut self, id: u32, packet: Option<Packet>, case: usize) {
        if self.packets.len() >= PACKETS && !self.packets.contains_key(&id) {
            return;
        }
        let way = self.packets.entry(id).or_default();
        way.cases.insert(case);
        way.chains.clear();
        if let Some(packet) = packet {
            self.marked.retain(|(other, _)| *other != id);
            self.marked.push((id, packet));
        }
    }

    /// A packet that has another number than it had where it was marked: which one is it? Nobody else's is traced, and
    /// what is reported of it comes right behind what was reported there.
    fn recognize(&mut self, id: u32, packet: Option<Packet>) {
        let Some(packet) = packet.filter(|_| self.packets.len() < PACKETS) else { return };
        let like = self.marked.iter().enumerate();
        let like = like.filter_map(|(at, (id, marked))| Some((marked.likeness(&packet)?, at, *id)));
        let Some((_, _, marked)) = like.max() else { return };
        let cases = self.packets.get(&marked).map(|way| way.cases.clone()).unwrap_or_default();
        self.packets.insert(id, Way { cases, ..Way::default() });
    }

    /// For each case what ended its packets, most often first; and the rules that they met beside.
    pub(super) fn end(self) -> (Vec<Vec<Ended>>, Vec<Vec<Ended>>) {
        let sorted = |mut ended: Vec<(Ended, u32)>| {
            ended.sort_by_key(|(_, packets)| std::cmp::Reverse(*packets));
            ended.into_iter().map(|(ended, _)| ended).collect()
        };
        (self.ended.into_iter().map(sorted).collect(), self.passed)
    }
}
