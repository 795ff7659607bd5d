//! A node's table of connections, filled to the last entry and emptied again, over netlink
//! (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
//!
//! The kernel's limit is one for the whole machine, which no lab may touch, but each network namespace has a count of
//! its own. So the table is filled with connections that nobody has: they bear a mark, are assured (the kernel throws
//! out others first) and last for an hour. Whatever else was there goes, or the flows in it would live on and their
//! places come free one by one. Only open TCP connections stay, such as an agent's session.

use std::fs;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};

use crate::netns;

/// IPCTNL_MSG_CT_NEW, _GET and _DELETE of NFNL_SUBSYS_CTNETLINK.
const NEW: u16 = 1 << 8;
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// Flags and types of linux/netlink.h.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 0x8000;
/// Of `enum ctattr_type`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL_INFO: u16 = 4;
const TIMEOUT: u16 = 7;
const MARK: u16 = 8;
const ID: u16 = 12;
const MARK_MASK: u16 = 21;
/// IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED.
const LASTING: u32 = 2 | 4 | 8;
/// How long an entry lasts, seconds.
const LIFE: u32 = 3600;
/// The mark of what is made here.
const OURS: u32 = 0x006e_6c62;
/// How many are asked for at once; the answers to all of them must fit into the socket's buffer.
const BATCH: u32 = 64;
/// How often what came in between is thrown out. Each pass takes a fraction of the last one's time.
const PASSES: usize = 3;

/// Fills the table of a namespace.
pub(super) fn fill(ns: &str) -> Result<()> {
    netns::enter(ns, || Table::open()?.fill())?
        .with_context(|| format!("filling the table of connections of {ns}"))
}

/// Takes out what [`fill`] put in.
pub(super) fn empty(ns: &str) -> Result<()> {
    netns::enter(ns, || {
        let marked = [attribute(MARK, &OURS.to_be_bytes()), attribute(MARK_MASK, &u32::MAX.to_be_bytes())];
        Table::open()?.ask(&message(DELETE, REQUEST | ACK, 0, &marked.concat()))
    })?
    .with_context(|| format!("emptying the table of connections of {ns}"))
}

/// Takes all connections of a namespace out but TCP's open ones.
pub(super) fn forget(ns: &str) -> Result<()> {
    netns::enter(ns, || Table::open()?.delete_others())?
        .with_context(|| format!("forgetting the connections of {ns}"))
}

/// The table of the namespace in which it was opened.
struct Table(OwnedFd);

/// One message of the kernel.
enum Answer {
    Acknowledged,
    Refused(Errno),
    /// Family and attributes of a connection.
    Entry(u8, Vec<u8>),
    Done,
}

impl Table {
    fn open() -> Result<Self> {
        let socket = socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::NETFILTER));
        socket.map(Self).context("opening a netlink socket")
    }

    fn fill(&self) -> Result<()> {
        let mut next = self.insert_until_full(0)?;
        for _ in 0..PASSES {
            self.delete_others()?;
            next = self.insert_until_full(next)?;
        }
        Ok(())
    }

    fn say(&self, bytes: &[u8]) -> Result<()> {
        send(&self.0, bytes, SendFlags::empty()).map(|_| ()).context("asking the kernel")
    }

    /// The next messages; waits for them.
    fn hear(&self) -> Result<Vec<Answer>> {
        let mut bytes = vec![0; 1 << 16];
        let (len, _) =
            recv(&self.0, bytes.as_mut_slice(), RecvFlags::empty()).context("the kernel's answer")?;
        Ok(answers(&bytes[..len]))
    }

    /// One request that is acknowledged.
    fn ask(&self, bytes: &[u8]) -> Result<()> {
        self.say(bytes)?;
        match self.hear()?.first() {
            Some(Answer::Acknowledged) => Ok(()),
            Some(Answer::Refused(errno)) => Err((*errno).into()),
            _ => bail!("the kernel answers what was not asked"),
        }
    }

    /// Inserts connections, from this number on, until there is no room. Returns the number to go on with.
    fn insert_until_full(&self, mut next: u32) -> Result<u32> {
        let limit =
            fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").context("reading the limit")?;
        let limit: u32 = limit.trim().parse().context("reading the limit")?;
        // Those of an earlier time are there already.
        let end = next.saturating_add(limit.saturating_mul(2));
        while next < end {
            let mut batch: Vec<u8> = (next..next + BATCH).flat_map(connection).collect();
            // Only what is refused is answered. The end of the batch shows by one that surely is.
            batch.extend(message(DELETE, REQUEST, AF_INET, &tuple(ORIGINAL, [0; 4], [0; 4], [0; 2], [0; 2])));
            self.say(&batch)?;
            next += BATCH;
            let mut full = false;
            'batch: loop {
                for answer in self.hear()? {
                    match answer {
                        Answer::Refused(Errno::NOENT) => break 'batch,
                        Answer::Refused(Errno::EXIST) => {}
                        Answer::Refused(Errno::NOMEM) => full = true,
                        Answer::Refused(errno) => return Err(errno).context("inserting a connection"),
                        Answer::Acknowledged | Answer::Entry(..) | Answer::Done => {
                            bail!("the kernel answers what was not asked")
                        }
                    }
                }
            }
            if full {
                return Ok(next);
            }
        }
        bail!("{limit} connections do not fill it")
    }

    /// Deletes what bears no mark, open TCP connections apart.
    fn delete_others(&self) -> Result<()> {
        let unmarked = [attribute(MARK, &[0; 4]), attribute(MARK_MASK, &u32::MAX.to_be_bytes())];
        self.say(&message(GET, REQUEST | DUMP, 0, &unmarked.concat()))?;
        let mut others = Vec::new();
        'dump: loop {
            for answer in self.hear()? {
                match answer {
                    Answer::Entry(family, entry) => others.push((family, entry)),
                    Answer::Refused(errno) => return Err(errno).context("listing the connections"),
                    Answer::Acknowledged | Answer::Done => break 'dump,
                }
            }
        }
        for (family, entry) in others.iter().filter(|(_, entry)| !is_open(entry)) {
            let named: Vec<u8> = attributes(entry)
                .filter(|(kind, _)| matches!(kind & !NESTED, ORIGINAL | ID))
                .flat_map(|(kind, value)| attribute(kind, value))
                .collect();
            match self.ask(&message(DELETE, REQUEST | ACK, *family, &named)) {
                // It went by itself meanwhile.
                Err(error) if error.downcast_ref() == Some(&Errno::NOENT) => {}
                other => other.context("deleting a connection")?,
            }
        }
        Ok(())
    }
}

