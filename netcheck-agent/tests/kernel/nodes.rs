//! Two nodes in one process: each a thread in a network namespace of its own, with the kernel programs attached.

pub(crate) mod frames;
pub(crate) mod pods;

use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netcheck_agent::kernel::{KernelConfig, TcMode, open};
use netcheck_agent::model::observation::{KernelSource, KnownAddress};
use netcheck_common::header::{HEADER_LEN, ProbeHeader};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags, move_into_link_name_space,
    set_capabilities, unshare_unsafe,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;

/// The path that all probes of these tests are on.
pub(crate) const PATH: u32 = 77;

type Job = Box<dyn FnOnce() + Send>;

/// A node: a thread in its own network namespace.
pub(crate) struct Node {
    pub(crate) v4: IpAddr,
    pub(crate) v6: IpAddr,
    pub(crate) kernel: Box<dyn KernelSource>,
    bare: Bare,
    stop: CancellationToken,
    attacher: Option<JoinHandle<()>>,
}

/// A namespace and the thread that lives in it.
pub(crate) struct Bare {
    jobs: mpsc::Sender<Job>,
    netns: std::fs::File,
}

impl Bare {
    pub(crate) fn new() -> Self {
        let (jobs, work) = mpsc::channel::<Job>();
        let (ready, opened) = mpsc::channel();
        std::thread::spawn(move || {
            // SAFETY: a network namespace for this thread alone shares no memory or files.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("needs root");
            ready.send(std::fs::File::open("/proc/thread-self/ns/net").unwrap()).unwrap();
            while let Ok(job) = work.recv() {
                job();
            }
        });
        Self { jobs, netns: opened.recv().expect("a namespace: run the tests as root") }
    }

    /// Runs something inside.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, result) = mpsc::channel();
        self.jobs.send(Box::new(move || answer.send(job()).unwrap())).unwrap();
        result.recv().expect("the job panicked")
    }

    /// `ip ARGUMENTS` inside.
    pub(crate) fn ip(&self, arguments: &str) {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        self.command("ip", arguments);
    }

    /// An nft script inside.
    pub(crate) fn nft(&self, script: &str) {
        self.command("nft", vec![script.to_owned()]);
    }

    fn command(&self, program: &'static str, arguments: Vec<String>) -> String {
        let output = self.run(move || Command::new(program).args(arguments).output().unwrap());
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `nft ARGUMENTS` prints inside.
    pub(crate) fn nft_shows(&self, arguments: &str) -> String {
        self.command("nft", arguments.split(' ').map(str::to_owned).collect())
    }

    /// Runs something inside, on a thread of its own.
    pub(crate) fn beside<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let netns = self.netns.try_clone().unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            job()
        })
    }
}

/// How a node's kernel side is opened.
#[derive(Clone, Copy, Default)]
pub(crate) struct How {
    /// Added to its clock.
    pub(crate) clock_offset_ns: i64,
    pub(crate) tc_mode: Option<TcMode>,
    /// As on a kernel that does not name its functions.
    pub(crate) nameless: bool,
    /// All that it may do; none: everything.
    pub(crate) capabilities: Option<CapabilitySet>,
    /// Whose drops count.
    pub(crate) scope: Scope,
}

/// Whose drops count on a node.
#[derive(Clone, Copy, Default)]
pub(crate) enum Scope {
    /// Its own namespace's.
    #[default]
    Own,
    /// And those of its pods, by their inodes.
    Listed([u32; 2]),
    /// What its kernel side finds.
    Found,
}

/// Leaves the calling thread these capabilities alone.
pub(crate) fn keep_only(effective: CapabilitySet) {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective, permitted: effective, inheritable: none })
        .expect("needs root");
}

