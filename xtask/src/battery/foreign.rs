//! Another project's kernel program that drops what it sees, ARP apart. It goes with the value that stands for it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};

/// Where it sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// tcx ingress, behind whoever is there already.
    TcIngress,
    /// tcx egress, behind whoever is there already.
    TcEgress,
    /// XDP, in the mode that every device has.
    Xdp,
}

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` uses (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The part that `BPF_LINK_CREATE` uses.
#[repr(C)]
#[derive(Default)]
struct Link {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    pad: u32,
    expected_revision: u64,
}

/// One instruction (include/uapi/linux/bpf.h, `struct bpf_insn`).
#[repr(C)]
struct Insn {
    code: u8,
    /// Destination in the low half, source in the high.
    registers: u8,
    offset: i16,
    value: i32,
}

const fn insn(code: u8, registers: u8, offset: i16, value: i32) -> Insn {
    Insn { code, registers, offset, value }
}

/// ETH_P_ARP as it lies in memory.
const ARP: i32 = u16::from_ne_bytes([0x08, 0x06]) as i32;

/// `return skb->protocol == ARP ? TCX_NEXT : TCX_DROP`.
const TC: [Insn; 5] = [
    insn(0x61, 0x12, 16, 0),
    insn(0xb7, 0x00, 0, -1),
    insn(0x15, 0x02, 1, ARP),
    insn(0xb7, 0x00, 0, 2),
    insn(0x95, 0, 0, 0),
];

/// `return data + 14 > data_end || ethertype == ARP ? XDP_PASS : XDP_DROP`.
const XDP: [Insn; 10] = [
    insn(0x61, 0x12, 0, 0),
    insn(0x61, 0x13, 4, 0),
    insn(0xbf, 0x24, 0, 0),
    insn(0x07, 0x04, 0, 14),
    insn(0xb7, 0x00, 0, 2),
    insn(0x2d, 0x34, 3, 0),
    insn(0x69, 0x25, 12, 0),
    insn(0x15, 0x05, 1, ARP),
    insn(0xb7, 0x00, 0, 1),
    insn(0x95, 0, 0, 0),
];

/// Attaches it to an interface of the caller's network namespace.
///
/// # Errors
/// If there is no such interface or the kernel refuses.
pub(crate) fn attach(interface: &str, at: At) -> Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_LINK_CREATE: libc::c_long = 28;
    const XDP_FLAGS_SKB_MODE: u32 = 2;
    // Program type, attach type, flags of the link.
    let (prog_type, attach_type, flags, code): (u32, u32, u32, &[Insn]) = match at {
        At::TcIngress => (3, 46, 0, &TC),
        At::TcEgress => (3, 47, 0, &TC),
        At::Xdp => (6, 37, XDP_FLAGS_SKB_MODE, &XDP),
    };
    let name = CString::new(interface)?;
    // SAFETY: a C string that lives through the call.
    let target_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    ensure!(target_ifindex != 0, "no interface `{interface}`");
    let load = Load {
        prog_type,
        insn_cnt: u32::try_from(code.len())?,
        insns: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..Load::default()
    };
    let program = bpf(BPF_PROG_LOAD, &load).context("loading a program that drops")?;
    let prog_fd = u32::try_from(program.as_raw_fd())?;
    let link = Link { prog_fd, target_ifindex, attach_type, flags, ..Link::default() };
    bpf(BPF_LINK_CREATE, &link).with_context(|| format!("attaching a program that drops to {interface}"))
}

/// One call of bpf(2) that gives a descriptor.
fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: the structure is as the kernel wants it, and what it points to lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
