//! What is asked of nftables: a table that marks probes for tracing, and single rules. Pure.

use std::net::{IpAddr, SocketAddr};

use netcheck_common::header::{HEADER_LEN, MAGIC};
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Cmp, DataAttribute, DevHookNumber, Expressions, Hook, Immediate,
    InetHookNumber, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register, RuleAttribute, RuleMessage,
    TableAttribute, TableFlags, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

/// Before everybody else's chains, connection tracking's defragmentation (-400) and translation among them: the mark
/// must be there first, and addresses are those of the wire.
const PRIORITY: i32 = -1000;
/// Marked packets of one case: a trace of each passes all rules.
const PACKETS: u32 = 8;
/// Length of a UDP or ICMP echo header, which probe headers follow.
const TRANSPORT: u32 = 8;
/// From a tunnel's outer UDP header to the inner IP header: UDP, VXLAN or Geneve without options, Ethernet.
const TO_INNER: u32 = 8 + 8 + 14;
/// Where session and path stand in a probe header, one behind the other.
const IDENTITY: u32 = 16;
const _: () = assert!(HEADER_LEN >= 28);

/// Where probes are marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// All that IP receives and sends.
    Ip,
    /// All that bridges receive and send.
    Bridge,
    /// All that one device receives and sends.
    Device(String),
}

impl Layer {
    fn family(&self) -> NetfilterProtoFamily {
        match self {
            Self::Ip => NetfilterProtoFamily::Inet,
            Self::Bridge => NetfilterProtoFamily::Bridge,
            Self::Device(_) => NetfilterProtoFamily::NetDev,
        }
    }

    /// The hooks that everything passes first, each with its number.
    fn hooks(&self) -> [(&'static str, Hook); 2] {
        match self {
            // NF_BR_PRE_ROUTING and NF_BR_LOCAL_OUT have the same numbers as IP's.
            Self::Ip | Self::Bridge => [
                ("prerouting", Hook::Number(InetHookNumber::PreRouting.into())),
                ("output", Hook::Number(InetHookNumber::LocalOut.into())),
            ],
            Self::Device(_) => [
                ("ingress", Hook::Number(DevHookNumber::Ingress.into())),
                ("egress", Hook::Number(DevHookNumber::Egress.into())),
            ],
        }
    }
}

/// Which packets are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    /// Those that bear a header of this path: the probes themselves, and nothing else.
    Path {
        /// Of its agent.
        session: u64,
        /// Of its plan.
        path: u32,
    },
    /// Those between two ends; a port of 0 is any.
    Flow {
        /// TCP rather than UDP.
        tcp: bool,
        /// One end.
        source: SocketAddr,
        /// The other.
        destination: SocketAddr,
    },
}

/// What is to be traced for one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) matching: Matching,
    /// It lies in a tunnel's outer packet.
    pub(crate) encapsulated: bool,
}

/// A batch that makes a table: for each case a chain at each hook, with a rule for each of its marks. The table belongs to
/// the socket that sends this, and is gone with it. The second value: the number of the last message, which is
/// acknowledged last.
pub(crate) fn table(name: &str, layer: &Layer, cases: &[Vec<Mark>]) -> (Vec<u8>, u32) {
    let mut batch = Batch::new(layer.family());
    batch.control(ControlMessage::BatchBegin);
    batch.add(NfTablesMessage::NewTable(TableMessage {
        attributes: vec![TableAttribute::Name(name.to_owned()), TableAttribute::Flags(TableFlags::Owner)],
    }));
    for (case, marks) in cases.iter().enumerate().filter(|(_, marks)| !marks.is_empty()) {
        for (hook_name, hook) in layer.hooks() {
            let chain = chain_name(case, hook_name);
            batch.add(NfTablesMessage::NewChain(new_chain(name, &chain, layer, hook)));
            for expressions in marks.iter().flat_map(expressions) {
                let attributes = vec![
                    RuleAttribute::Table(name.to_owned()),
                    RuleAttribute::Chain(chain.clone()),
                    RuleAttribute::Expressions(expressions.into_iter().map(Into::into).collect()),
                ];
                batch.add(NfTablesMessage::NewRule(RuleMessage { attributes }));
            }
        }
    }
    let last = batch.sequence;
    batch.control(ControlMessage::BatchEnd);
    (batch.bytes, last)
}

