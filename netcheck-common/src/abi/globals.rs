//! Names of the globals that the loader must set. All offsets are from this kernel's BTF.

/// u64: session in this agent's probe headers.
pub const OWN_SESSION: &str = "OWN_SESSION";
/// u16: where this node's responder listens.
pub const RESPONDER_PORT: &str = "RESPONDER_PORT";
/// u8: [`super::scope`].
pub const SCOPED: &str = "SCOPED";
/// i64: added to every time stamp; 0 but in tests.
pub const CLOCK_OFFSET_NS: &str = "CLOCK_OFFSET_NS";
/// u32: inode of the agent's own network namespace.
pub const OWN_NETNS: &str = "OWN_NETNS";
/// [`KernelOffsets`].
pub const OFFSETS: &str = "OFFSETS";

/// Where the drop tracepoint finds things, in bytes, and values of this kernel's enums.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelOffsets {
    /// 1 once filled: offset 0 would read garbage.
    pub valid: u32,
    /// `sk_buff.head`.
    pub skb_head: u32,
    /// `sk_buff.network_header`.
    pub skb_network_header: u32,
    /// `sk_buff.mac_header`.
    pub skb_mac_header: u32,
    /// `sk_buff.dev`.
    pub skb_dev: u32,
    /// `sk_buff.sk`.
    pub skb_sk: u32,
    /// `sk_buff.skb_iif`.
    pub skb_iif: u32,
    /// `sk_buff._skb_refdst`.
    pub skb_refdst: u32,
    /// `net_device.ifindex`.
    pub dev_ifindex: u32,
    /// `net_device.nd_net.net`.
    pub dev_net: u32,
    /// Where a device's driver has its own part, behind `net_device`.
    pub dev_priv: u32,
    /// `net_device.dev_list`.
    pub dev_list: u32,
    /// `net.dev_base_head`.
    pub net_devices: u32,
    /// `net.ns.inum`.
    pub net_inum: u32,
    /// `sock.__sk_common.skc_net.net`.
    pub sk_net: u32,
    /// `sock.__sk_common.skc_num`.
    pub sk_num: u32,
    /// `dst_entry.dev`.
    pub dst_dev: u32,
    /// `dst_entry.input`.
    pub dst_input: u32,
    /// `SKB_DROP_REASON_NO_SOCKET`.
    pub reason_no_socket: u32,
    /// `SKB_DROP_REASON_NOT_SPECIFIED`.
    pub reason_not_specified: u32,
    /// `SKB_DROP_REASON_NETFILTER_DROP`.
    pub reason_netfilter_drop: u32,
    /// `SKB_CONSUMED`; reasons up to it are not drops.
    pub reason_consumed: u32,
}
