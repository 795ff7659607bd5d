//! Source ports of one path that lose their packets. Pure data.

/// How the ports fared that probes of one path left from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortLosses {
    /// Ports that its probes leave from in turn.
    pub ports: u32,
    /// Those that lose their packets: port, packets sent, packets lost.
    pub lost: Vec<(u16, u32, u32)>,
    /// Packets from all others, sent and lost.
    pub others: (u32, u32),
}