fn new_chain(table: &str, chain: &str, layer: &Layer, hook: Hook) -> ChainMessage {
    let mut hooks = vec![hook, Hook::Priority(PRIORITY.cast_unsigned())];
    if let Layer::Device(device) = layer {
        hooks.push(Hook::NetDeviceName(device.clone()));
    }
    let attributes = vec![
        ChainAttribute::Table(table.to_owned()),
        ChainAttribute::Name(chain.to_owned()),
        ChainAttribute::Hook(hooks),
        ChainAttribute::Type("filter".to_owned()),
    ];
    ChainMessage { attributes }
}

fn chain_name(case: usize, hook: &str) -> String {
    format!("case{case}-{hook}")
}

/// The case whose chain this is.
pub(crate) fn case_of(chain: &str) -> Option<usize> {
    chain.strip_prefix("case")?.split_once('-')?.0.parse().ok()
}

/// Asks for one rule.
pub(crate) fn rule(family: u8, table: &str, chain: &str, handle: u64) -> Vec<u8> {
    let mut batch = Batch::new(family.into());
    let attributes = vec![
        RuleAttribute::Table(table.to_owned()),
        RuleAttribute::Chain(chain.to_owned()),
        RuleAttribute::Handle(handle),
    ];
    batch.message(NfTablesMessage::GetRule(RuleMessage { attributes }).into(), NLM_F_REQUEST, 0);
    batch.bytes
}

/// Messages one behind the other.
struct Batch {
    family: NetfilterProtoFamily,
    sequence: u32,
    bytes: Vec<u8>,
}

impl Batch {
    const fn new(family: NetfilterProtoFamily) -> Self {
        Self { family, sequence: 0, bytes: Vec::new() }
    }

    fn control(&mut self, message: ControlMessage) {
        // `res_id` names the subsystem, NFNL_SUBSYS_NFTABLES.
        self.message(message.into(), NLM_F_REQUEST, 10);
    }

    fn add(&mut self, message: NfTablesMessage) {
        self.message(message.into(), NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, 0);
    }

    fn message(&mut self, inner: NetfilterMessageInner, flags: u16, res_id: u16) {
        let control = matches!(inner, NetfilterMessageInner::None(_));
        let family = if control { NetfilterProtoFamily::Unspec } else { self.family };
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence + 1;
        let payload = NetfilterMessage::new(NetfilterHeader::new(family, 0, res_id), inner);
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(payload));
        message.finalize();
        let begin = self.bytes.len();
        self.bytes.resize((begin + message.buffer_len()).next_multiple_of(4), 0);
        message.serialize(&mut self.bytes[begin..]);
        self.sequence += 1;
    }
}

/// The rules of one mark.
fn expressions(mark: &Mark) -> Vec<Vec<Expressions>> {
    let mut rules = Vec::new();
    let mut add = |mut conditions: Vec<Expressions>| {
        conditions.extend(bounded_mark());
        rules.push(conditions);
    };
    match (mark.matching, mark.encapsulated) {
        (Matching::Path { session, path }, false) => add(header(TRANSPORT, session, path)),
        (Matching::Path { session, path }, true) => {
            for ip_header in [20, 40] {
                let at = TO_INNER + ip_header + TRANSPORT;
                add([l4_protocol(17), header(at, session, path)].concat());
            }
        }
        (Matching::Flow { tcp, source, destination }, encapsulated) => {
            // Replies are the same flow the other way round.
            for (from, to) in [(source, destination), (destination, source)] {
                if encapsulated {
                    add([l4_protocol(17), inner_flow(tcp, from, to)].concat());
                } else {
                    add(outer_flow(tcp, from, to));
                }
            }
        }
    }
    rules
}