/// Whether a connection is TCP's in the state ESTABLISHED.
fn is_open(entry: &[u8]) -> bool {
    const INFO_TCP: u16 = 1;
    const STATE: u16 = 1;
    const ESTABLISHED: u8 = 3;
    find(entry, PROTOCOL_INFO)
        .and_then(|info| find(find(info, INFO_TCP)?, STATE))
        .is_some_and(|state| state == [ESTABLISHED])
}

/// The request for one connection that nobody has (198.18.0.0/15 is for benchmarks, RFC 2544).
fn connection(number: u32) -> Vec<u8> {
    const PORTS: u32 = 60_000;
    let (port, host) = (number % PORTS + 1, number / PORTS);
    let (port, host) = (port.to_be_bytes(), (0xc612_0000 + host).to_be_bytes());
    let (here, there) = ([198, 19, 0, 1], (9_u16.to_be_bytes()));
    let attributes = [
        tuple(ORIGINAL, here, host, [port[2], port[3]], there),
        tuple(REPLY, host, here, there, [port[2], port[3]]),
        attribute(STATUS, &LASTING.to_be_bytes()),
        attribute(TIMEOUT, &LIFE.to_be_bytes()),
        attribute(MARK, &OURS.to_be_bytes()),
    ];
    message(NEW, REQUEST | CREATE | EXCLUSIVE, AF_INET, &attributes.concat())
}

const AF_INET: u8 = 2;

/// One direction of a UDP connection.
fn tuple(kind: u16, source: [u8; 4], destination: [u8; 4], sport: [u8; 2], dport: [u8; 2]) -> Vec<u8> {
    const UDP: u8 = 17;
    let addresses = [attribute(1, &source), attribute(2, &destination)].concat();
    let ports = [attribute(1, &[UDP]), attribute(2, &sport), attribute(3, &dport)].concat();
    attribute(kind | NESTED, &[attribute(1 | NESTED, &addresses), attribute(2 | NESTED, &ports)].concat())
}

/// `struct nlattr` and its value.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + value.len()).expect("attributes here are short");
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `struct nlmsghdr`, `struct nfgenmsg` and attributes.
fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(20 + attributes.len()).expect("messages here are short");
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    // Sequence and port id: there is one who asks, and one thing at a time.
    bytes.extend([0; 8]);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// The messages of one datagram.
fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some((header, body)) = bytes.split_at_checked(16) {
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(body) = len.checked_sub(16).and_then(|len| body.get(..len)) else { break };
        answers.extend(match u16::from_ne_bytes([header[4], header[5]]) {
            ERROR => body.first_chunk().map(|code| match i32::from_ne_bytes(*code) {
                0 => Answer::Acknowledged,
                code => Answer::Refused(Errno::from_raw_os_error(code.saturating_neg())),
            }),
            DONE => Some(Answer::Done),
            _ => body.split_at_checked(4).map(|(family, entry)| Answer::Entry(family[0], entry.to_vec())),
        });
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    answers
}

/// Types and values of a list of attributes.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header: [u8; 4] = *bytes.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([header[2], header[3]]), value))
    })
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| found & !NESTED == kind).map(|(_, value)| value)
}
