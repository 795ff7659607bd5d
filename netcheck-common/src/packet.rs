//! The packet parser: Ethernet, 802.1Q, IPv4 (options, fragments), IPv6 (extension headers, bounded), and one level
//! of VXLAN, Geneve or IP-in-IP, down to the transport header of the innermost packet.
//!
//! It runs inside the kernel over an skb (classifiers) or over kernel memory (the drop tracepoint), and in user
//! space over slices; so it is written against [`Bytes`], allocates nothing, and every loop has a fixed bound for
//! the verifier. A packet that it can't follow is `None`: it passes untouched and nothing is said of it.

/// Something that bytes can be read from by offset.
pub trait Bytes {
    /// `N` bytes at `offset`; `None` past the end.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// The same, into memory that the caller has: the kernel's stack is small. False past the end.
    fn load_into<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> bool;
}

impl Bytes for [u8] {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = offset as usize;
        self.get(start..start.checked_add(N)?)?.try_into().ok()
    }

    fn load_into<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> bool {
        self.load(offset).map(|bytes| *into = bytes).is_some()
    }
}

/// An IPv4 or IPv6 address as 16 bytes; IPv4 as `::ffff:a.b.c.d`.
pub type Address = [u8; 16];

/// IP protocol numbers (IANA "Assigned Internet Protocol Numbers").
pub const IPPROTO_ICMP: u8 = 1;
/// IPv4 in IP.
pub const IPPROTO_IPIP: u8 = 4;
/// TCP.
pub const IPPROTO_TCP: u8 = 6;
/// UDP.
pub const IPPROTO_UDP: u8 = 17;
/// IPv6 in IP.
pub const IPPROTO_IPV6: u8 = 41;
/// ICMPv6.
pub const IPPROTO_ICMPV6: u8 = 58;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of a tag (IEEE 802.1Q).
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of a tag before another (IEEE 802.1ad).
pub const ETHERTYPE_QINQ: u16 = 0x88a8;
/// EtherType of bridged Ethernet, in Geneve (RFC 8926 §3.4).
const ETHERTYPE_BRIDGED: u16 = 0x6558;

/// UDP ports behind which a tunnel is looked for: VXLAN (RFC 7348), VXLAN as Linux and flannel have it, Geneve.
pub const VXLAN_PORT: u16 = 4789;
/// Linux's own VXLAN default, from before the RFC.
pub const VXLAN_LINUX_PORT: u16 = 8472;
/// RFC 8926.
pub const GENEVE_PORT: u16 = 6081;

/// Length of an Ethernet header without tags.
pub const ETHERNET_LEN: u32 = 14;
/// IPv6 extension headers followed at most; a longer chain is not ours.
const MAX_EXTENSIONS: usize = 6;

/// TCP flag bits (RFC 9293 §3.1).
pub const TCP_SYN: u8 = 0x02;
/// Reset.
pub const TCP_RST: u8 = 0x04;
/// Acknowledgement.
pub const TCP_ACK: u8 = 0x10;

/// Where parsing starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At an Ethernet header.
    Ethernet,
    /// At an IP header (tunnel devices without link layer).
    Ip,
}

/// The innermost packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// Offset of the transport header from where parsing started.
    pub transport: u32,
    /// Host order; 0 for ICMP.
    pub source_port: u16,
    /// Host order; 0 for ICMP.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// For ICMP and ICMPv6: the type. For TCP: the flags. Else 0.
    pub detail: u8,
    /// 1 if it is inside a tunnel's packet, else 0.
    pub encapsulated: u8,
    /// 4 or 6.
    pub version: u8,
}

impl Packet {
    /// Whether it is an ICMP or ICMPv6 echo request.
    #[inline(always)]
    #[must_use]
    pub const fn is_echo_request(&self) -> bool {
        (self.protocol == IPPROTO_ICMP && self.detail == 8)
            || (self.protocol == IPPROTO_ICMPV6 && self.detail == 128)
    }

    /// Whether it is an ICMP or ICMPv6 echo reply.
    #[inline(always)]
    #[must_use]
    pub const fn is_echo_reply(&self) -> bool {
        (self.protocol == IPPROTO_ICMP && self.detail == 0)
            || (self.protocol == IPPROTO_ICMPV6 && self.detail == 129)
    }

    /// Offset of the payload of an echo or UDP packet: both headers have 8 bytes.
    #[inline(always)]
    #[must_use]
    pub const fn payload(&self) -> u32 {
        self.transport + 8
    }
}

/// Follows the headers down to the transport header of the innermost packet. `None` where there is none: not IP, cut
/// short, a later fragment, too many extension headers; then `packet` holds nothing of use.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(bytes: &B, start: Start, packet: &mut Packet) -> Option<()> {
    let mut at = 0;
    let mut start = start;
    // Twice at most: as it is on the wire, and what is inside a tunnel.
    for level in 0..2 {
        packet.encapsulated = level;
        let ip = match start {
            Start::Ethernet => ethernet_payload(bytes, at)?,
            Start::Ip => at,
        };
        ip_layer(bytes, ip, packet)?;
        if level == 0 {
            match tunnel_payload(bytes, packet) {
                Some(inner) => (at, start) = inner,
                None => break,
            }
        }
    }
    Some(())
}