/// A probe header at this distance from the transport header.
fn header(at: u32, session: u64, path: u32) -> Vec<Expressions> {
    let identity = [&session.to_be_bytes()[..], &path.to_be_bytes()[..]].concat();
    let base = Base::Transport;
    [equal(base, at, &MAGIC), equal(base, at + IDENTITY, &identity)].concat()
}

const fn protocol(tcp: bool) -> u8 {
    if tcp { 6 } else { 17 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Where source and destination stand in an IP header, and how long they are.
const fn addresses(of: IpAddr) -> (u32, u32, u32) {
    match of {
        IpAddr::V4(_) => (12, 16, 20),
        IpAddr::V6(_) => (8, 24, 40),
    }
}

fn outer_flow(tcp: bool, from: SocketAddr, to: SocketAddr) -> Vec<Expressions> {
    let ether_type: [u8; 2] = if from.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
    let (source, destination, _) = addresses(from.ip());
    let mut all = [meta_equal(MetaKey::EtherTypeProtocol, &ether_type), l4_protocol(protocol(tcp))].concat();
    all.extend(equal(Base::Network, source, &octets(from.ip())));
    all.extend(equal(Base::Network, destination, &octets(to.ip())));
    all.extend(ports(0, from, to));
    all
}

fn inner_flow(tcp: bool, from: SocketAddr, to: SocketAddr) -> Vec<Expressions> {
    let (source, destination, length) = addresses(from.ip());
    let version_at = if from.is_ipv4() { 9 } else { 6 };
    let mut all = equal(Base::Transport, TO_INNER + version_at, &[protocol(tcp)]);
    all.extend(equal(Base::Transport, TO_INNER + source, &octets(from.ip())));
    all.extend(equal(Base::Transport, TO_INNER + destination, &octets(to.ip())));
    all.extend(ports(TO_INNER + length, from, to));
    all
}

/// The ports that are known, in a header at this distance.
fn ports(at: u32, from: SocketAddr, to: SocketAddr) -> Vec<Expressions> {
    let known = [(at, from.port()), (at + 2, to.port())];
    let known = known.into_iter().filter(|(_, port)| *port != 0);
    known.flat_map(|(at, port)| equal(Base::Transport, at, &port.to_be_bytes())).collect()
}

/// enum nft_payload_bases.
#[derive(Clone, Copy)]
enum Base {
    Network = 1,
    Transport = 2,
}

/// These bytes stand there.
fn equal(base: Base, offset: u32, bytes: &[u8]) -> Vec<Expressions> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    vec![
        Expressions::Payload(vec![
            Payload::DestinationRegister(Register::Reg1),
            Payload::Base(base as u32),
            Payload::Offset(offset),
            Payload::Len(length),
        ]),
        is(bytes),
    ]
}

fn meta_equal(key: MetaKey, bytes: &[u8]) -> Vec<Expressions> {
    vec![Expressions::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(key)]), is(bytes)]
}

fn l4_protocol(protocol: u8) -> Vec<Expressions> {
    meta_equal(MetaKey::L4Proto, &[protocol])
}

fn is(bytes: &[u8]) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(Operator::Equal),
        Cmp::Data(DataAttribute::Value(bytes.to_vec())),
    ])
}

/// `limit rate 8/minute burst 8 packets meta nftrace set 1`.
fn bounded_mark() -> [Expressions; 3] {
    // enum nft_limit_attributes: rate, unit in seconds, burst.
    let limit = Expressions::Other {
        expression_type: "limit".to_owned(),
        attributes: vec![
            DefaultNla::new(1, u64::from(PACKETS).to_be_bytes().to_vec()),
            DefaultNla::new(2, 60_u64.to_be_bytes().to_vec()),
            DefaultNla::new(3, PACKETS.to_be_bytes().to_vec()),
        ],
    };
    let one = Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Reg1),
        Immediate::Data(DataAttribute::Value(vec![1])),
    ]);
    let mark = Meta::Key(MetaKey::NftraceBit);
    [limit, one, Expressions::Meta(vec![mark, Meta::SourceRegister(Register::Reg1)])]
}