impl Node {
    fn new(bare: Bare, number: u8, session: u64, how: How) -> Self {
        let How { clock_offset_ns, tc_mode, nameless, capabilities, scope } = how;
        let own = netns_inode(&bare);
        let netns_scope = match scope {
            Scope::Own => vec![own],
            Scope::Listed([first, second]) => vec![own, first, second],
            Scope::Found => Vec::new(),
        };
        let stop = CancellationToken::new();
        let config = KernelConfig {
            session,
            responder_port: 6100,
            netns_scope,
            clock_offset_ns,
            tc_mode,
            kernel_names: !nameless,
        };
        let netns = bare.netns.try_clone().unwrap();
        let (ready, opened) = mpsc::channel();
        let stopped = stop.clone();
        let attacher = std::thread::spawn(move || {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            if let Some(effective) = capabilities {
                keep_only(effective);
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (attacher, kernel) =
                    open(&config).await.unwrap_or_else(|error| panic!("{}", error.one_line()));
                ready.send(kernel).unwrap();
                attacher.run(stopped).await;
            });
        });
        let kernel = opened.recv().expect("the kernel programs load");
        let v4 = IpAddr::from([10, 77, 0, number]);
        let v6 = IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(number)]);
        let mut node = Self { v4, v6, kernel, bare, stop, attacher: Some(attacher) };
        let known = |address, local| KnownAddress { address, pod: None, local, network: None };
        let other = 3 - number;
        node.kernel.set_addresses(
            &[
                known(v4, true),
                known(v6, true),
                known(IpAddr::from([10, 77, 0, other]), false),
                known(IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(other)]), false),
            ],
            &[],
        );
        node
    }

    /// Runs something inside.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.bare.run(job)
    }

    /// `ip ARGUMENTS` inside.
    pub(crate) fn ip(&self, arguments: &str) {
        self.bare.ip(arguments);
    }

    /// An nft script inside.
    pub(crate) fn nft(&self, script: &str) {
        self.bare.nft(script);
    }

    /// Its namespace alone.
    pub(crate) fn bare(&self) -> &Bare {
        &self.bare
    }

    /// Starts an agent's kernel side anew, as after a crash that left the first one's hooks behind.
    pub(crate) fn after_crash(self, session: u64, tc_mode: Option<TcMode>) -> Self {
        let number = if self.v4 == IpAddr::from([10, 77, 0, 1]) { 1 } else { 2 };
        // Its task goes on, and so its hooks stay: nobody tells it to stop.
        let mut left = std::mem::ManuallyDrop::new(self);
        let bare = std::mem::replace(&mut left.bare, Bare::new());
        Self::new(bare, number, session, How { tc_mode, ..How::default() })
    }

    /// Ends the kernel programs; the namespace stays.
    pub(crate) fn without_programs(mut self) -> Bare {
        self.end();
        std::mem::replace(&mut self.bare, Bare::new())
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(attacher) = self.attacher.take() {
            attacher.join().expect("the attacher ends in order");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

fn netns_inode(bare: &Bare) -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    bare.netns.metadata().unwrap().ino() as u32
}

/// Two nodes with a veth pair between them.
pub(crate) struct Pair {
    pub(crate) a: Node,
    pub(crate) b: Node,
}

impl Pair {
    /// Builds them. B's clock is `offset_ns` ahead.
    pub(crate) fn new(session: u64, offset_ns: i64) -> Self {
        Self::opened(session, How::default(), How { clock_offset_ns: offset_ns, ..How::default() })
    }

    /// Builds them, each in its own way.
    pub(crate) fn opened(session: u64, how_a: How, how_b: How) -> Self {
        let (a, b) = (Bare::new(), Bare::new());
        let peer = b.run(|| rustix::thread::gettid().as_raw_nonzero().get());
        a.ip(&format!("link add eth0 type veth peer name eth0 netns {peer}"));
        for (bare, number) in [(&a, 1), (&b, 2)] {
            bare.run(|| {
                std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0").unwrap();
            });
            bare.ip("link set lo up");
            bare.ip(&format!("addr add 10.77.0.{number}/24 dev eth0"));
            bare.ip(&format!("addr add fd77::{number}/64 dev eth0 nodad"));
            bare.ip("link set eth0 up");
        }
        Self { a: Node::new(a, 1, session, how_a), b: Node::new(b, 2, session ^ 0xffff, how_b) }
    }
}

/// One echo with a probe header, answered by the other node's kernel. None after two seconds: the first packet of a
/// family may have to wait for its neighbour.
pub(crate) fn echo(
    node: &Node,
    source: IpAddr,
    target: IpAddr,
    session: u64,
    sequence: u32,
) -> Option<ProbeHeader> {
    echo_from(&node.bare, source, target, session, sequence)
}

/// The same from a namespace without kernel programs of its own.
pub(crate) fn echo_from(
    bare: &Bare,
    source: IpAddr,
    target: IpAddr,
    session: u64,
    sequence: u32,
) -> Option<ProbeHeader> {
    bare.run(move || {
        let (domain, protocol, request, skip) = match target {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 20),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 0),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        let header = ProbeHeader { session, path: PATH, sequence, ..ProbeHeader::default() };
        let mut packet = vec![request, 0, 0, 0, 0, 1, 0, sequence as u8];
        packet.extend(header.to_bytes());
        if target.is_ipv4() {
            let sum = packet
                .chunks(2)
                .fold(0u32, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])));
            let folded = (sum & 0xffff) + (sum >> 16);
            let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
            packet[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        // What a filter of its own namespace drops, the kernel refuses to send.
        socket.send_to(&packet, &SocketAddr::new(target, 0).into()).ok()?;
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut buffer = [MaybeUninit::<u8>::uninit(); 512];
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            socket.set_read_timeout(Some(left)).unwrap();
            let Ok(len) = socket.recv(&mut buffer) else { return None };
            // SAFETY: the kernel wrote `len` bytes.
            let bytes: Vec<u8> = buffer[..len].iter().map(|byte| unsafe { byte.assume_init() }).collect();
            let reply_type = if target.is_ipv4() { 0 } else { 129 };
            if bytes.get(skip) != Some(&reply_type) {
                continue;
            }
            let header: Option<&[u8; HEADER_LEN]> =
                bytes.get(skip + 8..skip + 8 + HEADER_LEN).and_then(|bytes| bytes.try_into().ok());
            if let Some(header) = header.and_then(ProbeHeader::from_bytes) {
                return Some(header);
            }
        }
        None
    })
}