/// Offset of the IP header behind an Ethernet header at `at`. `None` if what follows is not IP.
#[inline(always)]
fn ethernet_payload<B: Bytes + ?Sized>(bytes: &B, at: u32) -> Option<u32> {
    // Untagged, tagged, tagged twice. Not a loop: for loaders without CAP_PERFMON the verifier also follows what a CPU
    // may speculate, past the end of loops.
    let untagged = at + 12;
    let mut ethertype = u16::from_be_bytes(bytes.load::<2>(untagged)?);
    let mut offset = untagged;
    if matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
        offset = untagged + 4;
        ethertype = u16::from_be_bytes(bytes.load::<2>(offset)?);
        if matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
            offset = untagged + 8;
            ethertype = u16::from_be_bytes(bytes.load::<2>(offset)?);
        }
    }
    matches!(ethertype, ETHERTYPE_IPV4 | ETHERTYPE_IPV6).then_some(offset + 2)
}

/// Reads the IP header at `at` and the transport header's ports behind it.
#[inline(always)]
fn ip_layer<B: Bytes + ?Sized>(bytes: &B, at: u32, packet: &mut Packet) -> Option<()> {
    match bytes.load::<1>(at)?[0] >> 4 {
        4 => ipv4_layer(bytes, at, packet)?,
        6 => ipv6_layer(bytes, at, packet)?,
        _ => return None,
    }
    transport_layer(bytes, packet)
}

#[inline(always)]
fn ipv4_layer<B: Bytes + ?Sized>(bytes: &B, at: u32, packet: &mut Packet) -> Option<()> {
    let header = bytes.load::<20>(at)?;
    let header_len = u32::from(header[0] & 0x0f) * 4;
    // The offset of a fragment, without the flags (RFC 791 §3.1): only the first has a transport header.
    let fragment_offset = u16::from_be_bytes([header[6] & 0x1f, header[7]]);
    if header_len < 20 || fragment_offset != 0 {
        return None;
    }
    packet.version = 4;
    packet.protocol = header[9];
    packet.source = v4_mapped([header[12], header[13], header[14], header[15]]);
    packet.destination = v4_mapped([header[16], header[17], header[18], header[19]]);
    packet.transport = at + header_len;
    Some(())
}

#[inline(always)]
fn ipv6_layer<B: Bytes + ?Sized>(bytes: &B, at: u32, packet: &mut Packet) -> Option<()> {
    let mut next = bytes.load::<1>(at + 6)?[0];
    if !bytes.load_into(at + 8, &mut packet.source) || !bytes.load_into(at + 24, &mut packet.destination) {
        return None;
    }
    packet.version = 6;
    let mut offset = at + 40;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            // Hop-by-hop, routing, destination options (RFC 8200 §4): length in 8 bytes, the first not counted.
            0 | 43 | 60 => {
                let [following, len] = bytes.load::<2>(offset)?;
                next = following;
                offset += (u32::from(len) + 1) * 8;
            }
            // Fragment: only the first one has a transport header.
            44 => {
                let header = bytes.load::<4>(offset)?;
                if u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0 {
                    return None;
                }
                next = header[0];
                offset += 8;
            }
            // Authentication header (RFC 4302 §2.2): length in 4 bytes, minus 2.
            51 => {
                let [following, len] = bytes.load::<2>(offset)?;
                next = following;
                offset += (u32::from(len) + 2) * 4;
            }
            _ => {
                packet.protocol = next;
                packet.transport = offset;
                return Some(());
            }
        }
    }
    None
}

#[inline(always)]
fn transport_layer<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet) -> Option<()> {
    packet.detail = 0;
    packet.source_port = 0;
    packet.destination_port = 0;
    match packet.protocol {
        IPPROTO_TCP | IPPROTO_UDP => {
            let [s0, s1, d0, d1] = bytes.load::<4>(packet.transport)?;
            packet.source_port = u16::from_be_bytes([s0, s1]);
            packet.destination_port = u16::from_be_bytes([d0, d1]);
            if packet.protocol == IPPROTO_TCP {
                packet.detail = bytes.load::<1>(packet.transport + 13)?[0];
            }
        }
        IPPROTO_ICMP | IPPROTO_ICMPV6 => packet.detail = bytes.load::<1>(packet.transport)?[0],
        _ => {}
    }
    Some(())
}

/// Where the packet inside a tunnel's packet begins, and as what. `None` if it is no tunnel's packet.
#[inline(always)]
fn tunnel_payload<B: Bytes + ?Sized>(bytes: &B, outer: &Packet) -> Option<(u32, Start)> {
    match outer.protocol {
        IPPROTO_IPIP | IPPROTO_IPV6 => Some((outer.transport, Start::Ip)),
        IPPROTO_UDP => {
            let header = outer.payload();
            match outer.destination_port {
                // RFC 7348 §5: the I flag must be set.
                VXLAN_PORT | VXLAN_LINUX_PORT if bytes.load::<1>(header)?[0] & 0x08 != 0 => {
                    Some((header + 8, Start::Ethernet))
                }
                GENEVE_PORT => {
                    let fields = bytes.load::<4>(header)?;
                    let inner = header + 8 + u32::from(fields[0] & 0x3f) * 4;
                    match u16::from_be_bytes([fields[2], fields[3]]) {
                        ETHERTYPE_BRIDGED => Some((inner, Start::Ethernet)),
                        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => Some((inner, Start::Ip)),
                        _ => None,
                    }
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// An IPv4 address as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
#[inline(always)]
#[must_use]
pub const fn v4_mapped(v4: [u8; 4]) -> Address {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

#[cfg(test)]
mod tests;
